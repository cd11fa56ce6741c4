//! `forewarn train` and `forewarn eval`: the model on parquet files, without a broker.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::Contract;
use indicatif::{ProgressBar, ProgressStyle};
use lake::registry::{Loaded, Registry};
use lake::training::{Selection, TrainingWindow};
use serde_json::json;

use super::{CheckpointFile, Job, Mismatch, Resumable, load_to_resume};
use super::{Origin, Past, build, command_line, dataset, failures, loading, register};
use crate::cli::{DataArgs, EvalArgs, TimeRange, TrainArgs};
use crate::clock::Clock;
use crate::commands::{App, output};
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

mod figures;
mod table;

/// Trains a model, registers it and, where nothing is served yet, promotes it.
///
/// # Errors
/// Refused for data that cannot be read; failed where there is too little of it, or the training failed.
pub(crate) async fn train_command(args: &TrainArgs, app: &App) -> Result<()> {
    let preset = args.preset.as_ref().unwrap_or(&app.settings.train.preset);
    let preset = tft::Preset::named(preset).ok_or_else(|| {
        Refusal::new(format!(
            "--preset {preset}: expected quick, validate, production or incremental"
        ))
    })?;
    let devices = devices(args.device.as_ref(), app)?;
    let config = config(preset, args, &devices, app);
    let precision = config.precision.resolve(&devices);
    precision.map_err(|e| Refusal::new(format!("--precision: {e}")))?;
    let url = &app.settings.registry.url;
    let root = lake::store::open(url).map_err(|e| Refusal::new(format!("registry.url: {e}")))?;
    let registry = Registry::new(root);
    let production = registry
        .production()
        .await
        .with_context(|| format!("read the registry in {url}"))?;
    let resume = match preset {
        tft::Preset::Incremental => {
            let served = production.as_ref().map(|p| p.version.as_str());
            Some(served_now(&registry, served, devices.first(), app).await?)
        }
        _ => None,
    };
    let checkpoint = checkpoint(args)?;
    let (data, origin) = read(&args.input, &app.settings.contract, args.input.range)?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let now_ms = Clock::wall().now_ms();
    let job = Job {
        contract: Arc::clone(&app.settings.contract),
        data,
        config,
        network: network(args, app)?,
        now_ms,
        trigger: "manual".to_owned(),
        positions: Vec::new(),
        production: None,
        resume,
        origin: Origin {
            command: Some(command_line(std::env::args())),
            ..origin
        },
        checkpoint: checkpoint.clone(),
        forecast_every: app.settings.forecast.every,
    };
    let bar = progress_bar(app.json);
    let (watched, stop) = (bar.clone(), shutdown.clone());
    let candidate = tokio::task::spawn_blocking(move || {
        build(job, &mut |progress| {
            watched.set_position((progress.share * 1_000.0) as u64);
            watched.set_message(format!(
                "epoch {}/{}, loss {:.3}",
                progress.epoch, progress.epochs, progress.train_loss
            ));
            if stop.requested() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    })
    .await
    .context("train")??;
    bar.finish_and_clear();
    if candidate.info.stop == tft::Stop::Cancelled {
        anyhow::bail!(
            "stopped after {} epochs: nothing is registered; with --checkpoint DIR a stopped training goes on where it was",
            candidate.info.epochs
        );
    }
    let wrong = failures(&candidate.facts);
    if !wrong.is_empty() {
        anyhow::bail!("the model is not registered: {}", wrong.join("; "));
    }
    register(
        &registry,
        app.settings.contract.fingerprint(),
        &candidate,
        now_ms,
    )
    .await?;
    let promoted = match production {
        Some(_) => false,
        None => first(&registry, &candidate.version, now_ms).await?,
    };
    if let Some(file) = checkpoint {
        file.remove();
    }
    let path = registry.url_of(&candidate.version)?;
    let info = &candidate.info;
    if app.json {
        return output::json(&json!({
            "version": candidate.version,
            "path": path,
            "promoted": promoted,
            "epochs": info.epochs,
            "stop": info.stop,
            "final_train_loss": info.final_train_loss,
            "final_val_loss": info.final_val_loss,
            "num_servers": info.num_servers,
            "data_hours": info.data_hours,
            "validation_samples": info.validation_samples,
            "samples_per_second": info.samples_per_second,
            "parameters": info.model_parameters,
            "device": devices,
            "seconds": info.seconds,
            "claims": candidate.claims,
            "unwatched": candidate.unwatched,
        }));
    }
    output::line(&format!(
        "model {} in {path}{}: {} epochs in {:.0} s, validation loss {:.3} of what the last day's quantiles give",
        candidate.version,
        if promoted {
            ", promoted (nothing was served)"
        } else {
            ""
        },
        info.epochs,
        info.seconds,
        info.final_val_loss,
    ))?;
    output::text(&sentences(&candidate.claims))?;
    candidate.unwatched.as_deref().map_or(Ok(()), output::line)
}

/// Promotes the first model; `false` where another was promoted while it was trained.
async fn first(registry: &Registry, version: &str, now_ms: i64) -> Result<bool> {
    let reason = "the first model: nothing was served";
    match registry.promote(version, 0, now_ms, reason).await {
        Ok(_) => Ok(true),
        Err(lake::registry::RegistryError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One a line.
fn sentences(claims: &[String]) -> String {
    claims.iter().map(|claim| format!("{claim}\n")).collect()
}

/// Sizes of a model that is trained anew, without the parts that are to be left out.
fn network(args: &TrainArgs, app: &App) -> Result<tft::TftConfig> {
    let mut network = app.settings.train.network();
    for name in &args.without {
        let part = network.parts.part(name).ok_or_else(|| {
            Refusal::new(format!(
                "--without {name}: expected one of {}",
                tft::Parts::NAMES.join(", ")
            ))
        })?;
        *part = false;
    }
    Ok(network)
}

/// The preset's settings with what the command line and the configuration say instead.
fn config(
    preset: tft::Preset,
    args: &TrainArgs,
    devices: &tft::Devices,
    app: &App,
) -> tft::TrainConfig {
    let mut config = preset.config();
    config.devices = devices.clone();
    let settings = &app.settings.train;
    config.seed = args.seed;
    config.days = args.days.or(settings.days).unwrap_or(config.days);
    config.max_seconds = args
        .max_seconds
        .or(settings.max_seconds)
        .or(config.max_seconds);
    if let Some(epochs) = args.epochs {
        config.epochs = epochs as usize;
    }
    config.accumulate = args.accumulate as usize;
    config.schedule = args.schedule;
    settings.tune(&mut config);
    config.precision = args.precision.unwrap_or(config.precision);
    config
}

/// The production model, to be trained further.
async fn served_now(
    registry: &Registry,
    version: Option<&str>,
    device: tft::Device,
    app: &App,
) -> Result<Resumable> {
    let (url, contract) = (&app.settings.registry.url, &app.settings.contract);
    let refused = |why: &str| {
        Refusal::new(format!(
            "--preset incremental: {why} in registry.url {url}: train with --preset production first"
        ))
    };
    let version = version.ok_or_else(|| refused("no model is served"))?;
    let resume = load_to_resume(registry, version, contract, device).await?;
    if resume.fits(contract) {
        Ok(resume)
    } else {
        Err(refused(&format!(
            "model {version} has other sizes than the contract now needs"
        ))
        .into())
    }
}

/// Where checkpoints go, if anywhere.
fn checkpoint(args: &TrainArgs) -> Result<Option<CheckpointFile>> {
    let Some(directory) = &args.checkpoint else {
        return Ok(None);
    };
    let opened = CheckpointFile::open(
        directory,
        "checkpoint",
        args.checkpoint_every,
        Mismatch::Refuse,
    );
    let opened = opened.map_err(|e| Refusal::new(format!("--checkpoint: {e:#}")))?;
    Ok(Some(opened))
}

/// What `eval --json` prints.
#[derive(serde::Serialize)]
struct Judged {
    #[serde(flatten)]
    report: tft::eval::Report,
    claims: Vec<String>,
}

/// The devices that were asked for, as they are here.
pub(crate) fn devices(asked: Option<&tft::Devices>, app: &App) -> Result<tft::Devices> {
    let devices = asked.unwrap_or(&app.settings.devices);
    Ok(devices.resolve().map_err(|e| Refusal::new(e.to_string()))?)
}

/// The device that forecasts, as it is here.
pub(super) fn device(asked: Option<tft::Device>, app: &App) -> Result<tft::Device> {
    let device = asked.unwrap_or(app.settings.devices.first());
    Ok(device.resolve().map_err(|e| Refusal::new(e.to_string()))?)
}

/// Measures a model on data beside the naive forecasts.
///
/// # Errors
/// Refused for a model or data that cannot be read; failed where no window can be judged.
pub(crate) async fn eval_command(args: &EvalArgs, app: &App) -> Result<()> {
    let contract = Arc::clone(&app.settings.contract);
    let loaded = find_model(&args.model, &app.settings.registry.url).await?;
    let past = Past::of(&loaded);
    let device = device(args.device, app)?;
    let model = loading::checked(&loaded, &contract, device)?;
    // The context may reach back before `from`, so only the end bounds what is read.
    let reach = TimeRange {
        from: None,
        to: args.input.range.to,
    };
    let (data, _) = read(&args.input, &contract, reach)?;
    let mut out = match &args.out {
        Some(path) => Some(table::ForecastTable::create(path, &contract)?),
        None => None,
    };
    let range = tft::eval::Range {
        from_ms: args.input.range.from,
        to_ms: args.input.range.to,
        stride: args.stride as usize,
    };
    let (out, report) = tokio::task::spawn_blocking(move || {
        let mut failed = None;
        let report = tft::eval::evaluate(&model.model, &data, &range, &mut |judged| {
            if let (Some(out), None) = (&mut out, &failed) {
                failed = out
                    .add(judged.server, judged.issued_at_ms, judged.forecast)
                    .err();
            }
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok((out, report)),
        }
    })
    .await
    .context("evaluate the model")??;
    if let Some(out) = out {
        out.finish()?;
    }
    let claims = past.claims(&report);
    if app.json {
        return output::json(&Judged { report, claims });
    }
    figures::print(&report)?;
    output::text(&sentences(&claims))
}

/// A version of the registry, or a path to one.
pub(super) async fn find_model(name: &str, registry_url: &str) -> Result<Loaded> {
    if Path::new(name).exists() || name.contains("://") || name.contains('/') {
        return Ok(lake::registry::load_path(name)
            .await
            .map_err(|e| Refusal::new(format!("--model {name}: {e}")))?);
    }
    let root =
        lake::store::open(registry_url).map_err(|e| Refusal::new(format!("registry.url: {e}")))?;
    let loaded = Registry::new(root).load(name).await;
    Ok(loaded.map_err(|e| {
        Refusal::new(format!(
            "--model {name}: {e} (registry.url is {registry_url})"
        ))
    })?)
}

/// The data that were asked for, but for their time, which is `range`.
pub(super) fn read(
    input: &DataArgs,
    contract: &Contract,
    range: TimeRange,
) -> Result<(tft::Dataset, Origin)> {
    let (path, servers) = (&input.data, input.servers.as_ref());
    let wanted = |server: &str| servers.is_none_or(|servers| servers.contains(server));
    let selection = Selection {
        from_ms: range.from,
        to_ms: range.to,
        last_days: None,
        servers: &wanted,
    };
    let window = TrainingWindow::from_files(path, contract, &selection)
        .map_err(|e| Refusal::new(format!("--data {}: {e}", path.display())))?;
    if !window.ignored_columns.is_empty() {
        tracing::warn!(
            columns = window.ignored_columns.join(", "),
            "columns that the contract does not name are ignored"
        );
    }
    let origin = Origin::of_files(&window);
    Ok((dataset(window), origin))
}

pub(super) fn progress_bar(json: bool) -> ProgressBar {
    if json || !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1_000);
    if let Ok(style) =
        ProgressStyle::with_template("training [{bar:40}] {percent}% {msg} {elapsed}")
    {
        bar.set_style(style);
    }
    bar
}
