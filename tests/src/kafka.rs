//! Plain reading and writing of topics, independent of the program's own client code.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;

/// A record as it lies in the topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Timestamp in ms.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A consumer without a group.
///
/// # Panics
/// When the client cannot be made.
pub fn consumer(brokers: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .expect("make a consumer")
}

/// A client that may change topics, and what runs it.
fn admin(brokers: &str) -> (AdminClient<DefaultClientContext>, Runtime) {
    let admin = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .expect("make an admin client");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("make a runtime");
    (admin, runtime)
}

/// Creates a topic.
///
/// # Panics
/// When the broker does not create it.
pub fn create_topic(brokers: &str, topic: &str, partitions: i32) {
    let (admin, runtime) = admin(brokers);
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let created = runtime.block_on(admin.create_topics(&[new], &AdminOptions::new()));
    for result in created.expect("the broker answers") {
        result.expect("the topic is created");
    }
}

/// Low and high watermarks of each partition.
///
/// # Panics
/// When the broker does not answer.
pub fn watermarks(brokers: &str, topic: &str) -> Vec<(i64, i64)> {
    let consumer = consumer(brokers);
    let within = Duration::from_secs(20);
    let metadata = consumer
        .fetch_metadata(Some(topic), within)
        .expect("fetch metadata");
    let partitions = metadata.topics()[0].partitions().len();
    (0..partitions)
        .map(|p| {
            // A topic that was made just now is not known to all of the broker at once.
            (0..20)
                .find_map(|_| {
                    let found = consumer.fetch_watermarks(topic, p as i32, within).ok();
                    if found.is_none() {
                        std::thread::sleep(Duration::from_millis(500));
                    }
                    found
                })
                .expect("watermarks")
        })
        .collect()
}

/// Everything in a topic, by partition and offset.
///
/// # Panics
/// When it cannot be read within two minutes.
pub fn read_all(brokers: &str, topic: &str) -> Vec<Raw> {
    let ends = watermarks(brokers, topic);
    let consumer = consumer(brokers);
    let mut list = TopicPartitionList::new();
    for partition in 0..ends.len() {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning)
            .expect("list");
    }
    consumer.assign(&list).expect("assign");
    let wanted: i64 = ends.iter().map(|(low, high)| high - low).sum();
    let mut records = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    let until = Instant::now() + Duration::from_secs(120);
    while (records.len() as i64) < wanted {
        assert!(
            Instant::now() < until,
            "read {} of {wanted} records of {topic}",
            records.len()
        );
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.expect("read");
        records.push(Raw {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().map_or_else(Vec::new, |headers| {
                let plain =
                    |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.unwrap_or_default().to_vec());
                headers.iter().map(plain).collect()
            }),
        });
    }
    records.sort_by_key(|r| (r.partition, r.offset));
    records
}

/// How many records a topic has taken so far.
///
/// # Panics
/// When the broker does not answer.
pub fn count(brokers: &str, topic: &str) -> i64 {
    watermarks(brokers, topic)
        .iter()
        .map(|(_, high)| high)
        .sum()
}

/// Partition, key and value of a record to send.
pub type Outgoing<'a> = (i32, Option<&'a [u8]>, Option<&'a [u8]>);

/// Sends records and waits until all are there.
///
/// # Panics
/// When that fails.
pub fn send(brokers: &str, topic: &str, records: &[Outgoing<'_>]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("message.max.bytes", "2000000")
        .set("linger.ms", "5")
        .create()
        .expect("make a producer");
    for (partition, key, value) in records {
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic)
                .partition(*partition)
                .headers(OwnedHeaders::new().insert(Header {
                    key: "origin",
                    value: Some("test"),
                }));
            if let Some(key) = key {
                record = record.key(key);
            }
            if let Some(value) = value {
                record = record.payload(value);
            }
            if producer.send(record).is_ok() {
                break;
            }
            producer.poll(Duration::from_millis(20));
        }
    }
    producer.flush(Duration::from_secs(60)).expect("deliver");
}

/// Deletes a topic and waits until the broker has forgotten it.
///
/// # Panics
/// When it is still there after a minute.
pub fn delete_topic(brokers: &str, topic: &str) {
    let (admin, runtime) = admin(brokers);
    let deleted = runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new()));
    deleted
        .expect("ask for the deletion")
        .remove(0)
        .expect("delete the topic");
    let consumer = consumer(brokers);
    let until = Instant::now() + Duration::from_secs(60);
    let is_there = || {
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(20));
        let metadata = metadata.expect("fetch metadata");
        metadata.topics().iter().any(|found| found.name() == topic)
    };
    while is_there() {
        assert!(Instant::now() < until, "{topic} is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Remembers how the last delivery ended.
struct LastDelivery(Mutex<Option<bool>>);

impl ClientContext for LastDelivery {}

impl ProducerContext for LastDelivery {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        *self.0.lock().expect("lock") = Some(result.is_ok());
    }
}

/// Sends the largest value that the broker takes with this key and these headers, to partition 0: one byte more is
/// refused. `limit` is the topic's `max.message.bytes`. Returns the value.
///
/// # Panics
/// When none is taken.
pub fn send_largest(
    brokers: &str,
    topic: &str,
    key: &[u8],
    headers: &[(&str, &[u8])],
    limit: usize,
) -> Vec<u8> {
    let producer: BaseProducer<LastDelivery> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("message.max.bytes", "2000000")
        .create_with_context(LastDelivery(Mutex::new(None)))
        .expect("make a producer");
    let taken = |size: usize| {
        let value = vec![0xC3; size];
        let mut all = OwnedHeaders::new();
        for (name, value) in headers {
            all = all.insert(Header {
                key: name,
                value: Some(*value),
            });
        }
        let record = BaseRecord::to(topic).partition(0).key(key);
        let sent = producer.send(record.headers(all).payload(&value));
        assert!(sent.is_ok(), "queue {size} bytes");
        producer.flush(Duration::from_secs(20)).expect("deliver");
        let ended = producer.context().0.lock().expect("lock").take();
        ended.expect("a delivery report").then_some(value)
    };
    // What surrounds key, value and headers in a batch of one record is less than 300 bytes.
    let carried: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let most = limit - key.len() - carried;
    // All sizes below the largest are taken, so halving finds it.
    let (mut fits, mut largest) = (most - 300, None);
    let mut refused = most + 1;
    while refused - fits > 1 {
        let size = fits.midpoint(refused);
        match taken(size) {
            Some(value) => (fits, largest) = (size, Some(value)),
            None => refused = size,
        }
    }
    largest.expect("a size that fits")
}
