//! Which trainings were asked for, who does them, and when the last one ended: a fold over the control topic.
//!
//! A decision to train is a job; its id is the decision event's. A person's request is one too, at once: whoever writes it
//! has asked [`decide`](crate::decide()) with the request, and been told that the safeguards allow it, or has forced it. The
//! decision may follow under the job's id, so that the log has its reason; it opens nothing then.
//! A request whose trigger is `event:NAME` is an event's: it is no job, but a cause that the triggers may name.
//!
//! The topic has one partition, so all readers see claims in one order: the first `forewarn.training.started` of a job wins
//! it, and what others say about it does not count. A claim that shows no sign of life for [`STALE_AFTER_MS`] may be taken
//! over by a later `started`.
//!
//! Invariants: one worker at a time holds a job; a repeat of an event changes nothing, also after the job has ended; at
//! most [`MAX_JOBS`] jobs, open and ended, [`MAX_IN_WEEK`] trainings, [`MAX_EVENTS`] events and 30 days of loads are
//! remembered.

use std::collections::{BTreeMap, VecDeque};

use contract::record::{
    ControlEvent, ControlPayload, DECISION, Decision, MODEL_PROMOTED, MODEL_PUBLISHED,
    MODEL_ROLLED_BACK, Position, TRAINING_CANCELLED, TRAINING_COMPLETED, TRAINING_FAILED,
    TRAINING_PAUSED, TRAINING_PROGRESS, TRAINING_REJECTED, TRAINING_REQUESTED, TRAINING_RESUMED,
    TRAINING_STARTED, Training,
};

use crate::decide::{rests_on_quiet, waits_for_load};
use crate::due::SCHEDULE;
use crate::quiet::Loads;
use crate::settings::MAX_IN_WEEK;
use crate::triggers::event_name;

/// A running training says something at least this often; a worker that is silent for longer is taken for dead.
pub const STALE_AFTER_MS: i64 = 3_600_000;

/// Jobs remembered. Older ones have ended or are stale; fewer would forget one that still waits.
pub const MAX_JOBS: usize = 100;

/// Named events remembered; the names in an expression are fewer. Of more, the oldest is forgotten.
pub const MAX_EVENTS: usize = 100;

const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// Who does a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The worker.
    pub worker: String,
    /// Its last sign of life, ms.
    pub last_sign_ms: i64,
    /// How far it is, 0–1, as it last said.
    pub progress: Option<f64>,
    /// It stands still because the fleet is busy.
    pub paused: bool,
}

/// A training that was asked for and has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Id of the event that asked for it.
    pub id: String,
    /// When, ms.
    pub requested_ms: i64,
    /// Why.
    pub trigger: String,
    /// How far in `rollups` it must read.
    pub positions: Vec<Position>,
    /// Passes over the data that a person asked for; the preset's where nobody did.
    pub epochs: Option<u32>,
    /// It was decided on because the fleet was quiet, and pauses when that ends.
    pub gives_way: bool,
    /// Who does it.
    pub claim: Option<Claim>,
}

/// A training that succeeded.
#[derive(Debug, Clone, PartialEq)]
struct Ended {
    id: String,
    at_ms: i64,
    /// The schedule asked for it.
    scheduled: bool,
}

/// All that decisions rest on, beside the drift report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// When the first decision was made, ms: where no training is known, the days without one begin then.
    since_ms: Option<i64>,
    /// When a training was last decided, ms.
    last_decided_ms: Option<i64>,
    /// The last trainings that succeeded, at most [`MAX_IN_WEEK`].
    completed: VecDeque<Ended>,
    /// The loads that decisions saw.
    loads: Loads,
    /// When events last came, by name, ms.
    events: BTreeMap<String, i64>,
    /// When the last training that succeeded ended, ms.
    last_completed_ms: Option<i64>,
    /// When a training was last given up or turned down, ms.
    last_failed_ms: Option<i64>,
    /// When decisions began to wait for an unknown load, ms; `None` once one says anything else.
    load_unknown_since_ms: Option<i64>,
    /// When a model was last published or began to serve, ms.
    last_model_ms: Option<i64>,
    /// Jobs that have ended, the latest last: a repeated decision must not open one again.
    ended: VecDeque<String>,
    /// By time of request and id.
    jobs: BTreeMap<(i64, String), Job>,
}

impl State {
    /// When the last training that succeeded ended, ms.
    #[must_use]
    pub fn last_completed_ms(&self) -> Option<i64> {
        self.last_completed_ms
    }

    /// When the first decision was made, ms.
    #[must_use]
    pub fn since_ms(&self) -> Option<i64> {
        self.since_ms
    }

    /// When a training was last decided, ms.
    #[must_use]
    pub fn last_decided_ms(&self) -> Option<i64> {
        self.last_decided_ms
    }

    /// The loads that decisions saw.
    #[must_use]
    pub fn loads(&self) -> &Loads {
        &self.loads
    }

    /// Whether an event of this name came after a training was last decided.
    #[must_use]
    pub fn is_event_open(&self, name: &str) -> bool {
        let at_ms = self.events.get(name).copied();
        at_ms.is_some() && at_ms > self.last_decided_ms
    }

    /// Whether one of any name did.
    pub(crate) fn is_any_event_open(&self) -> bool {
        self.events.values().max().copied() > self.last_decided_ms
    }

    /// When there will be fewer than `most` trainings in the last 7 days, where there are as many at `now_ms`. Those of the
    /// schedule do not count, nor does one that is exactly 7 days old.
    #[must_use]
    pub fn week_is_full_until(&self, now_ms: i64, most: usize) -> Option<i64> {
        let begin = now_ms.saturating_sub(WEEK_MS);
        let mut ends: Vec<i64> = self
            .completed
            .iter()
            .filter(|ended| !ended.scheduled && ended.at_ms > begin)
            .map(|ended| ended.at_ms)
            .collect();
        ends.sort_unstable_by_key(|end| std::cmp::Reverse(*end));
        let oldest_that_counts = ends.get(most.checked_sub(1)?)?;
        Some(oldest_that_counts.saturating_add(WEEK_MS))
    }

    /// When the last training that succeeded ended, ms. Where the topic knows of none it is when the last model came: it was
    /// trained then at the latest.
    #[must_use]
    pub fn last_training_ms(&self) -> Option<i64> {
        self.last_completed_ms.or(self.last_model_ms)
    }

    /// When a training was given up or turned down for want of data, ms; `None` once one has succeeded after it.
    #[must_use]
    pub fn last_failed_ms(&self) -> Option<i64> {
        self.last_failed_ms.filter(|failed| {
            self.last_completed_ms
                .is_none_or(|completed| completed < *failed)
        })
    }

    /// Since when decisions wait for a load that is not known, ms.
    #[must_use]
    pub fn load_unknown_since_ms(&self) -> Option<i64> {
        self.load_unknown_since_ms
    }

    /// Jobs that have not ended, the oldest first.
    pub fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// The job of that id, if it has not ended.
    #[must_use]
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.values().find(|job| job.id == id)
    }

    /// The oldest job that `worker` may take at `now_ms`: nobody has claimed it, the claim is stale, or the claim is its own
    /// from before a restart.
    #[must_use]
    pub fn next_for(&self, worker: &str, now_ms: i64) -> Option<&Job> {
        self.jobs.values().find(|job| {
            job.claim
                .as_ref()
                .is_none_or(|claim| claim.worker == worker || is_stale(claim, now_ms))
        })
    }

    /// Whether `worker` holds the job.
    #[must_use]
    pub fn is_held_by(&self, id: &str, worker: &str) -> bool {
        self.job(id)
            .and_then(|job| job.claim.as_ref())
            .is_some_and(|claim| claim.worker == worker)
    }

    /// Takes one event, in the topic's order. One whose payload does not fit its type changes nothing.
    pub fn apply(&mut self, event: &ControlEvent) {
        match &event.payload {
            ControlPayload::Decision(decision) if event.event_type == DECISION => {
                self.decision(event, decision);
            }
            ControlPayload::Decision(_) => {}
            ControlPayload::Training(training) => self.training(event, training),
            ControlPayload::Model(_) => self.model(event),
        }
    }

    fn decision(&mut self, event: &ControlEvent, decision: &Decision) {
        self.since_ms.get_or_insert(event.time);
        if let Some(load) = decision.load {
            self.loads.observe(event.time, load);
        }
        if waits_for_load(decision) {
            self.load_unknown_since_ms.get_or_insert(event.time);
            return;
        }
        // A person's request does not wait for the load, so its answer says nothing about it.
        if !decision.manual {
            self.load_unknown_since_ms = None;
        }
        if decision.trigger {
            self.last_decided_ms = self.last_decided_ms.max(Some(event.time));
            self.open(Job {
                id: event.id.clone(),
                requested_ms: event.time,
                trigger: decision.cause.clone(),
                positions: decision.positions.clone(),
                epochs: None,
                gives_way: rests_on_quiet(decision),
                claim: None,
            });
        }
    }

    fn training(&mut self, event: &ControlEvent, training: &Training) {
        let (id, worker) = (training.job_id.as_str(), training.worker.as_str());
        match event.event_type.as_str() {
            TRAINING_REQUESTED if event_name(&training.trigger).is_some() => {
                self.note(&training.trigger, event.time);
            }
            TRAINING_REQUESTED => {
                self.open(Job {
                    id: or(id, &event.id),
                    requested_ms: event.time,
                    trigger: or(&training.trigger, "manual"),
                    positions: Vec::new(),
                    epochs: training.epoch.and_then(|epochs| epochs.try_into().ok()),
                    gives_way: false,
                    claim: None,
                });
            }
            TRAINING_STARTED => self.claim(id, worker, event.time),
            TRAINING_PROGRESS => self.sign(training, event.time, None),
            TRAINING_PAUSED => self.sign(training, event.time, Some(true)),
            TRAINING_RESUMED => self.sign(training, event.time, Some(false)),
            TRAINING_COMPLETED if self.may_end(id, worker) => {
                self.last_completed_ms = self.last_completed_ms.max(Some(event.time));
                self.complete(event, training);
                self.end(id);
            }
            TRAINING_FAILED if self.may_end(id, worker) => {
                self.last_failed_ms = self.last_failed_ms.max(Some(event.time));
                self.end(id);
            }
            // A person may stop what a worker does; what the worker itself turns down it would turn down again at once.
            TRAINING_REJECTED if self.job(id).is_some() && self.may_end(id, worker) => {
                self.last_failed_ms = self.last_failed_ms.max(Some(event.time));
                self.end(id);
            }
            TRAINING_CANCELLED | TRAINING_REJECTED => self.end(id),
            _ => {}
        }
    }

    /// Remembers an event that asks for a training where the triggers name it. An event of an unknown name does nothing.
    fn note(&mut self, trigger: &str, at_ms: i64) {
        let Some(name) = event_name(trigger) else {
            return;
        };
        let last = self.events.entry(name.to_owned()).or_insert(at_ms);
        *last = (*last).max(at_ms);
        while self.events.len() > MAX_EVENTS {
            let oldest = self.events.iter().min_by_key(|(_, at_ms)| **at_ms);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.events.remove(&oldest);
        }
    }

    fn complete(&mut self, event: &ControlEvent, training: &Training) {
        let id = training.job_id.as_str();
        let id = if id.is_empty() { &event.id } else { id };
        if self.completed.iter().any(|ended| ended.id == id) {
            return;
        }
        let trigger = self.job(id).map_or(&training.trigger, |job| &job.trigger);
        let ended = Ended {
            id: id.to_owned(),
            at_ms: event.time,
            scheduled: trigger == SCHEDULE,
        };
        self.completed.push_back(ended);
        if self.completed.len() > MAX_IN_WEEK {
            self.completed.pop_front();
        }
    }

    /// Whether a worker's word ends a job: it holds it, or nobody does. A training that was never a job (started by hand)
    /// counts as well; one that has ended does not end twice.
    fn may_end(&self, id: &str, worker: &str) -> bool {
        if self.ended.iter().any(|ended| ended == id) {
            return false;
        }
        self.job(id)
            .and_then(|job| job.claim.as_ref())
            .is_none_or(|claim| claim.worker == worker)
    }

    fn model(&mut self, event: &ControlEvent) {
        if matches!(
            event.event_type.as_str(),
            MODEL_PUBLISHED | MODEL_PROMOTED | MODEL_ROLLED_BACK
        ) {
            self.last_model_ms = self.last_model_ms.max(Some(event.time));
        }
    }

    fn open(&mut self, job: Job) {
        if self.job(&job.id).is_some() || self.ended.contains(&job.id) {
            return;
        }
        self.jobs.insert((job.requested_ms, job.id.clone()), job);
        while self.jobs.len() > MAX_JOBS {
            self.jobs.pop_first();
        }
    }

    fn claim(&mut self, id: &str, worker: &str, at_ms: i64) {
        let Some(job) = self.jobs.values_mut().find(|job| job.id == id) else {
            return;
        };
        let free = job
            .claim
            .as_ref()
            .is_none_or(|claim| claim.worker == worker || is_stale(claim, at_ms));
        if free {
            job.claim = Some(Claim {
                worker: worker.to_owned(),
                last_sign_ms: at_ms,
                progress: None,
                paused: false,
            });
        }
    }

    /// A sign of life; `paused` where it says that it stands still or goes on.
    fn sign(&mut self, training: &Training, at_ms: i64, paused: Option<bool>) {
        let job = self.jobs.values_mut().find(|job| job.id == training.job_id);
        let claim = job.and_then(|job| job.claim.as_mut());
        if let Some(claim) = claim.filter(|claim| claim.worker == training.worker) {
            claim.last_sign_ms = claim.last_sign_ms.max(at_ms);
            claim.progress = training.progress.or(claim.progress);
            claim.paused = paused.unwrap_or(claim.paused);
        }
    }

    fn end(&mut self, id: &str) {
        let open = self.jobs.len();
        self.jobs.retain(|_, job| job.id != id);
        if self.jobs.len() < open {
            self.ended.push_back(id.to_owned());
            if self.ended.len() > MAX_JOBS {
                self.ended.pop_front();
            }
        }
    }
}

fn or(text: &str, other: &str) -> String {
    let text = if text.is_empty() { other } else { text };
    text.to_owned()
}

impl Job {
    /// Who does it, if the last sign of life is recent enough.
    #[must_use]
    pub fn running(&self, now_ms: i64) -> Option<&Claim> {
        self.claim.as_ref().filter(|claim| !is_stale(claim, now_ms))
    }
}

fn is_stale(claim: &Claim, now_ms: i64) -> bool {
    now_ms.saturating_sub(claim.last_sign_ms) > STALE_AFTER_MS
}
