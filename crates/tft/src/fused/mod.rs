//! Groups of element-wise operations: fused kernels with handwritten gradients on the CPU, plain tensor operations elsewhere.
//!
//! A profile of the plain network spent a third of its time in scalar `exp` and `log`, and most of the rest in passing over memory once
//! per small operation. Each kernel here does one group of element-wise operations in one pass, vectorised for
//! the CPU at hand ([`simd`]), and knows its own gradient. The tests hold every kernel against [`plain`], values and
//! gradients. Which of the two runs is decided by the device of the tensors.
//!
//! They are not: matrix products (the backend's `gemm` does them).

#[cfg(feature = "flex")]
mod elu;
#[cfg(feature = "flex")]
mod gate;
mod head;
#[cfg(feature = "flex")]
mod kernel;
#[cfg(feature = "flex")]
mod lstm;
#[cfg(feature = "flex")]
mod mean_softmax;
mod plain;
#[cfg_attr(not(feature = "flex"), allow(dead_code))]
pub(crate) mod simd;
#[cfg(all(test, feature = "flex"))]
mod tests;
#[cfg(feature = "flex")]
mod weigh;

use burn::tensor::Tensor;

pub(crate) use head::{HeadInputs, head_quantiles};

/// One layer: `[d, 4 d]` recurrent weights and `[4 d]` bias.
pub(crate) struct LstmWeights {
    pub(crate) recurrent: Tensor<2>,
    pub(crate) bias: Tensor<1>,
}

/// Keeps a constant row from dividing by zero where it is normalised.
const EPSILON: f32 = 1e-5;

/// The kernel where the tensor is on the device that it is written for, else the plain operations.
macro_rules! by_device {
    ($tensor:expr, $kernel:expr, $plain:expr) => {{
        #[cfg(feature = "flex")]
        if kernel::runs_on(&$tensor.device()) {
            return $kernel;
        }
        $plain
    }};
}

/// `ELU(x + shift)`. `x`: `[outer, rows, width]`, `shift`: `[outer, period, width]` with `period` dividing `rows`; row `r` gets
/// shift `r mod period`. The result is `[rows, outer × width]`.
pub(crate) fn elu(x: Tensor<3>, shift: Tensor<3>) -> Tensor<2> {
    by_device!(x, elu::elu(x, shift), plain::elu(x, shift))
}

/// `LayerNorm(residual + a ⊙ σ(b))`, `a | b = x + bias`. `x`: `[rows, 2 width]`, `bias`: `[2 width]`, `residual`:
/// `[rows, width]`, `gamma`, `beta`: `[width]` → `[rows, width]`.
pub(crate) fn gate(
    x: Tensor<2>,
    bias: Tensor<1>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> Tensor<2> {
    by_device!(
        x,
        gate::gate(x, bias, residual, gamma, beta),
        plain::gate(x, bias, residual, gamma, beta)
    )
}

/// `x`: `[rows, variables × width]`, `scores`: `[rows, variables]` → `x` with each variable times its share of the softmax.
pub(crate) fn weigh(x: Tensor<2>, scores: Tensor<2>) -> Tensor<2> {
    by_device!(x, weigh::weigh(x, scores), plain::weigh(x, scores))
}

/// Softmax over the last dimension, averaged over heads: `[batch, heads, asking, all]` → `[batch, asking, all]`.
pub(crate) fn mean_softmax(scores: Tensor<4>) -> Tensor<3> {
    by_device!(
        scores,
        mean_softmax::mean_softmax(scores),
        plain::mean_softmax(scores)
    )
}

/// `past`: `[T × batch, 4 d]`, `future`: `[H × batch, 4 d]`, inputs times input weights; `hidden`, `cell`: `[batch, d]` →
/// hidden states `[(T + H) × batch, d]`.
pub(crate) fn lstm(
    past: Tensor<2>,
    future: Tensor<2>,
    encoder: LstmWeights,
    decoder: LstmWeights,
    hidden: Tensor<2>,
    cell: Tensor<2>,
) -> Tensor<2> {
    by_device!(
        past,
        lstm::lstm(past, future, encoder, decoder, hidden, cell),
        plain::lstm(past, future, encoder, decoder, hidden, cell)
    )
}

/// Loss `[1]` of `numbers` `[metrics, tokens × batch, HEAD × block]`.
pub(crate) fn head_loss(numbers: Tensor<3>, inputs: HeadInputs) -> Tensor<1> {
    by_device!(
        numbers,
        head::head_loss(numbers, inputs),
        plain::head_loss(&numbers, inputs)
    )
}
