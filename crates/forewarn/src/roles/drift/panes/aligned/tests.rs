use std::sync::Arc;

use contract::Contract;
use contract::record::MetricForecast;
use drift::{Baseline, Row};

use super::*;

const STEP: i64 = 300_000;
/// Midnight of a Monday, UTC.
const START: i64 = 1_767_571_200_000;

fn contract() -> Arc<Contract> {
    Arc::new(Contract::shipped("vm").expect("a contract"))
}

fn aligned(contract: &Arc<Contract>, max_rows: usize) -> Aligned {
    let values: Vec<Vec<f32>> = (0..100_u8)
        .map(|value| vec![f32::from(value); contract.num_metrics()])
        .collect();
    let rows = values.iter().map(|values| Row {
        server: "a",
        profile: 0,
        bucket: 0,
        values,
    });
    let baseline = Arc::new(Baseline::learn("b", contract, rows).0);
    let builder = PaneBuilder::new(Arc::clone(contract), baseline, 0, None).expect("a builder");
    Aligned::with_limit(builder, None, max_rows)
}

fn prediction(contract: &Contract, step: i64) -> Prediction {
    let values = vec![40.0; contract.horizon_steps];
    let forecast = |metric: &contract::Metric| MetricForecast {
        metric: metric.name.clone(),
        p10: values.clone(),
        p50: values.clone(),
        p90: values.clone(),
    };
    Prediction {
        server: "a".to_owned(),
        issued_at: START + step * STEP,
        step_seconds: 300,
        model_version: "m".to_owned(),
        contract: contract.fingerprint().to_owned(),
        context_rows: 288,
        forecasts: contract.metrics.iter().map(forecast).collect(),
        risks: Vec::new(),
    }
}

fn row(contract: &Contract, step: i64) -> (i64, Held) {
    let held = Held {
        server: "a".to_owned(),
        profile: 0,
        offset: step,
        is_new: true,
        values: vec![50.0; contract.num_metrics()],
    };
    (START + step * STEP, held)
}

/// Reads rows and predictions of these steps in turns that `choose` makes (true: rows), each only
/// while it is wanted, else the other; the panes, and what was not counted.
fn read(
    (rows, forecasts): (std::ops::Range<i64>, std::ops::Range<i64>),
    max_rows: usize,
    mut choose: impl FnMut() -> bool,
) -> (Vec<Pane>, Skipped) {
    let contract = contract();
    let mut inputs = aligned(&contract, max_rows);
    let (mut rows, mut forecasts) = (rows.peekable(), forecasts.peekable());
    let (mut panes, mut idle) = (Vec::new(), 0);
    while rows.peek().is_some() || forecasts.peek().is_some() {
        assert!(idle < 3, "both inputs wait for each other");
        idle += 1;
        let row_first = choose() || !inputs.wants_forecasts() || forecasts.peek().is_none();
        if row_first
            && inputs.wants_rows()
            && let Some(step) = rows.next()
        {
            let (bucket, held) = row(&contract, step);
            assert!(inputs.row(bucket, held).is_ok());
            idle = 0;
        } else if inputs.wants_forecasts()
            && let Some(step) = forecasts.next()
        {
            inputs.forecast(prediction(&contract, step));
            idle = 0;
        }
        if forecasts.peek().is_none() {
            inputs.end_of_forecasts();
        }
        panes.extend(if rows.peek().is_some() {
            inputs.advance()
        } else {
            inputs.end_of_rows()
        });
        assert!(inputs.rows.num_held() <= max_rows);
        assert!(inputs.forecasts.len() <= 1);
    }
    inputs.end_of_forecasts();
    panes.extend(inputs.end_of_rows());
    panes.extend(inputs.builder.close_before(i64::MAX));
    (panes, inputs.skipped)
}

/// Rows and predictions of one step after the other: what live reading gives.
fn live(steps: i64) -> Vec<Pane> {
    let contract = contract();
    let mut inputs = aligned(&contract, 1_000);
    let mut panes = Vec::new();
    for step in 0..steps {
        inputs.forecast(prediction(&contract, step));
        let (bucket, held) = row(&contract, step);
        assert!(inputs.row(bucket, held).is_ok());
        panes.extend(inputs.advance());
    }
    panes.extend(inputs.builder.close_before(i64::MAX));
    panes
}

fn num_errors(panes: &[Pane]) -> i64 {
    panes
        .iter()
        .flat_map(|pane| &pane.metrics)
        .flat_map(|metric| &metric.errors)
        .map(|error| error.abs_n)
        .sum()
}

/// 1,000 buckets are more than three days, a day more than the builder keeps.
#[test]
fn a_backlog_whose_predictions_come_first_loses_no_error() {
    let expected = live(1_000);
    assert!(num_errors(&expected) > 20_000);
    let (panes, skipped) = read((0..1_000, 0..1_000), 50, || false);
    assert_eq!((panes, skipped), (expected, Skipped::default()));
}

#[test]
fn a_backlog_whose_rows_come_first_loses_no_error() {
    let mut turn = 0;
    let (panes, _) = read((0..1_000, 0..1_000), 50, || {
        turn += 1;
        turn % 100 != 0
    });
    assert_eq!(panes, live(1_000));
}

/// Retention has removed the rows of the first days, or the forecaster stood still.
#[test]
fn inputs_that_do_not_overlap_do_not_wait_for_each_other() {
    for (rows, forecasts) in [
        (1_000..1_100, 0..1_100),
        (0..1_100, 1_000..1_100),
        (2_000..2_100, 0..1_000),
        (0..100, 0..1_000),
        (0..100, 1_000..2_000),
    ] {
        let num_rows = rows.clone().count();
        let mut turn = 0;
        let (panes, skipped) = read((rows, forecasts), 50, || {
            turn += 1;
            turn % 2 == 0
        });
        assert_eq!((panes.len(), skipped), (num_rows, Skipped::default()));
    }
}

#[test]
fn a_row_too_many_comes_back() {
    let contract = contract();
    let mut inputs = aligned(&contract, 0);
    assert!(!inputs.wants_rows());
    for step in 0..ON_THEIR_WAY as i64 {
        let (bucket, held) = row(&contract, step);
        assert!(inputs.row(bucket, held).is_ok());
    }
    let (bucket, held) = row(&contract, 0);
    assert!(inputs.row(bucket, held).is_err());
}

#[test]
fn a_row_behind_the_last_pane_is_counted_as_late_but_not_what_is_read_again() {
    let contract = contract();
    let mut inputs = aligned(&contract, 1_000);
    for (step, is_new) in [(3, true), (1, true), (2, false)] {
        let (bucket, held) = row(&contract, step);
        assert!(inputs.row(bucket, Held { is_new, ..held }).is_ok());
        inputs.end_of_forecasts();
        inputs.advance();
        inputs.builder.close_before(START + 4 * STEP);
    }
    assert_eq!(
        inputs.skipped,
        Skipped {
            late: 1,
            ..Skipped::default()
        }
    );
}

#[test]
fn any_order_of_reading_gives_the_same_panes() {
    let expected = live(400);
    for seed in 1..=12_u64 {
        // Knuth's MMIX generator; runs of one input are as long as the seed.
        let (mut noise, mut turn) = (seed, 0);
        let (panes, skipped) = read((0..400, 0..400), 20, || {
            turn += 1;
            if turn % seed == 0 {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
            }
            noise >> 63 == 1
        });
        assert_eq!(
            (panes, skipped),
            (expected.clone(), Skipped::default()),
            "seed {seed}"
        );
    }
}
