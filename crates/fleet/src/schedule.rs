//! What happens to a server when: incidents, patches with a restart, silences, broken sensors.
//!
//! Time is cut into slots, and what happens in a slot is thrown with dice that depend on (seed, server, slot) alone; an event
//! ends within its slot. So a plan can be looked up for any time in any order: a simulator that starts later, or with
//! another step, or in a larger fleet sees the same events.
//!
//! It is not: what an event does to the metrics (`server`).

use chrono::TimeZone;
use serde::Serialize;

use crate::noise::Dice;
use crate::scenario::{Scenario, ScenarioKind};
use crate::season::offset_ms;

pub(crate) const SECOND_MS: i64 = 1_000;
pub(crate) const MINUTE_MS: i64 = 60 * SECOND_MS;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// One chance of an incident for every server in so much time.
const INCIDENT_SLOT_MS: i64 = 4 * DAY_MS;
/// The longest incident: 8 h of build-up, 1 h at the peak, 1 h back.
const LONGEST_INCIDENT_MS: i64 = 10 * HOUR_MS;
/// Probability of an incident in a slot: one in 13 days a server.
const INCIDENT_PROBABILITY: f64 = 0.3;
/// Share of incidents that stay below the critical threshold.
const NEAR_MISSES: f64 = 0.2;
/// One chance in so much time while `degrading` or `critical` holds; shorter than a night, longer than the longest event.
const SCENARIO_SLOT_MS: i64 = 16 * HOUR_MS;
/// Every server is patched once in so much time, on a Sunday night.
const PATCH_SLOT_MS: i64 = 28 * DAY_MS;
/// How long a server that was restarted takes to be itself again.
pub(crate) const RECOVERY_MS: i64 = 40 * MINUTE_MS;
/// Silences begin and end with a bucket of the default grid, so that any step up to it sees the same ones.
const GRID_MS: i64 = 5 * MINUTE_MS;
/// The Monday that patch slots are counted from (1970-01-05).
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// What an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Memory grows until the server swaps.
    MemoryLeak,
    /// Disks cannot keep up: I/O wait and load grow, user time shrinks.
    IoSaturation,
    /// Something eats the CPU: user time and load grow, idle goes to nothing.
    CpuRunaway,
    /// Connections are not closed: CLOSE_WAIT counts grow.
    ConnectionLeak,
    /// Disk space runs out.
    DiskFull,
}

impl IncidentKind {
    /// In the order of `Behaviour::incidents`.
    const ALL: [IncidentKind; 5] = [
        IncidentKind::MemoryLeak,
        IncidentKind::IoSaturation,
        IncidentKind::CpuRunaway,
        IncidentKind::ConnectionLeak,
        IncidentKind::DiskFull,
    ];

    /// The name in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentKind::MemoryLeak => "memory_leak",
            IncidentKind::IoSaturation => "io_saturation",
            IncidentKind::CpuRunaway => "cpu_runaway",
            IncidentKind::ConnectionLeak => "connection_leak",
            IncidentKind::DiskFull => "disk_full",
        }
    }
}

/// An incident as it will happen: the label that forecasts and alerts are measured against. Times are milliseconds since
/// the epoch, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Whose.
    pub server: String,
    /// What.
    pub kind: IncidentKind,
    /// First sign: the build-up begins.
    pub start_ms: i64,
    /// The worst is reached, 30 min to 8 h after the start.
    pub peak_ms: i64,
    /// The server is as before.
    pub end_ms: i64,
    /// Whether the peak is beyond a critical threshold; a near miss otherwise.
    pub critical: bool,
}

/// An incident of one server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) kind: IncidentKind,
    pub(crate) start_ms: i64,
    pub(crate) peak_ms: i64,
    pub(crate) relief_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) critical: bool,
    /// Whether it ends with a restart at `end_ms`.
    pub(crate) restart: bool,
}

impl Trouble {
    /// How far it has come, 0 to 1 (0.5 for a near miss), at a time.
    pub(crate) fn level(&self, now_ms: i64) -> f64 {
        let share = |from: i64, to: i64| (now_ms - from) as f64 / (to - from).max(1) as f64;
        let scale = if self.critical { 1.0 } else { 0.5 };
        if now_ms <= self.start_ms || now_ms >= self.end_ms {
            0.0
        } else if now_ms < self.peak_ms {
            let x = share(self.start_ms, self.peak_ms);
            scale * x * (0.6 + 0.4 * x)
        } else if now_ms < self.relief_ms {
            scale
        } else {
            scale * (1.0 - share(self.relief_ms, self.end_ms))
        }
    }
}

/// A planned restart: maintenance, then off, then up again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Patch {
    pub(crate) start_ms: i64,
    pub(crate) off_ms: i64,
    pub(crate) boot_ms: i64,
}

/// A time without something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl Span {
    /// Whether the whole step falls into it.
    pub(crate) fn covers(&self, from_ms: i64, to_ms: i64) -> bool {
        self.start_ms <= from_ms && to_ms <= self.end_ms
    }
}

/// What the dice of one server are thrown with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    seed: u64,
    server: u64,
    kinds: [f64; 5],
}

/// Keeps the dice of different questions apart.
#[derive(Clone, Copy)]
enum Question {
    Incident = 1,
    ScenarioIncident = 2,
    Patch = 3,
    Silence = 4,
    Sensor = 5,
    Affected = 6,
    Moved = 7,
}

impl Plan {
    /// `kinds` weighs [`IncidentKind::ALL`].
    pub(crate) fn new(seed: u64, server: u64, kinds: [f64; 5]) -> Self {
        Plan {
            seed,
            server,
            kinds,
        }
    }

    fn dice(&self, question: Question, slot: i64) -> Dice {
        Dice::new(&[self.seed, self.server, question as u64, slot as u64])
    }

    /// Everyday incidents: the slot that a time is in.
    pub(crate) fn incident_slot(now_ms: i64) -> i64 {
        now_ms.div_euclid(INCIDENT_SLOT_MS)
    }

    /// The incident of a slot, if there is one.
    pub(crate) fn incident(&self, slot: i64) -> Option<Trouble> {
        let mut dice = self.dice(Question::Incident, slot);
        if !dice.chance(INCIDENT_PROBABILITY) {
            return None;
        }
        let room = (INCIDENT_SLOT_MS - LONGEST_INCIDENT_MS) as f64;
        let start = slot * INCIDENT_SLOT_MS + dice.between(0.0, room) as i64;
        // Squared: half of the build-ups are shorter than 2 h 23 min.
        let x = dice.unit();
        let build_up = (0.5 + 7.5 * x * x) * HOUR_MS as f64;
        let critical = !dice.chance(NEAR_MISSES);
        let hold = dice.between(10.0, 60.0) * MINUTE_MS as f64;
        Some(self.trouble(&mut dice, start, build_up as i64, hold as i64, critical))
    }

    /// Scenario incidents: the slot that a time is in, counted from where the scenario begins.
    pub(crate) fn scenario_slot(scenario: &Scenario, now_ms: i64) -> i64 {
        now_ms
            .saturating_sub(scenario.from_ms)
            .div_euclid(SCENARIO_SLOT_MS)
    }

    /// The scenario's incident in a slot, if the server is one of those that it hits.
    pub(crate) fn scenario_incident(&self, scenario: &Scenario, slot: i64) -> Option<Trouble> {
        if slot < 0 || !self.is_affected(scenario.kind) {
            return None;
        }
        let start = scenario
            .from_ms
            .checked_add(slot.checked_mul(SCENARIO_SLOT_MS)?)?;
        let mut dice = self.dice(Question::ScenarioIncident, slot);
        let hours = |dice: &mut Dice, low, high| (dice.between(low, high) * HOUR_MS as f64) as i64;
        let (delay, build_up, hold) = match scenario.kind {
            ScenarioKind::Degrading => (
                hours(&mut dice, 0.0, 3.0),
                hours(&mut dice, 4.0, 8.0),
                hours(&mut dice, 1.0, 3.0),
            ),
            ScenarioKind::Critical => (
                hours(&mut dice, 0.0, 0.5),
                hours(&mut dice, 0.5, 0.5),
                hours(&mut dice, 4.0, 8.0),
            ),
            _ => return None,
        };
        Some(self.trouble(&mut dice, start + delay, build_up, hold, true))
    }

    /// Seconds are the finest that an incident's times get.
    fn trouble(
        &self,
        dice: &mut Dice,
        start: i64,
        build_up: i64,
        hold: i64,
        critical: bool,
    ) -> Trouble {
        let kind = self.pick_kind(dice);
        let start_ms = start - start.rem_euclid(SECOND_MS);
        let peak_ms = start_ms + build_up;
        let relief_ms = peak_ms + hold;
        let back = dice.between(10.0, 60.0) * MINUTE_MS as f64;
        let restart = kind == IncidentKind::MemoryLeak && dice.chance(0.5);
        Trouble {
            kind,
            start_ms,
            peak_ms,
            relief_ms,
            end_ms: relief_ms + back as i64,
            critical,
            restart,
        }
    }

    fn pick_kind(&self, dice: &mut Dice) -> IncidentKind {
        let mut left = dice.unit() * self.kinds.iter().sum::<f64>();
        for (kind, weight) in IncidentKind::ALL.into_iter().zip(self.kinds) {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        IncidentKind::CpuRunaway
    }

    /// Whether a scenario that hits some servers only hits this one.
    pub(crate) fn is_affected(&self, kind: ScenarioKind) -> bool {
        match kind {
            ScenarioKind::Degrading => self.dice(Question::Affected, 0).chance(0.4),
            ScenarioKind::Critical => self.dice(Question::Affected, 0).chance(0.3),
            ScenarioKind::NewProfile => self.dice(Question::Moved, 0).chance(0.6),
            _ => true,
        }
    }

    /// Patches: the slot that a time is in.
    pub(crate) fn patch_slot(now_ms: i64) -> i64 {
        (now_ms - FIRST_MONDAY_MS).div_euclid(PATCH_SLOT_MS)
    }

    /// The patch of a slot: on one of its four Sundays, between 1 and 4 h local time.
    pub(crate) fn patch<Z: TimeZone>(&self, slot: i64, zone: &Z) -> Patch {
        let mut dice = self.dice(Question::Patch, slot);
        let week = (dice.next() % 4) as i64;
        let sunday = FIRST_MONDAY_MS + slot * PATCH_SLOT_MS + (7 * week + 6) * DAY_MS;
        let local = sunday + (dice.between(1.0, 4.0) * HOUR_MS as f64) as i64;
        let start = local - offset_ms(zone, local);
        let start_ms = start - start.rem_euclid(SECOND_MS);
        let off_ms = start_ms + (dice.between(15.0, 45.0) as i64) * MINUTE_MS;
        let boot_ms = off_ms + (dice.between(5.0, 20.0) as i64) * MINUTE_MS;
        Patch {
            start_ms,
            off_ms,
            boot_ms,
        }
    }

    /// Silences and broken sensors: the slot that a time is in.
    pub(crate) fn day_slot(now_ms: i64) -> i64 {
        now_ms.div_euclid(DAY_MS)
    }

    /// The silence of a day: 5 min to 2 h without any record, on one day in eight.
    pub(crate) fn silence(&self, day: i64) -> Option<Span> {
        self.span(Question::Silence, day, 0.125, 24)
            .map(|(span, _)| span)
    }

    /// The broken sensor of a day: one metric (a number below `metrics`) without value for 5 min to 3 h, on one in sixteen.
    pub(crate) fn broken_sensor(&self, day: i64, metrics: usize) -> Option<(Span, usize)> {
        let (span, mut dice) = self.span(Question::Sensor, day, 0.0625, 36)?;
        Some((span, (dice.next() % metrics.max(1) as u64) as usize))
    }

    fn span(
        &self,
        question: Question,
        day: i64,
        probability: f64,
        most: i64,
    ) -> Option<(Span, Dice)> {
        let mut dice = self.dice(question, day);
        if !dice.chance(probability) {
            return None;
        }
        // Squared: most are short.
        let x = dice.unit();
        let length = 1 + ((most as f64) * x * x) as i64;
        let first = dice.between(0.0, (DAY_MS / GRID_MS - length) as f64) as i64;
        let start_ms = day * DAY_MS + first * GRID_MS;
        Some((
            Span {
                start_ms,
                end_ms: start_ms + length * GRID_MS,
            },
            dice,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;

    const KINDS: [f64; 5] = [0.2; 5];

    fn plans() -> impl Iterator<Item = Plan> {
        (0..200).map(|server| Plan::new(9, server, KINDS))
    }

    #[test]
    fn incidents_stay_in_their_slot_and_build_up_for_half_an_hour_to_eight_hours() {
        let mut found = 0;
        for plan in plans() {
            for slot in 4000..4050 {
                let Some(trouble) = plan.incident(slot) else {
                    continue;
                };
                found += 1;
                let build_up = trouble.peak_ms - trouble.start_ms;
                assert!(
                    (HOUR_MS / 2..=8 * HOUR_MS).contains(&build_up),
                    "{build_up}"
                );
                assert!(trouble.relief_ms > trouble.peak_ms && trouble.end_ms > trouble.relief_ms);
                assert_eq!(Plan::incident_slot(trouble.start_ms), slot);
                assert_eq!(Plan::incident_slot(trouble.end_ms), slot);
            }
        }
        // 10,000 slots at 0.3: within five standard deviations.
        assert!((2770..3230).contains(&found), "{found}");
    }

    #[test]
    fn scenario_incidents_begin_with_the_scenario_and_hit_their_share() {
        for (kind, share) in [(ScenarioKind::Degrading, 80), (ScenarioKind::Critical, 60)] {
            let scenario = Scenario {
                kind,
                from_ms: 7_777_777,
            };
            let hit = plans()
                .filter(|plan| plan.scenario_incident(&scenario, 0).is_some())
                .count();
            assert!(hit.abs_diff(share) < 30, "{kind} {hit}");
            for plan in plans() {
                assert_eq!(plan.scenario_incident(&scenario, -1), None);
                for slot in 0..5 {
                    let Some(trouble) = plan.scenario_incident(&scenario, slot) else {
                        continue;
                    };
                    assert!(trouble.start_ms >= scenario.from_ms - SECOND_MS);
                    assert_eq!(Plan::scenario_slot(&scenario, trouble.end_ms), slot);
                }
            }
        }
        let healthy = Scenario::healthy();
        assert!(plans().all(|plan| plan.scenario_incident(&healthy, 3).is_none()));
    }

    #[test]
    fn a_level_rises_holds_and_falls() {
        let trouble = Trouble {
            kind: IncidentKind::DiskFull,
            start_ms: 1000,
            peak_ms: 2000,
            relief_ms: 3000,
            end_ms: 4000,
            critical: true,
            restart: false,
        };
        let levels = [1000, 1500, 2000, 2999, 3500, 4000].map(|t| trouble.level(t));
        assert_eq!(levels, [0.0, 0.4, 1.0, 1.0, 0.5, 0.0]);
        let near_miss = Trouble {
            critical: false,
            ..trouble
        };
        assert_eq!(near_miss.level(2500), 0.5);
    }

    #[test]
    fn patches_are_on_sunday_night_and_once_a_slot() {
        for plan in plans() {
            for slot in 500..520 {
                let patch = plan.patch(slot, &Utc);
                let hour = crate::season::hour_of_week(&Utc, patch.start_ms);
                assert!((145.0..148.0).contains(&hour), "{hour}");
                assert!(patch.start_ms < patch.off_ms && patch.off_ms < patch.boot_ms);
                assert_eq!(Plan::patch_slot(patch.boot_ms + RECOVERY_MS), slot);
            }
        }
    }

    #[test]
    fn silences_are_whole_buckets_of_one_day() {
        let mut found = 0;
        for plan in plans() {
            for day in 19_000..19_020 {
                let Some(span) = plan.silence(day) else {
                    continue;
                };
                found += 1;
                assert_eq!((span.start_ms % GRID_MS, span.end_ms % GRID_MS), (0, 0));
                assert!(span.start_ms >= day * DAY_MS && span.end_ms <= (day + 1) * DAY_MS);
                assert!((GRID_MS..=2 * HOUR_MS).contains(&(span.end_ms - span.start_ms)));
            }
        }
        assert!((400..600).contains(&found), "{found}");
    }

    #[test]
    fn broken_sensors_name_a_metric_that_exists() {
        let broken = plans().filter_map(|plan| plan.broken_sensor(19_000, 3));
        assert!(broken.map(|(_, metric)| metric).all(|metric| metric < 3));
    }
}
