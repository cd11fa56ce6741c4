//! How often the drift detector cries wolf, and how soon it sees what is there: a seeded study on simulated fleets.
//!
//! ```text
//! cargo run --release -p benches --bin drift_study -- [seeds=20] [first=100] [days=60] [only=quiet|change] [servers=20|90] [rho=X] [write=FILE] [export=DIR]
//! ```
//!
//! Servers are autoregressive of order one at the 5-minute step and share a tenth of their variance; 21 days of baseline, then
//! the days that are judged, every 5 minutes, by the code that the role runs ([`drift::shift`]). Seeds 0 to 3 were looked at while
//! the detector was made, so that the first seed is another by default. `servers` and `rho` leave the other cells of the first table out. `write` puts the tables
//! between the markers `<!-- study -->` and `<!-- /study -->` of a file. `export` writes some of the fleets, with what the detector
//! says of them, for the peers to judge (`benches/peers/run drift`), and makes no table.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod export;
mod fleet;
mod table;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use drift::shift::detector::Detector;
use drift::shift::history::{BucketSums, History, Signal};
use drift::shift::watch::{Verdict, Watch};

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

impl Run {
    /// Judged steps before the change, which must not alarm either: a day.
    fn quiet_steps(&self) -> usize {
        match self.change {
            Change::None => 0,
            _ => STEPS_A_DAY,
        }
    }

    /// What is changed at a judged step.
    fn change_at(&self, step: usize) -> Change {
        if step < self.quiet_steps() {
            Change::None
        } else {
            self.change
        }
    }
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

/// A fleet and the detector that learnt its first days.
struct Live {
    fleet: Fleet,
    detector: Detector,
    watch: Watch,
    sums: Vec<BucketSums>,
}

impl Live {
    /// `seen` is shown the fleet after each step.
    fn learn(run: &Run, mut seen: impl FnMut(&Fleet) -> Result<()>) -> Result<Live> {
        let mut fleet = Fleet::new(run.servers, run.rho, run.season, run.seed);
        let mut history = History::new(fleet.cells());
        for _ in 0..BASELINE_DAYS * STEPS_A_DAY {
            let at = fleet.now_ms();
            if let Some(bucket) = history.bucket(at) {
                fleet.step(Change::None, bucket);
            }
            seen(&fleet)?;
        }
        Ok(Live {
            detector: Detector::learn(&history, chrono_tz::UTC, STEP_MS),
            watch: Watch::default(),
            sums: vec![BucketSums::default(); fleet.cells()],
            fleet,
        })
    }

    /// What the detector says at the end of the next bucket.
    fn step(&mut self, change: Change) -> Verdict {
        let at = self.fleet.now_ms();
        self.sums.fill(BucketSums::default());
        self.fleet.step(change, &mut self.sums);
        self.watch.set(&self.detector, at, &self.sums);
        self.watch.judge(&self.detector, at + STEP_MS)
    }
}

fn play(run: &Run) -> Result<Outcome> {
    let mut live = Live::learn(run, |_| Ok(()))?;
    let mut outcome = Outcome {
        level: live.detector.level().unwrap_or(f64::NAN),
        ..Outcome::default()
    };
    let quiet = run.quiet_steps();
    let mut on = false;
    for step in 0..quiet + run.days * STEPS_A_DAY {
        let verdict = live.step(run.change_at(step));
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
                outcome.named = live.fleet.is_changed(run.change, strongest.cell)
                    && strongest.signal != Signal::Error;
                if quiet > 0 {
                    break;
                }
            }
        }
        on = raised;
    }
    Ok(outcome)
}

/// All runs on as many threads as there are cores, in the order given.
fn play_all<T: Send + std::fmt::Debug>(
    runs: &[Run],
    play: impl Fn(&Run) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<T>>> = Mutex::default();
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
        .unwrap_or_else(|_| Ok(Vec::new()))
}

const RHOS: [f64; 5] = [0.0, 0.5, 0.7, 0.9, 0.97];
const FLEETS: [usize; 2] = [20, 90];

fn quiet(
    seeds: &Range<u64>,
    days: usize,
    is_wanted: impl Fn(usize, f64) -> bool,
) -> Result<String> {
    let mut runs = Vec::new();
    for servers in FLEETS {
        for season in Season::ALL {
            for rho in RHOS.into_iter().filter(|&rho| is_wanted(servers, rho)) {
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
    let outcomes = play_all(&runs, play)?;
    Ok(table::quiet(&runs, &outcomes, days))
}

fn change_runs(change: Change, seeds: &Range<u64>) -> Vec<Run> {
    let of_seed = |seed| Run {
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
    };
    seeds.clone().map(of_seed).collect()
}

fn changes(seeds: &Range<u64>) -> Result<String> {
    let runs: Vec<Run> = Change::ALL
        .into_iter()
        .flat_map(|change| change_runs(change, seeds))
        .collect();
    let outcomes = play_all(&runs, play)?;
    Ok(table::changes(&runs, &outcomes))
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
    if let Some(folder) = arguments.get("export") {
        let mut runs = Vec::new();
        if only != Some("change") {
            runs.extend(export::quiet(&seeds, days));
        }
        if only != Some("quiet") {
            runs.extend(change_runs(Change::Shift, &seeds));
        }
        std::fs::create_dir_all(folder).with_context(|| format!("make {folder}"))?;
        play_all(&runs, |run| export::export(run, Path::new(folder)))?;
        return Ok(());
    }
    let mut text = String::new();
    if only != Some("change") {
        let is = |key: &str, value: String| arguments.get(key).is_none_or(|only| *only == value);
        let is_wanted = |servers: usize, rho: f64| {
            is("servers", servers.to_string()) && is("rho", rho.to_string())
        };
        text.push_str(&quiet(&seeds, days, is_wanted)?);
    }
    if only != Some("quiet") {
        text.push_str(&changes(&seeds)?);
    }
    println!("{text}");
    match arguments.get("write") {
        Some(path) => table::write(path, &text),
        None => Ok(()),
    }
}
