//! `drift backtest` on the real program: a quiet fleet, a shifted one, and what cannot be replayed. No broker is needed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use serde_json::Value;
use tests::{Ended, Site};

/// Nobody listens there: the command needs no broker.
fn site() -> Site {
    Site::new("127.0.0.1:1", "linborg")
}

/// 35 days of 20 servers at the grid's step.
fn simulated(site: &Site, name: &str, seed: &str, more: &[&str]) -> PathBuf {
    let path = site.path(name);
    let mut arguments = vec![
        "simulate",
        "--servers",
        "20",
        "--hours",
        "840",
        "--step",
        "5m",
        "--seed",
        seed,
        "--start",
        "2026-01-05T00:00:00Z",
        "--out",
    ];
    arguments.push(path.to_str().unwrap());
    arguments.extend(more);
    site.run(&arguments).ok();
    path
}

fn backtest(site: &Site, data: &std::path::Path, more: &[&str]) -> Ended {
    let mut arguments = vec!["drift", "backtest", "--data", data.to_str().unwrap()];
    arguments.extend([
        "--forecaster",
        "yesterday",
        "--baseline-days",
        "21",
        "--json",
    ]);
    arguments.extend(more);
    site.run(&arguments)
}

fn at(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    chrono::DateTime::parse_from_rfc3339(text)
        .unwrap()
        .timestamp()
}

#[test]
fn a_quiet_fleet_is_quiet_and_a_shift_is_seen() {
    let site = site();
    let quiet = simulated(&site, "quiet.parquet", "3", &[]);
    let lines = backtest(&site, &quiet, &[]).ok().json_lines();
    let (totals, evaluations) = lines.split_last().unwrap();
    let decisions = decided(&site, evaluations);
    assert!(decisions.iter().all(|made| made["trigger"] == false));
    assert_eq!(totals["evaluations"], evaluations.len());
    assert_eq!(totals["alarms"], serde_json::json!([]));
    assert!(
        (totals["days"].as_f64().unwrap() - 14.0).abs() < 0.01,
        "{totals}"
    );
    // Growing, each five minutes, the first at the border.
    assert_eq!(evaluations[0]["at"], "2026-01-26T00:00:00Z");
    assert!(
        evaluations
            .windows(2)
            .all(|pair| at(&pair[1]["at"]) == at(&pair[0]["at"]) + 300)
    );
    for line in evaluations {
        for key in ["per", "dss", "fds", "anomaly_rate", "score", "load"] {
            assert!(
                line[key].as_f64().is_some_and(f64::is_finite),
                "{key} in {line}"
            );
        }
        assert!(line["calibrated"]["score"].is_f64(), "{line}");
        assert!(
            line["score"].as_f64() == line["calibrated"]["score"].as_f64(),
            "{line}"
        );
    }

    // As measured, without calibration, the same quiet fleet is an alarm nearly all of the time.
    let raw = backtest(&site, &quiet, &["--calibration", "raw"])
        .ok()
        .json_lines();
    let alarms = raw.iter().filter(|line| line["alarm"] == true).count();
    assert!(alarms * 2 > raw.len(), "{alarms} of {}", raw.len());
    let raw = backtest(
        &site,
        &quiet,
        &["--calibration", "raw", "--policy", "any-metric"],
    );
    let raw = raw.ok().json_lines();
    assert!(raw.iter().any(|line| line["alarm"] == true));

    let shift_at = "2026-02-04T06:00:00Z";
    let shifted = simulated(
        &site,
        "shifted.parquet",
        "3",
        &["--scenario", "shift", "--scenario-from", shift_at],
    );
    let lines = backtest(&site, &shifted, &[]).ok().json_lines();
    let alarms = lines.last().unwrap()["alarms"].as_array().unwrap();
    let shift_at = at(&Value::from(shift_at));
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let delay = at(&alarms[0]["from"]) - shift_at;
    assert!(
        (0..=12 * 3600).contains(&delay),
        "{delay} s after the shift"
    );
    assert_eq!(alarms[0]["to"], Value::Null);
    // What, and who: servers by name, or that they moved together.
    let why = alarms[0]["why"].as_str().unwrap();
    assert!(why.contains("driven by"), "{why}");
    assert!(
        why.contains("from their own usual: ") || why.contains("No single server"),
        "{why}"
    );
}

/// Quiet fleets one after the other, whatever their seed: 14 days without an alarm or a training each. They have incidents of up to 50 standard
/// deviations for hours in profiles of two servers, and yesterday's forecasts repeat them a day later.
#[test]
fn quiet_fleets_are_quiet() {
    let site = site();
    for seed in ["4", "5", "6", "7"] {
        let data = simulated(&site, "quiet.parquet", seed, &[]);
        let mut lines = backtest(&site, &data, &[]).ok().json_lines();
        let last = lines.pop().unwrap();
        assert_eq!(last["alarms"], serde_json::json!([]), "seed {seed}");
        let decisions = decided(&site, &lines);
        assert!(
            decisions.iter().all(|one| one["trigger"] == false),
            "seed {seed}"
        );
    }
}

/// What the decision engine makes of a backtest's scores and loads.
fn decided(site: &Site, evaluations: &[Value]) -> Vec<Value> {
    let lines: Vec<String> = evaluations
        .iter()
        .map(|line| {
            let line =
                serde_json::json!({"at": line["at"], "score": line["score"], "load": line["load"]});
            line.to_string()
        })
        .collect();
    let path = site.path("scores.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let input = path.to_str().unwrap();
    let ended = site.run(&["decisions", "simulate", "--input", input, "--json"]);
    ended.ok().json_lines()
}

/// The scenario begins in the middle of the judged days: nothing before it, an alarm within `hours`, and a training that says why.
#[track_caller]
/// Seen within `hours`, explained by what moved, and trained on.
fn check_scenario(scenario: &str, hours: i64, causes: &[&str]) {
    let site = site();
    let from = "2026-01-28T00:00:00Z";
    let more = ["--scenario", scenario, "--scenario-from", from];
    let data = simulated(&site, "fleet.parquet", "4", &more);
    let lines = backtest(&site, &data, &[]).ok().json_lines();
    let (totals, evaluations) = lines.split_last().unwrap();
    let from = at(&Value::from(from));
    let alarms = totals["alarms"].as_array().unwrap();
    let first = alarms.first().map(|alarm| at(&alarm["from"]) - from);
    assert!(
        first.is_some_and(|delay| (0..=hours * 3600).contains(&delay)),
        "{scenario}: {alarms:?}"
    );
    let why = alarms[0]["why"].as_str().unwrap();
    let (_, why) = why.split_once("driven by ").unwrap();
    let (why, _) = why.split_once(". ").unwrap();
    assert!(
        causes.iter().all(|cause| why.contains(cause)),
        "{scenario}: {why}"
    );
    let decisions = decided(&site, evaluations);
    assert_eq!(decisions.len(), evaluations.len());
    let trains = decisions.iter().find(|made| made["trigger"] == true);
    let trains = trains.unwrap_or_else(|| panic!("{scenario}: no training"));
    let delay = at(&trains["at"]) - from;
    // It may have to wait for a quiet hour.
    assert!(
        (0..=(hours + 24) * 3600).contains(&delay),
        "{scenario}: {trains}"
    );
}

#[test]
fn a_ramp_is_seen_and_trained_on() {
    check_scenario(
        "ramp",
        48,
        &["web_api cpu_iowait_pct (mean +", "swap_used_pct"],
    );
}

#[test]
fn a_new_profile_is_seen_and_trained_on() {
    check_scenario("new-profile", 12, &["web_api", "(spread between servers +"]);
}

#[test]
fn a_new_season_is_seen_and_trained_on() {
    check_scenario("season-change", 24, &["web_api", "generic", "(mean +"]);
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let site = site();
    let path = site.path("short.parquet");
    let arguments = [
        "simulate",
        "--servers",
        "2",
        "--hours",
        "48",
        "--step",
        "5m",
        "--out",
        path.to_str().unwrap(),
    ];
    site.run(&arguments).ok();
    backtest(&site, &path, &[]).refused(2, &["--baseline-days 21", "2.0 days"]);
    let nowhere = site.path("nothing.parquet");
    backtest(&site, &nowhere, &[]).refused(2, &["--data", "nothing.parquet"]);
    // Clap's own refusal: the usage follows.
    let ended = site.run(&[
        "drift",
        "backtest",
        "--data",
        path.to_str().unwrap(),
        "--baseline-days",
        "1",
    ]);
    assert!(
        ended.code == Some(2) && ended.stderr.contains("--model"),
        "{}",
        ended.stderr
    );
}
