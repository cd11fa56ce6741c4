//! Bytes ↔ records and columns.
//!
//! * Written: Avro single-object encoding (`C3 01`, 8 bytes of schema fingerprint, body). Read: that, and the Confluent
//!   wire format (`00`, 4 bytes of schema id, body) for ids that the caller knows.
//! * [`Decoder`] and [`Encoder`] are the hot path: `metrics` and `rollups`, whose fields follow the contract.
//! * [`encode`] and [`decode`] are for the records of the low-volume topics.
//! * [`ArchiveColumns`] makes columns of any topic, [`JsonDecoder`] JSON for people.
//!
//! Limits: a value of `metrics` or `rollups` has at most [`MAX_FLAT_BYTES`], any other at most [`MAX_VALUE_BYTES`]; what
//! decoding allocates is proportional to the value's length, whatever lengths are claimed in it.
//!
//! Invariant: a value is taken whole or not at all; one that does not decode changes nothing and never panics.

mod archive;
mod decoder;
mod encoder;
mod flat;
mod framing;
mod json;
mod typed;

pub use archive::ArchiveColumns;
pub use decoder::Decoder;
pub use encoder::{Encoder, MetricRow, RollupRow};
pub use framing::SchemaIds;
pub use json::{JsonDecoder, to_json};
pub use typed::{Record, decode, decode_with, encode};

use crate::schema::SchemaError;

/// Longest value of `metrics` or `rollups`: 256 metrics take 1.3 kB, and names are short. A smaller limit would refuse
/// honest records, a larger one would let one producer fill a batch.
pub const MAX_FLAT_BYTES: usize = 16 * 1024;

/// Longest value of the other topics: a forecast of 256 metrics over 1,000 steps has 3 MB.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// Most value bytes between two `finish`: Arrow's 32-bit offsets end at 2 GiB, and JSON text of a control event can be
/// several times as long as its bytes.
pub const MAX_BATCH_BYTES: usize = 256 * 1024 * 1024;

/// Why a value could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No value (a tombstone).
    #[error("the value is null")]
    Null,
    /// A value without bytes.
    #[error("the value is empty")]
    Empty,
    /// Neither `C3 01` nor `00` at the start.
    #[error("the value begins with neither C3 01 nor 00")]
    UnknownFraming,
    /// A schema id that is not in the table.
    #[error("schema id {0} is not known")]
    UnknownSchemaId(u32),
    /// A schema that is not the topic's.
    #[error("schema fingerprint {} is not this topic's", hex(.0))]
    UnknownFingerprint([u8; 8]),
    /// The bytes do not follow the schema.
    #[error("not a value of this topic's schema: {0}")]
    Malformed(String),
    /// Bytes are left after the record.
    #[error("{0} bytes are left after the record")]
    TrailingBytes(usize),
    /// Longer than the limit.
    #[error("the value has {found} bytes, more than {limit}")]
    TooLarge {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing is wrong with the value: the batch must be finished before it is pushed again.
    #[error("the batch is full")]
    BatchFull,
}

impl DecodeError {
    /// A short label for counters and dead letters.
    pub fn reason(&self) -> &'static str {
        match self {
            DecodeError::Null => "null_value",
            DecodeError::Empty => "empty_value",
            DecodeError::UnknownFraming => "unknown_framing",
            DecodeError::UnknownSchemaId(_) => "unknown_schema_id",
            DecodeError::UnknownFingerprint(_) => "unknown_fingerprint",
            DecodeError::Malformed(_) => "malformed",
            DecodeError::TrailingBytes(_) => "trailing_bytes",
            DecodeError::TooLarge { .. } => "too_large",
            DecodeError::BatchFull => "batch_full",
        }
    }
}

/// Why a record could not be encoded: a mistake of the program, not of its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Another number of metric values than the contract has.
    #[error("encode: {found} values for {expected} metrics")]
    NumValues {
        /// How many the contract has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// The generated schema does not parse.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The record does not follow its schema.
    #[error("encode: {0}")]
    Record(String),
}

/// Avro's own words, cut: they can quote what they found.
fn malformed(error: &dyn std::fmt::Display) -> DecodeError {
    let mut text = error.to_string();
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
    }
    DecodeError::Malformed(text)
}

fn hex(bytes: &[u8; 8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A schema as the codec uses it: parsed, with the fingerprints that stand for it, first the one that we write.
#[derive(Debug)]
struct Wire {
    schema: serde_avro_fast::Schema,
    fingerprints: [[u8; 8]; 2],
    /// What was written before fields came later.
    earlier: Option<Box<Wire>>,
}

impl Wire {
    fn new(record: &crate::schema::Record) -> Result<Wire, SchemaError> {
        let json = record.to_json();
        Ok(Wire {
            schema: json
                .parse()
                .map_err(|e: serde_avro_fast::schema::SchemaError| {
                    SchemaError::Invalid(e.to_string())
                })?,
            fingerprints: crate::schema::accepted_fingerprints(&json)?,
            earlier: match record.earlier() {
                Some(earlier) => Some(Box::new(Wire::new(&earlier)?)),
                None => None,
            },
        })
    }

    /// The schema that a value was written with, this one or an earlier, and its body.
    fn written_with<'a>(
        &self,
        value: &'a [u8],
        ids: &SchemaIds,
    ) -> Result<(&Wire, &'a [u8]), DecodeError> {
        let body = framing::body(value, &self.fingerprints, ids, MAX_VALUE_BYTES);
        match (body, self.earlier.as_deref()) {
            (Err(unknown @ DecodeError::UnknownFingerprint(_)), Some(earlier)) => {
                earlier.written_with(value, ids).map_err(|_| unknown)
            }
            (body, _) => body.map(|body| (self, body)),
        }
    }
}
