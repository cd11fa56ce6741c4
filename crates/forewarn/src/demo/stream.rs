//! The simulated fleet as a producer of `metrics`, paced by the demo's clock.

use anyhow::{Context as _, Result};
use bus::{Out, Producer};
use contract::Topic;
use contract::codec::{Encoder, MetricRow};
use fleet::Simulator;
use tokio::task::JoinHandle;

use super::account::Account;
use crate::roles::Ctx;
use crate::shutdown::Shutdown;

/// Starts the fleet; it ends with the shutdown.
pub(super) fn start(
    ctx: &Ctx,
    mut simulator: Simulator,
    account: &Account,
    shutdown: &Shutdown,
) -> Result<JoinHandle<Result<()>>> {
    let producer = Producer::new(&ctx.kafka("demo-fleet"))?;
    let encoder = Encoder::new(&ctx.contract)?;
    let topic = ctx.topic(Topic::Metrics);
    let (clock, account, shutdown) = (ctx.clock, account.clone(), shutdown.clone());
    Ok(tokio::spawn(async move {
        let (mut value, mut values) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                () = clock.sleep_until_ms(simulator.next_ms()) => {}
            }
            let Some(step) = simulator.next_step() else {
                break;
            };
            let mut sent = 0;
            for record in step.records() {
                values.clear();
                values.extend(record.measured());
                value.clear();
                encoder.encode_metric(
                    &MetricRow {
                        server: record.server,
                        timestamp: record.timestamp_ms,
                        profile: Some(record.profile),
                        state: Some(record.state),
                        values: &values,
                    },
                    &mut value,
                )?;
                producer
                    .send(Out {
                        topic: &topic,
                        key: Some(record.server.as_bytes()),
                        value: Some(&value),
                        timestamp_ms: Some(record.timestamp_ms),
                        ..Out::default()
                    })
                    .await
                    .context("send metrics")?;
                sent += 1;
            }
            account.metrics_sent(sent);
        }
        producer.flush().await.context("deliver metrics")?;
        Ok(())
    }))
}
