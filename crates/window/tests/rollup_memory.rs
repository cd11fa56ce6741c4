//! Twelve million records through one engine: memory stays flat, and nothing is lost on the way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use window::rollup::{Aggregate, Outcome, Partition, Record, RollupConfig};

const SERVERS: i64 = 500;
const METRICS: usize = 14;
const STEP_MS: i64 = 300_000;
const EVERY_MS: i64 = 5_000;
const START_MS: i64 = 1_375_315_200_000;

fn engine() -> Partition {
    let mut aggregates = [Aggregate::Mean; METRICS];
    aggregates[METRICS - 1] = Aggregate::Last;
    let config = RollupConfig::new(STEP_MS, 60_000, &aggregates).unwrap();
    Partition::new(Arc::new(config), None)
}

/// 500 servers of 14 metrics every 5 s, for about 33 h.
#[test]
fn memory_is_flat_over_twelve_million_records() {
    const RECORDS: i64 = 12_000_000;
    let names: Vec<String> = (0..SERVERS).map(|s| format!("ppml{s:04}")).collect();
    let mut partition = engine();
    let (mut rows, mut in_rows, mut warm) = (0u64, 0i64, 0);
    for offset in 0..RECORDS {
        let (round, server) = (offset / SERVERS, offset % SERVERS);
        let timestamp = START_MS + round * EVERY_MS + server;
        let values = [(offset % 97) as f32; METRICS];
        let outcome = partition.offer(&Record {
            offset,
            kafka_timestamp_ms: timestamp + 40,
            server: &names[server as usize],
            timestamp_ms: Some(timestamp),
            profile: 0,
            state: Some(1),
            values: &values,
        });
        assert_eq!(outcome, Outcome::Accepted);
        if partition.has_closed() {
            partition.drain_closed(|row| {
                rows += 1;
                in_rows += i64::from(row.num_records);
                assert_eq!(row.num_records, 60);
            });
            if rows == 10 * SERVERS as u64 {
                warm = partition.heap_bytes();
            }
        }
    }
    let (buckets, pairs) = partition.num_open();
    assert!(
        buckets <= 2 && pairs <= 1_000,
        "{buckets} open, {pairs} pairs"
    );
    assert_eq!(rows, 399 * SERVERS as u64);
    // Four hundred buckets of 60 rounds; the last is open.
    assert_eq!(in_rows, RECORDS - 60 * SERVERS);
    let end = partition.heap_bytes();
    assert!(
        warm > 0 && end <= warm,
        "{warm} bytes after 10 buckets, {end} at the end"
    );
    assert!(end < 2 << 20, "{end} bytes");
}

/// A fleet that shows up once under many names does not hold their memory for ever.
#[test]
fn a_burst_of_servers_gives_its_memory_back() {
    let mut partition = engine();
    let mut offset = 0;
    let mut round = |partition: &mut Partition, bucket: i64, servers: usize| {
        for server in 0..servers {
            let timestamp = START_MS + bucket * STEP_MS;
            let outcome = partition.offer(&Record {
                offset,
                kafka_timestamp_ms: timestamp,
                server: &format!("a-rather-long-name-of-a-server-{server}"),
                timestamp_ms: Some(timestamp),
                profile: 0,
                state: None,
                values: &[1.0; METRICS],
            });
            assert_eq!(outcome, Outcome::Accepted);
            offset += 1;
        }
        partition.drain_closed(|_| {});
        partition.heap_bytes()
    };
    let burst = round(&mut partition, 0, 50_000);
    assert!(burst > 10 << 20, "{burst} bytes");
    let after = (1..20)
        .map(|bucket| round(&mut partition, bucket, 5))
        .last();
    assert!(after.unwrap() < 1 << 20, "{after:?} bytes");
}

/// A server that sends each millisecond, newest first, costs no more than a bit a millisecond, and is counted exactly.
#[test]
fn the_worst_order_of_timestamps_is_bounded() {
    let mut partition = engine();
    let mut offer = |offset: i64| {
        let timestamp = START_MS + STEP_MS - 1 - offset % STEP_MS;
        partition.offer(&Record {
            offset,
            kafka_timestamp_ms: timestamp,
            server: "a",
            timestamp_ms: Some(timestamp),
            profile: 0,
            state: None,
            values: &[1.0; METRICS],
        })
    };
    for offset in 0..STEP_MS {
        assert_eq!(offer(offset), Outcome::Accepted);
    }
    for offset in STEP_MS..2 * STEP_MS {
        assert_eq!(offer(offset), Outcome::Duplicate);
    }
    assert!(
        partition.heap_bytes() < 64 << 10,
        "{}",
        partition.heap_bytes()
    );
    partition.close_idle();
    assert_eq!(partition.take_closed()[0].num_records as i64, STEP_MS);
}
