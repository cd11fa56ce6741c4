//! `archive`: any topics → one parquet object per offset range (`chain-whole`).
//!
//! Guarantee: every offset of an archived partition is in exactly one object. Where to go on is
//! read from the object chain, never from the group's committed offset, which is a hint for lag
//! tools: a crash, a zombie or an offset reset duplicates nothing. A broken chain stops the role.

mod identity;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bus::{Assigned, Chunk, CommitOffset, Consumer, Event, Limits, RecordRef, Revoked, Start};
use contract::Topic;
use contract::codec::ArchiveColumns;
use lake::archive::{
    ArchiveError, Chain, ChainSpec, FlushOutcome, FlushPolicy, Intake, KafkaRecord, WriterId,
};
use lake::store::Root;

use super::summary::Summary;
use super::{Ctx, RunOpts, ends, millis};
use crate::ends::Ends;
use crate::shutdown::Shutdown;

/// Consumer group of this role, below the topic prefix.
pub(crate) const GROUP: &str = "archive";
const ROLE: &str = "archive";
/// How often the age of buffers is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of all buffers together, roughly: beyond it objects are smaller than the policy wants them.
const MAX_BUFFERED_BYTES: usize = 512 << 20;
const LIMITS: Limits = Limits {
    max_records: 10_000,
    max_bytes: 8 << 20,
    max_wait: Duration::from_millis(100),
    queue_chunks: 4,
};

/// One assigned partition: its chain with the buffer, and the columns being decoded.
struct Owned {
    chain: Chain,
    columns: ArchiveColumns,
    intake: Intake,
    /// The consumer's position.
    position: i64,
    committed: Option<i64>,
    /// Not read on: its last object could not be written.
    paused: bool,
}

/// What is buffered of a partition.
struct Buffer<'a, K> {
    key: &'a K,
    bytes: usize,
    is_due: bool,
}

/// The partitions to write now: those that are due, and the largest of the others until what is left fits in `max_bytes`.
fn due<K>(mut buffers: Vec<Buffer<'_, K>>, max_bytes: usize) -> Vec<&K> {
    buffers.sort_by_key(|buffer| (!buffer.is_due, std::cmp::Reverse(buffer.bytes)));
    let mut left: usize = buffers.iter().map(|buffer| buffer.bytes).sum();
    let mut due = Vec::new();
    for buffer in buffers {
        if !buffer.is_due && left <= max_bytes {
            break;
        }
        left -= buffer.bytes;
        due.push(buffer.key);
    }
    due
}

struct Archiver {
    ctx: Ctx,
    consumer: Consumer,
    lake: Root,
    cluster_id: String,
    writer: WriterId,
    policy: FlushPolicy,
    partitions: BTreeMap<(Arc<str>, i32), Owned>,
    ends: Ends,
    consumed: u64,
    objects: u64,
}

/// Runs until `shutdown`, or with `--until-end` to the offsets that the topics had at the start.
pub(crate) async fn run(ctx: Ctx, opts: RunOpts, shutdown: Shutdown) -> Result<Summary> {
    let started = Instant::now();
    let topics: Vec<String> = ctx
        .config
        .archive
        .topics
        .iter()
        .map(|t| ctx.topic(*t))
        .collect();
    let ends = ends(&ctx, opts, &topics).await?;
    let lake = lake::store::open(&ctx.config.lake.url)?;
    lake::store::probe(lake.store.as_ref()).await?;
    let consumer = Consumer::subscribe(&ctx.kafka(ROLE), GROUP, &topics, LIMITS)?;
    let archive = &ctx.config.archive;
    let mut role = Archiver {
        cluster_id: bus::topics::cluster_id(&ctx.kafka(ROLE)).await?,
        policy: FlushPolicy {
            max_rows: usize::try_from(archive.flush_rows).unwrap_or(usize::MAX),
            max_bytes: usize::try_from(archive.flush_bytes).unwrap_or(usize::MAX),
            max_age_ms: millis(archive.flush_age),
        },
        writer: WriterId::random(),
        lake,
        consumer,
        partitions: BTreeMap::new(),
        ends,
        consumed: 0,
        objects: 0,
        ctx,
    };
    role.serve(&shutdown).await?;
    role.flush_all().await?;
    let mut summary = Summary::new(ROLE);
    summary.consumed = role.consumed;
    summary.produced = role.objects;
    role.consumer.close(super::CLOSE_WITHIN).await;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

impl Archiver {
    async fn serve(&mut self, shutdown: &Shutdown) -> Result<()> {
        let look_every = self
            .ctx
            .clock
            .to_wall(self.ctx.config.archive.flush_age)
            .min(LOOK_EVERY);
        let mut tick = tokio::time::interval(look_every.max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => return Ok(()),
                _ = tick.tick() => {
                    self.flush_due().await?;
                    continue;
                }
                event = self.ctx.next(ROLE, &mut self.consumer) => event,
            };
            match event {
                Event::Chunk(chunk) => self.on_chunk(&chunk).await?,
                Event::Assigned(assigned) => self.on_assigned(assigned).await?,
                Event::Revoked(revoked) => self.on_revoked(revoked).await?,
                Event::Eof {
                    topic,
                    partition,
                    offset,
                } => self.on_end(&topic, partition, offset),
                Event::Unavailable(what) => self.ctx.unavailable(ROLE, &what),
                Event::Fatal(error) => return Err(error).context("consume the topics to archive"),
            }
            if self.ends.done() {
                return Ok(());
            }
        }
    }

    async fn on_assigned(&mut self, assigned: Assigned) -> Result<()> {
        self.ends.answered();
        let mut opened = Vec::with_capacity(assigned.partitions.len());
        let mut known = BTreeMap::new();
        for part in &assigned.partitions {
            let owned = self.open(part).await?;
            let key = (Arc::clone(&part.topic), part.partition);
            known.extend(identity::known_offset(&owned.chain, part).map(|offset| (key, offset)));
            opened.push((part, owned));
        }
        let found = identity::read(&self.ctx.kafka("archive-check"), known).await?;
        for (part, owned) in &opened {
            let key = (Arc::clone(&part.topic), part.partition);
            if let Some((offset, crc32c)) = found.get(&key) {
                owned.chain.check_record(*offset, *crc32c)?;
            }
        }
        let mut starts = Vec::with_capacity(opened.len());
        for (part, owned) in opened {
            self.ends
                .assign(&part.topic, part.partition, owned.position);
            starts.push((
                Arc::clone(&part.topic),
                part.partition,
                Start::Offset(owned.position),
            ));
            self.partitions
                .insert((Arc::clone(&part.topic), part.partition), owned);
        }
        assigned.start(starts);
        self.ctx.ready(ROLE);
        Ok(())
    }

    /// Opens a partition's chain: its next offset is where to read on.
    async fn open(&mut self, part: &bus::AssignedPartition) -> Result<Owned> {
        let topic = Topic::from_full(&self.ctx.config.topics.prefix, &part.topic)
            .with_context(|| format!("{} is not one of our topics", part.topic))?;
        let mut columns = ArchiveColumns::new(topic, &self.ctx.contract)?;
        if matches!(topic, Topic::Metrics | Topic::MetricsDlq) {
            columns.accept_schema_ids(&self.ctx.config.kafka.schema_ids);
        }
        let spec = ChainSpec {
            topic: part.topic.to_string(),
            partition: part.partition,
            cluster_id: self.cluster_id.clone(),
            contract: self.ctx.contract.fingerprint().to_owned(),
            schema: columns.schema(),
        };
        let mut chain =
            Chain::open(Arc::clone(&self.lake.store), spec, self.writer.clone()).await?;
        let lost = chain.check_watermarks(part.low, part.high)?;
        if lost > 0 {
            tracing::error!(
                topic = %part.topic,
                partition = part.partition,
                records = lost,
                "records were deleted before they were archived: raise the topic's retention"
            );
        }
        chain.begin(part.low);
        let position = chain.next_offset().unwrap_or(part.low).max(part.low);
        if part.committed.is_some_and(|committed| committed > position) {
            tracing::warn!(
                topic = %part.topic,
                partition = part.partition,
                committed = part.committed,
                chain = position,
                "the committed offset is ahead of the archive: reading on from the archive's end"
            );
        }
        Ok(Owned {
            chain,
            columns,
            intake: Intake::default(),
            position,
            committed: part.committed,
            paused: false,
        })
    }

    async fn on_revoked(&mut self, revoked: Revoked) -> Result<()> {
        for (topic, partition) in &revoked.partitions {
            self.ctx.lag.forget(&self.ctx, GROUP, topic, *partition);
            let key = (Arc::clone(topic), *partition);
            if let Some(mut owned) = self.partitions.remove(&key) {
                self.flush(&key, &mut owned, true).await?;
            }
            self.ends.revoke(topic, *partition);
        }
        revoked.done();
        Ok(())
    }

    fn on_end(&mut self, topic: &Arc<str>, partition: i32, offset: i64) {
        if let Some(owned) = self.partitions.get_mut(&(Arc::clone(topic), partition)) {
            owned.position = owned.position.max(offset);
        }
        self.ends.advance(topic, partition, offset);
    }

    async fn on_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        for record in chunk.iter() {
            if !self
                .ends
                .take(record.topic, record.partition, record.offset)
            {
                continue;
            }
            let key = (Arc::clone(record.topic), record.partition);
            let Some(owned) = self.partitions.get_mut(&key) else {
                continue;
            };
            if record.offset < owned.position {
                continue;
            }
            owned.take(&record)?;
            self.consumed += 1;
        }
        let now_ms = self.ctx.clock.now_ms();
        for owned in self.partitions.values_mut() {
            owned.buffer(now_ms)?;
        }
        self.flush_due().await
    }

    async fn flush_due(&mut self) -> Result<()> {
        let now_ms = self.ctx.clock.now_ms();
        let buffers = self.partitions.iter().map(|(key, owned)| Buffer {
            key,
            bytes: owned.chain.buffered_bytes(),
            is_due: owned.chain.is_due(&self.policy, now_ms),
        });
        let due: Vec<_> = due(buffers.collect(), MAX_BUFFERED_BYTES)
            .into_iter()
            .cloned()
            .collect();
        self.flush_these(due, false).await
    }

    async fn flush_all(&mut self) -> Result<()> {
        let all = self.partitions.keys().cloned().collect();
        self.flush_these(all, true).await
    }

    async fn flush_these(&mut self, keys: Vec<(Arc<str>, i32)>, last: bool) -> Result<()> {
        for key in keys {
            if let Some(mut owned) = self.partitions.remove(&key) {
                self.flush(&key, &mut owned, last).await?;
                self.partitions.insert(key, owned);
            }
        }
        Ok(())
    }

    /// Writes a partition's buffer as its chain's next object and commits the hint. `last`: the buffer is given up after it,
    /// so that a store that fails ends the role.
    async fn flush(&mut self, key: &(Arc<str>, i32), owned: &mut Owned, last: bool) -> Result<()> {
        if owned.chain.buffered_rows() == 0 {
            return Ok(());
        }
        let (topic, partition) = key;
        let flushed = match owned.chain.flush(owned.position).await {
            // Nothing is lost: the records are still buffered, the next look tries again.
            Err(error @ (ArchiveError::Store { .. } | ArchiveError::Contested { .. })) if !last => {
                tracing::error!(%topic, partition, %error, "archive object is not written, trying again");
                // Until then nothing more of it is read: the buffer must not grow with the backlog.
                if !owned.paused {
                    self.consumer.pause(&[(topic.to_string(), *partition)])?;
                    owned.paused = true;
                }
                return Ok(());
            }
            other => other?,
        };
        if std::mem::take(&mut owned.paused) && !last {
            self.consumer.resume(&[(topic.to_string(), *partition)])?;
        }
        match flushed {
            FlushOutcome::Nothing => {}
            FlushOutcome::Written {
                rows,
                bytes,
                next_offset,
            } => {
                self.objects += 1;
                let rows = u64::try_from(rows).unwrap_or(0);
                self.ctx
                    .telemetry
                    .archived(topic, *partition, rows, bytes, next_offset);
                owned.position = owned.position.max(next_offset);
            }
            FlushOutcome::Adopted { next_offset } => {
                tracing::warn!(
                    %topic, partition, next_offset,
                    "another archiver wrote this range first: reading on after it"
                );
                owned.position = next_offset;
                if last {
                    return Ok(());
                }
                self.consumer
                    .seek(&[(topic.to_string(), *partition, next_offset)])
                    .await?;
            }
        }
        self.ctx
            .lag
            .note(GROUP, topic, *partition, owned.position, owned.position);
        if owned.committed != Some(owned.position) {
            owned.committed = Some(owned.position);
            let hint = CommitOffset {
                topic: Arc::clone(topic),
                partition: *partition,
                offset: owned.position,
                metadata: String::new(),
            };
            if let Err(error) = self.consumer.commit(vec![hint]).await {
                // Only lag tools read it: the chain itself knows where to go on.
                tracing::warn!(%topic, partition, %error, "commit of the archive's position failed");
            }
        }
        Ok(())
    }
}

impl Owned {
    /// Decodes one record into the columns; what does not decode is kept as it came.
    fn take(&mut self, record: &RecordRef<'_>) -> Result<()> {
        let kafka = KafkaRecord {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value,
        };
        match record.value {
            None => {
                self.columns.push_null()?;
                self.intake.tombstone(&kafka);
            }
            Some(value) => match self.columns.push(value) {
                Ok(()) => self.intake.decoded(&kafka),
                Err(_) => {
                    self.columns.push_null()?;
                    self.intake.undecodable(&kafka);
                }
            },
        }
        self.position = record.offset + 1;
        Ok(())
    }

    /// Moves the decoded rows into the chain's buffer.
    fn buffer(&mut self, now_ms: i64) -> Result<()> {
        if self.intake.is_empty() {
            return Ok(());
        }
        let columns = self.columns.finish()?;
        let batch = self.intake.finish(columns).map_err(anyhow::Error::msg)?;
        self.chain.push(batch, now_ms)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_written_and_the_largest_of_the_rest_until_it_fits() {
        let buffer = |key: &'static &'static str, bytes, is_due| Buffer { key, bytes, is_due };
        let all = || {
            vec![
                buffer(&"small", 10, false),
                buffer(&"old", 1, true),
                buffer(&"large", 60, false),
                buffer(&"middle", 30, false),
            ]
        };
        assert_eq!(due(all(), 1_000), [&"old"]);
        assert_eq!(due(all(), 99), [&"old", &"large"]);
        assert_eq!(due(all(), 39), [&"old", &"large", &"middle"]);
        assert_eq!(due(all(), 0), [&"old", &"large", &"middle", &"small"]);
    }
}
