//! A small domain and made-up data for the tests of the model.

#![allow(dead_code, clippy::unwrap_used)]

use contract::Contract;
use tft::{Dataset, Device, Preset, Series, TftConfig, TrainConfig};

/// Hourly steps, a day of context, 8 hours ahead.
pub(crate) fn contract() -> Contract {
    Contract::from_toml(
        r#"
name = "test"
time_zone = "UTC"
step_seconds = 3600
context_steps = 24
horizon_steps = 8
states = ["healthy", "busy"]
default_profile = "plain"

[[metrics]]
name = "load_pct"
unit = "%"
min = 0
max = 100
tolerance = 5
warning = 80
critical = 90
meaning = "load"

[[metrics]]
name = "flow"
unit = "MiB/s"
min = 0
meaning = "flow"

[[profiles]]
name = "plain"

[[profiles]]
name = "other"
"#,
    )
    .unwrap()
}

pub(crate) fn sizes() -> TftConfig {
    TftConfig {
        patch: 4,
        block: 4,
        hidden: 16,
        variable: 8,
        selection: 8,
        heads: 2,
        ..TftConfig::default()
    }
}

/// Where the tests train: `FOREWARN_TEST_DEVICE`, else the best device there is.
pub(crate) fn device() -> Device {
    let name = std::env::var("FOREWARN_TEST_DEVICE").unwrap_or_else(|_| "auto".to_owned());
    name.parse().unwrap()
}

pub(crate) fn quick() -> TrainConfig {
    TrainConfig {
        stride: 2,
        days: 100.0,
        devices: device().into(),
        ..Preset::Quick.config()
    }
}

/// Two metrics with a daily period; servers differ in level, phase and amplitude.
pub(crate) fn waves(servers: usize, days: usize) -> Dataset {
    let series = (0..servers).map(|server| {
        let values = (0..days * 24)
            .flat_map(|hour| {
                let angle = (hour + server) as f32 * std::f32::consts::TAU / 24.0;
                let level = 30.0 + 5.0 * server as f32;
                [
                    level + 20.0 * angle.sin(),
                    3.0 + server as f32 + 2.0 * (2.0 * angle).cos(),
                ]
            })
            .collect();
        let start_ms = 1_377_000_000_000 / 3_600_000 * 3_600_000;
        Series {
            server: format!("s{server}"),
            profile: 0,
            start_ms,
            values,
            states: None,
        }
    });
    Dataset {
        series: series.collect(),
    }
}
