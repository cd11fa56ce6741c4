//! `forewarn drift backtest`: one's own history through the code of the drift role, without a broker.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use contract::Contract;
use contract::record::{DriftReport, MetricForecast, Prediction};
use drift::{Baseline, PaneBuilder, PaneOutcome, ReportRequest, RowOutcome, Windows};
use serde::Serialize;

use super::baseline::Grid;
use super::command::{device, find_model, read};
use super::issued::{Due, Issued, MAX_FORECASTS, Plan};
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
    load: Option<f64>,
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

    /// The forecasts of a plan, by time of issue.
    fn forecasts<'a>(&'a self, contract: &'a Contract, plan: Plan<'a>) -> Issued<'a> {
        match self {
            Forecaster::Model { model, version } => {
                Issued::by_model(contract, model, version, plan.due())
            }
            Forecaster::Yesterday => Issued::new(plan.due(), |batch| {
                let made = batch.iter();
                Ok(made.filter_map(|due| yesterday(contract, due)).collect())
            }),
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
    let fds = app.settings.drift.fds;
    let (baseline_days, json) = (args.baseline_days, app.json);
    let every = app.settings.forecast.every;
    tokio::task::spawn_blocking(move || {
        let past = Past {
            contract: &contract,
            data: &data,
            forecaster: &forecaster,
            every,
        };
        let (first_ms, last_ms) = past.reach()?;
        let border = first_ms + (baseline_days * DAY_MS as f64) as i64;
        let border = border - border.rem_euclid(contract.step_ms());
        if last_ms < border {
            let there = (last_ms - first_ms + contract.step_ms()) as f64 / DAY_MS as f64;
            return Err(Refusal::new(format!(
                "--baseline-days {baseline_days}: the data hold {there:.1} days; leave some of them to be judged"
            ))
            .into());
        }
        let baseline = past.learn(first_ms, border)?;
        let request = ReportRequest {
            at_ms: border,
            model_version: forecaster.version(),
            policy,
            calibration,
            fds,
        };
        let mut told = Told::new(json);
        past.replay(first_ms, &baseline, &request, &mut told)?;
        told.finish(contract.step_ms())
    })
    .await
    .context("replay the data")?
}

/// The data, and who forecasts them.
struct Past<'a> {
    contract: &'a Arc<Contract>,
    data: &'a tft::Dataset,
    forecaster: &'a Forecaster,
    /// At each N-th bucket.
    every: u64,
}

impl<'a> Past<'a> {
    /// The first and the last bucket with a value.
    fn reach(&self) -> Result<(i64, i64)> {
        let grid = Grid::of(self.contract);
        let rows = self.data.series.iter().flat_map(|series| grid.rows(series));
        let reach = rows.fold(None, |reach: Option<(i64, i64)>, row| {
            let (first, last) = reach.unwrap_or((row.bucket, row.bucket));
            Some((first.min(row.bucket), last.max(row.bucket)))
        });
        reach.context("the data hold no row with a value")
    }

    /// Forecasts from a time on. The same buckets whatever the time: the baseline is held against what was forecast as often. A model
    /// forecasts a large fleet less often, once an hour at least.
    fn forecasts(&self, first_ms: i64, from_ms: i64) -> Issued<'a> {
        let plan = Plan::new(self.contract, self.data, first_ms, self.every);
        let plan = match self.forecaster {
            Forecaster::Model { .. } => plan.rarer(MAX_FORECASTS),
            Forecaster::Yesterday => plan,
        };
        self.forecaster.forecasts(self.contract, plan.from(from_ms))
    }

    /// The baseline of the rows before `border`.
    fn learn(&self, first_ms: i64, border: i64) -> Result<Baseline> {
        let grid = Grid::of(self.contract);
        let (rows, _) = grid.by_time(self.data, first_ms);
        let before = rows.take_while(|row| row.bucket < border);
        let (mut baseline, history) = Baseline::learn("backtest", self.contract, before.clone());
        let mut forecasts = self.forecasts(first_ms, first_ms);
        let known = forecasts.by_ref();
        drift::calibrate(
            self.contract,
            &mut baseline,
            history,
            self.forecaster.version(),
            before,
            known.take_while(|made| made.issued_at < border),
        )
        .context("calibrate the drift baseline")?;
        forecasts.finish()?;
        Ok(baseline)
    }

    /// Feeds the builder and the windows from a day and more before the first evaluation on, as the role would.
    fn replay(
        &self,
        first_ms: i64,
        baseline: &Baseline,
        request: &ReportRequest<'_>,
        told: &mut Told,
    ) -> Result<()> {
        let contract = self.contract;
        let step_ms = contract.step_ms();
        let memory = i64::try_from(drift::shift::detector::MEMORY).unwrap_or(0) * step_ms;
        let from = request.at_ms - memory;
        let shared = Arc::new(baseline.clone());
        let mut builder = PaneBuilder::new(Arc::clone(contract), shared, 0, None)?;
        let mut judged = Evaluations {
            windows: Windows::new(Arc::clone(contract)),
            baseline,
            request,
            next: request.at_ms,
            step_ms,
        };
        let mut issued = self.forecasts(first_ms, from - 8 * HOUR_MS);
        let mut forecasts = issued.by_ref().peekable();
        let (rows, _) = Grid::of(contract).by_time(self.data, from);
        let mut newest: Option<i64> = None;
        for (row, position) in rows.zip(1..) {
            if newest.is_none_or(|newest| row.bucket > newest) {
                if newest.is_some() || row.bucket >= request.at_ms {
                    judged.reach(&mut builder, row.bucket, told)?;
                }
                while let Some(made) = forecasts.next_if(|made| made.issued_at <= row.bucket) {
                    builder.forecast(&made);
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
        issued.finish()?;
        match newest {
            Some(newest) => judged.reach(&mut builder, newest + step_ms, told),
            None => Ok(()),
        }
    }
}

/// One report after the other.
struct Evaluations<'a> {
    windows: Windows,
    baseline: &'a Baseline,
    request: &'a ReportRequest<'a>,
    /// The end of the next.
    next: i64,
    step_ms: i64,
}

impl Evaluations<'_> {
    /// All that end up to a bucket: at each step, hourly where a hole in the data is longer than the day that a report looks back.
    fn reach(&mut self, builder: &mut PaneBuilder, bucket: i64, told: &mut Told) -> Result<()> {
        for pane in builder.close_before(bucket) {
            match self.windows.add(&pane) {
                PaneOutcome::Added | PaneOutcome::Replaced => {}
                other => bail!(
                    "a pane at {} is not counted: {other:?}",
                    output::time(pane.bucket)
                ),
            }
        }
        while self.next <= bucket {
            let request = ReportRequest {
                at_ms: self.next,
                ..*self.request
            };
            told.tell(&self.windows.report(&request, self.baseline)?)?;
            let is_far = bucket - self.next > DAY_MS;
            self.next += if is_far { HOUR_MS } else { self.step_ms };
        }
        Ok(())
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
            load: report.load,
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

/// The value of the same time yesterday for each step, NaN where there was none; `None` on the first day.
fn yesterday(contract: &Contract, due: &Due<'_>) -> Option<Prediction> {
    let (series, end) = *due;
    let (step_ms, metrics) = (contract.step_ms(), contract.num_metrics());
    let a_day = usize::try_from(DAY_MS / step_ms).unwrap_or(1);
    let first = end.checked_sub(a_day)?;
    let values = |metric: usize| -> Vec<f32> {
        (first..first + contract.horizon_steps)
            .map(|step| {
                let value = series.values.get(step * metrics + metric);
                value.copied().unwrap_or(f32::NAN)
            })
            .collect()
    };
    Some(Prediction {
        server: series.server.clone(),
        issued_at: series.start_ms + i64::try_from(end).unwrap_or(0) * step_ms,
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
    })
}
