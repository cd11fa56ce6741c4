//! Training: from a fleet's past to a model.
//!
//! * [`config`]: presets and limits; [`plan`]: which windows train and which validate; [`feed`]: batches, assembled in another thread;
//!   [`optimise`]: one step; [`engine`]: epochs, early stopping, limits; [`info`]: what is said about it afterwards.
//!
//! The split is in time: the last fifth of the data validates, and nothing of it trains. The same data, configuration and seed
//! give the same weights on the same device, unless a time limit cuts in.

mod config;
mod engine;
mod feed;
mod info;
mod optimise;
mod plan;

pub use config::{Preset, TrainConfig};
pub use engine::{Progress, Trained, train};
pub use info::{EpochInfo, Stop, TrainingInfo, Validation};

use crate::config::ConfigError;
use crate::data::Dataset;
use crate::eval::{self, EvalError};
use crate::model::Model;

/// Why there is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// There is not enough to learn from.
    #[error("{0}")]
    TooLittle(String),
    /// The sizes of the network do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    let report = eval::judge(model, &columns, &chosen, |_, _, _| {})?;
    report.loss.ok_or_else(|| {
        EvalError::NoWindow("the data have no actual value to compare with".to_owned())
    })
}
