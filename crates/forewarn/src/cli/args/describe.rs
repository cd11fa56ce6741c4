//! What the program runs on: configuration, schemas, contracts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration and print what the program would run on, secrets masked
    #[command(after_help = "Example:\n  forewarn --config forewarn.toml config check")]
    Check,
}

/// Arguments of `schema`.
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Write the schemas of the shipped contracts, and of the configured one
    #[command(after_help = "Example:\n  forewarn schema generate --dir schemas")]
    Generate(SchemaArgs),
    /// Compare the files with what would be written; exit 3 where they differ
    #[command(after_help = "Example:\n  forewarn schema check --dir schemas")]
    Check(SchemaArgs),
}

/// Where schemas are.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Directory of the .avsc files
    #[arg(long, default_value = "schemas", value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Arguments of `contract`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContractCommand {
    /// Read a contract file and say what it holds, or what is wrong with it
    #[command(after_help = "Example:\n  forewarn contract check schemas/linborg.contract.toml")]
    Check {
        /// A .contract.toml, or a shipped name
        file: PathBuf,
    },
}
