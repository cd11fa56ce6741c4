//! Sending raw records to `metrics`: what `replay` and `simulate --to-kafka` share.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Out, Producer};
use contract::Topic;
use contract::codec::{Encoder, MetricRow};
use tokio::time::Instant;

use super::App;
use crate::kafka;
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// Records between two looks at what was delivered: a broker that refuses them is noticed after
/// this many at most, and each look waits for the queue to empty.
const LOOK_EVERY: u64 = 500_000;

/// A record that is due sooner than this is sent at once: timers are no finer.
const FINEST_WAIT: Duration = Duration::from_millis(2);

/// Sends records and counts those that arrived.
pub(crate) struct Publisher {
    producer: Producer,
    encoder: Encoder,
    topic: String,
    buffer: Vec<u8>,
    servers: HashSet<String>,
    queued: u64,
}

impl Publisher {
    /// Waits for a broker and makes sure that the topic is there; `None` where a stop was asked
    /// for first.
    ///
    /// # Errors
    /// Refused where the topic does not exist.
    pub(crate) async fn connect(
        app: &App,
        client: &str,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>> {
        let settings = kafka::settings(&app.settings, client);
        if !kafka::connect(&settings, shutdown, |_| {}).await? {
            return Ok(None);
        }
        let topic = Topic::Metrics.full(&settings.prefix);
        if !bus::topics::partitions(&settings)
            .await?
            .contains_key(&topic)
        {
            return Err(Refusal::new(format!(
                "topic {topic} does not exist: create it with `forewarn topics create`, or set topics.prefix"
            ))
            .into());
        }
        Ok(Some(Self {
            producer: Producer::new(&settings)?,
            encoder: Encoder::new(&app.settings.contract)?,
            topic,
            buffer: Vec::new(),
            servers: HashSet::new(),
            queued: 0,
        }))
    }

    /// Queues one record, under its server's name as key.
    ///
    /// # Errors
    /// Where the broker is away for long, or refuses what was sent before.
    pub(crate) async fn send(&mut self, row: &MetricRow<'_>) -> Result<()> {
        self.buffer.clear();
        self.encoder.encode_metric(row, &mut self.buffer)?;
        let out = Out {
            topic: &self.topic,
            key: Some(row.server.as_bytes()),
            value: Some(&self.buffer),
            ..Out::default()
        };
        let sent = self.producer.send(out).await;
        sent.with_context(|| format!("send to {}", self.topic))?;
        if !self.servers.contains(row.server) {
            self.servers.insert(row.server.to_owned());
        }
        self.queued += 1;
        if self.queued.is_multiple_of(LOOK_EVERY) {
            self.flush().await?;
        }
        Ok(())
    }

    /// Waits until everything has arrived; returns how many records, of how many servers.
    ///
    /// # Errors
    /// Where some did not arrive.
    pub(crate) async fn finish(self) -> Result<(u64, usize)> {
        self.flush().await?;
        Ok((self.producer.delivered_total(), self.servers.len()))
    }

    async fn flush(&self) -> Result<()> {
        let flushed = self.producer.flush().await;
        flushed.with_context(|| format!("deliver to {}", self.topic))?;
        Ok(())
    }
}

/// Waits until a record is due; `false` where a stop was asked for.
pub(super) async fn wait_until_due(due: Instant, shutdown: &Shutdown) -> bool {
    if due.saturating_duration_since(Instant::now()) > FINEST_WAIT {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = shutdown.wait() => {}
        }
    }
    !shutdown.requested()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_due_is_not_waited_for_and_a_stop_ends_the_wait() {
        let shutdown = Shutdown::new();
        let now = Instant::now();
        assert!(wait_until_due(now, &shutdown).await);
        let wait = wait_until_due(now + Duration::from_secs(86_400), &shutdown);
        let (due, ()) = tokio::join!(wait, async { shutdown.trigger() });
        assert!(!due);
        assert!(!wait_until_due(now, &shutdown).await);
    }
}
