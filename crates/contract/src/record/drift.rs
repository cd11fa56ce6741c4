//! What `drift.panes` and `drift` hold. Fields that came after the first version have a serde default.

use serde::{Deserialize, Serialize};

use crate::fixed::Fixed;

/// What one partition saw of one profile in one bucket. Topic `drift.panes`.
///
/// Its identity is (`partition`, `profile`, `bucket`, `baseline`): a repeat replaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pane {
    /// Partition of `rollups` that it counts.
    pub partition: i32,
    /// The profile's name.
    pub profile: String,
    /// Start of the bucket.
    pub bucket: i64,
    /// The baseline whose edges the histograms use.
    pub baseline: String,
    /// The contract's fingerprint.
    pub contract: String,
    /// Offset in `rollups` after the last row counted.
    pub position: i64,
    /// Servers that had a row.
    pub servers: i32,
    /// Rows counted.
    pub rows: i64,
    /// The contract's CPU load metric.
    pub cpu_load: Sum,
    /// The contract's memory load metric.
    pub mem_load: Sum,
    /// One per metric.
    pub metrics: Vec<PaneMetric>,
    /// Servers that the baseline does not know.
    #[serde(default)]
    pub new_servers: i32,
    /// The first of them by name.
    #[serde(default)]
    pub new_names: Vec<String>,
    /// Panes of this partition and bucket, one of each profile that had a row; 0 where it is not told.
    #[serde(default)]
    pub num_panes: i32,
}

/// A number of values and their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub n: i64,
    /// Their sum.
    pub total: Fixed,
}

/// One metric of a [`Pane`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaneMetric {
    /// The metric's name.
    pub metric: String,
    /// Values counted.
    pub n: i64,
    /// Their sum.
    pub sum: Fixed,
    /// The sum of their squares.
    pub sum_sq: Fixed,
    /// Histogram over the baseline's inner edges: one count more than edges.
    pub counts: Vec<i64>,
    /// Values beyond three standard deviations of the baseline.
    pub outliers: i64,
    /// Forecast values looked at.
    pub forecasts: i64,
    /// Those outside of the metric's valid range.
    pub out_of_range: i64,
    /// Errors of forecasts whose time came in this bucket.
    pub errors: Vec<HorizonError>,
    /// The servers furthest from their own usual, the furthest first.
    #[serde(default)]
    pub furthest: Vec<ServerAway>,
    /// Servers that were held against their own usual.
    #[serde(default)]
    pub judged_servers: i32,
    /// Those of them that are further from it than three of their standard deviations.
    #[serde(default)]
    pub away_servers: i32,
}

/// A server that is far from its own usual, in one metric of a [`Pane`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerAway {
    /// The server's name.
    pub server: String,
    /// How far, in standard deviations of its own; negative below.
    pub sd: f64,
}

/// Error sums of one horizon and model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HorizonError {
    /// How far ahead the forecast was: 30, 60, 240 or 480 minutes.
    pub horizon_minutes: i32,
    /// The model that made it.
    pub model_version: String,
    /// Actuals above the metric's floor.
    pub relative_n: i64,
    /// Sum of |P50 − actual| / |actual| over them.
    pub relative_sum: Fixed,
    /// All actuals.
    pub abs_n: i64,
    /// Sum of |P50 − actual|.
    pub abs_sum: Fixed,
    /// Sum of |actual|.
    pub actual_sum: Fixed,
}

/// Is the world still what the model learnt? Topic `drift`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// End of the window.
    pub at: i64,
    /// The contract's fingerprint.
    pub contract: String,
    /// The model judged.
    pub model_version: String,
    /// The baseline it is judged against.
    pub baseline: String,
    /// `healthy`, `warning`, `urgent` or `critical`.
    pub status: String,
    /// The larger calibrated score of the windows.
    pub score: f64,
    /// Whether the policy calls it drift.
    pub alarm: bool,
    /// One per window, shortest first.
    pub windows: Vec<WindowMeasures>,
    /// One per profile and metric, over the longest window.
    pub metrics: Vec<MetricDrift>,
    /// Servers seen in the longest window.
    pub servers: i32,
    /// Rows in the longest window.
    pub rows: i64,
    /// Partitions without panes.
    pub missing_partitions: Vec<i32>,
    /// Servers that were there within the longest window and are missing from its last bucket.
    pub missing_servers: i32,
    /// How busy the fleet is, 0–1.
    pub load: Option<f64>,
    /// Mean of the contract's CPU metric over the last quarter of an hour.
    pub mean_cpu: Option<f64>,
    /// Mean of the contract's memory metric, likewise.
    pub mean_memory: Option<f64>,
    /// 1 − prediction error rate.
    pub accuracy: Option<f64>,
    /// Share of the judged metrics of profiles that drifted, 0–1.
    pub share_drifted: f64,
    /// Where the measures go.
    pub trends: Vec<Trend>,
    /// How much the verdict rests on, 0–1.
    pub confidence: f64,
    /// In words.
    pub recommendation: String,
    /// Positions in `rollups` that the report covers.
    pub positions: Vec<Position>,
    /// Servers that the baseline knows; 0 where it holds none, and then none is said to be new.
    #[serde(default)]
    pub known_servers: i32,
    /// Servers that were far from their own usual in at least half of the last hour, the furthest first; some of each profile and metric.
    #[serde(default)]
    pub server_drift: Vec<ServerDrift>,
    /// Servers of the last hour that the baseline does not know. They are not judged by themselves.
    #[serde(default)]
    pub new_servers: i32,
    /// Some of them, by name.
    #[serde(default)]
    pub new_names: Vec<String>,
}

/// A server that is far from its own usual in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerDrift {
    /// The server's name.
    pub server: String,
    /// Its profile.
    pub profile: String,
    /// The metric.
    pub metric: String,
    /// How far, in standard deviations of its own on quiet days; negative below. The mean over the panes that name it.
    pub size_sd: f64,
    /// Share of the last hour in which it was so, 0–1.
    pub share: f64,
}

/// Where a measure goes: now against an hour ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trend {
    /// `per`, `dss`, `fds` or `score`.
    pub measure: String,
    /// `increasing`, `stable` or `decreasing`.
    pub trend: String,
}

/// The measures of one window, raw and calibrated.
///
/// A calibrated measure says how far the evidence of a change goes towards what quiet days reach once in a stated time: at the alarm
/// level it is the threshold of its own (`per` 0.10, `dss` 0.20, `fds` 0.15, score 0.10).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowMeasures {
    /// Length of the window.
    pub minutes: i32,
    /// Rows in it.
    pub rows: i64,
    /// Prediction error rate; `None` before a forecast's time has come.
    pub per: Option<f64>,
    /// Sum of absolute errors over sum of absolute actuals.
    pub wape: Option<f64>,
    /// Distribution shift: mean two-sample KS statistic.
    pub dss: f64,
    /// Feature drift, scaled to 0–1.
    pub fds: f64,
    /// Feature drift in standard deviations: the largest distance of a metric of a profile.
    pub fds_z: f64,
    /// The mean of these distances.
    #[serde(default)]
    pub fds_z_mean: Option<f64>,
    /// Their sum.
    #[serde(default)]
    pub fds_z_sum: Option<f64>,
    /// Share of outliers and of forecasts out of range.
    pub anomaly_rate: f64,
    /// Weighted sum of the four.
    pub score: f64,
    /// Calibrated, from forecast errors.
    pub calibrated_per: f64,
    /// Calibrated, from the spread between servers.
    pub calibrated_dss: f64,
    /// Calibrated, from the mean over servers.
    pub calibrated_fds: f64,
    /// The strongest of the three, at the score's threshold.
    pub calibrated_score: f64,
}

/// Drift of one metric in one profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricDrift {
    /// The profile's name.
    pub profile: String,
    /// The metric's name.
    pub metric: String,
    /// Two-sample KS statistic.
    pub ks: f64,
    /// |mean − baseline mean| in baseline standard deviations.
    pub z: f64,
    /// Share of outliers and of forecasts out of range.
    pub anomaly_rate: f64,
    /// Prediction error rate.
    pub per: Option<f64>,
    /// Population stability index; `None` with too few values.
    pub psi: Option<f64>,
    /// p-value of the KS statistic as if the values were independent, which server metrics are not.
    pub ks_p: f64,
    /// p-value of the difference of means, likewise as if the values were independent.
    #[serde(default)]
    pub mean_p: Option<f64>,
    /// Persisting evidence of a change in units of the alarm level: an alarm above 1.
    pub strength: f64,
    /// What moved most: `mean`, `spread`, `error`, `new`; `no variation` where the baseline had none; empty where nothing was judged.
    pub signal: String,
    /// Size of the change in standard deviations of that signal on quiet days.
    pub size_sd: Option<f64>,
    /// When it began.
    pub since: Option<i64>,
    /// Share of its servers that were far from their own usual in the last hour; `None` where none is known.
    #[serde(default)]
    pub share_away: Option<f64>,
}

/// The next offset of a partition of `rollups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The next offset.
    pub offset: i64,
}
