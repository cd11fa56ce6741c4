//! What is committed, and what an engine made from it does with records read again.

use super::*;

#[test]
fn the_commit_is_the_oldest_record_an_open_bucket_needs() {
    let mut engine = Engine::new();
    assert_eq!(engine.partition.commit(), None);
    engine.at(1_000); // 0
    engine.at(1_012); // 1
    engine.at(1_001); // 2
    let commit = |offset, closed, position| {
        Some(Commit {
            offset,
            closed_through: Some(closed),
            position,
        })
    };
    assert_eq!(engine.partition.commit(), commit(0, 990, 3));
    engine.at(1_013); // 3 closes bucket 1000; its row waits
    assert_eq!(engine.partition.commit(), commit(0, 990, 4));
    assert_eq!(engine.brief().len(), 1);
    assert_eq!(engine.partition.commit(), commit(1, 1_000, 4));
    engine.partition.close_idle();
    assert_eq!(engine.brief().len(), 1);
    assert_eq!(engine.partition.commit(), commit(4, 1_010, 4));
    engine.partition.advance(9);
    engine.partition.advance(6);
    assert_eq!(engine.partition.commit(), commit(9, 1_010, 9));
}

/// The oldest record is by offset: a bucket that was opened later may be the older one in time.
#[test]
fn a_later_bucket_may_need_the_older_record() {
    let mut engine = Engine::new();
    engine.at(1_012); // 0, bucket 1010
    engine.at(1_009); // 1, bucket 1000
    engine.at(1_013); // 2 closes bucket 1000
    engine.brief();
    assert_eq!(engine.partition.commit().unwrap().offset, 0);
}

#[test]
fn after_a_restart_what_was_handled_is_replayed() {
    let resume = Commit {
        offset: 10,
        closed_through: Some(1_000),
        position: 15,
    };
    let mut engine = Engine::with(config(), Some(resume));
    assert_eq!(engine.partition.commit(), Some(resume));
    assert_eq!(engine.at(1_010), Outcome::Accepted); // 10: rebuilds its bucket
    assert_eq!(engine.at(1_005), Outcome::Replayed); // 11: bucket closed
    assert_eq!(engine.values_at(1_011, [GAP, GAP]), Outcome::Replayed); // 12: dead letter already
    assert_eq!(engine.partition.reject_undecodable(13), Outcome::Replayed);
    engine.next = 14;
    assert_eq!(engine.at(1_010), Outcome::Duplicate); // 14
    assert_eq!(engine.partition.commit(), Some(resume));
    assert_eq!(engine.at(1_004), Outcome::Late); // 15: the position
    assert_eq!(
        engine.partition.reject_undecodable(16),
        Outcome::Rejected(Reject::Undecodable)
    );
    let counts = engine.partition.counts();
    let expected = Counts {
        consumed: 7,
        accepted: 1,
        duplicate: 1,
        late: 1,
        replayed: 3,
        rejected: 1,
    };
    assert_eq!(counts, expected);
    // Below the committed offset, and again what this engine had.
    assert_eq!(engine.offer(|r| r.offset = 9), Outcome::Replayed);
    assert_eq!(engine.offer(|r| r.offset = 16), Outcome::Replayed);
    let commit = engine.partition.commit().unwrap();
    assert_eq!((commit.offset, commit.position), (10, 17));
}

/// Nothing was open at the commit, and the records below the position are still to come: the offset must not jump there,
/// nor the position fall back.
#[test]
fn a_commit_while_records_are_read_again() {
    let resume = Commit {
        offset: 10,
        closed_through: Some(1_000),
        position: 15,
    };
    let mut engine = Engine::with(config(), Some(resume));
    engine.at(1_005);
    let commit = engine.partition.commit().unwrap();
    assert_eq!((commit.offset, commit.position), (11, 15));
}
