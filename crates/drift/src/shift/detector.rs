//! The model of quiet days, and the watch that compares the present with it.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::history::{BucketSums, History, Signal};
use super::scan::{self, Noise, Step, scan};
use super::season::{self, Resolution, Season, local_hour};
use super::tail::Tail;

/// How far back a step may have begun, in buckets.
pub const WINDOW: usize = 288;
/// Evaluations that are looked at…
pub const OF: usize = 12;
/// …and how many of them must show the evidence.
pub const PERSIST: usize = 6;
/// Quiet days reach the alarm level on this share of days, as far as the baseline's days can tell. What is promised is once in
/// 30 days; the rest covers what a few weeks cannot tell about the tail.
pub const ALARMS_PER_DAY: f64 = 1.0 / 150.0;
/// An alarm stays for this many evaluations after the last that reached the level: it does not flicker, and what it says is
/// still a function of the panes.
pub const HOLD: usize = 36;
/// Buckets before the last that a verdict rests on.
pub const MEMORY: usize = WINDOW + OF + HOLD;
/// Days without which nothing is known of quiet days.
pub const MIN_DAYS: usize = 3;
/// A bucket with fewer than this share of the window's servers is a gap: others are missing, and their mean with them.
const MIN_SERVERS: f64 = 0.9;

const DAY_MS: i64 = 86_400_000;
const WEEK_DAYS: usize = 7;

/// One signal of one cell on quiet days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalModel {
    /// Profile · metrics + metric.
    pub cell: usize,
    /// What is watched.
    pub signal: Signal,
    /// Usual spread or error; 1 for the mean.
    pub unit: f64,
    /// What is usual at which hour.
    pub season: Season,
    /// What is left.
    pub noise: Noise,
    /// By how much the noise of each hour of the week is larger than that.
    pub inflation: Vec<f32>,
    /// Variance of what the season gets wrong for a whole day.
    pub season_variance: f64,
    /// By how much this cell's evidence on quiet days exceeds that of others; at least 1.
    pub scale: f64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Detector {
    zone: Tz,
    step_ms: i64,
    cells: usize,
    /// How finely the time is known.
    pub resolution: Resolution,
    /// Days that quiet was learnt on.
    pub days: usize,
    /// What quiet days reach; `None`: too few to say, and nothing is judged.
    pub tail: Option<Tail>,
    /// By cell and signal.
    pub models: Vec<SignalModel>,
}

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

/// All of a [`Detector`] but its models, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DetectorHead {
    /// As [`Detector::resolution`].
    pub resolution: Resolution,
    /// As [`Detector::days`].
    pub days: usize,
    /// As [`Detector::tail`].
    pub tail: Option<Tail>,
}

impl Detector {
    /// As stored.
    #[must_use]
    pub fn head(&self) -> DetectorHead {
        DetectorHead {
            resolution: self.resolution,
            days: self.days,
            tail: self.tail,
        }
    }

    /// From what was stored, for a contract of so many profiles × metrics.
    #[must_use]
    pub fn from_parts(
        head: DetectorHead,
        models: Vec<SignalModel>,
        cells: usize,
        zone: Tz,
        step_ms: i64,
    ) -> Detector {
        Detector {
            zone,
            step_ms,
            cells,
            resolution: head.resolution,
            days: head.days,
            tail: head.tail,
            models,
        }
    }

    /// Learns quiet days.
    #[must_use]
    pub fn learn(history: &History, zone: Tz, step_ms: i64) -> Detector {
        let times = Times::of(history, zone, step_ms);
        let resolution = resolution(times.days());
        let mut detector = Detector {
            zone,
            step_ms,
            cells: history.cells(),
            resolution,
            days: times.days(),
            tail: None,
            models: Vec::new(),
        };
        let mut maxima: Vec<Vec<f64>> = Vec::new();
        for cell in 0..history.cells() {
            for signal in Signal::ALL {
                let series = Series::of(history, &times, cell, signal);
                if let Some(series) = series
                    && let Some(quiet) = series.fit(&times, |_| true)
                {
                    let held_out = HeldOut::of(&series, &times);
                    let season_variance = held_out.season_variance(&times, &quiet.noise);
                    let quiet_maxima = held_out.maxima(&times, season_variance);
                    if quiet_maxima.is_empty() {
                        // Nothing is known of its quiet days.
                        continue;
                    }
                    maxima.push(quiet_maxima);
                    detector.models.push(SignalModel {
                        cell,
                        signal,
                        unit: series.unit,
                        season: quiet.season,
                        noise: quiet.noise,
                        inflation: quiet.inflation,
                        season_variance,
                        scale: 1.0,
                    });
                }
            }
        }
        detector.calibrate(&maxima);
        detector
    }

    /// Scales and tail from each model's daily maxima. The scale is that of the median day: incidents, which come on few of them, stay
    /// in the tail that all cells share, since tomorrow they come to others.
    fn calibrate(&mut self, maxima: &[Vec<f64>]) {
        /// Days of the fleet's median that a cell's own days are weighed against.
        const PRIOR_DAYS: f64 = 5.0;
        let median = |days: &Vec<f64>| crate::measures::median(days.iter().copied());
        let Some(usual) =
            crate::measures::median(maxima.iter().filter_map(median)).filter(|usual| *usual > 0.0)
        else {
            return;
        };
        let mut pooled = Vec::new();
        for (model, days) in self.models.iter_mut().zip(maxima) {
            let n = days.len() as f64;
            let own = (n * median(days).unwrap_or(usual) + PRIOR_DAYS * usual) / (n + PRIOR_DAYS);
            model.scale = (own / usual).max(1.0);
            pooled.extend(days.iter().map(|maximum| maximum / model.scale));
        }
        self.tail = Tail::fit(&pooled);
    }

    /// The evidence that is an alarm; `None` where quiet days are not known.
    #[must_use]
    pub fn level(&self) -> Option<f64> {
        Some(self.tail?.level(ALARMS_PER_DAY, self.models.len()))
    }

    /// Length of a bucket, ms.
    #[must_use]
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// Profiles × metrics.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.cells
    }
}

fn resolution(days: usize) -> Resolution {
    if days >= WEEK_DAYS {
        Resolution::HourOfWeek
    } else {
        Resolution::HourOfDay
    }
}

/// The local hours of a dense grid.
struct Times {
    first: i64,
    /// Per step: local day counted from anywhere, hour of the week and what has passed of it.
    local: Vec<(i64, (usize, f64))>,
    step_ms: i64,
}

impl Times {
    fn of(history: &History, zone: Tz, step_ms: i64) -> Times {
        let (Some((&first, _)), Some((&last, _))) = (
            history.buckets.first_key_value(),
            history.buckets.last_key_value(),
        ) else {
            return Times {
                first: 0,
                local: Vec::new(),
                step_ms,
            };
        };
        // Buckets are bounded in number, not in time: what lies more than they could fill before the last is left out.
        let steps = ((last - first) / step_ms + 1).min(2 * super::history::MAX_BUCKETS as i64);
        let first = last - (steps - 1) * step_ms;
        let middle = step_ms / 2;
        let local = (0..steps)
            .map(|step| {
                let at = first + step * step_ms;
                // Folds are days of UTC: their borders need not be midnight anywhere.
                (at.div_euclid(DAY_MS), local_hour(zone, at + middle))
            })
            .collect();
        Times {
            first,
            local,
            step_ms,
        }
    }

    fn days(&self) -> usize {
        self.local.len() * usize::try_from(self.step_ms).unwrap_or(1) / DAY_MS as usize
    }

    fn steps_a_day(&self) -> usize {
        usize::try_from(DAY_MS / self.step_ms).unwrap_or(1).max(1)
    }
}

/// Weeks of a series, or thirds where it has fewer than two weeks: each is judged by the others.
#[derive(Debug, Clone, Copy)]
struct Folds {
    first: usize,
    length: usize,
    count: usize,
}

impl Folds {
    /// Over the steps from the first value to the last; `None` for less than [`MIN_DAYS`].
    fn of(values: &[f64], times: &Times) -> Option<Folds> {
        let first = values.iter().position(|value| value.is_finite())?;
        let last = values.iter().rposition(|value| value.is_finite())?;
        let (steps, a_day) = (last - first + 1, times.steps_a_day());
        if steps < MIN_DAYS * a_day {
            return None;
        }
        let length = if steps >= 2 * WEEK_DAYS * a_day {
            WEEK_DAYS * a_day
        } else {
            steps.div_ceil(3)
        };
        Some(Folds {
            first,
            length,
            count: steps.div_ceil(length),
        })
    }

    fn is_in(&self, step: usize, fold: usize) -> bool {
        step >= self.first && (step - self.first) / self.length == fold
    }
}

/// One signal of one cell on the grid, NaN for a gap.
struct Series {
    unit: f64,
    values: Vec<f64>,
}

impl Series {
    fn of(history: &History, times: &Times, cell: usize, signal: Signal) -> Option<Series> {
        let sums = history.buckets.values().filter_map(|row| row.get(cell));
        let unit = match signal {
            Signal::Mean => 1.0,
            Signal::Spread => {
                crate::measures::median(sums.filter(|sums| sums.n > 1).map(BucketSums::spread))?
            }
            Signal::Error => {
                crate::measures::median(sums.filter(|sums| sums.errors > 0).map(BucketSums::error))?
            }
        };
        if unit <= 0.0 {
            return None;
        }
        let mut values = vec![f64::NAN; times.local.len()];
        let mut counts = vec![0_i64; times.local.len()];
        for (bucket, row) in history.buckets.range(times.first..) {
            let step = usize::try_from((bucket - times.first) / times.step_ms).ok()?;
            if let (Some(value), Some(n), Some(sums)) =
                (values.get_mut(step), counts.get_mut(step), row.get(cell))
            {
                *value = sums.value(signal, unit);
                *n = count_of(sums, signal);
            }
        }
        // As the watch will see them.
        for start in (0..values.len()).step_by(WINDOW) {
            let end = (start + WINDOW).min(values.len());
            if let (Some(values), Some(counts)) =
                (values.get_mut(start..end), counts.get(start..end))
            {
                leave_out_partial(values, counts);
            }
        }
        let present = values.iter().filter(|value| value.is_finite()).count();
        (present >= WINDOW).then_some(Series { unit, values })
    }

    /// Season and noise of the steps that `keep` names; `None` where nothing varies.
    fn fit(&self, times: &Times, keep: impl Fn(usize) -> bool) -> Option<Quiet> {
        let kept: Vec<(i64, (usize, f64), f64)> = self
            .values
            .iter()
            .zip(&times.local)
            .enumerate()
            .filter(|(step, (value, _))| value.is_finite() && keep(*step))
            .map(|(_, (&value, &(day, hour)))| (day, hour, value))
            .collect();
        let (first, last) = (kept.first()?.0, kept.last()?.0);
        let days = usize::try_from(last - first + 1).unwrap_or(0);
        let season = season::fit(&kept, resolution(days))?;
        let residuals: Vec<f64> = self
            .residuals(times, &season)
            .enumerate()
            .map(|(step, residual)| if keep(step) { residual } else { f64::NAN })
            .collect();
        let mean = kept.iter().map(|(_, _, value)| value.abs()).sum::<f64>() / kept.len() as f64;
        let noise = Noise::fit(&residuals)?;
        if !crate::measures::varies(mean, noise.variance.sqrt()) {
            return None;
        }
        let hours = times.local.iter().map(|(_, (hour, _))| *hour);
        let inflation = noise.by_hour(hours.zip(residuals));
        Some(Quiet {
            season,
            noise,
            inflation,
        })
    }

    fn residuals<'a>(
        &'a self,
        times: &'a Times,
        season: &'a Season,
    ) -> impl Iterator<Item = f64> + 'a {
        self.values
            .iter()
            .zip(&times.local)
            .map(|(value, (_, hour))| value - season.at(*hour))
    }
}

/// A series' residuals, each by what the other folds show.
struct HeldOut {
    folds: Vec<Fold>,
}

struct Fold {
    first: usize,
    residuals: Vec<f64>,
    weights: Vec<f64>,
    noise: Noise,
}

impl HeldOut {
    fn of(series: &Series, times: &Times) -> HeldOut {
        let mut folds = Vec::new();
        let Some(of) = Folds::of(&series.values, times) else {
            return HeldOut { folds };
        };
        for fold in 0..of.count {
            let first = of.first + fold * of.length;
            let last = (first + of.length)
                .min(series.values.len())
                .saturating_sub(1);
            let Some(quiet) = series.fit(times, |step| !of.is_in(step, fold)) else {
                continue;
            };
            let residuals = series.residuals(times, &quiet.season);
            let hours = times.local.iter().take(last + 1).skip(first);
            folds.push(Fold {
                first,
                residuals: residuals.take(last + 1).skip(first).collect(),
                weights: hours
                    .map(|(_, (hour, _))| weight_at(&quiet.inflation, *hour))
                    .collect(),
                noise: quiet.noise,
            });
        }
        HeldOut { folds }
    }

    /// By how much daily means vary more than the noise alone lets them: what the season gets wrong.
    fn season_variance(&self, times: &Times, noise: &Noise) -> f64 {
        let mut days: BTreeMap<i64, (usize, f64)> = BTreeMap::new();
        for fold in &self.folds {
            let local = times.local.iter().skip(fold.first);
            for ((day, _), value) in local.zip(&fold.residuals) {
                if value.is_finite() {
                    let held = days.entry(*day).or_default();
                    *held = (held.0 + 1, held.1 + value);
                }
            }
        }
        let excesses = days
            .values()
            .filter(|(n, _)| 2 * n >= WINDOW)
            .map(|(n, total)| (total / *n as f64).powi(2) - noise.variance_of_mean(*n));
        let (n, sum, squares) = excesses.fold((0.0, 0.0, 0.0), |(n, sum, squares), excess| {
            (n + 1.0, sum + excess, squares + excess * excess)
        });
        if n < 2.0 {
            return 0.0;
        }
        let mean: f64 = sum / n;
        let error = ((squares / n - mean * mean).max(0.0) / (n - 1.0)).sqrt();
        // What chance gives is left out, and the whole baseline errs less than all folds but one.
        let folds = self.folds.len() as f64;
        (mean - error).max(0.0) * (folds - 1.0) / folds
    }

    /// The largest persisting evidence of each day.
    fn maxima(&self, times: &Times, season_variance: f64) -> Vec<f64> {
        let mut maxima: BTreeMap<i64, f64> = BTreeMap::new();
        for fold in &self.folds {
            let mut recent = Recent::default();
            for end in 1..=fold.residuals.len() {
                let from = end.saturating_sub(WINDOW);
                let quiet = scan::Quiet {
                    noise: &fold.noise,
                    season_variance,
                    weights: fold.weights.get(from..end).unwrap_or(&[]),
                };
                let found = scan(fold.residuals.get(from..end).unwrap_or(&[]), &quiet);
                recent.push(found.map_or(0.0, |step| step.evidence));
                let day = times.local.get(fold.first + end - 1);
                if let (Some((day, _)), true) = (day, recent.is_full()) {
                    let most = maxima.entry(*day).or_insert(0.0);
                    *most = most.max(recent.persisting());
                }
            }
        }
        maxima.into_values().collect()
    }
}

/// A fit.
struct Quiet {
    season: Season,
    noise: Noise,
    inflation: Vec<f32>,
}

fn weight_at(inflation: &[f32], hour: usize) -> f64 {
    1.0 / inflation.get(hour).copied().map_or(1.0, f64::from)
}

fn count_of(sums: &BucketSums, signal: Signal) -> i64 {
    match signal {
        Signal::Error => sums.errors,
        Signal::Mean | Signal::Spread => sums.n,
    }
}

/// Makes gaps of buckets in which servers are missing.
fn leave_out_partial(values: &mut [f64], counts: &[i64]) {
    let most = counts.iter().copied().max().unwrap_or(0) as f64;
    for (value, &n) in values.iter_mut().zip(counts) {
        if (n as f64) < MIN_SERVERS * most {
            *value = f64::NAN;
        }
    }
}

/// The evidence of the last evaluations.
#[derive(Debug, Default)]
struct Recent {
    held: [f64; OF],
    seen: usize,
}

impl Recent {
    fn push(&mut self, evidence: f64) {
        if let Some(place) = self.held.get_mut(self.seen % OF) {
            *place = evidence;
        }
        self.seen += 1;
    }

    fn is_full(&self) -> bool {
        self.seen >= OF
    }

    fn persisting(&self) -> f64 {
        persisting(self.held)
    }
}

/// What [`PERSIST`] of the evaluations reach.
fn persisting(mut held: [f64; OF]) -> f64 {
    held.sort_by(|a, b| b.total_cmp(a));
    held.get(PERSIST - 1).copied().unwrap_or(0.0)
}

/// The last day's buckets, against a [`Detector`].
#[derive(Debug, Default)]
pub struct Watch {
    rows: BTreeMap<i64, Row>,
    /// By end of the window.
    evaluations: BTreeMap<i64, Evaluation>,
    /// The end of the last verdict.
    judged: Option<i64>,
}

#[derive(Debug)]
struct Evaluation {
    steps: Vec<Option<Step>>,
    /// Once [`OF`] evaluations are there: the evidence that persists, in units of the level.
    strengths: Vec<f64>,
}

#[derive(Debug)]
struct Row {
    hour: usize,
    /// By model.
    residuals: Vec<f64>,
    counts: Vec<i64>,
}

impl Watch {
    /// Sets a bucket's sums, by cell; the same again changes nothing, others replace.
    pub fn set(&mut self, detector: &Detector, bucket: i64, sums: &[BucketSums]) {
        let hour = local_hour(detector.zone, bucket + detector.step_ms / 2);
        let (mut residuals, mut counts) = (Vec::new(), Vec::new());
        for model in &detector.models {
            let sums = sums.get(model.cell).copied().unwrap_or_default();
            let value = sums.value(model.signal, model.unit);
            residuals.push(value - model.season.at(hour));
            counts.push(count_of(&sums, model.signal));
        }
        let row = Row {
            hour: hour.0,
            residuals,
            counts,
        };
        self.rows.insert(bucket, row);
        self.evaluations.retain(|end, _| *end <= bucket);
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
        }
        self.judged = Some(end);
        let kept = back(MEMORY);
        self.rows = self.rows.split_off(&kept);
        self.evaluations = self.evaluations.split_off(&kept);
        for age in (0..OF + HOLD).rev() {
            let at = back(age);
            if !self.evaluations.contains_key(&at) {
                let steps = self.evaluate(detector, at);
                let evaluation = Evaluation {
                    strengths: Vec::new(),
                    steps,
                };
                self.evaluations.insert(at, evaluation);
                let strengths = self.strengths(detector, at, level);
                if let Some(evaluation) = self.evaluations.get_mut(&at) {
                    evaluation.strengths = strengths;
                }
            }
        }
        let strengths = |age: usize| {
            self.evaluations
                .get(&back(age))
                .map_or(&[][..], |evaluation| evaluation.strengths.as_slice())
        };
        let strongest_of = |age: usize, signal: Signal| {
            let models = detector.models.iter().zip(strengths(age));
            models
                .filter(|(model, _)| model.signal == signal)
                .fold(0.0, |most, (_, &strength)| f64::max(most, strength))
        };
        let steps = self.evaluations.get(&end).map(|e| e.steps.as_slice());
        let steps = steps.unwrap_or(&[]).iter();
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
    fn strengths(&self, detector: &Detector, end: i64, level: f64) -> Vec<f64> {
        let recent: Vec<&[Option<Step>]> = (0..OF)
            .filter_map(|age| {
                let at = end - age as i64 * detector.step_ms;
                Some(self.evaluations.get(&at)?.steps.as_slice())
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
        let mut values = vec![f64::NAN; WINDOW];
        let mut counts = vec![0; WINDOW];
        let mut weights = vec![1.0; WINDOW];
        let mut evaluate = |index: usize, model: &SignalModel| {
            values.fill(f64::NAN);
            counts.fill(0);
            for (step, row) in &rows {
                *values.get_mut(*step)? = *row.residuals.get(index)?;
                *counts.get_mut(*step)? = *row.counts.get(index)?;
                *weights.get_mut(*step)? = weight_at(&model.inflation, row.hour);
            }
            leave_out_partial(&mut values, &counts);
            let quiet = scan::Quiet {
                noise: &model.noise,
                season_variance: model.season_variance,
                weights: &weights,
            };
            scan(&values, &quiet)
        };
        let models = detector.models.iter().enumerate();
        models
            .map(|(index, model)| evaluate(index, model))
            .collect()
    }
}
