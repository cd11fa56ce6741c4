//! Whether a training that runs gives way to the fleet.
//!
//! One that was begun because the fleet was quiet pauses when that ends and goes on when it is quiet again. So that it does not
//! turn with every report, both take [`IN_A_ROW`] reports that agree, and quiet again is [`EASE`] of what quiet was at the start:
//! between the two nothing changes. One that a person asked for, or that was decided on in spite of the load, does not pause.
//!
//! Bounds: no training pauses later than [`WITHIN_MS`] after it was decided on, as no decision waits for longer; a load that
//! has not been heard of for [`KNOWN_FOR_MS`] holds nobody up.
//!
//! It is not: the place that stops the work between two steps (the train role).

use crate::decide::load_words;
use crate::evidence::Evidence;
use crate::jobs::Job;
use crate::settings::Settings;
use crate::words::duration;

/// Reports that must agree: two are ten minutes. One would let a single burst stop a training.
const IN_A_ROW: u32 = 2;
/// How far below the limit the load must be to go on: a load that hovers at the limit leaves things as they are.
const EASE: f64 = 0.9;
/// How long a report's load is taken for that of now.
const KNOWN_FOR_MS: i64 = 3_600_000;
/// How long after it was decided on a training may be paused: a day has every hour in it.
const WITHIN_MS: i64 = 24 * 3_600_000;

/// A change, with what it rests on in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Stop after the step in hand.
    Pause(String),
    /// Go on.
    Resume(String),
}

/// The state of one training.
#[derive(Debug, Clone, PartialEq)]
pub struct Pausing {
    /// Until when it may be paused, ms; `None` where it never is.
    until_ms: Option<i64>,
    paused: bool,
    /// Reports in a row that speak for a change.
    for_change: u32,
    /// `at` of the last report taken, ms.
    seen_ms: Option<i64>,
    /// When a load was last known, ms.
    known_ms: Option<i64>,
}

impl Pausing {
    /// Of a job that goes on.
    #[must_use]
    pub fn new(job: &Job) -> Pausing {
        Pausing {
            until_ms: job
                .gives_way
                .then(|| job.requested_ms.saturating_add(WITHIN_MS)),
            paused: false,
            for_change: 0,
            seen_ms: None,
            known_ms: None,
        }
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether it may pause at `now_ms` or later: otherwise nobody need look at the load.
    #[must_use]
    pub fn may_pause(&self, now_ms: i64) -> bool {
        self.until_ms.is_some_and(|until| now_ms < until)
    }

    /// Takes what a drift report tells. One that is no newer than the last one taken is a repeat, one that is older than
    /// an hour says nothing about now.
    pub fn see(&mut self, evidence: &Evidence, settings: &Settings, now_ms: i64) -> Option<Turn> {
        let at_ms = evidence.at_ms;
        let is_repeat = self.seen_ms.is_some_and(|seen| at_ms <= seen);
        if is_repeat || now_ms.saturating_sub(at_ms) > KNOWN_FOR_MS || !self.may_pause(now_ms) {
            return None;
        }
        self.seen_ms = Some(at_ms);
        let limit = settings.max_load;
        let ease = if self.paused { EASE } else { 1.0 };
        let quiet = settings.quiet.is_quiet_by(evidence, limit, ease);
        if quiet.is_some() {
            self.known_ms = Some(at_ms);
        }
        // Quiet speaks for a change of one that is paused, busy of one that runs; unknown for none.
        if quiet != Some(self.paused) {
            self.for_change = 0;
            return None;
        }
        self.for_change += 1;
        if self.for_change < IN_A_ROW {
            return None;
        }
        let load = load_words(evidence, settings);
        if self.paused {
            return Some(self.resume(format!("{load} in {IN_A_ROW} reports: goes on")));
        }
        self.paused = true;
        self.for_change = 0;
        let left = self.until_ms.unwrap_or(now_ms).saturating_sub(now_ms);
        Some(Turn::Pause(format!(
            "{load} in {IN_A_ROW} reports: paused until it falls, for {} at most",
            duration(left)
        )))
    }

    /// Takes that time has passed, whether or not a report came.
    pub fn look(&mut self, now_ms: i64) -> Option<Turn> {
        if !self.paused {
            return None;
        }
        if !self.may_pause(now_ms) {
            let words = format!(
                "decided on {} ago: goes on whatever the load is",
                duration(WITHIN_MS)
            );
            return Some(self.resume(words));
        }
        let silent = now_ms.saturating_sub(self.known_ms?);
        if silent > KNOWN_FOR_MS {
            let words = format!("no load is known since {}: goes on", duration(silent));
            return Some(self.resume(words));
        }
        None
    }

    fn resume(&mut self, words: String) -> Turn {
        self.paused = false;
        self.for_change = 0;
        Turn::Resume(words)
    }
}
