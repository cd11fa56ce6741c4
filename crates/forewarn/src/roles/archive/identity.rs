//! Whether a partition still holds the records that its chain was written from.
//!
//! A topic that was deleted and made again starts at offset 0 with other records. Once it has
//! outgrown the chain its watermarks look right, and only a record tells: of each partition one
//! that was archived is read again and its fingerprint compared with the chain's (`lake`, rule 5).
//!
//! Not seen: a recreated topic where no record with a known fingerprint is left to be read, since
//! retention or compaction has removed it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bus::{AssignedPartition, Consumer, Event, Limits, Start};
use lake::archive::{Chain, record_crc};

/// How long the records may take: the group waits for the assignment's answer meanwhile.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// One record of a partition is enough; what was fetched behind it is dropped.
const LIMITS: Limits = Limits {
    max_records: 100,
    max_bytes: 1 << 20,
    max_wait: Duration::from_millis(5),
    queue_chunks: 1,
};

type Key = (Arc<str>, i32);

/// The newest record with a fingerprint that the partition can still have.
pub(super) fn known_offset(chain: &Chain, part: &AssignedPartition) -> Option<i64> {
    let mut offsets = chain.fingerprints().iter().map(|known| known.offset);
    offsets.find(|offset| (part.low..part.high).contains(offset))
}

/// Reads the first record of each partition from its offset on: its offset and fingerprint.
/// Partitions that have none any more are left out.
///
/// # Errors
/// The broker did not give the records in time.
pub(super) async fn read(
    settings: &bus::Settings,
    known: BTreeMap<Key, i64>,
) -> Result<BTreeMap<Key, (i64, u32)>> {
    if known.is_empty() {
        return Ok(BTreeMap::new());
    }
    let starts: Vec<_> = known
        .iter()
        .map(|((topic, p), offset)| (topic.to_string(), *p, Start::Offset(*offset)))
        .collect();
    let mut consumer = Consumer::assign(settings, &starts, LIMITS)?;
    let mut waiting: BTreeSet<Key> = known.into_keys().collect();
    let reading = read_firsts(&mut consumer, &mut waiting);
    let read = tokio::time::timeout(READ_WITHIN, reading).await;
    consumer.close(crate::roles::CLOSE_WITHIN).await;
    let read = read.unwrap_or_else(|_| {
        let (topic, partition) = waiting.pop_first().unwrap_or_default();
        let seconds = READ_WITHIN.as_secs();
        Err(anyhow!(
            "no record of {topic}/{partition} came within {seconds} s"
        ))
    });
    read.context("compare the topics with what was archived of them")
}

async fn read_firsts(
    consumer: &mut Consumer,
    waiting: &mut BTreeSet<Key>,
) -> Result<BTreeMap<Key, (i64, u32)>> {
    let mut found = BTreeMap::new();
    while !waiting.is_empty() {
        match consumer.next().await {
            Event::Chunk(chunk) => {
                for record in chunk.iter() {
                    let key = (Arc::clone(record.topic), record.partition);
                    if waiting.remove(&key) {
                        let crc32c = record_crc(record.key, record.value);
                        found.insert(key, (record.offset, crc32c));
                    }
                }
            }
            Event::Eof {
                topic, partition, ..
            } => {
                waiting.remove(&(topic, partition));
            }
            Event::Unavailable(line) => tracing::warn!("{line}"),
            Event::Fatal(error) => return Err(error.into()),
            // Fixed partitions are neither given nor taken.
            Event::Assigned(_) | Event::Revoked(_) => {}
        }
    }
    Ok(found)
}
