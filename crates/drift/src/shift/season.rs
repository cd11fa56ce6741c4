//! What is usual at an hour of the week: a table of 168 means, in which what the data cannot tell apart from noise is shrunk away.
//!
//! Three weeks show each hour of the week three times, too few for a mean of its own. The table is a sum of four
//! effects, each estimated on what the ones before it left over: hour of day; hour of day on working days and on weekends; day of
//! the week; hour of the week. Each but the first is weighted by the share of its variance that is not noise (empirical
//! Bayes: James and Stein, "Estimation with quadratic loss", 1961; Efron and Morris, "Data analysis using Stein's estimator", 1975):
//! an hour that was seen rarely borrows from the effects above it.

use serde::{Deserialize, Serialize};

/// Hours of a week.
pub const HOURS: usize = contract::HOURS_OF_WEEK;
const DAY: usize = 24;

/// The local hour of a bucket that starts at `bucket_ms`, and how far it has passed: those of its middle. A bucket beyond the calendar
/// counts as the middle of the first.
#[must_use]
pub fn bucket_hour(zone: chrono_tz::Tz, bucket_ms: i64, step_ms: i64) -> (usize, f64) {
    contract::hour_of_week(zone, bucket_ms + step_ms / 2).unwrap_or((0, 0.5))
}

/// How finely the baseline knows the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// A week or more.
    HourOfWeek,
    /// Less than a week: weekends are judged as if they were like the other days.
    HourOfDay,
}

/// Means by hour of the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Season {
    /// [`HOURS`] of them.
    pub hours: Vec<f32>,
}

impl Season {
    /// The usual value at a time: interpolated between the middles of the hours, so that it does not jump.
    #[must_use]
    pub fn at(&self, (hour, passed): (usize, f64)) -> f64 {
        let hour = hour % HOURS;
        let (other, weight) = if passed < 0.5 {
            ((hour + HOURS - 1) % HOURS, 0.5 - passed)
        } else {
            ((hour + 1) % HOURS, passed - 0.5)
        };
        let of = |hour: usize| self.hours.get(hour).copied().map_or(0.0, f64::from);
        of(hour) * (1.0 - weight) + of(other) * weight
    }
}

/// The mean of one hour of one day.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Hours since some midnight, to tell occurrences apart.
    day: i64,
    hour: usize,
    left: f64,
}

/// Fits the table to values with their local hours, in order of time; `days` counts days from anywhere. `None` of nothing.
#[must_use]
pub fn fit(values: &[(i64, (usize, f64), f64)], resolution: Resolution) -> Option<Season> {
    let mut blocks = blocks(values);
    if blocks.is_empty() {
        return None;
    }
    let mut table = vec![0.0_f64; HOURS];
    let of_day = of_day(&blocks);
    apply(&mut table, &mut blocks, |hour| hour % DAY, &of_day);
    if resolution == Resolution::HourOfWeek {
        let weekend = |hour: usize| hour % DAY + if hour >= 5 * DAY { DAY } else { 0 };
        let effects = shrunk(&blocks, 2 * DAY, &weekend, |block| block.day);
        apply(&mut table, &mut blocks, weekend, &effects);
        let weekday = |hour: usize| hour / DAY;
        let effects = shrunk(&blocks, 7, &weekday, |block| block.day);
        apply(&mut table, &mut blocks, weekday, &effects);
        let effects = shrunk(&blocks, HOURS, &|hour| hour, |block| block.day);
        apply(&mut table, &mut blocks, |hour| hour, &effects);
    }
    Some(Season {
        hours: table.into_iter().map(|value| value as f32).collect(),
    })
}

fn blocks(values: &[(i64, (usize, f64), f64)]) -> Vec<Block> {
    let mut blocks: Vec<(Block, f64)> = Vec::new();
    for &(day, (hour, _), value) in values {
        match blocks.last_mut() {
            Some((block, n)) if (block.day, block.hour) == (day, hour) => {
                *n += 1.0;
                block.left += (value - block.left) / *n;
            }
            _ => blocks.push((
                Block {
                    day,
                    hour: hour % HOURS,
                    left: value,
                },
                1.0,
            )),
        }
    }
    blocks.into_iter().map(|(block, _)| block).collect()
}

/// Means by hour of day; an hour that was never seen is interpolated between the nearest ones that were.
fn of_day(blocks: &[Block]) -> Vec<f64> {
    let mut sums = [(0.0, 0.0); DAY];
    for block in blocks {
        if let Some(sum) = sums.get_mut(block.hour % DAY) {
            *sum = (sum.0 + block.left, sum.1 + 1.0);
        }
    }
    let mean = |hour: usize| {
        sums.get(hour % DAY)
            .filter(|sum| sum.1 > 0.0)
            .map(|sum| sum.0 / sum.1)
    };
    (0..DAY)
        .map(|hour| {
            mean(hour).unwrap_or_else(|| {
                let near = |step: &dyn Fn(usize) -> usize| {
                    (1..DAY).find_map(|away| mean(step(away)).map(|value| (away as f64, value)))
                };
                let before = near(&|away| hour + DAY - away);
                let after = near(&|away| hour + away);
                match (before, after) {
                    (Some((a, x)), Some((b, y))) => (x * b + y * a) / (a + b),
                    _ => 0.0,
                }
            })
        })
        .collect()
}

/// Effects of `groups`, each weighted by the share of its variance that is not noise.
fn shrunk(
    blocks: &[Block],
    groups: usize,
    group_of: &dyn Fn(usize) -> usize,
    occurrence: impl Fn(&Block) -> i64,
) -> Vec<f64> {
    // The mean of each occurrence of a group (one day's Monday, one day's hour).
    let mut held: std::collections::BTreeMap<(usize, i64), (f64, f64)> = Default::default();
    for block in blocks {
        let sum = held
            .entry((group_of(block.hour), occurrence(block)))
            .or_default();
        *sum = (sum.0 + block.left, sum.1 + 1.0);
    }
    let mut sums = vec![(0.0, 0.0, 0.0); groups];
    for ((group, _), (sum, n)) in &held {
        let mean = sum / n;
        if let Some(sums) = sums.get_mut(*group) {
            *sums = (sums.0 + 1.0, sums.1 + mean, sums.2 + mean * mean);
        }
    }
    let (mut within, mut freedom) = (0.0, 0.0);
    for &(n, sum, square) in sums.iter().filter(|sums| sums.0 > 1.0) {
        within += (square - sum * sum / n).max(0.0);
        freedom += n - 1.0;
    }
    if freedom <= 0.0 {
        return vec![0.0; groups];
    }
    let noise = within / freedom;
    let seen: Vec<(f64, f64)> = sums
        .iter()
        .filter(|sums| sums.0 > 0.0)
        .map(|&(n, sum, _)| (n, sum / n))
        .collect();
    let of_means = seen.iter().map(|(_, mean)| mean * mean).sum::<f64>() / seen.len().max(1) as f64;
    let of_noise = seen.iter().map(|(n, _)| noise / n).sum::<f64>() / seen.len().max(1) as f64;
    let signal = (of_means - of_noise).max(0.0);
    sums.iter()
        .map(|&(n, sum, _)| {
            if n == 0.0 || signal <= 0.0 {
                0.0
            } else {
                sum / n * signal / (signal + noise / n)
            }
        })
        .collect()
}

fn apply(
    table: &mut [f64],
    blocks: &mut [Block],
    group_of: impl Fn(usize) -> usize,
    effects: &[f64],
) {
    let effect = |hour: usize| effects.get(group_of(hour)).copied().unwrap_or(0.0);
    for (hour, value) in table.iter_mut().enumerate() {
        *value += effect(hour);
    }
    for block in blocks {
        block.left -= effect(block.hour);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two weeks of hours from a Monday on.
    fn two_weeks(value: impl Fn(usize) -> f64) -> Vec<(i64, (usize, f64), f64)> {
        let at = |hour: usize| ((hour / DAY) as i64, (hour % HOURS, 0.5), value(hour));
        (0..2 * HOURS).map(at).collect()
    }

    #[test]
    fn a_season_without_noise_is_itself() {
        let value = |hour: usize| match hour % HOURS {
            0..120 => (hour % DAY) as f64,
            _ => 100.0,
        };
        let values = two_weeks(value);
        let season = fit(&values, Resolution::HourOfWeek).unwrap();
        for (hour, &found) in season.hours.iter().enumerate() {
            assert!(
                (f64::from(found) - value(hour)).abs() < 1e-4,
                "{hour}: {found}"
            );
        }
        // Hour of day alone: five days of the hour, two of 100.
        let season = fit(&values, Resolution::HourOfDay).unwrap();
        assert!((season.hours[7] - (5.0 * 7.0 + 2.0 * 100.0) / 7.0).abs() < 1e-4);
        assert_eq!(fit(&[], Resolution::HourOfWeek), None);
    }

    #[test]
    fn effects_are_weighed_by_what_is_not_noise() {
        // Two groups, each seen twice: 1, 3 and -1, -3. Noise: (2 + 2) / 2 = 2, of a mean 1; the means' square is 4, of which 4 - 1 is
        // signal: each effect is 2 · 3 / (3 + 1).
        let block = |day: i64, left: f64| Block {
            day,
            hour: usize::from(left < 0.0),
            left,
        };
        let blocks = [block(0, 1.0), block(1, 3.0), block(0, -1.0), block(1, -3.0)];
        let found = shrunk(&blocks, 3, &|hour| hour, |block| block.day);
        assert_eq!(found, [1.5, -1.5, 0.0]);
        // All is noise: means of 0.5 and -0.5, whose square is less than a mean's noise.
        let blocks = [block(0, 3.0), block(1, -2.0), block(0, 2.0), block(1, -3.0)];
        let found = shrunk(&blocks, 1, &|_| 0, |block| block.day);
        assert_eq!(found, [0.0]);
    }
}
