//! Epochs, validation, early stopping and limits.

use super::TrainError;
use super::config::TrainConfig;
use super::feed::feed;
use super::info::{EpochInfo, Stop, TrainingInfo, Validation};
use super::optimise::Optimiser;
use super::plan::{Plan, Window};
use crate::batch::Assembler;
use crate::config::{Shape, TftConfig};
use crate::data::{Columns, Dataset};
use crate::domain::Domain;
use crate::eval::{self, Report};
use crate::model::Model;
use crate::net::Network;
use burn::module::Module;
use burn::tensor::Device;
use contract::Contract;
use std::ops::ControlFlow;
use std::time::Instant;

/// Share of the steps over which the learning rate rises.
const WARM_UP: f64 = 0.05;
/// The learning rate never falls below this share of its highest.
const FINAL_RATE: f64 = 0.02;
/// Steps between two reports of progress.
const REPORT_EVERY: u64 = 10;
/// Windows on which the naive loss of each metric is measured before training.
const NAIVE_WINDOWS: usize = 256;
/// An epoch that improves the validation loss by less than this share changes nothing.
const CONVERGED: f64 = 0.01;

/// How far a training is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Current epoch, from 1.
    pub epoch: usize,
    /// Epochs at most.
    pub epochs: usize,
    /// Steps of the optimiser done in all.
    pub step: u64,
    /// Share done, 0 to 1, by steps or by time, whichever is further.
    pub share: f64,
    /// Mean loss of the epoch so far; 1 is as good as the quantiles of the last 24 hours.
    pub train_loss: f64,
    /// Validation loss, at the end of an epoch.
    pub val_loss: Option<f64>,
    /// Current learning rate.
    pub learning_rate: f64,
    /// Windows trained on in all.
    pub samples: u64,
    /// Seconds since training began.
    pub seconds: f64,
}

/// A trained model and what is known about it.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The best weights by validation loss.
    pub model: Model,
    /// Figures.
    pub info: TrainingInfo,
}

/// Trains a model on `data`; `resume` starts from another model's weights and units where its sizes are the same.
/// `progress` is called every few steps and after each epoch; breaking ends the training with the best weights so far.
///
/// # Errors
/// When the data are too few or malformed, sizes do not fit, or the training ended before there was a model.
pub fn train(
    contract: &Contract,
    data: &Dataset,
    tft: &TftConfig,
    config: &TrainConfig,
    resume: Option<&Model>,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Trained, TrainError> {
    let domain = Domain::of(contract);
    let shape = Shape::of(*tft, &domain)?;
    let columns = eval::columns(&domain, data)?;
    let plan = Plan::new(&columns, &domain, config)?;
    let resume = resume.filter(|m| m.shape() == shape && m.contract() == domain.fingerprint);
    let assembler = assembler(&columns, &plan, &domain, shape, config, resume);
    let network = match resume {
        Some(model) => model.network.clone(),
        None => Network::new(&shape, config.seed, &Device::flex()),
    };
    let mut run = Run {
        optimiser: Optimiser::new(network, shape, config),
        columns: &columns,
        plan: &plan,
        assembler: &assembler,
        domain: &domain,
        config,
        begun: Instant::now(),
        step: 0,
        samples: 0,
        step_seconds: 0.0,
        steps_planned: 1,
        history: Vec::new(),
        best: None,
    };
    let stop = run.epochs(progress)?;
    run.finish(stop, data)
}

/// One training under way.
struct Run<'a> {
    optimiser: Optimiser,
    columns: &'a [Columns],
    plan: &'a Plan,
    assembler: &'a Assembler,
    domain: &'a Domain,
    config: &'a TrainConfig,
    begun: Instant,
    step: u64,
    samples: u64,
    /// Seconds spent in steps, without validation.
    step_seconds: f64,
    steps_planned: u64,
    history: Vec<EpochInfo>,
    best: Option<(f64, Network, Report)>,
}

impl Run<'_> {
    fn epochs(
        &mut self,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Stop, TrainError> {
        let mut since_best = 0;
        for epoch in 1..=self.config.epochs.max(1) {
            let windows = self
                .plan
                .epoch(self.columns, self.domain.step_ms, self.config, epoch);
            let batches = windows.len().div_ceil(self.config.batch.max(1)) as u64;
            if epoch == 1 {
                self.steps_planned = batches * self.config.epochs.max(1) as u64;
            }
            let (loss, ended) = self.epoch(epoch, windows, progress);
            if let Some(stop @ Stop::LossNotFinite(step)) = ended {
                return if self.best.is_some() {
                    Ok(stop)
                } else {
                    Err(TrainError::Diverged { step })
                };
            }
            let improved = self.validate(epoch, loss)?;
            since_best = if improved { 0 } else { since_best + 1 };
            let now = self.progress(epoch, loss, self.history.last().map(|e| e.val_loss));
            let broken = progress(&now).is_break();
            if let Some(stop) = ended {
                return Ok(stop);
            }
            if broken {
                return Ok(Stop::Cancelled);
            }
            if since_best >= self.config.patience.max(1) {
                return Ok(Stop::EarlyStopping);
            }
        }
        Ok(Stop::Completed)
    }

    /// One pass over `windows`; gives the mean loss, and why it ended early.
    fn epoch(
        &mut self,
        epoch: usize,
        windows: Vec<Window>,
        progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> (f64, Option<Stop>) {
        let seed = self
            .config
            .seed
            .wrapping_mul(7_919)
            .wrapping_add(epoch as u64);
        let (assembler, columns, size) = (self.assembler, self.columns, self.config.batch);
        std::thread::scope(|scope| {
            let batches = feed(scope, assembler, columns, windows, size, seed);
            let (mut sum, mut count) = (0.0, 0_u64);
            for batch in batches {
                let began = Instant::now();
                let (rate, size) = (self.learning_rate(), batch.size as u64);
                let Some(loss) = self.optimiser.step(batch, rate) else {
                    return (mean(sum, count), Some(Stop::LossNotFinite(self.step + 1)));
                };
                self.step += 1;
                self.samples += size;
                self.step_seconds += began.elapsed().as_secs_f64();
                sum += f64::from(loss);
                count += 1;
                if self
                    .config
                    .max_seconds
                    .is_some_and(|limit| self.seconds() >= limit)
                {
                    return (mean(sum, count), Some(Stop::TimeLimit));
                }
                if self.step.is_multiple_of(REPORT_EVERY)
                    && progress(&self.progress(epoch, mean(sum, count), None)).is_break()
                {
                    return (mean(sum, count), Some(Stop::Cancelled));
                }
            }
            (mean(sum, count), None)
        })
    }

    /// Judges the weights as they are and keeps them if they are the best so far; says whether they are.
    fn validate(&mut self, epoch: usize, train_loss: f64) -> Result<bool, TrainError> {
        let network = self.optimiser.network();
        let model = self.model(network);
        let report = eval::judge(&model, self.columns, &self.plan.validation, |_, _, _| {})?;
        let val_loss = report.loss.unwrap_or(f64::INFINITY);
        let before: u64 = self.history.iter().map(|e| e.samples_processed).sum();
        self.history.push(EpochInfo {
            epoch,
            train_loss,
            val_loss,
            learning_rate: self.learning_rate(),
            time_seconds: self.seconds(),
            samples_processed: self.samples - before,
            samples_per_second: self.samples as f64 / self.step_seconds.max(1e-9),
        });
        let improved = self.best.as_ref().is_none_or(|(best, ..)| val_loss < *best);
        if improved {
            self.best = Some((val_loss, model.network, report));
        }
        Ok(improved)
    }

    fn model(&self, network: Network) -> Model {
        Model {
            network,
            assembler: self.assembler.clone(),
            domain: self.domain.clone(),
        }
    }

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn share(&self) -> f64 {
        let by_steps = self.step as f64 / self.steps_planned.max(1) as f64;
        let by_time = self
            .config
            .max_seconds
            .map_or(0.0, |limit| self.seconds() / limit.max(1e-9));
        by_steps.max(by_time).min(1.0)
    }

    fn learning_rate(&self) -> f64 {
        let share = self.share();
        let height = if share < WARM_UP {
            (share / WARM_UP).max(0.1)
        } else {
            0.5 * (1.0 + (std::f64::consts::PI * (share - WARM_UP) / (1.0 - WARM_UP)).cos())
        };
        self.config.learning_rate * height.max(FINAL_RATE)
    }

    fn progress(&self, epoch: usize, train_loss: f64, val_loss: Option<f64>) -> Progress {
        Progress {
            epoch,
            epochs: self.config.epochs.max(1),
            step: self.step,
            share: self.share(),
            train_loss,
            val_loss,
            learning_rate: self.learning_rate(),
            samples: self.samples,
            seconds: self.seconds(),
        }
    }

    fn finish(mut self, stop: Stop, data: &Dataset) -> Result<Trained, TrainError> {
        let (final_val_loss, network, report) = self.best.take().ok_or(TrainError::Stopped)?;
        let model = self.model(network);
        let over = |figure: fn(&eval::MetricReport) -> Option<f64>| {
            let values: Vec<f64> = report
                .metrics
                .iter()
                .filter_map(|(_, m)| figure(m))
                .collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let losses: Vec<f64> = self.history.iter().map(|e| e.val_loss).collect();
        let convergence = match losses.as_slice() {
            [.., before, last] => last > &(before * (1.0 - CONVERGED)),
            _ => false,
        };
        let seconds = self.seconds();
        let info = TrainingInfo {
            epochs: self.history.len(),
            data_hours: (self.plan.to_ms - self.plan.from_ms) as f64 / 3_600_000.0,
            num_servers: data.series.len(),
            final_train_loss: self.history.last().map_or(f64::NAN, |e| e.train_loss),
            final_val_loss,
            quantile_loss: over(|m| m.wql),
            training_time_hours: seconds / 3600.0,
            seconds,
            samples_per_second: self.samples as f64 / self.step_seconds.max(1e-9),
            samples_processed: self.samples,
            model_parameters: model.network.num_params(),
            convergence,
            early_stopping: stop == Stop::EarlyStopping,
            stop,
            validation_samples: self.plan.validation.len(),
            validation: Validation {
                from_ms: self.plan.border_ms,
                to_ms: self.plan.to_ms,
                windows: self.plan.validation.len(),
            },
            mean_absolute_error: over(|m| m.mae),
            mean_squared_error: over(|m| m.mse),
            report,
            seed: self.config.seed,
            contract: self.domain.fingerprint.clone(),
            shape: self.assembler.shape,
            config: self.config.clone(),
            history: self.history,
        };
        Ok(Trained { model, info })
    }
}

fn mean(sum: f64, count: u64) -> f64 {
    if count == 0 {
        f64::NAN
    } else {
        sum / count as f64
    }
}

/// Units, known servers and weights of the metrics: those of the training windows only.
fn assembler(
    columns: &[Columns],
    plan: &Plan,
    domain: &Domain,
    shape: Shape,
    config: &TrainConfig,
    resume: Option<&Model>,
) -> Assembler {
    let mut known: Vec<u32> = columns.iter().map(|c| c.id).collect();
    known.extend(resume.iter().flat_map(|m| m.known_ids()));
    known.sort_unstable();
    known.dedup();
    let mut assembler = Assembler {
        shape,
        normalisation: match resume {
            Some(model) => model.assembler.normalisation.clone(),
            None => eval::units(columns, shape.metrics),
        },
        step_ms: domain.step_ms,
        time_zone: domain.time_zone,
        known,
        metric_weight: vec![1.0; shape.metrics],
    };
    let windows = plan.epoch(columns, domain.step_ms, config, 0);
    assembler.weigh(columns, &windows[..windows.len().min(NAIVE_WINDOWS)]);
    assembler
}
