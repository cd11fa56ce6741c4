//! What quiet days look like: the held-out rows and the forecasts made for them are replayed through the very [`PaneBuilder`] of the
//! service, the errors of the forecasts join what the baseline's rows gave, and the [`Detector`] learns from all of it.
//!
//! Rows before the held-out part count as well: what the metrics themselves do on quiet days does not depend on the model; how well it
//! forecasts does, so that errors are those on days that it has not seen.

use std::sync::Arc;

use contract::Contract;
use contract::record::{Pane, Prediction};

use crate::baseline::{Baseline, BaselineError, Row};
use crate::pane::{PaneBuilder, RowOutcome};
use crate::shift::detector::Detector;
use crate::shift::history::{BucketSums, History};
use crate::shift::learn::DAY_MS;
use crate::sums::HORIZON_MINUTES;

/// On how much the calibration rests.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CalibrationFacts {
    /// Days that quiet was learnt on.
    pub days: usize,
    /// Series that are watched: metrics of profiles, by mean, spread and error.
    pub series: usize,
    /// Those of them that are errors.
    pub error_series: usize,
    /// Days from the first held-out row to the last.
    pub held_out_days: f64,
    /// Evidence that is an alarm; `None`: too few days to say, and nothing will be one.
    pub level: Option<f64>,
}

/// A calibration that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CalibrationError {
    /// The baseline is another contract's.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// Sort the rows by bucket.
    #[error("held-out rows are not in order: bucket {bucket} after {after}")]
    NotInOrder {
        /// The row's bucket.
        bucket: i64,
        /// A bucket before it.
        after: i64,
    },
    /// The rows are not the contract's.
    #[error("held-out row of {server}: profile, number of values or bucket is not the contract's")]
    NotOfContract {
        /// The row's server.
        server: String,
    },
}

/// Replays held-out rows (by bucket) and forecasts (by `issued_at`; those of `model_version` count), adds them to the baseline's
/// `history` and sets the detector of `baseline`.
///
/// # Errors
/// See [`CalibrationError`]; the baseline is as it was then.
pub fn calibrate<'a>(
    contract: &Arc<Contract>,
    baseline: &mut Baseline,
    mut history: History,
    model_version: &str,
    rows: impl IntoIterator<Item = Row<'a>>,
    forecasts: impl IntoIterator<Item = Prediction>,
) -> Result<CalibrationFacts, CalibrationError> {
    let shared = Arc::new(baseline.clone());
    let mut builder = PaneBuilder::new(Arc::clone(contract), shared, 0, None)?;
    let mut forecasts = forecasts.into_iter().peekable();
    let (mut oldest, mut newest): (Option<i64>, Option<i64>) = (None, None);
    for (row, position) in rows.into_iter().zip(1..) {
        if newest.is_none_or(|newest| row.bucket > newest) {
            for pane in builder.close_before(row.bucket) {
                add_pane(contract, &mut history, &pane, model_version);
            }
            // A forecast that is issued when this bucket starts is the last that reaches it.
            while let Some(forecast) =
                forecasts.next_if(|forecast| forecast.issued_at <= row.bucket)
            {
                builder.forecast(&forecast);
            }
            newest = Some(row.bucket);
            oldest = oldest.or(newest);
        }
        match builder.row(row.server, row.profile, row.bucket, position, row.values) {
            RowOutcome::Counted | RowOutcome::Repeat => {}
            RowOutcome::Late | RowOutcome::Full => {
                return Err(CalibrationError::NotInOrder {
                    bucket: row.bucket,
                    after: newest.unwrap_or(row.bucket),
                });
            }
            RowOutcome::NotOfContract => {
                return Err(CalibrationError::NotOfContract {
                    server: row.server.to_owned(),
                });
            }
        }
    }
    if let Some(newest) = newest {
        for pane in builder.close_before(newest.saturating_add(contract.step_ms())) {
            add_pane(contract, &mut history, &pane, model_version);
        }
    }
    let held_out_ms = oldest.zip(newest);
    let held_out_ms = held_out_ms.map_or(0, |(first, last)| last - first + contract.step_ms());
    let held_out_days = held_out_ms as f64 / DAY_MS as f64;
    let mut detector = Detector::learn(&history, contract.time_zone, contract.step_ms());
    detector.held_out_days = Some(held_out_days);
    let calibration = CalibrationFacts {
        days: detector.days,
        series: detector.models.len(),
        error_series: detector.num_error_series(),
        held_out_days,
        level: detector.level(),
    };
    baseline.detector = Some(detector);
    Ok(calibration)
}

/// Adds what a pane says of each metric.
fn add_pane(contract: &Contract, history: &mut History, pane: &Pane, model_version: &str) {
    let Some(profile) = contract.profile_index(&pane.profile) else {
        return;
    };
    let Some(sums) = history.bucket(pane.bucket) else {
        return;
    };
    for metric in &pane.metrics {
        let cell = contract
            .metric_index(&metric.metric)
            .and_then(|index| sums.get_mut(profile * contract.num_metrics() + index));
        let Some(cell) = cell else { continue };
        let mut errors = metric.errors.iter().filter(|errors| {
            errors.model_version == model_version && errors.horizon_minutes == HORIZON_MINUTES[0]
        });
        let (errors, error_sum) = errors
            .next()
            .map_or((0, 0), |errors| (errors.abs_n, errors.abs_sum.0));
        let mut found = BucketSums {
            errors,
            error_sum,
            ..BucketSums::default()
        };
        // Rows that the baseline was built on are in the history already.
        if cell.n == 0 {
            (found.n, found.sum, found.sum_sq) = (metric.n, metric.sum.0, metric.sum_sq.0);
        }
        cell.add(&found);
    }
}
