//! 95 % intervals by block bootstrap over servers (Efron, Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13):
//! whole servers are drawn with replacement, all windows of one together, because errors of one server belong together.
//!
//! They say how much the figures would change with other servers of the same kind; not what another time would change: all servers
//! share the time that was judged.

use super::cells::Cells;
use super::report::{Interval, Intervals, MetricIntervals, MetricReport, Pooled, PooledIntervals};
use crate::train::mixed;

/// Resamples: the ends of an interval then move by some hundredths of its length from seed to seed.
const RESAMPLES: usize = 1_000;
/// Below it the resamples are too few different ones to say anything.
const MIN_SERVERS: usize = 5;
/// Share of resamples in which a figure must exist.
const MIN_SHARE: f64 = 0.9;
const LEVEL: f64 = 0.95;
const SEED: u64 = 0xb007_57a9;

const FIGURES: [fn(&MetricReport) -> Option<f64>; 9] = [
    |m| m.wql,
    MetricReport::ratio_best,
    |m| m.mae,
    |m| m.mse,
    |m| m.mase,
    |m| m.coverage,
    |m| m.coverage_strict,
    |m| m.width,
    |m| m.per_server,
];

const POOLED: [fn(&Pooled) -> Option<f64>; 10] = [
    |p| p.wql_ratio_best,
    |p| p.wql_ratio_yesterday,
    |p| p.per_server,
    |p| p.mase,
    |p| p.coverage,
    |p| p.coverage_strict,
    |p| p.wql,
    |p| p.mae,
    |p| p.mse,
    |p| p.width,
];

/// Intervals of the figures of `cells` (one band); `judged` are the series that have a window.
pub(super) fn intervals(names: &[String], cells: &Cells, judged: &[bool]) -> Option<Intervals> {
    let drawn_from: Vec<usize> = (0..judged.len()).filter(|&s| judged[s]).collect();
    if drawn_from.len() < MIN_SERVERS {
        return None;
    }
    let mut metrics = vec![[const { Vec::new() }; FIGURES.len()]; names.len()];
    let mut pooled = [const { Vec::new() }; POOLED.len()];
    let mut weights = vec![0.0; judged.len()];
    for resample in 0..RESAMPLES as u64 {
        weights.fill(0.0);
        for draw in 0..drawn_from.len() as u64 {
            let random = mixed(mixed(SEED, resample), draw);
            weights[drawn_from[below(random, drawn_from.len())]] += 1.0;
        }
        let figures = cells.figures(&weights);
        for (values, report) in metrics.iter_mut().zip(&figures) {
            for (values, figure) in values.iter_mut().zip(FIGURES) {
                values.extend(figure(report));
            }
        }
        let means = Pooled::of(&figures);
        for (values, figure) in pooled.iter_mut().zip(POOLED) {
            values.extend(figure(&means));
        }
    }
    let metrics = names.iter().zip(metrics);
    Some(Intervals {
        level: LEVEL,
        resamples: RESAMPLES,
        servers: drawn_from.len(),
        metrics: metrics
            .map(|(name, values)| (name.clone(), metric(values.map(interval))))
            .collect(),
        pooled: pool(pooled.map(interval)),
    })
}

fn metric(of: [Option<Interval>; FIGURES.len()]) -> MetricIntervals {
    let [
        wql,
        wql_ratio_best,
        mae,
        mse,
        mase,
        coverage,
        coverage_strict,
        width,
        per_server,
    ] = of;
    MetricIntervals {
        wql,
        wql_ratio_best,
        mae,
        mse,
        mase,
        coverage,
        coverage_strict,
        width,
        per_server,
    }
}

fn pool(of: [Option<Interval>; POOLED.len()]) -> PooledIntervals {
    let [
        wql_ratio_best,
        wql_ratio_yesterday,
        per_server,
        mase,
        coverage,
        coverage_strict,
        wql,
        mae,
        mse,
        width,
    ] = of;
    PooledIntervals {
        wql_ratio_best,
        wql_ratio_yesterday,
        per_server,
        mase,
        coverage,
        coverage_strict,
        wql,
        mae,
        mse,
        width,
    }
}

/// A number below `count` from 64 random bits (Lemire 2019, without the rejection: the bias is below `count` / 2⁶⁴).
fn below(random: u64, count: usize) -> usize {
    ((u128::from(random) * count as u128) >> 64) as usize
}

/// The middle [`LEVEL`] of the values.
fn interval(mut values: Vec<f64>) -> Option<Interval> {
    if (values.len() as f64) < MIN_SHARE * RESAMPLES as f64 {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    Some([quantile(&values, tail), quantile(&values, 1.0 - tail)])
}

/// Interpolated quantile of ascending values, of which there is at least one.
fn quantile(ascending: &[f64], q: f64) -> f64 {
    let at = q * (ascending.len() - 1) as f64;
    let low = ascending[at.floor() as usize];
    let high = ascending[at.ceil() as usize];
    low + (high - low) * (at - at.floor())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::naive::Naive;
    use super::*;

    /// One point a server: it is covered where `covered` says so.
    fn cells(servers: usize, covered: impl Fn(usize) -> bool) -> Cells {
        let mut cells = Cells::new(servers, 1, 1);
        let naive = Naive {
            last: 1.0,
            quantiles: [0.0, 1.0, 3.0],
        };
        for server in 0..servers {
            let actual = if covered(server) { 1.0 } else { 5.0 };
            cells
                .cell(server, 0, 0)
                .add(actual, [0.0, 1.0, 2.0], &naive, None);
        }
        cells
    }

    fn of(servers: usize, covered: impl Fn(usize) -> bool) -> Option<Intervals> {
        let cells = cells(servers, covered);
        intervals(&["m".to_owned()], &cells, &vec![true; servers])
    }

    #[test]
    fn a_shares_interval_is_that_of_the_binomial_distribution() {
        let found = of(400, |server| server % 2 == 0).unwrap();
        let [low, high] = found.metrics[0].1.coverage.unwrap();
        // Standard error √(¼ / 400) = 0.025, times 1.96. Of a thousand resamples the ends have a standard error of 0.0021, and they lie
        // on a grid of 1 / 400: four of the former and one of the latter.
        assert!((low - 0.451).abs() < 0.011, "{low}");
        assert!((high - 0.549).abs() < 0.011, "{high}");
        let pooled = found.pooled.coverage.unwrap();
        assert_eq!(pooled, [low, high]);
        // Nothing has a yesterday.
        assert_eq!(found.metrics[0].1.mase, None);
        assert_eq!(found.servers, 400);
    }

    #[test]
    fn servers_that_are_alike_leave_no_doubt_and_few_say_nothing() {
        let found = of(5, |_| true).unwrap();
        let one = &found.metrics[0].1;
        assert_eq!(one.coverage, Some([1.0, 1.0]));
        let [low, high] = one.wql.unwrap();
        assert!(high - low < 1e-12 && low > 0.0);
        assert_eq!(of(4, |_| true), None);
        // Series without a window are not drawn.
        let cells = cells(6, |server| server > 0);
        let judged = [false, true, true, true, true, true];
        let found = intervals(&["m".to_owned()], &cells, &judged).unwrap();
        assert_eq!(found.metrics[0].1.coverage, Some([1.0, 1.0]));
    }

    #[test]
    fn draws_reach_every_server_evenly() {
        let mut hits = [0_u32; 7];
        for number in 0..70_000 {
            hits[below(mixed(SEED, number), 7)] += 1;
        }
        assert!(
            hits.iter().all(|&h| (9_600..10_400).contains(&h)),
            "{hits:?}"
        );
    }
}
