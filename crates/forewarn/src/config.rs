//! Configuration in two stages: what the user wrote (`raw`) → what the program runs on
//! ([`Settings`]).
//!
//! `forewarn.toml` → environment (`FOREWARN__KAFKA__BROKERS`) → `--set`. Everything that can be
//! found wrong is found here, before anything starts; the refusal is one line. Paths are relative
//! to the working directory.
//!
//! It is not: a place for decisions. A default here is a number, what it does is said where it is
//! used.

mod decision;
mod keys;
mod print;
mod raw;
mod resolve;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::Contract;
use contract::topic::Topic;

use crate::refusal::Refusal;
use crate::roles::millis;
pub(crate) use resolve::{read_calibration, read_policy};
pub(crate) use values::{positive_duration, seconds};

/// The configuration file that is read where `--config` names none.
const DEFAULT_FILE: &str = "forewarn.toml";

/// What the program runs on: typed, checked, complete.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) contract: Arc<Contract>,
    pub(crate) kafka: KafkaSettings,
    pub(crate) topics: TopicSettings,
    pub(crate) lake: LakeSettings,
    pub(crate) registry: RegistrySettings,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) rollup: RollupSettings,
    pub(crate) forecast: ForecastSettings,
    pub(crate) archive: ArchiveSettings,
    pub(crate) drift: DriftSettings,
    /// Where the network runs: training on all, forecasts on the first.
    pub(crate) devices: tft::Devices,
    pub(crate) train: TrainSettings,
    pub(crate) decision: DecisionSettings,
    pub(crate) quiet: QuietSettings,
    pub(crate) log: LogSettings,
    /// How the contract was named: for `config check` and messages.
    pub(crate) contract_source: String,
    /// Where each key's value was written; a key that is not here has its default.
    origins: BTreeMap<String, raw::Origin>,
}

impl Settings {
    /// What decisions are made by.
    pub(crate) fn decision_settings(&self) -> policy::Settings {
        let decision = &self.decision;
        policy::Settings {
            triggers: decision.triggers.clone(),
            schedule: decision.schedule.clone(),
            min_between_ms: millis(decision.min_between),
            max_in_week: decision.max_in_week,
            force_after_ms: millis(decision.force_after),
            min_accuracy: decision.min_accuracy,
            max_share_drifted: decision.max_share_drifted,
            quiet: self.quiet.rule,
            max_load: self.quiet.max_load,
            zone: self.contract.time_zone,
            ..policy::Settings::default()
        }
    }
}

/// How to reach Kafka.
#[derive(Debug, Clone)]
pub(crate) struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub(crate) brokers: String,
    /// librdkafka's own names and values.
    pub(crate) properties: BTreeMap<String, Property>,
    /// Makes `group.instance.id` stable, so that a restarted process fences its predecessor.
    pub(crate) instance_id: Option<String>,
    /// Confluent schema ids that stand for the contract's schema of `metrics`.
    pub(crate) schema_ids: Vec<u32>,
}

impl KafkaSettings {
    /// Names and values as librdkafka takes them, secrets in clear.
    pub(crate) fn plain_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties
            .iter()
            .map(|(name, property)| (name.as_str(), property.value.as_str()))
    }
}

/// A value for librdkafka. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) value: String,
    /// Never printed: its name says so, or it was given by file or variable.
    pub(crate) secret: bool,
}

/// What is printed in a secret's place.
const MASK: &str = "********";

impl Property {
    /// One that may be shown.
    pub(crate) fn plain(value: &str) -> Property {
        Property {
            value: value.to_owned(),
            secret: false,
        }
    }

    fn shown(&self) -> &str {
        if self.secret { MASK } else { &self.value }
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

/// How topics are named.
#[derive(Debug, Clone)]
pub(crate) struct TopicSettings {
    pub(crate) prefix: String,
}

/// Where the archive is kept.
#[derive(Debug, Clone)]
pub(crate) struct LakeSettings {
    pub(crate) url: String,
}

/// Where models are kept.
#[derive(Debug, Clone)]
pub(crate) struct RegistrySettings {
    pub(crate) url: String,
}

/// Where `/metrics`, `/healthz` and `/readyz` are served.
#[derive(Debug, Clone)]
pub(crate) struct TelemetrySettings {
    pub(crate) listen: String,
}

/// The rollup's times.
#[derive(Debug, Clone)]
pub(crate) struct RollupSettings {
    pub(crate) grace: Duration,
    pub(crate) idle_after: Duration,
}

/// When forecasts are issued and how they are batched.
#[derive(Debug, Clone)]
pub(crate) struct ForecastSettings {
    /// Closed buckets of a server from one forecast to the next.
    pub(crate) every: u64,
    /// Servers in one call of the model.
    pub(crate) batch: usize,
    /// How long a batch may wait to fill.
    pub(crate) max_wait: Duration,
}

/// What the archive keeps and when it writes an object.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveSettings {
    pub(crate) topics: Vec<Topic>,
    pub(crate) flush_rows: u64,
    pub(crate) flush_bytes: u64,
    pub(crate) flush_age: Duration,
}

/// How drift is judged.
#[derive(Debug, Clone)]
pub(crate) struct DriftSettings {
    pub(crate) policy: drift::Policy,
    /// Whether the policy is held against calibrated values.
    pub(crate) calibration: drift::Calibration,
    /// How the metrics' distances become the raw feature drift.
    pub(crate) fds: drift::Aggregate,
}

/// What a training that a decision started does.
#[derive(Debug, Clone)]
pub(crate) struct TrainSettings {
    pub(crate) preset: String,
    /// The preset's where not set.
    pub(crate) days: Option<f64>,
    /// The preset's where not set.
    pub(crate) max_seconds: Option<f64>,
    /// What a training computes in.
    pub(crate) precision: tft::Precision,
    /// Without it sizes and learning rate are the defaults.
    pub(crate) tuned: Option<Tuned>,
    /// Directory of the train role's checkpoints; without it there are none.
    pub(crate) checkpoints: Option<PathBuf>,
    pub(crate) checkpoint_every: Duration,
    /// From a try that failed to the next one.
    pub(crate) retry_after: Duration,
}

/// What a search found.
#[derive(Debug, Clone)]
pub(crate) struct Tuned {
    pub(crate) path: PathBuf,
    pub(crate) settings: tft::tune::Settings,
}

impl TrainSettings {
    /// The network of a model that is trained anew.
    pub(crate) fn network(&self) -> tft::TftConfig {
        let tuned = self.tuned.as_ref();
        tuned.map_or_else(tft::TftConfig::default, |tuned| tuned.settings.network)
    }

    /// Sets what the configuration says for each preset: the precision and, unless the training goes on from a model, the learning
    /// rate that was found.
    pub(crate) fn tune(&self, config: &mut tft::TrainConfig) {
        config.precision = self.precision;
        let anew = config.preset != tft::Preset::Incremental;
        if let Some(tuned) = self.tuned.as_ref().filter(|_| anew) {
            config.learning_rate = tuned.settings.learning_rate;
        }
    }
}

/// When a training may be decided.
#[derive(Debug, Clone)]
pub(crate) struct DecisionSettings {
    pub(crate) min_between: Duration,
    pub(crate) triggers: policy::Triggers,
    /// Without it none is due by the clock.
    pub(crate) schedule: Option<policy::Schedule>,
    /// As it was written; the schedule has the zone that holds.
    pub(crate) time_zone: Option<chrono_tz::Tz>,
    pub(crate) max_in_week: usize,
    pub(crate) force_after: Duration,
    pub(crate) min_accuracy: f64,
    pub(crate) max_share_drifted: f64,
}

/// What counts as quiet.
#[derive(Debug, Clone)]
pub(crate) struct QuietSettings {
    pub(crate) rule: policy::QuietRule,
    /// Load, from 0 to 1, below which a training may start.
    pub(crate) max_load: f64,
}

/// What is logged and how.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    /// Directives as in `RUST_LOG`.
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Readable lines, in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where configuration comes from: the arguments and the environment.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// `--set`, in order.
    pub(crate) set: Vec<String>,
    /// The process's variables.
    pub(crate) env: Vec<(String, String)>,
}

/// Reads, merges and checks everything.
///
/// # Errors
/// One line that names each key that was refused, what was found and what was expected.
pub(crate) fn load(sources: &Sources) -> Result<Settings, Refusal> {
    let mut raw = raw::Raw::default();
    if let Some((name, text)) = read_file(sources.file.as_deref())? {
        raw.add_file(&name, &text);
    }
    raw.add_env(sources.env.iter().cloned());
    for written in &sources.set {
        raw.add_flag(written);
    }
    let variable = |name: &str| {
        let mut variables = sources.env.iter();
        variables.find(|(n, _)| n == name).map(|(_, v)| v.clone())
    };
    resolve::resolve(raw, &variable).map_err(|errors| Refusal::new(errors.join("; also: ")))
}

fn read_file(named: Option<&Path>) -> Result<Option<(String, String)>, Refusal> {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refusal::new(format!(
            "--config {}: cannot be read: {error}; expected a TOML file",
            path.display()
        ))),
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
