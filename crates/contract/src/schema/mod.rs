//! The Avro schemas of all topics: generated from the contract, fingerprinted, compared.
//!
//! The files under `schemas/` are what this module generates (a test fails when they differ). Fingerprints and
//! compatibility are apache-avro's own, not ours.
//!
//! It is not: a schema registry client, and it reads and writes no files.

mod avro;
mod columns;
mod topics;

use std::collections::BTreeSet;

use apache_avro::rabin::Rabin;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::Value;

use crate::domain::Contract;
use crate::topic::Topic;

pub(crate) use avro::Record;
pub(crate) use columns::{arrow_schema, arrow_schema_with_integer_times};
pub(crate) use topics::{alerts, control, drift, drift_panes, predictions, record_of};

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not an Avro schema.
    #[error("schema: {0}")]
    Invalid(String),
    /// One of two schemas cannot read what the other wrote.
    #[error("schema: {direction}: {problem}")]
    Incompatible {
        /// `backward` (the new one reads old data) or `forward` (the old one reads new data).
        direction: &'static str,
        /// What does not fit.
        problem: String,
    },
}

/// The schema of a topic's values as it stands in its file: pretty JSON with a final line feed.
///
/// `metrics.dlq` holds records of `metrics` (or what was taken for one), `predictions.shadow` those of `predictions`.
pub fn avro_schema(topic: Topic, contract: &Contract) -> String {
    record_of(topic, contract).to_json()
}

/// The CRC-64-AVRO fingerprint of a schema's parsing canonical form, little-endian, as it follows `C3 01`.
///
/// The canonical form of a timestamp is `"long"`, as in Avro's Java implementation, fastavro, serde_avro_fast and
/// arrow-avro. apache-avro (Rust) and Avro's Python implementation leave `{"type":"long"}` behind and hence find
/// another fingerprint, see [`accepted_fingerprints`].
///
/// # Errors
/// [`SchemaError::Invalid`].
pub fn fingerprint_crc64(schema: &str) -> Result<[u8; 8], SchemaError> {
    let mut json: Value =
        serde_json::from_str(schema).map_err(|e| SchemaError::Invalid(e.to_string()))?;
    strip_logical_types(&mut json);
    rabin(&json.to_string())
}

/// The fingerprints that a writer of this schema may have put behind `C3 01`: first ours, then that of libraries which
/// read the rules of the canonical form in the other order (the same, where the schema has no logical type).
///
/// # Errors
/// [`SchemaError::Invalid`].
pub fn accepted_fingerprints(schema: &str) -> Result<[[u8; 8]; 2], SchemaError> {
    Ok([fingerprint_crc64(schema)?, rabin(schema)?])
}

/// The fingerprint as apache-avro computes it.
fn rabin(schema: &str) -> Result<[u8; 8], SchemaError> {
    let fingerprint = parse(schema)?.fingerprint::<Rabin>();
    <[u8; 8]>::try_from(fingerprint.bytes.as_slice())
        .map_err(|_| SchemaError::Invalid("the fingerprint does not have 8 bytes".to_owned()))
}

/// Replaces `{"type": T, "logicalType": …}` by `T` wherever T is not a name of its own.
fn strip_logical_types(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(strip_logical_types),
        Value::Object(object) => {
            let is_plain = object.contains_key("logicalType") && !object.contains_key("name");
            match object.get("type") {
                Some(Value::String(name)) if is_plain => *json = Value::String(name.clone()),
                _ => object.values_mut().for_each(strip_logical_types),
            }
        }
        _ => {}
    }
}

/// Whether each of two versions of a schema reads what the other wrote.
///
/// # Errors
/// [`SchemaError::Invalid`] for what is no schema, [`SchemaError::Incompatible`] with the direction that fails.
pub fn compatible(old: &str, new: &str) -> Result<(), SchemaError> {
    let (old, new) = (parse(old)?, parse(new)?);
    let directions = [("backward", &old, &new), ("forward", &new, &old)];
    for (direction, writer, reader) in directions {
        SchemaCompatibility::can_read(writer, reader).map_err(|e| SchemaError::Incompatible {
            direction,
            problem: e.to_string().replace('\n', " "),
        })?;
    }
    Ok(())
}

/// All schema files of the given contracts: (path below `schemas/`, content), by path, each path once.
pub fn generated_files(contracts: &[Contract]) -> Vec<(String, String)> {
    let mut files = BTreeSet::new();
    for contract in contracts {
        for topic in Topic::ALL {
            let content = || avro_schema(topic, contract);
            let path = match topic {
                Topic::Metrics => format!("{}/server_metrics.avsc", contract.name),
                Topic::Rollups => format!("{}/rollups.avsc", contract.name),
                Topic::Predictions => "predictions.avsc".to_owned(),
                Topic::DriftPanes => "drift_panes.avsc".to_owned(),
                Topic::Drift => "drift.avsc".to_owned(),
                Topic::Alerts => "alerts.avsc".to_owned(),
                Topic::Control => "control.avsc".to_owned(),
                Topic::PredictionsShadow | Topic::MetricsDlq => continue,
            };
            files.insert((path, content()));
        }
    }
    files.into_iter().collect()
}

/// The schema files of every contract that comes with the program.
pub fn shipped_files() -> Vec<(String, String)> {
    let contracts: Vec<Contract> = Contract::SHIPPED
        .into_iter()
        .filter_map(Contract::shipped)
        .collect();
    generated_files(&contracts)
}

fn parse(schema: &str) -> Result<apache_avro::Schema, SchemaError> {
    apache_avro::Schema::parse_str(schema)
        .map_err(|e| SchemaError::Invalid(e.to_string().replace('\n', " ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_compatible(old: &str, new: &str, expected: Option<&str>) {
        let found = match compatible(old, new) {
            Ok(()) => None,
            Err(SchemaError::Incompatible { direction, .. }) => Some(direction),
            Err(e) => panic!("{e}"),
        };
        assert_eq!(found, expected);
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[test]
    fn both_libraries_see_the_same_fingerprint() {
        for (path, schema) in shipped_files() {
            let fast: serde_avro_fast::Schema = schema.parse().unwrap();
            let apache = fingerprint_crc64(&schema).unwrap();
            assert_eq!(&apache, fast.rabin_fingerprint(), "{path}");
        }
    }

    #[test]
    fn a_timestamp_is_a_long_in_the_canonical_form() {
        let logical =
            record(r#"{"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}}"#);
        let namespaced = logical.replace(r#""name":"R""#, r#""name":"R","namespace":"n""#);
        // What fastavro 1.13.1 and avro 1.12.2 (Python) say of `namespaced`.
        let fastavro = 0x38c1_f024_273c_0490_u64.to_be_bytes();
        let python = 0x069c_0d54_4d00_3ad5_u64.to_be_bytes();
        assert_eq!(
            accepted_fingerprints(&namespaced).unwrap(),
            [fastavro, python]
        );
        let plain = record(r#"{"name":"t","type":"long"}"#);
        let expected = fingerprint_crc64(&plain).unwrap();
        assert_eq!(fingerprint_crc64(&logical).unwrap(), expected);
        assert_eq!(accepted_fingerprints(&plain).unwrap(), [expected, expected]);
    }

    #[test]
    fn the_fingerprint_is_the_specifications() {
        // The fingerprint of "int" in Avro's own test data (share/test/data/schema-tests.txt), 8247732601305521295.
        let expected = 8_247_732_601_305_521_295_u64.to_le_bytes();
        assert_eq!(fingerprint_crc64(r#""int""#).unwrap(), expected);
    }

    #[test]
    fn documentation_and_layout_do_not_change_the_fingerprint() {
        let plain = record(r#"{"name":"a","type":"long"}"#);
        let told = r#"{ "type": "record", "name": "R", "doc": "d",
            "fields": [ {"doc": "a", "type": "long", "name": "a"} ] }"#;
        assert_eq!(
            fingerprint_crc64(&plain).unwrap(),
            fingerprint_crc64(told).unwrap()
        );
    }

    #[test]
    fn a_new_field_needs_a_default_to_read_old_data() {
        let old = record(r#"{"name":"a","type":"long"}"#);
        let with = record(
            r#"{"name":"a","type":"long"},{"name":"b","type":["null","float"],"default":null}"#,
        );
        let without = record(r#"{"name":"a","type":"long"},{"name":"b","type":["null","float"]}"#);
        check_compatible(&old, &with, None);
        check_compatible(&with, &old, None);
        check_compatible(&old, &without, Some("backward"));
        check_compatible(&without, &old, Some("forward"));
    }

    #[test]
    fn another_type_or_name_is_incompatible() {
        let old = record(r#"{"name":"a","type":"long"}"#);
        check_compatible(
            &old,
            &record(r#"{"name":"a","type":"string"}"#),
            Some("backward"),
        );
        // A long reads an int, not the other way round.
        check_compatible(
            &old,
            &record(r#"{"name":"a","type":"int"}"#),
            Some("backward"),
        );
        check_compatible(&old, &old, None);
        assert!(matches!(
            compatible("{", &old),
            Err(SchemaError::Invalid(_))
        ));
    }

    #[test]
    fn every_generated_schema_is_compatible_with_itself() {
        for (path, schema) in shipped_files() {
            compatible(&schema, &schema).unwrap_or_else(|e| panic!("{path}: {e}"));
        }
    }

    #[test]
    fn files_follow_the_contracts() {
        let paths: Vec<String> = shipped_files().into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "alerts.avsc",
                "control.avsc",
                "drift.avsc",
                "drift_panes.avsc",
                "linborg/rollups.avsc",
                "linborg/server_metrics.avsc",
                "predictions.avsc",
                "vm/rollups.avsc",
                "vm/server_metrics.avsc",
                "wafer-test/rollups.avsc",
                "wafer-test/server_metrics.avsc",
            ]
        );
    }

    #[test]
    fn derived_metrics_are_in_rollups_only() {
        let wafer = Contract::shipped("wafer-test").unwrap();
        let fields = |topic| {
            let json: serde_json::Value =
                serde_json::from_str(&avro_schema(topic, &wafer)).unwrap();
            json["fields"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fields(Topic::Metrics),
            [
                "server",
                "timestamp",
                "profile",
                "state",
                "vdd",
                "idd",
                "frequency",
                "temperature"
            ]
        );
        assert_eq!(
            fields(Topic::Rollups),
            [
                "server",
                "timestamp",
                "profile",
                "state",
                "num_records",
                "vdd",
                "idd",
                "frequency",
                "temperature",
                "power",
                "power_efficiency",
                "contract"
            ]
        );
    }
}
