//! Stage one: `rollups` and `predictions` of a partition → one pane per profile and bucket.
//!
//! The two are kept together by event time ([`aligned`]): whichever is ahead is paused, so that a
//! backlog gives the same errors as live reading. Committed offsets: of `rollups` the oldest
//! row of an open bucket, of `predictions` the oldest whose horizons are still to come (8 h).

mod aligned;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Assigned, Chunk, Consumer, Event, Limits, Out, Producer, RecordRef, Revoked, Start};
use contract::Topic;
use contract::codec::Decoder;
use contract::record::{Pane, Prediction};
use drift::PaneBuilder;
use window::context::{Reading, Reread, RereadCommit};

use self::aligned::{Aligned, Held, Skipped};
use super::{ROLE, is_ahead};
use crate::ends::Ends;
use crate::roles::batch::RollupRows;
use crate::roles::offsets::{Commits, Resumed, changed, resume};
use crate::roles::production::ProductionWatch;
use crate::roles::{Ctx, RunOpts, ends, millis};
use crate::shutdown::Shutdown;

/// Consumer group of this stage, below the topic prefix.
pub(crate) const GROUP: &str = "drift";
/// The farthest horizon that is compared, and an hour for what is under way.
const PREDICTIONS_KEPT_MS: i64 = 9 * 3_600_000;
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    max_records: 2_000,
    max_bytes: 8 << 20,
    max_wait: Duration::from_millis(50),
    queue_chunks: 4,
};

/// One assigned partition number: its `rollups` and its `predictions`.
struct Owned {
    inputs: Aligned,
    rows: Reread,
    forecasts: Reread,
    committed: [Option<RereadCommit>; 2],
    /// Clock time of the last row, for silent partitions.
    last_row_ms: i64,
    at_end: bool,
    /// `rollups` and `predictions`.
    paused: [bool; 2],
}

struct Stage {
    ctx: Ctx,
    rollups: Arc<str>,
    predictions: Arc<str>,
    panes_topic: String,
    consumer: Consumer,
    commits: Commits,
    producer: Producer,
    production: ProductionWatch,
    decoder: Decoder,
    partitions: BTreeMap<i32, Owned>,
    ends: Ends,
    consumed: u64,
    produced: u64,
    undelivered: bool,
}

/// Runs to the stop; returns records consumed and panes produced.
pub(super) async fn run(
    ctx: Ctx,
    opts: RunOpts,
    production: ProductionWatch,
    shutdown: Shutdown,
) -> Result<(u64, u64)> {
    let topics = [ctx.topic(Topic::Rollups), ctx.topic(Topic::Predictions)];
    let ends = ends(&ctx, opts, &topics).await?;
    let consumer = Consumer::subscribe(&ctx.kafka("drift-panes"), GROUP, &topics, LIMITS)?;
    let [rollups, predictions] = topics;
    let mut stage = Stage {
        rollups: Arc::from(rollups),
        predictions: Arc::from(predictions),
        panes_topic: ctx.topic(Topic::DriftPanes),
        consumer,
        commits: Commits::default(),
        producer: Producer::new(&ctx.kafka("drift-panes"))?,
        production,
        decoder: Decoder::new(Topic::Rollups, &ctx.contract)?,
        partitions: BTreeMap::new(),
        ends,
        consumed: 0,
        produced: 0,
        undelivered: false,
        ctx,
    };
    stage.serve(&shutdown).await?;
    stage.commit().await?;
    stage.commits.finish()?;
    stage.consumer.close(crate::roles::CLOSE_WITHIN).await;
    Ok((stage.consumed, stage.produced))
}

impl Stage {
    async fn serve(&mut self, shutdown: &Shutdown) -> Result<()> {
        let mut tick = tokio::time::interval(COMMIT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => return Ok(()),
                changed = self.production.changed() => {
                    changed?;
                    self.take_baseline()?;
                    continue;
                }
                _ = tick.tick() => {
                    self.close_silent().await?;
                    self.commit().await?;
                    continue;
                }
                event = self.ctx.next(ROLE, &mut self.consumer) => event,
            };
            match event {
                Event::Chunk(chunk) => self.on_chunk(&chunk).await?,
                Event::Assigned(assigned) => self.on_assigned(assigned)?,
                Event::Revoked(revoked) => self.on_revoked(revoked).await?,
                Event::Eof {
                    topic,
                    partition,
                    offset,
                } => {
                    self.on_end(&topic, partition, offset).await?;
                }
                Event::Unavailable(what) => self.ctx.unavailable(ROLE, &what),
                Event::Fatal(error) => {
                    return Err(error).context("consume rollups and predictions");
                }
            }
            if self.ends.done() {
                return self.release_all().await;
            }
        }
    }

    /// A promotion: buckets that open from now on are counted at the new baseline's edges.
    fn take_baseline(&mut self) -> Result<()> {
        let Some(model) = self.production.current() else {
            return Ok(());
        };
        for owned in self.partitions.values_mut() {
            owned
                .inputs
                .builder
                .set_baseline(Arc::clone(&model.baseline))?;
        }
        tracing::info!(
            version = model.version,
            "drift compares with the new model's baseline"
        );
        Ok(())
    }

    fn on_assigned(&mut self, assigned: Assigned) -> Result<()> {
        self.ends.answered();
        let mut starts = Vec::with_capacity(assigned.partitions.len());
        let mut commits: BTreeMap<i32, [Option<RereadCommit>; 2]> = BTreeMap::new();
        for part in &assigned.partitions {
            let Resumed { start, commit } = resume::<RereadCommit>(part, ROLE);
            self.ends.assign(&part.topic, part.partition, start);
            let which = usize::from(part.topic == self.predictions);
            if let Some(slot) = commits.entry(part.partition).or_default().get_mut(which) {
                *slot = commit;
            }
            starts.push((
                Arc::clone(&part.topic),
                part.partition,
                Start::Offset(start),
            ));
        }
        for (partition, commits) in commits {
            let owned = self.open(partition, commits)?;
            self.partitions.insert(partition, owned);
        }
        assigned.start(starts);
        self.ctx.ready(ROLE);
        Ok(())
    }

    fn open(&self, partition: i32, commits: [Option<RereadCommit>; 2]) -> Result<Owned> {
        let model = self
            .production
            .current()
            .context("find the production model's baseline")?;
        let closed = commits[0].and_then(|c| c.issued_through);
        let closed_before = closed.map(|bucket| bucket + self.ctx.contract.step_ms());
        let builder = PaneBuilder::new(
            Arc::clone(&self.ctx.contract),
            Arc::clone(&model.baseline),
            partition,
            closed_before,
        )?;
        Ok(Owned {
            inputs: Aligned::new(builder, closed),
            rows: Reread::new(0, commits[0]),
            forecasts: Reread::new(PREDICTIONS_KEPT_MS, commits[1]),
            committed: commits,
            last_row_ms: self.ctx.clock.now_ms(),
            at_end: false,
            paused: [false; 2],
        })
    }

    async fn on_revoked(&mut self, revoked: Revoked) -> Result<()> {
        self.commit().await?;
        for (topic, partition) in &revoked.partitions {
            self.ctx.lag.forget(&self.ctx, GROUP, topic, *partition);
            self.partitions.remove(partition);
            self.ends.revoke(topic, *partition);
        }
        revoked.done();
        Ok(())
    }

    async fn on_end(&mut self, topic: &Arc<str>, partition: i32, offset: i64) -> Result<()> {
        self.ends.advance(topic, partition, offset);
        if let Some(owned) = self.partitions.get_mut(&partition) {
            if *topic == self.predictions {
                owned.inputs.end_of_forecasts();
                owned.forecasts.advance(offset);
            } else {
                owned.rows.advance(offset);
                owned.at_end = true;
            }
        }
        self.release(partition).await
    }

    async fn on_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let contract = Arc::clone(&self.ctx.contract);
        let rollups = chunk.iter().filter(|r| *r.topic == self.rollups);
        let values = rollups.map(|record| record.value);
        let rows = RollupRows::decode(&mut self.decoder, &contract, values)?;
        let (mut row, mut touched) = (0, std::collections::BTreeSet::new());
        for record in chunk.iter() {
            let index = row;
            row += usize::from(*record.topic == self.rollups);
            if !self
                .ends
                .take(record.topic, record.partition, record.offset)
            {
                continue;
            }
            self.consumed += 1;
            touched.insert(record.partition);
            if *record.topic == self.predictions {
                self.on_prediction(&record);
            } else if rows.contract(index) == contract.fingerprint() {
                self.hold(&rows, index, &record);
            } else {
                self.ctx.telemetry.skipped(ROLE, "rollup_not_usable", 1);
            }
        }
        for partition in touched {
            self.release(partition).await?;
        }
        Ok(())
    }

    fn on_prediction(&mut self, record: &RecordRef<'_>) {
        let Some(owned) = self.partitions.get_mut(&record.partition) else {
            return;
        };
        let decoded = record.value.map(contract::codec::decode::<Prediction>);
        let Some(Ok(prediction)) = decoded else {
            self.ctx.telemetry.skipped(ROLE, "prediction_malformed", 1);
            owned.forecasts.advance(record.offset + 1);
            return;
        };
        owned.forecasts.observe(record.offset, prediction.issued_at);
        owned.inputs.forecast(prediction);
    }

    fn hold(&mut self, rows: &RollupRows, row: usize, record: &RecordRef<'_>) {
        let Some(owned) = self.partitions.get_mut(&record.partition) else {
            return;
        };
        let (server, bucket) = (rows.server(row), rows.bucket(row));
        if is_ahead(bucket, record.timestamp_ms) {
            tracing::warn!(
                partition = record.partition,
                offset = record.offset,
                server,
                bucket,
                "rollup of the future is not counted for drift"
            );
            self.ctx.telemetry.skipped(ROLE, "row_in_future", 1);
            owned.rows.advance(record.offset + 1);
            return;
        }
        let reading = owned.rows.observe(record.offset, bucket);
        owned.last_row_ms = self.ctx.clock.now_ms();
        owned.at_end = false;
        let mut values = Vec::new();
        rows.values(row, &mut values);
        let held = Held {
            profile: self.ctx.contract.profile_of(server, rows.profile(row)),
            server: server.to_owned(),
            offset: record.offset,
            is_new: reading == Reading::New,
            values,
        };
        if owned.inputs.row(bucket, held).is_err() {
            self.ctx.telemetry.skipped(ROLE, "too_many_rows_held", 1);
        }
    }

    /// Counts what the two inputs allow, and pauses the one that is ahead.
    async fn release(&mut self, partition: i32) -> Result<()> {
        let Some(owned) = self.partitions.get_mut(&partition) else {
            return Ok(());
        };
        let panes = if self.ends.is_read(&self.rollups, partition) {
            owned.inputs.end_of_rows()
        } else {
            owned.inputs.advance()
        };
        let inputs = &mut owned.inputs;
        let skipped = std::mem::take(&mut inputs.skipped);
        let pause = [!inputs.wants_rows(), !inputs.wants_forecasts()];
        let topics = [&self.rollups, &self.predictions];
        for ((topic, pause), paused) in topics.into_iter().zip(pause).zip(&mut owned.paused) {
            if pause != *paused {
                *paused = pause;
                let part = [(topic.to_string(), partition)];
                if pause {
                    self.consumer.pause(&part)?;
                } else {
                    self.consumer.resume(&part)?;
                }
            }
        }
        self.tell(partition, &skipped);
        self.send(panes).await
    }

    fn tell(&self, partition: i32, skipped: &Skipped) {
        if let Some((offset, outcome)) = skipped.last_row {
            tracing::warn!(
                partition,
                offset,
                ?outcome,
                "rollup is not counted for drift"
            );
        }
        let reasons = [
            ("row_not_counted", skipped.rows),
            ("row_late", skipped.late),
            ("prediction_not_comparable", skipped.forecasts),
            ("prediction_out_of_order", skipped.too_far_ahead),
            ("too_many_servers", skipped.servers),
        ];
        for (reason, count) in reasons.into_iter().filter(|(_, count)| *count > 0) {
            self.ctx.telemetry.skipped(ROLE, reason, count);
        }
    }

    /// The end of a fixed run: what is held has all the predictions that there are.
    async fn release_all(&mut self) -> Result<()> {
        let partitions: Vec<i32> = self.partitions.keys().copied().collect();
        for partition in partitions {
            if let Some(owned) = self.partitions.get_mut(&partition) {
                owned.inputs.end_of_forecasts();
            }
            self.release(partition).await?;
        }
        Ok(())
    }

    /// A silent partition holds no window open: its bucket closes by the clock.
    async fn close_silent(&mut self) -> Result<()> {
        if self.ends.is_fixed() {
            return Ok(());
        }
        let now_ms = self.ctx.clock.now_ms();
        let idle_after_ms = millis(self.ctx.config.rollup.idle_after);
        let step_ms = self.ctx.contract.step_ms();
        let mut panes = Vec::new();
        for owned in self.partitions.values_mut() {
            let silent = owned.at_end && now_ms - owned.last_row_ms >= idle_after_ms;
            if let (true, Some(newest), Some(_)) = (
                silent,
                owned.inputs.newest,
                owned.inputs.builder.oldest_open(),
            ) {
                panes.extend(owned.inputs.builder.close_before(newest + step_ms));
            }
        }
        self.send(panes).await
    }

    async fn send(&mut self, panes: Vec<Pane>) -> Result<()> {
        let now_ms = self.ctx.clock.now_ms();
        for pane in panes {
            let key = format!(
                "{}/{}/{}/{}",
                pane.partition, pane.profile, pane.bucket, pane.baseline
            );
            let value = contract::codec::encode(&pane)?;
            self.producer
                .send(Out {
                    topic: &self.panes_topic,
                    partition: Some(0),
                    key: Some(key.as_bytes()),
                    value: Some(&value),
                    headers: &[],
                    timestamp_ms: Some(now_ms),
                })
                .await
                .context("send a pane")?;
            self.produced += 1;
            self.undelivered = true;
            self.ctx.telemetry.produced(ROLE, &self.panes_topic, 1);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        if self.undelivered {
            self.producer.flush().await.context("deliver panes")?;
            self.undelivered = false;
        }
        let step_ms = self.ctx.contract.step_ms();
        let mut offsets = Vec::new();
        for (partition, owned) in &mut self.partitions {
            if let Some(closed_before) = owned.inputs.builder.closed_before() {
                owned.rows.issued(closed_before - step_ms);
                owned.forecasts.issued(closed_before - step_ms);
            }
            let now = [owned.rows.commit(), owned.forecasts.commit()];
            let topics = [&self.rollups, &self.predictions];
            for ((now, before), topic) in now.into_iter().zip(&mut owned.committed).zip(topics) {
                if let Some(commit) = now {
                    self.ctx
                        .lag
                        .note(GROUP, topic, *partition, commit.offset, commit.position);
                }
                offsets.extend(changed(topic, *partition, now, before));
            }
        }
        self.commits.commit(&self.consumer, offsets).await
    }
}
