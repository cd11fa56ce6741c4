//! Trainings on a real broker from the asking to the end: a person's request, too few data, a training that fails, and one that gives
//! way when the fleet gets busy.

use std::time::{Duration, Instant};

use contract::Contract;
use contract::codec::encode;
use contract::record::{
    ControlEvent, ControlPayload, DECISION, Decision, DriftReport, MODEL_REJECTED,
    TRAINING_CANCELLED, TRAINING_COMPLETED, TRAINING_FAILED, TRAINING_PAUSED, TRAINING_PROGRESS,
    TRAINING_RESUMED, TRAINING_STARTED, Training,
};
use serde_json::{Value, json};
use tests::models::{models, promote};
use tests::{Running, Site, brokers, kafka, now_ms, topics};

/// A site whose archive holds the rollups of a file.
fn site(brokers: &str, file: impl Fn(&Site) -> String) -> Site {
    let mut site = Site::new(brokers, "linborg");
    site.create_topics(3);
    site.set("archive.topics", "rollups");
    site.set("train.preset", "quick");
    let file = file(&site);
    site.run(&["replay", &file]).ok();
    site.to_end("rollup");
    site.to_end("archive");
    site
}

/// The same with a model that is served, trained on these rollups.
fn served(brokers: &str) -> Site {
    let site = site(brokers, |_| models().metrics().display().to_string());
    models().register(&site);
    promote(&site, &models().linborg[0]);
    site
}

fn events(site: &Site, event_type: &str) -> Vec<(ControlEvent, Training)> {
    let all: Vec<(i32, ControlEvent)> = topics::records(site.brokers(), &site.topic("control"));
    all.into_iter()
        .filter(|(_, event)| event.event_type == event_type)
        .filter_map(|(_, event)| match event.payload.clone() {
            ControlPayload::Training(training) => Some((event, training)),
            _ => None,
        })
        .collect()
}

fn decisions(site: &Site) -> Vec<Value> {
    let listed = site.run(&["decisions", "--json"]).ok().last_json();
    listed.as_array().expect("an array").clone()
}

/// Without our name.
fn types(lines: &[Value]) -> Vec<&str> {
    let names = lines.iter().filter_map(|line| line["type"].as_str());
    names
        .filter_map(|name| name.strip_prefix("forewarn."))
        .collect()
}

fn served_version(site: &Site) -> Value {
    let listed = site.run(&["models", "list", "--json"]).ok().last_json();
    let all = listed.as_array().expect("versions");
    let found = all.iter().find(|version| version["deployed"] == true);
    found.expect("one is served")["version"].clone()
}

#[test]
fn a_person_s_request_is_answered_done_and_logged() {
    let Some(brokers) = brokers() else { return };
    let mut site = served(&brokers);
    // An event alone is no training.
    let sent = [
        "retrain",
        "--event",
        "deploy",
        "--reason",
        "version 7",
        "--json",
    ];
    let told = site.run(&sent).ok().last_json();
    assert_eq!(told, json!({ "event": "deploy", "named": false }));
    site.set("decision.triggers", "drift or event:deploy");
    assert_eq!(site.run(&sent).ok().last_json()["named"], true);
    assert_eq!(site.to_end("train")["produced"], 0);

    let ask = [
        "retrain",
        "--epochs",
        "2",
        "--reason",
        "new racks",
        "--json",
    ];
    let accepted = site.run(&ask).ok().last_json();
    assert_eq!(accepted["accepted"], true, "{accepted}");
    assert_eq!(
        accepted["reason"],
        "no drift report, load unknown, no training before, a person asked for it: train"
    );
    let job = accepted["job_id"].as_str().expect("a job").to_owned();
    // While it is open, no other is: forced or not.
    let again = site.run(&["retrain", "--force", "--json"]);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    let told = again.last_json();
    assert_eq!(
        (&told["accepted"], &told["job_id"]),
        (&json!(false), &json!(null))
    );
    assert!(
        again.stderr.contains("a training waits for a worker"),
        "{}",
        again.stderr
    );

    let ended = site.to_end("train");
    let lines = decisions(&site);
    let expected = [
        "training.requested",
        "training.requested",
        "training.requested",
        "decision",
        "decision",
        "model.published",
        "model.promoted",
        "training.completed",
    ];
    assert_eq!(types(&lines), expected, "{lines:#?}");
    assert_eq!(ended["produced"], 1);
    assert_eq!(lines[2]["reason"], "new racks");
    assert_eq!(lines[3]["id"], job.as_str());
    let decided = &lines[3]["forewarn.Decision"];
    assert_eq!(
        (&decided["manual"], &decided["trigger"]),
        (&json!(true), &json!(true)),
        "{}",
        lines[3]
    );
    let completed = &lines[7]["forewarn.Training"];
    assert_eq!(completed["job_id"], job.as_str());
    assert_eq!(completed["trigger"], "manual");
    let version = completed["version"].as_str().expect("a version");
    assert_eq!(served_version(&site), version);
    let info = site.path(&format!("registry/models/{version}/training_info.json"));
    let info: Value = serde_json::from_slice(&std::fs::read(info).expect("read")).expect("JSON");
    assert_eq!(info["epochs"], 2, "{info}");

    // The safeguards hold for people too, unless they insist.
    let early = site.run(&["retrain"]);
    early.refused(3, &["no training", "6 h have passed", "--force"]);
    let forced = site.run(&["retrain", "--force", "--json"]).ok().last_json();
    assert!(
        forced["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("overrides the safeguards")),
        "{forced}"
    );
    site.to_end("train");
    assert_eq!(events(&site, TRAINING_COMPLETED).len(), 2);
}

/// Who chose another model while this one was trained keeps it, and no second training begins for it.
#[test]
fn a_model_promoted_in_the_meantime_stays() {
    let Some(brokers) = brokers() else { return };
    let site = served(&brokers);
    site.run(&["retrain", "--epochs", "20"]).ok();
    let mut running = site.start(&["run", "--role", "train"]);
    running.until("the first step", Duration::from_secs(120), || {
        let said = events(&site, TRAINING_PROGRESS);
        said.into_iter().find(|(_, said)| said.epoch.is_some())
    });
    promote(&site, &models().linborg[1]);
    let completed = running.until("the end", Duration::from_secs(300), || {
        events(&site, TRAINING_COMPLETED).pop()
    });
    let message = &completed.1.message;
    let why = format!("{} was promoted in the meantime", models().linborg[1]);
    assert!(message.contains(&why), "{message}");
    assert_eq!(served_version(&site), models().linborg[1]);
    assert_eq!(events(&site, TRAINING_STARTED).len(), 1);
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    let lines = decisions(&site);
    let rejected = lines.iter().find(|line| line["type"] == MODEL_REJECTED);
    assert!(
        rejected.is_some_and(|line| line["reason"].as_str().is_some_and(|r| r.contains(&why))),
        "{lines:#?}"
    );
}

#[test]
fn too_few_data_are_turned_down_with_the_reason() {
    let Some(brokers) = brokers() else { return };
    let site = site(&brokers, |site| site.simulate("12", "30", "7"));
    site.run(&["retrain"]).ok();
    let ended = site.to_end("train");
    assert_eq!(ended["produced"], 0);
    let lines = decisions(&site);
    let last = lines.last().expect("a line");
    assert_eq!(last["type"], "forewarn.training.rejected", "{lines:#?}");
    let reason = last["reason"].as_str().expect("a reason");
    for words in [
        "too few data in",
        "lake",
        "1.2 of 3.0 days",
        "production stays",
    ] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    // It is not tried again by itself, and a person may ask at once.
    assert_eq!(site.to_end("train")["produced"], 0);
    assert_eq!(events(&site, TRAINING_STARTED).len(), 1);
    site.run(&["retrain"]).ok();
}

#[test]
fn a_training_that_fails_is_tried_three_times_and_given_up() {
    let Some(brokers) = brokers() else { return };
    let mut site = served(&brokers);
    let before = served_version(&site);
    // A rate at which the first step ends in weights that are no numbers.
    let config = models().path(&models().linborg[0]).join("config.json");
    let config: Value =
        serde_json::from_slice(&std::fs::read(config).expect("read")).expect("JSON");
    let tuned = json!({ "best": { "network": config["size"], "learning_rate": 1e30 } });
    let path = site.path("tuned.json");
    std::fs::write(&path, tuned.to_string()).expect("write");
    site.set("train.tuned", &path.display().to_string());
    site.set("train.retry_after", "1s");
    let checkpoints = site.path("checkpoints");
    site.set("train.checkpoints", &checkpoints.display().to_string());
    site.run(&["retrain"]).ok();
    let mut running = site.start(&["run", "--role", "train"]);
    let failed = running.until("the alert", Duration::from_secs(120), || {
        events(&site, TRAINING_FAILED).pop()
    });
    let message = &failed.1.message;
    for words in [
        "given up after 3 tries, production stays",
        "not finite",
        "forewarn retrain",
        "60 min",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let tries: Vec<String> = events(&site, TRAINING_PROGRESS)
        .into_iter()
        .map(|(_, training)| training.message)
        .filter(|message| message.starts_with("try "))
        .collect();
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert!(
        tries[1].starts_with("try 2 of 3 failed, the next one in 1 s: "),
        "{tries:?}"
    );
    assert!(running.output().contains("training given up after 3 tries"));
    let left = std::fs::read_dir(&checkpoints).expect("the directory");
    assert_eq!(left.count(), 0, "nobody goes on with it");
    let (_, metrics) = running.get("/metrics");
    for line in [
        r#"forewarn_trainings_total{outcome="failed"} 3"#,
        r#"forewarn_trainings_total{outcome="given_up"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    wait_for_metric(&mut running, "forewarn_training_failing 1");
    assert_eq!(served_version(&site), before);
    assert_eq!(running.terminate(), Some(0), "{}", running.output());

    // After a restart it is still said, and not tried again.
    let mut running = site.start(&["run", "--role", "train", "--set", "log.format=text"]);
    wait_for_metric(&mut running, "forewarn_training_failing 1");
    assert_eq!(events(&site, TRAINING_STARTED).len(), 1);
    running.kill();
    // Mended, asked for, done: a person need not wait for the hour after a failure.
    site.set("train.tuned", "");
    site.run(&["retrain"]).ok();
    let mut running = site.start(&["run", "--role", "train", "--log-format", "text"]);
    running.until("a training", Duration::from_secs(120), || {
        events(&site, TRAINING_COMPLETED).pop()
    });
    wait_for_metric(&mut running, "forewarn_training_failing 0");
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
}

#[track_caller]
fn wait_for_metric(running: &mut Running, line: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, metrics) = running.get("/metrics");
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < until, "{line}: {metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A training that the policy decided on because the fleet was quiet.
fn decision() -> ControlEvent {
    ControlEvent {
        id: "decided-in-quiet".to_owned(),
        event_type: DECISION.to_owned(),
        source: "test".to_owned(),
        time: now_ms(),
        payload: ControlPayload::Decision(Decision {
            trigger: true,
            reason: "drift score 0.13 > 0.10, load 0.22 < 0.30, no training before: train".into(),
            confidence: 1.0,
            priority: "high".to_owned(),
            score: 0.13,
            load: Some(0.22),
            status: "critical".to_owned(),
            cause: "drift".to_owned(),
            ..Decision::default()
        }),
    }
}

fn report(load: f64) -> DriftReport {
    let contract = Contract::shipped("linborg").expect("shipped");
    DriftReport {
        at: now_ms(),
        contract: contract.fingerprint().to_owned(),
        model_version: "m".to_owned(),
        baseline: "m".to_owned(),
        status: "critical".to_owned(),
        score: 0.13,
        alarm: true,
        windows: Vec::new(),
        metrics: Vec::new(),
        servers: 12,
        known_servers: 0,
        server_drift: Vec::new(),
        new_servers: 0,
        new_names: Vec::new(),
        rows: 144,
        missing_partitions: Vec::new(),
        missing_servers: 0,
        load: Some(load),
        mean_cpu: None,
        mean_memory: None,
        accuracy: None,
        share_drifted: 0.0,
        trends: Vec::new(),
        confidence: 1.0,
        recommendation: String::new(),
        positions: Vec::new(),
    }
}

/// Reports this load until the worker has said `event_type` so many times.
#[track_caller]
fn load_until(
    site: &Site,
    running: &mut Running,
    load: f64,
    event_type: &str,
    times: usize,
) -> Training {
    running.until(event_type, Duration::from_secs(60), || {
        let value = encode(&report(load)).expect("encode");
        kafka::send(
            site.brokers(),
            &site.topic("drift"),
            &[(0, None, Some(&value))],
        );
        std::thread::sleep(Duration::from_millis(50));
        let mut said = events(site, event_type);
        (said.len() >= times).then(|| said.remove(times - 1).1)
    })
}

fn cpu_seconds(running: &mut Running) -> f64 {
    let (_, metrics) = running.get("/metrics");
    let found = metrics
        .lines()
        .find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
    found
        .and_then(|text| text.parse().ok())
        .expect("the metric")
}

/// Busy: it stands still, also across a stop and a start in the middle; quiet: it goes on from where it was, to its end.
#[test]
fn a_training_pauses_while_the_fleet_is_busy() {
    let Some(brokers) = brokers() else { return };
    let mut site = site(&brokers, |site| site.simulate("12", "192", "7"));
    site.set("kafka.instance_id", "worker-1");
    site.set("train.preset", "validate");
    site.set(
        "train.checkpoints",
        &site.path("checkpoints").display().to_string(),
    );
    let asked = encode(&decision()).expect("encode");
    kafka::send(&brokers, &site.topic("control"), &[(0, None, Some(&asked))]);
    let mut running = site.start(&["run", "--role", "train"]);
    let progress = |site: &Site| events(site, TRAINING_PROGRESS);
    running.until("the first step", Duration::from_secs(120), || {
        progress(&site)
            .into_iter()
            .find(|(_, said)| said.epoch.is_some())
    });
    let paused = load_until(&site, &mut running, 0.45, TRAINING_PAUSED, 1);
    assert_eq!(
        paused.message,
        "load 0.45 ≥ 0.30 in 2 reports: paused until it falls, for 23 h 59 min at most"
    );
    wait_for_metric(&mut running, "forewarn_training_paused 1");
    // The steps in hand end; then nothing more is done.
    let said = progress(&site).len();
    let begun = Instant::now();
    let mut busy = cpu_seconds(&mut running);
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = cpu_seconds(&mut running);
        if now - busy < 0.2 {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it goes on: {}",
            running.output()
        );
        busy = now;
    }
    let since = progress(&site).split_off(said);
    assert!(
        since
            .iter()
            .all(|(_, said)| said.message.starts_with("paused")),
        "{since:?}"
    );

    let asked = Instant::now();
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    assert!(
        running
            .output()
            .contains("training stopped at a checkpoint"),
        "{}",
        running.output()
    );
    assert_eq!(events(&site, TRAINING_CANCELLED).len(), 0);
    assert!(
        site.path("checkpoints/decided-in-quiet.safetensors")
            .is_file()
    );

    let mut running = site.start(&["run", "--role", "train", "--log-format", "text"]);
    running.wait_for("going on from a checkpoint", Duration::from_secs(60));
    load_until(&site, &mut running, 0.45, TRAINING_PAUSED, 2);
    // Below the limit, and not far enough: it stays as it is.
    for _ in 0..4 {
        let value = encode(&report(0.29)).expect("encode");
        kafka::send(&brokers, &site.topic("drift"), &[(0, None, Some(&value))]);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(events(&site, TRAINING_RESUMED).len(), 0);
    let resumed = load_until(&site, &mut running, 0.21, TRAINING_RESUMED, 1);
    assert_eq!(resumed.message, "load 0.21 < 0.30 in 2 reports: goes on");
    let completed = running.until("the end", Duration::from_secs(300), || {
        events(&site, TRAINING_COMPLETED).pop()
    });
    assert_eq!(completed.1.job_id, "decided-in-quiet");
    wait_for_metric(&mut running, "forewarn_training_paused 0");
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    assert!(
        !site
            .path("checkpoints/decided-in-quiet.safetensors")
            .exists()
    );
    // A pause is a verdict: it is in the log.
    let lines = decisions(&site);
    let of = |name: &str| {
        types(&lines)
            .into_iter()
            .filter(|found| *found == name)
            .count()
    };
    assert_eq!((of("training.paused"), of("training.resumed")), (2, 1));
}
