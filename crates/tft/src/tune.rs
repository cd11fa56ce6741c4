//! Search for better settings: successive halving over settings drawn at random.
//!
//! The first rung trains every candidate for one epoch; each further rung trains the better half twice as long, from the beginning, so
//! that the learning rate always falls to its end. A short training prefers what learns fast; the last rung is what counts. The
//! first candidate is the default, so that the answer "leave it" can win.

use crate::config::{Parts, TftConfig};
use crate::train::TrainConfig;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What is searched over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Sizes, dropout and parts of the network.
    pub network: TftConfig,
    /// Highest learning rate.
    pub learning_rate: f64,
}

/// One training of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Number of the candidate, from 0, the default.
    pub candidate: usize,
    /// What was tried.
    pub settings: Settings,
    /// Epochs that it was given.
    pub epochs: usize,
    /// Validation loss, `None` where the training failed.
    pub val_loss: Option<f64>,
    /// Why it failed.
    pub failed: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Trial {
    /// The longest trainings first, among them the smallest loss.
    #[must_use]
    pub fn rank(&self, other: &Self) -> Ordering {
        let by_loss = || self.loss().total_cmp(&other.loss());
        other.epochs.cmp(&self.epochs).then_with(by_loss)
    }

    fn loss(&self) -> f64 {
        self.val_loss.unwrap_or(f64::INFINITY)
    }
}

/// A search's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// All trainings, in their order.
    pub trials: Vec<Trial>,
    /// The best of the longest.
    pub best: Settings,
    /// Whether time ran out before the last rung was done.
    pub cut_short: bool,
}

/// Of what a search wrote, what a training reads.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Chosen {
    /// See [`Found::best`].
    pub best: Settings,
}

/// `count` settings around `network` and `config`, which are the first.
#[must_use]
pub fn candidates(
    count: usize,
    seed: u64,
    network: &TftConfig,
    config: &TrainConfig,
) -> Vec<Settings> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let first = Settings {
        network: *network,
        learning_rate: config.learning_rate,
    };
    let drawn = (1..count).map(|_| draw(&mut rng, &first));
    std::iter::once(first.clone()).chain(drawn).collect()
}

fn draw(rng: &mut ChaCha8Rng, around: &Settings) -> Settings {
    let mut size = |of: &[usize]| of.choose(rng).copied().unwrap_or(1);
    let (hidden, variable, selection) =
        (size(&[32, 48, 64]), size(&[8, 16, 24]), size(&[16, 24, 32]));
    let mut share = |of: &[f32]| of.choose(rng).copied().unwrap_or(0.0);
    let (dropout, id_dropout) = (share(&[0.1, 0.2, 0.3]), share(&[0.1, 0.3, 0.6]));
    // Features of the context: each is left out by one in four.
    let mut used = || rng.random_bool(0.75);
    let parts = Parts {
        yesterday: used(),
        hours: used(),
        summaries: used(),
        identity: used(),
        ..around.network.parts
    };
    Settings {
        network: TftConfig {
            hidden,
            variable,
            selection,
            dropout,
            id_dropout,
            parts,
            ..around.network
        },
        // Even in its logarithm over 1e-3 … 6e-3.
        learning_rate: 1e-3 * 6.0_f64.powf(rng.random::<f64>()),
    }
}

/// Searches. `train` gives the validation loss of settings after some epochs, with its seconds, or `None` where there is no time for it.
pub fn search(
    candidates: Vec<Settings>,
    mut train: impl FnMut(usize, &Settings, usize) -> Option<(Result<f64, String>, f64)>,
) -> Option<Found> {
    let mut alive: Vec<(usize, Settings)> = candidates.into_iter().enumerate().collect();
    let mut trials: Vec<Trial> = Vec::new();
    let (mut epochs, mut cut_short) = (1, false);
    while !alive.is_empty() && !cut_short {
        let rung = trials.len();
        for (candidate, settings) in &alive {
            let Some((outcome, seconds)) = train(*candidate, settings, epochs) else {
                cut_short = true;
                break;
            };
            let (val_loss, failed) = match outcome {
                Ok(loss) => (Some(loss), None),
                Err(why) => (None, Some(why)),
            };
            trials.push(Trial {
                candidate: *candidate,
                settings: settings.clone(),
                epochs,
                val_loss,
                failed,
                seconds,
            });
        }
        let mut ranked: Vec<&Trial> = trials[rung..]
            .iter()
            .filter(|t| t.val_loss.is_some())
            .collect();
        ranked.sort_by(|a, b| a.rank(b));
        let better = ranked.len() / 2;
        alive = ranked[..better]
            .iter()
            .map(|t| (t.candidate, t.settings.clone()))
            .collect();
        epochs *= 2;
    }
    let best = trials
        .iter()
        .filter(|t| t.val_loss.is_some())
        .min_by(|a, b| a.rank(b))?
        .settings
        .clone();
    Some(Found {
        trials,
        best,
        cut_short,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::Preset;

    fn four() -> Vec<Settings> {
        candidates(4, 7, &TftConfig::default(), &Preset::Validate.config())
    }

    #[test]
    fn the_default_comes_first_and_the_rest_differs() {
        let found = four();
        assert_eq!(found[0].network, TftConfig::default());
        assert!(found[1..].iter().all(|s| *s != found[0]));
        assert!(
            found
                .iter()
                .all(|s| (1e-3..=6e-3).contains(&s.learning_rate))
        );
        assert_eq!(found, four(), "same seed, same candidates");
        assert_ne!(
            found,
            candidates(4, 8, &TftConfig::default(), &Preset::Validate.config())
        );
    }

    #[test]
    fn the_better_half_goes_on_twice_as_long() {
        // Candidate 3 leads after one epoch, 1 after two; 2 fails.
        let train = |candidate: usize, _: &Settings, epochs: usize| {
            let loss = match (candidate, epochs) {
                (2, _) => return Some((Err("diverged".to_owned()), 1.0)),
                (3, 1) => 0.7,
                (1, 1) => 0.8,
                (1, _) => 0.6,
                (3, _) => 0.65,
                _ => 0.9,
            };
            Some((Ok(loss), 1.0))
        };
        let five = candidates(5, 7, &TftConfig::default(), &Preset::Validate.config());
        let found = search(five.clone(), train).unwrap();
        let told: Vec<_> = found
            .trials
            .iter()
            .map(|t| (t.candidate, t.epochs))
            .collect();
        assert_eq!(
            told,
            [
                (0, 1),
                (1, 1),
                (2, 1),
                (3, 1),
                (4, 1),
                (3, 2),
                (1, 2),
                (1, 4)
            ]
        );
        assert_eq!((found.best, found.cut_short), (five[1].clone(), false));
        assert_eq!(found.trials[2].failed.as_deref(), Some("diverged"));
    }

    #[test]
    fn out_of_time_keeps_the_best_of_the_longest() {
        let mut left = 5;
        let found = search(four(), |candidate, _, _| {
            left -= 1;
            (left >= 0).then_some((Ok(1.0 - candidate as f64 / 10.0), 1.0))
        });
        let found = found.unwrap();
        assert!(found.cut_short && found.trials.len() == 5);
        assert_eq!(found.best, four()[3]);
        assert_eq!(search(four(), |_, _, _| None), None);
    }
}
