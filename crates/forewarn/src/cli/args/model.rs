//! Models: trained, searched for, judged, measured, kept.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::source::DataArgs;
use crate::cli::values;

/// Arguments of `train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn train --data rollups/ --preset quick\n  forewarn train --data records.parquet --preset quick --to 2013-08-24T00:00:00Z --json\n  forewarn train --data records.parquet --servers @train.txt --epochs 3 --max-seconds 600"
)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) input: DataArgs,
    /// quick, validate, production or incremental (go on from the production model) [default: train.preset]
    #[arg(long, value_parser = ["quick", "validate", "production", "incremental"])]
    pub(crate) preset: Option<String>,
    /// Passes over the data [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) epochs: Option<u32>,
    /// Only the last days of the data [default: the preset's]
    #[arg(long, value_name = "N", value_parser = values::factor)]
    pub(crate) days: Option<f64>,
    /// Stop after this many seconds with the best model so far
    #[arg(long, value_name = "N", value_parser = crate::config::seconds)]
    pub(crate) max_seconds: Option<f64>,
    /// Leave a checkpoint here, and go on from the one that a stopped training of the same data and settings left
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Time between two checkpoints; one is written after each epoch and on a stop too
    #[arg(long, default_value = "10m", value_name = "DURATION", value_parser = crate::config::positive_duration)]
    pub(crate) checkpoint_every: std::time::Duration,
    /// Batches of one step: as if the batch were this many times as large, without the memory
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) accumulate: u32,
    /// How the learning rate falls: cosine, or plateau (halved when an epoch brings nothing)
    #[arg(long, default_value = "cosine", value_parser = values::schedule, value_name = "cosine|plateau")]
    pub(crate) schedule: tft::Schedule,
    /// Where the network runs: auto, cpu, libtorch, libtorch:cuda:N, cuda or cuda:N; with commas between them several, each of which
    /// does its share of every step [default: model.device]
    #[arg(long, value_name = "DEVICE[,DEVICE]")]
    pub(crate) device: Option<tft::Devices>,
    /// What passes compute in: f32, bf16 (weights, loss and optimiser stay f32), or auto: bf16 on GPUs that have it [default:
    /// train.precision]
    #[arg(long, value_name = "auto|f32|bf16")]
    pub(crate) precision: Option<tft::Precision>,
    /// Leave parts of the network out, to see what they are worth: lstm, selection, yesterday, hours, summaries, identity
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    pub(crate) without: Vec<String>,
    /// Same seed, same model
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Arguments of `tune`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn tune --data records.parquet --seconds 3600 --out tuned.json\n  forewarn --set train.tuned=tuned.json train --data records.parquet"
)]
pub(crate) struct TuneArgs {
    #[command(flatten)]
    pub(crate) input: DataArgs,
    /// Only the last days of the data
    #[arg(long, default_value_t = 30.0, value_name = "N", value_parser = values::factor)]
    pub(crate) days: f64,
    /// Time for all trainings together
    #[arg(long, default_value_t = 3600.0, value_name = "N", value_parser = crate::config::seconds)]
    pub(crate) seconds: f64,
    /// Settings to begin with; half of them go on, twice as long, and so on
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub(crate) candidates: u32,
    /// Where the table and the best settings go; train.tuned reads it
    #[arg(long, default_value = "tuned.json", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Where to train, as for `train` [default: model.device]
    #[arg(long, value_name = "DEVICE[,DEVICE]")]
    pub(crate) device: Option<tft::Devices>,
    /// Same seed, same candidates
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn eval --model 20260105T120000-1a2b3c4d --data records.parquet --from 2013-08-24T00:00:00Z\n  forewarn eval --model forewarn-data/registry/models/… --data records.parquet --stride 12 --out forecasts.parquet --json"
)]
pub(crate) struct EvalArgs {
    /// Version in the registry, or path of a model
    #[arg(long, value_name = "VERSION|PATH")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) input: DataArgs,
    /// Steps of five minutes from one forecast to the next
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) stride: u32,
    /// Where the network runs: auto, cpu, libtorch, libtorch:cuda:N, cuda or cuda:N [default: model.device]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<tft::Device>,
    /// Write every forecast: server, issued_at, step, metric, p10, p50, p90
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `models`.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// All versions, the newest first
    #[command(
        after_help = "Example:\n  forewarn models list --json | jq '.[] | select(.deployed)'\n\nWith --json: an array of {\"version\", \"status\", \"deployed\", …}"
    )]
    List,
    /// Register the model that comes with the program, and serve it where nothing is served yet
    #[command(
        after_help = "It was trained on a simulated fleet only: it gives forecasts on day one, and no accuracy is claimed for it. Only for contract linborg.\n\nWith --json: {\"version\", \"promoted\"}"
    )]
    Starter,
}

/// Arguments of `bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Train and forecast on made-up windows of the contract's shape
    #[command(
        after_help = "Examples:\n  forewarn bench model --json\n  forewarn bench model --batch 1 --set contract=vm\n\nThe batch is that of training and of the throughput; the latency is always that of one server."
    )]
    Model {
        /// Windows of a step of training, and servers forecast at once
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096), value_name = "N")]
        batch: u32,
        /// How long to measure, in all
        #[arg(long, default_value = "20", value_parser = values::factor, value_name = "S")]
        seconds: f64,
        /// Where the network runs: auto, cpu, libtorch, libtorch:cuda:N, cuda or cuda:N; several with commas train together, the first
        /// forecasts [default: model.device]
        #[arg(long, value_name = "DEVICE")]
        device: Option<tft::Devices>,
    },
}
