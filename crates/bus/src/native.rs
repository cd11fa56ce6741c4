//! The one module with `unsafe`: reads fetched records from a queue of our own.
//!
//! rdkafka's safe `poll` says of an end of partition only the partition's number, not its topic or offset, so a consumer
//! of several topics could not use it. Here the partitions' queues are forwarded to one queue, whose events are read
//! directly; everything else (rebalances, errors, logs) stays on the consumer's own queue and goes through
//! `BaseConsumer::poll`.
//!
//! Limits
//! * The queue must not be read with `rd_kafka_consume_batch_queue` while end-of-partition events are on (librdkafka
//!   2.12.1): there an end event at offset n moves the application's position to n + 1 (`rd_kafka_q_serve_rkmessages`),
//!   and a pause, or the pause that librdkafka does by itself in a cooperative rebalance, then skips record n.
//! * librdkafka undoes a forwarding when a partition's fetching stops: [`FetchQueue::add`] is for each assignment.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::error::BusError;

/// Where the records of the assigned partitions arrive. Belongs to one thread.
pub(crate) struct FetchQueue<C: ConsumerContext> {
    queue: NonNull<rd::rd_kafka_queue_t>,
    /// Dropped after the queue: librdkafka must not go before its queues.
    consumer: Arc<BaseConsumer<C>>,
}

/// What came out of the queue.
pub(crate) enum Fetched<'a> {
    /// A record.
    Record(RawRecord<'a>),
    /// There is no record at `offset` (the next position) yet.
    End {
        topic: String,
        partition: i32,
        offset: i64,
    },
    /// An error of one partition or of the client.
    Error {
        code: RDKafkaErrorCode,
        fatal: bool,
        text: String,
    },
    /// Nothing within the time given.
    Nothing,
}

/// A fetched record, valid until the next call of [`FetchQueue::poll`].
pub(crate) struct RawRecord<'a>(&'a rd::rd_kafka_message_t);

/// Destroys the event when it goes out of scope.
struct Event(NonNull<rd::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `rd_kafka_queue_poll` and is destroyed once.
        unsafe { rd::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl<C: ConsumerContext> FetchQueue<C> {
    pub(crate) fn new(consumer: Arc<BaseConsumer<C>>) -> Result<Self, BusError> {
        // SAFETY: the client lives as long as `consumer`, which this struct holds.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        match NonNull::new(queue) {
            Some(queue) => Ok(FetchQueue { queue, consumer }),
            None => Err(BusError::Kafka("a queue could not be made".to_owned())),
        }
    }

    /// Lets the partition's records arrive here; before each assignment of it.
    pub(crate) fn add(&self, topic: &str, partition: i32) -> Result<(), BusError> {
        let name = CString::new(topic)
            .map_err(|_| BusError::Config("a topic's name holds a zero byte".to_owned()))?;
        // SAFETY: client and name are valid; the partition's queue is released after it was forwarded, librdkafka keeps
        // its own references to both queues.
        unsafe {
            let own = rd::rd_kafka_queue_get_partition(
                self.consumer.client().native_ptr(),
                name.as_ptr(),
                partition,
            );
            if own.is_null() {
                return Err(BusError::Kafka(format!(
                    "no queue for {topic}, partition {partition}"
                )));
            }
            rd::rd_kafka_queue_forward(own, self.queue.as_ptr());
            rd::rd_kafka_queue_destroy(own);
        }
        Ok(())
    }

    /// Hands the next thing that arrived to `then`; waits for it up to `timeout`.
    pub(crate) fn poll<R>(&self, timeout: Duration, then: impl FnOnce(Fetched<'_>) -> R) -> R {
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is ours and valid until drop.
        let event = unsafe { rd::rd_kafka_queue_poll(self.queue.as_ptr(), timeout_ms) };
        let Some(event) = NonNull::new(event).map(Event) else {
            return then(Fetched::Nothing);
        };
        // SAFETY: the event is valid until `event` is dropped, after `then` has returned; a message belongs to its event.
        unsafe {
            match rd::rd_kafka_event_type(event.0.as_ptr()) {
                rd::RD_KAFKA_EVENT_FETCH => {
                    match rd::rd_kafka_event_message_next(event.0.as_ptr()).as_ref() {
                        Some(message) => then(Fetched::Record(RawRecord(message))),
                        None => then(Fetched::Nothing),
                    }
                }
                rd::RD_KAFKA_EVENT_ERROR => then(error(event.0.as_ptr())),
                _ => then(Fetched::Nothing),
            }
        }
    }
}

impl<C: ConsumerContext> Drop for FetchQueue<C> {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed once, while the client still lives.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// # Safety
/// `event` is a valid error event.
unsafe fn error(event: *mut rd::rd_kafka_event_t) -> Fetched<'static> {
    // SAFETY: the event is valid (contract); the partition is ours to destroy (rdkafka.h) after it was read.
    unsafe {
        let code = rd::rd_kafka_event_error(event);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            let at = rd::rd_kafka_event_topic_partition(event);
            if at.is_null() {
                return Fetched::Nothing;
            }
            let end = Fetched::End {
                topic: text((*at).topic),
                partition: (*at).partition,
                offset: (*at).offset,
            };
            rd::rd_kafka_topic_partition_destroy(at);
            return end;
        }
        Fetched::Error {
            code: code.into(),
            fatal: rd::rd_kafka_event_error_is_fatal(event) != 0,
            text: text(rd::rd_kafka_event_error_string(event)),
        }
    }
}

/// # Safety
/// `c` is null or a zero-terminated string.
unsafe fn text(c: *const c_char) -> String {
    if c.is_null() {
        return String::new();
    }
    // SAFETY: not null, zero-terminated (contract).
    unsafe { CStr::from_ptr(c) }.to_string_lossy().into_owned()
}

/// # Safety
/// `data` is null or points to `len` bytes that live as long as `'a`.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Option<&'a [u8]> {
    if data.is_null() {
        return None;
    }
    // SAFETY: not null, `len` bytes (contract).
    Some(unsafe { slice::from_raw_parts(data.cast::<u8>(), len) })
}

impl<'a> RawRecord<'a> {
    /// librdkafka's handle of the topic: the same for all records of a topic while it is assigned.
    pub(crate) fn topic_id(&self) -> usize {
        self.0.rkt as usize
    }

    pub(crate) fn topic(&self) -> String {
        // SAFETY: a fetched message has a valid topic, whose name lives as long.
        unsafe { text(rd::rd_kafka_topic_name(self.0.rkt)) }
    }

    pub(crate) fn partition(&self) -> i32 {
        self.0.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.0.offset
    }

    pub(crate) fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message is valid; the type of the timestamp is not asked for.
        unsafe { rd::rd_kafka_message_timestamp(self.0, ptr::null_mut()) }
    }

    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: key and length belong together and live as long as the message.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// Names and values in order; empty for almost all records.
    pub(crate) fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let mut list = ptr::null_mut();
        // SAFETY: the message is valid; the list stays the message's and is only read.
        let code = unsafe { rd::rd_kafka_message_headers(self.0, &mut list) };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || list.is_null() {
            return Vec::new();
        }
        let mut out = Vec::new();
        loop {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is valid; an index behind its end is answered with an error.
            unsafe {
                let code =
                    rd::rd_kafka_header_get_all(list, out.len(), &mut name, &mut value, &mut len);
                if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return out;
                }
                out.push((text(name), bytes(value, len).map(<[u8]>::to_vec)));
            }
        }
    }
}

/// What the broker answered to a commit.
pub(crate) enum Committed {
    /// All offsets are stored.
    Yes,
    /// At least one is not: the first error.
    No(RDKafkaErrorCode),
    /// No answer within the time given; they may be stored or not.
    Unknown,
}

/// Commits and waits for the answer. rdkafka's own synchronous commit waits without a bound, and says nothing where only
/// some of the partitions failed.
pub(crate) fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
    timeout: Duration,
) -> Committed {
    let client = consumer.client().native_ptr();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as `consumer` is borrowed; the queue is ours and destroyed once, librdkafka keeps
    // its own reference for a late answer; the answer's list belongs to the event and is read before that is destroyed.
    unsafe {
        let queue = rd::rd_kafka_queue_new(client);
        let code = rd::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut());
        let answer = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            match NonNull::new(rd::rd_kafka_queue_poll(queue, timeout_ms)).map(Event) {
                None => Committed::Unknown,
                Some(event) => answer_of(event.0.as_ptr()),
            }
        } else {
            Committed::No(code.into())
        };
        rd::rd_kafka_queue_destroy(queue);
        answer
    }
}

/// # Safety
/// `event` is a valid answer to a commit.
unsafe fn answer_of(event: *mut rd::rd_kafka_event_t) -> Committed {
    const OK: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    // SAFETY: the event is valid (contract), its list has `cnt` elements.
    unsafe {
        let list = rd::rd_kafka_event_topic_partition_list(event);
        let each = match list.as_ref() {
            Some(list) if list.cnt > 0 && !list.elems.is_null() => {
                slice::from_raw_parts(list.elems, list.cnt as usize)
            }
            _ => &[],
        };
        let all = rd::rd_kafka_event_error(event);
        match std::iter::once(all)
            .chain(each.iter().map(|e| e.err))
            .find(|e| *e != OK)
        {
            Some(code) => Committed::No(code.into()),
            None => Committed::Yes,
        }
    }
}

/// How long a group of the client's mock cluster waits for its first members.
pub(crate) fn set_join_delay<C: ConsumerContext>(client: &BaseConsumer<C>, delay_ms: i32) {
    // SAFETY: the mock cluster belongs to the client, which is borrowed; null where it has none.
    unsafe {
        let cluster = rd::rd_kafka_handle_mock_cluster(client.client().native_ptr());
        if !cluster.is_null() {
            rd::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, delay_ms);
        }
    }
}

/// The commit metadata of a list's entries, in order. Bytes that are not UTF-8 (another program's, rdkafka's own
/// accessor would panic) become replacement characters.
pub(crate) fn commit_metadata(list: &TopicPartitionList) -> Vec<String> {
    // SAFETY: the list is valid while borrowed; it has `cnt` elements, each with `metadata_size` bytes of metadata or null.
    unsafe {
        let native = &*list.ptr();
        if native.cnt <= 0 || native.elems.is_null() {
            return Vec::new();
        }
        slice::from_raw_parts(native.elems, native.cnt as usize)
            .iter()
            .map(|e| {
                let bytes = bytes(e.metadata, e.metadata_size).unwrap_or(&[]);
                String::from_utf8_lossy(bytes).into_owned()
            })
            .collect()
    }
}
