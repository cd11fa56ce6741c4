//! Drift and what was decided about it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::source::DataArgs;
use crate::cli::values;

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
    /// Version in the registry, or path of a model, whose errors are judged; it forecasts as often as forecast.every says, a large
    /// fleet less often, once an hour at least
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

/// Arguments of `retrain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forewarn retrain --reason 'new racks in hall 3'\n  forewarn retrain --epochs 5 --force --json | jq -r .job_id\n  forewarn retrain --event deploy\n\nA person's request waits for no quiet time. It keeps the distance to the last training and the number in a week, unless\nforced; it is turned down while a training is open, forced or not.\n\nWith --json: {\"accepted\", \"job_id\", \"reason\", \"wait_until\"}, or {\"event\", \"named\"}; exit 3 where it is turned down"
)]
pub(crate) struct RetrainArgs {
    /// Passes over the data [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) epochs: Option<u32>,
    /// Override the least time between two trainings and the most in a week
    #[arg(long)]
    pub(crate) force: bool,
    /// Why, for the log of decisions
    #[arg(long, value_name = "TEXT", value_parser = values::words)]
    pub(crate) reason: Option<String>,
    /// Instead of a training, send the event that decision.triggers names as event:NAME
    #[arg(long, value_name = "NAME", value_parser = values::event_name, conflicts_with_all = ["epochs", "force"])]
    pub(crate) event: Option<String>,
}
