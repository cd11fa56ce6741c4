//! The drift baseline of a new model: what the training window looked like, and what quiet days do,
//! with the forecast's errors on days that the weights have not seen.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::Contract;
use drift::shift::detector::are_enough;
use drift::{Baseline, CalibrationFacts, HORIZON_MINUTES, Row};

use super::issued::{Issued, MAX_FORECASTS, Plan};

/// Most threads that learn, each with sums of its own of every bucket.
const MAX_THREADS: usize = 4;

const DAY_MS: f64 = 86_400_000.0;

/// Builds the baseline from rows before `held_out_ms` and calibrates it on those from then on, with a forecast at each `every`-th bucket, as
/// the service will issue them; without forecasts where the days are too few to tell how well quiet ones are forecast.
pub(super) fn build(
    contract: &Arc<Contract>,
    model: &tft::Model,
    version: &str,
    data: &tft::Dataset,
    held_out_ms: i64,
    every: u64,
) -> Result<(Baseline, CalibrationFacts)> {
    let grid = Grid::of(contract);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let servers = data.series.len().div_ceil(threads.min(MAX_THREADS)).max(1);
    let known = data.series.chunks(servers).map(|series| {
        let rows = series.iter().flat_map(|series| grid.rows(series));
        rows.filter(|row| row.bucket < held_out_ms)
    });
    let known: Vec<_> = known.collect();
    let (mut baseline, history) = Baseline::learn_parts(version, contract, &known);
    let (held_out, end) = grid.by_time(data, held_out_ms);
    // Those that come due with the first held-out bucket.
    let from_ms = held_out_ms - i64::from(HORIZON_MINUTES[0]) * 60_000;
    let plan = Plan::new(contract, data, from_ms, every);
    let plan = plan.rarer(MAX_FORECASTS).of_fewer(MAX_FORECASTS);
    let days = (end - held_out_ms) as f64 / DAY_MS;
    let due = plan.due().take_while(|_| are_enough(days));
    let mut forecasts = Issued::by_model(contract, model, version, due);
    let calibration = drift::calibrate(
        contract,
        &mut baseline,
        history,
        version,
        held_out,
        &mut forecasts,
    )
    .context("calibrate the drift baseline")?;
    forecasts.finish()?;
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
    /// Rows with a value from `from_ms` on, by time, and the end of the last bucket.
    pub(super) fn by_time<'a>(
        &self,
        data: &'a tft::Dataset,
        from_ms: i64,
    ) -> (impl Iterator<Item = Row<'a>> + Clone + use<'a>, i64) {
        let (step_ms, metrics) = (self.step_ms, self.metrics.max(1));
        let end = |series: &tft::Series| {
            let steps = i64::try_from(series.values.len() / metrics).unwrap_or(0);
            series.start_ms + steps * step_ms
        };
        let end = data.series.iter().map(end).max().unwrap_or(from_ms);
        let first = from_ms + (-from_ms).rem_euclid(step_ms);
        let buckets = (first..end).step_by(usize::try_from(step_ms).unwrap_or(1).max(1));
        let rows = buckets.flat_map(move |bucket| {
            data.series.iter().filter_map(move |series| {
                let step = usize::try_from((bucket - series.start_ms) / step_ms).ok()?;
                let values = series.values.get(step * metrics..(step + 1) * metrics)?;
                let has_value = values.iter().any(|value| value.is_finite());
                let is_there = has_value && bucket >= series.start_ms;
                is_there.then_some(Row {
                    server: &series.server,
                    profile: series.profile,
                    bucket,
                    values,
                })
            })
        });
        (rows, end)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::training::stored;

    const STEP_MS: i64 = 300_000;
    /// Midnight of a Monday, UTC.
    const START_MS: i64 = 1_767_571_200_000;

    /// So many days of two servers of one profile, which go up and down with the day and a little at random.
    fn fleet(contract: &Contract, days: usize) -> tft::Dataset {
        let mut state = 7_u64;
        let mut noise = || {
            // Knuth's MMIX generator.
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        };
        let mut series = |server: &str| {
            let steps = days * 288;
            let row = |step: usize| {
                let turn = step as f32 / 288.0 * std::f32::consts::TAU;
                let values = contract.metrics.iter();
                let values = values.map(|_| 40.0 + 10.0 * turn.sin() + 5.0 * noise());
                values.collect::<Vec<f32>>()
            };
            tft::Series {
                server: server.to_owned(),
                profile: 0,
                start_ms: START_MS,
                values: (0..steps).flat_map(row).collect(),
                states: None,
            }
        };
        tft::Dataset {
            series: vec![series("a"), series("b")],
        }
    }

    /// What is watched of a model with these data, of which the last fifth is held out.
    #[track_caller]
    fn check(days: usize, every: u64, error_series: usize) {
        let contract = Arc::new(Contract::shipped("linborg").expect("a shipped contract"));
        let weights = include_bytes!("../../starter/linborg/model.safetensors");
        let device = tft::Devices::default().first();
        let model = tft::Model::load(weights, &contract, device).expect("the starter model");
        let data = fleet(&contract, days);
        let held_out_ms = START_MS + (days * 288 * 4 / 5) as i64 * STEP_MS;
        let (baseline, facts) =
            build(&contract, &model, "v1", &data, held_out_ms, every).expect("a baseline");
        assert_eq!(facts.error_series, error_series, "{facts:?}");
        assert!(facts.level.is_some(), "{facts:?}");
        let bytes = stored::baseline_to_parquet(&baseline, &contract).expect("stored");
        let again = stored::baseline_from_parquet(&bytes, &contract).expect("read");
        assert!(again == baseline);
    }

    #[test]
    fn a_model_of_fifteen_days_has_its_errors_watched() {
        // All metrics of the profile but uptime, which only grows.
        check(15, 1, 13);
    }

    #[test]
    fn likewise_where_forecasts_are_rare() {
        check(15, 4, 13);
    }

    #[test]
    fn a_week_holds_too_few_days_out() {
        check(7, 1, 0);
    }
}
