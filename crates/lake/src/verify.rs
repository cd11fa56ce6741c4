//! Walks the archive's chains and says whether they are whole.
//!
//! Per partition: `_origin` is there, every object's footer can be read and agrees with its name and its file, the data
//! has the checksum that was written, every row's offset lies in the object's range and occurs once, and the ranges
//! follow one another from the origin to the tail. A tombstone stands for its object, whether that is gone or not. The walk goes on after a finding, so that one broken object does not
//! hide the state of the others.
//!
//! It is not: a repair. It changes nothing.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::ObjectStore;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde::Serialize;
use window::chain::{self, ChainError, Link, LinkKind};

use crate::archive::{
    ArchiveError, DataChecksum, Footer, KAFKA_OFFSET, Listing, ReadError, Stored, Tombstone,
};
use crate::archive::{list_partition, list_partitions, list_topics, read_footer, read_origin};
use crate::archive::{object_path, origin_path, tombstone_path};
use crate::store::read;

/// Objects read at the same time: each is held whole (128 MiB at most by default) while it is checked.
const CONCURRENT_OBJECTS: usize = 4;

/// What the walk found, in the shape that `archive verify --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every chain is whole.
    pub ok: bool,
    /// By name.
    pub topics: Vec<TopicReport>,
    /// The first finding in the order of topic, partition and offset.
    pub first_bad: Option<Bad>,
}

/// One topic's chains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicReport {
    /// Full name.
    pub topic: String,
    /// Objects in all partitions.
    pub objects: u64,
    /// Rows in all partitions.
    pub rows: i64,
    /// By number.
    pub partitions: Vec<PartitionReport>,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// Partition.
    pub partition: i32,
    /// Objects.
    pub objects: u64,
    /// Objects that retention replaced by a tombstone.
    pub tombstones: u64,
    /// Rows of the readable objects.
    pub rows: i64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Where the chain begins, `None` without `_origin`.
    pub start_offset: Option<i64>,
    /// Where it ends, `None` where it is not whole.
    pub next_offset: Option<i64>,
    /// Objects beside their tombstone, which nobody reads: retention was interrupted, or a writer came back after it.
    pub leftovers: u64,
    /// Names in the directory that are none of the archive's.
    pub strangers: Vec<String>,
    /// The first finding, by offset.
    pub bad: Option<Bad>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// Object in question; where one is missing, the name it should have.
    pub object: String,
    /// What is wrong.
    pub reason: String,
}

impl Report {
    /// Compares one chain with the partition's watermarks: it must not end after the topic's end, and nothing that is
    /// not archived may have expired. A chain that lags behind is no finding.
    pub fn compare_watermarks(&mut self, topic: &str, partition: i32, low: i64, high: i64) {
        let found = self
            .topics
            .iter_mut()
            .filter(|report| report.topic == topic)
            .flat_map(|report| &mut report.partitions)
            .find(|report| report.partition == partition);
        let Some(report) = found else { return };
        let Some(next) = report.next_offset else {
            return;
        };
        let reason = if next > high {
            format!("the chain reaches offset {next}, the topic ends at {high}")
        } else if low > next {
            format!("offsets {next} to {low} expired before they were archived")
        } else {
            return;
        };
        report.bad.get_or_insert(Bad {
            object: object_path(topic, partition, next).to_string(),
            reason,
        });
        self.conclude();
    }

    fn conclude(&mut self) {
        let mut partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        self.first_bad = partitions.find_map(|partition| partition.bad.clone());
        self.ok = self.first_bad.is_none();
    }
}

/// Walks the chains of `topics` (full names), or of all topics.
///
/// # Errors
/// [`ArchiveError::Store`] where the store fails; what is wrong with the archive is in the report.
pub async fn verify(
    store: &Arc<dyn ObjectStore>,
    topics: Option<&[String]>,
) -> Result<Report, ArchiveError> {
    let names = match topics {
        Some(names) => names.to_vec(),
        None => list_topics(store.as_ref()).await?,
    };
    let mut report = Report {
        ok: true,
        topics: Vec::with_capacity(names.len()),
        first_bad: None,
    };
    for topic in names {
        let mut partitions = Vec::new();
        for partition in list_partitions(store.as_ref(), &topic).await? {
            partitions.push(verify_partition(store, &topic, partition).await?);
        }
        report.topics.push(TopicReport {
            topic,
            objects: partitions.iter().map(|p| p.objects).sum(),
            rows: partitions.iter().map(|p| p.rows).sum(),
            partitions,
        });
    }
    report.conclude();
    Ok(report)
}

/// Findings of one partition with the offset that each belongs to.
type Findings = Vec<(i64, Bad)>;

async fn verify_partition(
    store: &Arc<dyn ObjectStore>,
    topic: &str,
    partition: i32,
) -> Result<PartitionReport, ArchiveError> {
    let mut listing = list_partition(store.as_ref(), topic, partition).await?;
    let all = listing.objects.len();
    let tombstones = &listing.tombstones;
    listing
        .objects
        .retain(|(start, _)| tombstones.binary_search(start).is_err());
    let leftovers = all - listing.objects.len();
    let mut findings = Findings::new();
    let origin = check_origin(store.as_ref(), topic, partition, &mut findings).await?;
    let mut links = check_objects(store, topic, partition, &listing, &mut findings).await?;
    let rows = links.iter().map(|link| link.num_rows).sum();
    for &start in &listing.tombstones {
        match check_tombstone(store.as_ref(), topic, partition, start).await? {
            Ok(link) => links.push(link),
            Err(bad) => findings.push((start, bad)),
        }
    }
    let first = links.iter().map(|link| link.start).min();
    let next_offset = match chain::check(origin.or(first).unwrap_or(0), &links) {
        Ok(next) => Some(next),
        Err(error) => {
            findings.push(chain_finding(topic, partition, &error));
            None
        }
    };
    // Of a damaged object and the gap it leaves, the object is the finding: it comes first among equals.
    findings.sort_by_key(|(offset, _)| *offset);
    Ok(PartitionReport {
        partition,
        objects: listing.objects.len() as u64,
        tombstones: listing.tombstones.len() as u64,
        rows,
        bytes: listing.objects.iter().map(|&(_, size)| size).sum(),
        start_offset: origin,
        next_offset: next_offset.filter(|_| findings.is_empty()),
        leftovers: leftovers as u64,
        strangers: listing.strangers,
        bad: findings.into_iter().next().map(|(_, bad)| bad),
    })
}

fn chain_finding(topic: &str, partition: i32, error: &ChainError) -> (i64, Bad) {
    let (offset, reason) = match *error {
        ChainError::Gap { start, expected } => (
            expected,
            format!("missing: the chain breaks off at offset {expected} and goes on at {start}"),
        ),
        ref error => (error.start(), error.to_string()),
    };
    let object = object_path(topic, partition, offset).to_string();
    (offset, Bad { object, reason })
}

async fn check_origin(
    store: &dyn ObjectStore,
    topic: &str,
    partition: i32,
    findings: &mut Findings,
) -> Result<Option<i64>, ArchiveError> {
    let path = origin_path(topic, partition);
    let reason = match read_origin(store, &path).await {
        Ok(Some(origin)) if origin.topic == topic && origin.partition == partition => {
            return Ok(Some(origin.initial_offset));
        }
        Ok(Some(origin)) => format!("it is of {} partition {}", origin.topic, origin.partition),
        Ok(None) => "missing: nothing says where the chain begins".to_owned(),
        Err(ArchiveError::Quarantine { reason, .. }) => reason,
        Err(error) => return Err(error),
    };
    let object = path.to_string();
    findings.push((i64::MIN, Bad { object, reason }));
    Ok(None)
}

async fn check_tombstone(
    store: &dyn ObjectStore,
    topic: &str,
    partition: i32,
    start: i64,
) -> Result<Result<Link, Bad>, ArchiveError> {
    let path = tombstone_path(topic, partition, start);
    let failed = |source| ArchiveError::Store {
        object: path.to_string(),
        source,
    };
    let bad = |reason: String| Bad {
        object: path.to_string(),
        reason,
    };
    let Some(bytes) = read(store, &path).await.map_err(failed)? else {
        return Ok(Err(bad("vanished during the walk".to_owned())));
    };
    Ok(match serde_json::from_slice::<Tombstone>(&bytes) {
        Ok(tombstone) if tombstone.start_offset == start => Ok(Link {
            start,
            next: tombstone.next_offset,
            num_rows: 0,
            kind: LinkKind::Tombstone,
        }),
        Ok(tombstone) => Err(bad(format!("it is of offset {}", tombstone.start_offset))),
        Err(error) => Err(bad(error.to_string())),
    })
}

async fn check_objects(
    store: &Arc<dyn ObjectStore>,
    topic: &str,
    partition: i32,
    listing: &Listing,
    findings: &mut Findings,
) -> Result<Vec<Link>, ArchiveError> {
    let mut links = Vec::with_capacity(listing.objects.len());
    let mut checks =
        stream::iter(&listing.objects)
            .map(|&(start, _)| async move {
                (start, check_object(store, topic, partition, start).await)
            })
            .buffered(CONCURRENT_OBJECTS);
    while let Some((start, checked)) = checks.next().await {
        match checked? {
            Ok(link) => links.push(link),
            Err(reason) => {
                let object = object_path(topic, partition, start).to_string();
                findings.push((start, Bad { object, reason }));
            }
        }
    }
    Ok(links)
}

async fn check_object(
    store: &Arc<dyn ObjectStore>,
    topic: &str,
    partition: i32,
    start: i64,
) -> Result<Result<Link, String>, ArchiveError> {
    let path = object_path(topic, partition, start);
    let failed = |source| ArchiveError::Store {
        object: path.to_string(),
        source,
    };
    let Stored { footer, whole, .. } = match read_footer(store.as_ref(), &path).await {
        Ok(stored) => stored,
        Err(ReadError::Store(source)) => return Err(failed(source)),
        Err(ReadError::NotFound) => return Ok(Err("vanished during the walk".to_owned())),
        Err(ReadError::Unreadable(reason)) => return Ok(Err(format!("unreadable: {reason}"))),
    };
    if let Err(reason) = check_identity(&footer, topic, partition, start) {
        return Ok(Err(reason));
    }
    let bytes = match whole {
        Some(bytes) => Some(bytes),
        None => read(store.as_ref(), &path).await.map_err(failed)?,
    };
    let Some(bytes) = bytes else {
        return Ok(Err("vanished during the walk".to_owned()));
    };
    let link = footer.link();
    let checked = tokio::task::spawn_blocking(move || check_data(bytes, &footer)).await;
    Ok(match checked {
        Ok(checked) => checked.map(|()| link),
        Err(error) => Err(format!("unreadable: {error}")),
    })
}

fn check_identity(footer: &Footer, topic: &str, partition: i32, start: i64) -> Result<(), String> {
    if footer.topic != topic || footer.partition != partition {
        let (topic, partition) = (&footer.topic, footer.partition);
        return Err(format!("its footer says {topic} partition {partition}"));
    }
    if footer.start_offset != start {
        return Err(format!(
            "its footer says it starts at {}",
            footer.start_offset
        ));
    }
    Ok(())
}

fn check_data(bytes: Bytes, footer: &Footer) -> Result<(), String> {
    let DataChecksum {
        bytes: length,
        crc32c,
    } = footer.data;
    let data = usize::try_from(length)
        .ok()
        .and_then(|length| bytes.get(..length));
    if data.map(crc32c::crc32c) != Some(crc32c) {
        return Err("its data does not have the checksum that was written".to_owned());
    }
    let mut offsets = read_offsets(bytes).map_err(|error| format!("unreadable: {error}"))?;
    offsets.sort_unstable();
    if let Some(pair) = offsets.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("offset {} occurs twice", pair[0]));
    }
    let range = footer.start_offset..footer.next_offset;
    if let Some(stray) = offsets.iter().find(|offset| !range.contains(offset)) {
        return Err(format!("offset {stray} is not in its range {range:?}"));
    }
    Ok(())
}

fn read_offsets(bytes: Bytes) -> Result<Vec<i64>, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [KAFKA_OFFSET]);
    let mut offsets = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch: RecordBatch = batch?;
        let column = batch.column_by_name(KAFKA_OFFSET);
        let column = column.and_then(|array| array.as_primitive_opt::<Int64Type>());
        let column =
            column.ok_or_else(|| ParquetError::General(format!("no column {KAFKA_OFFSET}")))?;
        offsets.extend(column.values());
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests;
