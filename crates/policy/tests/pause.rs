//! A training that runs: when it pauses, when it goes on, and what never pauses.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use contract::record;
use policy::{Evidence, Job, Pausing, QuietRule, Settings, State, Turn};
use proptest::prelude::*;
use support::{DAY, HOUR, MINUTE, NOW, decision, report, training};

/// The job of a decision whose reason ends in these words, or of a person's request.
fn job(reason: &str, manual: bool) -> Job {
    let mut event = decision("d1", NOW, true, manual);
    if let record::ControlPayload::Decision(decision) = &mut event.payload {
        decision.reason = reason.to_owned();
    }
    let mut state = State::default();
    state.apply(&event);
    state.job("d1").unwrap().clone()
}

fn begun_in_quiet() -> Pausing {
    Pausing::new(&job(
        "drift score 0.13 > 0.10, load 0.22 < 0.30, no training before: train",
        false,
    ))
}

fn load(at_ms: i64, load: Option<f64>) -> Evidence {
    Evidence {
        at_ms,
        ..Evidence::of_report(&report(0.13, load))
    }
}

/// What comes of reports of these loads, one in five minutes: P for a pause, R for going on, a point for no change.
fn turns(loads: &[f64]) -> String {
    let (mut pausing, settings) = (begun_in_quiet(), Settings::default());
    let mut at_ms = NOW;
    let mut said = |value: &f64| {
        at_ms += 5 * MINUTE;
        match pausing.see(&load(at_ms, Some(*value)), &settings, at_ms) {
            Some(Turn::Pause(_)) => 'P',
            Some(Turn::Resume(_)) => 'R',
            None => '.',
        }
    };
    loads.iter().map(&mut said).collect()
}

#[test]
fn two_reports_in_a_row_turn_it_and_what_hovers_does_not() {
    assert_eq!(turns(&[0.30, 0.31, 0.9]), ".P.");
    assert_eq!(
        turns(&[0.9, 0.2, 0.9, 0.2, 0.9]),
        ".....",
        "bursts of one report"
    );
    assert_eq!(
        turns(&[0.3, 0.3, 0.28, 0.29, 0.27, 0.28]),
        ".P....",
        "not quiet enough"
    );
    assert_eq!(turns(&[0.3, 0.3, 0.26, 0.28, 0.26, 0.26]), ".P...R");
    assert_eq!(
        turns(&[0.3, 0.3, 0.1, 0.1, 0.29, 0.29, 0.3, 0.3]),
        ".P.R...P"
    );
    assert_eq!(turns(&[f64::NAN, f64::NAN, 0.1, 0.1]), ".P.R", "no number");
}

#[test]
fn it_says_why_and_for_how_long() {
    let (mut pausing, settings) = (begun_in_quiet(), Settings::default());
    let mut see = |minutes: i64, value: f64| {
        let at_ms = NOW + minutes * MINUTE;
        pausing.see(&load(at_ms, Some(value)), &settings, at_ms)
    };
    assert_eq!(see(30, 0.45), None);
    assert_eq!(
        see(60, 0.52),
        Some(Turn::Pause(
            "load 0.52 ≥ 0.30 in 2 reports: paused until it falls, for 23 h at most".to_owned()
        ))
    );
    assert_eq!(see(65, 0.2), None);
    assert_eq!(
        see(70, 0.21),
        Some(Turn::Resume(
            "load 0.21 < 0.30 in 2 reports: goes on".to_owned()
        ))
    );
}

#[test]
fn by_the_rule_that_tells_quiet() {
    let settings = Settings {
        quiet: QuietRule::CpuMem,
        ..Settings::default()
    };
    let mut pausing = begun_in_quiet();
    let mut see = |minutes: i64, cpu: f64| {
        let at_ms = NOW + minutes * MINUTE;
        let evidence = Evidence {
            mean_cpu: Some(cpu),
            mean_memory: Some(20.0),
            ..load(at_ms, Some(0.1))
        };
        pausing.see(&evidence, &settings, at_ms).is_some()
    };
    // 60 % is the limit, 54 % is quiet again.
    let found = (1..)
        .zip([60.0, 60.0, 55.0, 55.0, 53.0, 53.0])
        .map(|(i, cpu)| see(5 * i, cpu));
    let expected = [false, true, false, false, false, true];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn repeats_and_old_reports_say_nothing() {
    let (mut pausing, settings) = (begun_in_quiet(), Settings::default());
    let busy = |at_ms| load(at_ms, Some(0.9));
    assert_eq!(pausing.see(&busy(NOW), &settings, NOW), None);
    assert_eq!(pausing.see(&busy(NOW), &settings, NOW), None, "a repeat");
    assert_eq!(
        pausing.see(&busy(NOW + MINUTE), &settings, NOW + MINUTE + HOUR + 1),
        None,
        "of an hour ago"
    );
    assert_eq!(
        pausing.see(&load(NOW + 5 * MINUTE, None), &settings, NOW + 5 * MINUTE),
        None,
        "unknown"
    );
    let turned = pausing.see(&busy(NOW + 10 * MINUTE), &settings, NOW + 10 * MINUTE);
    assert_eq!(turned, None, "what is unknown breaks the row");
    let turned = pausing.see(&busy(NOW + 15 * MINUTE), &settings, NOW + 15 * MINUTE);
    assert!(matches!(turned, Some(Turn::Pause(_))), "{turned:?}");
}

#[test]
fn a_day_is_enough_and_silence_holds_nobody_up() {
    let settings = Settings::default();
    let pause = |pausing: &mut Pausing, at_ms: i64| {
        pausing.see(&load(at_ms - 1, Some(0.9)), &settings, at_ms);
        pausing.see(&load(at_ms, Some(0.9)), &settings, at_ms)
    };
    let mut pausing = begun_in_quiet();
    assert!(pause(&mut pausing, NOW + HOUR).is_some());
    assert_eq!(pausing.look(NOW + 2 * HOUR), None);
    assert_eq!(
        pausing.look(NOW + 2 * HOUR + MINUTE),
        Some(Turn::Resume(
            "no load is known since 1 h 1 min: goes on".to_owned()
        ))
    );
    assert_eq!(pausing.look(NOW + 2 * HOUR + MINUTE), None, "said once");

    let mut pausing = begun_in_quiet();
    assert!(pause(&mut pausing, NOW + DAY - 1).is_some());
    assert!(pausing.is_paused());
    assert_eq!(
        pausing.look(NOW + DAY),
        Some(Turn::Resume(
            "decided on 24 h ago: goes on whatever the load is".to_owned()
        ))
    );
    assert!(!pausing.may_pause(NOW + DAY));
    assert_eq!(pause(&mut pausing, NOW + DAY + HOUR), None);
}

#[test]
fn what_was_begun_in_spite_of_the_load_does_not_pause() {
    let busy = "drift score 0.13 > 0.10, load 0.75 ≥ 0.30, no training before";
    for (reason, manual) in [
        (format!("{busy}, a person asked for it: train"), true),
        (
            format!("{busy}: train, no quiet time came within a day"),
            false,
        ),
        (
            format!("{busy}: train, no quiet time is expected within a day"),
            false,
        ),
        (
            "load unknown: train as if the load were low".to_owned(),
            false,
        ),
    ] {
        let pausing = Pausing::new(&job(&reason, manual));
        assert!(!pausing.may_pause(NOW), "{reason}");
    }
    assert!(begun_in_quiet().may_pause(NOW));
    let mut state = State::default();
    state.apply(&training("ask", record::TRAINING_REQUESTED, NOW, "r1", ""));
    let asked = state.job("r1").unwrap();
    assert!(!asked.gives_way);
    assert_eq!(asked.epochs, Some(2), "as many as were asked for");
}

/// The very decisions of the rules, so that their words and what is read from them stay together.
#[test]
fn decisions_of_the_rules_give_way_where_quiet_let_them() {
    let decided = |evidence: &Evidence| {
        let found = policy::decide(evidence, &State::default(), &Settings::default());
        assert!(found.trigger, "{}", found.reason);
        let mut event = decision("d1", NOW, true, false);
        event.payload = record::ControlPayload::Decision(found);
        let mut state = State::default();
        state.apply(&event);
        state.job("d1").unwrap().gives_way
    };
    assert!(decided(&load(NOW, Some(0.22))));
    let asked = Evidence {
        request: Some(policy::Request { force: false }),
        ..load(NOW, Some(0.75))
    };
    assert!(!decided(&asked));
}

#[test]
fn the_log_says_that_it_stands_still() {
    let mut state = State::default();
    for event in [
        decision("d1", NOW, true, false),
        training("a", record::TRAINING_STARTED, NOW, "d1", "w1"),
        training("b", record::TRAINING_PAUSED, NOW + 1, "d1", "w1"),
        training("c", record::TRAINING_PROGRESS, NOW + 2, "d1", "w1"),
    ] {
        state.apply(&event);
    }
    let asked = policy::decide(&load(NOW + HOUR, Some(0.9)), &state, &Settings::default());
    assert!(
        asked
            .reason
            .ends_with("done by w1 (40 % done), paused: a training runs, wait for its end"),
        "{}",
        asked.reason
    );
    let resumed = training("d", record::TRAINING_RESUMED, NOW + 3, "d1", "w1");
    state.apply(&resumed);
    let claim = state.job("d1").unwrap().claim.as_ref().unwrap();
    assert_eq!((claim.paused, claim.last_sign_ms), (false, NOW + 3));
}

proptest! {
    /// Whatever comes: pauses and goings-on take turns, and behind a day it runs.
    #[test]
    fn pauses_and_goings_on_take_turns(
        steps in prop::collection::vec((0..90_i64, prop::option::of(0.0..1.0_f64)), 0..200),
    ) {
        let (mut pausing, settings) = (begun_in_quiet(), Settings::default());
        let (mut at_ms, mut paused) = (NOW, false);
        for (minutes, value) in steps {
            at_ms += minutes * MINUTE;
            for turn in [pausing.look(at_ms), pausing.see(&load(at_ms, value), &settings, at_ms)].into_iter().flatten() {
                prop_assert_eq!(matches!(turn, Turn::Pause(_)), !paused);
                paused = !paused;
            }
            prop_assert_eq!(pausing.is_paused(), paused);
            prop_assert!(!paused || at_ms < NOW + DAY);
        }
    }
}
