//! Static inputs of one metric: level and scale of the window, and the recent past at several time scales.

use crate::config::STATIC_FEATURES;
use crate::fused::simd::{arcsinh, ln, vectorised};
use crate::scale::{Normalisation, Scale};

/// Parts of a day whose means are given: 15 and 30 minutes, 1, 2, 4, 8, 12 and 24 hours.
const PARTS: [usize; 8] = [96, 48, 24, 12, 6, 3, 2, 1];

/// Brings the logarithm of a size in floors to about 1.
const DECADES: f32 = 10.0;

/// Writes the [`STATIC_FEATURES`] inputs of `metric` into `row`; `u` is the context in scaled units, `day` the steps of 24 hours.
/// Unless `recent_past`, only level, scale and the last value.
pub(super) fn summary(
    normalisation: &Normalisation,
    metric: usize,
    scale: &Scale,
    u: &[f32],
    day: usize,
    recent_past: bool,
    row: &mut [f32],
) {
    debug_assert_eq!(row.len(), STATIC_FEATURES);
    let spread = normalisation.spread[metric];
    row[0] = arcsinh((scale.median - normalisation.centre[metric]) / spread);
    row[1] = (scale.scale / spread).ln() / 4.0;
    row[2] = scale.below;
    row[3] = scale.above;
    row[4] = scale.present as f32 / day as f32;
    let Some(age) = u.iter().rev().position(|v| !v.is_nan()) else {
        return;
    };
    // Over decades: an idle server differs from a nearly idle one as a busy one does from a half busy one.
    let decades = |size: f32| ln(1.0 + size / normalisation.floor[metric]) / DECADES;
    let zero = scale.scaled(0.0);
    row[24] = decades(scale.median.abs());
    row[25] = decades(scale.scale);
    row[26] = share_at(u, zero);
    row[27] = arcsinh(zero);
    row[5] = 1.0;
    row[6] = arcsinh(u[u.len() - 1 - age]);
    row[7] = (age as f32 / day as f32).min(1.0);
    if !recent_past {
        return;
    }
    let (mut values, mut changes) = (Tally::default(), Tally::default());
    let mut done = u.len();
    for (next, part) in PARTS.into_iter().enumerate() {
        // What this span adds to the one before it.
        let from = u.len() - (day / part).clamp(1, u.len());
        let older = &u[from.min(done)..done];
        let newer = &u[(from + 1).min(u.len())..];
        vectorised(|| {
            values.add(older.iter().copied());
            changes.add(newer.iter().zip(older).map(|(b, a)| (b - a).abs()));
        });
        done = from.min(done);
        row[8 + next] = arcsinh(values.mean());
        match part {
            24 => (row[16], row[17]) = values.extremes(),
            6 => {
                (row[18], row[19]) = values.extremes();
                row[22] = arcsinh(changes.mean());
            }
            1 => {
                (row[20], row[21]) = values.extremes();
                row[23] = arcsinh(changes.mean());
            }
            _ => {}
        }
    }
}

/// Share of the values there that are `value`; 0 of nothing.
fn share_at(u: &[f32], value: f32) -> f32 {
    let (mut there, mut same) = (0_u32, 0_u32);
    vectorised(|| {
        for v in u {
            there += u32::from(!v.is_nan());
            same += u32::from(*v == value);
        }
    });
    same as f32 / there.max(1) as f32
}

const LANES: usize = 16;

/// Running mean and extremes of the values that are there, in lanes that vectorise.
#[derive(Clone)]
pub(super) struct Tally {
    count: [f32; LANES],
    sum: [f32; LANES],
    min: [f32; LANES],
    max: [f32; LANES],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            count: [0.0; LANES],
            sum: [0.0; LANES],
            min: [f32::INFINITY; LANES],
            max: [f32::NEG_INFINITY; LANES],
        }
    }
}

impl Tally {
    /// Adds `values`; NaN is absent.
    #[inline(always)]
    pub(super) fn add(&mut self, mut values: impl Iterator<Item = f32>) {
        loop {
            let mut lanes = [f32::NAN; LANES];
            let mut filled = 0;
            for (lane, value) in lanes.iter_mut().zip(&mut values) {
                *lane = value;
                filled += 1;
            }
            for (i, value) in lanes.into_iter().enumerate() {
                let there = !value.is_nan();
                self.count[i] += if there { 1.0 } else { 0.0 };
                self.sum[i] += if there { value } else { 0.0 };
                // A comparison with NaN is false: what is absent changes nothing.
                self.min[i] = if value < self.min[i] {
                    value
                } else {
                    self.min[i]
                };
                self.max[i] = if value > self.max[i] {
                    value
                } else {
                    self.max[i]
                };
            }
            if filled < LANES {
                return;
            }
        }
    }

    /// Values that were there.
    pub(super) fn count(&self) -> f32 {
        self.count.iter().sum()
    }

    /// Their mean; 0 of nothing.
    pub(super) fn mean(&self) -> f32 {
        self.sum.iter().sum::<f32>() / self.count().max(1.0)
    }

    /// `arcsinh` of minimum and maximum; 0 of nothing.
    fn extremes(&self) -> (f32, f32) {
        if self.count() == 0.0 {
            return (0.0, 0.0);
        }
        let min = self.min.iter().copied().fold(f32::INFINITY, f32::min);
        let max = self.max.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        (arcsinh(min), arcsinh(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_by_hand() {
        let n = Normalisation {
            floor: vec![1.0],
            spread: vec![2.0],
            centre: vec![1.0],
            widths: vec![[1.0; 2]; 1],
        };
        let scale = Scale {
            median: 5.0,
            scale: 4.0,
            below: 0.25,
            above: 0.75,
            present: 94,
        };
        // A day of 96 steps that counts up to 95, without the newest and the third newest.
        let mut u: Vec<f32> = (0..96).map(|v| v as f32).collect();
        u[95] = f32::NAN;
        u[93] = f32::NAN;
        let mut row = vec![0.0; STATIC_FEATURES];
        summary(&n, 0, &scale, &u, 96, true, &mut row);
        let mean = |from: usize| {
            let there: Vec<f32> = u[from..].iter().copied().filter(|v| !v.is_nan()).collect();
            if there.is_empty() {
                0.0
            } else {
                there.iter().sum::<f32>() / there.len() as f32
            }
        };
        let expected = [
            2.0_f32.asinh(),
            2.0_f32.ln() / 4.0,
            0.25,
            0.75,
            94.0 / 96.0,
            1.0,
            94.0_f32.asinh(),
            1.0 / 96.0,
            mean(95).asinh(),
            mean(94).asinh(),
            mean(92).asinh(),
            mean(88).asinh(),
            mean(80).asinh(),
            mean(64).asinh(),
            mean(48).asinh(),
            mean(0).asinh(),
            92.0_f32.asinh(),
            94.0_f32.asinh(),
            80.0_f32.asinh(),
            94.0_f32.asinh(),
            0.0,
            94.0_f32.asinh(),
            1.0_f32.asinh(),
            1.0_f32.asinh(),
            6.0_f32.ln() / 10.0,
            5.0_f32.ln() / 10.0,
            0.0,
            (-1.25_f32).asinh(),
        ];
        for (i, (found, expected)) in row.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() < 1e-5,
                "{i}: {found} instead of {expected}"
            );
        }
        let mut nothing = vec![0.0; STATIC_FEATURES];
        summary(&n, 0, &scale, &[f32::NAN; 96], 96, true, &mut nothing);
        assert_eq!(nothing[5..], [0.0; STATIC_FEATURES - 5]);
        assert_eq!(share_at(&[-1.25, f32::NAN, 0.0, -1.25, 7.0], -1.25), 0.5);
        assert_eq!(share_at(&[f32::NAN], 0.0), 0.0);
    }
}
