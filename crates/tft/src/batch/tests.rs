//! Assembled inputs against numbers worked out by hand.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::data::{Columns, Context, Series};
use crate::net::tests::small;

/// One metric of interest (the first of three), hours 0–39; the horizon of a forecast at 30 is there in part.
fn columns() -> Columns {
    let value = |hour: usize| match hour {
        10 | 29 | 31 => f32::NAN,
        hour => hour as f32,
    };
    let values = (0..36)
        .flat_map(|hour| [value(hour), f32::NAN, 5.0])
        .collect();
    let states = Some((0..36).map(|hour| u8::from(hour == 26)).collect());
    let series = Series {
        server: "a".into(),
        profile: 1,
        start_ms: 0,
        values,
        states,
    };
    Columns::of(&series, 3).unwrap()
}

fn assembler() -> Assembler {
    let normalisation = Normalisation {
        floor: vec![2.0; 3],
        spread: vec![8.0; 3],
        centre: vec![1.0; 3],
        widths: vec![[1.0; 2]; 3],
    };
    Assembler {
        shape: small(),
        normalisation,
        step_ms: 3_600_000,
        time_zone: chrono_tz::UTC,
        known: vec![contract::server_id("a")],
    }
}

#[test]
fn gaps_are_zero_with_their_bit_zero() {
    let (columns, a) = (columns(), assembler());
    // Twelve hours of context only: the first three tokens are padding.
    let batch = a.assemble(
        &[Source::Columns {
            columns: &columns,
            issue: 12,
        }],
        true,
        |_| false,
    );
    let width = a.shape.past_features();
    let token = |metric: usize, token: usize| {
        let at = (metric * a.shape.past() + token) * width;
        &batch.past[at..at + width]
    };
    for padding in 0..3 {
        assert_eq!(token(0, padding), vec![0.0; width]);
    }
    // Hours 8–11 with a gap at 10. Hours 0–11 without 10: median 5, P10 1, P90 9.
    let z = |hour: f32| ((hour - 5.0) / 8.0).asinh();
    let found = token(0, 5);
    for (value, expected) in found
        .iter()
        .zip([z(8.0), z(9.0), 0.0, z(11.0), 1.0, 1.0, 0.0, 1.0])
    {
        assert!((value - expected).abs() < 1e-6, "{found:?}");
    }
    // A metric that is never there, and one that never changes.
    assert!(a.shape.past() == 6 && (0..6).all(|t| token(1, t) == vec![0.0; width]));
    assert_eq!(token(2, 5)[..8], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert!(
        batch
            .past
            .iter()
            .chain(&batch.future)
            .chain(&batch.statics)
            .all(|v| v.abs() < 20.0)
    );
}

#[test]
fn targets_and_what_they_lean_on() {
    let (columns, a) = (columns(), assembler());
    let batch = a.assemble(
        &[Source::Columns {
            columns: &columns,
            issue: 30,
        }],
        true,
        |_| false,
    );
    // Context: hours 6–29 without 10 and 29.
    let scale = batch.scales[0];
    let u = |hour: f32| (hour - scale.median) / scale.scale;
    let horizon = &batch.target[..8];
    for (value, expected) in
        horizon
            .iter()
            .zip([u(30.0), 0.0, u(32.0), u(33.0), u(34.0), u(35.0), 0.0, 0.0])
    {
        assert!((value - expected).abs() < 1e-6, "{horizon:?}");
    }
    assert_eq!(batch.weight[..8], [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    // The same hours yesterday: 6 … 13; the gap at 10 becomes the last value, 28.
    let yesterday = &batch.recent[..8];
    for (value, hour) in yesterday
        .iter()
        .zip([6.0, 7.0, 8.0, 9.0, 28.0, 11.0, 12.0, 13.0])
    {
        assert!((value - u(hour)).abs() < 1e-6, "{yesterday:?}");
    }
    assert!((batch.anchors[2 * 3] - u(28.0)).abs() < 1e-6);
    // An hour has one step here: that of the last hour is absent, 26, 27 and 28 are the others of the last four.
    let plane = 3 * 8;
    let hours = [1, 2].map(|k| batch.recent[k * plane + 7]);
    assert!(
        (hours[0] - u(28.0)).abs() < 1e-6 && (hours[1] - u(27.0)).abs() < 1e-6,
        "{hours:?}"
    );
    // The third metric is there in six steps; weights are the objective's.
    assert_eq!(batch.total, 5.0 + 6.0);
    let mut weighed = batch;
    weighed.weigh(&a.shape, |_, metric, scale| (metric + 1) as f32 * scale);
    assert_eq!(weighed.weight[0], scale.scale);
    assert_eq!(weighed.weight[16], 3.0 * weighed.scales[2].scale);
    assert_eq!(weighed.weight[1], 0.0);
}

#[test]
fn states_profiles_and_ids() {
    let (columns, a) = (columns(), assembler());
    let windows = [30, 30].map(|issue| Source::Columns {
        columns: &columns,
        issue,
    });
    let batch = a.assemble(&windows, false, |window| window == 1);
    let width = a.shape.past_features();
    let row = |token: usize| &batch.past[((3 * 6 + token) * 2) * width..][CALENDAR..CALENDAR + 3];
    // Tokens end at hours 9, 13, …, 29; the last state of the sixth one is that of hour 29.
    assert_eq!(
        (row(0), row(5)),
        (&[1.0, 0.0, 0.0][..], &[1.0, 0.0, 0.0][..])
    );
    let other = Context {
        states: Some(vec![0, 1, 9]),
        values: vec![1.0; 9],
        server: "b".into(),
        ..Context::default()
    };
    let rows = a.assemble(&[Source::Rows(&other)], false, |_| false);
    let last = &rows.past[(3 * 6 + 5) * width..][CALENDAR..CALENDAR + 3];
    assert_eq!(last, [0.0, 1.0, 0.0], "the last state that is known");
    let first = &rows.past[(3 * 6) * width..][CALENDAR..CALENDAR + 3];
    assert_eq!(first, [0.0, 0.0, 1.0], "unknown");
    assert_eq!(batch.profile, [0.0, 1.0, 0.0, 1.0]);
    assert_eq!(batch.identity[..8].iter().sum::<f32>(), 1.0);
    assert_eq!(batch.identity[8..], [0.0; 8]);
    assert_eq!(rows.identity, [0.0; 8], "a server that was never seen");
}
