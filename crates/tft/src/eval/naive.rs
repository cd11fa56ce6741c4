//! The three naive forecasts of one window and metric.

use crate::scale::quantile;

/// Naive forecasts, raw units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naive {
    /// The last value before the issue time.
    pub(crate) last: f32,
    /// P10, P50 and P90 of the last 24 hours.
    pub(crate) quantiles: [f32; 3],
}

impl Naive {
    /// From the context of one metric (gaps NaN, `day` steps at its end are the last 24 hours); `None` where it has no value.
    /// Without a value in the last 24 hours the last value stands for their quantiles.
    pub(crate) fn of(context: &[f32], day: usize, sorted: &mut Vec<f32>) -> Option<Self> {
        let last = context.iter().rev().copied().find(|v| !v.is_nan())?;
        sorted.clear();
        sorted.extend(
            context[context.len().saturating_sub(day)..]
                .iter()
                .filter(|v| !v.is_nan()),
        );
        sorted.sort_unstable_by(f32::total_cmp);
        let quantiles = match sorted.is_empty() {
            true => [last; 3],
            false => crate::config::QUANTILES.map(|q| quantile(sorted, q)),
        };
        Some(Self { last, quantiles })
    }
}
