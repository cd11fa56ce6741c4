//! Property tests of the rollup: against a model in plain maps, in any batches, and through crashes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod model;
mod stream;

use std::collections::BTreeSet;

use model::{Model, first_of_each, is_nan_row_equal, same_rows};
use proptest::prelude::*;
use stream::{Bits, Event, Stream, config, drain, feed, stream};
use window::rollup::{Commit, Outcome, Partition};

/// Rows and counts of an engine that nothing disturbs.
fn undisturbed(stream: &Stream) -> (Vec<Bits>, Partition) {
    let mut partition = Partition::new(config(stream.grace), None);
    let mut rows = Vec::new();
    for (offset, event) in &stream.events {
        feed(&mut partition, *offset, event);
        rows.extend(drain(&mut partition));
    }
    (rows, partition)
}

/// What the owner of an engine does after a record.
#[derive(Debug, Clone, Copy)]
enum Action {
    Nothing,
    /// Fetches rows and delivers them.
    Drain,
    /// Commits, without fetching the rows that wait.
    Commit,
    DrainAndCommit,
    /// Fetches and delivers rows, then dies without a commit.
    DrainAndCrash,
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => Just(Action::Nothing),
        3 => Just(Action::Drain),
        2 => Just(Action::Commit),
        4 => Just(Action::DrainAndCommit),
        1 => Just(Action::DrainAndCrash),
        1 => Just(Action::Crash),
    ]
}

/// A run with crashes and what it saw.
#[derive(Default)]
struct Disturbed {
    delivered: Vec<Bits>,
    committed: Option<Commit>,
    /// Offsets dead-lettered, and offsets counted late.
    rejected: Vec<i64>,
    late: Vec<i64>,
    crashes: usize,
}

fn disturbed(stream: &Stream, actions: &[Action]) -> (Disturbed, Partition) {
    let mut run = Disturbed::default();
    let mut partition = Partition::new(config(stream.grace), None);
    let mut index = 0;
    let mut actions = actions.iter().copied();
    while let Some((offset, event)) = stream.events.get(index) {
        index += 1;
        match feed(&mut partition, *offset, event) {
            Some(Outcome::Rejected(_)) => run.rejected.push(*offset),
            Some(Outcome::Late) => run.late.push(*offset),
            _ => {}
        }
        assert!(partition.counts().balanced());
        // The clock's closing cannot be repeated after a crash, so its owner commits it at once.
        let action = if matches!(event, Event::Idle) {
            Action::DrainAndCommit
        } else {
            actions.next().unwrap_or(Action::Nothing)
        };
        if matches!(
            action,
            Action::Drain | Action::DrainAndCommit | Action::DrainAndCrash
        ) {
            run.delivered.extend(drain(&mut partition));
        }
        if matches!(action, Action::Commit | Action::DrainAndCommit) {
            run.committed = partition.commit().map(through_the_broker);
        }
        if matches!(action, Action::DrainAndCrash | Action::Crash) {
            run.crashes += 1;
            partition = Partition::new(config(stream.grace), run.committed);
            let from = run.committed.map_or(i64::MIN, |commit| commit.offset);
            index = stream.events.partition_point(|(offset, _)| *offset < from);
            // An idle partition lies before the record of its offset; one below the position was committed.
            let position = run.committed.map_or(i64::MIN, |commit| commit.position);
            while matches!(stream.events.get(index), Some((at, Event::Idle)) if *at < position) {
                index += 1;
            }
        }
    }
    run.delivered.extend(drain(&mut partition));
    (run, partition)
}

fn through_the_broker(commit: Commit) -> Commit {
    let back = Commit::from_metadata(commit.offset, &commit.metadata());
    assert_eq!(back, Ok(Some(commit)));
    commit
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Each outcome, the rows and the counts are those of the rules written down plainly.
    #[test]
    fn the_engine_agrees_with_the_model(stream in stream(true)) {
        let (mut partition, mut model) = (Partition::new(config(stream.grace), None), Model::default());
        let mut rows = Vec::new();
        for (offset, event) in &stream.events {
            let expected = model.offer(stream.grace, *offset, event);
            prop_assert_eq!(feed(&mut partition, *offset, event), expected, "offset {}", offset);
            rows.extend(drain(&mut partition));
        }
        prop_assert_eq!(partition.counts(), model.counts);
        prop_assert_eq!(partition.watermark(), model.watermark);
        // Buckets ascend, and within one the servers: a late bucket can only have been closed empty.
        same_rows(&rows, &model.rows(stream.grace));
    }

    /// However calls are grouped and rows fetched, the same rows come in the same order.
    #[test]
    fn batches_change_nothing(stream in stream(true), batches in proptest::collection::vec(1usize..40, 1..20)) {
        let (expected, one_by_one) = undisturbed(&stream);
        let mut partition = Partition::new(config(stream.grace), None);
        let (mut rows, mut rest) = (Vec::new(), stream.events.as_slice());
        for size in batches.iter().cycle() {
            let (batch, after) = rest.split_at((*size).min(rest.len()));
            for (offset, event) in batch {
                feed(&mut partition, *offset, event);
            }
            rows.extend(drain(&mut partition));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        same_rows(&rows, &expected);
        prop_assert_eq!(partition.counts(), one_by_one.counts());
        prop_assert_eq!(partition.commit(), one_by_one.commit());
    }

    /// Crashes at any points, commits at any points, rows fetched at any points: after dropping repeats exactly the rows of
    /// an undisturbed run, and what stays open is what stays open there.
    #[test]
    fn crashes_change_nothing(
        stream in stream(false),
        actions in proptest::collection::vec(action(), 0..300),
    ) {
        let (expected, calm) = undisturbed(&stream);
        let (run, partition) = disturbed(&stream, &actions);
        same_rows(&first_of_each(&run.delivered), &first_of_each(&expected));
        // A repeat is not only dropped but the same: every delivered row is one of the undisturbed run.
        for row in &run.delivered {
            prop_assert!(expected.iter().any(|other| is_nan_row_equal(row, other)), "{:?}", row);
        }
        prop_assert_eq!(partition.num_open(), calm.num_open());
        prop_assert_eq!(partition.closed_through(), calm.closed_through());
        prop_assert_eq!(partition.commit(), calm.commit());
    }

    /// The same with partitions closed by the clock, where that is committed at once.
    #[test]
    fn crashes_after_an_idle_partition_change_nothing(
        stream in stream(true),
        actions in proptest::collection::vec(action(), 0..300),
    ) {
        let (expected, calm) = undisturbed(&stream);
        let (run, partition) = disturbed(&stream, &actions);
        same_rows(&first_of_each(&run.delivered), &first_of_each(&expected));
        prop_assert_eq!(partition.commit(), calm.commit());
    }

    /// Where each record is committed before the next, a crash repeats nothing: each row, dead letter and late record is
    /// seen once, and everything read again counts as accepted or duplicate (its bucket is open) or as replayed.
    #[test]
    fn with_a_commit_before_each_crash_nothing_is_repeated(
        stream in stream(false),
        crashes in proptest::collection::vec(proptest::bool::weighted(0.1), 0..120),
    ) {
        let (expected, calm) = undisturbed(&stream);
        let mut actions = Vec::new();
        for crash in crashes {
            actions.push(Action::DrainAndCommit);
            if crash {
                actions.push(Action::Crash);
            }
        }
        // A crash follows a record that was not committed: that record alone is seen twice.
        let (run, _) = disturbed(&stream, &actions);
        let rejected: BTreeSet<i64> = run.rejected.iter().copied().collect();
        let late: BTreeSet<i64> = run.late.iter().copied().collect();
        prop_assert!(run.rejected.len() <= rejected.len() + run.crashes);
        prop_assert!(run.late.len() <= late.len() + run.crashes);
        prop_assert_eq!(rejected.len() as u64, calm.counts().rejected);
        prop_assert_eq!(late.len() as u64, calm.counts().late);
        same_rows(&first_of_each(&run.delivered), &first_of_each(&expected));
        prop_assert_eq!(run.delivered.len(), expected.len());
    }
}
