//! What to do about drift: the retraining decision and the account of trainings, as pure folds.
//!
//! [`State`] is a fold over the control topic ([`contract::record::ControlEvent`]); [`decide()`] asks it, the evidence of
//! the latest drift report and the settings, and answers in words; [`Simulation`] does so over a file of scores and loads. Before a
//! training [`check_data`] says whether there is enough, while it runs [`Pausing`] whether it gives way to the fleet. Time is an
//! argument. The same events give the same decisions again (`decision-replayable`).
//!
//! Invariants: the same events in the same order give the same state, however often some are repeated; what is kept is bounded.
//!
//! It is not: the place that trains, reads topics or measures drift.

mod data;
mod decide;
mod due;
mod evidence;
mod jobs;
mod pause;
mod quiet;
mod schedule;
mod settings;
mod simulation;
mod triggers;
mod words;

pub use data::{DataCheck, DataFacts, DataNeeds, check_data};
pub use decide::{decide, should_publish};
pub use evidence::{Evidence, Request};
pub use jobs::{Claim, Job, MAX_EVENTS, MAX_JOBS, STALE_AFTER_MS, State};
pub use pause::{Pausing, Turn};
pub use quiet::{Loads, NextQuiet, QuietRule};
pub use schedule::{Schedule, ScheduleError};
pub use settings::{MAX_IN_WEEK, Settings};
pub use simulation::{Happened, Line, Simulation};
pub use triggers::{Trigger, Triggers, TriggersError};
