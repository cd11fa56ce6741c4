//! From buffered batches to the bytes of one parquet object. Pure.
//!
//! Rows are sorted by (server, time, offset) as far as the topic has these columns, zstd, statistics on, dictionary for
//! strings, delta encoding for offsets and times: what DuckDB, Spark, DataFusion and pandas read as it is.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Int64Array, RecordBatch, TimestampMillisecondArray,
};
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, max, min, take_record_batch,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::batch::Batch;
use super::footer::{DataChecksum, Footer};
use super::{KAFKA_KEY, KAFKA_OFFSET, KAFKA_TIMESTAMP, KAFKA_VALUE};

/// The column that says when a record happened: the first of these that a topic has.
const TIME_COLUMNS: [&str; 5] = ["timestamp", "issued_at", "at", "time", "bucket"];
const SERVER: &str = "server";

#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    #[error("arrange columns: {0}")]
    Arrow(#[from] ArrowError),
    #[error("encode parquet: {0}")]
    Parquet(#[from] ParquetError),
}

/// The record's own columns as the archive holds them: all nullable, since a record that does not decode has none.
pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Encodes the rows and completes `footer` with what is known only now: the times and the checksum.
pub(super) fn encode(
    schema: &SchemaRef,
    batches: &[Arc<Batch>],
    mut footer: Footer,
) -> Result<(Bytes, Footer), EncodeError> {
    let rows = sorted(&with_kafka_columns(schema, batches)?)?;
    footer.timestamps_ms = time_range(&rows);
    let properties = properties(rows.schema_ref());
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties))?;
    writer.write(&rows)?;
    writer.flush()?;
    // `flush` ends the row group; `sync` empties the library's own buffer into ours.
    writer.sync().map_err(ParquetError::from)?;
    let data = writer.inner();
    footer.data = DataChecksum {
        bytes: data.len() as u64,
        crc32c: crc32c::crc32c(data),
    };
    for pair in footer.to_key_values() {
        writer.append_key_value_metadata(pair);
    }
    Ok((writer.into_inner()?.into(), footer))
}

fn with_kafka_columns(
    schema: &SchemaRef,
    batches: &[Arc<Batch>],
) -> Result<RecordBatch, ArrowError> {
    let columns = concat_batches(schema, batches.iter().map(|batch| &batch.columns))?;
    let num_rows = columns.num_rows();
    let offsets = batches.iter().flat_map(|b| b.offsets()).copied();
    let times = batches.iter().flat_map(|b| b.timestamps_ms()).copied();
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let mut arrays = columns.columns().to_vec();
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut add = |name: &str, array: ArrayRef, nullable: bool| {
        fields.push(Arc::new(Field::new(
            name,
            array.data_type().clone(),
            nullable,
        )));
        arrays.push(array);
    };
    add(
        KAFKA_OFFSET,
        Arc::new(Int64Array::from_iter_values(offsets)),
        false,
    );
    let times = TimestampMillisecondArray::from_iter_values(times).with_data_type(millis);
    add(KAFKA_TIMESTAMP, Arc::new(times), false);
    add(KAFKA_VALUE, sparse(batches, num_rows, Batch::values), true);
    add(KAFKA_KEY, sparse(batches, num_rows, Batch::keys), true);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

fn sparse(
    batches: &[Arc<Batch>],
    num_rows: usize,
    of: impl Fn(&Batch) -> &[(usize, Bytes)],
) -> ArrayRef {
    let mut builder = BinaryBuilder::with_capacity(num_rows, 0);
    for batch in batches {
        let mut row = 0;
        for (at, bytes) in of(batch) {
            builder.append_nulls(at.saturating_sub(row));
            builder.append_value(bytes);
            row = at + 1;
        }
        builder.append_nulls(batch.len().saturating_sub(row));
    }
    Arc::new(builder.finish())
}

fn time_column(rows: &RecordBatch) -> Option<&ArrayRef> {
    TIME_COLUMNS
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .find(|array| {
            matches!(
                array.data_type(),
                DataType::Timestamp(TimeUnit::Millisecond, _)
            )
        })
}

fn server_column(rows: &RecordBatch) -> Option<&ArrayRef> {
    let servers = rows.column_by_name(SERVER);
    servers.filter(|array| *array.data_type() == DataType::Utf8)
}

fn sorted(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let options = Some(SortOptions {
        descending: false,
        nulls_first: false,
    });
    let keys = [
        server_column(rows),
        time_column(rows),
        rows.column_by_name(KAFKA_OFFSET),
    ];
    let keys: Vec<SortColumn> = keys
        .into_iter()
        .flatten()
        .map(|values| SortColumn {
            values: Arc::clone(values),
            options,
        })
        .collect();
    take_record_batch(rows, &lexsort_to_indices(&keys, None)?)
}

fn time_range(rows: &RecordBatch) -> Option<(i64, i64)> {
    let times = time_column(rows).or_else(|| rows.column_by_name(KAFKA_TIMESTAMP))?;
    let times = times.as_any().downcast_ref::<TimestampMillisecondArray>()?;
    Some((min(times)?, max(times)?))
}

fn properties(schema: &Schema) -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_created_by(concat!("forewarn ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()));
    let columns = schema.fields().iter();
    columns
        .fold(builder, |builder, field| column_properties(builder, field))
        .build()
}

/// Numbers do not repeat enough for a dictionary, and trying costs time; whole numbers here are offsets and times.
fn column_properties(builder: WriterPropertiesBuilder, field: &Field) -> WriterPropertiesBuilder {
    let column = ColumnPath::from(field.name().as_str());
    match field.data_type() {
        DataType::Int64 | DataType::Timestamp(..) => builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
        DataType::Float32 | DataType::Float64 | DataType::Binary => {
            builder.set_column_dictionary_enabled(column, false)
        }
        _ => builder,
    }
}
