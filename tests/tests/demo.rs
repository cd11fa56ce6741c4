//! The demo as a user starts it, without any broker: forecasts, drift, decision, training, reload.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::Running;

/// How long a loaded machine may take to it.
const WITHIN: Duration = Duration::from_secs(400);

#[test]
fn the_whole_loop_is_seen_on_the_embedded_broker() {
    let dir = tempfile::tempdir().expect("make a temporary directory");
    let mut command = Command::new(tests::binary());
    command
        .current_dir(dir.path())
        // The address of the metrics is in the log.
        .env("RUST_LOG", "info")
        .args(["demo", "--speed", "180", "--json", "--keep", "kept"]);
    let mut demo = Running::start(command, dir.path().join("demo.log"));
    demo.wait_for("/readyz address=", WITHIN);
    demo.wait_for_metric("forewarn_model_reloads_total", 1.0, WITHIN);
    // Two rounds of all servers: those of the first come from the new model, and have been read when the second is made.
    let forecasts = demo.wait_for_metric("forewarn_forecasts_total", 1.0, WITHIN);
    demo.wait_for_metric("forewarn_forecasts_total", forecasts + 180.0, WITHIN);
    assert_eq!(demo.terminate(), Some(0));
    // Logs are in it too.
    let output = demo.output();
    let mut lines = output.lines().rev();
    let last = lines
        .find(|line| line.starts_with('{'))
        .expect("a line of JSON");
    let totals: Value = serde_json::from_str(last).expect("it is JSON");
    let count = |key: &str| {
        totals[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {totals}"))
    };
    for key in [
        "metrics",
        "rollups",
        "predictions",
        "drift_reports",
        "decisions",
    ] {
        assert!(count(key) > 0, "{key}: {totals}\n{output}");
    }
    assert!(count("trainings") >= 1, "{totals}\n{output}");
    assert!(count("reloads") >= 1, "{totals}\n{output}");
    assert!(
        totals["models"].as_array().is_some_and(|m| m.len() >= 2),
        "{totals}"
    );
    assert!(totals["seconds_to_first_forecast"].is_number(), "{totals}");
    assert!(dir.path().join("kept/lake").is_dir() && dir.path().join("kept/registry").is_dir());
    let verified = Command::new(tests::binary())
        .current_dir(dir.path())
        .args(["archive", "verify", "--json", "--set", "lake.url=kept/lake"])
        .output()
        .expect("verify the archive");
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}
