//! Fleets of the study as files, for other detectors to judge, with what ours says of the very same values.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, UInt8Array, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::fleet::{CHANGED, Change, Fleet, METRICS, STEP_MS, STEPS_A_DAY, Season};
use crate::{BASELINE_DAYS, Live, Run};

/// Servers, ρ and season of the quiet fleets: a part of the study's cells, since a fleet of 90 takes some 110 MB.
const QUIET: [(usize, f64, Season); 5] = [
    (90, 0.0, Season::None),
    (90, 0.9, Season::None),
    (90, 0.9, Season::Weekly),
    (90, 0.97, Season::Weekly),
    (20, 0.9, Season::Weekly),
];

/// The quiet fleets of each seed.
pub(crate) fn quiet(seeds: &Range<u64>, days: usize) -> Vec<Run> {
    let of_seed = |seed| {
        QUIET.map(|(servers, rho, season)| Run {
            servers,
            rho,
            season,
            change: Change::None,
            days,
            seed,
        })
    };
    seeds.clone().flat_map(of_seed).collect()
}

/// Writes a run as `NAME.parquet`, one row per server and bucket, and as `NAME.json` what it is and when our alarm was on.
pub(crate) fn export(run: &Run, folder: &Path) -> Result<String> {
    let name = format!(
        "{:?}-{}-{}-{:?}-{}",
        run.change, run.servers, run.rho, run.season, run.seed
    )
    .to_lowercase();
    let mut rows = Rows::create(&folder.join(format!("{name}.parquet")))?;
    let mut live = Live::learn(run, |fleet| rows.add(fleet))?;
    let judged_from = live.fleet.now_ms();
    // First and last evaluation of each, by the ends of buckets.
    let mut alarms: Vec<(i64, i64)> = Vec::new();
    for step in 0..run.quiet_steps() + run.days * STEPS_A_DAY {
        let verdict = live.step(run.change_at(step));
        rows.add(&live.fleet)?;
        let now = live.fleet.now_ms();
        match alarms.last_mut() {
            _ if !verdict.alarm => {}
            Some((_, last)) if *last == now - STEP_MS => *last = now,
            _ => alarms.push((now, now)),
        }
    }
    rows.writer.close()?;
    let changed_at = judged_from + run.quiet_steps() as i64 * STEP_MS;
    let said = json!({
        "servers": run.servers,
        "rho": run.rho,
        "season": run.season.words(),
        "seed": run.seed,
        "step_ms": STEP_MS,
        "baseline_days": BASELINE_DAYS,
        "judged_from_ms": judged_from,
        "judged_to_ms": live.fleet.now_ms(),
        "changed_at_ms": (run.change != Change::None).then_some(changed_at),
        "changed_profile": CHANGED.0,
        "alarms_ms": alarms,
    });
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, said.to_string()).with_context(|| format!("write {}", path.display()))?;
    Ok(name)
}

/// A parquet file that grows by a fleet's steps.
struct Rows {
    schema: SchemaRef,
    writer: ArrowWriter<File>,
}

impl Rows {
    fn create(path: &Path) -> Result<Rows> {
        let mut fields = vec![
            Field::new("at_ms", DataType::Int64, false),
            Field::new("server", DataType::UInt16, false),
            Field::new("profile", DataType::UInt8, false),
        ];
        fields.extend(
            (0..METRICS).map(|index| Field::new(format!("m{index}"), DataType::Float32, false)),
        );
        let schema = Arc::new(Schema::new(fields));
        let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        // Noise: hardly a value comes twice.
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .build();
        Ok(Rows {
            writer: ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?,
            schema,
        })
    }

    /// The step that the fleet made last.
    fn add(&mut self, fleet: &Fleet) -> Result<()> {
        let servers = fleet.profiles().len();
        let profiles = fleet.profiles().iter().map(|&profile| profile as u8);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_value(fleet.now_ms() - STEP_MS, servers)),
            Arc::new(UInt16Array::from_iter_values(0..servers as u16)),
            Arc::new(UInt8Array::from_iter_values(profiles)),
        ];
        for metric in 0..METRICS {
            let values = fleet.values().iter().skip(metric).step_by(METRICS);
            columns.push(Arc::new(Float32Array::from_iter_values(values.copied())));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(self.writer.write(&batch)?)
    }
}
