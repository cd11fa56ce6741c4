//! A broker that answers nothing for longer than a session and a commit last. Alone in its file: all other tests use the same broker.

use std::process::Command;
use std::time::{Duration, Instant};

use contract::Contract;
use contract::codec::Encoder;
use tests::{Running, Site, brokers, kafka, metric_record, topics};

const STEP_MS: i64 = 300_000;
/// Longer than a commit waits, which is longer than a session lasts here.
const OUTAGE: Duration = Duration::from_secs(36);
const RECORDS: i64 = 10;
/// Outages at most: a commit just before one leaves nothing to commit in it.
const OUTAGES: i64 = 3;
const SAID: &str = "offsets are not committed";

/// The broker stands still while this lives.
struct Paused;

/// Whether `scripts/services` could do it: not where the broker is another one.
fn services(what: &str) -> bool {
    let mut script = Command::new("bash");
    script.args(["scripts/services", what]);
    script.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    script.output().is_ok_and(|done| done.status.success())
}

impl Paused {
    fn new() -> Self {
        assert!(services("pause"));
        Self
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        assert!(services("resume"));
    }
}

/// Stops the broker until a commit has failed; gives whether one did.
fn outage(running: &mut Running) -> bool {
    let _paused = Paused::new();
    let until = Instant::now() + OUTAGE;
    while Instant::now() < until && !running.output().contains(SAID) {
        assert!(running.is_running(), "{}", running.output());
        std::thread::sleep(Duration::from_millis(100));
    }
    running.output().contains(SAID)
}

/// What was read before the outage could not be committed during it; the role goes on, and nothing is lost or counted twice.
#[test]
fn an_outage_longer_than_the_session_is_waited_for() {
    let Some(brokers) = brokers() else { return };
    if !services("env") {
        eprintln!("skipped: the broker is not that of scripts/services, it cannot be paused");
        return;
    }
    let contract = Contract::shipped("vm").expect("the vm contract is shipped");
    let encoder = Encoder::new(&contract).expect("make an encoder");
    let mut site = Site::new(&brokers, "vm");
    site.set("kafka.properties.session.timeout.ms", "6000");
    site.create_topics(1);
    let bucket = tests::now_ms() / STEP_MS * STEP_MS - 3_600_000;
    let send = |after_ms: &[i64]| {
        let record = |ms: &i64| metric_record(&encoder, "vm1", bucket + ms, &[Some(50.0); 6]);
        let values: Vec<_> = after_ms.iter().map(record).collect();
        let records: Vec<kafka::Outgoing<'_>> = values
            .iter()
            .map(|value| (0, Some(b"vm1".as_slice()), Some(value.as_slice())))
            .collect();
        kafka::send(&brokers, &site.topic("metrics"), &records);
    };
    send(&[0]);
    let mut running = site.start(&["run", "--role", "rollup"]);
    running.wait_until_ready(Duration::from_secs(30));
    let mut sent = 1;
    let failed = (0..OUTAGES).any(|_| {
        send(
            &(sent..sent + RECORDS)
                .map(|n| n * 1_000)
                .collect::<Vec<_>>(),
        );
        sent += RECORDS;
        outage(&mut running)
    });
    assert!(
        failed,
        "no commit fell into an outage: {}",
        running.output()
    );
    send(&[sent * 1_000, STEP_MS, 2 * STEP_MS]);
    site.wait_for_records("rollups", 1, &mut running);
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    site.to_end("rollup");
    let found = topics::rollups(&brokers, &site.topic("rollups"), &contract);
    let first: Vec<i32> = found
        .iter()
        .filter(|row| row.bucket_ms == bucket)
        .map(|row| row.num_records)
        .collect();
    let all = i32::try_from(sent + 1).expect("few records");
    assert_eq!(first, [all], "one row with all records of the bucket");
}
