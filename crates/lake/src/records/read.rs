//! Reading record files in blocks.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int32Type, Int64Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use contract::Contract;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::{RecordError, Row, SIMULATED_BY};

/// Rows per block. Larger: more memory and hardly faster; smaller: more overhead per row.
const BLOCK_ROWS: usize = 8192;

const TIMESTAMP: &str = "timestamp";
const SERVER: &str = "server";
const PROFILE: &str = "profile";
const STATE: &str = "state";
const NUM_RECORDS: &str = "num_records";
const CONTRACT: &str = "contract";

/// What the rows of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Raw records: the measured metrics at any time.
    Raw,
    /// One row per server and bucket: all metrics, `num_records`, and the contract's fingerprint where it is said.
    Rollups,
}

/// A record file whose columns have been checked.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    kind: Kind,
    metrics: Vec<String>,
    ignored: Vec<String>,
}

/// Files with the extension `parquet` at `path`: itself, or those below the directory, by name.
///
/// # Errors
/// [`RecordError::File`] where it cannot be listed, [`RecordError::Columns`] where a directory has none.
pub fn parquet_files(path: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let failed = |file: &Path, source| RecordError::File {
        file: file.to_owned(),
        source,
    };
    let kind = std::fs::metadata(path).map_err(|source| failed(path, source))?;
    if !kind.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|source| failed(&directory, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| failed(&directory, source))?;
            let kind = entry.file_type();
            let kind = kind.map_err(|source| failed(&entry.path(), source))?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "parquet") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(RecordError::Columns {
            file: path.to_owned(),
            reason: "no *.parquet file in this directory".to_owned(),
        });
    }
    Ok(files)
}

impl RecordFile {
    /// Reads the footer and checks the columns against the contract.
    ///
    /// # Errors
    /// [`RecordError::File`] and [`RecordError::Parquet`] where it is no parquet file; [`RecordError::Columns`] where
    /// `timestamp`, `server` or a metric is missing or has a type that cannot be read.
    pub fn open(path: &Path, contract: &Contract) -> Result<RecordFile, RecordError> {
        let file = open(path)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
        let metadata = metadata.map_err(|source| RecordError::Parquet {
            file: path.to_owned(),
            source,
        })?;
        let schema = metadata.schema();
        let kind = match schema.column_with_name(NUM_RECORDS) {
            Some(_) => Kind::Rollups,
            None => Kind::Raw,
        };
        let metrics = match kind {
            Kind::Raw => contract.raw_metrics(),
            Kind::Rollups => contract.metrics.as_slice(),
        };
        let metrics: Vec<String> = metrics.iter().map(|metric| metric.name.clone()).collect();
        check_columns(schema, &metrics, &contract.name).map_err(|reason| RecordError::Columns {
            file: path.to_owned(),
            reason,
        })?;
        let mut file = RecordFile {
            path: path.to_owned(),
            kind,
            metrics,
            ignored: Vec::new(),
            metadata,
        };
        let names = file.metadata.schema().fields().iter().map(|f| f.name());
        file.ignored = names.filter(|name| !file.reads(name)).cloned().collect();
        Ok(file)
    }

    /// Whether it holds raw records or rollups.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of rows.
    #[must_use]
    pub fn num_rows(&self) -> u64 {
        let rows = self.metadata.metadata().file_metadata().num_rows();
        u64::try_from(rows).unwrap_or(0)
    }

    /// Columns that are not read.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The command that made its records up, where the file says that they are.
    #[must_use]
    pub fn simulated_by(&self) -> Option<&str> {
        let file = self.metadata.metadata().file_metadata();
        let entries = file.key_value_metadata()?;
        let entry = entries.iter().find(|entry| entry.key == SIMULATED_BY)?;
        entry.value.as_deref()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rows in file order. May be called again for another pass.
    ///
    /// # Errors
    /// As [`open`](Self::open), should the file have changed since.
    pub fn blocks(&self) -> Result<Blocks, RecordError> {
        let schema = self.metadata.schema();
        let roots: Vec<usize> = (0..schema.fields().len())
            .filter(|&index| self.reads(schema.field(index).name()))
            .collect();
        let file = open(&self.path)?;
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BLOCK_ROWS)
            .build();
        let reader = reader.map_err(|source| RecordError::Parquet {
            file: self.path.clone(),
            source,
        })?;
        Ok(Blocks {
            path: self.path.clone(),
            metrics: self.metrics.clone(),
            reader,
        })
    }

    fn reads(&self, name: &str) -> bool {
        let fixed = [TIMESTAMP, SERVER, PROFILE, STATE].contains(&name);
        let of_rollups = [NUM_RECORDS, CONTRACT].contains(&name) && self.kind == Kind::Rollups;
        fixed || of_rollups || self.metrics.iter().any(|metric| metric == name)
    }
}

fn open(path: &Path) -> Result<File, RecordError> {
    File::open(path).map_err(|source| RecordError::File {
        file: path.to_owned(),
        source,
    })
}

fn check_columns(schema: &Schema, metrics: &[String], contract: &str) -> Result<(), String> {
    let required = [TIMESTAMP, SERVER].into_iter();
    let required = required.chain(metrics.iter().map(String::as_str));
    let missing: Vec<&str> = required
        .filter(|name| schema.column_with_name(name).is_none())
        .collect();
    if !missing.is_empty() {
        let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(format!(
            "contract {contract} needs the columns {}, found only {}",
            missing.join(", "),
            found.join(", ")
        ));
    }
    for field in schema.fields() {
        let kind = field.data_type();
        let expected = match field.name().as_str() {
            TIMESTAMP if !is_time(kind) => "a timestamp or whole milliseconds",
            SERVER | PROFILE | STATE | CONTRACT if !is_text(kind) => "text",
            name if metrics.iter().any(|m| m == name) && !is_number(kind) => "a number",
            _ => continue,
        };
        return Err(format!(
            "column {} is {kind}, expected {expected}",
            field.name()
        ));
    }
    Ok(())
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Int64)
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn is_number(kind: &DataType) -> bool {
    // A column that is null in every row is what some writers make of a metric that nobody measured.
    kind.is_numeric() || *kind == DataType::Null
}

/// The blocks of one file, in file order.
pub struct Blocks {
    path: PathBuf,
    metrics: Vec<String>,
    reader: ParquetRecordBatchReader,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("path", &self.path).finish()
    }
}

impl Iterator for Blocks {
    type Item = Result<Block, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.reader.next()?;
        let block = block.and_then(|batch| Block::new(&batch, &self.metrics));
        Some(block.map_err(|error| RecordError::Parquet {
            file: self.path.clone(),
            source: error.into(),
        }))
    }
}

/// Some rows of a file, by column.
#[derive(Debug)]
pub struct Block {
    servers: StringArray,
    timestamps_ms: Int64Array,
    profiles: Option<StringArray>,
    states: Option<StringArray>,
    contracts: Option<StringArray>,
    num_records: Option<Int32Array>,
    metrics: Vec<Float32Array>,
}

impl Block {
    /// Converts the columns of a batch; also of an archive object's.
    pub(crate) fn new(batch: &RecordBatch, metrics: &[String]) -> Result<Block, ArrowError> {
        let text = |name: &str| -> Result<Option<StringArray>, ArrowError> {
            let column = batch.column_by_name(name);
            column
                .map(|column| Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()))
                .transpose()
        };
        let missing = |name: &str| ArrowError::SchemaError(format!("column {name} is missing"));
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| missing(name));
        let metrics = metrics.iter().map(|name| to_float(column(name)?));
        let num_records = batch.column_by_name(NUM_RECORDS);
        let num_records = num_records.map(|column| cast(column, &DataType::Int32));
        Ok(Block {
            servers: text(SERVER)?.ok_or_else(|| missing(SERVER))?,
            timestamps_ms: to_millis(column(TIMESTAMP)?)?,
            profiles: text(PROFILE)?,
            states: text(STATE)?,
            contracts: text(CONTRACT)?,
            num_records: num_records
                .transpose()?
                .map(|column| column.as_primitive::<Int32Type>().clone()),
            metrics: metrics.collect::<Result<_, _>>()?,
        })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Row `index` (below [`len`](Self::len)); its values are put into `values`, which is overwritten.
    #[must_use]
    pub fn row<'a>(&'a self, index: usize, values: &'a mut Vec<Option<f32>>) -> Row<'a> {
        values.clear();
        let row = self.metrics.iter();
        values.extend(row.map(|column| column.is_valid(index).then(|| column.value(index))));
        let said = |column: &'a Option<StringArray>| -> Option<&'a str> {
            let column = column.as_ref()?;
            column.is_valid(index).then(|| column.value(index))
        };
        let server = self
            .servers
            .is_valid(index)
            .then(|| self.servers.value(index));
        let times = &self.timestamps_ms;
        Row {
            server: server.unwrap_or_default(),
            timestamp_ms: times.is_valid(index).then(|| times.value(index)),
            profile: said(&self.profiles),
            state: said(&self.states),
            values,
        }
    }

    /// Fingerprint of the contract that row `index` was made by, where the file says one.
    #[must_use]
    pub fn contract(&self, index: usize) -> Option<&str> {
        let column = self.contracts.as_ref()?;
        column.is_valid(index).then(|| column.value(index))
    }

    /// Records behind row `index` of a rollup file.
    #[must_use]
    pub fn num_records(&self, index: usize) -> Option<i32> {
        let column = self.num_records.as_ref()?;
        column.is_valid(index).then(|| column.value(index))
    }
}

fn to_float(column: &ArrayRef) -> Result<Float32Array, ArrowError> {
    Ok(cast(column, &DataType::Float32)?
        .as_primitive::<Float32Type>()
        .clone())
}

/// Milliseconds, rounded down: a record of 0.9999 s belongs before the full second.
fn to_millis(column: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let whole = cast(column, &DataType::Int64)?;
    let whole = whole.as_primitive::<Int64Type>();
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            whole.unary(|seconds| seconds.saturating_mul(1000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => whole.unary(|us| us.div_euclid(1000)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => whole.unary(|ns| ns.div_euclid(1_000_000)),
        _ => whole.clone(),
    })
}
