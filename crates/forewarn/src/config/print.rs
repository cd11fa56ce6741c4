//! The resolved configuration as a file that reads back, with secrets masked.

use std::fmt::Write as _;

use toml::Value;

use super::keys::{self, PROPERTIES_PREFIX};
use super::raw::Origin;
use super::values::{show_duration, show_size};
use super::{LogFormat, Settings};

impl Settings {
    /// TOML, section by section; behind each value where it was written.
    pub(crate) fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in keys::KEYS {
            let (in_section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if in_section != section {
                if section == "kafka" {
                    self.write_properties(&mut out);
                }
                section = in_section;
                let _ = write!(out, "\n[{section}]\n");
            }
            let _ = match self.value(key.name) {
                Some(value) => writeln!(out, "{name} = {value} # {}", self.origin(key.name)),
                None => writeln!(out, "# {name}: not set; {}", key.help),
            };
        }
        out
    }

    fn write_properties(&self, out: &mut String) {
        if self.kafka.properties.is_empty() {
            return;
        }
        out.push_str("\n[kafka.properties]\n");
        for (name, property) in &self.kafka.properties {
            let value = Value::String(property.shown().to_owned());
            let origin = self.origin(&format!("{PROPERTIES_PREFIX}{name}"));
            let _ = writeln!(out, "{} = {value} # {origin}", Value::String(name.clone()));
        }
    }

    /// The same as one flat object: dotted key → value, null where nothing is set.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        for key in keys::KEYS {
            let value = self
                .value(key.name)
                .and_then(|value| serde_json::to_value(value).ok());
            object.insert(key.name.to_owned(), value.unwrap_or_default());
        }
        for (name, property) in &self.kafka.properties {
            object.insert(
                format!("{PROPERTIES_PREFIX}{name}"),
                property.shown().into(),
            );
        }
        serde_json::Value::Object(object)
    }

    /// Whether nobody wrote this key.
    pub(crate) fn is_default(&self, key: &str) -> bool {
        !self.origins.contains_key(key)
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// What a key resolved to; `None` where it is not set.
    fn value(&self, key: &str) -> Option<Value> {
        let text = |text: &str| Some(Value::String(text.to_owned()));
        let time = |duration| Some(Value::String(show_duration(duration)));
        let number = |number: u64| Some(Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
        match key {
            "contract" => text(&self.contract_source),
            "delivery" => text("at_least_once"),
            "kafka.brokers" => text(&self.kafka.brokers),
            "kafka.instance_id" => self.kafka.instance_id.as_deref().and_then(text),
            "kafka.schema_ids" => (!self.kafka.schema_ids.is_empty()).then(|| {
                let ids = self.kafka.schema_ids.iter();
                Value::Array(ids.map(|id| Value::Integer(i64::from(*id))).collect())
            }),
            "topics.prefix" => text(&self.topics.prefix),
            "lake.url" => text(&self.lake.url),
            "registry.url" => text(&self.registry.url),
            "telemetry.listen" => text(&self.telemetry.listen),
            "rollup.grace" => time(self.rollup.grace),
            "rollup.idle_after" => time(self.rollup.idle_after),
            "forecast.every" => number(self.forecast.every),
            "forecast.batch" => number(self.forecast.batch as u64),
            "forecast.max_wait" => time(self.forecast.max_wait),
            "archive.topics" => Some(Value::Array(
                self.archive
                    .topics
                    .iter()
                    .map(|topic| Value::String(topic.short_name().to_owned()))
                    .collect(),
            )),
            "archive.flush_rows" => number(self.archive.flush_rows),
            "archive.flush_bytes" => text(&show_size(self.archive.flush_bytes)),
            "archive.flush_age" => time(self.archive.flush_age),
            "drift.policy" if self.drift.policy == drift::Policy::SLA => text("sla"),
            "drift.policy" => text("any-metric"),
            "drift.calibration" => match self.drift.calibration {
                drift::Calibration::On => text("on"),
                drift::Calibration::Raw => text("raw"),
            },
            "drift.fds" => match self.drift.fds {
                drift::Aggregate::Max => text("max"),
                drift::Aggregate::Mean => text("mean"),
                drift::Aggregate::Sum => text("sum"),
            },
            "model.device" => text(&self.devices.to_string()),
            "train.preset" => text(&self.train.preset),
            "train.days" => self.train.days.map(Value::Float),
            "train.max_seconds" => self.train.max_seconds.map(Value::Float),
            "train.precision" => text(&self.train.precision.to_string()),
            "train.tuned" => {
                let tuned = self.train.tuned.as_ref();
                tuned.map(|tuned| Value::String(tuned.path.display().to_string()))
            }
            "train.checkpoints" => {
                let path = self.train.checkpoints.as_ref();
                path.map(|path| Value::String(path.display().to_string()))
            }
            "train.checkpoint_every" => time(self.train.checkpoint_every),
            "train.retry_after" => time(self.train.retry_after),
            "decision.min_hours_between" => time(self.decision.min_between),
            "decision.triggers" => text(&self.decision.triggers.to_string()),
            "decision.schedule" => {
                let schedule = self.decision.schedule.as_ref();
                schedule.and_then(|schedule| text(schedule.as_str()))
            }
            "decision.time_zone" => {
                let zone = self.decision.time_zone;
                zone.and_then(|zone| text(zone.name()))
            }
            "decision.max_in_week" => number(self.decision.max_in_week as u64),
            "decision.force_after" => time(self.decision.force_after),
            "decision.min_accuracy" => Some(Value::Float(self.decision.min_accuracy)),
            "decision.max_share_drifted" => Some(Value::Float(self.decision.max_share_drifted)),
            "quiet.rule" => text(self.quiet.rule.as_str()),
            "quiet.max_load" => Some(Value::Float(self.quiet.max_load)),
            "log.level" => text(&self.log.level),
            "log.format" => match self.log.format {
                LogFormat::Text => text("text"),
                LogFormat::Json => text("json"),
            },
            _ => None,
        }
    }
}
