//! Services and the topics they live on.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fleet::ScenarioKind;

use crate::cli::values::{self, TailFrom};
use crate::roles::Role;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn run --role rollup\n  forewarn run --role rollup,forecast,drift,archive,train --config forewarn.toml\n  forewarn run --role rollup,archive --until-end --json"
)]
pub(crate) struct RunArgs {
    /// Roles, separated by commas
    #[arg(
        long = "role",
        value_name = "ROLE",
        required = true,
        value_delimiter = ','
    )]
    pub(crate) roles: Vec<Role>,
    /// Process what is in the topics now, commit, print a summary and exit
    #[arg(long)]
    pub(crate) until_end: bool,
}

/// Arguments of `topics`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Create what is missing; refuse a topic with another partition count
    #[command(
        after_help = "Example:\n  forewarn --set kafka.brokers=localhost:9092 topics create --partitions 12 --replication 3"
    )]
    Create {
        /// Partitions of metrics, rollups, predictions and metrics.dlq; the other topics have one
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: i32,
        /// Copies of each partition
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
        replication: i32,
    },
}

/// Arguments of `tail`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn tail predictions --server ppml0015\n  forewarn tail control --from beginning --json\n  forewarn tail metrics --from 2026-01-05T00:00:00Z --max 10\n\nWithout --from it waits for new records; with --from it ends at the end that the topic had\nat the start, unless --follow is given."
)]
pub(crate) struct TailArgs {
    /// Short name of a topic: metrics, rollups, predictions, drift, control, …
    pub(crate) topic: String,
    /// Only this server's records
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// beginning, or a time in RFC 3339
    #[arg(long, value_parser = values::tail_from, value_name = "TIME|beginning")]
    pub(crate) from: Option<TailFrom>,
    /// Wait for new records after those that are there; without --from it always does
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Stop after this many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max: Option<u64>,
}

/// Arguments of `dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Group dead letters by reason: how many, since when, from where
    #[command(after_help = "Example:\n  forewarn dlq list --json | jq '.[] | {reason, count}'")]
    List,
}

/// Arguments of `archive`.
#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveCommand {
    /// Walk every chain: contiguous, no overlap, counts and checksums; exit 3 where one is not whole
    #[command(
        after_help = "Example:\n  forewarn --set lake.url=/var/lib/forewarn/lake archive verify --json\n\nWith --json: {\"ok\", \"topics\": […], \"first_bad\": {\"object\", \"reason\"} | null}"
    )]
    Verify,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn demo\n  forewarn demo --for 5m --json\n  forewarn demo --speed 120 --servers 40 --keep demo-data\n  forewarn demo --scenario new-profile"
)]
pub(crate) struct DemoArgs {
    /// How many times as fast as the wall clock the demo's time runs
    #[arg(long, default_value = "60", value_parser = values::factor, value_name = "N")]
    pub(crate) speed: f64,
    /// Simulated servers
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) servers: u32,
    /// Same seed, same fleet
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What happens to the fleet three quarters of an hour after the stream's start; healthy: nothing
    #[arg(long, default_value_t = ScenarioKind::Shift, value_name = "NAME")]
    pub(crate) scenario: ScenarioKind,
    /// Stop after this time by the wall clock [default: Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::positive_duration)]
    pub(crate) duration: Option<std::time::Duration>,
    /// Keep the lake and the registry in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}
