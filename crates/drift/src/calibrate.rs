//! What the measures are when nothing drifts: their medians over held-out hours.
//!
//! Server metrics are autocorrelated and seasonal, so that the raw measures are never near 0: one hour of a daily cycle
//! is far from the whole day's distribution. The held-out rows and the forecasts made for them are replayed through the
//! very [`PaneBuilder`] and [`Windows`] of the service, each full hour is judged, and the median of each measure is kept
//! with the baseline, one set per window. Hours of a window that is not covered do not count.
//!
//! It is not a test of significance: half of all quiet hours lie above the median.

use std::sync::Arc;

use contract::Contract;
use contract::record::Prediction;

use crate::baseline::{Baseline, BaselineError, Usual};
use crate::measures::{Measures, Policy, median};
use crate::pane::{PaneBuilder, RowOutcome};
use crate::report::{ReportRequest, Window, is_covered};
use crate::windows::Windows;

const HOUR_MS: i64 = 3_600_000;

/// Most hours that are judged: two months. More would not change a median, and would cost memory.
const MAX_HOURS: usize = 24 * 62;

/// A row of rollups that the model and the baseline have not seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOutRow<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Index of its profile in the contract.
    pub profile: usize,
    /// Start of the bucket, ms.
    pub bucket: i64,
    /// In the contract's order, NaN for a gap.
    pub values: &'a [f32],
}

/// On how much the calibration rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calibration {
    /// Hours at which the 1 h window was judged; 0: it cannot raise an alarm.
    pub hours_of_hour: usize,
    /// Hours at which the 24 h window was judged; 0 when less than a day was held out.
    pub hours_of_day: usize,
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

/// Replays held-out rows (by bucket) and forecasts (by `issued_at`; those of `model_version` count) and sets the medians of
/// `baseline`, and per cell what is usual.
///
/// # Errors
/// See [`CalibrationError`]; the baseline is as it was then.
pub fn calibrate<'a>(
    contract: &Arc<Contract>,
    baseline: &mut Baseline,
    model_version: &str,
    rows: impl IntoIterator<Item = HeldOutRow<'a>>,
    forecasts: impl IntoIterator<Item = Prediction>,
) -> Result<Calibration, CalibrationError> {
    let shared = Arc::new(baseline.clone());
    let mut replay = Replay {
        builder: PaneBuilder::new(Arc::clone(contract), Arc::clone(&shared), 0, None)?,
        windows: Windows::new(Arc::clone(contract)),
        baseline: shared,
        model_version,
        judged_through: None,
        gathered: [Gathered::default(), Gathered::default()],
    };
    let mut forecasts = forecasts.into_iter().peekable();
    let mut newest: Option<i64> = None;
    for (row, position) in rows.into_iter().zip(1..) {
        if newest.is_none_or(|newest| row.bucket > newest) {
            replay.reach(row.bucket)?;
            // A forecast that is issued when this bucket starts is the last that reaches it.
            while let Some(forecast) =
                forecasts.next_if(|forecast| forecast.issued_at <= row.bucket)
            {
                replay.builder.forecast(&forecast);
            }
            newest = Some(row.bucket);
        }
        match replay
            .builder
            .row(row.server, row.profile, row.bucket, position, row.values)
        {
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
        replay.reach(newest.saturating_add(contract.step_ms()))?;
    }
    let [hour, day] = &replay.gathered;
    baseline.medians.hour = hour.medians();
    baseline.medians.day = day.medians();
    for (profile, metric, cell) in baseline.cells_mut() {
        cell.usual = [hour.usual(profile, metric), day.usual(profile, metric)];
    }
    Ok(Calibration {
        hours_of_hour: hour.measures.len(),
        hours_of_day: day.measures.len(),
    })
}

struct Replay<'a> {
    builder: PaneBuilder,
    windows: Windows,
    baseline: Arc<Baseline>,
    model_version: &'a str,
    judged_through: Option<i64>,
    gathered: [Gathered; 2],
}

impl Replay<'_> {
    /// Closes the buckets before `bucket` and judges each full hour up to it.
    fn reach(&mut self, bucket: i64) -> Result<(), CalibrationError> {
        for pane in self.builder.close_before(bucket) {
            self.windows.add(&pane);
        }
        let last = bucket - bucket.rem_euclid(HOUR_MS);
        // Nothing is in a window whose end lies a day past the rows.
        let earliest = last.saturating_sub(48 * HOUR_MS);
        let Some(judged_through) = self.judged_through else {
            self.judged_through = Some(last);
            return Ok(());
        };
        let mut at_ms = judged_through.max(earliest);
        while at_ms < last {
            at_ms += HOUR_MS;
            let request = ReportRequest {
                at_ms,
                model_version: self.model_version,
                policy: Policy::SLA,
            };
            let windows = self.windows.judge(&request, &self.baseline)?;
            for (gathered, window) in self.gathered.iter_mut().zip(windows) {
                gathered.take(window);
            }
        }
        self.judged_through = Some(judged_through.max(last));
        Ok(())
    }
}

/// All hours of one window.
#[derive(Debug, Default)]
struct Gathered {
    measures: Vec<Measures>,
    cells: std::collections::BTreeMap<(usize, usize), Vec<Usual>>,
}

impl Gathered {
    fn take(&mut self, window: Window) {
        if !is_covered(window.index, window.coverage) || self.measures.len() >= MAX_HOURS {
            return;
        }
        self.measures.push(window.judged.measures);
        for cell in window.judged.cells {
            self.cells
                .entry((cell.profile, cell.metric))
                .or_default()
                .push(Usual {
                    per: cell.per,
                    ks: cell.ks,
                    z: cell.z,
                    anomaly_rate: cell.anomaly_rate,
                });
        }
    }

    fn medians(&self) -> Option<Measures> {
        let of = |measure: fn(&Measures) -> f64| median(self.measures.iter().map(measure));
        Some(Measures {
            per: median(self.measures.iter().filter_map(|measures| measures.per)),
            dss: of(|measures| measures.dss)?,
            fds: of(|measures| measures.fds)?,
            anomaly_rate: of(|measures| measures.anomaly_rate)?,
        })
    }

    fn usual(&self, profile: usize, metric: usize) -> Option<Usual> {
        let hours = self.cells.get(&(profile, metric))?;
        let of = |measure: fn(&Usual) -> f64| median(hours.iter().map(measure));
        Some(Usual {
            per: median(hours.iter().filter_map(|hour| hour.per)),
            ks: of(|hour| hour.ks)?,
            z: of(|hour| hour.z)?,
            anomaly_rate: of(|hour| hour.anomaly_rate)?,
        })
    }
}
