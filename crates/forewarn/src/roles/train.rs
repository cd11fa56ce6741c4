//! `train`: woken by a decision on `control`, gives a new model or says why not.
//!
//! Guarantees: a job is done by one worker (the first `started` on the topic wins; one that is
//! silent for an hour loses it); a failed training changes nothing in production; a model is served
//! only after it is registered, passed the gates and the pointer moved (`served-is-registered`).
//!
//! What is open and who holds it is a fold over the topic (`policy::State`); this file acts on it.

mod job;

use std::time::{Duration, Instant};

use anyhow::Result;
use contract::record::{ControlEvent, ControlPayload, TRAINING_FAILED, TRAINING_STARTED, Training};

use self::job::Worker;
use super::control::{ControlRead, ControlReader, ControlWriter, new_id};
use super::summary::Summary;
use super::{Ctx, RunOpts};
use crate::shutdown::Shutdown;

const ROLE: &str = "train";
/// A job that could not be done is tried this often in all.
const TRIES: u32 = 3;
/// Time between two tries, of the stream.
const RETRY_AFTER: Duration = Duration::from_secs(300);
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
        let next = state.next_for(&worker.name, ctx.clock.now_ms()).cloned();
        if let Some(job) = next {
            if claim(&mut control, &mut state, &worker, &job, &mut summary).await? {
                summary.produced += u64::from(worker_tries(&worker, &job).await?);
                summary.consumed += catch_up(&mut control, &mut state).await?;
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

/// Trains, at most [`TRIES`] times; whether a model was made.
async fn worker_tries(worker: &Worker, job: &policy::Job) -> Result<bool> {
    let started = Instant::now();
    let mut tried = 0;
    loop {
        tried += 1;
        let error = match worker.train(job).await {
            Ok(made) => {
                let outcome = if made { "completed" } else { "ended" };
                worker
                    .ctx
                    .telemetry
                    .training_ended(outcome, started.elapsed());
                return Ok(made);
            }
            Err(error) => error,
        };
        tracing::error!(
            job = job.id,
            tried,
            error = format!("{error:#}"),
            "training failed"
        );
        worker
            .ctx
            .telemetry
            .training_ended("failed", started.elapsed());
        // More tries would not give more data.
        let hopeless = matches!(
            error.downcast_ref::<tft::TrainError>(),
            Some(tft::TrainError::TooLittle(_))
        );
        if hopeless || tried >= TRIES || worker.shutdown.requested() {
            let message = format!("failed {tried} times, production stays: {error:#}");
            worker
                .say(
                    TRAINING_FAILED,
                    Training {
                        message,
                        ..worker.about(job)
                    },
                )
                .await?;
            return Ok(false);
        }
        tokio::select! {
            () = worker.shutdown.wait() => {}
            () = worker.ctx.clock.sleep(RETRY_AFTER) => {}
        }
    }
}

/// Reads what is on the topic by now, the worker's own events among it.
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
