//! The roles: each a file with a guarantee, a loop and one named handler per event.
//!
//! `run` starts any set of them in one process. With `--until-end` they run one after another in
//! the order of [`Role`], so that a later one sees what an earlier one wrote.

pub(crate) mod archive;
mod batch;
pub(crate) mod control;
pub(crate) mod drift;
pub(crate) mod forecast;
mod lag;
mod offsets;
mod output;
mod production;
pub(crate) mod rollup;
mod summary;
pub(crate) mod train;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bus::{Consumer, Event};
use contract::{Contract, Topic};

pub(crate) use self::batch::RollupRows;
use self::lag::LagBook;
pub(crate) use self::summary::Summary;
use crate::clock::Clock;
use crate::config::Settings;
use crate::ends::Ends;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// How long a consumer may take to leave its group.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// How long a role may take to deliver and commit once it was asked to stop; longer than [`CLOSE_WITHIN`], shorter than what
/// supervisors wait (30 s) before they kill.
const STOP_WITHIN: Duration = Duration::from_secs(25);

/// What a process can be told to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Role {
    /// metrics → rollups, metrics.dlq
    Rollup,
    /// rollups → predictions
    Forecast,
    /// rollups, predictions → drift.panes, drift, control
    Drift,
    /// any topics → parquet
    Archive,
    /// control, drift → control, models
    Train,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Rollup => "rollup",
            Role::Forecast => "forecast",
            Role::Drift => "drift",
            Role::Archive => "archive",
            Role::Train => "train",
        }
    }

    /// Whether it loads the production model.
    pub(crate) fn needs_model(self) -> bool {
        matches!(self, Role::Forecast | Role::Drift | Role::Train)
    }
}

/// How a role runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RunOpts {
    /// Process what is in the topics at the start, commit, end.
    pub(crate) until_end: bool,
}

/// What every role is given.
#[derive(Clone)]
pub(crate) struct Ctx {
    pub(crate) config: Arc<Settings>,
    pub(crate) contract: Arc<Contract>,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) lag: LagBook,
}

impl Ctx {
    pub(crate) fn new(config: Arc<Settings>, clock: Clock, telemetry: Arc<Telemetry>) -> Self {
        Self {
            contract: Arc::clone(&config.contract),
            config,
            clock,
            telemetry,
            lag: LagBook::default(),
        }
    }

    /// A topic's full name.
    pub(crate) fn topic(&self, topic: Topic) -> String {
        topic.full(&self.config.topics.prefix)
    }

    /// A group's full name.
    pub(crate) fn group(&self, group: &str) -> String {
        format!("{}{group}", self.config.topics.prefix)
    }

    /// How a role reaches Kafka.
    pub(crate) fn kafka(&self, role: &str) -> bus::Settings {
        crate::kafka::settings(&self.config, role)
    }

    /// The role has what it needs to work.
    pub(crate) fn ready(&self, role: &'static str) {
        self.telemetry.readiness().ready(role);
    }

    /// The broker does not answer: said once here, retried by librdkafka.
    pub(crate) fn unavailable(&self, role: &'static str, what: &str) {
        tracing::warn!(role, "{what}");
        self.telemetry.kafka_error(role);
        self.telemetry.readiness().unreachable(role, what);
    }

    /// The next event of a role's consumer: whatever comes but a complaint shows that the broker answers.
    pub(crate) async fn next(&self, role: &'static str, consumer: &mut Consumer) -> Event {
        let event = consumer.next().await;
        match &event {
            Event::Chunk(_) | Event::Eof { .. } | Event::Assigned(_) => {
                self.telemetry.readiness().reachable(role);
            }
            Event::Unavailable(_) | Event::Revoked(_) | Event::Fatal(_) => {}
        }
        event
    }
}

/// A duration as milliseconds of stream time.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The topics' end offsets at this moment, where the run has an end.
async fn ends(ctx: &Ctx, opts: RunOpts, topics: &[String]) -> Result<Ends> {
    if !opts.until_end {
        return Ok(Ends::never());
    }
    let ends = bus::topics::end_offsets(&ctx.kafka("ends"), topics)
        .await
        .context("read end offsets")?;
    let ends = ends.into_iter();
    Ok(Ends::fixed(
        ends.map(|((topic, p), range)| (topic, p, range.high)),
    ))
}

/// Runs one role to its end.
pub(crate) async fn run_one(
    role: Role,
    ctx: Ctx,
    opts: RunOpts,
    shutdown: Shutdown,
) -> Result<Summary> {
    let name = role.name();
    let stop = shutdown.clone();
    let work = async move {
        match role {
            Role::Rollup => rollup::run(ctx, opts, shutdown).await,
            Role::Forecast => forecast::run(ctx, opts, shutdown).await,
            Role::Drift => drift::run(ctx, opts, shutdown).await,
            Role::Archive => archive::run(ctx, opts, shutdown).await,
            Role::Train => train::run(ctx, opts, shutdown).await,
        }
    };
    let result = stopped_within(STOP_WITHIN, &stop, work).await;
    result.with_context(|| format!("role {name}"))
}

/// Does the work, giving it up where it goes on for longer than `bound` after a stop was asked for.
async fn stopped_within<T>(
    bound: Duration,
    shutdown: &Shutdown,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let too_long = async {
        shutdown.wait().await;
        tokio::time::sleep(bound).await;
    };
    tokio::select! {
        result = work => result,
        () = too_long => bail!(
            "did not finish within {} s of being asked to stop (does the broker answer?): what is not committed is read \
             again at the next start",
            bound.as_secs()
        ),
    }
}

/// Runs roles side by side until a stop; the first that fails stops the others.
pub(crate) async fn run_all(
    roles: &[Role],
    ctx: &Ctx,
    shutdown: &Shutdown,
) -> Result<Vec<Summary>> {
    let mut tasks = tokio::task::JoinSet::new();
    for role in roles {
        let (ctx, shutdown) = (ctx.clone(), shutdown.clone());
        tasks.spawn(run_one(*role, ctx, RunOpts::default(), shutdown));
    }
    let lag = tokio::spawn(lag::watch(ctx.clone(), shutdown.clone()));
    let mut summaries = Vec::new();
    let mut first_error = None;
    while let Some(ended) = tasks.join_next().await {
        match ended.context("a role panicked").and_then(|result| result) {
            Ok(summary) => summaries.push(summary),
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "a role failed, the process stops"
                );
                first_error.get_or_insert(error);
                shutdown.trigger();
            }
        }
    }
    lag.abort();
    first_error.map_or(Ok(summaries), Err)
}

/// Runs roles one after another in the given order, each to the end of its topics.
pub(crate) async fn run_until_end(
    roles: &[Role],
    ctx: &Ctx,
    shutdown: &Shutdown,
    mut report: impl FnMut(&Summary),
) -> Result<()> {
    for role in roles {
        let opts = RunOpts { until_end: true };
        report(&run_one(*role, ctx.clone(), opts, shutdown.clone()).await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_is_waited_for_but_not_for_ever() {
        let shutdown = Shutdown::new();
        let bound = Duration::from_millis(20);
        let done = stopped_within(bound, &shutdown, async {
            tokio::time::sleep(3 * bound).await;
            Ok(7)
        });
        assert_eq!(done.await.ok(), Some(7), "nobody asked for a stop");
        shutdown.trigger();
        let quick = stopped_within(bound, &shutdown, async { Ok(7) });
        assert_eq!(quick.await.ok(), Some(7));
        let hangs = stopped_within(bound, &shutdown, std::future::pending::<Result<()>>());
        assert!(
            hangs
                .await
                .is_err_and(|error| error.to_string().contains("did not finish"))
        );
    }
}
