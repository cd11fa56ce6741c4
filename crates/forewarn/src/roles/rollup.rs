//! `rollup`: `metrics` → `rollups` and `metrics.dlq`.
//!
//! Guarantee (`nothing-lost`): every record read is accepted into a bucket, or counted as a
//! duplicate, late, rejected or replayed, and a rejected one is in the dead-letter topic before
//! its offset is committed. Offsets are committed only after every output before them is
//! delivered; the committed offset is the oldest record an open bucket needs, so a crash or a
//! rebalance loses no bucket (repeats have the same identity: server and bucket).
//!
//! All rules are in `window::rollup`; this file reads, sends and commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bus::{Assigned, Chunk, Consumer, Event, Limits, Revoked, Start};
use contract::codec::{DecodeError, Decoder, RollupRow};
use contract::{GapReason, Topic};
use lake::training::rollup_config;
use window::rollup::{Commit, Counts, Outcome, Partition, Record, RollupConfig};

use super::batch::MetricRows;
use super::offsets::{Commits, Resumed, changed, resume};
use super::output::RollupOutput;
use super::summary::Summary;
use super::{Ctx, RunOpts, ends, millis};
use crate::ends::Ends;
use crate::shutdown::Shutdown;

/// Consumer group of this role, below the topic prefix.
pub(crate) const GROUP: &str = "rollup";
const ROLE: &str = "rollup";
/// Offsets are committed this often; a crash re-reads at most this much more.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Chunks are bounded by count, bytes and wait: larger ones cost memory, smaller ones CPU.
const LIMITS: Limits = Limits {
    max_records: 10_000,
    max_bytes: 4 << 20,
    max_wait: Duration::from_millis(50),
    queue_chunks: 4,
};

/// One assigned partition.
struct Owned {
    engine: Partition,
    /// Clock time of the last record, and whether the end was seen after it.
    last_arrival_ms: i64,
    at_end: bool,
    committed: Option<Commit>,
    /// What the metrics already show.
    told: Counts,
}

impl Owned {
    /// Brings the metrics up to the engine's counts.
    fn tell(&mut self, ctx: &Ctx, topic: &str, partition: i32) {
        let (now, before) = (self.engine.counts(), self.told);
        let counters = ctx.telemetry.records(ROLE, topic, partition);
        counters.consumed.inc_by(now.consumed - before.consumed);
        counters.accepted.inc_by(now.accepted - before.accepted);
        counters.duplicate.inc_by(now.duplicate - before.duplicate);
        counters.late.inc_by(now.late - before.late);
        counters.rejected.inc_by(now.rejected - before.rejected);
        counters.replayed.inc_by(now.replayed - before.replayed);
        self.told = now;
    }
}

struct Rollup {
    ctx: Ctx,
    config: Arc<RollupConfig>,
    topic: Arc<str>,
    decoder: Decoder,
    consumer: Consumer,
    commits: Commits,
    output: RollupOutput,
    partitions: BTreeMap<i32, Owned>,
    /// Counts of partitions that were given away.
    past: BTreeMap<i32, Counts>,
    rejected: BTreeMap<String, u64>,
    ends: Ends,
    raw: Vec<Option<f32>>,
    values: Vec<f32>,
    gaps: Vec<(usize, GapReason)>,
}

/// Runs until `shutdown`, or with `--until-end` to the offsets that the topic had at the start.
pub(crate) async fn run(ctx: Ctx, opts: RunOpts, shutdown: Shutdown) -> Result<Summary> {
    let started = Instant::now();
    let topic = ctx.topic(Topic::Metrics);
    let ends = ends(&ctx, opts, std::slice::from_ref(&topic)).await?;
    let consumer = Consumer::subscribe(
        &ctx.kafka(ROLE),
        GROUP,
        std::slice::from_ref(&topic),
        LIMITS,
    )?;
    let mut decoder = Decoder::new(Topic::Metrics, &ctx.contract)?;
    decoder.accept_schema_ids(&ctx.config.kafka.schema_ids);
    let mut role = Rollup {
        config: Arc::new(rollup_config(
            &ctx.contract,
            millis(ctx.config.rollup.grace),
        )?),
        decoder,
        output: RollupOutput::new(&ctx)?,
        topic: Arc::from(topic),
        consumer,
        commits: Commits::default(),
        partitions: BTreeMap::new(),
        past: BTreeMap::new(),
        rejected: BTreeMap::new(),
        ends,
        raw: Vec::new(),
        values: Vec::new(),
        gaps: Vec::new(),
        ctx,
    };
    role.serve(&shutdown).await?;
    role.finish(started).await
}

impl Rollup {
    async fn serve(&mut self, shutdown: &Shutdown) -> Result<()> {
        let mut tick = tokio::time::interval(COMMIT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => return Ok(()),
                _ = tick.tick() => {
                    self.on_tick().await?;
                    continue;
                }
                event = self.ctx.next(ROLE, &mut self.consumer) => event,
            };
            match event {
                Event::Chunk(chunk) => self.on_chunk(&chunk).await?,
                Event::Assigned(assigned) => self.on_assigned(assigned),
                Event::Revoked(revoked) => self.on_revoked(revoked).await?,
                Event::Eof {
                    partition, offset, ..
                } => self.on_end(partition, offset),
                Event::Unavailable(what) => self.ctx.unavailable(ROLE, &what),
                Event::Fatal(error) => return Err(error).context("consume metrics"),
            }
            if self.ends.done() {
                return Ok(());
            }
        }
    }

    fn on_assigned(&mut self, assigned: Assigned) {
        let now_ms = self.ctx.clock.now_ms();
        let mut starts = Vec::with_capacity(assigned.partitions.len());
        self.ends.answered();
        for part in &assigned.partitions {
            let Resumed { start, commit } = resume::<Commit>(part, ROLE);
            tracing::info!(
                partition = part.partition,
                offset = start,
                closed_through = commit.and_then(|c| c.closed_through),
                "rollup takes partition"
            );
            self.ends.assign(&self.topic, part.partition, start);
            self.partitions.insert(
                part.partition,
                Owned {
                    engine: Partition::new(Arc::clone(&self.config), commit),
                    last_arrival_ms: now_ms,
                    at_end: false,
                    committed: commit,
                    told: Counts::default(),
                },
            );
            starts.push((
                Arc::clone(&part.topic),
                part.partition,
                Start::Offset(start),
            ));
        }
        assigned.start(starts);
        self.ctx.ready(ROLE);
    }

    async fn on_revoked(&mut self, revoked: Revoked) -> Result<()> {
        self.commit().await?;
        for (topic, partition) in &revoked.partitions {
            self.ctx.lag.forget(&self.ctx, GROUP, topic, *partition);
            if let Some(owned) = self.partitions.remove(partition) {
                *self.past.entry(*partition).or_default() += owned.engine.counts();
            }
            self.ends.revoke(topic, *partition);
        }
        revoked.done();
        Ok(())
    }

    fn on_end(&mut self, partition: i32, offset: i64) {
        if let Some(owned) = self.partitions.get_mut(&partition) {
            owned.at_end = true;
            owned.engine.advance(offset);
        }
        self.ends.advance(&self.topic, partition, offset);
    }

    /// Decodes a chunk into columns, then offers each record to its partition's engine.
    async fn on_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let decoded: Vec<Result<(), DecodeError>> = chunk
            .iter()
            .map(|record| {
                let result = match record.value {
                    Some(value) => self.decoder.push(value),
                    None => Err(DecodeError::Null),
                };
                if result.is_err() {
                    self.decoder.push_null();
                }
                result
            })
            .collect();
        let batch = self.decoder.finish();
        let rows = MetricRows::new(
            &batch,
            self.ctx
                .contract
                .raw_metrics()
                .iter()
                .map(|m| m.name.as_str()),
        )?;
        let now_ms = self.ctx.clock.now_ms();
        for (row, (record, decoded)) in chunk.iter().zip(decoded).enumerate() {
            if !self.ends.take(&self.topic, record.partition, record.offset) {
                continue;
            }
            let rejected = match decoded {
                Err(error) => self.offer_undecodable(&record, &error, now_ms),
                Ok(()) => self.offer(&rows, row, &record, now_ms),
            };
            if let Some(reason) = rejected {
                *self.rejected.entry(reason.to_owned()).or_default() += 1;
                self.ctx.telemetry.rejected(ROLE, &self.topic, reason);
                self.output.dead_letter(&record, reason, now_ms).await?;
            }
        }
        self.send_closed(now_ms).await
    }

    fn offer_undecodable(
        &mut self,
        record: &bus::RecordRef<'_>,
        error: &DecodeError,
        now_ms: i64,
    ) -> Option<&'static str> {
        let owned = self.partitions.get_mut(&record.partition)?;
        owned.last_arrival_ms = now_ms;
        owned.at_end = false;
        match owned.engine.reject_undecodable(record.offset) {
            Outcome::Rejected(_) => Some(error.reason()),
            _ => None,
        }
    }

    /// Offers one decoded record; the reason if it was rejected.
    fn offer(
        &mut self,
        rows: &MetricRows,
        row: usize,
        record: &bus::RecordRef<'_>,
        now_ms: i64,
    ) -> Option<&'static str> {
        let contract = &self.ctx.contract;
        let owned = self.partitions.get_mut(&record.partition)?;
        owned.last_arrival_ms = now_ms;
        owned.at_end = false;
        let server = rows.server(row);
        rows.values(row, &mut self.raw);
        self.gaps.clear();
        let gaps = &mut self.gaps;
        contract.clean(
            self.raw.iter().copied(),
            &mut self.values,
            &mut |metric, reason| {
                gaps.push((metric, reason));
            },
        );
        let outcome = owned.engine.offer(&Record {
            offset: record.offset,
            kafka_timestamp_ms: record.timestamp_ms,
            server,
            timestamp_ms: rows.timestamp(row),
            profile: index(contract.profile_of(server, rows.profile(row))),
            state: rows
                .state(row)
                .and_then(|s| contract.state_index(s))
                .map(index),
            values: &self.values,
        });
        match outcome {
            Outcome::Accepted => self.count_gaps(),
            Outcome::Rejected(reject) => {
                self.count_gaps();
                return Some(reject.as_str());
            }
            Outcome::Duplicate | Outcome::Late | Outcome::Replayed => {}
        }
        None
    }

    fn count_gaps(&self) {
        for (metric, reason) in &self.gaps {
            let name = self
                .ctx
                .contract
                .metrics
                .get(*metric)
                .map_or("", |m| m.name.as_str());
            self.ctx.telemetry.value_gaps(name, reason.as_str(), 1);
        }
    }

    /// Sends the rows of buckets that have closed. They are delivered before the next commit.
    async fn send_closed(&mut self, now_ms: i64) -> Result<()> {
        for (partition, owned) in &mut self.partitions {
            if !owned.engine.has_closed() {
                continue;
            }
            let closed = owned.engine.num_closed() as u64;
            self.ctx.telemetry.buckets_closed(*partition, closed);
            for row in owned.engine.take_closed() {
                let contract = &self.ctx.contract;
                let profile = contract.profiles.get(usize::from(row.profile));
                let state = row.state.and_then(|s| contract.states.get(usize::from(s)));
                self.output
                    .rollup(
                        *partition,
                        &RollupRow {
                            server: &row.server,
                            timestamp: row.bucket,
                            profile: profile.map_or("", |p| p.name.as_str()),
                            state: state.map(String::as_str),
                            num_records: row.num_records,
                            values: &row.values,
                        },
                        now_ms,
                    )
                    .await?;
            }
        }
        Ok(())
    }

    async fn on_tick(&mut self) -> Result<()> {
        let now_ms = self.ctx.clock.now_ms();
        if !self.ends.is_fixed() {
            let idle_after_ms = millis(self.ctx.config.rollup.idle_after);
            for (partition, owned) in &mut self.partitions {
                let (buckets, _) = owned.engine.num_open();
                if buckets > 0 && owned.at_end && now_ms - owned.last_arrival_ms >= idle_after_ms {
                    tracing::info!(partition, buckets, "partition is idle, its buckets close");
                    owned.engine.close_idle();
                }
            }
            self.send_closed(now_ms).await?;
        }
        self.commit().await
    }

    /// Waits until all output is delivered, then commits what that allows.
    async fn commit(&mut self) -> Result<()> {
        self.output.flush().await?;
        let mut offsets = Vec::new();
        for (partition, owned) in &mut self.partitions {
            owned.tell(&self.ctx, &self.topic, *partition);
            let commit = owned.engine.commit();
            if let Some(now) = commit {
                self.ctx
                    .lag
                    .note(GROUP, &self.topic, *partition, now.offset, now.position);
            }
            let before = &mut owned.committed;
            offsets.extend(changed(&self.topic, *partition, commit, before));
        }
        self.commits.commit(&self.consumer, offsets).await
    }

    async fn finish(mut self, started: Instant) -> Result<Summary> {
        self.commit().await?;
        self.commits.finish()?;
        let mut summary = Summary::new(ROLE);
        summary.partitions = std::mem::take(&mut self.past);
        for (partition, owned) in &self.partitions {
            *summary.partitions.entry(*partition).or_default() += owned.engine.counts();
        }
        summary.total_partitions();
        summary.rejected = Some(self.rejected);
        summary.produced = self.output.rollups();
        self.consumer.close(super::CLOSE_WITHIN).await;
        summary.seconds = started.elapsed().as_secs_f64();
        Ok(summary)
    }
}

fn index(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}
