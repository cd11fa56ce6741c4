//! Second stage: text to typed settings. All keys are looked at before anything is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::Contract;
use contract::topic::Topic;

use super::decision::{read_decision, read_quiet};
use super::keys::{self, PROPERTIES_PREFIX};
use super::raw::{Entry, Origin, Raw, Written};
use super::values;
use super::{
    ArchiveSettings, DriftSettings, ForecastSettings, KafkaSettings, LakeSettings, LogFormat,
    LogSettings, Property, RegistrySettings, RollupSettings, Settings, TelemetrySettings,
    TopicSettings, TrainSettings, Tuned,
};

/// Properties that only Forewarn may set, and what to use instead.
const RESERVED_PROPERTIES: [(&str, &str); 7] = [
    ("bootstrap.servers", "use kafka.brokers"),
    ("metadata.broker.list", "use kafka.brokers"),
    ("group.id", "each role has its own group"),
    ("group.instance.id", "use kafka.instance_id"),
    ("transactional.id", "use kafka.instance_id"),
    (
        "enable.auto.commit",
        "offsets are committed after the output they stand for",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed after the output they stand for",
    ),
];

/// The names of the training presets.
pub(super) const PRESETS: [&str; 4] = ["quick", "validate", "production", "incremental"];

/// Types every value.
///
/// # Errors
/// One line for each key that cannot be used, those of the first stage included.
pub(super) fn resolve(
    raw: Raw,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, Vec<String>> {
    let mut reader = Reader {
        entries: raw.entries,
        errors: raw.errors,
    };
    let settings = read_all(&mut reader, variable);
    match settings {
        Some(settings) if reader.errors.is_empty() => Ok(settings),
        _ => Err(reader.errors),
    }
}

/// `None` only where an error was noted. Every key is read before the first `?`.
fn read_all(r: &mut Reader, variable: &dyn Fn(&str) -> Option<String>) -> Option<Settings> {
    let contract_source = r.read("contract", |text| Ok(text.to_owned()));
    let contract = r.read("contract", read_contract);
    r.read("delivery", read_delivery);
    let kafka = read_kafka(r, variable);
    let prefix = r.read("topics.prefix", values::topic_prefix);
    let lake = r.read("lake.url", values::location);
    let registry = r.read("registry.url", values::location);
    let listen = r.read("telemetry.listen", |text| values::host_port(text, true));
    let rollup = read_rollup(r);
    let forecast = read_forecast(r);
    let archive = read_archive(r);
    let policy = r.read("drift.policy", read_policy);
    let calibration = r.read("drift.calibration", read_calibration);
    let fds = r.read("drift.fds", read_aggregate);
    let devices = r.read("model.device", read_devices);
    let train = read_train(r, devices.as_ref());
    let zone = contract.as_ref().map(|contract| contract.time_zone);
    let decision = read_decision(r, zone);
    let quiet = read_quiet(r);
    let log = read_log(r);
    Some(Settings {
        contract: Arc::new(contract?),
        contract_source: contract_source?,
        kafka: kafka?,
        topics: TopicSettings { prefix: prefix? },
        lake: LakeSettings { url: lake? },
        registry: RegistrySettings { url: registry? },
        telemetry: TelemetrySettings { listen: listen? },
        rollup: rollup?,
        forecast: forecast?,
        archive: archive?,
        drift: DriftSettings {
            policy: policy?,
            calibration: calibration?,
            fds: fds?,
        },
        devices: devices?,
        train: train?,
        decision: decision?,
        quiet: quiet?,
        log: log?,
        origins: r
            .entries
            .iter()
            .map(|(key, entry)| (key.clone(), entry.origin.clone()))
            .collect(),
    })
}

fn read_kafka(r: &mut Reader, variable: &dyn Fn(&str) -> Option<String>) -> Option<KafkaSettings> {
    let brokers = r.read("kafka.brokers", values::brokers);
    let instance_id = r.read_optional("kafka.instance_id", |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match text.chars().all(allowed) {
            true => Ok(text.to_owned()),
            false => Err("only letters, digits, '.', '_' and '-' are allowed".to_owned()),
        }
    });
    let schema_ids = r.read_optional("kafka.schema_ids", |text| {
        let ids = values::list(text).into_iter().map(|id| id.parse::<u32>());
        ids.collect::<Result<Vec<_>, _>>()
            .map_err(|_| "write ids as the registry shows them, like [7, 12]".to_owned())
    });
    let properties = r.read_properties(variable);
    Some(KafkaSettings {
        brokers: brokers?,
        properties,
        instance_id,
        schema_ids: schema_ids.unwrap_or_default(),
    })
}

fn read_rollup(r: &mut Reader) -> Option<RollupSettings> {
    let grace = r.read("rollup.grace", values::duration);
    let idle_after = r.read("rollup.idle_after", values::positive_duration);
    Some(RollupSettings {
        grace: grace?,
        idle_after: idle_after?,
    })
}

fn read_forecast(r: &mut Reader) -> Option<ForecastSettings> {
    let every = r.read("forecast.every", values::count);
    let batch = r.read("forecast.batch", |text| match values::count(text)? {
        batch if batch <= MAX_FORECAST_BATCH => Ok(batch as usize),
        _ => Err(format!("must be at most {MAX_FORECAST_BATCH}")),
    });
    let max_wait = r.read("forecast.max_wait", values::duration);
    Some(ForecastSettings {
        every: every?,
        batch: batch?,
        max_wait: max_wait?,
    })
}

/// A context of LINBORG is 16 KiB, so this many are 128 MiB of input beside the model's own.
const MAX_FORECAST_BATCH: u64 = 8_192;

fn read_archive(r: &mut Reader) -> Option<ArchiveSettings> {
    let topics = r.read("archive.topics", read_topics);
    let flush_rows = r.read("archive.flush_rows", values::count);
    let flush_bytes = r.read("archive.flush_bytes", values::size);
    let flush_age = r.read("archive.flush_age", values::positive_duration);
    Some(ArchiveSettings {
        topics: topics?,
        flush_rows: flush_rows?,
        flush_bytes: flush_bytes?,
        flush_age: flush_age?,
    })
}

/// Devices that are there: a name that is not must fail before anything starts.
fn read_devices(text: &str) -> Result<tft::Devices, String> {
    let devices: tft::Devices = text.parse().map_err(|_| {
        "not a device; write auto, cpu, libtorch, libtorch:cuda:N, cuda or cuda:N, or several with commas between them".to_owned()
    })?;
    devices.resolve().map_err(|e| e.to_string())?;
    Ok(devices)
}

/// Reads the file, so that one that is not there or not sound is found before anything starts.
fn read_tuned(text: &str) -> Result<Tuned, String> {
    let bytes = std::fs::read(text).map_err(|e| format!("cannot read {text}: {e}"))?;
    let found: tft::tune::Chosen = serde_json::from_slice(&bytes)
        .map_err(|e| format!("{text} is not what forewarn tune --out writes: {e}"))?;
    Ok(Tuned {
        path: PathBuf::from(text),
        settings: found.best,
    })
}

/// Half of the silence after which another worker takes a training over.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(1_800);

/// `devices` are those that train.
fn read_train(r: &mut Reader, devices: Option<&tft::Devices>) -> Option<TrainSettings> {
    let preset = r.read("train.preset", |text| one_of(text, &PRESETS));
    let days = r.read_optional("train.days", |text| match text.parse::<f64>() {
        Ok(days) if days.is_finite() && days > 0.0 => Ok(days),
        _ => Err("must be a number of days above 0".to_owned()),
    });
    let max_seconds = r.read_optional("train.max_seconds", values::seconds);
    let precision = r.read("train.precision", |text| {
        let precision: tft::Precision = text.parse()?;
        // Devices that are not there have a line of their own.
        if let Some(devices) = devices.and_then(|devices| devices.resolve().ok()) {
            precision.resolve(&devices).map_err(|e| e.to_string())?;
        }
        Ok(precision)
    });
    let tuned = r.read_optional("train.tuned", read_tuned);
    let checkpoints = r.read_optional("train.checkpoints", |text| Ok(PathBuf::from(text)));
    let checkpoint_every = r.read("train.checkpoint_every", values::positive_duration);
    let retry_after = r.read("train.retry_after", |text| match values::duration(text)? {
        after if after <= MAX_RETRY_AFTER => Ok(after),
        _ => Err("must be at most 30m: a worker silent for an hour loses its training".to_owned()),
    });
    Some(TrainSettings {
        preset: preset?,
        days,
        max_seconds,
        precision: precision?,
        tuned,
        checkpoints,
        checkpoint_every: checkpoint_every?,
        retry_after: retry_after?,
    })
}

fn read_log(r: &mut Reader) -> Option<LogSettings> {
    let level = r.read("log.level", |text| {
        match text.parse::<tracing_subscriber::EnvFilter>() {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!(
                "{error}; write error, warn, info, debug, trace or directives as in RUST_LOG"
            )),
        }
    });
    let format = r.read("log.format", |text| {
        match one_of(text, &["text", "json"])?.as_str() {
            "json" => Ok(LogFormat::Json),
            _ => Ok(LogFormat::Text),
        }
    });
    Some(LogSettings {
        level: level?,
        format: format?,
    })
}

fn read_contract(text: &str) -> Result<Contract, String> {
    if let Some(contract) = Contract::shipped(text) {
        return Ok(contract);
    }
    let file = std::fs::read_to_string(Path::new(text)).map_err(|error| {
        format!(
            "cannot be read: {error}; write a path to a .contract.toml or one of {}",
            Contract::SHIPPED.join(", ")
        )
    })?;
    Contract::from_toml(&file).map_err(|error| error.to_string())
}

fn read_delivery(text: &str) -> Result<(), String> {
    match text {
        "at_least_once" => Ok(()),
        "exactly_once" => Err("not there yet; write at_least_once".to_owned()),
        _ => Err("write at_least_once".to_owned()),
    }
}

pub(crate) fn read_policy(text: &str) -> Result<drift::Policy, String> {
    one_of(text, &["sla", "any-metric"]).map(|name| match name.as_str() {
        "any-metric" => drift::Policy::ANY_METRIC,
        _ => drift::Policy::SLA,
    })
}

pub(crate) fn read_calibration(text: &str) -> Result<drift::Calibration, String> {
    one_of(text, &["on", "raw"]).map(|name| match name.as_str() {
        "raw" => drift::Calibration::Raw,
        _ => drift::Calibration::On,
    })
}

fn read_aggregate(text: &str) -> Result<drift::Aggregate, String> {
    one_of(text, &["max", "mean", "sum"]).map(|name| match name.as_str() {
        "mean" => drift::Aggregate::Mean,
        "sum" => drift::Aggregate::Sum,
        _ => drift::Aggregate::Max,
    })
}

fn read_topics(text: &str) -> Result<Vec<Topic>, String> {
    let mut topics: Vec<Topic> = Vec::new();
    for name in values::list(text) {
        let known = Topic::ALL.iter().find(|topic| topic.short_name() == name);
        match known {
            Some(topic) if topics.contains(topic) => {
                return Err(format!("{name} is written twice"));
            }
            Some(topic) => topics.push(*topic),
            None => {
                let all = Topic::ALL.map(Topic::short_name).join(", ");
                return Err(format!("no topic {name}; there are {all}"));
            }
        }
    }
    if topics.is_empty() {
        return Err("no topic; leave the archive role out instead".to_owned());
    }
    Ok(topics)
}

pub(super) fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("write {}", choices.join(" or ")))
}

/// Reads entries by key and notes what is wrong with them.
pub(super) struct Reader {
    entries: BTreeMap<String, Entry>,
    errors: Vec<String>,
}

impl Reader {
    /// The value of a key, or its default's.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, origin) = self.text(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.errors
                    .push(format!("{key} = {text:?} ({origin}): {problem}"));
                None
            }
        }
    }

    /// Like `read`, for a key that may be left empty.
    pub(super) fn read_optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.text(key) {
            Some((text, _)) if !text.is_empty() => self.read(key, parse),
            _ => None,
        }
    }

    /// Notes what is wrong with the value of a key beside others.
    pub(super) fn refuse(&mut self, key: &'static str, problem: &str) {
        if let Some((text, origin)) = self.text(key) {
            self.errors
                .push(format!("{key} = {text:?} ({origin}): {problem}"));
        }
    }

    /// Whether a key has no value.
    pub(super) fn is_empty(&mut self, key: &'static str) -> bool {
        self.text(key).is_some_and(|(text, _)| text.is_empty())
    }

    fn text(&mut self, key: &'static str) -> Option<(String, Origin)> {
        match self.entries.get(key) {
            None => {
                let default = keys::find(key).map_or("", |key| key.default);
                Some((default.to_owned(), Origin::Default))
            }
            Some(Entry {
                value: Written::Text(text),
                origin,
            }) => Some((text.clone(), origin.clone())),
            // `raw` makes secrets of librdkafka's properties only.
            Some(_) => None,
        }
    }

    fn read_properties(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> BTreeMap<String, Property> {
        let mut properties = BTreeMap::new();
        for (key, entry) in &self.entries {
            let Some(name) = key.strip_prefix(PROPERTIES_PREFIX) else {
                continue;
            };
            if let Some((_, instead)) = RESERVED_PROPERTIES.iter().find(|(r, _)| *r == name) {
                let origin = &entry.origin;
                self.errors.push(format!(
                    "{key} ({origin}): set by Forewarn itself; {instead}"
                ));
                continue;
            }
            match read_property(name, &entry.value, variable) {
                Ok(property) => {
                    properties.insert(name.to_owned(), property);
                }
                Err(problem) => {
                    let origin = &entry.origin;
                    self.errors.push(format!("{key} ({origin}): {problem}"));
                }
            }
        }
        properties
    }
}

fn read_property(
    name: &str,
    value: &Written,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Property, String> {
    match value {
        Written::Text(text) => Ok(Property {
            value: text.clone(),
            secret: sounds_secret(name),
        }),
        Written::SecretFile(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(Property {
                value: text.trim_end_matches(['\r', '\n']).to_owned(),
                secret: true,
            }),
            Err(error) => Err(format!("file {path} cannot be read: {error}")),
        },
        Written::SecretEnv(name) => match variable(name) {
            Some(value) => Ok(Property {
                value,
                secret: true,
            }),
            None => Err(format!("the environment variable {name} is not set")),
        },
    }
}

/// Whether a property's name says that its value must not be printed. A file's place may be.
fn sounds_secret(name: &str) -> bool {
    const WORDS: [&str; 8] = [
        "password",
        "secret",
        "passphrase",
        "token",
        "key",
        "credential",
        "jaas",
        "oauthbearer.config",
    ];
    !name.ends_with(".location") && WORDS.iter().any(|word| name.contains(word))
}
