//! Trains on raw records in a parquet file and judges the model on what comes after.
//!
//! ```text
//! cargo run --release -p tft --example measure -- FILE [key=value …]
//! ```
//!
//! Keys: `contract` (vm), `preset` (quick), `border` (end of the training data and start of the judged, RFC 3339), `to` (end of the judged),
//! `seconds`, `epochs`, `days`, `stride`, `batch`, `rate`, `decay`, `seed`, and the sizes `hidden`, `variable`, `selection`,
//! `patch`, `block`, `dropout`, `id_dropout`;
//! `without` names parts to leave out (`lstm,selection`). It is for measuring the model while it is developed; the program's own way is `forewarn train`.

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
use tft::eval::{Range, Report, evaluate};
use tft::{Dataset, Preset, Progress, Series, TftConfig, TrainConfig};

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

/// `key=value` arguments.
struct Options(BTreeMap<String, String>);

impl Options {
    fn text(&self, key: &str, default: &str) -> String {
        self.0
            .get(key)
            .cloned()
            .unwrap_or_else(|| default.to_owned())
    }

    fn set<T: std::str::FromStr>(&self, key: &str, value: &mut T) {
        if let Some(text) = self.0.get(key) {
            *value = text.parse().unwrap_or_else(|_| panic!("{key}={text}"));
        }
    }

    fn instant(&self, key: &str) -> Option<i64> {
        let text = self.0.get(key)?;
        Some(
            chrono::DateTime::parse_from_rfc3339(text)
                .expect("RFC 3339")
                .timestamp_millis(),
        )
    }

    fn training(&self) -> TrainConfig {
        let mut config = Preset::named(&self.text("preset", "quick"))
            .expect("a preset")
            .config();
        let mut seconds = 0.0;
        self.set("seconds", &mut seconds);
        config.max_seconds = (seconds > 0.0).then_some(seconds);
        self.set("epochs", &mut config.epochs);
        self.set("days", &mut config.days);
        self.set("stride", &mut config.stride);
        self.set("batch", &mut config.batch);
        self.set("rate", &mut config.learning_rate);
        self.set("decay", &mut config.weight_decay);
        self.set("seed", &mut config.seed);
        config
    }

    fn sizes(&self) -> TftConfig {
        let mut sizes = TftConfig::default();
        self.set("hidden", &mut sizes.hidden);
        self.set("variable", &mut sizes.variable);
        self.set("selection", &mut sizes.selection);
        self.set("patch", &mut sizes.patch);
        self.set("dropout", &mut sizes.dropout);
        self.set("id_dropout", &mut sizes.id_dropout);
        self.set("block", &mut sizes.block);
        for name in self
            .text("without", "")
            .split(',')
            .filter(|n| !n.is_empty())
        {
            *sizes.parts.part(name).expect("a part") = false;
        }
        sizes
    }
}

fn print(report: &Report) {
    let figure = |value: Option<f64>| value.unwrap_or(f64::NAN);
    for (name, m) in &report.metrics {
        println!(
            "{name:16} wql {:.4} best {:.3} yesterday {:.3} per server {:.3} cover {:.3} strict {:.3} \
             (last {:.4} yesterday {:.4} 24h {:.4})",
            figure(m.wql),
            figure(m.ratio_best()),
            figure(m.ratio_yesterday()),
            figure(m.per_server),
            figure(m.coverage),
            figure(m.coverage_strict),
            figure(m.naive.last),
            figure(m.naive.yesterday),
            figure(m.naive.quantiles24h),
        );
    }
    println!(
        "windows {} loss {:.4} {:?} {:.0} forecasts/s",
        report.windows,
        figure(report.loss),
        report.pooled,
        report.forecasts_per_second
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("a parquet file");
    let pair = |arg: String| {
        let (key, value) = arg.split_once('=').expect("key=value");
        (key.to_owned(), value.to_owned())
    };
    let options = Options(args.map(pair).collect());
    let contract = Contract::shipped(&options.text("contract", "vm")).expect("a shipped contract");
    let (step, metrics) = (
        i64::from(contract.step_seconds) * 1000,
        contract.num_metrics(),
    );
    let begun = std::time::Instant::now();
    let data = load(&path, &contract);
    let end = |s: &Series| s.start_ms + (s.values.len() / metrics) as i64 * step;
    let end = data.series.iter().map(end).max().expect("rows");
    let border = options.instant("border").unwrap_or(end - 7 * 86_400_000);
    println!(
        "loaded {} servers in {:.1} s",
        data.series.len(),
        begun.elapsed().as_secs_f64()
    );

    let past = before(&data, border, metrics, step);
    let progress = &mut |p: &Progress| {
        if p.val_loss.is_some() || p.step.is_multiple_of(100) {
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
    };
    let (sizes, config) = (options.sizes(), options.training());
    let trained = tft::train(&contract, &past, &sizes, &config, None, progress).expect("training");
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
    let mut stride = 96;
    options.set("every", &mut stride);
    let range = Range {
        from_ms: Some(border),
        to_ms: options.instant("to"),
        stride,
    };
    print(&evaluate(&trained.model, &data, &range, &mut |_| {}).expect("windows"));
    let size = trained.model.save().expect("saved").len();
    println!(
        "{size} bytes, {:.0} s in all",
        begun.elapsed().as_secs_f64()
    );
}
