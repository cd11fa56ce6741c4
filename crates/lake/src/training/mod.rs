//! What a model is trained on: rollups as one dense grid per server.
//!
//! [`TrainingWindow::from_archive`] reads the archive's objects (skipping those that lie outside the time asked for by
//! their footers), [`TrainingWindow::from_files`] record files, whose raw records go through the same engine as the
//! service's; a [`Collector`] takes rows from elsewhere. Repeats are dropped by (server, bucket), the first wins; rows of another contract are skipped and counted.
//! The positions that were read are part of the result: the same positions give the same data.
//!
//! It is not: a normalisation or a split. Values are as they were rolled up, gaps are NaN.

mod archive;
mod collect;
mod raw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::{Contract, GapReason};
use object_store::ObjectStore;
use window::rollup::{ConfigError, Counts};

use crate::archive::{ArchiveError, tail_offset};
use crate::records::{Kind, RecordError, RecordFile, parquet_files};
use crate::verify::Bad;

pub use collect::{Collector, MAX_STEPS, MAX_VALUES, NO_STATE, Rollup};
pub use raw::rollup_config;

/// Which rows are wanted.
pub struct Selection<'a> {
    /// Buckets from here on, ms.
    pub from_ms: Option<i64>,
    /// Buckets that start before this, ms.
    pub to_ms: Option<i64>,
    /// Only the last days before the newest bucket found.
    pub last_days: Option<u32>,
    /// Servers by name.
    pub servers: &'a (dyn Fn(&str) -> bool + Sync),
}

impl Default for Selection<'_> {
    fn default() -> Self {
        Selection {
            from_ms: None,
            to_ms: None,
            last_days: None,
            servers: &|_| true,
        }
    }
}

impl std::fmt::Debug for Selection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selection")
            .field("from_ms", &self.from_ms)
            .field("to_ms", &self.to_ms)
            .field("last_days", &self.last_days)
            .finish_non_exhaustive()
    }
}

impl Selection<'_> {
    fn has_bucket(&self, bucket: i64) -> bool {
        self.from_ms.is_none_or(|from| bucket >= from) && self.to_ms.is_none_or(|to| bucket < to)
    }
}

/// One server's rows on the contract's grid.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSeries {
    /// Name.
    pub server: String,
    /// Index of its profile in the contract, as of its newest row.
    pub profile: usize,
    /// Start of the first bucket, ms.
    pub start_ms: i64,
    /// `[steps × metrics]` in model order; NaN is a gap.
    pub values: Vec<f32>,
    /// `[steps]`, index of the state in the contract, or [`NO_STATE`].
    pub states: Vec<u8>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct TrainingWindow {
    /// By server name.
    pub series: Vec<ServerSeries>,
    /// (partition, offset after the last row that could be used), by partition; empty when read from files.
    pub positions: Vec<(i32, i64)>,
    /// Rows in the grids.
    pub rows: u64,
    /// Rows dropped because an earlier one had the same server and bucket.
    pub repeats: u64,
    /// Rows of another contract.
    pub other_contract: u64,
    /// Rows without a server or time: records that did not decode.
    pub undecodable: u64,
    /// Objects that could not be read. Alarm: the data has a hole.
    pub broken: Vec<Bad>,
    /// What became of the raw records, where the files had any.
    pub raw: Counts,
    /// Values of raw records that became gaps, by metric and reason.
    pub gaps: BTreeMap<(usize, GapReason), u64>,
    /// Columns of the files that were not read.
    pub ignored_columns: Vec<String>,
    /// What the files say to have made their records up, each once.
    pub simulated_by: Vec<String>,
    /// Files that do not say that their records are made up.
    pub unmarked_files: usize,
}

/// Why there is no training window.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A record file cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The contract's grid is none the rollup can work on.
    #[error(transparent)]
    Rollup(#[from] ConfigError),
    /// One server's rows are too far apart for one grid: narrow the time.
    #[error(
        "{server}: rows span {days} days, at most {max} fit: narrow --from and --to or use --days"
    )]
    Span {
        /// The server.
        server: String,
        /// From its first to its last row.
        days: i64,
        /// What fits.
        max: i64,
    },
    /// The grids do not fit in memory: narrow time or servers.
    #[error("{values} values, at most {MAX_VALUES} fit: narrow --from, --to or --servers")]
    TooLarge {
        /// Steps × metrics of all servers.
        values: usize,
    },
}

impl TrainingWindow {
    /// Reads `topic` (full name, rollups) from the archive, up to the given (partition, offset) positions where they are
    /// given, or to the end of each chain.
    ///
    /// # Errors
    /// [`TrainingError::Archive`] where the store fails; [`TrainingError::Span`] and [`TrainingError::TooLarge`]. An
    /// object that cannot be read is no error: it is named in [`broken`](Self::broken).
    pub async fn from_archive(
        store: &dyn ObjectStore,
        topic: &str,
        contract: &Contract,
        selection: &Selection<'_>,
        upto: Option<&[(i32, i64)]>,
    ) -> Result<TrainingWindow, TrainingError> {
        archive::read(store, topic, contract, selection, upto).await
    }

    /// Reads record files, in the order given: raw records or rollups, whichever each file holds. `data` is a file or a
    /// directory.
    ///
    /// # Errors
    /// [`TrainingError::Records`] where a file cannot be read or has not the contract's columns; [`TrainingError::Span`]
    /// and [`TrainingError::TooLarge`].
    pub fn from_files(
        data: &Path,
        contract: &Contract,
        selection: &Selection<'_>,
    ) -> Result<TrainingWindow, TrainingError> {
        let paths: Vec<PathBuf> = parquet_files(data)?;
        let opened = paths.iter().map(|path| RecordFile::open(path, contract));
        let files = opened.collect::<Result<Vec<_>, _>>()?;
        let mut collector = Collector::new(contract, selection);
        let (raw, rollups): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| file.kind() == Kind::Raw);
        for file in rollups {
            for block in file.blocks()? {
                collector.add_block(&block?, |_| true);
            }
        }
        let raw = raw::roll_up(&raw, &mut collector)?;
        let mut window = collector.finish()?;
        window.raw = raw.counts;
        window.gaps = raw.gaps;
        window.ignored_columns = ignored(&files);
        let simulated = files.iter().filter_map(RecordFile::simulated_by);
        window.simulated_by = simulated.map(str::to_owned).collect();
        window.unmarked_files = files.len() - window.simulated_by.len();
        window.simulated_by.sort_unstable();
        window.simulated_by.dedup();
        Ok(window)
    }
}

fn ignored(files: &[RecordFile]) -> Vec<String> {
    let names = files.iter().flat_map(RecordFile::ignored);
    let mut names: Vec<String> = names.cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether the archive of `topic` holds everything before the given (partition, offset) positions.
///
/// # Errors
/// As [`tail_offset`].
pub async fn reached(
    store: &dyn ObjectStore,
    topic: &str,
    positions: &[(i32, i64)],
) -> Result<bool, ArchiveError> {
    for &(partition, offset) in positions {
        let tail = tail_offset(store, topic, partition).await?;
        if tail.unwrap_or(0) < offset {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
