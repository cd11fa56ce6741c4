//! The way out: records are queued, and a flush says whether all of them arrived.
//!
//! Idempotent (no repeats or gaps through retries), batches by time (`linger.ms`) and size, lz4. Nobody waits for a single
//! record: delivery reports only count. A role sends a batch, flushes, and commits its input only if the flush is `Ok`.
//!
//! It is not: for several owners. `flush` speaks for everything that was sent since the last one, whoever sent it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client;
use crate::error::{BusError, one_line};
use crate::settings::Settings;

/// How long `send` waits for room in the queue: longer than a broker's restart. After it, the broker is as good as away.
const ROOM_TIMEOUT: Duration = Duration::from_secs(60);
/// Looks again for room even if no delivery report woke it.
const ROOM_LOOK_EVERY: Duration = Duration::from_millis(20);

/// A record to send.
#[derive(Debug, Clone, Copy, Default)]
pub struct Out<'a> {
    /// The topic's full name.
    pub topic: &'a str,
    /// `None` places it by the key's murmur2 hash, as Java's default does.
    pub partition: Option<i32>,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is null (a tombstone).
    pub value: Option<&'a [u8]>,
    /// Names and values.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// ms since the epoch, UTC; `None` lets librdkafka write the time of sending.
    pub timestamp_ms: Option<i64>,
}

/// What a flush found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// Records that arrived since the flush before.
    pub delivered: u64,
}

#[derive(Default)]
struct Counts {
    queued: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<BusError>>,
    fatal: Mutex<Option<BusError>>,
    /// Rung when everything that was queued is answered.
    answered: Notify,
}

impl Counts {
    fn open(&self) -> u64 {
        let answered = self.delivered.load(Ordering::Acquire) + self.failed.load(Ordering::Acquire);
        self.queued.load(Ordering::Acquire).saturating_sub(answered)
    }

    fn ring_if_answered(&self) {
        if self.open() == 0 {
            self.answered.notify_waiters();
        }
    }
}

struct Reports {
    counts: Arc<Counts>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error
            .rdkafka_error_code()
            .unwrap_or(RDKafkaErrorCode::Unknown);
        let error = BusError::from_code(code, reason);
        if error.is_fatal() || code == RDKafkaErrorCode::Fatal {
            put(&self.counts.fatal, BusError::broken(code, reason));
        } else {
            // librdkafka tries again; if that does not help, the delivery reports say so.
            tracing::debug!(code = ?code, reason = %one_line(reason), "kafka producer");
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.counts.delivered.fetch_add(1, Ordering::AcqRel);
            }
            Err((error, message)) => {
                use rdkafka::Message;
                let text = format!(
                    "{}, {} bytes to {}/{}",
                    error
                        .rdkafka_error_code()
                        .map_or(error.to_string(), |c| c.to_string()),
                    message.payload_len(),
                    message.topic(),
                    message.partition()
                );
                let code = error
                    .rdkafka_error_code()
                    .unwrap_or(RDKafkaErrorCode::Unknown);
                put(&self.counts.first_failure, BusError::from_code(code, &text));
                self.counts.failed.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.counts.ring_if_answered();
    }
}

/// Keeps the first one.
fn put(place: &Mutex<Option<BusError>>, error: BusError) {
    place
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert(error);
}

/// Sends records. Dropped with records in flight, these are lost: flush first.
pub struct Producer {
    client: ThreadedProducer<Reports>,
    counts: Arc<Counts>,
    /// Delivered and failed before the last flush.
    delivered_before: AtomicU64,
    failed_before: AtomicU64,
    brokers: String,
}

impl Producer {
    /// A producer for these brokers; returns at once, connecting goes on in the background.
    ///
    /// # Errors
    /// [`BusError::Config`] where librdkafka refuses the properties.
    pub fn new(settings: &Settings) -> Result<Producer, BusError> {
        Producer::with(settings, &settings.producer())
    }

    pub(crate) fn with(settings: &Settings, config: &ClientConfig) -> Result<Producer, BusError> {
        if settings.brokers.trim().is_empty() {
            return Err(BusError::Config(
                "kafka.brokers is empty, expected host:port".to_owned(),
            ));
        }
        let counts = Arc::new(Counts::default());
        let reports = Reports {
            counts: Arc::clone(&counts),
        };
        Ok(Producer {
            client: ThreadedProducer::from_config_and_context(config, reports)?,
            counts,
            delivered_before: AtomicU64::new(0),
            failed_before: AtomicU64::new(0),
            brokers: settings.brokers.clone(),
        })
    }

    /// Queues a record; waits while the queue is full, for a minute at most. Cancelled while it waits, the record was not
    /// queued.
    ///
    /// # Errors
    /// [`BusError::Refused`]: it can never be stored; [`BusError::Timeout`]: the queue stayed full; [`BusError::Fenced`]
    /// and other fatal errors: make a new producer or stop.
    pub async fn send(&self, out: Out<'_>) -> Result<(), BusError> {
        self.send_with(out, &[]).await
    }

    /// `kept`: headers before those of `out`, whose values may be null.
    pub(crate) async fn send_with(
        &self,
        out: Out<'_>,
        kept: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BusError> {
        let mut until = None;
        loop {
            if let Some(fatal) = self.fatal() {
                return Err(fatal);
            }
            // Counted before it is queued, so that its report never comes first.
            self.counts.queued.fetch_add(1, Ordering::AcqRel);
            let error = match self.client.send(record(&out, kept)) {
                Ok(()) => return Ok(()),
                Err((error, _)) => error,
            };
            self.counts.queued.fetch_sub(1, Ordering::AcqRel);
            self.counts.ring_if_answered();
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {}
                Some(code) => {
                    let text = format!("{code}, to {}", out.topic);
                    return Err(BusError::from_code(code, &text));
                }
                None => return Err(error.into()),
            }
            let until = *until.get_or_insert_with(|| Instant::now() + ROOM_TIMEOUT);
            if Instant::now() >= until {
                return Err(BusError::Timeout(format!(
                    "the queue to {} stayed full for {} s",
                    self.brokers,
                    ROOM_TIMEOUT.as_secs()
                )));
            }
            tokio::time::sleep(ROOM_LOOK_EVERY).await;
        }
    }

    /// Waits until every record that was sent has arrived or failed (librdkafka gives one up after
    /// `delivery.timeout.ms`, 5 minutes by default).
    ///
    /// # Errors
    /// [`BusError::Delivery`] where any record since the flush before did not arrive; [`BusError::Refused`] where the first
    /// of them can never be stored; a fatal error of the client.
    pub async fn flush(&self) -> Result<Flushed, BusError> {
        loop {
            let answered = self.counts.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            if self.counts.open() == 0 {
                break;
            }
            answered.await;
        }
        let since = |count: &AtomicU64, before: &AtomicU64| {
            let now = count.load(Ordering::Acquire);
            now.saturating_sub(before.swap(now, Ordering::AcqRel))
        };
        let delivered = since(&self.counts.delivered, &self.delivered_before);
        let failed = since(&self.counts.failed, &self.failed_before);
        let first = self
            .counts
            .first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(fatal) = self.fatal() {
            return Err(fatal);
        }
        match first {
            None if failed == 0 => Ok(Flushed { delivered }),
            Some(refused @ BusError::Refused(_)) => Err(refused),
            other => Err(BusError::Delivery {
                failed,
                reason: other.map_or_else(|| "unknown".to_owned(), |e| e.to_string()),
            }),
        }
    }

    /// Records that were sent and not answered yet.
    pub fn in_flight(&self) -> u64 {
        self.counts.open()
    }

    /// Records that arrived, since this producer was made.
    pub fn delivered_total(&self) -> u64 {
        self.counts.delivered.load(Ordering::Acquire)
    }

    fn fatal(&self) -> Option<BusError> {
        let noted = self
            .counts
            .fatal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let native = self.client.client().fatal_error();
        Some(native.map_or(noted, |(code, text)| BusError::broken(code, &text)))
    }
}

fn record<'a>(out: &Out<'a>, kept: &[(&str, Option<&[u8]>)]) -> BaseRecord<'a, [u8], [u8], ()> {
    let count = kept.len() + out.headers.len();
    let headers = (count > 0).then(|| {
        let added = out.headers.iter().map(|(key, value)| (*key, Some(*value)));
        kept.iter().copied().chain(added).fold(
            OwnedHeaders::new_with_capacity(count),
            |headers, (key, value)| headers.insert(Header { key, value }),
        )
    });
    BaseRecord {
        topic: out.topic,
        partition: out.partition,
        payload: out.value,
        key: out.key,
        timestamp: out.timestamp_ms,
        headers,
        delivery_opaque: (),
    }
}
