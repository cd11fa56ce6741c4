//! From the sums of a window to its measures, raw.

use contract::Contract;

use crate::baseline::Baseline;
use crate::fixed::float;
use crate::hours::HourShares;
use crate::measures::{self, Aggregate, Distances, Measures};
use crate::sums::{ErrorSums, MetricSums, NUM_HORIZONS, ProfileSums};

/// A cell with fewer values (half an hour of one server) does not set the feature drift: the mean of so few says
/// nothing, and the largest of many such means would be the noisiest one.
pub const MIN_VALUES: i64 = 6;

/// The measures of one window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Judged {
    pub(crate) rows: i64,
    pub(crate) measures: Measures,
    pub(crate) wape: Option<f64>,
    /// Distances of means.
    pub(crate) distances: Distances,
    /// Metrics of the contract.
    pub(crate) num_metrics: usize,
    /// By profile and metric.
    pub(crate) cells: Vec<JudgedCell>,
}

/// One profile and metric of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct JudgedCell {
    pub(crate) profile: usize,
    pub(crate) metric: usize,
    pub(crate) n: i64,
    pub(crate) ks: f64,
    pub(crate) z: f64,
    pub(crate) anomaly_rate: f64,
    pub(crate) per: Option<f64>,
    pub(crate) ks_p: f64,
    pub(crate) mean_p: f64,
    pub(crate) psi: Option<f64>,
    /// The baseline has no value of it.
    pub(crate) is_new: bool,
    /// The baseline saw some of the window's hours too rarely to hold them against themselves.
    pub(crate) borrowed: bool,
    /// The baseline has values, and all are the same.
    pub(crate) never_varied: bool,
}

/// Judges window `index` of [`crate::WINDOW_MINUTES`] against the baseline of its `hours`. Errors are those of `model_version` only.
///
/// * PER: mean of the relative errors, pooled over metrics and profiles, of the forecasts issued 30 minutes before in
///   the short window, and the mean over the horizons that have data in the long one. Source: the mean absolute percentage error,
///   Makridakis, "Accuracy measures: theoretical and practical concerns", 1993.
/// * WAPE: Σ|error| / Σ|actual| per metric, mean over the metrics: sums of different units are not added. Source: the MAD/mean ratio,
///   Kolassa and Schütz, "Advantages of the MAD/mean ratio over the MAPE", 2007.
/// * DSS: mean of the KS statistics of profiles and metrics, each weighted by its values; with equally many values
///   this is the mean over metrics.
/// * FDS: the z of cells with at least [`MIN_VALUES`] values, as `fds` makes one of them.
/// * Anomaly rate: the larger of the share of outliers and the share of forecasts out of range. Pooling the two would let
///   many forecasts hide the outliers.
pub(crate) fn judge(
    contract: &Contract,
    baseline: &Baseline,
    sums: &[ProfileSums],
    index: usize,
    hours: &HourShares,
    model_version: &str,
    fds: Aggregate,
) -> Judged {
    let horizons = if index == 0 { 1 } else { NUM_HORIZONS };
    let mut judged = Judged {
        num_metrics: contract.num_metrics(),
        ..Judged::default()
    };
    let mut errors = Errors::new(contract.num_metrics());
    let (mut weighted_ks, mut values, mut outliers) = (0.0, 0_i64, 0_i64);
    let (mut forecasts, mut out_of_range) = (0_i64, 0_i64);
    for (profile, profile_sums) in sums.iter().enumerate() {
        judged.rows = judged.rows.wrapping_add(profile_sums.rows);
        for (metric, held) in profile_sums.metrics.iter().enumerate() {
            if held.n == 0 && held.errors.is_empty() && held.forecasts == 0 {
                continue;
            }
            let by_model = held
                .errors
                .iter()
                .find(|(version, _)| version.as_ref() == model_version);
            let by_horizon = by_model.map(|(_, by_horizon)| by_horizon);
            let cell = judge_cell(baseline, hours, profile, metric, held, by_horizon, horizons);
            if let Some(by_horizon) = by_horizon {
                errors.add(metric, by_horizon);
            }
            weighted_ks += held.n as f64 * cell.ks;
            values = values.wrapping_add(held.n);
            outliers = outliers.wrapping_add(held.outliers);
            forecasts = forecasts.wrapping_add(held.forecasts);
            out_of_range = out_of_range.wrapping_add(held.out_of_range);
            if held.n >= MIN_VALUES {
                judged.distances.add(cell.z);
            }
            judged.cells.push(cell);
        }
    }
    judged.wape = errors.wape(horizons);
    judged.measures = Measures {
        per: errors.per(horizons),
        dss: if values > 0 {
            (weighted_ks / values as f64).clamp(0.0, 1.0)
        } else {
            0.0
        },
        fds: measures::scale(judged.distances.aggregate(fds)),
        anomaly_rate: measures::share(outliers, values)
            .max(measures::share(out_of_range, forecasts)),
    };
    judged
}

fn judge_cell(
    baseline: &Baseline,
    hours: &HourShares,
    profile: usize,
    metric: usize,
    held: &MetricSums,
    errors: Option<&[ErrorSums; NUM_HORIZONS]>,
    horizons: usize,
) -> JudgedCell {
    let cell = baseline.cell(profile, metric);
    let expected = cell.map(|cell| cell.expected(hours));
    let mean = if held.n > 0 {
        float(held.sum) / held.n as f64
    } else {
        0.0
    };
    let counts = expected
        .as_ref()
        .map_or(&[][..], |expected| expected.counts.as_slice());
    let baseline_n = expected.as_ref().map_or(0, |expected| expected.n);
    let ks = measures::ks(counts, &held.counts);
    let per = errors.and_then(|errors| mean_of(errors.iter().take(horizons).map(relative)));
    let z = expected
        .as_ref()
        .filter(|_| held.n > 0)
        .map_or(0.0, |expected| {
            measures::z(mean, expected.mean, expected.sd)
        });
    JudgedCell {
        profile,
        metric,
        n: held.n,
        ks,
        ks_p: measures::ks_p(ks, baseline_n, held.n),
        mean_p: measures::mean_p(z, baseline_n, held.n),
        psi: measures::psi(counts, &held.counts)
            .filter(|_| baseline_n >= measures::MIN_PSI_VALUES.unsigned_abs()),
        never_varied: cell.is_some_and(|cell| cell.n > 1 && !measures::varies(cell.mean, cell.sd)),
        z,
        borrowed: expected.as_ref().is_some_and(|expected| expected.borrowed),
        anomaly_rate: measures::share(held.outliers, held.n)
            .max(measures::share(held.out_of_range, held.forecasts)),
        per,
        is_new: held.n > 0 && cell.is_none_or(|cell| cell.n == 0),
    }
}

/// Error sums over profiles, by metric and horizon.
struct Errors(Vec<[ErrorSums; NUM_HORIZONS]>);

impl Errors {
    fn new(num_metrics: usize) -> Errors {
        Errors(vec![Default::default(); num_metrics])
    }

    fn add(&mut self, metric: usize, by_horizon: &[ErrorSums; NUM_HORIZONS]) {
        if let Some(held) = self.0.get_mut(metric) {
            for (held, errors) in held.iter_mut().zip(by_horizon) {
                held.add(errors, crate::sums::Sign::Plus);
            }
        }
    }

    fn per(&self, horizons: usize) -> Option<f64> {
        mean_of((0..horizons).map(|horizon| {
            let mut pooled = ErrorSums::default();
            for errors in self
                .0
                .iter()
                .filter_map(|by_horizon| by_horizon.get(horizon))
            {
                pooled.add(errors, crate::sums::Sign::Plus);
            }
            relative(&pooled)
        }))
    }

    fn wape(&self, horizons: usize) -> Option<f64> {
        mean_of((0..horizons).map(|horizon| {
            mean_of(self.0.iter().map(|by_horizon| {
                let errors = by_horizon.get(horizon)?;
                let actual = float(errors.actual_sum);
                (actual > 0.0).then(|| float(errors.abs_sum) / actual)
            }))
        }))
    }
}

fn relative(errors: &ErrorSums) -> Option<f64> {
    (errors.relative_n > 0).then(|| float(errors.relative_sum) / errors.relative_n as f64)
}

/// The mean of those that are there.
fn mean_of(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (mut n, mut sum) = (0_u32, 0.0);
    for value in values.flatten() {
        n += 1;
        sum += value;
    }
    (n > 0).then(|| sum / f64::from(n))
}
