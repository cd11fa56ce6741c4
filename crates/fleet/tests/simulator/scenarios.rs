//! What a scenario changes, and what it leaves alone.

use super::*;

#[test]
fn a_shift_moves_what_it_says_by_what_it_says_and_only_from_then_on() {
    let from_ms = MONDAY_MS + 2 * DAY_MS;
    let fleet = FleetSpec::Servers(90);
    let shift = Scenario {
        kind: ScenarioKind::Shift,
        from_ms,
    };
    let until = MONDAY_MS + 4 * DAY_MS;
    let mut with = simulator(&fleet, 300_000, shift).until(until);
    let mut without = simulator(&fleet, 300_000, Scenario::healthy()).until(until);
    let affected: HashSet<String> = with.affected_servers().map(str::to_owned).collect();
    assert_eq!(affected.len(), 45);
    let mut moved: HashMap<(String, usize), Vec<f64>> = HashMap::new();
    let mut baseline: HashMap<(String, usize), Vec<f64>> = HashMap::new();
    while let (Some(a), Some(b)) = (with.next_step(), without.next_step()) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.records().zip(b.records()) {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            if a.timestamp_ms < from_ms || !affected.contains(a.server) {
                assert_eq!(
                    bits(a.values),
                    bits(b.values),
                    "{} {}",
                    a.server,
                    a.timestamp_ms
                );
                continue;
            }
            for (column, (x, y)) in a
                .values
                .iter()
                .zip(b.values)
                .enumerate()
                .filter(|(_, (x, y))| (*x - *y).is_finite())
            {
                moved
                    .entry((a.profile.to_owned(), column))
                    .or_default()
                    .push(f64::from(x - y));
                baseline
                    .entry((a.profile.to_owned(), column))
                    .or_default()
                    .push(f64::from(*y));
            }
        }
    }
    let mut stated = HashSet::new();
    for shift in SHIFTS {
        let key = (shift.profile.to_owned(), metric(shift.metric));
        let by = mean(moved[&key].iter().copied());
        assert!(
            (by - shift.amount).abs() < 0.12 * shift.amount.abs(),
            "{shift:?} moved by {by}"
        );
        let in_sd = shift.amount.abs() / sd(&baseline[&key]);
        assert!(in_sd >= 0.8, "{shift:?} is {in_sd} sd");
        stated.insert(key);
    }
    for (key, by) in moved.iter().filter(|(key, _)| !stated.contains(key)) {
        assert!(by.iter().all(|v| *v == 0.0), "{key:?} is not said to move");
    }
}

#[test]
fn a_new_profile_changes_the_servers_named_and_no_others() {
    let from_ms = MONDAY_MS + DAY_MS;
    let fleet = FleetSpec::Servers(90);
    let scenario = Scenario {
        kind: ScenarioKind::NewProfile,
        from_ms,
    };
    let until = MONDAY_MS + 3 * DAY_MS;
    let mut with = simulator(&fleet, 300_000, scenario).until(until);
    let mut without = simulator(&fleet, 300_000, Scenario::healthy()).until(until);
    let affected: HashSet<String> = with.affected_servers().map(str::to_owned).collect();
    assert!((8..25).contains(&affected.len()) && affected.iter().all(|s| s.starts_with("ppweb")));
    let idle = metric("cpu_idle_pct");
    let mut difference = Vec::new();
    while let (Some(a), Some(b)) = (with.next_step(), without.next_step()) {
        for (a, b) in a.records().zip(b.records()) {
            assert_eq!(a.profile, b.profile);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            if a.timestamp_ms < from_ms || !affected.contains(a.server) {
                assert_eq!(bits(a.values), bits(b.values));
            } else if (a.values[idle] - b.values[idle]).is_finite() {
                difference.push(f64::from(b.values[idle] - a.values[idle]));
            }
        }
    }
    let by = mean(difference);
    assert!((25.0..50.0).contains(&by), "{by}");
}

#[test]
fn troubled_scenarios_have_more_incidents_from_their_start_on() {
    let from_ms = MONDAY_MS + 2 * DAY_MS;
    let fleet = FleetSpec::Servers(90);
    let incidents =
        |kind, from, to| simulator(&fleet, 300_000, Scenario { kind, from_ms }).incidents(from, to);
    let healthy = incidents(ScenarioKind::Healthy, from_ms, from_ms + 12 * HOUR_MS).len();
    for kind in [ScenarioKind::Degrading, ScenarioKind::Critical] {
        let after = incidents(kind, from_ms, from_ms + 12 * HOUR_MS);
        assert!(
            after.len() > healthy + 15,
            "{kind} {} {healthy}",
            after.len()
        );
        let before = incidents(kind, MONDAY_MS, from_ms);
        assert_eq!(before, incidents(ScenarioKind::Healthy, MONDAY_MS, from_ms));
    }
    let mut simulator = simulator(
        &fleet,
        300_000,
        Scenario {
            kind: ScenarioKind::Critical,
            from_ms,
        },
    )
    .until(from_ms + 3 * HOUR_MS);
    let mut critical = 0;
    while let Some(step) = simulator.next_step() {
        critical = step
            .records()
            .filter(|r| r.state == "critical_issue")
            .count();
    }
    assert!(critical > 15, "{critical}");
}
