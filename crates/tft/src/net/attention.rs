//! Interpretable multi-head attention (arXiv:1912.09363, section 4.4): heads have their own queries and keys and share one V.
//!
//! Horizon tokens ask, all tokens answer. No causal mask: what a horizon token holds is known when the forecast is issued.

use super::random::Random;
use crate::fused;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

/// Attention of width `d` with `heads` heads.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl Attention {
    pub(crate) fn new(width: usize, heads: usize, random: &mut Random, device: &Device) -> Self {
        Self {
            query: random.linear(width, width, device),
            key: random.linear(width, width, device),
            value: random.linear(width, width / heads, device),
            output: random.linear(width / heads, width, device),
            heads,
        }
    }

    /// `asking`: `[H × batch, d]`, `all`: `[A × batch, d]` → `[H × batch, d]` and the mean weights `[batch, H, A]`.
    pub(crate) fn forward(
        &self,
        asking: Tensor<2>,
        all: Tensor<2>,
        batch: usize,
    ) -> (Tensor<2>, Tensor<3>) {
        let [ask_rows, width] = asking.dims();
        let [all_rows, _] = all.dims();
        let (ask, every, narrow) = (ask_rows / batch, all_rows / batch, width / self.heads);
        let split = |x: Tensor<2>, tokens: usize| {
            // [tokens × batch, heads × narrow] → [batch, heads, tokens, narrow]
            x.reshape([tokens, batch, self.heads, narrow])
                .permute([1, 2, 0, 3])
        };
        let query = split(
            self.query
                .forward(asking)
                .mul_scalar(1.0 / (narrow as f32).sqrt()),
            ask,
        );
        let key = split(self.key.forward(all.clone()), every);
        let weights = fused::mean_softmax(query.matmul(key.swap_dims(2, 3)));
        let value = self
            .value
            .forward(all)
            .reshape([every, batch, narrow])
            .swap_dims(0, 1);
        let seen = weights
            .clone()
            .matmul(value)
            .swap_dims(0, 1)
            .reshape([ask_rows, narrow]);
        (self.output.forward(seen), weights)
    }
}
