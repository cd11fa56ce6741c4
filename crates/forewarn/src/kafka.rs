//! How commands and roles reach Kafka: the client's settings, waiting for a broker, reading a
//! topic from one place to another.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Consumer, Event, Limits, RecordRef, Start};

use crate::config::Settings;
use crate::ends::Ends;
use crate::shutdown::Shutdown;

/// How long a reader's thread may take to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The client's settings; `role` names the client in the broker's logs and metrics.
pub(crate) fn settings(config: &Settings, role: &str) -> bus::Settings {
    bus::Settings {
        brokers: config.kafka.brokers.clone(),
        properties: config
            .kafka
            .plain_properties()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        prefix: config.topics.prefix.clone(),
        instance_id: config
            .kafka
            .instance_id
            .as_ref()
            .map(|id| format!("{id}-{role}")),
        client_id: format!("forewarn-{role}"),
    }
}

/// Waits for a broker and says so; `false` where a stop was asked for first.
///
/// # Errors
/// Where waiting would not help.
pub(crate) async fn connect(
    settings: &bus::Settings,
    shutdown: &Shutdown,
    mut on_retry: impl FnMut(&str),
) -> Result<bool> {
    let connected = bus::topics::connect(settings, |line| {
        tracing::warn!("{line}; trying again");
        on_retry(line);
    });
    tokio::select! {
        connected = connected => connected.map(|()| true).context("reach kafka"),
        () = shutdown.wait() => Ok(false),
    }
}

/// Where a reader stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// At the end that the topic has when the reader starts.
    End,
    /// Never by itself.
    Stopped,
}

/// Reads a topic (full name), all partitions, and hands each record to `each`, which may end it.
///
/// # Errors
/// Where the topic does not exist, Kafka gives up, or `each` fails.
pub(crate) async fn read_topic(
    settings: &bus::Settings,
    topic: &str,
    (start, until): (Start, Until),
    shutdown: &Shutdown,
    mut each: impl FnMut(&RecordRef<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    if !connect(settings, shutdown, |_| {}).await? {
        return Ok(());
    }
    let offsets = bus::topics::end_offsets(settings, &[topic.to_owned()]).await?;
    let mut ends = match until {
        Until::Stopped => Ends::never(),
        Until::End => Ends::fixed(
            offsets
                .iter()
                .map(|((topic, p), range)| (Arc::clone(topic), *p, range.high)),
        ),
    };
    ends.answered();
    for ((topic, partition), range) in &offsets {
        ends.assign(topic, *partition, range.low);
    }
    if ends.done() {
        return Ok(());
    }
    let partitions: Vec<_> = offsets
        .keys()
        .map(|(_, partition)| (topic.to_owned(), *partition, start))
        .collect();
    let mut consumer = Consumer::assign(settings, &partitions, Limits::default())?;
    let mut read = async || -> Result<()> {
        loop {
            let event = tokio::select! {
                event = consumer.next() => event,
                () = shutdown.wait() => return Ok(()),
            };
            match event {
                Event::Chunk(chunk) => {
                    for record in chunk.iter() {
                        let mine = ends.take(record.topic, record.partition, record.offset);
                        if mine && each(&record)?.is_break() {
                            return Ok(());
                        }
                    }
                }
                Event::Eof {
                    topic,
                    partition,
                    offset,
                } => ends.advance(&topic, partition, offset),
                Event::Unavailable(line) => tracing::warn!("{line}"),
                Event::Fatal(error) => return Err(error.into()),
                // Fixed partitions are neither given nor taken.
                Event::Assigned(_) | Event::Revoked(_) => {}
            }
            if ends.done() {
                return Ok(());
            }
        }
    };
    let result = read().await;
    consumer.close(CLOSE_WITHIN).await;
    result
}
