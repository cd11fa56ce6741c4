//! One step of the optimiser: gradients of one or more passes, clipped, then AdamW.

use super::TrainError;
use super::adam::{Adam, Moments};
use super::config::TrainConfig;
use super::feed::Step;
use super::replicas::Replicas;
use crate::net::Network;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// The network in training.
pub(crate) struct Optimiser {
    network: Network,
    adam: Adam,
    replicas: Replicas,
    clip_norm: f32,
}

/// Why a step was not made; no weight has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The loss or a gradient is not finite.
    NotFinite,
    /// The device has no memory for a pass of this size.
    OutOfMemory(String),
}

impl Optimiser {
    /// Trains `network`, which lives on the first of `replicas` without autodiff.
    pub(crate) fn new(network: Network, config: &TrainConfig, replicas: Replicas) -> Self {
        Self {
            network: network.train(),
            adam: Adam::new(config.weight_decay),
            replicas,
            clip_norm: config.clip_norm,
        }
    }

    /// Goes on with the moments that belong to its weights.
    ///
    /// # Errors
    /// When they do not fit.
    pub(crate) fn restore(&mut self, moments: Moments) -> Result<(), TrainError> {
        self.adam.restore(&self.network, moments)
    }

    /// Goes on from other weights with the moments that belong to them.
    ///
    /// # Errors
    /// When they do not fit.
    pub(crate) fn go_on_from(
        &mut self,
        network: Network,
        moments: Moments,
    ) -> Result<(), TrainError> {
        self.network = network.train();
        self.restore(moments)
    }

    /// The moments as they are now.
    pub(crate) fn moments(&self) -> Moments {
        self.adam.moments(&self.network)
    }

    /// The network as it is now, without a graph: where the next step goes on.
    pub(crate) fn network(&self) -> Network {
        self.network.valid()
    }

    /// The network with the mean of its weights over the last steps: what is judged and served.
    pub(crate) fn mean(&self) -> Network {
        self.adam.mean(&self.network).valid()
    }

    /// One step over all passes together; `seed` decides what dropout drops. Gives the loss.
    pub(crate) fn step(&mut self, step: Step, rate: f64, seed: u64) -> Result<f32, Failed> {
        let made = self.replicas.gradients(&self.network, step.passes, seed);
        let (loss, mut gradients) = made.map_err(Failed::OutOfMemory)?;
        let norm = norm(&self.network, &gradients);
        if !loss.is_finite() || !norm.is_finite() {
            return Err(Failed::NotFinite);
        }
        if norm > self.clip_norm {
            scale(&self.network, &mut gradients, self.clip_norm / norm);
        }
        self.network = self.adam.step(rate, self.network.clone(), gradients);
        Ok(loss)
    }
}

/// Norm of all gradients together.
fn norm(network: &Network, gradients: &GradientsParams) -> f32 {
    struct Norm<'a> {
        gradients: &'a GradientsParams,
        sum: f64,
    }
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.sum += f64::from(gradient.square().sum().into_scalar::<f32>());
            }
        }
    }
    let mut visitor = Norm {
        gradients,
        sum: 0.0,
    };
    network.visit(&mut visitor);
    visitor.sum.sqrt() as f32
}

/// Multiplies all gradients by `factor`.
fn scale(network: &Network, gradients: &mut GradientsParams, factor: f32) {
    struct Scale<'a> {
        gradients: &'a mut GradientsParams,
        factor: f32,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients
                    .register(param.id, gradient.mul_scalar(self.factor));
            }
        }
    }
    network.visit(&mut Scale { gradients, factor });
}
