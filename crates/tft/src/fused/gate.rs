//! `LayerNorm(residual + a ⊙ σ(b))`, `a | b = x + bias`: gated linear unit, skip and norm in one pass.

use super::EPSILON;
use super::kernel::{Input, Kernel, Raw, dims, raw, run, values};
use super::simd::{by_rows_2, dot, row, row_mut, sigmoid, sum, vectorised};
use burn::tensor::Tensor;

#[derive(Debug, Clone)]
struct Gate;

#[derive(Debug, Clone)]
struct Saved {
    x: Raw,
    bias: Raw,
    gamma: Raw,
    /// The rows before scale and shift, `[rows, width]`.
    normal: Raw,
    /// One over each row's standard deviation.
    scales: Vec<f32>,
}

/// As `super::gate`.
pub(super) fn gate(
    x: Tensor<2>,
    bias: Tensor<1>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
) -> Tensor<2> {
    run(
        Gate,
        [
            Input::of(x),
            Input::of(bias),
            Input::of(residual),
            Input::of(gamma),
            Input::of(beta),
        ],
    )
}

impl Kernel<5> for Gate {
    type Saved = Saved;

    fn forward(&self, [x, bias, residual, gamma, beta]: [Raw; 5]) -> (Raw, Saved) {
        let [rows, width] = dims(&residual);
        let (xs, biases, residuals) = (values(&x), values(&bias), values(&residual));
        let (gammas, betas) = (&values(&gamma)[..width], &values(&beta)[..width]);
        let (mut out, mut normal) = (vec![0.0; rows * width], vec![0.0; rows * width]);
        let scales = by_rows_2(
            [(&mut out, width), (&mut normal, width)],
            |first, out, normal| {
                let count = out.len() / width;
                let mut scales = vec![0.0; count];
                vectorised(|| {
                    let (bias_value, bias_gate) = (row(biases, 0, width), row(biases, 1, width));
                    for (r, scale) in scales.iter_mut().enumerate() {
                        let (value, gate) = (
                            row(xs, 2 * (first + r), width),
                            row(xs, 2 * (first + r) + 1, width),
                        );
                        let skip = row(residuals, first + r, width);
                        let h = row_mut(normal, r, width);
                        for j in 0..width {
                            h[j] = skip[j]
                                + (value[j] + bias_value[j]) * sigmoid(gate[j] + bias_gate[j]);
                        }
                        let mean = sum(h) / width as f32;
                        h.iter_mut().for_each(|v| *v -= mean);
                        *scale = 1.0 / (dot(h, h) / width as f32 + EPSILON).sqrt();
                        let y = row_mut(out, r, width);
                        for j in 0..width {
                            h[j] *= *scale;
                            y[j] = h[j] * gammas[j] + betas[j];
                        }
                    }
                });
                scales
            },
        );
        let scales = scales.concat();
        (
            raw(out, [rows, width]),
            Saved {
                x,
                bias,
                gamma,
                normal: raw(normal, [rows, width]),
                scales,
            },
        )
    }

    fn backward(&self, saved: Saved, gradient: Raw) -> [Raw; 5] {
        let [rows, width] = dims(&gradient);
        let (xs, biases) = (values(&saved.x), values(&saved.bias));
        let gammas = &values(&saved.gamma)[..width];
        let (normals, gradients) = (values(&saved.normal), values(&gradient));
        let (mut dx, mut dr) = (vec![0.0; rows * 2 * width], vec![0.0; rows * width]);
        let parts = by_rows_2([(&mut dx, 2 * width), (&mut dr, width)], |first, dx, dr| {
            // Gradients of bias, gamma and beta.
            let mut shared = vec![0.0; 4 * width];
            vectorised(|| {
                let (bias_value, bias_gate) = (row(biases, 0, width), row(biases, 1, width));
                let (d_bias, d_norm) = shared.split_at_mut(2 * width);
                let (d_gamma, d_beta) = d_norm.split_at_mut(width);
                let d_beta = &mut d_beta[..width];
                for r in 0..dr.len() / width {
                    let (g, h) = (
                        row(gradients, first + r, width),
                        row(normals, first + r, width),
                    );
                    let d = row_mut(dr, r, width);
                    for j in 0..width {
                        d_gamma[j] += g[j] * h[j];
                        d_beta[j] += g[j];
                        d[j] = g[j] * gammas[j];
                    }
                    let (mean, along) = (sum(d) / width as f32, dot(d, h) / width as f32);
                    let scale = saved.scales[first + r];
                    for j in 0..width {
                        d[j] = scale * (d[j] - mean - h[j] * along);
                    }
                    let (value, gate) = (
                        row(xs, 2 * (first + r), width),
                        row(xs, 2 * (first + r) + 1, width),
                    );
                    let d_row = row_mut(dx, r, 2 * width);
                    let (d_value, d_gate) = d_row.split_at_mut(width);
                    let d_gate = &mut d_gate[..width];
                    for j in 0..width {
                        let s = sigmoid(gate[j] + bias_gate[j]);
                        d_value[j] = d[j] * s;
                        d_gate[j] = d[j] * (value[j] + bias_value[j]) * s * (1.0 - s);
                    }
                    d_bias.iter_mut().zip(d_row).for_each(|(sum, d)| *sum += *d);
                }
            });
            shared
        });
        let mut shared = vec![0.0; 4 * width];
        for part in parts {
            shared
                .iter_mut()
                .zip(part)
                .for_each(|(sum, value)| *sum += value);
        }
        let beta = shared.split_off(3 * width);
        let gamma = shared.split_off(2 * width);
        [
            raw(dx, [rows, 2 * width]),
            raw(shared, [2 * width]),
            raw(dr, [rows, width]),
            raw(gamma, [width]),
            raw(beta, [width]),
        ]
    }
}
