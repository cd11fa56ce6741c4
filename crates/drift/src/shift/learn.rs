//! Learning quiet days: season and noise of each series, and what held-out parts of it reach.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::detector::{
    ALARMS_PER_DAY, Detector, OF, SignalModel, WINDOW, are_enough, count_of, leave_out_partial,
    only_up, persisting, weight_at,
};
use super::history::{BucketSums, History, MAX_BUCKETS, Signal};
use super::scan::{self, Noise, lag_of, scan};
use super::season::{self, Resolution, Season, bucket_hour};
use super::tail::Tail;
use crate::measures::{median, varies};

/// How much more evidence errors need than their days tell: there are a few held-out days of them, not weeks. Without it, alarms by errors
/// on quiet fleets of the simulator stood at 1.00 to 1.02 of the level.
const ERROR_MARGIN: f64 = 1.25;

/// In a profile of fewer servers an incident of one moves the mean and the spread of all…
const FEW_SERVERS: f64 = 5.0;
/// …and a few weeks hold few incidents of so few: they need so much more evidence than these weeks tell. Without it, alarms on quiet fleets
/// of the simulator with two or three servers a profile stood at 1.00 to 1.01 of the level.
const FEW_SERVERS_MARGIN: f64 = 1.25;

pub(crate) const DAY_MS: i64 = 86_400_000;
const WEEK_DAYS: usize = 7;

impl Detector {
    /// Learns quiet days.
    #[must_use]
    pub fn learn(history: &History, zone: Tz, step_ms: i64) -> Detector {
        let times = Times::of(history, zone, step_ms);
        let resolution = resolution(times.days());
        let mut detector = Detector {
            zone,
            step_ms,
            resolution,
            days: times.days(),
            held_out_days: None,
            tail: None,
            models: Vec::new(),
        };
        let mut maxima: Vec<Vec<f64>> = Vec::new();
        // By model: whether few servers are behind it.
        let mut few: Vec<bool> = Vec::new();
        for cell in 0..history.cells() {
            let is_few = history.servers(cell).is_some_and(|n| n < FEW_SERVERS);
            for signal in Signal::ALL {
                let series = Series::of(history, &times, cell, signal);
                if let Some(series) = series
                    && let Some(quiet) = series.fit(&times, |_| true)
                {
                    let held_out = HeldOut::of(&series, &times);
                    let season_variance = held_out.season_variance(&times, &quiet.noise);
                    let quiet_maxima = held_out.maxima(&times, season_variance, only_up(signal));
                    if quiet_maxima.is_empty() {
                        // Nothing is known of its quiet days.
                        continue;
                    }
                    maxima.push(quiet_maxima);
                    few.push(is_few);
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
        // Behind the tail: it is that of all days, whoever had them.
        let models = detector.models.iter_mut().zip(few);
        for (model, _) in models.filter(|(_, is_few)| *is_few) {
            model.scale *= FEW_SERVERS_MARGIN;
        }
        detector
    }

    /// Scales and tail from each model's daily maxima. The scale is that of the median day: incidents, which come on few of them, stay
    /// in the tail that all cells share, since tomorrow they come to others.
    fn calibrate(&mut self, maxima: &[Vec<f64>]) {
        /// Days of the fleet's median that a cell's own days are weighed against.
        const PRIOR_DAYS: f64 = 5.0;
        let of_days = |days: &Vec<f64>| median(days.iter().copied());
        // Of values: errors, of which only a rise counts, have less of it.
        let values = self.models.iter().zip(maxima);
        let values = values.filter(|(model, _)| model.signal != Signal::Error);
        let usual = median(values.filter_map(|(_, days)| of_days(days)));
        let Some(usual) = usual.filter(|usual| *usual > 0.0) else {
            return;
        };
        for (model, days) in self.models.iter_mut().zip(maxima) {
            let n = days.len() as f64;
            let own = (n * of_days(days).unwrap_or(usual) + PRIOR_DAYS * usual) / (n + PRIOR_DAYS);
            model.scale = (own / usual).max(1.0);
        }
        // An incident is an error of every forecast that did not see it come: the tail of errors may be heavier than that of values.
        let errors = self.level_of(maxima, |signal| signal == Signal::Error);
        let others = self.level_of(maxima, |signal| signal != Signal::Error);
        if let Some((errors, others)) = errors.zip(others) {
            let models = self.models.iter_mut();
            for model in models.filter(|model| model.signal == Signal::Error) {
                model.scale *= ERROR_MARGIN * (errors / others).max(1.0);
            }
        }
        // Errors are measured in it, and do not move it; they count as series among which the alarms are shared out.
        self.tail = self.tail_of(maxima, |signal| signal != Signal::Error);
    }

    /// The tail of some signals, scaled.
    fn tail_of(&self, maxima: &[Vec<f64>], is_of: impl Fn(Signal) -> bool) -> Option<Tail> {
        let models = self.models.iter().zip(maxima);
        let scaled = models
            .filter(|(model, _)| is_of(model.signal))
            .flat_map(|(model, days)| days.iter().map(|maximum| maximum / model.scale));
        Tail::fit(&scaled.collect::<Vec<_>>())
    }

    fn level_of(&self, maxima: &[Vec<f64>], is_of: impl Fn(Signal) -> bool) -> Option<f64> {
        let tail = self.tail_of(maxima, is_of)?;
        Some(tail.level(ALARMS_PER_DAY, self.models.len()))
    }
}

/// How finely so many days tell the time.
pub(crate) fn resolution(days: usize) -> Resolution {
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
        let steps = ((last - first) / step_ms + 1).min(2 * MAX_BUCKETS as i64);
        let first = last - (steps - 1) * step_ms;
        let local = (0..steps)
            .map(|step| {
                let at = first + step * step_ms;
                // Folds are days of UTC: their borders need not be midnight anywhere.
                (at.div_euclid(DAY_MS), bucket_hour(zone, at, step_ms))
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
    /// Over the steps from the first value to the last; `None` where they are not [enough](are_enough).
    fn of(values: &[f64], times: &Times) -> Option<Folds> {
        let first = values.iter().position(|value| value.is_finite())?;
        let last = values.iter().rposition(|value| value.is_finite())?;
        let (steps, a_day) = (last - first + 1, times.steps_a_day());
        if !are_enough(steps as f64 / a_day as f64) {
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
            Signal::Spread => median(sums.filter(|sums| sums.n > 1).map(BucketSums::spread))?,
            Signal::Error => median(sums.filter(|sums| sums.errors > 0).map(BucketSums::error))?,
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
        (present * lag_of(&values) >= WINDOW).then_some(Series { unit, values })
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
        if !varies(mean, noise.variance.sqrt()) {
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
            .filter(|(n, _)| 2 * n * noise.lag >= WINDOW)
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
    fn maxima(&self, times: &Times, season_variance: f64, only_up: bool) -> Vec<f64> {
        let mut maxima: BTreeMap<i64, f64> = BTreeMap::new();
        for fold in &self.folds {
            let mut recent = Recent::default();
            for end in 1..=fold.residuals.len() {
                let from = end.saturating_sub(WINDOW);
                let quiet = scan::Quiet {
                    noise: &fold.noise,
                    season_variance,
                    weights: fold.weights.get(from..end).unwrap_or(&[]),
                    only_up,
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
