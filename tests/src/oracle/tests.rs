//! The second implementation is checked by hand as well, else two equal mistakes would pass.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

/// 2013-08-01T00:00:00Z, a multiple of five minutes.
const T: i64 = 1_375_315_200_000;
const MIN: i64 = 60_000;

fn raw(offset: i64, at: i64, values: [f32; 6]) -> Raw {
    Raw {
        offset,
        kafka_timestamp_ms: at + 100,
        timestamp_ms: Some(at),
        server: "s".into(),
        profile: None,
        state: None,
        values: values.map(Some).to_vec(),
    }
}

fn vm(records: &[Raw]) -> Rollups {
    rollups(&Contract::shipped("vm").unwrap(), MIN, records)
}

#[test]
fn a_partition_by_hand() {
    let gap = raw(
        2,
        T + 2 * MIN,
        [111.0, 105.5, -1.0, f32::NAN, f32::INFINITY, 4.0],
    );
    let mut nothing = raw(3, T + 3 * MIN, [0.0; 6]);
    nothing.values = vec![None, Some(f32::NAN), None, None, None, None];
    let mut nameless = raw(4, T, [0.0; 6]);
    nameless.server = "".into();
    let mut ahead = raw(5, T + MIN, [0.0; 6]);
    ahead.kafka_timestamp_ms = T + MIN - 5 * MIN - 1;
    let mut timeless = raw(6, T, [0.0; 6]);
    timeless.timestamp_ms = None;
    let result = vm(&[
        raw(0, T, [10.0, 20.0, 0.0, 1.0, 2.0, 3.0]),
        raw(1, T + MIN, [110.0, 105.0, 2.0, 1.0, 2.0, 5.0]),
        gap,
        nothing,
        nameless,
        ahead,
        timeless,
        raw(7, 0, [0.0; 6]),
        raw(8, T, [99.0; 6]),
        raw(9, T + 6 * MIN, [1.0; 6]),
        raw(10, T + 4 * MIN, [7.0; 6]),
        raw(11, T - 1, [7.0; 6]),
    ]);
    assert_eq!(result.accepted, 4);
    assert_eq!(result.duplicate, 1);
    assert_eq!(result.late, 2);
    let reasons = [
        "no_server",
        "no_timestamp",
        "no_usable_value",
        "timestamp_in_future",
    ];
    let mut expected: BTreeMap<_, _> = reasons.map(|reason| (reason, 1)).into();
    expected.insert("timestamp_too_old", 1);
    assert_eq!(result.rejected, expected);
    // The gaps of all records but those beyond reach: 110 and 105 are clamped, the third record loses five of six.
    let gaps: Vec<_> = result
        .gaps
        .iter()
        .map(|((metric, why), n)| (metric.as_str(), *why, *n))
        .collect();
    assert_eq!(
        gaps,
        [
            ("cpu_used_pct", "above_maximum", 1),
            ("disk_read_mb_s", "below_minimum", 1),
            ("disk_write_mb_s", "not_finite", 1),
            ("mem_used_pct", "above_maximum", 1),
            ("mem_used_pct", "not_finite", 1),
            ("net_in_mb_s", "not_finite", 1),
        ]
    );
    // 00:06 is the end of the first bucket + 1 min of grace: equality closes.
    let row = Row {
        bucket_ms: T,
        server: "s".into(),
        profile: "vm".to_owned(),
        state: None,
        num_records: 3,
        values: [55.0, 60.0, 1.0, 1.0, 2.0, 4.0].map(Some).to_vec(),
    };
    assert_eq!(result.closed, [row]);
    assert_eq!(result.open.len(), 1);
    assert_eq!(result.open[0].bucket_ms, T + 5 * MIN);
}

#[test]
fn last_state_and_profile_go_by_event_time() {
    let linborg = Contract::shipped("linborg").unwrap();
    let uptime = linborg.metric_index("uptime_days").unwrap();
    let record = |offset, at, days: f32, state: Option<&str>, profile: Option<&str>| {
        let mut values = vec![Some(1.0); linborg.metrics.len()];
        values[uptime] = Some(days);
        Raw {
            server: "ppdb012".into(),
            state: state.map(Into::into),
            profile: profile.map(Into::into),
            values,
            ..raw(offset, at, [0.0; 6])
        }
    };
    let result = rollups(
        &linborg,
        MIN,
        &[
            record(0, T + 30_000, 3.0, Some("healthy"), Some("web_api")),
            record(1, T + 10_000, 1.0, Some("idle"), None),
            record(
                2,
                T + 40_000,
                f32::NAN,
                Some("unheard of"),
                Some("unheard of"),
            ),
        ],
    );
    let row = &result.open[0];
    assert_eq!(row.values[uptime], Some(3.0));
    assert_eq!(row.state.as_deref(), Some("healthy"));
    assert_eq!(row.profile, "database");
}

#[test]
fn derived_metrics_are_computed_per_record() {
    let wafer = Contract::shipped("wafer-test").unwrap();
    let of = |name: &str| wafer.metric_index(name).unwrap();
    let record = |offset, vdd, idd, frequency| {
        let mut values = vec![Some(20.0); wafer.raw_metrics().len()];
        values[of("vdd")] = Some(vdd);
        values[of("idd")] = Some(idd);
        values[of("frequency")] = Some(frequency);
        Raw {
            values,
            ..raw(offset, T + offset * 1_000, [0.0; 6])
        }
    };
    let result = rollups(
        &wafer,
        MIN,
        &[record(0, 1.0, 0.5, 100.0), record(1, 2.0, 0.25, 200.0)],
    );
    let values = &result.open[0].values;
    // 1 · 0.5 and 2 · 0.25; not mean vdd · mean idd, which is 0.5625.
    assert_eq!(values[of("power")], Some(0.5));
    // (100 / 0.5 + 200 / 0.5) / 2
    assert_eq!(values[of("power_efficiency")], Some(300.0));
}

/// Vectors of Kafka's own `UtilsTest.testMurmur2`.
#[test]
fn murmur2_is_kafkas() {
    let check =
        |text: &str, expected: i32| assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
    check("21", -973_932_308);
    check("foobar", -790_332_482);
    check("a-little-bit-long-string", -985_981_536);
    check("a-little-bit-longer-string", -1_486_304_829);
    check(
        "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
        -58_897_971,
    );
    check("abc", 479_470_107);
}

#[test]
fn differences_are_found() {
    let rows = vm(&[raw(0, T, [1.0; 6]), raw(1, T + 5 * MIN, [1.0; 6])]).open;
    assert!(compare(&rows, &rows).is_ok());
    let mut other = rows.clone();
    other[1].values[3] = Some(1.000_000_1);
    assert!(
        compare(&rows, &other)
            .unwrap_err()
            .to_string()
            .starts_with("1 of 2 rows differ")
    );
    assert!(compare(&rows, &rows[..1]).is_err());
    assert!(compare(&rows[..1], &rows).is_err());
    let twice = [rows.clone(), rows.clone()].concat();
    assert!(compare(&rows, &twice).is_err());
    assert!(compare(&rows, &without_repeats(twice)).is_ok());
}
