//! Windows to numbers: assembles the inputs of a batch from contiguous columns.
//!
//! All arrays of a batch are allocated once, whatever its size, and written in the order in which the network reads them (tokens
//! time-major, variables outermost). A value that is absent is 0 with its mask bit 0: it cannot influence a forecast.
//! It is not: a choice of windows (`train::plan`) or a network.

use crate::calendar::{CALENDAR, calendar};
use crate::config::{AROUND, QUANTILES, STATIC_FEATURES, Shape};
use crate::data::{Columns, Context};
use crate::scale::{Normalisation, Scale};
use chrono_tz::Tz;

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

/// Where the steps of one window are read from.
pub(crate) enum Source<'a> {
    /// `context` ends before step `issue` of the columns; the horizon follows, as far as it is there.
    Columns { columns: &'a Columns, issue: usize },
    /// The rows of a request.
    Rows(&'a Context),
}

impl Source<'_> {
    /// Fills `out` (context, then horizon if it is that long) with one metric; what is not there is NaN.
    fn fill(&self, metric: usize, num_metrics: usize, context: usize, out: &mut [f32]) {
        out.fill(f32::NAN);
        match self {
            Source::Columns { columns, issue } => {
                let values = columns.metric(metric);
                let first = issue.saturating_sub(context);
                let pad = context - (issue - first);
                let last = (issue + out.len() - context).min(values.len());
                if first < last {
                    out[pad..pad + last - first].copy_from_slice(&values[first..last]);
                }
            }
            Source::Rows(request) => {
                let rows = request.values.len() / num_metrics;
                let used = rows.min(context);
                let pad = context - used;
                let tail = &request.values[(rows - used) * num_metrics..];
                for (slot, row) in out[pad..context]
                    .iter_mut()
                    .zip(tail.chunks_exact(num_metrics))
                {
                    let value = row[metric];
                    *slot = if value.is_finite() { value } else { f32::NAN };
                }
            }
        }
    }

    /// State at context step `step`, if it is known.
    fn state(&self, step: usize, context: usize) -> Option<usize> {
        let (states, at) = match self {
            Source::Columns { columns, issue } => (
                columns.states.as_ref()?,
                (issue + step).checked_sub(context)?,
            ),
            Source::Rows(request) => {
                let states = request.states.as_ref()?;
                (states, (states.len() + step).checked_sub(context)?)
            }
        };
        states.get(at).map(|&s| usize::from(s))
    }

    fn profile(&self) -> usize {
        match self {
            Source::Columns { columns, .. } => columns.profile,
            Source::Rows(request) => request.profile,
        }
    }

    fn id(&self) -> u32 {
        match self {
            Source::Columns { columns, .. } => columns.id,
            Source::Rows(request) => contract::server_id(&request.server),
        }
    }

    fn end_ms(&self, step_ms: i64) -> i64 {
        match self {
            Source::Columns { columns, issue } => columns
                .start_ms
                .saturating_add(step_ms.saturating_mul(*issue as i64)),
            Source::Rows(request) => request.end_ms,
        }
    }
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
        for (slot, &value) in scratch.scaled.iter_mut().zip(context) {
            *slot = if value.is_nan() {
                f32::NAN
            } else {
                scale.scaled(value)
            };
        }
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
        self.summary(metric, &scale, &scratch.scaled, row);
        self.yesterday(batch, b, metric, last, &scratch.scaled);
        for value in scratch.scaled.iter_mut() {
            *value = arcsinh(*value);
        }
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
            let mut tally = Tally::default();
            around.iter().for_each(|&v| tally.add(v));
            if tally.count > 0 {
                let count = tally.count as f32;
                row[2 * block..].copy_from_slice(&[
                    tally.sum / count,
                    tally.min,
                    tally.max,
                    count / around.len() as f32,
                ]);
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

    /// Static inputs of one metric: level and scale of the window, and the recent past at several time scales.
    fn summary(&self, metric: usize, scale: &Scale, u: &[f32], row: &mut [f32]) {
        let s = &self.shape;
        let n = &self.normalisation;
        row[0] = arcsinh((scale.median - n.centre[metric]) / n.spread[metric]);
        row[1] = (scale.scale / n.spread[metric]).ln() / 4.0;
        row[2] = scale.below;
        row[3] = scale.above;
        row[4] = scale.present as f32 / s.day as f32;
        let Some(age) = u.iter().rev().position(|v| !v.is_nan()) else {
            return;
        };
        row[5] = 1.0;
        row[6] = arcsinh(u[u.len() - 1 - age]);
        row[7] = (age as f32 / s.day as f32).min(1.0);
        // Ends of the spans, back from now: 15 and 30 minutes, 1, 2, 4, 8, 12 and 24 hours.
        let spans = [96, 48, 24, 12, 6, 3, 2, 1].map(|part| (s.day / part).max(1));
        let (mut tally, mut change, mut next) = (Tally::default(), Tally::default(), 0);
        let mut newer = f32::NAN;
        for (back, &value) in u.iter().rev().take(s.day).enumerate() {
            tally.add(value);
            change.add((newer - value).abs());
            newer = value;
            while next < spans.len() && back + 1 == spans[next] {
                row[8 + next] = arcsinh(tally.mean());
                match next {
                    2 => (row[16], row[17]) = tally.extremes(),
                    4 => {
                        (row[18], row[19]) = tally.extremes();
                        row[22] = arcsinh(change.mean());
                    }
                    7 => {
                        (row[20], row[21]) = tally.extremes();
                        row[23] = arcsinh(change.mean());
                    }
                    _ => {}
                }
                next += 1;
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

fn arcsinh(x: f32) -> f32 {
    // Of the magnitude, so that large negative values do not cancel, and bounded, so that the square is finite; `clamp` keeps a NaN.
    let a = x.abs().clamp(0.0, 1e18);
    (a + (a * a + 1.0).sqrt()).ln().copysign(x)
}

/// Running mean and extremes of the values that are there.
struct Tally {
    count: usize,
    sum: f32,
    min: f32,
    max: f32,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }
}

impl Tally {
    fn add(&mut self, value: f32) {
        if !value.is_nan() {
            self.count += 1;
            self.sum += value;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }

    fn mean(&self) -> f32 {
        if self.count == 0 {
            0.0
        } else {
            self.sum / self.count as f32
        }
    }

    fn extremes(&self) -> (f32, f32) {
        if self.count == 0 {
            (0.0, 0.0)
        } else {
            (arcsinh(self.min), arcsinh(self.max))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Series;
    use crate::net::tests::small;

    /// One metric of interest (the first of three), hours 0–39; the horizon of a forecast at 30 is there in part.
    fn columns() -> Columns {
        let value = |hour: usize| match hour {
            10 | 29 | 31 => f32::NAN,
            hour => hour as f32,
        };
        let values = (0..36)
            .flat_map(|hour| [value(hour), f32::NAN, 5.0])
            .collect();
        let states = Some((0..36).map(|hour| u8::from(hour == 26)).collect());
        let series = Series {
            server: "a".into(),
            profile: 1,
            start_ms: 0,
            values,
            states,
        };
        Columns::of(&series, 3).unwrap()
    }

    fn assembler() -> Assembler {
        let normalisation = Normalisation {
            floor: vec![2.0; 3],
            spread: vec![8.0; 3],
            centre: vec![1.0; 3],
        };
        Assembler {
            shape: small(),
            normalisation,
            step_ms: 3_600_000,
            time_zone: chrono_tz::UTC,
            known: vec![contract::server_id("a")],
            metric_weight: vec![1.0, 1.0, 3.0],
        }
    }

    #[test]
    fn gaps_are_zero_with_their_bit_zero() {
        let (columns, a) = (columns(), assembler());
        // Twelve hours of context only: the first three tokens are padding.
        let batch = a.assemble(
            &[Source::Columns {
                columns: &columns,
                issue: 12,
            }],
            true,
            |_| false,
        );
        let width = a.shape.past_features();
        let token = |metric: usize, token: usize| {
            let at = (metric * a.shape.past() + token) * width;
            &batch.past[at..at + width]
        };
        for padding in 0..3 {
            assert_eq!(token(0, padding), vec![0.0; width]);
        }
        // Hours 8–11 with a gap at 10. Hours 0–11 without 10: median 5, P10 1, P90 9.
        let z = |hour: f32| ((hour - 5.0) / 8.0).asinh();
        let found = token(0, 5);
        for (value, expected) in
            found
                .iter()
                .zip([z(8.0), z(9.0), 0.0, z(11.0), 1.0, 1.0, 0.0, 1.0])
        {
            assert!((value - expected).abs() < 1e-6, "{found:?}");
        }
        // A metric that is never there, and one that never changes.
        assert!(a.shape.past() == 6 && (0..6).all(|t| token(1, t) == vec![0.0; width]));
        assert_eq!(token(2, 5)[..8], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        assert!(
            batch
                .past
                .iter()
                .chain(&batch.future)
                .chain(&batch.statics)
                .all(|v| v.abs() < 20.0)
        );
    }

    #[test]
    fn targets_yesterday_and_weights() {
        let (columns, a) = (columns(), assembler());
        let batch = a.assemble(
            &[Source::Columns {
                columns: &columns,
                issue: 30,
            }],
            true,
            |_| false,
        );
        // Context: hours 6–29 without 10 and 29.
        let scale = batch.scales[0];
        let u = |hour: f32| (hour - scale.median) / scale.scale;
        let horizon = &batch.target[..8];
        for (value, expected) in
            horizon
                .iter()
                .zip([u(30.0), 0.0, u(32.0), u(33.0), u(34.0), u(35.0), 0.0, 0.0])
        {
            assert!((value - expected).abs() < 1e-6, "{horizon:?}");
        }
        let weight = (scale.scale / 8.0).sqrt();
        assert_eq!(
            batch.weight[..8],
            [weight, 0.0, weight, weight, weight, weight, 0.0, 0.0]
        );
        // The same hours yesterday: 6 … 13; the gap at 10 becomes the last value, 28.
        let yesterday = &batch.yesterday[..8];
        for (value, hour) in yesterday
            .iter()
            .zip([6.0, 7.0, 8.0, 9.0, 28.0, 11.0, 12.0, 13.0])
        {
            assert!((value - u(hour)).abs() < 1e-6, "{yesterday:?}");
        }
        assert!((batch.anchors[2 * 3] - u(28.0)).abs() < 1e-6);
        // The third metric weighs three times its window, but not in the divisor.
        let third = (2.0_f32 / 8.0).sqrt();
        assert_eq!(batch.weight[16], 3.0 * third);
        assert!((batch.total - 5.0 * weight - 6.0 * third).abs() < 1e-4);
    }

    #[test]
    fn states_profiles_and_ids() {
        let (columns, a) = (columns(), assembler());
        let windows = [30, 30].map(|issue| Source::Columns {
            columns: &columns,
            issue,
        });
        let batch = a.assemble(&windows, false, |window| window == 1);
        let width = a.shape.past_features();
        let row =
            |token: usize| &batch.past[((3 * 6 + token) * 2) * width..][CALENDAR..CALENDAR + 3];
        // Tokens end at hours 9, 13, …, 29; the last state of the sixth one is that of hour 29.
        assert_eq!(
            (row(0), row(5)),
            (&[1.0, 0.0, 0.0][..], &[1.0, 0.0, 0.0][..])
        );
        let other = Context {
            states: Some(vec![0, 1, 9]),
            values: vec![1.0; 9],
            server: "b".into(),
            ..Context::default()
        };
        let rows = a.assemble(&[Source::Rows(&other)], false, |_| false);
        let last = &rows.past[(3 * 6 + 5) * width..][CALENDAR..CALENDAR + 3];
        assert_eq!(last, [0.0, 1.0, 0.0], "the last state that is known");
        let first = &rows.past[(3 * 6) * width..][CALENDAR..CALENDAR + 3];
        assert_eq!(first, [0.0, 0.0, 1.0], "unknown");
        assert_eq!(batch.profile, [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(batch.identity[..8].iter().sum::<f32>(), 1.0);
        assert_eq!(batch.identity[8..], [0.0; 8]);
        assert_eq!(rows.identity, [0.0; 8], "a server that was never seen");
    }
}
