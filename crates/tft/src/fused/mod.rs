//! Fused operations with handwritten gradients, for the CPU backend.
//!
//! A profile of the plain network spent a third of its time in scalar `exp` and `log`, and most of the rest in passing over memory once
//! per small operation. Each kernel here does one group of element-wise operations in one pass, vectorised for
//! the CPU at hand ([`simd`]), and knows its own gradient. The tests hold every kernel against the same formula in plain
//! operations, values and gradients.
//!
//! They are not: matrix products (the backend's `gemm` does them), and not for other devices than the CPU.

mod elu;
mod gate;
mod head;
mod kernel;
mod lstm;
mod mean_softmax;
pub(crate) mod simd;
#[cfg(test)]
mod tests;
mod weigh;

pub(crate) use elu::elu;
pub(crate) use gate::gate;
pub(crate) use head::{HeadInputs, head_loss, head_quantiles};
pub(crate) use lstm::{LstmWeights, lstm};
pub(crate) use mean_softmax::mean_softmax;
pub(crate) use weigh::weigh;
