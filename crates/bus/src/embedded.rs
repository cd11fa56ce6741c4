//! librdkafka's mock cluster as a broker inside the process: `demo`'s default, and tests.
//!
//! Limits (librdkafka 2.12.1): in memory only, 5 MiB and 100,000 records a partition (the oldest give way); no
//! CreateTopics, no lookup by time, no LogAppendTime, no compaction; aborted transactions are visible, and offsets sent in a
//! transaction are lost. A group waits for its session timeout less one second whenever a member came or went. It keeps
//! commit metadata and the producer's timestamps.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;

use crate::client::Context;
use crate::error::BusError;
use crate::native;

/// How long the first member of a group waits for others (the mock's own default is 3 s).
const JOIN_DELAY_MS: i32 = 100;

/// A broker in this process; ends when dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: String,
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Create(String, i32, SyncSender<Result<(), BusError>>),
    Reachable(bool, SyncSender<Result<(), BusError>>),
}

impl EmbeddedBroker {
    /// Starts it on a free port of 127.0.0.1, with these topics: full name and number of partitions.
    ///
    /// # Errors
    /// [`BusError::Kafka`] where it cannot be started, or a topic has an impossible name or number of partitions.
    pub fn start(topics: &[(String, i32)]) -> Result<EmbeddedBroker, BusError> {
        let (commands, inbox) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        // The cluster may not leave the thread that made it.
        let thread = std::thread::Builder::new()
            .name("embedded-broker".to_owned())
            .spawn(move || match client() {
                // Nobody listens where `start` has given up: then the loop ends at once, too.
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
                Ok(client) => {
                    let cluster = client.client().mock_cluster();
                    let address = cluster.as_ref().map(MockCluster::bootstrap_servers);
                    let _ = ready.send(address.ok_or(BusError::Closed));
                    if let Some(cluster) = cluster {
                        serve(&cluster, &inbox);
                    }
                }
            })
            .map_err(|e| BusError::Kafka(format!("start the embedded broker: {e}")))?;
        let address = started.recv().map_err(|_| BusError::Closed)??;
        let broker = EmbeddedBroker {
            address,
            commands: Some(commands),
            thread: Some(thread),
        };
        for (topic, partitions) in topics {
            broker.create_topic(topic, *partitions)?;
        }
        Ok(broker)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Adds a topic.
    ///
    /// # Errors
    /// [`BusError::Kafka`] where it exists already or cannot be made.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), BusError> {
        self.ask(|reply| Command::Create(topic.to_owned(), partitions, reply))
    }

    /// Cuts all connections and refuses new ones, or takes them again: for tests of what happens then.
    ///
    /// # Errors
    /// [`BusError::Closed`] where it has ended.
    pub fn set_reachable(&self, reachable: bool) -> Result<(), BusError> {
        self.ask(|reply| Command::Reachable(reachable, reply))
    }

    fn ask(
        &self,
        command: impl FnOnce(SyncSender<Result<(), BusError>>) -> Command,
    ) -> Result<(), BusError> {
        let (reply, answer) = sync_channel(1);
        let commands = self.commands.as_ref().ok_or(BusError::Closed)?;
        commands
            .send(command(reply))
            .map_err(|_| BusError::Closed)?;
        answer.recv().map_err(|_| BusError::Closed)?
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        // The thread ends when the sender is gone.
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the embedded broker's thread panicked");
        }
    }
}

/// The client that the mock cluster lives in.
fn client() -> Result<BaseConsumer<Context>, BusError> {
    let mut config = ClientConfig::new();
    config
        .set("test.mock.num.brokers", "1")
        // Nobody reads this client's queue: it must stay empty.
        .set_log_level(RDKafkaLogLevel::Emerg);
    let client = BaseConsumer::from_config_and_context(&config, Context::default())
        .map_err(|e| BusError::Kafka(format!("embedded broker: {e}")))?;
    native::set_join_delay(&client, JOIN_DELAY_MS);
    Ok(client)
}

fn serve<C: rdkafka::ClientContext>(cluster: &MockCluster<'_, C>, inbox: &Receiver<Command>) {
    while let Ok(command) = inbox.recv() {
        let (done, reply) = match command {
            Command::Create(topic, partitions, reply) => {
                let made = cluster.create_topic(&topic, partitions, 1);
                let named = made.map_err(|e| BusError::Kafka(format!("create {topic}: {e}")));
                (named, reply)
            }
            Command::Reachable(reachable, reply) => {
                let set = if reachable {
                    cluster.broker_up(-1)
                } else {
                    cluster.broker_down(-1)
                };
                (set.map_err(BusError::from), reply)
            }
        };
        // The asker may have gone.
        let _ = reply.send(done);
    }
}
