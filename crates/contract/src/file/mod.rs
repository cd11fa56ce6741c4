//! The contract's file: TOML → [`Contract`], or one line that says what is wrong, where, and what to do.
//!
//! Unknown keys are refused, so that a misspelt threshold is not silently absent.

mod metrics;

use std::collections::BTreeSet;

use serde::Deserialize;

use metrics::{RawMetric, check_order, resolve_metrics};

pub use metrics::renamed_metric;

use crate::domain::{Contract, LoadMetrics, Metric, Profile, ThresholdOverride};

/// Why a contract file is refused. The text is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Not TOML, an unknown or missing key, or a value of another type.
    #[error("contract: {0}")]
    Syntax(String),
    /// A value that the contract cannot have.
    #[error("contract: {key}: {problem}")]
    Value {
        /// Which key, e.g. `metrics.cpu_user_pct.max`.
        key: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A metric name of the older format.
    #[error("contract: metrics.{old}: an older name that is no longer accepted; use {new} instead")]
    OldName {
        /// The name found.
        old: String,
        /// The names to use.
        new: &'static str,
    },
}

/// More metrics than this are a mistake; a row's memory and a model's size grow with them.
const MAX_METRICS: usize = 256;
/// States and profiles are stored as one byte in places.
const MAX_KINDS: usize = 255;
/// A day at one second, or a quarter at five minutes: beyond that a model's context is a mistake.
const MAX_STEPS: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContract {
    name: String,
    time_zone: String,
    step_seconds: u32,
    context_steps: usize,
    horizon_steps: usize,
    states: Vec<String>,
    default_profile: String,
    #[serde(default)]
    load: RawLoad,
    metrics: Vec<RawMetric>,
    profiles: Vec<RawProfile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLoad {
    cpu: Option<String>,
    memory: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    name: String,
    pattern: Option<String>,
    #[serde(default)]
    thresholds: Vec<RawThreshold>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawThreshold {
    metric: String,
    warning: Option<f32>,
    critical: Option<f32>,
}

fn value_error(key: impl Into<String>, problem: impl Into<String>) -> ContractError {
    ContractError::Value {
        key: key.into(),
        problem: problem.into(),
    }
}

impl Contract {
    /// Reads a contract file.
    ///
    /// # Errors
    /// One line that names the key, what was found and what was expected.
    pub fn from_toml(text: &str) -> Result<Contract, ContractError> {
        let raw: RawContract = toml::from_str(text).map_err(|e| syntax_error(text, &e))?;
        check_head(&raw)?;
        let time_zone = raw.time_zone.parse().map_err(|_| {
            value_error(
                "time_zone",
                format!(
                    "{:?} is not an IANA time zone such as \"Europe/Amsterdam\"",
                    raw.time_zone
                ),
            )
        })?;
        let metrics = resolve_metrics(raw.metrics)?;
        let profiles = resolve_profiles(raw.profiles, &metrics)?;
        let default_profile = profiles
            .iter()
            .position(|p| p.name == raw.default_profile)
            .ok_or_else(|| {
                value_error(
                    "default_profile",
                    format!("{:?} is none of the profiles", raw.default_profile),
                )
            })?;
        let load = LoadMetrics {
            cpu: resolve_load("load.cpu", raw.load.cpu, &metrics)?,
            memory: resolve_load("load.memory", raw.load.memory, &metrics)?,
        };
        let mut contract = Contract {
            name: raw.name,
            time_zone,
            step_seconds: raw.step_seconds,
            context_steps: raw.context_steps,
            horizon_steps: raw.horizon_steps,
            metrics,
            states: raw.states,
            profiles,
            default_profile,
            load,
            fingerprint: String::new(),
        };
        contract.fingerprint = contract.compute_fingerprint();
        Ok(contract)
    }
}

/// TOML's own message in one line, with the line it is about.
fn syntax_error(text: &str, error: &toml::de::Error) -> ContractError {
    let message = error.message().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            ContractError::Syntax(format!("line {line}: {message}"))
        }
        None => ContractError::Syntax(message),
    }
}

fn check_head(raw: &RawContract) -> Result<(), ContractError> {
    if !is_label(&raw.name) {
        return Err(value_error(
            "name",
            format!(
                "{:?}: expected lower-case letters, digits, '-' or '_'",
                raw.name
            ),
        ));
    }
    if raw.step_seconds == 0 || 86_400 % raw.step_seconds != 0 {
        return Err(value_error(
            "step_seconds",
            format!("{}: expected a divisor of a day (86400)", raw.step_seconds),
        ));
    }
    for (key, steps) in [
        ("context_steps", raw.context_steps),
        ("horizon_steps", raw.horizon_steps),
    ] {
        if steps == 0 || steps > MAX_STEPS {
            return Err(value_error(
                key,
                format!("{steps}: expected 1 to {MAX_STEPS}"),
            ));
        }
    }
    let states = raw.states.iter().map(String::as_str);
    check_names("states", states, MAX_KINDS)?;
    let profiles = raw.profiles.iter().map(|p| p.name.as_str());
    check_names("profiles", profiles, MAX_KINDS)?;
    let metrics = raw.metrics.iter().map(|m| m.name.as_str());
    check_names("metrics", metrics, MAX_METRICS)
}

/// Between one and `max` of them, each once, each a label.
fn check_names<'a>(
    key: &str,
    names: impl Iterator<Item = &'a str>,
    max: usize,
) -> Result<(), ContractError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !is_label(name) {
            return Err(value_error(
                key,
                format!("{name:?}: expected lower-case letters, digits, '-' or '_'"),
            ));
        }
        if !seen.insert(name) {
            return Err(value_error(key, format!("{name:?} is there twice")));
        }
    }
    if seen.is_empty() || seen.len() > max {
        return Err(value_error(
            key,
            format!("{} of them: expected 1 to {max}", seen.len()),
        ));
    }
    Ok(())
}

fn is_label(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(allowed)
}

fn resolve_profiles(
    raw: Vec<RawProfile>,
    metrics: &[Metric],
) -> Result<Vec<Profile>, ContractError> {
    let mut profiles = Vec::with_capacity(raw.len());
    for profile in raw {
        let key = format!("profiles.{}", profile.name);
        if profile
            .pattern
            .as_deref()
            .is_some_and(|p| p.is_empty() || p.len() > 249)
        {
            return Err(value_error(
                format!("{key}.pattern"),
                "expected 1 to 249 characters; '#' stands for one digit",
            ));
        }
        let mut thresholds = Vec::with_capacity(profile.thresholds.len());
        for raw in profile.thresholds {
            thresholds.push(resolve_threshold(&key, &raw, metrics)?);
        }
        profiles.push(Profile {
            name: profile.name,
            pattern: profile.pattern,
            thresholds,
        });
    }
    Ok(profiles)
}

fn resolve_threshold(
    profile_key: &str,
    raw: &RawThreshold,
    metrics: &[Metric],
) -> Result<ThresholdOverride, ContractError> {
    let key = format!("{profile_key}.thresholds.{}", raw.metric);
    let Some(index) = metrics.iter().position(|m| m.name == raw.metric) else {
        return Err(value_error(key, "not a metric of this contract"));
    };
    for number in [raw.warning, raw.critical].into_iter().flatten() {
        if !number.is_finite() {
            return Err(value_error(
                key,
                format!("{number}: expected a finite number"),
            ));
        }
    }
    let metric = &metrics[index];
    check_order(
        &key,
        raw.warning.or(metric.warning),
        raw.critical.or(metric.critical),
        metric.lower_is_worse,
    )?;
    Ok(ThresholdOverride {
        metric: index,
        warning: raw.warning,
        critical: raw.critical,
    })
}

fn resolve_load(
    key: &str,
    name: Option<String>,
    metrics: &[Metric],
) -> Result<Option<usize>, ContractError> {
    name.map(|name| {
        metrics
            .iter()
            .position(|m| m.name == name)
            .ok_or_else(|| value_error(key, format!("{name:?} is none of the metrics")))
    })
    .transpose()
}
