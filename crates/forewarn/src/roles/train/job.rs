//! One job: wait for the lake, read it, train, gate, register, promote, announce.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use contract::Topic;
use contract::record::{
    MODEL_PROMOTED, MODEL_PUBLISHED, MODEL_REJECTED, TRAINING_CANCELLED, TRAINING_COMPLETED,
    TRAINING_PROGRESS, Training,
};
use lake::registry::{Production, Registry};
use lake::training::{Selection, TrainingWindow, reached};
use tokio::sync::watch;

use crate::roles::Ctx;
use crate::roles::control::{ControlWriter, new_id};
use crate::roles::production;
use crate::shutdown::Shutdown;
use crate::training::{self, Candidate, Job, LoadedModel};

/// How often the archive is asked whether it has reached the decision.
const LAKE_EVERY: Duration = Duration::from_millis(500);
/// How long it may take: the default flush age is 10 minutes.
const LAKE_WITHIN: Duration = Duration::from_secs(3_600);
/// A progress event at most this often, by the wall clock.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Everything a job needs.
pub(super) struct Worker {
    pub(super) ctx: Ctx,
    pub(super) writer: ControlWriter,
    pub(super) name: String,
    pub(super) shutdown: Shutdown,
}

impl Worker {
    /// Does the job; `false` where it ended without a model in production (rejected, or stopped).
    pub(super) async fn train(&self, job: &policy::Job) -> Result<bool> {
        let registry = Registry::new(lake::store::open(&self.ctx.config.registry.url)?);
        let Some(window) = self.read_lake(job).await? else {
            return self.cancelled(job).await;
        };
        let production = registry.production().await?;
        let serving = match &production {
            Some(p) => self.serving(&registry, &p.version).await?,
            None => None,
        };
        let Some(candidate) = self.fit(job, window, serving).await? else {
            return self.cancelled(job).await;
        };
        let now_ms = self.ctx.clock.now_ms();
        training::register(
            &registry,
            self.ctx.contract.fingerprint(),
            &candidate,
            now_ms,
        )
        .await?;
        let failures = training::failures(&candidate.facts);
        if failures.is_empty() {
            self.promote(job, &registry, &candidate, production.as_ref())
                .await?;
            Ok(true)
        } else {
            self.reject(job, &registry, &candidate, &failures).await?;
            Ok(false)
        }
    }

    /// The model in production; `None` where it cannot be used: then nothing is compared with it, and a good one replaces it.
    async fn serving(&self, registry: &Registry, version: &str) -> Result<Option<LoadedModel>> {
        match training::load_model(registry, version, &self.ctx.contract).await {
            Ok(model) => Ok(Some(model)),
            Err(error) if production::is_passing(&error) => Err(error),
            Err(error) => {
                tracing::error!(
                    version,
                    error = format!("{error:#}"),
                    "the production model cannot be used: the new one is judged without it"
                );
                Ok(None)
            }
        }
    }

    /// The last days of rollups, once the archive holds all that the decision saw.
    async fn read_lake(&self, job: &policy::Job) -> Result<Option<TrainingWindow>> {
        let lake = lake::store::open(&self.ctx.config.lake.url)?;
        let topic = self.ctx.topic(Topic::Rollups);
        let positions: Vec<(i32, i64)> = job
            .positions
            .iter()
            .map(|p| (p.partition, p.offset))
            .collect();
        let until = tokio::time::Instant::now() + LAKE_WITHIN;
        while !reached(lake.store.as_ref(), &topic, &positions).await? {
            if tokio::time::Instant::now() >= until {
                bail!(
                    "the archive in {} has not reached the decision's offsets of {topic} in {} min: is the archive role running, with rollups in archive.topics?",
                    self.ctx.config.lake.url,
                    LAKE_WITHIN.as_secs() / 60
                );
            }
            tokio::select! {
                () = self.shutdown.wait() => return Ok(None),
                () = tokio::time::sleep(LAKE_EVERY) => {}
            }
        }
        let days = self.config()?.days;
        let selection = Selection {
            last_days: Some(days.ceil() as u32),
            ..Selection::default()
        };
        let window = TrainingWindow::from_archive(
            lake.store.as_ref(),
            &topic,
            &self.ctx.contract,
            &selection,
            None,
        )
        .await?;
        for bad in &window.broken {
            tracing::error!(object = %bad.object, reason = %bad.reason, "archive object cannot be read: the training data has a hole");
        }
        Ok(Some(window))
    }

    fn config(&self) -> Result<tft::TrainConfig> {
        let train = &self.ctx.config.train;
        let preset = tft::Preset::named(&train.preset)
            .with_context(|| format!("train.preset {}: unknown", train.preset))?;
        let mut config = preset.config();
        config.days = train.days.unwrap_or(config.days);
        config.max_seconds = train.max_seconds.or(config.max_seconds);
        Ok(config)
    }

    /// Trains in a thread of its own, telling progress; `None` when a stop was asked for.
    async fn fit(
        &self,
        job: &policy::Job,
        window: TrainingWindow,
        serving: Option<LoadedModel>,
    ) -> Result<Option<Candidate>> {
        let positions = window
            .positions
            .iter()
            .map(|&(partition, offset)| contract::record::Position { partition, offset });
        let work = Job {
            contract: Arc::clone(&self.ctx.contract),
            positions: positions.collect(),
            data: training::dataset(window),
            config: self.config()?,
            now_ms: self.ctx.clock.now_ms(),
            trigger: job.trigger.clone(),
            production: serving.map(|loaded| loaded.model),
        };
        let (tell, mut told) = watch::channel(None);
        let shutdown = self.shutdown.clone();
        let mut training = tokio::task::spawn_blocking(move || {
            training::build(work, &mut |progress| {
                tell.send_replace(Some(progress.clone()));
                if shutdown.requested() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        });
        let mut every = tokio::time::interval(PROGRESS_EVERY);
        let built = loop {
            tokio::select! {
                built = &mut training => break built.context("train")?,
                _ = every.tick() => {
                    let progress: Option<tft::Progress> = told.borrow_and_update().clone();
                    if let Some(progress) = progress {
                        self.progress(job, &progress).await?;
                    }
                }
            }
        };
        if self.shutdown.requested() {
            return Ok(None);
        }
        built.map(Some)
    }

    async fn progress(&self, job: &policy::Job, progress: &tft::Progress) -> Result<()> {
        self.ctx.telemetry.set_training_progress(progress.share);
        let about = Training {
            progress: Some(progress.share),
            epoch: i32::try_from(progress.epoch).ok(),
            train_loss: Some(progress.train_loss),
            val_loss: progress.val_loss,
            seconds: Some(progress.seconds),
            message: format!(
                "epoch {} of {}, loss {:.3}, {} windows",
                progress.epoch, progress.epochs, progress.train_loss, progress.samples
            ),
            ..self.about(job)
        };
        self.say(TRAINING_PROGRESS, about).await.map(|_| ())
    }

    async fn promote(
        &self,
        job: &policy::Job,
        registry: &Registry,
        candidate: &Candidate,
        production: Option<&Production>,
    ) -> Result<()> {
        let now_ms = self.ctx.clock.now_ms();
        let loss = candidate.info.final_val_loss;
        let reason = match candidate.facts.production_val_loss {
            Some(before) => format!(
                "all gates passed; validation loss {loss:.4}, production's {before:.4} on the same windows"
            ),
            None => format!("all gates passed; validation loss {loss:.4}, nothing was served"),
        };
        let previous = production.map(|p| p.version.clone());
        let after = production.map_or(0, |p| p.number);
        self.announce(
            MODEL_PUBLISHED,
            job,
            candidate,
            previous.clone(),
            "registered",
        )
        .await?;
        registry
            .promote(&candidate.version, after, now_ms, &reason)
            .await?;
        self.announce(MODEL_PROMOTED, job, candidate, previous, &reason)
            .await?;
        self.completed(
            job,
            candidate,
            &format!("model {}: {reason}", candidate.version),
        )
        .await
    }

    async fn reject(
        &self,
        job: &policy::Job,
        registry: &Registry,
        candidate: &Candidate,
        failures: &[String],
    ) -> Result<()> {
        let reason = format!(
            "gates not passed: {}; production stays",
            failures.join("; ")
        );
        tracing::warn!(version = candidate.version, reason, "candidate rejected");
        registry
            .reject(&candidate.version, self.ctx.clock.now_ms(), &reason)
            .await?;
        self.announce(MODEL_REJECTED, job, candidate, None, &reason)
            .await?;
        self.completed(
            job,
            candidate,
            &format!("model {}: {reason}", candidate.version),
        )
        .await
    }

    async fn announce(
        &self,
        event_type: &str,
        job: &policy::Job,
        candidate: &Candidate,
        previous: Option<String>,
        reason: &str,
    ) -> Result<()> {
        let payload = training::model_change(&self.ctx, candidate, &job.id, previous, reason)?;
        let now_ms = self.ctx.clock.now_ms();
        self.writer
            .publish(event_type, new_id(), now_ms, payload)
            .await
            .map(|_| ())
    }

    async fn completed(
        &self,
        job: &policy::Job,
        candidate: &Candidate,
        message: &str,
    ) -> Result<()> {
        let about = Training {
            version: Some(candidate.version.clone()),
            progress: Some(1.0),
            epoch: i32::try_from(candidate.info.epochs).ok(),
            train_loss: Some(candidate.info.final_train_loss),
            val_loss: Some(candidate.info.final_val_loss),
            seconds: Some(candidate.info.seconds),
            message: message.to_owned(),
            ..self.about(job)
        };
        self.say(TRAINING_COMPLETED, about).await.map(|_| ())
    }

    async fn cancelled(&self, job: &policy::Job) -> Result<bool> {
        let message = "the worker was asked to stop; production stays".to_owned();
        self.say(
            TRAINING_CANCELLED,
            Training {
                message,
                ..self.about(job)
            },
        )
        .await?;
        Ok(false)
    }
}
