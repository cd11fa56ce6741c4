//! The drift baseline of a new model: what the training window looked like, and what quiet days do,
//! with the forecast's errors on hours that the weights have not seen.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::Contract;
use contract::record::Prediction;
use drift::{Baseline, CalibrationFacts, Row};

use super::context_at;
use crate::roles::forecast::prediction;

/// Steps between two forecasts of a server in the held-out replay: one an hour is enough
/// to know the errors of quiet days, twelve times as many would take twelve times as long.
const STRIDE: usize = 12;
/// Contexts in one call of the model.
const BATCH: usize = 256;

/// Builds the baseline from rows before `held_out_ms` and calibrates it on those from then on.
pub(super) fn build(
    contract: &Arc<Contract>,
    model: &tft::Model,
    version: &str,
    data: &tft::Dataset,
    held_out_ms: i64,
) -> Result<(Baseline, CalibrationFacts)> {
    let grid = Grid::of(contract);
    let rows = data.series.iter().flat_map(|series| grid.rows(series));
    let known = rows.clone().filter(|row| row.bucket < held_out_ms);
    let (mut baseline, history) = Baseline::learn(version, contract, known);
    let mut rows: Vec<Row<'_>> = rows.filter(|row| row.bucket >= held_out_ms).collect();
    rows.sort_by_key(|row| row.bucket);
    let forecasts = forecasts_of(contract, model, version, data, held_out_ms)?;
    let calibration = drift::calibrate(contract, &mut baseline, history, version, rows, forecasts)
        .context("calibrate the drift baseline")?;
    Ok((baseline, calibration))
}

/// The dense grid of a series.
pub(super) struct Grid {
    step_ms: i64,
    metrics: usize,
}

impl Grid {
    pub(super) fn of(contract: &Contract) -> Grid {
        Grid {
            step_ms: contract.step_ms(),
            metrics: contract.num_metrics(),
        }
    }

    /// Rows with a value.
    pub(super) fn rows<'a>(
        &self,
        series: &'a tft::Series,
    ) -> impl Iterator<Item = Row<'a>> + Clone + use<'a> {
        let step_ms = self.step_ms;
        let rows = series.values.chunks_exact(self.metrics.max(1));
        (0_i64..)
            .zip(rows)
            .filter(|(_, values)| values.iter().any(|value| value.is_finite()))
            .map(move |(step, values)| Row {
                server: &series.server,
                profile: series.profile,
                bucket: series.start_ms + step * step_ms,
                values,
            })
    }
}

/// One forecast an hour and server from `held_out_ms` on, by time of issue.
pub(super) fn forecasts_of(
    contract: &Contract,
    model: &tft::Model,
    version: &str,
    data: &tft::Dataset,
    held_out_ms: i64,
) -> Result<Vec<Prediction>> {
    let ends = issue_steps(contract, data, held_out_ms);
    let mut forecasts = Vec::with_capacity(ends.len());
    for batch in ends.chunks(BATCH) {
        let contexts: Vec<_> = batch
            .iter()
            .map(|&(series, end)| context_at(contract, series, end))
            .collect();
        let made = model
            .predict(&contexts)
            .context("forecast the held-out hours")?;
        forecasts.extend(contexts.iter().zip(&made).map(|(context, forecast)| {
            prediction(contract, version, context, contract.context_steps, forecast)
        }));
    }
    forecasts.sort_by_key(|forecast| forecast.issued_at);
    Ok(forecasts)
}

/// The series and steps at which a forecast is issued, one an hour.
fn issue_steps<'a>(
    contract: &Contract,
    data: &'a tft::Dataset,
    held_out_ms: i64,
) -> Vec<(&'a tft::Series, usize)> {
    let (step_ms, metrics) = (contract.step_ms(), contract.num_metrics().max(1));
    let mut ends = Vec::new();
    for series in &data.series {
        let steps = series.values.len() / metrics;
        let first = usize::try_from((held_out_ms - series.start_ms) / step_ms)
            .unwrap_or(0)
            .max(1);
        ends.extend((first..steps).step_by(STRIDE).map(|end| (series, end)));
    }
    ends
}
