//! The head's numbers to quantiles, and to the loss with its gradient (formulas in `net::head`).
//!
//! Loss: pinball of `arcsinh(actual) − arcsinh(quantile)` in scaled units. A monotone function keeps quantiles quantiles, so the best forecast is the same;
//! but a spike of a thousand spreads no longer pulls a thousand times as hard as what happens every day.

#[cfg(feature = "flex")]
use super::kernel::{Input, Kernel, Raw, raw, run, values};
#[cfg(feature = "flex")]
use super::simd::arcsinh;
use super::simd::{parallel, softplus, vectorised};
#[cfg(feature = "flex")]
use crate::config::QUANTILES;
use crate::config::{HEAD, RECENT};
#[cfg(feature = "flex")]
use burn::tensor::Tensor;
#[cfg(feature = "flex")]
use std::sync::Arc;

/// Places of a step's numbers: the first is the weight of the last value, those of the [`RECENT`] follow.
pub(crate) const SHIFT: usize = 1 + RECENT;
pub(crate) const GATE: usize = SHIFT + 1;
pub(crate) const BELOW: usize = GATE + 1;
pub(crate) const ABOVE: usize = BELOW + 1;
pub(crate) const BELOW_MORE: usize = ABOVE + 1;
pub(crate) const ABOVE_MORE: usize = BELOW_MORE + 1;

/// Rows that one task handles.
const TASK: usize = 512;

/// What the head starts from and, in training, what came: layouts as in [`crate::batch::Batch`].
#[derive(Debug, Clone)]
pub(crate) struct HeadInputs {
    pub(crate) metrics: usize,
    /// Horizon tokens.
    pub(crate) tokens: usize,
    pub(crate) batch: usize,
    pub(crate) block: usize,
    /// `[3, metrics, batch]`
    pub(crate) anchors: Vec<f32>,
    /// `[RECENT, metrics, tokens × batch, block]`
    pub(crate) recent: Vec<f32>,
    /// `[metrics, tokens × batch, block]`; empty unless in training.
    pub(crate) target: Vec<f32>,
    /// As `target`.
    pub(crate) weight: Vec<f32>,
    /// Sum that the loss is divided by.
    pub(crate) total: f32,
}

#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
struct Loss(Arc<HeadInputs>);

/// As `super::head_loss`.
#[cfg(feature = "flex")]
pub(super) fn head_loss(numbers: Tensor<3>, inputs: HeadInputs) -> Tensor<1> {
    run(Loss(Arc::new(inputs)), [Input::of(numbers)])
}

/// Functions of a task's numbers.
struct Activated {
    /// Sigmoid of each number: also the slope of the softplus.
    sigmoid: Vec<f32>,
    softplus: Vec<f32>,
}

#[inline(always)]
fn activated(numbers: &[f32]) -> Activated {
    let mut a = Activated {
        sigmoid: vec![0.0; numbers.len()],
        softplus: vec![0.0; numbers.len()],
    };
    for ((x, s), p) in numbers.iter().zip(&mut a.sigmoid).zip(&mut a.softplus) {
        (*p, *s) = softplus(*x);
    }
    a
}

/// What a row starts from: P50 − P10, P90 − P50 and last value of its metric and sample.
#[inline(always)]
fn anchors(inputs: &HeadInputs, row: usize) -> [f32; 3] {
    let (metric, sample) = (row / (inputs.tokens * inputs.batch), row % inputs.batch);
    let (plane, at) = (
        inputs.metrics * inputs.batch,
        metric * inputs.batch + sample,
    );
    [
        inputs.anchors[at],
        inputs.anchors[plane + at],
        inputs.anchors[2 * plane + at],
    ]
}

/// What the step at `point` can lean on.
#[inline(always)]
fn recent(inputs: &HeadInputs, point: usize) -> [f32; RECENT] {
    let plane = inputs.recent.len() / RECENT;
    std::array::from_fn(|k| inputs.recent[k * plane + point])
}

/// P10, P50 and P90 of one step.
#[inline(always)]
fn quantiles(
    x: &[f32],
    a: &Activated,
    at: usize,
    block: usize,
    own: [f32; 3],
    recent: [f32; RECENT],
) -> [f32; 3] {
    let [below, above, last] = own;
    let number = |k: usize| at + k * block;
    let mut median = a.sigmoid[number(0)] * last + x[number(SHIFT)] * a.sigmoid[number(GATE)];
    for (k, value) in recent.into_iter().enumerate() {
        median += a.sigmoid[number(1 + k)] * value;
    }
    let lower = median - (below * a.softplus[number(BELOW)] + a.softplus[number(BELOW_MORE)]);
    let upper = median + (above * a.softplus[number(ABOVE)] + a.softplus[number(ABOVE_MORE)]);
    [lower, median, upper]
}

/// Quantiles `[3, metrics, tokens × batch, block]` of `numbers` `[metrics, tokens × batch, HEAD × block]`.
pub(crate) fn head_quantiles(numbers: &[f32], inputs: &HeadInputs) -> Vec<f32> {
    let block = inputs.block;
    let rows = inputs.metrics * inputs.tokens * inputs.batch;
    let width = HEAD * block;
    if numbers.len() != rows * width {
        return Vec::new();
    }
    let parts = parallel(rows.div_ceil(TASK), |task| {
        let first = task * TASK;
        let count = TASK.min(rows - first);
        let mut out = vec![0.0; 3 * count * block];
        vectorised(|| {
            let x = &numbers[first * width..(first + count) * width];
            let a = activated(x);
            for r in 0..count {
                let own = anchors(inputs, first + r);
                for i in 0..block {
                    let recent = recent(inputs, (first + r) * block + i);
                    let found = quantiles(x, &a, r * width + i, block, own, recent);
                    for (k, value) in found.into_iter().enumerate() {
                        out[(k * count + r) * block + i] = value;
                    }
                }
            }
        });
        out
    });
    let mut all = Vec::with_capacity(3 * rows * block);
    for k in 0..3 {
        for part in &parts {
            let size = part.len() / 3;
            all.extend_from_slice(&part[k * size..(k + 1) * size]);
        }
    }
    all
}

#[cfg(feature = "flex")]
impl Kernel<1> for Loss {
    /// Gradient of the numbers.
    type Saved = Raw;

    fn forward(&self, [numbers]: [Raw; 1]) -> (Raw, Raw) {
        let inputs = &*self.0;
        let block = inputs.block;
        let rows = inputs.metrics * inputs.tokens * inputs.batch;
        let width = HEAD * block;
        let all = values(&numbers);
        let share = 1.0 / (QUANTILES.len() as f32 * inputs.total.max(f32::MIN_POSITIVE));
        let parts = parallel(rows.div_ceil(TASK), |task| {
            let first = task * TASK;
            let count = TASK.min(rows - first);
            let mut gradient = vec![0.0; count * width];
            let loss = vectorised(|| {
                let x = &all[first * width..(first + count) * width];
                let a = activated(x);
                let mut loss = 0.0_f64;
                for r in 0..count {
                    let row = first + r;
                    let part = &mut gradient[r * width..(r + 1) * width];
                    loss += f64::from(row_loss(inputs, x, &a, r * width, row, part, share));
                }
                loss
            });
            (loss, gradient)
        });
        let loss = parts.iter().map(|(loss, _)| loss).sum::<f64>() as f32;
        let gradient: Vec<_> = parts.into_iter().map(|(_, gradient)| gradient).collect();
        let shape = [inputs.metrics, inputs.tokens * inputs.batch, width];
        (raw(vec![loss], [1]), raw(gradient.concat(), shape))
    }

    fn backward(&self, saved: Raw, gradient: Raw) -> [Raw; 1] {
        use burn::backend::Flex;
        use burn::backend::ops::FloatTensorOps;
        let factor = values(&gradient).first().copied().unwrap_or(0.0);
        if factor == 1.0 {
            [saved]
        } else {
            [Flex::float_mul_scalar(saved, factor.into())]
        }
    }
}

#[cfg(feature = "flex")]
/// Loss of one row, weighted; writes the gradient of its numbers.
#[inline(always)]
fn row_loss(
    inputs: &HeadInputs,
    x: &[f32],
    a: &Activated,
    at: usize,
    row: usize,
    gradient: &mut [f32],
    share: f32,
) -> f32 {
    let block = inputs.block;
    let own = anchors(inputs, row);
    let [below, above, last] = own;
    let mut loss = 0.0;
    for i in 0..block {
        let point = row * block + i;
        let (recent, target) = (recent(inputs, point), inputs.target[point]);
        let weight = inputs.weight[point] * share;
        let found = quantiles(x, a, at + i, block, own, recent);
        let mut slopes = [0.0_f32; 3];
        for ((quantile, tau), slope) in found.into_iter().zip(QUANTILES).zip(&mut slopes) {
            let d = arcsinh(target) - arcsinh(quantile);
            let s = if d > 0.0 { tau } else { tau - 1.0 };
            loss += weight * s * d;
            *slope = -weight * s / (1.0 + quantile * quantile).sqrt();
        }
        let [lower, median, upper] = slopes;
        let whole = lower + median + upper;
        let sigmoid = |k: usize| a.sigmoid[at + k * block + i];
        let slope = |k: usize| sigmoid(k) * (1.0 - sigmoid(k));
        gradient[i] = whole * last * slope(0);
        for (k, value) in (1..).zip(recent) {
            gradient[k * block + i] = whole * value * slope(k);
        }
        gradient[SHIFT * block + i] = whole * sigmoid(GATE);
        gradient[GATE * block + i] = whole * x[at + SHIFT * block + i] * slope(GATE);
        gradient[BELOW * block + i] = -lower * below * sigmoid(BELOW);
        gradient[ABOVE * block + i] = upper * above * sigmoid(ABOVE);
        gradient[BELOW_MORE * block + i] = -lower * sigmoid(BELOW_MORE);
        gradient[ABOVE_MORE * block + i] = upper * sigmoid(ABOVE_MORE);
    }
    loss
}
