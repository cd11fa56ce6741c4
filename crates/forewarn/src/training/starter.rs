//! The model that comes with the program: a new fleet has forecasts before it has a week of its own data.
//!
//! It was trained by `forewarn train` on a simulated fleet; its `training_info.json` names both commands, and it says of itself that it has
//! seen simulated data only. Without the optimiser's state, which only a training that goes on would read.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use contract::Contract;
use lake::registry::Registry;
use serde::Deserialize;

use super::{publish, stored};
use crate::refusal::Refusal;

/// The contract that it was trained for.
const CONTRACT: &str = "linborg";

macro_rules! file {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../starter/linborg/", $name)).as_slice(),
        )
    };
}

const FILES: [(&str, &[u8]); 8] = [
    file!("baseline.parquet"),
    file!("config.json"),
    file!("model.safetensors"),
    file!("report.html"),
    file!("report.json"),
    file!("selftest.safetensors"),
    file!("server_mapping.json"),
    file!("training_info.json"),
];

#[derive(Deserialize)]
struct Info {
    version: String,
}

/// Registers the starter model unless it is there already; gives its version and whether it is served now, which it is where
/// nothing else was.
///
/// # Errors
/// Refused for another contract; failed where the registry cannot be read or written.
pub(crate) async fn install(
    registry: &Registry,
    contract: &Contract,
    now_ms: i64,
) -> Result<(String, bool)> {
    let shipped = Contract::shipped(CONTRACT).context("the shipped contract")?;
    if contract.fingerprint() != shipped.fingerprint() {
        return Err(Refusal::new(format!(
            "the starter model is of contract {CONTRACT}, not of {}: train one with forewarn train",
            contract.name
        ))
        .into());
    }
    let info = FILES.iter().find(|(name, _)| *name == stored::INFO);
    let info: Info = serde_json::from_slice(info.map_or(&[], |(_, bytes)| bytes))
        .context("the starter model's training_info.json")?;
    let versions = registry.list().await.context("read the registry")?;
    if !versions.iter().any(|known| known.version == info.version) {
        let files = FILES
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), Bytes::from_static(bytes)))
            .collect();
        publish(
            registry,
            contract.fingerprint(),
            &info.version,
            files,
            now_ms,
        )
        .await?;
    }
    let nothing_served = registry
        .production()
        .await
        .context("read the registry")?
        .is_none();
    if nothing_served {
        registry
            .promote(
                &info.version,
                0,
                now_ms,
                "the starter model: nothing was served",
            )
            .await
            .context("promote the starter model")?;
    }
    Ok((info.version, nothing_served))
}
