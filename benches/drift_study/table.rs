//! Tables of the study, and where they are written.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::{Outcome, Run};

const BEGIN: &str = "<!-- study -->";
const END: &str = "<!-- /study -->";

/// Alarms in 30 days by cell: mean over seeds.
pub(crate) fn quiet(runs: &[Run], outcomes: &[Outcome], days: usize) -> String {
    let mut text = String::from(
        "Alarms in 30 quiet days, mean over the seeds (in brackets: the worst seed), and the evidence that is the alarm level:\n\n\
         | servers | season | ρ | alarms in 30 days | level |\n|---|---|---|---|---|\n",
    );
    let key = |run: &Run| (run.servers, run.season, run.rho.to_bits());
    let mut pairs: Vec<(&Run, &Outcome)> = runs.iter().zip(outcomes).collect();
    while let Some(&(first, _)) = pairs.first() {
        let (cell, rest): (Vec<_>, Vec<_>) = pairs
            .into_iter()
            .partition(|(run, _)| key(run) == key(first));
        pairs = rest;
        let per_month = 30.0 / days as f64;
        let n = cell.len() as f64;
        let mean = cell.iter().map(|(_, o)| o.alarms as f64).sum::<f64>() * per_month / n;
        let worst = cell.iter().map(|(_, o)| o.alarms).max().unwrap_or(0) as f64 * per_month;
        let level = cell.iter().map(|(_, o)| o.level).sum::<f64>() / n;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {mean:.2} ({worst:.1}) | {level:.1} |",
            first.servers,
            first.season.words(),
            first.rho
        );
    }
    text.push('\n');
    text
}

/// Delays by change.
pub(crate) fn changes(runs: &[Run], outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "From the change to the alarm (90 servers, ρ = 0.9, daily and weekly season):\n\n\
         | change | seen within 48 h | median delay | slowest seed | the first cause named is right |\n|---|---|---|---|---|\n",
    );
    let mut pairs: Vec<(&Run, &Outcome)> = runs.iter().zip(outcomes).collect();
    while let Some(&(first, _)) = pairs.first() {
        let (cell, rest): (Vec<_>, Vec<_>) = pairs
            .into_iter()
            .partition(|(run, _)| run.change == first.change);
        pairs = rest;
        let n = cell.len();
        let mut delays: Vec<f64> = cell
            .iter()
            .map(|(_, outcome)| outcome.delay_hours.unwrap_or(f64::INFINITY))
            .collect();
        delays.sort_by(f64::total_cmp);
        let within = delays.iter().filter(|&&delay| delay <= 48.0).count();
        let named = cell.iter().filter(|(_, outcome)| outcome.named).count();
        let hours = |delay: Option<&f64>| match delay {
            Some(delay) if delay.is_finite() => format!("{delay:.1} h"),
            _ => "not seen".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {within} of {n} | {} | {} | {named} of {n} |",
            first.change.words(),
            hours(delays.get(n / 2)),
            hours(delays.last())
        );
    }
    text.push('\n');
    text
}

/// Puts the tables between the markers of a file.
pub(crate) fn write(path: &str, text: &str) -> Result<()> {
    let held = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let (before, rest) = held
        .split_once(BEGIN)
        .with_context(|| format!("{path} has no {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{path} has no {END}"))?;
    std::fs::write(path, format!("{before}{BEGIN}\n{text}{END}{after}"))
        .with_context(|| format!("write {path}"))
}
