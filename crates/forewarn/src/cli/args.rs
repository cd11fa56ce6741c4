//! Commands and their arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fleet::replay::{Servers, Speed};
use fleet::{FleetSpec, ScenarioKind};

use super::values::{self, TailFrom};
use crate::config::LogFormat;
use crate::roles::Role;

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

/// Arguments of `archive`.
#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveCommand {
    /// Walk every chain: contiguous, no overlap, counts and checksums; exit 3 where one is not whole
    #[command(
        after_help = "Example:\n  forewarn --set lake.url=/var/lib/forewarn/lake archive verify --json\n\nWith --json: {\"ok\", \"topics\": […], \"first_bad\": {\"object\", \"reason\"} | null}"
    )]
    Verify,
}

/// Arguments of `drift`.
#[derive(Debug, Subcommand)]
pub(crate) enum DriftCommand {
    /// The last report in a few lines
    #[command(
        after_help = "Examples:\n  forewarn drift status\n  forewarn drift status --json | jq .alarm\n\nWith --json: {\"at\", \"status\", \"score\", \"alarm\", \"trend\", \"recommendation\", …}"
    )]
    Status,
    /// The last report with its windows and every metric of every profile
    #[command(
        after_help = "Examples:\n  forewarn drift report\n  forewarn drift report --html drift.html --hours 48\n  forewarn drift report --json | jq '.metrics[:3], .server_drift'\n\nWith --json: the record of topic drift; with --html too: {\"html\", \"reports\", \"from\", \"to\"}"
    )]
    Report {
        /// Write a page with drawings to this file; it needs nothing but itself
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Hours before the last report that the page shows
        #[arg(long, default_value_t = 72, value_parser = clap::value_parser!(i64).range(1..=168), value_name = "N", requires = "html")]
        hours: i64,
    },
    /// Replay one's own history through the code of the drift role, without a broker
    #[command(
        after_help = "Examples:\n  forewarn drift backtest --data rollups/ --forecaster yesterday --baseline-days 21\n  forewarn drift backtest --data records.parquet --model 20260105T120000-1a2b3c4d --baseline-days 21 --json\n\nWith --json: a line for each evaluation, {\"at\", \"per\", \"dss\", \"fds\", \"anomaly_rate\", \"score\", \"calibrated\", \"status\", \"alarm\", \"load\"}, and a last one, {\"evaluations\", \"alarms\": [{\"from\", \"to\", \"why\"}], \"days\"}"
    )]
    Backtest(Box<BacktestArgs>),
}

/// Arguments of `drift backtest`.
#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    #[command(flatten)]
    pub(crate) input: DataArgs,
    /// Version in the registry, or path of a model, whose errors are judged
    #[arg(
        long,
        value_name = "VERSION|PATH",
        conflicts_with = "forecaster",
        required_unless_present = "forecaster"
    )]
    pub(crate) model: Option<String>,
    /// Without a model: what was at the same time yesterday
    #[arg(long, value_parser = ["yesterday"])]
    pub(crate) forecaster: Option<String>,
    /// Days from the data's first row on that are the baseline
    #[arg(long, value_name = "N", value_parser = values::factor)]
    pub(crate) baseline_days: f64,
    /// sla or any-metric [default: drift.policy]
    #[arg(long, value_parser = crate::config::read_policy, value_name = "sla|any-metric")]
    pub(crate) policy: Option<drift::Policy>,
    /// on or raw [default: drift.calibration]
    #[arg(long, value_parser = crate::config::read_calibration, value_name = "on|raw")]
    pub(crate) calibration: Option<drift::Calibration>,
    /// Where the model runs [default: model.device]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<tft::Device>,
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

/// Arguments of `decisions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn decisions --json | jq '.[-1].reason'\n  forewarn decisions --since 2026-01-05T00:00:00Z\n  forewarn decisions simulate --input history.jsonl --json\n\nWith --json: one array, oldest first, each with time, type, version and reason."
)]
pub(crate) struct DecisionsArgs {
    /// Only from this time on, RFC 3339
    #[arg(long, value_parser = values::time, value_name = "TIME")]
    pub(crate) since: Option<i64>,
    #[command(subcommand)]
    pub(crate) command: Option<DecisionsCommand>,
}

/// What else `decisions` does.
#[derive(Debug, Subcommand)]
pub(crate) enum DecisionsCommand {
    /// What would have been decided over a history of scores and loads, without Kafka
    #[command(
        after_help = "Examples:\n  forewarn decisions simulate --input history.jsonl\n  forewarn --set decision.min_hours_between=12h decisions simulate --input history.jsonl --json\n\nA line of the file: {\"at\": RFC 3339, \"score\": x, \"load\": x, \"event\": …}; event may be left out, else it is\ntraining_completed, training_failed or manual_request and comes before the line's decision.\nTrainings come from events only: a decision to train starts nothing.\n\nWith --json: a line for each {\"at\", \"trigger\", \"reason\", \"confidence\", \"wait_until\", \"priority\"}"
    )]
    Simulate {
        /// File with one JSON object a line, in the order of time
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
    },
}

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

/// Arguments of `dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Group dead letters by reason: how many, since when, from where
    #[command(after_help = "Example:\n  forewarn dlq list --json | jq '.[] | {reason, count}'")]
    List,
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

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn demo\n  forewarn demo --for 5m --json\n  forewarn demo --speed 120 --servers 40 --keep demo-data"
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
    /// Stop after this time by the wall clock [default: Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::positive_duration)]
    pub(crate) duration: Option<std::time::Duration>,
    /// Keep the lake and the registry in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}
