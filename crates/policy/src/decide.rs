//! The decision itself: drift, then safeguards, then quiet. Every answer says why.
//!
//! A reason is facts, a colon, and the verdict: what follows the last colon is the same whatever the numbers are, so that
//! a verdict that stays the same can be told from one that changed.

use contract::record::{Decision, DriftReport};
use drift::{Policy, compared};

use crate::jobs::State;
use crate::words::duration;

/// Limits of the decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Least time between the end of one training and the next, ms. Exactly that much is enough.
    pub min_between_ms: i64,
    /// Load from which on the fleet is not quiet, 0–1.
    pub max_load: f64,
}

impl Default for Settings {
    /// 6 h, 0.3.
    fn default() -> Self {
        Settings {
            min_between_ms: 6 * 3_600_000,
            max_load: 0.3,
        }
    }
}

/// A verdict that stays the same is written again after this long, so that the log shows that it was asked.
const REPEAT_AFTER_MS: i64 = 3_600_000;

/// Pause after a training that was given up: without it, drift that stays would ask for the next one at once.
const AFTER_FAILURE_MS: i64 = 3_600_000;

/// How long an unknown load is waited for: a contract may name no CPU metric, and then it never comes. A day, as long as
/// a known load that is never quiet may put a training off, has every hour in it.
const LOAD_WITHIN_MS: i64 = 24 * 3_600_000;

/// The verdict while the load is waited for; [`State`] tells it from others by these words.
const WAIT_FOR_LOAD: &str = "wait until the load is known";

/// Most causes named; the report has them all.
const MAX_NAMED: usize = 2;

/// Whether to train now. In this order:
/// 1. no drift alarm: no;
/// 2. a training is open, done by a worker or waiting for one: no;
/// 3. less than the minimum since the last one: wait until then (no training known: nothing to wait for);
/// 4. the last one was given up within the hour: wait until then;
/// 5. load unknown: wait for it for a day, then as if quiet;
/// 6. load too high: wait;
/// 7. else train.
///
/// A person's request is a job at once (see [`State`]) and needs no decision.
#[must_use]
pub fn decide(now_ms: i64, report: &DriftReport, state: &State, settings: &Settings) -> Decision {
    let verdict = verdict(now_ms, report, state, settings);
    let facts = [
        cause(report),
        load_words(report, settings),
        training_words(now_ms, state),
    ]
    .join(", ");
    Decision {
        trigger: verdict.trigger,
        reason: format!("{facts}{}: {}", verdict.more, verdict.words),
        confidence: report.confidence,
        wait_until: verdict.wait_until,
        priority: priority(report).to_owned(),
        score: report.score,
        load: report.load,
        status: report.status.clone(),
        report_at: Some(report.at),
        model_version: report.model_version.clone(),
        positions: report.positions.clone(),
        manual: false,
        windows: report.windows.clone(),
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

    fn wait(now_ms: i64, until_ms: i64, words: impl Into<String>) -> Verdict {
        let more = format!(", {} to wait", duration(until_ms.saturating_sub(now_ms)));
        Verdict {
            more,
            wait_until: Some(until_ms),
            ..Verdict::no(words)
        }
    }
}

fn verdict(now_ms: i64, report: &DriftReport, state: &State, settings: &Settings) -> Verdict {
    if !report.alarm {
        return Verdict::no("no training needed");
    }
    if let Some(job) = state.open_jobs().next() {
        let since = duration(now_ms.saturating_sub(job.requested_ms));
        let asked = format!(", training {} asked for {since} ago", job.id);
        return match job.running(now_ms) {
            Some(claim) => {
                let done = claim
                    .progress
                    .map(|done| format!(" ({:.0} % done)", 100.0 * done))
                    .unwrap_or_default();
                let more = format!("{asked}, done by {}{done}", claim.worker);
                Verdict {
                    more,
                    ..Verdict::no("a training runs, wait for its end")
                }
            }
            None => Verdict {
                more: asked,
                ..Verdict::no("a training waits for a worker")
            },
        };
    }
    let until = |since: Option<i64>, pause: i64| since.map(|since| since.saturating_add(pause));
    let waits = |until: &i64| now_ms < *until;
    if let Some(until) = until(state.last_training_ms(), settings.min_between_ms).filter(waits) {
        let least = duration(settings.min_between_ms);
        return Verdict::wait(
            now_ms,
            until,
            format!("wait until {least} have passed since the last training"),
        );
    }
    if let Some(until) = until(state.last_failed_ms(), AFTER_FAILURE_MS).filter(waits) {
        return Verdict::wait(
            now_ms,
            until,
            "the last training failed, wait before the next",
        );
    }
    match report.load {
        None => load_unknown(now_ms, state),
        // Not "at or above": a load that is no number is not quiet.
        Some(load) if load < settings.max_load => Verdict {
            trigger: true,
            ..Verdict::no("train")
        },
        Some(_) => Verdict::no("wait for a quiet time"),
    }
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
        trigger: true,
        more: format!(", waited {waited} for it"),
        ..Verdict::no("train as if the load were low")
    }
}

/// Whether a decision waits for a load that is not known.
pub(crate) fn waits_for_load(decision: &Decision) -> bool {
    !decision.trigger && decision.load.is_none() && words(&decision.reason) == WAIT_FOR_LOAD
}

fn cause(report: &DriftReport) -> String {
    let limit = Policy::SLA.alarm;
    let score = compared(report.score, limit);
    if !report.alarm {
        return format!("drift score {score} ≤ {limit:.2} ({})", report.status);
    }
    // The report lists the strongest first.
    let named = report
        .metrics
        .iter()
        .take(MAX_NAMED)
        .map(|metric| format!("{} {}", metric.profile, metric.metric));
    let named: Vec<String> = named.collect();
    let drivers = if named.is_empty() {
        "forecast errors".to_owned()
    } else {
        named.join(" and ")
    };
    format!("drift score {score} > {limit:.2} driven by {drivers}")
}

fn load_words(report: &DriftReport, settings: &Settings) -> String {
    let limit = settings.max_load;
    match report.load {
        None => "load unknown (no CPU metric came)".to_owned(),
        Some(load) if load < limit => format!("load {} < {limit:.2}", compared(load, limit)),
        Some(load) => format!("load {load:.2} ≥ {limit:.2}"),
    }
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

/// How much it matters, from the report's status.
fn priority(report: &DriftReport) -> &'static str {
    match report.status.as_str() {
        "critical" => "critical",
        "urgent" => "high",
        "warning" => "normal",
        _ => "low",
    }
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
