//! Recorded data in columns: what replay sorts and what an import yields.
//!
//! Invariants: all columns have the same length; a null (no value) and a NaN (a value that is no number) stay different;
//! a row is in whole or not at all.
//!
//! Memory: 16 bytes a row, 4⅛ bytes a row and metric, and the names once each.
//!
//! It is not: a parquet reader (`lake` fills and drains it through record batches), nor does it judge values.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float32Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;

use crate::batch::{number_at, numbers, text_at, texts, timestamps};

/// Most rows in one [`Records`]. Rows are numbered by `u32`; with more, the sort index would need twice the memory.
const MAX_ROWS: usize = u32::MAX as usize;
/// Most different profiles, and states. They are kept as `u16`.
const MAX_LABELS: usize = u16::MAX as usize;
/// Stands for "no profile" or "no state".
const NO_LABEL: u16 = u16::MAX;

/// Why rows were not taken.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// A column that every file of records has.
    #[error(
        "column '{name}' is missing: a file of records has timestamp, server and metrics by name"
    )]
    MissingColumn {
        /// Its name.
        name: &'static str,
    },
    /// No column of the contract.
    #[error("none of the metrics {expected} is a column")]
    NoMetric {
        /// What was looked for, separated by commas.
        expected: String,
    },
    /// A column of a type that cannot be read as what it must be.
    #[error("column '{name}' is {found}: {wanted} is needed")]
    BadType {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// More rows, profiles or states than fit.
    #[error("more than {most} {what}: read the data in parts (from, to, servers)")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// A row with another number of values than there are metrics.
    #[error("a row of {found} values where there are {expected} metrics")]
    BadWidth {
        /// Values given.
        found: usize,
        /// Metrics expected.
        expected: usize,
    },
    /// Arrow refused to build a batch.
    #[error("cannot build a record batch: {0}")]
    Arrow(#[from] ArrowError),
}

/// One row; the values in the order of the metrics, `None` for null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Whose.
    pub server: &'a str,
    /// When, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// What the data says about its profile.
    pub profile: Option<&'a str>,
    /// What the data says about its state.
    pub state: Option<&'a str>,
    /// What was measured.
    pub values: &'a [Option<f32>],
}

/// Rows in columns.
#[derive(Debug, Clone, Default)]
pub struct Records {
    metrics: Vec<String>,
    timestamps: Vec<i64>,
    servers: Vec<u32>,
    profiles: Vec<u16>,
    states: Vec<u16>,
    columns: Vec<Column>,
    server_names: Names,
    labels: Names,
}

/// Each name once.
#[derive(Debug, Clone, Default)]
struct Names {
    names: Vec<Arc<str>>,
    index: HashMap<Arc<str>, u32>,
}

/// Values and which of them there are.
#[derive(Debug, Clone, Default)]
struct Column {
    values: Vec<f32>,
    present: Vec<u64>,
}

impl Names {
    /// `most` is below 2³², so that the number fits.
    fn number_of(&mut self, name: &str, most: usize) -> Option<u32> {
        if let Some(&number) = self.index.get(name) {
            return Some(number);
        }
        if self.names.len() >= most {
            return None;
        }
        let number = u32::try_from(self.names.len()).ok()?;
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.index.insert(name, number);
        Some(number)
    }

    fn name(&self, number: usize) -> Option<&str> {
        self.names.get(number).map(AsRef::as_ref)
    }
}

impl Column {
    fn push(&mut self, value: Option<f32>) {
        let row = self.values.len();
        if row.is_multiple_of(64) {
            self.present.push(0);
        }
        if value.is_some()
            && let Some(word) = self.present.last_mut()
        {
            *word |= 1 << (row % 64);
        }
        self.values.push(value.unwrap_or(0.0));
    }

    fn get(&self, row: usize) -> Option<f32> {
        let word = self.present.get(row / 64).copied().unwrap_or(0);
        if word >> (row % 64) & 1 == 1 {
            self.values.get(row).copied()
        } else {
            None
        }
    }

    fn clear(&mut self) {
        self.values.clear();
        self.present.clear();
    }
}

impl Records {
    /// No rows yet, of these metrics in this order.
    pub fn new(metrics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let metrics: Vec<String> = metrics.into_iter().map(Into::into).collect();
        Records {
            columns: vec![Column::default(); metrics.len()],
            metrics,
            ..Records::default()
        }
    }

    /// Names of the metrics.
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Number of servers seen since it was made.
    pub fn num_servers(&self) -> usize {
        self.server_names.names.len()
    }

    /// Times of the rows, milliseconds since the epoch.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// Forgets the rows, not the names.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.servers.clear();
        self.profiles.clear();
        self.states.clear();
        self.columns.iter_mut().for_each(Column::clear);
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`RecordsError::BadWidth`] or [`RecordsError::TooMany`]; nothing is added then.
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), RecordsError> {
        if row.values.len() != self.columns.len() {
            return Err(RecordsError::BadWidth {
                found: row.values.len(),
                expected: self.columns.len(),
            });
        }
        if self.len() >= MAX_ROWS {
            return Err(RecordsError::TooMany {
                what: "rows",
                most: MAX_ROWS,
            });
        }
        let profile = self.label(row.profile)?;
        let state = self.label(row.state)?;
        let server = self.server_names.number_of(row.server, MAX_ROWS);
        let server = server.ok_or(RecordsError::TooMany {
            what: "servers",
            most: MAX_ROWS,
        })?;
        self.timestamps.push(row.timestamp_ms);
        self.servers.push(server);
        self.profiles.push(profile);
        self.states.push(state);
        for (column, value) in self.columns.iter_mut().zip(row.values) {
            column.push(*value);
        }
        Ok(())
    }

    fn label(&mut self, label: Option<&str>) -> Result<u16, RecordsError> {
        let Some(label) = label else {
            return Ok(NO_LABEL);
        };
        let number = self
            .labels
            .number_of(label, MAX_LABELS)
            .and_then(|number| u16::try_from(number).ok());
        number.ok_or(RecordsError::TooMany {
            what: "different profiles and states",
            most: MAX_LABELS,
        })
    }

    /// A row; `scratch` is where its values are put together.
    pub fn row<'a>(&'a self, index: usize, scratch: &'a mut Vec<Option<f32>>) -> Option<Row<'a>> {
        let timestamp_ms = *self.timestamps.get(index)?;
        let server = self.server_names.name(*self.servers.get(index)? as usize)?;
        scratch.clear();
        scratch.extend(self.columns.iter().map(|column| column.get(index)));
        let label = |labels: &[u16]| {
            let number = labels
                .get(index)
                .copied()
                .filter(|&number| number != NO_LABEL)?;
            self.labels.name(usize::from(number))
        };
        Some(Row {
            server,
            timestamp_ms,
            profile: label(&self.profiles),
            state: label(&self.states),
            values: scratch,
        })
    }

    /// Adds the rows of a batch for which `wanted(server, timestamp_ms)` holds, and returns how many rows had no server or no
    /// timestamp (those are left out).
    ///
    /// Columns go by name: `timestamp` (a timestamp of any unit, or an integer in ms), `server`, perhaps `profile` and
    /// `state`, and the metrics; a metric without a column is null, other columns are ignored.
    ///
    /// # Errors
    /// Any [`RecordsError`]; rows before the one that did not fit have been added then.
    pub fn append(
        &mut self,
        batch: &RecordBatch,
        mut wanted: impl FnMut(&str, i64) -> bool,
    ) -> Result<usize, RecordsError> {
        let timestamps = timestamps(batch)?;
        let servers =
            texts(batch, "server")?.ok_or(RecordsError::MissingColumn { name: "server" })?;
        let profiles = texts(batch, "profile")?;
        let states = texts(batch, "state")?;
        let columns = self
            .metrics
            .iter()
            .map(|name| numbers(batch, name))
            .collect::<Result<Vec<_>, _>>()?;
        if columns.iter().all(Option::is_none) {
            return Err(RecordsError::NoMetric {
                expected: self.metrics.join(", "),
            });
        }
        let mut incomplete = 0;
        let mut values = Vec::with_capacity(columns.len());
        for row in 0..batch.num_rows() {
            let (Some(timestamp_ms), Some(server)) =
                (timestamps.at(row), text_at(Some(&servers), row))
            else {
                incomplete += 1;
                continue;
            };
            if !wanted(server, timestamp_ms) {
                continue;
            }
            values.clear();
            values.extend(columns.iter().map(|column| number_at(column.as_ref(), row)));
            let profile = text_at(profiles.as_ref(), row);
            let state = text_at(states.as_ref(), row);
            self.push(&Row {
                server,
                timestamp_ms,
                profile,
                state,
                values: &values,
            })?;
        }
        Ok(incomplete)
    }

    /// The rows of a range (cut to those there are) as a batch: `timestamp` (ms, UTC), `server`, `profile`, `state`, metrics.
    /// `profile` and `state` are left out where no row of the range has one.
    ///
    /// # Errors
    /// [`RecordsError::Arrow`], which cannot happen with columns of the same length.
    pub fn to_batch(&self, rows: std::ops::Range<usize>) -> Result<RecordBatch, RecordsError> {
        let rows = rows.start.min(self.len())..rows.end.min(self.len());
        let rows = || rows.clone();
        let timestamps: Vec<i64> = rows()
            .filter_map(|row| self.timestamps.get(row).copied())
            .collect();
        let timestamps = TimestampMillisecondArray::from(timestamps).with_timezone("UTC");
        let mut fields = vec![Field::new(
            "timestamp",
            timestamps.data_type().clone(),
            false,
        )];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(timestamps)];
        let number = |row: usize| self.servers.get(row).map(|&number| number as usize);
        let names = rows().map(|row| number(row).and_then(|number| self.server_names.name(number)));
        fields.push(Field::new("server", DataType::Utf8, false));
        columns.push(Arc::new(names.collect::<StringArray>()));
        for (name, labels) in [("profile", &self.profiles), ("state", &self.states)] {
            let number = |row: usize| labels.get(row).map(|&number| usize::from(number));
            let labels = rows().map(|row| number(row).and_then(|number| self.labels.name(number)));
            let labels = labels.collect::<StringArray>();
            if labels.null_count() < labels.len() {
                fields.push(Field::new(name, DataType::Utf8, true));
                columns.push(Arc::new(labels));
            }
        }
        for (name, column) in self.metrics.iter().zip(&self.columns) {
            fields.push(Field::new(name, DataType::Float32, true));
            columns.push(Arc::new(
                rows().map(|row| column.get(row)).collect::<Float32Array>(),
            ));
        }
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }

    /// Rows below `before_ms` go to the first, the others to the second; names are kept in both.
    pub(crate) fn split(self, before_ms: i64) -> Result<(Records, Records), RecordsError> {
        let mut early = Records::new(&self.metrics);
        let mut late = Records::new(&self.metrics);
        let mut scratch = Vec::new();
        for index in 0..self.len() {
            if let Some(row) = self.row(index, &mut scratch) {
                let half = if row.timestamp_ms < before_ms {
                    &mut early
                } else {
                    &mut late
                };
                half.push(&row)?;
            }
        }
        Ok((early, late))
    }
}

#[cfg(test)]
mod tests;
