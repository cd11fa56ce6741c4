//! The fleet of the study: nothing but noise, season and one change.

use drift::fixed::term;
use drift::shift::history::BucketSums;

pub(crate) const STEP_MS: i64 = 300_000;
pub(crate) const STEPS_A_DAY: usize = 288;
/// Metrics that are judged.
pub(crate) const METRICS: usize = 13;
/// Servers of the seven profiles in a fleet of 90, and of 20.
const PROFILES: [[usize; 7]; 2] = [[20, 15, 25, 5, 10, 8, 7], [4, 3, 5, 2, 2, 2, 2]];
/// The profile and metric that change.
pub(crate) const CHANGED: (usize, usize) = (2, 0);
/// Errors are those of held-out days, the last fifth of the baseline's 21, and of those after it.
const ERRORS_FROM_STEP: usize = 21 * STEPS_A_DAY * 4 / 5;
/// Share of the variance that all servers of a metric have in common.
const SHARED: f64 = 0.1;
/// Monday 2026-01-05T00:00:00Z.
const START_MS: i64 = 1_767_571_200_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Season {
    None,
    Daily,
    Weekly,
}

impl Season {
    pub(crate) const ALL: [Season; 3] = [Season::None, Season::Daily, Season::Weekly];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Season::None => "none",
            Season::Daily => "daily",
            Season::Weekly => "daily and weekly",
        }
    }

    /// In standard deviations of a server's noise: a day with two harmonics, and quieter weekends.
    fn at(self, at_ms: i64, phase: f64) -> f64 {
        let day = at_ms as f64 / 86_400_000.0;
        let turn = std::f64::consts::TAU * (day + phase);
        let daily = 1.5 * turn.sin() + 0.5 * (2.0 * turn).cos();
        // Day 0 of the epoch was a Thursday.
        let weekend = (day.floor() as i64 + 3).rem_euclid(7) >= 5;
        match self {
            Season::None => 0.0,
            Season::Daily => daily,
            Season::Weekly if weekend => 0.5 * daily - 1.0,
            Season::Weekly => daily,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// 1 sd in one metric of one profile.
    Shift,
    /// Half of it.
    HalfShift,
    /// Its variance doubles.
    Variance,
    /// 0.1 sd a day.
    Ramp,
    /// A fifth of a profile's servers become another kind: 2 sd in all metrics, up or down.
    NewProfile,
    /// One in twenty servers repeats its last value of the metric.
    Stuck,
}

impl Change {
    pub(crate) const ALL: [Change; 6] = [
        Change::Shift,
        Change::HalfShift,
        Change::Variance,
        Change::Ramp,
        Change::NewProfile,
        Change::Stuck,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Change::None => "nothing",
            Change::Shift => "1 sd, one metric of 25 of 90 servers",
            Change::HalfShift => "0.5 sd, likewise",
            Change::Variance => "variance × 2, likewise",
            Change::Ramp => "ramp of 0.1 sd a day, likewise",
            Change::NewProfile => "5 of the 25 servers become another kind (2 sd in each metric)",
            Change::Stuck => "stuck sensor on 5 % of all servers, one metric",
        }
    }
}

/// SplitMix64 and Marsaglia's polar method: few lines, the same everywhere.
#[derive(Debug)]
struct Noise {
    state: u64,
    spare: Option<f64>,
}

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = x * x + y * y;
            if s > 0.0 && s < 1.0 {
                let factor = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }
}

pub(crate) struct Fleet {
    rho: f64,
    season: Season,
    /// Profile of each server.
    profiles: Vec<usize>,
    /// By metric.
    shared: Vec<f64>,
    /// By server and metric.
    own: Vec<f64>,
    /// What was said last, by server and metric.
    values: Vec<f32>,
    /// Errors of forecasts, by server and metric.
    errors: Vec<f64>,
    /// Of their own: the values of a seed stay what they were without errors.
    error_noise: Noise,
    step: usize,
    changed_steps: usize,
    noise: Noise,
}

impl Fleet {
    pub(crate) fn new(servers: usize, rho: f64, season: Season, seed: u64) -> Fleet {
        let sizes = PROFILES[usize::from(servers != 90)];
        let profiles: Vec<usize> = sizes
            .iter()
            .enumerate()
            .flat_map(|(profile, &n)| std::iter::repeat_n(profile, n))
            .collect();
        let mut noise = Noise {
            state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (rho * 1e6) as u64,
            spare: None,
        };
        let shared = (0..METRICS).map(|_| noise.normal()).collect();
        let own = (0..METRICS * profiles.len())
            .map(|_| noise.normal())
            .collect();
        Fleet {
            rho,
            season,
            errors: vec![0.0; METRICS * profiles.len()],
            error_noise: Noise {
                state: !seed,
                spare: None,
            },
            values: vec![0.0; METRICS * profiles.len()],
            profiles,
            shared,
            own,
            step: 0,
            changed_steps: 0,
            noise,
        }
    }

    pub(crate) fn cells(&self) -> usize {
        7 * METRICS
    }

    /// Profile of each server.
    pub(crate) fn profiles(&self) -> &[usize] {
        &self.profiles
    }

    /// Each server's values of the last step, [`METRICS`] at a time.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn now_ms(&self) -> i64 {
        START_MS + self.step as i64 * STEP_MS
    }

    /// Whether a change touches a cell.
    pub(crate) fn is_changed(&self, change: Change, cell: usize) -> bool {
        let (profile, metric) = (cell / METRICS, cell % METRICS);
        match change {
            Change::None => false,
            Change::NewProfile => profile == CHANGED.0,
            Change::Stuck => metric == CHANGED.1,
            _ => (profile, metric) == CHANGED,
        }
    }

    /// An error of each server, as autoregressive as its values, of a standard deviation of half of theirs.
    fn count_errors(&mut self, sums: &mut [BucketSums]) {
        let innovation = (1.0 - self.rho * self.rho).sqrt();
        for (place, error) in self.errors.iter_mut().enumerate() {
            *error = self.rho * *error + innovation * self.error_noise.normal();
            let profile = self.profiles.get(place / METRICS).copied();
            let cell = profile.map(|profile| profile * METRICS + place % METRICS);
            if let Some(sums) = cell.and_then(|cell| sums.get_mut(cell)) {
                sums.errors += 1;
                sums.error_sum += term(5.0 * error.abs());
            }
        }
    }

    /// One step of all servers into `sums`, by cell.
    pub(crate) fn step(&mut self, change: Change, sums: &mut [BucketSums]) {
        let at = self.now_ms();
        let innovation = (1.0 - self.rho * self.rho).sqrt();
        for shared in &mut self.shared {
            *shared = self.rho * *shared + innovation * self.noise.normal();
        }
        for (server, &profile) in self.profiles.iter().enumerate() {
            let season = self.season.at(at, 0.05 * profile as f64);
            for metric in 0..METRICS {
                let place = server * METRICS + metric;
                let (Some(own), Some(value)) =
                    (self.own.get_mut(place), self.values.get_mut(place))
                else {
                    continue;
                };
                *own = self.rho * *own + innovation * self.noise.normal();
                let shared = self.shared.get(metric).copied().unwrap_or(0.0);
                let noise = (1.0 - SHARED).sqrt() * *own + SHARED.sqrt() * shared;
                let is_stuck =
                    change == Change::Stuck && metric == CHANGED.1 && server.is_multiple_of(20);
                if !is_stuck {
                    let changed =
                        changed(change, self.changed_steps, server, profile, metric, noise);
                    *value = (50.0 + 10.0 * (season + changed)) as f32;
                }
                if let Some(sums) = sums.get_mut(profile * METRICS + metric) {
                    sums.count(*value);
                }
            }
        }
        self.step += 1;
        if self.step > ERRORS_FROM_STEP {
            self.count_errors(sums);
        }
        self.changed_steps += usize::from(change != Change::None);
    }
}

fn changed(
    change: Change,
    steps: usize,
    server: usize,
    profile: usize,
    metric: usize,
    noise: f64,
) -> f64 {
    let here = (profile, metric) == CHANGED;
    match change {
        Change::Shift if here => noise + 1.0,
        Change::HalfShift if here => noise + 0.5,
        Change::Variance if here => noise * std::f64::consts::SQRT_2,
        Change::Ramp if here => noise + 0.1 * steps as f64 / STEPS_A_DAY as f64,
        Change::NewProfile if profile == CHANGED.0 && server.is_multiple_of(5) => {
            noise + if metric.is_multiple_of(2) { 2.0 } else { -2.0 }
        }
        _ => noise,
    }
}
