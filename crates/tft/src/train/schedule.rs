//! Learning rates. Pure: how far a training is in, a rate out.

use super::info::EpochInfo;
use serde::{Deserialize, Serialize};

/// Share of a training over which the learning rate rises.
const WARM_UP: f64 = 0.05;
/// The learning rate never falls below this share of its highest.
const FINAL_RATE: f64 = 0.02;
/// What an epoch without improvement leaves of the learning rate on a plateau.
const PLATEAU_FACTOR: f64 = 0.5;
/// A training that ends within its time limit is ahead of the clock but for what its start took; only beyond this share does the clock
/// count, so that it has no influence on the weights where the limit does not cut in.
const CLOCK_SLACK: f64 = 0.01;

/// How the learning rate goes on after it has risen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It falls along a half cosine until the end (Loshchilov and Hutter, 2017, without restarts).
    Cosine,
    /// It stays, and is halved after each epoch that does not improve the validation loss.
    Plateau,
}

/// Highest rate of the epoch that goes over all data in the end, as a share of the training's.
const REFRESH_RATE: f64 = 0.1;

/// Share of the highest rate when `share` of that last epoch is done: it falls evenly.
pub(crate) fn refresh_height(share: f64) -> f64 {
    (REFRESH_RATE * (1.0 - share)).max(REFRESH_RATE * FINAL_RATE)
}

impl Schedule {
    /// All schedules.
    pub const ALL: [Schedule; 2] = [Schedule::Cosine, Schedule::Plateau];

    /// The schedule of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Schedule::Cosine => "cosine",
            Schedule::Plateau => "plateau",
        }
    }

    /// Share of the highest rate when `share` of the training is done, after the epochs of `history`.
    pub(crate) fn height(self, share: f64, history: &[EpochInfo]) -> f64 {
        if share < WARM_UP {
            return (share / WARM_UP).max(0.1);
        }
        let height = match self {
            Schedule::Cosine => {
                let turned = (share - WARM_UP) / (1.0 - WARM_UP);
                0.5 * (1.0 + (std::f64::consts::PI * turned.min(1.0)).cos())
            }
            Schedule::Plateau => PLATEAU_FACTOR.powi(stalls(history)),
        };
        height.max(FINAL_RATE)
    }
}

/// Epochs that did not improve on all before them.
fn stalls(history: &[EpochInfo]) -> i32 {
    let mut best = f64::INFINITY;
    let mut stalls = 0;
    for epoch in history {
        if epoch.val_loss < best {
            best = epoch.val_loss;
        } else {
            stalls += 1;
        }
    }
    stalls
}

/// Epochs since the best one.
pub(crate) fn since_best(history: &[EpochInfo]) -> usize {
    let mut best = (f64::INFINITY, history.len());
    for (at, epoch) in history.iter().enumerate() {
        if epoch.val_loss < best.0 {
            best = (epoch.val_loss, at);
        }
    }
    history.len().saturating_sub(best.1 + 1)
}

/// Share of a training that is done, by steps, or by the clock where that cuts in.
pub(crate) fn share(step: u64, planned: u64, seconds: f64, limit: Option<f64>) -> f64 {
    let by_steps = step as f64 / planned.max(1) as f64;
    let by_clock = limit.map_or(0.0, |limit| seconds / limit.max(1e-9));
    by_steps
        .max((by_clock - CLOCK_SLACK) / (1.0 - CLOCK_SLACK))
        .min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(losses: &[f64]) -> Vec<EpochInfo> {
        let epoch = |(at, &val_loss): (usize, &f64)| EpochInfo {
            epoch: at + 1,
            train_loss: 1.0,
            val_loss,
            learning_rate: 0.0,
            time_seconds: 0.0,
            gpu_memory_mb: None,
            samples_processed: 1,
            samples_per_second: 1.0,
        };
        losses.iter().enumerate().map(epoch).collect()
    }

    #[track_caller]
    fn check_height(schedule: Schedule, share: f64, losses: &[f64], expected: f64) {
        let height = schedule.height(share, &history(losses));
        assert!(
            (height - expected).abs() < 1e-9,
            "{height}, expected {expected}"
        );
    }

    #[test]
    fn both_rise_and_a_cosine_falls() {
        for schedule in Schedule::ALL {
            check_height(schedule, 0.0, &[], 0.1);
            check_height(schedule, 0.025, &[], 0.5);
            check_height(schedule, 0.05, &[], 1.0);
            assert_eq!(Schedule::named(schedule.as_str()), Some(schedule));
        }
        check_height(Schedule::Cosine, 0.525, &[], 0.5);
        check_height(Schedule::Cosine, 1.0, &[], 0.02);
    }

    #[test]
    fn a_plateau_halves_after_each_epoch_that_does_not_improve() {
        check_height(Schedule::Plateau, 0.9, &[1.0, 0.9, 0.8], 1.0);
        check_height(Schedule::Plateau, 0.9, &[1.0, 1.0, 0.8], 0.5);
        check_height(Schedule::Plateau, 0.9, &[0.5, 0.6, 0.55, 0.4, 0.4], 0.125);
        check_height(Schedule::Plateau, 0.9, &[0.5; 20], 0.02);
    }

    #[test]
    fn patience_counts_from_the_best_epoch() {
        for (losses, expected) in [
            (&[][..], 0),
            (&[1.0], 0),
            (&[1.0, 0.9, 0.95, 0.91], 2),
            (&[1.0, 1.0], 1),
            (&[f64::INFINITY], 0),
        ] {
            assert_eq!(since_best(&history(losses)), expected, "{losses:?}");
        }
    }

    #[test]
    fn the_clock_counts_only_where_it_cuts_in() {
        // 10 of 1000 steps in 100 s of four hours: on the way to end in time.
        assert!((share(10, 1000, 100.0, Some(14_400.0)) - 0.01).abs() < 1e-12);
        // Two seconds for the first step of a training that takes half a minute.
        assert_eq!(share(0, 300, 2.0, Some(14_400.0)), 0.0);
        assert!(share(10, 1000, 7_200.0, Some(14_400.0)) > 0.49);
        assert_eq!(share(10, 1000, 14_400.0, Some(14_400.0)), 1.0);
        assert_eq!(share(500, 1000, 1e9, None), 0.5);
    }
}
