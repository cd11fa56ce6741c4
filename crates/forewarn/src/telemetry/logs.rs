//! Logs on stderr, held back until the start is known to hold.
//!
//! A refused start prints one line and nothing around it, so lines up to `info` wait in a bounded
//! buffer until somebody calls [`open`]: a role once its start checks have passed, a timer after
//! [`OPEN_AFTER`], or the first warning (such as waiting for a broker), which must be seen at once.
//! A refusal drops what waits.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;
use crate::refusal::Refusal;

/// A start that is not refused within this time logs from then on. Longer would hide what a slow
/// start is doing, shorter would let log lines slip in before a slow broker's refusal.
pub(crate) const OPEN_AFTER: Duration = Duration::from_secs(3);
/// What waits at most; more opens the gate.
const MAX_WAITING_BYTES: usize = 64 << 10;

/// Lines that wait; `None` once lines go out as they come.
static WAITING: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Starts logging. `RUST_LOG` wins over `level`.
///
/// # Errors
/// Refused where `RUST_LOG` holds no filter.
pub(crate) fn init(format: LogFormat, level: &str) -> Result<(), Refusal> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => text.parse().map_err(|error| {
            Refusal::new(format!(
                "RUST_LOG = {text:?}: {error}; write info or directives like forewarn=debug,info"
            ))
        })?,
        _ => EnvFilter::new(level),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Gate)
        .with_ansi(io::stderr().is_terminal());
    // A second start in one process (tests) keeps the first one's subscriber.
    let started = if format == LogFormat::Json {
        builder.json().flatten_event(true).try_init().is_ok()
    } else {
        builder.try_init().is_ok()
    };
    if started {
        *waiting() = Some(Vec::new());
    }
    Ok(())
}

/// Lets lines out: those that wait, and from now on each as it comes.
pub(crate) fn open() {
    if let Some(lines) = waiting().take() {
        // Nobody can be told that stderr is gone.
        let _ = io::stderr().write_all(&lines);
    }
}

/// Drops the lines that wait: the start was refused.
pub(crate) fn discard() {
    waiting().take();
}

fn waiting() -> MutexGuard<'static, Option<Vec<u8>>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands out a writer for each line.
struct Gate;

/// Where one line goes.
struct Line {
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Gate {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { urgent: false }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line {
            urgent: *meta.level() <= Level::WARN,
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut gate = waiting();
        let Some(lines) = gate.as_mut() else {
            drop(gate);
            io::stderr().write_all(bytes)?;
            return Ok(bytes.len());
        };
        lines.extend_from_slice(bytes);
        let full = lines.len() > MAX_WAITING_BYTES;
        drop(gate);
        if self.urgent || full {
            open();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
