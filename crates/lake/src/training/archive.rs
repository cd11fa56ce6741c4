//! Rollups from the archive's objects.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use contract::Contract;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::collect::{Collector, DAY_MS};
use super::{Selection, TrainingError, TrainingWindow};
use crate::archive::{ArchiveError, Footer, KAFKA_OFFSET, ReadError, object_path};
use crate::archive::{list_partition, list_partitions, read_footer, tail_offset};
use crate::records::Block;
use crate::store;
use crate::verify::Bad;

/// Footers asked for at the same time.
const CONCURRENT_FOOTERS: usize = 16;
/// Objects read ahead; each is held whole, compressed (some MiB of rollups).
const CONCURRENT_OBJECTS: usize = 2;

/// An object that may hold wanted rows.
struct Candidate {
    partition: i32,
    footer: Footer,
}

pub(super) async fn read(
    objects: &dyn ObjectStore,
    topic: &str,
    contract: &Contract,
    selection: &Selection<'_>,
    upto: Option<&[(i32, i64)]>,
) -> Result<TrainingWindow, TrainingError> {
    let limits: Option<BTreeMap<i32, i64>> = upto.map(|upto| upto.iter().copied().collect());
    let limit_of = |partition| match &limits {
        Some(limits) => limits.get(&partition).copied().unwrap_or(0),
        None => i64::MAX,
    };
    let mut broken = Vec::new();
    let mut positions = Vec::new();
    let mut candidates = Vec::new();
    for partition in list_partitions(objects, topic).await? {
        let limit = limit_of(partition);
        if let Some(tail) = tail_offset(objects, topic, partition).await? {
            positions.push((partition, tail.min(limit)));
        }
        let found = footers(objects, topic, partition, &mut broken).await?;
        candidates.extend(found.into_iter().filter(|c| c.footer.start_offset < limit));
    }
    let mut collector = Collector::new(contract, selection);
    let candidates = prune(candidates, contract, selection, &mut collector);
    let names = metric_names(contract);
    let mut blocks = stream::iter(candidates)
        .map(|candidate| {
            fetch(
                objects,
                topic,
                candidate.partition,
                candidate.footer,
                &names,
            )
        })
        .buffered(CONCURRENT_OBJECTS);
    while let Some((partition, fetched)) = blocks.next().await {
        match fetched? {
            Ok(blocks) => {
                let limit = limit_of(partition);
                for (block, offsets) in blocks {
                    collector.add_block(&block, |row| offsets.value(row) < limit);
                }
            }
            Err(bad) => broken.push(bad),
        }
    }
    let mut window = collector.finish()?;
    window.positions = positions;
    window.broken = broken;
    Ok(window)
}

fn metric_names(contract: &Contract) -> Vec<String> {
    contract.metrics.iter().map(|m| m.name.clone()).collect()
}

async fn footers(
    objects: &dyn ObjectStore,
    topic: &str,
    partition: i32,
    broken: &mut Vec<Bad>,
) -> Result<Vec<Candidate>, ArchiveError> {
    let listing = list_partition(objects, topic, partition).await?;
    // Collected: a lazy iterator held across the await would make the future unfit for spawning.
    let live: Vec<i64> = listing
        .objects
        .iter()
        .map(|&(start, _)| start)
        .filter(|start| listing.tombstones.binary_search(start).is_err())
        .collect();
    let read: Vec<_> = stream::iter(live)
        .map(|start| {
            let path = object_path(topic, partition, start);
            async move {
                match read_footer(objects, &path).await {
                    Ok(stored) => Ok(Some(Ok(stored.footer))),
                    Err(ReadError::NotFound) => Ok(None),
                    Err(ReadError::Unreadable(reason)) => Ok(Some(Err(Bad {
                        object: path.to_string(),
                        reason,
                    }))),
                    Err(ReadError::Store(source)) => Err(ArchiveError::Store {
                        object: path.to_string(),
                        source,
                    }),
                }
            }
        })
        .buffered(CONCURRENT_FOOTERS)
        .try_collect()
        .await?;
    let mut candidates = Vec::new();
    for footer in read.into_iter().flatten() {
        match footer {
            Ok(footer) => candidates.push(Candidate { partition, footer }),
            Err(bad) => broken.push(bad),
        }
    }
    Ok(candidates)
}

/// Leaves out the objects that cannot hold a wanted row.
fn prune(
    candidates: Vec<Candidate>,
    contract: &Contract,
    selection: &Selection<'_>,
    collector: &mut Collector<'_>,
) -> Vec<Candidate> {
    let (ours, others): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|candidate| candidate.footer.contract == contract.fingerprint());
    for other in &others {
        collector.skip_other_contract(other.footer.rows);
    }
    let (from, to) = (earliest(&ours, contract, selection), selection.to_ms);
    ours.into_iter()
        .filter(|candidate| match candidate.footer.timestamps_ms {
            Some((first, last)) => {
                from.is_none_or(|from| last >= from) && to.is_none_or(|to| first < to)
            }
            None => false,
        })
        .collect()
}

/// The first bucket that can be wanted. The newest bucket of a selection that ends before the data's end is not known from
/// footers: then `last_days` prunes nothing.
fn earliest(ours: &[Candidate], contract: &Contract, selection: &Selection<'_>) -> Option<i64> {
    let newest = || {
        let last = ours.iter().filter_map(|c| Some(c.footer.timestamps_ms?.1));
        last.max()
    };
    let by_days = match (selection.last_days, selection.to_ms) {
        (Some(days), None) => newest().map(|last| {
            let days_ms = i64::from(days).saturating_mul(DAY_MS);
            last.saturating_add(contract.step_ms())
                .saturating_sub(days_ms)
        }),
        _ => None,
    };
    selection.from_ms.max(by_days)
}

type Decoded = Vec<(Block, Int64Array)>;

async fn fetch(
    objects: &dyn ObjectStore,
    topic: &str,
    partition: i32,
    footer: Footer,
    metrics: &[String],
) -> (i32, Result<Result<Decoded, Bad>, ArchiveError>) {
    let path = object_path(topic, partition, footer.start_offset);
    let bad = |reason: String| Bad {
        object: path.to_string(),
        reason,
    };
    let fetched = match store::read(objects, &path).await {
        Ok(Some(bytes)) => {
            let metrics = metrics.to_vec();
            let decoded = tokio::task::spawn_blocking(move || decode(bytes, &metrics)).await;
            Ok(match decoded {
                Ok(Ok(blocks)) => Ok(blocks),
                Ok(Err(error)) => Err(bad(error.to_string())),
                Err(error) => Err(bad(error.to_string())),
            })
        }
        Ok(None) => Ok(Err(bad("vanished while it was read".to_owned()))),
        Err(source) => Err(ArchiveError::Store {
            object: path.to_string(),
            source,
        }),
    };
    (partition, fetched)
}

fn decode(bytes: Bytes, metrics: &[String]) -> Result<Decoded, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let others = [
        "server",
        "timestamp",
        "profile",
        "state",
        "contract",
        KAFKA_OFFSET,
    ];
    let names = metrics.iter().map(String::as_str).chain(others);
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let mut blocks = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let offsets = batch.column_by_name(KAFKA_OFFSET);
        let offsets = offsets.and_then(|array| array.as_primitive_opt::<Int64Type>());
        let offsets =
            offsets.ok_or_else(|| ParquetError::General(format!("no column {KAFKA_OFFSET}")))?;
        if offsets.null_count() > 0 {
            return Err(ParquetError::General(format!("nulls in {KAFKA_OFFSET}")));
        }
        blocks.push((Block::new(&batch, metrics)?, offsets.clone()));
    }
    Ok(blocks)
}
