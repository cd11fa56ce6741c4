//! Epochs: steps, validation, checkpoints, and what ends them.

use super::TrainError;
use super::calibrate;
use super::checkpoint::{BestWeights, Checkpoint, Fixed, Identity, Place, save_optimiser};
use super::config::TrainConfig;
use super::feed::{Feed, Step};
use super::finish::{Outcome, Trained};
use super::info::{EpochInfo, Stop};
use super::objective::Objective;
use super::optimise::{Failed, Optimiser};
use super::plan::{Plan, Window};
use super::replicas::Replicas;
use super::schedule::{refresh_height, share, since_best};
use super::seed::mixed;
use super::start::{Ground, Started};
use super::watch::{Hooks, Progress};
use crate::batch::Assembler;
use crate::data::Columns;
use crate::domain::Domain;
use crate::eval;
use crate::gpu_memory;
use crate::model::Model;
use crate::net::Network;
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Steps between two reports of progress.
const REPORT_EVERY: u64 = 10;
/// Where the loss explodes before the first validation, the weights of the step before are kept if they are not worse than the naive
/// forecast by this factor: beyond it they have exploded too.
const WORST_KEPT: f64 = 2.0;
/// Tells the seed of what dropout drops from the others.
const DROPOUT: u64 = 0x5eed_d209;

/// One training under way.
pub(super) struct Run<'a> {
    optimiser: Optimiser,
    columns: &'a [Columns],
    plan: &'a Plan,
    assembler: Assembler,
    objective: Objective,
    domain: &'a Domain,
    config: &'a TrainConfig,
    identity: Option<Identity>,
    begun: Instant,
    /// Seconds of earlier processes.
    before: f64,
    /// How long whoever watches has held it up: no time of the training.
    held: Duration,
    checkpointed: Instant,
    place: Place,
    per_pass: usize,
    steps_planned: u64,
    history: Vec<EpochInfo>,
    best: Option<BestWeights>,
    /// Steps of the last epoch, over all data; 0 before it.
    refresh_steps: u64,
    /// Weights after it.
    refreshed: Option<Network>,
}

/// Why the steps of an epoch ended.
enum Ended {
    Whole,
    Stop(Stop),
    OutOfMemory(String),
}

impl<'a> Run<'a> {
    pub(super) fn new(ground: &Ground<'a>, started: Started) -> Result<Self, TrainError> {
        let config = ground.config;
        let replicas = Replicas::new(ground.shape, config.precision, ground.device, ground.others);
        let mut optimiser = Optimiser::new(started.network, config, replicas);
        if let Some(moments) = started.moments {
            optimiser.restore(moments)?;
        }
        let mut run = Self {
            optimiser,
            columns: ground.columns,
            plan: ground.plan,
            assembler: started.assembler,
            objective: Objective::default(),
            domain: ground.domain,
            config,
            identity: started.identity,
            begun: Instant::now(),
            before: started.place.seconds,
            held: Duration::ZERO,
            checkpointed: Instant::now(),
            place: started.place,
            per_pass: started.per_pass,
            steps_planned: 1,
            history: started.history,
            best: started.best,
            refresh_steps: 0,
            refreshed: None,
        };
        let steps = run.weigh(1);
        run.steps_planned = steps.saturating_mul(config.epochs.max(1) as u64);
        Ok(run)
    }

    fn windows(&self, epoch: usize) -> Vec<Window> {
        let (columns, step_ms, config) = (self.columns, self.domain.step_ms, self.config);
        if epoch > config.epochs.max(1) {
            return self.plan.whole_epoch(columns, step_ms, config, epoch);
        }
        self.plan.epoch(columns, step_ms, config, epoch)
    }

    /// Epochs that choose the weights, at most.
    fn planned(&self) -> usize {
        self.config.epochs.max(1)
    }

    /// Number of the epoch that goes over all data.
    fn after_last(&self) -> usize {
        self.planned().saturating_add(1)
    }

    /// Measures the weights of the losses on the windows of an epoch; gives its number of steps.
    fn weigh(&mut self, epoch: usize) -> u64 {
        let windows = self.windows(epoch);
        self.objective = Objective::learn(self.columns, &windows, self.domain);
        windows.len().div_ceil(self.config.windows_per_step()) as u64
    }

    /// The whole training; gives why its epochs ended.
    pub(super) fn train(&mut self, hooks: &mut Hooks<'_>) -> Result<Stop, TrainError> {
        let stop = self.epochs(hooks)?;
        if !self.config.refresh || matches!(stop, Stop::Cancelled | Stop::LossNotFinite(_)) {
            return Ok(stop);
        }
        Ok(self.refresh(hooks)?.unwrap_or(stop))
    }

    /// Goes over all data once more from the best weights on. Where it does not come to its end, those stay, and it gives why.
    fn refresh(&mut self, hooks: &mut Hooks<'_>) -> Result<Option<Stop>, TrainError> {
        let last = self.after_last();
        if self.place.epoch != last || self.place.first == 0 {
            let Some(best) = &self.best else {
                return Ok(None);
            };
            self.optimiser
                .go_on_from(best.network.clone(), best.moments.clone())?;
            self.place = Place {
                epoch: last,
                first: 0,
                loss: 0.0,
                ..self.place
            };
        }
        // What was calm until then may be busy in the newest data: such a server would decide alone.
        self.refresh_steps = self.weigh(last);
        let ended = self.epoch(hooks)?;
        match ended {
            None => self.refreshed = Some(self.optimiser.mean()),
            Some(Stop::Cancelled) if hooks.checkpoints.is_some() => return Err(self.pause(hooks)),
            Some(_) => {}
        }
        Ok(ended)
    }

    fn epochs(&mut self, hooks: &mut Hooks<'_>) -> Result<Stop, TrainError> {
        let planned = self.planned();
        if self.place.epoch > planned && self.history.len() < planned {
            return Ok(Stop::EarlyStopping);
        }
        while self.place.epoch <= planned {
            if since_best(&self.history) >= self.config.patience.max(1) {
                return Ok(Stop::EarlyStopping);
            }
            let ended = self.epoch(hooks)?;
            match ended {
                Some(Stop::Cancelled) if hooks.checkpoints.is_some() => {
                    return Err(self.pause(hooks));
                }
                Some(stop @ Stop::LossNotFinite(step)) => {
                    self.rescue(step)?;
                    return Ok(stop);
                }
                _ => {}
            }
            let loss = self.train_loss();
            self.validate(loss)?;
            let now = self.progress(loss, self.history.last().map(|e| e.val_loss));
            let broken = self.tell(hooks, &now).is_break();
            if let Some(stop) = ended {
                return Ok(stop);
            }
            self.place = Place {
                epoch: self.place.epoch + 1,
                first: 0,
                loss: 0.0,
                ..self.place
            };
            self.checkpoint(hooks);
            match (broken, &hooks.checkpoints) {
                (true, Some(_)) => return Err(self.paused()),
                (true, None) => return Ok(Stop::Cancelled),
                (false, _) => {}
            }
        }
        Ok(Stop::Completed)
    }

    /// The rest of an epoch; gives why it ended early.
    fn epoch(&mut self, hooks: &mut Hooks<'_>) -> Result<Option<Stop>, TrainError> {
        let windows = self.windows(self.place.epoch);
        let (assembler, columns) = (self.assembler.clone(), self.columns);
        let objective = self.objective.clone();
        loop {
            let feed = Feed {
                assembler: &assembler,
                objective: &objective,
                columns,
                windows: &windows,
                per_step: self.config.windows_per_step(),
                per_pass: self.per_pass,
                first: self.place.first,
                seed: mixed(self.config.seed, self.place.epoch as u64),
            };
            match std::thread::scope(|scope| self.steps(&feed.start(scope), hooks)) {
                Ended::Whole => return Ok(None),
                Ended::Stop(stop) => return Ok(Some(stop)),
                Ended::OutOfMemory(said) => self.halve(windows.len(), said)?,
            }
        }
    }

    /// Half as many windows at once, so that a step needs half the memory; its result stays the same.
    fn halve(&mut self, windows: usize, said: String) -> Result<(), TrainError> {
        let now = self.per_pass.min(windows);
        if now <= 1 {
            return Err(TrainError::OutOfMemory { said });
        }
        self.per_pass = now.div_ceil(2);
        Ok(())
    }

    fn steps(&mut self, steps: &Receiver<Step>, hooks: &mut Hooks<'_>) -> Ended {
        loop {
            // Waiting for the windows is time of the training.
            let began = Instant::now();
            let Ok(step) = steps.recv() else {
                return Ended::Whole;
            };
            let windows = step.windows;
            let seed = mixed(self.config.seed ^ DROPOUT, self.place.step);
            let loss = match self.optimiser.step(step, self.learning_rate(), seed) {
                Ok(loss) => loss,
                Err(Failed::NotFinite) => {
                    return Ended::Stop(Stop::LossNotFinite(self.place.step + 1));
                }
                Err(Failed::OutOfMemory(said)) => return Ended::OutOfMemory(said),
            };
            self.place.step += 1;
            self.place.first += 1;
            self.place.samples += windows;
            self.place.step_seconds += began.elapsed().as_secs_f64();
            self.place.loss += f64::from(loss);
            if self.limit().is_some_and(|limit| self.seconds() >= limit) {
                return Ended::Stop(Stop::TimeLimit);
            }
            let due = self.place.step.is_multiple_of(REPORT_EVERY);
            let now = self.progress(self.train_loss(), None);
            if due && self.tell(hooks, &now).is_break() {
                return Ended::Stop(Stop::Cancelled);
            }
            let every = hooks.checkpoints.as_ref().map(|c| c.every_seconds);
            if every.is_some_and(|every| self.checkpointed.elapsed().as_secs_f64() >= every) {
                self.checkpoint(hooks);
            }
        }
    }

    /// Epochs planned, that over all data among them.
    fn epochs_in_all(&self) -> usize {
        self.planned() + usize::from(self.config.refresh)
    }

    /// When the epochs must end; what the one over all data needs is kept for it.
    fn limit(&self) -> Option<f64> {
        let limit = self.config.max_seconds?;
        let is_last = self.refresh_steps > 0;
        let share = self.planned() as f64 / self.epochs_in_all() as f64;
        Some(if is_last { limit } else { limit * share })
    }

    /// Tells how far it is. Whoever watches may take its time over it.
    fn tell(&mut self, hooks: &mut Hooks<'_>, now: &Progress) -> ControlFlow<()> {
        let began = Instant::now();
        let told = (hooks.progress)(now);
        self.held += began.elapsed();
        told
    }

    /// Mean loss of this epoch's steps.
    fn train_loss(&self) -> f64 {
        // No step: 0 / 0, which is not a number.
        self.place.loss / self.place.first as f64
    }

    /// Hands a checkpoint to whoever keeps them.
    fn checkpoint(&mut self, hooks: &mut Hooks<'_>) {
        let (Some(checkpoints), Some(identity)) = (&mut hooks.checkpoints, &self.identity) else {
            return;
        };
        let best = self.best.as_ref().map(|best| BestWeights {
            val_loss: best.val_loss,
            network: best.network.clone(),
            moments: best.moments.clone(),
        });
        let checkpoint = Checkpoint {
            identity: identity.clone(),
            fixed: Fixed {
                normalisation: self.assembler.normalisation.clone(),
                known: self.assembler.known.clone(),
            },
            place: Place {
                seconds: self.seconds(),
                ..self.place
            },
            per_pass: self.per_pass,
            history: self.history.clone(),
            network: self.optimiser.network(),
            moments: self.optimiser.moments(),
            best,
        };
        // It fails only for tensors whose bytes do not fit their own shape: there is none.
        if let Ok(bytes) = checkpoint.save() {
            (checkpoints.keep)(&bytes);
        }
        self.checkpointed = Instant::now();
    }

    fn pause(&mut self, hooks: &mut Hooks<'_>) -> TrainError {
        self.checkpoint(hooks);
        self.paused()
    }

    fn paused(&self) -> TrainError {
        TrainError::Paused {
            epoch: self.place.epoch,
            step: self.place.step,
        }
    }

    /// After a loss that is not finite at `step`: the best weights so far stay, or those of the step before where they are any good.
    fn rescue(&mut self, step: u64) -> Result<(), TrainError> {
        if self.best.is_some() {
            return Ok(());
        }
        let diverged = TrainError::Diverged { step };
        if self.place.first == 0 || self.validate(self.train_loss()).is_err() {
            return Err(diverged);
        }
        match &self.best {
            Some(best) if best.val_loss <= WORST_KEPT => Ok(()),
            _ => Err(diverged),
        }
    }

    /// Judges the weights as they are and keeps them if they are the best so far.
    fn validate(&mut self, train_loss: f64) -> Result<(), TrainError> {
        let model = self.model(self.optimiser.mean());
        let loss = eval::loss(&model, self.columns, &self.plan.validation)?;
        let val_loss = loss.ok_or_else(|| {
            TrainError::TooLittle(
                "no metric varies in the part that validates: there is nothing to forecast"
                    .to_owned(),
            )
        })?;
        let before: u64 = self.history.iter().map(|e| e.samples_processed).sum();
        self.history.push(EpochInfo {
            epoch: self.place.epoch,
            train_loss,
            val_loss,
            learning_rate: self.learning_rate(),
            time_seconds: self.seconds(),
            gpu_memory_mb: gpu_memory::used_mb(&self.config.devices),
            samples_processed: self.place.samples - before,
            samples_per_second: self.samples_per_second(),
        });
        if self
            .best
            .as_ref()
            .is_none_or(|best| val_loss < best.val_loss)
        {
            self.best = Some(BestWeights {
                val_loss,
                network: model.network,
                moments: self.optimiser.moments(),
            });
        }
        Ok(())
    }

    fn model(&self, network: Network) -> Model {
        Model {
            network,
            assembler: self.assembler.clone(),
            domain: self.domain.clone(),
        }
    }

    fn seconds(&self) -> f64 {
        let ours = self.begun.elapsed().saturating_sub(self.held);
        self.before + ours.as_secs_f64()
    }

    fn samples_per_second(&self) -> f64 {
        self.place.samples as f64 / self.place.step_seconds.max(1e-9)
    }

    fn share(&self) -> f64 {
        let limit = self.limit();
        share(self.place.step, self.steps_planned, self.seconds(), limit)
    }

    /// How much of all epochs is done.
    fn share_of_all(&self) -> f64 {
        let each = 1.0 / self.epochs_in_all() as f64;
        match self.refresh_steps {
            0 => self.share() * self.planned() as f64 * each,
            steps => 1.0 - each * (1.0 - self.place.first as f64 / steps as f64),
        }
    }

    fn learning_rate(&self) -> f64 {
        let height = match self.refresh_steps {
            0 => self.config.schedule.height(self.share(), &self.history),
            steps => refresh_height(self.place.first as f64 / steps as f64),
        };
        self.config.learning_rate * height
    }

    fn progress(&self, train_loss: f64, val_loss: Option<f64>) -> Progress {
        Progress {
            epoch: self.place.epoch,
            epochs: self.epochs_in_all(),
            step: self.place.step,
            share: self.share_of_all(),
            train_loss,
            val_loss,
            learning_rate: self.learning_rate(),
            samples: self.place.samples,
            batch: self.per_pass,
            seconds: self.seconds(),
        }
    }

    pub(super) fn finish(mut self, stop: Stop) -> Result<Trained, TrainError> {
        let best = self.best.take().ok_or(TrainError::Stopped)?;
        let mut judged = self.model(best.network);
        let validation = &self.plan.validation;
        if self.refresh_steps == 0 {
            self.weigh(self.after_last());
        }
        judged.assembler.normalisation.widths =
            calibrate::widths(&judged, self.columns, validation, &self.objective)?;
        let report = eval::judge(&judged, self.columns, validation, |_, _, _| {})?;
        let refreshed = self.refreshed.is_some();
        let (model, moments) = match self.refreshed.take() {
            Some(network) => {
                let model = Model {
                    network,
                    ..judged.clone()
                };
                (model, self.optimiser.moments())
            }
            None => (judged.clone(), best.moments),
        };
        let outcome = Outcome {
            stop,
            final_val_loss: report.loss.unwrap_or(best.val_loss),
            report,
            seconds: self.seconds(),
            samples_per_second: self.samples_per_second(),
            samples_processed: self.place.samples,
            batch: self.per_pass,
            num_servers: self.columns.len(),
            plan: self.plan,
            config: self.config,
            refreshed,
            history: self.history,
        };
        Ok(Trained {
            optimiser: save_optimiser(&moments)?,
            info: outcome.info(&model),
            model,
            judged,
        })
    }
}
