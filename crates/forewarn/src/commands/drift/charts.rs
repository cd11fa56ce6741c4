//! The drawings of the drift report, each from the points it shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::DateTime;
use contract::record::{DriftReport, ServerDrift, WindowMeasures};
use drift::{Limits, Policy};

use super::history::{Point, alarms};
use crate::html::bars::{Bar, bars, centre, name, rows};
use crate::html::svg::{Anchor, Frame, grid, line, text};

const WIDTH: f64 = 640.0;
const HOUR_MS: i64 = 3_600_000;
/// Room for profile and metric at the left.
const NAMES: f64 = 250.0;
/// Rows of a list.
const MAX_ROWS: usize = 16;
/// Columns of the strengths over time.
const SLOTS: usize = 96;
/// A score is drawn up to so many times the critical one, a measure up to so many times its limit: one wild hour shall not flatten
/// the rest.
const HIGHEST: f64 = 5.0;

/// What all drawings over time share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times<'a> {
    pub(super) points: &'a [Point],
    pub(super) step_ms: i64,
}

impl Times<'_> {
    fn frame(&self, height: f64, highest: f64) -> Frame {
        let first = self.points.first().map_or(0, |point| point.at);
        let last = self.points.last().map_or(0, |point| point.at);
        Frame {
            width: WIDTH,
            height,
            margin: [46.0, 10.0, 64.0, 24.0],
            x: [first as f64, last as f64],
            y: [0.0, highest],
        }
    }

    /// A value of each report; where reports are missing, nothing.
    fn values(
        &self,
        highest: f64,
        value: impl Fn(&Point) -> Option<f64>,
    ) -> Vec<(f64, Option<f64>)> {
        let mut values = Vec::with_capacity(self.points.len());
        let mut before: Option<i64> = None;
        for point in self.points {
            if before.is_some_and(|before| point.at - before > 3 * self.step_ms) {
                values.push((point.at as f64, None));
            }
            before = Some(point.at);
            values.push((point.at as f64, value(point).map(|v| v.min(highest))));
        }
        values
    }

    /// Where it was an alarm.
    fn shades(&self, frame: &Frame) -> String {
        let [_, top, _, bottom] = frame.margin;
        let mut shades = String::new();
        for alarm in alarms(self.points) {
            let at = |index: usize| self.points.get(index).map(|point| frame.x(point.at as f64));
            let (Some(from), Some(last)) = (at(alarm.start), at(alarm.end - 1)) else {
                continue;
            };
            let to = at(alarm.end).unwrap_or(last);
            let _ = write!(
                shades,
                r#"<rect class="alarm" x="{from:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/>"#,
                (to - from).max(2.0),
                frame.height - top - bottom
            );
        }
        shades
    }

    /// Another model was served from here on.
    fn promotions(&self, frame: &Frame) -> String {
        let mut lines = String::new();
        let pairs = self.points.iter().zip(self.points.iter().skip(1));
        for (_, point) in pairs.filter(|(a, b)| a.model_version != b.model_version) {
            let x = frame.x(point.at as f64);
            let _ = write!(
                lines,
                r#"<path class="nominal" d="M{x:.1} 10V{:.1}"/>"#,
                frame.height - 24.0
            );
            lines.push_str(&text(x + 3.0, 18.0, Anchor::Start, "new model"));
        }
        lines
    }

    /// Hours or days in UTC, some three to eight.
    fn axis(&self, frame: &Frame) -> String {
        let [from, to] = frame.x;
        let hours = (to - from) / HOUR_MS as f64;
        let every = [1, 3, 6, 12, 24, 48].into_iter();
        let every = every.clone().find(|&every| hours / f64::from(every) <= 8.0);
        let every = i64::from(every.unwrap_or(48)) * HOUR_MS;
        let (from, to) = (from as i64, to as i64);
        let mut labels = String::new();
        let first = from + (every - from.rem_euclid(every)) % every;
        for at in (0..16)
            .map(|n| first + n * every)
            .take_while(|at| *at <= to)
        {
            let label = DateTime::from_timestamp_millis(at).map(|at| at.format("%b %-d %H:%M"));
            let label = label.map(|label| label.to_string()).unwrap_or_default();
            let x = frame.x(at as f64);
            labels.push_str(&text(x, frame.height - 6.0, Anchor::Middle, &label));
        }
        labels
    }
}

/// The score against what is a warning, an alarm and critical.
pub(super) fn score(times: &Times<'_>, policy: &Policy) -> String {
    let scores = times.points.iter().map(|point| point.score);
    let highest = scores.fold(1.4 * policy.critical, f64::max);
    let highest = highest.min(HIGHEST * policy.critical);
    let frame = times.frame(260.0, highest);
    let content = [
        times.shades(&frame),
        grid(&frame),
        level(&frame, "warning", policy.warning, "warning"),
        level(&frame, "limit", policy.alarm, "retrain"),
        level(&frame, "limit", policy.critical, "critical"),
        times.promotions(&frame),
        line(
            &frame,
            "model",
            &times.values(highest, |point| Some(point.score)),
        ),
        times.axis(&frame),
    ];
    frame.svg("Score over time", &content.concat())
}

fn level(frame: &Frame, class: &str, value: f64, label: &str) -> String {
    let [left, _, right, _] = frame.margin;
    let (y, end) = (frame.y(value), frame.width - right);
    format!(r#"<path class="{class}" d="M{left:.1} {y:.1}H{end:.1}"/>"#)
        + &text(end + 4.0, y + 4.0, Anchor::Start, label)
}

/// One of the four measures.
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) limit: f64,
    raw: fn(&WindowMeasures) -> Option<f64>,
    calibrated: Option<fn(&WindowMeasures) -> f64>,
}

/// The four, with the limit of each.
pub(super) fn measures() -> [Measure; 4] {
    let limits = Limits::ANY_METRIC;
    [
        Measure {
            name: "PER: prediction error rate",
            limit: limits.per,
            raw: |window| window.per,
            calibrated: Some(|window| window.calibrated_per),
        },
        Measure {
            name: "DSS: distribution shift",
            limit: limits.dss,
            raw: |window| Some(window.dss),
            calibrated: Some(|window| window.calibrated_dss),
        },
        Measure {
            name: "FDS: feature drift",
            limit: limits.fds,
            raw: |window| Some(window.fds),
            calibrated: Some(|window| window.calibrated_fds),
        },
        Measure {
            name: "Anomaly rate",
            limit: limits.anomaly_rate,
            raw: |window| Some(window.anomaly_rate),
            calibrated: None,
        },
    ]
}

/// A measure, as it is in the longest window and calibrated, against its limit.
pub(super) fn measure(times: &Times<'_>, measure: &Measure) -> String {
    let raw = |point: &Point| point.windows.last().and_then(measure.raw);
    let calibrated = |point: &Point| {
        let of = measure.calibrated?;
        let values = point.windows.iter().map(of);
        values.reduce(f64::max)
    };
    let points = times.points.iter();
    let values = points.flat_map(|point| [raw(point), calibrated(point)]);
    let highest = values.flatten().fold(1.4 * measure.limit, f64::max);
    let highest = highest.min(HIGHEST * measure.limit);
    let frame = times.frame(180.0, highest);
    let content = [
        times.shades(&frame),
        grid(&frame),
        level(&frame, "limit", measure.limit, "limit"),
        line(&frame, "raw", &times.values(highest, raw)),
        line(&frame, "model", &times.values(highest, calibrated)),
        times.axis(&frame),
    ];
    frame.svg(measure.name, &content.concat())
}

/// How strongly each metric of each profile moves now, the strongest first.
pub(super) fn strengths(report: &DriftReport) -> String {
    let moving = report.metrics.iter().filter(|metric| metric.strength > 0.0);
    let shown: Vec<Bar> = moving
        .take(MAX_ROWS)
        .map(|metric| {
            let size = metric.size_sd.map(|sd| format!(" {sd:+.1} sd"));
            Bar {
                name: format!("{} {}", metric.profile, metric.metric),
                length: metric.strength,
                note: format!(
                    "{:.2} {}{}",
                    metric.strength,
                    metric.signal,
                    size.unwrap_or_default()
                ),
            }
        })
        .collect();
    bars("Strength by profile and metric", NAMES, &shown, Some(1.0))
}

/// When each metric of each profile moved; the strongest of all time first.
pub(super) fn strengths_over_time(times: &Times<'_>) -> Option<String> {
    let (first, last) = (times.points.first()?.at, times.points.last()?.at);
    let slot_of =
        |at: i64| ((at - first) as f64 / (last - first).max(1) as f64 * SLOTS as f64) as usize;
    let mut cells: BTreeMap<(&str, &str), [f64; SLOTS]> = BTreeMap::new();
    for point in times.points {
        for (profile, metric, strength) in &point.strengths {
            let slots = cells.entry((profile, metric)).or_insert([0.0; SLOTS]);
            if let Some(slot) = slots.get_mut(slot_of(point.at).min(SLOTS - 1)) {
                *slot = slot.max(*strength);
            }
        }
    }
    let most = |slots: &[f64; SLOTS]| slots.iter().copied().fold(0.0, f64::max);
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_by(|(_, a), (_, b)| most(b).total_cmp(&most(a)));
    cells.truncate(MAX_ROWS);
    if cells.is_empty() {
        return None;
    }
    let mut frame = rows(cells.len(), NAMES, 24.0, [0.0, SLOTS as f64]);
    let mut content = String::new();
    for (row, ((profile, metric), slots)) in cells.iter().enumerate() {
        content.push_str(&name(&frame, row, &format!("{profile} {metric}")));
        for (slot, &strength) in slots.iter().enumerate().filter(|(_, s)| **s > 0.0) {
            let class = if strength > 1.0 { "over" } else { "bar" };
            let (from, to) = (frame.x(slot as f64), frame.x(slot as f64 + 1.0));
            let _ = write!(
                content,
                r#"<rect class="{class}" x="{from:.1}" y="{:.1}" width="{:.1}" height="14" fill-opacity="{:.2}"/>"#,
                centre(row) - 7.0,
                to - from,
                strength.min(1.0)
            );
        }
    }
    frame.x = [first as f64, last as f64];
    content.push_str(&times.axis(&frame));
    Some(frame.svg("Strength by profile and metric over time", &content))
}

/// How far servers are from their own usual now.
pub(super) fn servers(servers: &[ServerDrift]) -> String {
    let shown: Vec<Bar> = servers
        .iter()
        .take(MAX_ROWS)
        .map(|server| Bar {
            name: format!("{} {}", server.server, server.metric),
            length: server.size_sd.abs(),
            note: format!("{:+.1} sd", server.size_sd),
        })
        .collect();
    bars("Servers far from their own usual", NAMES, &shown, Some(3.0))
}
