//! What the program wrote, decoded for comparison.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Int32Type, TimestampMillisecondType};
use contract::codec::{Decoder, Record, decode};
use contract::{Contract, Topic};

use crate::kafka::read_all;
use crate::oracle::Row;

/// All records of a topic with a fixed schema, each with its partition, in order of partition and offset.
///
/// # Panics
/// When one does not decode.
pub fn records<T: Record>(brokers: &str, topic: &str) -> Vec<(i32, T)> {
    let all = read_all(brokers, topic);
    let one = |record: &crate::kafka::Raw| {
        let value = record.value.as_deref().expect("a value");
        (record.partition, decode(value).expect("decode"))
    };
    all.iter().map(one).collect()
}

/// All rows of a `rollups` topic in order of partition and offset, repeats included.
///
/// # Panics
/// When one does not decode or carries another contract's fingerprint.
pub fn rollups(brokers: &str, topic: &str, contract: &Contract) -> Vec<Row> {
    let mut decoder = Decoder::new(Topic::Rollups, contract).expect("make a decoder");
    let records = read_all(brokers, topic);
    for record in &records {
        decoder
            .push(record.value.as_deref().expect("a rollup has a value"))
            .expect("decode");
    }
    let batch = decoder.finish();
    let text = |name: &str| {
        batch
            .column_by_name(name)
            .expect("column")
            .as_string::<i32>()
            .clone()
    };
    let (server, profile, state) = (text("server"), text("profile"), text("state"));
    let fingerprint = text("contract");
    let bucket = batch.column_by_name("timestamp").expect("column");
    let bucket = bucket.as_primitive::<TimestampMillisecondType>();
    let num_records = batch.column_by_name("num_records").expect("column");
    let num_records = num_records.as_primitive::<Int32Type>();
    let values: Vec<_> = contract
        .metrics
        .iter()
        .map(|m| {
            batch
                .column_by_name(&m.name)
                .expect("column")
                .as_primitive::<Float32Type>()
                .clone()
        })
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            assert_eq!(fingerprint.value(row), contract.fingerprint());
            Row {
                bucket_ms: bucket.value(row),
                server: Arc::from(server.value(row)),
                profile: profile.value(row).to_owned(),
                state: (!state.is_null(row)).then(|| state.value(row).to_owned()),
                num_records: num_records.value(row),
                values: values
                    .iter()
                    .map(|v| (!v.is_null(row)).then(|| v.value(row)))
                    .collect(),
            }
        })
        .collect()
}
