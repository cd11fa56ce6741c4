//! Sums over windows, per metric and per server.

use super::naive::Naive;
use super::report::{MetricReport, NaiveReport, Report};
use crate::batch::window_weight;
use crate::config::QUANTILES;
use crate::data::{Columns, Forecast};
use crate::domain::Domain;
use crate::scale::{Normalisation, Scale};

/// A window with what came after it.
pub(crate) struct Truth<'a> {
    pub(crate) series: usize,
    pub(crate) columns: &'a Columns,
    pub(crate) issue: usize,
}

/// Sums of one metric, in f64 so that millions of points do not lose digits.
#[derive(Debug, Clone, Default)]
struct Sums {
    points: u64,
    actual: f64,
    model: [f64; 3],
    last: [f64; 3],
    yesterday: [f64; 3],
    quantiles: [f64; 3],
    absolute: f64,
    squared: f64,
    inside: u64,
    strictly_inside: u64,
    width: f64,
    /// Points whose yesterday is there: absolute error of the median and of yesterday's value.
    scaled: [f64; 2],
    /// Loss in units of each window, weighted as in training: model, quantiles of the last 24 hours.
    loss: [f64; 2],
    /// Per series: pinball loss of the model and of the quantiles of the last 24 hours.
    servers: Vec<[f64; 2]>,
}

/// All sums of an evaluation.
pub(crate) struct Tally {
    context: usize,
    horizon: usize,
    day: usize,
    windows: u64,
    units: Normalisation,
    sums: Vec<Sums>,
    sorted: Vec<f32>,
    padded: Vec<f32>,
}

/// `2 · (τ d⁺ + (1 − τ) d⁻)`, the doubled pinball loss.
fn pinball(actual: f64, forecast: f64, tau: f32) -> f64 {
    let d = actual - forecast;
    2.0 * if d >= 0.0 {
        f64::from(tau) * d
    } else {
        (f64::from(tau) - 1.0) * d
    }
}

fn add_pinball(sums: &mut [f64; 3], actual: f64, forecast: [f32; 3]) {
    for ((sum, value), tau) in sums.iter_mut().zip(forecast).zip(QUANTILES) {
        *sum += pinball(actual, f64::from(value), tau);
    }
}

impl Tally {
    pub(crate) fn new(domain: &Domain, units: Normalisation, series: usize) -> Self {
        let one = Sums {
            servers: vec![[0.0; 2]; series],
            ..Sums::default()
        };
        Self {
            context: domain.context,
            horizon: domain.horizon,
            day: domain.day(),
            windows: 0,
            units,
            sums: vec![one; domain.num_metrics()],
            sorted: Vec::new(),
            padded: Vec::new(),
        }
    }

    /// Adds one window; `forecast` is `[horizon × metrics]` for each quantile.
    pub(crate) fn add(&mut self, truth: &Truth<'_>, forecast: &Forecast) {
        self.windows += 1;
        for metric in 0..self.sums.len() {
            self.add_metric(truth, forecast, metric);
        }
    }

    fn add_metric(&mut self, truth: &Truth<'_>, forecast: &Forecast, metric: usize) {
        let values = truth.columns.metric(metric);
        let first = truth.issue.saturating_sub(self.context);
        let known = &values[first..truth.issue.min(values.len())];
        self.padded.clear();
        self.padded.resize(self.context - known.len(), f32::NAN);
        self.padded.extend_from_slice(known);
        let Some(naive) = Naive::of(&self.padded, self.day, &mut self.sorted) else {
            return;
        };
        let day = &self.padded[self.context - self.day..];
        let scale = Scale::of(day, naive.last, self.units.floor[metric], &mut self.sorted).scale;
        let weight = f64::from(window_weight(scale, self.units.spread[metric]) / scale);
        let metrics = self.sums.len();
        let sums = &mut self.sums[metric];
        let (before, before_naive) = (total(&sums.model), total(&sums.quantiles));
        let actuals = values[truth.issue.min(values.len())..]
            .iter()
            .take(self.horizon);
        for (step, &actual) in actuals.enumerate().filter(|(_, v)| !v.is_nan()) {
            let at = step * metrics + metric;
            let quantiles = [forecast.p10[at], forecast.p50[at], forecast.p90[at]];
            let yesterday = day.get(step).copied().filter(|v| !v.is_nan());
            sums.add(f64::from(actual), quantiles, &naive, yesterday);
        }
        let (model, own) = (
            total(&sums.model) - before,
            total(&sums.quantiles) - before_naive,
        );
        sums.loss[0] += model * weight;
        sums.loss[1] += own * weight;
        sums.servers[truth.series][0] += model;
        sums.servers[truth.series][1] += own;
    }

    /// What follows from the sums.
    pub(crate) fn report(&self, names: &[String], forecasts_per_second: f64) -> Report {
        let metrics = names
            .iter()
            .zip(&self.sums)
            .map(|(name, s)| (name.clone(), s.report()))
            .collect();
        let ratios: Vec<f64> = self
            .sums
            .iter()
            .filter_map(|s| ratio(s.loss[0], s.loss[1]))
            .collect();
        Report::new(self.windows, metrics, mean(&ratios), forecasts_per_second)
    }
}

fn total(values: &[f64; 3]) -> f64 {
    values.iter().sum()
}

/// `a / b`, where it says something.
fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b).filter(|r| r.is_finite())
}

/// Mean; `None` of nothing.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Sums {
    fn add(&mut self, actual: f64, quantiles: [f32; 3], naive: &Naive, yesterday: Option<f32>) {
        let [low, mid, high] = quantiles.map(f64::from);
        self.points += 1;
        self.actual += actual.abs();
        add_pinball(&mut self.model, actual, quantiles);
        add_pinball(&mut self.last, actual, [naive.last; 3]);
        add_pinball(
            &mut self.yesterday,
            actual,
            [yesterday.unwrap_or(naive.last); 3],
        );
        add_pinball(&mut self.quantiles, actual, naive.quantiles);
        self.absolute += (actual - mid).abs();
        self.squared += (actual - mid).powi(2);
        self.inside += u64::from(low <= actual && actual <= high);
        self.strictly_inside += u64::from(low < actual && actual < high);
        self.width += high - low;
        if let Some(yesterday) = yesterday {
            self.scaled[0] += (actual - mid).abs();
            self.scaled[1] += (actual - f64::from(yesterday)).abs();
        }
    }

    fn report(&self) -> MetricReport {
        let wql = |sums: &[f64; 3]| ratio(total(sums) / 3.0, self.actual);
        let share = |sum: f64| ratio(sum, self.points as f64);
        // Clipped, so that a server that is nearly constant does not decide alone.
        let logs: Vec<f64> = self
            .servers
            .iter()
            .filter_map(|[model, own]| ratio(*model, *own))
            .map(|r| r.clamp(0.05, 20.0).ln())
            .collect();
        MetricReport {
            points: self.points,
            wql: wql(&self.model),
            mae: share(self.absolute),
            mse: share(self.squared),
            mase: ratio(self.scaled[0], self.scaled[1]),
            coverage: share(self.inside as f64),
            coverage_strict: share(self.strictly_inside as f64),
            width: share(self.width),
            per_server: mean(&logs).map(f64::exp),
            naive: NaiveReport {
                last: wql(&self.last),
                yesterday: wql(&self.yesterday),
                quantiles24h: wql(&self.quantiles),
            },
        }
    }
}
