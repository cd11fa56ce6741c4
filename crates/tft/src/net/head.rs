//! From tokens to quantiles that cannot cross.
//!
//! In units of the window's own scale, with `a = P50 − P10` and `b = P90 − P50` of its last 24 hours:
//!
//! ```text
//! median = σ(l) · (last value − P50) + Σ σ(rₖ) · (recentₖ − P50) + σ(g) · shift
//! upper  = median + b · softplus(u₁) + softplus(u₂)
//! lower  = median − a · softplus(d₁) − softplus(d₂)
//! ```
//!
//! Recent are the same step yesterday, the same minute of the last hour, and that minute's mean over the last four hours and over the
//! day: jobs that run every hour are seen by them alone. The gate lets the median stay exactly where it was, which is what a
//! value that hardly ever changes needs. The additive widths open an interval where the last day was constant (`a = b = 0`). The layer starts at the quantiles
//! of the last 24 hours, which is the best naive forecast of most metrics: training only has to improve on it.

use super::random::Random;
use crate::config::{HEAD, Shape};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

/// First values of a step's numbers: last value and recent ones nearly off, no shift, own widths as they are, hardly any additive
/// width.
const START: [f32; HEAD] = [
    -2.5, -2.5, -3.0, -3.0, -3.0, 0.0, 0.0, 0.541_325, 0.541_325, -4.0, -4.0,
];
/// First weights are small, so that the start is what [`START`] says.
const SMALL: usize = 40;

/// Per metric and step: [`HEAD`] numbers from the token, the metric's own block of yesterday and its own summary.
#[derive(Module, Debug)]
pub(crate) struct Head {
    /// `[metrics, hidden, HEAD × block]`
    token: Param<Tensor<3>>,
    /// `[metrics, variable, HEAD × block]`
    yesterday: Param<Tensor<3>>,
    /// `[metrics, variable, HEAD × block]`
    summary: Param<Tensor<3>>,
    /// `[metrics, 1, HEAD × block]`
    bias: Param<Tensor<3>>,
}

impl Head {
    pub(crate) fn new(shape: &Shape, random: &mut Random, device: &Device) -> Self {
        let (metrics, block, c) = (shape.metrics, shape.config.block, &shape.config);
        let width = HEAD * block;
        let bias: Vec<f32> = (0..metrics)
            .flat_map(|_| START.iter().flat_map(|&v| vec![v; block]))
            .collect();
        let mut weights = |inputs: usize| {
            random.weights(
                [metrics, inputs, width],
                inputs * SMALL,
                width * SMALL,
                device,
            )
        };
        Self {
            token: weights(c.hidden),
            yesterday: weights(c.variable),
            summary: weights(c.variable),
            bias: Param::from_data(TensorData::new(bias, [metrics, 1, width]), device),
        }
    }

    /// The numbers of each step, `[metrics, H × batch, HEAD × block]`, of `token`: `[H × batch, hidden]`, `yesterday`:
    /// `[metrics, H × batch, variable]` and `summary`: `[metrics, batch, variable]`.
    pub(crate) fn forward(
        &self,
        token: Tensor<2>,
        yesterday: Tensor<3>,
        summary: Tensor<3>,
    ) -> Tensor<3> {
        let [metrics, batch, _] = summary.dims();
        let [rows, _] = token.dims();
        let per_sample = summary.matmul(self.summary.val()).add(self.bias.val());
        let [_, _, width] = per_sample.dims();
        token
            .unsqueeze_dim::<3>(0)
            .matmul(self.token.val())
            .add(yesterday.matmul(self.yesterday.val()))
            .reshape([metrics, rows / batch, batch, width])
            .add(per_sample.unsqueeze_dim(1))
            .reshape([metrics, rows, width])
    }
}
