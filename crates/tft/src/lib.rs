//! The model: network, training, inference.

mod artefact;
mod batch;
mod calendar;
mod config;
mod data;
mod domain;
pub mod eval;
mod model;
mod net;
mod risk;
mod scale;
mod selftest;
mod train;

pub use artefact::{KEY, LoadError};
pub use config::{ConfigError, QUANTILES, Shape, TftConfig};
pub use data::{Context, Dataset, Forecast, Series};
pub use domain::Domain;
pub use model::{Explanation, Model, PredictError};
pub use risk::risks;
pub use scale::Normalisation;
pub use selftest::SelftestError;
pub use train::{
    EpochInfo, Preset, Progress, Stop, TrainConfig, TrainError, Trained, TrainingInfo, Validation,
    train, val_loss,
};
