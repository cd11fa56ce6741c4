//! Measures of a window, by hand and as NumPy has them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use drift::{Aggregate, Calibration, PaneBuilder, PaneOutcome, Policy, ReportRequest, Windows};
use support::{DAY, HOUR, START, STEP, contract, even_baseline, pane, prediction, report};

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-9,
        "found {found}, expected {expected}"
    );
}

#[test]
fn measures_by_hand() {
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let mut windows = Windows::new(Arc::clone(&linborg));
    for bucket in 0..12 {
        let pane = pane(&linborg, &baseline, 0, 1, START + bucket * STEP, &[90.0; 5]);
        assert_eq!(windows.add(&pane), PaneOutcome::Added);
    }
    let report = report(&mut windows, &baseline, START + HOUR);
    // np.tile(np.arange(100), 10): mean 49.5, std(ddof=1) 28.880513916550793; 40.5 of those is 1.4023296163
    let z = 40.5 / 28.880_513_916_550_793;
    assert_eq!(report.windows.len(), 1);
    let hour = &report.windows[0];
    assert_eq!(
        (hour.minutes, hour.rows, hour.per, hour.wape),
        (60, 60, None, None)
    );
    // 90 % of the baseline lies below 90.
    near(hour.dss, 0.9);
    near(hour.fds_z, z);
    near(hour.fds, z / (1.0 + z));
    // 13 metrics, all as far.
    near(hour.fds_z_mean.unwrap(), z);
    near(hour.fds_z_sum.unwrap(), 13.0 * z);
    let by = |fds: Aggregate, windows: &mut Windows| {
        let request = ReportRequest {
            at_ms: START + HOUR,
            model_version: "m1",
            policy: Policy::SLA,
            fds,
            calibration: Calibration::Raw,
        };
        windows.report(&request, &baseline).unwrap().windows[0].fds
    };
    near(by(Aggregate::Mean, &mut windows), z / (1.0 + z));
    near(
        by(Aggregate::Sum, &mut windows),
        13.0 * z / (1.0 + 13.0 * z),
    );
    // 2 * scipy.stats.norm.sf(z / sqrt(1/1000 + 1/60)) = 5.05e-26
    assert!(
        report.metrics[0].mean_p < Some(1e-25),
        "{:?}",
        report.metrics[0]
    );
    near(hour.anomaly_rate, 0.0);
    assert_eq!((report.status.as_str(), report.alarm), ("critical", true));
    assert_eq!(
        (report.servers, report.rows, report.accuracy),
        (5, 60, None)
    );
    near(report.load.unwrap(), 0.6 * 0.9);
    // 60 of 60 + 50 rows.
    near(report.confidence, 60.0 / 110.0);
    assert_eq!(report.positions[0].offset, 5);
    let profile = &linborg.profiles[1].name;
    let expected = format!(
        "Retrain soon: score 0.39 is above 0.12, driven by {profile} cpu_user_pct (mean 1.4 sd off, KS 0.90), \
         {profile} cpu_sys_pct (mean 1.4 sd off, KS 0.90), {profile} cpu_iowait_pct (mean 1.4 sd off, KS 0.90). The 24 h \
         window is not whole: it holds 4 % of its 5-minute panes, 90 % are needed."
    );
    assert_eq!(report.recommendation, expected);
    assert_eq!(report.metrics.len(), 13);
    assert_eq!(
        (
            &report.metrics[0].profile,
            report.metrics[0].metric.as_str()
        ),
        (profile, "cpu_user_pct")
    );
}

#[test]
fn error_rates_by_hand() {
    // Actual 90; the forecasts for it are 45, 81, 90 and 99 at 30 minutes, 1, 4 and 8 hours.
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let mut builder =
        PaneBuilder::new(Arc::clone(&linborg), Arc::new(baseline.clone()), 0, None).unwrap();
    let mut windows = Windows::new(Arc::clone(&linborg));
    let row = vec![90.0; linborg.num_metrics()];
    for bucket in 0..288 {
        let at = START + bucket * STEP;
        builder.forecast(&prediction(&linborg, "a", "m1", at, |step| match step {
            6 => 45.0,
            12 => 81.0,
            96 => 99.0,
            _ => 90.0,
        }));
        builder.forecast(&prediction(&linborg, "b", "other", at, |_| 1.0));
        builder.row("a", 0, at, bucket, &row);
        builder.row("b", 0, at, bucket, &row);
        for pane in builder.close_before(at + STEP) {
            windows.add(&pane);
        }
        if bucket == 3 {
            // No forecast's time has come.
            assert_eq!(report(&mut windows, &baseline, at + STEP).accuracy, None);
        }
    }
    let report = report(&mut windows, &baseline, START + DAY);
    let [hour, day] = &report.windows[..] else {
        panic!("{report:?}")
    };
    near(hour.per.unwrap(), 0.5);
    near(hour.wape.unwrap(), 0.5);
    near(day.per.unwrap(), 0.175);
    near(day.wape.unwrap(), 0.175);
    near(report.accuracy.unwrap(), 0.825);
    near(report.metrics[0].per.unwrap(), 0.175);
    assert!(
        report
            .recommendation
            .starts_with("Retrain soon: score 0.59 is above 0.12, driven by"),
        "{}",
        report.recommendation
    );
}

#[test]
fn error_rates_as_numpy_has_them() {
    // t = np.arange(12); a = (40 + 10*np.sin(t)).astype(np.float32); b = (20 + 3*t).astype(np.float32);
    // f = (35 + t/2).astype(np.float32), all .astype(float) again, NumPy 2.4.6.
    // np.concatenate([np.abs(f-a)/np.abs(a), np.abs(f-b)/np.abs(b)]).mean()
    const PER: f64 = 0.212_939_764_816_284_74;
    // np.mean([np.abs(f-x).sum()/np.abs(x).sum() for x in (a, b)])
    const WAPE: f64 = 0.193_519_401_533_530_67;
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let mut builder =
        PaneBuilder::new(Arc::clone(&linborg), Arc::new(baseline.clone()), 0, None).unwrap();
    let mut windows = Windows::new(Arc::clone(&linborg));
    let [cpu, memory] = ["cpu_user_pct", "mem_used_pct"].map(|m| linborg.metric_index(m).unwrap());
    for step in 0..12_u8 {
        let (t, at) = (f64::from(step), START + i64::from(step) * STEP);
        // The sixth step of a forecast is the bucket that ends 30 minutes after it was issued.
        let issued_at = at - 5 * STEP;
        builder.forecast(&prediction(&linborg, "a", "m1", issued_at, |_| {
            (35.0 + t / 2.0) as f32
        }));
        let mut row = vec![f32::NAN; linborg.num_metrics()];
        row[cpu] = (40.0 + 10.0 * t.sin()) as f32;
        row[memory] = (20.0 + 3.0 * t) as f32;
        builder.row("a", 0, at, 1, &row);
        for pane in builder.close_before(at + STEP) {
            windows.add(&pane);
        }
    }
    let report = report(&mut windows, &baseline, START + HOUR);
    near(report.windows[0].per.unwrap(), PER);
    near(report.windows[0].wape.unwrap(), WAPE);
}

#[test]
fn anomaly_rates_by_hand() {
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    // Values 0 to 99: 200 lies beyond 49.5 + 3 · 28.9. Five of twenty servers have it in each bucket.
    let found = |forecasts: usize, below: usize| {
        let shared = Arc::new(baseline.clone());
        let mut builder = PaneBuilder::new(Arc::clone(&linborg), shared, 0, None).unwrap();
        for server in 0..forecasts {
            // Below 0 at one step, which no metric is.
            let lowest = if server < below { -1.0 } else { 50.0 };
            let of_step = |step| if step == 90 { lowest } else { 50.0 };
            let made = prediction(&linborg, &format!("s{server}"), "m1", START, of_step);
            builder.forecast(&made);
        }
        let mut windows = Windows::new(Arc::clone(&linborg));
        for bucket in 0..12 {
            for server in 0..20 {
                let value = if server < 5 { 200.0 } else { 50.0 };
                let values = vec![value; linborg.num_metrics()];
                builder.row(&format!("s{server}"), 0, START + bucket * STEP, 0, &values);
            }
        }
        for pane in builder.close_before(START + HOUR) {
            windows.add(&pane);
        }
        let report = report(&mut windows, &baseline, START + HOUR);
        near(
            report.windows[0].anomaly_rate,
            report.metrics[0].anomaly_rate,
        );
        report.windows[0].anomaly_rate
    };
    near(found(0, 0), 0.25);
    // Six of ten forecasts out of range are more than a quarter of the values, two of ten are not.
    near(found(10, 6), 0.6);
    near(found(10, 2), 0.25);
}
