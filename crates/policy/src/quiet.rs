//! Quiet or busy: now, by a rule; later, by what the load was at that hour of the week.
//!
//! The learner keeps one load per five minutes. Its profile is the mean of the last 30 days by weekday and hour on the
//! contract's clock. An hour of the week that was never seen borrows from the same hour of other days, then from hours up
//! to [`BORROW_HOURS`] away; what nothing is known about is *unknown*, which is not *busy*.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use crate::evidence::Evidence;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// One load is kept per so long: decisions are asked for as often.
const BUCKET_MS: i64 = 5 * MINUTE_MS;
/// What counts for the profile.
const LEARN_FROM_MS: i64 = 30 * DAY_MS;
/// Loads kept: 30 days of buckets. With fewer the profile would forget, with more they would not be read.
pub(crate) const MAX_LOADS: usize = (LEARN_FROM_MS / BUCKET_MS) as usize;
/// Less history than this says nothing about the week.
const LEAST_HISTORY_MS: i64 = 7 * DAY_MS;
/// How far ahead a quiet window is looked for.
const AHEAD_MS: i64 = DAY_MS;
/// In steps of this.
const STEP_MS: i64 = 15 * MINUTE_MS;
/// A window is so many steps: 1.5 h, what a training takes.
const WINDOW_STEPS: i64 = 6;
/// How far an hour of the day that was never seen looks for its neighbours.
const BORROW_HOURS: usize = 3;

/// Mean CPU below which the fleet is quiet by `cpu-mem`, per cent.
const QUIET_CPU: f64 = 60.0;
/// Mean memory below which the fleet is quiet by `cpu-mem`, per cent.
const QUIET_MEMORY: f64 = 70.0;

/// Which measure says that the fleet is quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuietRule {
    /// Load below the limit.
    #[default]
    Load,
    /// Mean CPU below 60 % and mean memory below 70 %.
    CpuMem,
    /// Both of them.
    Both,
    /// One of them.
    Either,
}

impl QuietRule {
    /// All of them.
    pub const ALL: [QuietRule; 4] = [
        QuietRule::Load,
        QuietRule::CpuMem,
        QuietRule::Both,
        QuietRule::Either,
    ];

    /// As it is written in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            QuietRule::Load => "load",
            QuietRule::CpuMem => "cpu-mem",
            QuietRule::Both => "both",
            QuietRule::Either => "either",
        }
    }

    /// Whether it is quiet now; `None` where what the rule needs is not known.
    #[must_use]
    pub fn is_quiet(self, evidence: &Evidence, max_load: f64) -> Option<bool> {
        self.is_quiet_by(evidence, max_load, 1.0)
    }

    /// Whether all that the rule looks at is below `ease` of its limit.
    pub(crate) fn is_quiet_by(self, evidence: &Evidence, max_load: f64, ease: f64) -> Option<bool> {
        // Not "at or above": a load that is no number is not quiet.
        let below = |value: Option<f64>, limit: f64| value.map(|value| value < ease * limit);
        let load = below(evidence.load, max_load);
        let cpu = below(evidence.mean_cpu, QUIET_CPU);
        let memory = below(evidence.mean_memory, QUIET_MEMORY);
        let cpu_mem = both(cpu, memory);
        match self {
            QuietRule::Load => load,
            QuietRule::CpuMem => cpu_mem,
            QuietRule::Both => both(load, cpu_mem),
            QuietRule::Either => either(load, cpu_mem),
        }
    }
}

/// One `false` settles it, whatever the other is.
fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// One `true` settles it, whatever the other is.
fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    both(a.map(|a| !a), b.map(|b| !b)).map(|neither| !neither)
}

/// When it will be quiet next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextQuiet {
    /// A window of 1.5 h or more begins then, ms.
    At(i64),
    /// The hours ahead are known, and no window is among them.
    NotWithinADay,
    /// Too little was seen to tell.
    Unknown,
}

/// The loads of the last 30 days.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loads {
    by_bucket: BTreeMap<i64, f64>,
}

impl Loads {
    /// Takes a load. One of the same five minutes replaces it; one that is no number is not taken.
    pub fn observe(&mut self, at_ms: i64, load: f64) {
        if !load.is_finite() {
            return;
        }
        self.by_bucket.insert(at_ms.div_euclid(BUCKET_MS), load);
        if self.by_bucket.len() > MAX_LOADS {
            self.by_bucket.pop_first();
        }
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_bucket.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_bucket.is_empty()
    }

    /// The start of the next window in which the mean load of its hours is below `max_load`, among the quarters of an hour
    /// of the next 24 h.
    #[must_use]
    pub fn next_quiet(&self, now_ms: i64, zone: Tz, max_load: f64) -> NextQuiet {
        let from = now_ms.saturating_sub(LEARN_FROM_MS).div_euclid(BUCKET_MS);
        let through = now_ms.div_euclid(BUCKET_MS);
        let seen = || self.by_bucket.range(from..=through);
        let Some((oldest, _)) = seen().next() else {
            return NextQuiet::Unknown;
        };
        if (through - oldest) * BUCKET_MS < LEAST_HISTORY_MS {
            return NextQuiet::Unknown;
        }
        let mut week = Week::default();
        for (bucket, load) in seen() {
            week.add(bucket * BUCKET_MS, zone, *load);
        }
        next_window(&week, now_ms, zone, max_load)
    }
}

fn next_window(week: &Week, now_ms: i64, zone: Tz, max_load: f64) -> NextQuiet {
    let first = now_ms
        .div_euclid(STEP_MS)
        .saturating_add(1)
        .saturating_mul(STEP_MS);
    let (mut run, mut unknown) = (0, false);
    for step in 0..AHEAD_MS / STEP_MS {
        let at_ms = first.saturating_add(step * STEP_MS);
        let load = week.load(at_ms, zone);
        unknown |= load.is_none();
        run = match load {
            Some(load) if load < max_load => run + 1,
            _ => 0,
        };
        if run == WINDOW_STEPS {
            return NextQuiet::At(at_ms - (WINDOW_STEPS - 1) * STEP_MS);
        }
    }
    if unknown {
        NextQuiet::Unknown
    } else {
        NextQuiet::NotWithinADay
    }
}

#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    n: u32,
}

impl Mean {
    fn add(&mut self, other: Mean) {
        self.sum += other.sum;
        self.n += other.n;
    }

    fn get(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / f64::from(self.n))
    }
}

const HOURS: usize = 24;

/// Mean loads by weekday and hour.
#[derive(Default)]
struct Week {
    days: [[Mean; HOURS]; 7],
}

impl Week {
    fn add(&mut self, at_ms: i64, zone: Tz, load: f64) {
        if let Some((day, hour)) = day_and_hour(at_ms, zone)
            && let Some(mean) = self.days.get_mut(day).and_then(|day| day.get_mut(hour))
        {
            mean.add(Mean { sum: load, n: 1 });
        }
    }

    /// The load to expect then.
    fn load(&self, at_ms: i64, zone: Tz) -> Option<f64> {
        let (day, hour) = day_and_hour(at_ms, zone)?;
        let own = self.days.get(day).and_then(|day| day.get(hour));
        own.and_then(|mean| mean.get())
            .or_else(|| (0..=BORROW_HOURS).find_map(|away| self.of_any_day(hour, away)))
    }

    /// The mean over all days of the hours `away` from `hour`, before and after it.
    fn of_any_day(&self, hour: usize, away: usize) -> Option<f64> {
        let mut mean = Mean::default();
        for near in [(hour + away) % HOURS, (hour + HOURS - away) % HOURS] {
            let of_days = self.days.iter().filter_map(|day| day.get(near));
            of_days.for_each(|one| mean.add(*one));
        }
        mean.get()
    }
}

/// Days from Monday, and the hour.
fn day_and_hour(at_ms: i64, zone: Tz) -> Option<(usize, usize)> {
    let (hour, _) = contract::hour_of_week(zone, at_ms)?;
    Some((hour / HOURS, hour % HOURS))
}
