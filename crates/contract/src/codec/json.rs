//! Values of any topic → JSON for people.
//!
//! Times stay milliseconds; fixed-point sums become numbers; a control event's payload is the record itself, without
//! its Avro name; NaN and infinities, which JSON lacks, become `"NaN"`, `"inf"` and `"-inf"`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{DecodeError, MAX_VALUE_BYTES, SchemaIds, Wire, framing, malformed, typed};
use crate::domain::Contract;
use crate::fixed::Fixed;
use crate::schema::{SchemaError, record_of};
use crate::topic::Topic;

/// Reads values of one topic.
#[derive(Debug)]
pub struct JsonDecoder {
    wire: Wire,
    ids: SchemaIds,
}

impl JsonDecoder {
    /// A decoder for any topic; `metrics.dlq` is read as `metrics`.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] if the schema does not parse.
    pub fn new(topic: Topic, contract: &Contract) -> Result<JsonDecoder, SchemaError> {
        Ok(JsonDecoder {
            wire: Wire::new(&record_of(topic, contract))?,
            ids: SchemaIds::default(),
        })
    }

    /// As [`Decoder::accept_schema_ids`](super::Decoder::accept_schema_ids).
    pub fn accept_schema_ids(&mut self, ids: &[u32]) {
        for id in ids {
            self.ids.insert(*id, self.wire.fingerprints[0]);
        }
    }

    /// The JSON of a value.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn decode(&self, value: &[u8]) -> Result<Value, DecodeError> {
        let body = framing::body(value, &self.wire.fingerprints, &self.ids, MAX_VALUE_BYTES)?;
        typed::read::<Json>(&self.wire, body).map(|json| json.0)
    }
}

/// The JSON of one value; for many, keep a [`JsonDecoder`].
///
/// # Errors
/// What is wrong with the value.
pub fn to_json(topic: Topic, contract: &Contract, value: &[u8]) -> Result<Value, DecodeError> {
    let decoder = JsonDecoder::new(topic, contract).map_err(|e| malformed(&e))?;
    decoder.decode(value)
}

/// A value of whatever type the schema says.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of our schemas")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json(Value::Bool(value)))
    }

    fn visit_i32<E>(self, value: i32) -> Result<Json, E> {
        Ok(Json(Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json(Value::from(value)))
    }

    fn visit_f32<E>(self, value: f32) -> Result<Json, E> {
        // Through the shortest decimal: people read 0.1, not 0.10000000149011612.
        let double = value.to_string().parse().unwrap_or(f64::from(value));
        Ok(Json(number(double)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json(number(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json(Value::from(value)))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Json, E> {
        let fixed = Fixed::from_be_slice(bytes)
            .ok_or_else(|| E::invalid_length(bytes.len(), &"16 bytes"))?;
        Ok(Json(number(fixed.to_f64())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(Json(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Json(value))) = map.next_entry::<String, Json>()? {
            fields.insert(name, value);
        }
        Ok(Json(Value::Object(fields)))
    }
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::Number)
}
