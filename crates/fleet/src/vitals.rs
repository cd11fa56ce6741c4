//! The values of a server on their way to a record: noise in, incidents on top, consistent percentages out.
//!
//! Invariants of what [`Vitals::write`] gives: nothing is negative; user, system, I/O wait and idle add up to 100; Java is part
//! of user time.

use crate::noise::OuStep;
use crate::scenario::SHIFTS;
use crate::schedule::{HOUR_MS, IncidentKind, MINUTE_MS, SECOND_MS};

/// Metrics that the simulator makes, in its own order.
pub(crate) const METRICS: [&str; 14] = [
    "cpu_user_pct",
    "cpu_sys_pct",
    "cpu_iowait_pct",
    "cpu_idle_pct",
    "java_cpu_pct",
    "mem_used_pct",
    "swap_used_pct",
    "disk_usage_pct",
    "net_in_mb_s",
    "net_out_mb_s",
    "back_close_wait",
    "front_close_wait",
    "load_average",
    "uptime_days",
];
/// Number of metrics.
pub(crate) const NUM_METRICS: usize = METRICS.len();

/// The processes that a server's noise is made of, with their time constants.
const CHANNELS: [i64; NUM_CHANNELS] = [
    20 * HOUR_MS,
    40 * MINUTE_MS,
    45 * SECOND_MS,
    4 * HOUR_MS,
    10 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    20 * MINUTE_MS,
    12 * MINUTE_MS,
    12 * MINUTE_MS,
    30 * MINUTE_MS,
    30 * MINUTE_MS,
    5 * MINUTE_MS,
    HOUR_MS,
    HOUR_MS,
];
pub(crate) const NUM_CHANNELS: usize = 15;

// Places in `CHANNELS`.
pub(crate) const LOAD_DAY: usize = 0;
pub(crate) const LOAD_SLOW: usize = 1;
pub(crate) const LOAD_FAST: usize = 2;
pub(crate) const MEMORY_SLOW: usize = 3;
pub(crate) const MEMORY_FAST: usize = 4;
pub(crate) const IOWAIT: usize = 5;
pub(crate) const SYSTEM: usize = 6;
pub(crate) const JAVA: usize = 7;
pub(crate) const NET_IN: usize = 8;
pub(crate) const NET_OUT: usize = 9;
pub(crate) const BACK: usize = 10;
pub(crate) const FRONT: usize = 11;
pub(crate) const RUN_QUEUE: usize = 12;
pub(crate) const SWAP: usize = 13;
pub(crate) const DISK: usize = 14;

/// The noise of one step length.
pub(crate) fn channels(step_ms: i64) -> [OuStep; NUM_CHANNELS] {
    CHANNELS.map(|time_constant_ms| OuStep::new(step_ms, time_constant_ms))
}

/// Values on their way to a record.
pub(crate) struct Vitals {
    pub(crate) used: f64,
    pub(crate) system: f64,
    pub(crate) iowait: f64,
    pub(crate) java: f64,
    pub(crate) memory: f64,
    pub(crate) swap: f64,
    pub(crate) disk: f64,
    pub(crate) net_in: f64,
    pub(crate) net_out: f64,
    pub(crate) back: f64,
    pub(crate) front: f64,
    pub(crate) run_queue: f64,
}

impl Vitals {
    /// What an incident at a level (0 to 1) does. The full level is beyond the critical threshold of its metric.
    pub(crate) fn suffer(&mut self, kind: IncidentKind, level: f64, cores: f64) {
        if level <= 0.0 {
            return;
        }
        let towards = |from: f64, to: f64| from + (to - from).max(0.0) * level;
        match kind {
            IncidentKind::MemoryLeak => {
                self.memory = towards(self.memory, 99.2);
                self.swap = self.swap.max(70.0 * level * level * level);
                self.iowait += 9.0 * level * level;
            }
            IncidentKind::IoSaturation => {
                self.iowait = towards(self.iowait, 62.0);
                self.used = self.used.max(self.iowait + 0.2 * self.used + self.system);
                self.back += 80.0 * level * level;
                self.run_queue += 1.5 * cores * level;
            }
            IncidentKind::CpuRunaway => {
                self.used = towards(self.used, 99.6);
                self.system *= 1.0 - 0.8 * level;
                self.iowait *= 1.0 - 0.8 * level;
                self.run_queue += 2.4 * cores * level;
            }
            IncidentKind::ConnectionLeak => {
                self.back += 900.0 * level * level;
                self.front += 700.0 * level * level;
                self.system += 5.0 * level;
                self.used = high(self.used + 5.0 * level, 88.0, 11.5);
            }
            IncidentKind::DiskFull => {
                self.disk = towards(self.disk, 98.5);
                self.iowait += 3.0 * level;
            }
        }
    }

    /// Leaves only a part of the usual work. Disk space stays as it is.
    pub(crate) fn scale(&mut self, activity: f64) {
        if activity >= 1.0 {
            return;
        }
        self.used = 0.5 + (self.used - 0.5) * activity;
        self.memory = 3.0 + (self.memory - 3.0) * (0.2 + 0.8 * activity);
        let work = [
            &mut self.system,
            &mut self.iowait,
            &mut self.swap,
            &mut self.net_in,
            &mut self.net_out,
            &mut self.back,
            &mut self.front,
            &mut self.run_queue,
        ];
        for value in work {
            *value *= activity;
        }
    }

    /// The record's values but uptime. User, system, I/O wait and idle add up to 100.
    pub(crate) fn write(
        &self,
        cores: f64,
        noise: &[f64; NUM_CHANNELS],
        out: &mut [f64; NUM_METRICS],
    ) {
        let system = self.system.clamp(0.02, 60.0);
        let iowait = self.iowait.clamp(0.0, 70.0).min(99.0 - system);
        let user = (self.used - system - iowait).clamp(0.1, 99.9 - system - iowait);
        let busy = user + system + iowait;
        let waiting = 0.5 * cores * iowait / 100.0;
        let load = cores * (user + system) / 100.0 * (1.0 + 0.08 * noise[RUN_QUEUE])
            + waiting
            + self.run_queue;
        let values = [
            user,
            system,
            iowait,
            100.0 - busy,
            (self.java * user).min(user),
            self.memory,
            self.swap,
            self.disk,
            self.net_in,
            self.net_out,
            self.back,
            self.front,
            load,
        ];
        for (value, to) in values.into_iter().zip(out.iter_mut()) {
            *to = value.max(0.0);
        }
    }
}

/// Applies [`SHIFTS`] to the values of a server. Idle takes what the other kinds of CPU time leave.
pub(crate) fn move_by(measured: &mut [f64; NUM_METRICS], profile: &str, share: f64) {
    if share <= 0.0 {
        return;
    }
    for shift in SHIFTS.iter().filter(|shift| shift.profile == profile) {
        let place = METRICS.iter().position(|metric| *metric == shift.metric);
        if let Some(value) = place.and_then(|place| measured.get_mut(place)) {
            *value = (*value + share * shift.amount).max(0.0);
        }
    }
    let [user, system, iowait, idle, java, ..] = measured;
    *user = user.min(99.9 - *system - *iowait);
    *idle = 100.0 - *user - *system - *iowait;
    *java = java.min(*user);
}

/// Bends what is above `knee` so that it never reaches `knee + room`.
pub(crate) fn high(value: f64, knee: f64, room: f64) -> f64 {
    let above = value - knee;
    if above <= 0.0 {
        value
    } else {
        knee + above * room / (above + room)
    }
}

/// Bends what is below `knee` so that it never reaches `knee - room`.
pub(crate) fn low(value: f64, knee: f64, room: f64) -> f64 {
    let below = knee - value;
    if below <= 0.0 {
        value
    } else {
        knee - below * room / (below + room)
    }
}

/// A factor of mean 1 that is never negative and has a tail upwards.
pub(crate) fn burst(noise: f64) -> f64 {
    let root = 1.0 + 0.35 * noise;
    root * root / 1.1225
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bends_are_smooth_and_bounded() {
        assert_eq!(high(50.0, 88.0, 11.5), 50.0);
        assert_eq!(high(88.0 + 11.5, 88.0, 11.5), 88.0 + 5.75);
        assert!(high(1e9, 88.0, 11.5) < 99.5);
        assert_eq!(low(0.5, 4.0, 3.5), 4.0 - 1.75);
        assert!(low(-1e9, 4.0, 3.5) > 0.5);
    }

    #[test]
    fn a_full_level_is_beyond_the_critical_threshold() {
        let quiet = || Vitals {
            used: 30.0,
            system: 3.0,
            iowait: 1.0,
            java: 0.5,
            memory: 50.0,
            swap: 1.0,
            disk: 40.0,
            net_in: 1.0,
            net_out: 1.0,
            back: 3.0,
            front: 3.0,
            run_queue: 0.0,
        };
        let after = |kind| {
            let mut vitals = quiet();
            vitals.suffer(kind, 1.0, 16.0);
            let mut out = [0.0; NUM_METRICS];
            vitals.write(16.0, &[0.0; NUM_CHANNELS], &mut out);
            out
        };
        let at = |name: &str| {
            METRICS
                .iter()
                .position(|metric| *metric == name)
                .unwrap_or(0)
        };
        assert!(after(IncidentKind::MemoryLeak)[at("mem_used_pct")] > 95.0);
        assert!(after(IncidentKind::MemoryLeak)[at("swap_used_pct")] > 50.0);
        assert!(after(IncidentKind::IoSaturation)[at("cpu_iowait_pct")] > 50.0);
        assert!(after(IncidentKind::CpuRunaway)[at("cpu_user_pct")] > 95.0);
        assert!(after(IncidentKind::CpuRunaway)[at("load_average")] > 32.0);
        assert!(after(IncidentKind::ConnectionLeak)[at("back_close_wait")] > 500.0);
        assert!(after(IncidentKind::ConnectionLeak)[at("front_close_wait")] > 500.0);
        assert!(after(IncidentKind::DiskFull)[at("disk_usage_pct")] > 95.0);
        for kind in [IncidentKind::IoSaturation, IncidentKind::CpuRunaway] {
            let sum: f64 = after(kind)[..4].iter().sum();
            assert!((sum - 100.0).abs() < 1e-9, "{kind:?} {sum}");
        }
    }
}
