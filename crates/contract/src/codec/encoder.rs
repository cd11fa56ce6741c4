//! Rows of `metrics` and `rollups` → values, in single-object encoding.

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_avro_fast::ser::{SerializerConfig, SerializerState};

use super::{EncodeError, Wire, framing};
use crate::domain::Contract;
use crate::schema::{SchemaError, record_of};
use crate::topic::Topic;

/// What one server measured at one time.
#[derive(Debug, Clone, Copy)]
pub struct MetricRow<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// Kind of server, if it is said.
    pub profile: Option<&'a str>,
    /// Condition, if it is said.
    pub state: Option<&'a str>,
    /// The measured metrics in model order. `None` goes out as null, NaN as NaN.
    pub values: &'a [Option<f32>],
}

/// One server in one bucket.
#[derive(Debug, Clone, Copy)]
pub struct RollupRow<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Start of the bucket, milliseconds since the epoch.
    pub timestamp: i64,
    /// Kind of server.
    pub profile: &'a str,
    /// Last condition.
    pub state: Option<&'a str>,
    /// Records accepted.
    pub num_records: i32,
    /// All metrics in model order; NaN (a gap) goes out as null.
    pub values: &'a [f32],
}

/// Encodes rows of one contract.
#[derive(Debug)]
pub struct Encoder {
    metrics: Wire,
    rollups: Wire,
    names: Vec<String>,
    num_raw: usize,
    contract: String,
}

impl Encoder {
    /// An encoder for both topics.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] if the contract's schema does not parse.
    pub fn new(contract: &Contract) -> Result<Encoder, SchemaError> {
        Ok(Encoder {
            metrics: Wire::new(&record_of(Topic::Metrics, contract))?,
            rollups: Wire::new(&record_of(Topic::Rollups, contract))?,
            names: contract.metrics.iter().map(|m| m.name.clone()).collect(),
            num_raw: contract.raw_metrics().len(),
            contract: contract.fingerprint().to_owned(),
        })
    }

    /// Appends a value of `metrics` to `out`.
    ///
    /// # Errors
    /// [`EncodeError::NumValues`]; `out` is as it was then.
    pub fn encode_metric(&self, row: &MetricRow<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        check_len(self.num_raw, row.values.len())?;
        let names = &self.names;
        write(&self.metrics, &MetricRecord { row, names }, out)
    }

    /// Appends a value of `rollups` to `out`.
    ///
    /// # Errors
    /// [`EncodeError::NumValues`]; `out` is as it was then.
    pub fn encode_rollup(&self, row: &RollupRow<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        check_len(self.names.len(), row.values.len())?;
        let record = RollupRecord {
            row,
            names: &self.names,
            contract: &self.contract,
        };
        write(&self.rollups, &record, out)
    }
}

fn check_len(expected: usize, found: usize) -> Result<(), EncodeError> {
    if expected == found {
        Ok(())
    } else {
        Err(EncodeError::NumValues { expected, found })
    }
}

/// Appends header and body; all or nothing.
pub(super) fn write<T: Serialize>(
    wire: &Wire,
    record: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let [fingerprint, _] = &wire.fingerprints;
    framing::write_header(fingerprint, out);
    let mut config = SerializerConfig::new(&wire.schema);
    let mut state = SerializerState::from_writer(&mut *out, &mut config);
    record.serialize(state.serializer()).map_err(|e| {
        out.truncate(start);
        EncodeError::Record(e.to_string())
    })
}

struct MetricRecord<'a> {
    row: &'a MetricRow<'a>,
    names: &'a [String],
}

impl Serialize for MetricRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("server", self.row.server)?;
        map.serialize_entry("timestamp", &self.row.timestamp)?;
        map.serialize_entry("profile", &self.row.profile)?;
        map.serialize_entry("state", &self.row.state)?;
        for (name, value) in self.names.iter().zip(self.row.values) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct RollupRecord<'a> {
    row: &'a RollupRow<'a>,
    names: &'a [String],
    contract: &'a str,
}

impl Serialize for RollupRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.row.num_records < 0 {
            return Err(S::Error::custom("a negative number of records"));
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("server", self.row.server)?;
        map.serialize_entry("timestamp", &self.row.timestamp)?;
        map.serialize_entry("profile", self.row.profile)?;
        map.serialize_entry("state", &self.row.state)?;
        map.serialize_entry("num_records", &self.row.num_records)?;
        for (name, value) in self.names.iter().zip(self.row.values) {
            map.serialize_entry(name, &(!value.is_nan()).then_some(*value))?;
        }
        map.serialize_entry("contract", self.contract)?;
        map.end()
    }
}
