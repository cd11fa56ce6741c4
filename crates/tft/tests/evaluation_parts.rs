//! Horizons, profiles and intervals of `eval` against a second, plain computation from the forecasts and the data.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ops::ControlFlow;
use support::{contract, quick, sizes, waves};
use tft::eval::{Interval, Range, Report, evaluate};
use tft::{Dataset, Forecast};

const HOUR: i64 = 3_600_000;
const METRICS: usize = 2;
const HORIZON: usize = 8;

/// One judged point: everything that a figure can need.
struct Point {
    server: usize,
    metric: usize,
    step: usize,
    actual: f64,
    quantiles: [f64; 3],
    yesterday: f64,
}

/// The waves with gaps, noise that no model knows and a server of the other profile.
fn fleet() -> Dataset {
    let mut data = waves(6, 5);
    data.series[4].profile = 1;
    for (server, series) in data.series.iter_mut().enumerate() {
        for (at, value) in series.values.iter_mut().enumerate() {
            *value += ((at * 7919 + server * 104_729) % 13) as f32 * (0.1 + server as f32 * 0.2);
            if (at + server) % 17 == 5 {
                *value = f32::NAN;
            }
        }
    }
    data
}

fn judged() -> (Report, Vec<Point>) {
    let data = fleet();
    let go_on = &mut |_: &_| ControlFlow::Continue(());
    let model = tft::train(&contract(), &data, &sizes(), &quick(), None, go_on)
        .unwrap()
        .model;
    let range = Range {
        from_ms: Some(data.series[0].start_ms + 72 * HOUR),
        to_ms: None,
        stride: 3,
    };
    let mut points = Vec::new();
    let report = evaluate(&model, &data, &range, &mut |judged| {
        let server: usize = judged.server[1..].parse().unwrap();
        let series = &data.series[server];
        let issue = usize::try_from((judged.issued_at_ms - series.start_ms) / HOUR).unwrap();
        collect(&series.values, server, issue, judged.forecast, &mut points);
    })
    .unwrap();
    (report, points)
}

fn collect(
    values: &[f32],
    server: usize,
    issue: usize,
    forecast: &Forecast,
    into: &mut Vec<Point>,
) {
    let value = |step: usize, metric: usize| values.get(step * METRICS + metric).copied();
    for metric in 0..METRICS {
        let before = |step: usize| value(step, metric).filter(|v| !v.is_nan());
        let last = (0..issue).rev().find_map(before).unwrap();
        for step in 0..HORIZON {
            let Some(actual) = before(issue + step) else {
                continue;
            };
            let at = step * METRICS + metric;
            into.push(Point {
                server,
                metric,
                step,
                actual: actual.into(),
                quantiles: [forecast.p10[at], forecast.p50[at], forecast.p90[at]].map(f64::from),
                yesterday: before(issue + step - 24).unwrap_or(last).into(),
            });
        }
    }
}

/// wQL of the model and of yesterday, and the coverage.
fn figures(points: &[&Point]) -> [f64; 3] {
    let (mut loss, mut naive, mut actual, mut covered) = (0.0, 0.0, 0.0, 0.0);
    for point in points {
        for (tau, quantile) in [0.1, 0.5, 0.9].into_iter().zip(point.quantiles) {
            let pinball = |d: f64| 2.0 * f64::max(tau * d, (tau - 1.0) * d);
            loss += pinball(point.actual - quantile) / 3.0;
            naive += pinball(point.actual - point.yesterday) / 3.0;
        }
        actual += point.actual.abs();
        let [low, _, high] = point.quantiles;
        covered += f64::from(u8::from(low <= point.actual && point.actual <= high));
    }
    [loss / actual, naive / actual, covered / points.len() as f64]
}

#[track_caller]
fn check(
    of: &tft::eval::MetricReport,
    points: &[Point],
    metric: usize,
    wanted: impl Fn(&Point) -> bool,
) {
    let chosen: Vec<&Point> = points
        .iter()
        .filter(|p| p.metric == metric && wanted(p))
        .collect();
    assert_eq!(of.points as usize, chosen.len());
    let found = [of.wql, of.naive.yesterday, of.coverage].map(Option::unwrap);
    for (found, expected) in found.into_iter().zip(figures(&chosen)) {
        assert!(
            (found - expected).abs() < 1e-6,
            "{found} instead of {expected}"
        );
    }
}

#[test]
fn every_part_has_the_figures_of_its_points() {
    let (report, points) = judged();
    let minutes: Vec<u32> = report.horizons.iter().map(|h| h.minutes).collect();
    // The steps are hours: there is no half hour.
    assert_eq!(minutes, [60, 240, 480]);
    let names: Vec<&str> = report.profiles.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["plain", "other"]);
    for metric in 0..METRICS {
        check(&report.metrics[metric].1, &points, metric, |_| true);
        for (horizon, steps) in report.horizons.iter().zip([1, 4, 8]) {
            let figures = &horizon.metrics[metric].1;
            check(figures, &points, metric, |p| p.step < steps);
        }
        for (name, profile) in &report.profiles {
            let other = name == "other";
            let figures = &profile.metrics[metric].1;
            check(figures, &points, metric, |p| (p.server == 4) == other);
        }
    }
    assert_eq!(report.horizons[2].pooled, report.pooled);
    let [plain, other] = [&report.profiles[0].1, &report.profiles[1].1];
    assert_eq!((plain.servers, other.servers), (5, 1));
    assert_eq!(plain.windows + other.windows, report.windows);
}

#[test]
fn intervals_hold_their_figures_and_match_a_plain_bootstrap() {
    let (report, points) = judged();
    let intervals = report.intervals.as_ref().unwrap();
    assert_eq!((intervals.servers, intervals.level), (6, 0.95));
    let inside = |interval: Option<Interval>, figure: Option<f64>| {
        let ([low, high], figure) = (interval.unwrap(), figure.unwrap());
        assert!(low <= figure && figure <= high, "{figure} in {low}–{high}");
    };
    inside(
        intervals.pooled.wql_ratio_best,
        report.pooled.wql_ratio_best,
    );
    inside(intervals.pooled.per_server, report.pooled.per_server);
    for ((_, of), (_, figures)) in intervals.metrics.iter().zip(&report.metrics) {
        inside(of.wql, figures.wql);
        inside(of.mae, figures.mae);
        inside(of.coverage, figures.coverage);
        inside(of.mase, figures.mase);
        inside(of.mse, figures.mse);
        inside(of.width, figures.width);
    }
    let last = report.horizons.last().unwrap();
    assert_eq!(last.intervals, report.intervals, "all steps are all steps");
    let first = &report.horizons[0];
    let sure = &first.intervals.as_ref().unwrap().pooled;
    inside(sure.wql, first.pooled.wql);
    inside(sure.mae, first.pooled.mae);
    assert_ne!(first.intervals, report.intervals);
    // Five servers of one profile, and one that is alone in its own.
    let of_profile = |servers: usize| {
        let mut profiles = report.profiles.iter();
        &profiles.find(|(_, of)| of.servers == servers).unwrap().1
    };
    assert_eq!(of_profile(1).intervals, None);
    let five = of_profile(5);
    let sure = five.intervals.as_ref().unwrap();
    assert_eq!(sure.servers, 5);
    inside(sure.pooled.width, five.pooled.width);
    // Every one of the 6⁶ resamples, so that the expected ends depend on no random numbers.
    let of_server: Vec<Vec<&Point>> = (0..6)
        .map(|server| {
            let of = |p: &&Point| p.server == server && p.metric == 0;
            points.iter().filter(of).collect()
        })
        .collect();
    let sums: Vec<[f64; 2]> = of_server
        .iter()
        .map(|points| {
            let actual: f64 = points.iter().map(|p| p.actual.abs()).sum();
            [figures(points)[0] * actual, actual]
        })
        .collect();
    let mut all: Vec<f64> = (0..6_usize.pow(6))
        .map(|resample| {
            let drawn = (0..6).map(|place| sums[resample / 6_usize.pow(place) % 6]);
            let [loss, actual] = drawn.fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
            loss / actual
        })
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    let [low, high] = intervals.metrics[0].1.wql.unwrap();
    let tail = all.len() / 40;
    let (expected, width) = (
        [all[tail], all[all.len() - 1 - tail]],
        all[all.len() - 1 - tail] - all[tail],
    );
    // A thousand resamples: the ends are sure to some hundredths of the width.
    assert!(
        (low - expected[0]).abs() < 0.08 * width,
        "{low} {expected:?}"
    );
    assert!(
        (high - expected[1]).abs() < 0.08 * width,
        "{high} {expected:?}"
    );
}

#[test]
fn the_same_data_give_the_same_intervals() {
    let (mut one, _) = judged();
    let (two, _) = judged();
    // Speed is a clock's.
    one.forecasts_per_second = two.forecasts_per_second;
    assert_eq!(one, two);
}
