//! Commands and their arguments, by what they are about.

mod decide;
mod describe;
mod model;
mod serve;
mod source;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::decide::{
    BacktestArgs, DecisionsArgs, DecisionsCommand, DriftCommand, RetrainArgs,
};
pub(crate) use self::describe::{ConfigCommand, ContractCommand, SchemaCommand};
pub(crate) use self::model::{BenchCommand, EvalArgs, ModelsCommand, TrainArgs, TuneArgs};
pub(crate) use self::serve::{
    ArchiveCommand, DemoArgs, DlqCommand, RunArgs, TailArgs, TopicsCommand,
};
pub(crate) use self::source::{DataArgs, ImportCommand, ReplayArgs, SimulateArgs, TimeRange};
use crate::config::LogFormat;

/// Warns of server incidents 30 minutes to 8 hours ahead, and keeps its own model fresh.
#[derive(Debug, Parser)]
#[command(
    name = "forewarn",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Examples:\n  forewarn demo\n  forewarn --config forewarn.toml run --role rollup,forecast,archive\n  forewarn --set kafka.brokers=broker:9092 topics create\n\nExit codes: 0 done, 1 failed, 2 wrong usage or refused configuration, 3 a check did not hold."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file [default: forewarn.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set one configuration key; may be repeated, wins over file and environment
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print JSON, and nothing else, on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How log lines on stderr look [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole loop on an embedded broker: nothing else to install or start
    Demo(DemoArgs),
    /// Run one or more roles in this process
    Run(RunArgs),
    /// Create the topics, or check those that exist
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Publish metrics from a parquet file
    Replay(ReplayArgs),
    /// Simulate a fleet of servers, into a parquet file or Kafka
    Simulate(SimulateArgs),
    /// Train a model on parquet files, without a broker
    Train(TrainArgs),
    /// Search for better sizes, dropout, features and learning rate in the time given
    Tune(TuneArgs),
    /// Measure a model on a parquet file, beside naive forecasts
    Eval(EvalArgs),
    /// The archive of all topics in the lake
    #[command(subcommand)]
    Archive(ArchiveCommand),
    /// The models in the registry
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Why it did or did not train: decisions, gates, promotions
    Decisions(DecisionsArgs),
    /// Ask for a training now, or send an event that a trigger names
    Retrain(RetrainArgs),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The Avro schemas of all topics
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Metric contracts
    #[command(subcommand)]
    Contract(ContractCommand),
    /// Is the world still what the model learnt?
    #[command(subcommand)]
    Drift(DriftCommand),
    /// Records that could not be used
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Print any of our topics, decoded
    Tail(TailArgs),
    /// Turn other people's data into record files
    #[command(subcommand)]
    Import(ImportCommand),
    /// How fast it is on this machine
    #[command(subcommand)]
    Bench(BenchCommand),
}
