//! The demo as a user starts it, without any broker: forecasts, drift, decision, training, reload.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_whole_loop_is_seen_on_the_embedded_broker() {
    let dir = tempfile::tempdir().expect("make a temporary directory");
    let output = Command::new(tests::binary())
        .current_dir(dir.path())
        .args([
            "demo", "--for", "330s", "--speed", "180", "--json", "--keep", "kept",
        ])
        .output()
        .expect("start the demo");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().expect("a last line");
    let totals: Value = serde_json::from_str(last).expect("the last line is JSON");
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
        assert!(count(key) > 0, "{key}: {totals}\n{stderr}");
    }
    assert!(count("trainings") >= 1, "{totals}\n{stderr}");
    assert!(count("reloads") >= 1, "{totals}\n{stderr}");
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
