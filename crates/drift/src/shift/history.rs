//! What a cell said in one bucket, and all that was said in the baseline.

use std::collections::BTreeMap;

use crate::fixed::{float, term};
use crate::measures::median;

/// Sums over the servers of one cell in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketSums {
    /// Servers with a value.
    pub n: i64,
    /// Sum, fixed point.
    pub sum: i128,
    /// Sum of squares, fixed point.
    pub sum_sq: i128,
    /// Forecasts compared.
    pub errors: i64,
    /// Sum of their absolute errors, fixed point.
    pub error_sum: i128,
}

/// What is watched of a cell.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Mean over servers: feature drift.
    Mean,
    /// Cube root of the variance between servers: distribution shift. The root makes it nearly Gaussian (Wilson and
    /// Hilferty, "The distribution of chi-square", 1931); a logarithm would have long tails below where servers are few.
    Spread,
    /// Cube root of the square of the forecast's mean absolute error half an hour ahead: prediction error.
    Error,
}

impl Signal {
    /// All of them.
    pub const ALL: [Signal; 3] = [Signal::Mean, Signal::Spread, Signal::Error];

    /// As in records and in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Mean => "mean",
            Signal::Spread => "spread",
            Signal::Error => "error",
        }
    }
}

/// Servers below which a spread is not taken.
const MIN_SPREAD_SERVERS: i64 = 3;

impl BucketSums {
    /// Counts one server's value.
    pub fn count(&mut self, value: f32) {
        let value = f64::from(value);
        self.n += 1;
        self.sum = self.sum.wrapping_add(term(value));
        self.sum_sq = self.sum_sq.wrapping_add(term(value * value));
    }

    /// Adds what another partition, or another part of the bucket, says.
    pub fn add(&mut self, other: &BucketSums) {
        self.n = self.n.wrapping_add(other.n);
        self.sum = self.sum.wrapping_add(other.sum);
        self.sum_sq = self.sum_sq.wrapping_add(other.sum_sq);
        self.errors = self.errors.wrapping_add(other.errors);
        self.error_sum = self.error_sum.wrapping_add(other.error_sum);
    }

    /// The value of a signal, NaN where there is none. `unit` is what is usual of the spread or the error.
    #[must_use]
    pub fn value(&self, signal: Signal, unit: f64) -> f64 {
        match signal {
            Signal::Mean if self.n > 0 => float(self.sum) / self.n as f64,
            Signal::Spread if self.n >= MIN_SPREAD_SERVERS && unit > 0.0 => {
                (self.spread() / unit).powf(2.0 / 3.0)
            }
            Signal::Error if self.errors > 0 && unit > 0.0 => (self.error() / unit).powf(2.0 / 3.0),
            _ => f64::NAN,
        }
    }

    /// Standard deviation between servers.
    #[must_use]
    pub fn spread(&self) -> f64 {
        if self.n < 2 {
            return 0.0;
        }
        let (n, mean) = (self.n as f64, float(self.sum) / self.n as f64);
        ((float(self.sum_sq) / n - mean * mean) * n / (n - 1.0))
            .max(0.0)
            .sqrt()
    }

    /// Mean absolute error.
    #[must_use]
    pub fn error(&self) -> f64 {
        if self.errors == 0 {
            return 0.0;
        }
        float(self.error_sum) / self.errors as f64
    }
}

/// All buckets of the baseline by cell; at most [`MAX_BUCKETS`], the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// By bucket's start, ms: one entry per profile × metric.
    pub(crate) buckets: BTreeMap<i64, Vec<BucketSums>>,
    cells: usize,
}

/// Two months of five minutes.
pub const MAX_BUCKETS: usize = 62 * 288;

impl History {
    /// Nothing yet, of `cells` profiles × metrics.
    #[must_use]
    pub fn new(cells: usize) -> History {
        History {
            buckets: BTreeMap::new(),
            cells,
        }
    }

    /// The sums of a bucket, to add to; `None` for a bucket that is too old to be kept.
    pub fn bucket(&mut self, bucket: i64) -> Option<&mut [BucketSums]> {
        let cells = self.cells;
        if !self.buckets.contains_key(&bucket) && self.buckets.len() >= MAX_BUCKETS {
            let oldest = *self.buckets.first_key_value()?.0;
            if bucket < oldest {
                return None;
            }
            self.buckets.pop_first();
        }
        let sums = self
            .buckets
            .entry(bucket)
            .or_insert_with(|| vec![BucketSums::default(); cells]);
        Some(sums)
    }

    /// Adds what another part of the rows gave.
    pub(crate) fn merge(&mut self, other: &History) {
        for (&bucket, more) in &other.buckets {
            let Some(sums) = self.bucket(bucket) else {
                continue;
            };
            for (sums, more) in sums.iter_mut().zip(more) {
                sums.add(more);
            }
        }
    }

    /// How many servers a cell usually has; `None` where it has none.
    pub(crate) fn servers(&self, cell: usize) -> Option<f64> {
        let sums = self.buckets.values().filter_map(|row| row.get(cell));
        median(sums.filter(|sums| sums.n > 0).map(|sums| sums.n as f64))
    }

    /// Cells of a bucket.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.cells
    }
}
