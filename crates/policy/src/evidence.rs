//! What a decision rests on, beside what happened before.

use contract::record::{Decision, DriftReport, Position, WindowMeasures};
use drift::Policy;

/// Most causes named in a reason; the report has them all.
const MAX_NAMED: usize = 2;

/// The status where nothing was measured.
pub(crate) const UNKNOWN: &str = "unknown";

/// A person's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Whether the safeguards are overridden too; quiet time always is.
    pub force: bool,
}

/// What is known at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// When, ms.
    pub at_ms: i64,
    /// The drift score, calibrated.
    pub score: f64,
    /// `healthy`, `warning`, `urgent` or `critical`; `unknown` without a report.
    pub status: String,
    /// Whether drift is detected.
    pub alarm: bool,
    /// How much the measures rest on, 0–1.
    pub confidence: f64,
    /// 1 − prediction error rate.
    pub accuracy: Option<f64>,
    /// Share of metrics that drifted, 0–1.
    pub share_drifted: Option<f64>,
    /// How busy the fleet is, 0–1.
    pub load: Option<f64>,
    /// Mean CPU of the fleet, per cent.
    pub mean_cpu: Option<f64>,
    /// Mean memory of the fleet, per cent.
    pub mean_memory: Option<f64>,
    /// What drives the drift, the strongest first.
    pub drivers: Vec<String>,
    /// A person asked for a training.
    pub request: Option<Request>,
    /// `at` of the drift report.
    pub report_at: Option<i64>,
    /// The model judged.
    pub model_version: String,
    /// How far in `rollups` a training must read.
    pub positions: Vec<Position>,
    /// The report's windows.
    pub windows: Vec<WindowMeasures>,
}

impl Evidence {
    /// What a drift report tells.
    #[must_use]
    pub fn of_report(report: &DriftReport) -> Evidence {
        // The report lists the strongest first.
        let named = report
            .metrics
            .iter()
            .take(MAX_NAMED)
            .map(|metric| format!("{} {}", metric.profile, metric.metric));
        let mut drivers: Vec<String> = named.collect();
        if drivers.is_empty() {
            drivers.push("forecast errors".to_owned());
        }
        Evidence {
            at_ms: report.at,
            score: report.score,
            status: report.status.clone(),
            alarm: report.alarm,
            confidence: report.confidence,
            accuracy: report.accuracy,
            share_drifted: Some(report.share_drifted),
            load: report.load,
            mean_cpu: report.mean_cpu,
            mean_memory: report.mean_memory,
            drivers,
            request: None,
            report_at: Some(report.at),
            model_version: report.model_version.clone(),
            positions: report.positions.clone(),
            windows: report.windows.clone(),
        }
    }

    /// What a decision of `at_ms` rested on: with the state of the events before it, it is decided again.
    #[must_use]
    pub fn of_decision(at_ms: i64, decision: &Decision) -> Evidence {
        let force = decision.forced;
        Evidence {
            at_ms,
            score: decision.score,
            status: decision.status.clone(),
            alarm: decision.alarm,
            confidence: decision.confidence,
            accuracy: decision.accuracy,
            share_drifted: decision.share_drifted,
            load: decision.load,
            mean_cpu: decision.mean_cpu,
            mean_memory: decision.mean_memory,
            drivers: decision.drivers.clone(),
            request: decision.manual.then_some(Request { force }),
            report_at: decision.report_at,
            model_version: decision.model_version.clone(),
            positions: decision.positions.clone(),
            windows: decision.windows.clone(),
        }
    }

    /// Of a time from which there is no drift report.
    #[must_use]
    pub fn of_nothing(at_ms: i64) -> Evidence {
        Evidence {
            at_ms,
            score: 0.0,
            status: UNKNOWN.to_owned(),
            alarm: false,
            confidence: 0.0,
            accuracy: None,
            share_drifted: None,
            load: None,
            mean_cpu: None,
            mean_memory: None,
            drivers: Vec::new(),
            request: None,
            report_at: None,
            model_version: String::new(),
            positions: Vec::new(),
            windows: Vec::new(),
        }
    }

    /// A score and a load with nothing behind them. The confidence is the score's distance from the alarm: 0.5 at it, 1 from
    /// one alarm level away.
    #[must_use]
    pub fn of_score(at_ms: i64, score: f64, load: Option<f64>) -> Evidence {
        let policy = Policy::SLA;
        let away = (score - policy.alarm).abs() / policy.alarm;
        Evidence {
            score,
            status: policy.status(score).as_str().to_owned(),
            alarm: policy.is_alarm(score),
            // More digits would say more than a score does.
            confidence: (50.0 + 50.0 * away.min(1.0)).round() / 100.0,
            load,
            ..Evidence::of_nothing(at_ms)
        }
    }
}
