//! What each topic's values look like. The order of fields is the order on the wire; [`crate::record`] follows it.

mod drift;

use super::avro::{Field, Record, Type};
use crate::domain::{Contract, Metric};
use crate::topic::Topic;

pub(crate) use self::drift::{drift, drift_panes};
use self::drift::{position, window_measures};

/// The schema of a topic's values.
pub(crate) fn record_of(topic: Topic, contract: &Contract) -> Record {
    match topic {
        Topic::Metrics | Topic::MetricsDlq => server_metrics(contract),
        Topic::Rollups => rollups(contract),
        Topic::Predictions | Topic::PredictionsShadow => predictions(),
        Topic::DriftPanes => drift_panes(),
        Topic::Drift => drift(),
        Topic::Alerts => alerts(),
        Topic::Control => control(),
    }
}

fn field(name: &str, kind: Type, doc: &str) -> Field {
    Field {
        name: name.to_owned(),
        kind,
        doc: doc.to_owned(),
        since: 0,
    }
}

fn metric_field(metric: &Metric) -> Field {
    let doc = if metric.unit.is_empty() {
        metric.meaning.clone()
    } else {
        format!("{}; {}", metric.meaning, metric.unit)
    };
    field(&metric.name, Type::Float.nullable(), &doc)
}

fn server_metrics(contract: &Contract) -> Record {
    let mut fields = vec![
        field(
            "server",
            Type::String,
            "the server's name; also the record's key",
        ),
        field("timestamp", Type::Time, "when it was measured"),
        field(
            "profile",
            Type::String.nullable(),
            "kind of server; null: taken from its name",
        ),
        field(
            "state",
            Type::String.nullable(),
            "condition, as the producer sees it",
        ),
    ];
    fields.extend(contract.raw_metrics().iter().map(metric_field));
    Record {
        name: "ServerMetrics",
        doc: "What one server measured at one time. A null is a gap, not an error.",
        fields,
    }
}

fn rollups(contract: &Contract) -> Record {
    let mut fields = vec![
        field(
            "server",
            Type::String,
            "the server's name; also the record's key",
        ),
        field("timestamp", Type::Time, "start of the bucket"),
        field("profile", Type::String, "kind of server"),
        field("state", Type::String.nullable(), "last condition"),
        field(
            "num_records",
            Type::Int,
            "records accepted, whatever their gaps",
        ),
    ];
    fields.extend(contract.metrics.iter().map(metric_field));
    fields.push(field(
        "contract",
        Type::String,
        "fingerprint of the contract",
    ));
    Record {
        name: "Rollup",
        doc: "One server in one bucket. A null is a gap.",
        fields,
    }
}

pub(crate) fn predictions() -> Record {
    let quantiles = || Type::Float.array();
    let forecast = Record {
        name: "MetricForecast",
        doc: "Quantiles of one metric, one value a step.",
        fields: vec![
            field("metric", Type::String, ""),
            field("p10", quantiles(), ""),
            field("p50", quantiles(), ""),
            field("p90", quantiles(), ""),
        ],
    };
    let risk = Record {
        name: "Risk",
        doc: "How likely a threshold is crossed, by when.",
        fields: vec![
            field("metric", Type::String, ""),
            field("severity", Type::String, "warning or critical"),
            field("threshold", Type::Float, "in the metric's unit"),
            field("p_30min", Type::Float, "probability within 30 minutes"),
            field("p_1h", Type::Float, "… within 1 hour"),
            field("p_4h", Type::Float, "… within 4 hours"),
            field("p_8h", Type::Float, "… within 8 hours"),
            field(
                "crosses_at",
                Type::Time.nullable(),
                "when the median crosses it",
            ),
        ],
    };
    Record {
        name: "Prediction",
        doc: "A forecast of one server. Step k (1, 2, …) is the bucket that starts at issued_at + (k - 1) steps.",
        fields: vec![
            field(
                "server",
                Type::String,
                "the server's name; also the record's key",
            ),
            field("issued_at", Type::Time, "end of the last context bucket"),
            field("step_seconds", Type::Int, ""),
            field("model_version", Type::String, ""),
            field("contract", Type::String, "fingerprint of the contract"),
            field(
                "context_rows",
                Type::Int,
                "buckets of the context that had a row",
            ),
            field(
                "forecasts",
                Type::Record(forecast).array(),
                "one per metric, in the contract's order",
            ),
            field("risks", Type::Record(risk).array(), ""),
        ],
    }
}

fn decision() -> Record {
    Record {
        name: "Decision",
        doc: "To train or not, and why.",
        fields: vec![
            field("trigger", Type::Boolean, ""),
            field("reason", Type::String, "in words"),
            field("confidence", Type::Double, "0 to 1"),
            field("wait_until", Type::Time.nullable(), ""),
            field("priority", Type::String, "low, normal, high or critical"),
            field("score", Type::Double, ""),
            field("load", Type::Double.nullable(), "0 to 1"),
            field("status", Type::String, "of the drift report"),
            field("report_at", Type::Time.nullable(), "of the drift report"),
            field("model_version", Type::String, ""),
            field(
                "positions",
                Type::Record(position()).array(),
                "how far a training must read",
            ),
            field("manual", Type::Boolean, ""),
            field(
                "cause",
                Type::String,
                "drift, schedule, age, manual, performance, share or event",
            ),
            field("windows", Type::Record(window_measures()).array(), ""),
            field("alarm", Type::Boolean, "whether drift was detected"),
            field("accuracy", Type::Double.nullable(), "1 - PER"),
            field("share_drifted", Type::Double.nullable(), "0 to 1"),
            field("mean_cpu", Type::Double.nullable(), "per cent"),
            field("mean_memory", Type::Double.nullable(), "per cent"),
            field("drivers", Type::String.array(), "the strongest first"),
            field("forced", Type::Boolean, "safeguards overridden"),
        ],
    }
}

pub(crate) fn control() -> Record {
    let nullable = |name: &str, kind: Type| field(name, kind.nullable(), "");
    let training = Record {
        name: "Training",
        doc: "How a training goes.",
        fields: vec![
            field("job_id", Type::String, ""),
            field("worker", Type::String, ""),
            field("preset", Type::String, ""),
            field("trigger", Type::String, ""),
            nullable("version", Type::String),
            nullable("progress", Type::Double),
            nullable("epoch", Type::Int),
            nullable("train_loss", Type::Double),
            nullable("val_loss", Type::Double),
            field("message", Type::String, "in words"),
            nullable("seconds", Type::Double),
        ],
    };
    let model = Record {
        name: "ModelChange",
        doc: "Another model is served, or not.",
        fields: vec![
            field("version", Type::String, ""),
            field("path", Type::String, "relative to the registry"),
            field("contract", Type::String, "fingerprint of the contract"),
            field("job_id", Type::String, ""),
            nullable("val_loss", Type::Double),
            nullable("previous", Type::String),
            field("reason", Type::String, "in words"),
        ],
    };
    Record {
        name: "ControlEvent",
        doc: "Something that was decided or that happened; the CloudEvents attributes are in the headers too.",
        fields: vec![
            field("id", Type::String, "a repeat has the same"),
            field(
                "type",
                Type::String,
                "forewarn.decision, forewarn.training.started, …",
            ),
            field("source", Type::String, ""),
            field("time", Type::Time, ""),
            field(
                "payload",
                Type::Union(vec![decision(), training, model]),
                "",
            ),
        ],
    }
}

pub(crate) fn alerts() -> Record {
    Record {
        name: "Alert",
        doc: "An alert, firing or (with ends_at) resolved.",
        fields: vec![
            field("fingerprint", Type::String, "also the record's key"),
            field("severity", Type::String, "info, warning or critical"),
            field("kind", Type::String, ""),
            field("server", Type::String.nullable(), ""),
            field("summary", Type::String, ""),
            field("explanation", Type::String, ""),
            field("labels", Type::Map(Box::new(Type::String)), ""),
            field("starts_at", Type::Time, ""),
            field("ends_at", Type::Time.nullable(), ""),
        ],
    }
}
