//! From tokens to quantiles that cannot cross.
//!
//! In units of the window's own scale, with `a = P50 − P10` and `b = P90 − P50` of its last 24 hours:
//!
//! ```text
//! median = σ(l) · (last value − P50) + σ(y) · (same step yesterday − P50) + shift
//! upper  = median + b · softplus(u₁) + softplus(u₂)
//! lower  = median − a · softplus(d₁) − softplus(d₂)
//! ```
//!
//! The additive widths open an interval where the last day was constant (`a = b = 0`). The layer starts at the quantiles
//! of the last 24 hours, which is the best naive forecast of most metrics: training only has to improve on it.

use super::random::Random;
use crate::config::{HEAD, Shape};
use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, softplus};
use burn::tensor::{Device, Tensor, TensorData};

/// First values of the seven numbers: both naive forecasts off, no shift, own widths as they are, no additive width.
const START: [f32; HEAD] = [-2.5, -2.5, 0.0, 0.541_325, 0.541_325, -4.0, -4.0];
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

/// Quantiles in scaled units, each `[metrics, H × batch, block]`.
#[derive(Debug, Clone)]
pub(crate) struct Quantiles {
    pub(crate) lower: Tensor<3>,
    pub(crate) median: Tensor<3>,
    pub(crate) upper: Tensor<3>,
}

/// What the head starts from, scaled.
#[derive(Debug, Clone)]
pub(crate) struct Anchors {
    /// `[3, metrics, batch]`
    pub(crate) own: Tensor<3>,
    /// `[metrics, H × batch, block]`
    pub(crate) yesterday: Tensor<3>,
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

    /// `token`: `[H × batch, hidden]`, `yesterday`: `[metrics, H × batch, variable]`, `summary`: `[metrics, batch, variable]`.
    pub(crate) fn forward(
        &self,
        token: Tensor<2>,
        yesterday: Tensor<3>,
        summary: Tensor<3>,
        anchors: &Anchors,
    ) -> Quantiles {
        let [metrics, batch, _] = summary.dims();
        let [rows, _] = token.dims();
        let tokens = rows / batch;
        let per_sample = summary.matmul(self.summary.val()).add(self.bias.val());
        let [_, _, width] = per_sample.dims();
        let block = width / HEAD;
        let numbers = token
            .unsqueeze_dim::<3>(0)
            .matmul(self.token.val())
            .add(yesterday.matmul(self.yesterday.val()))
            .reshape([metrics, tokens, batch, width])
            .add(per_sample.unsqueeze_dim(1))
            .reshape([metrics, rows, width]);
        compose(numbers, anchors, [metrics, tokens, batch, block])
    }
}

/// The formulas above; `numbers`: `[metrics, tokens × batch, HEAD × block]`.
fn compose(numbers: Tensor<3>, anchors: &Anchors, sizes: [usize; 4]) -> Quantiles {
    let [metrics, tokens, batch, block] = sizes;
    let part = |k: usize| numbers.clone().narrow(2, k * block, block).reshape(sizes);
    let own = |k: usize| {
        anchors
            .own
            .clone()
            .narrow(0, k, 1)
            .reshape([metrics, 1, batch, 1])
    };
    let yesterday = anchors.yesterday.clone().reshape(sizes);
    let median = sigmoid(part(0))
        .mul(own(2))
        .add(sigmoid(part(1)).mul(yesterday))
        .add(part(2));
    let below = softplus(part(3), 1.0)
        .mul(own(0))
        .add(softplus(part(5), 1.0));
    let above = softplus(part(4), 1.0)
        .mul(own(1))
        .add(softplus(part(6), 1.0));
    let flat = |x: Tensor<4>| x.reshape([metrics, tokens * batch, block]);
    Quantiles {
        lower: flat(median.clone().sub(below)),
        upper: flat(median.clone().add(above)),
        median: flat(median),
    }
}

/// Heads that ignore what they are given are only needed by tests.
#[cfg(test)]
pub(crate) fn indifferent(shape: &Shape, start: [f32; HEAD], device: &Device) -> Head {
    let (metrics, block, c) = (shape.metrics, shape.config.block, &shape.config);
    let bias: Vec<f32> = (0..metrics)
        .flat_map(|_| start.iter().flat_map(|&v| vec![v; block]))
        .collect();
    Head {
        token: super::random::constant([metrics, c.hidden, HEAD * block], 0.0, device),
        yesterday: super::random::constant([metrics, c.variable, HEAD * block], 0.0, device),
        summary: super::random::constant([metrics, c.variable, HEAD * block], 0.0, device),
        bias: Param::from_data(TensorData::new(bias, [metrics, 1, HEAD * block]), device),
    }
}
