//! How commands and roles reach Kafka: the client's settings, waiting for a broker, reading a
//! topic from one place to another.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Consumer, Event, Limits, RecordRef, Start};

use crate::config::Settings;
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
    let mut left = Left::new(
        offsets
            .iter()
            .map(|((_, p), range)| (*p, range.low, range.high)),
    );
    if until == Until::End && left.is_empty() {
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
                        let mine = until == Until::Stopped
                            || left.includes(record.partition, record.offset);
                        if mine && each(&record)?.is_break() {
                            return Ok(());
                        }
                        left.reached(record.partition, record.offset.saturating_add(1));
                    }
                }
                Event::Eof {
                    partition, offset, ..
                } => left.reached(partition, offset),
                Event::Unavailable(line) => tracing::warn!("{line}"),
                Event::Fatal(error) => return Err(error.into()),
                // Fixed partitions are neither given nor taken.
                Event::Assigned(_) | Event::Revoked(_) => {}
            }
            if until == Until::End && left.is_empty() {
                return Ok(());
            }
        }
    };
    let result = read().await;
    consumer.close(CLOSE_WITHIN).await;
    result
}

/// Partitions that have not been read to their fixed ends.
#[derive(Debug)]
struct Left(BTreeMap<i32, i64>);

impl Left {
    /// Of (partition, first offset, next offset), those that hold anything.
    fn new(ranges: impl Iterator<Item = (i32, i64, i64)>) -> Self {
        Self(
            ranges
                .filter(|(_, low, high)| low < high)
                .map(|(partition, _, high)| (partition, high))
                .collect(),
        )
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn includes(&self, partition: i32, offset: i64) -> bool {
        self.0.get(&partition).is_some_and(|end| offset < *end)
    }

    /// Everything below `next` was read.
    fn reached(&mut self, partition: i32, next: i64) {
        if self.0.get(&partition).is_some_and(|end| next >= *end) {
            self.0.remove(&partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_ends_when_each_partition_has_reached_the_end_it_had() {
        let mut left = Left::new([(0, 0, 3), (1, 5, 5), (2, 7, 9)].into_iter());
        assert!(left.includes(0, 2) && !left.includes(0, 3) && !left.includes(1, 5));
        left.reached(0, 3);
        assert!(!left.is_empty());
        left.reached(2, 8);
        assert!(!left.is_empty());
        // The end may be a transaction's marker: the position jumps past it.
        left.reached(2, 10);
        assert!(left.is_empty());
    }
}
