#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use crate::store::{open, read};
use crate::testing::{TOPIC, batch, offsets, plain, range, schema, spec};
use crate::verify::verify;

pub(super) type Store = Arc<dyn ObjectStore>;

pub(super) async fn chain(store: &Store) -> Chain {
    let mut chain = Chain::open(Arc::clone(store), spec(0), WriterId::random())
        .await
        .unwrap();
    chain.begin(0);
    chain
}

pub(super) async fn objects(store: &Store) -> Vec<String> {
    let listing = list_partition(store.as_ref(), TOPIC, 0).await.unwrap();
    listing
        .objects
        .iter()
        .map(|(start, _)| start.to_string())
        .collect()
}

pub(super) fn written(outcome: &FlushOutcome) -> (i64, i64) {
    match outcome {
        FlushOutcome::Written {
            rows, next_offset, ..
        } => (*rows, *next_offset),
        other => panic!("expected a write, got {other:?}"),
    }
}

pub(super) async fn assert_whole(store: &Store) {
    let report = verify(store, None).await.unwrap();
    assert!(report.ok, "{report:?}");
}

#[tokio::test]
async fn objects_follow_one_another_and_any_reader_reads_them() {
    let store: Store = Arc::new(InMemory::new());
    let mut writer = chain(&store).await;
    assert_eq!(writer.next_offset(), Some(0));
    assert_eq!(writer.push(range(0..20), 5).unwrap(), 0);
    assert_eq!(
        writer.push(range(15..30), 5).unwrap(),
        5,
        "what is buffered is skipped"
    );
    assert_eq!((writer.position(), writer.buffered_rows()), (Some(30), 30));
    // The consumer stands two control records further on.
    let outcome = writer.flush(32).await.unwrap();
    assert_eq!(written(&outcome), (30, 32));
    assert_eq!(
        (writer.next_offset(), writer.buffered_rows()),
        (Some(32), 0)
    );
    assert_eq!(writer.flush(32).await.unwrap(), FlushOutcome::Nothing);
    assert_eq!(
        writer.push(range(20..40), 9).unwrap(),
        12,
        "what is archived is skipped"
    );
    assert_eq!(written(&writer.flush(40).await.unwrap()), (8, 40));
    assert_eq!(objects(&store).await, ["0", "32"]);

    let path = object_path(TOPIC, 0, 0);
    let rows = plain(store.as_ref(), &path).await;
    let names: Vec<_> = rows
        .schema_ref()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "server",
            "timestamp",
            "value",
            "kafka_offset",
            "kafka_timestamp",
            "kafka_value",
            "kafka_key"
        ]
    );
    let found = offsets(&rows);
    let mut expected: Vec<i64> = (0..30).collect();
    // By server (offset mod 7), then by time, which runs back a little every fifth record.
    expected.sort_by_key(|o| (o % 7, o * 1000 - (o % 5) * 1500, *o));
    assert_eq!(found, expected);

    let reopened = chain(&store).await;
    assert_eq!(reopened.next_offset(), Some(40));
    assert_whole(&store).await;
}

#[tokio::test]
async fn the_footer_says_what_the_object_holds() {
    let store: Store = Arc::new(InMemory::new());
    let mut writer = chain(&store).await;
    writer.push(batch(&[3, 4, 8]), 0).unwrap();
    writer.flush(12).await.unwrap();
    let stored = read_footer(store.as_ref(), &object_path(TOPIC, 0, 0))
        .await
        .unwrap();
    let footer = stored.footer;
    assert_eq!((footer.topic.as_str(), footer.partition), (TOPIC, 0));
    assert_eq!(
        (footer.start_offset, footer.next_offset, footer.rows),
        (0, 12, 3)
    );
    // 1,000,000 + 1000 × offset − 1500 × (offset mod 5): 998,500, 998,000 and 1,003,500.
    assert_eq!(footer.timestamps_ms, Some((998_000, 1_003_500)));
    let crc32c = record_crc(Some(b"k"), Some(&3i64.to_be_bytes()));
    assert_eq!(footer.first_record, Some(Fingerprint { offset: 3, crc32c }));
    assert_eq!(
        (footer.contract.as_str(), footer.schema_version),
        ("c0ffee", 1)
    );
    let data = stored
        .whole
        .unwrap()
        .slice(..usize::try_from(footer.data.bytes).unwrap());
    assert!(data.len() > 100 && data.starts_with(b"PAR1"));
    assert_eq!(footer.data.crc32c, crc32c::crc32c(&data));
    let origin = read(store.as_ref(), &origin_path(TOPIC, 0))
        .await
        .unwrap()
        .unwrap();
    let origin: Origin = serde_json::from_slice(&origin).unwrap();
    assert_eq!(
        (origin.initial_offset, origin.cluster_id.as_str()),
        (0, "cluster")
    );
    assert_eq!(origin.first_record, footer.first_record);
}

#[test]
fn the_record_checksum_is_crc32c() {
    // The check value of CRC-32C (Castagnoli) is that of "123456789".
    assert_eq!(record_crc(Some(b"1234"), Some(b"56789")), 0xE306_9283);
    assert_eq!(record_crc(None, None), 0);
}

#[tokio::test]
async fn undecodable_records_and_tombstones_are_kept() {
    let store: Store = Arc::new(InMemory::new());
    let mut writer = chain(&store).await;
    let schema = super::encode::nullable(&schema());
    let mut intake = Intake::default();
    let record = |offset, key, value| KafkaRecord {
        offset,
        timestamp_ms: 7,
        key,
        value,
    };
    intake.undecodable(&record(0, Some(b"a"), Some(b"garbage")));
    intake.tombstone(&record(1, Some(b"gone"), None));
    intake.tombstone(&record(2, None, None));
    intake.undecodable(&record(3, None, Some(b"")));
    let nulls = schema
        .fields()
        .iter()
        .map(|f| arrow::array::new_null_array(f.data_type(), 4));
    let columns = RecordBatch::try_new(Arc::clone(&schema), nulls.collect()).unwrap();
    writer.push(intake.finish(columns).unwrap(), 0).unwrap();
    writer.push(range(4..6), 0).unwrap();
    assert_eq!(written(&writer.flush(6).await.unwrap()), (6, 6));
    let rows = plain(store.as_ref(), &object_path(TOPIC, 0, 0)).await;
    // Sorted by server with nulls last.
    let column = |name: &str| Arc::clone(rows.column_by_name(name).unwrap());
    let values = column("kafka_value");
    let values: Vec<Option<&[u8]>> = values.as_binary::<i32>().iter().collect();
    assert_eq!(
        values,
        [
            None,
            None,
            Some(&b"garbage"[..]),
            None,
            None,
            Some(&b""[..])
        ]
    );
    let keys = column("kafka_key");
    let keys: Vec<Option<&[u8]>> = keys.as_binary::<i32>().iter().collect();
    assert_eq!(keys, [None, None, None, Some(&b"gone"[..]), None, None]);
    let value = column("value");
    assert_eq!(value.null_count(), 4);
    assert_eq!(value.as_primitive::<Float32Type>().value(0), 4.0);
    assert_whole(&store).await;
}

#[tokio::test]
async fn batches_that_do_not_fit_are_refused() {
    let store: Store = Arc::new(InMemory::new());
    let mut fresh = Chain::open(Arc::clone(&store), spec(0), WriterId::random())
        .await
        .unwrap();
    assert_eq!(fresh.next_offset(), None);
    assert!(matches!(
        fresh.push(range(0..1), 0),
        Err(ArchiveError::Batch { .. })
    ));
    fresh.begin(0);
    let other = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
    let mut intake = Intake::default();
    assert!(
        intake
            .finish(RecordBatch::new_empty(Arc::new(other)))
            .is_ok()
    );
    let one = KafkaRecord {
        offset: 5,
        timestamp_ms: 0,
        key: None,
        value: None,
    };
    intake.decoded(&one);
    intake.decoded(&one);
    let twice = intake.finish(range(0..2).columns).unwrap_err();
    assert_eq!(twice, "offset 5 follows 5");
    intake.decoded(&one);
    assert_eq!(
        intake.finish(range(0..2).columns).unwrap_err(),
        "2 rows of columns for 1 records"
    );
}

#[tokio::test]
async fn a_range_without_rows_is_a_link() {
    let store: Store = Arc::new(InMemory::new());
    let mut writer = chain(&store).await;
    assert_eq!(written(&writer.flush(4).await.unwrap()), (0, 4));
    writer.push(range(4..6), 0).unwrap();
    assert_eq!(written(&writer.flush(6).await.unwrap()), (2, 6));
    assert_eq!(written(&writer.flush(9).await.unwrap()), (0, 9));
    assert_eq!(chain(&store).await.next_offset(), Some(9));
    assert_eq!(
        plain(store.as_ref(), &object_path(TOPIC, 0, 6))
            .await
            .num_rows(),
        0
    );
    assert_whole(&store).await;
}

#[tokio::test]
async fn the_buffer_is_due_by_rows_bytes_or_age() {
    let store: Store = Arc::new(InMemory::new());
    let mut writer = chain(&store).await;
    let policy = FlushPolicy {
        max_rows: 10,
        max_bytes: usize::MAX,
        max_age_ms: 1000,
    };
    assert!(!writer.is_due(&policy, i64::MAX), "an empty buffer never");
    writer.push(range(0..5), 500).unwrap();
    writer.push(range(5..6), 1400).unwrap();
    assert!(!writer.is_due(&policy, 1499));
    assert!(
        writer.is_due(&policy, 1500),
        "the first record's age counts"
    );
    writer.push(range(6..10), 1400).unwrap();
    assert!(writer.is_due(&policy, 1400));
    let bytes = writer.buffered_bytes();
    assert!(bytes > 10 * 20, "{bytes}");
    let policy = FlushPolicy {
        max_rows: 100,
        max_bytes: bytes,
        max_age_ms: i64::MAX,
    };
    assert!(writer.is_due(&policy, 1400));
    writer.flush(10).await.unwrap();
    assert_eq!(writer.buffered_bytes(), 0);
}

#[tokio::test]
async fn a_directory_is_a_store_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path().to_str().unwrap()).unwrap().store;
    let mut writer = chain(&store).await;
    let mut zombie = chain(&store).await;
    zombie.push(range(0..3), 0).unwrap();
    writer.push(range(0..1000), 0).unwrap();
    writer.flush(1000).await.unwrap();
    assert_eq!(
        zombie.flush(3).await.unwrap(),
        FlushOutcome::Adopted { next_offset: 1000 }
    );
    writer.push(range(1000..1500), 0).unwrap();
    writer.flush(1500).await.unwrap();
    let file = dir
        .path()
        .join("archive/t.rollups/p=00000/00000000000000001000.parquet");
    assert!(file.is_file());
    assert_eq!(
        tail_offset(store.as_ref(), TOPIC, 0).await.unwrap(),
        Some(1500)
    );
    assert_eq!(tail_offset(store.as_ref(), TOPIC, 1).await.unwrap(), None);
    assert_whole(&store).await;
}
