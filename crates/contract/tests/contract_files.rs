//! The contracts that come with the program say what the design says, and a wrong file is refused in one line.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use contract::{Contract, Derived, RollupFn, server_id};

fn shipped(name: &str) -> Contract {
    Contract::from_toml(Contract::shipped_text(name).unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_shipped_contract_is_valid_and_has_its_name() {
    for name in Contract::SHIPPED {
        assert_eq!(shipped(name).name, name);
        assert_eq!(Contract::shipped(name), Some(shipped(name)));
    }
    assert_eq!(Contract::shipped("other"), None);
}

#[test]
fn linborg_is_as_designed() {
    let contract = shipped("linborg");
    let names: Vec<&str> = contract.metrics.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "cpu_user_pct",
            "cpu_sys_pct",
            "cpu_iowait_pct",
            "cpu_idle_pct",
            "java_cpu_pct",
            "mem_used_pct",
            "swap_used_pct",
            "disk_usage_pct",
            "net_in_mb_s",
            "net_out_mb_s",
            "back_close_wait",
            "front_close_wait",
            "load_average",
            "uptime_days",
        ]
    );
    assert_eq!(contract.raw_metrics().len(), 14);
    let thresholds: Vec<_> = contract
        .metrics
        .iter()
        .map(|m| (m.warning, m.critical))
        .collect();
    let both = |warning: f32, critical: f32| (Some(warning), Some(critical));
    assert_eq!(
        thresholds,
        [
            both(85.0, 95.0),
            both(30.0, 50.0),
            both(20.0, 40.0),
            both(15.0, 5.0),
            both(85.0, 95.0),
            both(85.0, 95.0),
            both(20.0, 50.0),
            both(85.0, 95.0),
            (None, None),
            (None, None),
            both(100.0, 500.0),
            both(100.0, 500.0),
            both(16.0, 32.0),
            (None, None),
        ]
    );
    for metric in &contract.metrics {
        let is_percent = metric.unit == "%";
        assert_eq!(metric.min, Some(0.0), "{}", metric.name);
        assert_eq!(metric.max, is_percent.then_some(100.0), "{}", metric.name);
        assert_eq!(
            metric.tolerance,
            if is_percent { 5.0 } else { 0.0 },
            "{}",
            metric.name
        );
        let floor = match metric.name.as_str() {
            "uptime_days" => None,
            "net_in_mb_s" | "net_out_mb_s" | "load_average" => Some(0.1),
            _ => Some(1.0),
        };
        assert_eq!(metric.per_floor, floor, "{}", metric.name);
        let is_uptime = metric.name == "uptime_days";
        assert_eq!(metric.monotone, is_uptime);
        assert_eq!(metric.rollup == RollupFn::Last, is_uptime);
        assert_eq!(metric.lower_is_worse, metric.name == "cpu_idle_pct");
    }
    assert_eq!(
        contract.states,
        [
            "critical_issue",
            "healthy",
            "heavy_load",
            "idle",
            "maintenance",
            "morning_spike",
            "offline",
            "recovery"
        ]
    );
    assert_eq!(contract.time_zone, chrono_tz::America::New_York);
    assert_eq!(
        (
            contract.step_seconds,
            contract.context_steps,
            contract.horizon_steps
        ),
        (300, 288, 96)
    );
    assert_eq!(contract.step_ms(), 300_000);
    assert_eq!(contract.load.cpu, Some(0));
    assert_eq!(contract.load.memory, Some(5));
}

#[test]
fn databases_have_iowait_thresholds_of_their_own() {
    let contract = shipped("linborg");
    let iowait = contract.metric_index("cpu_iowait_pct").unwrap();
    let database = contract.profile_index("database").unwrap();
    let generic = contract.profile_index("generic").unwrap();
    assert_eq!(
        contract.thresholds(iowait, database),
        (Some(30.0), Some(50.0))
    );
    assert_eq!(
        contract.thresholds(iowait, generic),
        (Some(20.0), Some(40.0))
    );
    assert_eq!(contract.thresholds(0, database), (Some(85.0), Some(95.0)));
    assert_eq!(contract.thresholds(99, 99), (None, None));
}

#[test]
fn profiles_follow_the_record_then_the_name() {
    let contract = shipped("linborg");
    let check = |server: &str, said: Option<&str>, expected: &str| {
        let profile = contract.profile_of(server, said);
        assert_eq!(
            contract.profiles[profile].name, expected,
            "{server} {said:?}"
        );
    };
    check("ppml0015", None, "ml_compute");
    check("ppdb001", None, "database");
    check("ppweb123", None, "web_api");
    check("ppcon01", None, "conductor_mgmt");
    check("ppetl007", None, "data_ingest");
    check("pprisk008", None, "risk_analytics");
    check("ppgen001", None, "generic");
    check("ppml015", None, "generic");
    check("ppml00155", None, "generic");
    check("ppmlabcd", None, "generic");
    check("", None, "generic");
    check("ppml0015", Some("database"), "database");
    check("ppml0015", Some("no such profile"), "ml_compute");
    check("ppml００1", None, "generic");
}

#[test]
fn server_ids_are_the_known_ones() {
    assert_eq!(server_id("ppml0015"), 286_630);
}

#[test]
fn vm_is_as_designed() {
    let contract = shipped("vm");
    let ranges: Vec<_> = contract
        .metrics
        .iter()
        .map(|m| (m.name.as_str(), m.min, m.max, m.tolerance))
        .collect();
    assert_eq!(
        ranges,
        [
            ("cpu_used_pct", Some(0.0), Some(100.0), 10.0),
            ("mem_used_pct", Some(0.0), Some(100.0), 5.0),
            ("disk_read_mb_s", Some(0.0), None, 0.0),
            ("disk_write_mb_s", Some(0.0), None, 0.0),
            ("net_in_mb_s", Some(0.0), None, 0.0),
            ("net_out_mb_s", Some(0.0), None, 0.0),
        ]
    );
    assert_eq!(contract.states, ["healthy"]);
    assert_eq!(contract.profile_of("vm0007x8", None), 0);
}

#[test]
fn wafer_test_has_derived_metrics() {
    let contract = shipped("wafer-test");
    let derived: Vec<_> = contract.metrics.iter().map(|m| m.derived).collect();
    assert_eq!(
        derived,
        [
            None,
            None,
            None,
            None,
            Some(Derived::Product { left: 0, right: 1 }),
            Some(Derived::Ratio {
                numerator: 2,
                denominator: 4
            }),
        ]
    );
    assert_eq!(contract.raw_metrics().len(), 4);
    assert_eq!(contract.num_metrics(), 6);
}

#[test]
fn the_fingerprint_is_over_what_gives_numbers_their_meaning() {
    let text = Contract::shipped_text("linborg").unwrap();
    let fingerprint = |text: &str| Contract::from_toml(text).unwrap().fingerprint().to_owned();
    let original = fingerprint(text);
    assert_eq!(original.len(), 64);
    assert_eq!(shipped("linborg").short_fingerprint(), &original[..16]);
    let same = [
        ("warning = 85", "warning = 80"),
        ("meaning = \"memory in use\"", "meaning = \"RAM\""),
        ("America/New_York", "UTC"),
        ("per_floor = 0.1", "per_floor = 0.2"),
        ("pattern = \"ppdb###\"", "pattern = \"db###\""),
        ("\"recovery\"", "\"recovered\""),
    ];
    for (from, to) in same {
        assert!(text.contains(from), "{from}");
        assert_eq!(
            fingerprint(&text.replace(from, to)),
            original,
            "{from} → {to}"
        );
    }
    let other = [
        ("name = \"swap_used_pct\"", "name = \"swap_pct\""),
        ("unit = \"days\"", "unit = \"d\""),
        ("tolerance = 5", "tolerance = 6"),
        ("max = 100", "max = 101"),
        ("min = 0", "min = -1"),
        ("rollup = \"last\"", "rollup = \"mean\""),
        ("step_seconds = 300", "step_seconds = 60"),
        ("context_steps = 288", "context_steps = 289"),
        ("horizon_steps = 96", "horizon_steps = 97"),
    ];
    for (from, to) in other {
        assert!(text.contains(from), "{from}");
        assert_ne!(
            fingerprint(&text.replace(from, to)),
            original,
            "{from} → {to}"
        );
    }
    let swapped = text
        .replace("cpu_user_pct", "x")
        .replace("cpu_sys_pct", "cpu_user_pct")
        .replace("\"x\"", "\"cpu_sys_pct\"");
    assert_ne!(fingerprint(&swapped), original);
}

#[test]
fn the_fingerprints_are_those_of_models_and_archives_already_written() {
    // A change here makes every model and every archived row of the contract unreadable: it must be meant.
    assert_eq!(shipped("linborg").short_fingerprint(), "e14cd4be6a13580a");
    assert_eq!(shipped("vm").short_fingerprint(), "d6b95772b2074eff");
    assert_eq!(
        shipped("wafer-test").short_fingerprint(),
        "7ee083053d94724d"
    );
}

/// Changes one place of a shipped file and expects the refusal to name what is wrong, in one line.
#[track_caller]
fn check_refused(contract: &str, from: &str, to: &str, expected: &[&str]) {
    let text = Contract::shipped_text(contract).unwrap();
    assert!(text.contains(from), "{from} is not in {contract}");
    let error = Contract::from_toml(&text.replacen(from, to, 1))
        .unwrap_err()
        .to_string();
    assert!(!error.contains('\n'), "{error}");
    for part in expected {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn older_names_are_refused_with_the_new_ones() {
    let check = |old: &str, new: &str| {
        let to = format!("name = \"{old}\"");
        check_refused("linborg", "name = \"java_cpu_pct\"", &to, &[old, new]);
    };
    check("cpu_pct", "cpu_user_pct");
    check("mem_pct", "mem_used_pct");
    check("disk_io_mb_s", "disk_usage_pct");
    check("latency_ms", "load_average");
}

#[test]
fn what_is_wrong_is_named() {
    let vm = |from: &str, to: &str, expected: &[&str]| check_refused("vm", from, to, expected);
    vm(
        "tolerance = 10",
        "tolerance = -1",
        &["metrics.cpu_used_pct.tolerance", "0 or more"],
    );
    vm(
        "max = 100",
        "max = 0",
        &["metrics.cpu_used_pct.max", "more than min"],
    );
    vm(
        "max = 100",
        "max = nan",
        &["metrics.cpu_used_pct.max", "finite"],
    );
    vm("max = 100", "maxx = 100", &["line 24", "maxx"]);
    vm("max = 100\n", "", &["metrics.cpu_used_pct.tolerance"]);
    vm(
        "warning = 85",
        "warning = 96",
        &["metrics.cpu_used_pct.critical", "95", "96"],
    );
    vm(
        "Europe/Amsterdam",
        "Europe/Atlantis",
        &["time_zone", "Europe/Atlantis"],
    );
    vm(
        "step_seconds = 300",
        "step_seconds = 0",
        &["step_seconds", "divisor"],
    );
    vm(
        "step_seconds = 300",
        "step_seconds = 7",
        &["step_seconds", "divisor"],
    );
    vm(
        "context_steps = 288",
        "context_steps = 0",
        &["context_steps", "1 to"],
    );
    vm("context_steps = 288", "context_steps = -1", &["line 8"]);
    vm("[\"healthy\"]", "[]", &["states"]);
    vm("[\"healthy\"]", "[\"a\", \"a\"]", &["states", "twice"]);
    vm(
        "default_profile = \"vm\"",
        "default_profile = \"x\"",
        &["default_profile", "\"x\""],
    );
    vm(
        "cpu = \"cpu_used_pct\"",
        "cpu = \"cpu\"",
        &["load.cpu", "\"cpu\""],
    );
    vm(
        "name = \"net_in_mb_s\"",
        "name = \"net_out_mb_s\"",
        &["metrics", "net_out_mb_s", "twice"],
    );
    vm(
        "name = \"net_in_mb_s\"",
        "name = \"timestamp\"",
        &["metrics.timestamp", "our own"],
    );
    vm(
        "name = \"net_in_mb_s\"",
        "name = \"1st\"",
        &["metrics.1st", "digit"],
    );
    vm(
        "name = \"net_in_mb_s\"",
        "name = \"Net\"",
        &["metrics", "\"Net\""],
    );
    vm("name = \"vm\"", "name = \"../vm\"", &["name", "../vm"]);
    vm("[[profiles]]", "[[profile]]", &["profile"]);
    vm("per_floor = 1", "per_floor = \"1\"", &["line 28"]);
}

#[test]
fn derived_metrics_come_last_and_look_back() {
    let wafer = |from: &str, to: &str, expected: &[&str]| {
        check_refused("wafer-test", from, to, expected);
    };
    wafer(
        "product = [\"vdd\", \"idd\"]",
        "product = [\"vdd\", \"power_efficiency\"]",
        &["metrics.power.derived", "power_efficiency"],
    );
    wafer(
        "product = [\"vdd\", \"idd\"]",
        "product = [\"vdd\"]",
        &["line"],
    );
    wafer(
        "derived = { ratio = [\"frequency\", \"power\"] }\n",
        "",
        &["metrics.power_efficiency", "derived ones last"],
    );
}

#[test]
fn thresholds_of_profiles_are_checked() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        check_refused("linborg", from, to, expected);
    };
    let own = "metric = \"cpu_iowait_pct\"\nwarning = 30\ncritical = 50";
    check(
        own,
        "metric = \"iowait\"",
        &["profiles.database.thresholds.iowait"],
    );
    check(
        own,
        "metric = \"cpu_iowait_pct\"\nwarning = 60\ncritical = 50",
        &["profiles.database.thresholds.cpu_iowait_pct.critical"],
    );
    check(
        "warning = 15\ncritical = 5",
        "warning = 5\ncritical = 15",
        &["cpu_idle_pct", "at most"],
    );
}

proptest::proptest! {
    /// Whatever the text, an answer comes back, in one line.
    #[test]
    fn no_text_breaks_the_reader(
        cut in 0_usize..6000,
        insert in "[ -~\n]{0,20}",
    ) {
        let text = Contract::shipped_text("wafer-test").unwrap();
        let cut = (0..=cut.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap();
        let broken = format!("{}{insert}{}", &text[..cut], &text[cut..]);
        if let Err(error) = Contract::from_toml(&broken) {
            proptest::prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
