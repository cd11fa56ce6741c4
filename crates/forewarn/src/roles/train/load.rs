//! How busy the fleet is while a training runs, and the gate that the training passes between two steps.
//!
//! The load comes with the drift reports; when it pauses and when it goes on is decided in `policy::Pausing`. Without reports
//! (no drift role runs, the topic cannot be read) nothing holds a training up.

use std::collections::VecDeque;

use anyhow::{Context as _, Result};
use bus::{Consumer, Event, Limits, Start};
use contract::Topic;
use contract::record::DriftReport;
use policy::{Evidence, Pausing, Turn};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::ROLE;
use crate::roles::Ctx;
use crate::shutdown::Shutdown;

const LIMITS: Limits = Limits {
    max_records: 100,
    max_bytes: 1 << 20,
    max_wait: std::time::Duration::from_millis(50),
    queue_chunks: 2,
};

/// Watches for one training.
pub(super) struct LoadWatch {
    ctx: Ctx,
    settings: policy::Settings,
    pausing: Pausing,
    /// `None` where nothing can pause the training, or the topic cannot be read.
    reports: Option<Consumer>,
    /// Turns that nobody has been told of yet: those of one chunk.
    turns: VecDeque<Turn>,
    /// Whether the gate is shut.
    shut: watch::Sender<bool>,
}

impl LoadWatch {
    /// Listens from now on.
    pub(super) fn start(ctx: &Ctx, job: &policy::Job) -> Result<LoadWatch> {
        let pausing = Pausing::new(job);
        let listen = || {
            let partition = (ctx.topic(Topic::Drift), 0, Start::End);
            Consumer::assign(&ctx.kafka("train-load"), &[partition], LIMITS)
        };
        let reports = pausing
            .may_pause(ctx.clock.now_ms())
            .then(listen)
            .transpose()
            .context("read drift reports")?;
        Ok(LoadWatch {
            ctx: ctx.clone(),
            settings: ctx.config.decision_settings(),
            pausing,
            reports,
            turns: VecDeque::new(),
            shut: watch::Sender::new(false),
        })
    }

    /// What the training passes.
    pub(super) fn gate(&self, shutdown: &Shutdown) -> Gate {
        Gate {
            shut: self.shut.subscribe(),
            shutdown: shutdown.clone(),
            runtime: Handle::current(),
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pausing.is_paused()
    }

    /// Waits until reports turn it. Cancel-safe.
    pub(super) async fn turn(&mut self) -> Turn {
        loop {
            if let Some(turn) = self.turns.pop_front() {
                return turn;
            }
            let Some(reports) = &mut self.reports else {
                std::future::pending::<()>().await;
                continue;
            };
            match self.ctx.next(ROLE, reports).await {
                Event::Chunk(chunk) => {
                    for value in chunk.iter().filter_map(|record| record.value) {
                        let turn = self.see(value);
                        self.turns.extend(turn);
                    }
                }
                Event::Unavailable(what) => self.ctx.unavailable(ROLE, &what),
                Event::Fatal(error) => {
                    tracing::warn!(%error, "drift reports cannot be read: the training does not give way to the fleet");
                    self.reports = None;
                }
                Event::Assigned(_) | Event::Revoked(_) | Event::Eof { .. } => {}
            }
        }
    }

    fn see(&mut self, value: &[u8]) -> Option<Turn> {
        let Ok(report) = contract::codec::decode::<DriftReport>(value) else {
            self.ctx.telemetry.skipped(ROLE, "report_malformed", 1);
            return None;
        };
        if report.contract != self.ctx.contract.fingerprint() {
            return None;
        }
        let evidence = Evidence::of_report(&report);
        let now_ms = self.ctx.clock.now_ms();
        let turn = self.pausing.see(&evidence, &self.settings, now_ms);
        self.set(turn)
    }

    /// Whether time alone turns it.
    pub(super) fn look(&mut self) -> Option<Turn> {
        let turn = self.pausing.look(self.ctx.clock.now_ms());
        self.set(turn)
    }

    fn set(&self, turn: Option<Turn>) -> Option<Turn> {
        let paused = self.pausing.is_paused();
        if turn.is_some() {
            self.shut.send_replace(paused);
            self.ctx.telemetry.set_training_paused(paused);
        }
        turn
    }
}

impl Drop for LoadWatch {
    fn drop(&mut self) {
        self.ctx.telemetry.set_training_paused(false);
    }
}

/// Stands between two steps. It opens when the watch ends or a stop is asked for.
pub(super) struct Gate {
    shut: watch::Receiver<bool>,
    shutdown: Shutdown,
    runtime: Handle,
}

impl Gate {
    /// Waits while it is shut. For a thread that may block.
    pub(super) fn pass(&mut self) {
        if !*self.shut.borrow_and_update() {
            return;
        }
        let (shut, shutdown) = (&mut self.shut, &self.shutdown);
        self.runtime.block_on(async {
            tokio::select! {
                // An error says that the watch has ended.
                _ = shut.wait_for(|shut| !shut) => {}
                () = shutdown.wait() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn gate(shut: &watch::Sender<bool>, shutdown: &Shutdown) -> Gate {
        Gate {
            shut: shut.subscribe(),
            shutdown: shutdown.clone(),
            runtime: Handle::current(),
        }
    }

    /// Whether a thread passes within the time given.
    async fn passes(mut gate: Gate, within: Duration) -> bool {
        let passed = tokio::task::spawn_blocking(move || gate.pass());
        tokio::time::timeout(within, passed).await.is_ok()
    }

    #[tokio::test]
    async fn a_shut_gate_holds_until_it_opens_ends_or_a_stop_is_asked_for() {
        const SOON: Duration = Duration::from_secs(10);
        let (shut, shutdown) = (watch::Sender::new(false), Shutdown::new());
        assert!(passes(gate(&shut, &shutdown), SOON).await);
        shut.send_replace(true);
        let held = passes(gate(&shut, &shutdown), Duration::from_millis(50));
        assert!(!held.await);
        let opened = passes(gate(&shut, &shutdown), SOON);
        let (passed, _) = tokio::join!(opened, async { shut.send_replace(false) });
        assert!(passed);
        shut.send_replace(true);
        let stopped = passes(gate(&shut, &shutdown), SOON);
        let (passed, ()) = tokio::join!(stopped, async { shutdown.trigger() });
        assert!(passed);
        let ended = gate(&shut, &Shutdown::new());
        drop(shut);
        assert!(passes(ended, SOON).await, "nobody is left to open it");
    }
}
