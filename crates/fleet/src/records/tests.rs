#![allow(clippy::unwrap_used)]

use super::*;
use arrow::array::{
    Float64Array, Int32Array, Int64Array, LargeStringArray, TimestampNanosecondArray,
};
use proptest::prelude::*;

fn row<'a>(server: &'a str, timestamp_ms: i64, values: &'a [Option<f32>]) -> Row<'a> {
    Row {
        server,
        timestamp_ms,
        profile: None,
        state: None,
        values,
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .unwrap()
}

#[test]
fn null_and_nan_stay_apart_on_the_way_through() {
    let mut records = Records::new(["a", "b"]);
    records.push(&row("s", 1, &[None, Some(f32::NAN)])).unwrap();
    records.push(&row("s", 2, &[Some(1.5), None])).unwrap();
    let through = records.to_batch(0..9).unwrap();
    let mut again = Records::new(["a", "b"]);
    assert_eq!(again.append(&through, |_, _| true).unwrap(), 0);
    let mut scratch = Vec::new();
    let values = again.row(0, &mut scratch).unwrap().values;
    assert!(values[0].is_none() && values[1].unwrap().is_nan());
    assert_eq!(
        again.row(1, &mut scratch).unwrap().values,
        [Some(1.5), None]
    );
    assert!(again.row(2, &mut scratch).is_none());
}

#[test]
fn other_types_and_columns_are_read() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "a",
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None])),
        ),
        ("ignored", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        (
            "server",
            Arc::new(LargeStringArray::from(vec![Some("x"), None, Some("y")])),
        ),
        (
            "timestamp",
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(-1),
                Some(0),
                Some(1_999_999),
            ])),
        ),
        (
            "state",
            Arc::new(StringArray::from(vec![None, None, Some("healthy")])),
        ),
        ("b", Arc::new(Int32Array::from(vec![7, 8, 9]))),
    ];
    let mut records = Records::new(["a", "b", "absent"]);
    assert_eq!(records.append(&batch(columns), |_, _| true).unwrap(), 1);
    let mut scratch = Vec::new();
    let first = records.row(0, &mut scratch).unwrap();
    assert_eq!(
        (first.server, first.timestamp_ms, first.state),
        ("x", -1, None)
    );
    assert_eq!(first.values, [Some(0.5), Some(7.0), None]);
    let second = records.row(1, &mut scratch).unwrap();
    assert_eq!(
        (second.server, second.timestamp_ms, second.state),
        ("y", 1, Some("healthy"))
    );
    assert_eq!(second.values, [None, Some(9.0), None]);
}

#[test]
fn batches_that_are_no_records_are_refused() {
    let servers: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let times: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let refused = |columns| {
        Records::new(["a"])
            .append(&batch(columns), |_, _| true)
            .unwrap_err()
    };
    let error = refused(vec![
        ("server", Arc::clone(&servers)),
        ("a", Arc::clone(&values)),
    ]);
    assert!(matches!(
        error,
        RecordsError::MissingColumn { name: "timestamp" }
    ));
    let error = refused(vec![
        ("timestamp", Arc::clone(&times)),
        ("a", Arc::clone(&values)),
    ]);
    assert!(matches!(
        error,
        RecordsError::MissingColumn { name: "server" }
    ));
    let error = refused(vec![
        ("timestamp", Arc::clone(&times)),
        ("server", Arc::clone(&servers)),
    ]);
    assert!(matches!(error, RecordsError::NoMetric { .. }));
    let both = || {
        vec![
            ("timestamp", Arc::clone(&times)),
            ("server", Arc::clone(&servers)),
        ]
    };
    let error = refused([both(), vec![("a", Arc::clone(&servers))]].concat());
    assert!(matches!(error, RecordsError::BadType { name, .. } if name == "a"));
    let error = refused(vec![
        ("timestamp", servers),
        ("server", times),
        ("a", values),
    ]);
    assert!(matches!(error, RecordsError::BadType { .. }));
}

#[test]
fn rows_of_another_width_are_refused() {
    let mut records = Records::new(["a"]);
    assert!(matches!(
        records.push(&row("s", 1, &[])),
        Err(RecordsError::BadWidth {
            found: 0,
            expected: 1
        })
    ));
    assert!(records.is_empty());
}

#[test]
fn labels_are_bounded() {
    let mut records = Records::new(["a"]);
    for n in 0..MAX_LABELS {
        let profile = n.to_string();
        records
            .push(&Row {
                profile: Some(&profile),
                ..row("s", 1, &[None])
            })
            .unwrap();
    }
    let refused = records.push(&Row {
        state: Some("one more"),
        ..row("s", 1, &[None])
    });
    assert!(matches!(refused, Err(RecordsError::TooMany { .. })));
    let mut scratch = Vec::new();
    assert_eq!(
        records.row(MAX_LABELS - 1, &mut scratch).unwrap().profile,
        Some("65534")
    );
}

proptest! {
    #[test]
    fn columns_remember_what_was_pushed(values in prop::collection::vec(prop::option::of(-9.0f32..9.0), 0..200)) {
        let mut column = Column::default();
        values.iter().for_each(|value| column.push(*value));
        let back: Vec<_> = (0..values.len()).map(|row| column.get(row)).collect();
        prop_assert_eq!(back, values);
    }
}
