//! The drawings of the report, each from the figures it shows.

use std::fmt::Write as _;

use tft::EpochInfo;
use tft::eval::MetricReport;

use super::{Fan, Weight};
use crate::html::bars::{Bar, bars, centre, name, rows};
use crate::html::svg::{Anchor, Frame, band, grid, line, number, range, text};

const WIDTH: f64 = 640.0;
/// Room for names at the left.
const NAMES: f64 = 170.0;

/// Training and validation loss by epoch.
pub(super) fn losses(history: &[EpochInfo]) -> String {
    let epoch = |e: &EpochInfo| e.epoch as f64;
    let values = history.iter().flat_map(|e| [e.train_loss, e.val_loss]);
    let frame = Frame {
        width: WIDTH,
        height: 240.0,
        margin: [56.0, 12.0, 12.0, 34.0],
        x: [1.0, history.last().map_or(1.0, epoch)],
        y: range(values),
    };
    let of = |loss: fn(&EpochInfo) -> f64| -> Vec<(f64, Option<f64>)> {
        history.iter().map(|e| (epoch(e), Some(loss(e)))).collect()
    };
    let content = [
        grid(&frame),
        line(&frame, "train", &of(|e| e.train_loss)),
        line(&frame, "model", &of(|e| e.val_loss)),
        epochs(&frame, history),
    ];
    frame.svg("Loss by epoch", &content.concat())
}

fn epochs(frame: &Frame, history: &[EpochInfo]) -> String {
    let every = history.len().div_ceil(10).max(1);
    let mut labels = String::new();
    for epoch in history.iter().step_by(every).map(|e| e.epoch) {
        let (x, y) = (frame.x(epoch as f64), frame.height - 16.0);
        labels.push_str(&text(x, y, Anchor::Middle, &epoch.to_string()));
    }
    labels
        + &text(
            frame.width / 2.0,
            frame.height - 2.0,
            Anchor::Middle,
            "epoch",
        )
}

/// Share of the actual values below each quantile, one row a metric; vertical lines at the nominal shares.
pub(super) fn calibration(metrics: &[(String, MetricReport)]) -> String {
    let frame = rows(metrics.len(), NAMES, 26.0, [0.0, 1.0]);
    let mut content = String::new();
    for nominal in [0.1, 0.5, 0.9] {
        let x = frame.x(nominal);
        let _ = write!(
            content,
            r#"<path class="nominal" d="M{x:.1} 4V{:.1}"/>"#,
            frame.height - 22.0
        );
        content.push_str(&text(
            x,
            frame.height - 8.0,
            Anchor::Middle,
            &number(nominal),
        ));
    }
    for (row, (metric_name, metric)) in metrics.iter().enumerate() {
        let y = centre(row);
        content.push_str(&name(&frame, row, metric_name));
        for (class, share) in ["low", "mid", "high"].into_iter().zip(metric.calibration) {
            let Some(share) = share.filter(|s| s.is_finite()) else {
                continue;
            };
            let x = frame.x(share);
            let _ = write!(
                content,
                r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="4.5"/>"#
            );
        }
    }
    frame.svg("Share of actual values below each quantile", &content)
}

/// Weights of the inputs, the greatest first.
pub(super) fn weights(weights: &[Weight]) -> String {
    let mut sorted: Vec<&Weight> = weights.iter().filter(|w| w.weight.is_finite()).collect();
    sorted.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let of = |weight: &&Weight| Bar {
        name: weight.name.clone(),
        length: weight.weight.into(),
        note: number(weight.weight.into()),
    };
    let sorted: Vec<Bar> = sorted.iter().map(of).collect();
    bars("Weights of the inputs", NAMES, &sorted, None)
}

/// One metric of one server: the past, the forecast and what came.
pub(super) fn fan(fan: &Fan) -> String {
    let hours = |step: f64| step * f64::from(fan.step_seconds) / 3600.0;
    let (past, ahead) = (fan.context.len() as f64, fan.p50.len() as f64);
    let known = fan.context.iter().chain(&fan.actual).flatten();
    let shown = known.chain(&fan.p10).chain(&fan.p90);
    let frame = Frame {
        width: WIDTH,
        height: 190.0,
        margin: [56.0, 10.0, 12.0, 22.0],
        x: [hours(-past), hours(ahead)],
        y: range(shown.map(|&v| f64::from(v))),
    };
    let points = |values: &[Option<f32>], from: f64| -> Vec<(f64, Option<f64>)> {
        let place = |(at, value): (usize, &Option<f32>)| {
            (hours(from + at as f64 + 0.5), value.map(f64::from))
        };
        values.iter().enumerate().map(place).collect()
    };
    let x: Vec<f64> = (0..fan.p50.len())
        .map(|at| hours(at as f64 + 0.5))
        .collect();
    let median: Vec<Option<f32>> = fan.p50.iter().copied().map(Some).collect();
    let mut content = grid(&frame);
    content.push_str(&band(&frame, "band", &x, &fan.p10, &fan.p90));
    content.push_str(&line(&frame, "model", &points(&median, 0.0)));
    content.push_str(&line(&frame, "actual", &points(&fan.context, -past)));
    content.push_str(&line(&frame, "actual", &points(&fan.actual, 0.0)));
    let _ = write!(
        content,
        r#"<path class="nominal" d="M{:.1} 4V{:.1}"/>"#,
        frame.x(0.0),
        frame.height - 22.0
    );
    for (at, anchor) in [
        (hours(-past), Anchor::Start),
        (0.0, Anchor::Middle),
        (hours(ahead), Anchor::End),
    ] {
        let label = format!("{at:+.0} h").replace("+0 h", "issued");
        content.push_str(&text(frame.x(at), frame.height - 6.0, anchor, &label));
    }
    frame.svg(&format!("{} of {}", fan.metric, fan.server), &content)
}
