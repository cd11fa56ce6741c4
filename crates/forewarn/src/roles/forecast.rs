//! `forecast`: `rollups` → `predictions`, one per server and closed bucket.
//!
//! Guarantees:
//! * Every row of `rollups` that is the newest of its server gives exactly one prediction once the
//!   server has [`MIN_CONTEXT_ROWS`] rows of context (every N-th bucket with `forecast.every = N`).
//! * `gap-free-reload`: a new model is taken between two buckets of a partition; no bucket is
//!   skipped or forecast twice.
//! * A restart reads the context again (24 h) and issues nothing that was issued before: the
//!   committed offset is the oldest row needed, its metadata says through which bucket output was
//!   issued.

mod history;
mod issue;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bus::{Assigned, Chunk, Consumer, Event, Limits, Revoked, Start};
use contract::Topic;
use contract::codec::Decoder;
use tft::eval::MIN_CONTEXT_ROWS;
use window::context::{Reading, Reread, RereadCommit};

use self::history::{History, Inserted, UNKNOWN_STATE};
pub(crate) use self::issue::prediction;
use self::issue::{Due, Issuer};
use super::batch::RollupRows;
use super::offsets::{Commits, Resumed, changed, resume};
use super::production::ProductionWatch;
use super::summary::Summary;
use super::{Ctx, RunOpts, ends};
use crate::ends::Ends;
use crate::shutdown::Shutdown;
use crate::training::LoadedModel;

/// Consumer group of this role, below the topic prefix.
pub(crate) const GROUP: &str = "forecast";
const ROLE: &str = "forecast";
/// Servers kept per partition. More: memory (16 KB each with 14 metrics); fewer: a large fleet is
/// not forecast in full.
const MAX_SERVERS: usize = 50_000;
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    max_records: 5_000,
    max_bytes: 4 << 20,
    max_wait: Duration::from_millis(50),
    queue_chunks: 4,
};

/// One assigned partition.
struct Owned {
    servers: HashMap<String, History>,
    reread: Reread,
    committed: Option<RereadCommit>,
    /// Newest bucket seen, and the model that serves it.
    bucket: Option<i64>,
    model: Arc<LoadedModel>,
}

impl Owned {
    /// Drops the servers that have been silent for longer than the context: nothing of theirs would be in it.
    fn forget(&mut self, context_ms: i64) {
        if let Some(bucket) = self.bucket {
            let oldest = bucket.saturating_sub(context_ms);
            self.servers
                .retain(|_, history| history.newest().is_some_and(|newest| newest > oldest));
        }
    }
}

struct Forecaster {
    ctx: Ctx,
    topic: Arc<str>,
    decoder: Decoder,
    consumer: Consumer,
    commits: Commits,
    models: ProductionWatch,
    issuer: Issuer,
    partitions: BTreeMap<i32, Owned>,
    due: Vec<Due>,
    due_since: Option<Instant>,
    ends: Ends,
    consumed: u64,
    values: Vec<f32>,
}

/// Runs until `shutdown`, or with `--until-end` to the offsets that `rollups` had at the start.
pub(crate) async fn run(ctx: Ctx, opts: RunOpts, shutdown: Shutdown) -> Result<Summary> {
    let started = Instant::now();
    let topic = ctx.topic(Topic::Rollups);
    let ends = ends(&ctx, opts, std::slice::from_ref(&topic)).await?;
    let mut models = ProductionWatch::start(&ctx, ROLE)?;
    if !models.wait_for_first(opts, &shutdown).await? {
        return Ok(Summary::new(ROLE));
    }
    let consumer = Consumer::subscribe(
        &ctx.kafka(ROLE),
        GROUP,
        std::slice::from_ref(&topic),
        LIMITS,
    )?;
    let mut role = Forecaster {
        decoder: Decoder::new(Topic::Rollups, &ctx.contract)?,
        issuer: Issuer::new(&ctx)?,
        topic: Arc::from(topic),
        consumer,
        commits: Commits::default(),
        models,
        partitions: BTreeMap::new(),
        due: Vec::new(),
        due_since: None,
        ends,
        consumed: 0,
        values: Vec::new(),
        ctx,
    };
    role.serve(&shutdown).await?;
    role.commit().await?;
    role.commits.finish()?;
    let mut summary = Summary::new(ROLE);
    summary.consumed = role.consumed;
    summary.produced = role.issuer.num_issued();
    role.consumer.close(super::CLOSE_WITHIN).await;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

impl Forecaster {
    async fn serve(&mut self, shutdown: &Shutdown) -> Result<()> {
        let mut tick = tokio::time::interval(COMMIT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let batch_at = self
                .due_since
                .map(|since| since + self.ctx.config.forecast.max_wait);
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => return self.issue().await,
                changed = self.models.changed() => {
                    changed?;
                    continue;
                }
                _ = tick.tick() => {
                    self.commit().await?;
                    continue;
                }
                () = until(batch_at) => {
                    self.issue().await?;
                    continue;
                }
                event = self.ctx.next(ROLE, &mut self.consumer) => event,
            };
            match event {
                Event::Chunk(chunk) => self.on_chunk(&chunk).await?,
                Event::Assigned(assigned) => self.on_assigned(assigned)?,
                Event::Revoked(revoked) => self.on_revoked(revoked).await?,
                Event::Eof {
                    partition, offset, ..
                } => self.on_end(partition, offset),
                Event::Unavailable(what) => self.ctx.unavailable(ROLE, &what),
                Event::Fatal(error) => return Err(error).context("consume rollups"),
            }
            if self.ends.done() {
                return self.issue().await;
            }
        }
    }

    fn on_assigned(&mut self, assigned: Assigned) -> Result<()> {
        let model = self.models.current().context("find the production model")?;
        let keep_ms = self.context_ms();
        let mut starts = Vec::with_capacity(assigned.partitions.len());
        self.ends.answered();
        for part in &assigned.partitions {
            let Resumed { start, commit } = resume::<RereadCommit>(part, ROLE);
            tracing::info!(
                partition = part.partition,
                offset = start,
                issued_through = commit.and_then(|c| c.issued_through),
                "forecast takes partition"
            );
            self.ends.assign(&self.topic, part.partition, start);
            let owned = Owned {
                servers: HashMap::new(),
                reread: Reread::new(keep_ms, commit),
                committed: commit,
                bucket: None,
                model: Arc::clone(&model),
            };
            self.partitions.insert(part.partition, owned);
            starts.push((
                Arc::clone(&part.topic),
                part.partition,
                Start::Offset(start),
            ));
        }
        assigned.start(starts);
        self.ctx.ready(ROLE);
        Ok(())
    }

    async fn on_revoked(&mut self, revoked: Revoked) -> Result<()> {
        self.issue().await?;
        self.commit().await?;
        for (topic, partition) in &revoked.partitions {
            self.ctx.lag.forget(&self.ctx, GROUP, topic, *partition);
            self.partitions.remove(partition);
            self.ends.revoke(topic, *partition);
        }
        revoked.done();
        Ok(())
    }

    fn on_end(&mut self, partition: i32, offset: i64) {
        if let Some(owned) = self.partitions.get_mut(&partition) {
            owned.reread.advance(offset);
        }
        self.ends.advance(&self.topic, partition, offset);
    }

    async fn on_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let contract = Arc::clone(&self.ctx.contract);
        let values = chunk.iter().map(|record| record.value);
        let rows = RollupRows::decode(&mut self.decoder, &contract, values)?;
        for (row, record) in chunk.iter().enumerate() {
            if !self.ends.take(&self.topic, record.partition, record.offset) {
                continue;
            }
            self.consumed += 1;
            if rows.contract(row) == contract.fingerprint() {
                self.on_row(&rows, row, record.partition, record.offset);
            } else {
                self.skip(record.partition, record.offset, rows.is_decoded(row));
            }
            if self.due.len() >= self.ctx.config.forecast.batch {
                self.issue().await?;
            }
        }
        Ok(())
    }

    fn skip(&mut self, partition: i32, offset: i64, decoded: bool) {
        let reason = if decoded {
            "other_contract"
        } else {
            "malformed"
        };
        self.ctx.telemetry.skipped(ROLE, reason, 1);
        if let Some(owned) = self.partitions.get_mut(&partition) {
            owned.reread.advance(offset + 1);
        }
    }

    /// Puts a row into its server's context; a new one makes a forecast due.
    fn on_row(&mut self, rows: &RollupRows, row: usize, partition: i32, offset: i64) {
        let contract = &self.ctx.contract;
        let Some(owned) = self.partitions.get_mut(&partition) else {
            return;
        };
        let (server, bucket) = (rows.server(row), rows.bucket(row));
        if owned.bucket.is_none_or(|newest| bucket > newest) {
            owned.bucket = Some(bucket);
            if let Some(model) = self.models.current() {
                owned.model = model;
            }
        }
        let reading = owned.reread.observe(offset, bucket);
        if !owned.servers.contains_key(server) {
            if owned.servers.len() >= MAX_SERVERS {
                self.ctx.telemetry.skipped(ROLE, "too_many_servers", 1);
                return;
            }
            let history = History::new(
                contract.step_ms(),
                contract.context_steps,
                contract.num_metrics(),
            );
            owned.servers.insert(server.to_owned(), history);
        }
        let Some(history) = owned.servers.get_mut(server) else {
            return;
        };
        rows.values(row, &mut self.values);
        let state = rows.state(row).and_then(|s| contract.state_index(s));
        let state = state
            .and_then(|s| u8::try_from(s).ok())
            .unwrap_or(UNKNOWN_STATE);
        let inserted = history.insert(bucket, state, &self.values);
        history.profile = contract.profile_of(server, rows.profile(row));
        let every = i64::try_from(self.ctx.config.forecast.every)
            .unwrap_or(1)
            .max(1);
        let is_due = inserted == Inserted::Newest
            && reading == Reading::New
            && (bucket / contract.step_ms()) % every == 0;
        if !is_due || history.rows() < MIN_CONTEXT_ROWS {
            return;
        }
        self.due.push(Due {
            partition,
            bucket,
            model: Arc::clone(&owned.model),
            rows: history.rows(),
            context: tft::Context {
                server: server.to_owned(),
                profile: history.profile,
                end_ms: bucket + contract.step_ms(),
                values: history.context(),
                states: Some(history.context_states()),
            },
        });
        self.due_since.get_or_insert_with(Instant::now);
    }

    /// Forecasts what is due.
    async fn issue(&mut self) -> Result<()> {
        self.due_since = None;
        let due = std::mem::take(&mut self.due);
        if due.is_empty() {
            return Ok(());
        }
        self.issuer.issue(due, self.ctx.clock.now_ms()).await
    }

    /// Waits until all predictions sent are delivered, then commits what that allows.
    async fn commit(&mut self) -> Result<()> {
        self.issue().await?;
        self.issuer.flush().await?;
        let context_ms = self.context_ms();
        for owned in self.partitions.values_mut() {
            owned.forget(context_ms);
        }
        let servers: usize = self
            .partitions
            .values()
            .map(|owned| owned.servers.len())
            .sum();
        let servers = i64::try_from(servers).unwrap_or(i64::MAX);
        self.ctx.telemetry.set_context_servers(ROLE, servers);
        let mut offsets = Vec::new();
        for (partition, owned) in &mut self.partitions {
            // The newest bucket may still have rows to come; what was issued of it is told from
            // new rows by the position.
            if let Some(bucket) = owned.bucket {
                owned.reread.issued(bucket);
            }
            let commit = owned.reread.commit();
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

    fn context_ms(&self) -> i64 {
        let steps = i64::try_from(self.ctx.contract.context_steps).unwrap_or(i64::MAX);
        steps.saturating_mul(self.ctx.contract.step_ms())
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
