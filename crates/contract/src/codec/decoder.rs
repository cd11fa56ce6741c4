//! Values of `metrics` and `rollups` → columns.
//!
//! Measured on values of 14 metrics and 99 bytes in batches of 8192 rows, two cores of a cloud machine, release build
//! (`cargo bench -p benches --bench decode`), nanoseconds a value:
//!
//! | arrow-avro 60.1 | serde_avro_fast 2.1 by a visitor | this: the short way of `flat.rs`, the library behind it |
//! |---|---|---|
//! | 275–285 | 455–470 | 120–127 |
//!
//! arrow-avro is not only slower here: it appends field by field, so that a record which breaks off leaves columns of
//! unequal length, takes bytes after a record for the next one, and checks names only when the batch is finished. One bad
//! record would cost its whole batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Builder, Int32Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::SchemaRef;

use super::flat::{self, FlatRow, Slot};
use super::{DecodeError, MAX_BATCH_BYTES, MAX_FLAT_BYTES, SchemaIds, Wire, framing};
use crate::domain::Contract;
use crate::schema::{SchemaError, arrow_schema, record_of};
use crate::topic::Topic;

/// Rows that a new batch has room for at most: 14 metrics take 0.5 MB then, whatever came before.
const MAX_CAPACITY: usize = 8192;

/// Collects values into columns: `server` (Utf8), `timestamp` (milliseconds, UTC), `profile`, `state` (Utf8), for
/// `rollups` `num_records` (Int32), then one Float32 per metric (for `metrics` the measured ones), and for `rollups`
/// `contract` (Utf8). Every column is nullable.
#[derive(Debug)]
pub struct Decoder {
    wire: Wire,
    slots: Vec<Slot>,
    ids: SchemaIds,
    values: Vec<Option<f32>>,
    columns: Columns,
    num_bytes: usize,
}

impl Decoder {
    /// A decoder for `metrics` (or its dead letters) or `rollups`.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] for another topic.
    pub fn new(topic: Topic, contract: &Contract) -> Result<Decoder, SchemaError> {
        let slots = flat::slots(topic, contract).ok_or_else(|| {
            SchemaError::Invalid(format!("values of {topic} are not flat records"))
        })?;
        let record = record_of(topic, contract);
        Ok(Decoder {
            wire: Wire::new(&record)?,
            columns: Columns::new(arrow_schema(&record), &slots, 0),
            slots,
            ids: SchemaIds::default(),
            values: Vec::new(),
            num_bytes: 0,
        })
    }

    /// Takes values in Confluent's framing with one of these schema ids: in their registry they stand for this schema.
    pub fn accept_schema_ids(&mut self, ids: &[u32]) {
        for id in ids {
            self.ids.insert(*id, self.wire.fingerprints[0]);
        }
    }

    /// The columns of a finished batch.
    pub fn schema(&self) -> SchemaRef {
        self.columns.schema.clone()
    }

    /// Appends one value.
    ///
    /// # Errors
    /// Nothing was appended then.
    pub fn push(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let body = framing::body(value, &self.wire.fingerprints, &self.ids, MAX_FLAT_BYTES)?;
        if self.num_bytes + value.len() > MAX_BATCH_BYTES {
            return Err(DecodeError::BatchFull);
        }
        let row = flat::read(&self.wire.schema, &self.slots, body, &mut self.values)?;
        self.columns.append(&row, &self.values);
        self.num_bytes += value.len();
        Ok(())
    }

    /// Appends a row of nulls, for a value that is null or does not decode.
    pub fn push_null(&mut self) {
        self.columns.append_null();
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.columns.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows so far; the decoder is empty after.
    pub fn finish(&mut self) -> RecordBatch {
        self.num_bytes = 0;
        // The next batch will be about as long: room at once saves growing twenty columns step by step.
        let capacity = self.columns.len.min(MAX_CAPACITY);
        let next = Columns::new(self.columns.schema.clone(), &self.slots, capacity);
        std::mem::replace(&mut self.columns, next).finish()
    }
}

/// A builder for each column that the topic has.
#[derive(Debug)]
struct Columns {
    schema: SchemaRef,
    len: usize,
    server: StringBuilder,
    timestamp: TimestampMillisecondBuilder,
    profile: StringBuilder,
    state: StringBuilder,
    num_records: Option<Int32Builder>,
    metrics: Vec<Float32Builder>,
    contract: Option<StringBuilder>,
}

impl Columns {
    fn new(schema: SchemaRef, slots: &[Slot], capacity: usize) -> Columns {
        let has = |slot| slots.contains(&slot);
        let text = |bytes_per_row| StringBuilder::with_capacity(capacity, capacity * bytes_per_row);
        let num_metrics = slots.iter().filter(|s| **s == Slot::Metric).count();
        Columns {
            schema,
            len: 0,
            server: text(16),
            timestamp: TimestampMillisecondBuilder::with_capacity(capacity).with_timezone("UTC"),
            profile: text(0),
            state: text(0),
            num_records: has(Slot::NumRecords).then(|| Int32Builder::with_capacity(capacity)),
            metrics: (0..num_metrics)
                .map(|_| Float32Builder::with_capacity(capacity))
                .collect(),
            contract: has(Slot::Contract).then(|| text(64)),
        }
    }

    fn append(&mut self, row: &FlatRow<'_>, values: &[Option<f32>]) {
        self.server.append_value(row.server);
        self.timestamp.append_value(row.timestamp);
        self.profile.append_option(row.profile);
        self.state.append_option(row.state);
        if let Some(column) = &mut self.num_records {
            column.append_value(row.num_records);
        }
        // As many values as columns: both come from the slots.
        for (column, value) in self.metrics.iter_mut().zip(values) {
            column.append_option(*value);
        }
        if let Some(column) = &mut self.contract {
            column.append_value(row.contract);
        }
        self.len += 1;
    }

    fn append_null(&mut self) {
        self.server.append_null();
        self.timestamp.append_null();
        self.profile.append_null();
        self.state.append_null();
        if let Some(column) = &mut self.num_records {
            column.append_null();
        }
        for column in &mut self.metrics {
            column.append_null();
        }
        if let Some(column) = &mut self.contract {
            column.append_null();
        }
        self.len += 1;
    }

    #[expect(
        clippy::expect_used,
        reason = "the schema and the builders are made from the same record, and every append is one row of each"
    )]
    fn finish(mut self) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.server.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.profile.finish()),
            Arc::new(self.state.finish()),
        ];
        if let Some(column) = &mut self.num_records {
            arrays.push(Arc::new(column.finish()));
        }
        for column in &mut self.metrics {
            arrays.push(Arc::new(column.finish()));
        }
        if let Some(column) = &mut self.contract {
            arrays.push(Arc::new(column.finish()));
        }
        RecordBatch::try_new(self.schema, arrays).expect("columns of one schema and length")
    }
}
