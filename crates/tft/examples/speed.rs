//! Speed of training and of forecasts on made-up data of a shipped contract's shape.
//!
//! ```text
//! cargo run --release -p tft --example speed -- [CONTRACT] [SECONDS]
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use contract::Contract;
use std::ops::ControlFlow;
use std::time::Instant;
use tft::{Context, Dataset, Preset, Series, TftConfig, TrainConfig};

const SERVERS: usize = 90;
const DAYS: usize = 7;

/// Waves with noise, inside the metrics' ranges.
fn fleet(contract: &Contract) -> Dataset {
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / 16_777_216.0
    };
    let series = (0..SERVERS).map(|server| {
        let values = (0..DAYS * 288)
            .flat_map(|step| (0..contract.num_metrics()).map(move |metric| (step, metric)))
            .map(|(step, metric)| {
                let wave = ((step + 40 * metric) as f32 * std::f32::consts::TAU / 288.0).sin();
                40.0 + 20.0 * wave + (5.0 + metric as f32) * noise()
            })
            .collect();
        Series {
            server: format!("ppml{server:04}"),
            profile: 0,
            start_ms: 1_376_956_800_000,
            values,
            states: None,
        }
    });
    Dataset {
        series: series.collect(),
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "linborg".to_owned());
    let contract = Contract::shipped(&name).expect("a shipped contract");
    let seconds: f64 = args.next().map_or(20.0, |v| v.parse().expect("seconds"));
    let data = fleet(&contract);
    let config = TrainConfig {
        max_seconds: Some(seconds),
        epochs: 100,
        patience: 100,
        ..Preset::Quick.config()
    };
    let trained = tft::train(
        &contract,
        &data,
        &TftConfig::default(),
        &config,
        None,
        &mut |_| ControlFlow::Continue(()),
    )
    .expect("training");
    let info = &trained.info;
    println!(
        "{} metrics, {} parameters: {:.0} samples/s in training ({} epochs, {:.1} s, loss {:.4})",
        contract.num_metrics(),
        info.model_parameters,
        info.samples_per_second,
        info.epochs,
        info.seconds,
        info.final_val_loss
    );
    let contexts: Vec<_> = data
        .series
        .iter()
        .cycle()
        .take(512)
        .map(|s| Context {
            server: s.server.clone(),
            end_ms: s.start_ms + 600 * 300_000,
            values: s.values[..288 * contract.num_metrics()].to_vec(),
            ..Context::default()
        })
        .collect();
    for size in [512, 64, 1] {
        let (begun, mut rounds) = (Instant::now(), 0);
        while begun.elapsed().as_secs_f64() < 3.0 {
            trained.model.predict(&contexts[..size]).expect("forecasts");
            rounds += 1;
        }
        let each = begun.elapsed().as_secs_f64() / f64::from(rounds);
        println!(
            "batch {size}: {:.2} ms, {:.0} servers/s",
            each * 1e3,
            size as f64 / each
        );
    }
}
