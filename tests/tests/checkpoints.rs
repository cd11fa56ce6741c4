//! `forewarn train` as a user runs it: killed and gone on with, trained further, refused. No broker needed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::Site;
use tests::records::{vm_name, wave, write_vms};

/// A site without a broker, and a simulated fleet in a file.
fn fleet(servers: &str, hours: &str) -> (Site, String) {
    let site = Site::new("127.0.0.1:1", "linborg");
    let file = site.simulate(servers, hours, "7");
    (site, file)
}

fn train<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--data", file, "--epochs", "4", "--json"], more].concat()
}

/// Weights and optimiser of the model that a training reports.
fn artefacts(trained: &serde_json::Value) -> [Vec<u8>; 2] {
    let path = PathBuf::from(trained["path"].as_str().expect("a path"));
    ["model.safetensors", "optimiser.safetensors"]
        .map(|name| std::fs::read(path.join(name)).expect("read the artefact"))
}

/// Waits until `path` is another file than `before`; gives its time of change.
fn changed(path: &Path, before: Option<std::time::SystemTime>) -> Option<std::time::SystemTime> {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let now = std::fs::metadata(path).and_then(|m| m.modified()).ok();
        if now.is_some() && now != before {
            return now;
        }
        assert!(
            Instant::now() < until,
            "no new checkpoint in {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_training_goes_on_to_the_same_bytes() {
    let (site, file) = fleet("8", "120");
    let quick = ["--preset", "quick"];
    let whole = site.run(&train(&file, &quick)).ok().last_json();
    let directory = site.path("ck").display().to_string();
    let checkpoint = site.path("ck/checkpoint.safetensors");
    let kept = [
        &quick[..],
        &["--checkpoint", &directory, "--checkpoint-every", "50ms"],
    ]
    .concat();
    let args = train(&file, &kept);

    let mut killed = site.start(&args);
    let first = changed(&checkpoint, None);
    // A second training in the same place would spoil both.
    site.run(&args)
        .refused(2, &["--checkpoint", "another training"]);
    killed.kill();
    let mut stopped = site.start(&args);
    changed(&checkpoint, first);
    assert_eq!(stopped.terminate(), Some(1), "{}", stopped.output());
    assert!(
        stopped.output().contains("the checkpoint has all"),
        "{}",
        stopped.output()
    );

    // Other settings are another training.
    let other = site.run(&[&args[..], &["--seed", "2"]].concat());
    assert_eq!(other.code, Some(1), "{}", other.stderr);
    assert!(
        other.stderr.contains("remove it to start over"),
        "{}",
        other.stderr
    );

    let ended = site.run(&args).ok().last_json();
    assert!(
        artefacts(&ended) == artefacts(&whole),
        "other weights than an undisturbed training's"
    );
    assert_eq!(ended["final_val_loss"], whole["final_val_loss"]);
    assert!(
        !checkpoint.exists(),
        "the checkpoint of a training that ended stays"
    );
}

#[test]
fn the_production_model_is_trained_further() {
    let (site, file) = fleet("6", "192");
    let onward = train(&file, &["--preset", "incremental"]);
    site.run(&onward)
        .refused(2, &["--preset incremental", "no model is served"]);
    let first = site
        .run(&train(&file, &["--preset", "quick"]))
        .ok()
        .last_json();
    let second = site.run(&onward).ok().last_json();
    let loss = |trained: &serde_json::Value| trained["final_val_loss"].as_f64().expect("a loss");
    assert!(loss(&second) < loss(&first), "{second} after {first}");
    assert!(artefacts(&second) != artefacts(&first));
}

#[test]
fn infinite_and_absurd_values_in_the_file_are_gaps() {
    let site = Site::new("127.0.0.1:1", "vm");
    let file = site.path("absurd.parquet");
    write_vms(&file, vm_name, |server, step, metric| {
        match (server, step % 50) {
            (0, 7) => f32::INFINITY,
            (1, 8) => f32::NEG_INFINITY,
            (2, 9) => f32::NAN,
            (3, 10) => 1.0e30,
            (4, 11) => -1.0e30,
            _ => wave(server, step, metric),
        }
    });
    let file = file.display().to_string();
    let trained = site.train_quick(&file, "5");
    let loss = trained["final_val_loss"].as_f64().expect("a loss");
    assert!(loss > 0.0 && loss < 10.0, "{trained}");
    let version = trained["version"].as_str().expect("a version");
    let eval = ["eval", "--model", version, "--data", &file, "--json"];
    let judged = site.run(&eval).ok().last_json();
    let cpu = &judged["metrics"]["cpu_used_pct"];
    assert!(
        cpu["mae"].as_f64().is_some_and(|mae| mae < 20.0),
        "{judged}"
    );
}

#[test]
fn a_fleet_that_stands_still_is_refused_with_the_reason() {
    let site = Site::new("127.0.0.1:1", "vm");
    let file = site.path("still.parquet");
    write_vms(&file, vm_name, |_, _, _| 7.0);
    let file = file.display().to_string();
    let ended = site.run(&["train", "--data", &file, "--preset", "quick"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let why = "no metric varies in the part that validates";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[test]
fn a_stopped_training_without_a_checkpoint_leaves_no_model() {
    let (site, file) = fleet("8", "120");
    let args = [
        "train", "--data", &file, "--epochs", "400", "--preset", "quick",
    ];
    let mut running = site.start(&args);
    // It handles the signal from when it has read its data on.
    running.wait_for_handler();
    assert_eq!(running.terminate(), Some(1), "{}", running.output());
    let output = running.output();
    assert!(output.contains("nothing is registered"), "{output}");
    let listed = site.run(&["models", "list", "--json"]).ok().last_json();
    assert_eq!(listed, serde_json::json!([]), "{output}");
}

#[test]
fn too_little_says_what_is_there_and_what_is_needed() {
    for (servers, hours, there) in [
        ("1", "120", "1 of 1 servers"),
        ("8", "48", "longest series 2.0 days"),
    ] {
        let (site, file) = fleet(servers, hours);
        let ended = site.run(&train(&file, &["--preset", "quick"]));
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        for words in [there, "needed are 5 servers and 2160 rows"] {
            assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        }
    }
}
