//! What a pane holds, by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use contract::Fixed;
use contract::record::{HorizonError, Pane, PaneMetric};
use drift::{BaselineError, ForecastOutcome, MAX_OPEN_BUCKETS, PaneBuilder, RowOutcome};
use support::{HOUR, START, STEP, contract, even_baseline, prediction};

fn builder(closed_before: Option<i64>) -> PaneBuilder {
    let contract = contract("linborg");
    let baseline = Arc::new(even_baseline(&contract, "b1"));
    PaneBuilder::new(contract, baseline, 3, closed_before).unwrap()
}

fn values(value: f32) -> Vec<f32> {
    vec![value; contract("linborg").num_metrics()]
}

fn metric<'a>(pane: &'a Pane, name: &str) -> &'a PaneMetric {
    pane.metrics
        .iter()
        .find(|metric| metric.metric == name)
        .unwrap()
}

fn f(value: f64) -> Fixed {
    Fixed::from_f64(value)
}

#[test]
fn sums_by_hand() {
    let mut builder = builder(None);
    let mut second = values(90.0);
    second[contract("linborg").metric_index("swap_used_pct").unwrap()] = f32::NAN;
    assert_eq!(
        builder.row("a", 1, START, 11, &values(10.5)),
        RowOutcome::Counted
    );
    assert_eq!(builder.row("b", 1, START, 14, &second), RowOutcome::Counted);
    // Far beyond three standard deviations (28.88) of 0–99 around 49.5.
    assert_eq!(
        builder.row("c", 2, START, 12, &values(500.0)),
        RowOutcome::Counted
    );
    let panes = builder.close_before(START + STEP);
    assert_eq!(panes.len(), 2);
    assert!(panes.iter().all(|pane| pane.num_panes == 2));

    let pane = &panes[0];
    let linborg = contract("linborg");
    assert_eq!(
        (
            pane.partition,
            pane.bucket,
            pane.position,
            pane.servers,
            pane.rows
        ),
        (3, START, 14, 2, 2)
    );
    assert_eq!(
        (&pane.profile, pane.baseline.as_str()),
        (&linborg.profiles[1].name, "b1")
    );
    assert_eq!(pane.contract, linborg.fingerprint());
    assert_eq!((pane.cpu_load.n, pane.cpu_load.total), (2, f(100.5)));
    assert_eq!((pane.mem_load.n, pane.mem_load.total), (2, f(100.5)));
    // Uptime is monotone.
    assert_eq!(pane.metrics.len(), 13);
    assert!(
        pane.metrics
            .iter()
            .all(|metric| metric.metric != "uptime_days")
    );
    let cpu = metric(pane, "cpu_user_pct");
    assert_eq!(
        (cpu.n, cpu.sum, cpu.sum_sq, cpu.outliers),
        (2, f(100.5), f(110.25 + 8_100.0), 0)
    );
    assert_eq!(cpu.counts.iter().sum::<i64>(), 2);
    assert_eq!(cpu.counts.iter().filter(|&&count| count == 1).count(), 2);
    let swap = metric(pane, "swap_used_pct");
    assert_eq!((swap.n, swap.sum), (1, f(10.5)));

    let cpu = metric(&panes[1], "cpu_user_pct");
    assert_eq!((cpu.outliers, cpu.counts.last()), (1, Some(&1)));
    assert_eq!((cpu.forecasts, cpu.errors.len()), (0, 0));
}

#[test]
fn errors_at_each_horizon() {
    // Step k of the forecast is 10 + k; the actual is 8 everywhere.
    let linborg = contract("linborg");
    let mut builder = builder(None);
    let forecast = prediction(&linborg, "a", "m1", START, |step| 10.0 + step as f32);
    assert_eq!(builder.forecast(&forecast), ForecastOutcome::Kept);
    for step in 0..97_i64 {
        assert_eq!(
            builder.row("a", 0, START + step * STEP, step + 1, &values(8.0)),
            RowOutcome::Counted
        );
        for pane in builder.close_before(START + (step + 1) * STEP) {
            let cpu = metric(&pane, "cpu_user_pct");
            let expected = match step + 1 {
                6 => Some((30, 8.0)),
                12 => Some((60, 14.0)),
                48 => Some((240, 50.0)),
                96 => Some((480, 98.0)),
                _ => None,
            };
            let error = expected.map(|(horizon_minutes, error)| HorizonError {
                horizon_minutes,
                model_version: "m1".to_owned(),
                relative_n: 1,
                relative_sum: f(error / 8.0),
                abs_n: 1,
                abs_sum: f(error),
                actual_sum: f(8.0),
            });
            assert_eq!(
                cpu.errors,
                error.into_iter().collect::<Vec<_>>(),
                "step {}",
                step + 1
            );
            // The forecast as a whole counts once. 10 + 96 is above 100 %.
            let counted = i64::from(step + 1 == 6);
            assert_eq!(
                (cpu.forecasts, cpu.out_of_range),
                (counted, counted),
                "step {}",
                step + 1
            );
            let net = metric(&pane, "net_in_mb_s");
            assert_eq!((net.forecasts, net.out_of_range), (counted, 0));
        }
    }
    assert_eq!(builder.num_waiting_servers(), 0);
}

#[test]
fn two_models_in_flight_are_kept_apart() {
    let linborg = contract("linborg");
    let mut builder = builder(None);
    // For the same bucket: m1 issued an hour before it ends, m2 half an hour.
    builder.forecast(&prediction(&linborg, "a", "m1", START, |_| 10.0));
    builder.forecast(&prediction(&linborg, "a", "m2", START + 6 * STEP, |_| 6.0));
    // A repeat: the first wins.
    builder.forecast(&prediction(&linborg, "a", "m2", START + 6 * STEP, |_| 99.0));
    builder.row("a", 0, START + 11 * STEP, 1, &values(8.0));
    let panes = builder.close_before(START + 12 * STEP);
    let errors = &metric(&panes[0], "cpu_user_pct").errors;
    let found: Vec<_> = errors
        .iter()
        .map(|e| (e.horizon_minutes, e.model_version.as_str(), e.abs_sum))
        .collect();
    assert_eq!(found, [(30, "m2", f(2.0)), (60, "m1", f(2.0))]);
}

#[test]
fn a_metric_that_was_not_forecast_has_no_error() {
    let linborg = contract("linborg");
    let mut builder = builder(None);
    let mut forecast = prediction(&linborg, "a", "m1", START, |_| 10.0);
    forecast
        .forecasts
        .retain(|metric| metric.metric != "cpu_user_pct");
    forecast.forecasts[0].p50.truncate(2);
    forecast.forecasts[1].metric = "no_such_metric".to_owned();
    let (short, renamed) = (
        forecast.forecasts[0].metric.clone(),
        linborg.metrics[2].name.clone(),
    );
    builder.forecast(&forecast);
    builder.row("a", 0, START + 5 * STEP, 1, &values(8.0));
    let pane = builder.close_before(START + HOUR).remove(0);
    for name in ["cpu_user_pct", &short, &renamed] {
        let found = metric(&pane, name);
        assert_eq!((found.forecasts, found.errors.len()), (0, 0), "{name}");
    }
    assert_eq!(metric(&pane, "mem_used_pct").errors.len(), 1);
}

#[test]
fn forecasts_that_cannot_be_compared() {
    let linborg = contract("linborg");
    let good = prediction(&linborg, "a", "m1", START, |_| 10.0);
    #[track_caller]
    fn check(prediction: &contract::record::Prediction, expected: ForecastOutcome) {
        let mut builder = builder(Some(START));
        assert_eq!(builder.forecast(prediction), expected);
    }
    check(&good, ForecastOutcome::Kept);
    check(
        &contract::record::Prediction {
            contract: "x".to_owned(),
            ..good.clone()
        },
        ForecastOutcome::OtherContract,
    );
    check(
        &contract::record::Prediction {
            step_seconds: 60,
            ..good.clone()
        },
        ForecastOutcome::OffGrid,
    );
    check(
        &contract::record::Prediction {
            issued_at: START + 1,
            ..good.clone()
        },
        ForecastOutcome::OffGrid,
    );
    let end_of_time = i64::MAX - i64::MAX.rem_euclid(STEP);
    check(
        &contract::record::Prediction {
            issued_at: end_of_time,
            ..good.clone()
        },
        ForecastOutcome::OffGrid,
    );
    check(
        &contract::record::Prediction {
            issued_at: START - 8 * HOUR,
            ..good.clone()
        },
        ForecastOutcome::Late,
    );
    check(
        &contract::record::Prediction {
            issued_at: START - 8 * HOUR + STEP,
            ..good
        },
        ForecastOutcome::Kept,
    );
}

#[test]
fn repeats_late_rows_and_rows_of_another_contract() {
    let mut builder = builder(Some(START));
    assert_eq!(
        builder.row("a", 0, START - STEP, 1, &values(1.0)),
        RowOutcome::Late
    );
    assert_eq!(
        builder.row("a", 0, START, 2, &values(1.0)),
        RowOutcome::Counted
    );
    assert_eq!(
        builder.row("a", 0, START, 3, &values(2.0)),
        RowOutcome::Repeat
    );
    assert_eq!(
        builder.row("a", 99, START, 4, &values(2.0)),
        RowOutcome::NotOfContract
    );
    assert_eq!(
        builder.row("b", 0, START, 5, &[1.0]),
        RowOutcome::NotOfContract
    );
    assert_eq!(
        builder.row("b", 0, START + 1, 6, &values(2.0)),
        RowOutcome::NotOfContract
    );
    assert_eq!(builder.oldest_open(), Some(START));
    let panes = builder.close_before(START + STEP);
    assert_eq!((panes.len(), panes[0].rows, panes[0].position), (1, 1, 2));
    assert_eq!(metric(&panes[0], "cpu_user_pct").sum, f(1.0));
    assert_eq!(
        builder.row("c", 0, START, 7, &values(1.0)),
        RowOutcome::Late
    );
    // Closing again, or earlier, changes nothing.
    assert_eq!(builder.close_before(START), []);
    assert_eq!(builder.closed_before(), Some(START + STEP));
}

#[test]
fn the_order_of_rows_in_a_bucket_is_nothing() {
    let rows: Vec<(String, f32)> = (0..40_u8)
        .map(|i| (format!("s{i}"), f32::from(i) * 1.7 + 0.1))
        .collect();
    let panes_of = |rows: &[(String, f32)]| {
        let mut builder = builder(None);
        for (server, value) in rows {
            builder.row(server, 0, START, 9, &values(*value));
        }
        builder.close_before(START + STEP)
    };
    let mut reversed = rows.clone();
    reversed.reverse();
    assert_eq!(panes_of(&rows), panes_of(&reversed));
}

#[test]
fn a_new_baseline_counts_from_the_next_bucket_on() {
    let mut builder = builder(None);
    builder.row("a", 0, START, 1, &values(1.0));
    builder
        .set_baseline(Arc::new(even_baseline(&contract("linborg"), "b2")))
        .unwrap();
    builder.row("b", 0, START, 2, &values(1.0));
    builder.row("a", 0, START + STEP, 3, &values(1.0));
    let panes = builder.close_before(START + HOUR);
    let found: Vec<_> = panes
        .iter()
        .map(|pane| (pane.bucket, pane.baseline.as_str(), pane.rows))
        .collect();
    assert_eq!(found, [(START, "b1", 2), (START + STEP, "b2", 1)]);
    let other = even_baseline(&contract("vm"), "b3");
    assert!(matches!(
        builder.set_baseline(Arc::new(other)),
        Err(BaselineError::OtherContract { .. })
    ));
}

#[test]
fn open_buckets_are_bounded() {
    let mut builder = builder(None);
    for bucket in 0..MAX_OPEN_BUCKETS as i64 {
        assert_eq!(
            builder.row("a", 0, START + bucket * STEP, 1, &values(1.0)),
            RowOutcome::Counted
        );
    }
    let next = START + MAX_OPEN_BUCKETS as i64 * STEP;
    assert_eq!(builder.row("a", 0, next, 1, &values(1.0)), RowOutcome::Full);
    builder.close_before(START + STEP);
    assert_eq!(
        builder.row("a", 0, next, 1, &values(1.0)),
        RowOutcome::Counted
    );
}

#[test]
fn predictions_may_be_a_day_ahead_of_the_rows() {
    let linborg = contract("linborg");
    let mut builder = builder(Some(START));
    let mut refused = 0;
    for ahead in 0..=400 {
        let issued_at = START + ahead * STEP;
        let outcome = builder.forecast(&prediction(&linborg, "a", "m1", issued_at, |_| {
            ahead as f32
        }));
        assert!(ahead > 288 || !builder.is_too_far_ahead(issued_at));
        assert!(ahead > 288 || outcome == ForecastOutcome::Kept);
        assert!(matches!(
            outcome,
            ForecastOutcome::Kept | ForecastOutcome::TooFarAhead
        ));
        refused += i32::from(outcome == ForecastOutcome::TooFarAhead);
    }
    // 288 and the six that come due within half an hour.
    assert_eq!(refused, 401 - 294);
    assert!(builder.is_too_far_ahead(START + 289 * STEP));
    // Not one was lost.
    for ahead in [0, 100, 288] {
        let due = START + (ahead + 5) * STEP;
        builder.row("a", 0, due, 1, &values(8.0));
        let pane = builder.close_before(due + STEP).remove(0);
        let error = &metric(&pane, "mem_used_pct").errors[0];
        assert_eq!(
            (error.horizon_minutes, error.abs_sum),
            (30, f((ahead as f64 - 8.0).abs()))
        );
    }
    // There is room again.
    let late = prediction(&linborg, "a", "m1", START + 401 * STEP, |_| 1.0);
    assert_eq!(builder.forecast(&late), ForecastOutcome::Kept);
}
