//! `forewarn drift`: the last report of the drift role, and one's own history through its code.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use bus::{RecordRef, Start};
use contract::Topic;
use contract::codec;
use contract::record::DriftReport;
use serde_json::json;

use super::{App, output};
use crate::cli::DriftCommand;
use crate::kafka::{self, Until};
use crate::shutdown::Shutdown;
use crate::training::backtest_command;

/// Runs one of the three.
///
/// # Errors
/// Where the topic cannot be read, or as the backtest has it.
pub(crate) async fn run(command: &DriftCommand, app: &App) -> Result<()> {
    match command {
        DriftCommand::Backtest(args) => backtest_command(args, app).await,
        DriftCommand::Status => match last(app).await? {
            Some(report) => status(&report, app.json),
            None => none(app.json),
        },
        DriftCommand::Report => match last(app).await? {
            Some(report) if app.json => output::json(&report),
            Some(report) => full(&report),
            None => none(app.json),
        },
    }
}

/// The newest report that decodes.
async fn last(app: &App) -> Result<Option<DriftReport>> {
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let settings = kafka::settings(&app.settings, "drift");
    let topic = Topic::Drift.full(&settings.prefix);
    let mut newest = None;
    let keep = |record: &RecordRef<'_>| {
        match record.value.map(codec::decode::<DriftReport>) {
            Some(Ok(report)) => newest = Some(report),
            Some(Err(error)) => {
                tracing::warn!(offset = record.offset, %error, "skipped a report that does not decode");
            }
            None => {}
        }
        Ok(ControlFlow::Continue(()))
    };
    let span = (Start::Beginning, Until::End);
    kafka::read_topic(&settings, &topic, span, &shutdown, keep).await?;
    Ok(newest)
}

fn none(json: bool) -> Result<()> {
    if json {
        return output::json(&serde_json::Value::Null);
    }
    output::line("no report yet: is a drift role running, and a model served?")
}

fn trend(report: &DriftReport) -> &str {
    let of_score = report.trends.iter().find(|trend| trend.measure == "score");
    of_score.map_or("stable", |trend| trend.trend.as_str())
}

fn status(report: &DriftReport, json: bool) -> Result<()> {
    if json {
        return output::json(&json!({
            "at": output::time(report.at),
            "status": report.status,
            "score": report.score,
            "alarm": report.alarm,
            "trend": trend(report),
            "accuracy": report.accuracy,
            "share_drifted": report.share_drifted,
            "confidence": report.confidence,
            "model_version": report.model_version,
            "servers": report.servers,
            "missing_servers": report.missing_servers,
            "missing_partitions": report.missing_partitions,
            "recommendation": report.recommendation,
        }));
    }
    output::line(&format!(
        "{} at {}: score {:.3}, {}; model {}, {} servers",
        report.status,
        output::time(report.at),
        report.score,
        trend(report),
        report.model_version,
        report.servers
    ))?;
    output::line(&report.recommendation)
}

fn full(report: &DriftReport) -> Result<()> {
    status(report, false)?;
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
    let windows: Vec<Vec<String>> = report
        .windows
        .iter()
        .map(|window| {
            vec![
                format!("{} h", window.minutes / 60),
                window.rows.to_string(),
                number(window.per),
                number(window.wape),
                number(Some(window.dss)),
                number(Some(window.fds)),
                number(Some(window.anomaly_rate)),
                number(Some(window.score)),
                number(Some(window.calibrated_score)),
            ]
        })
        .collect();
    output::line("")?;
    output::table(
        &[
            "WINDOW",
            "ROWS",
            "PER",
            "WAPE",
            "DSS",
            "FDS",
            "ANOMALY",
            "RAW SCORE",
            "CALIBRATED",
        ],
        &windows,
    )?;
    let metrics: Vec<Vec<String>> = report
        .metrics
        .iter()
        .map(|metric| {
            vec![
                metric.profile.clone(),
                metric.metric.clone(),
                number(Some(metric.strength)),
                metric.signal.clone(),
                metric
                    .size_sd
                    .map_or_else(String::new, |sd| format!("{sd:+.1} sd")),
                metric.since.map(output::time).unwrap_or_default(),
                number(Some(metric.ks)),
                number(metric.psi),
                number(metric.per),
            ]
        })
        .collect();
    output::line("")?;
    output::table(
        &[
            "PROFILE", "METRIC", "STRENGTH", "WHAT", "BY", "SINCE", "KS", "PSI", "PER",
        ],
        &metrics,
    )
}
