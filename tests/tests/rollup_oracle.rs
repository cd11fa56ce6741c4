//! The rollup engine against the second implementation, on real input and without a broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use contract::{Contract, RollupFn};
use tests::oracle::{self, Raw, Rollups, Row};
use window::rollup::{Aggregate, Commit, Outcome, Partition, Record, RollupConfig};

const GRACE_MS: i64 = 60_000;
const AUGUST_MS: i64 = 1_375_315_200_000;
const DAY_MS: i64 = 86_400_000;

fn config(contract: &Contract) -> Arc<RollupConfig> {
    let aggregates = contract.metrics.iter().map(|metric| match metric.rollup {
        RollupFn::Mean => Aggregate::Mean,
        RollupFn::Last => Aggregate::Last,
    });
    let aggregates: Vec<Aggregate> = aggregates.collect();
    Arc::new(RollupConfig::new(contract.step_ms(), GRACE_MS, &aggregates).unwrap())
}

/// The engine as the role drives it: batches, a commit after each, and a crash now and then.
struct Driven<'a> {
    contract: &'a Contract,
    config: Arc<RollupConfig>,
    partition: Partition,
    rows: Vec<Row>,
}

impl Driven<'_> {
    fn new(contract: &Contract) -> Driven<'_> {
        let config = config(contract);
        let partition = Partition::new(config.clone(), None);
        Driven {
            contract,
            config,
            partition,
            rows: Vec::new(),
        }
    }

    fn offer(&mut self, raw: &Raw, values: &mut Vec<f32>) -> Outcome {
        self.contract
            .clean(raw.values.iter().copied(), values, &mut |_, _| {});
        let state = raw
            .state
            .as_deref()
            .and_then(|state| self.contract.state_index(state));
        self.partition.offer(&Record {
            offset: raw.offset,
            kafka_timestamp_ms: raw.kafka_timestamp_ms,
            server: &raw.server,
            timestamp_ms: raw.timestamp_ms,
            profile: self
                .contract
                .profile_of(&raw.server, raw.profile.as_deref()) as u16,
            state: state.map(|state| state as u16),
            values,
        })
    }

    fn drain(&mut self) {
        let contract = self.contract;
        self.partition.drain_closed(|row| {
            self.rows.push(Row {
                bucket_ms: row.bucket,
                server: row.server.into(),
                profile: contract.profiles[usize::from(row.profile)].name.clone(),
                state: row
                    .state
                    .map(|state| contract.states[usize::from(state)].clone()),
                num_records: row.num_records,
                values: row
                    .values
                    .iter()
                    .map(|v| (!v.is_nan()).then_some(*v))
                    .collect(),
            });
        });
    }

    /// Feeds everything, in batches of `batch`. Each time `crash_every` more records were reached for the first time, it
    /// dies after that batch's rows were delivered and before its commit. (By new ground, since a bucket that stays open
    /// may send each restart far back.)
    fn run(&mut self, records: &[Raw], batch: usize, crash_every: usize) {
        let mut values = Vec::new();
        let mut committed: Option<Commit> = None;
        let (mut next, mut crash_at) = (0, crash_every);
        while next < records.len() {
            for raw in records[next..].iter().take(batch) {
                self.offer(raw, &mut values);
            }
            self.drain();
            next = (next + batch).min(records.len());
            if next < crash_at {
                committed = self.partition.commit();
                continue;
            }
            crash_at = next.saturating_add(crash_every);
            self.partition = Partition::new(self.config.clone(), committed);
            let from = committed.map_or(0, |commit| commit.offset);
            next = records.partition_point(|record| record.offset < from);
        }
    }
}

fn check(contract: &Contract, records: &[Raw]) -> Rollups {
    let expected = oracle::rollups(contract, GRACE_MS, records);
    let mut calm = Driven::new(contract);
    calm.run(records, 997, usize::MAX);
    oracle::compare(&expected.closed, &calm.rows).unwrap();
    let counts = calm.partition.counts();
    assert!(counts.balanced());
    assert_eq!(counts.consumed, records.len() as u64);
    assert_eq!(counts.accepted, expected.accepted);
    assert_eq!(counts.duplicate, expected.duplicate);
    assert_eq!(counts.late, expected.late);
    assert_eq!(counts.rejected, expected.rejected.values().sum::<u64>());

    let mut crashing = Driven::new(contract);
    crashing.run(records, 2_003, 14_000);
    oracle::compare(&expected.closed, &oracle::without_repeats(crashing.rows)).unwrap();
    expected
}

/// August of the VM trace, as `replay` would place it in four partitions.
#[test]
fn august_of_the_vm_trace() {
    let Some(path) = tests::vm_trace() else {
        return;
    };
    let contract = Contract::shipped("vm").unwrap();
    let range = (Some(AUGUST_MS), Some(AUGUST_MS + 31 * DAY_MS));
    let now = AUGUST_MS + 4_000 * DAY_MS;
    let partitions = oracle::replayed(&path, &contract, range, now, 4).unwrap();
    let (mut rows, mut duplicate) = (0, 0);
    for records in &partitions {
        assert!(!records.is_empty());
        let expected = check(&contract, records);
        // Sent in the order of their timestamps, nothing is late.
        assert_eq!(expected.late, 0);
        rows += expected.closed.len();
        duplicate += expected.duplicate;
    }
    // What the file is known for: duplicates are in it, and about one record a bucket.
    assert!(rows > 900_000, "{rows} rows");
    assert!(duplicate > 0);
}

/// In file order, which is by server, nearly everything is late: the same counts on both sides still.
#[test]
fn a_day_of_the_vm_trace_in_the_wrong_order() {
    let Some(path) = tests::vm_trace() else {
        return;
    };
    let contract = Contract::shipped("vm").unwrap();
    let range = (Some(AUGUST_MS), Some(AUGUST_MS + DAY_MS));
    let now = AUGUST_MS + 4_000 * DAY_MS;
    let mut records = oracle::replayed(&path, &contract, range, now, 1)
        .unwrap()
        .remove(0);
    records.sort_by_key(|record| (record.offset.wrapping_mul(7_919) % 64, record.offset));
    for (offset, record) in records.iter_mut().enumerate() {
        record.offset = offset as i64;
    }
    let expected = check(&contract, &records);
    assert!(expected.late > 0 && !expected.closed.is_empty());
}
