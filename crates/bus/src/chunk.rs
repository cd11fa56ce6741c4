//! Records in bulk: one arena of bytes and one small entry a record.
//!
//! A chunk owns its bytes, so that it can cross threads and outlive the fetch it came from. Each entry points at a
//! [`Slot`]: one partition during one assignment (or between two seeks). When that ends, the slot dies, and
//! [`Chunk::prune`] takes its records out of chunks that still wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A partition, for as long as one assignment of it lasts.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    state: AtomicU8,
}

const LIVE: u8 = 0;
const ENDING: u8 = 1;
const DEAD: u8 = 2;

impl Slot {
    pub(crate) fn new(topic: Arc<str>, partition: i32) -> Arc<Slot> {
        Arc::new(Slot {
            topic,
            partition,
            state: AtomicU8::new(LIVE),
        })
    }

    /// Records of it may be handed out.
    pub(crate) fn is_live(&self) -> bool {
        self.state.load(Ordering::Acquire) == LIVE
    }

    /// Offsets of it may be committed: until the role has answered the revocation.
    pub(crate) fn is_owned(&self) -> bool {
        self.state.load(Ordering::Acquire) != DEAD
    }

    pub(crate) fn ending(&self) {
        self.state.fetch_max(ENDING, Ordering::AcqRel);
    }

    pub(crate) fn end(&self) {
        self.state.store(DEAD, Ordering::Release);
    }
}

const NULL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Meta {
    offset: i64,
    timestamp_ms: i64,
    start: usize,
    key_len: u32,
    value_len: u32,
    slot: u32,
}

type Header = (String, Option<Vec<u8>>);

/// Records of one or more partitions, in offset order within each.
#[derive(Debug, Default)]
pub struct Chunk {
    arena: Vec<u8>,
    metas: Vec<Meta>,
    slots: Vec<Arc<Slot>>,
    /// Few records have headers: kept beside, sorted by the record's index.
    headers: Vec<(usize, Vec<Header>)>,
}

/// One record, borrowed from its chunk.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// The topic's full name.
    pub topic: &'a Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
    /// Kafka's timestamp, ms since the epoch, UTC; -1 where there is none.
    pub timestamp_ms: i64,
    /// The key; `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null (a tombstone).
    pub value: Option<&'a [u8]>,
    headers: &'a [Header],
}

impl<'a> RecordRef<'a> {
    /// Name and value of each header, in order; a value may be null.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// A record that did not come out of a chunk, e.g. in a test.
    pub fn new(
        topic: &'a Arc<str>,
        partition: i32,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
    ) -> RecordRef<'a> {
        RecordRef {
            topic,
            partition,
            offset,
            timestamp_ms,
            key,
            value,
            headers: &[],
        }
    }
}

impl Chunk {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.metas.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    /// Bytes of keys and values, headers not counted.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The records, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let mut headers = self.headers.as_slice();
        self.metas.iter().enumerate().map(move |(index, meta)| {
            let mut own: &[Header] = &[];
            if let Some(((at, list), rest)) = headers.split_first()
                && *at == index
            {
                own = list;
                headers = rest;
            }
            self.record(meta, own)
        })
    }

    fn record<'a>(&'a self, meta: &Meta, headers: &'a [Header]) -> RecordRef<'a> {
        let slot = &self.slots[meta.slot as usize];
        let (key, rest) = take(&self.arena[meta.start..], meta.key_len);
        let (value, _) = take(rest, meta.value_len);
        RecordRef {
            topic: &slot.topic,
            partition: slot.partition,
            offset: meta.offset,
            timestamp_ms: meta.timestamp_ms,
            key,
            value,
            headers,
        }
    }

    /// Takes out the records of slots that are no longer live.
    pub(crate) fn prune(&mut self) {
        if self.slots.iter().all(|slot| slot.is_live()) {
            return;
        }
        let live: Vec<bool> = self.slots.iter().map(|slot| slot.is_live()).collect();
        let mut headers = std::mem::take(&mut self.headers).into_iter().peekable();
        let (mut index, mut kept) = (0, 0);
        let new_headers = &mut self.headers;
        self.metas.retain(|meta| {
            let keep = live[meta.slot as usize];
            if let Some((_, list)) = headers.next_if(|(at, _)| *at == index)
                && keep
            {
                new_headers.push((kept, list));
            }
            index += 1;
            kept += usize::from(keep);
            keep
        });
    }
}

fn take(bytes: &[u8], len: u32) -> (Option<&[u8]>, &[u8]) {
    if len == NULL {
        return (None, bytes);
    }
    let (head, rest) = bytes.split_at(len as usize);
    (Some(head), rest)
}

/// What librdkafka hands over for one record.
pub(crate) struct Incoming<'a> {
    /// Same topic, same value, for as long as one chunk is built.
    pub(crate) topic_id: usize,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// Fills chunks, and remembers which partitions stood at their end behind their last record.
#[derive(Default)]
pub(crate) struct ChunkBuilder {
    chunk: Chunk,
    /// (topic, partition) → index into the chunk's slots; `None` for partitions that are not ours.
    known: HashMap<(usize, i32), Option<u32>>,
    last: Option<((usize, i32), Option<u32>)>,
    ends: Vec<(Arc<Slot>, i64)>,
    header_bytes: usize,
    /// Sizes of the last chunk: the next one is likely to be alike.
    hint: (usize, usize),
}

/// A finished chunk and what follows it.
pub(crate) struct Built {
    pub(crate) chunk: Chunk,
    /// Partitions that have no record behind this offset (the next position).
    pub(crate) ends: Vec<(Arc<Slot>, i64)>,
}

impl ChunkBuilder {
    /// Adds a record; `find` names the slot of a partition that this chunk has not seen yet. A record of a partition
    /// without a slot is left out (false): it belongs to somebody else by now.
    pub(crate) fn push(
        &mut self,
        record: &Incoming<'_>,
        find: impl FnOnce() -> Option<Arc<Slot>>,
    ) -> bool {
        let Some(slot) = self.slot_of((record.topic_id, record.partition), find) else {
            return false;
        };
        let chunk = &mut self.chunk;
        if chunk.metas.is_empty() {
            chunk.metas.reserve(self.hint.0);
            chunk.arena.reserve(self.hint.1);
        }
        if !self.ends.is_empty() {
            let own = &chunk.slots[slot as usize];
            self.ends.retain(|(ended, _)| !Arc::ptr_eq(ended, own));
        }
        let start = chunk.arena.len();
        let key_len = add(&mut chunk.arena, record.key);
        let value_len = add(&mut chunk.arena, record.value);
        chunk.metas.push(Meta {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            start,
            key_len,
            value_len,
            slot,
        });
        true
    }

    /// Headers of the record that was added last.
    pub(crate) fn headers(&mut self, headers: Vec<Header>) {
        if let Some(index) = self.chunk.metas.len().checked_sub(1)
            && !headers.is_empty()
        {
            self.header_bytes += headers
                .iter()
                .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len))
                .sum::<usize>();
            self.chunk.headers.push((index, headers));
        }
    }

    /// The partition has no record at `offset` or behind it.
    pub(crate) fn end_of(&mut self, slot: Arc<Slot>, offset: i64) {
        self.ends.retain(|(ended, _)| !Arc::ptr_eq(ended, &slot));
        self.ends.push((slot, offset));
    }

    pub(crate) fn len(&self) -> usize {
        self.chunk.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.chunk.bytes() + self.header_bytes
    }

    /// Whether there is anything to hand over.
    pub(crate) fn has_news(&self) -> bool {
        !self.chunk.is_empty() || !self.ends.is_empty()
    }

    /// To be called when slots have changed: partitions are looked up again.
    pub(crate) fn forget_slots(&mut self) {
        self.known.clear();
        self.last = None;
    }

    /// The chunk so far; the next one starts empty.
    pub(crate) fn finish(&mut self) -> Built {
        self.hint = (self.chunk.len(), self.chunk.bytes());
        self.forget_slots();
        self.header_bytes = 0;
        Built {
            chunk: std::mem::take(&mut self.chunk),
            ends: std::mem::take(&mut self.ends),
        }
    }

    fn slot_of(
        &mut self,
        key: (usize, i32),
        find: impl FnOnce() -> Option<Arc<Slot>>,
    ) -> Option<u32> {
        if let Some((last, slot)) = self.last
            && last == key
        {
            return slot;
        }
        let slots = &mut self.chunk.slots;
        let slot = *self.known.entry(key).or_insert_with(|| {
            slots.push(find()?);
            u32::try_from(slots.len() - 1).ok()
        });
        self.last = Some((key, slot));
        slot
    }
}

/// Kafka's lengths are 32 bits: a key or value is never as long as [`NULL`].
fn add(arena: &mut Vec<u8>, bytes: Option<&[u8]>) -> u32 {
    let Some(bytes) = bytes else { return NULL };
    arena.extend_from_slice(bytes);
    bytes.len() as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn slot(topic: &str, partition: i32) -> Arc<Slot> {
        Slot::new(Arc::from(topic), partition)
    }

    fn push(builder: &mut ChunkBuilder, slot: &Arc<Slot>, offset: i64, value: Option<&[u8]>) {
        let record = Incoming {
            topic_id: slot.topic.as_ptr() as usize,
            partition: slot.partition,
            offset,
            timestamp_ms: offset * 10,
            key: Some(b"k"),
            value,
        };
        assert!(builder.push(&record, || Some(Arc::clone(slot))));
    }

    type Seen = (String, i32, i64, Option<Vec<u8>>, usize);

    fn seen(chunk: &Chunk) -> Vec<Seen> {
        chunk
            .iter()
            .map(|r| {
                assert_eq!(r.key, Some(b"k".as_slice()));
                assert_eq!(r.timestamp_ms, r.offset * 10);
                let value = r.value.map(<[u8]>::to_vec);
                (
                    r.topic.to_string(),
                    r.partition,
                    r.offset,
                    value,
                    r.headers().count(),
                )
            })
            .collect()
    }

    #[test]
    fn null_and_empty_values_are_told_apart() {
        let a = slot("a", 0);
        let mut builder = ChunkBuilder::default();
        push(&mut builder, &a, 1, None);
        push(&mut builder, &a, 2, Some(b""));
        push(&mut builder, &a, 3, Some(b"xyz"));
        let chunk = builder.finish().chunk;
        assert_eq!(
            seen(&chunk),
            [
                ("a".into(), 0, 1, None, 0),
                ("a".into(), 0, 2, Some(vec![]), 0),
                ("a".into(), 0, 3, Some(b"xyz".to_vec()), 0),
            ]
        );
        assert_eq!(chunk.bytes(), 6);
    }

    #[test]
    fn records_of_a_slot_that_ended_are_pruned_with_their_headers() {
        let (a, b) = (slot("t", 0), slot("t", 1));
        let mut builder = ChunkBuilder::default();
        for (of, offset) in [(&a, 1), (&b, 7), (&a, 2), (&b, 8)] {
            push(&mut builder, of, offset, Some(b"v"));
            builder.headers(vec![("h".into(), Some(vec![offset as u8]))]);
        }
        let mut chunk = builder.finish().chunk;
        a.ending();
        chunk.prune();
        assert_eq!(
            seen(&chunk),
            [
                ("t".into(), 1, 7, Some(b"v".to_vec()), 1),
                ("t".into(), 1, 8, Some(b"v".to_vec()), 1),
            ]
        );
        let headers: Vec<_> = chunk
            .iter()
            .flat_map(|r| r.headers().collect::<Vec<_>>())
            .collect();
        assert_eq!(
            headers,
            [("h", Some([7u8].as_slice())), ("h", Some([8u8].as_slice()))]
        );
    }

    #[test]
    fn an_end_is_forgotten_when_a_record_comes_behind_it() {
        let (a, b) = (slot("t", 0), slot("t", 1));
        let mut builder = ChunkBuilder::default();
        push(&mut builder, &a, 1, None);
        builder.end_of(Arc::clone(&a), 2);
        builder.end_of(Arc::clone(&b), 0);
        push(&mut builder, &a, 2, None);
        let ends = builder.finish().ends;
        assert_eq!(ends.len(), 1);
        assert_eq!((ends[0].0.partition, ends[0].1), (1, 0));
    }

    #[test]
    fn a_record_of_a_partition_that_is_not_ours_is_left_out() {
        let mut builder = ChunkBuilder::default();
        let record = Incoming {
            topic_id: 1,
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: None,
        };
        assert!(!builder.push(&record, || None));
        assert!(!builder.has_news());
    }

    #[test]
    fn a_slot_goes_from_live_over_ending_to_dead() {
        let slot = slot("t", 0);
        assert!(slot.is_live() && slot.is_owned());
        slot.ending();
        assert!(!slot.is_live() && slot.is_owned());
        slot.end();
        assert!(!slot.is_live() && !slot.is_owned());
        slot.ending();
        assert!(!slot.is_owned());
    }
}
