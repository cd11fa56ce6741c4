//! `forewarn demo`: the whole loop on the embedded broker, on a clock that runs faster.
//!
//! Back-fills 8 days of rollups of a simulated fleet, trains the first model on the first seven at
//! once, then starts the stream shortly before a quiet hour with every role in this process. A drift
//! scenario follows; from there on the program does what it always does. Nothing is switched off:
//! the rules, topics and files are those of `run`. It writes only below its own directory.
//!
//! It is not exactly-once: the embedded broker keeps no transactions.

mod account;
mod backfill;
mod observe;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bus::EmbeddedBroker;
use contract::{Contract, Topic};
use fleet::{FleetSpec, Scenario, Simulator};

use self::account::Account;
use crate::cli::DemoArgs;
use crate::clock::Clock;
use crate::commands::App;
use crate::config::{Property, Settings};
use crate::refusal::Refusal;
use crate::roles::{self, Ctx, Role};
use crate::shutdown::Shutdown;
use crate::telemetry::{self, Telemetry};
use crate::training;

/// Partitions of the partitioned topics: with fewer, eight days of 90 servers would not fit the
/// embedded broker's 5 MiB a partition; more cost panes.
const PARTITIONS: i32 = 12;
/// The embedded broker makes a group wait for its session timeout less one second whenever a member
/// came or went, which the start does twice a group; a real one does not. Shorter, and a machine
/// that trains on all cores could lose members.
const GROUP_PROPERTIES: [(&str, &str); 2] = [
    ("session.timeout.ms", "4000"),
    ("heartbeat.interval.ms", "500"),
];
/// Days of rollups behind the stream, the last of which the first model has not seen.
const BACKFILL_DAYS: i64 = 8;
/// How long the first model may train: forecasts are promised within a minute.
const FIRST_TRAINING_SECONDS: f64 = 8.0;
/// How long a later one may.
const TRAINING_SECONDS: f64 = 8.0;
/// The scenario begins this much stream time after the stream.
const DRIFT_AFTER_MS: i64 = 45 * 60_000;
const DAY_MS: i64 = 86_400_000;
/// Raw metrics come every five seconds of stream time.
const STREAM_STEP_MS: i64 = 5_000;
const ROLES: [Role; 5] = [
    Role::Rollup,
    Role::Forecast,
    Role::Drift,
    Role::Archive,
    Role::Train,
];

/// Runs until `--for` is over, Ctrl-C, or a role fails; prints the summary in any case.
///
/// # Errors
/// Refused for a contract that the simulator does not know; else what a role failed with.
pub(crate) async fn run(args: &DemoArgs, app: &App) -> Result<()> {
    let begun = Instant::now();
    if app.settings.contract.name != "linborg" {
        let found = &app.settings.contract_source;
        return Err(Refusal::new(format!(
            "contract {found}: the demo simulates linborg servers; leave contract unset"
        ))
        .into());
    }
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    if let Some(limit) = args.duration {
        stop_after(limit, shutdown.clone());
    }
    let home = Home::new(args.keep.as_deref())?;
    let prefix = &app.settings.topics.prefix;
    let topics: Vec<(String, i32)> = Topic::ALL
        .into_iter()
        .map(|topic| {
            (
                topic.full(prefix),
                if topic.partitioned() { PARTITIONS } else { 1 },
            )
        })
        .collect();
    let broker = EmbeddedBroker::start(&topics)?;
    let settings = Arc::new(demo_settings(&app.settings, args, &broker, &home)?);
    let account = Account::new(app.json, begun);
    account.welcome(&broker, &settings, args, home.path())?;

    let telemetry = Arc::new(Telemetry::new());
    let address = telemetry::serve(
        &settings.telemetry.listen,
        Arc::clone(&telemetry),
        Shutdown::new(),
    )
    .await?;
    tracing::info!(%address, "serving /metrics, /healthz and /readyz");
    telemetry::logs::open();
    account.line(&format!(
        "metrics and health: http://{address}/metrics, /readyz"
    ))?;
    let demo = Demo {
        settings,
        telemetry,
        account,
        shutdown,
        args,
    };
    let result = demo.play().await;
    demo.shutdown.trigger();
    demo.account.summary()?;
    drop(broker);
    result
}

struct Demo<'a> {
    settings: Arc<Settings>,
    telemetry: Arc<Telemetry>,
    account: Account,
    shutdown: Shutdown,
    args: &'a DemoArgs,
}

impl Demo<'_> {
    async fn play(&self) -> Result<()> {
        let contract = Arc::clone(&self.settings.contract);
        let spec = FleetSpec::Servers(self.args.servers as usize);
        let start_ms = stream_start(&contract, &spec, self.args.seed)?;
        let mut simulator = Simulator::new(
            &contract,
            &spec,
            self.args.seed,
            start_ms - BACKFILL_DAYS * DAY_MS,
            contract.step_ms(),
            Scenario {
                kind: self.args.scenario,
                from_ms: start_ms + DRIFT_AFTER_MS,
            },
        )?;
        let held = Ctx::new(
            Arc::clone(&self.settings),
            Clock::scaled(start_ms, self.args.speed),
            Arc::clone(&self.telemetry),
        );
        let trained_ms = start_ms - DAY_MS;
        let filled = backfill::fill(&held, &mut simulator, start_ms, trained_ms).await?;
        self.account.line(&format!(
            "back-filled {} rollups of {} servers: {} days up to {}",
            filled.rows,
            simulator.servers().len(),
            BACKFILL_DAYS,
            training::rfc3339(start_ms),
        ))?;
        backfill::seed_groups(&held, start_ms).await?;
        if !self.first_model(&held, filled.data, trained_ms).await? {
            return Ok(());
        }
        // The stream's time begins now, whatever the first training took.
        let clock = Clock::scaled(start_ms, self.args.speed);
        let ctx = Ctx::new(
            Arc::clone(&self.settings),
            clock,
            Arc::clone(&self.telemetry),
        );
        simulator.change_step(STREAM_STEP_MS)?;
        let observer = observe::start(&ctx, &self.account, &self.shutdown)?;
        let source = stream::start(&ctx, simulator, &self.account, &self.shutdown)?;
        let played = roles::run_all(&ROLES, &ctx, &self.shutdown).await;
        self.shutdown.trigger();
        observer.await.context("watch the topics")??;
        source.await.context("stream the metrics")??;
        played.map(|_| ())
    }

    /// Trains and registers the first model, as of the end of day seven; `false` when stopped.
    async fn first_model(&self, ctx: &Ctx, data: tft::Dataset, trained_ms: i64) -> Result<bool> {
        self.account.line(&format!(
            "training the first model on the days before {} (at most {FIRST_TRAINING_SECONDS} s)",
            training::rfc3339(trained_ms)
        ))?;
        let mut config = tft::Preset::Quick.config();
        config.max_seconds = Some(FIRST_TRAINING_SECONDS);
        config.seed = self.args.seed;
        config.devices = ctx.config.devices.clone();
        config.precision = ctx.config.train.precision;
        let job = training::Job {
            contract: Arc::clone(&ctx.contract),
            data,
            config,
            network: tft::TftConfig::default(),
            now_ms: trained_ms,
            trigger: "first model".to_owned(),
            positions: Vec::new(),
            production: None,
            resume: None,
            origin: training::Origin::simulated("forewarn demo"),
            checkpoint: None,
            forecast_every: ctx.config.forecast.every,
        };
        let mut bar = self.account.progress("training");
        let shutdown = self.shutdown.clone();
        let candidate = tokio::task::spawn_blocking(move || {
            training::build(job, &mut |progress| {
                bar.training(progress);
                if shutdown.requested() {
                    std::ops::ControlFlow::Break(())
                } else {
                    std::ops::ControlFlow::Continue(())
                }
            })
        })
        .await
        .context("train the first model")?;
        if self.shutdown.requested() {
            return Ok(false);
        }
        let candidate = candidate?;
        training::publish_first(ctx, &candidate, trained_ms).await?;
        self.account.first_model(&candidate)?;
        Ok(true)
    }
}

fn stop_after(limit: Duration, shutdown: Shutdown) {
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(limit) => shutdown.trigger(),
            () = shutdown.wait() => {}
        }
    });
}

/// Where the demo writes: a temporary directory, or one that is kept.
enum Home {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Home {
    fn new(keep: Option<&Path>) -> Result<Self> {
        match keep {
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .with_context(|| format!("make directory {}", dir.display()))?;
                let full = std::path::absolute(dir)?;
                let occupied = ["lake", "registry"]
                    .iter()
                    .find(|name| full.join(name).exists());
                if let Some(name) = occupied {
                    return Err(Refusal::new(format!(
                        "--keep {}: it holds a {name} already; name an empty directory",
                        dir.display()
                    ))
                    .into());
                }
                Ok(Home::Kept(full))
            }
            None => Ok(Home::Temporary(
                tempfile::TempDir::with_prefix("forewarn-demo-")
                    .context("make a temporary directory")?,
            )),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Home::Temporary(dir) => dir.path(),
            Home::Kept(dir) => dir,
        }
    }
}

/// The user's settings on the embedded broker and the demo's own directory.
fn demo_settings(
    settings: &Settings,
    args: &DemoArgs,
    broker: &EmbeddedBroker,
    home: &Home,
) -> Result<Settings> {
    let mut demo = settings.clone();
    broker.address().clone_into(&mut demo.kafka.brokers);
    demo.kafka.properties = GROUP_PROPERTIES
        .map(|(name, value)| (name.to_owned(), Property::plain(value)))
        .into();
    demo.kafka.instance_id = None;
    demo.lake.url = home.path().join("lake").display().to_string();
    demo.registry.url = home.path().join("registry").display().to_string();
    // A few seconds of the wall clock.
    demo.archive.flush_age = Duration::from_secs_f64(3.0 * args.speed.max(0.001));
    tft::Preset::Quick
        .as_str()
        .clone_into(&mut demo.train.preset);
    demo.train.max_seconds = Some(TRAINING_SECONDS);
    Ok(demo)
}

/// Half an hour before the quietest three hours of a working day of this fleet.
fn stream_start(contract: &Contract, spec: &FleetSpec, seed: u64) -> Result<i64> {
    /// A Wednesday, 2026-01-14T05:00:00Z: midnight in New York.
    const DAY_START_MS: i64 = 1_768_366_800_000;
    const HOUR_MS: i64 = 3_600_000;
    const QUIET_HOURS: usize = 3;
    let cpu = contract
        .load
        .cpu
        .context("the contract names no CPU metric for load")?;
    let mut day = Simulator::new(
        contract,
        spec,
        seed,
        DAY_START_MS,
        contract.step_ms(),
        Scenario::healthy(),
    )?
    .until(DAY_START_MS + DAY_MS);
    let mut hours = [(0.0_f64, 0_u32); 24];
    while let Some(step) = day.next_step() {
        let hour = usize::try_from((step.timestamp_ms - DAY_START_MS) / HOUR_MS).unwrap_or(0);
        let Some(slot) = hours.get_mut(hour) else {
            continue;
        };
        for record in step.records() {
            if let Some(value) = record.values.get(cpu).filter(|v| v.is_finite()) {
                slot.0 += f64::from(*value);
                slot.1 += 1;
            }
        }
    }
    let means: Vec<f64> = hours
        .iter()
        .map(|(sum, n)| sum / f64::from((*n).max(1)))
        .collect();
    let quietest = means
        .windows(QUIET_HOURS)
        .enumerate()
        .min_by(|(_, a), (_, b)| a.iter().sum::<f64>().total_cmp(&b.iter().sum()))
        .map_or(0, |(hour, _)| hour);
    Ok(DAY_START_MS + i64::try_from(quietest).unwrap_or(0) * HOUR_MS - HOUR_MS / 2)
}
