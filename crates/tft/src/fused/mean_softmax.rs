//! Softmax over the last dimension, averaged over heads.

use super::kernel::{Input, Kernel, Raw, dims, raw, run, values};
use super::simd::{dot, exp, row, row_mut, sum, vectorised};
use burn::tensor::Tensor;
use rayon::prelude::*;

#[derive(Debug, Clone)]
struct MeanSoftmax;

/// As `super::mean_softmax`.
pub(super) fn mean_softmax(scores: Tensor<4>) -> Tensor<3> {
    run(MeanSoftmax, [Input::of(scores)])
}

/// Softmax of each head.
#[derive(Debug, Clone)]
struct Saved {
    weights: Vec<f32>,
    sizes: [usize; 4],
}

impl Kernel<1> for MeanSoftmax {
    type Saved = Saved;

    fn forward(&self, [scores]: [Raw; 1]) -> (Raw, Saved) {
        let sizes @ [batch, heads, asking, all] = dims(&scores);
        let plane = asking * all;
        let scores = values(&scores);
        let (mut means, mut weights) = (vec![0.0; batch * plane], scores.to_vec());
        let tasks = means
            .par_chunks_mut(plane)
            .zip(weights.par_chunks_mut(heads * plane));
        tasks.for_each(|(mean, weights)| {
            vectorised(|| {
                let share = 1.0 / heads as f32;
                for head in weights.chunks_exact_mut(plane) {
                    for asker in 0..asking {
                        let (w, m) = (row_mut(head, asker, all), row_mut(mean, asker, all));
                        let highest = w.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        w.iter_mut().for_each(|v| *v = exp(*v - highest));
                        let scale = 1.0 / sum(w);
                        for j in 0..all {
                            w[j] *= scale;
                            m[j] += w[j] * share;
                        }
                    }
                }
            });
        });
        (raw(means, [batch, asking, all]), Saved { weights, sizes })
    }

    fn backward(&self, saved: Saved, gradient: Raw) -> [Raw; 1] {
        let [_, heads, asking, all] = saved.sizes;
        let plane = asking * all;
        let gradients = values(&gradient);
        let mut weights = saved.weights;
        let tasks = weights
            .par_chunks_mut(heads * plane)
            .zip(gradients.par_chunks(plane));
        tasks.for_each(|(weights, gradients)| {
            vectorised(|| {
                let share = 1.0 / heads as f32;
                for head in weights.chunks_exact_mut(plane) {
                    for asker in 0..asking {
                        let (w, g) = (row_mut(head, asker, all), row(gradients, asker, all));
                        let mean = dot(w, g);
                        for j in 0..all {
                            w[j] *= share * (g[j] - mean);
                        }
                    }
                }
            });
        });
        [raw(weights, saved.sizes)]
    }
}
