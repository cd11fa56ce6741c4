//! What a training minimises: the pinball loss as a share of what the quantiles of the last 24 hours lose.
//!
//! Half of it is that share over the whole fleet, where the servers with the largest values decide, half is its mean over servers,
//! where each counts the same. So a raw unit of loss of server `s` weighs `½ / naive + ½ / naiveₛ`, with both naive losses measured on the
//! training windows. Validation reports the same (`eval::Report::loss`).

use super::plan::Window;
use crate::data::Columns;
use crate::domain::Domain;
use crate::eval::{self, Naive};

/// Windows of a server on which its naive loss is measured.
const WINDOWS: usize = 160;
/// Largest weight of a scaled unit: a server whose naive loss is nearly 0 must not drown the others.
const LARGEST: f32 = 20.0;

/// Weights of the losses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objective {
    metrics: usize,
    /// `[series, metrics]`: of a raw unit
    weights: Vec<f32>,
}

/// Sum and number of losses.
#[derive(Clone, Copy, Default)]
struct Mean(f64, f64);

impl Mean {
    fn add(&mut self, other: Mean) {
        self.0 += other.0;
        self.1 += other.1;
    }

    /// Half of what one is of the mean; 0 where there is no loss to compare with.
    fn half_per_unit(self) -> f64 {
        if self.0 > 0.0 {
            0.5 * self.1 / self.0
        } else {
            0.0
        }
    }
}

impl Objective {
    /// Measures the naive losses on `windows`, which are in random order.
    pub(crate) fn learn(columns: &[Columns], windows: &[Window], domain: &Domain) -> Self {
        let metrics = domain.num_metrics();
        let mut own = vec![Mean::default(); columns.len() * metrics];
        let mut measured = vec![0; columns.len()];
        let mut scratch = (Vec::new(), Vec::new());
        for &(series, issue) in windows {
            if measured[series] == WINDOWS {
                continue;
            }
            measured[series] += 1;
            for metric in 0..metrics {
                let values = columns[series].metric(metric);
                own[series * metrics + metric].add(naive_loss(values, issue, domain, &mut scratch));
            }
        }
        let mut all = vec![Mean::default(); metrics];
        for row in own.chunks_exact(metrics) {
            all.iter_mut().zip(row).for_each(|(sum, one)| sum.add(*one));
        }
        let weight = |at: usize| all[at % metrics].half_per_unit() + own[at].half_per_unit();
        Self {
            metrics,
            weights: (0..own.len()).map(|at| weight(at) as f32).collect(),
        }
    }

    /// Weight of a raw unit of loss.
    pub(crate) fn raw_weight(&self, series: usize, metric: usize) -> f32 {
        self.weights[series * self.metrics + metric]
    }

    /// Weight of a scaled unit of loss, in a window whose unit is `scale`.
    pub(crate) fn weight(&self, series: usize, metric: usize, scale: f32) -> f32 {
        (self.raw_weight(series, metric) * scale).min(LARGEST)
    }
}

/// Pinball loss, mean over the quantiles, of the naive forecast in one window.
fn naive_loss(
    values: &[f32],
    issue: usize,
    domain: &Domain,
    (context, sorted): &mut (Vec<f32>, Vec<f32>),
) -> Mean {
    let now = issue.min(values.len());
    context.clear();
    context.extend_from_slice(&values[now.saturating_sub(domain.context)..now]);
    let Some(naive) = Naive::of(context, domain.day(), sorted) else {
        return Mean::default();
    };
    let actuals = values[now..].iter().take(domain.horizon);
    actuals
        .filter(|v| !v.is_nan())
        .fold(Mean::default(), |Mean(sum, count), &actual| {
            Mean(
                sum + eval::pinball_mean(actual, naive.quantiles),
                count + 1.0,
            )
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Series;

    fn columns(server: &str, tail: f32) -> Columns {
        // A day that is 1 but for its last hour, and two hours after it.
        let mut values = vec![1.0; 24];
        values.extend([tail, tail]);
        let server = server.to_owned();
        let series = Series {
            server,
            values,
            ..Series::default()
        };
        Columns::of(&series, 1).unwrap()
    }

    #[test]
    fn half_the_whole_half_the_server() {
        let contract = contract::Contract::shipped("vm").unwrap();
        let domain = Domain {
            metrics: vec!["x".into()],
            context: 24,
            horizon: 2,
            step_ms: 3_600_000,
            ..Domain::of(&contract)
        };
        // All quantiles of the day are 1. Server a becomes 2: pinball (.1 + .5 + .9) / 3 = .5. Server b becomes 1.2: .1.
        // Server c stays: it has no loss to compare with.
        let all = [columns("a", 2.0), columns("b", 1.2), columns("c", 1.0)];
        let windows = [(0, 24), (1, 24), (2, 24)];
        let objective = Objective::learn(&all, &windows, &domain);
        let whole = (0.5 + 0.1) / 3.0;
        let expected = [
            0.5 / whole + 0.5 / 0.5,
            0.5 / whole + 0.5 / 0.1,
            0.5 / whole,
        ];
        for (series, expected) in expected.into_iter().enumerate() {
            let found = objective.weight(series, 0, 1.0);
            assert!(
                (found - expected as f32).abs() < 1e-4,
                "{series}: {found} instead of {expected}"
            );
        }
        assert!((objective.weight(0, 0, 0.5) - 0.5 * objective.weight(0, 0, 1.0)).abs() < 1e-6);
        assert_eq!(objective.weight(1, 0, 1e9), LARGEST);
    }
}
