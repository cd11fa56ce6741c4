//! The training itself, in a thread of its own: what it tells on `control`, and what stops or pauses it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::record::{TRAINING_PAUSED, TRAINING_PROGRESS, TRAINING_RESUMED, Training};
use policy::Turn;
use tokio::sync::watch;
use tokio::time::Instant;

use super::job::Worker;
use super::load::LoadWatch;
use crate::training::{self, Candidate, Job};

/// A progress event at most this often, by the wall clock.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What came of a training.
pub(super) enum Fitted {
    Made(Box<Candidate>),
    /// A stop was asked for.
    Cancelled,
    /// A stop was asked for, and there is a checkpoint to go on from.
    Left,
}

/// Ends the training's thread when nobody waits for it any more: a second try must not find the first one at work.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    /// Trains, telling progress and pauses.
    pub(super) async fn fit(
        &self,
        job: &policy::Job,
        work: Job,
        load: &mut LoadWatch,
    ) -> Result<Fitted> {
        let (tell, mut told) = watch::channel(None);
        let (shutdown, mut gate) = (self.shutdown.clone(), load.gate(&self.shutdown));
        let abandoned = Arc::new(AtomicBool::new(false));
        let guard = Abandon(Arc::clone(&abandoned));
        let mut training = tokio::task::spawn_blocking(move || {
            training::build(work, &mut |progress| {
                tell.send_replace(Some(progress.clone()));
                gate.pass();
                if shutdown.requested() || abandoned.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        });
        let mut every = tokio::time::interval(PROGRESS_EVERY);
        let mut said = Instant::now();
        let built = loop {
            let turn = tokio::select! {
                built = &mut training => break built.context("train")?,
                turn = load.turn() => Some(turn),
                _ = every.tick() => load.look(),
            };
            // Nothing new is said again only as a sign of life.
            let is_new = told.has_changed().unwrap_or(false) && !load.is_paused();
            let progress: Option<tft::Progress> = told.borrow_and_update().clone();
            if let Some(turn) = turn {
                self.turned(job, progress.as_ref(), turn).await?;
            } else if is_new || said.elapsed() >= self.sign_of_life_every() {
                said = Instant::now();
                self.progress(job, progress.as_ref(), load.is_paused())
                    .await?;
            }
        };
        drop(guard);
        if let Err(error) = &built
            && let Some(tft::TrainError::Paused { epoch, step }) = error.downcast_ref()
        {
            tracing::info!(
                job = job.id,
                epoch,
                step,
                "training stopped at a checkpoint"
            );
            return Ok(Fitted::Left);
        }
        match built {
            // What was finished before the stop is not thrown away.
            Ok(candidate) if candidate.info.stop != tft::Stop::Cancelled => {
                Ok(Fitted::Made(Box::new(candidate)))
            }
            Ok(_) => Ok(Fitted::Cancelled),
            Err(_) if self.shutdown.requested() => Ok(Fitted::Cancelled),
            Err(error) => Err(error),
        }
    }

    async fn turned(
        &self,
        job: &policy::Job,
        progress: Option<&tft::Progress>,
        turn: Turn,
    ) -> Result<()> {
        let (event_type, message) = match turn {
            Turn::Pause(why) => (TRAINING_PAUSED, why),
            Turn::Resume(why) => (TRAINING_RESUMED, why),
        };
        tracing::info!(job = job.id, event = event_type, "{message}");
        let about = Training {
            message,
            ..self.done_so_far(job, progress)
        };
        self.say(event_type, about).await.map(|_| ())
    }

    async fn progress(
        &self,
        job: &policy::Job,
        progress: Option<&tft::Progress>,
        paused: bool,
    ) -> Result<()> {
        let share = progress.map_or(0.0, |progress| progress.share);
        self.ctx.telemetry.set_training_progress(share);
        let done = match progress {
            None => "begins".to_owned(),
            Some(progress) => format!(
                "epoch {} of {}, loss {:.3}, {} windows",
                progress.epoch, progress.epochs, progress.train_loss, progress.samples
            ),
        };
        let message = if paused {
            format!("paused, the fleet is busy: {done}")
        } else {
            done
        };
        let about = Training {
            message,
            ..self.done_so_far(job, progress)
        };
        self.say(TRAINING_PROGRESS, about).await.map(|_| ())
    }

    fn done_so_far(&self, job: &policy::Job, progress: Option<&tft::Progress>) -> Training {
        Training {
            progress: Some(progress.map_or(0.0, |progress| progress.share)),
            epoch: progress.and_then(|progress| i32::try_from(progress.epoch).ok()),
            train_loss: progress.map(|progress| progress.train_loss),
            val_loss: progress.and_then(|progress| progress.val_loss),
            seconds: progress.map(|progress| progress.seconds),
            ..self.about(job)
        }
    }
}
