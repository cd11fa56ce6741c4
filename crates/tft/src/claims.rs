//! What may honestly be said about a model, in sentences.
//!
//! What is claimed follows from how long it was trained: a model of one epoch shows that the pipeline works, no more. The naive
//! forecasts and the coverage always stand beside it. 88 % accuracy (1 − prediction error rate) is the service level, a target:
//! no sentence here claims it.

use crate::eval::{MetricReport, Report};
use serde::{Deserialize, Serialize};

/// Epochs from which the validation loss may be told, and from which, once it has converged, the accuracy.
const LOSS_EPOCHS: usize = 10;
const ACCURACY_EPOCHS: usize = 20;
const SERVICE_LEVEL: &str = "The service level of 88 % accuracy is a target to be measured in service; nothing here claims it.";

/// Whether the model has seen data of real servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Simulated {
    /// All of its data say that they were simulated.
    Only,
    /// Some of them do.
    Partly,
    /// None do.
    #[default]
    NotKnown,
}

impl Simulated {
    /// Of a model that was trained on data of one kind and went on with another's.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        if self == later { self } else { Self::Partly }
    }
}

/// What the report was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasuredOn {
    /// The validation part of the training's own data, which also chose the weights.
    Validation,
    /// The data given to `eval`; whether the model was trained on them is not known.
    GivenData,
}

/// All that the sentences follow from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Epochs of its training.
    pub epochs: usize,
    /// Whether the validation loss had stopped falling.
    pub converged: bool,
    /// Validation loss, relative to the quantiles of the last 24 hours.
    pub val_loss: Option<f64>,
    /// What its data were.
    pub simulated: Simulated,
    /// Hours of the validation part that the weights it went on from were trained on.
    pub seen_hours: f64,
    /// Measured figures.
    pub report: &'a Report,
    /// On what.
    pub measured_on: MeasuredOn,
}

/// The sentences, most important first.
#[must_use]
pub fn claims(evidence: &Evidence<'_>) -> Vec<String> {
    let mut said: Vec<String> = simulated(evidence.simulated).into_iter().collect();
    said.push(claim(evidence));
    said.push(beside_naive(evidence));
    said.extend(worse(evidence.report));
    said.push(coverage(evidence));
    said.extend(flattered(evidence));
    said.push(SERVICE_LEVEL.to_owned());
    said
}

fn simulated(what: Simulated) -> Option<String> {
    let sentence = match what {
        Simulated::Only => {
            "The model has seen simulated data only: how well it forecasts real servers is not known."
        }
        Simulated::Partly => "Part of the data that the model has seen was simulated.",
        Simulated::NotKnown => return None,
    };
    Some(sentence.to_owned())
}

fn claim(evidence: &Evidence<'_>) -> String {
    let epochs = match evidence.epochs {
        1 => "1 epoch".to_owned(),
        n => format!("{n} epochs"),
    };
    let loss = figure(evidence.val_loss);
    match evidence.epochs {
        0..LOSS_EPOCHS => {
            format!("After {epochs}: a working pipeline; no accuracy is claimed.")
        }
        ACCURACY_EPOCHS.. if evidence.converged => format!(
            "After {epochs}, converged: its accuracy is what was measured on {}, wQL {} of the best naive forecast's, and no more.",
            on(evidence),
            figure(evidence.report.pooled.wql_ratio_best),
        ),
        n => format!(
            "After {epochs}{}: the validation loss is {loss} of what the last day's quantiles give; no accuracy is claimed.",
            if n >= ACCURACY_EPOCHS {
                ", not converged"
            } else {
                ""
            },
        ),
    }
}

fn on(evidence: &Evidence<'_>) -> String {
    let windows = evidence.report.windows;
    match evidence.measured_on {
        MeasuredOn::Validation => format!("{windows} validation forecasts"),
        MeasuredOn::GivenData => format!("{windows} forecasts of the data given"),
    }
}

/// Mean over the metrics that have both of wQL / a naive forecast's wQL.
fn against(report: &Report, naive: fn(&MetricReport) -> Option<f64>) -> Option<f64> {
    let ratio = |(_, m): &(String, MetricReport)| {
        let naive = naive(m).filter(|&n| n > 0.0)?;
        Some(m.wql? / naive)
    };
    let ratios: Vec<f64> = report.metrics.iter().filter_map(ratio).collect();
    (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
}

fn beside_naive(evidence: &Evidence<'_>) -> String {
    let report = evidence.report;
    format!(
        "Measured on {}, mean over metrics: wQL is {} of the last value's, {} of the same time yesterday's, {} of the last 24 hours' quantiles'.",
        on(evidence),
        figure(against(report, |m| m.naive.last)),
        figure(against(report, |m| m.naive.yesterday)),
        figure(against(report, |m| m.naive.quantiles24h)),
    )
}

/// Names what a naive forecast does at least as well.
fn worse(report: &Report) -> Option<String> {
    let names: Vec<&str> = report
        .metrics
        .iter()
        .filter(|(_, m)| m.ratio_best().is_some_and(|ratio| ratio >= 1.0))
        .map(|(name, _)| name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "No better than the best naive forecast: {}.",
            names.join(", ")
        )
    })
}

fn coverage(evidence: &Evidence<'_>) -> String {
    let pooled = &evidence.report.pooled;
    let fitted = match evidence.measured_on {
        MeasuredOn::Validation => "; their widths were fitted on these forecasts",
        MeasuredOn::GivenData => "",
    };
    format!(
        "P10–P90 held {} of the actual values, {} strictly inside (nominal 80 %{fitted}).",
        percent(pooled.coverage),
        percent(pooled.coverage_strict),
    )
}

fn flattered(evidence: &Evidence<'_>) -> Option<String> {
    let is_some = evidence.measured_on == MeasuredOn::Validation && evidence.seen_hours > 0.0;
    is_some.then(|| {
        format!(
            "These figures flatter the model: the weights that it went on from had seen {:.0} h of the validation part.",
            evidence.seen_hours
        )
    })
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "an unknown part".to_owned(), |v| format!("{v:.3}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(
        || "an unknown share".to_owned(),
        |v| format!("{:.1} %", v * 100.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{NaiveReport, Pooled};

    fn metric(name: &str, wql: f64, best: f64) -> (String, MetricReport) {
        let report = MetricReport {
            points: 96,
            wql: Some(wql),
            mae: None,
            mse: None,
            mase: None,
            coverage: Some(0.79),
            coverage_strict: Some(0.7),
            width: None,
            calibration: [None; 3],
            per_server: None,
            naive: NaiveReport {
                last: Some(1.0),
                yesterday: Some(2.0),
                quantiles24h: Some(best),
            },
        };
        (name.to_owned(), report)
    }

    fn report() -> Report {
        let metrics = vec![metric("cpu", 0.4, 0.5), metric("mem", 0.6, 0.5)];
        Report {
            windows: 120,
            metrics,
            pooled: Pooled {
                wql_ratio_best: Some(1.0),
                wql_ratio_yesterday: None,
                per_server: None,
                mase: None,
                coverage: Some(0.79),
                coverage_strict: Some(0.7),
                wql: Some(0.5),
                mae: None,
                mse: None,
                width: None,
            },
            loss: None,
            forecasts_per_second: 1.0,
            horizons: Vec::new(),
            profiles: Vec::new(),
            intervals: None,
        }
    }

    fn said(epochs: usize, converged: bool, simulated: Simulated, report: &Report) -> String {
        claims(&Evidence {
            epochs,
            converged,
            val_loss: Some(0.812_34),
            simulated,
            seen_hours: 0.0,
            report,
            measured_on: MeasuredOn::Validation,
        })
        .join("\n")
    }

    #[test]
    fn figures_on_what_was_seen_are_said_to_flatter() {
        let report = report();
        let evidence = Evidence {
            epochs: 20,
            converged: true,
            val_loss: Some(0.8),
            simulated: Simulated::NotKnown,
            seen_hours: 14.0,
            report: &report,
            measured_on: MeasuredOn::Validation,
        };
        let says = |evidence: &Evidence<'_>| {
            let said = claims(evidence).join(" ");
            said.contains("had seen 14 h of the validation part")
        };
        assert!(says(&evidence));
        let measured_on = MeasuredOn::GivenData;
        assert!(!says(&Evidence {
            measured_on,
            ..evidence
        }));
    }

    #[track_caller]
    fn check(epochs: usize, converged: bool, expected: &str) {
        let said = said(epochs, converged, Simulated::NotKnown, &report());
        assert_eq!(said.lines().next(), Some(expected));
        // Accuracy is claimed in one case only, and the service level never.
        let accuracy = epochs >= 20 && converged;
        assert_eq!(said.contains("no accuracy is claimed"), !accuracy);
        for always in [
            "wQL is 0.500 of the last value's, 0.250 of the same time yesterday's, 1.000 of the last 24 hours' quantiles'",
            "No better than the best naive forecast: mem.",
            "P10–P90 held 79.0 % of the actual values, 70.0 % strictly inside (nominal 80 %; their widths were fitted on these forecasts).",
            SERVICE_LEVEL,
        ] {
            assert!(said.contains(always), "{always} in {said}");
        }
        assert!(!said.contains("simulated"), "{said}");
    }

    #[test]
    fn what_is_claimed_follows_from_epochs_and_convergence() {
        let pipeline =
            |epochs| format!("After {epochs}: a working pipeline; no accuracy is claimed.");
        check(1, false, &pipeline("1 epoch"));
        check(9, true, &pipeline("9 epochs"));
        let loss = "the validation loss is 0.812 of what the last day's quantiles give; no accuracy is claimed.";
        check(10, false, &format!("After 10 epochs: {loss}"));
        check(19, true, &format!("After 19 epochs: {loss}"));
        check(
            20,
            false,
            &format!("After 20 epochs, not converged: {loss}"),
        );
        check(
            20,
            true,
            "After 20 epochs, converged: its accuracy is what was measured on 120 validation forecasts, wQL 1.000 of the best naive forecast's, and no more.",
        );
    }

    #[test]
    fn simulated_data_are_named_first_whatever_else_is_said() {
        for (simulated, expected) in [
            (Simulated::Only, "simulated data only"),
            (Simulated::Partly, "Part of the data"),
        ] {
            let said = said(20, true, simulated, &report());
            let first = said.lines().next().unwrap_or_default();
            assert!(first.contains(expected), "{said}");
        }
    }

    #[test]
    fn a_model_that_goes_on_with_other_data_has_seen_both() {
        use Simulated::{NotKnown, Only, Partly};
        assert_eq!(Only.then(Only), Only);
        assert_eq!(NotKnown.then(NotKnown), NotKnown);
        for (first, later) in [(Only, NotKnown), (NotKnown, Only), (Partly, Only)] {
            assert_eq!(first.then(later), Partly);
        }
    }

    #[test]
    fn what_is_unknown_is_said_to_be() {
        let mut empty = report();
        empty.metrics.clear();
        empty.pooled.coverage = None;
        let said = said(1, false, Simulated::NotKnown, &empty);
        assert!(said.contains("wQL is an unknown part of the last value's"));
        assert!(said.contains("P10–P90 held an unknown share"));
        assert!(!said.contains("NaN") && !said.contains("No better"));
    }
}
