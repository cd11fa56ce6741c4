//! Records that could not be used, unchanged, with the reason in headers.
//!
//! A dead letter keeps key, value (null stays null) and headers; ours are added behind them: [`REASON`], [`TOPIC`],
//! [`PARTITION`], [`OFFSET`], [`TIME`], all as text. It goes to the partition number it came from.

use crate::chunk::RecordRef;
use crate::error::BusError;
use crate::producer::{Out, Producer};
use crate::settings::Settings;

/// Why, in one word, e.g. `malformed`.
pub const REASON: &str = "forewarn.reason";
/// The topic it was read from, full name.
pub const TOPIC: &str = "forewarn.topic";
/// The partition it was read from.
pub const PARTITION: &str = "forewarn.partition";
/// Its offset there.
pub const OFFSET: &str = "forewarn.offset";
/// When it was written here, ms since the epoch.
pub const TIME: &str = "forewarn.time";

/// What the dead letters' topic takes more than the topic they come from: our headers, and what they add to the batch.
pub const EXTRA_BYTES: u64 = 64 * 1024;

/// What this producer takes at most: librdkafka's own limit. The broker is the judge.
const MAX_BYTES: &str = "1000000000";

/// A producer for dead letters: any record that a broker has taken fits, ours and its headers.
///
/// # Errors
/// [`BusError::Config`] where librdkafka refuses the properties.
pub fn producer(settings: &Settings) -> Result<Producer, BusError> {
    let mut config = settings.producer();
    config.set("message.max.bytes", MAX_BYTES);
    Producer::with(settings, &config)
}

/// Queues `record` for `topic` (full name); `time_ms` is the time of now, ms since the epoch.
///
/// # Errors
/// As [`Producer::send`].
pub async fn send(
    producer: &Producer,
    topic: &str,
    record: &RecordRef<'_>,
    reason: &str,
    time_ms: i64,
) -> Result<(), BusError> {
    let kept: Vec<_> = record.headers().collect();
    let (partition, offset, time) = (
        record.partition.to_string(),
        record.offset.to_string(),
        time_ms.to_string(),
    );
    let added = [
        (REASON, reason.as_bytes()),
        (TOPIC, record.topic.as_bytes()),
        (PARTITION, partition.as_bytes()),
        (OFFSET, offset.as_bytes()),
        (TIME, time.as_bytes()),
    ];
    let out = Out {
        topic,
        partition: Some(record.partition),
        key: record.key,
        value: record.value,
        headers: &added,
        timestamp_ms: None,
    };
    producer.send_with(out, &kept).await
}
