//! Is the world still what the model learnt?
//!
//! Rows of rollups and forecasts go into a [`PaneBuilder`], one per partition, which gives 5-minute panes; one [`Windows`]
//! merges the panes of all partitions into the last hour and the last day and reports on them against the [`Baseline`]
//! that was learnt ([`Baseline::learn`]) and calibrated ([`calibrate()`]) when the model was trained.
//!
//! | module | decides |
//! |---|---|
//! | [`measures`] | the formulas, the score |
//! | [`policies`] | which score is an alarm |
//! | [`shift`] | the calibrated signal: has anything moved that quiet days do not move? |
//! | [`sketch`] | bins of a histogram in bounded memory |
//! | [`fixed`] | sums that do not depend on the order |
//!
//! Invariants: panes hold integers and fixed-point sums only, so the same panes in any order give the same report, bit for
//! bit; every structure is bounded by constants and the contract, not by the traffic; no measure is NaN.
//!
//! It is not: a clock, a reader of topics, or the place that decides to train (that is `policy`).

mod baseline;
mod calibrate;
pub mod fixed;
mod forecasts;
mod hours;
mod judge;
mod learn;
pub mod measures;
mod packed;
mod pane;
pub mod policies;
mod report;
mod servers;
pub mod shift;
pub mod sketch;
mod stored;
mod sums;
mod windows;
mod words;

pub use baseline::{Baseline, BaselineError, Cell, Row};
pub use calibrate::{CalibrationError, CalibrationFacts, calibrate};
pub use forecasts::{ForecastOutcome, MAX_AHEAD_STEPS, MAX_SERVERS};
pub use hours::HourCell;
pub use judge::MIN_VALUES;
pub use measures::{Aggregate, Measures};
pub use pane::{MAX_BUCKET_SERVERS, MAX_OPEN_BUCKETS, PaneBuilder, RowOutcome};
pub use policies::{Calibration, Limits, Policy, Status};
pub use report::{MIN_COVERAGE, ReportRequest};
pub use servers::{MAX_KNOWN_SERVERS, MIN_SERVER_VALUES};
pub use stored::{BaselineHead, BaselineRow, HoursRow, ServersRow, SignalRow};
pub use sums::HORIZON_MINUTES;
pub use windows::{MAX_PANES, PaneOutcome, WINDOW_MINUTES, Windows};
pub use words::{compared, unwatched_error};
