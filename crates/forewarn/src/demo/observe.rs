//! The demo's audience: reads the topics like any other consumer and tells what happens.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{Consumer, Event, Limits, RecordRef, Start};
use contract::Topic;
use contract::record::{self, ControlEvent, ControlPayload, DriftReport, Prediction};
use tokio::task::JoinHandle;

use super::PARTITIONS;
use super::account::{Account, Progress};
use crate::roles::Ctx;
use crate::shutdown::Shutdown;

const LIMITS: Limits = Limits {
    max_records: 1_000,
    max_bytes: 4 << 20,
    max_wait: Duration::from_millis(50),
    queue_chunks: 4,
};
/// A drift report is told once in so many, and whenever the status changes: one in half an hour.
const TELL_EVERY: u64 = 6;

/// Starts watching; it ends with the shutdown.
pub(super) fn start(
    ctx: &Ctx,
    account: &Account,
    shutdown: &Shutdown,
) -> Result<JoinHandle<Result<()>>> {
    let mut partitions = Vec::new();
    for topic in [
        Topic::Rollups,
        Topic::Predictions,
        Topic::Drift,
        Topic::Control,
    ] {
        let count = if topic.partitioned() { PARTITIONS } else { 1 };
        partitions.extend((0..count).map(|partition| (ctx.topic(topic), partition, Start::End)));
    }
    let mut consumer = Consumer::assign(&ctx.kafka("demo-audience"), &partitions, LIMITS)?;
    let mut audience = Audience {
        prefix: ctx.config.topics.prefix.clone(),
        account: account.clone(),
        serving: None,
        reports: 0,
        status: String::new(),
        progress: None,
    };
    let shutdown = shutdown.clone();
    Ok(tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => break,
                event = consumer.next() => event,
            };
            match event {
                Event::Chunk(chunk) => {
                    for record in chunk.iter() {
                        audience.see(&record)?;
                    }
                }
                Event::Fatal(error) => return Err(error).context("watch the demo's topics"),
                Event::Assigned(_)
                | Event::Revoked(_)
                | Event::Eof { .. }
                | Event::Unavailable(_) => {}
            }
        }
        consumer.close(crate::roles::CLOSE_WITHIN).await;
        Ok(())
    }))
}

struct Audience {
    prefix: String,
    account: Account,
    /// The version that the last prediction named.
    serving: Option<String>,
    reports: u64,
    status: String,
    progress: Option<Progress>,
}

impl Audience {
    fn see(&mut self, record: &RecordRef<'_>) -> Result<()> {
        let Some(value) = record.value else {
            return Ok(());
        };
        match Topic::from_full(&self.prefix, record.topic) {
            Some(Topic::Rollups) => self.account.rollups(1),
            Some(Topic::Predictions) => self.prediction(&contract::codec::decode(value)?)?,
            Some(Topic::Drift) => self.report(&contract::codec::decode(value)?)?,
            Some(Topic::Control) => self.control(&contract::codec::decode(value)?)?,
            _ => {}
        }
        Ok(())
    }

    fn prediction(&mut self, prediction: &Prediction) -> Result<()> {
        if let Some(seconds) = self.account.prediction(&prediction.server) {
            self.account.line(&format!(
                "every server has a forecast, {seconds:.1} s after the start (issued {})",
                crate::training::rfc3339(prediction.issued_at)
            ))?;
        }
        if self.serving.as_deref() == Some(prediction.model_version.as_str()) {
            return Ok(());
        }
        let reloaded = self
            .serving
            .replace(prediction.model_version.clone())
            .is_some();
        if reloaded {
            self.account.reload();
            self.account.line(&format!(
                "reloaded: forecasts now come from model {} (first for {}, issued {})",
                prediction.model_version,
                prediction.server,
                crate::training::rfc3339(prediction.issued_at)
            ))?;
        }
        Ok(())
    }

    fn report(&mut self, report: &DriftReport) -> Result<()> {
        self.account.drift_report();
        self.reports += 1;
        if self.status == report.status && self.reports % TELL_EVERY != 1 {
            return Ok(());
        }
        self.status.clone_from(&report.status);
        let load = report
            .load
            .map_or_else(|| "unknown".to_owned(), |load| format!("{load:.2}"));
        self.account.line(&format!(
            "{}  drift {:.3} ({}), load {load}: {}",
            crate::training::rfc3339(report.at),
            report.score,
            report.status,
            report.recommendation
        ))
    }

    fn control(&mut self, event: &ControlEvent) -> Result<()> {
        let at = crate::training::rfc3339(event.time);
        match &event.payload {
            ControlPayload::Decision(decision) => {
                self.account.decision();
                let verdict = if decision.trigger {
                    "train"
                } else {
                    "do not train"
                };
                self.account
                    .line(&format!("{at}  decision: {verdict}: {}", decision.reason))
            }
            ControlPayload::Training(training) => match event.event_type.as_str() {
                record::TRAINING_PROGRESS => {
                    let account = &self.account;
                    let progress = self
                        .progress
                        .get_or_insert_with(|| account.progress("training"));
                    progress.share(training.progress.unwrap_or(0.0), &training.message);
                    Ok(())
                }
                record::TRAINING_COMPLETED => {
                    self.progress = None;
                    self.account.training();
                    self.account
                        .line(&format!("{at}  training completed: {}", training.message))
                }
                other => {
                    let what = other.trim_start_matches("forewarn.training.");
                    self.account
                        .line(&format!("{at}  training {what}: {}", training.message))
                }
            },
            ControlPayload::Model(model) => {
                let what = event.event_type.trim_start_matches("forewarn.model.");
                if event.event_type == record::MODEL_PUBLISHED {
                    self.account.model(&model.version);
                }
                self.account.line(&format!(
                    "{at}  model {} {what}: {}",
                    model.version, model.reason
                ))
            }
        }
    }
}
