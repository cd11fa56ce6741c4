//! The brokers that the tests run against, and small helpers.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bus::{
    Assigned, Chunk, Consumer, EmbeddedBroker, Event, Limits, Out, Producer, Settings, Start,
};

/// A broker and a prefix of the test's own.
pub struct Broker {
    pub settings: Settings,
    pub embedded: Option<EmbeddedBroker>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Broker {
    pub fn embedded(topics: &[(&str, i32)]) -> Broker {
        let topics: Vec<_> = topics
            .iter()
            .map(|(t, n)| (format!("forewarn.{t}"), *n))
            .collect();
        let embedded = EmbeddedBroker::start(&topics).unwrap();
        let mut settings = Settings::new(embedded.address());
        // The mock lets a group wait for its session timeout whenever a member came or went.
        for (key, value) in [
            ("session.timeout.ms", "3000"),
            ("heartbeat.interval.ms", "300"),
        ] {
            settings.properties.insert(key.to_owned(), value.to_owned());
        }
        Broker {
            settings,
            embedded: Some(embedded),
        }
    }

    /// The real Kafka of `scripts/services`; `None` where none is running and none is required.
    pub async fn real(topics: &[(&str, i32)]) -> Option<Broker> {
        let Ok(brokers) = std::env::var("FOREWARN_TEST_BROKERS") else {
            let required = ["CI", "FOREWARN_TEST_REQUIRED"];
            assert!(
                required.iter().all(|name| std::env::var_os(name).is_none()),
                "FOREWARN_TEST_BROKERS is not set: eval \"$(scripts/services start)\""
            );
            eprintln!("skipped: FOREWARN_TEST_BROKERS is not set (scripts/services start)");
            return None;
        };
        let mut settings = Settings::new(brokers);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        settings.prefix = format!("bus-{}-{}-{number}.", std::process::id(), start.as_millis());
        let specs: Vec<_> = topics
            .iter()
            .map(|(name, partitions)| bus::topics::TopicSpec {
                topic: contract::Topic::Rollups,
                name: format!("{}{name}", settings.prefix),
                partitions: *partitions,
                replication: 1,
                config: Vec::new(),
            })
            .collect();
        bus::topics::ensure(&settings, &specs).await.unwrap();
        Some(Broker {
            settings,
            embedded: None,
        })
    }

    pub fn topic(&self, short: &str) -> String {
        format!("{}{short}", self.settings.prefix)
    }

    pub fn with(&self, key: &str, value: &str) -> Settings {
        let mut settings = self.settings.clone();
        settings.properties.insert(key.to_owned(), value.to_owned());
        settings
    }

    /// Sends `0..count` as decimal values, round the partitions.
    pub async fn fill(&self, topic: &str, partitions: i32, count: i64) {
        let producer = Producer::new(&self.settings).unwrap();
        for n in 0..count {
            let text = n.to_string();
            let out = Out {
                topic,
                partition: Some((n % i64::from(partitions)) as i32),
                value: Some(text.as_bytes()),
                ..Out::default()
            };
            producer.send(out).await.unwrap();
        }
        assert_eq!(producer.flush().await.unwrap().delivered, count as u64);
    }
}

pub fn limits() -> Limits {
    Limits {
        max_wait: Duration::from_millis(20),
        ..Limits::default()
    }
}

/// The next event, or the test fails: nothing takes half a minute.
pub async fn next(consumer: &mut Consumer) -> Event {
    tokio::time::timeout(Duration::from_secs(30), consumer.next())
        .await
        .expect("an event within 30 s")
}

pub fn value(bytes: Option<&[u8]>) -> i64 {
    std::str::from_utf8(bytes.unwrap())
        .unwrap()
        .parse()
        .unwrap()
}

pub fn values(chunk: &Chunk) -> Vec<i64> {
    chunk.iter().map(|r| value(r.value)).collect()
}

/// Answers an assignment: committed offsets, else the beginning.
pub fn start(assigned: Assigned) -> Vec<(i32, Option<i64>, String)> {
    let seen = assigned
        .partitions
        .iter()
        .map(|p| (p.partition, p.committed, p.metadata.clone()))
        .collect();
    assigned.start(Vec::new());
    seen
}

/// Reads until every one of `partitions` partitions of each topic stood at its end.
pub async fn read_to_end(consumer: &mut Consumer, partitions: usize) -> Vec<Chunk> {
    let mut ends: BTreeMap<(Arc<str>, i32), i64> = BTreeMap::new();
    let mut chunks = Vec::new();
    while ends.len() < partitions {
        match next(consumer).await {
            Event::Chunk(chunk) => chunks.push(chunk),
            Event::Assigned(assigned) => {
                start(assigned);
            }
            Event::Eof {
                topic,
                partition,
                offset,
            } => {
                ends.insert((topic, partition), offset);
            }
            Event::Unavailable(text) => eprintln!("{text}"),
            other => panic!("{other:?}"),
        }
    }
    chunks
}

pub async fn read_all(settings: &Settings, topic: &str, partitions: i32) -> Vec<Chunk> {
    let parts: Vec<_> = (0..partitions)
        .map(|p| (topic.to_owned(), p, Start::Beginning))
        .collect();
    let mut consumer = Consumer::assign(settings, &parts, limits()).unwrap();
    let chunks = read_to_end(&mut consumer, partitions as usize).await;
    consumer.close(Duration::from_secs(10)).await;
    chunks
}
