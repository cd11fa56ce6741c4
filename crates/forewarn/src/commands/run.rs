//! `forewarn run --role …`: everything that is checked before a role starts, then the roles.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::Topic;

use super::{App, output};
use crate::cli::RunArgs;
use crate::clock::Clock;
use crate::kafka;
use crate::roles::{self, Ctx, Role, Summary};
use crate::shutdown::Shutdown;
use crate::telemetry::{self, Telemetry, logs};
use crate::training;

/// Runs the roles until they end, fail or are asked to stop.
///
/// # Errors
/// Refused before any work where an address is taken or a topic does not fit; else what a role
/// failed with.
pub(crate) async fn run(args: &RunArgs, app: &App) -> Result<()> {
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let telemetry = Arc::new(Telemetry::new());
    let mut roles = args.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    for role in &roles {
        telemetry.readiness().not_ready(role.name(), "starting");
    }
    let listen = &app.settings.telemetry.listen;
    // It answers until the process ends, so that a stop can be watched.
    let address = telemetry::serve(listen, telemetry.clone(), Shutdown::new()).await?;
    tracing::info!(%address, "serving /metrics, /healthz and /readyz");
    tokio::spawn(async {
        tokio::time::sleep(logs::OPEN_AFTER).await;
        logs::open();
    });
    let ctx = Ctx::new(app.settings.clone(), Clock::wall(), telemetry);
    if !check_start(args, &ctx, &shutdown).await? {
        return Ok(());
    }
    logs::open();
    let mut printed = Ok(());
    let mut print = |summary: &Summary| {
        if printed.is_ok() {
            printed = report(summary, app.json);
        }
    };
    if args.until_end {
        roles::run_until_end(&roles, &ctx, &shutdown, &mut print).await?;
    } else {
        for summary in roles::run_all(&roles, &ctx, &shutdown).await? {
            print(&summary);
        }
    }
    printed
}

/// Looks at the model, waits for a broker and looks at the topics; `false` where a stop was asked for.
async fn check_start(args: &RunArgs, ctx: &Ctx, shutdown: &Shutdown) -> Result<bool> {
    if args.roles.iter().any(|role| role.needs_model()) {
        training::check_production(&ctx.config).await?;
    }
    let settings = ctx.kafka("start");
    let waiting = |line: &str| {
        for role in &args.roles {
            ctx.telemetry.readiness().not_ready(role.name(), line);
        }
    };
    if !kafka::connect(&settings, shutdown, waiting).await? {
        return Ok(false);
    }
    for role in &args.roles {
        ctx.telemetry.readiness().not_ready(role.name(), "starting");
    }
    let needed = needed_topics(&args.roles, &ctx.config.archive.topics);
    for warning in bus::topics::check(&settings, &needed).await? {
        tracing::warn!("{warning}");
    }
    Ok(true)
}

/// What the roles read and write, in the order of [`Topic::ALL`].
fn needed_topics(roles: &[Role], archived: &[Topic]) -> Vec<Topic> {
    let of = |role: &Role| -> &[Topic] {
        match role {
            Role::Rollup => &[Topic::Metrics, Topic::Rollups, Topic::MetricsDlq],
            Role::Forecast => &[Topic::Rollups, Topic::Predictions, Topic::Control],
            Role::Drift => &[
                Topic::Rollups,
                Topic::Predictions,
                Topic::DriftPanes,
                Topic::Drift,
                Topic::Control,
            ],
            Role::Archive => archived,
            Role::Train => &[Topic::Drift, Topic::Control],
        }
    };
    let needed: Vec<Topic> = roles.iter().flat_map(of).copied().collect();
    let all = Topic::ALL.into_iter();
    all.filter(|topic| needed.contains(topic)).collect()
}

fn report(summary: &Summary, json: bool) -> Result<()> {
    if json {
        return output::json(summary);
    }
    output::line(&format!(
        "{}: {} consumed, {} produced in {:.1} s",
        summary.role, summary.consumed, summary.produced, summary.seconds
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_those_that_the_roles_touch() {
        let archived = [Topic::Alerts];
        assert_eq!(
            needed_topics(&[Role::Rollup, Role::Archive], &archived),
            [
                Topic::Metrics,
                Topic::Rollups,
                Topic::MetricsDlq,
                Topic::Alerts
            ]
        );
        assert_eq!(
            needed_topics(&[Role::Train], &archived),
            [Topic::Drift, Topic::Control]
        );
    }
}
