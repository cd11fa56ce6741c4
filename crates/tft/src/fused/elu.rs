//! `ELU(x + shift)` where the shift repeats along the rows, and where the result may be turned so that the variables of one row lie
//! side by side.

use super::kernel::{Input, Kernel, Raw, dims, raw, run, values};
use super::simd::{by_rows, exp, row, row_mut, vectorised};
use burn::tensor::Tensor;
use rayon::prelude::*;

#[derive(Debug, Clone)]
struct Elu;

/// As `super::elu`.
pub(super) fn elu(x: Tensor<3>, shift: Tensor<3>) -> Tensor<2> {
    run(Elu, [Input::of(x), Input::of(shift)])
}

/// The result, and the sizes `[outer, rows, width, period]`.
#[derive(Debug, Clone)]
struct Saved {
    result: Raw,
    sizes: [usize; 4],
}

impl Kernel<2> for Elu {
    type Saved = Saved;

    fn forward(&self, [x, shift]: [Raw; 2]) -> (Raw, Saved) {
        let [outer, rows, width] = dims(&x);
        let [_, period, _] = dims(&shift);
        let (xs, shifts) = (values(&x), values(&shift));
        let mut out = vec![0.0; rows * outer * width];
        by_rows(&mut out, outer * width, |first, out| {
            vectorised(|| {
                for o in 0..outer {
                    for r in 0..out.len() / (outer * width) {
                        let from = row(xs, o * rows + first + r, width);
                        let add = row(shifts, o * period + (first + r) % period, width);
                        let to = row_mut(out, r * outer + o, width);
                        for j in 0..width {
                            let v = from[j] + add[j];
                            to[j] = v.max(0.0) + (exp(v.min(0.0)) - 1.0);
                        }
                    }
                }
            });
        });
        let result = raw(out, [rows, outer * width]);
        (
            result.clone(),
            Saved {
                result,
                sizes: [outer, rows, width, period],
            },
        )
    }

    fn backward(&self, saved: Saved, gradient: Raw) -> [Raw; 2] {
        let [outer, rows, width, period] = saved.sizes;
        let (results, gradients) = (values(&saved.result), values(&gradient));
        let mut dx = vec![0.0; outer * rows * width];
        let tasks = dx.par_chunks_mut(rows * width).enumerate();
        let ds: Vec<Vec<f32>> = tasks
            .map(|(o, dx)| {
                let mut ds = vec![0.0; period * width];
                vectorised(|| {
                    for r in 0..rows {
                        let at = r * outer + o;
                        let (y, g) = (row(results, at, width), row(gradients, at, width));
                        let (d, s) = (row_mut(dx, r, width), row_mut(&mut ds, r % period, width));
                        for j in 0..width {
                            // The slope is 1 above zero and eˣ = y + 1 below.
                            d[j] = g[j] * (y[j].min(0.0) + 1.0);
                            s[j] += d[j];
                        }
                    }
                });
                ds
            })
            .collect();
        [
            raw(dx, [outer, rows, width]),
            raw(ds.concat(), [outer, period, width]),
        ]
    }
}
