//! `forewarn models list`: the versions in the registry.

use anyhow::{Context as _, Result};
use lake::registry::{Registry, VersionEntry};

use super::{App, output};
use crate::cli::ModelsCommand;
use crate::refusal::Refusal;

/// Lists the versions, the newest first.
///
/// # Errors
/// Where the registry cannot be read.
pub(crate) async fn run(command: &ModelsCommand, app: &App) -> Result<()> {
    let ModelsCommand::List = command;
    let url = &app.settings.registry.url;
    let root = lake::store::open(url).map_err(|e| Refusal::new(format!("registry.url: {e}")))?;
    let within = format!("read the registry in {}", root.url);
    let mut versions = Registry::new(root).list().await.context(within)?;
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
