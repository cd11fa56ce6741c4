//! What a training window holds, for the data check.

use contract::Contract;
use lake::training::TrainingWindow;
use policy::{DataFacts, DataNeeds};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What there is.
pub(super) fn facts(window: &TrainingWindow, contract: &Contract) -> DataFacts {
    let (step_ms, metrics) = (contract.step_ms(), contract.num_metrics().max(1));
    let spans: Vec<(i64, i64)> = window
        .series
        .iter()
        .map(|series| {
            let steps = i64::try_from(series.values.len() / metrics).unwrap_or(i64::MAX);
            let end_ms = steps
                .saturating_mul(step_ms)
                .saturating_add(series.start_ms);
            (series.start_ms, end_ms)
        })
        .collect();
    let first = spans.iter().map(|(start, _)| *start).min().unwrap_or(0);
    let newest = spans.iter().map(|(_, end)| *end).max().unwrap_or(0);
    let expected: i64 = spans
        .iter()
        .map(|(start, end)| (end - start) / step_ms)
        .sum();
    let since = |ms: i64| {
        let recent = spans.iter().filter(|(_, end)| newest - end < ms);
        recent.count() as f64
    };
    DataFacts {
        rows: window.rows,
        days: (newest - first) as f64 / DAY_MS as f64,
        gaps: share(expected as f64 - window.rows as f64, expected as f64),
        missing: share(since(DAY_MS) - since(HOUR_MS), since(DAY_MS)),
    }
}

/// Of nothing, none is missing: that there are no rows says enough.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What a training of these settings asks for.
pub(super) fn needs(config: &tft::TrainConfig, contract: &Contract) -> DataNeeds {
    let steps_per_day = usize::try_from(DAY_MS / contract.step_ms().max(1)).unwrap_or(0);
    DataNeeds {
        rows: config.preset.rows_needed(steps_per_day) as u64,
        days: config.preset.days_needed(),
        wanted_days: config.days,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::training::{NO_STATE, ServerSeries};

    /// A server with a row in each of so many steps.
    fn series(contract: &Contract, start_ms: i64, steps: usize) -> ServerSeries {
        ServerSeries {
            server: format!("{start_ms}-{steps}"),
            profile: 0,
            start_ms,
            values: vec![1.0; steps * contract.num_metrics()],
            states: vec![NO_STATE; steps],
        }
    }

    #[test]
    fn rows_days_gaps_and_silent_servers() -> Result<(), &'static str> {
        let contract = Contract::shipped("vm").ok_or("shipped")?;
        // Two days of 288 steps; silent for 59 minutes, for an hour, and since the day before.
        let two_days = 2 * 288;
        let window = TrainingWindow {
            series: vec![
                series(&contract, 0, two_days),
                series(&contract, 0, two_days - 11),
                series(&contract, 0, two_days - 12),
                series(&contract, 0, two_days - 288),
            ],
            rows: 1_000,
            ..TrainingWindow::default()
        };
        let found = facts(&window, &contract);
        let expected = f64::from(4 * 576 - 11 - 12 - 288);
        assert_eq!((found.rows, found.days), (1_000, 2.0));
        assert_eq!(found.gaps, (expected - 1_000.0) / expected);
        assert_eq!(found.missing, 1.0 / 3.0);
        let none = facts(&TrainingWindow::default(), &contract);
        assert_eq!((none.rows, none.days), (0, 0.0));
        assert_eq!((none.gaps, none.missing), (0.0, 0.0));
        Ok(())
    }

    #[test]
    fn each_preset_names_its_needs() -> Result<(), &'static str> {
        let contract = Contract::shipped("vm").ok_or("shipped")?;
        let of = |preset: tft::Preset| needs(&preset.config(), &contract);
        let quick = of(tft::Preset::Quick);
        assert_eq!(
            (quick.rows, quick.days, quick.wanted_days),
            (2_160, 3.0, 7.0)
        );
        let production = of(tft::Preset::Production);
        assert_eq!(
            (production.rows, production.days, production.wanted_days),
            (5_040, 7.0, 30.0)
        );
        Ok(())
    }
}
