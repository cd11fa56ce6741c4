//! The present against quiet days: what persists, since when, and whether it is an alarm.

use std::collections::BTreeMap;

use super::detector::{
    Detector, HOLD, MEMORY, OF, SignalModel, WINDOW, count_of, leave_out_partial, only_up,
    persisting, weight_at,
};
use super::history::{BucketSums, Signal};
use super::scan::{self, Step, scan};
use super::season::bucket_hour;

/// A cell that moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// Profile · metrics + metric.
    pub cell: usize,
    /// What moved.
    pub signal: Signal,
    /// Evidence that persists, in units of the alarm level: an alarm above 1.
    pub strength: f64,
    /// The latest scan's step.
    pub step: Option<Step>,
    /// Standard deviation of the series on quiet days, in its unit.
    pub sd: f64,
}

/// What the watch says at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// By the order of the detector's models; none where quiet days are not known.
    pub findings: Vec<Finding>,
    /// The strongest of each signal, by [`Signal::ALL`], now and an hour ago.
    pub strongest: [(f64, f64); 3],
    /// Whether the level was reached now or within [`HOLD`] evaluations.
    pub alarm: bool,
}

/// The last day's buckets, against a [`Detector`].
#[derive(Debug, Default)]
pub struct Watch {
    rows: BTreeMap<i64, Row>,
    /// What the scan found, by end of the window and model.
    evaluations: BTreeMap<i64, Vec<Option<Step>>>,
    /// What [`OF`] evaluations up to an end let persist, by model, in units of the level.
    strengths: BTreeMap<i64, Vec<f64>>,
    /// The end of the last verdict.
    judged: Option<i64>,
}

#[derive(Debug)]
struct Row {
    /// By model.
    residuals: Vec<f64>,
    counts: Vec<i64>,
    /// What a residual of this hour weighs.
    weights: Vec<f64>,
}

impl Watch {
    /// Sets a bucket's sums, by cell; the same again changes nothing, others replace.
    pub fn set(&mut self, detector: &Detector, bucket: i64, sums: &[BucketSums]) {
        let hour = bucket_hour(detector.zone, bucket, detector.step_ms);
        let (mut residuals, mut counts, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for model in &detector.models {
            let sums = sums.get(model.cell).copied().unwrap_or_default();
            let value = if model.is_due(bucket, detector.step_ms) {
                sums.value(model.signal, model.unit)
            } else {
                f64::NAN
            };
            residuals.push(value - model.season.at(hour));
            counts.push(count_of(&sums, model.signal));
            weights.push(weight_at(&model.inflation, hour.0));
        }
        let row = Row {
            residuals,
            counts,
            weights,
        };
        self.rows.insert(bucket, row);
        // Windows that end behind it hold it.
        self.evaluations.retain(|end, _| *end <= bucket);
        self.strengths.retain(|end, _| *end <= bucket);
    }

    /// What persists at the bucket's end; forgets what is older than it needs.
    pub fn judge(&mut self, detector: &Detector, end: i64) -> Verdict {
        let Some(level) = detector.level() else {
            return Verdict::default();
        };
        let back = |steps: usize| end - steps as i64 * detector.step_ms;
        if self.judged.is_some_and(|judged| end < judged) {
            // What was forgotten since may have been in them.
            self.evaluations.clear();
            self.strengths.clear();
        }
        self.judged = Some(end);
        let kept = back(MEMORY);
        self.rows = self.rows.split_off(&kept);
        self.evaluations = self.evaluations.split_off(&kept);
        self.strengths = self.strengths.split_off(&kept);
        for age in (0..OF + HOLD).rev() {
            let at = back(age);
            if !self.strengths.contains_key(&at) {
                let steps = self.evaluate(detector, at);
                self.evaluations.insert(at, steps);
                let strengths = self.strengths_at(detector, at, level);
                self.strengths.insert(at, strengths);
            }
        }
        let strengths = |age: usize| {
            let held = self.strengths.get(&back(age));
            held.map_or(&[][..], Vec::as_slice)
        };
        let strongest_of = |age: usize, signal: Signal| {
            let models = detector.models.iter().zip(strengths(age));
            models
                .filter(|(model, _)| model.signal == signal)
                .fold(0.0, |most, (_, &strength)| f64::max(most, strength))
        };
        let steps = self.evaluations.get(&end).into_iter().flatten();
        Verdict {
            findings: detector
                .models
                .iter()
                .zip(strengths(0))
                .zip(steps)
                .map(|((model, &strength), step)| Finding {
                    cell: model.cell,
                    signal: model.signal,
                    strength,
                    step: *step,
                    sd: model.noise.variance.sqrt(),
                })
                .collect(),
            strongest: Signal::ALL
                .map(|signal| (strongest_of(0, signal), strongest_of(OF, signal))),
            alarm: (0..HOLD).any(|age| strengths(age).iter().any(|strength| *strength > 1.0)),
        }
    }

    /// The evidence that persists at an end, by model, in units of the level.
    fn strengths_at(&self, detector: &Detector, end: i64, level: f64) -> Vec<f64> {
        let recent: Vec<&[Option<Step>]> = (0..OF)
            .filter_map(|age| {
                let at = end - age as i64 * detector.step_ms;
                Some(self.evaluations.get(&at)?.as_slice())
            })
            .collect();
        detector
            .models
            .iter()
            .enumerate()
            .map(|(index, model)| {
                let mut held = [0.0; OF];
                for (held, steps) in held.iter_mut().zip(&recent) {
                    let step = steps.get(index).copied().flatten();
                    *held = step.map_or(0.0, |step| step.evidence);
                }
                persisting(held) / model.scale / level
            })
            .collect()
    }

    fn evaluate(&self, detector: &Detector, end: i64) -> Vec<Option<Step>> {
        let from = end - (WINDOW as i64) * detector.step_ms;
        let rows: Vec<(usize, &Row)> = self
            .rows
            .range(from..end)
            .filter_map(|(bucket, row)| {
                let step = usize::try_from((bucket - from) / detector.step_ms).ok()?;
                Some((step, row))
            })
            .collect();
        let mut columns: [Column; BLOCK] = std::array::from_fn(|_| Column::default());
        let mut steps = Vec::with_capacity(detector.models.len());
        for (block, models) in detector.models.chunks(BLOCK).enumerate() {
            for column in &mut columns {
                *column = Column::default();
            }
            for (step, row) in &rows {
                for (place, column) in columns.iter_mut().enumerate() {
                    column.set(*step, row, block * BLOCK + place);
                }
            }
            let evaluated = models.iter().zip(&mut columns);
            steps.extend(evaluated.map(|(model, column)| column.evaluate(model)));
        }
        steps
    }
}

/// Models whose series are read from the rows together: what lies side by side there is fetched from memory once.
const BLOCK: usize = 8;

/// One model's series in a window.
#[derive(Debug)]
struct Column {
    values: [f64; WINDOW],
    counts: [i64; WINDOW],
    weights: [f64; WINDOW],
}

impl Default for Column {
    fn default() -> Column {
        Column {
            values: [f64::NAN; WINDOW],
            counts: [0; WINDOW],
            weights: [1.0; WINDOW],
        }
    }
}

impl Column {
    fn set(&mut self, step: usize, row: &Row, index: usize) {
        let of = (
            row.residuals.get(index),
            row.counts.get(index),
            row.weights.get(index),
        );
        let places = (
            self.values.get_mut(step),
            self.counts.get_mut(step),
            self.weights.get_mut(step),
        );
        if let ((Some(residual), Some(count), Some(weight)), (Some(value), Some(n), Some(w))) =
            (of, places)
        {
            (*value, *n, *w) = (*residual, *count, *weight);
        }
    }

    fn evaluate(&mut self, model: &SignalModel) -> Option<Step> {
        leave_out_partial(&mut self.values, &self.counts);
        let quiet = scan::Quiet {
            noise: &model.noise,
            season_variance: model.season_variance,
            weights: &self.weights,
            only_up: only_up(model.signal),
        };
        scan(&self.values, &quiet)
    }
}
