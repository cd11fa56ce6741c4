//! `forewarn tail TOPIC`: any of our topics, decoded.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use bus::{RecordRef, Start};
use contract::Topic;
use contract::codec::JsonDecoder;
use serde_json::{Map, Value, json};

use super::{App, output};
use crate::cli::{TailArgs, TailFrom};
use crate::kafka::{self, Until};
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// Prints records as they come, or those that are there.
///
/// # Errors
/// Refused where the topic is none of ours.
pub(crate) async fn run(args: &TailArgs, app: &App) -> Result<()> {
    let (config, prefix) = (&app.settings, &app.settings.topics.prefix);
    let topic = find_topic(&args.topic, prefix)?;
    let start = match args.from {
        Some(_) => Start::Beginning,
        None => Start::End,
    };
    let until = match args.from {
        Some(_) if !args.follow => Until::End,
        _ => Until::Stopped,
    };
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let mut decoder = JsonDecoder::new(topic, &config.contract)?;
    if matches!(topic, Topic::Metrics | Topic::MetricsDlq) {
        decoder.accept_schema_ids(&config.kafka.schema_ids);
    }
    let mut left = args.max;
    let print = |record: &RecordRef<'_>| {
        if !wanted(args, record, topic, &decoder) {
            return Ok(ControlFlow::Continue(()));
        }
        let value = describe(&decoder, record);
        if app.json {
            output::json(&value)?;
        } else {
            output::line(&sentence(record, value))?;
        }
        left = left.map(|left| left.saturating_sub(1));
        Ok(match left {
            Some(0) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    };
    let settings = kafka::settings(config, "tail");
    let name = topic.full(prefix);
    kafka::read_topic(&settings, &name, (start, until), &shutdown, print).await
}

/// The topic of a short or full name.
fn find_topic(name: &str, prefix: &str) -> Result<Topic, Refusal> {
    Topic::from_short(name)
        .or_else(|| Topic::from_full(prefix, name))
        .ok_or_else(|| {
            Refusal::new(format!(
                "topic {name}: none of ours; there are {}",
                Topic::ALL.map(Topic::short_name).join(", ")
            ))
        })
}

/// Whether the record passes `--from TIME` and `--server`.
fn wanted(args: &TailArgs, record: &RecordRef<'_>, topic: Topic, decoder: &JsonDecoder) -> bool {
    if let Some(TailFrom::Time(from)) = args.from
        && record.timestamp_ms < from
    {
        return false;
    }
    let Some(server) = &args.server else {
        return true;
    };
    if topic.partitioned() {
        return record.key == Some(server.as_bytes());
    }
    let value = record.value.unwrap_or_default();
    decoder
        .decode(value)
        .is_ok_and(|value| value.get("server").and_then(Value::as_str) == Some(server))
}

/// The record's own fields, and where it stands in Kafka under `kafka`. One that does not decode
/// has `error` and its bytes in hexadecimal instead.
fn describe(decoder: &JsonDecoder, record: &RecordRef<'_>) -> Value {
    let mut fields = match record.value.map(|value| decoder.decode(value)) {
        None => Map::from_iter([("tombstone".to_owned(), Value::Bool(true))]),
        Some(Ok(Value::Object(fields))) => fields,
        Some(Ok(other)) => Map::from_iter([("value".to_owned(), other)]),
        Some(Err(error)) => Map::from_iter([
            ("error".to_owned(), error.to_string().into()),
            (
                "hex".to_owned(),
                hex(record.value.unwrap_or_default()).into(),
            ),
        ]),
    };
    let headers: Map<String, Value> = record
        .headers()
        .map(|(name, value)| {
            let text = value.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            (name.to_owned(), text.into())
        })
        .collect();
    let key = record.key.map(|key| String::from_utf8_lossy(key));
    let mut kafka = json!({
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": output::time(record.timestamp_ms),
        "key": key,
    });
    if !headers.is_empty() {
        kafka["headers"] = Value::Object(headers);
    }
    fields.insert("kafka".to_owned(), kafka);
    Value::Object(fields)
}

/// The most bytes of an undecodable value that are shown.
const MAX_HEX_BYTES: usize = 64;

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(MAX_HEX_BYTES);
    let mut text: String = shown.map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > MAX_HEX_BYTES {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}

/// One line for people: when, where, key, fields.
fn sentence(record: &RecordRef<'_>, mut value: Value) -> String {
    let headers = value["kafka"]["headers"].take();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kafka");
    }
    let key = record.key.map_or("-".into(), String::from_utf8_lossy);
    let (time, place) = (output::time(record.timestamp_ms), record.partition);
    let mut line = format!("{time} {place}/{} {key} {value}", record.offset);
    if !headers.is_null() {
        line.push_str(&format!(" {headers}"));
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn topics_by_short_or_full_name() {
        assert_eq!(find_topic("metrics.dlq", "f.").unwrap(), Topic::MetricsDlq);
        assert_eq!(find_topic("f.drift", "f.").unwrap(), Topic::Drift);
        let message = find_topic("metric", "f.").unwrap_err().to_string();
        assert!(
            message.contains("none of ours") && message.contains("rollups"),
            "{message}"
        );
    }

    #[test]
    fn bytes_are_shown_shortened() {
        assert_eq!(hex(&[0, 255]), "00ff");
        assert!(hex(&[0; 100]).ends_with("… (100 bytes)"));
    }
}
