#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::codec::{Decoder, Encoder, RollupRow};
use contract::{Contract, Topic};
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use proptest::prelude::*;

use super::*;
use crate::archive::{Chain, ChainSpec, Intake, KafkaRecord, WriterId, object_path};
use crate::records::{RecordWriter, Row};
use crate::testing::Faulty;

const STEP: i64 = 300_000;
const T0: i64 = 1_375_315_200_000; // 2013-08-01T00:00:00Z
const TOPIC: &str = "forewarn.rollups";

fn vm() -> Contract {
    Contract::shipped("vm").unwrap()
}

/// A rollup row with one telling value; the others are gaps.
fn rollup(server: &str, step: i64, cpu: f32) -> (String, i64, f32) {
    (server.to_owned(), T0 + step * STEP, cpu)
}

/// Archives rows, one offset each, in objects of the given lengths.
async fn archived(
    store: &Arc<dyn ObjectStore>,
    contract: &Contract,
    partition: i32,
    objects: &[Vec<(String, i64, f32)>],
) {
    let encoder = Encoder::new(contract).unwrap();
    let mut decoder = Decoder::new(Topic::Rollups, contract).unwrap();
    let spec = ChainSpec {
        topic: TOPIC.to_owned(),
        partition,
        cluster_id: "c".to_owned(),
        contract: contract.fingerprint().to_owned(),
        schema: decoder.schema(),
    };
    let chain = Chain::open(Arc::clone(store), spec, WriterId::random());
    let mut chain = chain.await.unwrap();
    chain.begin(0);
    for rows in objects {
        let mut intake = Intake::default();
        for (server, timestamp, cpu) in rows {
            let mut values = vec![f32::NAN; contract.num_metrics()];
            values[0] = *cpu;
            let row = RollupRow {
                server,
                timestamp: *timestamp,
                profile: "vm",
                state: Some("healthy"),
                num_records: 1,
                values: &values,
            };
            let mut value = Vec::new();
            encoder.encode_rollup(&row, &mut value).unwrap();
            decoder.push(&value).unwrap();
            intake.decoded(&KafkaRecord {
                offset: chain.next_offset().unwrap() + intake.len() as i64,
                timestamp_ms: *timestamp,
                key: None,
                value: Some(&value),
            });
        }
        let batch: RecordBatch = decoder.finish();
        chain.push(intake.finish(batch).unwrap(), 0).unwrap();
        chain.flush(chain.position().unwrap()).await.unwrap();
    }
}

async fn read(
    store: &Arc<dyn ObjectStore>,
    selection: &Selection<'_>,
    upto: Option<&[(i32, i64)]>,
) -> TrainingWindow {
    let contract = vm();
    let window = TrainingWindow::from_archive(store.as_ref(), TOPIC, &contract, selection, upto);
    window.await.unwrap()
}

/// The first metric by step, gaps as None.
fn cpu(series: &ServerSeries) -> Vec<Option<f32>> {
    let rows = series.values.chunks_exact(6);
    rows.map(|row| Some(row[0]).filter(|v| !v.is_nan()))
        .collect()
}

#[tokio::test]
async fn rows_become_dense_grids_and_the_first_repeat_wins() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let first = vec![
        rollup("b", 0, 1.0),
        rollup("a", 2, 5.0),
        rollup("b", 1, 2.0),
    ];
    let second = vec![
        rollup("b", 1, 99.0),
        rollup("b", 4, 3.0),
        rollup("a", 2, 98.0),
    ];
    archived(&store, &vm(), 0, &[first, second]).await;
    archived(&store, &vm(), 3, &[vec![rollup("c", 0, 7.0)]]).await;
    let window = read(&store, &Selection::default(), None).await;
    let names: Vec<&str> = window.series.iter().map(|s| s.server.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        (window.rows, window.repeats, window.other_contract),
        (5, 2, 0)
    );
    assert_eq!(window.positions, [(0, 6), (3, 1)]);
    let (a, b) = (&window.series[0], &window.series[1]);
    assert_eq!((a.start_ms, cpu(a)), (T0 + 2 * STEP, vec![Some(5.0)]));
    assert_eq!((b.start_ms, b.profile), (T0, 0));
    assert_eq!(cpu(b), [Some(1.0), Some(2.0), None, None, Some(3.0)]);
    assert_eq!(b.values.len(), 5 * 6);
    assert_eq!(b.states, [0, 0, NO_STATE, NO_STATE, 0]);
}

#[tokio::test]
async fn objects_older_than_the_last_days_are_not_read() {
    let faulty = Faulty::new(1, 0.0);
    let store: Arc<dyn ObjectStore> = faulty.clone();
    let day = |d: i64| vec![rollup("a", d * 288, d as f32)];
    let days: Vec<_> = (0..6).map(day).collect();
    archived(&store, &vm(), 0, &days).await;
    let last = Selection {
        last_days: Some(2),
        ..Selection::default()
    };
    let begun = faulty.num_whole_gets();
    assert_eq!(read(&store, &Selection::default(), None).await.rows, 6);
    let all = faulty.num_whole_gets();
    assert_eq!(read(&store, &last, None).await.rows, 2);
    let few = faulty.num_whole_gets();
    assert_eq!((all - begun) - (few - all), 4, "days 0 to 3");
}

#[tokio::test]
async fn time_servers_days_and_positions_select() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let day = 288;
    let rows: Vec<Vec<_>> = (0..6)
        .map(|d| {
            vec![
                rollup("a", d * day, d as f32),
                rollup("b", d * day + 1, d as f32),
            ]
        })
        .collect();
    archived(&store, &vm(), 0, &rows).await;
    let count = |window: &TrainingWindow| -> Vec<(String, usize)> {
        let series = window.series.iter();
        series
            .map(|s| (s.server.clone(), cpu(s).iter().flatten().count()))
            .collect()
    };
    let both = |a: usize, b: usize| vec![("a".to_owned(), a), ("b".to_owned(), b)];
    let bounded = Selection {
        from_ms: Some(T0 + day * STEP),
        to_ms: Some(T0 + 3 * day * STEP + STEP),
        ..Selection::default()
    };
    let window = read(&store, &bounded, None).await;
    assert_eq!(count(&window), both(3, 2));
    assert_eq!(window.positions, [(0, 12)]);
    let days = Selection {
        last_days: Some(2),
        ..Selection::default()
    };
    let window = read(&store, &days, None).await;
    // The newest bucket is day 5 + 1 step; two days back from its end is day 3 + 2 steps.
    assert_eq!(count(&window), both(2, 2));
    let one = Selection {
        servers: &|server| server == "b",
        ..Selection::default()
    };
    assert_eq!(
        count(&read(&store, &one, None).await),
        [("b".to_owned(), 6)]
    );
    // Positions cut in the middle of an object, and give the same again after more has come.
    let window = read(&store, &Selection::default(), Some(&[(0, 5)])).await;
    assert_eq!(
        (count(&window), window.positions),
        (both(3, 2), vec![(0, 5)])
    );
    let none = read(&store, &Selection::default(), Some(&[])).await;
    assert!(none.series.is_empty());
    for (positions, expected) in [
        (&[(0, 12)][..], true),
        (&[(0, 13)], false),
        (&[(0, 1), (1, 0)], true),
        (&[(1, 1)], false),
        (&[], true),
    ] {
        let reached = reached(store.as_ref(), TOPIC, positions).await.unwrap();
        assert_eq!(reached, expected, "{positions:?}");
    }
}

#[tokio::test]
async fn other_contracts_are_skipped_and_broken_objects_named() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let text = Contract::shipped_text("vm").unwrap();
    let other = text.replacen("tolerance = 10", "tolerance = 11", 1);
    let other = Contract::from_toml(&other).unwrap();
    assert_ne!(other.fingerprint(), vm().fingerprint());
    archived(
        &store,
        &other,
        0,
        &[vec![rollup("a", 0, 1.0), rollup("a", 1, 1.0)]],
    )
    .await;
    archived(
        &store,
        &vm(),
        1,
        &[vec![rollup("a", 5, 2.0)], vec![rollup("a", 6, 2.0)]],
    )
    .await;
    let window = read(&store, &Selection::default(), None).await;
    assert_eq!((window.rows, window.other_contract), (2, 2));
    assert!(window.broken.is_empty());
    let path = object_path(TOPIC, 1, 0);
    store
        .put(&path, PutPayload::from_static(b"PAR1 no PAR1"))
        .await
        .unwrap();
    let window = read(&store, &Selection::default(), None).await;
    assert_eq!(window.rows, 1);
    assert_eq!(window.broken.len(), 1);
    assert_eq!(window.broken[0].object, path.to_string());
}

#[tokio::test]
async fn the_archive_directory_is_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = crate::store::open(dir.path().to_str().unwrap())
        .unwrap()
        .store;
    archived(
        &store,
        &vm(),
        0,
        &[vec![rollup("a", 0, 1.0)], vec![rollup("a", 1, 2.0)]],
    )
    .await;
    let window = TrainingWindow::from_files(dir.path(), &vm(), &Selection::default()).unwrap();
    assert_eq!(
        (window.rows, cpu(&window.series[0])),
        (2, vec![Some(1.0), Some(2.0)])
    );
    assert!(window.ignored_columns.contains(&"kafka_offset".to_owned()));
}

type Raw = (&'static str, Option<i64>, f32);

fn from_raw(rows: &[Raw]) -> TrainingWindow {
    let dir = tempfile::tempdir().unwrap();
    let contract = vm();
    // Two files, read one after the other.
    for (name, rows) in ["1", "2"]
        .iter()
        .zip(rows.chunks(rows.len().div_ceil(2).max(1)))
    {
        let path = dir.path().join(format!("{name}.parquet"));
        let mut writer = RecordWriter::create(&path, &contract).unwrap();
        for &(server, timestamp_ms, cpu) in rows {
            let values = [Some(cpu), None, None, Some(1.0), None, None];
            let row = Row {
                server,
                timestamp_ms,
                profile: None,
                state: None,
                values: &values,
            };
            writer.write(&row).unwrap();
        }
        writer.finish().unwrap();
    }
    TrainingWindow::from_files(dir.path(), &contract, &Selection::default()).unwrap()
}

#[test]
fn raw_records_are_rolled_up() {
    let rows = [
        ("a", Some(T0), 10.0),
        ("a", Some(T0), 90.0), // a repeat: the first wins
        ("a", Some(T0 + STEP - 1), 20.0),
        ("a", Some(T0 + STEP), 104.0),     // clamped to 100
        ("a", Some(T0 + 3 * STEP), 111.0), // beyond the tolerance: a gap
        ("a", Some(T0 + 3 * STEP + 1), 30.0),
        ("b", None, 1.0),
        ("b", Some(0), 1.0),
        ("", Some(T0), 1.0),
    ];
    let window = from_raw(&rows);
    assert_eq!(window.series.len(), 1);
    let a = &window.series[0];
    assert_eq!(cpu(a), [Some(15.0), Some(100.0), None, Some(30.0)]);
    assert_eq!(a.values[3], 1.0);
    assert_eq!(a.start_ms, T0);
    let raw = window.raw;
    assert_eq!(
        (raw.consumed, raw.accepted, raw.duplicate, raw.rejected),
        (9, 5, 1, 3)
    );
    assert_eq!(
        window.gaps,
        BTreeMap::from([((0, GapReason::AboveMaximum), 1)])
    );
}

/// The same by the definition: group by server and bucket, first of equal times, mean.
fn expected(rows: &[Raw]) -> BTreeMap<(String, i64), f32> {
    let mut seen: HashMap<(&str, i64), f32> = HashMap::new();
    for &(server, time, value) in rows {
        seen.entry((server, time.unwrap())).or_insert(value);
    }
    let mut groups: BTreeMap<(String, i64), Vec<(i64, f64)>> = BTreeMap::new();
    for ((server, time), value) in seen {
        let key = (server.to_owned(), time - time.rem_euclid(STEP));
        groups
            .entry(key)
            .or_default()
            .push((time, f64::from(value)));
    }
    let mean = |values: Vec<(i64, f64)>| {
        (values.iter().map(|(_, v)| v).sum::<f64>() / values.len() as f64) as f32
    };
    groups
        .into_iter()
        .map(|(key, values)| (key, mean(values)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// In any order of rows, in or out of the order of time: the rollups are those of the definition.
    #[test]
    fn the_order_of_rows_in_files_changes_nothing(
        picks in proptest::collection::vec((0usize..3, 0i64..40, 0u8..100), 1..80),
        sort in any::<bool>(),
    ) {
        let mut rows: Vec<Raw> = picks
            .iter()
            .map(|&(server, slot, value)| {
                // Whole numbers: sums are exact in any order.
                (["x", "y", "z"][server], Some(T0 + slot * 70_000), f32::from(value))
            })
            .collect();
        if sort {
            rows.sort_by_key(|row| row.1);
        }
        let window = from_raw(&rows);
        let mut found = BTreeMap::new();
        for series in &window.series {
            for (step, value) in cpu(series).into_iter().enumerate() {
                if let Some(value) = value {
                    found.insert((series.server.clone(), series.start_ms + step as i64 * STEP), value);
                }
            }
        }
        prop_assert_eq!(found, expected(&rows));
        prop_assert_eq!(window.raw.late, 0);
        prop_assert!(window.raw.balanced());
    }
}

#[test]
fn rows_that_lie_years_apart_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let mut writer = RecordWriter::create(&path, &vm()).unwrap();
    for timestamp in [T0, T0 + 401 * 86_400_000] {
        let values = [Some(1.0); 6];
        let row = Row {
            server: "a",
            timestamp_ms: Some(timestamp),
            profile: None,
            state: None,
            values: &values,
        };
        writer.write(&row).unwrap();
    }
    writer.finish().unwrap();
    let error = TrainingWindow::from_files(&path, &vm(), &Selection::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a: rows span 401 days, at most 400 fit: narrow --from and --to or use --days"
    );
    let days = Selection {
        last_days: Some(30),
        ..Selection::default()
    };
    assert_eq!(
        TrainingWindow::from_files(&path, &vm(), &days)
            .unwrap()
            .rows,
        1
    );
}
