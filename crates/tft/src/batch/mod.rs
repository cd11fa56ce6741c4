//! Windows to numbers: assembles the inputs of a batch from contiguous columns.
//!
//! All arrays of a batch are allocated once, whatever its size, and written in the order in which the network reads them (tokens
//! time-major, variables outermost). A value that is absent is 0 with its mask bit 0: it cannot influence a forecast.
//! It is not: a choice of windows (`train::plan`) or a network.

mod source;
mod summary;
#[cfg(test)]
mod tests;

pub(crate) use source::Source;

use crate::calendar::{CALENDAR, calendar};
use crate::config::{AROUND, QUANTILES, STATIC_FEATURES, Shape};
use crate::data::Columns;
use crate::fused::simd::{arcsinh, vectorised};
use crate::scale::{Normalisation, Scale};
use chrono_tz::Tz;
use summary::summary;

/// Inputs (and in training targets) of `size` windows. `T`, `H`: tokens of context and horizon; `V`: variables; `M`: metrics.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) size: usize,
    /// `[V, T × size, past_features]`
    pub(crate) past: Vec<f32>,
    /// `[V, H × size, future_features]`
    pub(crate) future: Vec<f32>,
    /// `[M, size, STATIC_FEATURES]`
    pub(crate) statics: Vec<f32>,
    /// `[size, profiles]`, one-hot
    pub(crate) profile: Vec<f32>,
    /// `[size, id_buckets]`, one-hot; all 0 for a server that is not known
    pub(crate) identity: Vec<f32>,
    /// `[3, M, size]`: P50 − P10, P90 − P50 and last value − P50, scaled
    pub(crate) anchors: Vec<f32>,
    /// `[M, H × size, block]`: the same step yesterday − P50, scaled
    pub(crate) yesterday: Vec<f32>,
    /// `[M, H × size, block]`, scaled; 0 where absent
    pub(crate) target: Vec<f32>,
    /// `[M, H × size, block]`; 0 where the target is absent
    pub(crate) weight: Vec<f32>,
    /// Sum of the weights, those of the metrics left out: the loss is divided by it.
    pub(crate) total: f32,
    /// `[size × M]`
    pub(crate) scales: Vec<Scale>,
}

/// What is fixed for all batches of a model.
#[derive(Debug, Clone)]
pub(crate) struct Assembler {
    pub(crate) shape: Shape,
    pub(crate) normalisation: Normalisation,
    pub(crate) step_ms: i64,
    pub(crate) time_zone: Tz,
    /// Ids seen in training, sorted.
    pub(crate) known: Vec<u32>,
    /// Weight of a metric in the loss.
    pub(crate) metric_weight: Vec<f32>,
}

/// Reused between the windows of a batch.
#[derive(Default)]
struct Scratch {
    steps: Vec<f32>,
    sorted: Vec<f32>,
    scaled: Vec<f32>,
}

impl Assembler {
    /// Inputs of `windows`; with `targets` their actual values too. `hide_id(i)` says whether window `i` hides its id.
    pub(crate) fn assemble(
        &self,
        windows: &[Source<'_>],
        targets: bool,
        mut hide_id: impl FnMut(usize) -> bool,
    ) -> Batch {
        let (s, size) = (&self.shape, windows.len());
        let points = if targets {
            s.metrics * s.horizon * size
        } else {
            0
        };
        let mut batch = Batch {
            size,
            past: vec![0.0; s.variables() * s.past() * size * s.past_features()],
            future: vec![0.0; s.variables() * s.future() * size * s.future_features()],
            statics: vec![0.0; s.metrics * size * STATIC_FEATURES],
            profile: vec![0.0; size * s.profiles],
            identity: vec![0.0; size * s.config.id_buckets],
            anchors: vec![0.0; 3 * s.metrics * size],
            yesterday: vec![0.0; s.metrics * s.horizon * size],
            target: vec![0.0; points],
            weight: vec![0.0; points],
            total: 0.0,
            scales: Vec::with_capacity(size * s.metrics),
        };
        let mut scratch = Scratch {
            steps: vec![f32::NAN; s.context + if targets { s.horizon } else { 0 }],
            sorted: Vec::with_capacity(s.day),
            scaled: vec![f32::NAN; s.context],
        };
        for (b, window) in windows.iter().enumerate() {
            for metric in 0..s.metrics {
                window.fill(metric, s.metrics, s.context, &mut scratch.steps);
                self.metric(&mut batch, b, metric, targets, &mut scratch);
            }
            self.calendar(&mut batch, b, window);
            self.statics(&mut batch, b, window, hide_id(b));
        }
        batch
    }

    /// Weighs the metrics so that the quantiles of the last 24 hours have loss 1 for each of them on `windows`.
    pub(crate) fn weigh(&mut self, columns: &[Columns], windows: &[(usize, usize)]) {
        let s = self.shape;
        let mut sums = vec![[0.0_f64; 2]; s.metrics];
        for chunk in windows.chunks(64) {
            let sources: Vec<_> = chunk
                .iter()
                .map(|&(series, issue)| Source::Columns {
                    columns: &columns[series],
                    issue,
                })
                .collect();
            let batch = self.assemble(&sources, true, |_| true);
            let plane = s.metrics * batch.size;
            for (at, (&target, &weight)) in batch.target.iter().zip(&batch.weight).enumerate() {
                // [metric, token, sample, step]
                let sample = at / s.config.block % batch.size;
                let metric = at / (s.horizon * batch.size);
                let own = metric * batch.size + sample;
                let quantiles = [-batch.anchors[own], 0.0, batch.anchors[plane + own]];
                let loss: f32 = quantiles
                    .iter()
                    .zip(QUANTILES)
                    .map(|(q, tau)| (tau * (target - q)).max((tau - 1.0) * (target - q)))
                    .sum();
                sums[metric][0] += f64::from(weight * loss / QUANTILES.len() as f32);
                sums[metric][1] += f64::from(weight);
            }
        }
        for (weight, [loss, total]) in self.metric_weight.iter_mut().zip(sums) {
            // A metric that never changes has no loss to compare with, one that is absent none at all.
            *weight = if loss > 0.0 {
                (*weight * (total / loss) as f32).min(LARGEST_WEIGHT)
            } else {
                1.0
            };
        }
    }

    /// One metric of window `b`.
    fn metric(
        &self,
        batch: &mut Batch,
        b: usize,
        metric: usize,
        targets: bool,
        scratch: &mut Scratch,
    ) {
        let s = &self.shape;
        let (context, horizon) = scratch.steps.split_at(s.context);
        let day = &context[s.context - s.day..];
        let n = &self.normalisation;
        let scale = Scale::of(day, n.centre[metric], n.floor[metric], &mut scratch.sorted);
        batch.scales.push(scale);
        vectorised(|| {
            for (slot, &value) in scratch.scaled.iter_mut().zip(context) {
                *slot = scale.scaled(value);
            }
        });
        let last = scratch
            .scaled
            .iter()
            .rev()
            .copied()
            .find(|v| !v.is_nan())
            .unwrap_or(0.0);
        let plane = s.metrics * batch.size;
        let at = metric * batch.size + b;
        batch.anchors[at] = scale.below;
        batch.anchors[plane + at] = scale.above;
        batch.anchors[2 * plane + at] = last;
        let row = &mut batch.statics[at * STATIC_FEATURES..(at + 1) * STATIC_FEATURES];
        summary(n, metric, &scale, &scratch.scaled, s.day, row);
        self.yesterday(batch, b, metric, last, &scratch.scaled);
        vectorised(|| {
            scratch
                .scaled
                .iter_mut()
                .for_each(|value| *value = arcsinh(*value))
        });
        self.patches(batch, b, metric, &scratch.scaled);
        self.blocks(batch, b, metric, &scratch.scaled);
        if targets {
            self.targets(batch, b, metric, &scale, horizon);
        }
    }

    /// Context tokens of one metric: values, then mask bits.
    fn patches(&self, batch: &mut Batch, b: usize, metric: usize, z: &[f32]) {
        let s = &self.shape;
        let (patch, width) = (s.config.patch, s.past_features());
        for (token, values) in z.chunks_exact(patch).enumerate() {
            let at = ((metric * s.past() + token) * batch.size + b) * width;
            let row = &mut batch.past[at..at + 2 * patch];
            for (i, &value) in values.iter().enumerate() {
                if !value.is_nan() {
                    row[i] = value;
                    row[patch + i] = 1.0;
                }
            }
        }
    }

    /// Horizon tokens of one metric: yesterday's block, its mask bits, and mean, minimum, maximum and share present of its
    /// neighbourhood (one block to each side).
    fn blocks(&self, batch: &mut Batch, b: usize, metric: usize, z: &[f32]) {
        let s = &self.shape;
        let (block, width) = (s.config.block, s.future_features());
        let yesterday = s.context - s.day;
        for token in 0..s.future() {
            let at = ((metric * s.future() + token) * batch.size + b) * width;
            let row = &mut batch.future[at..at + 2 * block + AROUND];
            let start = yesterday + token * block;
            for (i, &value) in z[start..start + block].iter().enumerate() {
                if !value.is_nan() {
                    row[i] = value;
                    row[block + i] = 1.0;
                }
            }
            let around = &z[start.saturating_sub(block)..(start + 2 * block).min(z.len())];
            if let Some(figures) = neighbourhood(around) {
                row[2 * block..].copy_from_slice(&figures);
            }
        }
    }

    /// The same steps yesterday in scaled units; the last value where they are missing.
    fn yesterday(&self, batch: &mut Batch, b: usize, metric: usize, last: f32, u: &[f32]) {
        let s = &self.shape;
        let block = s.config.block;
        let first = s.context - s.day;
        for token in 0..s.future() {
            let at = ((metric * s.future() + token) * batch.size + b) * block;
            let from = first + token * block;
            for (slot, &value) in batch.yesterday[at..at + block]
                .iter_mut()
                .zip(&u[from..from + block])
            {
                *slot = if value.is_nan() { last } else { value };
            }
        }
    }

    fn targets(&self, batch: &mut Batch, b: usize, metric: usize, scale: &Scale, horizon: &[f32]) {
        let s = &self.shape;
        let block = s.config.block;
        let window = window_weight(scale.scale, self.normalisation.spread[metric]);
        let weight = self.metric_weight[metric] * window;
        for (token, values) in horizon.chunks_exact(block).enumerate() {
            let at = ((metric * s.future() + token) * batch.size + b) * block;
            for (i, &value) in values.iter().enumerate() {
                if !value.is_nan() {
                    batch.target[at + i] = scale.scaled(value);
                    batch.weight[at + i] = weight;
                    batch.total += window;
                }
            }
        }
    }

    /// Calendar and state, the last variable of both kinds of tokens.
    fn calendar(&self, batch: &mut Batch, b: usize, window: &Source<'_>) {
        let s = &self.shape;
        let end = window.end_ms(self.step_ms);
        let centre = |token: usize, steps: usize, first: i64| {
            let half_steps = first + (2 * token + 1) as i64 * steps as i64;
            end.saturating_add(half_steps * self.step_ms / 2)
        };
        for token in 0..s.past() {
            let at_ms = centre(token, s.config.patch, -2 * s.context as i64);
            let at = ((s.metrics * s.past() + token) * batch.size + b) * s.past_features();
            let row = &mut batch.past[at..at + CALENDAR + s.states + 1];
            let position = token as f32 / s.past() as f32;
            row[..CALENDAR].copy_from_slice(&calendar(at_ms, self.time_zone, position));
            let steps = token * s.config.patch..(token + 1) * s.config.patch;
            let state = steps
                .rev()
                .find_map(|step| window.state(step, s.context).filter(|&k| k < s.states));
            row[CALENDAR + state.unwrap_or(s.states)] = 1.0;
        }
        for token in 0..s.future() {
            let at_ms = centre(token, s.config.block, 0);
            let at = ((s.metrics * s.future() + token) * batch.size + b) * s.future_features();
            let position = token as f32 / s.future() as f32;
            batch.future[at..at + CALENDAR].copy_from_slice(&calendar(
                at_ms,
                self.time_zone,
                position,
            ));
        }
    }

    /// Profile and hashed id.
    fn statics(&self, batch: &mut Batch, b: usize, window: &Source<'_>, hide_id: bool) {
        let s = &self.shape;
        if window.profile() < s.profiles {
            batch.profile[b * s.profiles + window.profile()] = 1.0;
        }
        let id = window.id();
        if !hide_id && self.known.binary_search(&id).is_ok() {
            batch.identity[b * s.config.id_buckets + id as usize % s.config.id_buckets] = 1.0;
        }
    }
}

/// Weight of a window in the loss. In scaled units every window counts the same, in raw units the few with the largest values
/// decide; the root lies between the two.
pub(crate) fn window_weight(scale: f32, spread: f32) -> f32 {
    (scale / spread).sqrt().clamp(0.1, 10.0)
}

/// Largest weight of a metric in the loss: one that hardly ever changes must not drown the others.
const LARGEST_WEIGHT: f32 = 1e3;

/// Mean, minimum, maximum and share of the values that are there.
fn neighbourhood(values: &[f32]) -> Option<[f32; AROUND]> {
    let there = || values.iter().copied().filter(|v| !v.is_nan());
    let count = there().count();
    if count == 0 {
        return None;
    }
    let (min, max) = there().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), v| {
        (min.min(v), max.max(v))
    });
    let share = count as f32 / values.len() as f32;
    Some([there().sum::<f32>() / count as f32, min, max, share])
}
