//! A broker that answers nothing for longer than a session and a commit last. Alone in its file: all other tests use the same broker.

use std::process::Command;
use std::time::{Duration, Instant};

use contract::Contract;
use contract::codec::{Encoder, MetricRow};
use tests::{Site, brokers, kafka, topics};

const STEP_MS: i64 = 300_000;
/// Longer than a commit waits.
const OUTAGE: Duration = Duration::from_secs(36);

/// The broker stands still while this lives.
struct Paused;

fn services(what: &str) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let done = Command::new("bash")
        .args(["scripts/services", what])
        .current_dir(root)
        .status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "scripts/services {what}"
    );
}

impl Paused {
    fn new() -> Self {
        services("pause");
        Self
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        services("resume");
    }
}

fn send(brokers: &str, site: &Site, contract: &Contract, times: impl Iterator<Item = i64>) {
    let encoder = Encoder::new(contract).expect("make an encoder");
    let encode = |timestamp| {
        let mut bytes = Vec::new();
        let row = MetricRow {
            server: "vm1",
            timestamp,
            profile: None,
            state: None,
            values: &[Some(50.0); 6],
        };
        encoder.encode_metric(&row, &mut bytes).expect("encode");
        bytes
    };
    let values: Vec<_> = times.map(encode).collect();
    let records: Vec<kafka::Outgoing<'_>> = values
        .iter()
        .map(|value| (0, Some(b"vm1".as_slice()), Some(value.as_slice())))
        .collect();
    kafka::send(brokers, &site.topic("metrics"), &records);
}

/// What was read before the outage could not be committed during it; the role goes on, and nothing is lost or counted twice.
#[test]
fn an_outage_longer_than_the_session_is_waited_for() {
    let Some(brokers) = brokers() else { return };
    if Command::new("bash")
        .args(["scripts/services", "env"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .is_ok_and(|o| !o.status.success())
    {
        eprintln!("skipped: the broker is not that of scripts/services, it cannot be paused");
        return;
    }
    let contract = Contract::shipped("vm").expect("the vm contract is shipped");
    let mut site = Site::new(&brokers, "vm");
    site.set("kafka.properties.session.timeout.ms", "6000");
    site.create_topics(1);
    let bucket = tests::now_ms() / STEP_MS * STEP_MS - 3_600_000;
    send(&brokers, &site, &contract, std::iter::once(bucket));
    let mut running = site.start(&["run", "--role", "rollup"]);
    running.wait_until_ready(Duration::from_secs(30));
    send(
        &brokers,
        &site,
        &contract,
        (1..10).map(|n| bucket + n * 1_000),
    );
    // Read, and perhaps committed; what follows is read but not committed.
    std::thread::sleep(Duration::from_secs(2));
    send(
        &brokers,
        &site,
        &contract,
        (10..20).map(|n| bucket + n * 1_000),
    );
    std::thread::sleep(Duration::from_millis(500));
    let paused = Paused::new();
    let until = Instant::now() + OUTAGE;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(500));
        assert!(running.is_running(), "{}", running.output());
    }
    drop(paused);
    send(
        &brokers,
        &site,
        &contract,
        [20_000, STEP_MS, 2 * STEP_MS].iter().map(|n| bucket + n),
    );
    let topic = site.topic("rollups");
    let until = Instant::now() + Duration::from_secs(60);
    while kafka::watermarks(&brokers, &topic)
        .iter()
        .map(|w| w.1)
        .sum::<i64>()
        == 0
    {
        assert!(
            running.is_running() && Instant::now() < until,
            "{}",
            running.output()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    assert!(
        running.output().contains("offsets are not committed"),
        "no commit fell into the outage: {}",
        running.output()
    );
    site.to_end("rollup");
    let found = topics::rollups(&brokers, &topic, &contract);
    let first: Vec<i32> = found
        .iter()
        .filter(|row| row.bucket_ms == bucket)
        .map(|row| row.num_records)
        .collect();
    assert_eq!(first, [21], "one row with all records of the bucket");
}
