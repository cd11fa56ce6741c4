//! The command line: what can be written, and what it is called.
//!
//! Only shapes are decided here (a time is a time, a glob is a glob); what a command does is in
//! `commands`, `roles`, `training` and `demo`.

mod args;
mod values;

pub(crate) use args::{
    ArchiveCommand, BacktestArgs, BenchCommand, Cli, Command, ConfigCommand, ContractCommand,
    DataArgs, DecisionsArgs, DecisionsCommand, DemoArgs, DlqCommand, DriftCommand, EvalArgs,
    Global, ImportCommand, ModelsCommand, ReplayArgs, RetrainArgs, RunArgs, SchemaCommand,
    SimulateArgs, TailArgs, TimeRange, TopicsCommand, TrainArgs, TuneArgs,
};
pub(crate) use values::TailFrom;

use std::ffi::OsString;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::refusal::{Refusal, one_line};

/// Reads the process's arguments. `--help` and `--version` come back as `Err` with the text.
///
/// # Errors
/// What to print, and where: see [`Stop`].
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    Cli::try_parse_from(hoist_set(arguments)).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Text(error.to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::Usage(error.to_string()),
        _ => Stop::Refused(Refusal::new(shorten(&error.to_string()))),
    })
}

/// Moves each `--set KEY=VALUE` to the front: clap keeps only the deepest level's values of a global
/// argument, and those before the command must count too.
fn hoist_set(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut front: Vec<OsString> = arguments.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        let text = argument.to_str();
        if text == Some("--") {
            rest.push(argument);
            rest.extend(arguments.by_ref());
        } else if text == Some("--set") {
            match arguments.next() {
                Some(value) => front.extend([argument, value]),
                // clap says what is missing.
                None => rest.push(argument),
            }
        } else if text.is_some_and(|text| text.starts_with("--set=")) {
            front.push(argument);
        } else {
            rest.push(argument);
        }
    }
    front.extend(rest);
    front
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
