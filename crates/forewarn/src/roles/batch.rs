//! Typed views of the decoder's columns: rows of `metrics` and `rollups` without copying.

use anyhow::{Context, Result};
use arrow::array::{
    Array, AsArray, Float32Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Float32Type, TimestampMillisecondType};
use contract::Contract;
use contract::codec::Decoder;

/// One batch of raw records, column by column.
pub(crate) struct MetricRows {
    server: StringArray,
    timestamp: TimestampMillisecondArray,
    profile: StringArray,
    state: StringArray,
    values: Vec<Float32Array>,
}

impl MetricRows {
    /// `metrics`: the names of the raw metrics in model order.
    pub(crate) fn new<'a>(
        batch: &RecordBatch,
        metrics: impl Iterator<Item = &'a str>,
    ) -> Result<Self> {
        Ok(Self {
            server: strings(batch, "server")?,
            timestamp: timestamps(batch, "timestamp")?,
            profile: strings(batch, "profile")?,
            state: strings(batch, "state")?,
            values: metrics
                .map(|name| floats(batch, name))
                .collect::<Result<_>>()?,
        })
    }

    /// The server's name; empty where there is none.
    pub(crate) fn server(&self, row: usize) -> &str {
        text(&self.server, row).unwrap_or_default()
    }

    /// Milliseconds since the epoch.
    pub(crate) fn timestamp(&self, row: usize) -> Option<i64> {
        (!self.timestamp.is_null(row)).then(|| self.timestamp.value(row))
    }

    pub(crate) fn profile(&self, row: usize) -> Option<&str> {
        text(&self.profile, row)
    }

    pub(crate) fn state(&self, row: usize) -> Option<&str> {
        text(&self.state, row)
    }

    /// Copies the row's raw values; `present[i]` is false for a null.
    pub(crate) fn values(&self, row: usize, out: &mut Vec<Option<f32>>) {
        out.clear();
        out.extend(
            self.values
                .iter()
                .map(|column| (!column.is_null(row)).then(|| column.value(row))),
        );
    }
}

/// One batch of rollups, column by column.
pub(crate) struct RollupRows {
    server: StringArray,
    bucket: TimestampMillisecondArray,
    profile: StringArray,
    state: StringArray,
    contract: StringArray,
    values: Vec<Float32Array>,
}

impl RollupRows {
    /// Decodes the values of `rollups` records, one row each; what does not decode is a row without
    /// anything in it.
    pub(crate) fn decode<'a>(
        decoder: &mut Decoder,
        contract: &Contract,
        values: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<Self> {
        for value in values {
            if value.is_none_or(|value| decoder.push(value).is_err()) {
                decoder.push_null();
            }
        }
        Self::new(
            &decoder.finish(),
            contract.metrics.iter().map(|m| m.name.as_str()),
        )
    }

    /// Whether the record decoded: every rollup names its contract.
    pub(crate) fn is_decoded(&self, row: usize) -> bool {
        !self.contract.is_null(row)
    }

    /// `metrics`: the names of all metrics in model order.
    fn new<'a>(batch: &RecordBatch, metrics: impl Iterator<Item = &'a str>) -> Result<Self> {
        Ok(Self {
            server: strings(batch, "server")?,
            bucket: timestamps(batch, "timestamp")?,
            profile: strings(batch, "profile")?,
            state: strings(batch, "state")?,
            contract: strings(batch, "contract")?,
            values: metrics
                .map(|name| floats(batch, name))
                .collect::<Result<_>>()?,
        })
    }

    pub(crate) fn server(&self, row: usize) -> &str {
        text(&self.server, row).unwrap_or_default()
    }

    /// Start of the bucket, milliseconds since the epoch.
    pub(crate) fn bucket(&self, row: usize) -> i64 {
        self.bucket.value(row)
    }

    pub(crate) fn profile(&self, row: usize) -> Option<&str> {
        text(&self.profile, row)
    }

    pub(crate) fn state(&self, row: usize) -> Option<&str> {
        text(&self.state, row)
    }

    /// Fingerprint of the contract that the row follows.
    pub(crate) fn contract(&self, row: usize) -> &str {
        text(&self.contract, row).unwrap_or_default()
    }

    /// Copies the row's values, a gap as NaN.
    pub(crate) fn values(&self, row: usize, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.values.iter().map(|column| {
            if column.is_null(row) {
                f32::NAN
            } else {
                column.value(row)
            }
        }));
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    batch
        .column_by_name(name)
        .map(AsRef::as_ref)
        .with_context(|| format!("find column {name} in a decoded batch"))
}

fn strings(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    column(batch, name)?
        .as_string_opt::<i32>()
        .cloned()
        .with_context(|| format!("read column {name} as text"))
}

fn timestamps(batch: &RecordBatch, name: &str) -> Result<TimestampMillisecondArray> {
    column(batch, name)?
        .as_primitive_opt::<TimestampMillisecondType>()
        .cloned()
        .with_context(|| format!("read column {name} as a timestamp in milliseconds"))
}

fn floats(batch: &RecordBatch, name: &str) -> Result<Float32Array> {
    column(batch, name)?
        .as_primitive_opt::<Float32Type>()
        .cloned()
        .with_context(|| format!("read column {name} as float"))
}

fn text(column: &StringArray, row: usize) -> Option<&str> {
    (!column.is_null(row)).then(|| column.value(row))
}
