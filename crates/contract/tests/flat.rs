//! `metrics` and `rollups` on the wire: hand-made bytes in, columns out, and what does not decode changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type, TimestampMillisecondType};
use contract::codec::{
    DecodeError, Decoder, Encoder, MAX_FLAT_BYTES, MetricRow, RollupRow, to_json,
};
use contract::schema::{accepted_fingerprints, avro_schema, fingerprint_crc64};
use contract::{Contract, Topic};

fn vm() -> Contract {
    Contract::shipped("vm").unwrap()
}

fn fingerprint(topic: Topic, contract: &Contract) -> [u8; 8] {
    fingerprint_crc64(&avro_schema(topic, contract)).unwrap()
}

fn framed(fingerprint: [u8; 8], body: &[u8]) -> Vec<u8> {
    [&[0xC3, 0x01], fingerprint.as_slice(), body].concat()
}

/// Server "a1", 1 ms before the epoch, no profile, state "up", cpu 1.5, mem null, disk read NaN, others 0, -2, null.
const BODY: [u8; 31] = [
    4, b'a', b'1', // string of 2
    1,    // zigzag of -1
    0,    // null
    2, 4, b'u', b'p', // string of 2
    2, 0x00, 0x00, 0xC0, 0x3F, // 1.5
    0,    // null
    2, 0x00, 0x00, 0xC0, 0x7F, // NaN
    2, 0x00, 0x00, 0x00, 0x00, // 0
    2, 0x00, 0x00, 0x00, 0xC0, // -2
    0,    // null
];

fn metric_value() -> Vec<u8> {
    framed(fingerprint(Topic::Metrics, &vm()), &BODY)
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(column).unwrap().as_string::<i32>();
    (!column.is_null(row)).then(|| column.value(row).to_owned())
}

fn float(batch: &RecordBatch, column: &str, row: usize) -> Option<f32> {
    let column = batch
        .column_by_name(column)
        .unwrap()
        .as_primitive::<Float32Type>();
    (!column.is_null(row)).then(|| column.value(row))
}

fn millis(batch: &RecordBatch, row: usize) -> i64 {
    let column = batch.column_by_name("timestamp").unwrap();
    column.as_primitive::<TimestampMillisecondType>().value(row)
}

#[track_caller]
fn check_metric(batch: &RecordBatch, row: usize) {
    assert_eq!(text(batch, "server", row).as_deref(), Some("a1"));
    assert_eq!(millis(batch, row), -1);
    assert_eq!(text(batch, "profile", row), None);
    assert_eq!(text(batch, "state", row).as_deref(), Some("up"));
    assert_eq!(float(batch, "cpu_used_pct", row), Some(1.5));
    assert_eq!(float(batch, "mem_used_pct", row), None);
    assert!(float(batch, "disk_read_mb_s", row).unwrap().is_nan());
    assert_eq!(float(batch, "disk_write_mb_s", row), Some(0.0));
    assert_eq!(float(batch, "net_in_mb_s", row), Some(-2.0));
    assert_eq!(float(batch, "net_out_mb_s", row), None);
}

#[test]
fn hand_made_bytes_become_columns() {
    let mut decoder = Decoder::new(Topic::Metrics, &vm()).unwrap();
    decoder.push(&metric_value()).unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.num_rows(), 1);
    let names: Vec<&str> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    assert_eq!(
        names,
        [
            "server",
            "timestamp",
            "profile",
            "state",
            "cpu_used_pct",
            "mem_used_pct",
            "disk_read_mb_s",
            "disk_write_mb_s",
            "net_in_mb_s",
            "net_out_mb_s"
        ]
    );
    check_metric(&batch, 0);
    assert!(decoder.is_empty());
    assert_eq!(decoder.finish().num_rows(), 0);
}

#[test]
fn the_encoder_writes_these_very_bytes() {
    let encoder = Encoder::new(&vm()).unwrap();
    let values = [Some(1.5), None, Some(f32::NAN), Some(0.0), Some(-2.0), None];
    let row = MetricRow {
        server: "a1",
        timestamp: -1,
        profile: None,
        state: Some("up"),
        values: &values,
    };
    let mut out = vec![7];
    encoder.encode_metric(&row, &mut out).unwrap();
    assert_eq!(out[0], 7, "what was there stays");
    assert_eq!(out[1..], metric_value());
}

#[test]
fn both_framings_and_both_canonical_forms_are_read() {
    let contract = vm();
    let mut decoder = Decoder::new(Topic::Metrics, &contract).unwrap();
    let [_, others] = accepted_fingerprints(&avro_schema(Topic::Metrics, &contract)).unwrap();
    decoder.push(&framed(others, &BODY)).unwrap();

    let confluent = [&[0, 0, 0, 0, 9], BODY.as_slice()].concat();
    assert_eq!(
        decoder.push(&confluent),
        Err(DecodeError::UnknownSchemaId(9))
    );
    decoder.accept_schema_ids(&[7, 9]);
    decoder.push(&confluent).unwrap();

    let batch = decoder.finish();
    assert_eq!(batch.num_rows(), 2);
    check_metric(&batch, 0);
    check_metric(&batch, 1);
}

/// Pushes a value between two good ones: it must fail with the reason and leave no trace.
#[track_caller]
fn check_refused(topic: Topic, good: &[u8], bad: &[u8], reason: &str) {
    let mut decoder = Decoder::new(topic, &vm()).unwrap();
    decoder.push(good).unwrap();
    let error = decoder.push(bad).unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
    assert_eq!(decoder.len(), 1);
    decoder.push(good).unwrap();
    let batch = decoder.finish();
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.slice(0, 1), batch.slice(1, 1));
}

/// A good value without NaN, so that rows can be compared.
fn plain_value() -> Vec<u8> {
    let encoder = Encoder::new(&vm()).unwrap();
    let values = [Some(1.0), Some(2.0), None, Some(4.0), None, Some(6.0)];
    let row = MetricRow {
        server: "server-1",
        timestamp: 1_376_314_846_000,
        profile: Some("vm"),
        state: None,
        values: &values,
    };
    let mut out = Vec::new();
    encoder.encode_metric(&row, &mut out).unwrap();
    out
}

#[test]
fn what_does_not_decode_changes_nothing() {
    let good = plain_value();
    let ours = fingerprint(Topic::Metrics, &vm());
    let check = |bad: &[u8], reason| check_refused(Topic::Metrics, &good, bad, reason);
    check(b"", "empty_value");
    check(b"garbage", "unknown_framing");
    check(b"\x00\x01", "malformed");
    check(&[0, 0, 0, 0, 1, 2, 3], "unknown_schema_id");
    check(&framed([1; 8], &BODY), "unknown_fingerprint");
    check(
        &framed(fingerprint(Topic::Rollups, &vm()), &BODY),
        "unknown_fingerprint",
    );
    check(&[good.as_slice(), &[0]].concat(), "trailing_bytes");
    check(&vec![0xC3; 1 << 20], "too_large");
    for len in 10..good.len() {
        check(&good[..len], "malformed");
    }
    // Not UTF-8 where a name should be.
    check(&framed(ours, &[2, 0xFF]), "malformed");
    // Lengths that nobody has: 2^40, -1, the smallest long; a varint without end.
    check(
        &framed(ours, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        "malformed",
    );
    check(&framed(ours, &[1]), "malformed");
    check(
        &framed(ours, &[&[0xFF; 9][..], &[0x01]].concat()),
        "malformed",
    );
    check(&framed(ours, &[0xFF; 64]), "malformed");
    // The third branch of a union with two.
    check(&framed(ours, &[2, b'a', 2, 4]), "malformed");
    check(&framed(ours, &[2, b'a', 2, 1]), "malformed");
}

#[test]
fn a_value_at_the_limit_is_read() {
    let encoder = Encoder::new(&vm()).unwrap();
    let value_of = |name: &str| {
        let row = MetricRow {
            server: name,
            timestamp: 0,
            profile: None,
            state: None,
            values: &[None; 6],
        };
        let mut out = Vec::new();
        encoder.encode_metric(&row, &mut out).unwrap();
        out
    };
    let overhead = value_of(&"x".repeat(10_000)).len() - 10_000;
    let longest = "x".repeat(MAX_FLAT_BYTES - overhead);
    let mut decoder = Decoder::new(Topic::Metrics, &vm()).unwrap();
    decoder.push(&value_of(&longest)).unwrap();
    let error = decoder.push(&value_of(&format!("{longest}x"))).unwrap_err();
    assert_eq!(
        error,
        DecodeError::TooLarge {
            found: MAX_FLAT_BYTES + 1,
            limit: MAX_FLAT_BYTES
        }
    );
    assert_eq!(text(&decoder.finish(), "server", 0), Some(longest));
}

#[test]
fn null_rows_are_null_everywhere() {
    for topic in [Topic::Metrics, Topic::Rollups] {
        let mut decoder = Decoder::new(topic, &vm()).unwrap();
        decoder.push_null();
        let batch = decoder.finish();
        assert_eq!(batch.num_rows(), 1);
        assert!(batch.columns().iter().all(|column| column.is_null(0)));
    }
}

#[test]
fn other_topics_are_not_flat() {
    assert!(Decoder::new(Topic::Drift, &vm()).is_err());
}

#[test]
fn rollups_carry_derived_metrics_and_the_contract() {
    let contract = Contract::shipped("wafer-test").unwrap();
    let encoder = Encoder::new(&contract).unwrap();
    let row = RollupRow {
        server: "t1",
        timestamp: 600_000,
        profile: "tester",
        state: Some("testing"),
        num_records: 60,
        values: &[1.5, 2.0, 900.0, f32::NAN, 3.0, 300.0],
    };
    let mut value = Vec::new();
    encoder.encode_rollup(&row, &mut value).unwrap();
    let mut decoder = Decoder::new(Topic::Rollups, &contract).unwrap();
    decoder.push(&value).unwrap();
    let batch = decoder.finish();
    assert_eq!(millis(&batch, 0), 600_000);
    assert_eq!(text(&batch, "profile", 0).as_deref(), Some("tester"));
    assert_eq!(text(&batch, "state", 0).as_deref(), Some("testing"));
    let num_records = batch.column_by_name("num_records").unwrap();
    assert_eq!(num_records.as_primitive::<Int32Type>().value(0), 60);
    let values: Vec<Option<f32>> = contract
        .metrics
        .iter()
        .map(|m| float(&batch, &m.name, 0))
        .collect();
    assert_eq!(
        values,
        [
            Some(1.5),
            Some(2.0),
            Some(900.0),
            None,
            Some(3.0),
            Some(300.0)
        ]
    );
    assert_eq!(
        text(&batch, "contract", 0).as_deref(),
        Some(contract.fingerprint())
    );
    let json = to_json(Topic::Rollups, &contract, &value).unwrap();
    let expected = serde_json::json!({
        "server": "t1", "timestamp": 600_000, "profile": "tester", "state": "testing", "num_records": 60,
        "vdd": 1.5, "idd": 2.0, "frequency": 900.0, "temperature": null, "power": 3.0,
        "power_efficiency": 300.0, "contract": contract.fingerprint(),
    });
    assert_eq!(json, expected);
}

#[test]
fn metrics_as_json_are_readable() {
    let json = to_json(Topic::Metrics, &vm(), &metric_value()).unwrap();
    let expected = serde_json::json!({
        "server": "a1", "timestamp": -1, "profile": null, "state": "up",
        "cpu_used_pct": 1.5, "mem_used_pct": null, "disk_read_mb_s": "NaN", "disk_write_mb_s": 0.0,
        "net_in_mb_s": -2.0, "net_out_mb_s": null,
    });
    assert_eq!(json, expected);
    let error = to_json(Topic::Metrics, &vm(), &metric_value()[..12]).unwrap_err();
    assert_eq!(error.reason(), "malformed");
}

#[test]
fn another_number_of_values_is_an_error() {
    let encoder = Encoder::new(&vm()).unwrap();
    let row = RollupRow {
        server: "a",
        timestamp: 0,
        profile: "vm",
        state: None,
        num_records: 1,
        values: &[0.0; 5],
    };
    let mut out = Vec::new();
    assert!(encoder.encode_rollup(&row, &mut out).is_err());
    let row = RollupRow {
        values: &[0.0; 6],
        num_records: -1,
        ..row
    };
    assert!(encoder.encode_rollup(&row, &mut out).is_err());
    assert!(out.is_empty());
}

fn any_value() -> impl proptest::strategy::Strategy<Value = Option<f32>> {
    proptest::option::of(proptest::num::f32::ANY)
}

proptest::proptest! {
    /// What the encoder writes, the decoder reads, bit by bit.
    #[test]
    fn rows_come_back(
        server in "\\PC{0,20}",
        timestamp in proptest::num::i64::ANY,
        profile in proptest::option::of("[a-z]{0,9}"),
        values in proptest::collection::vec(any_value(), 6),
    ) {
        let row = MetricRow {
            server: &server, timestamp, profile: profile.as_deref(), state: None, values: &values,
        };
        let mut out = Vec::new();
        Encoder::new(&vm()).unwrap().encode_metric(&row, &mut out).unwrap();
        let mut decoder = Decoder::new(Topic::Metrics, &vm()).unwrap();
        decoder.push(&out).unwrap();
        let batch = decoder.finish();
        proptest::prop_assert_eq!(text(&batch, "server", 0), Some(server));
        proptest::prop_assert_eq!(millis(&batch, 0), timestamp);
        proptest::prop_assert_eq!(text(&batch, "profile", 0), profile);
        for (metric, value) in vm().metrics.iter().zip(values) {
            let found = float(&batch, &metric.name, 0);
            proptest::prop_assert_eq!(found.map(f32::to_bits), value.map(f32::to_bits));
        }
    }

    /// Any bytes behind a good header give a row or an error, and an error leaves no trace.
    #[test]
    fn no_bytes_break_the_decoder(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        for topic in [Topic::Metrics, Topic::Rollups] {
            let contract = vm();
            let mut decoder = Decoder::new(topic, &contract).unwrap();
            let value = framed(fingerprint(topic, &contract), &body);
            let rows = usize::from(decoder.push(&value).is_ok());
            proptest::prop_assert_eq!(decoder.len(), rows);
            proptest::prop_assert_eq!(decoder.finish().num_rows(), rows);
        }
    }

    /// A good value with one byte changed gives a row or an error.
    #[test]
    fn no_flipped_byte_breaks_the_decoder(position in 0_usize..60, byte in proptest::num::u8::ANY) {
        let mut value = plain_value();
        let position = position % value.len();
        value[position] = byte;
        let mut decoder = Decoder::new(Topic::Metrics, &vm()).unwrap();
        let rows = usize::from(decoder.push(&value).is_ok());
        proptest::prop_assert_eq!(decoder.finish().num_rows(), rows);
    }
}
