//! Record files: parquet with `timestamp`, `server`, optional `profile` and `state`, and the contract's metrics by name.
//!
//! * [`RecordFile`] reads one in blocks: `timestamp` in any unit (a plain integer is ms), metrics of any number type,
//!   strings plain or dictionary-encoded. Other columns are not read, and their names are told so that the caller can
//!   print one notice. A file with `num_records` holds rollups: then derived metrics are columns too.
//! * [`RecordWriter`] writes one in a stream; the file appears under its name only when it is complete.
//!
//! Memory is a block (8,192 rows) while reading and a row group (131,072 rows) while writing, however long the file.
//!
//! It is not: a judge of values. A NaN, a null, an empty server name come out as they are in the file.

mod read;
mod write;

/// Key in a file's footer that names the command which made its records up.
const SIMULATED_BY: &str = "forewarn.simulated_by";

use std::path::PathBuf;

pub use read::{Block, Blocks, Kind, RecordFile, parquet_files};
pub use write::RecordWriter;

/// One row of a record file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// The server's name; empty where the file has a null.
    pub server: &'a str,
    /// Milliseconds since the epoch, UTC; `None` where the file has a null.
    pub timestamp_ms: Option<i64>,
    /// Kind of server, if it is said.
    pub profile: Option<&'a str>,
    /// Condition, if it is said.
    pub state: Option<&'a str>,
    /// Metrics in model order (of raw records: the measured ones). `None` is a null; a NaN stays one.
    pub values: &'a [Option<f32>],
}

/// Why a record file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused the file.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no parquet, or damaged, or could not be written.
    #[error("{}: {source}", file.display())]
    Parquet {
        /// The file.
        file: PathBuf,
        /// What the library said.
        source: parquet::errors::ParquetError,
    },
    /// Its columns are not those of the contract.
    #[error("{}: {reason}", file.display())]
    Columns {
        /// The file.
        file: PathBuf,
        /// What is missing or has another type.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
