//! Expressions of causes: how they are read, what they start, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use chrono_tz::Tz;
use contract::record::{self, ControlEvent, ControlPayload, Decision};
use policy::{Evidence, Request, Schedule, Settings, State, Triggers, decide};
use support::{DAY, HOUR, NOW, decision, report, training};

fn settings(triggers: &str, schedule: Option<&str>) -> Settings {
    Settings {
        triggers: Triggers::parse(triggers).unwrap(),
        schedule: schedule.map(|text| Schedule::parse(text, Tz::UTC).unwrap()),
        ..Settings::default()
    }
}

/// At midnight UTC: quiet, no drift, good accuracy.
fn calm() -> Evidence {
    Evidence {
        accuracy: Some(0.95),
        share_drifted: Some(0.1),
        ..Evidence::of_report(&report(0.02, Some(0.1)))
    }
}

fn fold(events: &[ControlEvent]) -> State {
    let mut state = State::default();
    events.iter().for_each(|event| state.apply(event));
    state
}

#[track_caller]
fn holds(triggers: &str, evidence: &Evidence, expected: bool) {
    let found = decide(evidence, &State::default(), &settings(triggers, None));
    assert_eq!(found.trigger, expected, "{triggers}: {}", found.reason);
}

#[test]
fn and_binds_tighter_than_or_and_not_than_and() {
    let drift = Evidence::of_report(&report(0.13, Some(0.1)));
    let bad = Evidence {
        accuracy: Some(0.8799),
        ..calm()
    };
    let both = Evidence {
        accuracy: Some(0.8),
        ..drift.clone()
    };
    for (triggers, of_drift, of_bad, of_both) in [
        ("drift", true, false, true),
        ("performance", false, true, true),
        ("drift and performance", false, false, true),
        ("drift or performance", true, true, true),
        ("any", true, true, true),
        ("all", false, false, false),
        ("drift or share and performance", true, false, true),
        ("(drift or share) and performance", false, false, true),
        ("not drift and performance", false, true, false),
        ("not (drift and performance)", true, true, false),
        ("not not drift", true, false, true),
        ("manual", false, false, false),
    ] {
        holds(triggers, &drift, of_drift);
        holds(triggers, &bad, of_bad);
        holds(triggers, &both, of_both);
    }
    let everything = Evidence {
        share_drifted: Some(0.51),
        ..both
    };
    holds("all", &everything, true);
    holds("share", &everything, true);
    // At the limit is neither below nor above it, and what is not known does not hold.
    let at_limits = Evidence {
        accuracy: Some(0.88),
        share_drifted: Some(0.5),
        ..calm()
    };
    holds("performance or share", &at_limits, false);
    let unknown = Evidence {
        accuracy: None,
        share_drifted: None,
        ..calm()
    };
    holds("performance or share", &unknown, false);
}

#[track_caller]
fn refused(text: &str, at: usize, problem: &str) {
    let error = Triggers::parse(text).unwrap_err();
    assert_eq!((error.at, error.problem.as_str()), (at, problem), "{text}");
    assert!(error.to_string().contains("parentheses"), "{error}");
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    refused("", 1, "a cause is missing");
    refused("drift and", 10, "a cause is missing");
    refused("drift drift", 7, "unexpected \"drift\"");
    refused("(drift or share", 16, "\")\" is missing");
    refused("drift)", 6, "unexpected \")\"");
    refused("Drift", 1, "unexpected \"Drift\"");
    refused("drift or event:", 10, "unexpected \"event:\"");
    refused("drift or ä", 10, "unexpected \"ä\"");
    refused("any or drift", 1, "unexpected \"any\"");
    refused(&"(".repeat(400), 17, "nested more than 16 deep");
    refused(&"not ".repeat(100), 65, "nested more than 16 deep");
    refused(&"drift or ".repeat(100), 501, "longer than 500 bytes");
}

/// An event of an hour ago.
fn came(name: &str) -> ControlEvent {
    let mut came = training("e1", record::TRAINING_REQUESTED, NOW - HOUR, "", "");
    if let ControlPayload::Training(training) = &mut came.payload {
        training.trigger = format!("event:{name}");
    }
    came
}

#[test]
fn an_event_is_one_of_any() {
    for (text, named) in [
        ("any", true),
        ("all", false),
        ("drift or event:deploy", true),
        ("drift or event:upgrade", false),
    ] {
        let settings = settings(text, None);
        assert_eq!(settings.triggers.name_event("deploy"), named, "{text}");
        let found = decide(&calm(), &fold(&[came("deploy")]), &settings);
        assert_eq!(found.trigger, named, "{text}: {}", found.reason);
        assert_eq!(found.cause, if named { "event" } else { "" }, "{text}");
    }
}

#[test]
fn a_schedule_is_named_where_it_is_used() {
    for (text, used, needed) in [
        ("any", true, false),
        ("all", true, false),
        ("drift", false, false),
        ("not (drift or schedule)", true, true),
    ] {
        let triggers = Triggers::parse(text).unwrap();
        assert_eq!(
            (triggers.use_schedule(), triggers.need_schedule()),
            (used, needed),
            "{text}"
        );
    }
}

fn said(id: &str, at_ms: i64, decision: &Decision) -> ControlEvent {
    ControlEvent {
        id: id.to_owned(),
        event_type: record::DECISION.to_owned(),
        source: "test".to_owned(),
        time: at_ms,
        payload: ControlPayload::Decision(decision.clone()),
    }
}

#[test]
fn the_clock_strikes_once_and_waits_for_quiet() {
    let settings = settings("schedule or drift", Some("0 2 * * *"));
    let mut state = State::default();
    let mut ask = |at_ms: i64, load: f64| {
        let evidence = Evidence {
            at_ms,
            load: Some(load),
            ..calm()
        };
        let found = decide(&evidence, &state, &settings);
        let id = format!("d{at_ms}");
        state.apply(&said(&id, at_ms, &found));
        if found.trigger {
            // Done within the minute.
            let end = training("", record::TRAINING_COMPLETED, at_ms + 60_000, &id, "w");
            state.apply(&end);
        }
        found
    };
    // What struck before anything was known is not made up for.
    assert!(!ask(NOW, 0.1).trigger);
    assert!(!ask(NOW + 2 * HOUR - 1, 0.1).trigger);
    let busy = ask(NOW + 2 * HOUR, 0.9);
    assert!(
        busy.reason
            .ends_with("due by the schedule 0 2 * * * UTC: wait for a quiet time"),
        "{}",
        busy.reason
    );
    assert_eq!(
        (busy.cause.as_str(), busy.priority.as_str()),
        ("schedule", "normal")
    );
    assert!(ask(NOW + 5 * HOUR, 0.1).trigger);
    assert!(!ask(NOW + 23 * HOUR, 0.1).trigger);
    // Four days in which nothing asked: one training.
    assert!(ask(NOW + 5 * DAY, 0.1).trigger);
    assert!(!ask(NOW + 5 * DAY + HOUR, 0.1).trigger);
    // The 6 hours hold for the schedule too, and the schedule's trainings set them back.
    let soon = ask(NOW + 5 * DAY + 2 * HOUR, 0.1);
    assert_eq!(
        soon.wait_until,
        Some(NOW + 5 * DAY + 60_000 + 6 * HOUR),
        "{}",
        soon.reason
    );
}

#[test]
fn trainings_by_the_clock_do_not_count_among_those_of_a_week() {
    let by_clock = |id: &str, at_ms: i64| {
        let mut done = training(id, record::TRAINING_COMPLETED, at_ms, id, "w");
        if let ControlPayload::Training(training) = &mut done.payload {
            training.trigger = "schedule".to_owned();
        }
        done
    };
    let mut events: Vec<ControlEvent> = (1..=5)
        .map(|i| by_clock(&format!("s{i}"), NOW - i * DAY))
        .collect();
    let drift = Evidence::of_report(&report(0.13, Some(0.1)));
    let settings = settings("schedule or drift", Some("0 2 * * *"));
    assert!(decide(&drift, &fold(&events), &settings).trigger);
    for i in 1..=3 {
        let id = format!("m{i}");
        events.push(training(
            &id,
            record::TRAINING_COMPLETED,
            NOW - i * DAY - HOUR,
            &id,
            "w",
        ));
    }
    let full = decide(&drift, &fold(&events), &settings);
    assert_eq!(
        full.wait_until,
        Some(NOW + 4 * DAY - HOUR),
        "{}",
        full.reason
    );
    // Nor does a full week stop the clock.
    events.insert(0, decision("first", NOW - 6 * DAY, false, false));
    let at_two = Evidence {
        at_ms: NOW + 2 * HOUR,
        ..calm()
    };
    let found = decide(&at_two, &fold(&events), &settings);
    assert!(
        found.trigger && found.cause == "schedule",
        "{}",
        found.reason
    );
}

#[test]
fn an_event_counts_until_a_training_is_decided() {
    let came = came("new-rack");
    let settings = settings("drift or event:new-rack", None);
    let mut state = fold(std::slice::from_ref(&came));
    assert_eq!(state.open_jobs().count(), 0, "no job of its own");
    let found = decide(&calm(), &state, &settings);
    assert!(found.trigger && found.cause == "event", "{}", found.reason);
    holds("event:other", &calm(), false);
    state.apply(&said("d1", NOW, &found));
    state.apply(&training("c", record::TRAINING_CANCELLED, NOW, "d1", ""));
    state.apply(&came);
    assert!(!decide(&calm(), &state, &settings).trigger);
}

#[test]
fn an_alarm_that_the_triggers_do_not_ask_for_says_so() {
    let drift = Evidence::of_report(&report(0.13, Some(0.1)));
    let found = decide(
        &drift,
        &State::default(),
        &settings("drift and performance", None),
    );
    let ending = "triggers \"drift and performance\" do not hold: no training needed";
    assert!(
        !found.trigger && found.reason.ends_with(ending),
        "{}",
        found.reason
    );
}

#[test]
fn a_person_may_force_it() {
    let done = |i: i64| {
        let id = format!("m{i}");
        training(&id, record::TRAINING_COMPLETED, NOW - i * HOUR, &id, "w")
    };
    let state = fold(&[done(3), done(2), done(1)]);
    let asked = |force| Evidence {
        request: Some(Request { force }),
        load: Some(0.9),
        ..calm()
    };
    let found = decide(&asked(false), &state, &Settings::default());
    // The longer of the two waits.
    assert_eq!(
        (found.trigger, found.wait_until),
        (false, Some(NOW + 7 * DAY - 3 * HOUR))
    );
    let found = decide(&asked(true), &state, &Settings::default());
    assert!(
        found.trigger && found.manual && found.cause == "manual",
        "{}",
        found.reason
    );
}
