//! One step of the optimiser: forward, backward, clipped gradients, AdamW (Loshchilov and Hutter, 2019).

use super::config::TrainConfig;
use crate::batch::Batch;
use crate::config::Shape;
use crate::fused::head_loss;
use crate::net::{Inputs, Network, Random};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};

/// The network in training.
pub(crate) struct Optimiser {
    network: Network,
    adam: ModuleOptimizer,
    shape: Shape,
    clip_norm: f32,
    random: Random,
    device: Device,
}

impl Optimiser {
    /// Trains `network`, which lives on a device without autodiff.
    pub(crate) fn new(network: Network, shape: Shape, config: &TrainConfig) -> Self {
        let adam = AdamWConfig::new()
            .with_epsilon(1e-8)
            .with_weight_decay(config.weight_decay)
            .init();
        Self {
            network: network.train(),
            adam,
            shape,
            clip_norm: config.clip_norm,
            random: Random::new(config.seed ^ 0x5eed_d209, shape.config.dropout),
            device: Device::flex(),
        }
    }

    /// The network as it is now, without a graph.
    pub(crate) fn network(&self) -> Network {
        self.network.valid()
    }

    /// One step; gives the loss, or `None` when it was not finite, in which case no weight has changed.
    pub(crate) fn step(&mut self, mut batch: Batch, learning_rate: f64) -> Option<f32> {
        let s = self.shape;
        let (inputs, head) = Inputs::new(&mut batch, &s, &self.device);
        let output = self.network.forward(inputs, Some(&mut self.random));
        let loss = head_loss(output.numbers, head);
        let mut gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        let norm = norm(&self.network, &gradients);
        let loss: f32 = loss.into_scalar();
        if !loss.is_finite() || !norm.is_finite() {
            return None;
        }
        if norm > self.clip_norm {
            scale(&self.network, &mut gradients, self.clip_norm / norm);
        }
        self.network = self
            .adam
            .step(learning_rate, self.network.clone(), gradients);
        Some(loss)
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
