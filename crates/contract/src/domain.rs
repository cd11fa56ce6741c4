//! The contract as the program uses it: metrics in model order, states, profiles, the grid.
//!
//! Invariants (held by [`Contract::from_toml`], the only way to make one): derived metrics come after the measured
//! ones and refer to earlier metrics only; names are unique and are Avro names; `default_profile` is an index of
//! `profiles`; there is at least one state.
//!
//! It is not the file format (`file.rs`), nor what happens to a bad value (`clean.rs`).

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// A domain's metrics and grid: what producers send, models learn and rules judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// The contract's name, also its folder under `schemas/`.
    pub name: String,
    /// Where "hour of day" and "weekend" are taken from.
    pub time_zone: chrono_tz::Tz,
    /// Length of a bucket of the grid, in seconds.
    pub step_seconds: u32,
    /// Buckets a model looks back on.
    pub context_steps: usize,
    /// Buckets a model forecasts.
    pub horizon_steps: usize,
    /// All metrics in model order; derived ones come last.
    pub metrics: Vec<Metric>,
    /// What a producer may say about a server's condition, in the order of their indices.
    pub states: Vec<String>,
    /// Kinds of servers, in the order of their indices.
    pub profiles: Vec<Profile>,
    /// Index of the profile of a server that no pattern matches.
    pub default_profile: usize,
    /// Which metrics tell how busy the fleet is.
    pub load: LoadMetrics,
    pub(crate) fingerprint: String,
}

/// One metric of the contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name: an Avro field, a column, a label.
    pub name: String,
    /// Its unit, for people.
    pub unit: String,
    /// Smallest valid value; anything below is a gap.
    pub min: Option<f32>,
    /// Largest valid value.
    pub max: Option<f32>,
    /// How far above `max` a value is clamped to it; beyond that it is a gap. In the metric's unit.
    pub tolerance: f32,
    /// How records become a bucket's value.
    pub rollup: RollupFn,
    /// Where a warning starts, for profiles that say nothing else.
    pub warning: Option<f32>,
    /// Where it becomes critical, for profiles that say nothing else.
    pub critical: Option<f32>,
    /// Whether small values are the bad ones (thresholds are crossed downwards).
    pub lower_is_worse: bool,
    /// Whether the metric only grows (uptime): it is not judged for drift.
    pub monotone: bool,
    /// Below this absolute actual value a relative error is not taken; `None`: the metric has no relative error.
    pub per_floor: Option<f32>,
    /// How it is computed, if it is not measured.
    pub derived: Option<Derived>,
    /// One line for people.
    pub meaning: String,
}

/// How the records of a bucket become its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollupFn {
    /// The mean of the values present.
    Mean,
    /// The last value present, by event time.
    Last,
}

impl RollupFn {
    /// The name in a contract file.
    pub fn as_str(self) -> &'static str {
        match self {
            RollupFn::Mean => "mean",
            RollupFn::Last => "last",
        }
    }
}

/// How a derived metric is computed from two earlier ones (indices of [`Contract::metrics`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// `left · right`
    Product {
        /// First factor.
        left: usize,
        /// Second factor.
        right: usize,
    },
    /// `numerator / denominator`
    Ratio {
        /// What is divided.
        numerator: usize,
        /// What it is divided by.
        denominator: usize,
    },
}

/// A kind of server.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What the names of such servers look like: literal, `#` stands for one digit. `None` matches nothing.
    pub pattern: Option<String>,
    /// Thresholds that differ from the metric's own.
    pub thresholds: Vec<ThresholdOverride>,
}

/// Thresholds of one metric for one profile.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdOverride {
    /// Index of the metric.
    pub metric: usize,
    /// Replaces [`Metric::warning`].
    pub warning: Option<f32>,
    /// Replaces [`Metric::critical`].
    pub critical: Option<f32>,
}

/// The metrics (indices) that the rule for quiet hours reads; both in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadMetrics {
    /// CPU in use.
    pub cpu: Option<usize>,
    /// Memory in use.
    pub memory: Option<usize>,
}

impl Contract {
    /// Names of the contracts that come with the program.
    pub const SHIPPED: [&'static str; 3] = ["linborg", "vm", "wafer-test"];

    /// Text of a shipped contract file.
    pub fn shipped_text(name: &str) -> Option<&'static str> {
        match name {
            "linborg" => Some(include_str!("../../../schemas/linborg.contract.toml")),
            "vm" => Some(include_str!("../../../schemas/vm.contract.toml")),
            "wafer-test" => Some(include_str!("../../../schemas/wafer-test.contract.toml")),
            _ => None,
        }
    }

    /// A contract that comes with the program.
    pub fn shipped(name: &str) -> Option<Contract> {
        Contract::from_toml(Contract::shipped_text(name)?).ok()
    }

    /// SHA-256 in 64 hex digits over everything that gives a number its meaning: metric names, order, units, valid
    /// ranges, tolerances, rollup functions, derivations, step, context and horizon. Thresholds and texts are left
    /// out, so that an alert threshold can change without a new model.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The first 16 digits of the fingerprint, for people.
    pub fn short_fingerprint(&self) -> &str {
        self.fingerprint.get(..16).unwrap_or(&self.fingerprint)
    }

    /// How many metrics there are, derived ones included.
    pub fn num_metrics(&self) -> usize {
        self.metrics.len()
    }

    /// The metrics that producers send: those that are not derived.
    pub fn raw_metrics(&self) -> &[Metric] {
        let num_raw = self.metrics.partition_point(|m| m.derived.is_none());
        &self.metrics[..num_raw]
    }

    /// Index of a metric by name.
    pub fn metric_index(&self, name: &str) -> Option<usize> {
        self.metrics.iter().position(|m| m.name == name)
    }

    /// Length of a bucket in milliseconds.
    pub fn step_ms(&self) -> i64 {
        i64::from(self.step_seconds) * 1000
    }

    /// Index of a server's profile: what the record says if the contract knows it, else the first profile whose
    /// pattern matches the server's name, else the default one.
    pub fn profile_of(&self, server: &str, said: Option<&str>) -> usize {
        let by_name = said.and_then(|name| self.profile_index(name));
        by_name
            .or_else(|| self.profiles.iter().position(|p| p.matches(server)))
            .unwrap_or(self.default_profile)
    }

    /// Index of a profile by name.
    pub fn profile_index(&self, name: &str) -> Option<usize> {
        self.profiles.iter().position(|p| p.name == name)
    }

    /// Index of a state by name.
    pub fn state_index(&self, name: &str) -> Option<usize> {
        self.states.iter().position(|s| s == name)
    }

    /// `(warning, critical)` of a metric for a profile; `(None, None)` for indices the contract does not have.
    pub fn thresholds(&self, metric: usize, profile: usize) -> (Option<f32>, Option<f32>) {
        let Some(own) = self.metrics.get(metric) else {
            return (None, None);
        };
        let special = self
            .profiles
            .get(profile)
            .and_then(|p| p.thresholds.iter().find(|t| t.metric == metric));
        match special {
            Some(t) => (t.warning.or(own.warning), t.critical.or(own.critical)),
            None => (own.warning, own.critical),
        }
    }

    /// The fingerprint's preimage: one line a fact, numbers as the shortest decimal that reads back the same.
    pub(crate) fn compute_fingerprint(&self) -> String {
        let mut text = format!(
            "step {}\ncontext {}\nhorizon {}\n",
            self.step_seconds, self.context_steps, self.horizon_steps
        );
        for metric in &self.metrics {
            let derived = match metric.derived {
                None => "measured".to_owned(),
                Some(Derived::Product { left, right }) => format!("product {left} {right}"),
                Some(Derived::Ratio {
                    numerator,
                    denominator,
                }) => format!("ratio {numerator} {denominator}"),
            };
            // {:?} quotes the unit, so that no text in it can pass for another field.
            let _ = writeln!(
                text,
                "metric {} {:?} {:?} {:?} {:?} {} {derived}",
                metric.name,
                metric.unit,
                metric.min,
                metric.max,
                metric.tolerance,
                metric.rollup.as_str(),
            );
        }
        let digest = Sha256::digest(text.as_bytes());
        digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl Profile {
    /// Whether a server's name fits the pattern.
    pub fn matches(&self, server: &str) -> bool {
        let Some(pattern) = self.pattern.as_deref() else {
            return false;
        };
        pattern.len() == server.len()
            && pattern.bytes().zip(server.bytes()).all(|(p, s)| {
                if p == b'#' {
                    s.is_ascii_digit()
                } else {
                    p == s
                }
            })
    }
}

/// A server's number, the same whatever the fleet: the first 8 hex digits of the SHA-256 of its name, modulo 1,000,000.
/// It collides in large fleets, so it is a model input only; keys are always names.
pub fn server_id(name: &str) -> u32 {
    let digest = Sha256::digest(name.as_bytes());
    let first = digest
        .iter()
        .take(4)
        .fold(0_u32, |id, byte| id << 8 | u32::from(*byte));
    first % 1_000_000
}
