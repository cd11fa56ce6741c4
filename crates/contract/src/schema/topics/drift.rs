//! `drift.panes` and `drift`.

use super::field;
use crate::schema::avro::{Field, Record, Type};

/// A field that readers of earlier values take as empty or zero.
fn added(since: u8, name: &str, kind: Type, doc: &str) -> Field {
    Field {
        since,
        ..field(name, kind, doc)
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
    let away = Record {
        name: "ServerAway",
        doc: "A server that is far from its own usual.",
        fields: vec![
            field("server", Type::String, ""),
            field(
                "sd",
                Type::Double,
                "how far, in its own standard deviations; negative below",
            ),
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
            added(
                1,
                "furthest",
                Type::Record(away).array(),
                "servers furthest from their own usual, 3 at most",
            ),
            added(
                1,
                "judged_servers",
                Type::Int,
                "servers held against their own usual",
            ),
            added(
                1,
                "away_servers",
                Type::Int,
                "those beyond 3 of their standard deviations",
            ),
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
            added(
                1,
                "new_servers",
                Type::Int,
                "servers that the baseline does not know",
            ),
            added(
                1,
                "new_names",
                Type::String.array(),
                "the first of them by name, 3 at most",
            ),
            added(
                1,
                "num_panes",
                Type::Int,
                "panes of this partition and bucket; 0: not told",
            ),
        ],
    }
}

fn fixed(name: &str) -> Field {
    field(name, Type::Fixed, "")
}

pub(super) fn position() -> Record {
    Record {
        name: "Position",
        doc: "The next offset of a partition of rollups.",
        fields: vec![
            field("partition", Type::Int, ""),
            field("offset", Type::Long, ""),
        ],
    }
}

pub(super) fn window_measures() -> Record {
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
            double("fds_z", "feature drift in standard deviations, the largest"),
            added(2, "fds_z_mean", Type::Double.nullable(), "their mean"),
            added(2, "fds_z_sum", Type::Double.nullable(), "their sum"),
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
            added(
                2,
                "mean_p",
                Type::Double.nullable(),
                "p-value of the difference of means for independent values",
            ),
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
            added(
                1,
                "share_away",
                Type::Double.nullable(),
                "of its servers, far from their own usual in the last hour",
            ),
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
    let server = Record {
        name: "ServerDrift",
        doc: "A server that is far from its own usual.",
        fields: vec![
            field("server", Type::String, ""),
            field("profile", Type::String, ""),
            field("metric", Type::String, ""),
            field(
                "size_sd",
                Type::Double,
                "how far, in its own standard deviations; negative below",
            ),
            field("share", Type::Double, "of the last hour, 0 to 1"),
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
            added(
                1,
                "known_servers",
                Type::Int,
                "servers that the baseline knows; 0: it holds none",
            ),
            added(
                1,
                "server_drift",
                Type::Record(server).array(),
                "servers that were far from their own usual in half of the last hour, the furthest first",
            ),
            added(
                1,
                "new_servers",
                Type::Int,
                "servers of the last hour that the baseline does not know",
            ),
            added(1, "new_names", Type::String.array(), "some of them"),
        ],
    }
}
