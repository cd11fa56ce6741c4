//! Records of the low-volume topics ↔ values.

use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState, read::SliceRead};

use super::{DecodeError, EncodeError, SchemaIds, Wire, encoder, flat, malformed};
use crate::record::{Alert, ControlEvent, DriftReport, Pane, Prediction};
use crate::schema::{self, SchemaError};
use crate::topic::Topic;

mod sealed {
    use super::{SchemaError, Wire};

    pub trait Wired {
        #[expect(private_interfaces, reason = "the trait cannot be named outside")]
        fn wire() -> Result<&'static Wire, SchemaError>;
    }
}

/// A record whose schema is the same for every contract.
pub trait Record: Serialize + DeserializeOwned + sealed::Wired {
    /// The topic it travels on.
    const TOPIC: Topic;
}

macro_rules! record {
    ($type:ty, $topic:expr, $schema:path) => {
        impl sealed::Wired for $type {
            #[expect(private_interfaces, reason = "the trait cannot be named outside")]
            fn wire() -> Result<&'static Wire, SchemaError> {
                static WIRE: LazyLock<Result<Wire, SchemaError>> =
                    LazyLock::new(|| Wire::new(&$schema()));
                WIRE.as_ref().map_err(Clone::clone)
            }
        }

        impl Record for $type {
            const TOPIC: Topic = $topic;
        }
    };
}

record!(Prediction, Topic::Predictions, schema::predictions);
record!(Pane, Topic::DriftPanes, schema::drift_panes);
record!(DriftReport, Topic::Drift, schema::drift);
record!(Alert, Topic::Alerts, schema::alerts);
record!(ControlEvent, Topic::Control, schema::control);

/// The value of a record, in single-object encoding.
///
/// # Errors
/// [`EncodeError::Record`] for what Avro cannot hold.
pub fn encode<T: Record>(record: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encoder::write(T::wire()?, record, &mut out)?;
    Ok(out)
}

/// The record of a value, also of one that was written before some of its fields came: they are empty or zero then.
///
/// # Errors
/// What is wrong with the value.
pub fn decode<T: Record>(value: &[u8]) -> Result<T, DecodeError> {
    decode_with(value, &SchemaIds::default())
}

/// As [`decode`], with Confluent schema ids that are known.
///
/// # Errors
/// What is wrong with the value.
pub fn decode_with<T: Record>(value: &[u8], ids: &SchemaIds) -> Result<T, DecodeError> {
    let wire = T::wire().map_err(|e| malformed(&e))?;
    let (wire, body) = wire.written_with(value, ids)?;
    read(wire, body)
}

/// Reads a body to its end.
pub(super) fn read<T: DeserializeOwned>(wire: &Wire, body: &[u8]) -> Result<T, DecodeError> {
    let mut config = DeserializerConfig::new(&wire.schema);
    // Every element takes a byte at least: more elements than bytes are a lie.
    config.max_seq_size = body.len();
    let mut state = DeserializerState::with_config(SliceRead::new(body), config);
    let record = T::deserialize(state.deserializer()).map_err(|e| malformed(&e))?;
    flat::no_rest(state.into_reader())?;
    Ok(record)
}
