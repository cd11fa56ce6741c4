//! The operations of this module as plain tensor operations: what the kernels are held against, and what other devices run.

use super::head::{ABOVE, ABOVE_MORE, BELOW, BELOW_MORE, GATE, SHIFT};
use super::{HeadInputs, LstmWeights};
use crate::config::{HEAD, QUANTILES, RECENT};
use burn::tensor::activation::{log_sigmoid, relu, sigmoid, softmax, tanh};
use burn::tensor::module::layer_norm;
use burn::tensor::{Tensor, TensorData};

/// As `super::elu`.
pub(super) fn elu(x: Tensor<3>, shift: Tensor<3>) -> Tensor<2> {
    let ([outer, rows, width], [_, period, _]) = (x.dims(), shift.dims());
    let y = x
        .reshape([outer, rows / period, period, width])
        .add(shift.unsqueeze_dim(1))
        .reshape([outer, rows, width]);
    // Not `exp` of positive values: its overflow would make the gradient NaN.
    let y = relu(y.clone()).add(y.clamp_max(0.0).exp().sub_scalar(1.0));
    y.permute([1, 0, 2]).reshape([rows, outer * width])
}

/// As `super::gate`.
pub(super) fn gate(
    x: Tensor<2>,
    bias: Tensor<1>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> Tensor<2> {
    let [_, width] = residual.dims();
    let shifted = x.add(bias.unsqueeze_dim(0));
    let open = sigmoid(shifted.clone().narrow(1, width, width));
    let linear = shifted.narrow(1, 0, width).mul(open);
    layer_norm(
        residual.add(linear),
        gamma,
        Some(beta),
        f64::from(super::EPSILON),
    )
}

/// As `super::weigh`.
pub(super) fn weigh(x: Tensor<2>, scores: Tensor<2>) -> Tensor<2> {
    let ([rows, flat], [_, variables]) = (x.dims(), scores.dims());
    x.reshape([rows, variables, flat / variables])
        .mul(softmax(scores, 1).unsqueeze_dim::<3>(2))
        .reshape([rows, flat])
}

/// As `super::mean_softmax`.
pub(super) fn mean_softmax(scores: Tensor<4>) -> Tensor<3> {
    let [batch, _, asking, all] = scores.dims();
    softmax(scores, 3).mean_dim(1).reshape([batch, asking, all])
}

/// As `super::lstm`.
pub(super) fn lstm(
    past: Tensor<2>,
    future: Tensor<2>,
    encoder: LstmWeights,
    decoder: LstmWeights,
    hidden: Tensor<2>,
    cell: Tensor<2>,
) -> Tensor<2> {
    let (mut steps, hidden, cell) = layer(past, encoder, hidden, cell);
    steps.extend(layer(future, decoder, hidden, cell).0);
    Tensor::cat(steps, 0)
}

/// One layer, step by step: hidden states of all steps, last hidden state, last cell state.
fn layer(
    inputs: Tensor<2>,
    weights: LstmWeights,
    mut hidden: Tensor<2>,
    mut cell: Tensor<2>,
) -> (Vec<Tensor<2>>, Tensor<2>, Tensor<2>) {
    let ([rows, _], [batch, width]) = (inputs.dims(), hidden.dims());
    let inputs = inputs.add(weights.bias.unsqueeze_dim(0));
    let mut out = Vec::with_capacity(rows / batch);
    for now in inputs.split(batch, 0) {
        let gates = now.add(hidden.matmul(weights.recurrent.clone()));
        let part = |k: usize| gates.clone().narrow(1, k * width, width);
        let kept = sigmoid(part(1)).mul(cell);
        cell = kept.add(sigmoid(part(0)).mul(tanh(part(2))));
        hidden = sigmoid(part(3)).mul(tanh(cell.clone()));
        out.push(hidden.clone());
    }
    (out, hidden, cell)
}

/// P10, P50 and P90 `[metrics, tokens, batch, block]` of `numbers`, as in [`crate::net`]'s head.
pub(super) fn quantiles(numbers: &Tensor<3>, inputs: &HeadInputs) -> [Tensor<4>; 3] {
    let [metrics, tokens, batch, block] = sizes(inputs);
    let part = |k: usize| {
        let own = numbers.clone().narrow(2, k * block, block);
        own.reshape([metrics, tokens, batch, block])
    };
    // log(1 + eˣ), without overflow.
    let width = |k: usize| log_sigmoid(part(k).neg()).neg();
    let plane = metrics * batch;
    let anchor = |k: usize| {
        let values = inputs.anchors[k * plane..(k + 1) * plane].to_vec();
        constant(values, [metrics, 1, batch, 1], numbers)
    };
    let points = inputs.recent.len() / RECENT;
    let start = sigmoid(part(0))
        .mul(anchor(2))
        .add(sigmoid(part(GATE)).mul(part(SHIFT)));
    let median =
        inputs
            .recent
            .chunks_exact(points.max(1))
            .zip(1..)
            .fold(start, |sum, (recent, k)| {
                let recent = constant(recent.to_vec(), sizes(inputs), numbers);
                sum.add(sigmoid(part(k)).mul(recent))
            });
    let below = width(BELOW).mul(anchor(0)).add(width(BELOW_MORE));
    let above = width(ABOVE).mul(anchor(1)).add(width(ABOVE_MORE));
    [median.clone().sub(below), median.clone(), median.add(above)]
}

/// As `super::head_loss`.
pub(super) fn head_loss(numbers: &Tensor<3>, inputs: HeadInputs) -> Tensor<1> {
    debug_assert_eq!(numbers.dims()[2], HEAD * inputs.block);
    let found = quantiles(numbers, &inputs);
    let shape = sizes(&inputs);
    let target = constant(inputs.target, shape, numbers);
    let weight = constant(inputs.weight, shape, numbers);
    let [lower, median, upper] = found;
    let [low, mid, high] = QUANTILES;
    let pinball = |quantile: Tensor<4>, tau: f32| {
        // τ d⁺ + (1 − τ) d⁻ = τ d + d⁻
        let d = target.clone().asinh().sub(quantile.asinh());
        d.clone().mul_scalar(tau).add(relu(d.neg()))
    };
    pinball(lower, low)
        .add(pinball(median, mid))
        .add(pinball(upper, high))
        .mul(weight)
        .sum()
        .div_scalar(QUANTILES.len() as f32 * inputs.total.max(f32::MIN_POSITIVE))
}

fn sizes(inputs: &HeadInputs) -> [usize; 4] {
    [inputs.metrics, inputs.tokens, inputs.batch, inputs.block]
}

/// Values that no gradient flows to, where `like` is.
fn constant(values: Vec<f32>, shape: [usize; 4], like: &Tensor<3>) -> Tensor<4> {
    let device = like.device().without_autodiff();
    Tensor::from_data(TensorData::new(values, shape), &device)
}
