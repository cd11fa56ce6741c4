//! `forewarn dlq list`: dead letters grouped by reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use bus::{RecordRef, Start, dead_letter};
use contract::Topic;
use serde::Serialize;

use super::{App, output};
use crate::cli::DlqCommand;
use crate::kafka::{self, Until};
use crate::shutdown::Shutdown;

/// Groups that are told apart. Our roles write a dozen reasons; anybody may write more.
const MAX_REASONS: usize = 100;
/// Records of a group that are named. More would hide the counts.
const MAX_SAMPLES: usize = 5;
/// Where reasons beyond [`MAX_REASONS`] are counted.
const OTHER: &str = "(other)";

/// Dead letters with one reason.
#[derive(Debug, Serialize)]
struct Group {
    reason: String,
    count: u64,
    /// When the first and the last of them were refused, RFC 3339.
    first: String,
    last: String,
    #[serde(skip)]
    first_ms: i64,
    #[serde(skip)]
    last_ms: i64,
    /// Where they were read from.
    topics: BTreeSet<String>,
    samples: Vec<Sample>,
}

/// Where one of them is, in the dead-letter topic and where it came from.
#[derive(Debug, Serialize)]
struct Sample {
    dlq_partition: i32,
    dlq_offset: i64,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    key: Option<String>,
}

/// What is known of one dead letter.
#[derive(Debug)]
struct Letter {
    reason: String,
    time_ms: i64,
    sample: Sample,
}

/// Reads all dead letters that are there and lists their groups, the largest first.
///
/// # Errors
/// Where the topic cannot be read.
pub(crate) async fn run(command: &DlqCommand, app: &App) -> Result<()> {
    let DlqCommand::List = command;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let settings = kafka::settings(&app.settings, "dlq");
    let topic = Topic::MetricsDlq.full(&settings.prefix);
    let mut groups = BTreeMap::new();
    let collect = |record: &RecordRef<'_>| {
        add(&mut groups, letter(record));
        Ok(ControlFlow::Continue(()))
    };
    let span = (Start::Beginning, Until::End);
    kafka::read_topic(&settings, &topic, span, &shutdown, collect).await?;
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    if app.json {
        return output::json(&groups);
    }
    if groups.is_empty() {
        return output::line("no dead letters");
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            let topics: Vec<_> = group.topics.iter().cloned().collect();
            vec![
                group.reason.clone(),
                group.count.to_string(),
                group.first.clone(),
                group.last.clone(),
                topics.join(","),
                samples(group),
            ]
        })
        .collect();
    let header = [
        "REASON",
        "COUNT",
        "FIRST",
        "LAST",
        "TOPICS",
        "PARTITION/OFFSET",
    ];
    output::table(&header, &rows)
}

fn samples(group: &Group) -> String {
    let place = |sample: &Sample| match (sample.partition, sample.offset) {
        (Some(partition), Some(offset)) => format!("{partition}/{offset}"),
        _ => "?".to_owned(),
    };
    let shown: Vec<_> = group.samples.iter().map(place).collect();
    shown.join(" ")
}

fn letter(record: &RecordRef<'_>) -> Letter {
    let header = |name: &str| {
        let mut headers = record.headers();
        let (_, value) = headers.find(|(known, _)| *known == name)?;
        value.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let time = header(dead_letter::TIME).and_then(|time| time.parse().ok());
    Letter {
        reason: header(dead_letter::REASON).unwrap_or_else(|| "(none given)".to_owned()),
        time_ms: time.unwrap_or(record.timestamp_ms),
        sample: Sample {
            dlq_partition: record.partition,
            dlq_offset: record.offset,
            topic: header(dead_letter::TOPIC),
            partition: header(dead_letter::PARTITION).and_then(|p| p.parse().ok()),
            offset: header(dead_letter::OFFSET).and_then(|o| o.parse().ok()),
            key: record
                .key
                .map(|key| String::from_utf8_lossy(key).into_owned()),
        },
    }
}

fn add(groups: &mut BTreeMap<String, Group>, letter: Letter) {
    let mut reason = letter.reason;
    if !groups.contains_key(&reason) && groups.len() >= MAX_REASONS {
        reason = OTHER.to_owned();
    }
    let group = groups.entry(reason.clone()).or_insert_with(|| Group {
        reason,
        count: 0,
        first: String::new(),
        last: String::new(),
        first_ms: i64::MAX,
        last_ms: i64::MIN,
        topics: BTreeSet::new(),
        samples: Vec::new(),
    });
    group.count += 1;
    group.first_ms = group.first_ms.min(letter.time_ms);
    group.last_ms = group.last_ms.max(letter.time_ms);
    group.first = output::time(group.first_ms);
    group.last = output::time(group.last_ms);
    if let Some(topic) = &letter.sample.topic
        && group.topics.len() < MAX_REASONS
    {
        group.topics.insert(topic.clone());
    }
    if group.samples.len() < MAX_SAMPLES {
        group.samples.push(letter.sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(reason: &str, time_ms: i64, offset: i64) -> Letter {
        Letter {
            reason: reason.to_owned(),
            time_ms,
            sample: Sample {
                dlq_partition: 0,
                dlq_offset: offset,
                topic: Some("forewarn.metrics".to_owned()),
                partition: Some(3),
                offset: Some(offset),
                key: None,
            },
        }
    }

    #[test]
    fn groups_count_all_and_show_some() {
        let mut groups = BTreeMap::new();
        for offset in 0..10 {
            add(
                &mut groups,
                some("malformed", 1_000 * (10 - offset), offset),
            );
        }
        add(&mut groups, some("no_server", 5, 99));
        let malformed = &groups["malformed"];
        assert_eq!(
            (malformed.count, malformed.samples.len()),
            (10, MAX_SAMPLES)
        );
        assert_eq!(malformed.first, "1970-01-01T00:00:01Z");
        assert_eq!(malformed.last, "1970-01-01T00:00:10Z");
        assert_eq!(malformed.topics.len(), 1);
        assert_eq!(samples(&groups["no_server"]), "3/99");
    }

    #[test]
    fn strange_reasons_cannot_fill_the_memory() {
        let mut groups = BTreeMap::new();
        for n in 0..1_000 {
            add(&mut groups, some(&format!("r{n}"), 0, n));
        }
        assert_eq!(groups.len(), MAX_REASONS + 1);
        assert_eq!(groups[OTHER].count, 900);
    }
}
