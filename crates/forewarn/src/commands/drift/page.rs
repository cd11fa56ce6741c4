//! The drift report as a page: what to do, since when, why, and where to look.

use std::collections::BTreeMap;

use drift::{Calibration, Policy};

use super::charts::{self, Times};
use super::history::{History, Point, alarms};
use crate::commands::output;
use crate::html::{self, drawn, escape, section, shown, table};

/// Rows of a table.
const MAX_ROWS: usize = 20;

/// What the role judges by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub(super) policy: Policy,
    pub(super) calibration: Calibration,
    pub(super) step_ms: i64,
}

/// The page.
pub(super) fn page(history: &History, judged: &Judged) -> String {
    let times = Times {
        points: &history.points,
        step_ms: judged.step_ms,
    };
    let sections = [
        verdict(history),
        score(&times, judged),
        alarm_table(&history.points),
        measures(&times, judged),
        metrics(history, &times),
        servers(history),
        facts(history),
    ];
    let at = output::time(history.last.at);
    html::page(
        &format!("Drift at {at}: {}", history.last.status),
        &sections.concat(),
    )
}

fn verdict(history: &History) -> String {
    let last = &history.last;
    let words = format!("<p class=\"words\">{}</p>", escape(&last.recommendation));
    let trends = last.trends.iter();
    let trends: Vec<String> = trends
        .map(|t| format!("{} {}", t.measure, t.trend))
        .collect();
    let facts = html::facts([
        ("Score", format!("{:.3}", last.score)),
        (
            "Trend",
            if trends.is_empty() {
                "–".to_owned()
            } else {
                trends.join(", ")
            },
        ),
        ("Accuracy", shown(last.accuracy)),
        (
            "Share of metrics that drifted",
            shown(Some(last.share_drifted)),
        ),
        ("Confidence", shown(Some(last.confidence))),
    ]);
    section("What to do", &(words + &facts))
}

fn score(times: &Times<'_>, judged: &Judged) -> String {
    let how = match judged.calibration {
        Calibration::On => {
            "Calibrated: 0.10 is what quiet days reach about once in a stated time, however noisy they are."
        }
        Calibration::Raw => {
            "Raw: the weighted sum of the four measures as they are, which quiet days pass often."
        }
    };
    let caption = format!(
        "{how} Shaded: alarms; one stays for three hours after the last evaluation above the level. Times are UTC."
    );
    html::figure("Score", &charts::score(times, &judged.policy), &caption)
}

fn alarm_table(points: &[Point]) -> String {
    let alarms = alarms(points);
    if alarms.is_empty() {
        return section("Alarms", "<p class=\"note\">None in the time shown.</p>");
    }
    let rows: Vec<Vec<String>> = alarms
        .iter()
        .rev()
        .take(MAX_ROWS)
        .filter_map(|alarm| {
            let first = points.get(alarm.start)?;
            let to = points.get(alarm.end).map(|point| output::time(point.at));
            let within = points.get(alarm.clone())?.iter();
            let most = within.map(|point| point.score).fold(0.0, f64::max);
            Some(vec![
                output::time(first.at),
                to.unwrap_or_else(|| "still on".to_owned()),
                format!("{most:.3}"),
                first.recommendation.clone().unwrap_or_default(),
            ])
        })
        .collect();
    let table = table(
        &["From", "To", "Highest score", "Said at its beginning"],
        &rows,
    );
    section("Alarms", &format!("<div class=\"words\">{table}</div>"))
}

fn measures(times: &Times<'_>, judged: &Judged) -> String {
    let mut content = String::new();
    for measure in charts::measures() {
        let caption = format!("{}, limit {:.2}", measure.name, measure.limit);
        content.push_str(&drawn(&charts::measure(times, &measure), &caption));
    }
    let limits = match (judged.calibration, judged.policy.limits) {
        (Calibration::Raw, Some(_)) => "Each grey line above its limit is an alarm by itself.",
        _ => {
            "A blue line at its limit is evidence at the alarm level. The grey line alone is no alarm: autocorrelated, seasonal metrics pass \
             raw limits on most quiet days."
        }
    };
    let note = format!(
        "<p class=\"note\">Grey: as measured, in the longest window that is whole. Blue: calibrated, the larger of the windows; the anomaly \
         rate has no calibration. {limits}</p>"
    );
    section("The four measures", &(note + &content))
}

fn metrics(history: &History, times: &Times<'_>) -> String {
    let last = &history.last;
    if !last.metrics.iter().any(|metric| metric.strength > 0.0) {
        return section(
            "Profiles and metrics",
            "<p class=\"note\">Nothing moves.</p>",
        );
    }
    let mut content = drawn(
        &charts::strengths(last),
        "Persisting evidence in units of the alarm level (dashed), what moved, and by how much.",
    );
    if let Some(drawing) = charts::strengths_over_time(times) {
        content.push_str(&drawn(
            &drawing,
            "Darker is stronger; red: above the alarm level.",
        ));
    }
    let rows: Vec<Vec<String>> = last
        .metrics
        .iter()
        .take(MAX_ROWS)
        .map(|metric| {
            vec![
                format!("{} {}", metric.profile, metric.metric),
                shown(Some(metric.strength)),
                metric.signal.clone(),
                metric
                    .size_sd
                    .map_or_else(String::new, |sd| format!("{sd:+.1} sd")),
                metric.since.map(output::time).unwrap_or_default(),
                percent(metric.share_away),
                shown(Some(metric.ks)),
                shown(Some(metric.ks_p)),
                shown(metric.mean_p),
                shown(metric.psi),
                shown(metric.per),
            ]
        })
        .collect();
    let header = [
        "Profile, metric",
        "Strength",
        "What",
        "By",
        "Since",
        "Servers far off",
        "KS",
        "KS p-value",
        "mean's p-value",
        "PSI",
        "PER",
    ];
    section("Profiles and metrics", &(content + &table(&header, &rows)))
}

fn servers(history: &History) -> String {
    let last = &history.last;
    let mut content = String::new();
    if last.known_servers == 0 {
        content.push_str("<p class=\"note\">The baseline of this model knows no servers.</p>");
    } else if last.server_drift.is_empty() {
        content.push_str(
            "<p class=\"note\">None was far from its own usual for half of the last hour.</p>",
        );
    } else {
        content.push_str(&drawn(
            &charts::servers(&last.server_drift),
            "Distance from the server's own usual at this hour, in its own standard deviations; named from three on (dashed).",
        ));
    }
    if last.new_servers > 0 {
        let names = escape(&last.new_names.join(", "));
        content.push_str(&format!(
            "<p class=\"words\">New to the baseline, and not judged by themselves: {} ({names}).</p>",
            last.new_servers
        ));
    }
    let named = named_over_time(&history.points);
    if !named.is_empty() {
        content.push_str("<p class=\"note\">Over all of the time shown:</p>");
        content.push_str(&table(
            &[
                "Server, metric",
                "Reports that name it",
                "Furthest",
                "Last named",
            ],
            &named,
        ));
    }
    section("Servers", &content)
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share))
}

/// How often each server and metric was named, the most often first.
fn named_over_time(points: &[Point]) -> Vec<Vec<String>> {
    let mut named: BTreeMap<(&str, &str), (usize, f64, i64)> = BTreeMap::new();
    for point in points {
        for server in &point.servers {
            let held = named.entry((&server.server, &server.metric)).or_default();
            let further = server.size_sd.abs() > held.1.abs();
            *held = (
                held.0 + 1,
                if further { server.size_sd } else { held.1 },
                point.at,
            );
        }
    }
    let mut named: Vec<_> = named.into_iter().collect();
    named.sort_by_key(|(_, (times, ..))| std::cmp::Reverse(*times));
    let row = |((server, metric), (times, sd, at)): ((&str, &str), (usize, f64, i64))| {
        vec![
            format!("{server} {metric}"),
            format!("{times} of {}", points.len()),
            format!("{sd:+.1} sd"),
            output::time(at),
        ]
    };
    named.into_iter().take(MAX_ROWS).map(row).collect()
}

fn facts(history: &History) -> String {
    let last = &history.last;
    let list = |names: Vec<String>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let missing = last.missing_partitions.iter().map(ToString::to_string);
    let from = history.points.first().map_or(last.at, |point| point.at);
    let facts = html::facts([
        ("Model", last.model_version.clone()),
        ("Baseline", last.baseline.clone()),
        (
            "Servers",
            format!("{}, {} missing", last.servers, last.missing_servers),
        ),
        ("Known to the baseline", last.known_servers.to_string()),
        ("Missing partitions", list(missing.collect())),
        ("Rows in a day", last.rows.to_string()),
        ("Load", shown(last.load)),
        (
            "Shown",
            format!(
                "{} reports, {} to {}",
                history.points.len(),
                output::time(from),
                output::time(last.at)
            ),
        ),
    ]);
    section("What it rests on", &facts)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use contract::record::{DriftReport, MetricDrift, ServerDrift, WindowMeasures};

    use super::*;

    const STEP_MS: i64 = 300_000;
    const START_MS: i64 = 1_767_571_200_000;
    const EVIL: &str = "\"'/></text><script>alert(1)</script>&";

    const JUDGED: Judged = Judged {
        policy: Policy::SLA,
        calibration: Calibration::On,
        step_ms: STEP_MS,
    };

    fn window(minutes: i32, per: Option<f64>) -> WindowMeasures {
        WindowMeasures {
            minutes,
            rows: 100,
            per,
            wape: per,
            dss: 0.3,
            fds: 0.6,
            fds_z: 1.5,
            fds_z_mean: Some(0.5),
            fds_z_sum: Some(3.0),
            anomaly_rate: 0.01,
            score: 0.25,
            calibrated_per: 0.02,
            calibrated_dss: 0.0,
            calibrated_fds: 0.18,
            calibrated_score: 0.12,
        }
    }

    /// All that is text is evil.
    fn report(step: i64, alarm: bool) -> DriftReport {
        let evil = || EVIL.to_owned();
        DriftReport {
            at: START_MS + step * STEP_MS,
            contract: evil(),
            model_version: evil(),
            baseline: evil(),
            status: evil(),
            score: if alarm { 0.13 } else { 0.04 },
            alarm,
            windows: vec![window(60, None), window(1440, Some(0.4))],
            metrics: vec![MetricDrift {
                profile: evil(),
                metric: evil(),
                ks: 0.5,
                z: 1.0,
                anomaly_rate: 0.0,
                per: None,
                psi: None,
                ks_p: 1.0,
                mean_p: Some(1.0),
                strength: if alarm { 1.3 } else { 0.4 },
                signal: evil(),
                size_sd: Some(-2.5),
                since: Some(START_MS),
                share_away: Some(1.0),
            }],
            servers: 2,
            rows: 576,
            missing_partitions: vec![3],
            missing_servers: 1,
            load: None,
            mean_cpu: None,
            mean_memory: None,
            accuracy: None,
            share_drifted: 0.0,
            trends: vec![contract::record::Trend {
                measure: evil(),
                trend: evil(),
            }],
            confidence: 0.5,
            recommendation: evil(),
            positions: Vec::new(),
            known_servers: 2,
            server_drift: vec![ServerDrift {
                server: evil(),
                profile: evil(),
                metric: evil(),
                size_sd: -4.0,
                share: 0.5,
            }],
            new_servers: 1,
            new_names: vec![evil()],
        }
    }

    fn history(reports: &[DriftReport]) -> History {
        History {
            points: reports.iter().map(Point::of).collect(),
            last: reports.last().expect("a report").clone(),
        }
    }

    #[test]
    fn no_name_is_markup() {
        let reports: Vec<DriftReport> = (0..20).map(|step| report(step, step > 9)).collect();
        let page = page(&history(&reports), &JUDGED);
        assert!(!page.contains("<script") && !page.contains(EVIL), "{page}");
        // Title and heading, words, alarm, both drawings of metrics, the table, the server's drawing, the new one, both tables.
        assert!(page.matches("&lt;script&gt;").count() >= 11, "{page}");
        assert!(!page.contains("NaN") && !page.contains("=\"inf"), "{page}");
        assert!(page.contains("20 reports"), "{page}");
    }

    #[test]
    fn alarms_are_shaded_and_listed_from_their_rise_to_the_first_quiet_report() {
        let reports: Vec<DriftReport> = [false, true, true, false, true]
            .iter()
            .zip(0..)
            .map(|(&alarm, step)| report(step, alarm))
            .collect();
        let history = history(&reports);
        assert_eq!(alarms(&history.points), [1..3, 4..5]);
        let page = page(&history, &JUDGED);
        // Two alarms on the score's and each measure's drawing.
        assert_eq!(page.matches("<rect class=\"alarm\"").count(), 10);
        assert!(page.contains("<td>2026-01-05T00:05:00Z</td><td>2026-01-05T00:15:00Z</td>"));
        assert!(page.contains("<td>2026-01-05T00:20:00Z</td><td>still on</td>"));
    }

    #[test]
    fn one_report_is_a_page_too() {
        let mut only = report(0, false);
        only.windows.clear();
        only.metrics.clear();
        only.server_drift.clear();
        only.known_servers = 0;
        only.new_servers = 0;
        let page = page(&history(&[only]), &JUDGED);
        for words in [
            "None in the time shown.",
            "Nothing moves.",
            "knows no servers",
            "1 reports",
        ] {
            assert!(page.contains(words), "{words}");
        }
        assert!(!page.contains("NaN"), "{page}");
    }

    #[test]
    fn a_gap_between_reports_breaks_the_line() {
        let reports = [0, 1, 2, 12, 13].map(|step| report(step, false));
        let page = page(&history(&reports), &JUDGED);
        let score = page.split("Score over time").nth(1).unwrap_or_default();
        let score = score.split("</svg>").next().unwrap_or_default();
        let drawn = score
            .split("class=\"model\" d=\"")
            .nth(1)
            .unwrap_or_default();
        assert_eq!(
            drawn
                .split('"')
                .next()
                .unwrap_or_default()
                .matches('M')
                .count(),
            2,
            "{score}"
        );
    }
}
