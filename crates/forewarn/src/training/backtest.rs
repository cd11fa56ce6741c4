//! `forewarn drift backtest`: one's own history through the code of the drift role, without a broker.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use contract::Contract;
use contract::record::{DriftReport, MetricForecast, Prediction};
use drift::{Baseline, PaneBuilder, PaneOutcome, ReportRequest, Row, RowOutcome, Windows};
use serde::Serialize;

use super::baseline::{Grid, forecasts_of};
use super::command::{device, find_model, read};
use super::loading;
use crate::cli::BacktestArgs;
use crate::commands::{App, output};
use crate::refusal::Refusal;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Name of the forecaster that says what was a day ago.
const YESTERDAY: &str = "yesterday";

/// One evaluation, as printed.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    per: Option<f64>,
    dss: f64,
    fds: f64,
    anomaly_rate: f64,
    score: f64,
    calibrated: Calibrated,
    status: &'a str,
    alarm: bool,
    load: f64,
}

/// The larger of the windows.
#[derive(Default, Serialize)]
struct Calibrated {
    per: f64,
    dss: f64,
    fds: f64,
    score: f64,
}

/// From when to when it was an alarm, and what was said at its beginning: which metrics, profiles and servers drive it.
#[derive(Serialize)]
struct Alarm {
    from: String,
    to: Option<String>,
    why: String,
}

/// The last line.
#[derive(Serialize)]
struct Totals {
    evaluations: u64,
    alarms: Vec<Alarm>,
    days: f64,
}

/// Who forecasts.
enum Forecaster {
    Yesterday,
    Model {
        model: Box<tft::Model>,
        version: String,
    },
}

impl Forecaster {
    fn version(&self) -> &str {
        match self {
            Forecaster::Yesterday => YESTERDAY,
            Forecaster::Model { version, .. } => version,
        }
    }

    /// One forecast an hour of each server from `from_ms` on, by time of issue.
    fn forecasts(
        &self,
        contract: &Contract,
        data: &tft::Dataset,
        from_ms: i64,
    ) -> Result<Vec<Prediction>> {
        match self {
            Forecaster::Model { model, version } => {
                forecasts_of(contract, model, version, data, from_ms)
            }
            Forecaster::Yesterday => Ok(yesterday(contract, data, from_ms)),
        }
    }
}

/// Replays the data after the baseline's days and prints each evaluation.
///
/// # Errors
/// Refused for a model or data that cannot be read; failed where the data end before the baseline does.
pub(crate) async fn backtest_command(args: &BacktestArgs, app: &App) -> Result<()> {
    let contract = Arc::clone(&app.settings.contract);
    let forecaster = match &args.model {
        None => Forecaster::Yesterday,
        Some(name) => {
            let loaded = find_model(name, &app.settings.registry.url).await?;
            let device = device(args.device, app)?;
            let held = loading::checked(&loaded, &contract, device)?;
            Forecaster::Model {
                model: Box::new(held.model),
                version: held.version,
            }
        }
    };
    let (data, _) = read(&args.input, &contract, args.input.range)?;
    let policy = args.policy.unwrap_or(app.settings.drift.policy);
    let calibration = args.calibration.unwrap_or(app.settings.drift.calibration);
    let (baseline_days, json) = (args.baseline_days, app.json);
    tokio::task::spawn_blocking(move || {
        let rows = rows(&contract, &data);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            bail!("the data hold no row with a value");
        };
        let border = first.bucket + (baseline_days * DAY_MS as f64) as i64;
        let border = border - border.rem_euclid(contract.step_ms());
        if last.bucket < border {
            let there = (last.bucket - first.bucket + contract.step_ms()) as f64 / DAY_MS as f64;
            return Err(Refusal::new(format!(
                "--baseline-days {baseline_days}: the data hold {there:.1} days; leave some of them to be judged"
            ))
            .into());
        }
        let forecasts = forecaster.forecasts(&contract, &data, first.bucket)?;
        let version = forecaster.version();
        let baseline = learn(&contract, &rows, &forecasts, version, border)?;
        let request = ReportRequest {
            at_ms: border,
            model_version: version,
            policy,
            calibration,
        };
        let mut told = Told::new(json);
        replay(&contract, &baseline, &rows, &forecasts, &request, &mut told)?;
        told.finish(contract.step_ms())
    })
    .await
    .context("replay the data")?
}

/// All rows with a value, by bucket.
fn rows<'a>(contract: &Contract, data: &'a tft::Dataset) -> Vec<Row<'a>> {
    let grid = Grid::of(contract);
    let all = data.series.iter().flat_map(|series| grid.rows(series));
    let mut rows: Vec<Row<'a>> = all.collect();
    rows.sort_by_key(|row| row.bucket);
    rows
}

/// The baseline of the rows before `border`.
fn learn(
    contract: &Arc<Contract>,
    rows: &[Row<'_>],
    forecasts: &[Prediction],
    version: &str,
    border: i64,
) -> Result<Baseline> {
    let before = rows.iter().take_while(|row| row.bucket < border);
    let (mut baseline, history) = Baseline::learn("backtest", contract, before.clone().copied());
    let known = forecasts.iter().take_while(|made| made.issued_at < border);
    drift::calibrate(
        contract,
        &mut baseline,
        history,
        version,
        before.copied(),
        known.cloned(),
    )
    .context("calibrate the drift baseline")?;
    Ok(baseline)
}

/// Feeds the builder and the windows from a day and more before the first evaluation on, as the role would.
fn replay(
    contract: &Arc<Contract>,
    baseline: &Baseline,
    rows: &[Row<'_>],
    forecasts: &[Prediction],
    request: &ReportRequest<'_>,
    told: &mut Told,
) -> Result<()> {
    let step_ms = contract.step_ms();
    let memory = i64::try_from(drift::shift::detector::MEMORY).unwrap_or(0) * step_ms;
    let from = request.at_ms - memory;
    let shared = Arc::new(baseline.clone());
    let mut builder = PaneBuilder::new(Arc::clone(contract), shared, 0, None)?;
    let mut windows = Windows::new(Arc::clone(contract));
    let mut forecasts = forecasts
        .iter()
        .skip_while(|made| made.issued_at < from - 8 * HOUR_MS)
        .peekable();
    let mut next = request.at_ms;
    let rows = rows.iter().filter(|row| row.bucket >= from);
    let mut reach = |builder: &mut PaneBuilder, bucket: i64| -> Result<()> {
        for pane in builder.close_before(bucket) {
            match windows.add(&pane) {
                PaneOutcome::Added | PaneOutcome::Replaced => {}
                other => bail!(
                    "a pane at {} is not counted: {other:?}",
                    output::time(pane.bucket)
                ),
            }
        }
        // A hole in the data is a day's evaluations at most; then they go on where the data do.
        next = next.max(bucket - DAY_MS);
        while next <= bucket {
            let request = ReportRequest {
                at_ms: next,
                ..*request
            };
            told.tell(&windows.report(&request, baseline)?)?;
            next += step_ms;
        }
        Ok(())
    };
    let mut newest: Option<i64> = None;
    for (row, position) in rows.zip(1..) {
        if newest.is_none_or(|newest| row.bucket > newest) {
            if newest.is_some() || row.bucket >= request.at_ms {
                reach(&mut builder, row.bucket)?;
            }
            while let Some(made) = forecasts.next_if(|made| made.issued_at <= row.bucket) {
                builder.forecast(made);
            }
            newest = Some(row.bucket);
        }
        match builder.row(row.server, row.profile, row.bucket, position, row.values) {
            RowOutcome::Counted | RowOutcome::Repeat => {}
            other => bail!(
                "a row of {} at {} is not counted: {other:?}",
                row.server,
                output::time(row.bucket)
            ),
        }
    }
    match newest {
        Some(newest) => reach(&mut builder, newest + step_ms),
        None => Ok(()),
    }
}

/// What was printed, and what is still to be.
struct Told {
    json: bool,
    evaluations: u64,
    first_ms: i64,
    last_ms: i64,
    alarms: Vec<Alarm>,
}

impl Told {
    fn new(json: bool) -> Told {
        Told {
            json,
            evaluations: 0,
            first_ms: 0,
            last_ms: 0,
            alarms: Vec::new(),
        }
    }

    fn tell(&mut self, report: &DriftReport) -> Result<()> {
        if self.evaluations == 0 {
            self.first_ms = report.at;
        }
        self.evaluations += 1;
        self.last_ms = report.at;
        let open = self.alarms.last_mut().filter(|alarm| alarm.to.is_none());
        match (open, report.alarm) {
            (None, true) => self.alarms.push(Alarm {
                from: output::time(report.at),
                to: None,
                why: report.recommendation.clone(),
            }),
            (Some(alarm), false) => alarm.to = Some(output::time(report.at)),
            _ => {}
        }
        if !self.json {
            return Ok(());
        }
        let largest = |of: fn(&contract::record::WindowMeasures) -> f64| {
            report.windows.iter().map(of).fold(0.0, f64::max)
        };
        // The longest window that is whole; its measures are the steadiest.
        let window = report.windows.last();
        let line = Line {
            at: output::time(report.at),
            per: window.and_then(|window| window.per),
            dss: window.map_or(0.0, |window| window.dss),
            fds: window.map_or(0.0, |window| window.fds),
            anomaly_rate: window.map_or(0.0, |window| window.anomaly_rate),
            score: report.score,
            calibrated: Calibrated {
                per: largest(|window| window.calibrated_per),
                dss: largest(|window| window.calibrated_dss),
                fds: largest(|window| window.calibrated_fds),
                score: largest(|window| window.calibrated_score),
            },
            status: &report.status,
            alarm: report.alarm,
            load: report.load.unwrap_or(0.0),
        };
        print(&line)
    }

    fn finish(self, step_ms: i64) -> Result<()> {
        let span = self.last_ms - self.first_ms + step_ms;
        let days = if self.evaluations == 0 {
            0.0
        } else {
            span as f64 / DAY_MS as f64
        };
        if self.json {
            return print(&Totals {
                evaluations: self.evaluations,
                alarms: self.alarms,
                days,
            });
        }
        output::line(&format!(
            "{} alarms in {days:.1} days ({} evaluations)",
            self.alarms.len(),
            self.evaluations
        ))?;
        let rows: Vec<Vec<String>> = self
            .alarms
            .into_iter()
            .map(|alarm| {
                let to = alarm.to.unwrap_or_else(|| "still on".to_owned());
                vec![alarm.from, to, alarm.why]
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        output::table(&["FROM", "TO", "WHY"], &rows)
    }
}

fn print(line: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(line).context("write a line")?;
    text.push(b'\n');
    std::io::stdout().write_all(&text).context("write a line")
}

/// The value of the same time yesterday for each step, NaN where there was none.
fn yesterday(contract: &Contract, data: &tft::Dataset, from_ms: i64) -> Vec<Prediction> {
    let (step_ms, metrics) = (contract.step_ms(), contract.num_metrics());
    let a_day = usize::try_from(DAY_MS / step_ms).unwrap_or(1);
    let an_hour = usize::try_from(HOUR_MS / step_ms).unwrap_or(1).max(1);
    let mut made = Vec::new();
    for series in &data.series {
        let steps = series.values.len() / metrics.max(1);
        for end in (a_day..steps).step_by(an_hour) {
            let issued_at = series.start_ms + i64::try_from(end).unwrap_or(0) * step_ms;
            if issued_at < from_ms {
                continue;
            }
            let values = |metric: usize| -> Vec<f32> {
                (0..contract.horizon_steps)
                    .map(|step| {
                        let then = end + step - a_day;
                        let value = series.values.get(then * metrics + metric);
                        value.copied().unwrap_or(f32::NAN)
                    })
                    .collect()
            };
            made.push(Prediction {
                server: series.server.clone(),
                issued_at,
                step_seconds: i32::try_from(contract.step_seconds).unwrap_or(i32::MAX),
                model_version: YESTERDAY.to_owned(),
                contract: contract.fingerprint().to_owned(),
                context_rows: i32::try_from(a_day).unwrap_or(i32::MAX),
                forecasts: contract
                    .metrics
                    .iter()
                    .enumerate()
                    .map(|(index, metric)| {
                        let p50 = values(index);
                        MetricForecast {
                            metric: metric.name.clone(),
                            p10: p50.clone(),
                            p90: p50.clone(),
                            p50,
                        }
                    })
                    .collect(),
                risks: Vec::new(),
            });
        }
    }
    made.sort_by_key(|prediction| prediction.issued_at);
    made
}
