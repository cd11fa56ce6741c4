//! A registered version as it is served: weights, baseline, and proof that they are whole.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::Contract;
use drift::Baseline;
use lake::registry::{Loaded, Registry};

use super::{Past, stored};
use crate::config::Settings;
use crate::refusal::Refusal;

/// A model that may be served.
pub(crate) struct LoadedModel {
    pub(crate) version: String,
    /// Fingerprint of the contract.
    pub(crate) contract: String,
    pub(crate) model: tft::Model,
    pub(crate) baseline: Arc<Baseline>,
    /// Until when its weights have seen data, ms.
    pub(crate) seen_until_ms: Option<i64>,
}

/// A model that a training goes on from.
pub(crate) struct Resumable {
    pub(crate) model: tft::Model,
    /// State of the optimiser; without it a training starts its moments anew.
    pub(crate) optimiser: Option<Vec<u8>>,
    /// What its data were.
    pub(crate) simulated: tft::Simulated,
    /// Until when its weights have seen data, ms.
    pub(crate) seen_until_ms: Option<i64>,
}

/// Loads a version to train it further, checked as for serving.
pub(crate) async fn load_to_resume(
    registry: &Registry,
    version: &str,
    contract: &Arc<Contract>,
    device: tft::Device,
) -> Result<Resumable> {
    let loaded = registry.load(version).await?;
    let optimiser = loaded.files.get(stored::OPTIMISER).map(|b| b.to_vec());
    let simulated = Past::of(&loaded).simulated;
    let contract = Arc::clone(contract);
    let checked = tokio::task::spawn_blocking(move || checked(&loaded, &contract, device));
    let checked = checked.await.context("load the model")??;
    Ok(Resumable {
        model: checked.model,
        optimiser,
        simulated,
        seen_until_ms: checked.seen_until_ms,
    })
}

impl Resumable {
    /// Whether the sizes still fit: a contract may have got more profiles or states since.
    pub(crate) fn fits(&self, contract: &Contract) -> bool {
        let shape = self.model.shape();
        tft::Shape::of(shape.config, &tft::Domain::of(contract)).is_ok_and(|now| now == shape)
    }
}

/// Loads a version and holds it against its checksums, its contract and its self-test.
pub(crate) async fn load_model(
    registry: &Registry,
    version: &str,
    contract: &Arc<Contract>,
    device: tft::Device,
) -> Result<LoadedModel> {
    let loaded = registry.load(version).await?;
    let contract = Arc::clone(contract);
    tokio::task::spawn_blocking(move || checked(&loaded, &contract, device))
        .await
        .context("load the model")?
}

/// Refuses a registry that serves a model of another contract: no role that needs one could begin.
///
/// # Errors
/// The refusal. A registry that cannot be read is none: who needs it waits for it and says so.
pub(crate) async fn check_production(settings: &Settings) -> Result<()> {
    let url = &settings.registry.url;
    let registry = Registry::new(lake::store::open(url)?);
    let versions = registry.list().await.unwrap_or_default();
    let Some(served) = versions.into_iter().find(|version| version.deployed) else {
        return Ok(());
    };
    let contract = &settings.contract;
    match served.contract {
        Some(other) if other != contract.fingerprint() => Err(Refusal::new(format!(
            "production model {} in {url} is of contract {other:.16}, expected {} ({}): set contract to the one it was trained for, or registry.url to a registry of this contract",
            served.version,
            contract.short_fingerprint(),
            contract.name,
        ))
        .into()),
        _ => Ok(()),
    }
}

/// A version's files as a model that may be served. Blocking.
pub(crate) fn checked(
    loaded: &Loaded,
    contract: &Contract,
    device: tft::Device,
) -> Result<LoadedModel> {
    let version = &loaded.manifest.version;
    let model = tft::Model::load(loaded.file(stored::WEIGHTS)?, contract, device)
        .with_context(|| format!("load model {version}"))?;
    model
        .check_selftest(loaded.file(stored::SELFTEST)?)
        .with_context(|| format!("self-test of model {version}"))?;
    let baseline = stored::baseline_from_parquet(loaded.file(stored::BASELINE)?, contract)
        .with_context(|| format!("load the baseline of model {version}"))?;
    Ok(LoadedModel {
        version: version.clone(),
        contract: loaded.manifest.contract.clone(),
        model,
        baseline: Arc::new(baseline),
        seen_until_ms: Past::of(loaded).seen_until_ms(),
    })
}
