//! Limits and rules of the decision.

use chrono_tz::Tz;

use crate::quiet::QuietRule;
use crate::schedule::Schedule;
use crate::triggers::Triggers;

/// Most trainings a week that may be allowed: the state remembers as many ends.
pub const MAX_IN_WEEK: usize = 100;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Limits of the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which causes start a training.
    pub triggers: Triggers,
    /// Trainings by the clock.
    pub schedule: Option<Schedule>,
    /// Least time between the end of one training and the next, ms. Exactly that much is enough.
    pub min_between_ms: i64,
    /// Most trainings in 7 days, those of the schedule aside; at most [`MAX_IN_WEEK`].
    pub max_in_week: usize,
    /// Time without a training that forces one, ms. Exactly that much is enough.
    pub force_after_ms: i64,
    /// Pause after a training that was given up, ms: without it, drift that stays would ask for the next one at once.
    pub after_failure_ms: i64,
    /// Accuracy below which `performance` holds, 0–1.
    pub min_accuracy: f64,
    /// Share of drifted metrics above which `share` holds, 0–1.
    pub max_share_drifted: f64,
    /// What tells quiet from busy.
    pub quiet: QuietRule,
    /// Load from which on the fleet is not quiet, 0–1.
    pub max_load: f64,
    /// Whose hours and weekdays quiet times are learnt by: the contract's.
    pub zone: Tz,
}

impl Default for Settings {
    /// Drift alone; 6 h, 3 in 7 days, 30 days, an hour; 88 % accuracy, half of the metrics; load below 0.3.
    fn default() -> Self {
        Settings {
            triggers: Triggers::default(),
            schedule: None,
            min_between_ms: 6 * HOUR_MS,
            max_in_week: 3,
            force_after_ms: 30 * DAY_MS,
            after_failure_ms: HOUR_MS,
            min_accuracy: 0.88,
            max_share_drifted: 0.5,
            quiet: QuietRule::Load,
            max_load: 0.3,
            zone: Tz::UTC,
        }
    }
}
