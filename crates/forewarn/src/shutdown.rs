//! Stopping: one token that everybody waits on.
//!
//! SIGTERM or SIGINT asks for a stop: roles take in nothing new, finish what is in hand, commit.
//! A second signal ends the process at once. Asked to stop and stopped are two things: the role's
//! `run` returns when it has stopped.

use tokio_util::sync::CancellationToken;

/// The exit code after a second signal: 128 + SIGINT, as shells have it.
const EXIT_FORCED: i32 = 130;

/// Handed to everything that runs. Clones share one state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown(CancellationToken);

impl Shutdown {
    /// Not asked to stop yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Like `new`, and the process's signals ask for the stop.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let shutdown = Self::new();
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let asked = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!(
                "asked to stop: finishing what is in hand, a second signal ends at once"
            );
            asked.trigger();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            exit_now();
        });
        Ok(shutdown)
    }

    /// Asks for the stop.
    pub(crate) fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether a stop was asked for.
    pub(crate) fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once a stop is asked for.
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

#[allow(clippy::disallowed_methods)] // The user insists; what is committed stays committed.
fn exit_now() -> ! {
    std::process::exit(EXIT_FORCED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_reaches_all_clones_and_nobody_else() {
        let (asked, other) = (Shutdown::new(), Shutdown::new());
        let copy = asked.clone();
        assert!(!copy.requested());
        asked.trigger();
        copy.wait().await;
        assert!(copy.requested() && asked.requested() && !other.requested());
    }
}
