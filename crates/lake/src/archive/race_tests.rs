//! More than one writer, stores that lie, and what stops a chain.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};

use super::tests::{Store, assert_whole, chain, objects, written};
use super::*;
use crate::store::{create, read};
use crate::testing::{Fault, Faulty, TOPIC, range, spec};
use crate::verify::verify;

#[tokio::test]
async fn done_but_reported_failed_is_not_written_twice() {
    let faulty = Faulty::new(1, 0.0);
    let store: Store = Arc::clone(&faulty) as Store;
    let mut writer = chain(&store).await;
    writer.push(range(0..10), 0).unwrap();
    writer.flush(10).await.unwrap();
    for fault in [Fault::DoneButFails, Fault::Fails] {
        let start = writer.next_offset().unwrap();
        writer.push(range(start..start + 10), 0).unwrap();
        faulty.fail_next(&[fault]);
        let error = writer.flush(start + 12).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Store { .. }), "{error}");
        // More came in before the second try: what was done already is found and only the rest is written.
        writer.push(range(start + 12..start + 20), 0).unwrap();
        assert_eq!(
            written(&writer.flush(start + 20).await.unwrap()),
            (18, start + 20)
        );
    }
    let start = writer.next_offset().unwrap();
    for fault in [Fault::DoneButExists, Fault::OnlyExists] {
        let start = writer.next_offset().unwrap();
        writer.push(range(start..start + 10), 0).unwrap();
        faulty.fail_next(&[fault]);
        assert_eq!(
            written(&writer.flush(start + 10).await.unwrap()),
            (10, start + 10)
        );
    }
    assert_eq!(objects(&store).await, ["0", "10", "22", "30", "50", "60"]);
    assert_eq!(start, 50);
    assert_whole(&store).await;
}

#[tokio::test]
async fn a_store_that_contradicts_itself_is_told_and_nothing_lost() {
    let faulty = Faulty::new(1, 0.0);
    let store: Store = Arc::clone(&faulty) as Store;
    let mut writer = chain(&store).await;
    writer.push(range(0..10), 0).unwrap();
    writer.flush(10).await.unwrap();
    writer.push(range(10..20), 0).unwrap();
    faulty.fail_next(&[Fault::OnlyExists; 100]);
    let before = faulty.num_puts();
    let error = writer.flush(20).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Contested { .. }), "{error}");
    assert!(faulty.num_puts() - before <= 8, "bounded");
    faulty.heal();
    assert_eq!(written(&writer.flush(20).await.unwrap()), (10, 20));
}

#[tokio::test]
async fn the_slower_of_two_writers_adopts() {
    let store: Store = Arc::new(InMemory::new());
    let mut zombie = chain(&store).await;
    let mut owner = chain(&store).await;
    zombie.push(range(0..10), 0).unwrap();
    owner.push(range(0..8), 0).unwrap();
    owner.flush(8).await.unwrap();
    owner.push(range(8..15), 0).unwrap();
    owner.flush(15).await.unwrap();
    // The origin is the owner's and says the same; the first object is the owner's.
    let outcome = zombie.flush(10).await.unwrap();
    assert_eq!(outcome, FlushOutcome::Adopted { next_offset: 15 });
    assert_eq!(
        (zombie.next_offset(), zombie.buffered_rows()),
        (Some(15), 0)
    );
    zombie.push(range(10..18), 0).unwrap();
    assert_eq!(written(&zombie.flush(18).await.unwrap()), (3, 18));
    assert_eq!(
        owner.flush(20).await.unwrap(),
        FlushOutcome::Adopted { next_offset: 18 }
    );
    assert_whole(&store).await;
}

#[tokio::test]
async fn two_beginnings_become_one() {
    let store: Store = Arc::new(InMemory::new());
    let mut one = chain(&store).await;
    let mut two = Chain::open(Arc::clone(&store), spec(0), WriterId::random())
        .await
        .unwrap();
    two.begin(5);
    one.push(range(0..10), 0).unwrap();
    two.push(range(5..10), 0).unwrap();
    one.flush(10).await.unwrap();
    assert_eq!(
        two.flush(10).await.unwrap(),
        FlushOutcome::Adopted { next_offset: 10 }
    );
    // And a crash between the origin and the first object.
    let store: Store = Arc::new(InMemory::new());
    let origin = Origin {
        cluster_id: "cluster".to_owned(),
        topic: TOPIC.to_owned(),
        partition: 0,
        initial_offset: 3,
        first_record: None,
        writer: "crashed".to_owned(),
    };
    let bytes = Bytes::from(serde_json::to_vec(&origin).unwrap());
    create(store.as_ref(), &origin_path(TOPIC, 0), bytes)
        .await
        .unwrap();
    let writer = chain(&store).await;
    assert_eq!(writer.next_offset(), Some(3));
}

/// Writes the tombstone of the object at `start` and removes it.
async fn retire(store: &Store, start: i64, next_offset: i64) {
    let tombstone = Tombstone {
        start_offset: start,
        next_offset,
    };
    let bytes = Bytes::from(serde_json::to_vec(&tombstone).unwrap());
    let path = tombstone_path(TOPIC, 0, start);
    create(store.as_ref(), &path, bytes).await.unwrap();
    let path = object_path(TOPIC, 0, start);
    store.delete(&path).await.unwrap();
}

/// A chain 0–10–20–30 whose first two objects are retired, and a writer that stopped at 10 long ago.
async fn zombie_of(store: &Store) -> Chain {
    let mut owner = chain(store).await;
    owner.push(range(0..10), 0).unwrap();
    owner.flush(10).await.unwrap();
    let mut zombie = chain(store).await;
    for start in [10, 20] {
        owner.push(range(start..start + 10), 0).unwrap();
        owner.flush(start + 10).await.unwrap();
    }
    retire(store, 0, 10).await;
    retire(store, 10, 20).await;
    zombie.push(range(10..14), 0).unwrap();
    zombie
}

#[tokio::test]
async fn a_zombie_older_than_retention_leaves_no_trace() {
    let store: Store = Arc::new(InMemory::new());
    let mut zombie = zombie_of(&store).await;
    let adopted = FlushOutcome::Adopted { next_offset: 30 };
    assert_eq!(zombie.flush(14).await.unwrap(), adopted);
    assert_eq!(objects(&store).await, ["20"]);
    assert_whole(&store).await;
    // The chain goes on when its last object is retired too.
    retire(&store, 20, 30).await;
    let mut next = chain(&store).await;
    assert_eq!(next.next_offset(), Some(30));
    next.push(range(30..31), 0).unwrap();
    next.flush(31).await.unwrap();
    assert_whole(&store).await;
}

/// Found by the random schedules: the second try saw its own object and went on behind it, into the chain.
#[tokio::test]
async fn a_zombie_whose_write_was_reported_failed_does_not_go_on() {
    let faulty = Faulty::new(1, 0.0);
    let store: Store = Arc::clone(&faulty) as Store;
    let mut zombie = zombie_of(&store).await;
    faulty.fail_next(&[Fault::DoneButFails]);
    assert!(zombie.flush(14).await.is_err());
    let adopted = FlushOutcome::Adopted { next_offset: 30 };
    assert_eq!(zombie.flush(14).await.unwrap(), adopted);
    let report = verify(&store, None).await.unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.topics[0].partitions[0].leftovers, 1);
}

#[tokio::test]
async fn another_cluster_or_a_recreated_topic_is_refused() {
    let store: Store = Arc::new(InMemory::new());
    let mut writer = chain(&store).await;
    for start in [0, 10] {
        writer.push(range(start + 1..start + 10), 0).unwrap();
        writer.flush(start + 10).await.unwrap();
    }
    let other = ChainSpec {
        cluster_id: "another".to_owned(),
        ..spec(0)
    };
    let error = Chain::open(Arc::clone(&store), other, WriterId::random())
        .await
        .unwrap_err();
    assert!(matches!(&error, ArchiveError::OtherCluster { .. }));
    assert!(
        error
            .to_string()
            .contains("archived from cluster cluster, this is cluster another")
    );

    let reopened = chain(&store).await;
    let crc = |offset: i64| record_crc(Some(b"k"), Some(&offset.to_be_bytes()));
    let known: Vec<(i64, u32)> = reopened
        .fingerprints()
        .iter()
        .map(|f| (f.offset, f.crc32c))
        .collect();
    assert_eq!(known, [(11, crc(11)), (1, crc(1))]);
    reopened.check_record(11, crc(11)).unwrap();
    reopened.check_record(12, 0).unwrap();
    let error = reopened.check_record(1, crc(11)).unwrap_err();
    assert!(matches!(error, ArchiveError::Recreated { .. }));

    assert_eq!(reopened.check_watermarks(0, 20).unwrap(), 0);
    assert_eq!(reopened.check_watermarks(20, 25).unwrap(), 0);
    assert_eq!(
        reopened.check_watermarks(23, 25).unwrap(),
        3,
        "three expired unarchived"
    );
    let error = reopened.check_watermarks(0, 19).unwrap_err();
    assert!(matches!(error, ArchiveError::Recreated { .. }));
}

#[tokio::test]
async fn an_unreadable_end_stops_the_chain() {
    let store: Store = Arc::new(InMemory::new());
    let mut writer = chain(&store).await;
    writer.push(range(0..10), 0).unwrap();
    writer.flush(10).await.unwrap();
    let path = object_path(TOPIC, 0, 10);
    // Somebody's truncated object where ours is to go.
    let whole = read(store.as_ref(), &object_path(TOPIC, 0, 0))
        .await
        .unwrap()
        .unwrap();
    store
        .put(&path, PutPayload::from(whole.slice(..whole.len() - 9)))
        .await
        .unwrap();
    writer.push(range(10..12), 0).unwrap();
    let check = |error: ArchiveError| match error {
        ArchiveError::Quarantine { object, .. } => assert_eq!(object, path.to_string()),
        other => panic!("{other}"),
    };
    check(writer.flush(12).await.unwrap_err());
    check(
        Chain::open(Arc::clone(&store), spec(0), WriterId::random())
            .await
            .unwrap_err(),
    );
    // A copy of another object is not the link its name says.
    store.put(&path, PutPayload::from(whole)).await.unwrap();
    check(writer.flush(12).await.unwrap_err());
    // Moved away, the chain goes on with what is still buffered.
    store.delete(&path).await.unwrap();
    assert_eq!(written(&writer.flush(12).await.unwrap()), (2, 12));
    store.delete(&origin_path(TOPIC, 0)).await.unwrap();
    let error = Chain::open(Arc::clone(&store), spec(0), WriterId::random())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("_origin"), "{error}");
}
