//! Batches of an epoch, assembled in another thread while the step before runs.

use super::objective::Objective;
use super::plan::Window;
use super::seed::mixed;
use crate::batch::{Assembler, Batch, Source};
use crate::data::Columns;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// Steps that wait, at most: one is enough to keep the network busy, more only take memory.
const AHEAD: usize = 2;

/// The windows of one step of the optimiser.
pub(crate) struct Step {
    /// They go through the network one after the other; their losses are parts of one sum.
    pub(crate) passes: Vec<Batch>,
    /// Windows of all passes.
    pub(crate) windows: u64,
}

/// What is read, and how it is cut.
pub(crate) struct Feed<'a> {
    pub(crate) assembler: &'a Assembler,
    pub(crate) objective: &'a Objective,
    pub(crate) columns: &'a [Columns],
    /// The epoch's, in their order.
    pub(crate) windows: &'a [Window],
    /// Windows of a step.
    pub(crate) per_step: usize,
    /// Windows of a pass, at most.
    pub(crate) per_pass: usize,
    /// The first step, from 0: those before it are done.
    pub(crate) first: u64,
    /// Decides together with the step which ids are hidden.
    pub(crate) seed: u64,
}

impl Feed<'_> {
    /// Starts the assembly. It ends when the receiver is dropped.
    pub(crate) fn start<'scope>(self, scope: &'scope Scope<'scope, '_>) -> Receiver<Step>
    where
        Self: 'scope,
    {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            let first = usize::try_from(self.first).unwrap_or(usize::MAX);
            let steps = self.windows.chunks(self.per_step.max(1));
            for (number, windows) in steps.enumerate().skip(first) {
                if sender.send(self.step(number as u64, windows)).is_err() {
                    break;
                }
            }
        });
        receiver
    }

    fn step(&self, number: u64, windows: &[Window]) -> Step {
        let mut rng = ChaCha8Rng::seed_from_u64(mixed(self.seed, number));
        let hidden = f64::from(self.assembler.shape.config.id_dropout);
        let mut passes: Vec<Batch> = windows
            .chunks(self.per_pass.max(1))
            .map(|chunk| {
                let sources: Vec<_> = chunk
                    .iter()
                    .map(|&(series, issue)| Source::Columns {
                        columns: &self.columns[series],
                        issue,
                    })
                    .collect();
                let mut batch = self
                    .assembler
                    .assemble(&sources, true, |_| rng.random_bool(hidden));
                batch.weigh(&self.assembler.shape, |b, metric, scale| {
                    self.objective.weight(chunk[b].0, metric, scale)
                });
                batch
            })
            .collect();
        // Each pass gives its part of the loss of all: that is divided by the targets of all.
        let total = passes.iter().map(|batch| batch.total).sum();
        passes.iter_mut().for_each(|batch| batch.total = total);
        Step {
            passes,
            windows: windows.len() as u64,
        }
    }
}
