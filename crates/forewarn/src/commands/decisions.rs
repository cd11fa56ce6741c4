//! `forewarn decisions`: why it did or did not train, in the order in which it was decided.

mod simulate;

use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use bus::{RecordRef, Start};
use contract::Topic;
use contract::codec;
use contract::record::{self, ControlEvent, ControlPayload, Decision};
use serde::Serialize;

use super::{App, output};
use crate::cli::{DecisionsArgs, DecisionsCommand};
use crate::kafka::{self, Until};
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// Most lines that are kept, the newest: an hourly decision for two years and all that follows.
const MAX_LINES: usize = 20_000;
/// Events that say that something goes on, not how it was decided.
const LEFT_OUT: [&str; 2] = [record::TRAINING_STARTED, record::TRAINING_PROGRESS];

/// One line of the log.
#[derive(Debug, Serialize)]
struct Line {
    /// RFC 3339.
    time: String,
    #[serde(rename = "type")]
    event_type: String,
    /// The model that the event speaks of; of a decision, the model that was judged.
    version: Option<String>,
    reason: String,
    id: String,
    #[serde(flatten)]
    payload: ControlPayload,
}

/// Lists the control topic's verdicts, or simulates some.
///
/// # Errors
/// Where the topic or the file cannot be read.
pub(crate) async fn run(args: &DecisionsArgs, app: &App) -> Result<()> {
    match &args.command {
        None => list(args.since, app).await,
        Some(DecisionsCommand::Simulate { input }) if args.since.is_none() => {
            simulate::run(input, app)
        }
        Some(_) => {
            Err(Refusal::new("--since: not with simulate, which takes the whole file").into())
        }
    }
}

async fn list(since: Option<i64>, app: &App) -> Result<()> {
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let settings = kafka::settings(&app.settings, "decisions");
    let topic = Topic::Control.full(&settings.prefix);
    let mut lines = std::collections::VecDeque::new();
    let collect = |record: &RecordRef<'_>| {
        match record.value.map(codec::decode::<ControlEvent>) {
            // By the event's own time, which need not be the broker's.
            Some(Ok(event)) if since.is_some_and(|since| event.time < since) => {}
            Some(Ok(event)) => lines.extend(line(event)),
            Some(Err(error)) => {
                tracing::warn!(offset = record.offset, %error, "skipped an event that does not decode");
            }
            None => {}
        }
        if lines.len() > MAX_LINES {
            lines.pop_front();
        }
        Ok(ControlFlow::Continue(()))
    };
    let span = (Start::Beginning, Until::End);
    kafka::read_topic(&settings, &topic, span, &shutdown, collect).await?;
    let lines: Vec<Line> = lines.into();
    if app.json {
        return output::json(&lines);
    }
    if lines.is_empty() {
        return output::line(match since {
            None => "no decision yet",
            Some(_) => "no decision since then",
        });
    }
    let rows: Vec<Vec<String>> = lines
        .into_iter()
        .map(|line| {
            let what = verdict(&line);
            let version = line.version.unwrap_or_default();
            vec![line.time, what, version, line.reason]
        })
        .collect();
    output::table(&["TIME", "WHAT", "VERSION", "WHY"], &rows)
}

fn line(event: ControlEvent) -> Option<Line> {
    if LEFT_OUT.contains(&event.event_type.as_str()) {
        return None;
    }
    let (version, reason) = match &event.payload {
        ControlPayload::Decision(decision) => (
            Some(decision.model_version.clone()),
            decision.reason.clone(),
        ),
        ControlPayload::Training(training) => (training.version.clone(), training.message.clone()),
        ControlPayload::Model(change) => (Some(change.version.clone()), change.reason.clone()),
    };
    Some(Line {
        time: output::time(event.time),
        event_type: event.event_type,
        version: version.filter(|version| !version.is_empty()),
        reason,
        id: event.id,
        payload: event.payload,
    })
}

/// "train", "wait" or "no" for a decision, else the event's type without our name.
fn verdict(line: &Line) -> String {
    match &line.payload {
        ControlPayload::Decision(decision) => word(decision).to_owned(),
        _ => {
            let name = line.event_type.strip_prefix("forewarn.");
            name.unwrap_or(&line.event_type).to_owned()
        }
    }
}

/// "train", "wait" (until a time that is known) or "no".
fn word(decision: &Decision) -> &'static str {
    match decision {
        decision if decision.trigger => "train",
        decision if decision.wait_until.is_some() => "wait",
        _ => "no",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use contract::record::{ModelChange, Training};

    fn event(event_type: &str, payload: ControlPayload) -> ControlEvent {
        ControlEvent {
            id: "1".to_owned(),
            event_type: event_type.to_owned(),
            source: "test".to_owned(),
            time: 1_375_315_200_000,
            payload,
        }
    }

    #[test]
    fn a_promotion_has_version_and_reason_beside_its_own_fields() {
        let change = ModelChange {
            version: "v2".to_owned(),
            path: "models/v2".to_owned(),
            contract: "abc".to_owned(),
            job_id: "j".to_owned(),
            val_loss: Some(0.5),
            previous: Some("v1".to_owned()),
            reason: "gates passed".to_owned(),
        };
        let line = line(event(record::MODEL_PROMOTED, ControlPayload::Model(change))).unwrap();
        assert_eq!(verdict(&line), "model.promoted");
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["version"], "v2");
        assert_eq!(json["reason"], "gates passed");
        assert_eq!(json["type"], "forewarn.model.promoted");
        assert_eq!(json["time"], "2013-08-01T00:00:00Z");
    }

    #[test]
    fn progress_is_no_decision() {
        let training = Training {
            job_id: "j".to_owned(),
            worker: "w".to_owned(),
            preset: "quick".to_owned(),
            trigger: "drift".to_owned(),
            version: None,
            progress: Some(0.5),
            epoch: None,
            train_loss: None,
            val_loss: None,
            message: "half".to_owned(),
            seconds: None,
        };
        let payload = ControlPayload::Training(training);
        assert!(line(event(record::TRAINING_PROGRESS, payload.clone())).is_none());
        assert!(line(event(record::TRAINING_REJECTED, payload)).is_some());
    }
}
