//! Which servers drive it, by hand: each is held against its own usual, a report names those that stay far from it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use contract::Contract;
use contract::record::{DriftReport, Pane, ServerAway};
use drift::{Baseline, MIN_SERVER_VALUES, PaneBuilder, RowOutcome, Windows};
use proptest::prelude::*;
use support::{DAY, HOUR, Held, Noise, START, STEP, contract, report, rows};

const CPU: &str = "cpu_user_pct";

fn row(contract: &Contract, server: &str, bucket: i64, value: f32) -> Held {
    let mut values = vec![f32::NAN; contract.num_metrics()];
    values[contract.metric_index(CPU).unwrap()] = value;
    Held {
        server: server.to_owned(),
        profile: 0,
        bucket,
        values,
    }
}

/// Monday's first hour: "a" is at 10 and 12 by turns, "b" at 20 and 22, "rare" an hour too few at 16.
fn two_servers(contract: &Contract) -> Baseline {
    let n = i64::try_from(MIN_SERVER_VALUES).unwrap();
    let mut held = Vec::new();
    for i in 0..n {
        let (bucket, more) = (START + i % 12 * STEP, 2.0 * (i % 2) as f32);
        held.push(row(contract, "a", bucket, 10.0 + more));
        held.push(row(contract, "b", bucket, 20.0 + more));
        if i >= 12 {
            held.push(row(contract, "rare", bucket, 16.0));
        }
    }
    Baseline::learn("b1", contract, rows(&held)).0
}

/// The pane of one bucket.
fn pane(contract: &Arc<Contract>, baseline: &Baseline, rows: &[Held]) -> Pane {
    let shared = Arc::new(baseline.clone());
    let mut builder = PaneBuilder::new(Arc::clone(contract), shared, 0, None).unwrap();
    for row in rows {
        let counted = builder.row(&row.server, row.profile, row.bucket, 1, &row.values);
        assert_eq!(counted, RowOutcome::Counted);
    }
    builder.close_before(rows[0].bucket + STEP).remove(0)
}

fn furthest<'a>(pane: &'a Pane, metric: &str) -> &'a [ServerAway] {
    let metric = pane.metrics.iter().find(|held| held.metric == metric);
    &metric.unwrap().furthest
}

#[test]
fn distances_by_hand() {
    let linborg = contract("linborg");
    let baseline = two_servers(&linborg);
    assert_eq!(baseline.num_servers(), 3);
    // The profile's mean is 16. "a" is usually 5 below, "b" 5 above, with np.std([-1, 1] * 144, ddof=1) = sqrt(288/287).
    let sd = (288.0_f64 / 287.0).sqrt();
    let at = |values: [(&str, f32); 4]| {
        pane(
            &linborg,
            &baseline,
            &values.map(|(server, value)| row(&linborg, server, START, value)),
        )
    };
    let pane = at([("a", 15.0), ("b", 15.0), ("rare", 90.0), ("new", 90.0)]);
    let found = furthest(&pane, CPU);
    let names: Vec<&str> = found.iter().map(|away| away.server.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert!((found[0].sd - -6.0 / sd).abs() < 1e-9, "{found:?}");
    assert!((found[1].sd - 4.0 / sd).abs() < 1e-9, "{found:?}");
    assert_eq!(
        (pane.new_servers, &pane.new_names[..]),
        (1, &["new".to_owned()][..])
    );
    // Within three of them nobody is named, and a metric without a value names nobody.
    let pane = at([("a", 13.9), ("b", 18.1), ("rare", 16.0), ("x", 16.0)]);
    assert_eq!(furthest(&pane, CPU), []);
    assert_eq!(furthest(&pane, "mem_used_pct"), []);
}

#[test]
fn one_that_always_stood_still_is_held_against_its_profile() {
    let linborg = contract("linborg");
    let mut held = Vec::new();
    for i in 0..300_i64 {
        let bucket = START + i % 12 * STEP;
        held.push(row(&linborg, "still", bucket, 50.0));
        held.push(row(
            &linborg,
            "busy",
            bucket,
            50.0 + 10.0 * (i % 2 * 2 - 1) as f32,
        ));
    }
    let baseline = Baseline::learn("b1", &linborg, rows(&held)).0;
    // np.std([50, 40, 50, 60] * 150, ddof=1) = 7.0770…; a tenth of it is what "still" is measured in: 2.1 is less than three of
    // them, 2.2 more.
    let at = |value: f32| {
        let pane = pane(&linborg, &baseline, &[row(&linborg, "still", START, value)]);
        furthest(&pane, CPU).len()
    };
    assert_eq!((at(52.1), at(52.2), at(47.9), at(47.8)), (0, 1, 0, 1));
}

#[test]
fn a_peak_of_all_is_nobodys_peculiarity() {
    let linborg = contract("linborg");
    let mut noise = Noise(5);
    // A job at two o'clock that takes an hour, each night: 14 sd of the noise, 4.6 of the day's.
    let mut value = |bucket: i64| {
        let job = if bucket.rem_euclid(DAY) / HOUR == 2 {
            40.0
        } else {
            0.0
        };
        (20.0 + job + 3.0 * noise.normal()) as f32
    };
    let mut held = Vec::new();
    for step in 0..8 * 288_i64 {
        for server in ["a", "b", "c"] {
            let bucket = START + step * STEP;
            held.push(row(&linborg, server, bucket, value(bucket)));
        }
    }
    let baseline = Baseline::learn("b1", &linborg, rows(&held)).0;
    let night = START + 9 * DAY + 2 * HOUR;
    for bucket in 0..12 {
        let held = ["a", "b", "c"].map(|server| row(&linborg, server, night + bucket * STEP, 60.0));
        let pane = pane(&linborg, &baseline, &held);
        assert_eq!(furthest(&pane, CPU), []);
    }
    // Who runs it at noon is named.
    let noon = row(&linborg, "b", night + 10 * HOUR, 60.0);
    assert_eq!(furthest(&pane(&linborg, &baseline, &[noon]), CPU).len(), 1);
}

/// A report on an hour in which "a" is at `a(bucket)` and the others are as ever.
fn reported(contract: &Arc<Contract>, more: &[&str], a: impl Fn(i64) -> f32) -> DriftReport {
    let baseline = two_servers(contract);
    let mut windows = Windows::new(Arc::clone(contract));
    for bucket in 0..12 {
        let at = START + bucket * STEP;
        let mut held = vec![
            row(contract, "a", at, a(bucket)),
            row(contract, "b", at, 21.0),
        ];
        held.extend(more.iter().map(|server| row(contract, server, at, 16.0)));
        windows.add(&pane(contract, &baseline, &held));
    }
    report(&mut windows, &baseline, START + HOUR)
}

#[test]
fn half_of_the_hour_is_enough_to_be_named() {
    let linborg = contract("linborg");
    let sd = (288.0_f64 / 287.0).sqrt();
    let found = reported(&linborg, &[], |bucket| if bucket < 6 { 15.0 } else { 11.0 });
    let [named] = &found.server_drift[..] else {
        panic!("{found:?}")
    };
    let profile = &linborg.profiles[0].name;
    assert_eq!(
        (named.server.as_str(), &named.profile, named.metric.as_str()),
        ("a", profile, CPU)
    );
    assert!(
        (named.size_sd - 4.0 / sd).abs() < 1e-9 && named.share == 0.5,
        "{named:?}"
    );
    assert_eq!((found.known_servers, found.new_servers), (3, 0));
    // One of two servers in half of the hour; nothing is known of servers in other metrics.
    let share = |metric: &str| {
        let mut cells = found.metrics.iter();
        cells.find(|cell| cell.metric == metric)?.share_away
    };
    assert_eq!((share(CPU), share("mem_used_pct")), (Some(0.25), None));
    assert!(
        found
            .recommendation
            .contains(&format!(
                " Furthest from their own usual: a (cpu_user_pct +4.0 sd); 25 % of {profile} are beyond 3 sd in cpu_user_pct."
            )),
        "{}",
        found.recommendation
    );
    // One pane fewer; and up and down by turns is no direction.
    let found = reported(&linborg, &[], |bucket| if bucket < 5 { 15.0 } else { 11.0 });
    assert_eq!(found.server_drift, []);
    assert!(
        found
            .recommendation
            .contains(" No single server was far from its own usual"),
        "{}",
        found.recommendation
    );
    let by_turns = |bucket| match bucket % 3 {
        0 => 15.0,
        1 => 7.0,
        _ => 11.0,
    };
    assert_eq!(reported(&linborg, &[], by_turns).server_drift, []);
}

#[test]
fn new_servers_are_said_to_be_new() {
    let linborg = contract("linborg");
    let found = reported(&linborg, &["n2", "n1"], |_| 11.0);
    assert_eq!(
        (found.new_servers, &found.new_names[..]),
        (2, &["n1".to_owned(), "n2".to_owned()][..])
    );
    assert_eq!(found.server_drift, []);
    assert!(
        found
            .recommendation
            .contains("2 servers are new to the baseline and not judged by themselves: n1, n2."),
        "{}",
        found.recommendation
    );
    // A pane names three; all are counted.
    let found = reported(&linborg, &["n1", "n2", "n3", "n4", "n5"], |_| 11.0);
    assert_eq!((found.new_servers, found.new_names.len()), (5, 3));
    assert!(
        found.recommendation.contains("n1, n2, n3, …."),
        "{}",
        found.recommendation
    );
}

proptest! {
    /// A pane does not depend on the order of its rows, and names the furthest of them.
    #[test]
    fn rows_in_any_order_name_the_same(values in prop::collection::vec(-20.0_f32..50.0, 1..9), turn in 0_usize..9) {
        let linborg = contract("linborg");
        let mut held = Vec::new();
        for i in 0..300_i64 {
            for server in 0..8 {
                held.push(row(&linborg, &format!("s{server}"), START, 15.0 + (i % 2 * 2) as f32));
            }
        }
        let baseline = Baseline::learn("b1", &linborg, rows(&held)).0;
        let mut seen: Vec<Held> = values
            .iter()
            .enumerate()
            .map(|(server, &value)| row(&linborg, &format!("s{server}"), START, value))
            .collect();
        let first = pane(&linborg, &baseline, &seen);
        seen.rotate_left(turn.min(values.len()));
        let second = pane(&linborg, &baseline, &seen);
        prop_assert_eq!(&first, &second);
        let mut sizes: Vec<f64> = values.iter().map(|value| (f64::from(*value) - 16.0).abs()).collect();
        sizes.sort_by(|a, b| b.total_cmp(a));
        let sd = (300.0_f64 / 299.0).sqrt();
        let expected: Vec<f64> = sizes.iter().map(|size| size / sd).filter(|size| *size > 3.0).take(3).collect();
        let found: Vec<f64> = furthest(&first, CPU).iter().map(|away| away.sd.abs()).collect();
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!((found - expected).abs() < 1e-9);
        }
    }
}

#[test]
fn servers_that_are_missing_for_a_day_are_counted() {
    let linborg = contract("linborg");
    let names: Vec<String> = (0..20).map(|server| format!("s{server:02}")).collect();
    let hour_of = |names: &[String], start: i64| -> Vec<Held> {
        let buckets = (0..12).map(|bucket| start + bucket * STEP);
        buckets
            .flat_map(|at| names.iter().map(move |name| (name.clone(), at)))
            .map(|(name, at)| row(&linborg, &name, at, 50.0 + (at / STEP % 7) as f32))
            .collect()
    };
    let held: Vec<Held> = (0..48)
        .flat_map(|hour| hour_of(&names, START + hour * HOUR))
        .collect();
    let baseline = Baseline::learn("b1", &linborg, rows(&held)).0;
    assert_eq!(baseline.num_servers(), 20);
    let said = |here: &[String]| {
        let mut windows = Windows::new(Arc::clone(&linborg));
        for bucket in 0..288 {
            let at = START + 7 * DAY + bucket * STEP;
            let rows: Vec<Held> = here
                .iter()
                .map(|name| row(&linborg, name, at, 50.0))
                .collect();
            windows.add(&pane(&linborg, &baseline, &rows));
        }
        report(&mut windows, &baseline, START + 8 * DAY).recommendation
    };
    let words = "at most 17 servers that the baseline knows were there at once, of 20";
    assert!(!said(&names).contains("at once"));
    assert!(!said(&names[2..]).contains("at once"), "a tenth");
    let three = said(&names[3..]);
    assert!(three.contains(words), "{three}");
    // One that is new is none of them.
    let mut other = names[3..].to_vec();
    other.push("new".to_owned());
    let three = said(&other);
    assert!(three.contains(words), "{three}");
}
