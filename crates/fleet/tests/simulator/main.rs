//! The simulated fleet seen from outside: the same bytes, the valid values, the shape of days and weeks, the events.
#![allow(clippy::unwrap_used)]

mod events;
mod scenarios;

use std::collections::{BTreeMap, HashMap, HashSet};

use contract::Contract;
use fleet::{FleetError, FleetSpec, IncidentKind, SHIFTS, Scenario, ScenarioKind, Simulator};

/// Monday 2026-06-01 04:00 UTC, midnight in New York.
const MONDAY_MS: i64 = 1_780_286_400_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

fn linborg() -> Contract {
    Contract::shipped("linborg").unwrap()
}

fn profile(name: &str, count: usize) -> FleetSpec {
    FleetSpec::Profiles(vec![(name.to_owned(), count)])
}

fn simulator(fleet: &FleetSpec, step_ms: i64, scenario: Scenario) -> Simulator {
    Simulator::new(&linborg(), fleet, 7, MONDAY_MS, step_ms, scenario).unwrap()
}

fn healthy(fleet: &FleetSpec, step_ms: i64, days: i64) -> Simulator {
    simulator(fleet, step_ms, Scenario::healthy()).until(MONDAY_MS + days * DAY_MS)
}

fn metric(name: &str) -> usize {
    linborg().metric_index(name).unwrap()
}

/// Server, time, profile, state and the values' bits.
type Line = (String, i64, String, String, Vec<u32>);

fn lines(mut simulator: Simulator) -> Vec<Line> {
    let mut lines = Vec::new();
    while let Some(step) = simulator.next_step() {
        lines.extend(step.records().map(|r| {
            let bits = r.values.iter().map(|v| v.to_bits()).collect();
            (
                r.server.to_owned(),
                r.timestamp_ms,
                r.profile.to_owned(),
                r.state.to_owned(),
                bits,
            )
        }));
    }
    lines
}

/// `(server, local hour of the week, value)` of one metric, gaps left out.
fn values_of(mut simulator: Simulator, metric: usize) -> Vec<(String, i64, f64)> {
    let mut values = Vec::new();
    while let Some(step) = simulator.next_step() {
        let hour = (step.timestamp_ms - MONDAY_MS) / HOUR_MS;
        let present = step.records().filter(|r| r.values[metric].is_finite());
        values.extend(present.map(|r| (r.server.to_owned(), hour, f64::from(r.values[metric]))));
    }
    values
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values
        .into_iter()
        .fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    assert!(n > 0.0);
    sum / n
}

fn sd(values: &[f64]) -> f64 {
    let mean = mean(values.iter().copied());
    (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let fleet = FleetSpec::Servers(20);
    let shift = Scenario {
        kind: ScenarioKind::Shift,
        from_ms: MONDAY_MS + HOUR_MS,
    };
    let run = |seed| {
        let simulator = Simulator::new(&linborg(), &fleet, seed, MONDAY_MS, 5_000, shift).unwrap();
        lines(simulator.until(MONDAY_MS + 2 * HOUR_MS))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_server_does_not_depend_on_the_fleet() {
    let small = lines(healthy(&FleetSpec::Servers(9), 300_000, 3));
    let large: HashMap<_, _> = lines(healthy(&FleetSpec::Servers(160), 300_000, 3))
        .into_iter()
        .map(|l| ((l.0.clone(), l.1), l))
        .collect();
    assert!(small.len() > 7000);
    for line in small {
        assert_eq!(large.get(&(line.0.clone(), line.1)), Some(&line));
    }
}

/// A change here changes everybody's data: it must be meant.
#[test]
fn bytes_are_those_of_the_last_release() {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for line in lines(healthy(&FleetSpec::Servers(10), 300_000, 2)) {
        for byte in format!("{line:?}").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(hash, PINNED_HASH);
}

const PINNED_HASH: u64 = 14_875_635_031_517_963_997;

#[test]
fn values_are_valid_and_consistent() {
    let contract = linborg();
    let metrics = contract.raw_metrics();
    let (user, sys, iowait) = (
        metric("cpu_user_pct"),
        metric("cpu_sys_pct"),
        metric("cpu_iowait_pct"),
    );
    let (idle, java) = (metric("cpu_idle_pct"), metric("java_cpu_pct"));
    for kind in ScenarioKind::ALL {
        let scenario = Scenario {
            kind,
            from_ms: MONDAY_MS + DAY_MS,
        };
        let mut simulator =
            simulator(&FleetSpec::Servers(90), 300_000, scenario).until(MONDAY_MS + 5 * DAY_MS);
        while let Some(step) = simulator.next_step() {
            for record in step.records() {
                for (value, metric) in record.values.iter().zip(metrics) {
                    if value.is_finite() {
                        assert_eq!(
                            metric.check(*value),
                            Ok(*value),
                            "{kind} {} {record:?}",
                            metric.name
                        );
                    } else {
                        assert!(value.is_nan());
                    }
                }
                let v = record.values;
                let sum = v[user] + v[sys] + v[iowait] + v[idle];
                assert!(
                    sum.is_nan() || (sum - 100.0).abs() < 0.01,
                    "{kind} {record:?}"
                );
                assert!(
                    v[java].is_nan() || v[user].is_nan() || v[java] <= v[user] + 1.0,
                    "{kind} {record:?}"
                );
            }
        }
    }
}

#[test]
fn profiles_have_their_stated_levels() {
    let check = |name: &str, used: (f64, f64), memory: (f64, f64)| {
        let fleet = profile(name, 60);
        let busy: Vec<f64> = values_of(healthy(&fleet, 300_000, 14), metric("cpu_idle_pct"))
            .iter()
            .map(|v| 100.0 - v.2)
            .collect();
        let mem: Vec<f64> = values_of(healthy(&fleet, 300_000, 14), metric("mem_used_pct"))
            .iter()
            .map(|v| v.2)
            .collect();
        for (what, values, (want, want_sd)) in [("cpu", &busy, used), ("mem", &mem, memory)] {
            let (mean, sd) = (mean(values.iter().copied()), sd(values));
            assert!((mean - want).abs() < 4.0, "{name} {what} mean {mean}");
            assert!(
                (0.6..1.4).contains(&(sd / want_sd)),
                "{name} {what} sd {sd}"
            );
        }
    };
    check("ml_compute", (78.0, 12.0), (82.0, 10.0));
    check("database", (55.0, 15.0), (87.0, 8.0));
    check("web_api", (28.0, 8.0), (55.0, 12.0));
    check("risk_analytics", (82.0, 10.0), (88.0, 8.0));
    let iowait = |name| {
        mean(
            values_of(
                healthy(&profile(name, 30), 300_000, 7),
                metric("cpu_iowait_pct"),
            )
            .iter()
            .map(|v| v.2),
        )
    };
    let (database, compute) = (iowait("database"), iowait("ml_compute"));
    assert!((12.0..19.0).contains(&database), "{database}");
    assert!(compute < 2.0, "{compute}");
}

#[test]
fn days_and_weeks_are_seen_in_local_time() {
    let used = |name: &str| -> Vec<(i64, f64)> {
        let values = values_of(
            healthy(&profile(name, 20), 300_000, 7),
            metric("cpu_idle_pct"),
        );
        values
            .into_iter()
            .map(|(_, hour, idle)| (hour, 100.0 - idle))
            .collect()
    };
    let at = |values: &[(i64, f64)], days: std::ops::Range<i64>, hours: std::ops::Range<i64>| {
        let inside = |hour: i64| days.contains(&(hour / 24)) && hours.contains(&(hour % 24));
        mean(values.iter().filter(|v| inside(v.0)).map(|v| v.1))
    };
    let compute = used("ml_compute");
    assert!(at(&compute, 0..5, 21..24) > at(&compute, 0..5, 10..15) + 7.0);
    assert!(at(&compute, 1..5, 1..4) > at(&compute, 0..5, 10..15) + 7.0);
    for name in ["database", "risk_analytics"] {
        let values = used(name);
        let peak = at(&values, 0..5, 16..18);
        assert!(
            peak > at(&values, 0..5, 2..5) + 8.0 && peak > at(&values, 0..5, 11..14) + 5.0,
            "{name}"
        );
        assert!(peak > at(&values, 5..7, 16..18) + 5.0, "{name}");
    }
    let web = used("web_api");
    assert!(at(&web, 0..5, 10..16) > at(&web, 0..5, 1..5) + 7.0);
    assert!(at(&web, 0..5, 10..16) > at(&web, 5..7, 10..16) + 4.0);
}

/// By server: the 5-minute means of one metric.
fn five_minute_means(mut simulator: Simulator, metric: usize) -> Vec<Vec<f64>> {
    let mut buckets: Vec<BTreeMap<i64, (f64, f64)>> =
        vec![BTreeMap::new(); simulator.servers().len()];
    while let Some(step) = simulator.next_step() {
        for record in step.records().filter(|r| r.values[metric].is_finite()) {
            let bucket = buckets[record.server_index]
                .entry(step.timestamp_ms / 300_000)
                .or_default();
            bucket.0 += f64::from(record.values[metric]);
            bucket.1 += 1.0;
        }
    }
    buckets
        .into_iter()
        .map(|server| server.into_values().map(|(sum, n)| sum / n).collect())
        .collect()
}

/// Sixty 5-second records say the same as one 5-minute record: mean, spread and memory in time.
#[test]
fn the_step_does_not_change_the_five_minute_means() {
    let fleet = profile("data_ingest", 12);
    for name in [
        "cpu_user_pct",
        "mem_used_pct",
        "net_in_mb_s",
        "load_average",
    ] {
        let short = five_minute_means(healthy(&fleet, 15_000, 2), metric(name));
        let long = five_minute_means(healthy(&fleet, 300_000, 2), metric(name));
        let rows = |series: &[Vec<f64>]| series.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(rows(&short), rows(&long), "the same silences");
        let steps = |series: &[Vec<f64>]| -> Vec<f64> {
            series
                .iter()
                .flat_map(|s| s.windows(2).map(|w| w[1] - w[0]))
                .collect()
        };
        let (spread_short, spread_long) = (sd(&short.concat()), sd(&long.concat()));
        let apart = mean(short.concat()) - mean(long.concat());
        assert!(apart.abs() < 0.25 * spread_long, "{name}");
        assert!(
            (0.8..1.25).contains(&(spread_short / spread_long)),
            "{name} {spread_short} {spread_long}"
        );
        let (jump_short, jump_long) = (sd(&steps(&short)), sd(&steps(&long)));
        assert!(
            (0.85..1.18).contains(&(jump_short / jump_long)),
            "{name} {jump_short} {jump_long}"
        );
    }
}

/// Clocks go back on 2026-11-01 and forward on 2027-03-14 in New York; patches fall into those very nights.
#[test]
fn changes_of_clocks_do_no_harm() {
    for day in [1_793_500_000_000, 1_804_996_800_000] {
        let start = day - 12 * HOUR_MS;
        let mut simulator = Simulator::new(
            &linborg(),
            &FleetSpec::Servers(90),
            1,
            start,
            60_000,
            Scenario::healthy(),
        )
        .unwrap();
        let mut rows = 0;
        for n in 0..2_000 {
            let step = simulator.next_step().unwrap();
            assert_eq!(step.timestamp_ms, start + n * MINUTE_MS);
            rows += step.len();
        }
        assert!(rows > 170_000, "{rows}");
    }
}

#[test]
fn what_cannot_be_simulated_is_refused() {
    let make = |contract: &Contract, start_ms, step_ms| {
        Simulator::new(
            contract,
            &FleetSpec::Servers(9),
            1,
            start_ms,
            step_ms,
            Scenario::healthy(),
        )
        .err()
    };
    for name in ["vm", "wafer-test"] {
        let refused = make(&Contract::shipped(name).unwrap(), MONDAY_MS, 5_000).unwrap();
        assert!(
            matches!(&refused, FleetError::UnsupportedContract { contract, .. } if contract == name)
        );
        assert!(refused.to_string().contains("linborg"), "{refused}");
    }
    for start_ms in [0, i64::MIN, i64::MAX] {
        assert_eq!(
            make(&linborg(), start_ms, 5_000),
            Some(FleetError::BadStart { start_ms })
        );
    }
    for step_ms in [0, -1, 99, HOUR_MS + 1, i64::MAX] {
        assert_eq!(
            make(&linborg(), MONDAY_MS, step_ms),
            Some(FleetError::BadStep { step_ms })
        );
    }
}

#[test]
fn the_simulation_ends_where_it_is_told_to() {
    let mut simulator =
        simulator(&FleetSpec::Servers(3), 300_000, Scenario::healthy()).until(MONDAY_MS + 600_001);
    let mut starts = Vec::new();
    while let Some(step) = simulator.next_step() {
        starts.push(step.timestamp_ms - MONDAY_MS);
    }
    assert_eq!(starts, [0, 300_000, 600_000]);
    assert!(simulator.next_step().is_none());
}

#[test]
fn steps_go_into_columns_with_nulls_for_gaps() {
    let mut simulator = healthy(&FleetSpec::Servers(90), 300_000, 2);
    let mut records = fleet::Records::new(simulator.metrics());
    let mut gaps = 0;
    while let Some(step) = simulator.next_step() {
        step.append_to(&mut records).unwrap();
        gaps += step
            .records()
            .flat_map(|r| r.values)
            .filter(|v| v.is_nan())
            .count();
    }
    let batch = records.to_batch(0..records.len()).unwrap();
    let names: Vec<&str> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    assert_eq!(names[..4], ["timestamp", "server", "profile", "state"]);
    assert_eq!(
        names[4..],
        linborg()
            .raw_metrics()
            .iter()
            .map(|m| m.name.as_str())
            .collect::<Vec<_>>()
    );
    assert_eq!(
        batch
            .columns()
            .iter()
            .map(|c| c.null_count())
            .sum::<usize>(),
        gaps
    );
    assert!(gaps > 0 && records.num_servers() == 90);
}
