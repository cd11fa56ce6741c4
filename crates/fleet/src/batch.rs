//! Columns of a record batch by name, in whatever type they come.
//!
//! It is not: the judge of what a file must have (`records`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use crate::records::RecordsError;

/// A column of times, in whatever unit.
pub(crate) struct Timestamps {
    ticks: ArrayRef,
    unit: Option<TimeUnit>,
}

impl Timestamps {
    /// Milliseconds since the epoch; `None` for null and for what no `i64` of milliseconds can hold.
    pub(crate) fn at(&self, row: usize) -> Option<i64> {
        if self.ticks.is_null(row) {
            return None;
        }
        match self.unit {
            None => Some(self.ticks.as_primitive::<Int64Type>().value(row)),
            Some(TimeUnit::Second) => self
                .ticks
                .as_primitive::<TimestampSecondType>()
                .value(row)
                .checked_mul(1000),
            Some(TimeUnit::Millisecond) => Some(
                self.ticks
                    .as_primitive::<TimestampMillisecondType>()
                    .value(row),
            ),
            Some(TimeUnit::Microsecond) => Some(
                self.ticks
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row)
                    .div_euclid(1000),
            ),
            Some(TimeUnit::Nanosecond) => Some(
                self.ticks
                    .as_primitive::<TimestampNanosecondType>()
                    .value(row)
                    .div_euclid(1_000_000),
            ),
        }
    }
}

pub(crate) fn timestamps(batch: &RecordBatch) -> Result<Timestamps, RecordsError> {
    let name = "timestamp";
    let ticks = batch
        .column_by_name(name)
        .ok_or(RecordsError::MissingColumn { name })?;
    let unit = match ticks.data_type() {
        DataType::Timestamp(unit, _) => Some(*unit),
        DataType::Int64 => None,
        other => {
            return Err(bad_type(
                name,
                other,
                "a timestamp, or an integer in milliseconds,",
            ));
        }
    };
    Ok(Timestamps {
        ticks: Arc::clone(ticks),
        unit,
    })
}

pub(crate) fn texts(batch: &RecordBatch, name: &str) -> Result<Option<ArrayRef>, RecordsError> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let text = match column.data_type() {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Dictionary(_, _)
        | DataType::Null => cast(column, &DataType::Utf8)
            .ok()
            .filter(|column| column.as_string_opt::<i32>().is_some()),
        _ => None,
    };
    text.map(Some)
        .ok_or_else(|| bad_type(name, column.data_type(), "text"))
}

pub(crate) fn text_at(column: Option<&ArrayRef>, row: usize) -> Option<&str> {
    let column = column?.as_string_opt::<i32>()?;
    (!column.is_null(row)).then(|| column.value(row))
}

pub(crate) fn numbers(batch: &RecordBatch, name: &str) -> Result<Option<ArrayRef>, RecordsError> {
    let Some(column) = batch.column_by_name(name) else {
        return Ok(None);
    };
    let kind = column.data_type();
    let number = if kind.is_numeric() || kind.is_null() {
        cast(column, &DataType::Float32).ok()
    } else {
        None
    };
    number
        .map(Some)
        .ok_or_else(|| bad_type(name, kind, "a number"))
}

pub(crate) fn number_at(column: Option<&ArrayRef>, row: usize) -> Option<f32> {
    let column = column?.as_primitive_opt::<Float32Type>()?;
    (!column.is_null(row)).then(|| column.value(row))
}

pub(crate) fn bad_type(name: &str, found: &DataType, wanted: &'static str) -> RecordsError {
    RecordsError::BadType {
        name: name.to_owned(),
        found: found.to_string(),
        wanted,
    }
}
