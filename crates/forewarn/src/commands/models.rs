//! `forewarn models`: the versions in the registry, and the one that comes with the program.

use anyhow::{Context as _, Result};
use lake::registry::{Registry, VersionEntry};
use serde_json::json;

use super::{App, output};
use crate::cli::ModelsCommand;
use crate::clock::Clock;
use crate::refusal::Refusal;
use crate::training;

/// Lists the versions, or adds the starter model.
///
/// # Errors
/// Where the registry cannot be read or written.
pub(crate) async fn run(command: &ModelsCommand, app: &App) -> Result<()> {
    let url = &app.settings.registry.url;
    let root = lake::store::open(url).map_err(|e| Refusal::new(format!("registry.url: {e}")))?;
    let within = format!("the registry in {}", root.url);
    let registry = Registry::new(root);
    match command {
        ModelsCommand::List => list(&registry, app).await,
        ModelsCommand::Starter => starter(&registry, app).await,
    }
    .context(within)
}

/// Registers and, where nothing is served, promotes the starter model.
async fn starter(registry: &Registry, app: &App) -> Result<()> {
    let now_ms = Clock::wall().now_ms();
    let (version, promoted) =
        training::install_starter(registry, &app.settings.contract, now_ms).await?;
    if app.json {
        return output::json(&json!({"version": version, "promoted": promoted}));
    }
    let what = match promoted {
        true => {
            "is served: it has seen simulated data only, so train on your own as soon as there is a week of it"
        }
        false => "is registered; another model is served",
    };
    output::line(&format!("starter model {version} {what}"))
}

/// Lists the versions, the newest first.
async fn list(registry: &Registry, app: &App) -> Result<()> {
    let mut versions = registry.list().await?;
    // What is not complete yet has no date: it is the newest.
    versions.sort_by_key(|entry| std::cmp::Reverse(entry.created_at.unwrap_or(i64::MAX)));
    if app.json {
        return output::json(&versions);
    }
    if versions.is_empty() {
        return output::line("no model yet");
    }
    let rows: Vec<Vec<String>> = versions.iter().map(row).collect();
    let header = [
        "VERSION",
        "STATUS",
        "REGISTERED",
        "CONTRACT",
        "BYTES",
        "REASON",
    ];
    output::table(&header, &rows)
}

fn row(entry: &VersionEntry) -> Vec<String> {
    let contract = entry.contract.as_deref().unwrap_or_default();
    vec![
        entry.version.clone(),
        format!("{:?}", entry.status).to_lowercase(),
        entry.created_at.map(output::time).unwrap_or_default(),
        contract.chars().take(16).collect(),
        entry.bytes.to_string(),
        entry.reason.clone().unwrap_or_default(),
    ]
}
