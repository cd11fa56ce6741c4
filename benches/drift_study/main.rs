//! How often the drift detector cries wolf, and how soon it sees what is there: a seeded study on simulated fleets.
//!
//! ```text
//! cargo run --release -p benches --bin drift_study -- [seeds=20] [first=100] [days=60] [only=quiet|change] [write=FILE]
//! ```
//!
//! Servers are autoregressive of order one at the 5-minute step and share a tenth of their variance; 21 days of baseline, then
//! the days that are judged, every 5 minutes, by the code that the role runs ([`drift::shift`]). Seeds 0 to 3 were looked at while
//! the detector was made, so that the first seed is another by default. `write` puts the tables
//! between the markers `<!-- study -->` and `<!-- /study -->` of a file.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod fleet;
mod table;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use drift::shift::detector::Detector;
use drift::shift::history::{History, Signal};
use drift::shift::watch::Watch;

use fleet::{Change, Fleet, STEP_MS, STEPS_A_DAY, Season};

const BASELINE_DAYS: usize = 21;

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    servers: usize,
    rho: f64,
    season: Season,
    change: Change,
    days: usize,
    seed: u64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    /// Alarms that rose.
    alarms: usize,
    /// Hours from the change to the first alarm.
    delay_hours: Option<f64>,
    /// Of the baseline's detector.
    level: f64,
    /// Whether what it named first is what changed.
    named: bool,
}

fn play(run: &Run) -> Outcome {
    let mut fleet = Fleet::new(run.servers, run.rho, run.season, run.seed);
    let mut history = History::new(fleet.cells());
    for _ in 0..BASELINE_DAYS * STEPS_A_DAY {
        let at = fleet.now_ms();
        if let Some(bucket) = history.bucket(at) {
            fleet.step(Change::None, bucket);
        }
    }
    let detector = Detector::learn(&history, chrono_tz::UTC, STEP_MS);
    let mut outcome = Outcome {
        level: detector.level().unwrap_or(f64::NAN),
        ..Outcome::default()
    };
    let mut watch = Watch::default();
    let mut sums = vec![Default::default(); fleet.cells()];
    let quiet = if matches!(run.change, Change::None) {
        0
    } else {
        // The day before the change, which must not alarm either.
        STEPS_A_DAY
    };
    let mut on = false;
    for step in 0..quiet + run.days * STEPS_A_DAY {
        let at = fleet.now_ms();
        sums.fill(Default::default());
        let change = if step < quiet {
            Change::None
        } else {
            run.change
        };
        fleet.step(change, &mut sums);
        watch.set(&detector, at, &sums);
        let verdict = watch.judge(&detector, at + STEP_MS);
        let mut findings = verdict.findings.iter();
        let Some(first) = findings.next() else {
            continue;
        };
        let strongest = findings.fold(first, |most, finding| {
            if finding.strength > most.strength {
                finding
            } else {
                most
            }
        });
        let raised = verdict.alarm;
        if raised && !on {
            outcome.alarms += 1;
            if step >= quiet && outcome.delay_hours.is_none() {
                outcome.delay_hours = Some((step - quiet + 1) as f64 / 12.0);
                outcome.named = fleet.is_changed(run.change, strongest.cell)
                    && strongest.signal != Signal::Error;
                if quiet > 0 {
                    break;
                }
            }
        }
        on = raised;
    }
    outcome
}

/// All runs on as many threads as there are cores, in the order given.
fn play_all(runs: &[Run]) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Outcome>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(index) else { break };
                    let outcome = play(run);
                    eprintln!("{index}/{} {run:?} {outcome:?}", runs.len());
                    if let Ok(mut done) = done.lock() {
                        done.insert(index, outcome);
                    }
                }
            });
        }
    });
    done.into_inner()
        .map(|done| done.into_values().collect())
        .unwrap_or_default()
}

const RHOS: [f64; 5] = [0.0, 0.5, 0.7, 0.9, 0.97];
const FLEETS: [usize; 2] = [20, 90];

fn quiet(seeds: &Range<u64>, days: usize) -> String {
    let mut runs = Vec::new();
    for servers in FLEETS {
        for season in Season::ALL {
            for rho in RHOS {
                runs.extend(seeds.clone().map(|seed| Run {
                    servers,
                    rho,
                    season,
                    change: Change::None,
                    days,
                    seed,
                }));
            }
        }
    }
    let outcomes = play_all(&runs);
    table::quiet(&runs, &outcomes, days)
}

fn changes(seeds: &Range<u64>) -> String {
    let mut runs = Vec::new();
    for change in Change::ALL {
        runs.extend(seeds.clone().map(|seed| Run {
            servers: 90,
            rho: 0.9,
            season: Season::Weekly,
            change,
            days: if matches!(change, Change::Ramp) {
                14
            } else {
                4
            },
            seed: 1_000 + seed,
        }));
    }
    let outcomes = play_all(&runs);
    table::changes(&runs, &outcomes)
}

fn main() -> Result<()> {
    let arguments: BTreeMap<String, String> = std::env::args()
        .skip(1)
        .filter_map(|argument| {
            let (key, value) = argument.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect();
    let number = |key: &str, default: u64| -> Result<u64> {
        arguments.get(key).map_or(Ok(default), |value| {
            value
                .parse()
                .with_context(|| format!("{key}={value}: not a number"))
        })
    };
    let only = arguments.get("only").map(String::as_str);
    let (first, days) = (number("first", 100)?, number("days", 60)? as usize);
    let seeds = first..first + number("seeds", 20)?;
    let mut text = String::new();
    if only != Some("change") {
        text.push_str(&quiet(&seeds, days));
    }
    if only != Some("quiet") {
        text.push_str(&changes(&seeds));
    }
    println!("{text}");
    match arguments.get("write") {
        Some(path) => table::write(path, &text),
        None => Ok(()),
    }
}
