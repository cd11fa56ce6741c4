//! Robust scale of one window and metric, and the floors that keep it from vanishing.
//!
//! A window is read in units of its own last 24 hours: `u = (x − median) / scale` with scale = P90 − P10, but no less than the mean
//! distance to the median, which is there where only a few values differ, and than the metric's floor; inputs are `arcsinh(u)`, which is
//! linear near the median and logarithmic in the tails. The floor is a ten-thousandth of the metric's mean size over the whole
//! training set: the least busy servers change that little.

use crate::config::QUANTILES;
use serde::{Deserialize, Serialize};

/// Share of a metric's mean size that the scale of a window never goes below.
const FLOOR_SHARE: f32 = 1e-4;
/// Floor of a metric that is 0 throughout the training set, and what is added to every other.
const SMALLEST_FLOOR: f32 = 1e-6;
/// Share of the range that stands for the spread where nearly all values are the same.
const RANGE_SHARE: f32 = 0.02;
/// Largest scale of a window: keeps what is divided by it finite, whatever a file held.
const LARGEST_SCALE: f32 = 1e30;
/// Largest magnitude of a scaled value; a spike beyond it says no more than "far out".
pub(crate) const LARGEST_SCALED: f32 = 1e4;

/// What the model keeps of the training data's units, per metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Smallest scale of a window.
    pub floor: Vec<f32>,
    /// Spread over the whole training set, to which level and scale of a window are compared.
    pub spread: Vec<f32>,
    /// Median over the whole training set.
    pub centre: Vec<f32>,
    /// Factors of P50 − P10 and P90 − P50, fitted after the training.
    pub widths: Vec<[f32; 2]>,
}

impl Normalisation {
    /// Learns the units of each metric from samples of its values, `[metrics][samples]`; the samples are reordered.
    pub(crate) fn learn(samples: &mut [Vec<f32>]) -> Self {
        let mut all = Self {
            floor: Vec::with_capacity(samples.len()),
            spread: Vec::with_capacity(samples.len()),
            centre: Vec::with_capacity(samples.len()),
            widths: vec![[1.0; 2]; samples.len()],
        };
        for values in samples {
            values.retain(|v| v.is_finite());
            values.sort_unstable_by(f32::total_cmp);
            let (low, mid, high) = (
                quantile(values, 0.05),
                quantile(values, 0.5),
                quantile(values, 0.95),
            );
            let mut spread = high - low;
            if spread <= 0.0 {
                // Nearly always the same: what is left is the whole range, if there is one.
                spread = (quantile(values, 1.0) - quantile(values, 0.0)) * RANGE_SHARE;
            }
            let spread = if spread.is_finite() {
                spread.max(SMALLEST_FLOOR)
            } else {
                1.0
            };
            let size: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
            let size = (size / values.len().max(1) as f64) as f32;
            all.floor.push(size * FLOOR_SHARE + SMALLEST_FLOOR);
            all.spread.push(spread);
            all.centre.push(if mid.is_finite() { mid } else { 0.0 });
        }
        all
    }

    /// Whether the numbers fit `metrics` metrics and can be divided by.
    pub(crate) fn is_sound(&self, metrics: usize) -> bool {
        let positive =
            |v: &Vec<f32>| v.len() == metrics && v.iter().all(|x| x.is_finite() && *x > 0.0);
        positive(&self.floor)
            && positive(&self.spread)
            && self.centre.len() == metrics
            && self.centre.iter().all(|x| x.is_finite())
            && self.widths.len() == metrics
            && self
                .widths
                .iter()
                .flatten()
                .all(|x| (0.1..=10.0).contains(x))
    }

    /// Applies the widths to quantiles `[3, metrics, per_metric]`.
    pub(crate) fn widen(&self, quantiles: &mut [f32], per_metric: usize) {
        let (low, rest) = quantiles.split_at_mut(quantiles.len() / QUANTILES.len());
        let (mid, high) = rest.split_at_mut(low.len());
        let rows = low.chunks_mut(per_metric).zip(high.chunks_mut(per_metric));
        for (((low, high), mid), [below, above]) in
            rows.zip(mid.chunks(per_metric)).zip(&self.widths)
        {
            for ((low, high), mid) in low.iter_mut().zip(high).zip(mid) {
                *low = mid - (mid - *low) * below;
                *high = mid + (*high - mid) * above;
            }
        }
    }
}

/// Level and scale of one window and metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    /// Median of the last 24 hours; the metric's centre where nothing is known.
    pub(crate) median: f32,
    /// P90 − P10, at least the mean distance to the median and the floor.
    pub(crate) scale: f32,
    /// P50 − P10 and P90 − P50 in scaled units.
    pub(crate) below: f32,
    /// See `below`.
    pub(crate) above: f32,
    /// Values present in the last 24 hours.
    pub(crate) present: usize,
}

impl Scale {
    /// Measures `day` (gaps NaN); `scratch` is overwritten.
    pub(crate) fn of(day: &[f32], centre: f32, floor: f32, scratch: &mut Vec<f32>) -> Self {
        scratch.clear();
        scratch.extend(day.iter().filter(|v| v.is_finite()));
        if scratch.is_empty() {
            return Self {
                median: centre,
                scale: floor,
                below: 0.0,
                above: 0.0,
                present: 0,
            };
        }
        let [p10, p50, p90] = QUANTILES.map(|q| quantile_unsorted(scratch, q));
        let distance: f32 = scratch.iter().map(|v| (v - p50).abs()).sum();
        let scale = (p90 - p10).max(distance / scratch.len() as f32);
        let scale = scale.clamp(floor, LARGEST_SCALE.max(floor));
        // Both lie in 0…1 but for differences too large for f32.
        let part = |distance: f32| (distance / scale).clamp(0.0, 1.0);
        Self {
            median: p50,
            scale,
            below: part(p50 - p10),
            above: part(p90 - p50),
            present: scratch.len(),
        }
    }

    /// In scaled units, bounded; NaN stays NaN.
    #[inline(always)]
    pub(crate) fn scaled(&self, value: f32) -> f32 {
        ((value - self.median) / self.scale).clamp(-LARGEST_SCALED, LARGEST_SCALED)
    }

    /// Back in raw units.
    pub(crate) fn raw(&self, scaled: f32) -> f32 {
        // In f64: what a file held may lie at the edge of what f32 can hold.
        let raw = f64::from(scaled) * f64::from(self.scale) + f64::from(self.median);
        raw.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }
}

/// Quantile of sorted values with linear interpolation (type 7 of Hyndman and Fan, 1996); NaN without values.
pub(crate) fn quantile(sorted: &[f32], q: f32) -> f32 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f32::NAN;
    };
    let at = f64::from(q) * last as f64;
    let low = (at.floor() as usize).min(last);
    let high = (low + 1).min(last);
    let (a, b) = (f64::from(sorted[low]), f64::from(sorted[high]));
    (a + (b - a) * (at - low as f64)) as f32
}

/// As [`quantile`], of values in any order, which are reordered: only those around the quantile are put in their places.
pub(crate) fn quantile_unsorted(values: &mut [f32], q: f32) -> f32 {
    let Some(last) = values.len().checked_sub(1) else {
        return f32::NAN;
    };
    let at = f64::from(q) * last as f64;
    let low = (at.floor() as usize).min(last);
    let (_, &mut a, above) = values.select_nth_unstable_by(low, f32::total_cmp);
    let b = above.iter().copied().min_by(f32::total_cmp).unwrap_or(a);
    (f64::from(a) + (f64::from(b) - f64::from(a)) * (at - low as f64)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let v = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(quantile(&v, 0.5), 3.0);
        assert!((quantile(&v, 0.1) - 1.4).abs() < 1e-6);
        assert!((quantile(&v, 0.9) - 4.6).abs() < 1e-6);
        assert_eq!(quantile(&[7.0], 0.9), 7.0);
        assert!(quantile(&[], 0.5).is_nan() && quantile_unsorted(&mut [], 0.5).is_nan());
        let mut mixed: Vec<f32> = (0..288).map(|i| (i * 7919 % 289) as f32).collect();
        let mut sorted = mixed.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        for q in [0.0, 0.1, 0.5, 0.9, 1.0] {
            assert_eq!(quantile_unsorted(&mut mixed, q), quantile(&sorted, q));
        }
    }

    #[test]
    fn scale_is_robust_and_floored() {
        let mut scratch = Vec::new();
        let values = [3.0, f32::NAN, 1.0, 2.0, 5.0, 4.0];
        let s = Scale::of(&values, 9.0, 0.5, &mut scratch);
        assert_eq!((s.median, s.present), (3.0, 5));
        assert!((s.scale - 3.2).abs() < 1e-6);
        assert!((s.raw(s.scaled(4.5)) - 4.5).abs() < 1e-6);
        let constant = Scale::of(&[2.0; 4], 9.0, 0.5, &mut scratch);
        assert_eq!(
            (
                constant.median,
                constant.scale,
                constant.below,
                constant.above
            ),
            (2.0, 0.5, 0.0, 0.0)
        );
        let nothing = Scale::of(&[f32::NAN], 9.0, 0.5, &mut scratch);
        assert_eq!(
            (nothing.median, nothing.scale, nothing.present),
            (9.0, 0.5, 0)
        );
    }

    #[test]
    fn units_are_learnt_without_the_tails() {
        let mut samples = vec![
            (0..=100).map(|v| v as f32).collect::<Vec<_>>(),
            vec![4.0; 9],
            vec![],
        ];
        let n = Normalisation::learn(&mut samples);
        assert!((n.spread[0] - 90.0).abs() < 1e-3 && (n.floor[0] - 0.005_001).abs() < 1e-6);
        assert_eq!(n.centre, vec![50.0, 4.0, 0.0]);
        assert!(n.is_sound(3) && !n.is_sound(2));
    }
}
