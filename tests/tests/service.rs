//! The running service: reloads, models that are refused, stops. The models are trained once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use contract::Contract;
use contract::codec::encode;
use contract::record::{
    ControlEvent, ControlPayload, DECISION, Decision, DriftReport, Pane, Position, Prediction,
    TRAINING_CANCELLED, TRAINING_STARTED,
};
use tests::models::{announce, models, promote};
use tests::{Running, Site, brokers, kafka, now_ms, oracle, topics};

const PARTITIONS: u32 = 3;
const STEP_MS: i64 = 300_000;
const MIN_CONTEXT_ROWS: usize = 12;
/// A stop that lasts longer is killed by most supervisors.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// A site with all models registered and `version` in production.
fn site(brokers: &str, version: &str) -> Site {
    let site = Site::new(brokers, "linborg");
    models().register(&site);
    promote(&site, version);
    site
}

fn replay(site: &Site, from: &str, to: &str, speed: &str) {
    let file = models().metrics().display().to_string();
    site.run(&[
        "replay", &file, "--from", from, "--to", to, "--speed", speed,
    ])
    .ok();
}

#[track_caller]
fn stop(mut running: Running) {
    let asked = Instant::now();
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    let took = asked.elapsed();
    assert!(took < STOPS_WITHIN, "{took:?}: {}", running.output());
}

/// Server and bucket of every row that has a prediction due, from the rollups themselves.
fn due(site: &Site, every: i64) -> BTreeSet<(String, i64)> {
    let contract = Contract::shipped("linborg").expect("shipped");
    let mut rows = topics::rollups(site.brokers(), &site.topic("rollups"), &contract);
    rows.sort_by_key(|row| row.bucket_ms);
    let mut seen = BTreeMap::<String, usize>::new();
    let mut due = BTreeSet::new();
    for row in rows {
        let n = seen.entry(row.server.to_string()).or_default();
        *n += 1;
        if *n >= MIN_CONTEXT_ROWS && (row.bucket_ms / STEP_MS) % every == 0 {
            assert!(
                due.insert((row.server.to_string(), row.bucket_ms)),
                "{row:?}"
            );
        }
    }
    due
}

/// Each prediction that is due is there exactly once, and no other.
#[track_caller]
fn exactly_once(site: &Site, every: i64) -> Vec<(i32, Prediction)> {
    let predictions: Vec<(i32, Prediction)> =
        topics::records(site.brokers(), &site.topic("predictions"));
    let mut found = BTreeSet::new();
    for (_, p) in &predictions {
        let of = (p.server.clone(), p.issued_at - STEP_MS);
        assert!(found.insert(of), "{} {} comes twice", p.server, p.issued_at);
    }
    let due = due(site, every);
    assert!(!due.is_empty());
    let missing: Vec<_> = due.difference(&found).take(5).collect();
    let extra: Vec<_> = found.difference(&due).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "of {} due, missing {missing:?}, not due {extra:?}",
        due.len()
    );
    predictions
}

#[test]
fn a_model_of_another_contract_is_refused_before_any_work() {
    let models = models();
    let site = Site::new("127.0.0.1:1", "linborg");
    let data = models.metrics().display().to_string();
    let path = models.path(&models.other).display().to_string();
    let judged = site.run(&["eval", "--model", &path, "--data", &data]);
    judged.refused(1, &[&models.other, "contract", "expected", "train a model"]);

    models.register(&site);
    let judged = site.run(&["eval", "--model", &models.other, "--data", &data]);
    judged.refused(1, &[&models.other, "contract", "expected", "train a model"]);

    // No broker answers there: nothing is asked of it.
    promote(&site, &models.other);
    let registry = site.path("registry").display().to_string();
    for role in ["forecast", "drift", "train"] {
        for ended in [
            site.run(&["run", "--role", role]),
            site.run(&["run", "--role", role, "--until-end"]),
        ] {
            ended.refused(
                2,
                &[&models.other, &registry, "set contract", "registry.url"],
            );
        }
    }
}

/// The one that is served goes on; the refusal is said, counted, and ends with the next good model.
#[test]
fn a_running_forecaster_refuses_a_model_of_another_contract() {
    let Some(brokers) = brokers() else { return };
    let models = models();
    let [first, second] = &models.linborg;
    let site = site(&brokers, first);
    site.create_topics(PARTITIONS);
    let mut running = site.start(&["run", "--role", "forecast"]);
    running.wait_until_ready(Duration::from_secs(60));
    replay(&site, "2026-01-08T20:00:00Z", "2026-01-08T22:30:00Z", "max");
    site.to_end("rollup");
    site.wait_for_records("predictions", 1, &mut running);

    promote(&site, &models.other);
    announce(&site, &models.other);
    running.wait_for("is refused", Duration::from_secs(30));
    let output = running.output();
    let said = output.lines().find(|line| line.contains("is refused"));
    let said = said.expect("the line");
    for word in [models.other.as_str(), "contract", "train another one"] {
        assert!(said.contains(word), "{said}");
    }
    let (_, metrics) = running.get("/metrics");
    let refusals = r#"forewarn_model_refusals_total{role="forecast"} 1"#;
    assert!(metrics.contains(refusals), "{metrics}");
    assert!(
        metrics.contains(&format!(r#"version="{first}""#)),
        "{metrics}"
    );
    let (status, why) = running.get("/readyz");
    assert_eq!(status, 200, "it still serves: {why}");

    replay(&site, "2026-01-08T22:30:00Z", "2026-01-08T23:30:00Z", "max");
    site.to_end("rollup");
    let due = due(&site, 1).len();
    site.wait_for_records("predictions", due as i64, &mut running);
    for (_, prediction) in exactly_once(&site, 1) {
        assert_eq!(&prediction.model_version, first);
    }

    promote(&site, second);
    announce(&site, second);
    running.wait_for(second, Duration::from_secs(30));
    assert!(
        running
            .get("/metrics")
            .1
            .contains("forewarn_model_reloads_total 1")
    );
    assert_eq!(running.get("/readyz").0, 200);
    stop(running);
}

#[test]
fn a_reload_leaves_no_gap_and_repeats_nothing() {
    let Some(brokers) = brokers() else { return };
    let [first, second] = &models().linborg;
    let site = site(&brokers, first);
    site.create_topics(PARTITIONS);
    let mut running = site.start(&["run", "--role", "rollup,forecast"]);
    running.wait_until_ready(Duration::from_secs(60));
    std::thread::scope(|scope| {
        // Ten hours in about eight seconds.
        let flow = || {
            replay(
                &site,
                "2026-01-08T14:00:00Z",
                "2026-01-09T00:00:00Z",
                "4500",
            )
        };
        let flowing = scope.spawn(flow);
        site.wait_for_records("predictions", 200, &mut running);
        assert!(!flowing.is_finished(), "rollups still flow");
        promote(&site, second);
        announce(&site, second);
    });
    running.wait_for(second, Duration::from_secs(30));
    stop(running);
    site.to_end("rollup");
    site.to_end("forecast");

    let predictions = exactly_once(&site, 1);
    // Partition → newest bucket of the first model, oldest of the second.
    let mut turns = BTreeMap::<i32, (Option<i64>, Option<i64>)>::new();
    for (partition, prediction) in &predictions {
        let turn = turns.entry(*partition).or_default();
        if &prediction.model_version == first {
            turn.0 = turn.0.max(Some(prediction.issued_at));
        } else {
            assert_eq!(&prediction.model_version, second);
            let oldest = turn.1.get_or_insert(prediction.issued_at);
            *oldest = (*oldest).min(prediction.issued_at);
        }
    }
    for (partition, turn) in turns {
        let (Some(newest), Some(oldest)) = turn else {
            panic!("partition {partition}: both models forecast: {turn:?}");
        };
        assert!(
            newest < oldest,
            "partition {partition}: between two buckets"
        );
    }
}

/// SIGTERM in the middle of each role's work; then the rest, without loss and without repeats.
#[test]
fn each_role_stops_clean_and_goes_on_where_it_was() {
    let Some(brokers) = brokers() else { return };
    let mut site = site(&brokers, &models().linborg[0]);
    site.create_topics(PARTITIONS);
    site.set("archive.topics", "metrics,rollups");
    site.set("archive.flush_rows", "500");
    site.set("forecast.every", "4");
    stop_rollup(&site);
    stop_archive(&site);
    stop_train(&site);
    stop_forecast(&site);
    stop_drift(&site);
}

fn stop_rollup(site: &Site) {
    let running = std::thread::scope(|scope| {
        let mut running = site.start(&["run", "--role", "rollup"]);
        running.wait_until_ready(Duration::from_secs(60));
        // All 100 hours in about four seconds.
        scope.spawn(|| {
            replay(
                site,
                "2026-01-01T00:00:00Z",
                "2026-02-01T00:00:00Z",
                "90000",
            )
        });
        site.wait_for_records("rollups", 2_000, &mut running);
        running
    });
    stop(running);
    let rest = site.to_end("rollup");
    assert_eq!(site.to_end("rollup")["produced"], 0, "{rest}");

    let contract = Contract::shipped("linborg").expect("shipped");
    let file = models().metrics();
    let records = oracle::replayed(&file, &contract, (None, None), now_ms(), PARTITIONS);
    let mut expected = Vec::new();
    for partition in records.expect("read the fleet") {
        expected.extend(oracle::rollups(&contract, 60_000, &partition).closed);
    }
    let found = topics::rollups(site.brokers(), &site.topic("rollups"), &contract);
    assert_eq!(found.len(), expected.len(), "nothing is lost or repeated");
    oracle::compare(&expected, &found).expect("the rollups are the same");
}

fn stop_archive(site: &Site) {
    let mut running = site.start(&["run", "--role", "archive"]);
    running.wait_until_ready(Duration::from_secs(60));
    let verify = |site: &Site| site.run(&["archive", "verify", "--json"]);
    let count = |verified: &serde_json::Value| {
        let topics = verified["topics"].as_array().expect("topics").clone();
        topics
            .iter()
            .filter_map(|t| t["rows"].as_i64())
            .sum::<i64>()
    };
    let rows = |site: &Site| {
        let verified = verify(site).ok().last_json();
        assert_eq!(verified["ok"], true, "{verified}");
        count(&verified)
    };
    // While a chain is being begun it is not whole yet.
    let until = Instant::now() + Duration::from_secs(60);
    while count(&verify(site).last_json()) == 0 {
        assert!(Instant::now() < until, "{}", running.output());
    }
    stop(running);
    let kept = rows(site);
    site.to_end("archive");
    let all: i64 = ["metrics", "rollups"]
        .iter()
        .map(|topic| kafka::count(site.brokers(), &site.topic(topic)))
        .sum();
    assert!(kept > 0 && kept <= all, "{kept} of {all}");
    assert_eq!(rows(site), all);
    assert_eq!(site.to_end("archive")["produced"], 0);
}

fn decision() -> ControlEvent {
    ControlEvent {
        id: "asked-by-a-test".to_owned(),
        event_type: DECISION.to_owned(),
        source: "test".to_owned(),
        time: now_ms(),
        payload: ControlPayload::Decision(Decision {
            trigger: true,
            reason: "a test".to_owned(),
            confidence: 1.0,
            priority: "high".to_owned(),
            score: 1.0,
            status: "urgent".to_owned(),
            model_version: models().linborg[0].clone(),
            // Beyond what the archive will ever hold: the job waits for it, however fast the machine is.
            positions: vec![Position {
                partition: 0,
                offset: 1_000_000_000,
            }],
            manual: true,
            cause: "manual".to_owned(),
            ..Decision::default()
        }),
    }
}

fn stop_train(site: &Site) {
    let topic = site.topic("control");
    let mut idle = site.start(&["run", "--role", "train"]);
    idle.wait_until_ready(Duration::from_secs(60));
    stop(idle);
    assert_eq!(kafka::count(site.brokers(), &topic), 0, "nothing to say");

    let said = |event_type: &str| {
        let events: Vec<(i32, ControlEvent)> = topics::records(site.brokers(), &topic);
        let of_type = events.iter().filter(|(_, e)| e.event_type == event_type);
        of_type.count()
    };
    let asked = encode(&decision()).expect("encode");
    kafka::send(site.brokers(), &topic, &[(0, None, Some(&asked))]);
    let mut busy = site.start(&["run", "--role", "train", "--set", "train.max_seconds=300"]);
    let until = Instant::now() + Duration::from_secs(60);
    while said(TRAINING_STARTED) == 0 {
        assert!(Instant::now() < until, "{}", busy.output());
        assert!(busy.is_running(), "{}", busy.output());
        std::thread::sleep(Duration::from_millis(10));
    }
    stop(busy);
    let events: Vec<(i32, ControlEvent)> = topics::records(site.brokers(), &topic);
    assert_eq!(
        said(TRAINING_CANCELLED),
        1,
        "it says how the job ended: {events:?}"
    );
    let versions = site.run(&["models", "list", "--json"]).ok().last_json();
    let versions = versions.as_array().expect("versions");
    assert_eq!(versions.len(), 3, "no half model: {versions:?}");
    let served = versions.iter().find(|v| v["deployed"] == true);
    let served = served.expect("one is served");
    assert_eq!(served["version"], models().linborg[0].as_str());
    // The job has ended: a restart does not begin it again.
    assert_eq!(site.to_end("train")["produced"], 0);
    assert_eq!(said(TRAINING_STARTED), 1);
}

fn stop_forecast(site: &Site) {
    let mut running = site.start(&["run", "--role", "forecast"]);
    site.wait_for_records("predictions", 200, &mut running);
    stop(running);
    let early = kafka::count(site.brokers(), &site.topic("predictions"));
    let rest = site.to_end("forecast");
    assert!(
        rest["produced"].as_i64() > Some(0),
        "stopped in the middle: {rest}"
    );
    let all = exactly_once(site, 4).len() as i64;
    assert_eq!(rest["produced"].as_i64(), Some(all - early));
}

fn stop_drift(site: &Site) {
    let mut running = site.start(&["run", "--role", "drift"]);
    site.wait_for_records("drift.panes", 100, &mut running);
    stop(running);
    site.to_end("drift");
    let panes: Vec<(i32, Pane)> = topics::records(site.brokers(), &site.topic("drift.panes"));
    let mut by_identity = BTreeMap::new();
    let mut buckets = BTreeMap::<i32, BTreeSet<i64>>::new();
    for (_, pane) in panes {
        buckets
            .entry(pane.partition)
            .or_default()
            .insert(pane.bucket);
        let identity = (
            pane.partition,
            pane.profile.clone(),
            pane.bucket,
            pane.baseline.clone(),
        );
        // Given again or not, it says the same.
        let first = by_identity.entry(identity).or_insert_with(|| pane.clone());
        assert_eq!(first.rows, pane.rows);
        assert_eq!(first.metrics, pane.metrics);
    }
    for (partition, buckets) in &buckets {
        assert_whole(buckets, &format!("panes of partition {partition}"));
    }
    let reports: Vec<(i32, DriftReport)> = topics::records(site.brokers(), &site.topic("drift"));
    let at: BTreeSet<i64> = reports.iter().map(|(_, report)| report.at).collect();
    assert_whole(&at, "reports");
    assert!(at.len() > 1_000, "{} reports", at.len());
    assert_eq!(site.to_end("drift")["produced"], 0);
}

/// One every bucket, from the first to the last.
#[track_caller]
fn assert_whole(times: &BTreeSet<i64>, what: &str) {
    let (first, last) = (times.first().expect(what), times.last().expect(what));
    let expected = (last - first) / STEP_MS + 1;
    assert_eq!(times.len() as i64, expected, "{what}: a bucket is missing");
}
