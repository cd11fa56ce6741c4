//! The command line: what can be written, and what it is called.
//!
//! Only shapes are decided here (a time is a time, a glob is a glob); what a command does is in
//! `commands`, `roles`, `training` and `demo`.

mod args;
mod values;

pub(crate) use args::{
    ArchiveCommand, Cli, Command, ConfigCommand, ContractCommand, DemoArgs, DlqCommand, EvalArgs,
    Global, ImportCommand, ModelsCommand, ReplayArgs, RunArgs, SchemaCommand, SimulateArgs,
    TailArgs, TimeRange, TopicsCommand, TrainArgs,
};
pub(crate) use values::TailFrom;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::refusal::{Refusal, one_line};

/// Reads the process's arguments. `--help` and `--version` come back as `Err` with the text.
///
/// # Errors
/// What to print, and where: see [`Stop`].
pub(crate) fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, Stop> {
    Cli::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Text(error.to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::Usage(error.to_string()),
        _ => Stop::Refused(Refusal::new(shorten(&error.to_string()))),
    })
}

/// Why no command was run.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help or version, as asked: stdout, exit code 0.
    Text(String),
    /// Nothing was asked: the help on stderr, exit code 2.
    Usage(String),
    /// Wrong usage: one line on stderr, exit code 2.
    Refused(Refusal),
}

/// clap's message on one line: without its "error:" and its usage, with its tip.
fn shorten(message: &str) -> String {
    let lines = message
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .filter(|line| !line.starts_with("For more information"));
    let text = one_line(&lines.collect::<Vec<_>>().join("\n"));
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    format!("{text} (--help shows the usage)")
}

#[cfg(test)]
mod tests;
