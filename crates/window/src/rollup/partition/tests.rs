//! One test per counting rule, with times small enough to compute by hand: step 10, grace 3, look-ahead 5.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::rollup::Aggregate;

mod restart;

const GAP: f32 = f32::NAN;

fn config() -> RollupConfig {
    RollupConfig::new(10, 3, &[Aggregate::Mean, Aggregate::Last])
        .unwrap()
        .with_max_ahead_ms(5)
        .unwrap()
        .with_min_timestamp_ms(100)
}

/// An engine that numbers its records from 0.
struct Engine {
    partition: Partition,
    next: i64,
}

impl Engine {
    fn new() -> Engine {
        Engine::with(config(), None)
    }

    fn with(config: RollupConfig, resume: Option<Commit>) -> Engine {
        Engine {
            partition: Partition::new(Arc::new(config), resume),
            next: resume.map_or(0, |commit| commit.offset),
        }
    }

    fn offer<'a>(&mut self, change: impl FnOnce(&mut Record<'a>)) -> Outcome {
        let mut record = Record {
            offset: self.next,
            kafka_timestamp_ms: 1_000,
            server: "a",
            timestamp_ms: Some(1_000),
            profile: 0,
            state: None,
            values: &[1.0, 1.0],
        };
        change(&mut record);
        self.next = record.offset + 1;
        self.partition.offer(&record)
    }

    /// A record on time: Kafka's timestamp is its own.
    fn at(&mut self, timestamp: i64) -> Outcome {
        self.values_at(timestamp, [1.0, 1.0])
    }

    fn values_at(&mut self, timestamp: i64, values: [f32; 2]) -> Outcome {
        self.offer(|r| {
            r.timestamp_ms = Some(timestamp);
            r.kafka_timestamp_ms = timestamp;
            r.values = &values;
        })
    }

    fn rows(&mut self) -> Vec<Closed> {
        self.partition.take_closed()
    }

    /// (bucket, server, num_records) of the rows that wait.
    fn brief(&mut self) -> Vec<(i64, String, i32)> {
        let rows = self.rows().into_iter();
        rows.map(|r| (r.bucket, r.server, r.num_records)).collect()
    }
}

fn brief(bucket: i64, server: &str, num_records: i32) -> (i64, String, i32) {
    (bucket, server.to_owned(), num_records)
}

/// One engine at watermark 1,000: buckets up to 980 are closed, 990 is open till 1,003.
#[track_caller]
fn check_outcome(change: impl FnOnce(&mut Record<'_>), expected: Outcome) {
    let mut engine = Engine::new();
    assert_eq!(engine.at(1_000), Outcome::Accepted);
    let before = engine.partition.watermark();
    assert_eq!(engine.offer(change), expected);
    if matches!(expected, Outcome::Rejected(_)) {
        assert_eq!(engine.partition.watermark(), before);
        assert_eq!(engine.partition.num_open(), (1, 1));
    }
    let counts = engine.partition.counts();
    assert_eq!(counts.consumed, 2);
    assert!(counts.balanced());
}

#[test]
fn each_reason_to_reject() {
    let rejected = Outcome::Rejected;
    check_outcome(|r| r.server = "", rejected(Reject::NoServer));
    let long: &'static str = "0123456789abcdef0123456789abcdef".repeat(8).leak();
    assert_eq!(long.len(), 256);
    check_outcome(
        move |r| r.server = long,
        rejected(Reject::ServerNameTooLong),
    );
    check_outcome(
        move |r| {
            r.server = &long[1..];
            r.timestamp_ms = Some(1_001);
        },
        Outcome::Accepted,
    );
    check_outcome(|r| r.timestamp_ms = None, rejected(Reject::NoTimestamp));
    check_outcome(
        |r| r.timestamp_ms = Some(99),
        rejected(Reject::TimestampTooOld),
    );
    check_outcome(
        |r| r.timestamp_ms = Some(i64::MIN),
        rejected(Reject::TimestampTooOld),
    );
    check_outcome(
        |r| r.timestamp_ms = Some(1_006),
        rejected(Reject::TimestampInFuture),
    );
    check_outcome(
        |r| r.timestamp_ms = Some(i64::MAX),
        rejected(Reject::TimestampInFuture),
    );
    check_outcome(
        |r| {
            r.timestamp_ms = Some(1_001);
            r.values = &[GAP, GAP];
        },
        rejected(Reject::NoUsableValue),
    );
    check_outcome(
        |r| {
            r.timestamp_ms = Some(1_001);
            r.values = &[f32::INFINITY, f32::NEG_INFINITY];
        },
        rejected(Reject::NoUsableValue),
    );
}

#[test]
fn a_timestamp_may_be_ahead_by_just_the_look_ahead() {
    check_outcome(|r| r.timestamp_ms = Some(1_005), Outcome::Accepted);
}

#[test]
fn the_first_accepted_time_is_accepted_itself() {
    let mut engine = Engine::new();
    assert_eq!(engine.at(100), Outcome::Accepted);
}

/// Every fault at once, then the first one mended, and so on: each step shows the next check.
#[test]
fn the_checks_come_in_their_order() {
    const NOTHING: &[f32] = &[GAP, GAP];
    let rejected = Outcome::Rejected;
    let set = |server: &'static str, timestamp: Option<i64>, kafka: i64| {
        move |r: &mut Record<'_>| {
            (r.server, r.timestamp_ms, r.kafka_timestamp_ms) = (server, timestamp, kafka);
            r.values = NOTHING;
        }
    };
    check_outcome(set("", None, 0), rejected(Reject::NoServer));
    check_outcome(set("a", None, 0), rejected(Reject::NoTimestamp));
    // 99 is too old and, by a Kafka timestamp of 0, in the future as well.
    check_outcome(set("a", Some(99), 0), rejected(Reject::TimestampTooOld));
    // 900 is in the future, late, and without a value.
    check_outcome(set("a", Some(900), 0), rejected(Reject::TimestampInFuture));
    check_outcome(set("a", Some(900), 1_000), Outcome::Late);
    // (a, 1000) is taken, but usable values are looked at before.
    check_outcome(
        set("a", Some(1_000), 1_000),
        rejected(Reject::NoUsableValue),
    );
    check_outcome(|r| r.timestamp_ms = Some(1_000), Outcome::Duplicate);
}

#[test]
fn equality_closes() {
    let mut engine = Engine::new();
    engine.at(1_000);
    engine.at(1_012);
    // Bucket 1000 ends at 1010; with the grace of 3 it closes at 1013.
    assert_eq!(engine.brief(), []);
    assert_eq!(engine.partition.closed_through(), Some(990));
    engine.at(1_013);
    assert_eq!(engine.brief(), [brief(1_000, "a", 1)]);
    assert_eq!(engine.partition.closed_through(), Some(1_000));
}

#[test]
fn late_is_judged_by_the_watermark_before_the_record() {
    let mut engine = Engine::new();
    engine.at(1_012);
    assert_eq!(engine.at(1_009), Outcome::Accepted);
    engine.at(1_013);
    assert_eq!(engine.at(1_008), Outcome::Late);
    assert_eq!(engine.at(1_010), Outcome::Accepted);
    assert_eq!(engine.brief(), [brief(1_000, "a", 1)]);
}

#[test]
fn a_bucket_without_any_record_closes_too() {
    let mut engine = Engine::new();
    engine.at(1_013);
    assert_eq!(engine.at(1_009), Outcome::Late);
    assert_eq!(engine.brief(), []);
}

#[test]
fn the_watermark_is_the_greatest_lesser_of_both_times() {
    let mut engine = Engine::new();
    let mut both = |timestamp, kafka| {
        let outcome = engine.offer(|r| {
            r.timestamp_ms = Some(timestamp);
            r.kafka_timestamp_ms = kafka;
        });
        (outcome, engine.partition.watermark())
    };
    assert_eq!(both(1_005, 1_000), (Outcome::Accepted, Some(1_000)));
    assert_eq!(both(1_001, 5_000), (Outcome::Accepted, Some(1_001)));
    assert_eq!(both(1_000, 5_000), (Outcome::Accepted, Some(1_001)));
    // A duplicate is not rejected: Kafka's later timestamp of it counts.
    assert_eq!(both(1_005, 1_003), (Outcome::Duplicate, Some(1_003)));
    // A clock 100 ahead is rejected and moves nothing.
    let ahead = (Outcome::Rejected(Reject::TimestampInFuture), Some(1_003));
    assert_eq!(both(1_103, 1_003), ahead);
}

#[test]
fn a_rejected_record_leaves_its_slot_and_the_watermark_alone() {
    let mut engine = Engine::new();
    assert_eq!(
        engine.values_at(1_000, [GAP, GAP]),
        Outcome::Rejected(Reject::NoUsableValue)
    );
    assert_eq!(engine.partition.watermark(), None);
    assert_eq!(
        engine.values_at(2_000, [GAP, GAP]),
        Outcome::Rejected(Reject::NoUsableValue)
    );
    assert_eq!(engine.values_at(1_000, [7.0, 7.0]), Outcome::Accepted);
    engine.partition.close_idle();
    assert_eq!(engine.rows()[0].values, [7.0, 7.0]);
}

#[test]
fn the_first_of_two_with_one_timestamp_wins() {
    let mut engine = Engine::new();
    assert_eq!(engine.values_at(1_002, [1.0, 1.0]), Outcome::Accepted);
    assert_eq!(engine.values_at(1_002, [9.0, 9.0]), Outcome::Duplicate);
    assert_eq!(engine.values_at(1_001, [3.0, 3.0]), Outcome::Accepted);
    assert_eq!(engine.values_at(1_001, [9.0, 9.0]), Outcome::Duplicate);
    let other = engine.offer(|r| {
        r.server = "b";
        r.timestamp_ms = Some(1_002);
    });
    assert_eq!(other, Outcome::Accepted);
    engine.partition.close_idle();
    let rows = engine.rows();
    assert_eq!(rows[0].values, [2.0, 1.0]);
    assert_eq!(rows[0].num_records, 2);
    assert_eq!(rows[1].server, "b");
    let counts = engine.partition.counts();
    assert_eq!((counts.accepted, counts.duplicate), (3, 2));
}

/// A duplicate whose first one had a gap stays a duplicate: it does not fill the gap.
#[test]
fn a_duplicate_fills_no_gap() {
    let mut engine = Engine::new();
    engine.values_at(1_002, [GAP, 1.0]);
    assert_eq!(engine.values_at(1_002, [5.0, 5.0]), Outcome::Duplicate);
    engine.partition.close_idle();
    let row = engine.rows().remove(0);
    assert!(row.values[0].is_nan());
    assert_eq!(row.values[1], 1.0);
}

#[test]
fn last_is_by_event_time_and_skips_gaps() {
    let mut engine = Engine::new();
    engine.values_at(1_005, [1.0, 50.0]);
    engine.values_at(1_003, [1.0, 30.0]);
    engine.values_at(1_007, [1.0, GAP]);
    engine.values_at(1_000, [1.0, 0.0]);
    engine.partition.close_idle();
    let row = engine.rows().remove(0);
    assert_eq!(row.values, [1.0, 50.0]);
    assert_eq!(row.num_records, 4);
}

#[test]
fn profile_is_the_last_and_state_the_last_stated() {
    let mut engine = Engine::new();
    let mut say = |timestamp, profile, state| {
        engine.offer(|r| {
            r.timestamp_ms = Some(timestamp);
            (r.profile, r.state) = (profile, state);
        })
    };
    say(1_004, 4, Some(40));
    say(1_002, 2, Some(20));
    say(1_005, 5, None);
    say(1_001, 1, None);
    engine.partition.close_idle();
    let row = engine.rows().remove(0);
    assert_eq!((row.profile, row.state), (5, Some(40)));

    let mut silent = Engine::new();
    silent.at(1_000);
    silent.partition.close_idle();
    assert_eq!(silent.rows()[0].state, None);
}

/// 2²⁴ + 1 is no f32: summing in f32 would lose the ones. (16777216 + 1 + 1 + 1) / 4 = 4194304.75 → f32 4194304.5 or
/// 4194305; the nearest f32 of 4194304.75 (spacing 0.5, tie to even) is 4194305.0.
#[test]
fn means_are_computed_in_f64_and_sent_as_f32() {
    let mut engine = Engine::new();
    for (place, value) in [16_777_216.0, 1.0, 1.0, 1.0].into_iter().enumerate() {
        engine.values_at(1_000 + place as i64, [value, 0.0]);
    }
    engine.partition.close_idle();
    assert_eq!(engine.rows()[0].values[0], 4_194_305.0);
}

#[test]
fn num_records_counts_gaps_too_and_a_mean_does_not() {
    let mut engine = Engine::new();
    engine.values_at(1_000, [4.0, 1.0]);
    engine.values_at(1_001, [GAP, 1.0]);
    engine.values_at(1_002, [8.0, GAP]);
    engine.values_at(1_003, [f32::INFINITY, 1.0]);
    engine.partition.close_idle();
    let row = engine.rows().remove(0);
    assert_eq!(row.num_records, 4);
    assert_eq!(row.values, [6.0, 1.0]);
}

#[test]
fn rows_come_by_bucket_then_server() {
    let mut engine = Engine::with(config().with_max_ahead_ms(50).unwrap(), None);
    for (server, timestamp) in [("b", 1_020), ("c", 1_000), ("a", 1_020), ("b", 1_000)] {
        engine.offer(|r| {
            r.server = server;
            r.timestamp_ms = Some(timestamp);
        });
    }
    engine.at(1_040);
    assert_eq!(
        engine.brief(),
        [
            brief(1_000, "b", 1),
            brief(1_000, "c", 1),
            brief(1_020, "a", 1),
            brief(1_020, "b", 1),
        ]
    );
    assert_eq!(engine.brief(), []);
}

#[test]
fn an_idle_partition_closes_and_stays_closed() {
    let mut engine = Engine::new();
    engine.at(1_000);
    engine.partition.close_idle();
    assert_eq!(engine.brief(), [brief(1_000, "a", 1)]);
    assert_eq!(engine.at(1_001), Outcome::Late);
    assert_eq!(engine.at(1_010), Outcome::Accepted);
    // 1010 ends at 1020 and closes at 1023, whatever closed before by the clock.
    assert_eq!(engine.at(1_022), Outcome::Accepted);
    assert_eq!(engine.brief(), []);
    engine.at(1_023);
    assert_eq!(engine.brief(), [brief(1_010, "a", 1)]);
    let mut empty = Engine::new();
    empty.partition.close_idle();
    assert_eq!(empty.partition.closed_through(), None);
}

#[test]
fn one_server_too_many_is_rejected_in_its_bucket_only() {
    let mut engine = Engine::with(config().with_max_servers(2).unwrap(), None);
    let mut say = |server: &'static str, timestamp| {
        engine.offer(|r| {
            r.server = server;
            r.timestamp_ms = Some(timestamp);
        })
    };
    assert_eq!(say("a", 1_000), Outcome::Accepted);
    assert_eq!(say("b", 1_000), Outcome::Accepted);
    assert_eq!(say("c", 1_000), Outcome::Rejected(Reject::TooManyServers));
    assert_eq!(say("b", 1_001), Outcome::Accepted);
    assert_eq!(say("c", 999), Outcome::Accepted);
}

#[test]
fn extremes_do_not_overflow() {
    let mut engine = Engine::with(config().with_min_timestamp_ms(i64::MIN), None);
    for kafka in [i64::MIN, -1, 0, i64::MAX] {
        for timestamp in [i64::MIN, i64::MIN / 2, -1, i64::MAX - 1, i64::MAX] {
            engine.offer(|r| {
                r.timestamp_ms = Some(timestamp);
                r.kafka_timestamp_ms = kafka;
            });
        }
    }
    engine.partition.offer(&Record {
        offset: i64::MAX,
        kafka_timestamp_ms: i64::MAX,
        server: "a",
        timestamp_ms: Some(i64::MAX),
        profile: 0,
        state: None,
        values: &[1.0, 1.0],
    });
    engine.partition.close_idle();
    engine.rows();
    assert!(engine.partition.commit().is_some());
    let resume = Commit {
        offset: i64::MAX,
        closed_through: Some(i64::MAX),
        position: i64::MAX,
    };
    let mut resumed = Engine::with(config(), Some(resume));
    resumed.next = 0;
    assert_eq!(resumed.at(1_000), Outcome::Replayed);
}
