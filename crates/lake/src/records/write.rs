//! Writing record files in a stream.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use contract::Contract;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::{RecordError, Row, SIMULATED_BY};

/// Rows handed to the encoder at once.
const BATCH_ROWS: usize = 8192;
/// Rows of a row group: what is held in memory, encoded.
const GROUP_ROWS: usize = 131_072;

/// Writes raw records of one contract. Dropped before [`finish`](Self::finish), it leaves nothing behind.
pub struct RecordWriter {
    path: PathBuf,
    partial: PathBuf,
    schema: SchemaRef,
    writer: Option<ArrowWriter<BufWriter<File>>>,
    columns: Columns,
    rows: u64,
}

impl std::fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWriter")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

struct Columns {
    servers: StringBuilder,
    timestamps: TimestampMillisecondBuilder,
    profiles: StringBuilder,
    states: StringBuilder,
    metrics: Vec<Float32Builder>,
    rows: usize,
}

impl RecordWriter {
    /// Begins a file; an existing one is replaced when this one is finished.
    ///
    /// # Errors
    /// [`RecordError::File`] where it cannot be created.
    pub fn create(path: &Path, contract: &Contract) -> Result<RecordWriter, RecordError> {
        let metrics = contract
            .raw_metrics()
            .iter()
            .map(|metric| metric.name.as_str());
        let schema = schema(metrics);
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(|source| RecordError::File {
            file: path.to_owned(),
            source,
        })?;
        let columns = Columns {
            servers: StringBuilder::new(),
            timestamps: TimestampMillisecondBuilder::new(),
            profiles: StringBuilder::new(),
            states: StringBuilder::new(),
            metrics: contract
                .raw_metrics()
                .iter()
                .map(|_| Float32Builder::new())
                .collect(),
            rows: 0,
        };
        let mut writer = RecordWriter {
            path: path.to_owned(),
            partial,
            writer: None,
            columns,
            rows: 0,
            schema,
        };
        let properties = properties(&writer.schema);
        let file = BufWriter::new(file);
        let parquet = ArrowWriter::try_new(file, Arc::clone(&writer.schema), Some(properties));
        writer.writer = Some(parquet.map_err(|source| writer.failed(source))?);
        Ok(writer)
    }

    /// Says in the file that its records are made up, and by which command.
    pub fn mark_simulated(&mut self, by: &str) {
        if let Some(writer) = &mut self.writer {
            writer.append_key_value_metadata(KeyValue::new(SIMULATED_BY.to_owned(), by.to_owned()));
        }
    }

    /// Appends a row; values beyond the contract's measured metrics are left out, missing ones are null.
    ///
    /// # Errors
    /// [`RecordError::Parquet`] where the file cannot be written.
    pub fn write(&mut self, row: &Row<'_>) -> Result<(), RecordError> {
        let columns = &mut self.columns;
        columns.servers.append_value(row.server);
        columns.timestamps.append_option(row.timestamp_ms);
        columns.profiles.append_option(row.profile);
        columns.states.append_option(row.state);
        let values = row.values.iter().copied().chain(std::iter::repeat(None));
        for (metric, value) in columns.metrics.iter_mut().zip(values) {
            metric.append_option(value);
        }
        columns.rows += 1;
        self.rows += 1;
        if columns.rows >= BATCH_ROWS {
            self.encode()?;
        }
        Ok(())
    }

    /// Completes the file, makes it durable and gives it its name. Returns the number of rows.
    ///
    /// # Errors
    /// [`RecordError::Parquet`] and [`RecordError::File`] where it cannot be written.
    pub fn finish(mut self) -> Result<u64, RecordError> {
        self.encode()?;
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(|source| self.failed(source))?;
            let file = file.into_inner().map_err(|error| error.into_error());
            let synced = file.and_then(|file| file.sync_all());
            let named = synced.and_then(|()| std::fs::rename(&self.partial, &self.path));
            named.map_err(|source| RecordError::File {
                file: self.path.clone(),
                source,
            })?;
        }
        Ok(self.rows)
    }

    fn encode(&mut self) -> Result<(), RecordError> {
        let columns = &mut self.columns;
        if columns.rows == 0 {
            return Ok(());
        }
        columns.rows = 0;
        let times = columns.timestamps.finish().with_timezone("UTC");
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(times),
            Arc::new(columns.servers.finish()),
            Arc::new(columns.profiles.finish()),
            Arc::new(columns.states.finish()),
        ];
        for metric in &mut columns.metrics {
            arrays.push(Arc::new(metric.finish()));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        let batch = batch.map_err(|error| self.failed(error.into()))?;
        let written = self.writer.as_mut().map(|writer| writer.write(&batch));
        written
            .unwrap_or(Ok(()))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ParquetError) -> RecordError {
        RecordError::Parquet {
            file: self.path.clone(),
            source,
        }
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        // After `finish` there is none; otherwise there is nobody to tell.
        let _ = std::fs::remove_file(&self.partial);
    }
}

fn schema<'a>(metrics: impl Iterator<Item = &'a str>) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("timestamp", time, true),
        Field::new("server", DataType::Utf8, false),
        Field::new("profile", DataType::Utf8, true),
        Field::new("state", DataType::Utf8, true),
    ];
    fields.extend(metrics.map(|name| Field::new(name, DataType::Float32, true)));
    Arc::new(Schema::new(fields))
}

fn properties(schema: &Schema) -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_created_by(concat!("forewarn ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    let columns = schema.fields().iter();
    let builder = columns.fold(builder, |builder, field| {
        let column = ColumnPath::from(field.name().as_str());
        match field.data_type() {
            DataType::Timestamp(..) => builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            DataType::Float32 => builder.set_column_dictionary_enabled(column, false),
            _ => builder,
        }
    });
    builder.build()
}
