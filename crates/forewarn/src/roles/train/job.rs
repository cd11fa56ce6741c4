//! One job: wait for the lake, read it, train, gate, register, promote, announce.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use contract::Topic;
use contract::record::{
    MODEL_PROMOTED, MODEL_PUBLISHED, MODEL_REJECTED, TRAINING_CANCELLED, TRAINING_COMPLETED,
    TRAINING_PROGRESS, TRAINING_REJECTED, Training,
};
use lake::registry::{Production, Registry, RegistryError};
use lake::training::{Selection, TrainingWindow, reached};
use policy::DataCheck;

use super::facts::{facts, needs};
use super::fit::Fitted;
use super::load::LoadWatch;
use crate::roles::Ctx;
use crate::roles::control::{ControlWriter, new_id};
use crate::roles::production;
use crate::shutdown::Shutdown;
use crate::training::{self, Candidate, CheckpointFile, Job, LoadedModel, Mismatch, Resumable};

/// How often the archive is asked whether it has reached the decision.
const LAKE_EVERY: Duration = Duration::from_millis(500);
/// While it waits for the lake or for a quiet fleet, by the wall clock.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(30);
/// The same of stream time, where that runs faster: a third of what makes a claim stale.
const SIGN_OF_LIFE_STREAM: Duration =
    Duration::from_millis(policy::STALE_AFTER_MS.unsigned_abs() / 3);
/// How long it may take: the default flush age is 10 minutes.
const LAKE_WITHIN: Duration = Duration::from_secs(3_600);

/// Epochs of a training by the clock that goes on from the production model: nothing says that the world has changed.
const SCHEDULED_EPOCHS: usize = 1;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A model is served that was not there before.
    Promoted,
    /// There is a model, and it did not pass the gates.
    Rejected,
    /// There are too few data.
    Skipped,
    /// A stop was asked for.
    Cancelled,
    /// A stop was asked for, and there is a checkpoint to go on from.
    Left,
    /// Each try failed.
    GivenUp,
}

impl Outcome {
    /// As the metric says it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Outcome::Promoted => "completed",
            Outcome::Rejected => "rejected",
            Outcome::Skipped => "skipped",
            Outcome::Cancelled => "cancelled",
            Outcome::Left => "left",
            Outcome::GivenUp => "given_up",
        }
    }
}

/// Everything a job needs.
pub(super) struct Worker {
    pub(super) ctx: Ctx,
    pub(super) writer: ControlWriter,
    pub(super) name: String,
    pub(super) shutdown: Shutdown,
}

impl Worker {
    /// Does the job, once.
    pub(super) async fn train(&self, job: &policy::Job) -> Result<Outcome> {
        let registry = Registry::new(lake::store::open(&self.ctx.config.registry.url)?);
        let mut load = LoadWatch::start(&self.ctx, job)?;
        let Some(window) = self.read_lake(job).await? else {
            return self.stopped(job).await;
        };
        if let Some(why) = self.lacks(job, &window)? {
            return self.skipped(job, &why).await;
        }
        let production = registry.production().await?;
        let serving = match &production {
            Some(p) => self.serving(&registry, &p.version).await?,
            None => None,
        };
        let resume = self.resume(&registry, production.as_ref()).await?;
        let checkpoint = self.checkpoint(job)?;
        let config = self.config(job, resume.is_some())?;
        let work = self.work(job, window, serving, resume, config, checkpoint.clone());
        let candidate = match self.fit(job, work, &mut load).await {
            Ok(Fitted::Made(candidate)) => candidate,
            Ok(Fitted::Cancelled) => return self.cancelled(job).await,
            // The claim stays: whoever runs under this name next goes on with the job.
            Ok(Fitted::Left) => return Ok(Outcome::Left),
            Err(error) => match error.downcast_ref() {
                // More tries would not give more data.
                Some(tft::TrainError::TooLittle(why)) => {
                    if let Some(file) = checkpoint {
                        file.remove();
                    }
                    return self.skipped(job, why).await;
                }
                _ => return Err(error),
            },
        };
        drop(load);
        let now_ms = self.ctx.clock.now_ms();
        training::register(
            &registry,
            self.ctx.contract.fingerprint(),
            &candidate,
            now_ms,
        )
        .await?;
        let failures = training::failures(&candidate.facts);
        let outcome = if failures.is_empty() {
            self.promote(job, &registry, &candidate, production.as_ref())
                .await?
        } else {
            let reason = format!(
                "gates not passed: {}; production stays",
                failures.join("; ")
            );
            self.reject(job, &registry, &candidate, &reason).await?
        };
        if let Some(file) = checkpoint {
            file.remove();
        }
        Ok(outcome)
    }

    /// Forgets what tries of a job that nobody does again have left.
    pub(super) fn forget(&self, job: &policy::Job) {
        match self.checkpoint(job) {
            Ok(Some(file)) => file.remove(),
            Ok(None) => {}
            // A warning: the file lies there, and nothing reads it.
            Err(error) => tracing::warn!(
                job = job.id,
                error = format!("{error:#}"),
                "the job's checkpoint cannot be removed"
            ),
        }
    }

    /// Why the data are not worth a training, if they are not. Thin data are warned of.
    fn lacks(&self, job: &policy::Job, window: &TrainingWindow) -> Result<Option<String>> {
        let contract = &self.ctx.contract;
        let facts = facts(window, contract);
        let needs = needs(&self.config(job, false)?, contract);
        Ok(match policy::check_data(&facts, &needs) {
            DataCheck::Enough => None,
            DataCheck::Thin(why) => {
                tracing::warn!(job = job.id, "training on thin data: {why}");
                None
            }
            DataCheck::Skip(why) => Some(why),
        })
    }

    async fn skipped(&self, job: &policy::Job, why: &str) -> Result<Outcome> {
        let message = format!(
            "not trained, too few data in {}: {why}; production stays. The archive must hold more rollups first",
            self.ctx.config.lake.url
        );
        tracing::warn!(job = job.id, "{message}");
        let about = Training {
            message,
            ..self.about(job)
        };
        self.say(TRAINING_REJECTED, about).await?;
        Ok(Outcome::Skipped)
    }

    /// The production model, where the preset goes on from it and it still fits.
    async fn resume(
        &self,
        registry: &Registry,
        production: Option<&Production>,
    ) -> Result<Option<Resumable>> {
        let (train, contract) = (&self.ctx.config.train, &self.ctx.contract);
        let device = self.ctx.config.devices.first();
        let (Some(tft::Preset::Incremental), Some(served)) =
            (tft::Preset::named(&train.preset), production)
        else {
            return Ok(None);
        };
        let resume =
            match training::load_to_resume(registry, &served.version, contract, device).await {
                Ok(resume) => resume,
                Err(error) if production::is_passing(&error) => return Err(error),
                // Said by `serving`: the next model begins anew.
                Err(_) => return Ok(None),
            };
        if resume.fits(contract) {
            return Ok(Some(resume));
        }
        tracing::warn!(
            version = served.version,
            "the production model has other sizes than the contract now needs: training from random weights"
        );
        Ok(None)
    }

    /// Where this job's checkpoints go, if anywhere.
    fn checkpoint(&self, job: &policy::Job) -> Result<Option<CheckpointFile>> {
        let train = &self.ctx.config.train;
        let Some(directory) = &train.checkpoints else {
            return Ok(None);
        };
        CheckpointFile::open(
            directory,
            &file_name(job),
            train.checkpoint_every,
            Mismatch::StartOver,
        )
        .map(Some)
    }

    /// A stop was asked for between two parts of the work: what an earlier process left of it is gone on with.
    pub(super) async fn stopped(&self, job: &policy::Job) -> Result<Outcome> {
        let directory = self.ctx.config.train.checkpoints.as_deref();
        if directory.is_some_and(|of| CheckpointFile::is_left(of, &file_name(job))) {
            return Ok(Outcome::Left);
        }
        self.cancelled(job).await
    }

    /// The model in production; `None` where it cannot be used: then nothing is compared with it, and a good one replaces it.
    async fn serving(&self, registry: &Registry, version: &str) -> Result<Option<LoadedModel>> {
        let (contract, device) = (&self.ctx.contract, self.ctx.config.devices.first());
        match training::load_model(registry, version, contract, device).await {
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
        let mut said = tokio::time::Instant::now();
        while !reached(lake.store.as_ref(), &topic, &positions).await? {
            if tokio::time::Instant::now() >= until {
                bail!(
                    "the archive in {} has not reached the decision's offsets of {topic} in {} min: is the archive role running, with rollups in archive.topics?",
                    self.ctx.config.lake.url,
                    LAKE_WITHIN.as_secs() / 60
                );
            }
            if said.elapsed() >= self.sign_of_life_every() {
                said = tokio::time::Instant::now();
                let waiting = Training {
                    progress: Some(0.0),
                    message: "waits for the archive to reach the decision's offsets".to_owned(),
                    ..self.about(job)
                };
                self.say(TRAINING_PROGRESS, waiting).await?;
            }
            tokio::select! {
                () = self.shutdown.wait() => return Ok(None),
                () = tokio::time::sleep(LAKE_EVERY) => {}
            }
        }
        let days = self.config(job, false)?.days;
        // A job that goes on from a checkpoint must see the very data that it began with.
        let fixed = self.ctx.config.train.checkpoints.is_some() && !positions.is_empty();
        let selection = Selection {
            last_days: Some(days.ceil() as u32),
            ..Selection::default()
        };
        let window = TrainingWindow::from_archive(
            lake.store.as_ref(),
            &topic,
            &self.ctx.contract,
            &selection,
            fixed.then_some(positions.as_slice()),
        )
        .await?;
        for bad in &window.broken {
            tracing::error!(object = %bad.object, reason = %bad.reason, "archive object cannot be read: the training data has a hole");
        }
        Ok(Some(window))
    }

    /// Settings of a training, from random weights or `onward` from the production model.
    fn config(&self, job: &policy::Job, onward: bool) -> Result<tft::TrainConfig> {
        let train = &self.ctx.config.train;
        let preset = tft::Preset::named(&train.preset)
            .with_context(|| format!("train.preset {}: unknown", train.preset))?;
        let mut config = match preset {
            tft::Preset::Incremental if !onward => tft::Preset::Production.config(),
            _ => preset.config(),
        };
        match job.trigger.as_str() {
            "drift" if onward => config.epochs = tft::DRIFT_EPOCHS,
            "schedule" if onward => config.epochs = SCHEDULED_EPOCHS,
            _ => {}
        }
        if let Some(epochs) = job.epochs {
            config.epochs = epochs as usize;
        }
        config.days = train.days.unwrap_or(config.days);
        config.max_seconds = train.max_seconds.or(config.max_seconds);
        config.devices = self.ctx.config.devices.clone();
        self.ctx.config.train.tune(&mut config);
        Ok(config)
    }

    /// What the training is told.
    fn work(
        &self,
        job: &policy::Job,
        window: TrainingWindow,
        serving: Option<LoadedModel>,
        resume: Option<Resumable>,
        config: tft::TrainConfig,
        checkpoint: Option<CheckpointFile>,
    ) -> Job {
        let positions = window
            .positions
            .iter()
            .map(|&(partition, offset)| contract::record::Position { partition, offset });
        Job {
            contract: Arc::clone(&self.ctx.contract),
            positions: positions.collect(),
            data: training::dataset(window),
            config,
            network: self.ctx.config.train.network(),
            now_ms: self.ctx.clock.now_ms(),
            trigger: job.trigger.clone(),
            production: serving,
            resume,
            origin: training::Origin::default(),
            checkpoint,
            forecast_every: self.ctx.config.forecast.every,
        }
    }

    /// A claim without a sign of life is another worker's to take.
    pub(super) fn sign_of_life_every(&self) -> Duration {
        SIGN_OF_LIFE_EVERY.min(self.ctx.clock.to_wall(SIGN_OF_LIFE_STREAM))
    }

    async fn promote(
        &self,
        job: &policy::Job,
        registry: &Registry,
        candidate: &Candidate,
        production: Option<&Production>,
    ) -> Result<Outcome> {
        let now_ms = self.ctx.clock.now_ms();
        let loss = candidate.info.final_val_loss;
        let mut reason = match candidate.facts.against_production {
            Some(both) => format!(
                "all gates passed; validation loss {:.4}, production's {:.4} on the same windows",
                both.candidate, both.production
            ),
            None => format!("all gates passed; validation loss {loss:.4}, nothing was served"),
        };
        if let Some(why) = training::ended_badly(&candidate.info) {
            tracing::warn!(version = candidate.version, "{why}");
            reason = format!("{reason}; {why}");
        }
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
        match registry
            .promote(&candidate.version, after, now_ms, &reason)
            .await
        {
            Ok(_) => {}
            // Somebody chose another model while this one was trained and compared: their choice stands.
            Err(RegistryError::Conflict { reason, .. }) => {
                let reason = format!(
                    "{reason}, which this model was not compared with: it is registered and not served"
                );
                return self.reject(job, registry, candidate, &reason).await;
            }
            Err(error) => return Err(error.into()),
        }
        self.announce(MODEL_PROMOTED, job, candidate, previous, &reason)
            .await?;
        self.completed(
            job,
            candidate,
            &format!("model {}: {reason}", candidate.version),
        )
        .await?;
        Ok(Outcome::Promoted)
    }

    async fn reject(
        &self,
        job: &policy::Job,
        registry: &Registry,
        candidate: &Candidate,
        reason: &str,
    ) -> Result<Outcome> {
        tracing::warn!(version = candidate.version, reason, "candidate rejected");
        registry
            .reject(&candidate.version, self.ctx.clock.now_ms(), reason)
            .await?;
        self.announce(MODEL_REJECTED, job, candidate, None, reason)
            .await?;
        self.completed(
            job,
            candidate,
            &format!("model {}: {reason}", candidate.version),
        )
        .await?;
        Ok(Outcome::Rejected)
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

    pub(super) async fn cancelled(&self, job: &policy::Job) -> Result<Outcome> {
        let message = "the worker was asked to stop; production stays".to_owned();
        self.say(
            TRAINING_CANCELLED,
            Training {
                message,
                ..self.about(job)
            },
        )
        .await?;
        Ok(Outcome::Cancelled)
    }
}

/// What the job's checkpoint is called.
fn file_name(job: &policy::Job) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let chars = job.id.chars();
    chars.map(|c| if plain(c) { c } else { '_' }).collect()
}
