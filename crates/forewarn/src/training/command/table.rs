//! `eval --out`: every forecast as rows of a parquet file.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{
    ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use contract::Contract;
use lake::tables::TableWriter;

/// Rows gathered before they are written: more would cost memory, fewer would make small row groups.
const ROWS: usize = 200_000;

/// Columns `server, issued_at, step (1…), metric, p10, p50, p90`.
pub(super) struct ForecastTable {
    writer: TableWriter,
    schema: Arc<Schema>,
    metrics: Vec<String>,
    server: Vec<String>,
    issued_at: Vec<i64>,
    step: Vec<i32>,
    metric: Vec<usize>,
    quantiles: [Vec<f32>; 3],
}

impl ForecastTable {
    pub(super) fn create(path: &Path, contract: &Contract) -> Result<Self> {
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let schema = Arc::new(Schema::new(vec![
            Field::new("server", DataType::Utf8, false),
            Field::new("issued_at", time, false),
            Field::new("step", DataType::Int32, false),
            Field::new("metric", DataType::Utf8, false),
            Field::new("p10", DataType::Float32, false),
            Field::new("p50", DataType::Float32, false),
            Field::new("p90", DataType::Float32, false),
        ]));
        Ok(Self {
            writer: TableWriter::create(path, Arc::clone(&schema))?,
            schema,
            metrics: contract.metrics.iter().map(|m| m.name.clone()).collect(),
            server: Vec::new(),
            issued_at: Vec::new(),
            step: Vec::new(),
            metric: Vec::new(),
            quantiles: Default::default(),
        })
    }

    /// Appends one forecast.
    pub(super) fn add(
        &mut self,
        server: &str,
        issued_at_ms: i64,
        forecast: &tft::Forecast,
    ) -> Result<()> {
        let num = self.metrics.len().max(1);
        for index in 0..forecast.p50.len() {
            self.server.push(server.to_owned());
            self.issued_at.push(issued_at_ms);
            self.step
                .push(i32::try_from(index / num + 1).unwrap_or(i32::MAX));
            self.metric.push(index % num);
        }
        let [p10, p50, p90] = &mut self.quantiles;
        p10.extend_from_slice(&forecast.p10);
        p50.extend_from_slice(&forecast.p50);
        p90.extend_from_slice(&forecast.p90);
        if self.server.len() >= ROWS {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        let names: StringArray = std::mem::take(&mut self.metric)
            .into_iter()
            .map(|metric| self.metrics.get(metric).map(String::as_str))
            .collect();
        let issued = TimestampMillisecondArray::from(std::mem::take(&mut self.issued_at))
            .with_timezone("UTC");
        let [p10, p50, p90] = std::mem::take(&mut self.quantiles);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(std::mem::take(&mut self.server))),
            Arc::new(issued),
            Arc::new(Int32Array::from(std::mem::take(&mut self.step))),
            Arc::new(names),
            Arc::new(Float32Array::from(p10)),
            Arc::new(Float32Array::from(p50)),
            Arc::new(Float32Array::from(p90)),
        ];
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).context("arrange forecasts")?;
        Ok(self.writer.write(&batch)?)
    }

    /// Completes the file.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        Ok(self.writer.finish()?)
    }
}
