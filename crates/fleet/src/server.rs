//! One simulated server: what it measures in one step.
//!
//! A record carries means over its step, as an agent that samples all the time would send them; uptime and state are those
//! at the step's end. So a 300-second step gives directly what the rollup makes of sixty 5-second records.
//!
//! It is not: the schedule of events (`schedule`), or what is valid on the wire (`simulator` holds the valid ranges).

use chrono_tz::Tz;
use rand_chacha::ChaCha8Rng;

use crate::behaviour::Behaviour;
use crate::noise::{Dice, OuStep, hash_name, stationary, stream};
use crate::scenario::{Scenario, ScenarioKind};
use crate::schedule::{DAY_MS, Patch, Plan, RECOVERY_MS, Span, Trouble};
use crate::season::Curve;
use crate::vitals::{
    BACK, DISK, FRONT, IOWAIT, JAVA, LOAD_DAY, LOAD_FAST, LOAD_SLOW, MEMORY_FAST, MEMORY_SLOW,
    NET_IN, NET_OUT, NUM_CHANNELS, NUM_METRICS, SWAP, SYSTEM, Vitals, burst, high, low, move_by,
};

/// What a server says about itself, in the order of [`STATES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    CriticalIssue,
    Healthy,
    HeavyLoad,
    Idle,
    Maintenance,
    MorningSpike,
    Offline,
    Recovery,
}

/// Names of the states in the contract.
pub(crate) const STATES: [&str; 8] = [
    "critical_issue",
    "healthy",
    "heavy_load",
    "idle",
    "maintenance",
    "morning_spike",
    "offline",
    "recovery",
];

/// What all servers share in one step.
pub(crate) struct StepContext<'a> {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    /// Hour of the week in the middle of the step, local time.
    pub(crate) hour_of_week: f64,
    pub(crate) scenario: &'a Scenario,
    pub(crate) zone: &'a Tz,
    /// One for each of `CHANNELS`.
    pub(crate) noise: &'a [OuStep; NUM_CHANNELS],
    /// One curve for each behaviour, by its place in the table.
    pub(crate) curves: &'a [Curve],
    /// The workload of `new-profile`, and the place of its curve.
    pub(crate) new_workload: (&'a Behaviour, usize),
}

/// What makes this server different from others of its profile; fixed for life.
#[derive(Debug, Clone)]
struct Character {
    load: f64,
    memory: f64,
    phase_hours: f64,
    network: f64,
    disk_level: f64,
    disk_growth_per_day: f64,
    disk_cycle_days: f64,
    disk_phase_days: f64,
}

impl Character {
    fn new(seed: u64, server: u64) -> Self {
        let mut dice = Dice::new(&[seed, server, 0]);
        Character {
            load: dice.normal(),
            memory: dice.normal(),
            phase_hours: dice.between(-0.25, 0.25),
            network: dice.between(0.7, 1.3),
            disk_level: 7.0 * dice.normal(),
            disk_growth_per_day: dice.between(0.2, 0.9),
            disk_cycle_days: dice.between(10.0, 28.0),
            disk_phase_days: dice.between(0.0, 28.0),
        }
    }
}

/// What is going on; looked up anew when a slot begins.
#[derive(Debug, Clone, Default)]
struct Agenda {
    incident: (Option<i64>, Option<Trouble>),
    scenario: (Option<(i64, Scenario)>, Option<Trouble>),
    patch: (Option<i64>, Option<Patch>),
    silence: (Option<i64>, Option<Span>),
    sensor: (Option<i64>, Option<(Span, usize)>),
}

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    behaviour: &'static Behaviour,
    curve: usize,
    plan: Plan,
    character: Character,
    rng: ChaCha8Rng,
    noise: [f64; NUM_CHANNELS],
    agenda: Agenda,
    boot_ms: i64,
}

impl Server {
    /// A server whose record of events begins before `start_ms`, so that it has an uptime.
    pub(crate) fn new(
        name: &str,
        seed: u64,
        (behaviour, curve): (&'static Behaviour, usize),
        start_ms: i64,
        zone: &Tz,
    ) -> Self {
        let server = hash_name(name);
        let plan = Plan::new(seed, server, behaviour.incidents);
        let mut rng = stream(seed, name);
        let noise = std::array::from_fn(|_| stationary(&mut rng));
        Server {
            behaviour,
            curve,
            boot_ms: last_boot(&plan, start_ms, zone),
            plan,
            character: Character::new(seed, server),
            rng,
            noise,
            agenda: Agenda::default(),
        }
    }

    /// The server's dice.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Moves on by one step. Values go to `out` in the order of `METRICS`, NaN for a broken sensor. `None`: the server was
    /// silent, and `out` means nothing.
    pub(crate) fn step(
        &mut self,
        cx: &StepContext<'_>,
        out: &mut [f64; NUM_METRICS],
    ) -> Option<State> {
        let mut noise = [0.0; NUM_CHANNELS];
        for ((mean, ou), state) in noise.iter_mut().zip(cx.noise).zip(&mut self.noise) {
            *mean = ou.advance(state, &mut self.rng);
        }
        let end_ms = cx.start_ms + cx.step_ms;
        self.look_up(cx);
        self.note_restarts(end_ms);
        let silent = self
            .agenda
            .silence
            .1
            .is_some_and(|span| span.covers(cx.start_ms, end_ms));
        if silent {
            return None;
        }
        let middle_ms = cx.start_ms + cx.step_ms / 2;
        let mut vitals = self.normal_day(cx, &noise, middle_ms);
        let troubles = [self.agenda.incident.1, self.agenda.scenario.1];
        for trouble in troubles.iter().flatten() {
            vitals.suffer(trouble.kind, trouble.level(middle_ms), self.cores(cx));
        }
        let activity = self.activity(middle_ms);
        vitals.scale(activity);
        let state = self.state(cx, &vitals, end_ms);
        vitals.write(self.cores(cx), &noise, out);
        move_by(
            out,
            self.behaviour.profile,
            activity * cx.scenario.shift_at(cx.start_ms),
        );
        out[NUM_METRICS - 1] = (end_ms - self.boot_ms).max(0) as f64 / DAY_MS as f64;
        if let Some((span, metric)) = self.agenda.sensor.1
            && span.covers(cx.start_ms, end_ms)
            && let Some(value) = out.get_mut(metric)
        {
            *value = f64::NAN;
        }
        Some(state)
    }

    fn look_up(&mut self, cx: &StepContext<'_>) {
        let plan = &self.plan;
        let agenda = &mut self.agenda;
        renew(
            &mut agenda.incident,
            Plan::incident_slot(cx.start_ms),
            |slot| plan.incident(*slot),
        );
        let scenario = (Plan::scenario_slot(cx.scenario, cx.start_ms), *cx.scenario);
        renew(&mut agenda.scenario, scenario, |(slot, scenario)| {
            plan.scenario_incident(scenario, *slot)
        });
        renew(&mut agenda.patch, Plan::patch_slot(cx.start_ms), |slot| {
            Some(plan.patch(*slot, cx.zone))
        });
        let day = Plan::day_slot(cx.start_ms);
        renew(&mut agenda.silence, day, |day| plan.silence(*day));
        renew(&mut agenda.sensor, day, |day| {
            plan.broken_sensor(*day, NUM_METRICS)
        });
    }

    fn note_restarts(&mut self, now_ms: i64) {
        let patch = self.agenda.patch.1.map(|patch| patch.boot_ms);
        let troubles = [self.agenda.incident.1, self.agenda.scenario.1];
        let restarts = troubles
            .into_iter()
            .flatten()
            .filter(|trouble| trouble.restart)
            .map(|trouble| trouble.end_ms);
        for boot_ms in patch.into_iter().chain(restarts) {
            if boot_ms <= now_ms {
                self.boot_ms = self.boot_ms.max(boot_ms);
            }
        }
    }

    /// Whether the server has taken up the new workload, and which curve it follows then.
    fn behaviour<'a>(&self, cx: &StepContext<'a>) -> (&'a Behaviour, usize) {
        let moved = cx.scenario.at(cx.start_ms) == ScenarioKind::NewProfile
            && self.behaviour.profile == cx.new_workload.0.profile
            && self.plan.is_affected(ScenarioKind::NewProfile);
        if moved {
            cx.new_workload
        } else {
            (self.behaviour, self.curve)
        }
    }

    fn cores(&self, cx: &StepContext<'_>) -> f64 {
        self.behaviour(cx).0.cores
    }

    /// The values without incidents and restarts.
    fn normal_day(
        &self,
        cx: &StepContext<'_>,
        noise: &[f64; NUM_CHANNELS],
        middle_ms: i64,
    ) -> Vitals {
        let (b, curve) = self.behaviour(cx);
        let c = &self.character;
        let later = if cx.scenario.at(cx.start_ms) == ScenarioKind::SeasonChange {
            8.0
        } else {
            0.0
        };
        let curve = cx.curves.get(curve);
        let season = curve.map_or(0.0, |curve| {
            b.swing * curve.at(cx.hour_of_week + c.phase_hours - later)
        });
        let season_variance = curve.map_or(0.0, |curve| b.swing * b.swing * curve.variance());
        // The season takes its part of the stated variance; servers and noise share the rest (0.25 + 0.15 + 0.4 + 0.2).
        let sd = (b.used.1 * b.used.1 - season_variance)
            .max(0.1 * b.used.1 * b.used.1)
            .sqrt();
        let wander =
            0.3873 * noise[LOAD_DAY] + 0.6325 * noise[LOAD_SLOW] + 0.4472 * noise[LOAD_FAST];
        let used = low(
            high(b.used.0 + season + sd * (0.5 * c.load + wander), 88.0, 11.5),
            4.0,
            3.5,
        );
        let busy = (used - b.used.0) / b.used.1;
        // Variances: 0.25 between servers, 0.09 with the load, 0.56 slow, 0.1 fast.
        let drift =
            0.5 * c.memory + 0.3 * busy + 0.75 * noise[MEMORY_SLOW] + 0.3 * noise[MEMORY_FAST];
        let memory = high(b.memory.0 + b.memory.1 * drift, 89.0, 6.5);
        let relative = 0.35 + 0.65 * used / b.used.0;
        let bursts = |channel: usize| burst(noise[channel]) * relative;
        let iowait = b.iowait.0 * (1.0 + 0.25 * noise[IOWAIT]) + b.iowait.1 * (used - b.used.0);
        Vitals {
            used,
            system: used * b.system_share * (1.0 + 0.15 * noise[SYSTEM]),
            iowait: iowait.max(0.05 * b.iowait.0),
            java: b.java_share * (1.0 + 0.1 * noise[JAVA]),
            memory: memory.max(2.0),
            swap: (0.6 + 1.2 * (memory - 88.0).max(0.0)) * (1.0 + 0.2 * noise[SWAP]),
            disk: self.disk(b, middle_ms, noise[DISK]),
            net_in: b.network.0 * c.network * bursts(NET_IN),
            net_out: b.network.1 * c.network * bursts(NET_OUT),
            back: b.close_wait.0 * bursts(BACK),
            front: b.close_wait.1 * bursts(FRONT),
            run_queue: 0.0,
        }
    }

    /// Space fills up day by day and is cleared now and then.
    fn disk(&self, b: &Behaviour, middle_ms: i64, noise: f64) -> f64 {
        let c = &self.character;
        let days = middle_ms as f64 / DAY_MS as f64 + c.disk_phase_days;
        let since = days - (days / c.disk_cycle_days).floor() * c.disk_cycle_days;
        let level =
            b.disk + c.disk_level + c.disk_growth_per_day * (since - 0.5 * c.disk_cycle_days);
        high(level, 76.0, 7.0).max(5.0) + 0.15 * noise
    }

    /// How much of its usual work a server does: 1, less around a restart, 0 while it is off.
    fn activity(&self, now_ms: i64) -> f64 {
        if let Some(patch) = self.agenda.patch.1 {
            if (patch.off_ms..patch.boot_ms).contains(&now_ms) {
                return 0.0;
            }
            if (patch.start_ms..patch.off_ms).contains(&now_ms) {
                return 0.1;
            }
        }
        let up = (now_ms - self.boot_ms) as f64 / RECOVERY_MS as f64;
        (0.3 + 0.7 * up).clamp(0.0, 1.0)
    }

    fn state(&self, cx: &StepContext<'_>, vitals: &Vitals, now_ms: i64) -> State {
        if let Some(patch) = self.agenda.patch.1 {
            if (patch.off_ms..patch.boot_ms).contains(&now_ms) {
                return State::Offline;
            }
            if (patch.start_ms..patch.off_ms).contains(&now_ms) {
                return State::Maintenance;
            }
        }
        if (0..RECOVERY_MS).contains(&(now_ms - self.boot_ms)) {
            return State::Recovery;
        }
        let troubles = [self.agenda.incident.1, self.agenda.scenario.1];
        for trouble in troubles.iter().flatten().filter(|trouble| trouble.critical) {
            if now_ms < trouble.relief_ms && trouble.level(now_ms) > 0.8 {
                return State::CriticalIssue;
            }
            if (trouble.relief_ms..trouble.end_ms).contains(&now_ms) {
                return State::Recovery;
            }
        }
        let b = self.behaviour(cx).0;
        let (weekday, hour) = (cx.hour_of_week < 120.0, cx.hour_of_week % 24.0);
        if b.morning_spike && weekday && (9.25..10.5).contains(&hour) && vitals.used > b.used.0 {
            State::MorningSpike
        } else if vitals.used > (b.used.0 + 1.5 * b.used.1).min(90.0) {
            State::HeavyLoad
        } else if vitals.used < 18.0 {
            State::Idle
        } else {
            State::Healthy
        }
    }
}

/// Looks up what a slot holds when the slot is another one than before.
fn renew<K: PartialEq, V>(
    kept: &mut (Option<K>, Option<V>),
    slot: K,
    find: impl FnOnce(&K) -> Option<V>,
) {
    if kept.0.as_ref() != Some(&slot) {
        kept.1 = find(&slot);
        kept.0 = Some(slot);
    }
}

/// The latest restart before a time: of a patch, or after an incident of the last two patch cycles.
fn last_boot(plan: &Plan, now_ms: i64, zone: &Tz) -> i64 {
    let slot = Plan::patch_slot(now_ms);
    let patches = (slot - 1..=slot).map(|slot| plan.patch(slot, zone).boot_ms);
    let slot = Plan::incident_slot(now_ms);
    let incidents = (slot - 14..=slot).filter_map(|slot| plan.incident(slot));
    let restarts = incidents
        .filter(|trouble| trouble.restart)
        .map(|trouble| trouble.end_ms);
    let before = patches.chain(restarts).filter(|boot_ms| *boot_ms <= now_ms);
    before.max().unwrap_or(now_ms - 28 * DAY_MS)
}
