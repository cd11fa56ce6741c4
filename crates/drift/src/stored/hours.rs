//! How the hours of a cell are stored: columns of a baseline's row.

use serde::{Deserialize, Serialize};

use crate::baseline::Cell;
use crate::hours::HourCell;
use crate::shift::season::HOURS;

/// [`Cell::hours`] by hour of the week; empty where they were not learnt, as in the starter model's baseline.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HoursRow {
    /// Values.
    pub hour_n: Vec<i64>,
    /// Their means.
    pub hour_mean: Vec<f64>,
    /// Sums of squares around them.
    pub hour_m2: Vec<f64>,
    /// Values in each bin, hour after hour.
    pub hour_counts: Vec<i64>,
}

impl HoursRow {
    pub(super) fn of(cell: &Cell) -> HoursRow {
        let hours = || cell.hours.iter();
        HoursRow {
            hour_n: hours()
                .map(|hour| i64::try_from(hour.n).unwrap_or(i64::MAX))
                .collect(),
            hour_mean: hours().map(|hour| hour.mean).collect(),
            hour_m2: hours().map(|hour| hour.m2).collect(),
            hour_counts: hours()
                .flat_map(|hour| hour.counts.iter().copied().map(i64::from))
                .collect(),
        }
    }

    /// The hours, or what is wrong with them. They hold what the whole week holds, by bin.
    pub(super) fn hours(&self, week: &[u64]) -> Result<Vec<HourCell>, &'static str> {
        const CONTRADICTION: &str = "hours that do not add up to the week";
        if self.hour_n.is_empty() && self.hour_counts.is_empty() {
            return Ok(Vec::new());
        }
        let bins = week.len();
        let lengths = [self.hour_n.len(), self.hour_mean.len(), self.hour_m2.len()];
        if lengths != [HOURS; 3] || self.hour_counts.len() != HOURS * bins {
            return Err("not 168 hours");
        }
        let mut left = week.to_vec();
        let mut hours = Vec::with_capacity(HOURS);
        let moments = self.hour_n.iter().zip(&self.hour_mean).zip(&self.hour_m2);
        for (((&n, &mean), &m2), held) in moments.zip(self.hour_counts.chunks_exact(bins)) {
            let counts: Vec<u32> = held
                .iter()
                .filter_map(|&count| u32::try_from(count).ok())
                .collect();
            let total: u64 = counts.iter().copied().map(u64::from).sum();
            let n = u64::try_from(n).map_err(|_| CONTRADICTION)?;
            if counts.len() != bins || total != n {
                return Err(CONTRADICTION);
            }
            if !mean.is_finite() || !(0.0..f64::INFINITY).contains(&m2) {
                return Err("an hour whose moments are not numbers");
            }
            for (left, &count) in left.iter_mut().zip(&counts) {
                *left = left.checked_sub(u64::from(count)).ok_or(CONTRADICTION)?;
            }
            hours.push(HourCell {
                n,
                mean,
                m2,
                counts,
            });
        }
        if left.iter().any(|&left| left > 0) {
            return Err(CONTRADICTION);
        }
        Ok(hours)
    }
}
