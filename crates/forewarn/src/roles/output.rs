//! What `rollup` sends: rows to `rollups`, refused records to `metrics.dlq`.
//!
//! A row goes to the partition number that its records came from, so that a server's topics stay
//! co-partitioned. Nothing is awaited one by one; [`RollupOutput::flush`] waits for all of it.

use anyhow::{Context, Result};
use bus::{Out, Producer, RecordRef};
use contract::Topic;
use contract::codec::{Encoder, RollupRow};

use super::Ctx;

/// Producers of the rollup role.
pub(crate) struct RollupOutput {
    rollups_topic: String,
    dlq_topic: String,
    encoder: Encoder,
    rows: Producer,
    dead_letters: Producer,
    buffer: Vec<u8>,
    num_rollups: u64,
    undelivered: bool,
    ctx: Ctx,
}

impl RollupOutput {
    pub(crate) fn new(ctx: &Ctx) -> Result<Self> {
        let settings = ctx.kafka("rollup");
        Ok(Self {
            rollups_topic: ctx.topic(Topic::Rollups),
            dlq_topic: ctx.topic(Topic::MetricsDlq),
            encoder: Encoder::new(&ctx.contract)?,
            rows: Producer::new(&settings)?,
            dead_letters: bus::dead_letter::producer(&settings)?,
            buffer: Vec::new(),
            num_rollups: 0,
            undelivered: false,
            ctx: ctx.clone(),
        })
    }

    /// Rows sent so far.
    pub(crate) fn rollups(&self) -> u64 {
        self.num_rollups
    }

    /// Sends a closed bucket's row of one server.
    pub(crate) async fn rollup(
        &mut self,
        partition: i32,
        row: &RollupRow<'_>,
        now_ms: i64,
    ) -> Result<()> {
        self.buffer.clear();
        self.encoder.encode_rollup(row, &mut self.buffer)?;
        self.rows
            .send(Out {
                topic: &self.rollups_topic,
                partition: Some(partition),
                key: Some(row.server.as_bytes()),
                value: Some(&self.buffer),
                headers: &[],
                timestamp_ms: Some(now_ms),
            })
            .await
            .context("send a rollup")?;
        self.num_rollups += 1;
        self.undelivered = true;
        self.ctx
            .telemetry
            .produced("rollup", &self.rollups_topic, 1);
        Ok(())
    }

    /// Sends a refused record, unchanged, with the reason in its headers.
    pub(crate) async fn dead_letter(
        &mut self,
        record: &RecordRef<'_>,
        reason: &str,
        now_ms: i64,
    ) -> Result<()> {
        bus::dead_letter::send(&self.dead_letters, &self.dlq_topic, record, reason, now_ms)
            .await
            .context("send a dead letter")?;
        self.undelivered = true;
        self.ctx.telemetry.produced("rollup", &self.dlq_topic, 1);
        Ok(())
    }

    /// Waits until everything sent is delivered.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        if self.undelivered {
            self.rows.flush().await.context("deliver rollups")?;
            self.dead_letters
                .flush()
                .await
                .context("deliver dead letters")?;
            self.undelivered = false;
        }
        Ok(())
    }
}
