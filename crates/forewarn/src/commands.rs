//! Commands that are not services: each file one command, thin, what it decides is in a crate.

pub(crate) mod archive;
pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod contract;
pub(crate) mod decisions;
pub(crate) mod dlq;
pub(crate) mod drift;
pub(crate) mod import;
pub(crate) mod models;
pub(crate) mod output;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod retrain;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod simulate;
pub(crate) mod tail;
pub(crate) mod topics;

use std::sync::Arc;

use crate::cli::{Command, Global};
use crate::config::{Settings, Sources};
use crate::refusal::Refusal;
use crate::telemetry::logs;

/// What every command is given: the resolved configuration and how to answer.
pub(crate) struct App {
    pub(crate) settings: Arc<Settings>,
    /// JSON on stdout, and nothing else there.
    pub(crate) json: bool,
}

impl App {
    /// Resolves the configuration and starts logging.
    ///
    /// # Errors
    /// Refused in one line that names every key that cannot be used.
    pub(crate) fn start(global: &Global, command: &Command) -> Result<Self, Refusal> {
        let settings = crate::config::load(&Sources {
            file: global.config.clone(),
            set: global.set.clone(),
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        })?;
        // Services tell what they do; a command's answer is on stdout, so it only warns.
        let quiet = !matches!(command, Command::Run(_)) && settings.is_default("log.level");
        let level = if quiet { "warn" } else { &settings.log.level };
        logs::init(global.log_format.unwrap_or(settings.log.format), level)?;
        Ok(Self {
            settings: Arc::new(settings),
            json: global.json,
        })
    }
}
