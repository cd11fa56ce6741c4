//! Quiet now, by each rule; quiet later, from 30 days of loads.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use chrono::DateTime;
use chrono_tz::Tz;
use policy::{Evidence, Line, Loads, NextQuiet, QuietRule, Settings, Simulation};
use support::{DAY, HOUR, MINUTE, report};

const ZONE: Tz = Tz::America__New_York;

fn ms(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text)
        .unwrap()
        .timestamp_millis()
}

#[test]
fn four_rules() {
    let of = |load: Option<f64>, cpu: Option<f64>, memory: Option<f64>| Evidence {
        load,
        mean_cpu: cpu,
        mean_memory: memory,
        ..Evidence::of_report(&report(0.0, None))
    };
    let (yes, no) = (Some(true), Some(false));
    for (evidence, expected) in [
        (of(Some(0.29), Some(59.9), Some(69.9)), [yes, yes, yes, yes]),
        (of(Some(0.3), Some(59.9), Some(69.9)), [no, yes, no, yes]),
        (of(Some(0.1), Some(60.0), Some(10.0)), [yes, no, no, yes]),
        (of(Some(0.1), Some(10.0), Some(70.0)), [yes, no, no, yes]),
        (of(Some(0.9), Some(90.0), Some(90.0)), [no, no, no, no]),
        (of(None, Some(10.0), Some(10.0)), [None, yes, None, yes]),
        (of(None, Some(90.0), None), [None, no, no, None]),
        (of(Some(0.1), None, Some(10.0)), [yes, None, None, yes]),
        (of(Some(f64::NAN), None, None), [no, None, no, None]),
    ] {
        let found = QuietRule::ALL.map(|rule| rule.is_quiet(&evidence, 0.3));
        assert_eq!(found, expected, "{evidence:?}");
    }
}

/// Loads of `days` days until `end`, every half hour: quiet from 22:00 to 06:00 by the clock in New York on working days,
/// the whole day at the weekend.
fn week(end: i64, days: i64) -> Loads {
    let mut loads = Loads::default();
    for half_hour in 0..days * 48 {
        let at_ms = end - half_hour * 30 * MINUTE;
        loads.observe(at_ms, busy(at_ms));
    }
    loads
}

fn busy(at_ms: i64) -> f64 {
    use chrono::{Datelike as _, Timelike as _};
    let at = DateTime::from_timestamp_millis(at_ms)
        .unwrap()
        .with_timezone(&ZONE);
    let weekend = at.weekday().num_days_from_monday() >= 5;
    if weekend || !(6..22).contains(&at.hour()) {
        0.15
    } else {
        0.7
    }
}

#[track_caller]
fn check(loads: &Loads, now: &str, expected: NextQuiet) {
    assert_eq!(loads.next_quiet(ms(now), ZONE, 0.3), expected, "{now}");
}

#[test]
fn the_next_quiet_hour_on_the_contracts_clock() {
    let loads = week(ms("2026-02-25T12:00:00-05:00"), 30);
    let at = |text: &str| NextQuiet::At(ms(text));
    // A Wednesday.
    check(
        &loads,
        "2026-02-25T12:00:00-05:00",
        at("2026-02-25T22:00:00-05:00"),
    );
    // Between two quarters: the window begins at the next one.
    check(
        &loads,
        "2026-02-25T23:07:00-05:00",
        at("2026-02-25T23:15:00-05:00"),
    );
    // 1.5 h to six are too short at 04:40, so it is tonight's.
    check(
        &loads,
        "2026-02-26T04:29:59-05:00",
        at("2026-02-26T04:30:00-05:00"),
    );
    check(
        &loads,
        "2026-02-26T04:30:00-05:00",
        at("2026-02-26T22:00:00-05:00"),
    );
    // Saturday is quiet from midnight on; Friday night already is.
    check(
        &loads,
        "2026-02-27T12:00:00-05:00",
        at("2026-02-27T22:00:00-05:00"),
    );
    check(
        &loads,
        "2026-02-28T12:00:00-05:00",
        at("2026-02-28T12:15:00-05:00"),
    );
    // After the change of clocks on 8 March the hours are those of the clock.
    check(
        &loads,
        "2026-03-09T12:00:00-04:00",
        at("2026-03-09T22:00:00-04:00"),
    );
}

#[test]
fn too_little_history_is_unknown_and_not_none() {
    let now = ms("2026-02-25T12:00:00-05:00");
    assert_eq!(
        Loads::default().next_quiet(now, ZONE, 0.3),
        NextQuiet::Unknown
    );
    let mut loads = Loads::default();
    for hour in 1..24 * 7 {
        loads.observe(now - hour * HOUR, 0.7);
    }
    assert_eq!(loads.next_quiet(now, ZONE, 0.3), NextQuiet::Unknown);
    loads.observe(now - 7 * DAY, 0.7);
    assert_eq!(loads.next_quiet(now, ZONE, 0.3), NextQuiet::NotWithinADay);
    // Only noon was ever seen: what the night is like is not known.
    let mut noons = Loads::default();
    (0..20).for_each(|day| noons.observe(now - day * DAY, 0.7));
    assert_eq!(noons.next_quiet(now, ZONE, 0.3), NextQuiet::Unknown);
    // Every sixth hour: the hours between are like their neighbours.
    let mut sparse = Loads::default();
    (0..80).for_each(|i| sparse.observe(now - i * 6 * HOUR, 0.7));
    assert_eq!(sparse.next_quiet(now, ZONE, 0.3), NextQuiet::NotWithinADay);
    // What is older than 30 days says nothing.
    assert_eq!(
        loads.next_quiet(now + 31 * DAY, ZONE, 0.3),
        NextQuiet::Unknown
    );
}

#[test]
fn loads_are_bounded_and_a_repeat_replaces() {
    let mut loads = Loads::default();
    for bucket in 0..50_000 {
        loads.observe(bucket * 5 * MINUTE, 0.5);
    }
    assert_eq!(loads.len(), 8_640);
    let before = loads.clone();
    loads.observe(49_999 * 5 * MINUTE + 1, 0.5);
    loads.observe(0, f64::NAN);
    assert_eq!(loads, before);
    // A clock far ahead takes nothing away.
    loads.observe(i64::MAX, 0.1);
    assert_eq!(loads.len(), 8_640);
    let now = 49_999 * 5 * MINUTE;
    assert_eq!(
        loads.next_quiet(now, Tz::UTC, 0.3),
        NextQuiet::NotWithinADay
    );
    assert_eq!(
        loads.next_quiet(now, Tz::UTC, 0.6),
        NextQuiet::At((now / (15 * MINUTE) + 1) * 15 * MINUTE)
    );
    for far in [i64::MIN, i64::MAX] {
        assert_eq!(loads.next_quiet(far, Tz::UTC, 0.6), NextQuiet::Unknown);
    }
}

fn hours(days: i64, load: impl Fn(i64) -> f64) -> (Simulation, i64) {
    let mut all = Simulation::new(Settings {
        zone: ZONE,
        ..Settings::default()
    });
    let from = ms("2026-02-02T12:00:00-05:00");
    let end = from + days * DAY;
    for at_ms in (from..end).step_by(HOUR as usize) {
        let found = all.step(&Line {
            at_ms,
            score: 0.02,
            load: Some(load(at_ms)),
            event: None,
        });
        assert!(!found.trigger, "{}", found.reason);
    }
    (all, end)
}

#[test]
fn a_decision_waits_for_the_quiet_time_that_was_learnt() {
    let (mut all, noon) = hours(14, busy);
    let drift = |at_ms: i64, load: f64| Line {
        at_ms,
        score: 0.13,
        load: Some(load),
        event: None,
    };
    let found = all.step(&drift(noon, 0.7));
    assert_eq!(
        (found.trigger, found.wait_until),
        (false, Some(noon + 10 * HOUR))
    );
    assert!(
        found
            .reason
            .ends_with("10 h to wait: wait for a quiet time"),
        "{}",
        found.reason
    );
    // A load that is not known is none that is low.
    let unknown = Line {
        load: None,
        ..drift(noon + 10 * HOUR, 0.0)
    };
    let found = all.step(&unknown);
    assert!(
        !found.trigger && found.reason.contains("load unknown"),
        "{}",
        found.reason
    );
    assert!(all.step(&drift(noon + 10 * HOUR, 0.15)).trigger);
}

#[test]
fn critical_drift_does_not_wait_where_no_quiet_time_comes() {
    let (mut all, noon) = hours(8, |_| 0.6);
    let at = |score: f64| Line {
        at_ms: noon,
        score,
        load: Some(0.6),
        event: None,
    };
    // Drift, but not above 0.12.
    let urgent = all.step(&at(0.12));
    assert_eq!((urgent.trigger, urgent.wait_until), (false, None));
    assert!(
        urgent
            .reason
            .ends_with("none is expected within a day: wait for a quiet time"),
        "{}",
        urgent.reason
    );
    let critical = all.step(&at(0.121));
    assert!(
        critical.trigger && critical.priority == "critical",
        "{}",
        critical.reason
    );
    // With less than a week of history it waits.
    let (mut young, noon) = hours(6, |_| 0.6);
    let found = young.step(&Line {
        at_ms: noon,
        ..at(0.2)
    });
    assert_eq!(
        (found.trigger, found.wait_until),
        (false, None),
        "{}",
        found.reason
    );
}
