//! How good a forecaster is, next to three naive ones, on data that it has not seen.
//!
//! * `windows`: which forecasts are judged. Each server's grid starts at its first possible issue time in the range and steps by the
//!   stride; a window needs at least [`MIN_CONTEXT_ROWS`] rows with a value in its context and one actual after it.
//! * `naive`: last value, same time yesterday, quantiles of the last 24 hours.
//! * `tally`: from windows to sums, which `cells` holds per server, metric and band of steps (`horizon`).
//! * `report`: what follows from them; `bootstrap`: how sure that is.
//!
//! The same windows and points count for every forecaster. A point whose metric has no value at all in the context
//! has no naive forecast and is left out for all.

mod bootstrap;
mod cells;
mod horizon;
mod naive;
mod report;
mod tally;
mod windows;

pub(crate) use cells::{pinball, pinball_mean};
pub(crate) use naive::Naive;
pub use report::{
    HorizonReport, Interval, Intervals, MetricIntervals, MetricReport, NaiveReport, Pooled,
    PooledIntervals, ProfileReport, Report,
};
pub(crate) use windows::Filled;
pub use windows::{MIN_CONTEXT_ROWS, Range};

use crate::data::{Columns, Dataset, Forecast};
use crate::domain::Domain;
use crate::model::{Model, PredictError};
use crate::scale::Normalisation;
use std::time::Instant;
use tally::{Tally, Truth};

/// Windows that are forecast and tallied at a time.
const CHUNK: usize = 512;

/// One judged forecast, as `eval --out` writes it.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The server.
    pub server: &'a str,
    /// End of the last context bucket, ms.
    pub issued_at_ms: i64,
    /// What was forecast, raw units.
    pub forecast: &'a Forecast,
}

/// Why a model could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// There is nothing to judge.
    #[error("no window to judge: {0}")]
    NoWindow(String),
    /// The data are malformed.
    #[error("{0}")]
    Data(String),
    /// The model gave no forecast.
    #[error(transparent)]
    Predict(#[from] PredictError),
}

/// Judges `model` on `data` in `range`; each forecast is shown to `seen`.
///
/// # Errors
/// When there is no window in the range, the data are malformed or the model is broken.
pub fn evaluate(
    model: &Model,
    data: &Dataset,
    range: &Range,
    seen: &mut dyn FnMut(&Judged<'_>),
) -> Result<Report, EvalError> {
    let columns = columns(&model.domain, data)?;
    let chosen = windows::choose(&columns, &model.domain, range);
    if chosen.is_empty() {
        return Err(EvalError::NoWindow(format!(
            "a window needs {MIN_CONTEXT_ROWS} rows before its issue time and an actual value in the {} steps after it",
            model.domain.horizon
        )));
    }
    judge(model, &columns, &chosen, |series, issue, forecast| {
        let server = data.series.get(series).map_or("", |s| s.server.as_str());
        let issued_at_ms = issue_ms(&columns[series], issue, &model.domain);
        seen(&Judged {
            server,
            issued_at_ms,
            forecast,
        });
    })
}

/// Judges `model` on chosen windows `(series, issue step)`.
pub(crate) fn judge(
    model: &Model,
    columns: &[Columns],
    chosen: &[(usize, usize)],
    seen: impl FnMut(usize, usize, &Forecast),
) -> Result<Report, EvalError> {
    let (tally, seconds) = tally(model, columns, chosen, seen)?;
    Ok(tally.report(chosen.len() as f64 / f64::max(seconds, 1e-9)))
}

/// [`Report::loss`] alone, without what the other figures cost.
pub(crate) fn loss(
    model: &Model,
    columns: &[Columns],
    chosen: &[(usize, usize)],
) -> Result<Option<f64>, EvalError> {
    Ok(tally(model, columns, chosen, |_, _, _| {})?.0.loss())
}

/// The sums, and the seconds that the forecasts took.
fn tally<'a>(
    model: &'a Model,
    columns: &[Columns],
    chosen: &[(usize, usize)],
    mut seen: impl FnMut(usize, usize, &Forecast),
) -> Result<(Tally<'a>, f64), EvalError> {
    let domain = &model.domain;
    let mut tally = Tally::new(domain, columns);
    let mut seconds = 0.0;
    for chunk in chosen.chunks(CHUNK) {
        let windows: Vec<_> = chunk
            .iter()
            .map(|&(series, issue)| (&columns[series], issue))
            .collect();
        let begun = Instant::now();
        let forecasts = model.predict_windows(&windows)?;
        seconds += begun.elapsed().as_secs_f64();
        for (&(series, issue), forecast) in chunk.iter().zip(&forecasts) {
            tally.add(
                &Truth {
                    series,
                    columns: &columns[series],
                    issue,
                },
                forecast,
            );
            seen(series, issue, forecast);
        }
    }
    Ok((tally, seconds))
}

/// Data as columns.
pub(crate) fn columns(domain: &Domain, data: &Dataset) -> Result<Vec<Columns>, EvalError> {
    let metrics = domain.num_metrics();
    let malformed = |server: &str| {
        EvalError::Data(format!(
            "series of {server}: values and states must be whole rows of {metrics} metrics"
        ))
    };
    data.series
        .iter()
        .map(|s| Columns::of(s, metrics).ok_or_else(|| malformed(&s.server)))
        .collect()
}

/// Units of each metric, from at most some ten thousand evenly spaced values.
pub(crate) fn units(columns: &[Columns], metrics: usize) -> Normalisation {
    const SAMPLES: usize = 50_000;
    let steps: usize = columns.iter().map(|c| c.steps).sum();
    let stride = (steps / SAMPLES).max(1);
    let mut samples: Vec<Vec<f32>> = (0..metrics)
        .map(|metric| {
            columns
                .iter()
                .flat_map(|c| c.metric(metric).iter().step_by(stride).copied())
                .collect()
        })
        .collect();
    Normalisation::learn(&mut samples)
}

pub(crate) fn issue_ms(columns: &Columns, issue: usize, domain: &Domain) -> i64 {
    columns
        .start_ms
        .saturating_add(domain.step_ms.saturating_mul(issue as i64))
}
