//! What a client is configured with, and the librdkafka properties that follow from it.
//!
//! Our defaults come first, then the user's `[kafka.properties]`, then what this crate's guarantees rest on (no
//! automatic commits, end-of-partition events, delivery by a stable partitioner).

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// How to reach Kafka, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Passed to librdkafka as they are (SASL, TLS, timeouts).
    pub properties: BTreeMap<String, String>,
    /// Stands before every topic and group of ours, e.g. `forewarn.`.
    pub prefix: String,
    /// Makes `group.instance.id` stable, so that a restarted process fences its predecessor; at most one process with the
    /// same one at a time.
    pub instance_id: Option<String>,
    /// Shown in the broker's logs and metrics.
    pub client_id: String,
}

impl Settings {
    /// Settings for these brokers with the usual prefix and no further properties.
    pub fn new(brokers: impl Into<String>) -> Settings {
        Settings {
            brokers: brokers.into(),
            properties: BTreeMap::new(),
            prefix: "forewarn.".to_owned(),
            instance_id: None,
            client_id: "forewarn".to_owned(),
        }
    }

    /// What every client of ours has.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            // librdkafka's own lines are ours to filter (target `librdkafka`).
            .set_log_level(RDKafkaLogLevel::Info)
            .set("socket.keepalive.enable", "true")
            // Brokers close idle connections: no error.
            .set("log.connection.close", "false")
            // A broker that comes back is found within two seconds.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000");
        self.with_properties(&mut config);
        config
    }

    fn with_properties(&self, config: &mut ClientConfig) {
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id);
    }

    /// For metadata, offsets and topics: no group, nothing is fetched.
    pub(crate) fn probe(&self) -> ClientConfig {
        self.client()
    }

    pub(crate) fn consumer(&self, group: &str, limits: &Limits, strategy: &str) -> ClientConfig {
        let mut config = self.client();
        let kbytes = (limits.max_bytes.saturating_mul(2) / 1024).clamp(1024, 1024 * 1024);
        let fetch = limits.max_bytes.clamp(1024 * 1024, 50 * 1024 * 1024);
        config
            .set("partition.assignment.strategy", strategy)
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            // What librdkafka may hold beside our queue.
            .set("queued.max.messages.kbytes", kbytes.to_string())
            .set(
                "queued.min.messages",
                limits
                    .max_records
                    .saturating_mul(2)
                    .clamp(1000, 1_000_000)
                    .to_string(),
            )
            .set("fetch.max.bytes", fetch.to_string())
            // The default of 1 s leaves the queue empty after each time it was full.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "200");
        if let Some(id) = &self.instance_id {
            config.set("group.instance.id", id);
        }
        self.with_properties(&mut config);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false");
        config
    }

    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("linger.ms", "20")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "65536");
        self.with_properties(&mut config);
        config
            .set("enable.idempotence", "true")
            // The Java client's placement: one topic, one partitioner.
            .set("partitioner", "murmur2_random");
        config
    }

    /// How long a role may take to answer a rebalance: below the session timeout.
    pub(crate) fn rebalance_deadline(&self) -> Duration {
        let session_ms = self
            .properties
            .get("session.timeout.ms")
            .and_then(|v| v.trim().parse::<u64>().ok())
            .unwrap_or(45_000);
        Duration::from_millis((session_ms.saturating_mul(2) / 3).max(100))
    }
}

/// How much of a topic may be in memory, and how long a record may wait for company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Records of one chunk. Fewer cost more per record, more make a role deaf for longer.
    pub max_records: usize,
    /// Bytes of keys, values and headers of one chunk; one record larger than this is a chunk of its own.
    pub max_bytes: usize,
    /// How long a started chunk waits for more records.
    pub max_wait: Duration,
    /// Chunks that wait for the role. With one chunk in the role's hands and one being built, the memory of keys and
    /// values is at most (`queue_chunks` + 2) × `max_bytes`, and librdkafka's 2 × `max_bytes` (at least 1 MiB) beside it.
    pub queue_chunks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_records: 10_000,
            max_bytes: 4 * 1024 * 1024,
            max_wait: Duration::from_millis(100),
            queue_chunks: 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> Settings {
        Settings {
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..Settings::new("a:1,b:2")
        }
    }

    #[test]
    fn a_user_may_change_defaults_but_not_what_the_guarantees_rest_on() {
        let settings = settings(&[
            ("linger.ms", "50"),
            ("fetch.max.bytes", "2000000"),
            ("enable.auto.commit", "true"),
            ("enable.idempotence", "false"),
            ("group.id", "mine"),
        ]);
        let consumer = settings.consumer("g", &Limits::default(), "range");
        assert_eq!(consumer.get("fetch.max.bytes"), Some("2000000"));
        assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
        assert_eq!(consumer.get("group.id"), Some("g"));
        assert_eq!(consumer.get("bootstrap.servers"), Some("a:1,b:2"));
        let producer = settings.producer();
        assert_eq!(producer.get("linger.ms"), Some("50"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
    }

    #[test]
    fn a_rebalance_is_answered_before_the_session_ends() {
        assert_eq!(settings(&[]).rebalance_deadline(), Duration::from_secs(30));
        assert_eq!(
            settings(&[("session.timeout.ms", "6000")]).rebalance_deadline(),
            Duration::from_secs(4)
        );
    }
}
