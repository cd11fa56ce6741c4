//! The reports of the last hours or days, read from the topic.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::Result;
use bus::{RecordRef, Start};
use contract::Topic;
use contract::codec;
use contract::record::{DriftReport, ServerDrift, WindowMeasures};

use crate::commands::App;
use crate::kafka::{self, Until};
use crate::shutdown::Shutdown;

const HOUR_MS: i64 = 3_600_000;

/// Most reports that are kept: a week at five minutes, some 2 KB each. What is older is read and forgotten.
pub(super) const MAX_HOURS: i64 = 168;
const MAX_POINTS: usize = 12 * MAX_HOURS as usize;

/// Strengths below it are not kept: a quarter of an alarm is a quiet day's noise.
const MIN_STRENGTH: f64 = 0.25;

/// What is kept of each report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) at: i64,
    pub(super) status: String,
    pub(super) score: f64,
    pub(super) alarm: bool,
    pub(super) model_version: String,
    pub(super) windows: Vec<WindowMeasures>,
    /// Of an alarm only.
    pub(super) recommendation: Option<String>,
    /// Profile, metric and strength of what moves.
    pub(super) strengths: Vec<(String, String, f64)>,
    pub(super) servers: Vec<ServerDrift>,
}

impl Point {
    pub(super) fn of(report: &DriftReport) -> Point {
        let moving = report.metrics.iter();
        let moving = moving.filter(|metric| metric.strength >= MIN_STRENGTH);
        Point {
            at: report.at,
            status: report.status.clone(),
            score: report.score,
            alarm: report.alarm,
            model_version: report.model_version.clone(),
            windows: report.windows.clone(),
            recommendation: report.alarm.then(|| report.recommendation.clone()),
            strengths: moving
                .map(|m| (m.profile.clone(), m.metric.clone(), m.strength))
                .collect(),
            servers: report.server_drift.clone(),
        }
    }
}

/// The last report, and those before it.
#[derive(Debug)]
pub(super) struct History {
    pub(super) last: DriftReport,
    /// In order of time, one for each moment, the last one included.
    pub(super) points: Vec<Point>,
}

/// The newest report that decodes, and what came within so many hours before it; `None` of an empty topic.
pub(super) async fn read(app: &App, hours: i64, shutdown: &Shutdown) -> Result<Option<History>> {
    let settings = kafka::settings(&app.settings, "drift");
    let topic = Topic::Drift.full(&settings.prefix);
    let mut newest: Option<DriftReport> = None;
    let mut points = BTreeMap::new();
    let keep = |record: &RecordRef<'_>| {
        match record.value.map(codec::decode::<DriftReport>) {
            Some(Ok(report)) => {
                points.insert(report.at, Point::of(&report));
                if points.len() > MAX_POINTS {
                    points.pop_first();
                }
                newest = Some(report);
            }
            Some(Err(error)) => {
                tracing::warn!(offset = record.offset, %error, "skipped a report that does not decode");
            }
            None => {}
        }
        Ok(ControlFlow::Continue(()))
    };
    let span = (Start::Beginning, Until::End);
    kafka::read_topic(&settings, &topic, span, shutdown, keep).await?;
    Ok(newest.map(|last| {
        // A clock that jumped may have left reports of a time that is not yet.
        let shown = last.at - hours * HOUR_MS..=last.at;
        let points = points.range(shown).map(|(_, point)| point.clone());
        History {
            points: points.collect(),
            last,
        }
    }))
}

/// From when to when it was an alarm, as indices of points; the end is the first that was none.
pub(super) fn alarms(points: &[Point]) -> Vec<std::ops::Range<usize>> {
    let mut alarms: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, _) in points.iter().enumerate().filter(|(_, point)| point.alarm) {
        match alarms.last_mut() {
            Some(alarm) if alarm.end == index => alarm.end = index + 1,
            _ => alarms.push(index..index + 1),
        }
    }
    alarms
}
