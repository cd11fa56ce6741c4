//! The low-volume records on the wire and as JSON.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use contract::codec::{ArchiveColumns, Record, decode, encode, to_json};
use contract::record::*;
use contract::schema::{avro_schema, compatible, fingerprint_crc64};
use contract::{Fixed, Topic};
use fixtures::*;
use serde_json::json;

#[track_caller]
fn check_round_trip<T: Record + PartialEq + std::fmt::Debug>(record: &T) {
    let value = encode(record).unwrap();
    let fingerprint = fingerprint_crc64(&avro_schema(T::TOPIC, &vm())).unwrap();
    assert_eq!(value[..2], [0xC3, 0x01]);
    assert_eq!(value[2..10], fingerprint);
    assert_eq!(&decode::<T>(&value).unwrap(), record);
    // apache-avro, which shares no code with our codec, reads the body to its end.
    let schema = apache_avro::Schema::parse_str(&avro_schema(T::TOPIC, &vm())).unwrap();
    let mut body = &value[10..];
    apache_avro::from_avro_datum(&schema, &mut body, None).unwrap();
    assert!(body.is_empty());
    // Every part of it is refused, as is one byte more.
    for len in 0..value.len() {
        assert!(
            decode::<T>(&value[..len]).is_err(),
            "{len} of {}",
            value.len()
        );
    }
    let error = decode::<T>(&[value.as_slice(), &[0]].concat()).unwrap_err();
    assert_eq!(error.reason(), "trailing_bytes");
}

#[test]
fn records_come_back() {
    check_round_trip(&prediction());
    check_round_trip(&pane());
    check_round_trip(&report());
    check_round_trip(&decision());
    check_round_trip(&training());
    check_round_trip(&model_change());
    check_round_trip(&alert());
}

#[test]
fn bytes_of_a_control_event_are_as_specified() {
    let value = encode(&training()).unwrap();
    // "forewarn.training.progress" has 26 letters.
    let expected = [
        &[6][..],
        b"e-1",
        &[52],
        b"forewarn.training.progress",
        &[10],
        b"drift",
    ]
    .concat();
    assert_eq!(value[10..10 + expected.len()], expected);
    // 1376314800123 ms in zigzag varint, then the second branch of the union (index 1).
    let rest = &value[10 + expected.len()..];
    let mut time = 1_376_314_800_123_u64 << 1;
    let mut varint = Vec::new();
    while time >= 0x80 {
        varint.push((time & 0x7F) as u8 | 0x80);
        time >>= 7;
    }
    varint.push(time as u8);
    assert_eq!(rest[..varint.len()], varint);
    assert_eq!(rest[varint.len()], 2);
}

#[test]
fn claimed_lengths_are_not_believed() {
    let header = |topic| {
        let fingerprint = fingerprint_crc64(&avro_schema(topic, &vm())).unwrap();
        [&[0xC3, 0x01], fingerprint.as_slice()].concat()
    };
    // 2^40 in zigzag.
    const HUGE: [u8; 6] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    // server "", issued_at 0, step 0, model "", contract "", context_rows 0, then an array of 2^40 forecasts.
    let value = [
        header(Topic::Predictions).as_slice(),
        &[0; 6],
        &HUGE,
        &[0; 50],
    ]
    .concat();
    assert_eq!(
        decode::<Prediction>(&value).unwrap_err().reason(),
        "malformed"
    );
    assert_eq!(
        to_json(Topic::Predictions, &vm(), &value)
            .unwrap_err()
            .reason(),
        "malformed"
    );
    // One forecast with metric "" and 2^40 floats.
    let value = [
        header(Topic::Predictions).as_slice(),
        &[0; 6],
        &[2, 0],
        &HUGE,
        &[0; 50],
    ]
    .concat();
    assert_eq!(
        decode::<Prediction>(&value).unwrap_err().reason(),
        "malformed"
    );
    // A string of 2^40 bytes.
    let value = [header(Topic::Alerts).as_slice(), &HUGE, &[0; 50]].concat();
    assert_eq!(decode::<Alert>(&value).unwrap_err().reason(), "malformed");
    // A map of 2^40 labels, and of the smallest long's.
    let value = [header(Topic::Alerts).as_slice(), &[0; 6], &HUGE, &[0; 50]].concat();
    assert_eq!(decode::<Alert>(&value).unwrap_err().reason(), "malformed");
    let smallest = [&[0xFF; 9][..], &[0x01]].concat();
    let value = [
        header(Topic::Alerts).as_slice(),
        &[0; 6],
        &smallest,
        &[0; 50],
    ]
    .concat();
    assert_eq!(decode::<Alert>(&value).unwrap_err().reason(), "malformed");
}

/// Takes out what came later.
fn without(schema: &mut serde_json::Value, later: &[&str]) {
    match schema {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| without(item, later)),
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Array(fields)) = object.get_mut("fields") {
                fields.retain(|field| !later.contains(&field["name"].as_str().unwrap()));
            }
            object.values_mut().for_each(|value| without(value, later));
        }
        _ => {}
    }
}

/// Fields of the version after that of the servers.
const AGGREGATES: [&str; 3] = ["fds_z_mean", "fds_z_sum", "mean_p"];

/// A report as it was before that version.
fn without_aggregates(mut report: DriftReport) -> DriftReport {
    report.metrics[0].mean_p = None;
    for window in &mut report.windows {
        (window.fds_z_mean, window.fds_z_sum) = (None, None);
    }
    report
}

/// A value that was written when the schema had not got these fields is read; both schemas read each other's values.
#[track_caller]
fn check_earlier<T: Record + PartialEq + std::fmt::Debug>(
    record: &T,
    later: &[&str],
    expected: &T,
) {
    let today = avro_schema(T::TOPIC, &vm());
    let mut earlier: serde_json::Value = serde_json::from_str(&today).unwrap();
    without(&mut earlier, later);
    let earlier = earlier.to_string();
    compatible(&earlier, &today).unwrap();
    // Written by apache-avro, which leaves out what its schema does not have.
    let [today, was] = [&today, &earlier].map(|s| apache_avro::Schema::parse_str(s).unwrap());
    let mut body = &encode(record).unwrap()[10..];
    let value = apache_avro::from_avro_datum(&today, &mut body, Some(&was)).unwrap();
    let body = apache_avro::to_avro_datum(&was, value).unwrap();
    let fingerprint = fingerprint_crc64(&earlier).unwrap();
    let value = [&[0xC3, 0x01], fingerprint.as_slice(), &body].concat();
    assert_eq!(&decode::<T>(&value).unwrap(), expected);
    // A reader of today's schema by the specification finds the same.
    let resolved = apache_avro::from_avro_datum(&was, &mut body.as_slice(), Some(&today)).unwrap();
    let again = apache_avro::to_avro_datum(&today, resolved).unwrap();
    assert_eq!(again, encode(expected).unwrap()[10..]);
}

#[test]
fn what_was_written_before_servers_were_named_is_read() {
    let (mut old, mut old_pane) = (without_aggregates(report()), pane());
    check_earlier(&report(), &AGGREGATES, &old);
    // Every event's schema holds that of a decision, whose windows have them.
    for event in [training(), decision()] {
        let mut before = event.clone();
        if let ControlPayload::Decision(decision) = &mut before.payload {
            for window in &mut decision.windows {
                (window.fds_z_mean, window.fds_z_sum) = (None, None);
            }
        }
        check_earlier(&event, &AGGREGATES, &before);
    }
    old.known_servers = 0;
    old.server_drift.clear();
    old.new_servers = 0;
    old.new_names.clear();
    old.metrics[0].share_away = None;
    let later = [
        "known_servers",
        "server_drift",
        "new_servers",
        "new_names",
        "share_away",
    ];
    check_earlier(&report(), &[&later[..], &AGGREGATES].concat(), &old);
    old_pane.new_servers = 0;
    old_pane.new_names.clear();
    old_pane.num_panes = 0;
    old_pane.metrics[0].furthest.clear();
    old_pane.metrics[0].judged_servers = 0;
    old_pane.metrics[0].away_servers = 0;
    check_earlier(
        &pane(),
        &[
            "furthest",
            "judged_servers",
            "away_servers",
            "new_servers",
            "new_names",
            "num_panes",
        ],
        &old_pane,
    );
}

#[test]
fn a_sum_needs_its_16_bytes() {
    let value = encode(&pane()).unwrap();
    let sum = Fixed::from_f64(-1.5).0.to_be_bytes();
    let at = value.windows(16).position(|w| w == sum).unwrap();
    let short = [&value[..at - 1], &[30], &value[at + 1..]].concat();
    assert_eq!(decode::<Pane>(&short).unwrap_err().reason(), "malformed");
    assert_eq!(
        to_json(Topic::DriftPanes, &vm(), &short)
            .unwrap_err()
            .reason(),
        "malformed"
    );
}

#[test]
fn json_is_for_people() {
    let value = encode(&training()).unwrap();
    assert_eq!(
        to_json(Topic::Control, &vm(), &value).unwrap(),
        json!({
            "id": "e-1", "type": "forewarn.training.progress", "source": "drift", "time": 1_376_314_800_123_i64,
            "payload": {
                "job_id": "e-1", "worker": "w", "preset": "quick", "trigger": "drift", "version": null,
                "progress": 0.5, "epoch": 1, "train_loss": 0.3, "val_loss": null, "message": "half",
                "seconds": 12.5,
            },
        })
    );
    let json = to_json(Topic::DriftPanes, &vm(), &encode(&pane()).unwrap()).unwrap();
    assert_eq!(json["cpu_load"], json!({"n": 2, "total": -1.5}));
    assert_eq!(json["metrics"][0]["errors"][0]["relative_sum"], json!(0.25));
    let json = to_json(Topic::Predictions, &vm(), &encode(&prediction()).unwrap()).unwrap();
    assert_eq!(json["forecasts"][0]["p10"], json!([0.1, 0.2]));
    let json = to_json(Topic::Alerts, &vm(), &encode(&alert()).unwrap()).unwrap();
    assert_eq!(json["labels"]["profile"], json!("vm"));
}

#[test]
fn cloud_events_headers() {
    assert_eq!(
        decision().ce_headers(),
        [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", "e-1".to_owned()),
            ("ce_type", "forewarn.decision".to_owned()),
            ("ce_source", "drift".to_owned()),
            ("ce_time", "2013-08-12T13:40:00.123Z".to_owned()),
        ]
    );
    let mut event = decision();
    event.time = i64::MAX;
    assert_eq!(event.ce_headers()[4].1, i64::MAX.to_string());
    assert_eq!(EVENT_TYPES.len(), 14);
}

proptest::proptest! {
    /// Any bytes behind a good header give a record or an error, in every reader.
    #[test]
    fn no_bytes_break_the_readers(body in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        for topic in [Topic::Predictions, Topic::DriftPanes, Topic::Drift, Topic::Alerts, Topic::Control] {
            let fingerprint = fingerprint_crc64(&avro_schema(topic, &vm())).unwrap();
            let value = [&[0xC3, 0x01], fingerprint.as_slice(), &body].concat();
            let typed = match topic {
                Topic::Predictions => decode::<Prediction>(&value).is_ok(),
                Topic::DriftPanes => decode::<Pane>(&value).is_ok(),
                Topic::Drift => decode::<DriftReport>(&value).is_ok(),
                Topic::Alerts => decode::<Alert>(&value).is_ok(),
                _ => decode::<ControlEvent>(&value).is_ok(),
            };
            proptest::prop_assert_eq!(to_json(topic, &vm(), &value).is_ok(), typed);
            let mut columns = ArchiveColumns::new(topic, &vm()).unwrap();
            proptest::prop_assert_eq!(columns.push(&value).is_ok(), typed);
            proptest::prop_assert_eq!(columns.finish().unwrap().num_rows(), usize::from(typed));
        }
    }

    /// A good value with one byte changed gives a record or an error.
    #[test]
    fn no_flipped_byte_breaks_the_readers(position in 10_usize..400, byte in proptest::num::u8::ANY) {
        let mut value = encode(&pane()).unwrap();
        let position = 10 + position % (value.len() - 10);
        value[position] = byte;
        let typed = decode::<Pane>(&value).is_ok();
        proptest::prop_assert_eq!(to_json(Topic::DriftPanes, &vm(), &value).is_ok(), typed);
        let mut columns = ArchiveColumns::new(Topic::DriftPanes, &vm()).unwrap();
        proptest::prop_assert_eq!(columns.push(&value).is_ok(), typed);
        proptest::prop_assert_eq!(columns.finish().unwrap().num_rows(), usize::from(typed));
    }
}
