//! What a consumer's thread tells its role, and the bounded queue between the two.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::chunk::Chunk;
use crate::error::BusError;

/// Where to start reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this offset.
    Offset(i64),
    /// At the oldest record that is there.
    Beginning,
    /// Behind the newest record, as of the assignment.
    End,
}

/// Where to start each partition.
pub(crate) type Starts = Vec<(Arc<str>, i32, Start)>;

/// The next thing that happened.
#[derive(Debug)]
pub enum Event {
    /// Records, in offset order within each partition.
    Chunk(Chunk),
    /// Partitions are given to this consumer: nothing is fetched until it is answered with [`Assigned::start`].
    Assigned(Assigned),
    /// Partitions are taken away: commit what is finished, then answer with [`Revoked::done`].
    Revoked(Revoked),
    /// Everything below `offset` (the next position) was handed out, and there was nothing more.
    Eof {
        /// The topic's full name.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The offset that the next record will have at least.
        offset: i64,
    },
    /// Something is out of order that librdkafka tries again by itself, e.g. no broker answers; one line, with the address.
    Unavailable(String),
    /// No further event will come but this one.
    Fatal(BusError),
}

/// Partitions that were given to this consumer. Dropped unanswered, they are not read.
#[derive(Debug)]
pub struct Assigned {
    /// May be empty: more consumers than partitions.
    pub partitions: Vec<AssignedPartition>,
    pub(crate) answer: Option<SyncSender<Starts>>,
}

/// A partition, its offsets and what was committed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedPartition {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The group's committed offset; `None` where there is none.
    pub committed: Option<i64>,
    /// The metadata that was committed with it, else empty.
    pub metadata: String,
    /// The oldest offset that is there.
    pub low: i64,
    /// The offset that the next record will have.
    pub high: i64,
}

impl Assigned {
    /// Starts reading. A partition that is not named starts at its committed offset, else at its beginning.
    pub fn start(mut self, starts: Vec<(Arc<str>, i32, Start)>) {
        if let Some(answer) = self.answer.take() {
            // The thread stops listening at its deadline: then the consumer has failed, and says so.
            let _ = answer.send(starts);
        }
    }
}

/// Partitions that are being taken away. Dropping it answers too.
#[derive(Debug)]
pub struct Revoked {
    /// Which ones.
    pub partitions: Vec<(Arc<str>, i32)>,
    /// They were lost (the session ended): others may own them already, commits for them are refused.
    pub lost: bool,
    pub(crate) answer: Option<SyncSender<()>>,
}

impl Revoked {
    /// Gives them up: from here on commits for them are refused.
    pub fn done(mut self) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(());
        }
    }
}

/// Events from the thread to the role. Chunks wait for room; the other events are few and always fit: rebalances wait
/// for their answer, ends come once a chunk and partition, and an [`Event::Unavailable`] replaces one before it.
pub(crate) struct Inbox {
    state: Mutex<State>,
    room: Condvar,
    news: Notify,
    max_chunks: usize,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    chunks: usize,
    /// Why no more events will come.
    ended: Option<BusError>,
}

impl Inbox {
    pub(crate) fn new(max_chunks: usize) -> Inbox {
        Inbox {
            state: Mutex::default(),
            room: Condvar::new(),
            news: Notify::new(),
            max_chunks: max_chunks.max(1),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room up to `wait`; gives the chunk back if there was none.
    pub(crate) fn push_chunk(&self, chunk: Chunk, wait: Duration) -> Result<(), Chunk> {
        let deadline = Instant::now() + wait;
        let mut state = self.state();
        while state.chunks >= self.max_chunks {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(chunk);
            }
            state = self
                .room
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.chunks += 1;
        state.events.push_back(Event::Chunk(chunk));
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    pub(crate) fn push(&self, event: Event) {
        let mut state = self.state();
        if matches!(event, Event::Unavailable(_))
            && matches!(state.events.back(), Some(Event::Unavailable(_)))
        {
            state.events.pop_back();
        }
        state.events.push_back(event);
        drop(state);
        self.news.notify_one();
    }

    /// No more events will come; [`Inbox::next`] gives `why` once the others are taken.
    pub(crate) fn end(&self, why: BusError) {
        self.state().ended.get_or_insert(why);
        self.news.notify_one();
    }

    /// Cancel-safe: nothing is taken before it is returned.
    pub(crate) async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.pop() {
                return event;
            }
            self.news.notified().await;
        }
    }

    fn pop(&self) -> Option<Event> {
        loop {
            let mut state = self.state();
            let Some(event) = state.events.pop_front() else {
                return state.ended.clone().map(Event::Fatal);
            };
            match event {
                Event::Chunk(mut chunk) => {
                    state.chunks -= 1;
                    drop(state);
                    self.room.notify_one();
                    chunk.prune();
                    if !chunk.is_empty() {
                        return Some(Event::Chunk(chunk));
                    }
                }
                other => return Some(other),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkBuilder, Incoming, Slot};

    fn chunk(slot: &Arc<Slot>) -> Chunk {
        let mut builder = ChunkBuilder::default();
        let record = Incoming {
            topic_id: 1,
            partition: slot.partition,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: None,
        };
        builder.push(&record, || Some(Arc::clone(slot)));
        builder.finish().chunk
    }

    #[tokio::test]
    async fn chunks_wait_for_room_and_other_events_do_not() {
        let inbox = Inbox::new(1);
        let slot = Slot::new(Arc::from("t"), 0);
        assert!(inbox.push_chunk(chunk(&slot), Duration::ZERO).is_ok());
        assert!(
            inbox
                .push_chunk(chunk(&slot), Duration::from_millis(5))
                .is_err()
        );
        inbox.push(Event::Unavailable("a".into()));
        inbox.push(Event::Unavailable("b".into()));
        inbox.end(BusError::Closed);
        assert!(matches!(inbox.next().await, Event::Chunk(_)));
        assert!(matches!(inbox.next().await, Event::Unavailable(text) if text == "b"));
        assert!(matches!(inbox.next().await, Event::Fatal(BusError::Closed)));
        assert!(matches!(inbox.next().await, Event::Fatal(BusError::Closed)));
    }

    #[tokio::test]
    async fn a_waiting_chunk_of_a_revoked_partition_does_not_come_out() {
        let inbox = Inbox::new(2);
        let slot = Slot::new(Arc::from("t"), 0);
        inbox.push_chunk(chunk(&slot), Duration::ZERO).unwrap();
        slot.ending();
        inbox.push(Event::Unavailable("next".into()));
        assert!(matches!(inbox.next().await, Event::Unavailable(_)));
        assert!(inbox.push_chunk(chunk(&slot), Duration::ZERO).is_ok());
    }

    #[tokio::test]
    async fn a_cancelled_next_loses_nothing() {
        let inbox = Inbox::new(1);
        let slot = Slot::new(Arc::from("t"), 0);
        let cancelled = tokio::time::timeout(Duration::from_millis(1), inbox.next()).await;
        assert!(cancelled.is_err());
        inbox.push_chunk(chunk(&slot), Duration::ZERO).unwrap();
        let mut next = Box::pin(inbox.next());
        assert!(matches!((&mut next).await, Event::Chunk(_)));
    }
}
