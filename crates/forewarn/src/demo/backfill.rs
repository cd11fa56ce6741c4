//! The days before the stream: rollups on the topic, the same rows as training data, and where the
//! services go on from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::{CommitOffset, Consumer, Event, Limits, Out, Producer, Start};
use contract::Topic;
use contract::codec::{Decoder, Encoder, RollupRow};
use fleet::Simulator;
use lake::training::{Collector, Rollup, Selection};
use window::bucket_of;
use window::context::{Reread, RereadCommit};

use crate::roles::{Ctx, RollupRows, drift, forecast};
use crate::training::dataset;

/// Raw records that a five-minute mean stands for: one every five seconds.
const RECORDS_A_BUCKET: i32 = 60;
/// The drift windows begin this long before the stream, so that the first hour is whole.
const DRIFT_BACK_MS: i64 = 90 * 60_000;
const SEED_WITHIN: Duration = Duration::from_secs(30);

/// What was back-filled.
pub(super) struct Filled {
    pub(super) rows: u64,
    /// What the first model may learn from.
    pub(super) data: tft::Dataset,
}

/// Sends all rollups before `end_ms` and keeps those before `data_to_ms` as training data.
pub(super) async fn fill(
    ctx: &Ctx,
    simulator: &mut Simulator,
    end_ms: i64,
    data_to_ms: i64,
) -> Result<Filled> {
    let contract = Arc::clone(&ctx.contract);
    let topic = ctx.topic(Topic::Rollups);
    let producer = Producer::new(&ctx.kafka("demo-backfill"))?;
    let encoder = Encoder::new(&contract)?;
    let selection = Selection {
        to_ms: Some(data_to_ms),
        ..Selection::default()
    };
    let mut collector = Collector::new(&contract, &selection);
    let (mut value, mut cleaned, mut rows) = (Vec::new(), Vec::new(), 0_u64);
    while simulator.next_ms() < end_ms {
        let Some(step) = simulator.next_step() else {
            break;
        };
        for record in step.records() {
            let bucket = bucket_of(record.timestamp_ms, contract.step_ms());
            contract.clean(record.measured(), &mut cleaned, &mut |_, _| {});
            value.clear();
            encoder.encode_rollup(
                &RollupRow {
                    server: record.server,
                    timestamp: bucket,
                    profile: record.profile,
                    state: Some(record.state),
                    num_records: RECORDS_A_BUCKET,
                    values: &cleaned,
                },
                &mut value,
            )?;
            producer
                .send(Out {
                    topic: &topic,
                    key: Some(record.server.as_bytes()),
                    value: Some(&value),
                    timestamp_ms: Some(bucket + contract.step_ms()),
                    ..Out::default()
                })
                .await
                .context("send back-filled rollups")?;
            collector.add(&Rollup {
                server: record.server,
                bucket,
                profile: record.profile_index,
                state: Some(record.state_index),
                values: &cleaned,
            });
            rows += 1;
        }
    }
    producer
        .flush()
        .await
        .context("deliver back-filled rollups")?;
    Ok(Filled {
        rows,
        data: dataset(collector.finish()?),
    })
}

/// Commits for the groups of `forecast` and `drift` what they would have committed at the end of
/// the back-fill, so that the stream's first bucket is the first one that is forecast.
pub(super) async fn seed_groups(ctx: &Ctx, end_ms: i64) -> Result<()> {
    let step_ms = ctx.contract.step_ms();
    let context_ms = i64::try_from(ctx.contract.context_steps).unwrap_or(0) * step_ms;
    let rollups = ctx.topic(Topic::Rollups);
    let forecast = [rollups.clone()];
    seed(
        ctx,
        forecast::GROUP,
        &forecast,
        context_ms,
        end_ms - step_ms,
    )
    .await?;
    let drift = [rollups, ctx.topic(Topic::Predictions)];
    seed(
        ctx,
        drift::PANES_GROUP,
        &drift,
        0,
        end_ms - DRIFT_BACK_MS - step_ms,
    )
    .await
}

/// Reads `rollups` (the first topic) as a member of the group and commits where it goes on.
async fn seed(
    ctx: &Ctx,
    group: &str,
    topics: &[String],
    keep_ms: i64,
    issued_through: i64,
) -> Result<()> {
    let mut consumer =
        Consumer::subscribe(&ctx.kafka("demo-seed"), group, topics, Limits::default())?;
    let reading = async {
        let mut parts: BTreeMap<i32, (Reread, i64)> = BTreeMap::new();
        let mut decoder = Decoder::new(Topic::Rollups, &ctx.contract)?;
        let mut commits: Option<Vec<CommitOffset>> = None;
        while commits.is_none() {
            match consumer.next().await {
                Event::Assigned(assigned) => {
                    let starts = assigned.partitions.iter().map(|part| {
                        if *part.topic == *topics.first().map_or("", String::as_str) {
                            parts.insert(part.partition, (Reread::new(keep_ms, None), part.high));
                        }
                        (
                            Arc::clone(&part.topic),
                            part.partition,
                            Start::Offset(part.low),
                        )
                    });
                    let starts = starts.collect();
                    assigned.start(starts);
                }
                Event::Revoked(revoked) => revoked.done(),
                Event::Chunk(chunk) => {
                    let values = chunk.iter().map(|record| record.value);
                    let rows = RollupRows::decode(&mut decoder, &ctx.contract, values)?;
                    for (row, record) in chunk.iter().enumerate() {
                        if let Some((reread, _)) = parts.get_mut(&record.partition) {
                            reread.observe(record.offset, rows.bucket(row));
                        }
                    }
                }
                Event::Eof {
                    topic,
                    partition,
                    offset,
                } => {
                    if let Some((reread, _)) = parts.get_mut(&partition)
                        && Some(&*topic) == topics.first().map(String::as_str)
                    {
                        reread.advance(offset);
                    }
                }
                Event::Unavailable(what) => tracing::warn!("{what}"),
                Event::Fatal(error) => return Err(error.into()),
            }
            let at_end = |(reread, high): &(Reread, i64)| {
                *high == 0
                    || reread
                        .commit()
                        .is_some_and(|commit| commit.position >= *high)
            };
            if !parts.is_empty() && parts.values().all(at_end) {
                commits = Some(seed_commits(topics, &mut parts, issued_through));
            }
        }
        consumer
            .commit(commits.unwrap_or_default())
            .await
            .context("commit the demo's start")
    };
    let read = tokio::time::timeout(SEED_WITHIN, reading).await;
    consumer.close(crate::roles::CLOSE_WITHIN).await;
    read.context("read the back-filled rollups again")?
}

fn seed_commits(
    topics: &[String],
    parts: &mut BTreeMap<i32, (Reread, i64)>,
    issued_through: i64,
) -> Vec<CommitOffset> {
    let Some(topic) = topics.first() else {
        return Vec::new();
    };
    let topic: Arc<str> = Arc::from(topic.as_str());
    parts
        .iter_mut()
        .filter_map(|(partition, (reread, _))| {
            reread.issued(issued_through);
            let commit: RereadCommit = reread.commit()?;
            Some(CommitOffset {
                topic: Arc::clone(&topic),
                partition: *partition,
                offset: commit.offset,
                metadata: commit.metadata(),
            })
        })
        .collect()
}
