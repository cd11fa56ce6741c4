//! Training: from data to a registered model, the same for the `train` command, the `train` role and the demo.
//!
//! * `backtest`: one's own history through the code of the drift role.
//! * `build`: data → candidate (weights, baseline, facts for the gates); blocking.
//! * `checkpoint`: the file that a training goes on from.
//! * `issued`: the forecasts that would have been issued over data.
//! * `gates`: may the candidate be served? Pure.
//! * `origin`: where its data come from, and what may be claimed for it.
//! * `report`: what people read of it.
//! * `loading`: a registered version as it is served.
//! * `starter`: the model that comes with the program.
//! * `command`: `forewarn train` and `forewarn eval`; `tuning`: `forewarn tune`.

mod backtest;
mod baseline;
mod build;
mod checkpoint;
mod command;
mod gates;
mod issued;
mod loading;
mod origin;
mod report;
mod starter;
mod stored;
mod tuning;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use contract::Contract;
use contract::record::{ControlPayload, MODEL_PROMOTED, MODEL_PUBLISHED, ModelChange};
use lake::registry::{NewVersion, Registry};
use serde_json::Value;

pub(crate) use self::backtest::backtest_command;
pub(crate) use self::build::{Candidate, Job, build, rfc3339};
pub(crate) use self::checkpoint::{CheckpointFile, Mismatch};
pub(crate) use self::command::{devices, eval_command, train_command};
pub(crate) use self::gates::failures;
pub(crate) use self::loading::{
    LoadedModel, Resumable, check_production, load_model, load_to_resume,
};
pub(crate) use self::origin::{Origin, Past, command_line, ended_badly};
pub(crate) use self::starter::install as install_starter;
pub(crate) use self::tuning::tune_command;
use crate::roles::Ctx;
use crate::roles::control::{ControlWriter, new_id};

/// Data as the model takes them.
pub(crate) fn dataset(window: lake::training::TrainingWindow) -> tft::Dataset {
    let series = window.series.into_iter().map(|series| tft::Series {
        server: series.server,
        profile: series.profile,
        start_ms: series.start_ms,
        values: series.values,
        states: Some(series.states),
    });
    tft::Dataset {
        series: series.collect(),
    }
}

/// The context of a series that ends before step `end`.
fn context_at(contract: &Contract, series: &tft::Series, end: usize) -> tft::Context {
    let metrics = contract.num_metrics();
    let start = end.saturating_sub(contract.context_steps);
    let values = series.values.get(start * metrics..end * metrics);
    let states = series.states.as_ref().and_then(|s| s.get(start..end));
    tft::Context {
        server: series.server.clone(),
        profile: series.profile,
        end_ms: series.start_ms + i64::try_from(end).unwrap_or(i64::MAX) * contract.step_ms(),
        values: values.unwrap_or_default().to_vec(),
        states: states.map(<[u8]>::to_vec),
    }
}

/// Puts a candidate into the registry; it is not served by that.
pub(crate) async fn register(
    registry: &Registry,
    contract: &str,
    candidate: &Candidate,
    now_ms: i64,
) -> Result<()> {
    let (version, files) = (&candidate.version, &candidate.files);
    let files = files
        .iter()
        .map(|(name, bytes)| (name.clone(), bytes.clone().into()));
    publish(registry, contract, version, files.collect(), now_ms).await
}

/// Of `training_info.json`, what the list of versions shows.
const SUMMARY: [&str; 4] = [
    "epochs",
    "final_val_loss",
    "num_servers",
    "model_parameters",
];

/// Puts the files of a version into the registry.
async fn publish(
    registry: &Registry,
    contract: &str,
    version: &str,
    files: BTreeMap<String, Bytes>,
    now_ms: i64,
) -> Result<()> {
    let info = files
        .get(stored::INFO)
        .context("training_info.json is missing")?;
    let info: Value = serde_json::from_slice(info).context("read training_info.json")?;
    let new = NewVersion {
        version: version.to_owned(),
        created_at_ms: now_ms,
        contract: contract.to_owned(),
        summary: SUMMARY
            .iter()
            .map(|key| ((*key).to_owned(), info[*key].clone()))
            .collect(),
        files,
    };
    registry.publish(new).await.context("register the model")?;
    Ok(())
}

/// A change of a model as it travels on `control`.
pub(crate) fn model_change(
    ctx: &Ctx,
    candidate: &Candidate,
    job_id: &str,
    previous: Option<String>,
    reason: &str,
) -> Result<ControlPayload> {
    Ok(ControlPayload::Model(ModelChange {
        version: candidate.version.clone(),
        path: Registry::relative_path(&candidate.version)?,
        contract: ctx.contract.fingerprint().to_owned(),
        job_id: job_id.to_owned(),
        val_loss: Some(candidate.info.final_val_loss),
        previous,
        reason: reason.to_owned(),
    }))
}

/// Registers, promotes and announces a model where nothing is served yet.
pub(crate) async fn publish_first(ctx: &Ctx, candidate: &Candidate, now_ms: i64) -> Result<()> {
    const REASON: &str = "the first model: nothing was served";
    let registry = Registry::new(lake::store::open(&ctx.config.registry.url)?);
    register(&registry, ctx.contract.fingerprint(), candidate, now_ms).await?;
    registry
        .promote(&candidate.version, 0, now_ms, REASON)
        .await?;
    let writer = ControlWriter::new(ctx, "demo")?;
    for event_type in [MODEL_PUBLISHED, MODEL_PROMOTED] {
        let payload = model_change(ctx, candidate, "", None, REASON)?;
        writer
            .publish(event_type, new_id(), now_ms, payload)
            .await?;
    }
    Ok(())
}
