//! Merging in any order, with repeats and reports in between, against summing anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use contract::Fixed;
use contract::record::{HorizonError, Pane};
use drift::shift::detector::Detector;
use drift::{Baseline, PaneOutcome, Windows};
use proptest::prelude::*;
use support::{DAY, HOUR, Held, Noise, START, STEP, contract, judged, pane, rows};

/// One thing that happens to a merger.
#[derive(Debug, Clone)]
enum Event {
    Pane {
        partition: i32,
        profile: usize,
        bucket: i64,
        second_baseline: bool,
        values: Vec<f32>,
        errors: Vec<(u8, u8, f32)>,
    },
    Report {
        hours: i64,
        second_baseline: bool,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let pane = (
        (0..3_i32, 0..2_usize, 0..400_i64, any::<bool>()),
        prop::collection::vec(0.0_f32..100.0, 1..4),
        prop::collection::vec((0..4_u8, 0..3_u8, 0.0_f32..9.0), 0..3),
    );
    let pane = pane.prop_map(
        |((partition, profile, bucket, second_baseline), values, errors)| Event::Pane {
            partition,
            profile,
            bucket,
            second_baseline,
            values,
            errors,
        },
    );
    let report = (20..34_i64, any::<bool>()).prop_map(|(hours, second_baseline)| Event::Report {
        hours,
        second_baseline,
    });
    prop::collection::vec(prop_oneof![6 => pane, 1 => report], 1..60)
}

/// A baseline that knows quiet days.
fn learned(id: &str) -> Baseline {
    static BASELINE: LazyLock<Baseline> = LazyLock::new(|| {
        let linborg = contract("linborg");
        let mut noise = Noise(3);
        let mut held = Vec::new();
        for step in 0..4 * 288_i64 {
            for profile in 0..2 {
                for server in 0..3 {
                    let values =
                        (0..linborg.num_metrics()).map(|_| (50.0 + 5.0 * noise.normal()) as f32);
                    held.push(Held {
                        server: format!("s{server}"),
                        profile,
                        bucket: START - 4 * DAY + step * STEP,
                        values: values.collect(),
                    });
                }
            }
        }
        let (mut baseline, history) = Baseline::learn("b", &linborg, rows(&held));
        baseline.detector = Some(Detector::learn(&history, linborg.time_zone, STEP));
        baseline
    });
    let mut baseline = BASELINE.clone();
    baseline.id = id.to_owned();
    baseline
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However panes came, were repeated and reported on: what counts is the last pane of each key.
    #[test]
    fn the_same_panes_give_the_same_bits(events in events(), seed in any::<u64>()) {
        let vm = contract("linborg");
        let baselines = ["b1", "b2"].map(learned);
        let mut windows = Windows::new(Arc::clone(&vm));
        let mut last: BTreeMap<(i64, i32, usize, bool), Pane> = BTreeMap::new();
        for event in events {
            match event {
                Event::Pane { partition, profile, bucket, second_baseline, values, errors } => {
                    let bucket = START + bucket * STEP;
                    let mut pane = pane(&vm, &baselines[usize::from(second_baseline)], partition, profile, bucket, &values);
                    for (horizon, version, error) in errors {
                        pane.metrics[0].errors.push(HorizonError {
                            horizon_minutes: drift::HORIZON_MINUTES[usize::from(horizon)],
                            model_version: format!("m{version}"),
                            relative_n: 1,
                            relative_sum: Fixed::from_f64(f64::from(error)),
                            abs_n: 1,
                            abs_sum: Fixed::from_f64(f64::from(error) * 3.0),
                            actual_sum: Fixed::from_f64(3.0),
                        });
                    }
                    let key = (bucket, partition, profile, second_baseline);
                    match windows.add(&pane) {
                        PaneOutcome::Added | PaneOutcome::Replaced => { last.insert(key, pane); }
                        PaneOutcome::TooOld => {}
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Event::Report { hours, second_baseline } => {
                    let baseline = &baselines[usize::from(second_baseline)];
                    let at_ms = START + hours * HOUR;
                    let mut kept: Vec<Pane> = last.values().cloned().collect();
                    // Any order: sort by a hash of the place.
                    kept.sort_by_key(|pane| (pane.bucket as u64 ^ pane.partition as u64).wrapping_mul(seed | 1));
                    let mut anew = Windows::new(Arc::clone(&vm));
                    for pane in &kept {
                        anew.add(pane);
                    }
                    let expected = judged(&mut anew, baseline, at_ms);
                    prop_assert_eq!(format!("{:?}", judged(&mut windows, baseline, at_ms)), format!("{expected:?}"));
                    last.retain(|(bucket, ..), _| *bucket >= at_ms - 28 * HOUR);
                }
            }
        }
    }
}
