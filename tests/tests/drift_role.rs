//! The drift role on a real broker: two at once, `kill -9` in the middle and a pane that does not decode give the reports of one that
//! was left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::codec::{Encoder, RollupRow, encode};
use contract::record::{DriftReport, Pane, Sum};
use contract::{Contract, Fixed};
use serde_json::{Value, json};
use tests::{Running, Site, brokers, kafka, pages, topics};

/// The last 26 hours of 100.
const FROM: &str = "2026-01-08T02:00:00Z";
const RUN: [&str; 3] = ["run", "--role", "drift"];

/// A site whose rollups and predictions are there, with a model of its own or that of another's registry.
fn site(brokers: &str, registry: Option<&str>) -> Site {
    let mut site = Site::new(brokers, "linborg");
    site.set("kafka.properties.session.timeout.ms", "6000");
    // A loaded machine lets a partition wait for longer than one would think.
    site.set("rollup.idle_after", "30s");
    if let Some(registry) = registry {
        site.set("registry.url", registry);
    }
    site.create_topics(3);
    let file = site.simulate("12", "100", "7");
    site.run(&["replay", &file, "--from", FROM]).ok();
    site.to_end("rollup");
    if registry.is_none() {
        site.train_quick(&file, "8");
    }
    site.to_end("forecast");
    site
}

/// All reports by time; those of a repeat must be the same.
fn reports(site: &Site) -> BTreeMap<i64, DriftReport> {
    let mut found = BTreeMap::new();
    for (_, report) in topics::records::<DriftReport>(site.brokers(), &site.topic("drift")) {
        if let Some(before) = found.insert(report.at, report.clone()) {
            assert!(before == report, "a repeat differs: {before:?} {report:?}");
        }
    }
    found
}

/// Waits until the last bucket was reported.
fn reported_through(site: &Site, last: i64, running: &mut Running) -> BTreeMap<i64, DriftReport> {
    running.until("the last report", Duration::from_secs(90), || {
        Some(reports(site)).filter(|found| found.contains_key(&last))
    })
}

/// What the commands say of an empty topic.
fn nothing_is_reported(site: &Site) {
    let page = site.path("drift.html");
    let html = ["drift", "report", "--html", page.to_str().expect("a path")];
    for words in [&["drift", "status"][..], &["drift", "report"], &html] {
        let ended = site.run(words).ok();
        assert!(ended.stdout.starts_with("no report yet"), "{ended:?}");
        let ended = site.run(&[words, &["--json"]].concat()).ok();
        assert_eq!(ended.last_json(), Value::Null);
    }
    assert!(!page.exists());
}

/// The commands say what the role wrote.
fn the_commands_tell(site: &Site, written: &BTreeMap<i64, DriftReport>) {
    let (_, last) = written.last_key_value().expect("reports");
    assert_eq!(last.known_servers, 12, "the baseline knows the fleet");
    assert_eq!((last.new_servers, &last.new_names), (0, &Vec::new()));

    let status = site.run(&["drift", "status", "--json"]).ok().last_json();
    assert_eq!(status["status"], json!(last.status));
    assert_eq!(status["score"], json!(last.score));
    assert_eq!(status["recommendation"], json!(last.recommendation));
    assert_eq!(status["server_drift"], json!(last.server_drift));
    let status = site.run(&["drift", "status"]).ok().stdout;
    let lines: Vec<&str> = status.lines().collect();
    assert_eq!(lines.len(), 2, "{status}");
    assert!(
        lines[0].starts_with(&last.status) && lines[0].contains("12 servers"),
        "{status}"
    );
    assert_eq!(lines[1], last.recommendation);

    let report = site.run(&["drift", "report", "--json"]).ok().last_json();
    assert_eq!(report, json!(last));
    let report = site.run(&["drift", "report"]).ok().stdout;
    assert!(report.starts_with(&status), "{report}");
    for words in [
        "WINDOW",
        "CALIBRATED",
        "24 h",
        "PROFILE",
        "SINCE",
        "mem_used_pct",
    ] {
        assert!(report.contains(words), "{words} in {report}");
    }
    match last.server_drift.first() {
        Some(server) => assert!(report.contains(&server.server), "{report}"),
        None => assert!(report.contains("none of 12 was far from"), "{report}"),
    }

    let path = site.path("drift.html").display().to_string();
    let html = ["drift", "report", "--html", &path];
    let told = site
        .run(&[&html[..], &["--json"]].concat())
        .ok()
        .last_json();
    assert_eq!(told["reports"], json!(written.len()), "{told}");
    assert_eq!(told["html"], json!(path));
    let page = std::fs::read_to_string(&path).expect("read the page");
    pages::check_nesting(&page);
    assert!(!page.contains("<script") && !page.contains("://") && !page.contains("NaN"));
    for words in [
        "Score over time",
        "PER: prediction error rate",
        "Anomaly rate",
        "critical",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains(&last.model_version));
    // The last three hours alone: 36 steps and both ends.
    let told = site
        .run(&[&html[..], &["--hours", "3"]].concat())
        .ok()
        .stdout;
    assert!(told.contains(": 37 reports, "), "{told}");
    let told = site.run(&["drift", "report", "--hours", "3"]);
    assert!(
        told.code == Some(2) && told.stderr.contains("--html"),
        "{told:?}"
    );
}

/// A rollup and a pane of the year 2100, as a broken clock makes them: taken in, either would end all reports.
fn from_the_future(site: &Site) {
    const AT: i64 = 4_102_444_800_000;
    let contract = Contract::shipped("linborg").expect("shipped");
    let row = RollupRow {
        server: "ahead",
        timestamp: AT,
        profile: "web_api",
        state: None,
        num_records: 1,
        values: &vec![1.0; contract.num_metrics()],
    };
    let mut rollup = Vec::new();
    let encoder = Encoder::new(&contract).expect("make an encoder");
    encoder.encode_rollup(&row, &mut rollup).expect("encode");
    let load = Sum {
        n: 0,
        total: Fixed::ZERO,
    };
    let pane = Pane {
        partition: 0,
        profile: "web_api".to_owned(),
        bucket: AT,
        baseline: "b".to_owned(),
        contract: contract.fingerprint().to_owned(),
        position: 1,
        servers: 1,
        rows: 1,
        cpu_load: load,
        mem_load: load,
        metrics: Vec::new(),
        new_servers: 0,
        new_names: Vec::new(),
        num_panes: 1,
    };
    let pane = encode(&pane).expect("encode");
    for (topic, value) in [("rollups", &rollup), ("drift.panes", &pane)] {
        let record: kafka::Outgoing<'_> = (0, None, Some(value));
        kafka::send(site.brokers(), &site.topic(topic), &[record]);
    }
}

#[test]
fn kills_two_at_once_and_garbage_change_no_report() {
    let Some(brokers) = brokers() else { return };
    let plain = site(&brokers, None);
    let rows = topics::rollups(
        &brokers,
        &plain.topic("rollups"),
        &Contract::shipped("linborg").expect("shipped"),
    );
    let last = rows.iter().map(|row| row.bucket_ms).max().expect("rows") + 300_000;
    nothing_is_reported(&plain);
    let mut running = plain.start(&RUN);
    let expected = reported_through(&plain, last, &mut running);
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    assert!(expected.len() > 250, "{} reports", expected.len());
    assert!(expected[&last].missing_partitions.is_empty());
    assert_eq!(expected[&last].servers, 12);

    the_commands_tell(&plain, &expected);

    let registry = plain.path("registry").display().to_string();
    let shaken = site(&brokers, Some(&registry));
    let garbage: kafka::Outgoing<'_> = (0, None, Some(b"not a pane"));
    kafka::send(&brokers, &shaken.topic("drift.panes"), &[garbage]);
    from_the_future(&shaken);
    let mut first = shaken.start(&RUN);
    let mut second = shaken.start(&["run", "--role", "drift", "--log-format", "text"]);
    shaken.wait_for_records("drift", 40, &mut first);
    // It stands still for longer than its session lasts: the second takes over, and the first finds that out alive.
    first.signal("STOP");
    shaken.wait_for_records("drift", 100, &mut second);
    first.signal("CONT");
    shaken.wait_for_records("drift", 140, &mut second);
    second.kill();
    shaken.wait_for_records("drift", 180, &mut first);
    first.kill();
    let mut third = shaken.start(&["run", "--role", "drift", "--log-format", "json"]);
    let found = reported_through(&shaken, last, &mut third);
    assert_eq!(third.terminate(), Some(0), "{}", third.output());
    let logs = [first.output(), second.output(), third.output()].concat();
    assert!(logs.contains("a pane does not decode"), "{logs}");
    assert!(logs.contains("a pane of the future"), "{logs}");
    assert!(logs.contains("rollup of the future"), "{logs}");

    for (at, report) in &expected {
        let other = found.get(at);
        assert!(
            other == Some(report),
            "at {at}: {report:?}\nbut after kills: {other:?}"
        );
    }
    assert_eq!(found.len(), expected.len());
}
