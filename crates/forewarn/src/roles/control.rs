//! The control topic: one partition that everybody reads from its start and a few write to.
//!
//! Decisions, trainings and model changes are events on it; state is a fold over it. Readers have
//! no group: each sees every event. A repeat has the same id.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Consumer, Event, Limits, Out, Producer, Start};
use contract::Topic;
use contract::record::{ControlEvent, ControlPayload};

use super::Ctx;

const LIMITS: Limits = Limits {
    max_records: 1_000,
    max_bytes: 1 << 20,
    max_wait: Duration::from_millis(20),
    queue_chunks: 2,
};
/// Ids remembered to drop repeats. A repeat comes right after its first, so few suffice.
const REMEMBERED_IDS: usize = 10_000;

/// What a reader sees.
#[derive(Debug)]
pub(crate) enum ControlRead {
    /// An event, in order.
    Event(Box<ControlEvent>),
    /// Everything up to now has been read.
    CaughtUp,
}

/// Reads the control topic from a point on.
pub(crate) struct ControlReader {
    ctx: Ctx,
    role: &'static str,
    consumer: Consumer,
    ready: VecDeque<ControlRead>,
    seen: HashSet<String>,
    order: VecDeque<String>,
}

impl ControlReader {
    /// From the topic's first event.
    pub(crate) fn from_beginning(ctx: &Ctx, role: &'static str) -> Result<Self> {
        Self::new(ctx, role, Start::Beginning)
    }

    /// From now on.
    pub(crate) fn from_now(ctx: &Ctx, role: &'static str) -> Result<Self> {
        Self::new(ctx, role, Start::End)
    }

    fn new(ctx: &Ctx, role: &'static str, start: Start) -> Result<Self> {
        let topic = ctx.topic(Topic::Control);
        let consumer = Consumer::assign(&ctx.kafka(role), &[(topic, 0, start)], LIMITS)?;
        Ok(Self {
            ctx: ctx.clone(),
            role,
            consumer,
            ready: VecDeque::new(),
            seen: HashSet::new(),
            order: VecDeque::new(),
        })
    }

    /// The next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<ControlRead> {
        loop {
            if let Some(read) = self.ready.pop_front() {
                return Ok(read);
            }
            match self.ctx.next(self.role, &mut self.consumer).await {
                Event::Chunk(chunk) => {
                    for record in chunk.iter() {
                        let Some(value) = record.value else { continue };
                        match contract::codec::decode::<ControlEvent>(value) {
                            Ok(event) => self.offer(event),
                            Err(error) => {
                                tracing::error!(offset = record.offset, %error, "control event does not decode");
                                self.ctx.telemetry.skipped(self.role, error.reason(), 1);
                            }
                        }
                    }
                }
                Event::Eof { .. } => return Ok(ControlRead::CaughtUp),
                Event::Unavailable(what) => self.ctx.unavailable(self.role, &what),
                Event::Fatal(error) => return Err(error).context("read the control topic"),
                Event::Assigned(assigned) => assigned.start(Vec::new()),
                Event::Revoked(revoked) => revoked.done(),
            }
        }
    }

    /// Shows `each` event up to now. They are not collected: the topic keeps everything.
    pub(crate) async fn read_all(&mut self, mut each: impl FnMut(&ControlEvent)) -> Result<()> {
        loop {
            match self.next().await? {
                ControlRead::Event(event) => each(&event),
                ControlRead::CaughtUp => return Ok(()),
            }
        }
    }

    fn offer(&mut self, event: ControlEvent) {
        if !self.seen.insert(event.id.clone()) {
            return;
        }
        self.order.push_back(event.id.clone());
        if self.order.len() > REMEMBERED_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        self.ready.push_back(ControlRead::Event(Box::new(event)));
    }

    pub(crate) async fn close(self) {
        self.consumer.close(super::CLOSE_WITHIN).await;
    }
}

/// Writes events.
pub(crate) struct ControlWriter {
    topic: String,
    source: String,
    producer: Producer,
}

impl ControlWriter {
    /// `role` becomes the events' source.
    pub(crate) fn new(ctx: &Ctx, role: &str) -> Result<Self> {
        Ok(Self {
            topic: ctx.topic(Topic::Control),
            source: format!("forewarn/{role}"),
            producer: Producer::new(&ctx.kafka(role))?,
        })
    }

    /// Writes one event and waits until it is delivered; returns it.
    pub(crate) async fn publish(
        &self,
        event_type: &str,
        id: String,
        now_ms: i64,
        payload: ControlPayload,
    ) -> Result<ControlEvent> {
        let event = ControlEvent {
            id,
            event_type: event_type.to_owned(),
            source: self.source.clone(),
            time: now_ms,
            payload,
        };
        let value = contract::codec::encode(&event)?;
        let headers = event.ce_headers();
        let headers: Vec<(&str, &[u8])> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        self.producer
            .send(Out {
                topic: &self.topic,
                partition: Some(0),
                key: None,
                value: Some(&value),
                headers: &headers,
                timestamp_ms: Some(now_ms),
            })
            .await
            .context("send a control event")?;
        self.producer
            .flush()
            .await
            .context("deliver a control event")?;
        Ok(event)
    }
}

/// A fresh event or job id: random, so that two writers never share one.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
