//! Random streams, and how they are fed to an engine.

use std::sync::Arc;

use proptest::prelude::*;
use window::rollup::{Aggregate, Closed, Outcome, Partition, Record, RollupConfig};

pub(crate) const STEP: i64 = 10;
pub(crate) const AHEAD: i64 = 7;
pub(crate) const MIN_TIMESTAMP: i64 = 20;
pub(crate) const SERVERS: [&str; 4] = ["", "a", "b", "c"];

/// What happens to an engine, in offset order.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Record {
        server: &'static str,
        timestamp: Option<i64>,
        kafka_timestamp: i64,
        profile: u16,
        state: Option<u16>,
        values: [f32; 2],
    },
    Garbage,
    /// The partition is declared idle before the next record.
    Idle,
}

#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) grace: i64,
    /// With the offsets they have; an idle partition has that of the next record.
    pub(crate) events: Vec<(i64, Event)>,
}

pub(crate) fn config(grace: i64) -> Arc<RollupConfig> {
    let config = RollupConfig::new(STEP, grace, &[Aggregate::Mean, Aggregate::Last])
        .and_then(|config| config.with_max_ahead_ms(AHEAD))
        .and_then(|config| config.with_max_servers(2));
    Arc::new(config.unwrap().with_min_timestamp_ms(MIN_TIMESTAMP))
}

pub(crate) fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        3 => (0u8..100).prop_map(f32::from),
        1 => Just(0.1f32),
        1 => Just(f32::NAN),
    ]
}

/// Records around a time that creeps forward, with stragglers, wrong clocks and repeats among them.
pub(crate) fn record() -> impl Strategy<Value = (i64, Event)> {
    let times = (
        0i64..5,
        prop_oneof![6 => -3i64..4, 2 => -25i64..10, 1 => Just(0)],
        prop_oneof![4 => Just(0i64), 2 => -9i64..9, 1 => 0i64..60],
    );
    let server = prop_oneof![1 => Just(0usize), 20 => 1usize..4];
    let rest = (
        0u16..3,
        proptest::option::of(0u16..3),
        [value(), value()],
        0u8..40,
    );
    (times, server, rest).prop_map(|((creep, shift, kafka), server, rest)| {
        let (profile, state, values, kind) = rest;
        let event = match kind {
            0 => Event::Garbage,
            _ => Event::Record {
                server: SERVERS[server],
                // Relative to the creeping time; made absolute below.
                timestamp: (kind != 1).then_some(shift),
                kafka_timestamp: kafka,
                profile,
                state,
                values,
            },
        };
        (creep, event)
    })
}

pub(crate) fn stream(idle: bool) -> impl Strategy<Value = Stream> {
    let record = (
        record(),
        0u8..30,
        prop_oneof![9 => Just(1i64), 1 => 1i64..4],
    );
    let records = proptest::collection::vec(record, 0..120);
    (records, 0i64..25).prop_map(move |(records, grace)| {
        let (mut now, mut offset, mut events) = (15, 3, Vec::new());
        for (((creep, mut event), pause, hole), index) in records.into_iter().zip(0..) {
            now += creep;
            offset += hole;
            if let Event::Record {
                timestamp,
                kafka_timestamp,
                ..
            } = &mut event
            {
                *kafka_timestamp += timestamp.unwrap_or(0) + now;
                *timestamp = timestamp.map(|shift| shift + now);
            }
            if idle && pause == 0 && index > 0 {
                events.push((offset, Event::Idle));
            }
            events.push((offset, event));
        }
        Stream { grace, events }
    })
}

pub(crate) fn feed(partition: &mut Partition, offset: i64, event: &Event) -> Option<Outcome> {
    match event {
        Event::Idle => {
            partition.close_idle();
            None
        }
        Event::Garbage => Some(partition.reject_undecodable(offset)),
        &Event::Record {
            server,
            timestamp,
            kafka_timestamp,
            profile,
            state,
            ref values,
        } => Some(partition.offer(&Record {
            offset,
            kafka_timestamp_ms: kafka_timestamp,
            server,
            timestamp_ms: timestamp,
            profile,
            state,
            values,
        })),
    }
}

/// A row that can be compared bit by bit.
pub(crate) type Bits = (i64, String, i32, u16, Option<u16>, Vec<u32>);

pub(crate) fn bits(row: Closed) -> Bits {
    let values = row.values.iter().map(|value| value.to_bits()).collect();
    let Closed {
        server,
        bucket,
        profile,
        state,
        num_records,
        ..
    } = row;
    (bucket, server, num_records, profile, state, values)
}

pub(crate) fn drain(partition: &mut Partition) -> Vec<Bits> {
    partition.take_closed().into_iter().map(bits).collect()
}
