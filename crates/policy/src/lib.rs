//! What to do about drift: the retraining decision and the account of trainings, as pure folds.
//!
//! [`State`] is a fold over the control topic ([`contract::record::ControlEvent`]); [`decide()`] asks it, the latest drift
//! report and the settings, and answers in words. Time is an argument. The same events give the same decisions again
//! (`decision-replayable`).
//!
//! Invariants: the same events in the same order give the same state, however often some are repeated; what is kept is bounded.
//!
//! It is not: the place that trains, reads topics or measures drift.

mod decide;
mod jobs;
mod words;

pub use decide::{Settings, decide, should_publish};
pub use jobs::{Claim, Job, MAX_JOBS, STALE_AFTER_MS, State};
