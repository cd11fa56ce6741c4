//! Raw records of files → rollups, through the engine of the service.
//!
//! Each server has an engine of its own, fed in the order of time: then nothing is late, as nothing is late in a replay,
//! which sends in that order. A file whose servers are each in order is streamed; others are sorted in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use contract::{Contract, GapReason, RollupFn};
use window::rollup::{Aggregate, ConfigError, Counts, Partition, Record, RollupConfig};

use super::TrainingError;
use super::collect::{Collector, Rollup};
use crate::records::{RecordError, RecordFile, Row};

/// The service's default. In the order of time its length changes nothing.
const GRACE_MS: i64 = 60_000;

/// The rollup engine's configuration for a contract: its step and one aggregate per metric.
///
/// # Errors
/// Where the contract's step or `grace_ms` is out of range.
pub fn rollup_config(contract: &Contract, grace_ms: i64) -> Result<RollupConfig, ConfigError> {
    let aggregates: Vec<Aggregate> = contract
        .metrics
        .iter()
        .map(|metric| match metric.rollup {
            RollupFn::Mean => Aggregate::Mean,
            RollupFn::Last => Aggregate::Last,
        })
        .collect();
    RollupConfig::new(contract.step_ms(), grace_ms, &aggregates)
}

/// What became of the raw records.
#[derive(Default)]
pub(super) struct RawCounts {
    pub(super) counts: Counts,
    pub(super) gaps: BTreeMap<(usize, GapReason), u64>,
}

/// Rolls up the wanted servers' records of `files` into `collector`.
pub(super) fn roll_up(
    files: &[&RecordFile],
    collector: &mut Collector<'_>,
) -> Result<RawCounts, TrainingError> {
    let config = rollup_config(collector.contract, GRACE_MS)?.with_max_servers(1)?;
    let selection = collector.selection;
    let mut engines = Engines {
        config: Arc::new(config),
        contract: collector.contract,
        engines: HashMap::new(),
        collector,
    };
    let mut gaps = BTreeMap::new();
    if is_ordered(files)? {
        let mut clean = Cleaner::new(engines.contract, &mut gaps);
        each_row(files, |row| {
            if (selection.servers)(row.server) {
                engines.offer(row.server, &clean.sample(row));
            }
        })?;
    } else {
        let mut servers: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        let mut clean = Cleaner::new(engines.contract, &mut gaps);
        each_row(files, |row| {
            if (selection.servers)(row.server) {
                let samples = servers.entry(row.server.to_owned()).or_default();
                samples.push(clean.sample(row));
            }
        })?;
        for (server, mut samples) in servers {
            // Stable: ties stay in file order, as in a replay.
            samples.sort_by_key(|sample| sample.timestamp_ms);
            for sample in &samples {
                engines.offer(&server, sample);
            }
        }
    }
    let counts = engines.finish();
    Ok(RawCounts { counts, gaps })
}

fn each_row(files: &[&RecordFile], mut visit: impl FnMut(&Row<'_>)) -> Result<(), RecordError> {
    let mut values = Vec::new();
    for file in files {
        for block in file.blocks()? {
            let block = block?;
            for index in 0..block.len() {
                visit(&block.row(index, &mut values));
            }
        }
    }
    Ok(())
}

/// Whether each server's records come in the order of time.
fn is_ordered(files: &[&RecordFile]) -> Result<bool, RecordError> {
    let mut newest: HashMap<String, Option<i64>> = HashMap::new();
    let mut ordered = true;
    each_row(files, |row| {
        match newest.get_mut(row.server) {
            Some(newest) => {
                ordered &= row.timestamp_ms >= *newest;
                *newest = row.timestamp_ms.max(*newest);
            }
            None => {
                newest.insert(row.server.to_owned(), row.timestamp_ms);
            }
        };
    })?;
    Ok(ordered)
}

/// One record of one server, cleaned.
struct Sample {
    timestamp_ms: Option<i64>,
    profile: u16,
    state: Option<u16>,
    values: Vec<f32>,
}

struct Cleaner<'a> {
    contract: &'a Contract,
    gaps: &'a mut BTreeMap<(usize, GapReason), u64>,
}

impl<'a> Cleaner<'a> {
    fn new(contract: &'a Contract, gaps: &'a mut BTreeMap<(usize, GapReason), u64>) -> Self {
        Cleaner { contract, gaps }
    }

    fn sample(&mut self, row: &Row<'_>) -> Sample {
        let mut values = Vec::with_capacity(self.contract.num_metrics());
        let gaps = &mut *self.gaps;
        let mut count = |metric, reason| *gaps.entry((metric, reason)).or_insert(0) += 1;
        let raw = row.values.iter().copied();
        self.contract.clean(raw, &mut values, &mut count);
        let profile = self.contract.profile_of(row.server, row.profile);
        let state = row.state.and_then(|state| self.contract.state_index(state));
        Sample {
            timestamp_ms: row.timestamp_ms,
            profile: u16::try_from(profile).unwrap_or(u16::MAX),
            state: state.and_then(|state| u16::try_from(state).ok()),
            values,
        }
    }
}

struct Engines<'c, 'a> {
    config: Arc<RollupConfig>,
    contract: &'a Contract,
    engines: HashMap<String, (Partition, i64)>,
    collector: &'c mut Collector<'a>,
}

impl Engines<'_, '_> {
    fn offer(&mut self, server: &str, sample: &Sample) {
        if !self.engines.contains_key(server) {
            let engine = Partition::new(Arc::clone(&self.config), None);
            self.engines.insert(server.to_owned(), (engine, 0));
        }
        let Some((engine, offset)) = self.engines.get_mut(server) else {
            return;
        };
        engine.offer(&Record {
            offset: *offset,
            // A file has no Kafka timestamp: a record is as old as it says.
            kafka_timestamp_ms: sample.timestamp_ms.unwrap_or_default(),
            server,
            timestamp_ms: sample.timestamp_ms,
            profile: sample.profile,
            state: sample.state,
            values: &sample.values,
        });
        *offset += 1;
        if engine.has_closed() {
            drain(engine, self.collector);
        }
    }

    /// Closes every bucket: the files are whole.
    fn finish(self) -> Counts {
        let mut total = Counts::default();
        for (mut engine, _) in self.engines.into_values() {
            engine.close_idle();
            drain(&mut engine, self.collector);
            total += engine.counts();
        }
        total
    }
}

fn drain(engine: &mut Partition, collector: &mut Collector<'_>) {
    engine.drain_closed(|row| {
        collector.add(&Rollup {
            server: row.server,
            bucket: row.bucket,
            profile: usize::from(row.profile),
            state: row.state.map(usize::from),
            values: row.values,
        });
    });
}
