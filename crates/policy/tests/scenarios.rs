//! The four scenarios that must hold.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use contract::record::Decision;
use policy::{Happened, Line, Settings, Simulation};
use support::{DAY, HOUR};

/// 2026-01-05, a Monday, at midnight.
const MONDAY: i64 = 1_767_571_200_000;

fn line(at_ms: i64, score: f64, load: f64) -> Line {
    Line {
        at_ms,
        score,
        load: Some(load),
        event: None,
    }
}

#[track_caller]
fn check(found: &Decision, trigger: bool, ending: &str) {
    assert!(
        found.trigger == trigger && found.reason.ends_with(ending),
        "{} {}",
        found.trigger,
        found.reason
    );
}

#[test]
fn gradual_drift_trains_when_it_is_drift_and_quiet() {
    let mut all = Simulation::new(Settings::default());
    for (day, score) in [(1, 0.05), (3, 0.07), (5, 0.09)] {
        let found = all.step(&line(MONDAY + day * DAY, score, 0.22));
        check(&found, false, ": no training needed");
    }
    let found = all.step(&line(MONDAY + 7 * DAY, 0.11, 0.22));
    check(&found, true, ": train");
    assert_eq!(
        found.reason,
        "drift score 0.11 > 0.10, load 0.22 < 0.30, no training before: train"
    );
    assert_eq!(
        (found.priority.as_str(), found.cause.as_str()),
        ("high", "drift")
    );
}

#[test]
fn a_sudden_change_at_noon_waits_for_the_night() {
    let mut all = Simulation::new(Settings::default());
    for (hour, score, load) in [(12, 0.13, 0.75), (15, 0.14, 0.70), (19, 0.135, 0.42)] {
        let found = all.step(&line(MONDAY + hour * HOUR, score, load));
        check(&found, false, ": wait for a quiet time");
        // Too little is known of the load to say until when, or that no quiet time comes.
        assert_eq!(
            (found.wait_until, found.priority.as_str()),
            (None, "critical")
        );
    }
    check(
        &all.step(&line(MONDAY + 22 * HOUR, 0.14, 0.28)),
        true,
        ": train",
    );
}

#[test]
fn a_fourth_training_in_a_week_is_blocked() {
    let mut all = Simulation::new(Settings::default());
    for day in [0, 2, 4] {
        let at_ms = MONDAY + day * DAY;
        check(&all.step(&line(at_ms, 0.11, 0.2)), true, ": train");
        let done = Line {
            event: Some(Happened::TrainingCompleted),
            ..line(at_ms + HOUR, 0.05, 0.2)
        };
        check(&all.step(&done), false, ": no training needed");
    }
    let found = all.step(&line(MONDAY + 5 * DAY, 0.11, 0.2));
    check(
        &found,
        false,
        ": wait, there may be at most 3 trainings in 7 days",
    );
    let free = MONDAY + 7 * DAY + HOUR;
    assert_eq!(found.wait_until, Some(free));
    // What is exactly 7 days old counts no more.
    check(
        &all.step(&line(free - 1, 0.11, 0.2)),
        false,
        "3 trainings in 7 days",
    );
    check(&all.step(&line(free, 0.11, 0.2)), true, ": train");
}

#[test]
fn thirty_days_without_a_training_force_one() {
    let mut all = Simulation::new(Settings::default());
    for day in 0..30 {
        let found = all.step(&line(MONDAY + day * DAY, 0.07, 0.2));
        check(&found, false, ": no training needed");
    }
    let almost = all.step(&line(MONDAY + 30 * DAY - 1, 0.07, 0.2));
    check(&almost, false, ": no training needed");
    let found = all.step(&line(MONDAY + 30 * DAY, 0.07, 0.2));
    check(&found, true, "at most 30 d without a training: train");
    assert_eq!(
        (
            found.priority.as_str(),
            found.cause.as_str(),
            found.confidence
        ),
        ("high", "age", 1.0)
    );
}

/// A forced training waits for a quiet time, too, but not for more than a day.
#[test]
fn a_forced_training_waits_a_day_at_most() {
    let mut all = Simulation::new(Settings::default());
    all.step(&line(MONDAY, 0.07, 0.5));
    let due = MONDAY + 30 * DAY;
    let found = all.step(&line(due, 0.07, 0.5));
    check(&found, false, ": wait for a quiet time");
    assert_eq!(found.wait_until, Some(due + DAY));
    check(
        &all.step(&line(due + DAY - 1, 0.07, 0.5)),
        false,
        "quiet time",
    );
    let found = all.step(&line(due + DAY, 0.07, 0.5));
    check(&found, true, ": train, no quiet time came within a day");
}

#[test]
fn a_person_need_not_wait_for_a_quiet_time_but_for_the_safeguards() {
    let mut all = Simulation::new(Settings::default());
    let event = |at_ms, event| Line {
        event: Some(event),
        ..line(at_ms, 0.02, 0.9)
    };
    let found = all.step(&event(MONDAY, Happened::ManualRequest));
    check(&found, true, "a person asked for it: train");
    assert_eq!((found.priority.as_str(), found.manual), ("high", true));
    // Answered with that line.
    check(
        &all.step(&line(MONDAY + 1, 0.02, 0.9)),
        false,
        "no training needed",
    );
    all.step(&event(MONDAY + HOUR, Happened::TrainingCompleted));
    let found = all.step(&event(MONDAY + 2 * HOUR, Happened::ManualRequest));
    check(&found, false, "have passed since the last training");
    assert_eq!(found.wait_until, Some(MONDAY + 7 * HOUR));
    let found = all.step(&event(MONDAY + 7 * HOUR, Happened::ManualRequest));
    check(&found, true, ": train");
}

/// A failure counts neither for the 6 hours nor for the week.
#[test]
fn only_what_ended_well_counts() {
    let mut all = Simulation::new(Settings::default());
    for hour in 0..5 {
        let failed = Line {
            event: Some(Happened::TrainingFailed),
            ..line(MONDAY + hour * HOUR, 0.11, 0.2)
        };
        check(&all.step(&failed), true, "no training before: train");
    }
}
