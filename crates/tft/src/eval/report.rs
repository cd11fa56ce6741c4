//! The figures of an evaluation, serialised with the keys of `eval --json`.
//!
//! A figure that does not exist (no point, or a divisor of 0) is `null` and stays out of the means.

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

/// All figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Judged forecasts: server × issue time.
    pub windows: u64,
    /// Per metric, in model order.
    #[serde(serialize_with = "in_order")]
    pub metrics: Vec<(String, MetricReport)>,
    /// Means over metrics.
    pub pooled: Pooled,
    /// Mean over metrics of [`MetricReport::loss`]. Comparable between models only on the same data and range.
    pub loss: Option<f64>,
    /// Speed of the forecasts, windows per second.
    pub forecasts_per_second: f64,
    /// The same over the steps up to each horizon.
    pub horizons: Vec<HorizonReport>,
    /// The same over the servers of each profile that has a window.
    #[serde(serialize_with = "in_order")]
    pub profiles: Vec<(String, ProfileReport)>,
    /// How sure the figures are; absent where fewer than five servers were judged.
    pub intervals: Option<Intervals>,
}

/// Figures of the steps up to a horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HorizonReport {
    /// The horizon.
    pub minutes: u32,
    /// Per metric, in model order.
    #[serde(serialize_with = "in_order")]
    pub metrics: Vec<(String, MetricReport)>,
    /// Means over metrics.
    pub pooled: Pooled,
    /// As [`Report::intervals`].
    pub intervals: Option<Intervals>,
}

/// Figures of the servers of a profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileReport {
    /// Servers that were judged.
    pub servers: usize,
    /// Their forecasts.
    pub windows: u64,
    /// Per metric, in model order.
    #[serde(serialize_with = "in_order")]
    pub metrics: Vec<(String, MetricReport)>,
    /// Means over metrics.
    pub pooled: Pooled,
    /// As [`Report::intervals`], of these servers.
    pub intervals: Option<Intervals>,
}

/// Lower and upper end.
pub type Interval = [f64; 2];

/// Intervals of the figures by block bootstrap over servers. A metric's best naive forecast is chosen anew in each resample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intervals {
    /// Share of the resamples that lies inside.
    pub level: f64,
    /// Resamples.
    pub resamples: usize,
    /// Servers that were drawn from.
    pub servers: usize,
    /// Per metric, in model order.
    #[serde(serialize_with = "in_order")]
    pub metrics: Vec<(String, MetricIntervals)>,
    /// Of the means over metrics.
    pub pooled: PooledIntervals,
}

/// Intervals of one metric's figures, see [`MetricReport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "named as the figures")]
pub struct MetricIntervals {
    pub wql: Option<Interval>,
    pub wql_ratio_best: Option<Interval>,
    pub mae: Option<Interval>,
    pub mse: Option<Interval>,
    pub mase: Option<Interval>,
    pub coverage: Option<Interval>,
    pub coverage_strict: Option<Interval>,
    pub width: Option<Interval>,
    pub per_server: Option<Interval>,
}

/// Intervals of the means over metrics, see [`Pooled`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs, reason = "named as the figures")]
pub struct PooledIntervals {
    pub wql_ratio_best: Option<Interval>,
    pub wql_ratio_yesterday: Option<Interval>,
    pub per_server: Option<Interval>,
    pub mase: Option<Interval>,
    pub coverage: Option<Interval>,
    pub coverage_strict: Option<Interval>,
    pub wql: Option<Interval>,
    pub mae: Option<Interval>,
    pub mse: Option<Interval>,
    pub width: Option<Interval>,
}

/// Figures of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// Actual values that were judged.
    pub points: u64,
    /// Sum of the doubled pinball losses / Σ|y|, mean over P10, P50 and P90.
    pub wql: Option<f64>,
    /// Mean absolute error of P50, the metric's unit.
    pub mae: Option<f64>,
    /// Mean squared error of P50.
    pub mse: Option<f64>,
    /// Mean absolute error of P50 / that of the same time yesterday, where yesterday is present.
    pub mase: Option<f64>,
    /// Share of actuals with P10 ≤ y ≤ P90; nominal 0.8.
    pub coverage: Option<f64>,
    /// Share of actuals with P10 < y < P90.
    pub coverage_strict: Option<f64>,
    /// Mean of P90 − P10, the metric's unit.
    pub width: Option<f64>,
    /// Share of actuals below P10, P50 and P90, nominally 0.1, 0.5 and 0.9; one that equals a quantile counts half.
    pub calibration: [Option<f64>; 3],
    /// Geometric mean over servers of wQL / wQL of the last-24-hours quantiles, ratios clipped to 0.05–20.
    pub per_server: Option<f64>,
    /// wQL of the naive forecasts.
    pub naive: NaiveReport,
}

/// wQL of the naive forecasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NaiveReport {
    /// Last value.
    pub last: Option<f64>,
    /// Same time yesterday; the last value where that is missing.
    pub yesterday: Option<f64>,
    /// P10/P50/P90 of the last 24 hours.
    pub quantiles24h: Option<f64>,
}

/// Means over the metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pooled {
    /// wQL / wQL of the best naive forecast of that metric.
    pub wql_ratio_best: Option<f64>,
    /// wQL / wQL of the same time yesterday.
    pub wql_ratio_yesterday: Option<f64>,
    /// See [`MetricReport::per_server`].
    pub per_server: Option<f64>,
    /// See [`MetricReport::mase`].
    pub mase: Option<f64>,
    /// See [`MetricReport::coverage`].
    pub coverage: Option<f64>,
    /// See [`MetricReport::coverage_strict`].
    pub coverage_strict: Option<f64>,
    /// See [`MetricReport::wql`].
    pub wql: Option<f64>,
    /// See [`MetricReport::mae`]. A mean over units, as those of `mse` and `width`: for the same metrics only.
    pub mae: Option<f64>,
    /// See [`MetricReport::mse`].
    pub mse: Option<f64>,
    /// See [`MetricReport::width`].
    pub width: Option<f64>,
}

impl MetricReport {
    /// wQL / wQL of the best naive forecast.
    #[must_use]
    pub fn ratio_best(&self) -> Option<f64> {
        let naive = [
            self.naive.last,
            self.naive.yesterday,
            self.naive.quantiles24h,
        ];
        let best = naive.into_iter().flatten().reduce(f64::min)?;
        self.wql.filter(|_| best > 0.0).map(|wql| wql / best)
    }

    /// Loss as a share of what the quantiles of the last 24 hours lose: half over all points, half the mean over servers. What
    /// training minimises.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        let naive = self.naive.quantiles24h.filter(|&naive| naive > 0.0)?;
        Some(0.5 * self.wql? / naive + 0.5 * self.per_server?)
    }

    /// wQL / wQL of the same time yesterday.
    #[must_use]
    pub fn ratio_yesterday(&self) -> Option<f64> {
        let yesterday = self.naive.yesterday.filter(|&y| y > 0.0)?;
        self.wql.map(|wql| wql / yesterday)
    }
}

impl Pooled {
    pub(super) fn of(metrics: &[MetricReport]) -> Self {
        let over = |figure: fn(&MetricReport) -> Option<f64>| {
            mean(&metrics.iter().filter_map(figure).collect::<Vec<_>>())
        };
        Self {
            wql_ratio_best: over(MetricReport::ratio_best),
            wql_ratio_yesterday: over(MetricReport::ratio_yesterday),
            per_server: over(|m| m.per_server),
            mase: over(|m| m.mase),
            coverage: over(|m| m.coverage),
            coverage_strict: over(|m| m.coverage_strict),
            wql: over(|m| m.wql),
            mae: over(|m| m.mae),
            mse: over(|m| m.mse),
            width: over(|m| m.width),
        }
    }
}

/// Mean; `None` of nothing.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Figures with their metrics' names.
pub(super) fn named(names: &[String], of: Vec<MetricReport>) -> Vec<(String, MetricReport)> {
    names.iter().cloned().zip(of).collect()
}

fn in_order<T: Serialize, S: Serializer>(
    entries: &[(String, T)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(entries.len()))?;
    for (name, entry) in entries {
        map.serialize_entry(name, entry)?;
    }
    map.end()
}
