//! Two LSTM layers one after the other in time, encoder and decoder, with their states handed on.
//!
//! The products with the inputs come in ready (one large product each); here are the recurrent ones and the gates, sample by
//! sample in parallel: no step waits for another sample. Gates in the order input, forget, candidate, output.

use super::LstmWeights;
use super::kernel::{Input, Kernel, Raw, dims, raw, run, values};
use super::simd::{parallel, row, row_mut, sigmoid, tanh, vectorised};
use burn::backend::Flex;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::Tensor;

/// Samples that one task handles, a few at a time so that a row of weights is read once for all of them.
const TASK_SAMPLES: usize = 32;
const TOGETHER: usize = 4;

#[derive(Debug, Clone)]
struct Lstm;

/// As `super::lstm`.
pub(super) fn lstm(
    past: Tensor<2>,
    future: Tensor<2>,
    encoder: LstmWeights,
    decoder: LstmWeights,
    hidden: Tensor<2>,
    cell: Tensor<2>,
) -> Tensor<2> {
    run(
        Lstm,
        [
            Input::of(past),
            Input::of(future),
            Input::of(encoder.recurrent),
            Input::of(encoder.bias),
            Input::of(decoder.recurrent),
            Input::of(decoder.bias),
            Input::of(hidden),
            Input::of(cell),
        ],
    )
}

#[derive(Debug, Clone)]
struct Saved {
    /// `[T + H, batch, 4 d]`: the gates after their functions.
    gates: Vec<f32>,
    /// `[T + H + 1, batch, d]`: cell states, the first one being what it started from; and the hidden ones.
    cells: Vec<f32>,
    hiddens: Vec<f32>,
    recurrent: [Raw; 2],
    past: usize,
    steps: usize,
    batch: usize,
    width: usize,
}

/// What one task computed for its samples: forward step by step, backward the gradients of the same (of the states, those that
/// its samples started from).
struct Part {
    gates: Vec<f32>,
    cells: Vec<f32>,
    hiddens: Vec<f32>,
}

impl Kernel<8> for Lstm {
    type Saved = Saved;

    fn forward(
        &self,
        [past, future, enc, enc_bias, dec, dec_bias, hidden, cell]: [Raw; 8],
    ) -> (Raw, Saved) {
        let [batch, width] = dims(&hidden);
        let ([past_rows, _], [future_rows, _]) = (dims(&past), dims(&future));
        let (past_steps, steps) = (past_rows / batch, (past_rows + future_rows) / batch);
        let input = |step: usize| match step.checked_sub(past_steps) {
            None => (
                &values(&past)[step * batch * 4 * width..],
                values(&enc),
                values(&enc_bias),
            ),
            Some(ahead) => (
                &values(&future)[ahead * batch * 4 * width..],
                values(&dec),
                values(&dec_bias),
            ),
        };
        let parts = parallel(batch.div_ceil(TASK_SAMPLES), |task| {
            let first = task * TASK_SAMPLES;
            let count = TASK_SAMPLES.min(batch - first);
            let start =
                |state: &Raw| values(state)[first * width..(first + count) * width].to_vec();
            let mut part = Part {
                gates: vec![0.0; steps * count * 4 * width],
                cells: start(&cell),
                hiddens: start(&hidden),
            };
            part.cells.resize((steps + 1) * count * width, 0.0);
            part.hiddens.resize((steps + 1) * count * width, 0.0);
            for step in 0..steps {
                let (inputs, weights, bias) = input(step);
                let inputs = &inputs[first * 4 * width..(first + count) * 4 * width];
                vectorised(|| part.step(step, count, width, inputs, weights, bias));
            }
            part
        });
        let tasks: Vec<usize> = parts
            .iter()
            .map(|p| p.gates.len() / (steps * 4 * width))
            .collect();
        let join = |field: fn(&Part) -> &Vec<f32>, rows: usize, size: usize| {
            let mut all = Vec::with_capacity(rows * batch * size);
            for row in 0..rows {
                for (part, count) in parts.iter().zip(&tasks) {
                    all.extend_from_slice(
                        &field(part)[row * count * size..(row + 1) * count * size],
                    );
                }
            }
            all
        };
        let hiddens = join(|p| &p.hiddens, steps + 1, width);
        let out = raw(hiddens[batch * width..].to_vec(), [steps * batch, width]);
        let saved = Saved {
            gates: join(|p| &p.gates, steps, 4 * width),
            cells: join(|p| &p.cells, steps + 1, width),
            hiddens,
            recurrent: [enc, dec],
            past: past_steps,
            steps,
            batch,
            width,
        };
        (out, saved)
    }

    fn backward(&self, saved: Saved, gradient: Raw) -> [Raw; 8] {
        let Saved {
            past,
            steps,
            batch,
            width,
            ..
        } = saved;
        let gradients = values(&gradient);
        let parts = parallel(batch.div_ceil(TASK_SAMPLES), |task| {
            let first = task * TASK_SAMPLES;
            let count = TASK_SAMPLES.min(batch - first);
            vectorised(|| saved.backward_samples(gradients, first, count))
        });
        let mut d_gates = Vec::with_capacity(steps * batch * 4 * width);
        for step in 0..steps {
            for part in &parts {
                let size = part.gates.len() / steps;
                d_gates.extend_from_slice(row(&part.gates, step, size));
            }
        }
        let start = |field: fn(&Part) -> &Vec<f32>| {
            let samples = parts.iter().flat_map(|p| field(p).iter().copied());
            raw(samples.collect(), [batch, width])
        };
        let (d_hidden, d_cell) = (start(|p| &p.hiddens), start(|p| &p.cells));
        let d_future = d_gates.split_off(past * batch * 4 * width);
        let layer = |from: usize, to: usize, d: Vec<f32>| {
            let rows = (to - from) * batch;
            let hiddens = saved.hiddens[from * batch * width..to * batch * width].to_vec();
            let d = raw(d, [rows, 4 * width]);
            let recurrent =
                Flex::float_matmul(raw(hiddens, [rows, width]).transpose(0, 1), d.clone());
            let mut bias = vec![0.0; 4 * width];
            vectorised(|| {
                for row in values(&d).chunks_exact(4 * width) {
                    bias.iter_mut()
                        .zip(row)
                        .for_each(|(sum, value)| *sum += value);
                }
            });
            (d, recurrent, raw(bias, [4 * width]))
        };
        let (d_past, enc, enc_bias) = layer(0, past, d_gates);
        let (d_future, dec, dec_bias) = layer(past, steps, d_future);
        [
            d_past, d_future, enc, enc_bias, dec, dec_bias, d_hidden, d_cell,
        ]
    }
}

impl Part {
    /// One step of `count` samples.
    #[inline(always)]
    fn step(
        &mut self,
        step: usize,
        count: usize,
        width: usize,
        inputs: &[f32],
        weights: &[f32],
        bias: &[f32],
    ) {
        let gates = &mut self.gates[step * count * 4 * width..][..count * 4 * width];
        let bias = &bias[..4 * width];
        for s in 0..count {
            let (to, from) = (row_mut(gates, s, 4 * width), row(inputs, s, 4 * width));
            for j in 0..4 * width {
                to[j] = from[j] + bias[j];
            }
        }
        let (known, next) = self.hiddens[step * count * width..].split_at_mut(count * width);
        product(gates, known, weights, width, 4 * width);
        let (cells, cells_next) = self.cells[step * count * width..].split_at_mut(count * width);
        for s in 0..count {
            let (input, rest) = row_mut(gates, s, 4 * width).split_at_mut(width);
            let (forget, rest) = rest.split_at_mut(width);
            let (candidate, output) = rest.split_at_mut(width);
            let (forget, candidate, output) = (
                &mut forget[..width],
                &mut candidate[..width],
                &mut output[..width],
            );
            let (cell, c, h) = (
                row(cells, s, width),
                row_mut(cells_next, s, width),
                row_mut(next, s, width),
            );
            for j in 0..width {
                let (i, f, z, o) = (
                    sigmoid(input[j]),
                    sigmoid(forget[j]),
                    tanh(candidate[j]),
                    sigmoid(output[j]),
                );
                c[j] = f * cell[j] + i * z;
                h[j] = o * tanh(c[j]);
                (input[j], forget[j], candidate[j], output[j]) = (i, f, z, o);
            }
        }
    }
}

/// `out += x W`; `x`: `[samples, inputs]`, `W`: `[inputs, outputs]`, a few samples at a time.
#[inline(always)]
fn product(out: &mut [f32], x: &[f32], weights: &[f32], inputs: usize, outputs: usize) {
    let mut rows = out.chunks_exact_mut(TOGETHER * outputs);
    let mut known = x.chunks_exact(TOGETHER * inputs);
    for (y, x) in (&mut rows).zip(&mut known) {
        let (y0, rest) = y.split_at_mut(outputs);
        let (y1, rest) = rest.split_at_mut(outputs);
        let (y2, y3) = rest.split_at_mut(outputs);
        let (y1, y2, y3) = (&mut y1[..outputs], &mut y2[..outputs], &mut y3[..outputs]);
        for k in 0..inputs {
            let w = row(weights, k, outputs);
            let (a, b, c, d) = (x[k], x[inputs + k], x[2 * inputs + k], x[3 * inputs + k]);
            for j in 0..outputs {
                y0[j] += a * w[j];
                y1[j] += b * w[j];
                y2[j] += c * w[j];
                y3[j] += d * w[j];
            }
        }
    }
    let rest = rows
        .into_remainder()
        .chunks_exact_mut(outputs)
        .zip(known.remainder().chunks_exact(inputs));
    for (y, x) in rest {
        let y = &mut y[..outputs];
        for (k, a) in x.iter().enumerate() {
            let w = row(weights, k, outputs);
            for j in 0..outputs {
                y[j] += a * w[j];
            }
        }
    }
}

/// `[rows, columns]` turned.
fn turned(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; matrix.len()];
    for r in 0..rows {
        for c in 0..columns {
            out[c * rows + r] = matrix[r * columns + c];
        }
    }
    out
}

impl Saved {
    /// Gradients of samples `first…`.
    #[inline(always)]
    fn backward_samples(&self, gradients: &[f32], first: usize, count: usize) -> Part {
        let &Saved {
            past,
            steps,
            batch,
            width,
            ..
        } = self;
        let weights = [0, 1].map(|layer| turned(values(&self.recurrent[layer]), width, 4 * width));
        let mut d_gates = vec![0.0; steps * count * 4 * width];
        let (mut d_hidden, mut d_cell) = (vec![0.0; count * width], vec![0.0; count * width]);
        for step in (0..steps).rev() {
            let d_step = &mut d_gates[step * count * 4 * width..(step + 1) * count * 4 * width];
            for s in 0..count {
                let sample = step * batch + first + s;
                let gates = row(&self.gates, sample, 4 * width);
                let (before, after) = (
                    row(&self.cells, sample, width),
                    row(&self.cells, sample + batch, width),
                );
                let from_above = row(gradients, sample, width);
                let (dh, dc) = (row(&d_hidden, s, width), row_mut(&mut d_cell, s, width));
                let (i, f) = (row(gates, 0, width), row(gates, 1, width));
                let (z, o) = (row(gates, 2, width), row(gates, 3, width));
                let (di, rest) = row_mut(d_step, s, 4 * width).split_at_mut(width);
                let (df, rest) = rest.split_at_mut(width);
                let (dz, d_o) = rest.split_at_mut(width);
                let (df, dz, d_o) = (&mut df[..width], &mut dz[..width], &mut d_o[..width]);
                for j in 0..width {
                    let h = dh[j] + from_above[j];
                    let t = tanh(after[j]);
                    let c = dc[j] + h * o[j] * (1.0 - t * t);
                    d_o[j] = h * t * o[j] * (1.0 - o[j]);
                    di[j] = c * z[j] * i[j] * (1.0 - i[j]);
                    df[j] = c * before[j] * f[j] * (1.0 - f[j]);
                    dz[j] = c * i[j] * (1.0 - z[j] * z[j]);
                    dc[j] = c * f[j];
                }
            }
            d_hidden.fill(0.0);
            let layer = usize::from(step >= past);
            product(&mut d_hidden, d_step, &weights[layer], 4 * width, width);
        }
        Part {
            gates: d_gates,
            cells: d_cell,
            hiddens: d_hidden,
        }
    }
}
