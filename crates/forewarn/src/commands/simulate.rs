//! `forewarn simulate`: a made-up fleet's metrics, into a parquet file or Kafka.

use std::path::Path;

use anyhow::{Context as _, Result};
use contract::codec::MetricRow;
use fleet::replay::Pacer;
use fleet::{FleetSpec, Scenario, Simulator};
use lake::records::{RecordWriter, Row};
use serde_json::json;
use tokio::time::Instant;

use super::publish::{Publisher, wait_until_due};
use super::{App, output};
use crate::cli::SimulateArgs;
use crate::clock::Clock;
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// The fleet where nobody says another.
const DEFAULT_SERVERS: usize = 90;
/// 2026-01-05T00:00:00Z, a Monday: a fixed start makes the same seed the same file.
const DEFAULT_START_MS: i64 = 1_767_571_200_000;

/// Simulates from start to end and prints how much.
///
/// # Errors
/// Refused where the fleet cannot be simulated; failed where records cannot be written.
pub(crate) async fn run(args: &SimulateArgs, app: &App) -> Result<()> {
    let started = Instant::now();
    let simulator = simulator(args, app)?;
    let (records, servers) = match &args.out {
        Some(path) => to_file(simulator, path, &by(args, app), app)?,
        None => to_kafka(simulator, args, app).await?,
    };
    let seconds = started.elapsed().as_secs_f64();
    if app.json {
        return output::json(&json!({"records": records, "servers": servers, "seconds": seconds}));
    }
    output::line(&format!(
        "{records} records of {servers} servers in {seconds:.1} s"
    ))
}

fn simulator(args: &SimulateArgs, app: &App) -> Result<Simulator, Refusal> {
    let fleet = match (&args.profile, args.servers) {
        (Some(fleet), _) => fleet.clone(),
        (None, servers) => FleetSpec::Servers(servers.unwrap_or(DEFAULT_SERVERS)),
    };
    let length_ms = (args.hours * 3_600_000.0) as i64;
    let step_ms = crate::roles::millis(args.step);
    let start_ms = args.start.unwrap_or_else(|| match args.out {
        Some(_) => DEFAULT_START_MS,
        // Up to now: what is ahead of the broker's clock would be refused.
        None => {
            let start = Clock::wall().now_ms().saturating_sub(length_ms);
            start - start.rem_euclid(step_ms.max(1))
        }
    });
    let scenario = Scenario {
        kind: args.scenario,
        from_ms: args.scenario_from.unwrap_or(start_ms),
    };
    let contract = &app.settings.contract;
    Simulator::new(contract, &fleet, args.seed, start_ms, step_ms, scenario)
        .map(|simulator| simulator.until(start_ms.saturating_add(length_ms)))
        .map_err(|error| Refusal::new(error.to_string()))
}

/// The command that gives the same records again, without the file's name.
fn by(args: &SimulateArgs, app: &App) -> String {
    let fleet = match (&args.profile, args.servers) {
        (Some(FleetSpec::Profiles(profiles)), _) => {
            let parts = profiles
                .iter()
                .map(|(name, count)| format!("{name}={count}"));
            format!("--profile {}", parts.collect::<Vec<_>>().join(","))
        }
        (Some(FleetSpec::Servers(servers)), _) => format!("--servers {servers}"),
        (None, servers) => format!("--servers {}", servers.unwrap_or(DEFAULT_SERVERS)),
    };
    format!(
        "forewarn --set contract={} simulate {fleet} --hours {} --step {}ms --seed {} --scenario {} --start {}{}",
        app.settings.contract.name,
        args.hours,
        crate::roles::millis(args.step),
        args.seed,
        args.scenario,
        output::time(args.start.unwrap_or(DEFAULT_START_MS)),
        args.scenario_from
            .map(|from| format!(" --scenario-from {}", output::time(from)))
            .unwrap_or_default(),
    )
}

fn to_file(mut simulator: Simulator, path: &Path, by: &str, app: &App) -> Result<(u64, usize)> {
    let servers = simulator.servers().len();
    let mut writer = RecordWriter::create(path, &app.settings.contract)?;
    writer.mark_simulated(by);
    let mut values = Vec::new();
    while let Some(step) = simulator.next_step() {
        for record in step.records() {
            values.clear();
            values.extend(record.measured());
            writer.write(&Row {
                server: record.server,
                timestamp_ms: Some(record.timestamp_ms),
                profile: Some(record.profile),
                state: Some(record.state),
                values: &values,
            })?;
        }
    }
    Ok((writer.finish()?, servers))
}

async fn to_kafka(
    mut simulator: Simulator,
    args: &SimulateArgs,
    app: &App,
) -> Result<(u64, usize)> {
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let Some(mut publisher) = Publisher::connect(app, "simulate", &shutdown).await? else {
        return Ok((0, 0));
    };
    let (mut pacer, started) = (Pacer::new(args.speed), Instant::now());
    let mut values = Vec::new();
    while let Some(step) = simulator.next_step() {
        let due = started + pacer.due(step.timestamp_ms);
        if !wait_until_due(due, &shutdown).await {
            break;
        }
        for record in step.records() {
            values.clear();
            values.extend(record.measured());
            publisher
                .send(&MetricRow {
                    server: record.server,
                    timestamp: record.timestamp_ms,
                    profile: Some(record.profile),
                    state: Some(record.state),
                    values: &values,
                })
                .await?;
        }
    }
    publisher.finish().await
}
