//! Training: from a fleet's past to a model.
//!
//! * [`config`]: presets and limits; [`schedule`]: learning rates; [`plan`]: which windows train and which validate; [`objective`]: what is minimised; [`start`]: from nothing,
//!   from a model or from a checkpoint; [`feed`]: batches, assembled in another thread; [`optimise`]: one step, [`replicas`] its first
//!   part, over all devices and where asked for in bf16 ([`half`]), [`adam`] its last;
//!   [`engine`]: epochs, early stopping, limits; [`checkpoint`]: what it takes to go on; [`calibrate`]: widths of the intervals; [`finish`], [`info`]: what is said about it
//!   afterwards.
//!
//! The split is in time: the last fifth of the data validates, and nothing of it trains before the weights are chosen; where a training goes on
//! from a model, only what that has not seen. The same data, configuration and seed
//! give the same weights on the same device, in one go or from a checkpoint, unless a time limit cuts in.

mod adam;
mod calibrate;
mod checkpoint;
mod config;
mod engine;
mod faults;
mod feed;
mod finish;
mod half;
mod info;
mod objective;
mod optimise;
mod plan;
mod replicas;
mod schedule;
mod seed;
mod start;
#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod tests;
mod watch;

pub use config::{DRIFT_EPOCHS, Preset, TrainConfig};
pub use finish::Trained;
pub use info::{EpochInfo, Stop, TrainingInfo, Validation};
pub use plan::unseen_from;
pub use schedule::Schedule;
pub(crate) use seed::mixed;
pub use start::Start;
pub use watch::{Checkpoints, Hooks, Progress};

use crate::config::{ConfigError, Shape, TftConfig};
use crate::data::Dataset;
use crate::device::DeviceError;
use crate::domain::Domain;
use crate::eval::{self, EvalError};
use crate::model::Model;
use contract::Contract;
use std::ops::ControlFlow;

/// Why there is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// There is not enough to learn from.
    #[error("{0}")]
    TooLittle(String),
    /// The sizes of the network do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The data are malformed, or the model could not be judged.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The loss was no longer finite before there was any model to keep.
    #[error(
        "the loss is not finite at step {step}: lower the learning rate or look for absurd values in the data"
    )]
    Diverged {
        /// Step of the optimiser, from 1.
        step: u64,
    },
    /// Stopped from outside before there was any model to keep.
    #[error("stopped before the first validation")]
    Stopped,
    /// Stopped from outside, with a checkpoint to go on from.
    #[error(
        "stopped in epoch {epoch} after step {step}; the checkpoint has all that is needed to go on"
    )]
    Paused {
        /// Epoch, from 1.
        epoch: usize,
        /// Steps done in all.
        step: u64,
    },
    /// A model, state of an optimiser or checkpoint that this training cannot go on from.
    #[error("cannot go on: {0}")]
    Resume(String),
    /// The device has no memory for a single window.
    #[error(
        "the device has no memory for a single window: choose smaller sizes of the network ({said})"
    )]
    OutOfMemory {
        /// What the device said.
        said: String,
    },
}

/// Trains a model on `data`; `resume` starts from another model's weights and units where its sizes are the same.
/// `progress` is called every few steps and after each epoch; breaking ends the training with the best weights so far.
///
/// # Errors
/// When the data are too few or malformed, sizes do not fit, or the training ended before there was a model.
pub fn train(
    contract: &Contract,
    data: &Dataset,
    tft: &TftConfig,
    config: &TrainConfig,
    resume: Option<&Model>,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Trained, TrainError> {
    let domain = Domain::of(contract);
    let shape = Shape::of(*tft, &domain)?;
    let fits = |m: &&Model| m.shape() == shape && m.contract() == domain.fingerprint;
    let start = match resume.filter(fits) {
        Some(model) => Start::Model {
            model,
            optimiser: None,
        },
        None => Start::Fresh,
    };
    let checkpoints = None;
    let mut hooks = Hooks {
        progress,
        checkpoints,
    };
    train_from(contract, data, tft, config, start, &mut hooks)
}

/// Trains a model on `data` from `start` on, with checkpoints where `hooks` asks for them.
///
/// # Errors
/// As [`train`]; also when `start` does not fit, or the training was broken off and left a checkpoint.
pub fn train_from(
    contract: &Contract,
    data: &Dataset,
    tft: &TftConfig,
    config: &TrainConfig,
    start: Start<'_>,
    hooks: &mut Hooks<'_>,
) -> Result<Trained, TrainError> {
    let domain = Domain::of(contract);
    let devices = config.devices.resolve()?;
    let config = &TrainConfig {
        precision: config.precision.resolve(&devices)?,
        devices,
        ..config.clone()
    };
    let (device, others) = config.devices.open()?;
    let shape = Shape::of(*tft, &domain)?;
    let columns = eval::columns(&domain, data)?;
    let plan = plan::Plan::new(&columns, &domain, config)?;
    let ground = start::Ground {
        columns: &columns,
        plan: &plan,
        domain: &domain,
        shape,
        config,
        device: &device,
        others: &others,
    };
    let started = ground.start(start, hooks.checkpoints.is_some())?;
    let mut run = engine::Run::new(&ground, started)?;
    let stop = run.train(hooks)?;
    run.finish(stop)
}

/// Loss of `model` on the windows that `validation` names, in `data`: relative to the quantiles of the last 24 hours, in units of
/// the data and not of the model. On the same data and windows the losses of two models can be compared.
///
/// # Errors
/// When there is no such window, the data are malformed or the model is broken.
pub fn val_loss(model: &Model, data: &Dataset, validation: &Validation) -> Result<f64, EvalError> {
    let columns = eval::columns(&model.domain, data)?;
    let Validation {
        from_ms,
        to_ms,
        windows,
    } = *validation;
    let chosen = plan::validation_windows(&columns, &model.domain, from_ms, to_ms, windows);
    eval::loss(model, &columns, &chosen)?.ok_or_else(|| {
        EvalError::NoWindow("the data have no actual value to compare with".to_owned())
    })
}
