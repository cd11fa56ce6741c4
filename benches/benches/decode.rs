//! Single messages of `metrics` → `RecordBatch`: our decoder beside arrow-avro's, in one run.
//!
//! Prints nanoseconds per message (the best of several rounds) and the ratio. `codec/decoder.rs` in `crates/contract`
//! says what was measured and decided.

#![allow(clippy::print_stdout, reason = "a benchmark's output is its result")]

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, SchemaStore};
use contract::codec::{Decoder, Encoder, MetricRow};
use contract::schema::avro_schema;
use contract::{Contract, Topic};

const NUM_MESSAGES: usize = 200_000;
const BATCH_ROWS: usize = 8192;
const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let contract = Contract::shipped("linborg").context("read the contract")?;
    let messages = messages(&contract)?;
    let bytes: usize = messages.iter().map(Vec::len).sum();
    // Taking turns, so that a slow moment of the machine meets both.
    let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        ours = ours.min(time_ours(&contract, &messages)?);
        theirs = theirs.min(time_arrow_avro(&contract, &messages)?);
    }
    println!(
        "messages:   {NUM_MESSAGES} of {} bytes on average",
        bytes / messages.len()
    );
    println!("decoder:    {ours:.0} ns per message");
    println!("arrow-avro: {theirs:.0} ns per message");
    println!("ratio:      {:.2}", theirs / ours);
    Ok(())
}

/// Values of 14 metrics, one in ten null.
fn messages(contract: &Contract) -> Result<Vec<Vec<u8>>> {
    let encoder = Encoder::new(contract)?;
    let mut messages = Vec::with_capacity(NUM_MESSAGES);
    for index in 0..NUM_MESSAGES {
        let values: Vec<Option<f32>> = (0..contract.raw_metrics().len())
            .map(|metric| ((index + metric) % 10 != 0).then_some((index % 97) as f32 + 0.25))
            .collect();
        let server = format!("ppweb{:03}", index % 500);
        let mut message = Vec::new();
        encoder.encode_metric(
            &MetricRow {
                server: &server,
                timestamp: 1_760_000_000_000 + 10 * index as i64,
                profile: None,
                state: Some("healthy"),
                values: &values,
            },
            &mut message,
        )?;
        messages.push(message);
    }
    Ok(messages)
}

fn time_ours(contract: &Contract, messages: &[Vec<u8>]) -> Result<f64> {
    let mut decoder = Decoder::new(Topic::Metrics, contract)?;
    let mut rows = 0;
    let start = Instant::now();
    for message in messages {
        decoder.push(message)?;
        if decoder.len() == BATCH_ROWS {
            rows += black_box(decoder.finish()).num_rows();
        }
    }
    rows += black_box(decoder.finish()).num_rows();
    nanoseconds_per_row(start, rows)
}

fn time_arrow_avro(contract: &Contract, messages: &[Vec<u8>]) -> Result<f64> {
    let mut store = SchemaStore::new();
    store.register(AvroSchema::new(avro_schema(Topic::Metrics, contract)))?;
    let mut decoder = ReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_batch_size(BATCH_ROWS)
        .build_decoder()?;
    let mut rows = 0;
    let start = Instant::now();
    for message in messages {
        decoder.decode(message)?;
        if decoder.batch_is_full() {
            rows += black_box(decoder.flush()?).map_or(0, |batch| batch.num_rows());
        }
    }
    rows += black_box(decoder.flush()?).map_or(0, |batch| batch.num_rows());
    nanoseconds_per_row(start, rows)
}

fn nanoseconds_per_row(start: Instant, rows: usize) -> Result<f64> {
    let seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(
        rows == NUM_MESSAGES,
        "decoded {rows} of {NUM_MESSAGES} messages"
    );
    Ok(seconds * 1e9 / rows as f64)
}
