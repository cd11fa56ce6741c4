//! What each topic's values look like. The order of fields is the order on the wire; [`crate::record`] follows it.

use super::avro::{Field, Record, Type};
use crate::domain::{Contract, Metric};
use crate::topic::Topic;

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

pub(crate) fn drift_panes() -> Record {
    let sum = Record {
        name: "Sum",
        doc: "A number of values and their sum.",
        fields: vec![field("n", Type::Long, ""), fixed("total")],
    };
    let error = Record {
        name: "HorizonError",
        doc: "Error sums of one horizon and model.",
        fields: vec![
            field("horizon_minutes", Type::Int, "30, 60, 240 or 480"),
            field("model_version", Type::String, ""),
            field("relative_n", Type::Long, "actuals above the metric's floor"),
            fixed("relative_sum"),
            field("abs_n", Type::Long, "all actuals"),
            fixed("abs_sum"),
            fixed("actual_sum"),
        ],
    };
    let metric = Record {
        name: "PaneMetric",
        doc: "One metric of a pane.",
        fields: vec![
            field("metric", Type::String, ""),
            field("n", Type::Long, ""),
            fixed("sum"),
            fixed("sum_sq"),
            field(
                "counts",
                Type::Long.array(),
                "histogram over the baseline's inner edges",
            ),
            field(
                "outliers",
                Type::Long,
                "beyond 3 standard deviations of the baseline",
            ),
            field("forecasts", Type::Long, "forecast values looked at"),
            field(
                "out_of_range",
                Type::Long,
                "those outside of the metric's valid range",
            ),
            field("errors", Type::Record(error).array(), ""),
        ],
    };
    Record {
        name: "Pane",
        doc: "What one partition saw of one profile in one bucket. Sums are fixed point: 16 bytes, big-endian two's complement, in units of 2^-32.",
        fields: vec![
            field("partition", Type::Int, ""),
            field("profile", Type::String, ""),
            field("bucket", Type::Time, "start of the bucket"),
            field("baseline", Type::String, "whose edges the histograms use"),
            field("contract", Type::String, "fingerprint of the contract"),
            field(
                "position",
                Type::Long,
                "offset in rollups after the last row counted",
            ),
            field("servers", Type::Int, ""),
            field("rows", Type::Long, ""),
            field("cpu_load", Type::Record(sum.clone()), ""),
            field("mem_load", Type::Reference("Sum", sum), ""),
            field("metrics", Type::Record(metric).array(), ""),
        ],
    }
}

fn fixed(name: &str) -> Field {
    field(name, Type::Fixed, "")
}

fn position() -> Record {
    Record {
        name: "Position",
        doc: "The next offset of a partition of rollups.",
        fields: vec![
            field("partition", Type::Int, ""),
            field("offset", Type::Long, ""),
        ],
    }
}

fn window_measures() -> Record {
    let double = |name: &str, doc: &str| field(name, Type::Double, doc);
    Record {
        name: "WindowMeasures",
        doc: "The measures of one window, raw and calibrated.",
        fields: vec![
            field("minutes", Type::Int, ""),
            field("rows", Type::Long, ""),
            field("per", Type::Double.nullable(), "prediction error rate"),
            field(
                "wape",
                Type::Double.nullable(),
                "absolute errors over absolute actuals",
            ),
            double("dss", "distribution shift"),
            double("fds", "feature drift, 0 to 1"),
            double("fds_z", "feature drift in standard deviations"),
            double("anomaly_rate", ""),
            double("score", ""),
            double("calibrated_per", ""),
            double("calibrated_dss", ""),
            double("calibrated_fds", ""),
            double("calibrated_score", ""),
        ],
    }
}

pub(crate) fn drift() -> Record {
    let metric = Record {
        name: "MetricDrift",
        doc: "Drift of one metric in one profile, over the longest window.",
        fields: vec![
            field("profile", Type::String, ""),
            field("metric", Type::String, ""),
            field("ks", Type::Double, "two-sample KS statistic"),
            field(
                "z",
                Type::Double,
                "difference of means in standard deviations",
            ),
            field("anomaly_rate", Type::Double, ""),
            field("per", Type::Double.nullable(), "prediction error rate"),
            field("psi", Type::Double.nullable(), "population stability index"),
            field("ks_p", Type::Double, "p-value of ks for independent values"),
            field("strength", Type::Double, "evidence; an alarm above 1"),
            field(
                "signal",
                Type::String,
                "what moved: mean, spread, error or new",
            ),
            field(
                "size_sd",
                Type::Double.nullable(),
                "size of the change in standard deviations",
            ),
            field("since", Type::Time.nullable(), "when it began"),
        ],
    };
    let trend = Record {
        name: "Trend",
        doc: "Where a measure goes.",
        fields: vec![
            field("measure", Type::String, "per, dss, fds or score"),
            field("trend", Type::String, "increasing, stable or decreasing"),
        ],
    };
    Record {
        name: "DriftReport",
        doc: "Is the world still what the model learnt?",
        fields: vec![
            field("at", Type::Time, "end of the windows"),
            field("contract", Type::String, "fingerprint of the contract"),
            field("model_version", Type::String, ""),
            field("baseline", Type::String, ""),
            field(
                "status",
                Type::String,
                "healthy, warning, urgent or critical",
            ),
            field(
                "score",
                Type::Double,
                "the larger calibrated score of the windows",
            ),
            field("alarm", Type::Boolean, ""),
            field("windows", Type::Record(window_measures()).array(), ""),
            field("metrics", Type::Record(metric).array(), ""),
            field("servers", Type::Int, ""),
            field("rows", Type::Long, ""),
            field("missing_partitions", Type::Int.array(), ""),
            field("missing_servers", Type::Int, ""),
            field("load", Type::Double.nullable(), "0 to 1"),
            field(
                "mean_cpu",
                Type::Double.nullable(),
                "of the last 15 minutes",
            ),
            field(
                "mean_memory",
                Type::Double.nullable(),
                "of the last 15 minutes",
            ),
            field(
                "accuracy",
                Type::Double.nullable(),
                "1 - prediction error rate",
            ),
            field(
                "share_drifted",
                Type::Double,
                "of metrics of profiles, 0 to 1",
            ),
            field("trends", Type::Record(trend).array(), ""),
            field("confidence", Type::Double, "0 to 1"),
            field("recommendation", Type::String, "in words"),
            field("positions", Type::Record(position()).array(), ""),
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
