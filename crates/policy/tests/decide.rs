//! The rules, one by one, and their words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use contract::record::{self, ControlEvent, ControlPayload, Decision, DriftReport};
use policy::{Evidence, Settings, State, should_publish};
use support::{HOUR, MINUTE, NOW, decision, model, report, training};

const DRIVEN: &str =
    "drift score 0.13 > 0.10 driven by ml_compute cpu_user_pct and ml_compute mem_used_pct";

fn decide(at_ms: i64, report: &DriftReport, state: &State, settings: &Settings) -> Decision {
    let evidence = Evidence {
        at_ms,
        ..Evidence::of_report(report)
    };
    policy::decide(&evidence, state, settings)
}

fn state(events: &[ControlEvent]) -> State {
    let mut state = State::default();
    events.iter().for_each(|event| state.apply(event));
    state
}

fn trained_at(at_ms: i64) -> Vec<ControlEvent> {
    vec![
        decision("d0", at_ms - HOUR, true, false),
        training("e1", record::TRAINING_STARTED, at_ms - HOUR, "d0", "w1"),
        training("e2", record::TRAINING_COMPLETED, at_ms, "d0", "w1"),
    ]
}

fn decided(score: f64, load: f64, events: &[ControlEvent]) -> Decision {
    decide(
        NOW,
        &report(score, Some(load)),
        &state(events),
        &Settings::default(),
    )
}

#[track_caller]
fn check(decision: &Decision, trigger: bool, wait_until: Option<i64>, reason: &str) {
    assert_eq!(decision.reason, reason);
    assert_eq!(
        (decision.trigger, decision.wait_until),
        (trigger, wait_until)
    );
}

#[test]
fn drift_and_quiet_and_long_ago() {
    let found = decided(0.13, 0.22, &trained_at(NOW - 9 * HOUR - 12 * MINUTE));
    check(
        &found,
        true,
        None,
        &format!("{DRIVEN}, load 0.22 < 0.30, last training 9 h 12 min ago: train"),
    );
    assert_eq!(
        (found.confidence, found.priority.as_str(), found.manual),
        (0.9, "critical", false)
    );
    assert_eq!(
        (found.score, found.load, found.report_at),
        (0.13, Some(0.22), Some(NOW))
    );
    assert_eq!(
        (found.status.as_str(), found.positions[0].offset),
        ("critical", 77)
    );
}

/// A person may ask before the first report, and where no drift role runs.
#[test]
fn without_a_report_nothing_is_claimed() {
    let asked = Evidence {
        request: Some(policy::Request { force: false }),
        ..Evidence::of_nothing(NOW)
    };
    let found = policy::decide(
        &asked,
        &state(&trained_at(NOW - 4 * HOUR)),
        &Settings::default(),
    );
    check(
        &found,
        false,
        Some(NOW + 2 * HOUR),
        "no drift report, load unknown, last training 4 h ago, a person asked for it, 2 h to wait: wait until 6 h have passed since the last training",
    );
    assert!(found.manual && found.report_at.is_none());
    let forced = Evidence {
        request: Some(policy::Request { force: true }),
        ..asked
    };
    let found = policy::decide(
        &forced,
        &state(&trained_at(NOW - 4 * HOUR)),
        &Settings::default(),
    );
    assert!(found.trigger, "{}", found.reason);
    // Asking and being answered leaves the wait for a load as it was.
    let mut state = State::default();
    let unknown = Evidence {
        request: None,
        ..Evidence::of_report(&report(0.13, None))
    };
    let mut event = decision("d1", NOW, false, false);
    event.payload =
        ControlPayload::Decision(policy::decide(&unknown, &state, &Settings::default()));
    state.apply(&event);
    assert_eq!(state.load_unknown_since_ms(), Some(NOW));
    state.apply(&decision("d2", NOW + MINUTE, false, true));
    assert_eq!(state.load_unknown_since_ms(), Some(NOW));
    state.apply(&decision("d3", NOW + MINUTE, false, false));
    assert_eq!(state.load_unknown_since_ms(), None);
}

#[test]
fn no_drift() {
    let found = decided(0.04, 0.22, &[]);
    let reason = "drift score 0.04 ≤ 0.10 (healthy), load 0.22 < 0.30, no training before: no training needed";
    check(&found, false, None, reason);
    assert_eq!(found.priority, "low");
    // At the limit is not above it; just above is, and the words show it.
    let found = decided(0.1, 0.22, &[]);
    assert!(
        !found.trigger && found.reason.starts_with("drift score 0.1 ≤ 0.10 (warning)"),
        "{}",
        found.reason
    );
    assert_eq!(found.priority, "normal");
    let found = decided(0.1004, 0.2999, &[]);
    assert!(
        found.trigger && found.reason.starts_with("drift score 0.1004 > 0.10"),
        "{}",
        found.reason
    );
    assert!(
        found.reason.contains("load 0.2999 < 0.30"),
        "{}",
        found.reason
    );
    assert_eq!(found.priority, "high");
}

#[test]
fn six_hours_to_the_millisecond() {
    let reason = format!(
        "{DRIVEN}, load 0.10 < 0.30, last training 4 h ago, 2 h to wait: wait until 6 h have passed since the last training"
    );
    check(
        &decided(0.13, 0.1, &trained_at(NOW - 4 * HOUR)),
        false,
        Some(NOW + 2 * HOUR),
        &reason,
    );
    assert_eq!(
        decided(0.11, 0.1, &trained_at(NOW - 6 * HOUR + 1)).wait_until,
        Some(NOW + 1)
    );
    assert!(decided(0.11, 0.1, &trained_at(NOW - 6 * HOUR)).trigger);
    // A clock that went back does not train, either.
    assert_eq!(
        decided(0.11, 0.1, &trained_at(NOW + HOUR)).wait_until,
        Some(NOW + 7 * HOUR)
    );
}

#[test]
fn a_model_without_a_training_counts_as_one() {
    let published = [model("p1", record::MODEL_PUBLISHED, NOW - 2 * HOUR, "m1")];
    assert_eq!(
        decided(0.11, 0.1, &published).wait_until,
        Some(NOW + 4 * HOUR)
    );
    // But not where a training is known.
    let mut events = trained_at(NOW - 7 * HOUR);
    events.push(model("p1", record::MODEL_PROMOTED, NOW - 2 * HOUR, "m1"));
    assert!(decided(0.11, 0.1, &events).trigger);
    assert!(decided(0.11, 0.1, &[model("p", record::MODEL_REJECTED, NOW, "m2")]).trigger);
}

#[test]
fn busy_or_not_known() {
    let reason = format!("{DRIVEN}, load 0.75 ≥ 0.30, no training before: wait for a quiet time");
    check(&decided(0.13, 0.75, &[]), false, None, &reason);
    assert!(!decided(0.13, 0.3, &[]).trigger);
    assert!(decided(0.13, 0.299_999, &[]).trigger);
    assert!(!decided(0.13, f64::NAN, &[]).trigger);
    let unknown = decide(
        NOW,
        &report(0.13, None),
        &State::default(),
        &Settings::default(),
    );
    let reason = format!(
        "{DRIVEN}, load unknown (no CPU metric came), no training before, 24 h to wait: wait until the load is known"
    );
    check(&unknown, false, Some(NOW + 24 * HOUR), &reason);
}

/// Without a CPU metric in the contract the load never comes.
#[test]
fn an_unknown_load_is_waited_for_a_day_and_then_taken_as_low() {
    let settings = Settings::default();
    let mut state = State::default();
    let mut ask = |at_ms: i64, load: Option<f64>| {
        let found = decide(at_ms, &report(0.13, load), &state, &settings);
        let mut event = decision("d", at_ms, false, false);
        event.id = format!("d{at_ms}");
        event.payload = ControlPayload::Decision(found.clone());
        state.apply(&event);
        found
    };
    assert_eq!(ask(NOW, None).wait_until, Some(NOW + 24 * HOUR));
    // A load that comes in between starts the wait anew.
    assert!(!ask(NOW + HOUR, Some(0.75)).trigger);
    let until = NOW + 26 * HOUR;
    assert_eq!(ask(NOW + 2 * HOUR, None).wait_until, Some(until));
    let almost = ask(until - 1, None);
    assert_eq!((almost.trigger, almost.wait_until), (false, Some(until)));
    let reason = format!(
        "{DRIVEN}, load unknown (no CPU metric came), no training before, waited 24 h for it: train as if the load were low"
    );
    check(&ask(until, None), true, None, &reason);
    // The job that this opened, and the next wait, are as ever.
    assert!(!ask(until + MINUTE, None).trigger);
    assert_eq!(state.load_unknown_since_ms(), None);
}

#[test]
fn a_training_that_runs_or_waits() {
    let mut events = vec![decision("d1", NOW - 10 * MINUTE, true, false)];
    let facts =
        format!("{DRIVEN}, load 0.10 < 0.30, no training before, training d1 asked for 10 min ago");
    check(
        &decided(0.13, 0.1, &events),
        false,
        None,
        &format!("{facts}: a training waits for a worker"),
    );
    events.push(training(
        "e1",
        record::TRAINING_STARTED,
        NOW - 5 * MINUTE,
        "d1",
        "w1",
    ));
    events.push(training(
        "e2",
        record::TRAINING_PROGRESS,
        NOW - 4 * MINUTE,
        "d1",
        "w1",
    ));
    let reason = format!("{facts}, done by w1 (40 % done): a training runs, wait for its end");
    check(&decided(0.13, 0.1, &events), false, None, &reason);
    // Nothing of it matters without drift.
    assert!(
        decided(0.01, 0.1, &events)
            .reason
            .ends_with("no training needed")
    );
    // A worker that is silent for more than an hour is lost.
    let lost = decide(
        NOW + 2 * HOUR,
        &report(0.13, Some(0.1)),
        &state(&events),
        &Settings::default(),
    );
    assert!(
        !lost.trigger && lost.reason.ends_with("a training waits for a worker"),
        "{}",
        lost.reason
    );
}

#[test]
fn a_training_that_was_given_up() {
    let events = [
        decision("d1", NOW - 5 * HOUR, true, false),
        training("s", record::TRAINING_STARTED, NOW - HOUR, "d1", "w1"),
        training("f", record::TRAINING_FAILED, NOW - 20 * MINUTE, "d1", "w1"),
    ];
    let reason = format!(
        "{DRIVEN}, load 0.10 < 0.30, no training before, 40 min to wait: the last training was given up, wait before the next"
    );
    check(
        &decided(0.13, 0.1, &events),
        false,
        Some(NOW + 40 * MINUTE),
        &reason,
    );
    let later = decide(
        NOW + 40 * MINUTE,
        &report(0.13, Some(0.1)),
        &state(&events),
        &Settings::default(),
    );
    assert!(later.trigger);
}

#[test]
fn written_when_it_changes_and_once_an_hour() {
    let quiet = decided(0.02, 0.1, &[]);
    let busy = decided(0.13, 0.9, &[]);
    assert!(should_publish(None, &quiet, NOW));
    // Other numbers are no other verdict.
    assert!(!should_publish(
        Some((&quiet, NOW)),
        &decided(0.03, 0.2, &[]),
        NOW + HOUR - 1
    ));
    assert!(should_publish(Some((&quiet, NOW)), &quiet, NOW + HOUR));
    assert!(should_publish(Some((&quiet, NOW)), &busy, NOW + 1));
    assert!(!should_publish(
        Some((&busy, NOW)),
        &decided(0.2, 0.8, &[]),
        NOW + 1
    ));
    // Not to train, as before, but for another reason.
    let mut events = vec![decision("d1", NOW - MINUTE, true, false)];
    let waiting = decided(0.13, 0.1, &events);
    assert!(should_publish(Some((&busy, NOW)), &waiting, NOW + 1));
    events.push(training("e1", record::TRAINING_STARTED, NOW, "d1", "w1"));
    let running = decided(0.13, 0.1, &events);
    assert!(should_publish(Some((&waiting, NOW)), &running, NOW + 1));
    events.push(training("e2", record::TRAINING_PROGRESS, NOW, "d1", "w1"));
    assert!(!should_publish(
        Some((&running, NOW)),
        &decided(0.15, 0.2, &events),
        NOW + 1
    ));
}
