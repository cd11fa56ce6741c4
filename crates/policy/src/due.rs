//! Whether anything asks for a training: a person, the schedule, the measures, or 30 days without one.

use crate::evidence::Evidence;
use crate::jobs::State;
use crate::settings::Settings;
use crate::triggers::Trigger;

/// How long a training that 30 days without one force waits for a quiet time.
const FORCED_WITHIN_MS: i64 = 24 * 3_600_000;

/// What asks for a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Manual,
    Drift,
    Performance,
    Share,
    Event,
    Schedule,
    Age,
}

impl Cause {
    /// As a training's `trigger` says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Cause::Manual => "manual",
            Cause::Drift => "drift",
            Cause::Performance => "performance",
            Cause::Share => "share",
            Cause::Event => "event",
            Cause::Schedule => SCHEDULE,
            Cause::Age => "age",
        }
    }
}

/// The trigger of trainings by the clock, which do not count among those of a week.
pub(crate) const SCHEDULE: &str = "schedule";

/// That something asks, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) cause: Cause,
    /// A person asked, and overrides the safeguards too.
    pub(crate) force: bool,
    /// Too long without a training: until when it waits for a quiet time, ms.
    pub(crate) forced_by: Option<i64>,
}

/// What asks for a training now. A person comes first; the schedule is the cause only where nothing measured is, because its
/// trainings do not count among those of a week.
pub(crate) fn due(evidence: &Evidence, state: &State, settings: &Settings) -> Option<Due> {
    let forced_by = forced_by(evidence.at_ms, state, settings);
    let cause = if evidence.request.is_some() {
        Some(Cause::Manual)
    } else {
        triggered(evidence, state, settings).or(forced_by.map(|_| Cause::Age))
    };
    cause.map(|cause| Due {
        cause,
        force: evidence.request.is_some_and(|request| request.force),
        forced_by,
    })
}

fn forced_by(now_ms: i64, state: &State, settings: &Settings) -> Option<i64> {
    let since = state.last_training_ms().or(state.since_ms())?;
    let due_ms = since.saturating_add(settings.force_after_ms);
    (now_ms >= due_ms).then(|| due_ms.saturating_add(FORCED_WITHIN_MS))
}

fn triggered(evidence: &Evidence, state: &State, settings: &Settings) -> Option<Cause> {
    let is = |trigger: &Trigger| is_there(trigger, evidence, state, settings);
    let has_schedule = settings.schedule.is_some();
    let triggers = &settings.triggers;
    if !triggers.hold(has_schedule, &is) {
        return None;
    }
    let but_schedule = |trigger: &Trigger| *trigger != Trigger::Schedule && is(trigger);
    if is(&Trigger::Schedule) && !triggers.hold(has_schedule, &but_schedule) {
        return Some(Cause::Schedule);
    }
    let measured = [
        (Trigger::Drift, Cause::Drift),
        (Trigger::Performance, Cause::Performance),
        (Trigger::Share, Cause::Share),
    ];
    let found = measured.iter().find(|(trigger, _)| is(trigger));
    Some(found.map_or(Cause::Event, |(_, cause)| *cause))
}

fn is_there(trigger: &Trigger, evidence: &Evidence, state: &State, settings: &Settings) -> bool {
    match trigger {
        Trigger::Schedule => is_scheduled(evidence.at_ms, state, settings),
        Trigger::Drift => evidence.alarm,
        Trigger::Performance => evidence
            .accuracy
            .is_some_and(|accuracy| accuracy < settings.min_accuracy),
        Trigger::Share => evidence
            .share_drifted
            .is_some_and(|share| share > settings.max_share_drifted),
        Trigger::Manual => evidence.request.is_some(),
        Trigger::Event(name) => state.is_event_open(name),
        Trigger::AnyEvent => state.is_any_event_open(),
    }
}

/// Whether the clock has struck since a training was last decided, or since anything is known. However often it struck
/// meanwhile, one training answers it.
fn is_scheduled(now_ms: i64, state: &State, settings: &Settings) -> bool {
    let answered = state.last_decided_ms().max(state.since_ms());
    let next = settings
        .schedule
        .as_ref()
        .zip(answered)
        .and_then(|(schedule, answered)| schedule.next_after(answered));
    next.is_some_and(|next| next <= now_ms)
}
