//! What quiet days look like, and what it is for: a seasonal fleet that does not drift, and one that does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::sync::Arc;

use contract::Contract;
use contract::record::{DriftReport, Prediction, WindowMeasures};
use drift::{Baseline, CalibrationError, CalibrationFacts, PaneBuilder, Row, Windows, calibrate};
use support::{HOUR, Held, Noise, START, STEP, contract, even_baseline, judged, prediction};

const SERVERS: usize = 12;
const STEPS_A_DAY: i64 = 288;

/// A fleet with a daily cycle and AR(1) noise (ρ = 0.9), in two profiles; from `shift_from` on the first `shifted` metrics of
/// the first profile are 15 points (2.5 sd of the noise) higher.
fn fleet(contract: &Contract, days: i64, shift_from: i64, shifted: usize) -> Vec<Held> {
    let mut noise = Noise(7);
    let mut states = vec![vec![0.0_f64; contract.num_metrics()]; SERVERS];
    let mut rows = Vec::new();
    for step in 0..days * STEPS_A_DAY {
        let bucket = START + step * STEP;
        let cycle = (step as f64 / STEPS_A_DAY as f64 * std::f64::consts::TAU).sin();
        for (server, state) in states.iter_mut().enumerate() {
            let profile = server % 2;
            for held in state.iter_mut() {
                *held = 0.9 * *held + (1.0_f64 - 0.81).sqrt() * noise.normal();
            }
            let mut values: Vec<f32> = state
                .iter()
                .map(|held| (40.0 + 10.0 * cycle + 6.0 * held) as f32)
                .collect();
            if profile == 0 && bucket >= shift_from {
                values[..shifted]
                    .iter_mut()
                    .for_each(|value| *value += 15.0);
            }
            rows.push(Held {
                server: format!("s{server}"),
                profile,
                bucket,
                values,
            });
        }
    }
    rows
}

/// Forecasts that know the cycle but not the noise, issued behind each `every`-th bucket as the service does; from `worse_from` on they are 9 points (1.5 sd of the noise) too
/// high for the first profile.
fn forecasts(
    contract: &Contract,
    from: i64,
    to: i64,
    worse_from: i64,
    every: i64,
) -> impl Iterator<Item = Prediction> {
    let issued = (from..to).step_by(STEP as usize);
    let issued = issued.filter(move |issued_at| issued_at / STEP % every == 1 % every);
    issued
        .flat_map(|issued_at| (0..SERVERS).map(move |server| (issued_at, server)))
        .map(move |(issued_at, server)| {
            let is_worse = server % 2 == 0 && issued_at >= worse_from;
            let off = if is_worse { 9.0 } else { 0.0 };
            prediction(contract, &format!("s{server}"), "m1", issued_at, |step| {
                let ahead = (issued_at - START) / STEP + step as i64 - 1;
                let cycle = (ahead as f64 / STEPS_A_DAY as f64 * std::f64::consts::TAU).sin();
                (40.0 + off + 10.0 * cycle) as f32
            })
        })
}

fn trained(
    contract: &Arc<Contract>,
    rows: &[Held],
    days: i64,
    held_out: i64,
    every: i64,
) -> (Baseline, CalibrationFacts) {
    let cut = START + days * 24 * HOUR;
    let known = support::rows(rows).filter(|row| row.bucket < cut);
    let (mut baseline, history) = Baseline::learn("b1", contract, known);
    let end = cut + held_out * 24 * HOUR;
    let held = support::rows(rows).filter(|row| (cut..end).contains(&row.bucket));
    let calibration = calibrate(
        contract,
        &mut baseline,
        history,
        "m1",
        held,
        forecasts(contract, cut, end, i64::MAX, every),
    )
    .unwrap();
    (baseline, calibration)
}

/// A report every half hour from `from` on; its panes reach back a day before.
fn replay(
    contract: &Arc<Contract>,
    baseline: &Baseline,
    rows: &[Held],
    from: i64,
    worse_from: i64,
    every: i64,
) -> Vec<DriftReport> {
    let issued = |from, to| forecasts(contract, from, to, worse_from, every);
    let mut builder =
        PaneBuilder::new(Arc::clone(contract), Arc::new(baseline.clone()), 0, None).unwrap();
    let mut windows = Windows::new(Arc::clone(contract));
    let mut reports = Vec::new();
    let begin = from - 24 * HOUR;
    for forecast in issued(begin - 8 * HOUR, begin) {
        builder.forecast(&forecast);
    }
    let mut last = begin;
    for row in rows.iter().filter(|row| row.bucket >= begin) {
        if row.bucket > last {
            for pane in builder.close_before(row.bucket) {
                windows.add(&pane);
            }
            for forecast in issued(row.bucket, row.bucket + STEP) {
                builder.forecast(&forecast);
            }
            last = row.bucket;
            if last >= from && last % (HOUR / 2) == 0 {
                reports.push(judged(&mut windows, baseline, last));
            }
        }
        builder.row(&row.server, row.profile, row.bucket, 0, &row.values);
    }
    reports
}

/// The same with forecasts at each bucket, as good as those that were learnt.
fn replay_good(
    contract: &Arc<Contract>,
    baseline: &Baseline,
    rows: &[Held],
    from: i64,
) -> Vec<DriftReport> {
    replay(contract, baseline, rows, from, i64::MAX, 1)
}

#[test]
fn a_shift_is_seen_and_named_and_quiet_days_are_quiet() {
    let linborg = contract("linborg");
    let shift_from = START + 14 * 24 * HOUR;
    let rows = fleet(&linborg, 15, shift_from, 1);
    let (baseline, calibration) = trained(&linborg, &rows, 8, 3, 1);
    assert_eq!(calibration.days, 11);
    // Means, spreads and errors of 13 metrics of 2 profiles.
    assert_eq!((calibration.series, calibration.error_series), (78, 26));
    assert_eq!(calibration.held_out_days, 3.0);
    assert!(calibration.level.unwrap() > 8.0, "{calibration:?}");

    let reports = replay_good(&linborg, &baseline, &rows, START + 12 * 24 * HOUR);
    let (before, after): (Vec<_>, Vec<_>) = reports
        .into_iter()
        .partition(|report| report.at <= shift_from);
    let alarms = before.iter().filter(|report| report.alarm).count();
    assert_eq!(alarms, 0, "of {} quiet reports", before.len());
    let first = after.iter().find(|report| report.alarm).unwrap();
    assert!(
        // Eleven days of baseline leave much to the tail.
        first.at <= shift_from + 8 * HOUR,
        "{} min",
        (first.at - shift_from) / 60_000
    );
    let cause = &first.metrics[0];
    assert_eq!(
        (cause.profile.as_str(), cause.metric.as_str()),
        (linborg.profiles[0].name.as_str(), "cpu_user_pct")
    );
    assert!(
        cause.size_sd.unwrap() > 2.0 && cause.strength > 1.0,
        "{cause:?}"
    );
    // It began with the shift, to a quarter of an hour.
    assert!(
        (cause.since.unwrap() - shift_from).abs() <= 3 * STEP,
        "{cause:?}"
    );
    let late = after.last().unwrap();
    assert!(
        late.alarm && late.share_drifted > 0.0 && late.share_drifted < 0.2,
        "{late:?}"
    );
}

#[test]
fn a_profile_that_changes_as_a_whole_is_an_alarm_within_two_hours() {
    let linborg = contract("linborg");
    let shift_from = START + 5 * 24 * HOUR + 3 * HOUR;
    let rows = fleet(&linborg, 6, shift_from, linborg.num_metrics());
    let (baseline, _) = trained(&linborg, &rows, 3, 2, 1);
    let reports = replay_good(&linborg, &baseline, &rows, START + 5 * 24 * HOUR);
    let alarms: Vec<&DriftReport> = reports.iter().filter(|report| report.alarm).collect();
    let first = alarms[0].at;
    assert!(
        (shift_from + 1..=shift_from + 2 * HOUR).contains(&first),
        "{} min",
        (first - shift_from) / 60_000
    );
    let profile = &linborg.profiles[0].name;
    assert!(
        alarms
            .iter()
            .all(|report| report.metrics[0].profile == *profile)
    );
    assert!(
        alarms
            .iter()
            .all(|report| report.recommendation.starts_with("Retrain"))
    );
}

/// The values stay as they were; the forecasts of one profile become worse.
#[track_caller]
fn check_worse_forecasts(every: i64, hours: i64) {
    let linborg = contract("linborg");
    let worse_from = START + 14 * 24 * HOUR;
    let rows = fleet(&linborg, 15, i64::MAX, 0);
    let (baseline, calibration) = trained(&linborg, &rows, 8, 3, every);
    assert_eq!(calibration.error_series, 26);
    let from = START + 12 * 24 * HOUR;
    let reports = replay(&linborg, &baseline, &rows, from, worse_from, every);
    let (before, after): (Vec<_>, Vec<_>) = reports
        .into_iter()
        .partition(|report| report.at <= worse_from);
    assert!(before.len() > 90 && before.iter().all(|report| !report.alarm));
    let first = after.iter().find(|report| report.alarm).unwrap();
    assert!(
        first.at <= worse_from + hours * HOUR,
        "{} min",
        (first.at - worse_from) / 60_000
    );
    let cause = &first.metrics[0];
    assert_eq!(cause.signal, "error");
    assert_eq!(cause.profile, linborg.profiles[0].name);
    assert!(first.recommendation.contains("(forecast error +"));
    let largest = |of: fn(&WindowMeasures) -> f64| first.windows.iter().map(of).fold(0.0, f64::max);
    assert!(largest(|window| window.calibrated_per) > 0.10);
    assert!(largest(|window| window.calibrated_fds) < 0.15);
}

#[test]
fn a_model_that_goes_bad_on_the_same_values_is_an_alarm() {
    check_worse_forecasts(1, 4);
}

#[test]
fn likewise_where_forecasts_are_rare() {
    check_worse_forecasts(3, 6);
    check_worse_forecasts(12, 16);
}

#[test]
fn errors_of_less_than_three_days_are_not_watched() {
    let linborg = contract("linborg");
    let rows = fleet(&linborg, 11, i64::MAX, 0);
    let (baseline, calibration) = trained(&linborg, &rows, 8, 2, 1);
    assert_eq!(calibration.error_series, 0);
    let reports = replay_good(&linborg, &baseline, &rows, START + 10 * 24 * HOUR);
    let said = &reports[0].recommendation;
    let expected = "The model's own error is not watched: 2.0 days were held out of its training, 3 are needed.";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn less_than_three_days_tell_nothing_of_quiet_days() {
    let linborg = contract("linborg");
    let rows = fleet(&linborg, 2, i64::MAX, 0);
    let (baseline, calibration) = trained(&linborg, &rows, 1, 1, 1);
    assert_eq!(calibration.level, None);
    let reports = replay_good(&linborg, &baseline, &rows, START + 24 * HOUR);
    assert!(
        reports
            .iter()
            .all(|report| !report.alarm && report.confidence == 0.0)
    );
    assert!(
        reports[0]
            .recommendation
            .contains("too little is known of quiet days"),
        "{}",
        reports[0].recommendation
    );
}

#[test]
fn less_than_a_week_knows_the_hour_of_the_day_and_says_so() {
    let linborg = contract("linborg");
    let rows = fleet(&linborg, 6, i64::MAX, 0);
    let (baseline, calibration) = trained(&linborg, &rows, 4, 1, 1);
    assert!(calibration.level.is_some());
    let reports = replay_good(&linborg, &baseline, &rows, START + 5 * 24 * HOUR);
    assert!(reports.iter().all(|report| !report.alarm));
    assert!(
        reports[0].recommendation.contains("less than a week"),
        "{}",
        reports[0].recommendation
    );
}

#[test]
fn nothing_held_out() {
    let linborg = contract("linborg");
    let (mut baseline, history) = Baseline::learn("b1", &linborg, std::iter::empty());
    assert_eq!(
        calibrate(&linborg, &mut baseline, history, "m1", [], []),
        Ok(CalibrationFacts::default())
    );
    assert_eq!(baseline.detector.unwrap().level(), None);
}

#[test]
fn rows_out_of_order_or_of_another_contract() {
    let linborg = contract("linborg");
    let values = vec![1.0; linborg.num_metrics()];
    let row = |bucket| Row {
        server: "a",
        profile: 0,
        bucket,
        values: &values,
    };
    let check = |rows: Vec<Row<'_>>, expected: CalibrationError| {
        let (mut baseline, history) = Baseline::learn("b1", &linborg, std::iter::empty());
        assert_eq!(
            calibrate(&linborg, &mut baseline, history, "m1", rows, []),
            Err(expected)
        );
    };
    check(
        vec![row(START + STEP), row(START)],
        CalibrationError::NotInOrder {
            bucket: START,
            after: START + STEP,
        },
    );
    check(
        vec![row(START + 1)],
        CalibrationError::NotOfContract {
            server: "a".to_owned(),
        },
    );
    // A gap of many years is no reason to hold all its buckets.
    let (mut baseline, history) = Baseline::learn("b1", &linborg, std::iter::empty());
    let far = vec![row(START), row(START + 50 * 365 * 24 * HOUR)];
    let found = calibrate(&linborg, &mut baseline, history, "m1", far, []).unwrap();
    assert_eq!((found.series, found.level), (0, None));
    let mut foreign = even_baseline(&contract("vm"), "b1");
    let (_, history) = Baseline::learn("b1", &linborg, std::iter::empty());
    let refused = calibrate(&linborg, &mut foreign, history, "m1", [], []);
    assert!(
        matches!(refused, Err(CalibrationError::Baseline(_))),
        "{refused:?}"
    );
}

/// Three weeks of three servers whose metrics vary but for swap, which is 0; then a day in which swap is `swap(bucket)`.
fn never_varied(swap: impl Fn(i64) -> f32) -> (Baseline, Vec<DriftReport>) {
    let linborg = contract("linborg");
    let place = linborg.metric_index("swap_used_pct").unwrap();
    let mut noise = Noise(5);
    let border = START + 21 * 24 * HOUR;
    let mut held = Vec::new();
    for bucket in (START..border + 24 * HOUR).step_by(STEP as usize) {
        for server in 0..3 {
            let mut values: Vec<f32> = (0..linborg.num_metrics())
                .map(|_| 40.0 + noise.normal() as f32)
                .collect();
            values[place] = if bucket < border { 0.0 } else { swap(bucket) };
            held.push(Held {
                server: format!("s{server}"),
                profile: 0,
                bucket,
                values,
            });
        }
    }
    let known = support::rows(&held).filter(|row| row.bucket < border);
    let (mut baseline, history) = Baseline::learn("b1", &linborg, known.clone());
    calibrate(&linborg, &mut baseline, history, "m1", known, []).unwrap();
    let reports = replay(&linborg, &baseline, &held, border, i64::MAX, i64::MAX);
    (baseline, reports)
}

#[test]
fn a_metric_that_never_varied_and_moves_is_an_alarm() {
    let from = START + 21 * 24 * HOUR + 6 * HOUR;
    let (_, reports) = never_varied(|bucket| if bucket < from { 0.0 } else { 80.0 });
    let (before, after): (Vec<_>, Vec<_>) =
        reports.into_iter().partition(|report| report.at <= from);
    assert!(before.len() > 5 && before.iter().all(|report| !report.alarm));
    let first = after.iter().find(|report| report.alarm).unwrap();
    assert!(
        first.at <= from + HOUR,
        "{} min",
        (first.at - from) / 60_000
    );
    let cause = &first.metrics[0];
    assert_eq!(
        (cause.metric.as_str(), cause.signal.as_str()),
        ("swap_used_pct", "no variation")
    );
    assert!(
        first
            .recommendation
            .contains("swap_used_pct (no variation in the baseline"),
        "{}",
        first.recommendation
    );
    assert!(after.last().unwrap().alarm);
}

#[test]
fn one_glitch_of_a_metric_that_never_varied_is_none() {
    let glitch = START + 21 * 24 * HOUR + 6 * HOUR;
    let (_, reports) = never_varied(|bucket| if bucket == glitch { 80.0 } else { 0.0 });
    assert!(reports.iter().all(|report| !report.alarm));
}

#[test]
fn a_new_profile_must_stay_and_be_held_against_quiet_days() {
    let linborg = contract("linborg");
    let held = fleet(&linborg, 5, i64::MAX, 0);
    let (baseline, _) = trained(&linborg, &held, 3, 1, 1);
    let new = linborg.profiles.len() - 1;
    let from = START + 4 * 24 * HOUR;
    // The profile's six servers have rows in so many of the last buckets.
    let report = |baseline: &Baseline, buckets: i64| {
        let mut windows = Windows::new(Arc::clone(&linborg));
        for bucket in (12 - buckets)..12 {
            let at = from + bucket * STEP;
            windows.add(&support::pane(&linborg, baseline, 0, new, at, &[40.0; 6]));
        }
        judged(&mut windows, baseline, from + HOUR)
    };
    assert!(!report(&baseline, 5).alarm);
    let stays = report(&baseline, 6);
    assert!(stays.alarm && stays.status == "critical", "{stays:?}");
    assert_eq!(stays.metrics[0].signal, "new");
    // Where no level is known nothing is an alarm.
    let (unknown, _) = trained(&linborg, &held, 1, 1, 1);
    let silent = report(&unknown, 12);
    assert!(!silent.alarm && silent.status == "healthy", "{silent:?}");
}
