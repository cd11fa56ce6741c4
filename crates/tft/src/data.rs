//! What goes in: dense series of cleaned rollups, and the context of one forecast.
//!
//! A gap is NaN everywhere; any other value that is not finite is taken as a gap too, so that an infinite value in a
//! training file cannot spoil a weight. Values are raw, in the metric's unit: normalisation is the model's.

/// Rollups of one server on a dense grid.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Name of the server.
    pub server: String,
    /// Index of its profile in the contract.
    pub profile: usize,
    /// Start of the first bucket, ms.
    pub start_ms: i64,
    /// `[steps × metrics]`, row by row; NaN is a gap.
    pub values: Vec<f32>,
    /// State of each step as an index into the contract's states; any larger number means unknown. Without it every state is unknown.
    pub states: Option<Vec<u8>>,
}

/// The series of a fleet, all on the same step.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// One entry per server; no server occurs twice.
    pub series: Vec<Series>,
}

/// The recent past of one server, from which its forecast is made.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Name of the server: only its hash is used.
    pub server: String,
    /// Index of its profile in the contract.
    pub profile: usize,
    /// End of the last context bucket, which is the start of the first forecast one, ms.
    pub end_ms: i64,
    /// `[rows × metrics]`, row by row, oldest first; NaN is a gap. Fewer rows than the contract's context are padded on the left, of more the
    /// last ones are taken.
    pub values: Vec<f32>,
    /// State of each row, as in [`Series::states`].
    pub states: Option<Vec<u8>>,
}

/// A forecast of one server in raw units, each `[horizon × metrics]`, row by row, with `p10 ≤ p50 ≤ p90` inside the metric's
/// valid range.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The value that the actual one stays above with probability 0.9.
    pub p10: Vec<f32>,
    /// The median.
    pub p50: Vec<f32>,
    /// The value that the actual one stays below with probability 0.9.
    pub p90: Vec<f32>,
}

/// One server's series, metric by metric, as windows are cut from it.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) id: u32,
    pub(crate) profile: usize,
    pub(crate) start_ms: i64,
    pub(crate) steps: usize,
    /// `[metrics][steps]`.
    values: Vec<f32>,
    pub(crate) states: Option<Vec<u8>>,
}

impl Columns {
    /// Turns rows into columns; `None` when the values are no whole number of rows.
    pub(crate) fn of(series: &Series, num_metrics: usize) -> Option<Self> {
        if num_metrics == 0 || !series.values.len().is_multiple_of(num_metrics) {
            return None;
        }
        let steps = series.values.len() / num_metrics;
        if series.states.as_ref().is_some_and(|s| s.len() != steps) {
            return None;
        }
        let mut values = vec![f32::NAN; series.values.len()];
        for (step, row) in series.values.chunks_exact(num_metrics).enumerate() {
            for (metric, &value) in row.iter().enumerate() {
                if value.is_finite() {
                    values[metric * steps + step] = value;
                }
            }
        }
        Some(Self {
            id: contract::server_id(&series.server),
            profile: series.profile,
            start_ms: series.start_ms,
            steps,
            values,
            states: series.states.clone(),
        })
    }

    /// All steps of one metric.
    pub(crate) fn metric(&self, metric: usize) -> &[f32] {
        &self.values[metric * self.steps..(metric + 1) * self.steps]
    }

    /// All steps of all metrics.
    pub(crate) fn all(&self) -> &[f32] {
        &self.values
    }
}
