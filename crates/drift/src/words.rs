//! A report in words, for somebody who was woken by it: what to do, why, and what the report does not cover.

use contract::Contract;

use crate::baseline::Baseline;
use crate::judge::JudgedCell;
use crate::measures::{Policy, Status};
use crate::report::{MIN_COVERAGE, Window, is_covered};
use crate::windows::{Presence, WINDOW_MINUTES};

/// Most causes that are named; the rest is in the report's metrics.
const MAX_NAMED: usize = 3;

/// All that a recommendation may speak of.
pub(crate) struct Account<'a> {
    pub(crate) contract: &'a Contract,
    pub(crate) policy: &'a Policy,
    pub(crate) status: Status,
    pub(crate) score: f64,
    pub(crate) scoring: Option<&'a Window>,
    pub(crate) windows: &'a [Window; 2],
    pub(crate) baseline: &'a Baseline,
    pub(crate) presence: &'a Presence,
    /// The strongest first.
    pub(crate) drivers: &'a [JudgedCell],
}

pub(crate) fn recommendation(account: &Account<'_>) -> String {
    let mut words = verdict(account);
    for note in notes(account) {
        words.push(' ');
        words.push_str(&note);
    }
    words
}

fn verdict(account: &Account<'_>) -> String {
    let Some(window) = account.scoring else {
        return "No verdict yet: no window has enough data.".to_owned();
    };
    let policy = account.policy;
    let (what, above) = match account.status {
        Status::Healthy => {
            let score = compared(account.score, policy.warning);
            return format!(
                "Nothing to do: score {score} is not above {:.2} ({} window).",
                policy.warning,
                name(window)
            );
        }
        Status::Warning => ("Watch it", policy.warning),
        Status::Urgent => ("Retrain", policy.alarm),
        Status::Critical => ("Retrain soon", policy.critical),
    };
    let score = compared(account.score, above);
    format!(
        "{what}: score {score} is above {above:.2} ({} window), driven by {}.",
        name(window),
        causes(account)
    )
}

/// A score with so many digits that it can be told from `limit`.
#[must_use]
pub fn compared(score: f64, limit: f64) -> String {
    for digits in 2..6 {
        let text = format!("{score:.digits$}");
        if text != format!("{limit:.digits$}") {
            return text;
        }
    }
    format!("{score}")
}

fn name(window: &Window) -> String {
    let minutes = WINDOW_MINUTES
        .get(window.index)
        .copied()
        .unwrap_or_default();
    format!("{} h", minutes / 60)
}

fn causes(account: &Account<'_>) -> String {
    let named: Vec<String> = account
        .drivers
        .iter()
        .take(MAX_NAMED)
        .filter_map(|cell| cause(account, cell))
        .collect();
    if named.is_empty() {
        "forecast errors".to_owned()
    } else {
        named.join(", ")
    }
}

fn cause(account: &Account<'_>, cell: &JudgedCell) -> Option<String> {
    let profile = &account.contract.profiles.get(cell.profile)?.name;
    let metric = &account.contract.metrics.get(cell.metric)?.name;
    if cell.is_new {
        return Some(format!("{profile} {metric} (new to the model)"));
    }
    let per = cell
        .per
        .map(|per| format!(", error {:.0} %", 100.0 * per))
        .unwrap_or_default();
    Some(format!(
        "{profile} {metric} (mean {:.1} sd off, KS {:.2}{per})",
        cell.z, cell.ks
    ))
}

fn notes(account: &Account<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for window in account.windows {
        let length = name(window);
        if !is_covered(window.index, window.coverage) {
            let least = MIN_COVERAGE.get(window.index).copied().unwrap_or_default();
            notes.push(format!(
                "The {length} window does not count yet: it holds {:.0} % of its 5-minute panes, {:.0} % are needed.",
                (100.0 * window.coverage).floor(),
                100.0 * least
            ));
        } else if account.baseline.medians.of(window.index).is_none() {
            notes.push(format!("The {length} window does not count: what is usual for it was not measured in training."));
        }
    }
    if !account.presence.missing.is_empty() {
        let partitions: Vec<String> = account
            .presence
            .missing
            .iter()
            .take(8)
            .map(ToString::to_string)
            .collect();
        notes.push(format!(
            "Nothing new from partition {}.",
            partitions.join(", ")
        ));
    }
    notes
}
