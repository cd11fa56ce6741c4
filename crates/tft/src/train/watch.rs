//! What a training tells while it runs, and what it may be told.

use std::ops::ControlFlow;

/// How far a training is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Current epoch, from 1.
    pub epoch: usize,
    /// Epochs at most.
    pub epochs: usize,
    /// Steps of the optimiser done in all.
    pub step: u64,
    /// Share done, 0 to 1, by steps or by time, whichever is further.
    pub share: f64,
    /// Mean loss of the epoch so far; 1 is as good as the quantiles of the last 24 hours.
    pub train_loss: f64,
    /// Validation loss, at the end of an epoch.
    pub val_loss: Option<f64>,
    /// Current learning rate.
    pub learning_rate: f64,
    /// Windows trained on in all.
    pub samples: u64,
    /// Windows that go through the network at once: fewer than at first where memory was full.
    pub batch: usize,
    /// Seconds of training so far, without pauses.
    pub seconds: f64,
}

/// Who watches a training.
pub struct Hooks<'a> {
    /// Called between two steps, every few of them, and after each epoch; breaking ends the training. It stands still until the
    /// call returns, and that time does not count: a call that waits is a pause.
    pub progress: &'a mut dyn FnMut(&Progress) -> ControlFlow<()>,
    /// With it the training can be gone on with. A training that is broken off then leaves a checkpoint and gives no model.
    pub checkpoints: Option<Checkpoints<'a>>,
}

/// Who keeps checkpoints.
pub struct Checkpoints<'a> {
    /// Seconds between two, at least; beside one after each epoch and one when the training is broken off.
    pub every_seconds: f64,
    /// Keeps one in the place of the one before it. That it may fail is its own affair: the training goes on.
    pub keep: &'a mut dyn FnMut(&[u8]),
}
