#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::datatypes::Int32Type;
use contract::Contract;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::training::{Selection, TrainingWindow};

const VM: [&str; 6] = [
    "cpu_used_pct",
    "mem_used_pct",
    "disk_read_mb_s",
    "disk_write_mb_s",
    "net_in_mb_s",
    "net_out_mb_s",
];

fn vm() -> Contract {
    Contract::shipped("vm").unwrap()
}

fn write_plain(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Columns for two rows, with the given time and server columns.
fn two_rows(time: ArrayRef, server: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let mut columns = vec![("timestamp", time), ("server", server)];
    for name in VM {
        columns.push((name, Arc::new(Float64Array::from(vec![Some(1.5), None]))));
    }
    columns
}

fn names() -> ArrayRef {
    Arc::new(StringArray::from(vec![Some("a"), None]))
}

fn millis() -> ArrayRef {
    Arc::new(Int64Array::from(vec![Some(1000), None]))
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.parquet");
    let contract = vm();
    let values = [
        Some(1.0),
        None,
        Some(f32::NAN),
        Some(-4.5),
        Some(0.0),
        Some(6.0),
    ];
    let mut writer = RecordWriter::create(&path, &contract).unwrap();
    // More rows than a row group holds, so that blocks and groups are crossed.
    let rows = 140_000;
    for index in 0..rows {
        let row = Row {
            server: if index % 2 == 0 { "even" } else { "odd" },
            timestamp_ms: Some(index * 5000),
            profile: (index % 3 == 0).then_some("vm"),
            state: None,
            values: &values,
        };
        writer.write(&row).unwrap();
    }
    assert!(!path.exists(), "the file appears when it is complete");
    assert_eq!(writer.finish().unwrap(), 140_000);
    let file = RecordFile::open(&path, &contract).unwrap();
    assert_eq!((file.kind(), file.num_rows()), (Kind::Raw, 140_000));
    assert!(file.ignored().is_empty());
    let mut index = 0;
    let mut buffer = Vec::new();
    for block in file.blocks().unwrap() {
        let block = block.unwrap();
        for at in 0..block.len() {
            let row = block.row(at, &mut buffer);
            assert_eq!(row.server, if index % 2 == 0 { "even" } else { "odd" });
            assert_eq!(row.timestamp_ms, Some(index * 5000));
            assert_eq!(row.profile, (index % 3 == 0).then_some("vm"));
            assert_eq!(row.state, None);
            assert_eq!(row.values[..2], [Some(1.0), None]);
            assert!(row.values[2].unwrap().is_nan(), "a NaN is no null");
            assert_eq!(row.values[3..], values[3..]);
            index += 1;
        }
    }
    assert_eq!(index, rows);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_says_that_its_records_are_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.parquet");
    let mut writer = RecordWriter::create(&path, &vm()).unwrap();
    writer.mark_simulated("simulate --seed 7");
    writer.finish().unwrap();
    let file = RecordFile::open(&path, &vm()).unwrap();
    assert_eq!(file.simulated_by(), Some("simulate --seed 7"));
    let read = |path| TrainingWindow::from_files(path, &vm(), &Selection::default()).unwrap();
    let window = read(&path);
    assert_eq!(window.simulated_by, ["simulate --seed 7"]);
    assert_eq!(window.unmarked_files, 0);
    let writer = RecordWriter::create(&dir.path().join("real.parquet"), &vm()).unwrap();
    writer.finish().unwrap();
    let window = read(dir.path());
    assert_eq!((window.simulated_by.len(), window.unmarked_files), (1, 1));
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writer = RecordWriter::create(&dir.path().join("x.parquet"), &vm()).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_empty_file_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.parquet");
    let writer = RecordWriter::create(&path, &vm()).unwrap();
    assert_eq!(writer.finish().unwrap(), 0);
    let file = RecordFile::open(&path, &vm()).unwrap();
    assert_eq!(file.num_rows(), 0);
    assert_eq!(file.simulated_by(), None);
    assert_eq!(file.blocks().unwrap().count(), 0);
    let plain = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    assert_eq!(plain.schema().fields().len(), 10);
}

#[track_caller]
fn check_time(time: ArrayRef, expected: [Option<i64>; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("time.parquet");
    write_plain(&path, two_rows(time, names()));
    let file = RecordFile::open(&path, &vm()).unwrap();
    let block = file.blocks().unwrap().next().unwrap().unwrap();
    let mut buffer = Vec::new();
    let times: Vec<Option<i64>> = (0..2)
        .map(|at| block.row(at, &mut buffer).timestamp_ms)
        .collect();
    assert_eq!(times, expected);
    let row = block.row(0, &mut buffer);
    assert_eq!(
        (row.server, row.profile, row.values),
        ("a", None, &[Some(1.5); 6][..])
    );
    let row = block.row(1, &mut buffer);
    assert_eq!((row.server, row.values), ("", &[None; 6][..]));
}

#[test]
fn any_time_unit_becomes_milliseconds() {
    check_time(millis(), [Some(1000), None]);
    let seconds = TimestampSecondArray::from(vec![Some(7), Some(i64::MAX)]);
    check_time(Arc::new(seconds), [Some(7000), Some(i64::MAX)]);
    let micros = TimestampMicrosecondArray::from(vec![Some(1999), Some(-1)]);
    check_time(Arc::new(micros.with_timezone("UTC")), [Some(1), Some(-1)]);
    let nanos = TimestampNanosecondArray::from(vec![Some(2_999_999), None]);
    check_time(Arc::new(nanos), [Some(2), None]);
}

#[test]
fn other_columns_are_named_and_other_types_converted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("types.parquet");
    let keys = Int32Array::from(vec![0, 0]);
    let server =
        DictionaryArray::<Int32Type>::new(keys, Arc::new(StringArray::from(vec!["vm0001"])));
    let mut columns = two_rows(millis(), Arc::new(server));
    columns[2].1 = Arc::new(Int32Array::from(vec![40, 41]));
    columns.push(("cpu_cores", Arc::new(Int32Array::from(vec![4, 4]))));
    columns.push(("contract", names()));
    write_plain(&path, columns);
    let file = RecordFile::open(&path, &vm()).unwrap();
    assert_eq!(file.ignored(), ["cpu_cores", "contract"]);
    let block = file.blocks().unwrap().next().unwrap().unwrap();
    let mut buffer = Vec::new();
    let row = block.row(1, &mut buffer);
    assert_eq!((row.server, row.values[0]), ("vm0001", Some(41.0)));
    assert_eq!(block.contract(0), None, "raw records are of no contract");
}

#[test]
fn rollups_are_told_by_their_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rollups.parquet");
    let mut columns = two_rows(millis(), names());
    columns.push(("num_records", Arc::new(Int32Array::from(vec![60, 59]))));
    columns.push(("contract", names()));
    write_plain(&path, columns);
    let file = RecordFile::open(&path, &vm()).unwrap();
    assert_eq!(file.kind(), Kind::Rollups);
    let block = file.blocks().unwrap().next().unwrap().unwrap();
    assert_eq!((block.contract(0), block.contract(1)), (Some("a"), None));
    assert_eq!(block.num_records(1), Some(59));
}

#[track_caller]
fn check_refused(columns: Vec<(&str, ArrayRef)>, says: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.parquet");
    write_plain(&path, columns);
    let error = RecordFile::open(&path, &vm()).unwrap_err().to_string();
    assert!(
        error.contains(says) && error.contains("bad.parquet"),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn wrong_columns_are_named() {
    let mut columns = two_rows(millis(), names());
    columns.remove(0);
    check_refused(
        columns,
        "contract vm needs the columns timestamp, found only server",
    );
    let mut columns = two_rows(millis(), names());
    columns.truncate(6);
    check_refused(columns, "needs the columns net_in_mb_s, net_out_mb_s");
    let numbers: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0]));
    check_refused(
        two_rows(millis(), Arc::clone(&numbers)),
        "column server is Float32, expected text",
    );
    check_refused(two_rows(numbers, names()), "column timestamp is Float32");
    let mut columns = two_rows(millis(), names());
    columns[4].1 = names();
    check_refused(columns, "column disk_read_mb_s is Utf8, expected a number");
}

#[test]
fn what_is_no_parquet_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.parquet");
    std::fs::write(&path, "timestamp,server\n1,a\n").unwrap();
    assert!(matches!(
        RecordFile::open(&path, &vm()),
        Err(RecordError::Parquet { .. })
    ));
    let none = RecordFile::open(&dir.path().join("none.parquet"), &vm());
    assert!(matches!(none, Err(RecordError::File { .. })));
    let empty = dir.path().join("sub");
    std::fs::create_dir(&empty).unwrap();
    assert!(matches!(
        parquet_files(&empty),
        Err(RecordError::Columns { .. })
    ));
    assert_eq!(
        parquet_files(dir.path()).unwrap(),
        std::slice::from_ref(&path)
    );
    assert_eq!(parquet_files(&path).unwrap(), [path]);
}
