//! `forewarn schema generate|check`: the Avro schemas that follow from the contracts.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use contract::{Contract, schema};
use serde_json::json;

use super::{App, output};
use crate::cli::SchemaCommand;
use crate::refusal::NotHeld;

/// Writes the schema files, or compares them.
///
/// # Errors
/// Where a file cannot be written; [`NotHeld`] where one differs.
pub(crate) fn run(command: &SchemaCommand, app: &App) -> Result<()> {
    let files = files(&app.settings.contract);
    match command {
        SchemaCommand::Generate(args) => {
            for (path, content) in &files {
                write(&args.dir.join(path), content)?;
            }
            let written: Vec<_> = files.iter().map(|(path, _)| path).collect();
            if app.json {
                return output::json(&json!({ "written": written }));
            }
            let count = written.len();
            output::line(&format!(
                "{count} schemas written to {}",
                args.dir.display()
            ))
        }
        SchemaCommand::Check(args) => {
            let differing = differing(&args.dir, &files);
            if app.json {
                output::json(&json!({"ok": differing.is_empty(), "differing": differing}))?;
            }
            if differing.is_empty() {
                return match app.json {
                    true => Ok(()),
                    false => output::line(&format!("{} schemas are as generated", files.len())),
                };
            }
            let dir = args.dir.display();
            Err(NotHeld::new(format!(
                "schemas in {dir} differ from what the contracts say: {}; run `forewarn schema generate --dir {dir}`",
                differing.join(", ")
            ))
            .into())
        }
    }
}

/// Those of the shipped contracts, and of the configured one where it is another.
fn files(configured: &Contract) -> Vec<(String, String)> {
    let mut contracts: Vec<Contract> = Contract::SHIPPED
        .iter()
        .filter_map(|name| Contract::shipped(name))
        .collect();
    if !contracts.iter().any(|known| known.name == configured.name) {
        contracts.push(configured.clone());
    }
    schema::generated_files(&contracts)
}

fn write(path: &Path, content: &str) -> Result<()> {
    let within = || format!("write schema {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(within)?;
    }
    fs::write(path, content).with_context(within)
}

/// Files that are missing or hold something else, with which of the two.
fn differing(dir: &Path, files: &[(String, String)]) -> Vec<String> {
    files
        .iter()
        .filter_map(|(path, content)| match fs::read_to_string(dir.join(path)) {
            Ok(found) if found == *content => None,
            Ok(_) => Some(format!("{path} (changed)")),
            Err(_) => Some(format!("{path} (missing)")),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_generated_holds_until_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(&Contract::shipped("vm").unwrap());
        assert!(
            files
                .iter()
                .any(|(path, _)| path == "linborg/server_metrics.avsc")
        );
        assert_eq!(differing(dir.path(), &files).len(), files.len());
        for (path, content) in &files {
            write(&dir.path().join(path), content).unwrap();
        }
        assert_eq!(differing(dir.path(), &files), Vec::<String>::new());
        fs::write(dir.path().join("control.avsc"), "{}").unwrap();
        assert_eq!(differing(dir.path(), &files), ["control.avsc (changed)"]);
    }
}
