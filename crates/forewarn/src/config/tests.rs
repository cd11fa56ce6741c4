use super::*;

#[allow(clippy::panic)]
#[track_caller]
fn settings(set: &[&str]) -> Settings {
    match load(&sources(set)) {
        Ok(settings) => settings,
        Err(refusal) => panic!("{refusal}"),
    }
}

fn sources(set: &[&str]) -> Sources {
    Sources {
        file: None,
        set: set.iter().map(|&s| s.to_owned()).collect(),
        env: Vec::new(),
    }
}

#[allow(clippy::panic)]
#[track_caller]
fn refused(set: &[&str]) -> String {
    match load(&sources(set)) {
        Ok(_) => panic!("{set:?} was taken"),
        Err(refusal) => refusal.to_string(),
    }
}

#[track_caller]
fn check_refused(set: &str, expected: &str) {
    let message = refused(&[set]);
    assert!(!message.contains('\n'), "{message}");
    assert_eq!(message, expected);
}

#[test]
fn nothing_written_is_the_interface_s_defaults() {
    let s = settings(&[]);
    assert_eq!(s.contract.name, "linborg");
    assert_eq!(s.kafka.brokers, "localhost:9092");
    assert_eq!(s.topics.prefix, "forewarn.");
    assert_eq!(s.telemetry.listen, "127.0.0.1:0");
    assert_eq!(s.rollup.grace, Duration::from_secs(60));
    assert_eq!(s.rollup.idle_after, Duration::from_secs(600));
    assert_eq!((s.forecast.every, s.forecast.batch), (1, 512));
    assert_eq!(s.forecast.max_wait, Duration::from_millis(200));
    let names: Vec<_> = s.archive.topics.iter().map(|t| t.short_name()).collect();
    assert_eq!(
        names,
        ["metrics", "rollups", "predictions", "drift", "control"]
    );
    assert_eq!(s.archive.flush_bytes, 128 << 20);
    assert_eq!(s.archive.flush_age, Duration::from_secs(600));
    assert_eq!(s.drift.policy, drift::Policy::SLA);
    assert_eq!(s.drift.calibration, drift::Calibration::On);
    assert_eq!(s.drift.fds, drift::Aggregate::Max);
    assert_eq!(s.devices, tft::Device::Auto.into());
    assert_eq!(s.train.preset, "production");
    assert_eq!(s.train.precision, tft::Precision::Auto);
    assert_eq!((s.train.days, s.train.max_seconds), (None, None));
    assert_eq!(s.train.retry_after, Duration::from_secs(300));
    assert_eq!(s.decision.min_between, Duration::from_secs(6 * 3_600));
    assert_eq!(s.quiet.max_load, 0.3);
    assert!(s.is_default("log.level"));
}

#[test]
fn each_bad_value_is_one_line_that_says_what_where_and_what_to_do() {
    for (set, expected) in [
        (
            "rollup.grace=sixty",
            "rollup.grace = \"sixty\" (from --set): not a duration; write a number with ms, s, m, h or d behind it, like \"60s\"",
        ),
        (
            "model.device=gpu",
            "model.device = \"gpu\" (from --set): not a device; write auto, cpu, libtorch, libtorch:cuda:N, cuda or cuda:N, or several with commas between them",
        ),
        (
            "train.precision=fp16",
            "train.precision = \"fp16\" (from --set): expected one of auto, f32, bf16",
        ),
        (
            "rollup.idle_after=0s",
            "rollup.idle_after = \"0s\" (from --set): must be longer than zero",
        ),
        (
            "delivery=exactly_once",
            "delivery = \"exactly_once\" (from --set): not there yet; write at_least_once",
        ),
        (
            "kafka.brokers=localhost",
            "kafka.brokers = \"localhost\" (from --set): localhost: no port; write host:port, like \"127.0.0.1:9100\" or \"[::1]:9100\"",
        ),
        (
            "telemetry.listen=localhost:http",
            "telemetry.listen = \"localhost:http\" (from --set): the port is not a number from 0 to 65535; write host:port, like \"127.0.0.1:9100\" or \"[::1]:9100\"",
        ),
        (
            "lake.url=s3://bucket",
            "lake.url = \"s3://bucket\" (from --set): s3:// is not built into this version; write a path, file:///path or memory://",
        ),
        (
            "archive.topics=metrics,rolups",
            "archive.topics = \"metrics,rolups\" (from --set): no topic rolups; there are metrics, rollups, predictions, predictions.shadow, metrics.dlq, drift.panes, drift, alerts, control",
        ),
        (
            "archive.topics=drift,drift",
            "archive.topics = \"drift,drift\" (from --set): drift is written twice",
        ),
        (
            "archive.flush_bytes=big",
            "archive.flush_bytes = \"big\" (from --set): not a size; write a whole number with B, KiB, MiB or GiB behind it, like \"128MiB\"",
        ),
        (
            "forecast.every=0",
            "forecast.every = \"0\" (from --set): must be a whole number of at least 1",
        ),
        (
            "quiet.max_load=30",
            "quiet.max_load = \"30\" (from --set): must be a number from 0 to 1",
        ),
        (
            "train.preset=fast",
            "train.preset = \"fast\" (from --set): write quick or validate or production or incremental",
        ),
        (
            "train.days=-1",
            "train.days = \"-1\" (from --set): must be a number of days above 0",
        ),
    ] {
        check_refused(set, expected);
    }
}

const CRON: &str =
    "write minute, hour, day of the month, month and day of the week, like \"0 2 * * *\"";
const CAUSES: &str = "write any, all, or schedule, drift, performance, share, manual and event:NAME with and, or, not and parentheses";

#[test]
fn schedules_and_triggers_that_cannot_be_are_refused() {
    for (set, problem) in [
        (
            "decision.schedule=0 2 * *",
            format!("not a cron expression (4 fields); {CRON}"),
        ),
        (
            "decision.schedule=0 0 2 * * *",
            format!("not a cron expression (6 fields); {CRON}"),
        ),
        (
            "decision.schedule=0 2 30 2 *",
            "never fires: no date fits it (like 30 February)".to_owned(),
        ),
        (
            "decision.schedule=0 2 * * *",
            "decision.triggers = \"drift\" does not use it; write \"schedule or (drift)\" there"
                .to_owned(),
        ),
        (
            "decision.triggers=drift or schedule",
            "uses schedule, but decision.schedule is not set; set it, like \"0 2 * * *\""
                .to_owned(),
        ),
        (
            "decision.triggers=drift and",
            format!("a cause is missing at character 10; {CAUSES}"),
        ),
        (
            "decision.triggers=drift xor share",
            format!("unexpected \"xor\" at character 7; {CAUSES}"),
        ),
        (
            "decision.triggers=(drift or event:deploy",
            format!("\")\" is missing at character 23; {CAUSES}"),
        ),
        (
            "decision.time_zone=America/New York",
            "no time zone of the IANA list; write one like America/New_York".to_owned(),
        ),
    ] {
        let (key, value) = set.split_once('=').unwrap_or_default();
        check_refused(set, &format!("{key} = {value:?} (from --set): {problem}"));
    }
    // What is out of a field's range is the cron library's to say.
    let message = refused(&["decision.schedule=61 2 * * *"]);
    assert!(
        message.starts_with(
            "decision.schedule = \"61 2 * * *\" (from --set): not a cron expression ("
        ),
        "{message}"
    );
    assert!(
        message.ends_with(CRON) && !message.contains('\n'),
        "{message}"
    );
}

#[test]
fn limits_of_the_decision_that_cannot_be_are_refused() {
    for (set, problem) in [
        (
            "decision.force_after=5h",
            "shorter than decision.min_hours_between, which is 6h: no training could be forced then",
        ),
        ("decision.force_after=0s", "must be longer than zero"),
        (
            "decision.max_in_week=0",
            "must be a whole number of at least 1",
        ),
        ("decision.max_in_week=101", "must be at most 100"),
        ("decision.min_accuracy=88", "must be a number from 0 to 1"),
        ("decision.min_accuracy=NaN", "must be a number from 0 to 1"),
        (
            "decision.max_share_drifted=-0.1",
            "must be a number from 0 to 1",
        ),
        ("quiet.rule=calm", "write load or cpu-mem or both or either"),
        ("quiet.max_load=1.01", "must be a number from 0 to 1"),
        ("drift.policy=strict", "write sla or any-metric"),
        ("drift.calibration=off", "write on or raw"),
        ("drift.fds=median", "write max or mean or sum"),
        (
            "train.retry_after=31m",
            "must be at most 30m: a worker silent for an hour loses its training",
        ),
    ] {
        let (key, value) = set.split_once('=').unwrap_or_default();
        check_refused(set, &format!("{key} = {value:?} (from --set): {problem}"));
    }
    // The one that was not written is named with where it comes from.
    let message = refused(&["decision.min_hours_between=31d"]);
    assert_eq!(
        message,
        "decision.force_after = \"30d\" (by default): shorter than decision.min_hours_between, which is 31d: no training could be forced then"
    );
    settings(&["decision.min_hours_between=30d"]);
}

#[test]
fn a_schedule_goes_by_its_zone_or_the_contract_s() {
    let with = [
        "decision.triggers=schedule or drift",
        "decision.schedule=0  2 * * *",
    ];
    let zone_of = |set: &[&str]| {
        let schedule = settings(&[&with[..], set].concat()).decision.schedule;
        schedule.map(|schedule| schedule.to_string())
    };
    assert_eq!(
        zone_of(&["decision.time_zone=Europe/Berlin"]).as_deref(),
        Some("0 2 * * * Europe/Berlin")
    );
    let contract = settings(&[]).contract.time_zone;
    assert_eq!(zone_of(&[]), Some(format!("0 2 * * * {contract}")));
}

#[test]
fn what_only_forewarn_sets_and_secrets_that_are_not_there_are_refused() {
    for (set, expected) in [
        (
            "drift.policy=any",
            "drift.policy = \"any\" (from --set): write sla or any-metric",
        ),
        (
            "kafka.properties.group.id=x",
            "kafka.properties.group.id (from --set): set by Forewarn itself; each role has its own group",
        ),
        (
            "kafka.properties.sasl.password={ env = \"NOT_SET\" }",
            "kafka.properties.sasl.password (from --set): the environment variable NOT_SET is not set",
        ),
        (
            "kafka.instance_id=a b",
            "kafka.instance_id = \"a b\" (from --set): only letters, digits, '.', '_' and '-' are allowed",
        ),
    ] {
        check_refused(set, expected);
    }
}

#[test]
fn a_contract_that_is_not_there_or_malformed_is_named() {
    let message = refused(&["contract=no/such.contract.toml"]);
    assert!(
        message.starts_with("contract = \"no/such.contract.toml\" (from --set): cannot be read"),
        "{message}"
    );
    assert!(message.contains("linborg, vm, wafer-test"), "{message}");
    let dir = tempfile::tempdir().map_err(|e| e.to_string());
    let path = dir.map(|dir| {
        let path = dir.path().join("x.contract.toml");
        let written = std::fs::write(&path, "name = 3\n").is_ok();
        (dir, path, written)
    });
    assert!(path.as_ref().is_ok_and(|(_, _, written)| *written));
    if let Ok((_, path, _)) = path {
        let message = refused(&[&format!("contract={}", path.display())]);
        assert!(
            message.contains("x.contract.toml") && !message.contains('\n'),
            "{message}"
        );
    }
}

#[test]
fn all_mistakes_are_found_at_once() {
    let message = refused(&["rollup.grace=x", "forecast.every=0", "kafka.broker=a:1"]);
    for key in [
        "rollup.grace",
        "forecast.every",
        "did you mean kafka.brokers?",
    ] {
        assert!(message.contains(key), "{message}");
    }
    assert_eq!(message.matches("; also: ").count(), 2, "{message}");
}

#[test]
fn a_named_file_must_be_there() {
    let sources = Sources {
        file: Some("no/such/forewarn.toml".into()),
        ..Sources::default()
    };
    let message = load(&sources)
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    assert!(
        message.starts_with("--config no/such/forewarn.toml: cannot be read"),
        "{message}"
    );
}

#[test]
fn librdkafka_s_names_go_through_as_they_are() {
    let s = settings(&["kafka.properties.session.timeout.ms=10000"]);
    let properties: Vec<_> = s.kafka.plain_properties().collect();
    assert_eq!(properties, [("session.timeout.ms", "10000")]);
}

#[test]
fn secrets_are_read_and_never_shown() {
    let mut sources = sources(&[
        "kafka.properties.sasl.username=me",
        "kafka.properties.ssl.key.location=/etc/key.pem",
        "kafka.properties.sasl.password={ env = \"PW\" }",
        "kafka.properties.ssl.key.password=clear",
        "kafka.properties.debug={ env = \"PW\" }",
    ]);
    sources.env.push(("PW".to_owned(), "hunter2".to_owned()));
    let loaded = load(&sources);
    assert!(loaded.is_ok(), "{loaded:?}");
    if let Ok(s) = loaded {
        let password = s.kafka.properties.get("sasl.password");
        assert_eq!(password.map(|p| p.value.as_str()), Some("hunter2"));
        for shown in [s.to_toml(), s.to_json().to_string(), format!("{s:?}")] {
            assert!(
                !shown.contains("hunter2") && !shown.contains("clear"),
                "{shown}"
            );
            assert!(shown.contains("/etc/key.pem"), "{shown}");
        }
    }
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let written = [
        "rollup.grace=90s",
        "train.days=12.5",
        "train.max_seconds=2m",
        "archive.topics=rollups,metrics.dlq",
        "archive.flush_bytes=1000",
        "kafka.brokers=a:1,b:2",
        "kafka.properties.linger.ms=7",
        "kafka.instance_id=one",
        "contract=vm",
        "log.format=json",
    ];
    let first = settings(&written);
    let text = first.to_toml();
    let mut raw = raw::Raw::default();
    raw.add_file("printed", &text);
    let second = resolve::resolve(raw, &|_| None);
    assert!(second.is_ok(), "{second:?} from\n{text}");
    if let Ok(second) = second {
        assert_eq!(second.to_json(), first.to_json());
    }
    for key in keys::KEYS {
        let name = key.name.rsplit('.').next().unwrap_or_default();
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}

#[test]
fn a_device_that_is_not_there_is_refused_with_those_that_are() {
    let error = refused(&["model.device=cuda:60000"]);
    assert!(
        error.contains("model.device = \"cuda:60000\" (from --set): device cuda:60000 is not"),
        "{error}"
    );
    assert!(!cfg!(feature = "flex") || error.contains("cpu"), "{error}");
    let error = refused(&["model.device=auto,cuda:60000"]);
    assert!(error.contains("device cuda:60000 is not"), "{error}");
}
