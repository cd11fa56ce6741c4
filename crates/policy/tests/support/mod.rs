//! Events and reports for the tests of this crate.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use contract::record::{
    self, ControlEvent, ControlPayload, Decision, DriftReport, MetricDrift, ModelChange, Position,
    Training,
};

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// Some Wednesday.
pub(crate) const NOW: i64 = 1_767_744_000_000;

pub(crate) fn report(score: f64, load: Option<f64>) -> DriftReport {
    let policy = drift::Policy::SLA;
    DriftReport {
        at: NOW,
        contract: "c".to_owned(),
        model_version: "m1".to_owned(),
        baseline: "b1".to_owned(),
        status: policy.status(score).as_str().to_owned(),
        score,
        alarm: policy.is_alarm(score),
        windows: Vec::new(),
        metrics: ["cpu_user_pct", "mem_used_pct", "load_average"]
            .map(|metric| MetricDrift {
                profile: "ml_compute".to_owned(),
                metric: metric.to_owned(),
                ks: 0.5,
                z: 1.0,
                anomaly_rate: 0.0,
                per: None,
                psi: None,
                ks_p: 1.0,
                mean_p: None,
                strength: 0.0,
                signal: String::new(),
                size_sd: None,
                since: None,
                share_away: None,
            })
            .to_vec(),
        servers: 90,
        rows: 1_000,
        missing_partitions: Vec::new(),
        missing_servers: 0,
        load,
        mean_cpu: None,
        mean_memory: None,
        accuracy: None,
        share_drifted: 0.0,
        trends: Vec::new(),
        confidence: 0.9,
        recommendation: String::new(),
        positions: vec![Position {
            partition: 0,
            offset: 77,
        }],
        known_servers: 90,
        server_drift: Vec::new(),
        new_servers: 0,
        new_names: Vec::new(),
    }
}

fn event(id: &str, event_type: &str, time: i64, payload: ControlPayload) -> ControlEvent {
    ControlEvent {
        id: id.to_owned(),
        event_type: event_type.to_owned(),
        source: "anna".to_owned(),
        time,
        payload,
    }
}

pub(crate) fn training(
    id: &str,
    event_type: &str,
    time: i64,
    job: &str,
    worker: &str,
) -> ControlEvent {
    let payload = Training {
        job_id: job.to_owned(),
        worker: worker.to_owned(),
        preset: "quick".to_owned(),
        trigger: "drift".to_owned(),
        version: None,
        progress: Some(0.4),
        epoch: Some(2),
        train_loss: None,
        val_loss: Some(0.5),
        message: "why".to_owned(),
        seconds: None,
    };
    event(id, event_type, time, ControlPayload::Training(payload))
}

pub(crate) fn model(id: &str, event_type: &str, time: i64, version: &str) -> ControlEvent {
    let payload = ModelChange {
        version: version.to_owned(),
        path: format!("models/{version}"),
        contract: "c".to_owned(),
        job_id: String::new(),
        val_loss: None,
        previous: None,
        reason: String::new(),
    };
    event(id, event_type, time, ControlPayload::Model(payload))
}

pub(crate) fn decision(id: &str, time: i64, trigger: bool, manual: bool) -> ControlEvent {
    let payload = Decision {
        trigger,
        confidence: 1.0,
        priority: "low".to_owned(),
        score: 0.2,
        status: "critical".to_owned(),
        model_version: "m1".to_owned(),
        positions: vec![Position {
            partition: 0,
            offset: 77,
        }],
        manual,
        cause: if manual { "manual" } else { "drift" }.to_owned(),
        ..Decision::default()
    };
    event(
        id,
        record::DECISION,
        time,
        ControlPayload::Decision(payload),
    )
}
