//! Where data come from: files, the simulator, other people's traces.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fleet::replay::{Servers, Speed};
use fleet::{FleetSpec, ScenarioKind};

use crate::cli::values;

/// From when to when, by the records' own time.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TimeRange {
    /// First time, inclusive, RFC 3339
    #[arg(long, value_parser = values::time, value_name = "TIME")]
    pub(crate) from: Option<i64>,
    /// Last time, exclusive, RFC 3339
    #[arg(long, value_parser = values::time, value_name = "TIME")]
    pub(crate) to: Option<i64>,
}

/// Which data of files are read.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Parquet file, or a directory of them, with raw records or rollups
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) range: TimeRange,
    /// Only servers whose name matches, or those that @FILE names
    #[arg(long, value_parser = values::servers, value_name = "GLOB|@FILE")]
    pub(crate) servers: Option<Servers>,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn replay records.parquet\n  forewarn replay records.parquet --speed 60 --servers 'ppml*'\n  forewarn replay records.parquet --from 2013-08-01T00:00:00Z --to 2013-09-01T00:00:00Z --json\n\nWith --json: {\"sent\": n, \"servers\": n, \"seconds\": s}"
)]
pub(crate) struct ReplayArgs {
    /// Parquet file with timestamp, server and the contract's metrics
    pub(crate) file: PathBuf,
    /// max, or how many times faster than the data's own pace
    #[arg(long, default_value = "max", value_name = "max|N")]
    pub(crate) speed: Speed,
    #[command(flatten)]
    pub(crate) range: TimeRange,
    /// Only servers whose name matches, like 'ppml*', or those that @FILE names
    #[arg(long, value_parser = values::servers, value_name = "GLOB|@FILE")]
    pub(crate) servers: Option<Servers>,
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn simulate --servers 90 --hours 24 --out fleet.parquet\n  forewarn simulate --profile ml_compute=40,database=25 --hours 720 --step 5m --seed 7 --out fleet.parquet\n  forewarn simulate --servers 20 --hours 1 --scenario shift --to-kafka"
)]
pub(crate) struct SimulateArgs {
    /// How many servers, in the usual mix of profiles [default: 90]
    #[arg(long, value_name = "N", conflicts_with = "profile")]
    pub(crate) servers: Option<usize>,
    /// How many servers of each profile
    #[arg(long, value_parser = FleetSpec::parse_profiles, value_name = "NAME=N,…")]
    pub(crate) profile: Option<FleetSpec>,
    /// How long
    #[arg(long, default_value = "24", value_parser = values::factor, value_name = "H")]
    pub(crate) hours: f64,
    /// Time between two records of a server
    #[arg(long, default_value = "5s", value_parser = crate::config::positive_duration)]
    pub(crate) step: std::time::Duration,
    /// Same seed, same bytes
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What happens to the fleet
    #[arg(long, default_value_t = ScenarioKind::Healthy, value_name = "NAME")]
    pub(crate) scenario: ScenarioKind,
    /// When it begins to happen, RFC 3339 [default: with the first record]
    #[arg(long, value_parser = values::time, value_name = "TIME")]
    pub(crate) scenario_from: Option<i64>,
    /// First record's time, RFC 3339 [default: 2026-01-05T00:00:00Z, with --to-kafka H hours ago]
    #[arg(long, value_parser = values::time, value_name = "TIME")]
    pub(crate) start: Option<i64>,
    /// Write a parquet file
    #[arg(long, value_name = "FILE", required_unless_present = "to_kafka")]
    pub(crate) out: Option<PathBuf>,
    /// Publish on the metrics topic
    #[arg(long, conflicts_with = "out")]
    pub(crate) to_kafka: bool,
    /// With --to-kafka: max, or how many times faster than the data's own pace
    #[arg(long, default_value = "max", value_name = "max|N")]
    pub(crate) speed: Speed,
}

/// Arguments of `import`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Import the CSV files of the GWA-T-12 trace of virtual machines
    #[command(
        name = "vm-trace",
        after_help = "Example:\n  forewarn import vm-trace rnd/2013-8 --out vm.parquet\n\nThe file fits the contract `vm`."
    )]
    VmTrace {
        /// Directory of the trace's CSV files
        dir: PathBuf,
        /// Parquet file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}
