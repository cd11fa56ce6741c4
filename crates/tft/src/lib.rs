//! The model: network, training, inference.
//!
//! * [`train()`] turns a fleet's past ([`Dataset`]) into a [`Model`] and its [`TrainingInfo`]; [`Preset`] has the settings.
//! * [`Model::predict`] turns the recent past of servers ([`Context`]) into quantiles of every metric ([`Forecast`]), in raw
//!   units and in batches; [`risks`] turns those into probabilities of crossing thresholds.
//! * [`Model::save`] and [`Model::load`] are the artefact: safetensors with sizes, normalisation and the contract's fingerprint;
//!   [`Model::selftest`] and [`Model::check_selftest`] hold that a loaded model says what it said when it was stored.
//! * [`eval`] judges a model next to naive forecasts, and [`claims()`] says what may be said about it; [`val_loss`] compares two models on the same windows.
//!
//! * [`Device`] names where the network runs; [`Model::on`] takes one, [`TrainConfig`] one or several that train together ([`Devices`]).
//!
//! The network is a Temporal Fusion Transformer (Lim et al., arXiv:1912.09363) over tokens: an hour of context, 20 minutes of
//! horizon. How it is cut to be fast, and what each part is for, stands in the modules `net` and `fused`.
//!
//! Invariants: raw numbers in, raw numbers out; P10 ≤ P50 ≤ P90 inside the metric's valid range, all finite; an absent value influences
//! nothing; the same data, configuration and seed give the same bytes unless a time limit cuts in; nothing that comes from
//! outside panics. It is not: a clock (time only limits a training), a store of models, or the decision what to serve.

#[cfg(test)]
extern crate self as tft;

mod artefact;
mod batch;
mod calendar;
mod claims;
mod config;
mod data;
mod device;
mod devices;
mod domain;
pub mod eval;
mod fused;
mod gpu_memory;
mod model;
mod net;
mod precision;
mod risk;
mod scale;
mod selftest;
mod train;
pub mod tune;
mod weights;

pub use artefact::{KEY, LoadError};
pub use claims::{Evidence, MeasuredOn, Simulated, claims};
pub use config::{ConfigError, Parts, QUANTILES, Shape, TftConfig};
pub use data::{Context, Dataset, Forecast, Series};
pub use device::{Device, DeviceError};
pub use devices::Devices;
pub use domain::Domain;
pub use model::{Explanation, Model, PredictError};
pub use precision::Precision;
pub use risk::risks;
pub use scale::Normalisation;
pub use selftest::{SelftestError, TOLERANCE};
pub use train::{
    Checkpoints, DRIFT_EPOCHS, EpochInfo, Hooks, Preset, Progress, Schedule, Start, Stop,
    TrainConfig, TrainError, Trained, TrainingInfo, Validation, train, train_from, unseen_from,
    val_loss,
};
