//! From due servers to predictions on the topic: one batched call of the model per version.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bus::{Out, Producer};
use contract::record::{MetricForecast, Prediction};
use contract::{Contract, Topic};

use crate::roles::Ctx;
use crate::training::LoadedModel;

/// A server whose bucket has closed.
pub(super) struct Due {
    pub(super) partition: i32,
    pub(super) bucket: i64,
    pub(super) model: Arc<LoadedModel>,
    pub(super) rows: usize,
    pub(super) context: tft::Context,
}

/// Makes and sends predictions.
pub(super) struct Issuer {
    ctx: Ctx,
    topic: String,
    producer: Producer,
    num_issued: u64,
    undelivered: bool,
}

impl Issuer {
    pub(super) fn new(ctx: &Ctx) -> Result<Self> {
        Ok(Self {
            topic: ctx.topic(Topic::Predictions),
            producer: Producer::new(&ctx.kafka("forecast"))?,
            num_issued: 0,
            undelivered: false,
            ctx: ctx.clone(),
        })
    }

    pub(super) fn num_issued(&self) -> u64 {
        self.num_issued
    }

    /// Forecasts all that is due, in order, batch by batch.
    pub(super) async fn issue(&mut self, mut due: Vec<Due>, now_ms: i64) -> Result<()> {
        while let Some(first) = due.first() {
            let model = Arc::clone(&first.model);
            let same = due
                .iter()
                .take_while(|d| d.model.version == model.version)
                .count();
            let rest = due.split_off(same.min(self.ctx.config.forecast.batch));
            self.issue_batch(&model, due, now_ms).await?;
            due = rest;
        }
        Ok(())
    }

    async fn issue_batch(
        &mut self,
        model: &Arc<LoadedModel>,
        due: Vec<Due>,
        now_ms: i64,
    ) -> Result<()> {
        let started = Instant::now();
        let contract = Arc::clone(&self.ctx.contract);
        let model = Arc::clone(model);
        let predictions = tokio::task::spawn_blocking(move || predict(&contract, &model, due))
            .await
            .context("run the model")??;
        let num = predictions.len();
        for (partition, prediction) in predictions {
            let value = contract::codec::encode(&prediction)?;
            self.producer
                .send(Out {
                    topic: &self.topic,
                    partition: Some(partition),
                    key: Some(prediction.server.as_bytes()),
                    value: Some(&value),
                    headers: &[],
                    timestamp_ms: Some(now_ms),
                })
                .await
                .context("send a prediction")?;
        }
        self.num_issued += num as u64;
        self.undelivered = true;
        self.ctx
            .telemetry
            .produced("forecast", &self.topic, num as u64);
        self.ctx.telemetry.forecasts(num as u64, started.elapsed());
        Ok(())
    }

    /// Waits until everything sent is delivered.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if self.undelivered {
            self.producer.flush().await.context("deliver predictions")?;
            self.undelivered = false;
        }
        Ok(())
    }
}

fn predict(
    contract: &Contract,
    model: &LoadedModel,
    due: Vec<Due>,
) -> Result<Vec<(i32, Prediction)>> {
    let mut about = Vec::with_capacity(due.len());
    let mut contexts = Vec::with_capacity(due.len());
    for server in due {
        about.push((server.partition, server.bucket, server.rows));
        contexts.push(server.context);
    }
    let forecasts = model.model.predict(&contexts)?;
    let made = about.into_iter().zip(&contexts).zip(&forecasts);
    Ok(made
        .map(|(((partition, _, rows), context), forecast)| {
            (
                partition,
                prediction(contract, &model.version, context, rows, forecast),
            )
        })
        .collect())
}

/// A forecast as it travels.
pub(crate) fn prediction(
    contract: &Contract,
    version: &str,
    context: &tft::Context,
    rows: usize,
    forecast: &tft::Forecast,
) -> Prediction {
    let num_metrics = contract.num_metrics();
    let column = |values: &[f32], metric: usize| -> Vec<f32> {
        values
            .iter()
            .skip(metric)
            .step_by(num_metrics.max(1))
            .copied()
            .collect()
    };
    Prediction {
        server: context.server.clone(),
        issued_at: context.end_ms,
        step_seconds: i32::try_from(contract.step_seconds).unwrap_or(i32::MAX),
        model_version: version.to_owned(),
        contract: contract.fingerprint().to_owned(),
        context_rows: i32::try_from(rows).unwrap_or(i32::MAX),
        forecasts: contract
            .metrics
            .iter()
            .enumerate()
            .map(|(index, metric)| MetricForecast {
                metric: metric.name.clone(),
                p10: column(&forecast.p10, index),
                p50: column(&forecast.p50, index),
                p90: column(&forecast.p90, index),
            })
            .collect(),
        risks: tft::risks(contract, context.profile, forecast, context.end_ms),
    }
}
