//! The model of quiet days, and what those who learn it (`learn.rs`) and those who watch by it (`watch.rs`) do alike.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::history::{BucketSums, Signal};
use super::scan::Noise;
use super::season::{Resolution, Season};
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
/// A bucket with fewer than this share of the window's servers is a gap: others are missing, and their mean with them.
const MIN_SERVERS: f64 = 0.9;

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
    pub(super) zone: Tz,
    pub(super) step_ms: i64,
    /// How finely the time is known.
    pub resolution: Resolution,
    /// Days that quiet was learnt on.
    pub days: usize,
    /// What quiet days reach; `None`: too few to say, and nothing is judged.
    pub tail: Option<Tail>,
    /// By cell and signal.
    pub models: Vec<SignalModel>,
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

    /// From what was stored, with the zone and the grid of the contract.
    #[must_use]
    pub fn from_parts(
        head: DetectorHead,
        models: Vec<SignalModel>,
        zone: Tz,
        step_ms: i64,
    ) -> Detector {
        Detector {
            zone,
            step_ms,
            resolution: head.resolution,
            days: head.days,
            tail: head.tail,
            models,
        }
    }

    /// The evidence that is an alarm; `None` where quiet days are not known.
    #[must_use]
    pub fn level(&self) -> Option<f64> {
        Some(self.tail?.level(ALARMS_PER_DAY, self.models.len()))
    }
}

pub(super) fn weight_at(inflation: &[f32], hour: usize) -> f64 {
    inflation
        .get(hour)
        .map_or(1.0, |&inflation| f64::from(inflation).sqrt().recip())
}

pub(super) fn count_of(sums: &BucketSums, signal: Signal) -> i64 {
    match signal {
        Signal::Error => sums.errors,
        Signal::Mean | Signal::Spread => sums.n,
    }
}

/// Makes gaps of buckets in which servers are missing.
pub(super) fn leave_out_partial(values: &mut [f64], counts: &[i64]) {
    let most = counts.iter().copied().max().unwrap_or(0) as f64;
    for (value, &n) in values.iter_mut().zip(counts) {
        if (n as f64) < MIN_SERVERS * most {
            *value = f64::NAN;
        }
    }
}

/// What [`PERSIST`] of the evaluations reach.
pub(super) fn persisting(mut held: [f64; OF]) -> f64 {
    held.sort_by(|a, b| b.total_cmp(a));
    held.get(PERSIST - 1).copied().unwrap_or(0.0)
}
