//! What the model needs to know of a contract, resolved once.
//!
//! The rest of this crate works with this small struct, so that one file says which parts of a contract
//! shape a model. It is not: the contract's validation (crate `contract`).

use chrono_tz::Tz;
use contract::Contract;

/// The parts of a contract that shape the model's inputs and outputs.
#[derive(Debug, Clone)]
pub struct Domain {
    /// Names of the metrics, in model order.
    pub metrics: Vec<String>,
    /// Valid range of each metric; forecasts are clamped to it.
    pub ranges: Vec<(f32, f32)>,
    /// Length of a bucket, ms.
    pub step_ms: i64,
    /// Buckets of context before a forecast.
    pub context: usize,
    /// Buckets that are forecast.
    pub horizon: usize,
    /// Number of server profiles.
    pub profiles: usize,
    /// Their names, in the contract's order.
    pub profile_names: Vec<String>,
    /// Number of server states.
    pub states: usize,
    /// Zone in which hours and weekdays are counted.
    pub time_zone: Tz,
    /// Fingerprint of the contract, 64 hex digits.
    pub fingerprint: String,
}

impl Domain {
    /// Resolves `contract`.
    #[must_use]
    pub fn of(contract: &Contract) -> Self {
        Self {
            metrics: contract.metrics.iter().map(|m| m.name.clone()).collect(),
            ranges: contract
                .metrics
                .iter()
                .map(|m| (m.min.unwrap_or(f32::MIN), m.max.unwrap_or(f32::MAX)))
                .collect(),
            step_ms: i64::from(contract.step_seconds) * 1000,
            context: contract.context_steps,
            horizon: contract.horizon_steps,
            profiles: contract.profiles.len(),
            profile_names: contract.profiles.iter().map(|p| p.name.clone()).collect(),
            states: contract.states.len(),
            time_zone: contract.time_zone,
            fingerprint: contract.fingerprint().to_owned(),
        }
    }

    /// Number of metrics.
    #[must_use]
    pub fn num_metrics(&self) -> usize {
        self.metrics.len()
    }

    /// Buckets of one hour, at least 1.
    #[must_use]
    pub fn hour(&self) -> usize {
        usize::try_from(3_600_000 / self.step_ms.max(1))
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// Buckets of one day: the reach of "yesterday" and of "the last 24 hours".
    #[must_use]
    pub fn day(&self) -> usize {
        usize::try_from(86_400_000 / self.step_ms.max(1)).unwrap_or(usize::MAX)
    }
}
