//! The same minute of the last hours: what shows a job that runs every hour.

use crate::config::RECENT;

/// Hours that each mean goes over.
const HOURS: [usize; RECENT - 1] = [1, 4, 24];

/// Means over the last hours, for each step of an hour.
pub(super) struct Phases {
    /// Steps of an hour.
    period: usize,
    /// `[HOURS, period]`
    means: Vec<f32>,
}

impl Phases {
    /// Of `values` (NaN is absent), which end where the forecast starts; where none of the hours has a value, `missing`.
    pub(super) fn of(values: &[f32], period: usize, missing: f32) -> Self {
        let mut means = vec![missing; HOURS.len() * period];
        let (mut sums, mut counts) = (vec![0.0; period], vec![0.0; period]);
        let mut done = 0;
        let mut hours = values.rchunks_exact(period);
        for (mean, reach) in means.chunks_exact_mut(period).zip(HOURS) {
            for hour in hours.by_ref().take(reach - done) {
                for ((sum, count), value) in sums.iter_mut().zip(&mut counts).zip(hour) {
                    let there = !value.is_nan();
                    *sum += if there { *value } else { 0.0 };
                    *count += if there { 1.0 } else { 0.0 };
                }
            }
            done = reach;
            for ((slot, sum), count) in mean.iter_mut().zip(&sums).zip(&counts) {
                if *count > 0.0 {
                    *slot = sum / count;
                }
            }
        }
        Self { period, means }
    }

    /// The `k`-th mean for forecast step `step`, from 0.
    pub(super) fn at(&self, k: usize, step: usize) -> f32 {
        self.means[k * self.period + step % self.period]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_hand() {
        // 26 hours of two steps: 0, 100, 1, 101, …, 25, 125; the newest of the second kind is missing.
        let mut values: Vec<f32> = (0..26).flat_map(|h| [h as f32, 100.0 + h as f32]).collect();
        values[51] = f32::NAN;
        let phases = Phases::of(&values, 2, -1.0);
        assert_eq!([0, 1, 2].map(|k| phases.at(k, 0)), [25.0, 23.5, 13.5]);
        assert_eq!([0, 1, 2].map(|k| phases.at(k, 3)), [-1.0, 123.0, 113.0]);
        let short = Phases::of(&values[..2], 2, -1.0);
        assert_eq!([0, 1, 2].map(|k| short.at(k, 1)), [100.0; 3]);
    }
}
