//! Gated residual network and gated skip (arXiv:1912.09363, section 4.1).

use super::random::{Random, constant, dropped};
use crate::fused;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// `LayerNorm(residual + GLU(x))`, `GLU(x) = (x W + b) ⊙ σ(x V + c)`.
#[derive(Module, Debug)]
pub(crate) struct Gate {
    /// `W | V`, `[inputs, 2 width]`
    weight: Param<Tensor<2>>,
    /// `b | c`, `[2 width]`
    bias: Param<Tensor<1>>,
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

impl Gate {
    pub(crate) fn new(inputs: usize, width: usize, random: &mut Random, device: &Device) -> Self {
        Self {
            weight: random.weights([inputs, 2 * width], inputs, width, device),
            bias: constant([2 * width], 0.0, device),
            gamma: constant([width], 1.0, device),
            beta: constant([width], 0.0, device),
        }
    }

    /// `x`: `[rows, inputs]`, `residual`: `[rows, width]` → `[rows, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        let product = x.matmul(self.weight.val());
        fused::gate(
            product,
            self.bias.val(),
            residual,
            self.gamma.val(),
            self.beta.val(),
        )
    }
}

/// `Gate(ELU(x W + context + b), x)`. The published network has one more linear layer between ELU and gate, which are linear
/// layers one after the other: it adds weights, but nothing that the gate's own cannot express.
#[derive(Module, Debug)]
pub(crate) struct Grn {
    hidden: Hidden,
    gate: Gate,
}

impl Grn {
    pub(crate) fn new(width: usize, random: &mut Random, device: &Device) -> Self {
        Self {
            hidden: Hidden::new(width, width, random, device),
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
        let hidden = self.hidden.forward(x.clone(), context);
        self.gate.forward(dropped(hidden, random), x)
    }
}

/// `ELU(x W + context + b)`, the context being the same for every token of a sample.
#[derive(Module, Debug)]
pub(crate) struct Hidden {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Hidden {
    pub(crate) fn new(inputs: usize, width: usize, random: &mut Random, device: &Device) -> Self {
        Self {
            weight: random.weights([inputs, width], inputs, width, device),
            bias: constant([width], 0.0, device),
        }
    }

    /// `x`: `[tokens × batch, inputs]`; `context`: `[batch, width]` → `[tokens × batch, width]`.
    pub(crate) fn forward(&self, x: Tensor<2>, context: Option<Tensor<2>>) -> Tensor<2> {
        let bias = self.bias.val().unsqueeze_dim::<2>(0);
        let shift = match context {
            Some(context) => context.add(bias),
            None => bias,
        };
        fused::elu(
            x.matmul(self.weight.val()).unsqueeze_dim(0),
            shift.unsqueeze_dim(0),
        )
    }
}
