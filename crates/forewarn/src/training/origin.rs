//! Where a training's data come from, what is told of it in `training_info.json`, and what may be claimed of the model for it.

use lake::registry::Loaded;
use lake::training::TrainingWindow;
use serde::Deserialize;
use tft::eval::Report;
use tft::{Evidence, MeasuredOn, Simulated, Stop, TrainingInfo};

use super::stored;

/// Where the data come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) simulated: Simulated,
    /// What made them up.
    pub(crate) simulated_by: Vec<String>,
    /// The command that trains; absent where a role does.
    pub(crate) command: Option<String>,
}

impl Origin {
    /// Of record files.
    pub(crate) fn of_files(window: &TrainingWindow) -> Self {
        let simulated = match (window.simulated_by.is_empty(), window.unmarked_files) {
            (true, _) => Simulated::NotKnown,
            (false, 0) => Simulated::Only,
            (false, _) => Simulated::Partly,
        };
        Self {
            simulated,
            simulated_by: window.simulated_by.clone(),
            command: None,
        }
    }

    /// All made up by `command`.
    pub(crate) fn simulated(command: &str) -> Self {
        Self {
            simulated: Simulated::Only,
            simulated_by: vec![command.to_owned()],
            command: None,
        }
    }
}

/// What `training_info.json` says of a model that is judged or trained further. What an older program did not write is not known,
/// and nothing is claimed for it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Past {
    pub(crate) epochs: usize,
    pub(crate) convergence: bool,
    pub(crate) final_val_loss: Option<f64>,
    pub(crate) simulated: Simulated,
    /// Whether the served weights have seen what validated too.
    pub(crate) refreshed: bool,
    pub(crate) validation: Option<tft::Validation>,
}

impl Past {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let info = loaded.files.get(stored::INFO);
        info.and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default()
    }

    /// Until when the served weights have seen data, ms.
    pub(crate) fn seen_until_ms(&self) -> Option<i64> {
        let validation = self.validation?;
        Some(if self.refreshed {
            validation.to_ms
        } else {
            validation.from_ms
        })
    }

    /// What may be claimed of the model, given how it did on data.
    pub(crate) fn claims(&self, report: &Report) -> Vec<String> {
        tft::claims(&Evidence {
            epochs: self.epochs,
            converged: self.convergence,
            val_loss: self.final_val_loss,
            simulated: self.simulated,
            seen_hours: 0.0,
            report,
            measured_on: MeasuredOn::GivenData,
        })
    }
}

/// The command as others may repeat it: without the program's place, and without `--set`, which may hold a secret.
pub(crate) fn command_line(args: impl Iterator<Item = String>) -> String {
    let mut line = vec!["forewarn".to_owned()];
    let mut args = args.skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--set" => drop(args.next()),
            set if set.starts_with("--set=") => {}
            _ => line.push(arg),
        }
    }
    line.join(" ")
}

/// What may be claimed of a model that was just trained.
pub(crate) fn claims(info: &TrainingInfo, simulated: Simulated) -> Vec<String> {
    let mut said: Vec<String> = ended_badly(info).into_iter().collect();
    said.extend(tft::claims(&Evidence {
        epochs: info.epochs,
        converged: info.convergence,
        val_loss: Some(info.final_val_loss),
        simulated,
        seen_hours: info.validation_seen_hours,
        report: &info.report,
        measured_on: MeasuredOn::Validation,
    }));
    said
}

/// What went wrong in a training that left a model all the same.
pub(crate) fn ended_badly(info: &TrainingInfo) -> Option<String> {
    match info.stop {
        Stop::LossNotFinite(step) => Some(format!(
            "the loss was not finite at step {step}: the weights are the best before it; lower the learning rate or look for absurd values in the data"
        )),
        Stop::Completed | Stop::EarlyStopping | Stop::TimeLimit | Stop::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(simulated_by: &[&str], unmarked_files: usize, expected: Simulated) {
        let window = TrainingWindow {
            simulated_by: simulated_by.iter().map(|&by| by.to_owned()).collect(),
            unmarked_files,
            ..TrainingWindow::default()
        };
        assert_eq!(Origin::of_files(&window).simulated, expected);
    }

    #[test]
    fn data_are_simulated_where_every_file_says_so() {
        check(&["simulate"], 0, Simulated::Only);
        check(&["simulate"], 1, Simulated::Partly);
        check(&[], 2, Simulated::NotKnown);
    }

    #[test]
    fn a_command_is_kept_without_its_secrets() {
        let args = "/opt/forewarn --set kafka.properties.sasl.password=x train --set=a=b --data d --seed 7";
        let line = command_line(args.split(' ').map(str::to_owned));
        assert_eq!(line, "forewarn train --data d --seed 7");
    }

    #[test]
    fn an_old_info_claims_nothing() {
        let past: Past = serde_json::from_str(r#"{"epochs": 3, "seed": 1}"#).unwrap_or_default();
        assert_eq!((past.epochs, past.convergence), (3, false));
        assert_eq!(past.simulated, Simulated::NotKnown);
    }
}
