//! `train`: woken by a decision on `control`, gives a new model or says why not.
//!
//! * [`job`]: one try, from the lake to the registry; [`fit`]: the training in its thread; [`load`]: what pauses it; [`facts`]:
//!   whether there are data enough.
//!
//! Guarantees: a job is done by one worker (the first `started` on the topic wins; one that is
//! silent for an hour loses it); a failed training changes nothing in production; a model is served
//! only after it is registered, passed the gates and the pointer moved (`served-is-registered`).
//!
//! What is open and who holds it is a fold over the topic (`policy::State`); this file acts on it.

mod facts;
mod fit;
mod job;
mod load;

use std::time::{Duration, Instant};

use anyhow::Result;
use contract::record::{
    ControlEvent, ControlPayload, TRAINING_FAILED, TRAINING_PROGRESS, TRAINING_STARTED, Training,
};

use self::job::{Outcome, Worker};
use super::control::{ControlRead, ControlReader, ControlWriter, new_id};
use super::summary::Summary;
use super::{Ctx, RunOpts};
use crate::shutdown::Shutdown;

const ROLE: &str = "train";
/// A job that could not be done is tried this often in all.
const TRIES: u32 = 3;
/// How often open jobs are looked at without an event: a stale claim makes none.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Runs until `shutdown`, or with `--until-end` until no job is open.
pub(crate) async fn run(ctx: Ctx, opts: RunOpts, shutdown: Shutdown) -> Result<Summary> {
    let started = Instant::now();
    let mut control = ControlReader::from_beginning(&ctx, ROLE)?;
    let worker = Worker {
        writer: ControlWriter::new(&ctx, ROLE)?,
        name: ctx.config.kafka.instance_id.clone().unwrap_or_else(new_id),
        shutdown: shutdown.clone(),
        ctx: ctx.clone(),
    };
    let mut state = policy::State::default();
    let mut summary = Summary::new(ROLE);
    summary.consumed += catch_up(&mut control, &mut state).await?;
    ctx.ready(ROLE);
    loop {
        let failing = state.last_failed_ms().is_some();
        ctx.telemetry.set_training_failing(failing);
        let next = state.next_for(&worker.name, ctx.clock.now_ms()).cloned();
        if let Some(job) = next {
            if claim(&mut control, &mut state, &worker, &job, &mut summary).await? {
                let outcome = tries(&worker, &job).await?;
                summary.produced += u64::from(outcome == Outcome::Promoted);
                if outcome != Outcome::Left {
                    summary.consumed += read_end(&mut control, &mut state, &worker, &job).await?;
                }
            }
            if shutdown.requested() {
                break;
            }
            continue;
        }
        if opts.until_end {
            break;
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            read = control.next() => {
                if let ControlRead::Event(event) = read? {
                    summary.consumed += 1;
                    state.apply(&event);
                }
            }
        }
    }
    control.close().await;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

/// Says "I take it" and reads on until the topic tells who was first.
async fn claim(
    control: &mut ControlReader,
    state: &mut policy::State,
    worker: &Worker,
    job: &policy::Job,
    summary: &mut Summary,
) -> Result<bool> {
    let message = format!("asked for by {} {}", job.trigger, job.id);
    let mine = worker
        .say(
            TRAINING_STARTED,
            Training {
                message,
                ..worker.about(job)
            },
        )
        .await?;
    loop {
        if let ControlRead::Event(event) = control.next().await? {
            summary.consumed += 1;
            state.apply(&event);
            if event.id == mine.id {
                return Ok(state.is_held_by(&job.id, &worker.name));
            }
        }
    }
}

/// Does the job, trying [`TRIES`] times before it is given up.
async fn tries(worker: &Worker, job: &policy::Job) -> Result<Outcome> {
    let started = Instant::now();
    let telemetry = &worker.ctx.telemetry;
    let mut tried = 0;
    loop {
        tried += 1;
        let error = match worker.train(job).await {
            Ok(outcome) => {
                telemetry.training_ended(outcome.as_str(), started.elapsed());
                return Ok(outcome);
            }
            Err(error) => format!("{error:#}"),
        };
        telemetry.training_ended("failed", started.elapsed());
        tracing::error!(job = job.id, tried, of = TRIES, error, "training failed");
        if tried >= TRIES {
            return worker.given_up(job, &error, started.elapsed()).await;
        }
        worker.failed_once(job, tried, &error).await?;
        let retry_after = worker.ctx.config.train.retry_after;
        tokio::select! {
            biased;
            () = worker.shutdown.wait() => {
                let outcome = worker.stopped(job).await?;
                telemetry.training_ended(outcome.as_str(), started.elapsed());
                return Ok(outcome);
            }
            () = worker.ctx.clock.sleep(retry_after) => {}
        }
    }
}

/// Reads on until the topic tells of the job's end, which this worker has written, or of another holder: up to then the job looks
/// like one to begin.
async fn read_end(
    control: &mut ControlReader,
    state: &mut policy::State,
    worker: &Worker,
    job: &policy::Job,
) -> Result<u64> {
    let mut read = 0;
    while state.is_held_by(&job.id, &worker.name) {
        if let ControlRead::Event(event) = control.next().await? {
            state.apply(&event);
            read += 1;
        }
    }
    Ok(read)
}

/// Reads what is on the topic by now.
async fn catch_up(control: &mut ControlReader, state: &mut policy::State) -> Result<u64> {
    let mut read = 0;
    control
        .read_all(|event| {
            state.apply(event);
            read += 1;
        })
        .await?;
    Ok(read)
}

impl Worker {
    /// Says that a try failed, and when the next one is; a sign of life too.
    async fn failed_once(&self, job: &policy::Job, tried: u32, error: &str) -> Result<()> {
        let message = format!(
            "try {tried} of {TRIES} failed, the next one in {} s: {error}",
            self.ctx.config.train.retry_after.as_secs_f64()
        );
        let about = Training {
            message,
            ..self.about(job)
        };
        self.say(TRAINING_PROGRESS, about).await.map(|_| ())
    }

    /// The alert: nobody tries again by himself, production stays as it is.
    async fn given_up(&self, job: &policy::Job, error: &str, took: Duration) -> Result<Outcome> {
        let pause_min = self.ctx.config.decision_settings().after_failure_ms / 60_000;
        let message = format!(
            "given up after {TRIES} tries, production stays: {error}. Mend the cause and ask with `forewarn retrain`; what asked for this training may ask again in {pause_min} min"
        );
        tracing::error!(job = job.id, "training {message}");
        self.forget(job);
        self.ctx
            .telemetry
            .training_ended(Outcome::GivenUp.as_str(), took);
        let about = Training {
            message,
            ..self.about(job)
        };
        self.say(TRAINING_FAILED, about).await?;
        Ok(Outcome::GivenUp)
    }

    /// What every event about a job says.
    pub(super) fn about(&self, job: &policy::Job) -> Training {
        Training {
            job_id: job.id.clone(),
            worker: self.name.clone(),
            preset: self.ctx.config.train.preset.clone(),
            trigger: job.trigger.clone(),
            ..Training::default()
        }
    }

    /// Writes one event about a job.
    pub(super) async fn say(&self, event_type: &str, training: Training) -> Result<ControlEvent> {
        let payload = ControlPayload::Training(training);
        self.writer
            .publish(event_type, new_id(), self.ctx.clock.now_ms(), payload)
            .await
    }
}
