//! A fleet, step by step.
//!
//! Invariants:
//! * The same contract, fleet, seed, start, step and scenario give the same bytes, on every machine.
//! * A server's records do not depend on which other servers there are.
//! * Incidents, restarts, silences and broken sensors depend on seed, server and time alone, so that they are known beforehand
//!   ([`Simulator::incidents`]) and are the same at every step.
//! * Every value is within the contract's valid range, or NaN for "no value".
//!
//! It is not: paced (the caller decides when a step is due), or for contracts other than LINBORG.

use chrono_tz::Tz;
use contract::Contract;

use crate::behaviour::{Behaviour, NEW_WORKLOAD, PROFILES};
use crate::error::FleetError;
use crate::layout::{FleetSpec, server_name};
use crate::records::{Records, RecordsError, Row};
use crate::scenario::{SHIFTS, Scenario, ScenarioKind};
use crate::schedule::{HOUR_MS, Incident, Plan, Trouble};
use crate::season::{Curve, hour_of_week};
use crate::server::{STATES, Server, StepContext};
use crate::vitals::{METRICS, NUM_METRICS, channels};

/// 2000-01-01, before which the rollup takes no record.
const FIRST_START_MS: i64 = 946_684_800_000;
/// 2200-01-01, where every simulation ends.
const LAST_END_MS: i64 = 7_258_118_400_000;
/// Shorter steps would only repeat the same numbers: the fastest noise has a time constant of 45 s.
const SHORTEST_STEP_MS: i64 = 100;
/// Longer steps would hide the incidents.
const LONGEST_STEP_MS: i64 = HOUR_MS;

/// Makes up the records of a fleet of LINBORG servers.
#[derive(Debug, Clone)]
pub struct Simulator {
    servers: Vec<Member>,
    metrics: Vec<String>,
    profiles: Vec<String>,
    states: Vec<String>,
    state_indices: [usize; STATES.len()],
    /// Place in the record of each of the simulator's metrics, and its valid range.
    columns: [(usize, f32, f32); NUM_METRICS],
    curves: Vec<Curve>,
    zone: Tz,
    scenario: Scenario,
    next_ms: i64,
    end_ms: i64,
    step_ms: i64,
    rows: Vec<StepRow>,
    values: Vec<f32>,
}

/// A server and what the contract calls it.
#[derive(Debug, Clone)]
struct Member {
    name: String,
    profile: usize,
    server: Server,
}

#[derive(Debug, Clone, Copy)]
struct StepRow {
    member: usize,
    state: usize,
}

/// What one server measured in one step. Borrowed from the simulator's buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record<'a> {
    /// Its name.
    pub server: &'a str,
    /// Place of the server in [`Simulator::servers`].
    pub server_index: usize,
    /// Start of the step, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its profile.
    pub profile: &'a str,
    /// Index of the profile in the contract.
    pub profile_index: usize,
    /// Its state at the end of the step.
    pub state: &'a str,
    /// Index of the state in the contract.
    pub state_index: usize,
    /// The contract's measured metrics in model order: means over the step; uptime at its end. NaN: no value.
    pub values: &'a [f32],
}

impl<'a> Record<'a> {
    /// The values as they are sent: what is no number was not measured.
    pub fn measured(&self) -> impl Iterator<Item = Option<f32>> + use<'a> {
        let measured = |value: &f32| Some(*value).filter(|value| !value.is_nan());
        self.values.iter().map(measured)
    }
}

/// The records of one step, in the order of the servers; a silent server has none.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Start of the step, milliseconds since the epoch.
    pub timestamp_ms: i64,
    simulator: &'a Simulator,
}

impl<'a> Step<'a> {
    /// The records.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'a>> + use<'a> {
        let (simulator, timestamp_ms) = (self.simulator, self.timestamp_ms);
        let values = simulator.values.chunks_exact(NUM_METRICS);
        simulator
            .rows
            .iter()
            .zip(values)
            .map(move |(row, values)| simulator.record(*row, timestamp_ms, values))
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.simulator.rows.len()
    }

    /// Adds the records to columns of [`Simulator::metrics`]; what is NaN here is null there.
    ///
    /// # Errors
    /// [`RecordsError`] when they do not fit.
    pub fn append_to(&self, records: &mut Records) -> Result<(), RecordsError> {
        for record in self.records() {
            let mut values = [None; NUM_METRICS];
            for (value, measured) in values.iter_mut().zip(record.measured()) {
                *value = measured;
            }
            records.push(&Row {
                server: record.server,
                timestamp_ms: record.timestamp_ms,
                profile: Some(record.profile),
                state: Some(record.state),
                values: &values,
            })?;
        }
        Ok(())
    }

    /// Whether all servers were silent.
    pub fn is_empty(&self) -> bool {
        self.simulator.rows.is_empty()
    }
}

impl Simulator {
    /// A fleet whose first step starts at `start_ms` (milliseconds since the epoch) and whose steps last `step_ms`.
    ///
    /// # Errors
    /// [`FleetError`] says what cannot be simulated: the contract, the fleet, the start or the step.
    pub fn new(
        contract: &Contract,
        fleet: &FleetSpec,
        seed: u64,
        start_ms: i64,
        step_ms: i64,
        scenario: Scenario,
    ) -> Result<Self, FleetError> {
        let columns = columns(contract)?;
        let state_indices = state_indices(contract)?;
        let behaviours = behaviours(contract)?;
        let counts = fleet.counts(contract)?;
        if !(FIRST_START_MS..LAST_END_MS).contains(&start_ms) {
            return Err(FleetError::BadStart { start_ms });
        }
        let zone = contract.time_zone;
        let mut servers = Vec::with_capacity(counts.iter().sum());
        for (index, (profile, count)) in contract.profiles.iter().zip(&counts).enumerate() {
            // A profile without behaviour is one that the fleet has no servers of.
            let Some(behaviour) = behaviours.get(index).copied().flatten() else {
                continue;
            };
            for number in 1..=*count {
                let name = server_name(&profile.name, profile.pattern.as_deref(), number);
                let server = Server::new(&name, seed, behaviour, start_ms, &zone);
                servers.push(Member {
                    name,
                    profile: index,
                    server,
                });
            }
        }
        let mut simulator = Simulator {
            rows: Vec::with_capacity(servers.len()),
            values: Vec::with_capacity(servers.len() * NUM_METRICS),
            servers,
            profiles: contract
                .profiles
                .iter()
                .map(|profile| profile.name.clone())
                .collect(),
            metrics: contract
                .raw_metrics()
                .iter()
                .map(|metric| metric.name.clone())
                .collect(),
            states: contract.states.clone(),
            state_indices,
            columns,
            curves: PROFILES
                .iter()
                .chain([&NEW_WORKLOAD])
                .map(|b| Curve::new(b.shape))
                .collect(),
            zone,
            scenario,
            next_ms: start_ms,
            end_ms: LAST_END_MS,
            step_ms,
        };
        simulator.change_step(step_ms)?;
        Ok(simulator)
    }

    /// Ends the simulation: no step starts at `end_ms` or later. Without it, in the year 2200.
    #[must_use]
    pub fn until(mut self, end_ms: i64) -> Self {
        self.end_ms = end_ms.min(LAST_END_MS);
        self
    }

    /// Goes on from where it stands with steps of another length: a back-fill in 5-minute steps becomes a live stream.
    ///
    /// # Errors
    /// [`FleetError::BadStep`] outside 100 ms to 1 h.
    pub fn change_step(&mut self, step_ms: i64) -> Result<(), FleetError> {
        if !(SHORTEST_STEP_MS..=LONGEST_STEP_MS).contains(&step_ms) {
            return Err(FleetError::BadStep { step_ms });
        }
        self.step_ms = step_ms;
        Ok(())
    }

    /// Puts another scenario in force, from the step on that comes next.
    pub fn change_scenario(&mut self, scenario: Scenario) {
        self.scenario = scenario;
    }

    /// Start of the next step, milliseconds since the epoch.
    pub fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// Names of the metrics, in the order of a record's values.
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// Names of the servers, in the order of their records.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = &str> {
        self.servers.iter().map(|member| member.name.as_str())
    }

    /// The servers that the scenario in force does something to (all in a healthy one: to all of them nothing).
    pub fn affected_servers(&self) -> impl Iterator<Item = &str> {
        let kind = self.scenario.kind;
        let hit = move |member: &&Member| {
            let profile = self.profiles.get(member.profile).map(String::as_str);
            let chosen = member.server.plan().is_affected(kind);
            match kind {
                ScenarioKind::Shift | ScenarioKind::Ramp => {
                    SHIFTS.iter().any(|shift| Some(shift.profile) == profile)
                }
                ScenarioKind::NewProfile => chosen && Some(NEW_WORKLOAD.profile) == profile,
                _ => chosen,
            }
        };
        self.servers
            .iter()
            .filter(hit)
            .map(|member| member.name.as_str())
    }

    /// The incidents that touch a time range (from inclusive, to exclusive), by server and time: labels for what the steps
    /// of that range show.
    pub fn incidents(&self, from_ms: i64, to_ms: i64) -> Vec<Incident> {
        let mut found = Vec::new();
        if from_ms >= to_ms {
            return found;
        }
        let (from_ms, to_ms) = (from_ms.max(FIRST_START_MS), to_ms.min(LAST_END_MS));
        for member in &self.servers {
            let plan = member.server.plan();
            let everyday = Plan::incident_slot(from_ms)..=Plan::incident_slot(to_ms);
            let first = Plan::scenario_slot(&self.scenario, from_ms).max(0);
            let last = Plan::scenario_slot(&self.scenario, to_ms);
            let everyday = everyday.filter_map(|slot| plan.incident(slot));
            let by_scenario =
                (first..=last).filter_map(|slot| plan.scenario_incident(&self.scenario, slot));
            let touches = |trouble: &Trouble| trouble.start_ms < to_ms && trouble.end_ms > from_ms;
            let mut troubles: Vec<Trouble> = everyday.chain(by_scenario).filter(touches).collect();
            troubles.sort_by_key(|trouble| trouble.start_ms);
            found.extend(
                troubles
                    .into_iter()
                    .map(|trouble| label(&member.name, &trouble)),
            );
        }
        found
    }

    /// The records of the next step; `None` at the end.
    pub fn next_step(&mut self) -> Option<Step<'_>> {
        let start_ms = self.next_ms;
        if start_ms >= self.end_ms {
            return None;
        }
        self.next_ms += self.step_ms;
        self.rows.clear();
        self.values.clear();
        let cx = StepContext {
            start_ms,
            step_ms: self.step_ms,
            hour_of_week: hour_of_week(&self.zone, start_ms + self.step_ms / 2),
            scenario: &self.scenario,
            zone: &self.zone,
            noise: &channels(self.step_ms),
            curves: &self.curves,
            new_workload: (&NEW_WORKLOAD, PROFILES.len()),
        };
        let mut measured = [0.0; NUM_METRICS];
        for (index, member) in self.servers.iter_mut().enumerate() {
            let Some(state) = member.server.step(&cx, &mut measured) else {
                continue;
            };
            let state = self.state_indices.get(state as usize).copied().unwrap_or(0);
            self.rows.push(StepRow {
                member: index,
                state,
            });
            let base = self.values.len();
            self.values.resize(base + NUM_METRICS, f32::NAN);
            for (value, (place, least, most)) in measured.iter().zip(&self.columns) {
                if let Some(to) = self.values.get_mut(base + place) {
                    // Keeps a NaN.
                    *to = (*value as f32).clamp(*least, *most);
                }
            }
        }
        Some(Step {
            timestamp_ms: start_ms,
            simulator: self,
        })
    }

    fn record<'a>(&'a self, row: StepRow, timestamp_ms: i64, values: &'a [f32]) -> Record<'a> {
        let member = self.servers.get(row.member);
        let profile_index = member.map_or(0, |member| member.profile);
        Record {
            server: member.map_or("", |member| &member.name),
            server_index: row.member,
            timestamp_ms,
            profile: self.profiles.get(profile_index).map_or("", String::as_str),
            profile_index,
            state: self.states.get(row.state).map_or("", String::as_str),
            state_index: row.state,
            values,
        }
    }
}

fn label(server: &str, trouble: &Trouble) -> Incident {
    Incident {
        server: server.to_owned(),
        kind: trouble.kind,
        start_ms: trouble.start_ms,
        peak_ms: trouble.peak_ms,
        end_ms: trouble.end_ms,
        critical: trouble.critical,
    }
}

fn unsupported(contract: &Contract, what: String) -> FleetError {
    FleetError::UnsupportedContract {
        contract: contract.name.clone(),
        what,
    }
}

/// Where each metric goes; the contract must have these metrics and no other.
fn columns(contract: &Contract) -> Result<[(usize, f32, f32); NUM_METRICS], FleetError> {
    let raw = contract.raw_metrics();
    if let Some(strange) = raw
        .iter()
        .find(|metric| !METRICS.contains(&metric.name.as_str()))
    {
        return Err(unsupported(
            contract,
            format!("metric {} is not one of LINBORG's", strange.name),
        ));
    }
    let mut columns = [(0, 0.0, f32::MAX); NUM_METRICS];
    for (column, name) in columns.iter_mut().zip(METRICS) {
        let place = raw.iter().position(|metric| metric.name == name);
        let place =
            place.ok_or_else(|| unsupported(contract, format!("metric {name} is missing")))?;
        let (least, most) = raw
            .get(place)
            .map_or((None, None), |metric| (metric.min, metric.max));
        let (least, most) = (least.unwrap_or(0.0), most.unwrap_or(f32::MAX));
        if least > most {
            return Err(unsupported(
                contract,
                format!("metric {name} has no valid values"),
            ));
        }
        *column = (place, least, most);
    }
    Ok(columns)
}

fn state_indices(contract: &Contract) -> Result<[usize; STATES.len()], FleetError> {
    let mut indices = [0; STATES.len()];
    for (index, name) in indices.iter_mut().zip(STATES) {
        let found = contract.state_index(name);
        *index = found.ok_or_else(|| unsupported(contract, format!("state {name} is missing")))?;
    }
    Ok(indices)
}

type ProfileBehaviour = (&'static Behaviour, usize);

/// How servers of each profile of the contract behave.
fn behaviours(contract: &Contract) -> Result<Vec<Option<ProfileBehaviour>>, FleetError> {
    let mut behaviours = vec![None; contract.profiles.len()];
    for (curve, behaviour) in PROFILES.iter().enumerate() {
        let place = contract
            .profiles
            .iter()
            .position(|profile| profile.name == behaviour.profile);
        match place.and_then(|place| behaviours.get_mut(place)) {
            Some(slot) => *slot = Some((behaviour, curve)),
            None => {
                return Err(unsupported(
                    contract,
                    format!("profile {} is missing", behaviour.profile),
                ));
            }
        }
    }
    Ok(behaviours)
}
