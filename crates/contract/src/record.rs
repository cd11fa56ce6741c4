//! The records of the low-volume topics. Field names are the Avro field names; times are milliseconds since the epoch,
//! UTC.
//!
//! It is not the records of `metrics` and `rollups`: their fields follow the contract, see [`crate::codec`].

mod drift;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::drift::{
    DriftReport, HorizonError, MetricDrift, Pane, PaneMetric, Position, ServerAway, ServerDrift,
    Sum, Trend, WindowMeasures,
};

/// A forecast of one server, issued when a bucket closed. Topics `predictions` and `predictions.shadow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The server's name.
    pub server: String,
    /// End of the last context bucket; step k (1…) is the bucket that starts at `issued_at + (k−1)·step`.
    pub issued_at: i64,
    /// Length of a step.
    pub step_seconds: i32,
    /// The model that made it.
    pub model_version: String,
    /// The contract's fingerprint.
    pub contract: String,
    /// How many buckets of the context had a row.
    pub context_rows: i32,
    /// One per metric, in the contract's order.
    pub forecasts: Vec<MetricForecast>,
    /// Thresholds that may be crossed within the horizon.
    pub risks: Vec<Risk>,
}

/// Quantiles of one metric, one value a step, in the metric's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricForecast {
    /// The metric's name.
    pub metric: String,
    /// The 10 % quantile.
    pub p10: Vec<f32>,
    /// The median.
    pub p50: Vec<f32>,
    /// The 90 % quantile.
    pub p90: Vec<f32>,
}

/// How likely a threshold is crossed, by when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Risk {
    /// The metric's name.
    pub metric: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// The threshold, in the metric's unit.
    pub threshold: f32,
    /// Probability of crossing it within 30 minutes.
    pub p_30min: f32,
    /// … within one hour.
    pub p_1h: f32,
    /// … within four hours.
    pub p_4h: f32,
    /// … within eight hours.
    pub p_8h: f32,
    /// When the median crosses it, if it does.
    pub crosses_at: Option<i64>,
}

/// Something that was decided or that happened. Topic `control`; CloudEvents in binary mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlEvent {
    /// Unique; a repeat has the same.
    pub id: String,
    /// One of [`EVENT_TYPES`].
    #[serde(rename = "type")]
    pub event_type: String,
    /// Who says it.
    pub source: String,
    /// When.
    pub time: i64,
    /// What.
    pub payload: ControlPayload,
}

/// What a [`ControlEvent`] says; in Avro a union of three named records, told apart by the records' full names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ControlPayload {
    /// To train or not.
    #[serde(rename = "forewarn.Decision")]
    Decision(Decision),
    /// How a training goes.
    #[serde(rename = "forewarn.Training")]
    Training(Training),
    /// Another model is served, or not.
    #[serde(rename = "forewarn.ModelChange")]
    Model(ModelChange),
}

/// To train or not, why, and all that it rests on beside the events before it: whoever has the topic can decide again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether to train now.
    pub trigger: bool,
    /// In words.
    pub reason: String,
    /// 0–1.
    pub confidence: f64,
    /// When it will be quiet enough.
    pub wait_until: Option<i64>,
    /// `low`, `normal`, `high` or `critical`.
    pub priority: String,
    /// The drift score it rests on.
    pub score: f64,
    /// How busy the fleet is, 0–1.
    pub load: Option<f64>,
    /// Status of the drift report.
    pub status: String,
    /// `at` of the drift report.
    pub report_at: Option<i64>,
    /// The model judged.
    pub model_version: String,
    /// How far in `rollups` a training must read.
    pub positions: Vec<Position>,
    /// Whether a person asked.
    pub manual: bool,
    /// What asks for a training: `drift`, `schedule`, `age`, …; empty where nothing does.
    pub cause: String,
    /// The report's windows.
    pub windows: Vec<WindowMeasures>,
    /// Whether drift was detected.
    pub alarm: bool,
    /// 1 − prediction error rate.
    pub accuracy: Option<f64>,
    /// Share of metrics that drifted, 0–1.
    pub share_drifted: Option<f64>,
    /// Mean CPU of the fleet, per cent.
    pub mean_cpu: Option<f64>,
    /// Mean memory of the fleet, per cent.
    pub mean_memory: Option<f64>,
    /// What drives the drift, the strongest first.
    pub drivers: Vec<String>,
    /// Whether the person who asked overrides the safeguards.
    pub forced: bool,
}

/// How a training goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The decision it belongs to.
    pub job_id: String,
    /// Who trains.
    pub worker: String,
    /// Which preset.
    pub preset: String,
    /// Why: `drift`, `manual`, …
    pub trigger: String,
    /// The model, once it is there.
    pub version: Option<String>,
    /// 0–1.
    pub progress: Option<f64>,
    /// Epochs done; of a request, how many are asked for.
    pub epoch: Option<i32>,
    /// Loss on the training data.
    pub train_loss: Option<f64>,
    /// Loss on the data held out.
    pub val_loss: Option<f64>,
    /// In words.
    pub message: String,
    /// How long it took so far.
    pub seconds: Option<f64>,
}

/// Another model is served, or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelChange {
    /// The model.
    pub version: String,
    /// Its place relative to the registry.
    pub path: String,
    /// The contract's fingerprint.
    pub contract: String,
    /// The training it comes from.
    pub job_id: String,
    /// Its validation loss.
    pub val_loss: Option<f64>,
    /// The model served before.
    pub previous: Option<String>,
    /// In words.
    pub reason: String,
}

/// An alert, firing or (with `ends_at`) resolved. Topic `alerts`, keyed by `fingerprint`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for the same trouble.
    pub fingerprint: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// What kind of trouble.
    pub kind: String,
    /// The server, if it is about one.
    pub server: Option<String>,
    /// One line.
    pub summary: String,
    /// Why.
    pub explanation: String,
    /// For routing.
    pub labels: BTreeMap<String, String>,
    /// Since when.
    pub starts_at: i64,
    /// Until when, once it is over.
    pub ends_at: Option<i64>,
}

/// A decision was made.
pub const DECISION: &str = "forewarn.decision";
/// Somebody asked for a training.
pub const TRAINING_REQUESTED: &str = "forewarn.training.requested";
/// A worker took it.
pub const TRAINING_STARTED: &str = "forewarn.training.started";
/// It goes on.
pub const TRAINING_PROGRESS: &str = "forewarn.training.progress";
/// It stands still because the fleet is busy.
pub const TRAINING_PAUSED: &str = "forewarn.training.paused";
/// It goes on after a pause.
pub const TRAINING_RESUMED: &str = "forewarn.training.resumed";
/// It is done.
pub const TRAINING_COMPLETED: &str = "forewarn.training.completed";
/// It was given up after several tries.
pub const TRAINING_FAILED: &str = "forewarn.training.failed";
/// It was stopped.
pub const TRAINING_CANCELLED: &str = "forewarn.training.cancelled";
/// It was not begun for want of data, with the reason.
pub const TRAINING_REJECTED: &str = "forewarn.training.rejected";
/// A model is in the registry.
pub const MODEL_PUBLISHED: &str = "forewarn.model.published";
/// It is served.
pub const MODEL_PROMOTED: &str = "forewarn.model.promoted";
/// It did not pass.
pub const MODEL_REJECTED: &str = "forewarn.model.rejected";
/// An earlier one is served again.
pub const MODEL_ROLLED_BACK: &str = "forewarn.model.rolled_back";

/// All types of control events.
pub const EVENT_TYPES: [&str; 14] = [
    DECISION,
    TRAINING_REQUESTED,
    TRAINING_STARTED,
    TRAINING_PROGRESS,
    TRAINING_PAUSED,
    TRAINING_RESUMED,
    TRAINING_COMPLETED,
    TRAINING_FAILED,
    TRAINING_CANCELLED,
    TRAINING_REJECTED,
    MODEL_PUBLISHED,
    MODEL_PROMOTED,
    MODEL_REJECTED,
    MODEL_ROLLED_BACK,
];

impl ControlEvent {
    /// The CloudEvents attributes that travel as Kafka headers (binary mode), `ce_time` in RFC 3339. A time beyond the
    /// calendar is left as milliseconds.
    pub fn ce_headers(&self) -> [(&'static str, String); 5] {
        let time = chrono::DateTime::from_timestamp_millis(self.time).map_or_else(
            || self.time.to_string(),
            |t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        );
        [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", self.id.clone()),
            ("ce_type", self.event_type.clone()),
            ("ce_source", self.source.clone()),
            ("ce_time", time),
        ]
    }
}
