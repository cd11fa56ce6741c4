//! What the tests of this crate share: a contract, a seeded noise, baselines and panes made of rows.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use contract::Contract;
use contract::record::{DriftReport, MetricForecast, Pane, Prediction};
use drift::{
    Aggregate, Baseline, Calibration, PaneBuilder, Policy, ReportRequest, Row, RowOutcome, Windows,
};

pub(crate) const STEP: i64 = 300_000;
pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 24 * HOUR;
/// Midnight of a Monday, UTC.
pub(crate) const START: i64 = 1_767_571_200_000;

pub(crate) fn contract(name: &str) -> Arc<Contract> {
    Arc::new(Contract::shipped(name).unwrap())
}

/// A 64-bit linear congruential generator (Knuth's MMIX constants); the upper half is used.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// 0 ≤ x < 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }

    /// Mean 0, standard deviation 1: the sum of twelve uniform ones less 6.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A row that lives as long as its values.
pub(crate) struct Held {
    pub(crate) server: String,
    pub(crate) profile: usize,
    pub(crate) bucket: i64,
    pub(crate) values: Vec<f32>,
}

/// The rows as the library takes them.
pub(crate) fn rows(held: &[Held]) -> impl Iterator<Item = Row<'_>> + Clone {
    held.iter().map(|row| Row {
        server: &row.server,
        profile: row.profile,
        bucket: row.bucket,
        values: &row.values,
    })
}

/// Every metric of every profile takes each of 0, 1, …, 99 ten times in Monday's first hour, on twenty servers that were seen too rarely to
/// be judged.
pub(crate) fn even_baseline(contract: &Contract, id: &str) -> Baseline {
    let of_profile = |profile: usize| {
        (0..1_000_u16).map(move |value| Held {
            server: format!("s{}", value % 20),
            profile,
            bucket: START - 7 * DAY,
            values: vec![f32::from(value % 100); contract.num_metrics()],
        })
    };
    let held: Vec<Held> = (0..contract.profiles.len()).flat_map(of_profile).collect();
    Baseline::learn(id, contract, rows(&held)).0
}

/// One pane of one profile: rows of servers 0, 1, …, the same value in every metric.
pub(crate) fn pane(
    contract: &Arc<Contract>,
    baseline: &Baseline,
    partition: i32,
    profile: usize,
    bucket: i64,
    values: &[f32],
) -> Pane {
    let mut builder = PaneBuilder::new(
        Arc::clone(contract),
        Arc::new(baseline.clone()),
        partition,
        None,
    )
    .unwrap();
    for (server, &value) in values.iter().enumerate() {
        let row = vec![value; contract.num_metrics()];
        let position = server as i64 + 1;
        assert_eq!(
            builder.row(&format!("s{server}"), profile, bucket, position, &row),
            RowOutcome::Counted
        );
    }
    builder.close_before(bucket + STEP).remove(0)
}

/// The P50 of `step` (from 1) is `p50(step)`, for every metric.
pub(crate) fn prediction(
    contract: &Contract,
    server: &str,
    version: &str,
    issued_at: i64,
    p50: impl Fn(usize) -> f32,
) -> Prediction {
    let values: Vec<f32> = (1..=contract.horizon_steps).map(p50).collect();
    Prediction {
        server: server.to_owned(),
        issued_at,
        step_seconds: 300,
        model_version: version.to_owned(),
        contract: contract.fingerprint().to_owned(),
        context_rows: 288,
        forecasts: contract
            .metrics
            .iter()
            .map(|metric| MetricForecast {
                metric: metric.name.clone(),
                p10: values.clone(),
                p50: values.clone(),
                p90: values.clone(),
            })
            .collect(),
        risks: Vec::new(),
    }
}

/// A raw report, checked.
pub(crate) fn report(windows: &mut Windows, baseline: &Baseline, at_ms: i64) -> DriftReport {
    let report = asked(windows, baseline, at_ms, Calibration::Raw);
    check_finite(&report);
    report
}

/// A calibrated report.
pub(crate) fn judged(windows: &mut Windows, baseline: &Baseline, at_ms: i64) -> DriftReport {
    asked(windows, baseline, at_ms, Calibration::On)
}

fn asked(
    windows: &mut Windows,
    baseline: &Baseline,
    at_ms: i64,
    calibration: Calibration,
) -> DriftReport {
    let request = ReportRequest {
        at_ms,
        model_version: "m1",
        policy: Policy::SLA,
        fds: Aggregate::Max,
        calibration,
    };
    windows.report(&request, baseline).unwrap()
}

/// No NaN, no infinity, and the raw score is the largest of the windows'.
#[track_caller]
pub(crate) fn check_finite(report: &DriftReport) {
    let text = format!("{report:?}");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let largest = report
        .windows
        .iter()
        .map(|window| window.score)
        .fold(0.0, f64::max);
    assert_eq!(report.score, largest);
    assert!((0.0..=1.0).contains(&report.confidence));
    for window in &report.windows {
        let parts = [window.dss, window.fds, window.anomaly_rate];
        assert!(
            parts.iter().all(|part| (0.0..=1.0).contains(part)),
            "{window:?}"
        );
        let score = 0.4 * window.per.unwrap_or(0.0)
            + 0.3 * window.dss
            + 0.2 * window.fds
            + 0.1 * window.anomaly_rate;
        assert!((score - window.score).abs() < 1e-12);
    }
}
