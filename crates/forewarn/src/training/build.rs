//! From a fleet's past to a candidate: weights, baseline and everything that is stored with them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::Contract;
use contract::record::Position;
use serde_json::{Value, json};

use super::checkpoint::{CheckpointFile, Mismatch};
use super::gates::{Compared, Facts};
use super::loading::{LoadedModel, Resumable};
use super::origin::{Origin, claims};
use super::report::{self, Said};
use super::{baseline, context_at, stored};

/// What a training is told.
pub(crate) struct Job {
    pub(crate) contract: Arc<Contract>,
    pub(crate) data: tft::Dataset,
    pub(crate) config: tft::TrainConfig,
    /// Sizes of a model that is trained anew.
    pub(crate) network: tft::TftConfig,
    /// When it is, for the version and `trained_at`.
    pub(crate) now_ms: i64,
    /// `manual`, `drift`, `first model`, …
    pub(crate) trigger: String,
    /// Positions of `rollups` that the data reach.
    pub(crate) positions: Vec<Position>,
    /// The model served now: measured on the same windows.
    pub(crate) production: Option<LoadedModel>,
    /// The model that this training goes on from; without it the weights are drawn anew.
    pub(crate) resume: Option<Resumable>,
    /// Where the data come from.
    pub(crate) origin: Origin,
    /// Where it leaves off, and goes on if it was broken off before.
    pub(crate) checkpoint: Option<CheckpointFile>,
    /// `forecast.every`: how often its errors will be seen.
    pub(crate) forecast_every: u64,
}

/// A trained model that is not registered yet.
pub(crate) struct Candidate {
    pub(crate) version: String,
    pub(crate) info: tft::TrainingInfo,
    /// What may be claimed of it, in sentences.
    pub(crate) claims: Vec<String>,
    /// Why its own error is not watched, where it is not.
    pub(crate) unwatched: Option<String>,
    pub(crate) facts: Facts,
    /// File name → bytes, as they go into the registry.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// Trains, builds the baseline, measures the gates' facts. Blocking: minutes.
pub(crate) fn build(
    mut job: Job,
    progress: &mut dyn FnMut(&tft::Progress) -> ControlFlow<()>,
) -> Result<Candidate> {
    job.config.seen_until_ms = job.resume.as_ref().and_then(|resume| resume.seen_until_ms);
    let contract = &job.contract;
    let size = match &job.resume {
        Some(resume) => resume.model.shape().config,
        None => job.network,
    };
    let trained = fit(&job, &size, progress)?;
    let weights = trained.model.save().context("write the model")?;
    let version = lake::registry::version_name(job.now_ms, &weights);
    let held_out_ms = trained.info.validation.from_ms;
    let (baseline, calibration) = baseline::build(
        contract,
        &trained.judged,
        &version,
        &job.data,
        held_out_ms,
        job.forecast_every,
    )?;
    let unwatched = (calibration.error_series == 0)
        .then(|| drift::unwatched_error(Some(calibration.held_out_days)));
    let facts = facts(&job, &trained, &weights)?;
    let simulated = match &job.resume {
        Some(before) => before.simulated.then(job.origin.simulated),
        None => job.origin.simulated,
    };
    let claims = claims(&trained.info, simulated);
    let said = Said {
        version: &version,
        now_ms: job.now_ms,
        simulated,
        claims: &claims,
        origin: &job.origin,
    };
    let report = report::report(contract, &job.data, &trained, said)?;
    let mut files = BTreeMap::new();
    let mut info = serde_json::to_value(&trained.info).context("write training_info.json")?;
    if let Value::Object(fields) = &mut info {
        fields.insert("version".to_owned(), json!(version));
        fields.insert("trained_at".to_owned(), json!(rfc3339(job.now_ms)));
        fields.insert("trigger".to_owned(), json!(job.trigger));
        fields.insert("git_commit".to_owned(), json!(env!("FOREWARN_GIT_COMMIT")));
        fields.insert("simulated".to_owned(), json!(simulated));
        fields.insert("simulated_by".to_owned(), json!(job.origin.simulated_by));
        fields.insert("command".to_owned(), json!(job.origin.command));
        fields.insert("claims".to_owned(), json!(claims));
        fields.insert("archive_positions".to_owned(), json!(job.positions));
        fields.insert(
            "baseline".to_owned(),
            json!({
                "days": calibration.days,
                "series": calibration.series,
                "error_series": calibration.error_series,
                "held_out_days": calibration.held_out_days,
                "unwatched": unwatched,
                "alarm_level": calibration.level,
            }),
        );
    }
    let pretty = |value: &Value| serde_json::to_vec_pretty(value).context("write JSON");
    files.insert(stored::INFO.to_owned(), pretty(&info)?);
    files.insert(
        stored::REPORT_PAGE.to_owned(),
        report::page(&report).into_bytes(),
    );
    files.insert(
        stored::REPORT.to_owned(),
        serde_json::to_vec(&report).context("write report.json")?,
    );
    files.insert(
        stored::CONFIG.to_owned(),
        pretty(&json!({
            "contract": contract.fingerprint(),
            "size": size,
            "training": job.config,
        }))?,
    );
    files.insert(
        stored::SERVERS.to_owned(),
        pretty(&server_mapping(&job.data))?,
    );
    files.insert(stored::SELFTEST.to_owned(), trained.model.selftest()?);
    files.insert(
        stored::BASELINE.to_owned(),
        stored::baseline_to_parquet(&baseline, contract)?,
    );
    files.insert(stored::WEIGHTS.to_owned(), weights);
    files.insert(stored::OPTIMISER.to_owned(), trained.optimiser);
    Ok(Candidate {
        version,
        info: trained.info,
        claims,
        unwatched,
        facts,
        files,
    })
}

/// Trains, from the job's checkpoint where there is one, and leaves checkpoints on the way.
fn fit(
    job: &Job,
    size: &tft::TftConfig,
    progress: &mut dyn FnMut(&tft::Progress) -> ControlFlow<()>,
) -> Result<tft::Trained> {
    let mut batch = job.config.windows_at_once();
    let mut watched = |now: &tft::Progress| {
        if now.batch < batch {
            tracing::warn!(
                from = batch,
                to = now.batch,
                step = now.step,
                "the device's memory is full: fewer windows at once, with the same result"
            );
            batch = now.batch;
        }
        progress(now)
    };
    let mut keep = |bytes: &[u8]| {
        if let Some(file) = &job.checkpoint {
            file.keep(bytes);
        }
    };
    let mut run = |start: tft::Start<'_>| {
        let checkpoints = job.checkpoint.as_ref().map(|file| tft::Checkpoints {
            every_seconds: file.every_seconds(),
            keep: &mut keep,
        });
        let mut hooks = tft::Hooks {
            progress: &mut watched,
            checkpoints,
        };
        let (contract, config) = (&job.contract, &job.config);
        tft::train_from(contract, &job.data, size, config, start, &mut hooks)
    };
    let begin = match &job.resume {
        Some(resume) => tft::Start::Model {
            model: &resume.model,
            optimiser: resume.optimiser.as_deref(),
        },
        None => tft::Start::Fresh,
    };
    let Some(file) = &job.checkpoint else {
        return Ok(run(begin)?);
    };
    let Some(left) = file.read()? else {
        return Ok(run(begin)?);
    };
    let path = file.path().display();
    tracing::info!(%path, "going on from a checkpoint");
    match run(tft::Start::Checkpoint(&left)) {
        Err(error @ tft::TrainError::Resume(_)) if file.mismatch() == Mismatch::StartOver => {
            tracing::warn!(%path, %error, "the training starts over");
            Ok(run(begin)?)
        }
        Err(error @ tft::TrainError::Resume(_)) => Err(error).with_context(|| {
            format!("checkpoint {path}: remove it to start over, or train with the data and settings that it was written with")
        }),
        ended => Ok(ended?),
    }
}

/// A time as people write it.
pub(crate) fn rfc3339(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Names seen ↔ hashed ids; servers that share an id are listed.
fn server_mapping(data: &tft::Dataset) -> Value {
    let mut by_id: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for series in &data.series {
        by_id
            .entry(contract::server_id(&series.server))
            .or_default()
            .push(&series.server);
    }
    let collisions: Vec<_> = by_id.values().filter(|names| names.len() > 1).collect();
    let servers: BTreeMap<&str, u32> = by_id
        .iter()
        .flat_map(|(id, names)| names.iter().map(move |name| (*name, *id)))
        .collect();
    json!({ "servers": servers, "collisions": collisions })
}

fn facts(job: &Job, trained: &tft::Trained, weights: &[u8]) -> Result<Facts> {
    let contract = &job.contract;
    let again = tft::Model::load(weights, contract, job.config.devices.first());
    let selftest = trained.model.selftest()?;
    let loads = again.is_ok_and(|model| model.check_selftest(&selftest).is_ok());
    let contexts = probes(job);
    let forecasts = trained
        .model
        .predict(&contexts)
        .context("forecast for the gates")?;
    let values = || {
        forecasts
            .iter()
            .flat_map(|f| [&f.p10, &f.p50, &f.p90])
            .flatten()
    };
    let in_range = forecasts.iter().all(|forecast| {
        [&forecast.p10, &forecast.p50, &forecast.p90]
            .into_iter()
            .all(|values| {
                values
                    .iter()
                    .zip(contract.metrics.iter().cycle())
                    .all(|(value, metric)| {
                        metric.min.is_none_or(|min| *value >= min)
                            && metric.max.is_none_or(|max| *value <= max)
                    })
            })
    });
    let against_production = match &job.production {
        Some(served) => Some(compared(job, trained, served)?),
        None => None,
    };
    Ok(Facts {
        loads,
        finite: values().all(|v| v.is_finite()),
        in_range,
        val_loss: trained.info.final_val_loss,
        against_production,
    })
}

/// Both on what neither has seen, as far as there is a day of it.
fn compared(job: &Job, trained: &tft::Trained, served: &LoadedModel) -> Result<Compared> {
    let all = trained.info.validation;
    let unseen = tft::Validation {
        from_ms: tft::unseen_from(all.from_ms, all.to_ms, served.seen_until_ms),
        ..all
    };
    let loss = |model: &tft::Model| tft::val_loss(model, &job.data, &unseen);
    Ok(Compared {
        candidate: loss(&trained.judged)?,
        production: loss(&served.model)?,
    })
}

/// The last context of every server.
fn probes(job: &Job) -> Vec<tft::Context> {
    let metrics = job.contract.num_metrics().max(1);
    let last =
        |series: &tft::Series| context_at(&job.contract, series, series.values.len() / metrics);
    job.data.series.iter().map(last).collect()
}
