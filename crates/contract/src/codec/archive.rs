//! Values of any topic → the columns that the archive keeps.
//!
//! `metrics` and `rollups` as [`Decoder`] has them; the others as their schema says, with lists and structs, fixed-point
//! sums as doubles; `control` has `id, type, source, time` and the payload as JSON text. Every column is nullable.
//!
//! It is not the archive: offsets, keys and the bytes of what does not decode are columns of `lake`.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder as TapeDecoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::typed::Record;
use super::{DecodeError, Decoder, JsonDecoder, MAX_BATCH_BYTES, decode, malformed};
use crate::domain::Contract;
use crate::record::{Alert, DriftReport, Prediction};
use crate::schema::{SchemaError, arrow_schema, arrow_schema_with_integer_times, record_of};
use crate::topic::Topic;

/// Rows that stay in arrow-json's intermediate form, several times as large as the columns they become.
const TAPE_ROWS: usize = 256;

/// Collects values of one topic into columns.
#[derive(Debug)]
pub struct ArchiveColumns(Inner);

#[derive(Debug)]
enum Inner {
    Flat(Box<Decoder>),
    Nested(Box<Nested>),
}

impl ArchiveColumns {
    /// Columns for a topic.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] if the schema does not parse.
    pub fn new(topic: Topic, contract: &Contract) -> Result<ArchiveColumns, SchemaError> {
        Ok(ArchiveColumns(match topic {
            Topic::Metrics | Topic::MetricsDlq | Topic::Rollups => {
                Inner::Flat(Box::new(Decoder::new(topic, contract)?))
            }
            _ => Inner::Nested(Box::new(Nested::new(topic, contract)?)),
        }))
    }

    /// As [`Decoder::accept_schema_ids`], for `metrics` and its dead letters; the other topics are written by us alone.
    pub fn accept_schema_ids(&mut self, ids: &[u32]) {
        if let Inner::Flat(decoder) = &mut self.0 {
            decoder.accept_schema_ids(ids);
        }
    }

    /// The columns of a finished batch.
    pub fn schema(&self) -> SchemaRef {
        match &self.0 {
            Inner::Flat(decoder) => decoder.schema(),
            Inner::Nested(nested) => nested.schema.clone(),
        }
    }

    /// Appends one value.
    ///
    /// # Errors
    /// Nothing was appended then.
    pub fn push(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        match &mut self.0 {
            Inner::Flat(decoder) => decoder.push(value),
            Inner::Nested(nested) => nested.push(value),
        }
    }

    /// Appends a row of nulls, for a value that is null or does not decode.
    ///
    /// # Errors
    /// Arrow's, if earlier rows do not become columns.
    pub fn push_null(&mut self) -> Result<(), ArrowError> {
        match &mut self.0 {
            Inner::Flat(decoder) => decoder.push_null(),
            Inner::Nested(nested) => nested.append(&Nothing {})?,
        }
        Ok(())
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::Flat(decoder) => decoder.len(),
            Inner::Nested(nested) => nested.len,
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows so far; there are none after.
    ///
    /// # Errors
    /// Arrow's, if the rows do not become columns.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        match &mut self.0 {
            Inner::Flat(decoder) => Ok(decoder.finish()),
            Inner::Nested(nested) => nested.finish(),
        }
    }
}

/// A row whose fields are all absent, hence null.
#[derive(Serialize)]
struct Nothing {}

/// A control event as it is stored.
#[derive(Serialize, Deserialize)]
struct ControlRow {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    time: i64,
    payload: String,
}

/// Rows with lists and structs: decoded whole, then written into arrow-json's serde decoder.
struct Nested {
    topic: Topic,
    json: JsonDecoder,
    schema: SchemaRef,
    tape_schema: SchemaRef,
    tape: TapeDecoder,
    batches: Vec<RecordBatch>,
    len: usize,
    num_bytes: usize,
}

impl fmt::Debug for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nested")
            .field("topic", &self.topic)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Nested {
    fn new(topic: Topic, contract: &Contract) -> Result<Nested, SchemaError> {
        let record = record_of(topic, contract);
        let tape_schema = arrow_schema_with_integer_times(&record);
        let tape = ReaderBuilder::new(tape_schema.clone())
            .with_strict_mode(true)
            .build_decoder()
            .map_err(|e| SchemaError::Invalid(e.to_string()))?;
        Ok(Nested {
            topic,
            json: JsonDecoder::new(topic, contract)?,
            schema: arrow_schema(&record),
            tape_schema,
            tape,
            batches: Vec::new(),
            len: 0,
            num_bytes: 0,
        })
    }

    fn push(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        if self.num_bytes + value.len() > MAX_BATCH_BYTES {
            return Err(DecodeError::BatchFull);
        }
        match self.topic {
            Topic::Predictions | Topic::PredictionsShadow => self.push_record::<Prediction>(value),
            Topic::Drift => self.push_record::<DriftReport>(value),
            Topic::Alerts => self.push_record::<Alert>(value),
            Topic::Control => {
                let row = control_row(self.json.decode(value)?)?;
                self.append(&row).map_err(|e| malformed(&e))
            }
            _ => {
                let row = self.json.decode(value)?;
                self.append(&row).map_err(|e| malformed(&e))
            }
        }?;
        self.num_bytes += value.len();
        Ok(())
    }

    fn push_record<T: Record>(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let row = decode::<T>(value)?;
        self.append(&row).map_err(|e| malformed(&e))
    }

    fn append<T: Serialize>(&mut self, row: &T) -> Result<(), ArrowError> {
        if self.tape.len() >= TAPE_ROWS {
            self.batches.extend(self.tape.flush()?);
        }
        self.tape.serialize(std::slice::from_ref(row))?;
        self.len += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.batches.extend(self.tape.flush()?);
        self.len = 0;
        self.num_bytes = 0;
        let batches = std::mem::take(&mut self.batches);
        let batch = concat_batches(&self.tape_schema, &batches)?;
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_, _>>()?)
    }
}

fn control_row(mut event: Value) -> Result<ControlRow, DecodeError> {
    let payload = event
        .get("payload")
        .map(Value::to_string)
        .unwrap_or_default();
    if let Some(fields) = event.as_object_mut() {
        fields.insert("payload".to_owned(), Value::String(payload));
    }
    serde_json::from_value(event).map_err(|e| malformed(&e))
}
