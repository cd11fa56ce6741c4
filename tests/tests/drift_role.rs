//! The drift role on a real broker: two at once, `kill -9` in the middle and a pane that does not decode give the reports of one that
//! was left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::record::DriftReport;
use tests::{Running, Site, brokers, kafka, topics};

/// The last 26 hours of 100.
const FROM: &str = "2026-01-08T02:00:00Z";
const RUN: [&str; 3] = ["run", "--role", "drift"];

/// A site whose rollups and predictions are there, with a model of its own or that of another's registry.
fn site(brokers: &str, registry: Option<&str>) -> Site {
    let mut site = Site::new(brokers, "linborg");
    site.set("kafka.properties.session.timeout.ms", "6000");
    site.set("rollup.idle_after", "8s");
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

#[test]
fn kills_two_at_once_and_garbage_change_no_report() {
    let Some(brokers) = brokers() else { return };
    let plain = site(&brokers, None);
    let rows = topics::rollups(
        &brokers,
        &plain.topic("rollups"),
        &contract::Contract::shipped("linborg").expect("shipped"),
    );
    let last = rows.iter().map(|row| row.bucket_ms).max().expect("rows") + 300_000;
    let mut running = plain.start(&RUN);
    let expected = reported_through(&plain, last, &mut running);
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    assert!(expected.len() > 250, "{} reports", expected.len());
    assert!(expected[&last].missing_partitions.is_empty());
    assert_eq!(expected[&last].servers, 12);

    let registry = plain.path("registry").display().to_string();
    let shaken = site(&brokers, Some(&registry));
    let garbage: kafka::Outgoing<'_> = (0, None, Some(b"not a pane"));
    kafka::send(&brokers, &shaken.topic("drift.panes"), &[garbage]);
    let mut first = shaken.start(&RUN);
    let mut second = shaken.start(&["run", "--role", "drift", "--log-format", "text"]);
    shaken.wait_for_records("drift", 40, &mut first);
    first.kill();
    shaken.wait_for_records("drift", 120, &mut second);
    second.kill();
    let mut third = shaken.start(&["run", "--role", "drift", "--log-format", "json"]);
    let found = reported_through(&shaken, last, &mut third);
    assert_eq!(third.terminate(), Some(0), "{}", third.output());
    let logs = [first.output(), second.output(), third.output()].concat();
    assert!(logs.contains("a pane does not decode"), "{logs}");

    for (at, report) in &expected {
        let other = found.get(at);
        assert!(
            other == Some(report),
            "at {at}: {report:?}\nbut after kills: {other:?}"
        );
    }
    assert_eq!(found.len(), expected.len());
}
