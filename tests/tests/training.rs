//! Training and evaluation on the real VM trace, as a user runs them.

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
