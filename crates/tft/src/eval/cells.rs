//! Sums per server, metric and band of steps. Every figure, also that of some servers, of the first hours or of a resample,
//! follows from a weighted sum of them.

use super::naive::Naive;
use super::report::{MetricReport, NaiveReport};
use crate::config::QUANTILES;
use std::cmp::Ordering;

/// Sums over points, in f64 so that millions of them do not lose digits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) points: f64,
    /// Sum of |y|.
    pub(super) actual: f64,
    /// Doubled pinball losses of P10, P50 and P90, here and below.
    pub(super) model: [f64; 3],
    pub(super) last: [f64; 3],
    pub(super) yesterday: [f64; 3],
    pub(super) quantiles: [f64; 3],
    pub(super) absolute: f64,
    pub(super) squared: f64,
    pub(super) inside: f64,
    pub(super) strictly_inside: f64,
    pub(super) width: f64,
    /// Points below P10, P50 and P90; one that equals a quantile counts half.
    pub(super) below: [f64; 3],
    /// Points whose yesterday is there: absolute error of the median and of yesterday's value.
    pub(super) scaled: [f64; 2],
}

/// `2 · (τ d⁺ + (1 − τ) d⁻)`, the doubled pinball loss.
pub(crate) fn pinball(actual: f64, forecast: f64, tau: f32) -> f64 {
    let d = actual - forecast;
    2.0 * if d >= 0.0 {
        f64::from(tau) * d
    } else {
        (f64::from(tau) - 1.0) * d
    }
}

/// Pinball loss (not doubled) of three quantiles, their mean.
pub(crate) fn pinball_mean(actual: f32, quantiles: [f32; 3]) -> f64 {
    let of = |(q, tau): (f32, f32)| pinball(f64::from(actual), f64::from(q), tau);
    quantiles.into_iter().zip(QUANTILES).map(of).sum::<f64>() / (2 * QUANTILES.len()) as f64
}

fn add_pinball(sums: &mut [f64; 3], actual: f64, forecast: [f32; 3]) {
    for ((sum, value), tau) in sums.iter_mut().zip(forecast).zip(QUANTILES) {
        *sum += pinball(actual, f64::from(value), tau);
    }
}

fn add_times<const N: usize>(sums: &mut [f64; N], others: &[f64; N], times: f64) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other * times;
    }
}

impl Cell {
    /// Adds one point; `quantiles` are the model's.
    pub(super) fn add(
        &mut self,
        actual: f64,
        quantiles: [f32; 3],
        naive: &Naive,
        yesterday: Option<f32>,
    ) {
        let [low, mid, high] = quantiles.map(f64::from);
        self.points += 1.0;
        self.actual += actual.abs();
        add_pinball(&mut self.model, actual, quantiles);
        add_pinball(&mut self.last, actual, [naive.last; 3]);
        let before = yesterday.unwrap_or(naive.last);
        add_pinball(&mut self.yesterday, actual, [before; 3]);
        add_pinball(&mut self.quantiles, actual, naive.quantiles);
        self.absolute += (actual - mid).abs();
        self.squared += (actual - mid).powi(2);
        self.inside += f64::from(u8::from(low <= actual && actual <= high));
        self.strictly_inside += f64::from(u8::from(low < actual && actual < high));
        self.width += high - low;
        for (below, quantile) in self.below.iter_mut().zip([low, mid, high]) {
            *below += match actual.total_cmp(&quantile) {
                Ordering::Less => 1.0,
                Ordering::Equal => 0.5,
                Ordering::Greater => 0.0,
            };
        }
        if let Some(yesterday) = yesterday {
            self.scaled[0] += (actual - mid).abs();
            self.scaled[1] += (actual - f64::from(yesterday)).abs();
        }
    }

    /// Adds another cell `times` times.
    fn add_cell(&mut self, other: &Self, times: f64) {
        self.points += other.points * times;
        self.actual += other.actual * times;
        add_times(&mut self.model, &other.model, times);
        add_times(&mut self.last, &other.last, times);
        add_times(&mut self.yesterday, &other.yesterday, times);
        add_times(&mut self.quantiles, &other.quantiles, times);
        self.absolute += other.absolute * times;
        self.squared += other.squared * times;
        self.inside += other.inside * times;
        self.strictly_inside += other.strictly_inside * times;
        self.width += other.width * times;
        add_times(&mut self.below, &other.below, times);
        add_times(&mut self.scaled, &other.scaled, times);
    }

    /// Log of the loss over that of the quantiles of the last 24 hours, clipped so that a server that is nearly constant does not
    /// decide alone.
    fn log_ratio(&self) -> Option<f64> {
        let ratio = ratio(total(&self.model), total(&self.quantiles))?;
        Some(ratio.clamp(0.05, 20.0).ln())
    }

    fn report(&self, log_ratio: Option<f64>) -> MetricReport {
        let wql = |sums: &[f64; 3]| ratio(total(sums) / 3.0, self.actual);
        let share = |sum: f64| ratio(sum, self.points);
        MetricReport {
            points: self.points as u64,
            wql: wql(&self.model),
            mae: share(self.absolute),
            mse: share(self.squared),
            mase: ratio(self.scaled[0], self.scaled[1]),
            coverage: share(self.inside),
            coverage_strict: share(self.strictly_inside),
            width: share(self.width),
            calibration: self.below.map(share),
            per_server: log_ratio.map(f64::exp),
            naive: NaiveReport {
                last: wql(&self.last),
                yesterday: wql(&self.yesterday),
                quantiles24h: wql(&self.quantiles),
            },
        }
    }
}

/// All cells of an evaluation, `[series × metrics × bands]`: 192 bytes each, far less than the series themselves.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    metrics: usize,
    bands: usize,
    cells: Vec<Cell>,
}

impl Cells {
    pub(super) fn new(series: usize, metrics: usize, bands: usize) -> Self {
        Self {
            metrics,
            bands,
            cells: vec![Cell::default(); series * metrics * bands],
        }
    }

    pub(super) fn cell(&mut self, series: usize, metric: usize, band: usize) -> &mut Cell {
        &mut self.cells[(series * self.metrics + metric) * self.bands + band]
    }

    /// The same with the first `bands` bands as one.
    pub(super) fn up_to(&self, bands: usize) -> Self {
        let merged = |of: &[Cell]| {
            let mut sum = Cell::default();
            for cell in of.iter().take(bands) {
                sum.add_cell(cell, 1.0);
            }
            sum
        };
        Self {
            metrics: self.metrics,
            bands: 1,
            cells: self.cells.chunks(self.bands).map(merged).collect(),
        }
    }

    /// Figures of each metric, each series counted `weights[series]` times; one band.
    pub(super) fn figures(&self, weights: &[f64]) -> Vec<MetricReport> {
        let figures = |metric: usize| {
            let (mut sum, mut log, mut servers) = (Cell::default(), 0.0, 0.0);
            for (of, &weight) in self.cells.chunks(self.metrics).zip(weights) {
                let Some(cell) = of.get(metric).filter(|_| weight > 0.0) else {
                    continue;
                };
                sum.add_cell(cell, weight);
                if let Some(ratio) = cell.log_ratio() {
                    log += ratio * weight;
                    servers += weight;
                }
            }
            sum.report(ratio(log, servers))
        };
        (0..self.metrics).map(figures).collect()
    }
}

pub(super) fn total(values: &[f64; 3]) -> f64 {
    values.iter().sum()
}

/// `a / b`, where it says something.
pub(super) fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b).filter(|r| r.is_finite())
}
