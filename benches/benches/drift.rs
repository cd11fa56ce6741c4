//! Rows into panes on one core, beside plainly adding up the same values.
//!
//! `cargo bench -p benches --bench drift`: a million rows of the metrics that are judged, 90 servers, a baseline of one day of them.
//! Prints one JSON line; figures go into `benches/README.md` with the machine they came from.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use contract::Contract;
use drift::{Baseline, PaneBuilder, Row, RowOutcome};
use serde_json::json;

const SERVERS: usize = 90;
const ROWS: usize = 1_000_000;
const START_MS: i64 = 1_767_571_200_000;

/// A number in 0..1 that depends on `n` alone (SplitMix64).
fn uniform(n: u64) -> f32 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
}

fn main() -> Result<()> {
    let contract = Arc::new(Contract::shipped("linborg").context("read the contract")?);
    let (metrics, profiles) = (contract.num_metrics(), contract.profiles.len());
    let step_ms = contract.step_ms();
    let values: Vec<f32> = (0..ROWS * metrics)
        .map(|n| 100.0 * uniform(n as u64))
        .collect();
    let rows = || (0_usize..).zip(values.chunks_exact(metrics));
    let bucket = |row: usize| START_MS + (row / SERVERS) as i64 * step_ms;
    let names: Vec<String> = (0..SERVERS)
        .map(|server| format!("server-{server}"))
        .collect();

    let known = rows().take(288 * SERVERS).map(|(row, values)| Row {
        server: &names[row % SERVERS],
        profile: row % SERVERS % profiles,
        bucket: bucket(row),
        values,
    });
    let (baseline, _) = Baseline::learn("bench", &contract, known);
    let mut builder = PaneBuilder::new(Arc::clone(&contract), Arc::new(baseline), 0, None)?;

    let begun = Instant::now();
    let mut totals = vec![(0.0_f64, 0.0_f64); metrics];
    for (_, values) in rows() {
        for ((sum, squares), &value) in totals.iter_mut().zip(values) {
            *sum += f64::from(value);
            *squares += f64::from(value) * f64::from(value);
        }
    }
    black_box(&totals);
    let plain = (ROWS * metrics) as f64 / begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let mut panes = 0;
    for ((row, values), name) in rows().zip(names.iter().cycle()) {
        let at = bucket(row);
        if row % SERVERS == 0 {
            panes += black_box(builder.close_before(at)).len();
        }
        let outcome = builder.row(name, row % SERVERS % profiles, at, row as i64, values);
        ensure!(outcome == RowOutcome::Counted, "row {row}: {outcome:?}");
    }
    let counted = (ROWS * metrics) as f64 / begun.elapsed().as_secs_f64();
    let line = json!({
        "rows": ROWS,
        "metrics": metrics,
        "panes": panes,
        "values_per_second": counted.round(),
        "plain_sums_values_per_second": plain.round(),
        "ratio": (counted / plain * 1_000.0).round() / 1_000.0,
    });
    #[allow(clippy::print_stdout)]
    {
        println!("{line}");
    }
    Ok(())
}
