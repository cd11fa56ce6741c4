//! Windows to numbers: assembles the inputs of a batch from contiguous columns.
//!
//! All arrays of a batch are allocated once, whatever its size, and written in the order in which the network reads them (tokens
//! time-major, variables outermost). A value that is absent is 0 with its mask bit 0: it cannot influence a forecast.
//! It is not: a choice of windows (`train::plan`) or a network.

mod phases;
mod source;
mod summary;
#[cfg(test)]
mod tests;

pub(crate) use source::Source;

use crate::calendar::{CALENDAR, calendar};
use crate::config::{AROUND, RECENT, STATIC_FEATURES, Shape};
use crate::fused::simd::{arcsinh, vectorised};
use crate::scale::{Normalisation, Scale};
use chrono_tz::Tz;
use phases::Phases;
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
    /// `[RECENT, M, H × size, block]`: the same step yesterday − P50, scaled, and so on
    pub(crate) recent: Vec<f32>,
    /// `[M, H × size, block]`, scaled; 0 where absent
    pub(crate) target: Vec<f32>,
    /// `[M, H × size, block]`; 1, or 0 where the target is absent
    pub(crate) weight: Vec<f32>,
    /// Targets that are there: the loss is divided by it.
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
}

/// Reused between the windows of a batch.
#[derive(Default)]
struct Scratch {
    steps: Vec<f32>,
    sorted: Vec<f32>,
    scaled: Vec<f32>,
}

impl Batch {
    /// Multiplies the weights of metric `m` of window `b` by `weight(b, m, scale)`.
    pub(crate) fn weigh(&mut self, shape: &Shape, weight: impl Fn(usize, usize, f32) -> f32) {
        let block = shape.config.block;
        for metric in 0..shape.metrics {
            for b in 0..self.size {
                let factor = weight(b, metric, self.scales[b * shape.metrics + metric].scale);
                for token in 0..shape.future() {
                    let at = ((metric * shape.future() + token) * self.size + b) * block;
                    self.weight[at..at + block]
                        .iter_mut()
                        .for_each(|w| *w *= factor);
                }
            }
        }
    }
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
            recent: vec![0.0; RECENT * s.metrics * s.horizon * size],
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
        let parts = s.config.parts;
        summary(
            n,
            metric,
            &scale,
            &scratch.scaled,
            s.day,
            parts.summaries,
            row,
        );
        self.recent(batch, b, metric, last, &scratch.scaled);
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

    /// Horizon tokens of one metric: yesterday's block, its mask bits, mean, minimum, maximum and share present of its
    /// neighbourhood (one block to each side), and the same minutes of the last hours.
    fn blocks(&self, batch: &mut Batch, b: usize, metric: usize, z: &[f32]) {
        let s = &self.shape;
        let (block, width) = (s.config.block, s.future_features());
        let yesterday = s.context - s.day;
        let parts = s.config.parts;
        let phases = parts.hours.then(|| Phases::of(z, s.hour, 0.0));
        for token in 0..s.future() {
            let at = ((metric * s.future() + token) * batch.size + b) * width;
            let row = &mut batch.future[at..at + (RECENT + 1) * block + AROUND];
            let (row, hours) = row.split_at_mut(2 * block + AROUND);
            if let Some(phases) = &phases {
                for (k, part) in hours.chunks_exact_mut(block).enumerate() {
                    for (i, slot) in part.iter_mut().enumerate() {
                        *slot = phases.at(k, token * block + i);
                    }
                }
            }
            if !parts.yesterday {
                continue;
            }
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

    /// What each forecast step can lean on, in scaled units; the last value where yesterday is missing.
    fn recent(&self, batch: &mut Batch, b: usize, metric: usize, last: f32, u: &[f32]) {
        let s = &self.shape;
        let (block, parts) = (s.config.block, s.config.parts);
        let yesterday = &u[s.context - s.day..];
        let phases = parts.hours.then(|| Phases::of(u, s.hour, last));
        let plane = s.metrics * s.horizon * batch.size;
        for (step, &before) in yesterday.iter().enumerate().take(s.horizon) {
            let (token, i) = (step / block, step % block);
            let at = ((metric * s.future() + token) * batch.size + b) * block + i;
            if parts.yesterday {
                batch.recent[at] = if before.is_nan() { last } else { before };
            }
            if let Some(phases) = &phases {
                for k in 0..RECENT - 1 {
                    batch.recent[(k + 1) * plane + at] = phases.at(k, step);
                }
            }
        }
    }

    fn targets(&self, batch: &mut Batch, b: usize, metric: usize, scale: &Scale, horizon: &[f32]) {
        let s = &self.shape;
        let block = s.config.block;
        for (token, values) in horizon.chunks_exact(block).enumerate() {
            let at = ((metric * s.future() + token) * batch.size + b) * block;
            for (i, &value) in values.iter().enumerate() {
                if !value.is_nan() {
                    batch.target[at + i] = scale.scaled(value);
                    batch.weight[at + i] = 1.0;
                    batch.total += 1.0;
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
        if s.config.parts.identity && !hide_id && self.known.binary_search(&id).is_ok() {
            batch.identity[b * s.config.id_buckets + id as usize % s.config.id_buckets] = 1.0;
        }
    }
}

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
