//! The decision itself: what asks for a training, then safeguards, then quiet. Every answer says why.
//!
//! A reason is facts, a colon, and the verdict: what follows the last colon is the same whatever the numbers are, so that
//! a verdict that stays the same can be told from one that changed.

use contract::record::Decision;
use drift::{Policy, compared};

use crate::due::{Cause, Due, due};
use crate::evidence::{Evidence, UNKNOWN};
use crate::jobs::State;
use crate::quiet::{NextQuiet, QuietRule};
use crate::settings::Settings;
use crate::words::duration;

/// A verdict that stays the same is written again after this long, so that the log shows that it was asked.
const REPEAT_AFTER_MS: i64 = 3_600_000;

/// How long an unknown load is waited for: a contract may name no CPU metric, and then it never comes. A day, as long as
/// a known load that is never quiet may put a training off, has every hour in it.
const LOAD_WITHIN_MS: i64 = 24 * 3_600_000;

/// The verdict while the load is waited for; [`State`] tells it from others by these words.
const WAIT_FOR_LOAD: &str = "wait until the load is known";

/// The verdict where the fleet is quiet, or a person asked; [`State`] tells it from trainings in spite of the load by these words.
const TRAIN: &str = "train";

/// The verdict while the fleet is busy.
const WAIT_FOR_QUIET: &str = "wait for a quiet time";

/// Whether to train now. In this order:
/// 1. nothing asks for it (a person, the triggers, or too long without a training): no;
/// 2. a training is open, done by a worker or waiting for one: no;
/// 3. less than the minimum since the last one, or too many in 7 days: wait until then. A person may force it; the week's
///    number does not hold for the schedule;
/// 4. the last one was given up a short while ago: wait;
/// 5. a person asked: train;
/// 6. load unknown: wait for it for a day, then as if quiet;
/// 7. busy: wait for the next quiet time, but a forced training at most a day, and a critical score not where no quiet time
///    comes within a day;
/// 8. else train.
#[must_use]
pub fn decide(evidence: &Evidence, state: &State, settings: &Settings) -> Decision {
    let due = due(evidence, state, settings);
    let verdict = verdict(evidence, state, settings, due);
    let mut facts = vec![
        score_words(evidence),
        load_words(evidence, settings),
        training_words(evidence.at_ms, state),
    ];
    facts.extend(due_words(evidence, settings, due));
    let by_rule = due.is_some_and(|due| !is_measured(due.cause));
    Decision {
        trigger: verdict.trigger,
        reason: format!("{}{}: {}", facts.join(", "), verdict.more, verdict.words),
        // A rule rests on no measure.
        confidence: if by_rule { 1.0 } else { evidence.confidence },
        wait_until: verdict.wait_until,
        priority: priority(evidence, due).to_owned(),
        score: evidence.score,
        load: evidence.load,
        status: evidence.status.clone(),
        report_at: evidence.report_at,
        model_version: evidence.model_version.clone(),
        positions: evidence.positions.clone(),
        manual: evidence.request.is_some(),
        cause: due.map_or("", |due| due.cause.as_str()).to_owned(),
        windows: evidence.windows.clone(),
        alarm: evidence.alarm,
        accuracy: evidence.accuracy,
        share_drifted: evidence.share_drifted,
        mean_cpu: evidence.mean_cpu,
        mean_memory: evidence.mean_memory,
        drivers: evidence.drivers.clone(),
        forced: evidence.request.is_some_and(|request| request.force),
    }
}

#[derive(Default)]
struct Verdict {
    trigger: bool,
    /// Facts beside score, load and last training; begins with a comma.
    more: String,
    /// Without a number that changes from report to report.
    words: String,
    wait_until: Option<i64>,
}

impl Verdict {
    fn no(words: impl Into<String>) -> Verdict {
        Verdict {
            words: words.into(),
            ..Verdict::default()
        }
    }

    fn train(words: &str) -> Verdict {
        Verdict {
            trigger: true,
            ..Verdict::no(words)
        }
    }

    fn wait(now_ms: i64, until_ms: i64, words: impl Into<String>) -> Verdict {
        let more = format!(", {} to wait", duration(until_ms.saturating_sub(now_ms)));
        Verdict {
            more,
            wait_until: Some(until_ms),
            ..Verdict::no(words)
        }
    }
}

fn verdict(evidence: &Evidence, state: &State, settings: &Settings, due: Option<Due>) -> Verdict {
    let Some(due) = due else {
        return Verdict::no("no training needed");
    };
    let held = open_job(evidence.at_ms, state)
        .or_else(|| safeguards(evidence.at_ms, state, settings, due))
        .or_else(|| after_failure(evidence.at_ms, state, settings, due));
    if let Some(held) = held {
        return held;
    }
    if due.cause == Cause::Manual {
        return Verdict::train(TRAIN);
    }
    match settings.quiet.is_quiet(evidence, settings.max_load) {
        None => load_unknown(evidence.at_ms, state),
        Some(true) => Verdict::train(TRAIN),
        Some(false) => busy(evidence, state, settings, due),
    }
}

fn open_job(now_ms: i64, state: &State) -> Option<Verdict> {
    let job = state.open_jobs().next()?;
    let since = duration(now_ms.saturating_sub(job.requested_ms));
    let asked = format!(", training {} asked for {since} ago", job.id);
    Some(match job.running(now_ms) {
        Some(claim) => {
            let done = claim
                .progress
                .map(|done| format!(" ({:.0} % done)", 100.0 * done))
                .unwrap_or_default();
            let paused = if claim.paused { ", paused" } else { "" };
            Verdict {
                more: format!("{asked}, done by {}{done}{paused}", claim.worker),
                ..Verdict::no("a training runs, wait for its end")
            }
        }
        None => Verdict {
            more: asked,
            ..Verdict::no("a training waits for a worker")
        },
    })
}

/// The longer of the two waits.
fn safeguards(now_ms: i64, state: &State, settings: &Settings, due: Due) -> Option<Verdict> {
    if due.force {
        return None;
    }
    let last = state.last_training_ms();
    let rested = last.map(|last| {
        let least = duration(settings.min_between_ms);
        let words = format!("wait until {least} have passed since the last training");
        (last.saturating_add(settings.min_between_ms), words)
    });
    let week = state.week_is_full_until(now_ms, settings.max_in_week);
    let week = week.filter(|_| due.cause != Cause::Schedule).map(|until| {
        let most = settings.max_in_week;
        let words = format!("wait, there may be at most {most} trainings in 7 days");
        (until, words)
    });
    let waits = [rested, week].into_iter().flatten();
    waits
        .filter(|(until, _)| now_ms < *until)
        .max_by_key(|(until, _)| *until)
        .map(|(until, words)| Verdict::wait(now_ms, until, words))
}

fn after_failure(now_ms: i64, state: &State, settings: &Settings, due: Due) -> Option<Verdict> {
    let until = state
        .last_failed_ms()?
        .saturating_add(settings.after_failure_ms);
    let words = "the last training was given up, wait before the next";
    (due.cause != Cause::Manual && now_ms < until).then(|| Verdict::wait(now_ms, until, words))
}

/// Without a load nothing says that the fleet is busy: after the wait it is taken as quiet.
fn load_unknown(now_ms: i64, state: &State) -> Verdict {
    let since = state.load_unknown_since_ms().unwrap_or(now_ms);
    let until = since.saturating_add(LOAD_WITHIN_MS);
    if now_ms < until {
        return Verdict::wait(now_ms, until, WAIT_FOR_LOAD);
    }
    let waited = duration(now_ms.saturating_sub(since));
    Verdict {
        more: format!(", waited {waited} for it"),
        ..Verdict::train("train as if the load were low")
    }
}

fn busy(evidence: &Evidence, state: &State, settings: &Settings, due: Due) -> Verdict {
    let now_ms = evidence.at_ms;
    if due.forced_by.is_some_and(|until| until <= now_ms) {
        return Verdict::train("train, no quiet time came within a day");
    }
    let next = state
        .loads()
        .next_quiet(now_ms, settings.zone, settings.max_load);
    let critical = evidence.alarm && evidence.score > Policy::SLA.critical;
    let quiet_at = match next {
        NextQuiet::NotWithinADay if critical => {
            return Verdict::train("train, no quiet time is expected within a day");
        }
        NextQuiet::At(at_ms) => Some(at_ms),
        NextQuiet::NotWithinADay | NextQuiet::Unknown => None,
    };
    let until = quiet_at.into_iter().chain(due.forced_by).min();
    let mut verdict = match until {
        Some(until) => Verdict::wait(now_ms, until, WAIT_FOR_QUIET),
        None => Verdict::no(WAIT_FOR_QUIET),
    };
    if next == NextQuiet::NotWithinADay {
        verdict.more.push_str(", none is expected within a day");
    }
    verdict
}

/// Whether a decision waits for a load that is not known.
pub(crate) fn waits_for_load(decision: &Decision) -> bool {
    !decision.trigger && words(&decision.reason) == WAIT_FOR_LOAD
}

/// Whether a training was decided on because the fleet was quiet: it gives way when that ends.
pub(crate) fn rests_on_quiet(decision: &Decision) -> bool {
    decision.trigger && !decision.manual && words(&decision.reason) == TRAIN
}

fn score_words(evidence: &Evidence) -> String {
    if evidence.status == UNKNOWN {
        return "no drift report".to_owned();
    }
    let limit = Policy::SLA.alarm;
    let score = compared(evidence.score, limit);
    let sign = if evidence.score > limit { '>' } else { '≤' };
    let words = format!("drift score {score} {sign} {limit:.2}");
    if !evidence.alarm {
        return format!("{words} ({})", evidence.status);
    }
    if evidence.drivers.is_empty() {
        return words;
    }
    format!("{words} driven by {}", evidence.drivers.join(" and "))
}

pub(crate) fn load_words(evidence: &Evidence, settings: &Settings) -> String {
    let limit = settings.max_load;
    let load = match evidence.load {
        None if evidence.status == UNKNOWN => "load unknown".to_owned(),
        None => "load unknown (no CPU metric came)".to_owned(),
        Some(load) if load < limit => format!("load {} < {limit:.2}", compared(load, limit)),
        Some(load) => format!("load {load:.2} ≥ {limit:.2}"),
    };
    if settings.quiet == QuietRule::Load {
        return load;
    }
    let percent =
        |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.0} %"));
    format!(
        "{load}, CPU {} and memory {} (quiet by {})",
        percent(evidence.mean_cpu),
        percent(evidence.mean_memory),
        settings.quiet.as_str()
    )
}

fn training_words(now_ms: i64, state: &State) -> String {
    match state.last_training_ms() {
        None => "no training before".to_owned(),
        Some(last) => format!(
            "last training {} ago",
            duration(now_ms.saturating_sub(last))
        ),
    }
}

/// What asks, where it is not the score; and that an alarm alone does not, where it is not enough.
fn due_words(evidence: &Evidence, settings: &Settings, due: Option<Due>) -> Option<String> {
    let Some(due) = due else {
        let triggers = &settings.triggers;
        return evidence
            .alarm
            .then(|| format!("triggers \"{triggers}\" do not hold"));
    };
    let limit = |value: Option<f64>| value.map_or("unknown".to_owned(), |v| format!("{v:.2}"));
    Some(match due.cause {
        Cause::Drift => return None,
        Cause::Manual if due.force => "a person asked for it and overrides the safeguards".into(),
        Cause::Manual => "a person asked for it".into(),
        Cause::Performance => format!(
            "accuracy {} < {:.2}",
            limit(evidence.accuracy),
            settings.min_accuracy
        ),
        Cause::Share => format!(
            "share of drifted metrics {} > {:.2}",
            limit(evidence.share_drifted),
            settings.max_share_drifted
        ),
        Cause::Event => format!("an event of \"{}\" came", settings.triggers),
        Cause::Schedule => match &settings.schedule {
            Some(schedule) => format!("due by the schedule {schedule}"),
            None => "due by the schedule".into(),
        },
        Cause::Age => format!(
            "at most {} without a training",
            duration(settings.force_after_ms)
        ),
    })
}

fn is_measured(cause: Cause) -> bool {
    matches!(cause, Cause::Drift | Cause::Performance | Cause::Share)
}

/// How much it matters: from the report's status, and at least what its cause gives it.
fn priority(evidence: &Evidence, due: Option<Due>) -> &'static str {
    const LEVELS: [&str; 4] = ["low", "normal", "high", "critical"];
    let by_status = match evidence.status.as_str() {
        "critical" => 3,
        "urgent" => 2,
        "warning" => 1,
        _ => 0,
    };
    let by_cause = match due {
        Some(due) if due.cause == Cause::Manual || due.forced_by.is_some() => 2,
        Some(_) => 1,
        None => 0,
    };
    LEVELS
        .get(by_status.max(by_cause))
        .copied()
        .unwrap_or("critical")
}

/// Whether a verdict is to be written: when it differs from the last one written, and once an hour.
///
/// `last` is the last one with its time, ms. Verdicts differ by what to do, why not, until when or how urgent it is, not by
/// a digit of the score.
#[must_use]
pub fn should_publish(last: Option<(&Decision, i64)>, verdict: &Decision, now_ms: i64) -> bool {
    let Some((before, at_ms)) = last else {
        return true;
    };
    let changed = before.trigger != verdict.trigger
        || before.wait_until != verdict.wait_until
        || before.priority != verdict.priority
        || words(&before.reason) != words(&verdict.reason);
    changed || now_ms.saturating_sub(at_ms) >= REPEAT_AFTER_MS
}

/// The verdict in a reason: what follows the last colon.
fn words(reason: &str) -> &str {
    reason.rsplit(": ").next().unwrap_or(reason)
}
