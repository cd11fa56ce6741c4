//! Days that are not like others: a metric that is null, clocks that jump, days of 23 and 25 hours, a fleet of one server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::sync::Arc;

use chrono::{TimeZone, Timelike, Utc};
use contract::Contract;
use contract::record::{DriftReport, Pane};
use drift::{Baseline, PaneBuilder, PaneOutcome, Row, RowOutcome, Windows, calibrate};
use support::{DAY, HOUR, Noise, START, STEP, contract, judged};

const YEAR: i64 = 365 * DAY;

/// Rows of one profile: a cycle by the contract's local hour, and AR(1) noise.
struct Fleet {
    contract: Arc<Contract>,
    start: i64,
    servers: usize,
    noise: Noise,
    states: Vec<Vec<f64>>,
}

impl Fleet {
    fn new(start: i64, servers: usize) -> Fleet {
        let contract = contract("linborg");
        Fleet {
            start,
            servers,
            noise: Noise(11),
            states: vec![vec![0.0; contract.num_metrics()]; servers],
            contract,
        }
    }

    /// The next `days` days: bucket, server and values.
    fn days(&mut self, days: i64) -> Vec<(i64, usize, Vec<f32>)> {
        let end = self.start + days * DAY;
        let mut rows = Vec::new();
        while self.start < end {
            let utc = Utc.timestamp_millis_opt(self.start).single().unwrap();
            let local = utc.with_timezone(&self.contract.time_zone);
            let hour = f64::from(local.hour()) + f64::from(local.minute()) / 60.0;
            let cycle = (hour / 24.0 * std::f64::consts::TAU).sin();
            for server in 0..self.servers {
                let noise = &mut self.noise;
                let state = &mut self.states[server];
                state
                    .iter_mut()
                    .for_each(|held| *held = 0.9 * *held + 0.19_f64.sqrt() * noise.normal());
                let of = |held: &f64| (40.0 + 15.0 * cycle + 6.0 * held) as f32;
                rows.push((self.start, server, state.iter().map(of).collect()));
            }
            self.start += STEP;
        }
        rows
    }
}

type Rows = [(i64, usize, Vec<f32>)];

fn learned<'a>(contract: &Arc<Contract>, rows: &'a Rows) -> Baseline {
    let (first, second) = rows.split_at(rows.len() / 2);
    let names: Vec<String> = (0..8).map(|server| format!("s{server}")).collect();
    let row = |(bucket, server, values): &'a (i64, usize, Vec<f32>)| Row {
        server: &names[*server],
        profile: 0,
        bucket: *bucket,
        values,
    };
    let (mut baseline, history) = Baseline::learn("b1", contract, first.iter().map(row));
    let held = second.iter().map(row);
    calibrate(contract, &mut baseline, history, "m1", held, []).unwrap();
    assert!(baseline.detector.as_ref().unwrap().level().is_some());
    baseline
}

fn panes(contract: &Arc<Contract>, baseline: &Baseline, rows: &Rows) -> Vec<Pane> {
    let mut builder =
        PaneBuilder::new(Arc::clone(contract), Arc::new(baseline.clone()), 0, None).unwrap();
    let mut panes = Vec::new();
    for (bucket, server, values) in rows {
        panes.extend(builder.close_before(*bucket));
        let counted = builder.row(&format!("s{server}"), 0, *bucket, 1, values);
        assert_eq!(counted, RowOutcome::Counted);
    }
    let last = rows.last().unwrap().0;
    panes.extend(builder.close_before(last + STEP));
    panes
}

/// Reports at the end of each bucket from `from` on.
fn reports(
    contract: &Arc<Contract>,
    baseline: &Baseline,
    rows: &Rows,
    from: i64,
) -> Vec<DriftReport> {
    let mut windows = Windows::new(Arc::clone(contract));
    let mut found = Vec::new();
    for pane in panes(contract, baseline, rows) {
        assert_eq!(windows.add(&pane), PaneOutcome::Added);
        if pane.bucket >= from {
            found.push(judged(&mut windows, baseline, pane.bucket + STEP));
        }
    }
    found
}

#[track_caller]
fn check_quiet(reports: &[DriftReport]) {
    assert!(reports.len() > 250);
    if let Some(report) = reports.iter().find(|report| report.alarm) {
        panic!("{}: {}", report.at, report.recommendation);
    }
}

#[test]
fn a_metric_that_is_null_for_a_day_is_not_drift() {
    let mut fleet = Fleet::new(START, 4);
    let baseline = learned(&fleet.contract.clone(), &fleet.days(14));
    let mut rows = fleet.days(3);
    let metric = fleet.contract.metric_index("cpu_user_pct").unwrap();
    let (from, to) = (START + 15 * DAY, START + 16 * DAY);
    for (bucket, _, values) in &mut rows {
        if (from..to).contains(bucket) {
            values[metric] = f32::NAN;
        }
    }
    let found = reports(&fleet.contract, &baseline, &rows, from);
    check_quiet(&found);
    // At the day's end nothing of it is left to be judged, and the others are.
    let end = found.iter().find(|report| report.at == to).unwrap();
    let judged: Vec<&str> = end
        .metrics
        .iter()
        .map(|metric| metric.metric.as_str())
        .collect();
    assert!(!judged.contains(&"cpu_user_pct"), "{judged:?}");
    assert!(judged.len() >= 10 && end.confidence > 0.5, "{end:?}");
}

#[test]
fn days_of_23_and_25_hours_are_not_drift() {
    // New York: 2026-03-08 has 23 hours, 2026-11-01 has 25.
    for day in ["2026-03-08T00:00:00Z", "2026-11-01T00:00:00Z"] {
        let day = chrono::DateTime::parse_from_rfc3339(day)
            .unwrap()
            .timestamp_millis();
        let mut fleet = Fleet::new(day - 15 * DAY, 4);
        let baseline = learned(&fleet.contract.clone(), &fleet.days(14));
        let rows = fleet.days(4);
        check_quiet(&reports(&fleet.contract, &baseline, &rows, day));
    }
}

#[test]
fn clocks_that_jump_change_no_report() {
    let mut fleet = Fleet::new(START, 4);
    let baseline = learned(&fleet.contract.clone(), &fleet.days(8));
    let rows = fleet.days(2);
    let end = START + 10 * DAY;
    let mut windows = Windows::new(Arc::clone(&fleet.contract));
    let held = panes(&fleet.contract, &baseline, &rows);
    for pane in &held {
        windows.add(pane);
    }
    let expected = judged(&mut windows, &baseline, end);
    // A server whose clock is a year ahead, and one that is a year behind.
    for jump in [YEAR, -YEAR] {
        let mut pane = held.last().unwrap().clone();
        pane.bucket += jump;
        windows.add(&pane);
        assert!(judged(&mut windows, &baseline, end) == expected, "{jump}");
    }
    // Asked for an hour ago, and for now again.
    let before = judged(&mut windows, &baseline, end - HOUR);
    assert_eq!(before.at, end - HOUR);
    assert!(judged(&mut windows, &baseline, end) == expected);
}

#[test]
fn one_server_is_judged_by_its_own_mean() {
    let mut fleet = Fleet::new(START, 1);
    let baseline = learned(&fleet.contract.clone(), &fleet.days(14));
    let mut rows = fleet.days(3);
    let shift = START + 16 * DAY;
    for (bucket, _, values) in &mut rows {
        if *bucket >= shift {
            values.iter_mut().take(3).for_each(|value| *value += 30.0);
        }
    }
    let found = reports(&fleet.contract, &baseline, &rows, START + 15 * DAY);
    let first = found.iter().find(|report| report.alarm).unwrap();
    assert!(
        (shift..=shift + 6 * HOUR).contains(&first.at),
        "{} min: {}",
        (first.at - shift) / 60_000,
        first.recommendation
    );
    // One server has no spread between servers.
    assert!(first.metrics.iter().all(|metric| metric.signal != "spread"));
}

#[test]
fn a_profile_without_one_of_five_servers_is_not_judged_and_named() {
    let linborg = contract("linborg");
    let mut fleet = Fleet::new(START, 5);
    let before = fleet.days(5);
    let baseline = learned(&linborg, &before);
    let mut day = fleet.days(1);
    // The last server is gone after noon.
    let noon = START + 5 * DAY + 12 * HOUR;
    day.retain(|(bucket, server, _)| *bucket < noon || *server != 4);
    let mut windows = Windows::new(Arc::clone(&linborg));
    for pane in panes(&linborg, &baseline, &before) {
        windows.add(&pane);
    }
    for pane in panes(&linborg, &baseline, &day) {
        windows.add(&pane);
    }
    let whole = judged(&mut windows, &baseline, noon);
    assert!(!whole.recommendation.contains("Not judged"));
    let partial = judged(&mut windows, &baseline, noon + HOUR);
    let name = &linborg.profiles[0].name;
    let expected = format!(
        "Not judged while more than a tenth of the day's servers are missing: {name} (4 of 5 servers)."
    );
    assert!(
        partial.recommendation.contains(&expected),
        "{}",
        partial.recommendation
    );
    assert!(whole.confidence > 0.9 && partial.confidence == 0.0 && !partial.alarm);
}
