//! The figures of `eval` against numbers worked out by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ops::ControlFlow;
use std::sync::OnceLock;
use support::{contract, quick, sizes, waves};
use tft::eval::{EvalError, Range, evaluate};
use tft::{Dataset, Model, Series};

const HOUR: i64 = 3_600_000;

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let go_on = &mut |_: &_| ControlFlow::Continue(());
        tft::train(&contract(), &waves(5, 4), &sizes(), &quick(), None, go_on)
            .unwrap()
            .model
    })
}

/// One server whose first metric is `values` from hour 0 on; the second one is absent.
fn series(server: &str, start_hour: i64, values: &[f32]) -> Series {
    Series {
        server: server.into(),
        profile: 0,
        start_ms: start_hour * HOUR,
        values: values.iter().flat_map(|&v| [v, f32::NAN]).collect(),
        states: None,
    }
}

/// Hours at which forecasts are issued.
fn issued(
    data: Vec<Series>,
    from: Option<i64>,
    to: Option<i64>,
    stride: usize,
) -> Vec<(String, i64)> {
    let range = Range {
        from_ms: from.map(|h| h * HOUR),
        to_ms: to.map(|h| h * HOUR),
        stride,
    };
    let mut seen = Vec::new();
    let data = Dataset { series: data };
    match evaluate(model(), &data, &range, &mut |j| {
        seen.push((j.server.to_owned(), j.issued_at_ms / HOUR))
    }) {
        Ok(report) => assert_eq!(report.windows as usize, seen.len()),
        Err(EvalError::NoWindow(_)) => assert!(seen.is_empty()),
        Err(other) => panic!("{other}"),
    }
    seen
}

#[track_caller]
fn check_issued(
    data: Vec<Series>,
    from: Option<i64>,
    to: Option<i64>,
    stride: usize,
    expected: &[i64],
) {
    let hours: Vec<i64> = issued(data, from, to, stride)
        .into_iter()
        .map(|(_, hour)| hour)
        .collect();
    assert_eq!(hours, expected);
}

#[test]
fn the_grid_starts_at_the_first_possible_issue_time() {
    let full = || vec![series("a", 0, &[1.0; 48])];
    // Twelve rows before the first; without an end, the data's end: the last horizon starts at 40.
    check_issued(full(), None, None, 8, &[12, 20, 28, 36]);
    check_issued(full(), None, None, 14, &[12, 26, 40]);
    // The range bounds the forecast steps: 30 + 8 ≤ 38.
    check_issued(full(), Some(20), Some(38), 5, &[20, 25, 30]);
    check_issued(full(), Some(20), Some(37), 5, &[20, 25]);
    check_issued(full(), Some(41), None, 1, &[]);
    // After an outage (13 … 27) it starts where actuals follow, not where the context alone would do.
    let mut outage = [1.0; 48];
    outage[13..28].fill(f32::NAN);
    check_issued(vec![series("a", 0, &outage)], Some(14), None, 5, &[21]);
    // A range from before the data, and one that starts between two steps.
    check_issued(full(), Some(-5), Some(21), 1, &[12, 13]);
    let range = Range {
        from_ms: Some(20 * HOUR + 1),
        to_ms: None,
        stride: 100,
    };
    let mut seen = Vec::new();
    evaluate(model(), &Dataset { series: full() }, &range, &mut |j| {
        seen.push(j.issued_at_ms)
    })
    .unwrap();
    assert_eq!(seen, [21 * HOUR]);
}

#[test]
fn windows_without_context_or_actuals_are_left_out() {
    // Rows at 0–11 and 40–51: at hour 12 there are 12 rows of context, but no actual before 20; 32 … 40 lack context.
    let mut values = [f32::NAN; 60];
    values[..12].fill(1.0);
    values[40..52].fill(1.0);
    check_issued(
        vec![series("a", 0, &values)],
        None,
        None,
        1,
        &[52 - 12 - 28, 52][..0],
    );
    values[19] = 1.0;
    // From 12 on every hour has 12 rows behind it until the first ones leave the context of 24: 12 … 19 have 19 before them.
    check_issued(
        vec![series("a", 0, &values)],
        None,
        None,
        1,
        &[12, 13, 14, 15, 16, 17, 18, 19],
    );
    // A series that begins late has its own grid; one that ends early is judged on what is there.
    let data = vec![series("a", 0, &[1.0; 48]), series("b", 20, &[1.0; 14])];
    let hours = issued(data, None, None, 16);
    assert_eq!(
        hours,
        [("a".into(), 12), ("a".into(), 28), ("b".into(), 32)]
    );
}

#[test]
fn naive_forecasts_by_hand() {
    // Context: hours 0–23 count up from 0; then 8 hours of 30.
    let mut values: Vec<f32> = (0..24).map(|v| v as f32).collect();
    values.extend([30.0; 8]);
    let range = Range {
        from_ms: Some(24 * HOUR),
        to_ms: None,
        stride: 96,
    };
    let data = Dataset {
        series: vec![series("a", 0, &values)],
    };
    let mut forecast = None;
    let report = evaluate(model(), &data, &range, &mut |j| {
        forecast = Some(j.forecast.clone())
    })
    .unwrap();
    assert_eq!(report.windows, 1);
    let (name, m) = &report.metrics[0];
    assert_eq!((name.as_str(), m.points), ("load_pct", 8));
    // All actuals lie above: doubled pinball is 2τ·d, the mean over τ is d. Last value 23: d = 7 of 30.
    let close = |found: Option<f64>, expected: f64| {
        let found = found.unwrap();
        assert!(
            (found - expected).abs() < 1e-6,
            "{found} instead of {expected}"
        );
    };
    close(m.naive.last, 7.0 / 30.0);
    // Yesterday 0 … 7: mean d = 26.5.
    close(m.naive.yesterday, 26.5 / 30.0);
    // P10 2.3, P50 11.5, P90 20.7: (0.2·27.7 + 1·18.5 + 1.8·9.3) / 3.
    close(
        m.naive.quantiles24h,
        (0.2 * 27.7 + 18.5 + 1.8 * 9.3) / 3.0 / 30.0,
    );
    let f = forecast.unwrap();
    let of = |values: &[f32]| {
        values
            .iter()
            .step_by(2)
            .map(|&v| f64::from(v))
            .collect::<Vec<_>>()
    };
    let (p10, p50, p90) = (of(&f.p10), of(&f.p50), of(&f.p90));
    let pinball = |q: &[f64], tau: f64| {
        q.iter()
            .map(|q| 2.0 * f64::max(tau * (30.0 - q), (tau - 1.0) * (30.0 - q)))
            .sum::<f64>()
    };
    let loss = (pinball(&p10, 0.1) + pinball(&p50, 0.5) + pinball(&p90, 0.9)) / 3.0;
    close(m.wql, loss / 240.0);
    let error = p50.iter().map(|q| (30.0 - q).abs()).sum::<f64>() / 8.0;
    close(m.mae, error);
    close(
        m.mse,
        p50.iter().map(|q| (30.0 - q).powi(2)).sum::<f64>() / 8.0,
    );
    close(m.mase, error / 26.5);
    let covered = p10
        .iter()
        .zip(&p90)
        .filter(|(low, high)| **low <= 30.0 && 30.0 <= **high)
        .count();
    close(m.coverage, covered as f64 / 8.0);
    let below = |q: &[f64]| {
        let half = q.iter().filter(|&&q| q == 30.0).count() as f64 / 2.0;
        (q.iter().filter(|&&q| 30.0 < q).count() as f64 + half) / 8.0
    };
    let expected = [below(&p10), below(&p50), below(&p90)];
    assert_eq!(m.calibration.map(Option::unwrap), expected);
    // One server: its ratio to the quantiles of the last 24 hours.
    let ratio = loss / 240.0 / m.naive.quantiles24h.unwrap();
    close(m.per_server, ratio.clamp(0.05, 20.0));
    close(m.ratio_best(), m.wql.unwrap() / (7.0 / 30.0));
    // The second metric was never there: no figure, and no part in the means.
    let (_, absent) = &report.metrics[1];
    assert_eq!(
        (absent.points, absent.wql, absent.mase, absent.per_server),
        (0, None, None, None)
    );
    close(report.pooled.wql_ratio_best, m.ratio_best().unwrap());
    close(
        report.pooled.wql_ratio_yesterday,
        m.wql.unwrap() / (26.5 / 30.0),
    );
}

#[test]
fn a_missing_yesterday_is_the_last_value_and_stays_out_of_mase() {
    let mut values = vec![10.0; 32];
    values[1..8].fill(f32::NAN);
    values[0] = 4.0;
    values[24..].copy_from_slice(&[12.0, f32::NAN, 12.0, 12.0, 12.0, 12.0, 12.0, 12.0]);
    let range = Range {
        from_ms: Some(24 * HOUR),
        to_ms: None,
        stride: 96,
    };
    let data = Dataset {
        series: vec![series("a", 0, &values)],
    };
    let mut first = 0.0;
    let report = evaluate(model(), &data, &range, &mut |j| {
        first = f64::from(j.forecast.p50[0])
    })
    .unwrap();
    let m = &report.metrics[0].1;
    assert_eq!(m.points, 7);
    // Yesterday is there for the first step only (4, an error of 8); the other six have the last value, 10.
    assert!((m.naive.yesterday.unwrap() - (8.0 + 6.0 * 2.0) / 84.0).abs() < 1e-6);
    assert!((m.mase.unwrap() - (12.0 - first).abs() / 8.0).abs() < 1e-6);
}

#[test]
fn the_keys_of_the_report_are_those_of_the_interface() {
    let data = waves(2, 4);
    let range = Range {
        from_ms: None,
        to_ms: None,
        stride: 8,
    };
    let report = evaluate(model(), &data, &range, &mut |_| {}).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert!(
        json["windows"].as_u64().unwrap() > 0
            && json["forecasts_per_second"].as_f64().unwrap() > 0.0
    );
    for key in [
        "wql",
        "mae",
        "mse",
        "mase",
        "coverage",
        "coverage_strict",
        "per_server",
    ] {
        assert!(json["metrics"]["flow"][key].is_f64(), "{key}");
    }
    for key in ["last", "yesterday", "quantiles24h"] {
        assert!(json["metrics"]["load_pct"]["naive"][key].is_f64(), "{key}");
    }
    for key in [
        "wql_ratio_best",
        "per_server",
        "mase",
        "coverage",
        "wql_ratio_yesterday",
    ] {
        assert!(
            json["pooled"][key].is_f64()
                || key == "mase"
                || key.ends_with("yesterday")
                || key.ends_with("best"),
            "{key}"
        );
    }
    for key in ["wql", "mae", "mse", "width", "coverage"] {
        let of = |metric: &str| json["metrics"][metric][key].as_f64().unwrap();
        let mean = (of("load_pct") + of("flow")) / 2.0;
        let pooled = json["pooled"][key].as_f64().unwrap();
        assert!((pooled - mean).abs() < 1e-9, "{key}");
    }
}
