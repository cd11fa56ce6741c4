//! Incidents, restarts, silences, states: what happens to single servers.

use super::*;

#[test]
fn all_states_occur_and_not_too_often() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let all = lines(healthy(&FleetSpec::Servers(90), 300_000, 14));
    for line in &all {
        *counts.entry(line.3.clone()).or_default() += 1;
    }
    let named: HashSet<&String> = counts.keys().collect();
    assert_eq!(named, linborg().states.iter().collect(), "{counts:?}");
    let share = |state: &str| counts[state] as f64 / all.len() as f64;
    assert!(share("healthy") > 0.6, "{counts:?}");
    for rare in ["critical_issue", "maintenance", "offline", "recovery"] {
        assert!(share(rare) < 0.02, "{counts:?}");
    }
}

#[test]
fn incidents_build_up_and_cross_their_critical_threshold() {
    let contract = linborg();
    let fleet = FleetSpec::Servers(90);
    let simulator = healthy(&fleet, 300_000, 14);
    let incidents = simulator.incidents(MONDAY_MS, MONDAY_MS + 14 * DAY_MS);
    assert!((60..140).contains(&incidents.len()), "{}", incidents.len());
    let symptom = |kind| match kind {
        IncidentKind::MemoryLeak => "mem_used_pct",
        IncidentKind::IoSaturation => "cpu_iowait_pct",
        IncidentKind::CpuRunaway => "load_average",
        IncidentKind::ConnectionLeak => "back_close_wait",
        IncidentKind::DiskFull => "disk_usage_pct",
    };
    let mut series: HashMap<(String, i64), Vec<f32>> = HashMap::new();
    let mut running = simulator;
    while let Some(step) = running.next_step() {
        series.extend(
            step.records()
                .map(|r| ((r.server.to_owned(), r.timestamp_ms), r.values.to_vec())),
        );
    }
    let (mut crossed, mut critical, mut rose, mut seen) = (0, 0, 0, 0);
    for incident in incidents
        .iter()
        .filter(|i| i.start_ms > MONDAY_MS && i.end_ms < MONDAY_MS + 14 * DAY_MS)
    {
        let column = metric(symptom(incident.kind));
        let at = |ms: i64| {
            series
                .get(&(incident.server.clone(), ms - ms.rem_euclid(300_000)))
                .map(|v| v[column])
        };
        let (Some(before), Some(peak)) = (
            at(incident.start_ms - 300_000),
            at(incident.peak_ms + 300_000),
        ) else {
            continue;
        };
        if before.is_nan() || peak.is_nan() {
            continue;
        }
        seen += 1;
        let half = at((incident.start_ms + incident.peak_ms) / 2).filter(|v| v.is_finite());
        rose += usize::from(peak > before && half.is_none_or(|half| half < peak));
        if incident.critical {
            critical += 1;
            let profile = contract.profile_of(&incident.server, None);
            let threshold = contract.thresholds(column, profile).1.unwrap();
            // A load average is judged in absolute numbers, which a machine with 8 cores does not reach.
            let threshold = if incident.kind == IncidentKind::CpuRunaway {
                threshold.min(20.0)
            } else {
                threshold
            };
            crossed += usize::from(peak >= threshold);
        }
    }
    assert!(seen > 50 && critical > 35, "{seen} {critical}");
    assert!(rose * 100 >= seen * 95, "{rose} of {seen}");
    assert!(crossed * 100 >= critical * 95, "{crossed} of {critical}");
}

#[test]
fn uptime_grows_and_restarts_are_followed_by_recovery() {
    let uptime = metric("uptime_days");
    let mut last: HashMap<String, (i64, f32)> = HashMap::new();
    let (mut restarts, mut recoveries) = (0, 0);
    for (server, at, _, state, bits) in lines(healthy(&FleetSpec::Servers(90), 300_000, 14)) {
        let days = f32::from_bits(bits[uptime]);
        if days.is_nan() {
            continue;
        }
        if let Some((before, uptime_before)) = last.insert(server, (at, days)) {
            let passed = (at - before) as f32 / DAY_MS as f32;
            if days < uptime_before {
                restarts += 1;
                recoveries += usize::from(state == "recovery" || days > 0.03);
                assert!(days <= passed + 0.01, "{days}");
            } else {
                assert!(
                    (days - uptime_before - passed).abs() < 1e-3,
                    "{days} {uptime_before} {passed}"
                );
            }
        }
    }
    // Every server is patched once in 28 days.
    assert!((30..90).contains(&restarts), "{restarts}");
    assert_eq!(recoveries, restarts);
}

#[test]
fn silences_are_a_small_part_and_null_values_too() {
    let all = lines(healthy(&FleetSpec::Servers(90), 300_000, 14));
    let silent = 1.0 - all.len() as f64 / (90.0 * 14.0 * 288.0);
    assert!((0.001..0.01).contains(&silent), "{silent}");
    let null = all
        .iter()
        .flat_map(|l| &l.4)
        .filter(|bits| f32::from_bits(**bits).is_nan())
        .count() as f64;
    let share = null / (all.len() * 14) as f64;
    assert!((0.00005..0.002).contains(&share), "{share}");
}

#[test]
fn incidents_of_a_range_do_not_depend_on_where_the_simulation_starts() {
    let fleet = FleetSpec::Servers(30);
    let early = simulator(&fleet, 300_000, Scenario::healthy());
    let late = Simulator::new(
        &linborg(),
        &fleet,
        7,
        MONDAY_MS + 9 * DAY_MS,
        5_000,
        Scenario::healthy(),
    )
    .unwrap();
    let range = (MONDAY_MS + 5 * DAY_MS, MONDAY_MS + 20 * DAY_MS);
    assert_eq!(
        early.incidents(range.0, range.1),
        late.incidents(range.0, range.1)
    );
    assert!(early.incidents(range.1, range.0).is_empty());
    assert!(early.incidents(i64::MIN, i64::MIN + 1).is_empty());
    // A century of incidents, and no harm from absurd bounds.
    assert!(!early.incidents(i64::MIN, MONDAY_MS).is_empty());
}

/// A back-fill goes on as a live stream: uptime, incidents and levels stay what they were.
#[test]
fn a_back_fill_goes_on_with_shorter_steps() {
    let fleet = profile("database", 30);
    let mut simulator =
        simulator(&fleet, 300_000, Scenario::healthy()).until(MONDAY_MS + 2 * DAY_MS + HOUR_MS);
    let (memory, uptime) = (metric("mem_used_pct"), metric("uptime_days"));
    let mut last: HashMap<String, (f32, f32)> = HashMap::new();
    while simulator.next_ms() < MONDAY_MS + 2 * DAY_MS {
        let step = simulator.next_step().unwrap();
        last = step
            .records()
            .map(|r| (r.server.to_owned(), (r.values[memory], r.values[uptime])))
            .collect();
    }
    simulator.change_step(5_000).unwrap();
    let step = simulator.next_step().unwrap();
    assert_eq!(step.timestamp_ms, MONDAY_MS + 2 * DAY_MS);
    for record in step.records() {
        let Some((mem, up)) = last.get(record.server) else {
            continue;
        };
        assert!((record.values[memory] - mem).abs() < 10.0 || record.values[memory].is_nan());
        assert!((record.values[uptime] - up).abs() < 0.01 || record.values[uptime].is_nan());
    }
    assert_eq!(simulator.next_ms(), MONDAY_MS + 2 * DAY_MS + 5_000);
}
