//! Groups of element-wise operations: fused kernels with handwritten gradients on the CPU, plain tensor operations elsewhere.
//!
//! A profile of the plain network spent a third of its time in scalar `exp` and `log`, and most of the rest in passing over memory once
//! per small operation. Each kernel here does one group of element-wise operations in one pass, vectorised for
//! the CPU at hand ([`simd`]), and knows its own gradient. The tests hold every kernel against [`plain`], values and
//! gradients. Which of the two runs is decided by the device of the tensors. Numbers inside a group are f32, whatever kind comes in and
//! goes out again.
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

use burn::tensor::{FloatDType, Tensor};

pub(crate) use head::{HeadInputs, head_quantiles};

/// One layer: `[d, 4 d]` recurrent weights and `[4 d]` bias.
pub(crate) struct LstmWeights {
    pub(crate) recurrent: Tensor<2>,
    pub(crate) bias: Tensor<1>,
}

impl LstmWeights {
    fn single(self) -> Self {
        Self {
            recurrent: single(self.recurrent),
            bias: single(self.bias),
        }
    }
}

/// Keeps a constant row from dividing by zero where it is normalised.
const EPSILON: f32 = 1e-5;

/// The kernel where the tensor is on the device that it is written for, else the plain operations.
macro_rules! by_device {
    ($tensor:expr, $kernel:expr, $plain:expr) => {{
        #[cfg(feature = "flex")]
        let result = match kernel::runs_on(&$tensor.device()) {
            true => $kernel,
            false => $plain,
        };
        #[cfg(not(feature = "flex"))]
        let result = $plain;
        result
    }};
}

/// The same numbers in f32.
fn single<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}

/// `ELU(x + shift)`. `x`: `[outer, rows, width]`, `shift`: `[outer, period, width]` with `period` dividing `rows`; row `r` gets
/// shift `r mod period`. The result is `[rows, outer × width]`.
pub(crate) fn elu(x: Tensor<3>, shift: Tensor<3>) -> Tensor<2> {
    let kind = x.dtype();
    let (x, shift) = (single(x), single(shift));
    by_device!(x, elu::elu(x, shift), plain::elu(x, shift)).cast(kind)
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
    let kind = x.dtype();
    let (x, bias, residual) = (single(x), single(bias), single(residual));
    let (gamma, beta) = (single(gamma), single(beta));
    by_device!(
        x,
        gate::gate(x, bias, residual, gamma, beta),
        plain::gate(x, bias, residual, gamma, beta)
    )
    .cast(kind)
}

/// `x`: `[rows, variables × width]`, `scores`: `[rows, variables]` → `x` with each variable times its share of the softmax.
pub(crate) fn weigh(x: Tensor<2>, scores: Tensor<2>) -> Tensor<2> {
    let kind = x.dtype();
    let (x, scores) = (single(x), single(scores));
    by_device!(x, weigh::weigh(x, scores), plain::weigh(x, scores)).cast(kind)
}

/// Softmax over the last dimension, averaged over heads: `[batch, heads, asking, all]` → `[batch, asking, all]`.
pub(crate) fn mean_softmax(scores: Tensor<4>) -> Tensor<3> {
    let kind = scores.dtype();
    let scores = single(scores);
    by_device!(
        scores,
        mean_softmax::mean_softmax(scores),
        plain::mean_softmax(scores)
    )
    .cast(kind)
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
    let kind = past.dtype();
    let (past, future) = (single(past), single(future));
    let (encoder, decoder) = (encoder.single(), decoder.single());
    let (hidden, cell) = (single(hidden), single(cell));
    by_device!(
        past,
        lstm::lstm(past, future, encoder, decoder, hidden, cell),
        plain::lstm(past, future, encoder, decoder, hidden, cell)
    )
    .cast(kind)
}

/// Loss `[1]`, in f32, of `numbers` `[metrics, tokens × batch, HEAD × block]`.
pub(crate) fn head_loss(numbers: Tensor<3>, inputs: HeadInputs) -> Tensor<1> {
    let numbers = single(numbers);
    by_device!(
        numbers,
        head::head_loss(numbers, inputs),
        plain::head_loss(&numbers, inputs)
    )
}
