//! `forewarn bench model`: how fast the model trains and forecasts here, on made-up windows of the contract's shape.
//!
//! What the values are does not change how long the arithmetic takes; how good the forecasts are is `forewarn eval`'s to say.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use contract::Contract;
use serde::Serialize;
use tft::{Context, Dataset, Model, Preset, Series, TftConfig, TrainConfig};

use super::{App, output};
use crate::cli::BenchCommand;

const SERVERS: usize = 64;
const DAYS: usize = 7;
/// A forecast that is measured was preceded by this many that were not.
const WARM_UP: usize = 5;

/// What was measured; the keys are fixed.
#[derive(Debug, Serialize)]
struct Measured {
    train_samples_per_second: f64,
    predict_servers_per_second: f64,
    predict_latency_ms_p50: f64,
    predict_latency_ms_p99: f64,
    parameters: usize,
    device: tft::Devices,
}

/// Trains, forecasts in batches and forecasts one server at a time, each for a third of the time.
///
/// # Errors
/// The contract's shape does not fit the network.
pub(crate) async fn run(command: &BenchCommand, app: &App) -> Result<()> {
    let BenchCommand::Model {
        batch,
        seconds,
        device,
    } = command;
    let devices = crate::training::devices(device.as_ref(), app)?;
    let (contract, size) = (app.settings.contract.clone(), *batch as usize);
    let precision = app.settings.train.precision;
    let each = Duration::from_secs_f64(*seconds / 3.0);
    let measured =
        tokio::task::spawn_blocking(move || measure(&contract, size, each, devices, precision))
            .await
            .context("measure the model")??;
    if app.json {
        return output::json(&serde_json::to_value(&measured)?);
    }
    output::line(&format!(
        "{} parameters on {}: {:.0} samples/s in training and {:.0} servers/s in forecasts at batch {batch}; one server {:.2} ms \
         (p50), {:.2} ms (p99)",
        measured.parameters,
        measured.device,
        measured.train_samples_per_second,
        measured.predict_servers_per_second,
        measured.predict_latency_ms_p50,
        measured.predict_latency_ms_p99,
    ))
}

fn measure(
    contract: &Contract,
    batch: usize,
    each: Duration,
    devices: tft::Devices,
    precision: tft::Precision,
) -> Result<Measured> {
    let data = waves(contract);
    let config = TrainConfig {
        batch,
        epochs: usize::MAX,
        patience: usize::MAX,
        max_seconds: Some(each.as_secs_f64()),
        validation_windows: batch,
        devices,
        precision,
        ..Preset::Quick.config()
    };
    let go_on = &mut |_: &tft::Progress| ControlFlow::Continue(());
    let trained = tft::train(contract, &data, &TftConfig::default(), &config, None, go_on)?;
    let contexts = contexts(contract, &data, batch);
    let batches = repeat(each, || forecast(&trained.model, &contexts))?;
    let mut ones = repeat(each, || {
        forecast(&trained.model, contexts.get(..1).unwrap_or_default())
    })?;
    ones.sort_unstable();
    let in_all: Duration = batches.iter().sum();
    Ok(Measured {
        train_samples_per_second: trained.info.samples_per_second,
        predict_servers_per_second: (batches.len() * contexts.len()) as f64 / in_all.as_secs_f64(),
        predict_latency_ms_p50: percentile_ms(&ones, 0.50),
        predict_latency_ms_p99: percentile_ms(&ones, 0.99),
        parameters: trained.model.num_parameters(),
        device: config.devices,
    })
}

fn forecast(model: &Model, contexts: &[Context]) -> Result<()> {
    model.predict(contexts)?;
    Ok(())
}

/// How long each of many calls took, after some that are not counted.
fn repeat(during: Duration, mut call: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    for _ in 0..WARM_UP {
        call()?;
    }
    let (begun, mut took) = (Instant::now(), Vec::new());
    while took.is_empty() || begun.elapsed() < during {
        let call_begun = Instant::now();
        call()?;
        took.push(call_begun.elapsed());
    }
    Ok(took)
}

/// The smallest of the ascending durations that at least the share `q` of them does not exceed; 0 of nothing.
fn percentile_ms(ascending: &[Duration], q: f64) -> f64 {
    let rank = (q * ascending.len() as f64).ceil() as usize;
    let found = ascending.get(rank.saturating_sub(1));
    found.map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

/// A fleet whose metrics are daily waves between 20 and 80 with a ripple, so that no window is constant.
fn waves(contract: &Contract) -> Dataset {
    let day = (86_400 / contract.step_seconds.max(1)) as usize;
    let value = |server: usize, step: usize, metric: usize| {
        let angle =
            |period: f32| std::f32::consts::TAU * (step + 7 * server + 40 * metric) as f32 / period;
        50.0 + 25.0 * angle(day as f32).sin() + 5.0 * angle(11.3).sin()
    };
    let series = (0..SERVERS).map(|server| Series {
        server: format!("bench{server:04}"),
        profile: 0,
        start_ms: 0,
        values: (0..DAYS * day)
            .flat_map(|step| {
                (0..contract.num_metrics()).map(move |metric| value(server, step, metric))
            })
            .collect(),
        states: None,
    });
    Dataset {
        series: series.collect(),
    }
}

/// `batch` whole contexts, of one server after the other.
fn contexts(contract: &Contract, data: &Dataset, batch: usize) -> Vec<Context> {
    let values = contract.context_steps * contract.num_metrics();
    let of = |series: &Series| Context {
        server: series.server.clone(),
        end_ms: series.start_ms + contract.context_steps as i64 * contract.step_ms(),
        values: series.values.iter().take(values).copied().collect(),
        ..Context::default()
    };
    data.series.iter().cycle().take(batch).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_hand() {
        let ms: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile_ms(&ms, 0.50), 100.0);
        assert_eq!(percentile_ms(&ms, 0.99), 198.0);
        assert_eq!(percentile_ms(&ms[..1], 0.99), 1.0);
        assert_eq!(percentile_ms(&[], 0.5), 0.0);
    }

    #[test]
    fn windows_have_the_contracts_shape() {
        let contract = Contract::shipped("vm").unwrap_or_else(|| unreachable!());
        let data = waves(&contract);
        let contexts = contexts(&contract, &data, 70);
        assert_eq!(contexts.len(), 70);
        assert!(contexts.iter().all(|c| c.values.len() == 288 * 6));
        assert!(contexts[0].values.iter().all(|v| (20.0..=80.0).contains(v)));
    }
}
