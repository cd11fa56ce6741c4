//! Widths of the intervals, fitted on what the training has not seen.
//!
//! A network is surer of the windows that it was trained on than of those that come: its P10–P90 covers too little. So each metric has a
//! factor for either side of its interval, which gives the smallest loss of that quantile on the validation part.

use super::TrainError;
use super::objective::Objective;
use super::plan::Window;
use crate::config::QUANTILES;
use crate::data::Columns;
use crate::eval::{EvalError, pinball};
use crate::model::Model;

/// Windows that are forecast at once.
const CHUNK: usize = 512;
/// Factors that are tried: 0.60, 0.65, …, 2.00.
const TRIED: std::ops::RangeInclusive<u8> = 12..=40;
const TRIED_STEP: f32 = 0.05;

/// Loss of P10 and P90 for each factor that is tried.
type Losses = Vec<[f64; 2]>;

/// Factors of P50 − P10 and P90 − P50 for each metric of `model`, whose own are all 1.
///
/// # Errors
/// When a window cannot be forecast.
pub(super) fn widths(
    model: &Model,
    columns: &[Columns],
    windows: &[Window],
    objective: &Objective,
) -> Result<Vec<[f32; 2]>, TrainError> {
    let metrics = model.shape().metrics;
    let factors: Vec<f32> = TRIED.map(|n| f32::from(n) * TRIED_STEP).collect();
    let mut losses: Vec<Losses> = vec![vec![[0.0; 2]; factors.len()]; metrics];
    for chunk in windows.chunks(CHUNK) {
        let cut: Vec<_> = chunk
            .iter()
            .map(|&(series, issue)| (&columns[series], issue))
            .collect();
        let forecasts = model.predict_windows(&cut).map_err(EvalError::from)?;
        for (&(series, issue), forecast) in chunk.iter().zip(&forecasts) {
            for (metric, losses) in losses.iter_mut().enumerate() {
                let weight = f64::from(objective.raw_weight(series, metric));
                let values = columns[series].metric(metric);
                let actuals = values[issue.min(values.len())..].iter();
                let steps = forecast.p50.len() / metrics;
                for (step, &actual) in actuals.take(steps).enumerate().filter(|(_, v)| !v.is_nan())
                {
                    let at = step * metrics + metric;
                    let quantiles = [forecast.p10[at], forecast.p50[at], forecast.p90[at]];
                    add(losses, &factors, actual, quantiles, weight);
                }
            }
        }
    }
    Ok(losses
        .iter()
        .map(|losses| [0, 1].map(|side| best(&factors, losses, side)))
        .collect())
}

fn add(losses: &mut Losses, factors: &[f32], actual: f32, [low, mid, high]: [f32; 3], weight: f64) {
    let [tau_low, _, tau_high] = QUANTILES;
    let actual = f64::from(actual);
    for (sums, factor) in losses.iter_mut().zip(factors) {
        let moved = |quantile: f32| f64::from(mid + (quantile - mid) * factor);
        sums[0] += weight * pinball(actual, moved(low), tau_low);
        sums[1] += weight * pinball(actual, moved(high), tau_high);
    }
}

/// The factor with the smallest loss; of equal ones the one nearest to 1.
fn best(factors: &[f32], losses: &Losses, side: usize) -> f32 {
    let far = |at: usize| (factors[at] - 1.0).abs();
    let order = |a: &usize, b: &usize| {
        let by_loss = losses[*a][side].total_cmp(&losses[*b][side]);
        by_loss.then(far(*a).total_cmp(&far(*b)))
    };
    (0..factors.len())
        .min_by(order)
        .map_or(1.0, |at| factors[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_that_covers_too_little_grows() {
        let factors = [0.5, 1.0, 1.5, 2.0];
        let mut losses = vec![[0.0; 2]; 4];
        // Actual values 0, 1, …, 10 about a median of 5: their P10 is 1 and their P90 is 9, two thirds further out than forecast.
        for actual in 0_u8..=10 {
            add(
                &mut losses,
                &factors,
                f32::from(actual),
                [3.0, 5.0, 7.0],
                1.0,
            );
        }
        assert_eq!([0, 1].map(|side| best(&factors, &losses, side)), [2.0, 2.0]);
        // By hand, P90 at 9 (factor 2): 0.9 · 1 for the 10, 0.1 · (9 + 8 + … + 0) for the others, doubled.
        assert!(
            (losses[3][1] - 2.0 * (0.9 + 4.5)).abs() < 1e-5,
            "{losses:?}"
        );
        assert_eq!(best(&factors, &vec![[0.0; 2]; 4], 0), 1.0, "nothing to fit");
    }
}
