//! Gated residual network and gated skip (arXiv:1912.09363, section 4.1).

use super::random::{Random, constant, dropped};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor};

/// Keeps a constant input from dividing by zero in the layer norm.
const EPSILON: f64 = 1e-5;

/// `LayerNorm(residual + GLU(x))`, `GLU(x) = (x W + b) ⊙ σ(x V + c)`.
#[derive(Module, Debug)]
pub(crate) struct Gate {
    value: Linear,
    gate: Linear,
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

impl Gate {
    pub(crate) fn new(inputs: usize, width: usize, random: &mut Random, device: &Device) -> Self {
        Self {
            value: random.linear(inputs, width, device),
            gate: random.linear(inputs, width, device),
            gamma: constant([width], 1.0, device),
            beta: constant([width], 0.0, device),
        }
    }

    /// `x`: `[rows, inputs]`, `residual`: `[rows, width]` → `[rows, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        let gated = self
            .value
            .forward(x.clone())
            .mul(sigmoid(self.gate.forward(x)));
        burn::tensor::module::layer_norm(
            residual.add(gated),
            self.gamma.val(),
            Some(self.beta.val()),
            EPSILON,
        )
    }
}

/// `Gate(ELU(x W + context) U, x)`.
#[derive(Module, Debug)]
pub(crate) struct Grn {
    first: Linear,
    second: Linear,
    gate: Gate,
}

impl Grn {
    pub(crate) fn new(width: usize, random: &mut Random, device: &Device) -> Self {
        Self {
            first: random.linear(width, width, device),
            second: random.linear(width, width, device),
            gate: Gate::new(width, width, random, device),
        }
    }

    /// `x`: `[tokens × batch, width]`; `context`: `[batch, width]`, the same for every token.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        context: Option<Tensor<2>>,
        random: &mut Option<&mut Random>,
    ) -> Tensor<2> {
        let hidden = over_time(self.first.forward(x.clone()), context);
        let hidden = self.second.forward(elu(hidden));
        self.gate.forward(dropped(hidden, random), x)
    }
}

/// Adds to each token of a sample what is the same for all of them; `x`: `[tokens × batch, width]`, `context`: `[batch, width]`.
pub(crate) fn over_time(x: Tensor<2>, context: Option<Tensor<2>>) -> Tensor<2> {
    let Some(context) = context else { return x };
    let [rows, width] = x.dims();
    let [batch, _] = context.dims();
    x.reshape([rows / batch, batch, width])
        .add(context.unsqueeze_dim(0))
        .reshape([rows, width])
}

/// Exponential linear unit, max(x, 0) + exp(min(x, 0)) − 1.
///
/// Not burn's own: that takes exp of positive values too and masks them out, so that above 88 its gradient is 0 × ∞.
pub(crate) fn elu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().clamp_max(0.0).exp().sub_scalar(1.0).add(relu(x))
}
