//! Merging panes and reporting: by hand, and against summing anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use contract::Fixed;
use contract::record::{HorizonError, Pane, ServerAway};
use drift::{
    Aggregate, Baseline, BaselineError, Calibration, PaneOutcome, Policy, ReportRequest, Windows,
};
use support::{DAY, HOUR, Held, START, STEP, contract, even_baseline, pane, report, rows};

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-9,
        "found {found}, expected {expected}"
    );
}

#[test]
fn nothing_at_all() {
    let linborg = contract("linborg");
    let mut windows = Windows::new(Arc::clone(&linborg));
    let report = report(&mut windows, &even_baseline(&linborg, "b1"), START + 17);
    assert_eq!(
        (report.status.as_str(), report.alarm, report.confidence),
        ("healthy", false, 0.0)
    );
    assert_eq!(
        (
            report.windows.len(),
            report.metrics.len(),
            report.rows,
            report.load
        ),
        (0, 0, 0, None)
    );
    assert!(
        report.recommendation.starts_with("No verdict yet"),
        "{}",
        report.recommendation
    );
}

#[test]
fn a_baseline_that_never_varied() {
    let linborg = contract("linborg");
    let held = |bucket| Held {
        server: "s0".to_owned(),
        profile: 0,
        bucket: bucket * STEP,
        values: vec![5.0; linborg.num_metrics()],
    };
    let held: Vec<Held> = (0..400).map(held).collect();
    let (baseline, _) = Baseline::learn("b1", &linborg, rows(&held));
    let mut windows = Windows::new(Arc::clone(&linborg));
    for bucket in 0..12 {
        windows.add(&pane(
            &linborg,
            &baseline,
            0,
            0,
            START + bucket * STEP,
            &[5.0],
        ));
    }
    let same = report(&mut windows, &baseline, START + HOUR);
    assert_eq!((same.score, same.status.as_str()), (0.0, "healthy"));
    for bucket in 12..24 {
        windows.add(&pane(
            &linborg,
            &baseline,
            0,
            0,
            START + bucket * STEP,
            &[6.0],
        ));
    }
    let moved = report(&mut windows, &baseline, START + 2 * HOUR);
    // No variation, so no z; but all values are new.
    near(moved.windows[0].fds, 0.0);
    near(moved.windows[0].dss, 1.0);
    assert_eq!(moved.metrics[0].signal, "no variation");
}

#[test]
fn a_profile_that_the_model_has_never_seen() {
    let linborg = contract("linborg");
    let held = |value: u8| Held {
        server: "s0".to_owned(),
        profile: 0,
        bucket: 0,
        values: vec![f32::from(value); linborg.num_metrics()],
    };
    let held: Vec<Held> = (0..100).map(held).collect();
    let (baseline, _) = Baseline::learn("b1", &linborg, rows(&held));
    let mut windows = Windows::new(Arc::clone(&linborg));
    for bucket in 0..12 {
        windows.add(&pane(
            &linborg,
            &baseline,
            0,
            6,
            START + bucket * STEP,
            &[5.0],
        ));
    }
    let report = report(&mut windows, &baseline, START + HOUR);
    near(report.windows[0].dss, 1.0);
    near(report.windows[0].fds_z, 0.0);
    assert!(report.recommendation.contains(&format!(
        "{} cpu_user_pct (new to the model)",
        linborg.profiles[6].name
    )));
}

#[test]
fn without_calibration_there_is_no_alarm() {
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let mut windows = Windows::new(Arc::clone(&linborg));
    for bucket in 0..12 {
        windows.add(&pane(
            &linborg,
            &baseline,
            0,
            0,
            START + bucket * STEP,
            &[1_000.0; 20],
        ));
    }
    let request = ReportRequest {
        at_ms: START + HOUR,
        model_version: "m1",
        policy: Policy::SLA,
        fds: Aggregate::Max,
        calibration: Calibration::On,
    };
    let report = windows.report(&request, &baseline).unwrap();
    assert_eq!(
        (report.score, report.alarm, report.confidence),
        (0.0, false, 0.0)
    );
    assert!(
        report
            .recommendation
            .contains("Nothing is an alarm: the baseline was not calibrated."),
        "{}",
        report.recommendation
    );
}

#[test]
fn another_baseline_starts_anew() {
    let linborg = contract("linborg");
    let (old, new) = (even_baseline(&linborg, "b1"), even_baseline(&linborg, "b2"));
    let mut windows = Windows::new(Arc::clone(&linborg));
    for bucket in 0..24 {
        windows.add(&pane(
            &linborg,
            &old,
            0,
            0,
            START + bucket * STEP,
            &[50.0; 4],
        ));
    }
    // Some panes of the new one are there before the merger knows of it.
    for bucket in 24..36 {
        windows.add(&pane(
            &linborg,
            &new,
            0,
            0,
            START + bucket * STEP,
            &[50.0; 3],
        ));
    }
    assert_eq!(report(&mut windows, &old, START + 2 * HOUR).rows, 96);
    assert_eq!(report(&mut windows, &new, START + 3 * HOUR).rows, 36);
    assert_eq!(report(&mut windows, &old, START + 3 * HOUR).rows, 96);
    let vm = contract("vm");
    let refused = windows.report(
        &ReportRequest {
            at_ms: START,
            model_version: "m1",
            policy: Policy::SLA,
            fds: Aggregate::Max,
            calibration: Calibration::On,
        },
        &even_baseline(&vm, "b3"),
    );
    assert!(matches!(refused, Err(BaselineError::OtherContract { .. })));
}

#[test]
fn silent_partitions_are_named() {
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let mut windows = Windows::new(Arc::clone(&linborg));
    for bucket in 0..12 {
        windows.add(&pane(
            &linborg,
            &baseline,
            0,
            0,
            START + bucket * STEP,
            &[50.0; 4],
        ));
        if bucket < 11 {
            windows.add(&pane(
                &linborg,
                &baseline,
                7,
                0,
                START + bucket * STEP,
                &[50.0; 2],
            ));
            windows.add(&pane(
                &linborg,
                &baseline,
                7,
                1,
                START + bucket * STEP,
                &[50.0; 3],
            ));
        }
    }
    let report = report(&mut windows, &baseline, START + HOUR);
    assert_eq!(
        (report.missing_partitions.as_slice(), report.servers),
        ([7].as_slice(), 9)
    );
    assert!(
        report
            .recommendation
            .ends_with("Nothing new from partition 7."),
        "{}",
        report.recommendation
    );
    assert_eq!(report.missing_servers, 5);
    near(report.confidence, 103.0 / 153.0 * 0.5);
}

#[test]
fn old_panes_are_forgotten() {
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let mut windows = Windows::new(Arc::clone(&linborg));
    let first = pane(&linborg, &baseline, 0, 0, START, &[50.0]);
    windows.add(&first);
    report(&mut windows, &baseline, START + DAY + 4 * HOUR);
    assert_eq!(
        (windows.num_panes(), windows.add(&first)),
        (1, PaneOutcome::Replaced)
    );
    report(&mut windows, &baseline, START + DAY + 4 * HOUR + STEP);
    assert_eq!(
        (windows.num_panes(), windows.add(&first)),
        (0, PaneOutcome::TooOld)
    );
}

fn error() -> HorizonError {
    HorizonError {
        horizon_minutes: 30,
        model_version: "m1".to_owned(),
        relative_n: 1,
        relative_sum: Fixed(1),
        abs_n: 1,
        abs_sum: Fixed(1),
        actual_sum: Fixed(1),
    }
}

#[test]
fn panes_that_cannot_be() {
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let good = pane(&linborg, &baseline, 0, 0, START, &[50.0, 60.0]);
    let mut windows = Windows::new(Arc::clone(&linborg));
    let mut check = |damage: &dyn Fn(&mut Pane)| {
        let mut pane = good.clone();
        damage(&mut pane);
        let outcome = windows.add(&pane);
        assert!(matches!(outcome, PaneOutcome::Malformed(_)), "{outcome:?}");
    };
    let error = error();
    check(&|pane| pane.profile = "nobody".to_owned());
    check(&|pane| pane.bucket += 1);
    check(&|pane| pane.rows = -1);
    check(&|pane| pane.rows = 1);
    check(&|pane| pane.servers = -1);
    check(&|pane| pane.cpu_load.n = -1);
    check(&|pane| pane.baseline = "b".repeat(1_000));
    check(&|pane| pane.new_servers = 3);
    check(&|pane| pane.new_names = vec!["n".repeat(1_000)]);
    check(&|pane| pane.new_names = vec!["n".to_owned(); 4]);
    let away = |sd| ServerAway {
        server: "s0".to_owned(),
        sd,
    };
    let named = |furthest: Vec<ServerAway>| {
        move |pane: &mut Pane| {
            (pane.metrics[0].judged_servers, pane.metrics[0].away_servers) = (2, 2);
            pane.metrics[0].furthest = furthest.clone();
        }
    };
    let nobody = ServerAway {
        server: "n".repeat(1_000),
        sd: 4.0,
    };
    for furthest in [
        vec![away(4.0); 3],
        vec![away(f64::NAN)],
        vec![away(1.0e7)],
        vec![nobody],
    ] {
        check(&named(furthest));
    }
    check(&|pane| pane.metrics[0].judged_servers = 3);
    check(&|pane| pane.metrics[0].away_servers = 1);
    check(&|pane| pane.metrics[0].metric = "no_such_metric".to_owned());
    check(&|pane| pane.metrics[0].n = 3);
    check(&|pane| pane.metrics[0].counts[0] = -1);
    check(&|pane| pane.metrics[0].counts = vec![0; 65]);
    check(&|pane| pane.metrics[0].outliers = 3);
    check(&|pane| pane.metrics[0].out_of_range = 1);
    check(&|pane| {
        pane.metrics[0].errors = vec![HorizonError {
            horizon_minutes: 31,
            ..error.clone()
        }]
    });
    check(&|pane| {
        pane.metrics[0].errors = vec![HorizonError {
            relative_n: 2,
            ..error.clone()
        }]
    });
    check(&|pane| {
        pane.metrics[0].errors = vec![HorizonError {
            model_version: "v".repeat(1_000),
            ..error.clone()
        }]
    });
    check(&|pane| pane.metrics[0].errors = vec![error.clone(); 33]);
    check(&|pane| {
        pane.metrics[0].errors = (0..9)
            .map(|i| HorizonError {
                model_version: i.to_string(),
                ..error.clone()
            })
            .collect();
    });
    assert_eq!(windows.num_panes(), 0);
}

#[test]
fn foreign_panes_and_sums_as_large_as_they_get() {
    let linborg = contract("linborg");
    let baseline = even_baseline(&linborg, "b1");
    let mut huge = pane(&linborg, &baseline, 0, 0, START, &[50.0, 60.0]);
    let mut windows = Windows::new(Arc::clone(&linborg));
    let foreign = Pane {
        contract: "other".to_owned(),
        ..huge.clone()
    };
    assert_eq!(windows.add(&foreign), PaneOutcome::OtherContract);
    assert_eq!(windows.num_panes(), 0);
    for metric in &mut huge.metrics {
        (metric.sum, metric.sum_sq) = (Fixed(i128::MIN), Fixed(i128::MAX));
        metric.errors = vec![HorizonError {
            relative_sum: Fixed(i128::MAX),
            ..error()
        }];
    }
    assert_eq!(windows.add(&huge), PaneOutcome::Added);
    assert_eq!(
        windows.add(&Pane {
            partition: 1,
            ..huge
        }),
        PaneOutcome::Added
    );
    let request = ReportRequest {
        at_ms: START + HOUR,
        model_version: "m1",
        policy: Policy::SLA,
        fds: Aggregate::Max,
        calibration: Calibration::Raw,
    };
    windows.report(&request, &baseline).unwrap();
}
