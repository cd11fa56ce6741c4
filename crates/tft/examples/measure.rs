//! Trains on raw records in a parquet file and judges the model on what comes after.
//!
//! ```text
//! cargo run --release -p tft --example measure -- FILE [key=value …]
//! ```
//!
//! Keys: `contract` (vm), `preset` (quick), `border` (end of the training data and start of the judged, RFC 3339), `to` (end of the judged),
//! `seconds`, `epochs`, `days`, `stride`, `batch`, `rate`, `decay`, `seed`, and the sizes `hidden`, `variable`, `selection`,
//! `patch`, `dropout`. It is for measuring the model while it is developed; the program's own way is `forewarn train`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used
)]

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimestampMillisecondType};
use contract::Contract;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tft::eval::Range;
use tft::{Dataset, Preset, Series, TftConfig};

/// Sum and count per bucket and metric.
type Buckets = BTreeMap<i64, Vec<(f64, u32)>>;

fn column(batch: &arrow::array::RecordBatch, name: &str) -> Vec<Option<f32>> {
    let array = batch
        .column_by_name(name)
        .unwrap_or_else(|| panic!("no column {name}"));
    match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().collect(),
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .iter()
            .map(|v| v.map(|v| v as f32))
            .collect(),
        other => panic!("column {name} is {other}"),
    }
}

fn load(path: &str, contract: &Contract) -> Dataset {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let step = i64::from(contract.step_seconds) * 1000;
    let mut servers: BTreeMap<String, Buckets> = BTreeMap::new();
    for batch in reader.with_batch_size(65_536).build().unwrap() {
        let batch = batch.unwrap();
        let times = arrow::compute::cast(
            batch.column_by_name("timestamp").unwrap(),
            &DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None),
        )
        .unwrap();
        let times = times.as_primitive::<TimestampMillisecondType>();
        let names =
            arrow::compute::cast(batch.column_by_name("server").unwrap(), &DataType::Utf8).unwrap();
        let names = names.as_string::<i32>();
        let columns: Vec<_> = contract
            .raw_metrics()
            .iter()
            .map(|m| column(&batch, &m.name))
            .collect();
        for row in 0..batch.num_rows() {
            let buckets = servers.entry(names.value(row).to_owned()).or_default();
            let cells = buckets
                .entry(times.value(row).div_euclid(step))
                .or_insert_with(|| vec![(0.0, 0); contract.num_metrics()]);
            for ((cell, metric), values) in cells.iter_mut().zip(&contract.metrics).zip(&columns) {
                if let Some(Ok(value)) = values[row].map(|v| metric.check(v)) {
                    *cell = (cell.0 + f64::from(value), cell.1 + 1);
                }
            }
        }
    }
    let series = servers
        .into_iter()
        .map(|(server, buckets)| dense(server, &buckets, contract, step))
        .collect();
    Dataset { series }
}

fn dense(server: String, buckets: &Buckets, contract: &Contract, step: i64) -> Series {
    let metrics = contract.num_metrics();
    let (first, last) = (
        *buckets.keys().next().unwrap(),
        *buckets.keys().next_back().unwrap(),
    );
    let mut values = vec![f32::NAN; (last - first + 1) as usize * metrics];
    for (bucket, cells) in buckets {
        let row = (bucket - first) as usize * metrics;
        for (metric, (sum, count)) in cells.iter().enumerate().filter(|(_, c)| c.1 > 0) {
            values[row + metric] = (sum / f64::from(*count)) as f32;
        }
    }
    let profile = contract.profile_of(&server, None);
    Series {
        server,
        profile,
        start_ms: first * step,
        values,
        states: None,
    }
}

/// The part of each series before `to_ms`.
fn before(data: &Dataset, to_ms: i64, metrics: usize, step: i64) -> Dataset {
    let cut = |s: &Series| {
        let steps = usize::try_from((to_ms - s.start_ms).div_euclid(step)).unwrap_or(0);
        let values = s
            .values
            .iter()
            .take(steps * metrics)
            .copied()
            .collect::<Vec<_>>();
        (!values.is_empty()).then(|| Series {
            values,
            ..s.clone()
        })
    };
    Dataset {
        series: data.series.iter().filter_map(cut).collect(),
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("a parquet file");
    let options: BTreeMap<String, String> = args
        .map(|a| {
            a.split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .expect("key=value")
        })
        .collect();
    let text = |key: &str, default: &str| {
        options
            .get(key)
            .cloned()
            .unwrap_or_else(|| default.to_owned())
    };
    let number = |key: &str| {
        options
            .get(key)
            .map(|v| v.parse::<f64>().expect("a number"))
    };
    let instant = |key: &str| {
        options.get(key).map(|v| {
            chrono::DateTime::parse_from_rfc3339(v)
                .expect("RFC 3339")
                .timestamp_millis()
        })
    };
    let contract = Contract::shipped(&text("contract", "vm")).expect("a shipped contract");
    let step = i64::from(contract.step_seconds) * 1000;

    let begun = std::time::Instant::now();
    let data = load(&path, &contract);
    let end = data
        .series
        .iter()
        .map(|s| s.start_ms + (s.values.len() / contract.num_metrics()) as i64 * step)
        .max();
    let end = end.expect("rows");
    let border = instant("border").unwrap_or(end - 7 * 86_400_000);
    println!(
        "loaded {} servers in {:.1} s",
        data.series.len(),
        begun.elapsed().as_secs_f64()
    );

    let mut config = Preset::named(&text("preset", "quick"))
        .expect("a preset")
        .config();
    config.max_seconds = number("seconds");
    if let Some(v) = number("epochs") {
        config.epochs = v as usize
    }
    if let Some(v) = number("days") {
        config.days = v
    }
    if let Some(v) = number("stride") {
        config.stride = v as usize
    }
    if let Some(v) = number("batch") {
        config.batch = v as usize
    }
    if let Some(v) = number("rate") {
        config.learning_rate = v
    }
    if let Some(v) = number("decay") {
        config.weight_decay = v as f32
    }
    if let Some(v) = number("seed") {
        config.seed = v as u64
    }
    let mut tft = TftConfig::default();
    if let Some(v) = number("hidden") {
        tft.hidden = v as usize
    }
    if let Some(v) = number("variable") {
        tft.variable = v as usize
    }
    if let Some(v) = number("selection") {
        tft.selection = v as usize
    }
    if let Some(v) = number("patch") {
        tft.patch = v as usize
    }
    if let Some(v) = number("dropout") {
        tft.dropout = v as f32
    }

    let past = before(&data, border, contract.num_metrics(), step);
    let trained = tft::train(&contract, &past, &tft, &config, None, &mut |p| {
        if p.val_loss.is_some() || p.step.is_multiple_of(50) {
            println!(
                "epoch {} step {} {:.0} % loss {:.4} val {:?} rate {:.5} {:.0} s",
                p.epoch,
                p.step,
                p.share * 100.0,
                p.train_loss,
                p.val_loss,
                p.learning_rate,
                p.seconds
            );
        }
        ControlFlow::Continue(())
    })
    .expect("training");
    let info = &trained.info;
    println!(
        "{} parameters, {} samples in {:.1} s, {:.0} samples/s, val {:.4}, {:?}",
        info.model_parameters,
        info.samples_processed,
        info.seconds,
        info.samples_per_second,
        info.final_val_loss,
        info.stop
    );

    let range = Range {
        from_ms: Some(border),
        to_ms: instant("to"),
        stride: number("every").unwrap_or(96.0) as usize,
    };
    let report = tft::eval::evaluate(&trained.model, &data, &range, &mut |_| {}).expect("windows");
    for (name, m) in &report.metrics {
        println!(
            "{name:16} wql {:.4} best {:.3} yesterday {:.3} per server {:.3} cover {:.3} strict {:.3} (last {:.4} yesterday {:.4} 24h {:.4})",
            m.wql.unwrap_or(f64::NAN),
            m.ratio_best().unwrap_or(f64::NAN),
            m.ratio_yesterday().unwrap_or(f64::NAN),
            m.per_server.unwrap_or(f64::NAN),
            m.coverage.unwrap_or(f64::NAN),
            m.coverage_strict.unwrap_or(f64::NAN),
            m.naive.last.unwrap_or(f64::NAN),
            m.naive.yesterday.unwrap_or(f64::NAN),
            m.naive.quantiles24h.unwrap_or(f64::NAN),
        );
    }
    println!(
        "windows {} loss {:?} {:?} {:.0} forecasts/s",
        report.windows, report.loss, report.pooled, report.forecasts_per_second
    );
    let size = trained.model.save().expect("saved").len();
    println!(
        "{size} bytes, {:.0} s in all",
        begun.elapsed().as_secs_f64()
    );
}
