//! The drift report: both windows measured, the watch's verdict, and words.
//!
//! With calibration the score is the verdict's: 0.10, the policy's alarm, is the evidence that quiet days reach once in a stated time. The hour's
//! window answers for changes that began within it, the day's for the others. Raw, it is the weighted sum of the
//! measures of the windows that are covered.

use contract::record::{DriftReport, MetricDrift, Trend, WindowMeasures};

use crate::baseline::{Baseline, BaselineError};
use crate::hours::HourShares;
use crate::judge::{Judged, JudgedCell, MIN_VALUES, judge};
use crate::measures::{self, Aggregate, Measures, scale};
use crate::policies::{Calibration, Limits, Policy, Status};
use crate::shift::detector::OF;
use crate::shift::history::Signal;
use crate::shift::watch::{Finding, Verdict};
use crate::windows::{Presence, WINDOW_MINUTES, Windows};
use crate::words;

/// Share of a window's buckets that must have a pane for the window to count: half of the hour, nearly all of the day.
pub const MIN_COVERAGE: [f64; 2] = [0.5, 0.9];

/// With this many rows a window's confidence is half of what it is with very many: about a morning of one server.
const HALF_CONFIDENCE_ROWS: f64 = 50.0;

/// The calibrated score at the alarm level; the policy's own thresholds are shares of it.
pub(crate) const AT_LEVEL: f64 = 0.10;

/// Strength of what the baseline has never seen, a profile or another value of a constant: critical.
const PLAIN_STRENGTH: f64 = 1.5;

/// What a report is about, beside the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReportRequest<'a> {
    /// End of the windows, ms; rounded down to the grid.
    pub at_ms: i64,
    /// The model whose errors count. Those of others in flight do not.
    pub model_version: &'a str,
    /// What is an alarm.
    pub policy: Policy,
    /// Which values it is held against.
    pub calibration: Calibration,
    /// How the metrics' distances become the raw feature drift.
    pub fds: Aggregate,
}

/// One window with all that is known about it.
pub(crate) struct Window {
    pub(crate) index: usize,
    pub(crate) judged: Judged,
    pub(crate) coverage: f64,
    /// Calibrated PER, DSS and FDS; 0 raw.
    pub(crate) calibrated: [f64; 3],
}

impl Window {
    pub(crate) fn is_covered(&self) -> bool {
        MIN_COVERAGE
            .get(self.index)
            .is_some_and(|&least| self.coverage >= least)
    }

    fn calibrated_score(&self) -> f64 {
        let [per, dss, fds] = self.calibrated;
        let limits = Limits::ANY_METRIC;
        let strengths = [per / limits.per, dss / limits.dss, fds / limits.fds];
        AT_LEVEL * strengths.into_iter().fold(0.0, f64::max)
    }
}

/// A cell with what the watch says of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Driver {
    pub(crate) cell: JudgedCell,
    /// The strongest of its signals.
    pub(crate) finding: Option<Finding>,
    /// Nothing of the kind was in the baseline.
    pub(crate) is_plain: bool,
    /// In units of the alarm level; raw, what it would add to a score of its own.
    pub(crate) strength: f64,
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
        self.move_to(request.at_ms, baseline)?;
        let presence = self.presence();
        let verdict = match (&baseline.detector, request.calibration) {
            (Some(detector), Calibration::On) => self.verdict(detector, request.model_version),
            _ => Verdict::default(),
        };
        let mut windows = [0, 1].map(|index| self.measure(index, request, baseline, &presence));
        let raw = request.calibration == Calibration::Raw;
        let plain = if !raw && baseline_knows(baseline) {
            let [hour, _] = &windows;
            self.plain_changes(baseline, &hour.judged.cells)
        } else {
            Vec::new()
        };
        let drivers = drivers(&windows, &verdict, &plain, raw);
        if !raw {
            self.calibrate(&mut windows, &drivers, &verdict);
        }
        let scores = windows.iter().map(|window| {
            if !raw {
                window.calibrated_score()
            } else if window.is_covered() {
                window.judged.measures.score()
            } else {
                0.0
            }
        });
        let score = scores.fold(0.0, f64::max);
        let alarm = request.policy.is_alarm(score)
            || verdict.alarm
            || !plain.is_empty()
            || raw && exceeds_limits(&request.policy, &windows);
        let status = request.policy.status(score);
        let status = if alarm {
            status.max(Status::Urgent)
        } else {
            status
        };
        let contract = self.contract();
        let servers = self.servers();
        let recommendation = words::recommendation(&words::Account {
            contract,
            request,
            status,
            score,
            windows: &windows,
            baseline,
            presence: &presence,
            drivers: &drivers,
            servers: &servers,
        });
        let [hour, day] = &windows;
        let per = day.judged.measures.per.or(hour.judged.measures.per);
        let [mean_cpu, mean_memory] = self.mean_loads();
        let judged = drivers
            .iter()
            .filter(|driver| raw || driver.is_plain || driver.finding.is_some());
        let drifted = judged
            .clone()
            .filter(|driver| driver.strength > 1.0)
            .count();
        Ok(DriftReport {
            at: request.at_ms,
            contract: contract.fingerprint().to_owned(),
            model_version: request.model_version.to_owned(),
            baseline: baseline.id.clone(),
            status: status.as_str().to_owned(),
            score,
            alarm,
            windows: windows.iter().filter_map(record).collect(),
            metrics: drivers
                .iter()
                .filter_map(|driver| {
                    let share = servers.share_away(driver.cell.profile, driver.cell.metric);
                    metric_record(contract, request.at_ms, driver, share)
                })
                .collect(),
            servers: i32::try_from(presence.servers).unwrap_or(i32::MAX),
            rows: presence.rows,
            missing_servers: i32::try_from(presence.missing_servers).unwrap_or(i32::MAX),
            load: mean_cpu.map(|cpu| measures::load(cpu, 0.0)),
            mean_cpu,
            mean_memory,
            accuracy: per.map(|per| (1.0 - per).clamp(0.0, 1.0)),
            share_drifted: drifted as f64 / judged.count().max(1) as f64,
            trends: trends(&verdict),
            confidence: if raw {
                confidence(&windows, 1.0, &presence)
            } else if baseline_knows(baseline) {
                confidence(&windows, 1.0 - presence.partial_share, &presence)
            } else {
                0.0
            },
            recommendation,
            missing_partitions: presence.missing,
            positions: presence.positions,
            known_servers: i32::try_from(baseline.num_servers()).unwrap_or(i32::MAX),
            server_drift: servers.away,
            new_servers: i32::try_from(servers.num_new).unwrap_or(i32::MAX),
            new_names: servers.new,
        })
    }

    fn measure(
        &self,
        index: usize,
        request: &ReportRequest<'_>,
        baseline: &Baseline,
        presence: &Presence,
    ) -> Window {
        let sums = self.sums(index);
        let none = HourShares::new();
        let hours = presence.hours.get(index).unwrap_or(&none);
        Window {
            index,
            judged: judge(
                self.contract(),
                baseline,
                sums,
                index,
                hours,
                request.model_version,
                request.fds,
            ),
            coverage: presence.coverage.get(index).copied().unwrap_or(0.0),
            calibrated: [0.0; 3],
        }
    }

    /// Gives each window the strengths of the changes that it answers for.
    fn calibrate(&self, windows: &mut [Window; 2], drivers: &[Driver], verdict: &Verdict) {
        let limits = Limits::ANY_METRIC;
        let [hour, day] = windows;
        for finding in &verdict.findings {
            let is_recent = finding.step.is_some_and(|step| step.length <= OF);
            let window = if is_recent { &mut *hour } else { &mut *day };
            let [per, dss, fds] = &mut window.calibrated;
            let (place, limit) = match finding.signal {
                Signal::Error => (per, limits.per),
                Signal::Spread => (dss, limits.dss),
                Signal::Mean => (fds, limits.fds),
            };
            *place = place.max(limit * finding.strength);
        }
        if let Some(plain) = drivers.iter().find(|driver| driver.is_plain) {
            let [_, _, fds] = &mut hour.calibrated;
            *fds = fds.max(limits.fds * plain.strength);
        }
    }
}

fn baseline_knows(baseline: &Baseline) -> bool {
    baseline
        .detector
        .as_ref()
        .is_some_and(|detector| detector.level().is_some())
}

fn exceeds_limits(policy: &Policy, windows: &[Window; 2]) -> bool {
    let Some(limits) = policy.limits else {
        return false;
    };
    let mut covered = windows.iter().filter(|window| window.is_covered());
    covered.any(|window| limits.exceeded_by(&window.judged.measures))
}

/// How much a verdict rests on: the hour's coverage, the day's rows, whether quiet days are known, the share of partitions that are
/// there and, of the servers, the share whose profiles are judged.
fn confidence(windows: &[Window; 2], judged: f64, presence: &Presence) -> f64 {
    let [hour, day] = windows;
    if !hour.is_covered() {
        return 0.0;
    }
    let rows = day.judged.rows.max(0) as f64;
    let present = presence
        .num_partitions
        .saturating_sub(presence.missing.len()) as f64;
    let partitions = present / presence.num_partitions.max(1) as f64;
    hour.coverage * rows / (rows + HALF_CONFIDENCE_ROWS) * partitions * judged
}

fn record(window: &Window) -> Option<WindowMeasures> {
    if !window.is_covered() {
        return None;
    }
    let raw = &window.judged.measures;
    let [per, dss, fds] = window.calibrated;
    let distance = |by: Aggregate| window.judged.distances.aggregate(by);
    Some(WindowMeasures {
        minutes: WINDOW_MINUTES.get(window.index).copied()?,
        rows: window.judged.rows,
        per: raw.per,
        wape: window.judged.wape,
        dss: raw.dss,
        fds: raw.fds,
        fds_z: distance(Aggregate::Max),
        fds_z_mean: Some(distance(Aggregate::Mean)),
        fds_z_sum: Some(distance(Aggregate::Sum)),
        anomaly_rate: raw.anomaly_rate,
        score: raw.score(),
        calibrated_per: per,
        calibrated_dss: dss,
        calibrated_fds: fds,
        calibrated_score: window.calibrated_score(),
    })
}

fn metric_record(
    contract: &contract::Contract,
    at_ms: i64,
    driver: &Driver,
    share_away: Option<f64>,
) -> Option<MetricDrift> {
    let cell = &driver.cell;
    let step = driver.finding.and_then(|finding| finding.step);
    let since = step.map(|step| at_ms - step.length as i64 * contract.step_ms());
    let signal = match driver.finding {
        _ if cell.is_new => "new",
        _ if cell.never_varied => "no variation",
        Some(finding) => finding.signal.as_str(),
        None => "",
    };
    let size = driver
        .finding
        .and_then(|finding| Some(finding.step?.size / finding.sd));
    Some(MetricDrift {
        profile: contract.profiles.get(cell.profile)?.name.clone(),
        metric: contract.metrics.get(cell.metric)?.name.clone(),
        ks: cell.ks,
        z: cell.z,
        anomaly_rate: cell.anomaly_rate,
        per: cell.per,
        psi: cell.psi,
        ks_p: cell.ks_p,
        mean_p: Some(cell.mean_p),
        strength: driver.strength,
        signal: signal.to_owned(),
        size_sd: size.filter(|size| size.is_finite()),
        since,
        share_away,
    })
}

/// The cells of the day, the strongest driver first; `plain` are those (by profile and metric) whose change needs no verdict.
fn drivers(
    windows: &[Window; 2],
    verdict: &Verdict,
    plain: &[(usize, usize)],
    raw: bool,
) -> Vec<Driver> {
    let [_, day] = windows;
    let metrics = day.judged.num_metrics;
    let strongest = |cell: &JudgedCell| {
        let index = cell.profile * metrics + cell.metric;
        let own = verdict
            .findings
            .iter()
            .filter(|finding| finding.cell == index);
        own.max_by(|a, b| a.strength.total_cmp(&b.strength))
            .copied()
    };
    let mut drivers: Vec<Driver> = day
        .judged
        .cells
        .iter()
        .map(|cell| {
            let finding = strongest(cell);
            let is_plain = plain.contains(&(cell.profile, cell.metric));
            let strength = if raw {
                raw_strength(cell)
            } else if is_plain {
                PLAIN_STRENGTH
            } else {
                finding.map_or(0.0, |finding| finding.strength)
            };
            Driver {
                cell: *cell,
                finding,
                is_plain,
                strength,
            }
        })
        .collect();
    // The sort is stable: among equals the contract's order stays.
    drivers.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    drivers
}

/// What a cell would make of a raw score of its own, in units of the alarm. One cell's error rate counts 1 at most, so that a metric
/// near 0 does not lead every list.
fn raw_strength(cell: &JudgedCell) -> f64 {
    if cell.n < MIN_VALUES {
        return 0.0;
    }
    let own = Measures {
        per: cell.per.map(|per| per.min(1.0)),
        dss: cell.ks,
        fds: scale(cell.z),
        anomaly_rate: cell.anomaly_rate,
    };
    own.score() / Policy::SLA.alarm
}

/// Now against an hour ago: a fifth more or less, of what is at least a quarter of an alarm.
fn trends(verdict: &Verdict) -> Vec<Trend> {
    if verdict.findings.is_empty() {
        return Vec::new();
    }
    let of = |(now, before): (f64, f64)| {
        const AT_LEAST: f64 = 0.25;
        if now.max(before) < AT_LEAST {
            "stable"
        } else if now > 1.2 * before {
            "increasing"
        } else if now < before / 1.2 {
            "decreasing"
        } else {
            "stable"
        }
    };
    let [mean, spread, error] = verdict.strongest;
    let all = (
        mean.0.max(spread.0).max(error.0),
        mean.1.max(spread.1).max(error.1),
    );
    [
        ("per", error),
        ("dss", spread),
        ("fds", mean),
        ("score", all),
    ]
    .map(|(measure, strengths)| Trend {
        measure: measure.to_owned(),
        trend: of(strengths).to_owned(),
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of the score where one signal was so strong an hour ago and is so now.
    #[track_caller]
    fn check(before: f64, now: f64, expected: &str) {
        let finding = Finding {
            cell: 0,
            signal: Signal::Spread,
            strength: now,
            step: None,
            sd: 1.0,
        };
        let verdict = Verdict {
            findings: vec![finding],
            strongest: [(0.1, 0.2), (now, before), (0.0, 0.0)],
            alarm: false,
        };
        let found = trends(&verdict);
        let of = |measure: &str| {
            let mut found = found.iter();
            found
                .find(|trend| trend.measure == measure)
                .map(|t| t.trend.clone())
        };
        assert_eq!(of("score").as_deref(), Some(expected));
        assert_eq!(of("dss").as_deref(), Some(expected));
        // Below a quarter of an alarm nothing moves.
        assert_eq!(of("fds").as_deref(), Some("stable"));
        assert_eq!(of("per").as_deref(), Some("stable"));
    }

    #[test]
    fn a_fifth_more_or_less_is_a_trend() {
        check(0.5, 0.61, "increasing");
        check(0.5, 0.6, "stable");
        check(0.6, 0.49, "decreasing");
        check(0.6, 0.51, "stable");
        check(0.0, 0.24, "stable");
        check(0.0, 0.25, "increasing");
        check(0.25, 0.0, "decreasing");
        assert_eq!(trends(&Verdict::default()), []);
    }
}
