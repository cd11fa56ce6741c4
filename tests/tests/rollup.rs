//! Rollup end to end on a real broker: real input against an independent computation, bad input,
//! `kill -9` in the middle.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::Contract;
use contract::codec::Encoder;
use tests::forwarder::Forwarder;
use tests::{Site, brokers, kafka, metric_record, oracle, topics, vm_trace};

const PARTITIONS: u32 = 4;
const GRACE_MS: i64 = 60_000;
const AUGUST: (&str, &str) = ("2013-08-01T00:00:00Z", "2013-09-01T00:00:00Z");
const AUGUST_MS: (i64, i64) = (1_375_315_200_000, 1_377_993_600_000);

fn vm() -> Contract {
    Contract::shipped("vm").expect("the vm contract is shipped")
}

/// All of August by the second implementation, partition by partition.
fn expected(contract: &Contract, path: &std::path::Path) -> oracle::Rollups {
    let now_ms = tests::now_ms();
    let range = (Some(AUGUST_MS.0), Some(AUGUST_MS.1));
    let partitions =
        oracle::replayed(path, contract, range, now_ms, PARTITIONS).expect("read the trace");
    let mut all = oracle::Rollups::default();
    for records in partitions {
        let one = oracle::rollups(contract, GRACE_MS, &records);
        all.closed.extend(one.closed);
        all.open.extend(one.open);
        all.accepted += one.accepted;
        all.duplicate += one.duplicate;
        all.late += one.late;
        for (reason, count) in one.rejected {
            *all.rejected.entry(reason).or_default() += count;
        }
    }
    all
}

#[track_caller]
fn balanced(summary: &serde_json::Value) {
    let of = |counts: &serde_json::Value, key: &str| counts[key].as_u64().expect("a count");
    let partitions = summary["partitions"]
        .as_object()
        .expect("counts per partition");
    assert!(!partitions.is_empty());
    for counts in partitions.values() {
        let outcomes: u64 = ["accepted", "duplicate", "late", "rejected", "replayed"]
            .iter()
            .map(|key| of(counts, key))
            .sum();
        assert_eq!(outcomes, of(counts, "consumed"), "{summary}");
    }
}

/// The bar on real input.
#[test]
fn august_gives_exactly_the_rollups_computed_independently() {
    let (Some(brokers), Some(trace)) = (brokers(), vm_trace()) else {
        return;
    };
    let contract = vm();
    let site = Site::new(&brokers, "vm");
    site.create_topics(PARTITIONS);
    let trace_path = trace.display().to_string();
    let sent = site
        .run(&[
            "replay",
            &trace_path,
            "--from",
            AUGUST.0,
            "--to",
            AUGUST.1,
            "--json",
        ])
        .ok()
        .last_json();
    let summary = site.to_end("rollup");
    let expected = expected(&contract, &trace);
    let found = topics::rollups(&brokers, &site.topic("rollups"), &contract);
    oracle::compare(&expected.closed, &found).expect("the rollups are the same");
    assert_eq!(summary["consumed"], sent["sent"]);
    assert_eq!(
        summary["produced"].as_u64(),
        Some(expected.closed.len() as u64)
    );
    assert_eq!(summary["accepted"].as_u64(), Some(expected.accepted));
    assert_eq!(summary["duplicate"].as_u64(), Some(expected.duplicate));
    assert_eq!(summary["late"].as_u64(), Some(expected.late));
    balanced(&summary);
    let rejected: BTreeMap<String, u64> =
        serde_json::from_value(summary["rejected"].clone()).expect("rejected by reason");
    let expected_rejected: BTreeMap<String, u64> = expected
        .rejected
        .iter()
        .map(|(k, v)| ((*k).to_owned(), *v))
        .collect();
    assert_eq!(rejected, expected_rejected);

    // Nothing is open that a second run could close, and nothing is given twice.
    let again = site.to_end("rollup");
    assert_eq!(again["produced"], 0, "{again}");
    balanced(&again);
}

/// Killed three times in the middle of a backlog, it gives what it would have given undisturbed.
#[test]
fn kill_9_loses_and_changes_no_bucket() {
    let Some(brokers) = brokers() else { return };
    let mut site = Site::new(&brokers, "linborg");
    // A dead member leaves its group sooner than by default.
    site.set("kafka.properties.session.timeout.ms", "6000");
    site.create_topics(PARTITIONS);
    let file = site.path("fleet.parquet");
    let fleet = file.display().to_string();
    site.run(&[
        "simulate",
        "--servers",
        "40",
        "--hours",
        "24",
        "--out",
        &fleet,
    ])
    .ok();
    site.run(&["replay", &fleet]).ok();
    let contract = Contract::shipped("linborg").expect("the linborg contract is shipped");
    let now_ms = tests::now_ms();
    let partitions = oracle::replayed(&file, &contract, (None, None), now_ms, PARTITIONS)
        .expect("read the fleet");
    let expected: Vec<oracle::Row> = partitions
        .iter()
        .flat_map(|records| oracle::rollups(&contract, GRACE_MS, records).closed)
        .collect();
    let topic = site.topic("rollups");
    let mut before = 0;
    for round in 0..3 {
        let mut running = site.start(&["run", "--role", "rollup"]);
        let until = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let produced: i64 = kafka::watermarks(&brokers, &topic)
                .iter()
                .map(|w| w.1)
                .sum();
            if produced > before + 2_000 {
                before = produced;
                break;
            }
            assert!(
                std::time::Instant::now() < until,
                "round {round}: {}",
                running.output()
            );
            assert!(running.is_running(), "round {round}: {}", running.output());
            std::thread::sleep(Duration::from_millis(10));
        }
        running.kill();
    }
    let summary = site.to_end("rollup");
    balanced(&summary);
    let found = topics::rollups(&brokers, &topic, &contract);
    let found = oracle::without_repeats(found);
    oracle::compare(&expected, &found).expect("no bucket is lost or changed by kill -9");
}

/// Producers with a schema registry use Confluent's framing; its ids are known by configuration.
#[test]
fn confluent_framing_is_read_where_the_id_is_configured() {
    let Some(brokers) = brokers() else { return };
    let contract = vm();
    let mut site = Site::new(&brokers, "vm");
    site.create_topics(1);
    let encoder = Encoder::new(&contract).expect("make an encoder");
    let bucket = tests::now_ms() / 300_000 * 300_000 - 3_600_000;
    let framed = |id: u8, timestamp: i64| {
        let ours = metric_record(&encoder, "vm1", timestamp, &[Some(50.0); 6]);
        [&[0, 0, 0, 0, id], &ours[10..]].concat()
    };
    let values = [
        framed(7, bucket),
        framed(8, bucket),
        framed(7, bucket + 400_000),
    ];
    let records: Vec<kafka::Outgoing<'_>> = values
        .iter()
        .map(|value| (0, Some(b"vm1".as_slice()), Some(value.as_slice())))
        .collect();
    kafka::send(&brokers, &site.topic("metrics"), &records);
    site.set("kafka.schema_ids", "[7, 12]");
    let summary = site.to_end("rollup");
    assert_eq!(summary["accepted"], 2, "{summary}");
    assert_eq!(summary["rejected"]["unknown_schema_id"], 1, "{summary}");
    assert_eq!(summary["produced"], 1);
    site.to_end("archive");
    let tail = site.run(&[
        "tail",
        "metrics",
        "--from",
        "2000-01-01T00:00:00Z",
        "--max",
        "1",
        "--json",
    ]);
    assert_eq!(tail.ok().last_json()["server"], "vm1");
}

/// Garbage, truncated Avro, unknown ids, NaN, 1970, 2100, no server, null and 1 MB: each is in the
/// dead letters with its reason, unchanged, and the consumer goes on.
#[test]
fn bad_records_are_dead_letters_with_a_reason_and_the_rest_goes_on() {
    let Some(brokers) = brokers() else { return };
    let contract = vm();
    let site = Site::new(&brokers, "vm");
    site.create_topics(1);
    let encoder = Encoder::new(&contract).expect("make an encoder");
    let now_ms = tests::now_ms();
    let bucket = now_ms - now_ms % 300_000 - 3_600_000;
    let record = |server: &str, timestamp: i64, values: [Option<f32>; 6]| {
        metric_record(&encoder, server, timestamp, &values)
    };
    let good = [
        Some(50.0),
        Some(40.0),
        Some(1.0),
        Some(2.0),
        Some(3.0),
        Some(4.0),
    ];
    let nan = [Some(f32::NAN); 6];
    let whole = record("vm1", bucket, good);
    let bad: Vec<(Option<Vec<u8>>, &str)> = vec![
        (None, "null_value"),
        (Some(Vec::new()), "empty_value"),
        (Some(b"garbage".to_vec()), "unknown_framing"),
        (Some(whole[..whole.len() - 3].to_vec()), "malformed"),
        (
            Some([&[0, 0, 0, 0, 7], &whole[10..]].concat()),
            "unknown_schema_id",
        ),
        (Some(record("vm1", bucket, nan)), "no_usable_value"),
        (Some(record("vm1", bucket, [None; 6])), "no_usable_value"),
        (Some(record("vm1", 1_000, good)), "timestamp_too_old"),
        (
            Some(record("vm1", 4_102_444_800_000, good)),
            "timestamp_in_future",
        ),
        (Some(record("", bucket, good)), "no_server"),
        (Some(vec![0xC3; 1_000_000]), "too_large"),
    ];
    let mut records: Vec<kafka::Outgoing<'_>> = bad
        .iter()
        .map(|(value, _)| (0, Some(b"vm1".as_slice()), value.as_deref()))
        .collect();
    let (first, late) = (
        record("vm1", bucket, good),
        record("vm1", bucket + 400_000, good),
    );
    records.push((0, Some(b"vm1"), Some(&first)));
    records.push((0, Some(b"vm1"), Some(&late)));
    kafka::send(&brokers, &site.topic("metrics"), &records);

    let summary = site.to_end("rollup");
    assert_eq!(
        summary["consumed"].as_u64(),
        Some(records.len() as u64),
        "{summary}"
    );
    assert_eq!(summary["accepted"], 2);
    balanced(&summary);
    let letters = kafka::read_all(&brokers, &site.topic("metrics.dlq"));
    assert_eq!(letters.len(), bad.len());
    for (letter, (offset, (value, reason))) in letters.iter().zip(bad.iter().enumerate()) {
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(key, _)| key == name);
            found
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                .unwrap_or_default()
        };
        assert_eq!(header("forewarn.reason"), *reason, "offset {offset}");
        assert_eq!(header("forewarn.offset"), offset.to_string());
        assert_eq!(header("forewarn.partition"), "0");
        assert_eq!(header("forewarn.topic"), site.topic("metrics"));
        assert!(!header("forewarn.time").is_empty());
        assert_eq!(header("origin"), "test", "the producer's own headers stay");
        assert_eq!(letter.key.as_deref(), Some(b"vm1".as_slice()));
        assert_eq!(letter.value, *value, "offset {offset} is unchanged");
    }
    let counted: u64 = summary["rejected"]
        .as_object()
        .expect("by reason")
        .values()
        .map(|n| n.as_u64().expect("a count"))
        .sum();
    assert_eq!(counted, bad.len() as u64);
    let listed = site.run(&["dlq", "list", "--json"]).ok().stdout;
    for reason in [
        "no_usable_value",
        "timestamp_in_future",
        "too_large",
        "null_value",
    ] {
        assert!(listed.contains(reason), "{listed}");
    }
}

/// A record as large as the broker takes: its dead letter is larger by our headers, and passes.
#[test]
fn the_largest_record_becomes_a_dead_letter_that_keeps_everything() {
    const MAX_MESSAGE_BYTES: usize = 1_048_588;
    let Some(brokers) = brokers() else { return };
    let site = Site::new(&brokers, "vm");
    site.create_topics(1);
    let topic = site.topic("metrics");
    let key = [b'k'; 1_000];
    let long = [b'h'; 20_000];
    let headers: [(&str, &[u8]); 4] = [
        ("trace", b"1"),
        ("trace", b"2"),
        ("binary", &[0, 255, 10]),
        ("long", &long),
    ];
    let value = kafka::send_largest(&brokers, &topic, &key, &headers, MAX_MESSAGE_BYTES);
    assert!(value.len() > 1_020_000, "{} bytes", value.len());
    kafka::send(&brokers, &topic, &[(0, Some(b"vm1"), Some(b"garbage"))]);

    let summary = site.to_end("rollup");
    // Smaller ones lie before it, from the search for the largest.
    let sent = kafka::count(&brokers, &topic);
    assert_eq!(summary["consumed"], sent, "{summary}");
    assert_eq!(summary["rejected"]["too_large"], sent - 1, "{summary}");
    assert_eq!(summary["rejected"]["unknown_framing"], 1, "it goes on");
    let letters = kafka::read_all(&brokers, &site.topic("metrics.dlq"));
    assert_eq!(letters.len() as i64, sent);
    let mut letters = letters.iter();
    let letter = letters
        .find(|letter| letter.value.as_ref() == Some(&value))
        .expect("the value is unchanged");
    assert_eq!(letter.key.as_deref(), Some(key.as_slice()));
    for (kept, (name, value)) in letter.headers.iter().zip(headers) {
        assert_eq!((kept.0.as_str(), kept.1.as_slice()), (name, value));
    }
    let (name, reason) = &letter.headers[headers.len()];
    assert_eq!(
        (name.as_str(), reason.as_slice()),
        ("forewarn.reason", b"too_large".as_slice())
    );
    // It is committed: nothing of it comes a second time.
    assert_eq!(site.to_end("rollup")["consumed"], 0);
}

/// The service waits for a broker that is not there, names it, and is ready once it appears.
#[test]
fn an_absent_broker_is_named_and_waited_for() {
    let Some(brokers) = brokers() else { return };
    let mut site = Site::new(&brokers, "vm");
    site.create_topics(1);
    let broker = Forwarder::closed(&brokers);
    site.set("kafka.brokers", broker.address());
    let mut running = site.start(&["run", "--role", "rollup"]);
    running.wait_for(broker.address(), Duration::from_secs(30));
    let output = running.output();
    let named = output.lines().find(|line| line.contains(broker.address()));
    assert!(
        named.is_some_and(|line| line.contains("WARN") && line.contains("trying again")),
        "{output}"
    );
    let (status, why) = running.get("/readyz");
    assert_eq!(status, 503, "{why}");
    assert!(
        why.contains("rollup") && why.contains(broker.address()),
        "{why}"
    );
    assert_eq!(running.get("/healthz").0, 200, "it lives");

    broker.open();
    running.wait_until_ready(Duration::from_secs(60));
    kafka::send(
        &brokers,
        &site.topic("metrics"),
        &[(0, None, Some(b"garbage"))],
    );
    let letters = site.topic("metrics.dlq");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while kafka::count(&brokers, &letters) == 0 {
        assert!(std::time::Instant::now() < until, "{}", running.output());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
}

/// A stop is heard while the broker is still waited for.
#[test]
fn waiting_for_a_broker_can_be_stopped() {
    let site = Site::new("127.0.0.1:1", "vm");
    let mut running = site.start(&["run", "--role", "rollup"]);
    running.wait_for("127.0.0.1:1", Duration::from_secs(30));
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
}
