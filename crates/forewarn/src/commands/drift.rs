//! `forewarn drift`: the last report of the drift role, and one's own history through its code.

mod charts;
mod history;
mod page;

use std::path::Path;

use anyhow::{Context as _, Result};
use contract::record::DriftReport;
use serde_json::json;

use self::history::History;
use self::page::Judged;
use super::{App, output};
use crate::cli::DriftCommand;
use crate::shutdown::Shutdown;
use crate::training::backtest_command;

/// Runs one of the three.
///
/// # Errors
/// Where the topic cannot be read or the page not be written, or as the backtest has it.
pub(crate) async fn run(command: &DriftCommand, app: &App) -> Result<()> {
    let hours = match command {
        DriftCommand::Backtest(args) => return backtest_command(args, app).await,
        DriftCommand::Status => 0,
        DriftCommand::Report { hours, .. } => *hours,
    };
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let Some(history) = history::read(app, hours, &shutdown).await? else {
        return none(app.json);
    };
    match command {
        DriftCommand::Report {
            html: Some(file), ..
        } => write_page(&history, file, app),
        DriftCommand::Report { .. } if app.json => output::json(&history.last),
        DriftCommand::Report { .. } => full(&history.last),
        _ => status(&history.last, app.json),
    }
}

/// The newest report that decodes.
pub(super) async fn last(app: &App, shutdown: &Shutdown) -> Result<Option<DriftReport>> {
    let history = history::read(app, 0, shutdown).await?;
    Ok(history.map(|history| history.last))
}

fn write_page(history: &History, file: &Path, app: &App) -> Result<()> {
    let judged = Judged {
        policy: app.settings.drift.policy,
        calibration: app.settings.drift.calibration,
        step_ms: app.settings.contract.step_ms(),
    };
    let page = page::page(history, &judged);
    std::fs::write(file, page).with_context(|| format!("write {}", file.display()))?;
    let from = history
        .points
        .first()
        .map_or(history.last.at, |point| point.at);
    let (from, to) = (output::time(from), output::time(history.last.at));
    let reports = history.points.len();
    if app.json {
        return output::json(&json!({
            "html": file.display().to_string(),
            "reports": reports,
            "from": from,
            "to": to,
        }));
    }
    output::line(&format!(
        "{}: {reports} reports, {from} to {to}",
        file.display()
    ))
}

fn none(json: bool) -> Result<()> {
    if json {
        return output::json(&serde_json::Value::Null);
    }
    output::line("no report yet: is a drift role running, and a model served?")
}

fn trend(report: &DriftReport) -> &str {
    let of_score = report.trends.iter().find(|trend| trend.measure == "score");
    // Raw reports have none: what is raw has no scale on which to have moved.
    of_score.map_or("–", |trend| trend.trend.as_str())
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
            "server_drift": report.server_drift,
            "new_servers": report.new_servers,
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
                metric
                    .share_away
                    .map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share)),
                number(Some(metric.ks)),
                number(Some(metric.ks_p)),
                number(metric.mean_p),
                number(metric.psi),
                number(metric.per),
            ]
        })
        .collect();
    output::line("")?;
    output::table(
        &[
            "PROFILE", "METRIC", "STRENGTH", "WHAT", "BY", "SINCE", "SERVERS", "KS", "P KS",
            "P MEAN", "PSI", "PER",
        ],
        &metrics,
    )?;
    servers(report)
}

/// Who is far from its own usual, and who is new.
fn servers(report: &DriftReport) -> Result<()> {
    output::line("")?;
    if report.new_servers > 0 {
        output::line(&format!(
            "{} servers are new to the baseline: {}",
            report.new_servers,
            report.new_names.join(", ")
        ))?;
    }
    if report.known_servers == 0 {
        return output::line("servers: the baseline of this model knows none");
    }
    if report.server_drift.is_empty() {
        return output::line(&format!(
            "servers: none of {} was far from its own usual for half of the last hour",
            report.known_servers
        ));
    }
    let rows: Vec<Vec<String>> = report
        .server_drift
        .iter()
        .map(|server| {
            vec![
                server.server.clone(),
                server.profile.clone(),
                server.metric.clone(),
                format!("{:+.1} sd", server.size_sd),
                format!("{:.0} %", 100.0 * server.share),
            ]
        })
        .collect();
    output::table(&["SERVER", "PROFILE", "METRIC", "BY", "OF THE HOUR"], &rows)
}
