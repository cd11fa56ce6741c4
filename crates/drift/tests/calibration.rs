//! Medians on held-out hours, and what they are for: a seasonal fleet that does not drift, and one that does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::sync::Arc;

use contract::Contract;
use contract::record::{DriftReport, Prediction};
use drift::{
    Baseline, BaselineBuilder, Calibration, CalibrationError, HeldOutRow, PaneBuilder, Policy,
    ReportRequest, Windows, calibrate,
};
use support::{HOUR, Noise, START, STEP, contract, even_baseline, prediction};

const SERVERS: usize = 12;
const STEPS_A_DAY: i64 = 288;

struct Row {
    server: String,
    profile: usize,
    bucket: i64,
    values: Vec<f32>,
}

impl Row {
    fn held_out(&self) -> HeldOutRow<'_> {
        HeldOutRow {
            server: &self.server,
            profile: self.profile,
            bucket: self.bucket,
            values: &self.values,
        }
    }
}

/// A fleet with a daily cycle and AR(1) noise (ρ = 0.9), in two profiles; from `shift_from` on the first `shifted` metrics of
/// the first profile are 15 points (2.5 sd of the noise) higher.
fn fleet(contract: &Contract, days: i64, shift_from: i64, shifted: usize) -> Vec<Row> {
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
            rows.push(Row {
                server: format!("s{server}"),
                profile,
                bucket,
                values,
            });
        }
    }
    rows
}

/// Forecasts that know the cycle but not the noise.
fn forecasts(contract: &Contract, from: i64, to: i64) -> impl Iterator<Item = Prediction> {
    let issued = (from..to).step_by(STEP as usize);
    issued
        .flat_map(|issued_at| (0..SERVERS).map(move |server| (issued_at, server)))
        .map(|(issued_at, server)| {
            prediction(contract, &format!("s{server}"), "m1", issued_at, |step| {
                let ahead = (issued_at - START) / STEP + step as i64 - 1;
                (40.0 + 10.0 * (ahead as f64 / STEPS_A_DAY as f64 * std::f64::consts::TAU).sin())
                    as f32
            })
        })
}

fn trained(
    contract: &Arc<Contract>,
    rows: &[Row],
    days: i64,
    held_out: i64,
) -> (Baseline, Calibration) {
    let mut builder = BaselineBuilder::new(contract);
    let cut = START + days * 24 * HOUR;
    for row in rows.iter().filter(|row| row.bucket < cut) {
        builder.add(row.profile, &row.values);
    }
    let mut baseline = builder.finish("b1");
    let end = cut + held_out * 24 * HOUR;
    let held = rows
        .iter()
        .filter(|row| (cut..end).contains(&row.bucket))
        .map(Row::held_out);
    let calibration = calibrate(
        contract,
        &mut baseline,
        "m1",
        held,
        forecasts(contract, cut, end),
    )
    .unwrap();
    (baseline, calibration)
}

/// A report every half hour from `from` on; its panes reach back a day before.
fn replay(
    contract: &Arc<Contract>,
    baseline: &Baseline,
    rows: &[Row],
    from: i64,
) -> Vec<DriftReport> {
    let mut builder =
        PaneBuilder::new(Arc::clone(contract), Arc::new(baseline.clone()), 0, None).unwrap();
    let mut windows = Windows::new(Arc::clone(contract));
    let mut reports = Vec::new();
    let begin = from - 24 * HOUR;
    for forecast in forecasts(contract, begin - 8 * HOUR, begin) {
        builder.forecast(&forecast);
    }
    let mut last = begin;
    for row in rows.iter().filter(|row| row.bucket >= begin) {
        if row.bucket > last {
            for pane in builder.close_before(row.bucket) {
                windows.add(&pane);
            }
            for forecast in forecasts(contract, row.bucket, row.bucket + STEP) {
                builder.forecast(&forecast);
            }
            last = row.bucket;
            if last >= from && last % (HOUR / 2) == 0 {
                let request = ReportRequest {
                    at_ms: last,
                    model_version: "m1",
                    policy: Policy::SLA,
                };
                reports.push(windows.report(&request, baseline).unwrap());
            }
        }
        builder.row(&row.server, row.profile, row.bucket, 0, &row.values);
    }
    reports
}

#[test]
fn a_shift_is_seen_and_named_and_quiet_days_are_mostly_quiet() {
    let linborg = contract("linborg");
    let shift_from = START + 6 * 24 * HOUR;
    let rows = fleet(&linborg, 7, shift_from, 1);
    let (baseline, calibration) = trained(&linborg, &rows, 3, 2);
    // The first full hour with half of its panes, and the first with nine tenths of a day.
    assert_eq!(
        calibration,
        Calibration {
            hours_of_hour: 48,
            hours_of_day: 27
        }
    );
    let usual = baseline.medians.hour.unwrap();
    assert!(
        usual.dss > 0.3,
        "an hour of a cycle is far from the day: {usual:?}"
    );
    assert!(
        baseline.medians.day.unwrap().dss < 0.15,
        "{:?}",
        baseline.medians.day
    );

    let reports = replay(&linborg, &baseline, &rows, START + 5 * 24 * HOUR);
    let (before, after): (Vec<_>, Vec<_>) = reports
        .into_iter()
        .partition(|report| report.at <= shift_from);
    let alarms = before.iter().filter(|report| report.alarm).count();
    println!("quiet: {alarms} alarms in {} reports", before.len());
    assert!(alarms * 5 <= before.len(), "{alarms} of {}", before.len());
    // What drives it is named, once half a day of it is in the day's window.
    let late: Vec<_> = after
        .iter()
        .filter(|report| report.at >= shift_from + 12 * HOUR)
        .collect();
    let named = late.iter().filter(|report| {
        let first = &report.metrics[0];
        (first.profile.as_str(), first.metric.as_str())
            == (linborg.profiles[0].name.as_str(), "cpu_user_pct")
    });
    let named = named.count();
    assert!(
        named * 10 >= late.len() * 9,
        "named in {named} of {}",
        late.len()
    );
    let mean = |reports: &[DriftReport]| {
        reports.iter().map(|report| report.score).sum::<f64>() / reports.len() as f64
    };
    println!(
        "mean score before {:.3}, after {:.3}",
        mean(&before),
        mean(&after)
    );
    assert!(mean(&after) > mean(&before) + 0.02);
}

#[test]
fn a_profile_that_changes_as_a_whole_is_an_alarm_within_two_hours() {
    let linborg = contract("linborg");
    let shift_from = START + 5 * 24 * HOUR + 3 * HOUR;
    let rows = fleet(&linborg, 6, shift_from, linborg.num_metrics());
    let (baseline, _) = trained(&linborg, &rows, 3, 2);
    let reports = replay(&linborg, &baseline, &rows, START + 5 * 24 * HOUR);
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

#[test]
fn the_median_hour_has_no_excess() {
    let linborg = contract("linborg");
    let rows = fleet(&linborg, 3, i64::MAX, 0);
    let (baseline, _) = trained(&linborg, &rows, 1, 2);
    let median = baseline.medians.hour.unwrap();
    // The very same hours, judged by the service's code: half of them lie at or above each median.
    let reports = replay(&linborg, &baseline, &rows, START + 2 * 24 * HOUR);
    let above = reports
        .iter()
        .filter(|report| report.windows[0].dss >= median.dss)
        .count();
    assert!(
        (reports.len() / 4..=3 * reports.len() / 4).contains(&above),
        "{above} of {}",
        reports.len()
    );
}

#[test]
fn less_than_a_day_gives_no_daily_median() {
    let linborg = contract("linborg");
    let rows = fleet(&linborg, 1, i64::MAX, 0);
    let mut baseline = even_baseline(&linborg, "b1");
    let half = rows
        .iter()
        .filter(|row| row.bucket < START + 12 * HOUR)
        .map(Row::held_out);
    let calibration = calibrate(&linborg, &mut baseline, "m1", half, []).unwrap();
    assert_eq!(
        calibration,
        Calibration {
            hours_of_hour: 12,
            hours_of_day: 0
        }
    );
    assert_eq!(baseline.medians.day, None);
    assert_eq!(baseline.medians.hour.unwrap().per, None);
    assert_eq!(baseline.cell(0, 0).unwrap().usual[1], None);
}

#[test]
fn nothing_held_out() {
    let linborg = contract("linborg");
    let mut baseline = even_baseline(&linborg, "b1");
    assert_eq!(
        calibrate(&linborg, &mut baseline, "m1", [], []),
        Ok(Calibration::default())
    );
    assert_eq!((baseline.medians.hour, baseline.medians.day), (None, None));
}

#[test]
fn rows_out_of_order_or_of_another_contract() {
    let linborg = contract("linborg");
    let values = vec![1.0; linborg.num_metrics()];
    let row = |bucket| HeldOutRow {
        server: "a",
        profile: 0,
        bucket,
        values: &values,
    };
    let check = |rows: Vec<HeldOutRow<'_>>, expected: CalibrationError| {
        let mut baseline = even_baseline(&linborg, "b1");
        assert_eq!(
            calibrate(&linborg, &mut baseline, "m1", rows, []),
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
    // A gap of many years is no reason to judge each hour of it.
    let mut baseline = even_baseline(&linborg, "b1");
    let far = vec![row(START), row(START + 50 * 365 * 24 * HOUR)];
    assert_eq!(
        calibrate(&linborg, &mut baseline, "m1", far, []),
        Ok(Calibration::default())
    );
    let mut foreign = even_baseline(&contract("vm"), "b1");
    let refused = calibrate(&linborg, &mut foreign, "m1", [], []);
    assert!(
        matches!(refused, Err(CalibrationError::Baseline(_))),
        "{refused:?}"
    );
}
