//! The fold over the control topic: claims, retries, repeats, and what a reader after a restart knows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use contract::record::{self, ControlEvent};
use policy::{MAX_JOBS, STALE_AFTER_MS, State};
use proptest::prelude::*;
use support::{HOUR, MINUTE, NOW, decision, model, training};

fn fold<'a>(events: impl IntoIterator<Item = &'a ControlEvent>) -> State {
    let mut state = State::default();
    events.into_iter().for_each(|event| state.apply(event));
    state
}

fn holder(state: &State, job: &str) -> Option<String> {
    state
        .job(job)
        .and_then(|job| job.claim.as_ref())
        .map(|claim| claim.worker.clone())
}

#[test]
fn the_first_claim_wins() {
    let mut state = fold(&[
        decision("d1", NOW, true, false),
        decision("no", NOW, false, false),
    ]);
    assert_eq!(state.open_jobs().count(), 1);
    let job = state.next_for("w1", NOW).unwrap();
    assert_eq!(
        (
            job.id.as_str(),
            job.trigger.as_str(),
            job.positions[0].offset
        ),
        ("d1", "drift", 77)
    );
    state.apply(&training(
        "a",
        record::TRAINING_STARTED,
        NOW + 2,
        "d1",
        "w2",
    ));
    state.apply(&training(
        "b",
        record::TRAINING_STARTED,
        NOW + 1,
        "d1",
        "w1",
    ));
    assert!(state.is_held_by("d1", "w2") && !state.is_held_by("d1", "w1"));
    assert_eq!(state.next_for("w1", NOW + MINUTE), None);
    assert!(
        state.next_for("w2", NOW + MINUTE).is_some(),
        "its own, after a restart"
    );
    // The loser has no say.
    for kind in [
        record::TRAINING_PROGRESS,
        record::TRAINING_FAILED,
        record::TRAINING_COMPLETED,
    ] {
        let before = state.clone();
        state.apply(&training(kind, kind, NOW + 3, "d1", "w1"));
        assert_eq!(state, before, "{kind}");
    }
    state.apply(&training(
        "f",
        record::TRAINING_PROGRESS,
        NOW + 9,
        "d1",
        "w2",
    ));
    let claim = state.job("d1").unwrap().running(NOW + 10).unwrap();
    assert_eq!((claim.progress, claim.last_sign_ms), (Some(0.4), NOW + 9));
    state.apply(&training(
        "g",
        record::TRAINING_COMPLETED,
        NOW + HOUR,
        "d1",
        "w2",
    ));
    assert_eq!(
        (state.last_training_ms(), state.open_jobs().count()),
        (Some(NOW + HOUR), 0)
    );
}

#[test]
fn a_person_need_not_wait_for_a_decision() {
    let state = fold(&[training("ask", record::TRAINING_REQUESTED, NOW, "r1", "")]);
    assert_eq!(
        state.next_for("w1", NOW).map(|job| job.id.as_str()),
        Some("r1")
    );
    let mut nameless = training("ask", record::TRAINING_REQUESTED, NOW, "", "");
    if let record::ControlPayload::Training(training) = &mut nameless.payload {
        training.trigger = String::new();
    }
    let state = fold(&[nameless]);
    let job = state.next_for("w1", NOW).unwrap();
    assert_eq!((job.id.as_str(), job.trigger.as_str()), ("ask", "manual"));
}

#[test]
fn a_lost_worker_is_replaced() {
    let mut state = fold(&[
        decision("d1", NOW, true, false),
        training("a", record::TRAINING_STARTED, NOW, "d1", "w1"),
        training(
            "b",
            record::TRAINING_PROGRESS,
            NOW + 10 * MINUTE,
            "d1",
            "w1",
        ),
    ]);
    let late = NOW + 10 * MINUTE + STALE_AFTER_MS;
    assert_eq!(state.next_for("w2", late), None);
    assert!(state.next_for("w2", late + 1).is_some());
    state.apply(&training("c", record::TRAINING_STARTED, late, "d1", "w2"));
    assert_eq!(holder(&state, "d1").as_deref(), Some("w1"));
    state.apply(&training(
        "d",
        record::TRAINING_STARTED,
        late + 1,
        "d1",
        "w2",
    ));
    // The first one comes back to life: too late, its end is not the job's.
    state.apply(&training(
        "e",
        record::TRAINING_COMPLETED,
        late + 2,
        "d1",
        "w1",
    ));
    state.apply(&training(
        "f",
        record::TRAINING_FAILED,
        late + 2,
        "d1",
        "w1",
    ));
    assert_eq!(holder(&state, "d1").as_deref(), Some("w2"));
    assert_eq!(
        (state.last_training_ms(), state.last_failed_ms()),
        (None, None)
    );
}

#[test]
fn failed_stopped_and_turned_down() {
    let begun = [
        decision("d1", NOW, true, false),
        training("a", record::TRAINING_STARTED, NOW, "d1", "w1"),
    ];
    let mut state = fold(&begun);
    state.apply(&training("b", record::TRAINING_FAILED, NOW + 1, "d1", "w1"));
    assert_eq!(
        (
            state.open_jobs().count(),
            state.last_training_ms(),
            state.last_failed_ms()
        ),
        (0, None, Some(NOW + 1))
    );
    // A training that ends well makes up for it, also one that nobody decided on.
    state.apply(&training(
        "c",
        record::TRAINING_COMPLETED,
        NOW + HOUR,
        "by hand",
        "w1",
    ));
    assert_eq!(
        (state.last_training_ms(), state.last_failed_ms()),
        (Some(NOW + HOUR), None)
    );
    for kind in [record::TRAINING_CANCELLED, record::TRAINING_REJECTED] {
        let mut state = fold(&begun);
        state.apply(&training("b", kind, NOW + 1, "d1", "somebody else"));
        assert_eq!(
            (state.open_jobs().count(), state.last_failed_ms()),
            (0, None)
        );
        state.apply(&training(
            "c",
            record::TRAINING_COMPLETED,
            NOW + 2,
            "d1",
            "w1",
        ));
        assert_eq!(state.last_training_ms(), None);
    }
}

#[test]
fn what_a_worker_turns_down_is_not_asked_for_again_at_once() {
    let state = fold(&[
        decision("d1", NOW, true, false),
        training("a", record::TRAINING_STARTED, NOW, "d1", "w1"),
        training("b", record::TRAINING_REJECTED, NOW + 1, "d1", "w1"),
    ]);
    assert_eq!(
        (state.open_jobs().count(), state.last_failed_ms()),
        (0, Some(NOW + 1))
    );
    // What was never a job is nobody's failure.
    let state = fold(&[training("b", record::TRAINING_REJECTED, NOW, "x", "w1")]);
    assert_eq!(state.last_failed_ms(), None);
}

#[test]
fn the_decision_on_a_request_opens_nothing_and_is_known() {
    let request = training("ask", record::TRAINING_REQUESTED, NOW, "r1", "");
    let state = fold(&[request, decision("r1", NOW + 1, true, true)]);
    assert_eq!(state.open_jobs().count(), 1);
    assert_eq!(state.job("r1").unwrap().requested_ms, NOW);
    assert_eq!(state.last_decided_ms(), Some(NOW + 1));
}

#[test]
fn a_repeated_decision_does_not_open_its_job_again() {
    let ask = decision("d1", NOW, true, false);
    let mut state = fold(&[ask.clone(), ask.clone()]);
    assert_eq!(state.open_jobs().count(), 1);
    state.apply(&training("a", record::TRAINING_STARTED, NOW, "d1", "w1"));
    state.apply(&training(
        "b",
        record::TRAINING_COMPLETED,
        NOW + 1,
        "d1",
        "w1",
    ));
    state.apply(&ask);
    state.apply(&training(
        "b",
        record::TRAINING_COMPLETED,
        NOW + 2,
        "d1",
        "w1",
    ));
    assert_eq!(
        (state.open_jobs().count(), state.last_training_ms()),
        (0, Some(NOW + 1))
    );
}

#[test]
fn a_model_stands_for_a_training_that_is_not_known() {
    let mut state = fold(&[model("a", record::MODEL_PUBLISHED, NOW, "m1")]);
    assert_eq!(
        (state.last_completed_ms(), state.last_training_ms()),
        (None, Some(NOW))
    );
    state.apply(&model("c", record::MODEL_REJECTED, NOW + 2, "m2"));
    assert_eq!(state.last_training_ms(), Some(NOW));
    state.apply(&model("b", record::MODEL_PROMOTED, NOW + 1, "m1"));
    assert_eq!(state.last_training_ms(), Some(NOW + 1));
    state.apply(&training(
        "d",
        record::TRAINING_COMPLETED,
        NOW - HOUR,
        "x",
        "w",
    ));
    assert_eq!(state.last_training_ms(), Some(NOW - HOUR));
}

#[test]
fn payloads_that_do_not_fit_their_type_change_nothing() {
    let mut state = State::default();
    let mut wrong = decision("d1", NOW, true, false);
    wrong.event_type = record::TRAINING_COMPLETED.to_owned();
    state.apply(&wrong);
    state.apply(&training("e1", record::DECISION, NOW, "d1", "w1"));
    state.apply(&training("e2", "forewarn.something.else", NOW, "d1", "w1"));
    assert_eq!(state, State::default());
}

#[test]
fn memory_is_bounded() {
    let mut state = State::default();
    for i in 0..10_000_i64 {
        state.apply(&decision(&format!("d{i}"), NOW + i, true, false));
    }
    assert_eq!(state.open_jobs().count(), MAX_JOBS);
    assert_eq!(
        state.next_for("w", NOW).unwrap().id,
        format!("d{}", 10_000 - MAX_JOBS)
    );
}

fn events() -> impl Strategy<Value = Vec<ControlEvent>> {
    let kind = prop::sample::select(vec![
        record::TRAINING_REQUESTED,
        record::TRAINING_STARTED,
        record::TRAINING_PROGRESS,
        record::TRAINING_COMPLETED,
        record::TRAINING_FAILED,
        record::TRAINING_CANCELLED,
        record::DECISION,
        record::MODEL_PROMOTED,
    ]);
    let one = (kind, 0..4_u8, 0..3_u8, 0..20_i64);
    prop::collection::vec(one, 0..80).prop_map(|all| {
        let mut at = NOW;
        all.into_iter()
            .enumerate()
            .map(|(i, (kind, job, worker, minutes))| {
                at += minutes * MINUTE;
                let id = format!("e{i}");
                match kind {
                    record::DECISION => decision(&format!("d{job}"), at, true, worker == 0),
                    record::MODEL_PROMOTED => model(&id, kind, at, "m"),
                    _ => training(&id, kind, at, &format!("d{job}"), &format!("w{worker}")),
                }
            })
            .collect()
    })
}

proptest! {
    /// At least once: the same events with some of the earlier ones repeated give the same state, as long as a worker's repeat
    /// comes before its next word.
    #[test]
    fn repeats_change_nothing(events in events(), repeats in prop::collection::vec(any::<bool>(), 80)) {
        let mut repeated = State::default();
        for (event, twice) in events.iter().zip(&repeats) {
            repeated.apply(event);
            if *twice {
                repeated.apply(event);
            }
        }
        prop_assert_eq!(repeated, fold(&events));
    }

    /// A model of claims with nothing but the rules: at each event the holder is the one that a plain scan of all events
    /// before it gives.
    #[test]
    fn one_worker_holds_a_job(events in events()) {
        let mut state = State::default();
        for (i, event) in events.iter().enumerate() {
            state.apply(event);
            for job in 0..4 {
                let id = format!("d{job}");
                prop_assert_eq!(holder(&state, &id), scan(&events[..=i], &id));
            }
        }
    }
}

/// Who holds a job after these events, by the plainest reading of the rules.
fn scan(events: &[ControlEvent], job: &str) -> Option<String> {
    let (mut holder, mut seen) = (None, 0);
    let (mut exists, mut over) = (false, false);
    for event in events {
        exists |= event.event_type == record::DECISION && event.id == job;
        let record::ControlPayload::Training(said) = &event.payload else {
            continue;
        };
        if said.job_id != job || over {
            continue;
        }
        let is_holder = holder.as_ref() == Some(&said.worker);
        match event.event_type.as_str() {
            record::TRAINING_REQUESTED => exists = true,
            record::TRAINING_STARTED
                if exists
                    && (holder.is_none() || is_holder || event.time - seen > STALE_AFTER_MS) =>
            {
                (holder, seen) = (Some(said.worker.clone()), event.time);
            }
            record::TRAINING_PROGRESS if is_holder => seen = event.time,
            record::TRAINING_COMPLETED | record::TRAINING_FAILED
                if exists && (is_holder || holder.is_none()) =>
            {
                (holder, over) = (None, true);
            }
            record::TRAINING_CANCELLED if exists => (holder, over) = (None, true),
            _ => {}
        }
    }
    holder
}

fn settings() -> policy::Settings {
    policy::Settings {
        triggers: policy::Triggers::parse("schedule or drift or performance and share").unwrap(),
        schedule: Some(policy::Schedule::parse("0 2 * * *", chrono_tz::Tz::UTC).unwrap()),
        quiet: policy::QuietRule::Either,
        ..policy::Settings::default()
    }
}

fn decision_of(event: &ControlEvent) -> Option<&record::Decision> {
    match &event.payload {
        record::ControlPayload::Decision(decision) => Some(decision),
        _ => None,
    }
}

/// Decisions as the role makes and writes them, from random scores, loads and other people's events.
fn run(steps: &[(u8, u8, u8, u16)], repeat: bool) -> (State, Vec<ControlEvent>) {
    let settings = settings();
    let (mut state, mut log, mut at) = (State::default(), Vec::new(), NOW);
    // Ends of trainings that the schedule did not ask for.
    let mut ends: Vec<i64> = Vec::new();
    for (i, (score, load, what, minutes)) in steps.iter().enumerate() {
        at += i64::from(*minutes) * MINUTE;
        let open = state.open_jobs().next().map(|job| job.id.clone());
        let mut events = Vec::new();
        if let (Some(open), 0..=1) = (open, what) {
            let kind = [record::TRAINING_COMPLETED, record::TRAINING_FAILED][usize::from(*what)];
            let by_clock = state.job(&open).unwrap().trigger == "schedule";
            ends.extend((*what == 0 && !by_clock).then_some(at));
            events.push(training(&format!("t{i}"), kind, at, &open, "w"));
        }
        for event in &events {
            state.apply(event);
        }
        let load = f64::from(*load) / 255.0;
        let mut report = support::report(f64::from(*score) / 1000.0, Some(load));
        report.accuracy = Some(1.0 - load / 4.0);
        report.share_drifted = f64::from(*score) / 255.0;
        report.mean_cpu = Some(90.0 * load);
        report.mean_memory = (*what != 3).then_some(70.0);
        let request = (*what == 5).then_some(policy::Request {
            force: *score > 127,
        });
        let evidence = policy::Evidence {
            at_ms: at,
            request,
            ..policy::Evidence::of_report(&report)
        };
        let found = policy::decide(&evidence, &state, &settings);
        if found.trigger {
            let rested = |end: i64| at - end >= 6 * HOUR;
            assert!(found.forced || state.last_completed_ms().is_none_or(rested));
            let this_week = ends.iter().filter(|end| at - **end < 7 * 24 * HOUR);
            assert!(found.forced || found.cause == "schedule" || this_week.count() < 3);
        }
        let mut event = decision(&format!("d{i}"), at, found.trigger, false);
        event.payload = record::ControlPayload::Decision(found.clone());
        events.push(event);
        state.apply(&events[events.len() - 1]);
        if repeat {
            events.iter().for_each(|event| state.apply(event));
        }
        log.extend(events);
    }
    (state, log)
}

proptest! {
    /// The same events give the same state and the same decisions, repeats or not; and the safeguards hold whatever comes.
    #[test]
    fn decisions_are_a_function_of_the_events(
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), 0..6_u8, 0..600_u16), 0..120),
    ) {
        let (state, log) = run(&steps, false);
        prop_assert_eq!(&run(&steps, true), &(state.clone(), log.clone()));
        let made: Vec<_> = log.iter().filter_map(decision_of).collect();
        prop_assert!(state.loads().len() <= steps.len() && state.open_jobs().count() <= 1);
        for found in made.iter().filter(|found| found.trigger) {
            prop_assert!(found.wait_until.is_none() && !found.cause.is_empty());
            prop_assert!(found.reason.contains(": train"), "{}", found.reason);
        }
    }

    /// Whoever has the topic alone decides the same again, word for word.
    #[test]
    fn the_log_is_decided_again_from_its_start(
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), 0..6_u8, 0..600_u16), 0..120),
    ) {
        let (_, log) = run(&steps, false);
        let mut state = State::default();
        for event in &log {
            if let Some(decision) = decision_of(event) {
                let evidence = policy::Evidence::of_decision(event.time, decision);
                prop_assert_eq!(&policy::decide(&evidence, &state, &settings()), decision);
            }
            state.apply(event);
        }
    }
}
