#![allow(clippy::unwrap_used, clippy::expect_used)]

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::*;
use crate::archive::{Chain, WriterId};
use crate::testing::{TOPIC, range, spec};

/// Two partitions of three objects each: 0–9, 10–19, 20–29.
async fn archive() -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for partition in 0..2 {
        let chain = Chain::open(Arc::clone(&store), spec(partition), WriterId::random());
        let mut chain = chain.await.unwrap();
        chain.begin(0);
        for start in [0, 10, 20] {
            chain.push(range(start..start + 10), 0).unwrap();
            chain.flush(start + 10).await.unwrap();
        }
    }
    store
}

fn object(start: i64) -> Path {
    object_path(TOPIC, 1, start)
}

async fn bytes(store: &Arc<dyn ObjectStore>, path: &Path) -> Bytes {
    read(store.as_ref(), path).await.unwrap().unwrap()
}

async fn put(store: &Arc<dyn ObjectStore>, path: &Path, bytes: Bytes) {
    store.put(path, PutPayload::from(bytes)).await.unwrap();
}

#[track_caller]
fn assert_bad(report: &Report, object: &Path, says: &str) {
    assert!(!report.ok);
    let bad = report.first_bad.as_ref().unwrap();
    assert_eq!(bad.object, object.to_string(), "{}", bad.reason);
    assert!(bad.reason.contains(says), "{}", bad.reason);
    let partitions = &report.topics[0].partitions;
    assert_eq!(
        (&partitions[0].bad, partitions[1].bad.as_ref()),
        (&None, Some(bad))
    );
    assert_eq!(
        (partitions[0].next_offset, partitions[1].next_offset),
        (Some(30), None)
    );
}

#[tokio::test]
async fn a_whole_archive_is_ok() {
    let store = archive().await;
    let report = verify(&store, None).await.unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ok"], true);
    assert!(json["first_bad"].is_null());
    let topic = &json["topics"][0];
    assert_eq!(
        (&topic["topic"], &topic["objects"], &topic["rows"]),
        (&TOPIC.into(), &6.into(), &60.into())
    );
    let partition = &topic["partitions"][1];
    let expected = [
        ("partition", 1),
        ("objects", 3),
        ("tombstones", 0),
        ("rows", 30),
        ("start_offset", 0),
        ("next_offset", 30),
    ];
    for (key, value) in expected {
        assert_eq!(partition[key], value, "{key}");
    }
    let none = verify(&store, Some(&["other".to_owned()])).await.unwrap();
    assert!(none.ok && none.topics[0].partitions.is_empty());
    let empty: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    assert!(verify(&empty, None).await.unwrap().ok);
}

#[tokio::test]
async fn a_missing_object_is_named() {
    let store = archive().await;
    store.delete(&object(10)).await.unwrap();
    let report = verify(&store, None).await.unwrap();
    assert_bad(
        &report,
        &object(10),
        "missing: the chain breaks off at offset 10 and goes on at 20",
    );
    assert_eq!(report.topics[0].partitions[1].rows, 20);
    store.delete(&object(0)).await.unwrap();
    let report = verify(&store, None).await.unwrap();
    assert_bad(
        &report,
        &object(0),
        "breaks off at offset 0 and goes on at 20",
    );
}

#[tokio::test]
async fn a_truncated_object_is_named() {
    let store = archive().await;
    let whole = bytes(&store, &object(10)).await;
    for length in [whole.len() - 1, whole.len() / 2, 8, 1] {
        put(&store, &object(10), whole.slice(..length)).await;
        let report = verify(&store, None).await.unwrap();
        assert_bad(&report, &object(10), "unreadable");
    }
    put(&store, &object(10), Bytes::new()).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &object(10), "empty file");
}

#[tokio::test]
async fn a_changed_byte_is_found() {
    let store = archive().await;
    let whole = bytes(&store, &object(20)).await;
    let mut changed = whole.to_vec();
    changed[40] ^= 1;
    put(&store, &object(20), changed.into()).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &object(20), "checksum");
}

#[tokio::test]
async fn an_object_of_another_place_is_found() {
    let store = archive().await;
    let other = bytes(&store, &object_path(TOPIC, 0, 10)).await;
    put(&store, &object(10), other).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(
        &report,
        &object(10),
        "its footer says t.rollups partition 0",
    );
    let store = archive().await;
    let other = bytes(&store, &object(20)).await;
    put(&store, &object(15), other).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &object(15), "its footer says it starts at 20");
}

#[tokio::test]
async fn an_overlap_is_found() {
    let store = archive().await;
    // A second chain from offset 15, written elsewhere by the rules, and copied in.
    let elsewhere: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let chain = Chain::open(Arc::clone(&elsewhere), spec(1), WriterId::random());
    let mut chain = chain.await.unwrap();
    chain.begin(15);
    chain.push(range(15..20), 0).unwrap();
    chain.flush(20).await.unwrap();
    let stray = bytes(&elsewhere, &object(15)).await;
    put(&store, &object(15), stray).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &object(15), "begins before 20");
}

#[tokio::test]
async fn tombstones_hold_the_chain() {
    let store = archive().await;
    let path = tombstone_path(TOPIC, 1, 0);
    let text = r#"{"start_offset":0,"next_offset":10}"#;
    put(&store, &path, text.into()).await;
    let report = verify(&store, None).await.unwrap();
    assert!(report.ok, "retention may have stopped half-way: {report:?}");
    let partition = &report.topics[0].partitions[1];
    assert_eq!(
        (partition.objects, partition.leftovers, partition.rows),
        (2, 1, 20)
    );
    store.delete(&object(0)).await.unwrap();
    let report = verify(&store, None).await.unwrap();
    assert!(report.ok, "{report:?}");
    let partition = &report.topics[0].partitions[1];
    assert_eq!(
        (partition.objects, partition.tombstones, partition.rows),
        (2, 1, 20)
    );
    put(
        &store,
        &path,
        r#"{"start_offset":0,"next_offset":9}"#.into(),
    )
    .await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &object(9), "missing");
    put(
        &store,
        &path,
        r#"{"start_offset":1,"next_offset":10}"#.into(),
    )
    .await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &path, "it is of offset 1");
    put(&store, &path, "{".into()).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &path, "EOF");
}

#[tokio::test]
async fn a_chain_without_its_origin_is_not_whole() {
    let store = archive().await;
    let path = origin_path(TOPIC, 1);
    store.delete(&path).await.unwrap();
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &path, "missing");
    put(&store, &path, "garbage".into()).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &path, "expected");
    let other = bytes(&store, &origin_path(TOPIC, 0)).await;
    put(&store, &path, other).await;
    let report = verify(&store, None).await.unwrap();
    assert_bad(&report, &path, "it is of t.rollups partition 0");
}

#[tokio::test]
async fn strangers_are_listed_and_do_no_harm() {
    let store = archive().await;
    let path = Path::from("archive/t.rollups/p=00001/readme.txt");
    put(&store, &path, "x".into()).await;
    let report = verify(&store, None).await.unwrap();
    assert!(report.ok);
    assert_eq!(report.topics[0].partitions[1].strangers, [path.to_string()]);
}

#[tokio::test]
async fn watermarks_are_compared() {
    let store = archive().await;
    let whole = verify(&store, None).await.unwrap();
    let mut report = whole.clone();
    report.compare_watermarks(TOPIC, 1, 0, 30);
    report.compare_watermarks(TOPIC, 1, 30, 99);
    report.compare_watermarks("other", 1, 99, 99);
    assert_eq!(report, whole);
    report.compare_watermarks(TOPIC, 1, 0, 29);
    let bad = report.first_bad.clone().unwrap();
    assert_eq!(
        bad.reason,
        "the chain reaches offset 30, the topic ends at 29"
    );
    assert!(!report.ok);
    let mut report = whole;
    report.compare_watermarks(TOPIC, 0, 31, 40);
    let bad = report.first_bad.unwrap();
    assert_eq!(
        bad.reason,
        "offsets 30 to 31 expired before they were archived"
    );
}
