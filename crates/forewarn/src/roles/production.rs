//! The model in production, and word of every change of it.
//!
//! The registry's pointer is the truth; events on the control topic and a look every 10 s (a local
//! `train` sends no event) only say when to read it. A model is handed out after its checksums, its
//! contract and its self-test hold (`served-is-registered`); until then the one before stays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use contract::record::ControlPayload;
use lake::registry::{Registry, RegistryError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::control::{ControlRead, ControlReader};
use super::{Ctx, RunOpts};
use crate::shutdown::Shutdown;
use crate::training::{LoadedModel, load_model};

/// How often the registry is looked at without an event.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// One role's view of production; clones share the watcher and what it loaded.
#[derive(Clone)]
pub(crate) struct ProductionWatch {
    ctx: Ctx,
    role: &'static str,
    latest: watch::Receiver<Option<Arc<LoadedModel>>>,
    _watcher: Arc<Task>,
}

impl ProductionWatch {
    /// Starts watching. The first look happens at once.
    pub(crate) fn start(ctx: &Ctx, role: &'static str) -> Result<Self> {
        let registry = Registry::new(lake::store::open(&ctx.config.registry.url)?);
        let control = ControlReader::from_now(ctx, role)?;
        let (sender, latest) = watch::channel(None);
        let watcher = Watcher {
            ctx: ctx.clone(),
            role,
            registry,
            control,
            sender,
            refused: None,
        };
        Ok(Self {
            ctx: ctx.clone(),
            role,
            latest,
            _watcher: Arc::new(Task(tokio::spawn(watcher.watch()))),
        })
    }

    /// The model in production; `None` before there is one.
    pub(crate) fn current(&self) -> Option<Arc<LoadedModel>> {
        self.latest.borrow().clone()
    }

    /// Waits for the next change. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Result<()> {
        self.latest
            .changed()
            .await
            .context("watch the production model: the watcher ended")
    }

    /// Waits until there is a production model, saying so; `false` when a stop was asked for.
    ///
    /// # Errors
    /// With `--until-end`, where there is none: the run could not do anything.
    pub(crate) async fn wait_for_first(
        &mut self,
        opts: RunOpts,
        shutdown: &Shutdown,
    ) -> Result<bool> {
        let url = &self.ctx.config.registry.url;
        let waiting = format!(
            "no production model in {url}: train one with `forewarn train`, begin with `forewarn models starter`, or wait for the train role"
        );
        if opts.until_end {
            let registry = Registry::new(lake::store::open(url)?);
            let Some(production) = registry.production().await? else {
                bail!("{waiting}");
            };
            // Loaded here as well as by the watcher: one that is refused would be waited for without end.
            let (version, device) = (&production.version, self.ctx.config.devices.first());
            load_model(&registry, version, &self.ctx.contract, device)
                .await
                .with_context(|| format!("the production model {version} in {url} is refused"))?;
        }
        if self.current().is_none() {
            tracing::info!(role = self.role, "{waiting}");
            self.ctx.telemetry.readiness().not_ready(self.role, waiting);
        }
        while self.current().is_none() {
            tokio::select! {
                () = shutdown.wait() => return Ok(false),
                changed = self.changed() => changed?,
            }
        }
        self.latest.mark_unchanged();
        Ok(true)
    }
}

/// Ends with the last view.
struct Task(JoinHandle<Result<()>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Watcher {
    ctx: Ctx,
    role: &'static str,
    registry: Registry,
    control: ControlReader,
    sender: watch::Sender<Option<Arc<LoadedModel>>>,
    /// A version that could not be loaded: said once.
    refused: Option<String>,
}

impl Watcher {
    async fn watch(mut self) -> Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                read = self.control.next() => match read? {
                    ControlRead::Event(event) if matches!(event.payload, ControlPayload::Model(_)) => {}
                    _ => continue,
                }
            }
            if let Err(error) = self.look().await {
                tracing::error!(
                    role = self.role,
                    error = format!("{error:#}"),
                    "cannot read the registry"
                );
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        let Some(production) = self.registry.production().await? else {
            return Ok(());
        };
        let version = production.version;
        let is_current = self
            .sender
            .borrow()
            .as_ref()
            .is_some_and(|m| m.version == version);
        if is_current || self.refused.as_ref() == Some(&version) {
            return Ok(());
        }
        match load_model(
            &self.registry,
            &version,
            &self.ctx.contract,
            self.ctx.config.devices.first(),
        )
        .await
        {
            Ok(model) => {
                let first = self.sender.borrow().is_none();
                if !first {
                    self.ctx.telemetry.reloaded();
                }
                self.ctx.telemetry.set_model(&version, &model.contract);
                tracing::info!(role = self.role, %version, "model loaded");
                self.refused = None;
                self.sender.send_replace(Some(Arc::new(model)));
            }
            // A store that fails says nothing about the model: the next look asks again.
            Err(error) if is_passing(&error) => return Err(error),
            Err(error) => {
                tracing::error!(
                    role = self.role, %version, error = format!("{error:#}"),
                    "the production model is refused, the one before stays: train another one"
                );
                self.ctx.telemetry.model_refused(self.role);
                // With a model to serve the role does its work and stays ready.
                if self.sender.borrow().is_none() {
                    self.ctx.telemetry.readiness().not_ready(
                        self.role,
                        format!("production model {version} is refused: {error:#}"),
                    );
                }
                self.refused = Some(version);
            }
        }
        Ok(())
    }
}

/// Whether the same call may succeed later.
pub(crate) fn is_passing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<RegistryError>()
        .is_some_and(RegistryError::is_passing)
}
