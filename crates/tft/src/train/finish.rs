//! What is said about a training that has ended.

use super::config::TrainConfig;
use super::info::{EpochInfo, Stop, TrainingInfo, Validation};
use super::plan::Plan;
use crate::eval::{MetricReport, Report};
use crate::model::Model;

/// An epoch that changes the validation loss by less than this share changes nothing.
const CONVERGED: f64 = 0.01;

/// A trained model and what is known about it.
#[derive(Debug, Clone)]
pub struct Trained {
    /// What is to be served: the best weights by validation loss, refreshed with the data that validated where the settings say so.
    pub model: Model,
    /// The best weights as they were judged: they have not seen the data that validated.
    pub judged: Model,
    /// State of the optimiser at the weights to be served, for a training that goes on from them ([`Start::Model`](super::Start::Model)).
    pub optimiser: Vec<u8>,
    /// Figures.
    pub info: TrainingInfo,
}

/// How a training ended.
pub(super) struct Outcome<'a> {
    pub(super) stop: Stop,
    pub(super) final_val_loss: f64,
    pub(super) report: Report,
    pub(super) seconds: f64,
    pub(super) samples_per_second: f64,
    pub(super) samples_processed: u64,
    pub(super) batch: usize,
    pub(super) num_servers: usize,
    pub(super) plan: &'a Plan,
    pub(super) config: &'a TrainConfig,
    pub(super) refreshed: bool,
    pub(super) history: Vec<EpochInfo>,
}

impl Outcome<'_> {
    pub(super) fn info(self, model: &Model) -> TrainingInfo {
        let windows = self.plan.validation.len();
        TrainingInfo {
            epochs: self.history.len(),
            data_hours: (self.plan.to_ms - self.plan.from_ms) as f64 / 3_600_000.0,
            num_servers: self.num_servers,
            final_train_loss: self.history.last().map_or(f64::NAN, |e| e.train_loss),
            final_val_loss: self.final_val_loss,
            quantile_loss: over(&self.report, |m| m.wql),
            training_time_hours: self.seconds / 3600.0,
            seconds: self.seconds,
            samples_per_second: self.samples_per_second,
            samples_processed: self.samples_processed,
            batch: self.batch,
            model_parameters: model.num_parameters(),
            convergence: self.stop == Stop::EarlyStopping || is_level(&self.history),
            early_stopping: self.stop == Stop::EarlyStopping,
            stop: self.stop,
            refreshed: self.refreshed,
            validation_samples: windows,
            validation: Validation {
                from_ms: self.plan.border_ms,
                to_ms: self.plan.to_ms,
                windows,
            },
            validation_seen_hours: self.config.seen_until_ms.map_or(0.0, |seen| {
                (seen.min(self.plan.to_ms) - self.plan.border_ms).max(0) as f64 / 3_600_000.0
            }),
            mean_absolute_error: over(&self.report, |m| m.mae),
            mean_squared_error: over(&self.report, |m| m.mse),
            report: self.report,
            seed: self.config.seed,
            contract: model.contract().to_owned(),
            shape: model.shape(),
            config: self.config.clone(),
            history: self.history,
        }
    }
}

/// Mean of a figure over the metrics that have it.
fn over(report: &Report, figure: fn(&MetricReport) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = report
        .metrics
        .iter()
        .filter_map(|(_, m)| figure(m))
        .collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn is_level(history: &[EpochInfo]) -> bool {
    match history {
        [.., before, last] => (last.val_loss - before.val_loss).abs() < before.val_loss * CONVERGED,
        _ => false,
    }
}
