//! Embeddings of variables times their softmax weights.

use super::kernel::{Input, Kernel, Raw, dims, raw, run, values};
use super::simd::{by_rows_2, dot, exp, row, row_mut, vectorised};
use burn::tensor::Tensor;

#[derive(Debug, Clone)]
struct Weigh;

/// As `super::weigh`.
pub(super) fn weigh(x: Tensor<2>, scores: Tensor<2>) -> Tensor<2> {
    run(Weigh, [Input::of(x), Input::of(scores)])
}

#[derive(Debug, Clone)]
struct Saved {
    x: Raw,
    /// `[rows, variables]`
    weights: Vec<f32>,
}

impl Kernel<2> for Weigh {
    type Saved = Saved;

    fn forward(&self, [x, scores]: [Raw; 2]) -> (Raw, Saved) {
        let [rows, flat] = dims(&x);
        let [_, variables] = dims(&scores);
        let (width, xs, all) = (flat / variables, values(&x), values(&scores));
        let (mut out, mut weights) = (vec![0.0; rows * flat], all.to_vec());
        by_rows_2(
            [(&mut out, flat), (&mut weights, variables)],
            |first, out, weights| {
                vectorised(|| {
                    for (r, w) in weights.chunks_exact_mut(variables).enumerate() {
                        let highest = w.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        w.iter_mut().for_each(|v| *v = exp(*v - highest));
                        let scale = 1.0 / w.iter().sum::<f32>();
                        let (x, y) = (row(xs, first + r, flat), row_mut(out, r, flat));
                        for (v, weight) in w.iter_mut().enumerate() {
                            *weight *= scale;
                            let (from, to) = (row(x, v, width), row_mut(y, v, width));
                            for j in 0..width {
                                to[j] = from[j] * *weight;
                            }
                        }
                    }
                });
            },
        );
        (raw(out, [rows, flat]), Saved { x, weights })
    }

    fn backward(&self, saved: Saved, gradient: Raw) -> [Raw; 2] {
        let [rows, flat] = dims(&gradient);
        let variables = saved.weights.len() / rows;
        let (width, xs, gradients) = (flat / variables, values(&saved.x), values(&gradient));
        let (mut dx, mut ds) = (vec![0.0; rows * flat], vec![0.0; rows * variables]);
        by_rows_2([(&mut dx, flat), (&mut ds, variables)], |first, dx, ds| {
            vectorised(|| {
                for (r, s) in ds.chunks_exact_mut(variables).enumerate() {
                    let w = row(&saved.weights, first + r, variables);
                    let (x, g) = (row(xs, first + r, flat), row(gradients, first + r, flat));
                    let d = row_mut(dx, r, flat);
                    let mut mean = 0.0;
                    for v in 0..variables {
                        let (x, g, d) = (row(x, v, width), row(g, v, width), row_mut(d, v, width));
                        s[v] = dot(g, x);
                        mean += w[v] * s[v];
                        for j in 0..width {
                            d[j] = g[j] * w[v];
                        }
                    }
                    for (s, w) in s.iter_mut().zip(w) {
                        *s = w * (*s - mean);
                    }
                }
            });
        });
        [raw(dx, [rows, flat]), raw(ds, [rows, variables])]
    }
}
