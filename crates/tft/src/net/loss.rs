//! Masked pinball loss (Koenker and Bassett, 1978), all three quantiles in one go.

use super::head::Quantiles;
use crate::config::QUANTILES;
use burn::tensor::Tensor;

/// `Σ weight · (τ d⁺ + (1 − τ) d⁻) / Σ weight`, mean over the quantiles, with `d = target − quantile`; a finite target with weight 0 does
/// not count, whatever it is. All tensors `[metrics, H × batch, block]`; `total` is Σ weight.
pub(crate) fn pinball(
    forecast: &Quantiles,
    target: &Tensor<3>,
    weight: &Tensor<3>,
    total: f32,
) -> Tensor<1> {
    let one = |quantile: &Tensor<3>, tau: f32| {
        let d = target.clone().sub(quantile.clone());
        // τ d⁺ + (1 − τ) d⁻ = τ d + d⁻, with d⁻ = max(−d, 0)
        let below = burn::tensor::activation::relu(d.clone().neg());
        d.mul_scalar(tau).add(below)
    };
    let sum = one(&forecast.lower, QUANTILES[0])
        .add(one(&forecast.median, QUANTILES[1]))
        .add(one(&forecast.upper, QUANTILES[2]));
    sum.mul(weight.clone())
        .sum()
        .div_scalar(QUANTILES.len() as f32 * total.max(f32::MIN_POSITIVE))
}
