//! A decision for drift with the preset `incremental`, on a real broker: the production model's weights and optimiser are trained
//! further, and a stop in the middle changes nothing in what comes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::codec::encode;
use contract::record::{
    ControlEvent, ControlPayload, DECISION, Decision, Position, TRAINING_COMPLETED,
    TRAINING_PROGRESS, TRAINING_STARTED,
};
use lake::registry::Registry;
use serde_json::Value;
use tests::models::copy;
use tests::{Site, brokers, kafka, now_ms, topics};

/// Windows of a step of the optimiser, as the preset has it.
const BATCH: u64 = 64;
/// Epochs of a training for drift.
const EPOCHS: u64 = 5;

/// A site with eight days of rollups in its lake and a production model trained on them.
fn site(brokers: &str) -> Site {
    let mut site = Site::new(brokers, "linborg");
    site.create_topics(1);
    let file = site.simulate("6", "192", "7");
    let quick = ["--preset", "quick", "--epochs", "2"];
    site.run(&[&["train", "--data", &file], &quick[..]].concat())
        .ok();
    site.run(&["replay", &file]).ok();
    site.to_end("rollup");
    site.set("archive.topics", "rollups");
    site.to_end("archive");
    let checkpoints = site.path("checkpoints").display().to_string();
    site.set("train.preset", "incremental");
    site.set("train.checkpoints", &checkpoints);
    site.set("train.checkpoint_every", "50ms");
    // Who is stopped goes on with what it had begun under the same name.
    site.set("kafka.instance_id", "trainer");
    site
}

/// Says that drift asks for a training on all rollups that are there.
fn decide(site: &Site, id: &str) {
    let ends = kafka::watermarks(site.brokers(), &site.topic("rollups"));
    let positions = (0..)
        .zip(ends)
        .map(|(partition, (_, offset))| Position { partition, offset });
    let decision = ControlEvent {
        id: id.to_owned(),
        event_type: DECISION.to_owned(),
        source: "test".to_owned(),
        time: now_ms(),
        payload: ControlPayload::Decision(Decision {
            trigger: true,
            reason: "a test".to_owned(),
            confidence: 1.0,
            priority: "high".to_owned(),
            score: 0.2,
            status: "urgent".to_owned(),
            model_version: versions(site).swap_remove(0),
            positions: positions.collect(),
            cause: "drift".to_owned(),
            ..Decision::default()
        }),
    };
    let value = encode(&decision).expect("encode");
    kafka::send(
        site.brokers(),
        &site.topic("control"),
        &[(0, None, Some(&value))],
    );
}

/// All versions, the oldest first.
fn versions(site: &Site) -> Vec<String> {
    let listed = site.run(&["models", "list", "--json"]).ok().last_json();
    let listed = listed.as_array().expect("versions").iter().rev();
    listed
        .map(|v| v["version"].as_str().expect("a version").to_owned())
        .collect()
}

/// Types of the events about this job on `control`, in their order, but for those of progress.
fn said(site: &Site, job: &str) -> Vec<String> {
    let events: Vec<(i32, ControlEvent)> = topics::records(site.brokers(), &site.topic("control"));
    let about = events
        .into_iter()
        .filter(|(_, event)| match &event.payload {
            ControlPayload::Training(training) => training.job_id == job,
            _ => false,
        });
    about
        .map(|(_, event)| event.event_type)
        .filter(|event_type| event_type != TRAINING_PROGRESS)
        .collect()
}

/// The folder of a version in this registry.
fn folder(registry: &Path, version: &str) -> PathBuf {
    registry.join(Registry::relative_path(version).expect("a version"))
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("read the artefact")
}

/// Steps that the optimiser of a version has done: `[format, steps]` behind the checksum in the file's metadata.
fn steps(folder: &Path) -> u64 {
    let bytes = read(folder, "optimiser.safetensors");
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a header");
    let length = usize::try_from(u64::from_le_bytes(*length)).expect("a length");
    let header: Value = serde_json::from_slice(&rest[..length]).expect("a header");
    let text = header["__metadata__"]["forewarn_optimiser"]
        .as_str()
        .expect("a description");
    let description: [u64; 2] = serde_json::from_str(&text[64..]).expect("a description");
    description[1]
}

/// Steps of a training up to the weights that it gave: to the end of the best epoch, then once over all data.
fn own_steps(info: &Value) -> u64 {
    let history = info["history"].as_array().expect("epochs");
    let samples = |epoch: &Value| epoch["samples_processed"].as_u64().expect("samples");
    let loss = |epoch: &Value| epoch["val_loss"].as_f64().expect("a loss");
    let best = (0..history.len())
        .min_by(|a, b| loss(&history[*a]).total_cmp(&loss(&history[*b])))
        .expect("an epoch");
    let upto: u64 = history[..=best]
        .iter()
        .map(|epoch| samples(epoch).div_ceil(BATCH))
        .sum();
    let in_epochs: u64 = history.iter().map(samples).sum();
    let in_all = info["samples_processed"].as_u64().expect("samples");
    assert_eq!(info["refreshed"], true, "{info}");
    upto + (in_all - in_epochs).div_ceil(BATCH)
}

#[test]
fn drift_trains_the_production_model_further_through_a_stop() {
    let Some(brokers) = brokers() else { return };
    let mut site = site(&brokers);
    let registry = site.path("registry");
    let other = site.path("other-registry");
    copy(&registry, &other);
    let served = folder(&registry, &versions(&site)[0]);

    decide(&site, "undisturbed");
    site.to_end("train");
    assert_eq!(
        said(&site, "undisturbed"),
        [TRAINING_STARTED, TRAINING_COMPLETED]
    );
    let whole = folder(&registry, &versions(&site)[1]);
    let info: Value =
        serde_json::from_slice(&read(&whole, "training_info.json")).expect("an object");
    assert_eq!(info["trigger"], "drift");
    assert_eq!(info["config"]["preset"], "incremental");
    assert_eq!(info["config"]["epochs"], EPOCHS);
    // The optimiser has the production model's steps behind it.
    assert_eq!(steps(&whole), steps(&served) + own_steps(&info));
    // And so have the weights: what they begin with is no worse than where those ended.
    let before: Value =
        serde_json::from_slice(&read(&served, "training_info.json")).expect("an object");
    let (first, last) = (
        info["history"][0]["train_loss"].as_f64().expect("a loss"),
        before["final_train_loss"].as_f64().expect("a loss"),
    );
    assert!(first < last, "{first} after {last}");

    // The same from the same model, but stopped in the middle.
    site.set("registry.url", &other.display().to_string());
    decide(&site, "stopped");
    let mut running = site.start(&["run", "--role", "train"]);
    let checkpoint = site.path("checkpoints/stopped.safetensors");
    running.until("a checkpoint", Duration::from_secs(60), || {
        checkpoint.exists().then_some(())
    });
    assert_eq!(running.terminate(), Some(0), "{}", running.output());
    assert!(
        running
            .output()
            .contains("training stopped at a checkpoint"),
        "{}",
        running.output()
    );
    assert_eq!(versions(&site).len(), 1, "no half model");
    assert_eq!(said(&site, "stopped"), [TRAINING_STARTED]);
    let resumed = site.run(&["run", "--role", "train", "--until-end"]).ok();
    assert!(
        resumed.stderr.contains("going on from a checkpoint"),
        "{}",
        resumed.stderr
    );
    assert_eq!(
        said(&site, "stopped"),
        [TRAINING_STARTED, TRAINING_STARTED, TRAINING_COMPLETED],
        "{}",
        resumed.stderr
    );
    assert!(!checkpoint.exists(), "the job has ended");
    let again = folder(&other, &versions(&site)[1]);
    for name in ["model.safetensors", "optimiser.safetensors"] {
        assert!(read(&again, name) == read(&whole, name), "{name}");
    }
}
