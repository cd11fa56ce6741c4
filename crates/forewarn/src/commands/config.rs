//! `forewarn config check`: what the program would run on.

use anyhow::Result;

use super::{App, output};
use crate::cli::ConfigCommand;

/// Prints the resolved configuration; the check itself was made when it was resolved.
pub(crate) fn run(command: &ConfigCommand, app: &App) -> Result<()> {
    match command {
        ConfigCommand::Check if app.json => output::json(&app.settings.to_json()),
        ConfigCommand::Check => output::text(&app.settings.to_toml()),
    }
}
