//! Under which names and with which words the metrics are registered.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Float, Telemetry};
use crate::telemetry::process::Process;
use crate::telemetry::readiness::Readiness;

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// All metrics at zero, no role registered.
    pub(crate) fn new() -> Self {
        let mut telemetry = Self {
            registry: Registry::default(),
            readiness: Readiness::default(),
            records: Family::default(),
            rejected: Family::default(),
            gaps: Family::default(),
            produced: Family::default(),
            skipped: Family::default(),
            kafka_errors: Family::default(),
            group_lag: Family::default(),
            group_lag_seconds: Family::default(),
            position_lag: Family::default(),
            buckets: Family::default(),
            forecasts: Counter::default(),
            // 1 ms to 33 s: a batch of 512 servers must be far below 3 s.
            forecast_duration: Histogram::new((0..16).map(|n| 0.001 * f64::from(1 << n))),
            context_servers: Family::default(),
            model: Family::default(),
            reloads: Counter::default(),
            refusals: Family::default(),
            archive_objects: Family::default(),
            archive_rows: Family::default(),
            archive_bytes: Family::default(),
            archive_offset: Family::default(),
            drift_score: Float::default(),
            drift_status: Family::default(),
            drift_measure: Family::default(),
            drift_reports: Counter::default(),
            drift_missing_servers: Gauge::default(),
            drift_missing_partitions: Gauge::default(),
            decisions: Family::default(),
            training_progress: Float::default(),
            training_paused: Gauge::default(),
            training_failing: Gauge::default(),
            training_duration: Float::default(),
            trainings: Family::default(),
        };
        telemetry.registry = telemetry.register();
        telemetry
    }

    fn register(&self) -> Registry {
        let mut all = Registry::default();
        all.register_collector(Box::new(Process));
        let r = all.sub_registry_with_prefix("forewarn");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        r.register("build", "The program", Info::new(version));
        self.register_records(r);
        self.register_models(r);
        self.register_drift(r);
        let r = all.sub_registry_with_prefix("kafka_consumergroup");
        let help = "Records between the committed offset and the end";
        r.register("group_lag", help, self.group_lag.clone());
        let help = "Age of the oldest record that is not committed, seconds";
        r.register("group_lag_seconds", help, self.group_lag_seconds.clone());
        all
    }

    fn register_records(&self, r: &mut Registry) {
        r.register(
            "records",
            "Records read and what became of them",
            self.records.clone(),
        );
        r.register(
            "rejected_records",
            "Records that went to the dead letters, by reason",
            self.rejected.clone(),
        );
        r.register(
            "value_gaps",
            "Values that became gaps, by metric and reason",
            self.gaps.clone(),
        );
        r.register(
            "produced_records",
            "Records delivered",
            self.produced.clone(),
        );
        r.register(
            "skipped_records",
            "Records read and not used, by reason",
            self.skipped.clone(),
        );
        r.register(
            "kafka_errors",
            "Errors of the Kafka client",
            self.kafka_errors.clone(),
        );
        r.register(
            "position_lag_records",
            "Records between what was read and the end",
            self.position_lag.clone(),
        );
        r.register(
            "buckets_closed",
            "Five-minute buckets closed",
            self.buckets.clone(),
        );
        let objects = self.archive_objects.clone();
        r.register("archive_objects", "Archive objects written", objects);
        r.register(
            "archive_rows",
            "Rows in archive objects written",
            self.archive_rows.clone(),
        );
        r.register_with_unit(
            "archive",
            "Bytes of archive objects written",
            Unit::Bytes,
            self.archive_bytes.clone(),
        );
        r.register(
            "archive_next_offset",
            "First offset that is not archived yet",
            self.archive_offset.clone(),
        );
    }

    fn register_models(&self, r: &mut Registry) {
        r.register("forecasts", "Forecasts issued", self.forecasts.clone());
        r.register_with_unit(
            "forecast_duration",
            "Time that one batch of forecasts took",
            Unit::Seconds,
            self.forecast_duration.clone(),
        );
        r.register(
            "context_servers",
            "Servers whose last day is in memory",
            self.context_servers.clone(),
        );
        r.register(
            "model_info",
            "The model that is served; always 1",
            self.model.clone(),
        );
        r.register(
            "model_reloads",
            "Times that another model was swapped in",
            self.reloads.clone(),
        );
        r.register(
            "model_refusals",
            "Production models that did not load and are not served",
            self.refusals.clone(),
        );
        r.register_with_unit(
            "training_progress",
            "How much of the running training is done",
            Unit::Other("ratio".to_owned()),
            self.training_progress.clone(),
        );
        r.register(
            "training_paused",
            "1 while the running training stands still because the fleet is busy",
            self.training_paused.clone(),
        );
        r.register(
            "training_failing",
            "1 while no training has succeeded since one was given up or had too few data",
            self.training_failing.clone(),
        );
        r.register_with_unit(
            "training_duration",
            "How long the last training took",
            Unit::Seconds,
            self.training_duration.clone(),
        );
        r.register(
            "trainings",
            "Trainings ended, by outcome",
            self.trainings.clone(),
        );
    }

    fn register_drift(&self, r: &mut Registry) {
        r.register_with_unit(
            "drift_score",
            "Score of the last drift report",
            Unit::Other("ratio".to_owned()),
            self.drift_score.clone(),
        );
        r.register(
            "drift_status",
            "1 for the status of the last drift report",
            self.drift_status.clone(),
        );
        r.register(
            "drift_measure",
            "Measures of the last drift report",
            self.drift_measure.clone(),
        );
        r.register(
            "drift_reports",
            "Drift reports issued",
            self.drift_reports.clone(),
        );
        r.register(
            "drift_missing_servers",
            "Servers of the last day that are not in the last drift report's last bucket",
            self.drift_missing_servers.clone(),
        );
        r.register(
            "drift_missing_partitions",
            "Partitions of the last day that are not in the last drift report's last bucket",
            self.drift_missing_partitions.clone(),
        );
        r.register(
            "decisions",
            "Retraining decisions written, by verdict",
            self.decisions.clone(),
        );
    }
}
