//! `forewarn decisions simulate`: what would have been decided over a history of scores and loads.
//!
//! Line by line, with one line in memory: the answer to a line is printed before the next one is read.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use chrono::DateTime;
use contract::record::Decision;
use policy::{Happened, Line, Simulation};
use serde::{Deserialize, Serialize};

use crate::commands::{App, output};
use crate::refusal::Refusal;

/// Longest line. Ours have a hundred bytes; a file without line breaks must not fill the memory.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// A line as it is written. Other fields are let be: a line of `drift backtest` with a load is one, too.
#[derive(Deserialize)]
struct Written {
    at: String,
    score: f64,
    /// Null where it is not known; it must be there.
    #[serde(deserialize_with = "Option::deserialize")]
    load: Option<f64>,
    #[serde(default)]
    event: Option<Event>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    TrainingCompleted,
    TrainingFailed,
    ManualRequest,
}

/// A decision as it is printed.
#[derive(Serialize)]
struct Answer<'a> {
    at: String,
    trigger: bool,
    reason: &'a str,
    confidence: f64,
    wait_until: Option<String>,
    priority: &'a str,
}

/// Decides at every line of `input`.
///
/// # Errors
/// Refused for a file that is not there; failed at a line that is none, and it says which.
pub(super) fn run(input: &Path, app: &App) -> Result<()> {
    let name = input.display();
    let file = File::open(input)
        .map_err(|error| Refusal::new(format!("--input {name}: cannot be read: {error}")))?;
    let mut reader = BufReader::new(file);
    let mut simulation = Simulation::new(app.settings.decision_settings());
    let mut number = 0_u64;
    loop {
        number += 1;
        let text = read_line(&mut reader).with_context(|| format!("{name} line {number}"))?;
        let Some(text) = text else {
            return Ok(());
        };
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line = parse(&text).with_context(|| format!("{name} line {number}"))?;
        answer(line.at_ms, &simulation.step(&line), app.json)?;
    }
}

/// One line without its break; `None` at the end.
fn read_line(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    let read = reader
        .by_ref()
        .take(MAX_LINE_BYTES + 1)
        .read_until(b'\n', &mut text)?;
    if read as u64 > MAX_LINE_BYTES {
        bail!("longer than {MAX_LINE_BYTES} bytes; write one JSON object a line");
    }
    Ok((read > 0).then_some(text))
}

fn parse(text: &[u8]) -> Result<Line> {
    let written: Written = serde_json::from_slice(text).map_err(|error| {
        // Its line is always the first of what it was given.
        let problem = error.to_string().replace(" at line 1 column", " at column");
        anyhow!(
            "{problem}; write {{\"at\": RFC 3339, \"score\": number, \"load\": number}}, with or without \"event\""
        )
    })?;
    let at = DateTime::parse_from_rfc3339(&written.at).map_err(|error| {
        anyhow!(
            "at {:?}: {error}; write a time in RFC 3339, like 2026-01-05T00:00:00Z",
            written.at
        )
    })?;
    if let Some(load) = written.load.filter(|load| *load < 0.0) {
        bail!("load {load}: must be 0 or more");
    }
    Ok(Line {
        at_ms: at.timestamp_millis(),
        score: written.score,
        load: written.load,
        event: written.event.map(|event| match event {
            Event::TrainingCompleted => Happened::TrainingCompleted,
            Event::TrainingFailed => Happened::TrainingFailed,
            Event::ManualRequest => Happened::ManualRequest,
        }),
    })
}

fn answer(at_ms: i64, decision: &Decision, json: bool) -> Result<()> {
    let at = output::time(at_ms);
    if json {
        return output::json(&Answer {
            at,
            trigger: decision.trigger,
            reason: &decision.reason,
            confidence: decision.confidence,
            wait_until: decision.wait_until.map(output::time),
            priority: &decision.priority,
        });
    }
    let what = super::word(decision);
    output::line(&format!(
        "{at}  {what:<5}  {:<8}  {}",
        decision.priority, decision.reason
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line =
            parse(br#"{"at":"2026-01-05T01:00:00+01:00","score":0.1,"load":0,"event":null}"#);
        let expected = Line {
            at_ms: 1_767_571_200_000,
            score: 0.1,
            load: Some(0.0),
            event: None,
        };
        assert_eq!(line.unwrap(), expected);
        let unknown = parse(br#"{"at":"2026-01-05T00:00:00Z","score":0.1,"load":null}"#);
        assert_eq!(unknown.unwrap().load, None);
        let text = br#"{"at":"2026-01-05T00:00:00Z","per":1,"score":0.1,"load":0,"event":"manual_request"}"#;
        assert_eq!(parse(text).unwrap().event, Some(Happened::ManualRequest));
        for (text, problem) in [
            (r#"{"score":0.1,"load":0}"#, "missing field `at`"),
            (
                r#"{"at":"2026-01-05T00:00:00Z","load":0}"#,
                "missing field `score`",
            ),
            (
                r#"{"at":"2026-01-05T00:00:00Z","score":0.1}"#,
                "missing field `load`",
            ),
            (r#"{"at":"2026-01-05","score":0.1,"load":0}"#, "RFC 3339"),
            (
                r#"{"at":"2026-01-05T00:00:00Z","score":1e999,"load":0}"#,
                "out of range",
            ),
            (
                r#"{"at":"2026-01-05T00:00:00Z","score":1,"load":-0.1}"#,
                "load -0.1",
            ),
            (
                r#"{"at":"2026-01-05T00:00:00Z","score":1,"load":1,"event":"trained"}"#,
                "manual_request",
            ),
            ("[", "column"),
            ("\u{1}", "column"),
        ] {
            let found = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(
                found.contains(problem) && !found.contains('\n'),
                "{text}: {found}"
            );
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_whole() {
        let endless = vec![b' '; 3 << 20];
        assert!(read_line(&mut endless.as_slice()).is_err());
        let mut two = &b"a\nb"[..];
        assert_eq!(read_line(&mut two).unwrap(), Some(b"a\n".to_vec()));
        assert_eq!(read_line(&mut two).unwrap(), Some(b"b".to_vec()));
        assert_eq!(read_line(&mut two).unwrap(), None);
    }
}
