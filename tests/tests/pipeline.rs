//! The roles one after another on a real broker, as a user would run them: metrics in a file →
//! topics → rollups → forecasts → drift → archive, with `kill -9` of the archive.

use std::time::{Duration, Instant};

use contract::Contract;
use tests::{Site, brokers, kafka, topics};

const SERVERS: &str = "12";
const PARTITIONS: u32 = 3;

/// A site with a simulated fleet in `metrics`; 5-minute records keep it small.
fn fleet(brokers: &str, hours: &str) -> Site {
    let site = Site::new(brokers, "linborg");
    site.create_topics(PARTITIONS);
    site.simulate(SERVERS, hours, "7");
    site
}

#[test]
fn the_roles_see_what_the_earlier_ones_wrote() {
    let Some(brokers) = brokers() else { return };
    let site = fleet(&brokers, "100");
    let file = site.path("fleet.parquet").display().to_string();
    let trained = site.train_quick(&file, "10");
    let version = trained["version"].as_str().expect("a version").to_owned();
    let listed = site.run(&["models", "list", "--json"]).ok().last_json();
    assert_eq!(listed[0]["version"], version.as_str());
    assert_eq!(listed[0]["deployed"], true);
    let judged = site
        .run(&[
            "eval", "--model", &version, "--data", &file, "--stride", "96", "--json",
        ])
        .ok()
        .last_json();
    assert!(judged["windows"].as_u64().expect("windows") > 0);
    assert!(
        judged["metrics"]["cpu_user_pct"]["wql"].is_number(),
        "{judged}"
    );

    // The last 26 hours travel: two more than the context, so that some forecasts have a whole one.
    let sent = site
        .run(&["replay", &file, "--from", "2026-01-08T02:00:00Z", "--json"])
        .ok()
        .last_json();
    assert!(sent["sent"].as_u64().expect("sent") > 3_000, "{sent}");
    let ended = site
        .run(&[
            "run",
            "--role",
            "archive,drift,forecast,rollup",
            "--until-end",
            "--json",
        ])
        .ok();
    let lines = ended.json_lines();
    let roles: Vec<&str> = lines.iter().filter_map(|l| l["role"].as_str()).collect();
    assert_eq!(
        roles,
        ["rollup", "forecast", "drift", "archive"],
        "in the order of the data"
    );
    assert_eq!(lines[0]["consumed"], sent["sent"]);

    let contract = Contract::shipped("linborg").expect("shipped");
    let rollups = topics::rollups(&brokers, &site.topic("rollups"), &contract);
    let mut with_context = 0;
    let mut rows = std::collections::BTreeMap::<String, usize>::new();
    for row in &rollups {
        let n = rows.entry(row.server.to_string()).or_default();
        *n += 1;
        with_context += usize::from(*n >= 12);
    }
    assert_eq!(lines[1]["consumed"].as_u64(), Some(rollups.len() as u64));
    let predictions = kafka::read_all(&brokers, &site.topic("predictions"));
    assert_eq!(
        predictions.len(),
        with_context,
        "one per server and closed bucket with 12 rows of context"
    );
    let mut seen = std::collections::BTreeSet::new();
    for record in &predictions {
        let value = record.value.as_deref().expect("a prediction has a value");
        let prediction: contract::record::Prediction =
            contract::codec::decode(value).expect("decode");
        assert_eq!(prediction.model_version, version);
        assert_eq!(prediction.forecasts.len(), contract.num_metrics());
        for forecast in &prediction.forecasts {
            assert_eq!((forecast.p10.len(), forecast.p90.len()), (96, 96));
            let ordered = forecast.p10.iter().zip(&forecast.p50).zip(&forecast.p90);
            assert!(
                ordered.clone().all(|((a, b), c)| a <= b && b <= c),
                "{}",
                forecast.metric
            );
        }
        assert!(
            seen.insert((prediction.server, prediction.issued_at)),
            "a forecast is given twice"
        );
    }
    let reports = kafka::read_all(&brokers, &site.topic("drift"));
    assert!(!reports.is_empty(), "drift reports");

    // Nothing is due a second time.
    let again = site.to_end("forecast");
    assert_eq!(again["produced"], 0, "{again}");

    let verified = site.run(&["archive", "verify", "--json"]).ok().last_json();
    assert_eq!(verified["ok"], true, "{verified}");
    let tail = site
        .run(&[
            "tail",
            "predictions",
            "--from",
            "beginning",
            "--max",
            "1",
            "--json",
        ])
        .ok();
    assert!(tail.stdout.contains(&version), "{}", tail.stdout);
}

#[test]
fn kill_9_of_the_archive_leaves_a_whole_chain() {
    let Some(brokers) = brokers() else { return };
    let mut site = fleet(&brokers, "2000");
    site.set("kafka.properties.session.timeout.ms", "6000");
    site.set("archive.topics", "metrics");
    site.set("archive.flush_rows", "500");
    let file = site.path("fleet.parquet").display().to_string();
    let sent = site.run(&["replay", &file, "--json"]).ok().last_json();
    let lake = site.path("lake");
    let objects = || {
        let mut found = 0;
        let mut folders = vec![lake.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found += usize::from(path.extension().is_some_and(|e| e == "parquet"));
                }
            }
        }
        found
    };
    let mut before = 0;
    for round in 0..2 {
        let mut running = site.start(&["run", "--role", "archive"]);
        let until = Instant::now() + Duration::from_secs(60);
        while objects() < before + 3 {
            assert!(
                Instant::now() < until,
                "round {round}: {}",
                running.output()
            );
            assert!(running.is_running(), "round {round}: {}", running.output());
            std::thread::sleep(Duration::from_millis(5));
        }
        running.kill();
        before = objects();
    }
    site.to_end("archive");
    let verified = site.run(&["archive", "verify", "--json"]).ok().last_json();
    assert_eq!(verified["ok"], true, "{verified}");
    let rows: u64 = verified["topics"]
        .as_array()
        .expect("topics")
        .iter()
        .map(|topic| topic["rows"].as_u64().unwrap_or(0))
        .sum();
    assert_eq!(Some(rows), sent["sent"].as_u64(), "{verified}");
}

/// Its offsets begin anew; once it has outgrown the chain only a record tells that it is another one.
#[test]
fn a_recreated_topic_is_not_archived_behind_the_old_one() {
    let Some(brokers) = brokers() else { return };
    let mut site = Site::new(&brokers, "linborg");
    site.set("archive.topics", "metrics");
    site.create_topics(2);
    let topic = site.topic("metrics");
    let send = |num: usize, value: &[u8]| {
        let records: Vec<kafka::Outgoing<'_>> = (0..num)
            .map(|_| (1, Some(&b"key"[..]), Some(value)))
            .collect();
        kafka::send(&brokers, &topic, &records);
    };
    send(10, b"before");
    assert_eq!(site.to_end("archive")["consumed"], 10);
    send(5, b"before");
    assert_eq!(
        site.to_end("archive")["consumed"],
        5,
        "the same topic goes on"
    );
    kafka::delete_topic(&brokers, &topic);
    site.create_topics(2);
    send(40, b"after");
    let ended = site.run(&["run", "--role", "archive", "--until-end", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("forewarn: "))
        .collect();
    assert_eq!(said.len(), 1, "{}", ended.stderr);
    for words in [
        &topic,
        "partition 1",
        "recreated",
        "offset 10 holds another record",
    ] {
        assert!(said[0].contains(words), "{}", said[0]);
    }
    let verified = site.run(&["archive", "verify", "--json"]).last_json();
    assert_eq!(verified["topics"][0]["rows"], 15, "{verified}");
}

/// A topic with another number of partitions is refused before any work.
#[test]
fn another_partition_count_is_refused() {
    let Some(brokers) = brokers() else { return };
    let site = Site::new(&brokers, "linborg");
    site.create_topics(2);
    let metrics = site.topic("metrics");
    site.run(&["topics", "create", "--partitions", "3"])
        .refused(2, &[&metrics, "2", "3"]);

    // A role finds it out itself, before it reads anything.
    let other = Site::new(&brokers, "linborg");
    let rollups = other.topic("rollups");
    kafka::create_topic(&brokers, &other.topic("metrics"), 2);
    kafka::create_topic(&brokers, &rollups, 3);
    kafka::create_topic(&brokers, &other.topic("metrics.dlq"), 2);
    other
        .run(&["run", "--role", "rollup"])
        .refused(2, &[&rollups, "2", "3"]);
}
