//! The metrics themselves: one registry, one typed door for each thing that is counted.
//!
//! Names are `forewarn_<noun>_<unit>[_total]` in base units. Label sets are bounded: roles,
//! topics, partitions, reasons and metrics of the contract; never a server's name. Lag also goes
//! by the names that existing dashboards query.

mod register;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::readiness::Readiness;

type Float = Gauge<f64, AtomicU64>;

macro_rules! labels {
    ($name:ident { $($field:ident: $type:ty),* }) => {
        #[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
        struct $name { $($field: $type),* }
    };
}

labels!(Records { role: &'static str, topic: String, partition: i32, outcome: &'static str });
labels!(Rejected { role: &'static str, topic: String, reason: String });
labels!(Gap { metric: String, reason: &'static str });
labels!(RoleTopic { role: &'static str, topic: String });
labels!(RoleReason { role: &'static str, reason: String });
labels!(OfRole { role: &'static str });
labels!(OfTopic { topic: String });
labels!(TopicPartition {
    topic: String,
    partition: i32
});
labels!(OfPartition { partition: i32 });
labels!(GroupPartition {
    group: String,
    topic: String,
    partition: i32
});
labels!(Model {
    version: String,
    contract: String
});
labels!(Status { status: &'static str });
labels!(Measure { window: String, measure: &'static str });
labels!(Verdict { verdict: &'static str });
labels!(Outcome { outcome: &'static str });

/// The statuses that a drift report can have.
const DRIFT_STATUSES: [&str; 4] = ["healthy", "warning", "urgent", "critical"];

/// Everything that the process counts, and its readiness.
#[derive(Debug)]
pub(crate) struct Telemetry {
    registry: Registry,
    readiness: Readiness,
    records: Family<Records, Counter>,
    rejected: Family<Rejected, Counter>,
    gaps: Family<Gap, Counter>,
    produced: Family<RoleTopic, Counter>,
    skipped: Family<RoleReason, Counter>,
    kafka_errors: Family<OfRole, Counter>,
    group_lag: Family<GroupPartition, Gauge>,
    group_lag_seconds: Family<GroupPartition, Float>,
    position_lag: Family<GroupPartition, Gauge>,
    buckets: Family<OfPartition, Counter>,
    forecasts: Counter,
    forecast_duration: Histogram,
    context_servers: Family<OfRole, Gauge>,
    model: Family<Model, Gauge>,
    reloads: Counter,
    refusals: Family<OfRole, Counter>,
    archive_objects: Family<OfTopic, Counter>,
    archive_rows: Family<OfTopic, Counter>,
    archive_bytes: Family<OfTopic, Counter>,
    archive_offset: Family<TopicPartition, Gauge>,
    drift_score: Float,
    drift_status: Family<Status, Gauge>,
    drift_measure: Family<Measure, Float>,
    drift_reports: Counter,
    drift_missing_servers: Gauge,
    drift_missing_partitions: Gauge,
    decisions: Family<Verdict, Counter>,
    training_progress: Float,
    training_paused: Gauge,
    training_failing: Gauge,
    training_duration: Float,
    trainings: Family<Outcome, Counter>,
}

/// Counters of one input partition, taken once and kept by the role's loop.
#[derive(Debug, Clone)]
pub(crate) struct RecordCounters {
    pub(crate) consumed: Counter,
    pub(crate) accepted: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) late: Counter,
    pub(crate) rejected: Counter,
    pub(crate) replayed: Counter,
}

/// How far a group is behind on one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupLag<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// Records between the committed offset and the end.
    pub(crate) committed: i64,
    /// Records between what was read and the end.
    pub(crate) position: i64,
    /// Age of the oldest record that is not committed, where it is known.
    pub(crate) committed_seconds: Option<f64>,
}

impl Telemetry {
    /// The text that `/metrics` answers.
    ///
    /// # Errors
    /// Where a metric does not encode.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// The latches of this process.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// The counters of one input partition.
    pub(crate) fn records(
        &self,
        role: &'static str,
        topic: &str,
        partition: i32,
    ) -> RecordCounters {
        let of = |outcome| {
            self.records.get_or_create_owned(&Records {
                role,
                topic: topic.to_owned(),
                partition,
                outcome,
            })
        };
        RecordCounters {
            consumed: of("consumed"),
            accepted: of("accepted"),
            duplicate: of("duplicate"),
            late: of("late"),
            rejected: of("rejected"),
            replayed: of("replayed"),
        }
    }

    /// A record went to the dead letters. `reason` must be one of a closed set.
    pub(crate) fn rejected(&self, role: &'static str, topic: &str, reason: &str) {
        let labels = Rejected {
            role,
            topic: topic.to_owned(),
            reason: reason.to_owned(),
        };
        self.rejected.get_or_create(&labels).inc();
    }

    /// Values of `metric` became gaps.
    pub(crate) fn value_gaps(&self, metric: &str, reason: &'static str, count: u64) {
        let labels = Gap {
            metric: metric.to_owned(),
            reason,
        };
        self.gaps.get_or_create(&labels).inc_by(count);
    }

    /// Records were delivered.
    pub(crate) fn produced(&self, role: &'static str, topic: &str, count: u64) {
        let labels = RoleTopic {
            role,
            topic: topic.to_owned(),
        };
        self.produced.get_or_create(&labels).inc_by(count);
    }

    /// Records were read and not used: another contract's, for example.
    pub(crate) fn skipped(&self, role: &'static str, reason: &str, count: u64) {
        let labels = RoleReason {
            role,
            reason: reason.to_owned(),
        };
        self.skipped.get_or_create(&labels).inc_by(count);
    }

    /// The Kafka client reported an error.
    pub(crate) fn kafka_error(&self, role: &'static str) {
        self.kafka_errors.get_or_create(&OfRole { role }).inc();
    }

    /// How far a group is behind.
    pub(crate) fn set_lag(&self, lag: GroupLag<'_>) {
        let labels = group_partition(lag.group, lag.topic, lag.partition);
        self.group_lag.get_or_create(&labels).set(lag.committed);
        self.position_lag.get_or_create(&labels).set(lag.position);
        if let Some(seconds) = lag.committed_seconds {
            self.group_lag_seconds.get_or_create(&labels).set(seconds);
        }
    }

    /// A partition is somebody else's now: its lag is theirs to say.
    pub(crate) fn forget_lag(&self, group: &str, topic: &str, partition: i32) {
        let labels = group_partition(group, topic, partition);
        self.group_lag.remove(&labels);
        self.group_lag_seconds.remove(&labels);
        self.position_lag.remove(&labels);
    }

    /// Buckets of a partition closed.
    pub(crate) fn buckets_closed(&self, partition: i32, count: u64) {
        let labels = OfPartition { partition };
        self.buckets.get_or_create(&labels).inc_by(count);
    }

    /// A batch of forecasts was issued.
    pub(crate) fn forecasts(&self, count: u64, took: Duration) {
        self.forecasts.inc_by(count);
        self.forecast_duration.observe(took.as_secs_f64());
    }

    /// Servers whose context a role holds.
    pub(crate) fn set_context_servers(&self, role: &'static str, servers: i64) {
        let labels = OfRole { role };
        self.context_servers.get_or_create(&labels).set(servers);
    }

    /// The model that is served from now on; the one before is no longer named.
    pub(crate) fn set_model(&self, version: &str, contract: &str) {
        self.model.clear();
        let labels = Model {
            version: version.to_owned(),
            contract: contract.to_owned(),
        };
        self.model.get_or_create(&labels).set(1);
    }

    /// Another model was swapped in while running.
    pub(crate) fn reloaded(&self) {
        self.reloads.inc();
    }

    /// The production model does not load; what was served before stays.
    pub(crate) fn model_refused(&self, role: &'static str) {
        self.refusals.get_or_create(&OfRole { role }).inc();
    }

    /// An archive object was written; `next_offset` is the first that is not archived yet.
    pub(crate) fn archived(
        &self,
        topic: &str,
        partition: i32,
        rows: u64,
        bytes: u64,
        next_offset: i64,
    ) {
        let of_topic = OfTopic {
            topic: topic.to_owned(),
        };
        self.archive_objects.get_or_create(&of_topic).inc();
        self.archive_rows.get_or_create(&of_topic).inc_by(rows);
        self.archive_bytes.get_or_create(&of_topic).inc_by(bytes);
        let labels = TopicPartition {
            topic: topic.to_owned(),
            partition,
        };
        self.archive_offset.get_or_create(&labels).set(next_offset);
    }

    /// A drift report was issued.
    pub(crate) fn drift_report(&self, score: f64, status: &str) {
        self.drift_reports.inc();
        self.drift_score.set(score);
        for known in DRIFT_STATUSES {
            self.drift_status
                .get_or_create(&Status { status: known })
                .set(i64::from(known == status));
        }
    }

    /// Who was there in the last day and is not in the last report's last bucket.
    pub(crate) fn set_drift_missing(&self, servers: i64, partitions: i64) {
        self.drift_missing_servers.set(servers);
        self.drift_missing_partitions.set(partitions);
    }

    /// One measure of the last report, as "1h" and "per".
    pub(crate) fn set_drift_measure(&self, window: &str, measure: &'static str, value: f64) {
        let labels = Measure {
            window: window.to_owned(),
            measure,
        };
        self.drift_measure.get_or_create(&labels).set(value);
    }

    /// A decision was written: "train", "wait" or "no".
    pub(crate) fn decision(&self, verdict: &'static str) {
        self.decisions.get_or_create(&Verdict { verdict }).inc();
    }

    /// How much of the running training is done, 0 to 1.
    pub(crate) fn set_training_progress(&self, share: f64) {
        self.training_progress.set(share);
    }

    /// Whether the running training stands still because the fleet is busy.
    pub(crate) fn set_training_paused(&self, paused: bool) {
        self.training_paused.set(i64::from(paused));
    }

    /// Whether a training was given up, or turned down for want of data, and none has succeeded since.
    pub(crate) fn set_training_failing(&self, failing: bool) {
        self.training_failing.set(i64::from(failing));
    }

    /// A try to train "failed", or a training ended: "completed", "rejected" by its gates, "skipped" for want of data,
    /// "cancelled", "left" at a checkpoint, or "given_up" after several tries.
    pub(crate) fn training_ended(&self, outcome: &'static str, took: Duration) {
        self.trainings.get_or_create(&Outcome { outcome }).inc();
        self.training_duration.set(took.as_secs_f64());
    }
}

fn group_partition(group: &str, topic: &str, partition: i32) -> GroupPartition {
    GroupPartition {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
    }

    #[test]
    fn names_are_those_that_dashboards_query() {
        let telemetry = Telemetry::new();
        let counters = telemetry.records("rollup", "forewarn.metrics", 3);
        counters.consumed.inc_by(5);
        counters.accepted.inc_by(4);
        telemetry.rejected("rollup", "forewarn.metrics", "malformed");
        telemetry.value_gaps("cpu_user_pct", "not_finite", 2);
        telemetry.produced("rollup", "forewarn.rollups", 7);
        telemetry.archived("forewarn.rollups", 1, 10, 2_000, 42);
        telemetry.set_model("v2", "abc");
        telemetry.set_model("v3", "abc");
        telemetry.reloaded();
        telemetry.model_refused("forecast");
        telemetry.drift_report(0.11, "urgent");
        telemetry.set_drift_missing(7, 1);
        telemetry.decision("train");
        telemetry.training_ended("given_up", Duration::from_secs(3));
        telemetry.set_training_failing(true);
        telemetry.forecasts(90, Duration::from_millis(3));
        telemetry.set_lag(GroupLag {
            group: "forewarn.rollup",
            topic: "forewarn.metrics",
            partition: 3,
            committed: 9,
            position: 4,
            committed_seconds: Some(1.5),
        });
        let text = telemetry.encode().unwrap();
        for line in [
            r#"forewarn_records_total{role="rollup",topic="forewarn.metrics",partition="3",outcome="accepted"} 4"#,
            r#"forewarn_rejected_records_total{role="rollup",topic="forewarn.metrics",reason="malformed"} 1"#,
            r#"forewarn_value_gaps_total{metric="cpu_user_pct",reason="not_finite"} 2"#,
            r#"forewarn_produced_records_total{role="rollup",topic="forewarn.rollups"} 7"#,
            r#"forewarn_archive_bytes_total{topic="forewarn.rollups"} 2000"#,
            r#"forewarn_archive_next_offset{topic="forewarn.rollups",partition="1"} 42"#,
            r#"forewarn_model_info{version="v3",contract="abc"} 1"#,
            "forewarn_model_reloads_total 1",
            r#"forewarn_model_refusals_total{role="forecast"} 1"#,
            "forewarn_drift_score_ratio 0.11",
            "forewarn_forecasts_total 90",
            "forewarn_forecast_duration_seconds_count 1",
            r#"forewarn_drift_status{status="urgent"} 1"#,
            "forewarn_drift_missing_servers 7",
            "forewarn_drift_missing_partitions 1",
            r#"forewarn_drift_status{status="healthy"} 0"#,
            r#"forewarn_decisions_total{verdict="train"} 1"#,
            r#"forewarn_trainings_total{outcome="given_up"} 1"#,
            "forewarn_training_duration_seconds 3.0",
            "forewarn_training_failing 1",
            "forewarn_training_paused 0",
            r#"kafka_consumergroup_group_lag{group="forewarn.rollup",topic="forewarn.metrics",partition="3"} 9"#,
            r#"kafka_consumergroup_group_lag_seconds{group="forewarn.rollup",topic="forewarn.metrics",partition="3"} 1.5"#,
        ] {
            check_line(&text, line);
        }
        assert!(!text.contains("v2"), "the model before is no longer named");
        if cfg!(target_os = "linux") {
            assert!(text.contains("process_resident_memory_bytes "), "{text}");
            assert!(text.contains("process_cpu_seconds_total "), "{text}");
        }
    }

    #[test]
    fn a_partition_given_away_has_no_lag_here() {
        let telemetry = Telemetry::new();
        telemetry.set_lag(GroupLag {
            group: "g",
            topic: "t",
            partition: 0,
            committed: 1,
            position: 1,
            committed_seconds: None,
        });
        telemetry.forget_lag("g", "t", 0);
        let text = telemetry.encode().unwrap();
        assert!(!text.contains(r#"group="g""#), "{text}");
    }
}
