//! Presets, and what each of them needs.

use super::schedule::Schedule;
use crate::devices::Devices;
use crate::precision::Precision;
use serde::{Deserialize, Serialize};

/// How thorough a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// One epoch over 7 days: a working pipeline, no claim of accuracy.
    Quick,
    /// Ten epochs over 30 days.
    Validate,
    /// Twenty epochs over 30 days.
    Production,
    /// One more epoch of the production model, weights and optimiser, over the last 30 days.
    Incremental,
}

/// Epochs that [`Preset::Incremental`] adds when the data have drifted; every day it is one.
pub const DRIFT_EPOCHS: usize = 5;
/// No training takes longer unless its settings say so.
const MAX_SECONDS: f64 = 4.0 * 3600.0;
/// Highest learning rate of a training from random weights.
const LEARNING_RATE: f64 = 3e-3;
/// Of one that goes on from trained weights: as high as where the first one spends its last quarter, so that it does not undo them.
const LEARNING_RATE_ON: f64 = 3e-4;

impl Preset {
    /// All presets.
    pub const ALL: [Preset; 4] = [
        Preset::Quick,
        Preset::Validate,
        Preset::Production,
        Preset::Incremental,
    ];

    /// The preset of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == name)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Quick => "quick",
            Preset::Validate => "validate",
            Preset::Production => "production",
            Preset::Incremental => "incremental",
        }
    }

    /// Its settings.
    #[must_use]
    pub fn config(self) -> TrainConfig {
        let (epochs, days, stride) = match self {
            Preset::Quick => (1, 7.0, 12),
            Preset::Validate => (10, 30.0, 12),
            Preset::Production => (20, 30.0, 12),
            Preset::Incremental => (1, 30.0, 12),
        };
        let learning_rate = match self {
            Preset::Incremental => LEARNING_RATE_ON,
            Preset::Quick | Preset::Validate | Preset::Production => LEARNING_RATE,
        };
        TrainConfig {
            preset: self,
            epochs,
            days,
            stride,
            learning_rate,
            ..TrainConfig::base(self)
        }
    }

    /// Days that its data must span, of at least [`Preset::servers_needed`] servers.
    #[must_use]
    pub fn days_needed(self) -> f64 {
        match self {
            Preset::Quick => 3.0,
            Preset::Validate | Preset::Production | Preset::Incremental => 7.0,
        }
    }

    /// Servers that must have that much.
    #[must_use]
    pub fn servers_needed(self) -> usize {
        5
    }

    /// Rows that this makes: of each of these servers, half of its steps at least.
    #[must_use]
    pub fn rows_needed(self, steps_per_day: usize) -> usize {
        (self.days_needed() * steps_per_day as f64 / 2.0) as usize * self.servers_needed()
    }
}

/// How a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Where the settings came from; also says how much data is enough.
    pub preset: Preset,
    /// Passes over the windows, at most.
    pub epochs: usize,
    /// Of the data, the last so many days.
    pub days: f64,
    /// Steps between two training windows of a server. Each epoch shifts them, so that in time every step is used.
    pub stride: usize,
    /// Windows that go through the network at once, over all devices together; halved where memory is full.
    pub batch: usize,
    /// Batches of one step of the optimiser: their gradients are summed.
    pub accumulate: usize,
    /// Highest learning rate; it rises to it over the first twentieth.
    pub learning_rate: f64,
    /// How it goes on from there.
    pub schedule: Schedule,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Largest norm of all gradients together.
    pub clip_norm: f32,
    /// Share of the time span, at its end, that validates.
    pub validation_share: f64,
    /// What the weights to go on from have seen, ms: the validation part begins behind it, as far as a day of it is left.
    pub seen_until_ms: Option<i64>,
    /// Windows that validate, at most; evenly spread.
    pub validation_windows: usize,
    /// Epochs without improvement after which training ends.
    pub patience: usize,
    /// Training ends after so many seconds with what it has; the learning rate falls in time. Has no influence on a training that
    /// ends before it.
    pub max_seconds: Option<f64>,
    /// Where it is trained; the trained model is on the first.
    pub devices: Devices,
    /// What its passes compute in.
    pub precision: Precision,
    /// Whether one more epoch at a low rate, from the best weights on, goes over all data, those that validated among them. All
    /// figures stay those of the weights before it.
    pub refresh: bool,
    /// Seed of weights, order and dropout.
    pub seed: u64,
}

impl TrainConfig {
    fn base(preset: Preset) -> Self {
        Self {
            preset,
            epochs: 1,
            days: 7.0,
            stride: 12,
            batch: 64,
            accumulate: 1,
            learning_rate: LEARNING_RATE,
            schedule: Schedule::Cosine,
            weight_decay: 1e-2,
            clip_norm: 1.0,
            validation_share: 0.2,
            seen_until_ms: None,
            validation_windows: 2048,
            patience: 3,
            refresh: preset != Preset::Quick,
            max_seconds: Some(MAX_SECONDS),
            devices: Devices::default(),
            precision: Precision::Auto,
            seed: 1,
        }
    }

    /// Windows that go through the network at once, before any memory was full: each device has its share of the batch.
    #[must_use]
    pub fn windows_at_once(&self) -> usize {
        self.batch.max(1).div_ceil(self.devices.count())
    }

    /// Windows of a step of the optimiser.
    pub(crate) fn windows_per_step(&self) -> usize {
        self.batch.max(1).saturating_mul(self.accumulate.max(1))
    }
}
