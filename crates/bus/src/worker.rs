//! The thread that owns a consumer: serves librdkafka, builds chunks, carries out rebalances.
//!
//! Its loop is *serve the client's queue → hand over or fill a chunk*, and none of its waits is longer than [`SLICE`],
//! except for the role's answer to a rebalance (bounded by a deadline below the session timeout). While the role has no
//! room for a chunk, nothing is fetched, but the client is still served: a slow role stays in its group.
//!
//! It is not: a judge of offsets. Where a partition starts is what the role answers.

mod rebalance;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::chunk::{Built, ChunkBuilder, Incoming};
use crate::client::{Context, Problem, Rebalance, decline, unreachable};
use crate::error::BusError;
use crate::event::{Event, Start};
use crate::native::{FetchQueue, Fetched};
use crate::settings::{Limits, Settings};
use crate::shared::{Command, Mode, Shared, lock};

/// How long one step may wait: the delay of rebalances and commands. Shorter wakes an idle consumer more often.
const SLICE: Duration = Duration::from_millis(50);
/// Time for one request to a broker (committed offsets, ends of a partition).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Events of the client's queue that are served at a time.
const SERVE_AT_ONCE: usize = 8;
/// The clock is read once in so many records.
const RECORDS_PER_CLOCK: usize = 256;

/// The thread's own state.
pub(crate) struct Worker {
    client: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    limits: Limits,
    brokers: String,
    deadline: Duration,
    queue: Option<FetchQueue<Context>>,
    builder: ChunkBuilder,
    /// When the chunk that is being built is handed over, full or not.
    flush_at: Option<Instant>,
    /// A finished chunk that waits for room.
    pending: Option<Built>,
    /// What the connections said last.
    last_transport: Option<String>,
    failed: bool,
}

/// What one look into the fetch queue brought.
#[derive(PartialEq)]
enum Step {
    Something,
    Nothing,
}

impl Worker {
    pub(crate) fn new(
        client: Arc<BaseConsumer<Context>>,
        shared: Arc<Shared>,
        settings: &Settings,
        limits: Limits,
    ) -> Worker {
        Worker {
            client,
            shared,
            limits,
            brokers: settings.brokers.clone(),
            deadline: settings.rebalance_deadline(),
            queue: None,
            builder: ChunkBuilder::default(),
            flush_at: None,
            pending: None,
            last_transport: None,
            failed: false,
        }
    }

    /// Runs until the consumer is closed or has failed.
    pub(crate) fn run(mut self, mode: Mode) {
        match FetchQueue::new(Arc::clone(&self.client)) {
            Ok(queue) => self.queue = Some(queue),
            Err(error) => self.fail(error),
        }
        if !self.failed
            && let Err(error) = self.begin(mode)
        {
            self.fail(error);
        }
        while !self.failed && !self.shared.stopping() {
            self.serve();
            if self.pending.is_some() {
                self.hand_over();
            } else {
                self.fill();
            }
        }
        self.finish();
    }

    fn begin(&mut self, mode: Mode) -> Result<(), BusError> {
        match mode {
            Mode::Group(topics) => {
                let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
                self.client.subscribe(&topics)?;
                Ok(())
            }
            Mode::Fixed(partitions) => {
                let mut starts = Vec::with_capacity(partitions.len());
                for (topic, partition, start) in partitions {
                    let Some(offset) = self.fixed_start(&topic, partition, start) else {
                        return Ok(());
                    };
                    starts.push((topic, partition, offset));
                }
                self.take(&starts, false)
            }
        }
    }

    /// Where to start: "the end" is the end as of now, so that nothing written later is missed. Asks a broker in any case
    /// (librdkafka would look for the partition's leader only after a second), and waits for one; `None` when stopped
    /// meanwhile.
    fn fixed_start(&mut self, topic: &str, partition: i32, start: Start) -> Option<Offset> {
        while !self.shared.stopping() && !self.failed {
            match self
                .client
                .fetch_watermarks(topic, partition, REQUEST_TIMEOUT)
            {
                Ok((_, high)) => {
                    return Some(match start {
                        Start::Offset(offset) => Offset::Offset(offset.max(0)),
                        Start::Beginning => Offset::Beginning,
                        Start::End => Offset::Offset(high),
                    });
                }
                Err(error) => self.not_yet(error),
            }
            self.serve();
        }
        None
    }

    /// A request failed that is tried again.
    fn not_yet(&mut self, error: KafkaError) {
        let error = unreachable(&self.brokers, error, self.last_transport.clone());
        if error.is_fatal() {
            self.fail(error);
        } else {
            self.shared
                .inbox
                .push(Event::Unavailable(error.to_string()));
            std::thread::sleep(SLICE);
        }
    }

    fn fail(&mut self, error: BusError) {
        self.failed = true;
        self.shared.inbox.end(error);
    }

    /// Errors, rebalances, commands.
    fn serve(&mut self) {
        for _ in 0..SERVE_AT_ONCE {
            let polled = self.client.poll(Duration::ZERO);
            let fatal = match polled {
                // The text comes through the context.
                Some(Err(KafkaError::MessageConsumptionFatal(_))) => true,
                Some(Err(_)) | None => false,
                Some(Ok(message)) => {
                    use rdkafka::Message;
                    let (topic, partition) = (message.topic(), message.partition());
                    let text = format!("a record of {topic}/{partition} came past the queue");
                    drop(message);
                    self.fail(BusError::Kafka(text));
                    return;
                }
            };
            while let Some(problem) = self.client.context().next_problem() {
                self.report(problem, fatal);
            }
            while let Some(rebalance) = self.client.context().next_rebalance() {
                match rebalance {
                    Rebalance::Assign(partitions) => self.assigned(partitions),
                    Rebalance::Revoke { partitions, lost } => self.revoked(partitions, lost),
                }
            }
        }
        loop {
            let command = lock(&self.shared.commands).waiting.pop_front();
            match command {
                Some(Command::Seek { to, reply }) => {
                    // Nobody may wait for the answer any more.
                    let _ = reply.send(self.seek(&to));
                }
                None => return,
            }
        }
    }

    fn report(&mut self, problem: Problem, fatal: bool) {
        use RDKafkaErrorCode as C;
        let error = BusError::from_code(problem.code, &problem.text);
        if fatal {
            return self.fail(BusError::broken(problem.code, &problem.text));
        }
        if error.is_fatal() {
            return self.fail(error);
        }
        match problem.code {
            // One connection: only the loss of all of them, which comes separately, stops us.
            C::BrokerTransportFailure => self.last_transport = Some(problem.text),
            C::AllBrokersDown | C::Resolve => {
                let reason = self.last_transport.clone().unwrap_or(problem.text);
                let error = BusError::Unreachable {
                    brokers: self.brokers.clone(),
                    reason,
                };
                self.shared
                    .inbox
                    .push(Event::Unavailable(error.to_string()));
            }
            _ => self.shared.inbox.push(Event::Unavailable(format!(
                "kafka at {}: {}",
                self.brokers, problem.text
            ))),
        }
    }

    /// Builds the next chunk from what has arrived.
    fn fill(&mut self) {
        let until = Instant::now() + SLICE;
        let mut wait = Duration::ZERO;
        let mut taken = 0usize;
        loop {
            if self.fetch(wait) == Step::Something {
                wait = Duration::ZERO;
                taken += 1;
                let clock = taken.is_multiple_of(RECORDS_PER_CLOCK);
                if self.full() || self.failed || (clock && Instant::now() >= until) {
                    break;
                }
            } else {
                let now = Instant::now();
                let end = self.flush_at.map_or(until, |at| at.min(until));
                if now >= end || !wait.is_zero() {
                    break;
                }
                // librdkafka counts in whole milliseconds.
                wait = (end - now).max(Duration::from_millis(1));
            }
        }
        let due = self.flush_at.is_none_or(|at| Instant::now() >= at);
        if self.builder.has_news() && (due || self.full()) {
            self.flush_at = None;
            self.pending = Some(self.builder.finish());
        }
    }

    fn full(&self) -> bool {
        self.builder.len() >= self.limits.max_records
            || self.builder.bytes() >= self.limits.max_bytes
    }

    /// Takes one thing out of the fetch queue.
    fn fetch(&mut self, wait: Duration) -> Step {
        let Worker {
            queue: Some(queue),
            builder,
            shared,
            flush_at,
            limits,
            ..
        } = self
        else {
            return Step::Nothing;
        };
        let error = queue.poll(wait, |fetched| match fetched {
            Fetched::Nothing => Err(None),
            Fetched::Record(raw) => {
                let record = Incoming {
                    topic_id: raw.topic_id(),
                    partition: raw.partition(),
                    offset: raw.offset(),
                    timestamp_ms: raw.timestamp_ms(),
                    key: raw.key(),
                    value: raw.value(),
                };
                let find = || {
                    let owned = lock(&shared.owned);
                    owned
                        .get(&raw.topic(), raw.partition())
                        .filter(|s| s.is_live())
                        .cloned()
                };
                if builder.push(&record, find) {
                    builder.headers(raw.headers());
                    if flush_at.is_none() {
                        *flush_at = Some(Instant::now() + limits.max_wait);
                    }
                }
                Ok(())
            }
            Fetched::End {
                topic,
                partition,
                offset,
            } => {
                let slot = lock(&shared.owned).get(&topic, partition).cloned();
                if let Some(slot) = slot.filter(|slot| slot.is_live()) {
                    builder.end_of(slot, offset);
                }
                Ok(())
            }
            Fetched::Error { code, fatal, text } => Err(Some((Problem { code, text }, fatal))),
        });
        match error {
            Ok(()) => Step::Something,
            Err(None) => Step::Nothing,
            Err(Some((problem, fatal))) => {
                self.report(problem, fatal);
                Step::Something
            }
        }
    }

    /// Gives the finished chunk to the role, if it has room.
    fn hand_over(&mut self) {
        let Some(mut built) = self.pending.take() else {
            return;
        };
        if !built.chunk.is_empty() {
            match self
                .shared
                .inbox
                .push_chunk(std::mem::take(&mut built.chunk), SLICE)
            {
                Ok(()) => {}
                Err(chunk) => {
                    built.chunk = chunk;
                    self.pending = Some(built);
                    return;
                }
            }
        }
        for (slot, offset) in built.ends {
            if slot.is_live() {
                self.shared.inbox.push(Event::Eof {
                    topic: Arc::clone(&slot.topic),
                    partition: slot.partition,
                    offset,
                });
            }
        }
    }

    /// Closes the client: dropping its last reference leaves the group.
    fn finish(mut self) {
        {
            let mut commands = lock(&self.shared.commands);
            commands.closed = true;
            commands.waiting.clear();
        }
        for slot in lock(&self.shared.owned)
            .0
            .values()
            .flat_map(HashMap::values)
        {
            slot.end();
        }
        self.shared.inbox.end(BusError::Closed);
        let context = Arc::clone(self.client.context());
        context.close();
        while let Some(rebalance) = context.next_rebalance() {
            let (assign, partitions) = match rebalance {
                Rebalance::Assign(partitions) => (true, partitions),
                Rebalance::Revoke { partitions, .. } => (false, partitions),
            };
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for (topic, partition) in &partitions {
                list.add_partition(topic, *partition);
            }
            decline(&self.client, assign, &list);
        }
        self.queue = None;
    }
}
