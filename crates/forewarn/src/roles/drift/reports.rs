//! Stage two: `drift.panes` → one [`DriftReport`] per bucket on `drift`, and decisions on `control`.
//!
//! A bucket is reported once every partition that is not silent has handed in all of its panes, or
//! one of a later bucket. The committed offset keeps the last day of panes readable; its metadata says through
//! which bucket reports were issued. The decision is a fold over the control topic and this report.

mod progress;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Assigned, Chunk, Consumer, Event, Limits, Out, Producer, RecordRef, Revoked, Start};
use contract::Topic;
use contract::record::{ControlEvent, ControlPayload, DECISION, Decision, DriftReport, Pane};
use drift::{PaneOutcome, ReportRequest, Windows};
use window::context::{Reading, Reread, RereadCommit};

use self::progress::{Patience, Progress};
use super::{ROLE, is_ahead};
use crate::ends::Ends;
use crate::roles::control::{ControlRead, ControlReader, ControlWriter, new_id};
use crate::roles::offsets::{Commits, Resumed, changed, resume};
use crate::roles::production::ProductionWatch;
use crate::roles::{Ctx, RunOpts, ends, millis};
use crate::shutdown::Shutdown;

/// Consumer group of this stage, below the topic prefix.
const GROUP: &str = "drift-reports";
/// What a verdict rests on ([`drift::shift::detector::MEMORY`] buckets, 28 hours), and an hour for panes that are late.
const PANES_KEPT_MS: i64 = 29 * 3_600_000;
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    max_records: 2_000,
    max_bytes: 8 << 20,
    max_wait: Duration::from_millis(50),
    queue_chunks: 4,
};

struct Stage {
    ctx: Ctx,
    panes_topic: Arc<str>,
    drift_topic: String,
    consumer: Consumer,
    commits: Commits,
    producer: Producer,
    production: ProductionWatch,
    control: ControlReader,
    writer: ControlWriter,
    windows: Windows,
    reread: Option<Reread>,
    committed: Option<RereadCommit>,
    progress: Progress,
    /// None of a run to the end.
    patience: Option<Patience>,
    /// Start of the last bucket that was reported.
    reported: Option<i64>,
    settings: policy::Settings,
    policy: policy::State,
    last_decision: Option<(Decision, i64)>,
    ends: Ends,
    consumed: u64,
    produced: u64,
}

/// Runs to the stop; returns panes consumed and records produced.
pub(super) async fn run(
    ctx: Ctx,
    opts: RunOpts,
    production: ProductionWatch,
    shutdown: Shutdown,
) -> Result<(u64, u64)> {
    let topics = [ctx.topic(Topic::DriftPanes)];
    let ends = ends(&ctx, opts, &topics).await?;
    let mut stage = Stage {
        patience: patience(&ctx, opts).await?,
        drift_topic: ctx.topic(Topic::Drift),
        consumer: Consumer::subscribe(&ctx.kafka("drift-reports"), GROUP, &topics, LIMITS)?,
        commits: Commits::default(),
        producer: Producer::new(&ctx.kafka("drift-reports"))?,
        production,
        control: ControlReader::from_beginning(&ctx, ROLE)?,
        writer: ControlWriter::new(&ctx, ROLE)?,
        windows: Windows::new(Arc::clone(&ctx.contract)),
        reread: None,
        committed: None,
        progress: Progress::default(),
        reported: None,
        settings: ctx.config.decision_settings(),
        policy: policy::State::default(),
        last_decision: None,
        ends,
        consumed: 0,
        produced: 0,
        panes_topic: Arc::from(topics[0].as_str()),
        ctx,
    };
    let (policy, last) = (&mut stage.policy, &mut stage.last_decision);
    stage
        .control
        .read_all(|event| fold(policy, last, event))
        .await?;
    stage.serve(&shutdown).await?;
    stage.commit().await?;
    stage.commits.finish()?;
    stage.consumer.close(crate::roles::CLOSE_WITHIN).await;
    Ok((stage.consumed, stage.produced))
}

/// How long partitions are waited for that say nothing.
async fn patience(ctx: &Ctx, opts: RunOpts) -> Result<Option<Patience>> {
    if opts.until_end {
        return Ok(None);
    }
    let there = bus::topics::partitions(&ctx.kafka("drift-reports"))
        .await
        .context("ask for the partitions of rollups")?;
    let expected = there.get(&ctx.topic(Topic::Rollups)).copied().unwrap_or(0);
    Ok(Some(Patience {
        expected: usize::try_from(expected).unwrap_or(0),
        // Panes of a bucket come when the next one has begun, or later where their partition fell silent.
        idle_ms: millis(ctx.config.rollup.idle_after) + ctx.contract.step_ms(),
    }))
}

/// What a control event changes: the state that decides, and the last decision with its time. The answer to a person's request
/// is no word of this role's.
fn fold(
    policy: &mut policy::State,
    last_decision: &mut Option<(Decision, i64)>,
    event: &ControlEvent,
) {
    policy.apply(event);
    if let ControlPayload::Decision(decision) = &event.payload
        && !decision.manual
    {
        *last_decision = Some((decision.clone(), event.time));
    }
}

/// The record's pane, or why it has none to count: as a metric's label, and in words.
fn usable(record: &RecordRef<'_>) -> Result<Pane, (&'static str, &'static str)> {
    match record.value.map(contract::codec::decode::<Pane>) {
        Some(Ok(pane)) if is_ahead(pane.bucket, record.timestamp_ms) => {
            Err(("pane_in_future", "a pane of the future came"))
        }
        Some(Ok(pane)) => Ok(pane),
        Some(Err(_)) | None => Err(("pane_malformed", "a pane does not decode")),
    }
}

impl Stage {
    async fn serve(&mut self, shutdown: &Shutdown) -> Result<()> {
        let mut tick = tokio::time::interval(COMMIT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => return Ok(()),
                read = self.control.next() => {
                    if let ControlRead::Event(event) = read? {
                        self.fold(&event);
                    }
                    continue;
                }
                _ = tick.tick() => {
                    self.report_due().await?;
                    self.commit().await?;
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
                } => {
                    self.ends.advance(&self.panes_topic, partition, offset);
                }
                Event::Unavailable(what) => self.ctx.unavailable(ROLE, &what),
                Event::Fatal(error) => return Err(error).context("consume panes"),
            }
            if self.ends.done() {
                return self.report_due().await;
            }
        }
    }

    fn fold(&mut self, event: &ControlEvent) {
        fold(&mut self.policy, &mut self.last_decision, event);
    }

    fn on_assigned(&mut self, assigned: Assigned) {
        self.ends.answered();
        let mut starts = Vec::new();
        for part in &assigned.partitions {
            let Resumed { start, commit } = resume::<RereadCommit>(part, "drift");
            self.ends.assign(&part.topic, part.partition, start);
            self.windows = Windows::new(Arc::clone(&self.ctx.contract));
            self.progress = Progress::new(self.ctx.clock.now_ms());
            self.reported = commit.and_then(|c| c.issued_through);
            self.reread = Some(Reread::new(PANES_KEPT_MS, commit));
            self.committed = commit;
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
        // Whoever is next reports from here on: not a bucket more, however long the others are silent.
        self.reread = None;
        for (topic, partition) in &revoked.partitions {
            self.ends.revoke(topic, *partition);
        }
        revoked.done();
        Ok(())
    }

    async fn on_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let now_ms = self.ctx.clock.now_ms();
        for record in chunk.iter() {
            if !self
                .ends
                .take(&self.panes_topic, record.partition, record.offset)
            {
                continue;
            }
            let Some(reread) = &mut self.reread else {
                continue;
            };
            self.consumed += 1;
            let pane = match usable(&record) {
                Ok(pane) => pane,
                Err((reason, why)) => {
                    tracing::warn!(offset = record.offset, "{why} and is not counted");
                    self.ctx.telemetry.skipped(ROLE, reason, 1);
                    reread.advance(record.offset + 1);
                    continue;
                }
            };
            let is_new = reread.observe(record.offset, pane.bucket) == Reading::New;
            match self.windows.add(&pane) {
                PaneOutcome::Added | PaneOutcome::Replaced => {}
                other => {
                    tracing::warn!(offset = record.offset, outcome = ?other, "pane is not counted");
                    self.ctx.telemetry.skipped(ROLE, "pane_not_counted", 1);
                    continue;
                }
            }
            let whole = self.progress.heard(&pane, now_ms);
            if is_new && whole && self.ends.is_fixed() {
                self.report_due().await?;
            }
        }
        self.report_due().await
    }

    /// Reports every bucket that all speaking partitions have reached.
    async fn report_due(&mut self) -> Result<()> {
        let now_ms = self.ctx.clock.now_ms();
        let is_ours = self.reread.is_some();
        let due = self.progress.through(now_ms, self.patience);
        let Some(through) = due.filter(|_| is_ours) else {
            return Ok(());
        };
        let step_ms = self.ctx.contract.step_ms();
        let next = self.reported.map(|reported| reported + step_ms);
        let first = next.or(self.progress.oldest()).unwrap_or(through);
        let mut bucket = first.max(through - PANES_KEPT_MS);
        while bucket <= through {
            self.report(bucket + step_ms).await?;
            self.reported = Some(bucket);
            bucket += step_ms;
        }
        Ok(())
    }

    async fn report(&mut self, at_ms: i64) -> Result<()> {
        let Some(model) = self.production.current() else {
            return Ok(());
        };
        let request = ReportRequest {
            at_ms,
            model_version: &model.version,
            policy: self.ctx.config.drift.policy,
            calibration: self.ctx.config.drift.calibration,
            fds: self.ctx.config.drift.fds,
        };
        let report = self.windows.report(&request, &model.baseline)?;
        let value = contract::codec::encode(&report)?;
        self.producer
            .send(Out {
                topic: &self.drift_topic,
                partition: Some(0),
                key: Some(at_ms.to_string().as_bytes()),
                value: Some(&value),
                headers: &[],
                timestamp_ms: Some(self.ctx.clock.now_ms()),
            })
            .await
            .context("send a drift report")?;
        self.produced += 1;
        self.tell(&report);
        self.decide(&report).await
    }

    fn tell(&self, report: &DriftReport) {
        let telemetry = &self.ctx.telemetry;
        telemetry.produced(ROLE, &self.drift_topic, 1);
        telemetry.drift_report(report.score, &report.status);
        let missing_partitions = i64::try_from(report.missing_partitions.len());
        telemetry.set_drift_missing(
            report.missing_servers.into(),
            missing_partitions.unwrap_or(i64::MAX),
        );
        for window in &report.windows {
            let minutes = format!("{}m", window.minutes);
            telemetry.set_drift_measure(&minutes, "per", window.per.unwrap_or(f64::NAN));
            telemetry.set_drift_measure(&minutes, "dss", window.dss);
            telemetry.set_drift_measure(&minutes, "fds", window.fds);
            telemetry.set_drift_measure(&minutes, "anomaly_rate", window.anomaly_rate);
            telemetry.set_drift_measure(&minutes, "calibrated_score", window.calibrated_score);
        }
    }

    /// Asks the policy; a verdict that changed, or is an hour old, becomes an event.
    async fn decide(&mut self, report: &DriftReport) -> Result<()> {
        let now_ms = report.at;
        let evidence = policy::Evidence::of_report(report);
        let verdict = policy::decide(&evidence, &self.policy, &self.settings);
        let last = self
            .last_decision
            .as_ref()
            .map(|(decision, at)| (decision, *at));
        if !policy::should_publish(last, &verdict, now_ms) {
            return Ok(());
        }
        self.ctx
            .telemetry
            .decision(if verdict.trigger { "train" } else { "wait" });
        let payload = ControlPayload::Decision(verdict);
        let event = self
            .writer
            .publish(DECISION, new_id(), now_ms, payload)
            .await?;
        self.produced += 1;
        // Folded here at once: the next report must see it even if the topic is slow.
        self.fold(&event);
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        let Some(reread) = &mut self.reread else {
            return Ok(());
        };
        self.producer
            .flush()
            .await
            .context("deliver drift reports")?;
        if let Some(reported) = self.reported {
            reread.issued(reported);
        }
        let now = reread.commit();
        if let Some(now) = now {
            let lag = &self.ctx.lag;
            lag.note(GROUP, &self.panes_topic, 0, now.offset, now.position);
        }
        let offset = changed(&self.panes_topic, 0, now, &mut self.committed);
        self.commits
            .commit(&self.consumer, offset.into_iter().collect())
            .await
    }
}
