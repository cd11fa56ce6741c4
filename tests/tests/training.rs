//! Training and evaluation on the real VM trace, as a user runs them.

use std::path::Path;

use serde_json::Value;
use tests::{Site, vm_trace};

const BORDER: &str = "2013-08-25T00:00:00Z";

/// The bar of the plain pipeline: one epoch is better than "same time yesterday" on average over the metrics. It says nothing
/// about what the model can do.
#[test]
fn a_quick_training_beats_same_time_yesterday_on_the_trace() {
    let Some(trace) = vm_trace() else { return };
    let site = Site::new("127.0.0.1:1", "vm");
    let data = trace.display().to_string();
    let trained = site
        .run(&[
            "train", "--data", &data, "--preset", "quick", "--to", BORDER, "--json",
        ])
        .ok()
        .last_json();
    let version = trained["version"].as_str().expect("a version");
    let judged = site
        .run(&[
            "eval", "--model", version, "--data", &data, "--from", BORDER, "--json",
        ])
        .ok()
        .last_json();
    let metrics = judged["metrics"].as_object().expect("metrics");
    assert_eq!(metrics.len(), 6);
    let ratios: Vec<f64> = metrics
        .values()
        .map(|m| {
            let wql = m["wql"].as_f64().expect("wql");
            wql / m["naive"]["yesterday"].as_f64().expect("yesterday")
        })
        .collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean < 0.8, "{ratios:?}");
}

#[test]
fn the_models_speed_is_measured() {
    let site = Site::new("127.0.0.1:1", "linborg");
    let args = ["bench", "model", "--batch", "8", "--seconds", "3", "--json"];
    let measured = site.run(&args).ok().last_json();
    for key in [
        "train_samples_per_second",
        "predict_servers_per_second",
        "predict_latency_ms_p50",
        "predict_latency_ms_p99",
        "parameters",
    ] {
        assert!(measured[key].as_f64() > Some(0.0), "{key} in {measured}");
    }
    assert_eq!(measured["device"], "cpu");
    assert!(
        measured["predict_latency_ms_p50"].as_f64() <= measured["predict_latency_ms_p99"].as_f64()
    );
    let refused = site.run(&["bench", "model", "--batch", "0"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

/// Whether one of the sentences of a JSON answer contains `words`.
fn says(answer: &Value, words: &str) -> bool {
    let claims = answer["claims"].as_array().expect("claims");
    let mut said = claims.iter().filter_map(Value::as_str);
    said.any(|sentence| sentence.contains(words))
}

#[test]
fn a_model_of_simulated_data_says_so_wherever_it_is_judged() {
    let site = Site::new("127.0.0.1:1", "linborg");
    let data = site.simulate("6", "80", "3");
    let trained = site.train_quick(&data, "2");
    assert!(says(&trained, "simulated data only"), "{trained}");
    assert!(says(&trained, "After 1 epoch: a working pipeline"));
    let info = Path::new(trained["path"].as_str().expect("a path")).join("training_info.json");
    let info: Value =
        serde_json::from_slice(&std::fs::read(info).expect("read the info")).expect("an object");
    assert_eq!(info["simulated"], "only");
    let by = info["simulated_by"][0].as_str().expect("a command");
    assert!(
        by.contains("--servers 6") && by.contains("--seed 3"),
        "{by}"
    );
    assert!(
        info["command"]
            .as_str()
            .expect("a command")
            .starts_with("forewarn train")
    );
    // The command that it names gives the same file again.
    let again = site.path("again.parquet").display().to_string();
    let mut words: Vec<&str> = by.split(' ').skip(3).collect();
    words.extend(["--out", &again]);
    site.run(&words).ok();
    assert_eq!(
        std::fs::read(&data).expect("read"),
        std::fs::read(&again).expect("read")
    );
    let version = trained["version"].as_str().expect("a version");
    let args = [
        "eval", "--model", version, "--data", &data, "--stride", "24",
    ];
    let judged = site
        .run(&[&args[..], &["--json"]].concat())
        .ok()
        .last_json();
    assert!(says(&judged, "simulated data only"), "{judged}");
    assert!(says(&judged, "nominal 80 %"));
    assert_eq!(judged["horizons"].as_array().map(Vec::len), Some(4));
    assert_eq!(judged["horizons"][3]["metrics"], judged["metrics"]);
    assert!(
        judged["profiles"]
            .as_object()
            .is_some_and(|p| !p.is_empty())
    );
    let best = &judged["intervals"]["pooled"]["wql_ratio_best"];
    let figure = judged["pooled"]["wql_ratio_best"].as_f64();
    assert!(
        best[0].as_f64() <= figure && figure <= best[1].as_f64(),
        "{best}"
    );
    let printed = site.run(&args).ok().stdout;
    for words in ["up to 30 min", "simulated data only", "95 % intervals"] {
        assert!(printed.contains(words), "{words} in {printed}");
    }
}

/// Day one of a new fleet: no data, no model of its own, yet forecasts.
#[test]
fn the_starter_model_forecasts_and_says_what_it_has_seen() {
    let site = Site::new("127.0.0.1:1", "linborg");
    let installed = site.run(&["models", "starter", "--json"]).ok().last_json();
    assert_eq!(installed["promoted"], true);
    let again = site.run(&["models", "starter", "--json"]).ok().last_json();
    assert_eq!(again["promoted"], false);
    assert_eq!(again["version"], installed["version"]);
    let version = again["version"].as_str().expect("a version");
    let files = std::fs::read_dir(site.path(&format!("registry/models/{version}"))).expect("read");
    let bytes: u64 = files
        .map(|file| file.and_then(|file| file.metadata()).expect("a file").len())
        .sum();
    assert!(bytes < 2_000_000, "{bytes}");
    let listed = site.run(&["models", "list", "--json"]).ok().last_json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let file = site.simulate("6", "72", "99");
    let version = installed["version"].as_str().expect("a version");
    let judged = site
        .run(&["eval", "--model", version, "--data", &file, "--json"])
        .ok()
        .last_json();
    let claims = judged["claims"].to_string();
    assert!(claims.contains("simulated"), "{claims}");
    // Servers that it has never seen, of the fleet's kind: better than what needs no model.
    let of = |figure: &str| judged["pooled"][figure].as_f64().expect("a figure");
    assert!(of("wql_ratio_best") < 1.0, "{judged}");
    let other = Site::new("127.0.0.1:1", "vm");
    other
        .run(&["models", "starter"])
        .refused(2, &["linborg", "vm"]);
}

#[test]
fn a_search_leaves_settings_that_a_training_takes() {
    let site = Site::new("127.0.0.1:1", "linborg");
    let file = site.simulate("6", "216", "1");
    let out = site.path("tuned.json").display().to_string();
    let tune = [
        "tune",
        "--data",
        &file,
        "--candidates",
        "4",
        "--seed",
        "3",
        "--out",
        &out,
    ];
    let found = site
        .run(&[&tune[..], &["--seconds", "120", "--json"]].concat())
        .ok()
        .last_json();
    let trials = found["trials"].as_array().expect("trials");
    assert!(trials.len() >= 4, "{found}");
    assert!(
        trials.iter().all(|t| t["val_loss"].as_f64() > Some(0.0)),
        "{found}"
    );
    let tuned = format!("train.tuned={out}");
    let with = [
        "--set", &tuned, "train", "--data", &file, "--preset", "quick", "--json",
    ];
    let trained = site.run(&with).ok().last_json();
    let path = trained["path"].as_str().expect("a path").to_owned();
    let config =
        std::fs::read_to_string(Path::new(path.trim_start_matches("file://")).join("config.json"));
    let config: Value = serde_json::from_str(&config.expect("config.json")).expect("JSON");
    assert_eq!(config["size"], found["best"]["network"]);
    assert_eq!(
        config["training"]["learning_rate"],
        found["best"]["learning_rate"]
    );
    site.run(&[
        "--set",
        "train.tuned=nowhere.json",
        "train",
        "--data",
        &file,
    ])
    .refused(2, &["train.tuned", "nowhere.json"]);
    site.run(&["train", "--data", &file, "--without", "luck"])
        .refused(2, &["luck", "lstm"]);
    let short = ["tune", "--data", &file, "--seconds", "0.1", "--out", &out];
    let ended = site.run(&short);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}
