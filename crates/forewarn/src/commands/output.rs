//! Answers on stdout. A reader that has gone away ends the command without an error.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::refusal::OutputClosed;

/// Text as it is.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    check(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// One line of text.
pub(crate) fn line(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    check(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// One line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(value).context("write the answer as JSON")?)
}

fn check(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        other => other.context("write to stdout"),
    }
}

/// Milliseconds since the epoch as RFC 3339 in UTC; the number itself where it is no such time.
pub(crate) fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(
        || ms.to_string(),
        |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

/// Rows under a header, columns as wide as they need to be.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let mut widths: Vec<usize> = header.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    text(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(1_375_315_200_000), "2013-08-01T00:00:00Z");
        assert_eq!(time(1_375_315_200_500), "2013-08-01T00:00:00.500Z");
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }
}
