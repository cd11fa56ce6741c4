//! The model of quiet days, and what those who learn it (`learn.rs`) and those who watch by it (`watch.rs`) do alike.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::history::{BucketSums, Signal};
use super::scan::Noise;
use super::season::{Resolution, Season};
use super::tail::Tail;
use crate::sums::HORIZON_MINUTES;

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
/// A bucket with fewer than this share of the window's servers is a gap: others are missing, and their mean with them. The window is the
/// day: held against the last few hours only, a server that is down for a morning would soon be forgotten, and the mean of those that
/// are left taken for a step.
const MIN_SERVERS: f64 = 0.9;

/// Days without which nothing is known of quiet days, nor of the errors on them.
pub const MIN_DAYS: usize = 3;

/// Whether a series of so many days, from its first value to its last, tells what quiet days do. Three hours may be missing: the first
/// forecasts come due half an hour after they are issued, and at each N-th bucket only.
#[must_use]
pub fn are_enough(days: f64) -> bool {
    days + 0.125 >= MIN_DAYS as f64
}

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

impl SignalModel {
    /// Whether a bucket is one of those that the signal was learnt on. Errors of a large fleet are learnt at each N-th bucket, when a
    /// forecast that was issued half an hour before comes due; the others, which have not its noise, are left out.
    pub(super) fn is_due(&self, bucket: i64, step_ms: i64) -> bool {
        let lag = i64::try_from(self.noise.lag).unwrap_or(1).max(1);
        let ahead = i64::from(HORIZON_MINUTES[0]) * 60_000 / step_ms;
        self.signal != Signal::Error || (bucket / step_ms - ahead).rem_euclid(lag) == 0
    }
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
    /// Days that were held out, on which forecasts could be judged; `None` where it is not known.
    pub held_out_days: Option<f64>,
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
    /// As [`Detector::held_out_days`].
    #[serde(default)]
    pub held_out_days: Option<f64>,
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
            held_out_days: self.held_out_days,
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
            held_out_days: head.held_out_days,
            tail: head.tail,
            models,
        }
    }

    /// Metrics of profiles whose forecast errors are watched.
    #[must_use]
    pub fn num_error_series(&self) -> usize {
        let models = self.models.iter();
        models.filter(|model| model.signal == Signal::Error).count()
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

/// What is a change of a signal only upwards.
pub(super) fn only_up(signal: Signal) -> bool {
    signal == Signal::Error
}

pub(super) fn count_of(sums: &BucketSums, signal: Signal) -> i64 {
    match signal {
        Signal::Error => sums.errors,
        Signal::Mean | Signal::Spread => sums.n,
    }
}

/// Whether so many servers of a bucket are enough beside the most of the window.
pub(crate) fn is_whole(servers: i64, most: i64) -> bool {
    servers as f64 >= MIN_SERVERS * most as f64
}

/// Makes gaps of buckets in which servers are missing.
pub(super) fn leave_out_partial(values: &mut [f64], counts: &[i64]) {
    let most = counts.iter().copied().max().unwrap_or(0);
    for (value, &n) in values.iter_mut().zip(counts) {
        if !is_whole(n, most) {
            *value = f64::NAN;
        }
    }
}

/// What [`PERSIST`] of the evaluations reach.
pub(super) fn persisting(mut held: [f64; OF]) -> f64 {
    held.sort_by(|a, b| b.total_cmp(a));
    held.get(PERSIST - 1).copied().unwrap_or(0.0)
}
