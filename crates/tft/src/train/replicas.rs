//! The gradients of a step, over all devices of a training: each does its share of the passes on its own copy of the weights, at the
//! same time, and the gradients are summed on the first.
//!
//! The sum is that of one device: every pass is divided by the weights of all passes of the step, and what a pass drops follows from the
//! step's seed and the pass's number alone. Only the order of additions differs.

use super::faults;
use super::half::{halved, widened};
use crate::batch::Batch;
use crate::config::Shape;
use crate::fused::head_loss;
use crate::net::{Inputs, Network, Random};
use crate::precision::Precision;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, FloatDType};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Loss and gradients.
pub(crate) type Made = (f32, GradientsParams);
/// What a device panicked with.
type Panic = Box<dyn Any + Send>;

/// All devices of a training.
pub(crate) struct Replicas {
    own: Replica,
    others: Vec<Worker>,
}

/// One device.
#[derive(Clone)]
struct Replica {
    shape: Shape,
    device: Device,
    /// Passes compute in bf16.
    half: bool,
}

/// What one device does of a step.
struct Share {
    passes: Vec<Batch>,
    /// Number of the first of them in the step.
    first: usize,
    /// Of the step.
    seed: u64,
}

impl Replicas {
    /// The weights are on `first`.
    pub(crate) fn new(
        shape: Shape,
        precision: Precision,
        first: &Device,
        others: &[Device],
    ) -> Self {
        let replica = |device: &Device| Replica {
            shape,
            device: device.clone(),
            half: precision == Precision::Bf16,
        };
        Self {
            own: replica(first),
            others: others
                .iter()
                .map(|device| Worker::new(replica(device), first.clone()))
                .collect(),
        }
    }

    /// Loss and gradients of `network`, which is on the first device, summed over `passes`; `seed` decides what dropout drops.
    ///
    /// # Errors
    /// What a device said that has no memory for a pass of this size.
    pub(crate) fn gradients(
        &self,
        network: &Network,
        mut passes: Vec<Batch>,
        seed: u64,
    ) -> Result<Made, String> {
        let each = passes.len().div_ceil(1 + self.others.len()).max(1);
        let mut first = 0;
        let mut share = || {
            let later = passes.split_off(each.min(passes.len()));
            let mine = std::mem::replace(&mut passes, later);
            first += mine.len();
            Share {
                first: first - mine.len(),
                passes: mine,
                seed,
            }
        };
        let own = share();
        let busy: Vec<&Worker> = self
            .others
            .iter()
            .map(|worker| (worker, share()))
            .filter(|(_, share)| !share.passes.is_empty())
            .map(|(worker, share)| worker.begin(network.clone(), share))
            .collect();
        // A device reports that its memory is full by a panic; the weights are only read in here.
        let own = catch_unwind(AssertUnwindSafe(|| self.own.gradients(network, own)));
        // All are waited for before any is looked at: none may be left for the next step.
        let made: Vec<_> = std::iter::once(own)
            .chain(busy.into_iter().map(Worker::end))
            .collect();
        sum(network, made)
    }
}

/// Sum of what all devices made.
fn sum(network: &Network, made: Vec<Result<Made, Panic>>) -> Result<Made, String> {
    let mut accumulated = GradientsAccumulator::new();
    let (mut sum, mut full) = (0.0, None);
    for made in made {
        match made {
            Ok((loss, gradients)) => {
                sum += loss;
                accumulated.accumulate(network, gradients);
            }
            Err(panic) => match faults::out_of_memory(panic.as_ref()) {
                Some(said) => full = Some(said),
                None => resume_unwind(panic),
            },
        }
    }
    match full {
        Some(said) => Err(said),
        None => Ok((sum, accumulated.grads())),
    }
}

impl Replica {
    /// Loss and gradients of `network`, which is on this device.
    fn gradients(&self, network: &Network, share: Share) -> Made {
        let half = self.half.then(|| halved(network));
        let network = half.as_ref().unwrap_or(network);
        let mut accumulated = GradientsAccumulator::new();
        let mut sum = 0.0;
        for (number, mut batch) in (share.first as u64..).zip(share.passes) {
            #[cfg(test)]
            faults::allocate(batch.size);
            let seed = share.seed.wrapping_add(number);
            let mut random = Random::new(seed, self.shape.config.dropout);
            let (inputs, head) = Inputs::new(&mut batch, &self.shape, &self.device);
            let inputs = match self.half {
                true => inputs.cast(FloatDType::BF16),
                false => inputs,
            };
            let output = network.forward(inputs, Some(&mut random));
            let loss = head_loss(output.numbers, head);
            let gradients = GradientsParams::from_grads(loss.backward(), network);
            let gradients = match self.half {
                true => widened(network, gradients),
                false => gradients,
            };
            accumulated.accumulate(network, gradients);
            sum += loss.into_scalar::<f32>();
            #[cfg(test)]
            {
                sum = faults::spoil(sum);
            }
        }
        (sum, accumulated.grads())
    }
}

/// What a worker is handed for a step.
struct Task {
    /// On the first device.
    network: Network,
    share: Share,
    #[cfg(test)]
    room: usize,
}

/// A device beside the first, in a thread of its own: it ends when this is dropped. The same thread for all steps, because CubeCL keeps
/// memory for each thread that it has seen.
struct Worker {
    tasks: SyncSender<Task>,
    made: Receiver<Result<Made, Panic>>,
}

impl Worker {
    fn new(replica: Replica, first: Device) -> Self {
        let (tasks, todo) = sync_channel::<Task>(1);
        let (done, made) = sync_channel(1);
        std::thread::spawn(move || {
            for task in todo {
                let made = catch_unwind(AssertUnwindSafe(|| {
                    #[cfg(test)]
                    faults::ROOM.set(task.room);
                    // Forked, not only moved: on the same device two graphs would otherwise share their leaves.
                    let copy = task.network.clone().fork(&replica.device);
                    let (loss, gradients) = replica.gradients(&copy, task.share);
                    (loss, gradients.to_device(&first, &task.network))
                }));
                if done.send(made).is_err() {
                    break;
                }
            }
        });
        Self { tasks, made }
    }

    fn begin(&self, network: Network, share: Share) -> &Self {
        let task = Task {
            network,
            share,
            #[cfg(test)]
            room: faults::ROOM.get(),
        };
        // It fails only where the thread is gone, which `end` says.
        let _ = self.tasks.send(task);
        self
    }

    fn end(&self) -> Result<Made, Panic> {
        let gone = |_| -> Result<Made, Panic> { Err(Box::new("the thread of a device has ended")) };
        self.made.recv().unwrap_or_else(gone)
    }
}

#[cfg(test)]
mod tests;
