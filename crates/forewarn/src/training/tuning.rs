//! `forewarn tune`: many short trainings, and a file with what they gave.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;
use tft::tune::{Found, Settings, Trial, candidates, search};

use super::command::{devices, progress_bar, read};
use crate::cli::TuneArgs;
use crate::commands::{App, output};
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// Searches, prints a table and writes what was found.
///
/// # Errors
/// Refused for data that cannot be read or a file that cannot be written; failed where no training came to an end.
pub(crate) async fn tune_command(args: &TuneArgs, app: &App) -> Result<()> {
    let (data, _) = read(&args.input, &app.settings.contract, args.input.range)?;
    // An hour of search is not thrown away for a folder that is not there.
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&args.out)
        .map_err(|e| Refusal::new(format!("--out {}: {e}", args.out.display())))?;
    let mut config = tft::Preset::Validate.config();
    config.devices = devices(args.device.as_ref(), app)?;
    config.precision = app.settings.train.precision;
    config.days = args.days;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let contract = Arc::clone(&app.settings.contract);
    let wanted = candidates(
        args.candidates as usize,
        args.seed,
        &tft::TftConfig::default(),
        &config,
    );
    let (until, bar) = (
        Instant::now() + Duration::from_secs_f64(args.seconds),
        progress_bar(app.json),
    );
    let shown = bar.clone();
    let found = tokio::task::spawn_blocking(move || {
        let mut refused = None;
        let found = search(wanted, |candidate, settings, epochs| {
            let left = until.saturating_duration_since(Instant::now());
            let begun = Instant::now();
            let config = tft::TrainConfig {
                epochs,
                learning_rate: settings.learning_rate,
                max_seconds: None,
                // What it would add is served, not measured.
                refresh: false,
                ..config.clone()
            };
            let over = || begun.elapsed() > left || shutdown.requested();
            let mut broken = over();
            if broken {
                return None;
            }
            let outcome = tft::train(
                &contract,
                &data,
                &settings.network,
                &config,
                None,
                &mut |now| {
                    shown.set_position((now.share * 1_000.0) as u64);
                    shown.set_message(format!(
                        "candidate {candidate}, {epochs} epochs, loss {:.3}",
                        now.train_loss
                    ));
                    broken = over();
                    if broken {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            );
            match outcome {
                // What was broken off cannot be compared with what was not.
                _ if broken => None,
                Ok(trained) => Some((Ok(trained.info.final_val_loss), trained.info.seconds)),
                // Too little or malformed data: no candidate will do better.
                Err(error @ (tft::TrainError::TooLittle(_) | tft::TrainError::Eval(_))) => {
                    refused = Some(error);
                    None
                }
                Err(error) => Some((Err(error.to_string()), begun.elapsed().as_secs_f64())),
            }
        });
        refused.map_or(Ok(found), Err)
    })
    .await
    .context("search")??;
    bar.finish_and_clear();
    let Some(found) = found else {
        anyhow::bail!(
            "no training came to an end in {} s: give --seconds more, or --days less",
            args.seconds
        );
    };
    let text = serde_json::to_vec_pretty(&json!({
        "best": found.best,
        "cut_short": found.cut_short,
        "trials": found.trials,
        "data": args.input.data,
        "seed": args.seed,
    }))
    .context("write JSON")?;
    std::fs::write(&args.out, text).with_context(|| format!("write {}", args.out.display()))?;
    if app.json {
        return output::json(&serde_json::to_value(&found)?);
    }
    output::text(&table(&found))?;
    output::line(&format!(
        "best settings in {0}: forewarn --set train.tuned={0} train --data {1}",
        args.out.display(),
        args.input.data.display()
    ))
}

/// One line a training, best first within its length.
fn table(found: &Found) -> String {
    let mut trials: Vec<&Trial> = found.trials.iter().collect();
    trials.sort_by(|a, b| a.rank(b));
    let mut text = format!(
        "{:>6} {:>9} {:>7} {:>6} {:>8} {:>9} {:>7} {:>10} {:>8}  without\n",
        "epochs",
        "val_loss",
        "seconds",
        "hidden",
        "variable",
        "selection",
        "dropout",
        "id_dropout",
        "rate"
    );
    for trial in trials {
        let Settings {
            network: n,
            learning_rate,
        } = &trial.settings;
        let mut parts = n.parts;
        let out = tft::Parts::NAMES
            .into_iter()
            .filter(|name| parts.part(name).is_some_and(|used| !*used));
        let out: Vec<_> = out.collect();
        let val_loss = trial
            .val_loss
            .map_or("failed".to_owned(), |v| format!("{v:.4}"));
        text += &format!(
            "{:>6} {val_loss:>9} {:>7.0} {:>6} {:>8} {:>9} {:>7.2} {:>10.2} {learning_rate:>8.5}  {}\n",
            trial.epochs,
            trial.seconds,
            n.hidden,
            n.variable,
            n.selection,
            n.dropout,
            n.id_dropout,
            if out.is_empty() {
                "-".to_owned()
            } else {
                out.join(",")
            },
        );
    }
    if found.cut_short {
        text += "time was up before the last round: a longer --seconds compares longer trainings\n";
    }
    text
}
