//! What a pane adds up and what a window is the sum of: integers and fixed point only, so that adding and taking away
//! again, in any order, gives the same bits.

use std::sync::Arc;

use contract::Fixed;
use contract::record::{HorizonError, PaneMetric, Sum};

use crate::fixed::term;
use crate::measures::MAX_RELATIVE_ERROR;
use crate::servers::SeenMetric;
use crate::shift::history::BucketSums;

/// How far ahead the forecasts lie whose errors are kept, in minutes.
pub const HORIZON_MINUTES: [i32; NUM_HORIZONS] = [30, 60, 240, 480];

pub(crate) const NUM_HORIZONS: usize = 4;

/// Most bins of a histogram.
pub(crate) const MAX_BINS: usize = crate::sketch::MAX_EDGES + 1;

/// Most model versions whose errors one pane keeps apart. There are two or three around a promotion; more would let a
/// broken producer of predictions fill the memory.
pub(crate) const MAX_VERSIONS: usize = 8;

/// Whether sums are added or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
}

impl Sign {
    pub(crate) fn of(self, value: i64) -> i64 {
        match self {
            Sign::Plus => value,
            Sign::Minus => value.wrapping_neg(),
        }
    }

    pub(crate) fn of_wide(self, value: i128) -> i128 {
        match self {
            Sign::Plus => value,
            Sign::Minus => value.wrapping_neg(),
        }
    }
}

/// Errors of the forecasts of one horizon and model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ErrorSums {
    pub(crate) relative_n: i64,
    pub(crate) relative_sum: i128,
    pub(crate) abs_n: i64,
    pub(crate) abs_sum: i128,
    pub(crate) actual_sum: i128,
}

impl ErrorSums {
    /// Counts one forecast. The relative error counts only where |actual| > `floor`, and never without a floor: it says
    /// nothing for a metric that sits near 0.
    pub(crate) fn count(&mut self, forecast: f32, actual: f32, floor: Option<f32>) {
        let error = (f64::from(forecast) - f64::from(actual)).abs();
        let size = f64::from(actual).abs();
        self.abs_n += 1;
        self.abs_sum = self.abs_sum.wrapping_add(term(error));
        self.actual_sum = self.actual_sum.wrapping_add(term(size));
        if floor.is_some_and(|floor| size > f64::from(floor)) && size > 0.0 {
            self.relative_n += 1;
            self.relative_sum = self
                .relative_sum
                .wrapping_add(term((error / size).min(MAX_RELATIVE_ERROR)));
        }
    }

    pub(crate) fn add(&mut self, other: &ErrorSums, sign: Sign) {
        self.relative_n = self.relative_n.wrapping_add(sign.of(other.relative_n));
        self.relative_sum = self
            .relative_sum
            .wrapping_add(sign.of_wide(other.relative_sum));
        self.abs_n = self.abs_n.wrapping_add(sign.of(other.abs_n));
        self.abs_sum = self.abs_sum.wrapping_add(sign.of_wide(other.abs_sum));
        self.actual_sum = self.actual_sum.wrapping_add(sign.of_wide(other.actual_sum));
    }

    pub(crate) fn of_record(record: &HorizonError) -> ErrorSums {
        ErrorSums {
            relative_n: record.relative_n,
            relative_sum: record.relative_sum.0,
            abs_n: record.abs_n,
            abs_sum: record.abs_sum.0,
            actual_sum: record.actual_sum.0,
        }
    }
}

/// All of one metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct MetricSums {
    pub(crate) n: i64,
    pub(crate) sum: i128,
    pub(crate) sum_sq: i128,
    /// As long as the highest bin counted needs.
    pub(crate) counts: Vec<i64>,
    pub(crate) outliers: i64,
    pub(crate) forecasts: i64,
    pub(crate) out_of_range: i64,
    /// In order of the version.
    pub(crate) errors: Vec<(Arc<str>, [ErrorSums; NUM_HORIZONS])>,
}

impl MetricSums {
    pub(crate) fn count_value(&mut self, value: f32, bin: usize, is_outlier: bool) {
        let value = f64::from(value);
        self.n += 1;
        self.sum = self.sum.wrapping_add(term(value));
        self.sum_sq = self.sum_sq.wrapping_add(term(value * value));
        self.add_to_bin(bin, 1);
        self.outliers += i64::from(is_outlier);
    }

    pub(crate) fn add_to_bin(&mut self, bin: usize, count: i64) {
        if bin >= MAX_BINS {
            return;
        }
        if self.counts.len() <= bin {
            // At once: small panes would spend their time on growing.
            self.counts.reserve(MAX_BINS - self.counts.len());
            self.counts.resize(bin + 1, 0);
        }
        if let Some(held) = self.counts.get_mut(bin) {
            *held = held.wrapping_add(count);
        }
    }

    /// The error sums of a model; `None` when as many models as allowed are there already.
    pub(crate) fn errors_of(
        &mut self,
        version: &Arc<str>,
        limit: usize,
    ) -> Option<&mut [ErrorSums; NUM_HORIZONS]> {
        let place = match self
            .errors
            .binary_search_by(|(held, _)| held.as_ref().cmp(version))
        {
            Ok(place) => place,
            Err(_) if self.errors.len() >= limit => return None,
            Err(place) => {
                self.errors
                    .insert(place, (Arc::clone(version), Default::default()));
                place
            }
        };
        self.errors.get_mut(place).map(|(_, sums)| sums)
    }

    /// What the watch takes of it: errors half an hour ahead, of one model.
    pub(crate) fn bucket_sums(&self, model_version: &str) -> BucketSums {
        let of_model = self
            .errors
            .iter()
            .find(|(version, _)| version.as_ref() == model_version);
        let errors = of_model
            .map(|(_, [nearest, ..])| *nearest)
            .unwrap_or_default();
        BucketSums {
            n: self.n,
            sum: self.sum,
            sum_sq: self.sum_sq,
            errors: errors.abs_n,
            error_sum: errors.abs_sum,
        }
    }

    pub(crate) fn into_record(
        self,
        metric: &str,
        num_bins: usize,
        servers: &SeenMetric,
    ) -> PaneMetric {
        let mut counts = self.counts;
        counts.resize(num_bins, 0);
        let mut errors = Vec::new();
        for (minutes, horizon) in HORIZON_MINUTES.iter().zip(0..) {
            for (version, sums) in &self.errors {
                let Some(sums) = sums.get::<usize>(horizon).filter(|sums| sums.abs_n > 0) else {
                    continue;
                };
                errors.push(HorizonError {
                    horizon_minutes: *minutes,
                    model_version: version.to_string(),
                    relative_n: sums.relative_n,
                    relative_sum: Fixed(sums.relative_sum),
                    abs_n: sums.abs_n,
                    abs_sum: Fixed(sums.abs_sum),
                    actual_sum: Fixed(sums.actual_sum),
                });
            }
        }
        PaneMetric {
            metric: metric.to_owned(),
            n: self.n,
            sum: Fixed(self.sum),
            sum_sq: Fixed(self.sum_sq),
            counts,
            outliers: self.outliers,
            forecasts: self.forecasts,
            out_of_range: self.out_of_range,
            errors,
            furthest: servers.furthest.clone(),
            judged_servers: servers.judged,
            away_servers: servers.away,
        }
    }
}

/// A number of values and their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LoadSums {
    pub(crate) n: i64,
    pub(crate) total: i128,
}

impl LoadSums {
    pub(crate) fn count(&mut self, value: Option<&f32>) {
        if let Some(&value) = value.filter(|value| value.is_finite()) {
            self.add(1, term(f64::from(value)), Sign::Plus);
        }
    }

    pub(crate) fn add(&mut self, n: i64, total: i128, sign: Sign) {
        self.n = self.n.wrapping_add(sign.of(n));
        self.total = self.total.wrapping_add(sign.of_wide(total));
    }

    pub(crate) fn to_record(self) -> Sum {
        Sum {
            n: self.n,
            total: Fixed(self.total),
        }
    }
}

/// All of one profile over a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ProfileSums {
    pub(crate) rows: i64,
    pub(crate) cpu: LoadSums,
    pub(crate) memory: LoadSums,
    /// In the contract's order.
    pub(crate) metrics: Vec<MetricSums>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::float;

    #[track_caller]
    fn check(forecast: f32, actual: f32, floor: Option<f32>, relative: Option<f64>) {
        let mut sums = ErrorSums::default();
        sums.count(forecast, actual, floor);
        let found = (sums.relative_n == 1).then(|| float(sums.relative_sum));
        assert_eq!(found, relative);
        assert_eq!(sums.abs_n, 1);
        assert_eq!(
            float(sums.abs_sum),
            (f64::from(forecast) - f64::from(actual)).abs()
        );
        assert_eq!(float(sums.actual_sum), f64::from(actual.abs()));
    }

    #[test]
    fn relative_errors() {
        check(60.0, 80.0, Some(1.0), Some(0.25));
        check(100.0, 80.0, Some(1.0), Some(0.25));
        check(-6.0, -8.0, Some(1.0), Some(0.25));
        // At the floor it does not count, above it does.
        check(3.0, 1.0, Some(1.0), None);
        check(3.0, 2.0, Some(1.0), Some(0.5));
        check(3.0, 0.0, Some(0.0), None);
        check(3.0, 2.0, None, None);
        // Huge ratios are cut.
        check(1.0e9, 0.5, Some(0.1), Some(MAX_RELATIVE_ERROR));
    }

    #[test]
    fn models_beyond_the_limit_are_left_out() {
        let mut sums = MetricSums::default();
        for version in ["c", "a", "b", "a"] {
            assert!(sums.errors_of(&Arc::from(version), 3).is_some());
        }
        assert!(sums.errors_of(&Arc::from("d"), 3).is_none());
        let order: Vec<&str> = sums
            .errors
            .iter()
            .map(|(version, _)| version.as_ref())
            .collect();
        assert_eq!(order, ["a", "b", "c"]);
    }
}
