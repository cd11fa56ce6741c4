//! `forewarn retrain`: a person asks for a training, or something that happened is told to the triggers.
//!
//! The answer is the policy's, on the same fold over `control` as the drift role's, so that it comes at once and also where no drift
//! role runs. What is accepted is a job from then on; request and decision are both in the log, turned down or not.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bus::{RecordRef, Start};
use contract::Topic;
use contract::codec;
use contract::record::{
    ControlEvent, ControlPayload, DECISION, Decision, DriftReport, TRAINING_REQUESTED, Training,
};
use policy::{Evidence, Request, State};
use serde_json::json;

use super::{App, drift, output};
use crate::cli::RetrainArgs;
use crate::clock::Clock;
use crate::kafka::{self, Until};
use crate::refusal::NotHeld;
use crate::roles::Ctx;
use crate::roles::control::{ControlWriter, new_id};
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// A drift report that is older says nothing about now.
const REPORT_HOLDS_MS: i64 = 3_600_000;

/// Asks, and says what came of it.
///
/// # Errors
/// Where Kafka cannot be reached; [`NotHeld`] where the safeguards do not allow a training.
pub(crate) async fn run(args: &RetrainArgs, app: &App) -> Result<()> {
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let settings = kafka::settings(&app.settings, "retrain");
    if !kafka::connect(&settings, &shutdown, |_| {}).await? {
        return Ok(());
    }
    let ctx = Ctx::new(
        Arc::clone(&app.settings),
        Clock::wall(),
        Arc::new(Telemetry::new()),
    );
    match &args.event {
        Some(name) => send_event(name, args, app, &ctx).await,
        None => ask(args, app, &ctx, &shutdown).await,
    }
}

async fn send_event(name: &str, args: &RetrainArgs, app: &App, ctx: &Ctx) -> Result<()> {
    let message = args.reason.clone().unwrap_or_default();
    let event = Training {
        trigger: format!("event:{name}"),
        message,
        ..Training::default()
    };
    request(ctx, new_id(), ctx.clock.now_ms(), event).await?;
    let triggers = &app.settings.decision.triggers;
    let named = triggers.name_event(name);
    if app.json {
        return output::json(&json!({ "event": name, "named": named }));
    }
    output::line(&format!("event {name} is on control"))?;
    if named {
        return output::line("the next decision sees it");
    }
    output::line(&format!(
        "decision.triggers = \"{triggers}\" does not name event:{name}: with these settings nothing comes of it"
    ))
}

async fn ask(args: &RetrainArgs, app: &App, ctx: &Ctx, shutdown: &Shutdown) -> Result<()> {
    let state = state(app, shutdown).await?;
    let report = drift::last(app, shutdown).await?;
    if shutdown.requested() {
        return Ok(());
    }
    let now_ms = ctx.clock.now_ms();
    let evidence = evidence(report.as_ref(), now_ms, args.force);
    let decision = policy::decide(&evidence, &state, &app.settings.decision_settings());
    let job_id = new_id();
    if decision.trigger {
        let reason = args.reason.as_deref().unwrap_or("asked for by hand");
        let wanted = Training {
            job_id: job_id.clone(),
            preset: app.settings.train.preset.clone(),
            trigger: "manual".to_owned(),
            epoch: args.epochs.and_then(|epochs| epochs.try_into().ok()),
            message: reason.to_owned(),
            ..Training::default()
        };
        request(ctx, new_id(), now_ms, wanted).await?;
    }
    ControlWriter::new(ctx, "retrain")?
        .publish(
            DECISION,
            job_id.clone(),
            now_ms,
            ControlPayload::Decision(decision.clone()),
        )
        .await?;
    answer(&decision, &job_id, app)
}

async fn request(ctx: &Ctx, id: String, now_ms: i64, wanted: Training) -> Result<()> {
    let payload = ControlPayload::Training(wanted);
    let writer = ControlWriter::new(ctx, "retrain")?;
    writer
        .publish(TRAINING_REQUESTED, id, now_ms, payload)
        .await
        .map(|_| ())
}

/// What `control` tells by now.
async fn state(app: &App, shutdown: &Shutdown) -> Result<State> {
    let settings = kafka::settings(&app.settings, "retrain");
    let topic = Topic::Control.full(&settings.prefix);
    let mut state = State::default();
    let fold = |record: &RecordRef<'_>| {
        match record.value.map(codec::decode::<ControlEvent>) {
            Some(Ok(event)) => state.apply(&event),
            Some(Err(error)) => {
                tracing::warn!(offset = record.offset, %error, "skipped an event that does not decode");
            }
            None => {}
        }
        Ok(ControlFlow::Continue(()))
    };
    let span = (Start::Beginning, Until::End);
    kafka::read_topic(&settings, &topic, span, shutdown, fold).await?;
    Ok(state)
}

fn evidence(report: Option<&DriftReport>, now_ms: i64, force: bool) -> Evidence {
    let is_recent = |report: &&DriftReport| now_ms.saturating_sub(report.at) <= REPORT_HOLDS_MS;
    let found = match report.filter(is_recent) {
        Some(report) => Evidence::of_report(report),
        None => Evidence::of_nothing(now_ms),
    };
    Evidence {
        at_ms: now_ms,
        request: Some(Request { force }),
        ..found
    }
}

fn answer(decision: &Decision, job_id: &str, app: &App) -> Result<()> {
    let wait_until = decision.wait_until.map(output::time);
    if app.json {
        output::json(&json!({
            "accepted": decision.trigger,
            "job_id": decision.trigger.then_some(job_id),
            "reason": decision.reason,
            "wait_until": wait_until,
        }))?;
    } else if decision.trigger {
        output::line(&format!("training {job_id}: {}", decision.reason))?;
        output::line(
            "a train role takes it; forewarn tail control --from beginning --follow shows how it goes",
        )?;
    }
    if decision.trigger {
        return Ok(());
    }
    let until = wait_until.map_or_else(String::new, |until| {
        format!("; allowed from {until} on, or with --force")
    });
    Err(NotHeld::new(format!("no training: {}{until}", decision.reason)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_report_of_the_last_hour_nothing_is_known_of_drift() {
        let now_ms = 1_767_744_000_000;
        let found = evidence(None, now_ms, true);
        assert_eq!((found.at_ms, found.load), (now_ms, None));
        assert_eq!(found.request, Some(Request { force: true }));
        let decision = policy::decide(&found, &State::default(), &policy::Settings::default());
        assert_eq!(
            decision.reason,
            "no drift report, load unknown, no training before, a person asked for it and overrides the safeguards: train"
        );
    }
}
