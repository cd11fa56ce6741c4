//! The async side of a consumer: next event, commit, pause, seek, close. The thread behind it is [`crate::worker`].

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use crate::client::Context;
use crate::error::BusError;
use crate::event::{Event, Start};
use crate::native::{self, Committed};
use crate::settings::{Limits, Settings};
use crate::shared::{Command, Mode, Shared};
use crate::worker::Worker;

/// How long a commit may take. Longer only delays the news that a broker is away.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// While a group rebalances, the broker refuses commits for a moment; tried again for at most this long.
const COMMIT_RETRY_FOR: Duration = Duration::from_secs(5);
const COMMIT_RETRY_EVERY: Duration = Duration::from_millis(50);
/// Kafka's default `offset.metadata.max.bytes`: longer metadata would be refused.
const MAX_METADATA_BYTES: usize = 4096;

/// An offset to commit: the next record to be read after a restart, and what to remember with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOffset {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The next record to be read.
    pub offset: i64,
    /// At most 4096 bytes; comes back in [`crate::AssignedPartition::metadata`].
    pub metadata: String,
}

/// A consumer: a member of a group, or with fixed partitions. Dropped without [`Consumer::close`], its thread ends by
/// itself and leaves the group.
pub struct Consumer {
    client: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    _guard: Guard,
    ended: oneshot::Receiver<()>,
}

impl Consumer {
    /// Joins the group `{prefix}{group}` for these topics (full names). One topic uses `cooperative-sticky`; several use
    /// `range`, which gives a member the same partition numbers of each of them. Returns at once: the group is joined, and
    /// a missing broker waited for, in the background.
    ///
    /// # Errors
    /// [`BusError::Config`] where librdkafka refuses the properties.
    pub fn subscribe(
        settings: &Settings,
        group: &str,
        topics: &[String],
        limits: Limits,
    ) -> Result<Consumer, BusError> {
        let strategy = if topics.len() > 1 {
            "range"
        } else {
            "cooperative-sticky"
        };
        let group = format!("{}{group}", settings.prefix);
        Consumer::spawn(
            settings,
            &group,
            strategy,
            Mode::Group(topics.to_vec()),
            limits,
        )
    }

    /// Reads these partitions, with no group and no [`Event::Assigned`]: for topics that everybody reads whole, and for
    /// readers that keep their own offsets. Commits are refused.
    ///
    /// # Errors
    /// [`BusError::Config`] where librdkafka refuses the properties.
    pub fn assign(
        settings: &Settings,
        partitions: &[(String, i32, Start)],
        limits: Limits,
    ) -> Result<Consumer, BusError> {
        let partitions = partitions
            .iter()
            .map(|(topic, partition, start)| (Arc::from(topic.as_str()), *partition, *start))
            .collect();
        // librdkafka wants a group's name even where none is joined.
        let group = format!("{}{}", settings.prefix, settings.client_id);
        Consumer::spawn(settings, &group, "range", Mode::Fixed(partitions), limits)
    }

    fn spawn(
        settings: &Settings,
        group: &str,
        strategy: &str,
        mode: Mode,
        limits: Limits,
    ) -> Result<Consumer, BusError> {
        if settings.brokers.trim().is_empty() {
            return Err(BusError::Config(
                "kafka.brokers is empty, expected host:port".to_owned(),
            ));
        }
        if mode
            .topics()
            .any(|topic| topic.is_empty() || topic.contains('\0'))
        {
            return Err(BusError::Config(
                "a topic's name is empty or holds a zero byte".to_owned(),
            ));
        }
        let config = settings.consumer(group, &limits, strategy);
        let client: Arc<BaseConsumer<Context>> = Arc::new(BaseConsumer::from_config_and_context(
            &config,
            Context::default(),
        )?);
        let shared = Arc::new(Shared::new(&mode, limits.queue_chunks));
        let (end, ended) = oneshot::channel();
        let of_thread = (Arc::clone(&client), Arc::clone(&shared), settings.clone());
        std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || {
                let (client, shared, settings) = of_thread;
                Worker::new(client, shared, &settings, limits).run(mode);
                // The receiver is gone where the consumer was dropped.
                let _ = end.send(());
            })
            .map_err(|e| BusError::Kafka(format!("start the consumer's thread: {e}")))?;
        Ok(Consumer {
            client,
            _guard: Guard(Arc::clone(&shared)),
            shared,
            ended,
        })
    }

    /// The next event; waits for it. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        self.shared.inbox.next().await
    }

    /// Commits and waits for the broker's answer.
    ///
    /// # Errors
    /// [`BusError::NotOwner`]: a partition was taken away, nothing was committed by this call; [`BusError::Fenced`];
    /// [`BusError::Timeout`]: may be stored or not; [`BusError::Refused`]: the metadata is too long.
    pub async fn commit(&self, offsets: Vec<CommitOffset>) -> Result<(), BusError> {
        if offsets.is_empty() {
            return Ok(());
        }
        if self.shared.fixed {
            return Err(BusError::NotOwner(
                "a consumer without a group does not commit".to_owned(),
            ));
        }
        if let Some(long) = offsets
            .iter()
            .find(|o| o.metadata.len() > MAX_METADATA_BYTES)
        {
            return Err(BusError::Refused(format!(
                "commit metadata of {} bytes for {}/{}, at most {MAX_METADATA_BYTES}",
                long.metadata.len(),
                long.topic,
                long.partition
            )));
        }
        let offsets = Arc::new(offsets);
        let mut tries = COMMIT_RETRY_FOR.as_millis() / COMMIT_RETRY_EVERY.as_millis();
        loop {
            match self.commit_once(&offsets).await? {
                Committed::Yes => return Ok(()),
                Committed::Unknown => return Err(BusError::Timeout("commit".to_owned())),
                Committed::No(RDKafkaErrorCode::RebalanceInProgress) if tries > 0 => tries -= 1,
                Committed::No(code) => {
                    return Err(BusError::from_code(code, &format!("commit: {code}")));
                }
            }
            tokio::time::sleep(COMMIT_RETRY_EVERY).await;
        }
    }

    async fn commit_once(&self, offsets: &Arc<Vec<CommitOffset>>) -> Result<Committed, BusError> {
        // The broker only checks that the member belongs to the group's generation, not which partitions it has.
        self.shared.check_owned(offsets)?;
        let client = Arc::clone(&self.client);
        let offsets = Arc::clone(offsets);
        let commit = move || {
            let mut list = TopicPartitionList::with_capacity(offsets.len());
            for offset in offsets.iter() {
                let mut entry = list.add_partition(&offset.topic, offset.partition);
                entry.set_offset(Offset::Offset(offset.offset))?;
                entry.set_metadata(&offset.metadata);
            }
            Ok(native::commit(&client, &list, COMMIT_TIMEOUT))
        };
        tokio::task::spawn_blocking(commit)
            .await
            .map_err(|e| BusError::Kafka(format!("commit: {e}")))?
    }

    /// Stops fetching these partitions; records that are in the queue already still come.
    ///
    /// # Errors
    /// [`BusError::Kafka`] where a partition is not assigned.
    pub fn pause(&self, partitions: &[(String, i32)]) -> Result<(), BusError> {
        Ok(self.client.pause(&list_of(partitions))?)
    }

    /// Goes on fetching them, at the record behind the last one that was handed out.
    ///
    /// # Errors
    /// [`BusError::Kafka`] where a partition is not assigned.
    pub fn resume(&self, partitions: &[(String, i32)]) -> Result<(), BusError> {
        Ok(self.client.resume(&list_of(partitions))?)
    }

    /// Goes on reading at these offsets; records that were read ahead are dropped, so that the next ones of these
    /// partitions start there.
    ///
    /// # Errors
    /// [`BusError::NotOwner`] where a partition is not assigned (any more); [`BusError::Closed`].
    pub async fn seek(&self, to: &[(String, i32, i64)]) -> Result<(), BusError> {
        let (reply, answer) = oneshot::channel();
        let to = to
            .iter()
            .map(|(topic, partition, offset)| (Arc::from(topic.as_str()), *partition, *offset))
            .collect();
        self.shared.command(Command::Seek { to, reply });
        answer.await.unwrap_or(Err(BusError::Closed))
    }

    /// Leaves the group and ends the thread. A role commits before: events that still wait are dropped, and a rebalance
    /// that comes now is answered by itself. Gives up waiting after `timeout`, and says so in the log.
    pub async fn close(self, timeout: Duration) {
        self.shared.stop();
        let Consumer { client, ended, .. } = self;
        drop(client);
        if tokio::time::timeout(timeout, ended).await.is_err() {
            tracing::warn!(
                timeout_ms = timeout.as_millis() as u64,
                "the kafka consumer did not close in time, left behind"
            );
        }
    }
}

/// Ends the thread when the consumer goes, however it goes.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn list_of(partitions: &[(String, i32)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}
