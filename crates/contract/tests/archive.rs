//! Values of every topic as the columns that the archive keeps.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type, TimestampMillisecondType};
use contract::codec::{ArchiveColumns, Encoder, MetricRow, encode};
use contract::{Contract, Topic};
use fixtures::*;
use serde_json::json;

#[test]
fn predictions_become_columns_with_lists() {
    let mut columns = ArchiveColumns::new(Topic::Predictions, &vm()).unwrap();
    let value = encode(&prediction()).unwrap();
    // More than one part of the intermediate form, with nulls and refusals between.
    for row in 0..1000 {
        match row % 10 {
            3 => columns.push_null().unwrap(),
            7 => {
                assert!(columns.push(&value[..value.len() - 1]).is_err());
                columns.push_null().unwrap();
            }
            _ => columns.push(&value).unwrap(),
        }
    }
    assert_eq!(columns.len(), 1000);
    let batch = columns.finish().unwrap();
    assert_eq!(batch.schema(), columns.schema());
    assert_eq!(batch.num_rows(), 1000);
    for row in [3, 7, 993] {
        assert!(batch.columns().iter().all(|c| c.is_null(row)), "row {row}");
    }
    for row in [0, 999] {
        let issued_at = batch.column_by_name("issued_at").unwrap();
        let issued_at = issued_at.as_primitive::<TimestampMillisecondType>();
        assert_eq!(issued_at.value(row), 1_376_314_800_000);
        let forecasts = batch
            .column_by_name("forecasts")
            .unwrap()
            .as_list::<i32>()
            .value(row);
        let forecasts = forecasts.as_struct();
        assert_eq!(
            forecasts
                .column_by_name("metric")
                .unwrap()
                .as_string::<i32>()
                .value(0),
            "cpu_used_pct"
        );
        let p10 = forecasts
            .column_by_name("p10")
            .unwrap()
            .as_list::<i32>()
            .value(0);
        assert_eq!(p10.as_primitive::<Float32Type>().values(), &[0.1, 0.2]);
        let risks = batch
            .column_by_name("risks")
            .unwrap()
            .as_list::<i32>()
            .value(row);
        let crosses_at = risks
            .as_struct()
            .column_by_name("crosses_at")
            .unwrap()
            .clone();
        let crosses_at = crosses_at.as_primitive::<TimestampMillisecondType>();
        assert_eq!(crosses_at.value(0), 1_376_316_000_000);
        assert!(crosses_at.is_null(1));
    }
    assert!(columns.is_empty());
    assert_eq!(columns.finish().unwrap().num_rows(), 0);
}

#[test]
fn control_events_keep_their_payload_as_json() {
    let mut columns = ArchiveColumns::new(Topic::Control, &vm()).unwrap();
    for event in [decision(), training(), model_change()] {
        columns.push(&encode(&event).unwrap()).unwrap();
    }
    let batch = columns.finish().unwrap();
    let names: Vec<&str> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    assert_eq!(names, ["id", "type", "source", "time", "payload"]);
    let text = |name: &str, row| {
        batch
            .column_by_name(name)
            .unwrap()
            .as_string::<i32>()
            .value(row)
            .to_owned()
    };
    assert_eq!(text("type", 1), "forewarn.training.progress");
    let payload: serde_json::Value = serde_json::from_str(&text("payload", 2)).unwrap();
    assert_eq!(payload["version"], json!("m2"));
    let payload: serde_json::Value = serde_json::from_str(&text("payload", 0)).unwrap();
    assert_eq!(payload["windows"][0]["dss"], json!(0.2));
}

#[test]
fn reports_alerts_and_panes_become_columns() {
    let mut columns = ArchiveColumns::new(Topic::Drift, &vm()).unwrap();
    columns.push(&encode(&report()).unwrap()).unwrap();
    let batch = columns.finish().unwrap();
    let score = batch
        .column_by_name("score")
        .unwrap()
        .as_primitive::<Float64Type>();
    assert_eq!(score.value(0), 0.02);
    assert!(batch.column_by_name("accuracy").unwrap().is_null(0));

    let mut columns = ArchiveColumns::new(Topic::Alerts, &vm()).unwrap();
    columns.push(&encode(&alert()).unwrap()).unwrap();
    columns.push_null().unwrap();
    let batch = columns.finish().unwrap();
    let labels = batch.column_by_name("labels").unwrap().as_map();
    assert_eq!(labels.keys().as_string::<i32>().value(1), "profile");
    assert_eq!(labels.values().as_string::<i32>().value(1), "vm");
    assert!(labels.is_null(1));

    let mut columns = ArchiveColumns::new(Topic::DriftPanes, &vm()).unwrap();
    columns.push(&encode(&pane()).unwrap()).unwrap();
    let batch = columns.finish().unwrap();
    let cpu_load = batch.column_by_name("cpu_load").unwrap().as_struct();
    let total = cpu_load
        .column_by_name("total")
        .unwrap()
        .as_primitive::<Float64Type>();
    assert_eq!(total.value(0), -1.5);
    let position = batch
        .column_by_name("position")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert_eq!(position.value(0), 1 << 40);
}

#[test]
fn every_topic_has_archive_columns() {
    for name in Contract::SHIPPED {
        let contract = Contract::shipped(name).unwrap();
        for topic in Topic::ALL {
            let mut columns = ArchiveColumns::new(topic, &contract).unwrap();
            columns.push_null().unwrap();
            assert!(columns.push(b"garbage").is_err());
            let batch = columns.finish().unwrap();
            assert_eq!(batch.num_rows(), 1, "{name} {topic}");
            assert!(batch.columns().iter().all(|c| c.is_null(0)));
        }
    }
}

#[test]
fn metrics_are_archived_flat() {
    let mut columns = ArchiveColumns::new(Topic::Metrics, &vm()).unwrap();
    let row = MetricRow {
        server: "a",
        timestamp: 5,
        profile: None,
        state: None,
        values: &[Some(1.0); 6],
    };
    let mut value = Vec::new();
    Encoder::new(&vm())
        .unwrap()
        .encode_metric(&row, &mut value)
        .unwrap();
    columns.push(&value).unwrap();
    let batch = columns.finish().unwrap();
    let cpu = batch
        .column_by_name("cpu_used_pct")
        .unwrap()
        .as_primitive::<Float32Type>();
    assert_eq!(cpu.value(0), 1.0);
}
