//! What the demo tells: a live account for people, one JSON line for programs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use bus::EmbeddedBroker;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::DemoArgs;
use crate::commands::output;
use crate::config::Settings;
use crate::training::Candidate;

/// The last line of `--json`.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Totals {
    pub(super) metrics: u64,
    pub(super) rollups: u64,
    pub(super) predictions: u64,
    pub(super) drift_reports: u64,
    pub(super) decisions: u64,
    pub(super) trainings: u64,
    pub(super) reloads: u64,
    pub(super) models: Vec<String>,
    /// From the program's start to a forecast of every server; null where it did not come to that.
    pub(super) seconds_to_first_forecast: Option<f64>,
}

struct State {
    totals: Totals,
    forecast_servers: BTreeSet<String>,
    num_servers: usize,
}

/// Shared by everything in the demo that has something to tell.
#[derive(Clone)]
pub(super) struct Account {
    json: bool,
    begun: Instant,
    state: Arc<Mutex<State>>,
}

impl Account {
    pub(super) fn new(json: bool, begun: Instant) -> Self {
        let state = State {
            totals: Totals::default(),
            forecast_servers: BTreeSet::new(),
            num_servers: 0,
        };
        Self {
            json,
            begun,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One line of the account, with the seconds since the start.
    pub(super) fn line(&self, text: &str) -> Result<()> {
        if self.json {
            return Ok(());
        }
        output::line(&format!(
            "{:6.1} s  {text}",
            self.begun.elapsed().as_secs_f64()
        ))
    }

    pub(super) fn welcome(
        &self,
        broker: &EmbeddedBroker,
        settings: &Settings,
        args: &DemoArgs,
        home: &Path,
    ) -> Result<()> {
        self.with(|state| state.num_servers = args.servers as usize);
        let address = broker.address();
        let prefix = &settings.topics.prefix;
        self.line(&format!(
            "embedded broker at {address} (in memory, at-least-once)"
        ))?;
        self.line(&format!(
            "topics: {prefix}metrics, {prefix}rollups, {prefix}predictions, {prefix}drift.panes, {prefix}drift, {prefix}control"
        ))?;
        self.line(&format!(
            "attach: kcat -b {address} -L   or   forewarn --set kafka.brokers={address} tail control --from beginning --follow"
        ))?;
        self.line(&format!(
            "archive and models: {}{}",
            home.display(),
            if args.keep.is_some() {
                ""
            } else {
                " (removed at the end, --keep DIR keeps them)"
            }
        ))?;
        self.line(&format!(
            "{} servers, time runs at {}×, Ctrl-C stops",
            args.servers, args.speed
        ))
    }

    pub(super) fn first_model(&self, candidate: &Candidate) -> Result<()> {
        self.with(|state| state.totals.models.push(candidate.version.clone()));
        self.line(&format!(
            "model {} trained in {:.0} s: validation loss {:.3} of what the last day's quantiles give",
            candidate.version,
            candidate.info.seconds,
            candidate.info.final_val_loss,
        ))?;
        // The demo is no place for figures; the whole of it stands in training_info.json.
        candidate
            .claims
            .iter()
            .take(2)
            .try_for_each(|claim| self.line(claim))
    }

    pub(super) fn metrics_sent(&self, count: u64) {
        self.with(|state| state.totals.metrics += count);
    }

    pub(super) fn rollups(&self, count: u64) {
        self.with(|state| state.totals.rollups += count);
    }

    pub(super) fn drift_report(&self) {
        self.with(|state| state.totals.drift_reports += 1);
    }

    pub(super) fn decision(&self) {
        self.with(|state| state.totals.decisions += 1);
    }

    pub(super) fn training(&self) {
        self.with(|state| state.totals.trainings += 1);
    }

    pub(super) fn model(&self, version: &str) {
        self.with(|state| state.totals.models.push(version.to_owned()));
    }

    pub(super) fn reload(&self) {
        self.with(|state| state.totals.reloads += 1);
    }

    /// Counts a prediction; the seconds it took when it completes the fleet.
    pub(super) fn prediction(&self, server: &str) -> Option<f64> {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.with(|state| {
            state.totals.predictions += 1;
            if state.totals.seconds_to_first_forecast.is_some() {
                return None;
            }
            state.forecast_servers.insert(server.to_owned());
            if state.forecast_servers.len() < state.num_servers {
                return None;
            }
            state.totals.seconds_to_first_forecast = Some(seconds);
            state.totals.seconds_to_first_forecast
        })
    }

    /// A progress bar on a terminal, lines elsewhere.
    pub(super) fn progress(&self, what: &'static str) -> Progress {
        let bar = ProgressBar::new(100);
        let on_terminal = !self.json && std::io::IsTerminal::is_terminal(&std::io::stderr());
        if !on_terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{prefix:>20} [{bar:40}] {percent}% {msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Progress {
            bar,
            on_terminal,
            account: self.clone(),
            said: 0,
        }
    }

    pub(super) fn summary(&self) -> Result<()> {
        let totals = self.with(|state| state.totals.clone());
        if self.json {
            return output::json(&totals);
        }
        output::line("")?;
        output::line(&format!(
            "{} metrics → {} rollups → {} predictions; {} drift reports, {} decisions, {} trainings, {} reloads",
            totals.metrics,
            totals.rollups,
            totals.predictions,
            totals.drift_reports,
            totals.decisions,
            totals.trainings,
            totals.reloads
        ))?;
        output::line(&format!("models: {}", totals.models.join(", ")))?;
        match totals.seconds_to_first_forecast {
            Some(seconds) => output::line(&format!(
                "first forecasts of the whole fleet after {seconds:.1} s"
            )),
            None => output::line("not every server was forecast"),
        }
    }
}

/// The progress of one training.
pub(super) struct Progress {
    bar: ProgressBar,
    on_terminal: bool,
    account: Account,
    /// Quarters already told in lines.
    said: u64,
}

impl Progress {
    pub(super) fn training(&mut self, progress: &tft::Progress) {
        self.share(progress.share, &format!("loss {:.3}", progress.train_loss));
    }

    /// `share` from 0 to 1.
    pub(super) fn share(&mut self, share: f64, what: &str) {
        let percent = (share.clamp(0.0, 1.0) * 100.0).round();
        self.bar.set_message(what.to_owned());
        self.bar.set_position(percent as u64);
        let quarter = (percent / 25.0) as u64;
        if !self.on_terminal && quarter > self.said {
            self.said = quarter;
            // A closed stdout ends the demo elsewhere.
            let _ = self
                .account
                .line(&format!("training {percent:.0} %: {what}"));
        }
        if share >= 1.0 {
            self.bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
