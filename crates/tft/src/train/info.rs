//! What is said about a training afterwards: the fields of `training_info.json` that the model itself knows.

use super::config::TrainConfig;
use crate::config::Shape;
use crate::eval::Report;
use serde::{Deserialize, Serialize};

/// Why a training ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// All epochs were done.
    Completed,
    /// No improvement for `patience` epochs.
    EarlyStopping,
    /// The limit on time was reached.
    TimeLimit,
    /// Asked to from outside.
    Cancelled,
    /// The loss was not finite at this step; the last good weights were kept.
    LossNotFinite(u64),
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochInfo {
    /// From 1.
    pub epoch: usize,
    /// Mean loss of its steps.
    pub train_loss: f64,
    /// Loss on the validation windows.
    pub val_loss: f64,
    /// Learning rate at its end.
    pub learning_rate: f64,
    /// Seconds since training began.
    pub time_seconds: f64,
    /// Memory of the device in use, MB; null where the device does not tell it.
    pub gpu_memory_mb: Option<f64>,
    /// Windows that it trained on.
    pub samples_processed: u64,
    /// Windows trained on per second since training began, with the time that steps waited for them; validation not counted.
    pub samples_per_second: f64,
}

/// The windows that validated: [`crate::val_loss`] takes it, so that another model can be measured on the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Forecast steps start with it, ms.
    pub from_ms: i64,
    /// Forecast steps end by it, ms.
    pub to_ms: i64,
    /// Windows.
    pub windows: usize,
}

/// A training in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainingInfo {
    /// Epochs that were done, also in part.
    pub epochs: usize,
    /// Each epoch.
    pub history: Vec<EpochInfo>,
    /// Hours from the first to the last row that was used.
    pub data_hours: f64,
    /// Servers in the data.
    pub num_servers: usize,
    /// Mean loss of the last epoch's steps, relative to the quantiles of the last 24 hours.
    pub final_train_loss: f64,
    /// Validation loss of the weights that were kept, on the same scale.
    pub final_val_loss: f64,
    /// Mean over metrics of wQL on the validation windows.
    pub quantile_loss: Option<f64>,
    /// Hours that it took.
    pub training_time_hours: f64,
    /// The same in seconds.
    pub seconds: f64,
    /// Windows trained on per second, validation not counted.
    pub samples_per_second: f64,
    /// Windows trained on in all.
    pub samples_processed: u64,
    /// Windows that went through the network at once in the end: fewer than configured where memory was full.
    pub batch: usize,
    /// Weights of the network.
    pub model_parameters: usize,
    /// Whether the validation loss had stopped falling: early stopping ended it, or its last epoch changed it by less than one per cent.
    pub convergence: bool,
    /// Whether it ended for lack of improvement.
    pub early_stopping: bool,
    /// Whether the served weights have seen the data that validated too; the figures are of those before.
    pub refreshed: bool,
    /// Why it ended.
    pub stop: Stop,
    /// Windows that validated.
    pub validation_samples: usize,
    /// Where they lie.
    pub validation: Validation,
    /// Hours of it that the weights which this training went on from were trained on: its figures flatter them.
    pub validation_seen_hours: f64,
    /// Mean over metrics of the mean absolute error of P50 on them.
    pub mean_absolute_error: Option<f64>,
    /// Mean over metrics of the mean squared error of P50 on them.
    pub mean_squared_error: Option<f64>,
    /// All figures of the kept weights on the validation windows, next to the naive forecasts.
    pub report: Report,
    /// Seed.
    pub seed: u64,
    /// Fingerprint of the contract.
    pub contract: String,
    /// Sizes of the network.
    pub shape: Shape,
    /// Settings of the training.
    pub config: TrainConfig,
}
