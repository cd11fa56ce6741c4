//! The drift report: both windows judged, calibrated and put into words.
//!
//! A window counts for the score when it is covered and its usual values are known: part of a day is not comparable with
//! whole days, since the daily cycle does not cancel out in it. `windows` of the report holds the windows that count, so
//! that the score is always the largest of their calibrated scores; without any it is 0 and the confidence too.

use contract::record::{DriftReport, MetricDrift, WindowMeasures};

use crate::baseline::{Baseline, BaselineError, Usual};
use crate::judge::{Judged, JudgedCell, MIN_VALUES, judge};
use crate::measures::{self, Measures, Policy, scale};
use crate::windows::{Presence, WINDOW_MINUTES, Windows};
use crate::words;

/// Share of a window's buckets that must have a pane for the window to count: half of the hour, nearly all of the day.
pub const MIN_COVERAGE: [f64; 2] = [0.5, 0.9];

/// With this many rows a window's confidence is half of what it is with very many: about a morning of one server.
const HALF_CONFIDENCE_ROWS: f64 = 50.0;

/// What a report is about, beside the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReportRequest<'a> {
    /// End of the windows, ms; rounded down to the grid.
    pub at_ms: i64,
    /// The model whose errors count. Those of others in flight do not.
    pub model_version: &'a str,
    /// What is an alarm.
    pub policy: Policy,
}

/// One window with all that is known about it.
pub(crate) struct Window {
    pub(crate) index: usize,
    pub(crate) judged: Judged,
    pub(crate) coverage: f64,
    /// In excess of what is usual; `None` for a window that does not count.
    pub(crate) excess: Option<Measures>,
}

impl Windows {
    /// Reports on the windows that end at `request.at_ms`.
    ///
    /// # Errors
    /// [`BaselineError::OtherContract`].
    pub fn report(
        &mut self,
        request: &ReportRequest<'_>,
        baseline: &Baseline,
    ) -> Result<DriftReport, BaselineError> {
        let windows = self.judge(request, baseline)?;
        let presence = self.presence();
        let scoring = windows
            .iter()
            .filter(|window| window.excess.is_some())
            .max_by(|a, b| score(a).total_cmp(&score(b)));
        let score = scoring.map_or(0.0, score);
        let contract = self.contract();
        let [hour, day] = &windows;
        let drivers = drivers(scoring.unwrap_or(day), baseline);
        let status = request.policy.status(score);
        let recommendation = words::recommendation(&words::Account {
            contract,
            policy: &request.policy,
            status,
            score,
            scoring,
            windows: &windows,
            baseline,
            presence: &presence,
            drivers: &drivers,
        });
        let per = day.judged.measures.per.or(hour.judged.measures.per);
        Ok(DriftReport {
            at: request.at_ms,
            contract: contract.fingerprint().to_owned(),
            model_version: request.model_version.to_owned(),
            baseline: baseline.id.clone(),
            status: status.as_str().to_owned(),
            score,
            alarm: request.policy.is_alarm(score),
            windows: windows.iter().filter_map(record).collect(),
            metrics: metric_records(contract, day, &drivers),
            servers: i32::try_from(presence.servers).unwrap_or(i32::MAX),
            rows: presence.rows,
            load: self.mean_cpu().map(|cpu| measures::load(cpu, 0.0)),
            accuracy: per.map(|per| (1.0 - per).clamp(0.0, 1.0)),
            confidence: scoring.map_or(0.0, |window| confidence(window, &presence)),
            recommendation,
            missing_partitions: presence.missing,
            positions: presence.positions,
        })
    }

    /// Both windows, shortest first.
    pub(crate) fn judge(
        &mut self,
        request: &ReportRequest<'_>,
        baseline: &Baseline,
    ) -> Result<[Window; 2], BaselineError> {
        self.move_to(request.at_ms, baseline)?;
        let coverage = self.presence().coverage;
        let window = |index: usize| {
            let judged = judge(
                self.contract(),
                baseline,
                self.sums(index),
                index,
                request.model_version,
            );
            let coverage = coverage.get(index).copied().unwrap_or(0.0);
            let usual = baseline
                .medians
                .of(index)
                .filter(|_| is_covered(index, coverage));
            let excess = usual.map(|usual| judged.measures.excess(usual));
            Window {
                index,
                judged,
                coverage,
                excess,
            }
        };
        Ok([window(0), window(1)])
    }
}

/// Whether enough of window `index` is there.
pub(crate) fn is_covered(index: usize, coverage: f64) -> bool {
    MIN_COVERAGE
        .get(index)
        .is_some_and(|&least| coverage >= least)
}

fn score(window: &Window) -> f64 {
    window.excess.map_or(0.0, |excess| excess.score())
}

/// How much a verdict on this window rests on: its coverage, its rows, the share of the score's weights that could be
/// measured, and the share of partitions that are there.
fn confidence(window: &Window, presence: &Presence) -> f64 {
    let rows = window.judged.rows.max(0) as f64;
    let weights = match window.excess {
        Some(Measures { per: None, .. }) => 1.0 - measures::WEIGHT_PER,
        _ => 1.0,
    };
    let present = presence
        .num_partitions
        .saturating_sub(presence.missing.len()) as f64;
    let partitions = if presence.num_partitions == 0 {
        0.0
    } else {
        present / presence.num_partitions as f64
    };
    window.coverage * rows / (rows + HALF_CONFIDENCE_ROWS) * weights * partitions
}

fn record(window: &Window) -> Option<WindowMeasures> {
    let excess = window.excess?;
    let raw = &window.judged.measures;
    Some(WindowMeasures {
        minutes: WINDOW_MINUTES.get(window.index).copied()?,
        rows: window.judged.rows,
        per: raw.per,
        wape: window.judged.wape,
        dss: raw.dss,
        fds: raw.fds,
        fds_z: window.judged.fds_z,
        anomaly_rate: raw.anomaly_rate,
        score: raw.score(),
        calibrated_per: excess.per.unwrap_or(0.0),
        calibrated_dss: excess.dss,
        calibrated_fds: excess.fds,
        calibrated_anomaly_rate: excess.anomaly_rate,
        calibrated_score: excess.score(),
    })
}

/// The cells of the long window, the strongest driver first.
fn metric_records(
    contract: &contract::Contract,
    day: &Window,
    drivers: &[JudgedCell],
) -> Vec<MetricDrift> {
    let rank = |cell: &JudgedCell| {
        drivers
            .iter()
            .position(|driver| (driver.profile, driver.metric) == (cell.profile, cell.metric))
            .unwrap_or(usize::MAX)
    };
    let mut cells = day.judged.cells.clone();
    cells.sort_by_key(rank);
    let name = |cell: &JudgedCell| {
        Some((
            contract.profiles.get(cell.profile)?,
            contract.metrics.get(cell.metric)?,
        ))
    };
    cells
        .iter()
        .filter_map(|cell| {
            let (profile, metric) = name(cell)?;
            Some(MetricDrift {
                profile: profile.name.clone(),
                metric: metric.name.clone(),
                ks: cell.ks,
                z: cell.z,
                anomaly_rate: cell.anomaly_rate,
                per: cell.per,
            })
        })
        .collect()
}

/// The cells of a window by what each adds beyond what is usual for it, the strongest first.
fn drivers(window: &Window, baseline: &Baseline) -> Vec<JudgedCell> {
    let beyond = |cell: &JudgedCell| {
        let held = baseline.cell(cell.profile, cell.metric);
        let usual = held
            .and_then(|held| held.usual.get(window.index).copied().flatten())
            .unwrap_or_default();
        excess_of(cell, &usual)
    };
    let mut ranked: Vec<(f64, JudgedCell)> = window
        .judged
        .cells
        .iter()
        .map(|cell| (beyond(cell), *cell))
        .collect();
    // The sort is stable: among equals the contract's order stays.
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.into_iter().map(|(_, cell)| cell).collect()
}

/// What a cell would add to a score of its own; 0 with few values. One cell's error rate counts 1 at most here, so
/// that a metric near 0 does not lead every list.
fn excess_of(cell: &JudgedCell, usual: &Usual) -> f64 {
    if cell.n < MIN_VALUES {
        return 0.0;
    }
    let measures = |per: Option<f64>, ks, z, anomaly_rate| Measures {
        per: per.map(|per| per.min(1.0)),
        dss: ks,
        fds: scale(z),
        anomaly_rate,
    };
    let found = measures(cell.per, cell.ks, cell.z, cell.anomaly_rate);
    found
        .excess(&measures(usual.per, usual.ks, usual.z, usual.anomaly_rate))
        .score()
}
