//! Names and formats of a version's files.

use anyhow::{Context as _, Result};
use contract::Contract;
use drift::{Baseline, BaselineHead, BaselineRow};
use lake::rows;
use serde::{Deserialize, Serialize};

pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const SELFTEST: &str = "selftest.safetensors";
pub(crate) const BASELINE: &str = "baseline.parquet";
/// What a later training goes on with; nothing that serves needs it.
pub(crate) const OPTIMISER: &str = "optimiser.safetensors";
pub(crate) const INFO: &str = "training_info.json";
/// What people read of it, and what is drawn there.
pub(crate) const REPORT_PAGE: &str = "report.html";
pub(crate) const REPORT: &str = "report.json";
pub(crate) const CONFIG: &str = "config.json";
pub(crate) const SERVERS: &str = "server_mapping.json";

/// One row of `baseline.parquet`: a cell, with the head (as JSON) that all rows share.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRow {
    head: String,
    #[serde(flatten)]
    row: BaselineRow,
}

/// The baseline as parquet: one row per profile and metric that saw a value.
pub(super) fn baseline_to_parquet(baseline: &Baseline, contract: &Contract) -> Result<Vec<u8>> {
    let head = serde_json::to_string(&baseline.head()).context("write the baseline's head")?;
    let rows: Vec<StoredRow> = baseline
        .rows(contract)
        .into_iter()
        .map(|row| StoredRow {
            head: head.clone(),
            row,
        })
        .collect();
    Ok(rows::to_parquet(&rows)
        .context("write the baseline")?
        .to_vec())
}

/// The baseline again.
pub(super) fn baseline_from_parquet(bytes: &[u8], contract: &Contract) -> Result<Baseline> {
    let stored: Vec<StoredRow> =
        rows::from_parquet(bytes.to_vec().into()).context("read the baseline")?;
    let head = stored.first().context("the baseline has no row")?;
    let head: BaselineHead =
        serde_json::from_str(&head.head).context("read the baseline's head")?;
    let rows: Vec<BaselineRow> = stored.into_iter().map(|stored| stored.row).collect();
    Ok(Baseline::from_rows(head, &rows, contract)?)
}
