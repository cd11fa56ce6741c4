//! What the training window held at each hour of the week, per profile and metric, and what that lets a window expect.
//!
//! A daily cycle against a whole week looks like drift at every hour. So a window is held against the hours that it lies in, each as
//! often as the window has buckets of it. An hour that was seen too rarely borrows: from the hours beside it, then from the same hour
//! of the other days, at last from the whole week.
//!
//! Sums are integers and fixed point, so that rows in any order give the same bits.

use std::collections::BTreeMap;

use crate::baseline::Cell;
use crate::fixed::{float, term};
use crate::shift::history::BucketSums;
use crate::shift::season::HOURS;

const DAY: usize = 24;

/// Values below which an hour borrows: fewer than two hours of one server at five minutes. The mean of fewer, which follow each other
/// closely, is not that of the hour.
const MIN_HOUR_VALUES: u64 = 24;

/// How far beside itself an hour borrows. The daily cycle moves little in two hours.
const REACH: usize = 2;

/// What is taken for the least spread of an hour, as a share of the week's: a metric that rests at night would otherwise be
/// infinitely far off when it does not.
const LEAST_SPREAD: f64 = 0.1;

/// Sums of one hour of the week, while they are gathered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct HourSums {
    sums: BucketSums,
    /// Sum of the squares of the distances from the cell's mean, fixed point.
    off_sq: i128,
    counts: Vec<u32>,
}

impl HourSums {
    /// Counts a value that lies in `bin` of `bins`, in a cell with this mean.
    pub(crate) fn count(&mut self, value: f32, mean: f64, bin: usize, bins: usize) {
        let off = f64::from(value) - mean;
        self.sums.count(value);
        self.off_sq = self.off_sq.wrapping_add(term(off * off));
        self.counts.resize(bins, 0);
        if let Some(count) = self.counts.get_mut(bin) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds what another part of the rows held.
    pub(crate) fn merge(&mut self, other: &HourSums) {
        self.sums.add(&other.sums);
        self.off_sq = self.off_sq.wrapping_add(other.off_sq);
        let bins = self.counts.len().max(other.counts.len());
        self.counts.resize(bins, 0);
        for (count, &more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// See the field.
    pub(crate) fn off_sq(&self) -> i128 {
        self.off_sq
    }

    /// As the baseline keeps it, with so many bins.
    #[must_use]
    pub(crate) fn finish(mut self, bins: usize) -> HourCell {
        self.counts.resize(bins, 0);
        let BucketSums { n, sum, sum_sq, .. } = self.sums;
        let values = n.max(1) as f64;
        let mean = float(sum) / values;
        HourCell {
            n: n.unsigned_abs(),
            mean,
            m2: (float(sum_sq) - values * mean * mean).max(0.0),
            counts: self.counts,
        }
    }
}

/// One hour of the week of one profile and metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HourCell {
    /// Values.
    pub n: u64,
    /// Their mean, 0 for none.
    pub mean: f64,
    /// Sum of the squares of their distances from it.
    pub m2: f64,
    /// Values in each bin of the cell.
    pub counts: Vec<u32>,
}

/// What the baseline expects of a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expected {
    /// By bin, each hour as often as the window has buckets of it.
    pub(crate) counts: Vec<u64>,
    /// Values that it rests on.
    pub(crate) n: u64,
    pub(crate) mean: f64,
    pub(crate) sd: f64,
    /// Some of the hours were seen too rarely.
    pub(crate) borrowed: bool,
}

/// Buckets of a window by hour of the week.
pub(crate) type HourShares = BTreeMap<usize, u32>;

impl Cell {
    /// What a window with these hours should hold.
    pub(crate) fn expected(&self, shares: &HourShares) -> Expected {
        let mut mixed = Mixed::default();
        let mut borrowed = false;
        for (&hour, &share) in shares {
            let held = self.around(hour);
            borrowed |= held.len() != 1;
            if held.is_empty() {
                return self.whole_week();
            }
            mixed.add(&held, u64::from(share));
        }
        if mixed.n == 0 {
            return self.whole_week();
        }
        let variance = mixed.variance();
        Expected {
            mean: mixed.mean,
            sd: variance.sqrt().max(LEAST_SPREAD * self.sd),
            n: mixed.n,
            counts: mixed.counts,
            borrowed,
        }
    }

    fn whole_week(&self) -> Expected {
        Expected {
            counts: self.counts.clone(),
            n: self.n,
            mean: self.mean,
            sd: self.sd,
            // Where no hours were learnt, the week is what was promised.
            borrowed: !self.hours.is_empty(),
        }
    }

    /// The hours that tell of an hour: itself where it was seen often enough, none where nothing near it was.
    fn around(&self, hour: usize) -> Vec<&HourCell> {
        let at = |hour: usize| self.hours.get(hour % HOURS);
        let enough =
            |held: &[&HourCell]| held.iter().map(|hour| hour.n).sum::<u64>() >= MIN_HOUR_VALUES;
        let mut held: Vec<&HourCell> = at(hour).into_iter().collect();
        for away in 1..=REACH {
            if enough(&held) {
                return held;
            }
            held.extend(at(hour + away));
            held.extend(at(hour + HOURS - away));
        }
        if enough(&held) {
            return held;
        }
        let days = (0..HOURS / DAY).filter_map(|day| at(day * DAY + hour % DAY));
        let held: Vec<&HourCell> = days.collect();
        if enough(&held) { held } else { Vec::new() }
    }
}

/// A mixture of hours.
#[derive(Debug, Default)]
struct Mixed {
    n: u64,
    counts: Vec<u64>,
    weight: f64,
    mean: f64,
    /// Weighted sum of squares around the mean.
    m2: f64,
}

impl Mixed {
    /// Adds hours that stand for one, by their share.
    fn add(&mut self, held: &[&HourCell], share: u64) {
        for hour in held.iter().filter(|hour| hour.n > 0) {
            self.n += hour.n;
            self.counts
                .resize(self.counts.len().max(hour.counts.len()), 0);
            for (count, &more) in self.counts.iter_mut().zip(&hour.counts) {
                *count += share * u64::from(more);
            }
            // Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
            let weight = share as f64 * hour.n as f64;
            let delta = hour.mean - self.mean;
            self.weight += weight;
            self.mean += delta * weight / self.weight;
            self.m2 += share as f64 * hour.m2
                + delta * delta * weight * (self.weight - weight) / self.weight;
        }
    }

    fn variance(&self) -> f64 {
        let n = self.n.max(2) as f64;
        self.m2 / self.weight * n / (n - 1.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums_of(values: &[f32]) -> HourSums {
        let mut sums = HourSums::default();
        for &value in values {
            sums.count(value, 0.0, usize::from(value >= 10.0), 2);
        }
        sums
    }

    /// A cell in which each hour of `seen` has `n` values: 20 by day (8 to 20), 0 at night, every other one more.
    fn cell(seen: impl Fn(usize) -> u16) -> Cell {
        let mut all = Vec::new();
        let mut hours = Vec::new();
        for hour in 0..HOURS {
            let by_day = (8..20).contains(&(hour % DAY));
            let level = if by_day { 20.0 } else { 0.0 };
            let values: Vec<f32> = (0..seen(hour)).map(|i| level + f32::from(i % 2)).collect();
            hours.push(sums_of(&values).finish(2));
            all.extend(values);
        }
        let whole = sums_of(&all);
        let whole = whole.finish(2);
        Cell {
            edges: vec![9.5],
            counts: whole.counts.iter().map(|&count| u64::from(count)).collect(),
            n: whole.n,
            mean: whole.mean,
            sd: (whole.m2 / whole.n as f64).sqrt(),
            hours,
            season: None,
        }
    }

    fn shares(hours: &[(usize, u32)]) -> HourShares {
        hours.iter().copied().collect()
    }

    #[test]
    fn moments_by_hand() {
        // np.mean and np.var(ddof=1) of [12, 15, 11, 18, 14]: 14, 7.5.
        let hour = sums_of(&[12.0, 15.0, 11.0, 18.0, 14.0]).finish(2);
        assert_eq!((hour.n, hour.mean, hour.m2), (5, 14.0, 30.0));
        assert_eq!(hour.counts, [0, 5]);
    }

    #[test]
    fn a_window_is_held_against_its_hours() {
        let cell = cell(|_| 36);
        // Monday 03:00 and 04:00: night.
        let night = cell.expected(&shares(&[(3, 7), (4, 5)]));
        assert_eq!((night.mean, night.borrowed, night.n), (0.5, false, 72));
        assert_eq!(night.counts, [36 * 12, 0]);
        // np.var([0, 1] * 36, ddof=1) = 0.25 · 72/71; a tenth of the week's spread (10.01) is more.
        assert!((night.sd - 0.1 * cell.sd).abs() < 1e-12, "{night:?}");
        // Half of it by day: np.var([0, 1, 20, 21] * 18, ddof=1) = 100.25 · 72/71.
        let dawn = cell.expected(&shares(&[(7, 6), (8, 6)]));
        assert_eq!(dawn.mean, 10.5);
        assert!((dawn.sd - (100.25_f64 * 72.0 / 71.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn rare_hours_borrow_and_say_so() {
        // Thursday 12:00 was seen twice, the hours around it often.
        let thursday = 3 * DAY + 12;
        let beside = cell(|hour| if hour == thursday { 2 } else { 36 });
        let expected = beside.expected(&shares(&[(thursday, 12)]));
        assert_eq!(
            (expected.mean, expected.borrowed, expected.n),
            (20.5, true, 74)
        );
        // The weekend was never seen: the same hour of the other days.
        let weekdays = cell(|hour| if hour < 5 * DAY { 36 } else { 0 });
        let sunday = 6 * DAY + 12;
        let expected = weekdays.expected(&shares(&[(sunday, 12)]));
        assert_eq!(
            (expected.mean, expected.borrowed, expected.n),
            (20.5, true, 180)
        );
        // Hardly anything was: the whole week.
        let rare = cell(|hour| u16::from(hour == thursday));
        let expected = rare.expected(&shares(&[(3, 12)]));
        assert_eq!(
            (expected.n, expected.mean, expected.borrowed),
            (1, 20.0, true)
        );
    }

    #[test]
    fn without_hours_the_week_counts() {
        let cell = Cell {
            counts: vec![1, 2],
            n: 3,
            mean: 4.0,
            sd: 1.0,
            edges: vec![3.0],
            hours: Vec::new(),
            season: None,
        };
        let expected = cell.expected(&shares(&[(3, 12)]));
        assert_eq!((expected.counts, expected.mean), (vec![1, 2], 4.0));
    }

    proptest! {
        #[test]
        fn the_order_of_rows_is_nothing(values in prop::collection::vec(-1e6_f32..1e6, 0..60), cut in 0_usize..60) {
            let mut turned = values.clone();
            turned.rotate_left(cut.min(values.len()));
            prop_assert_eq!(sums_of(&turned).finish(2), sums_of(&values).finish(2));
        }
    }
}
