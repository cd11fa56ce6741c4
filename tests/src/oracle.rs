//! The rollup computed a second time, from the rules in words and nothing of the program's.
//!
//! It works on all records of a partition at once, in three passes over plain maps: judge each record by itself, let the
//! watermark run over the offsets, group what is on time. There is no engine, no open bucket, no state to resume, and the
//! values are cleaned here once more; of the program it uses only the contract file as read.
//!
//! It is slow and needs everything in memory: two million records take some seconds and about 500 MB.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use contract::{Contract, Derived, RollupFn};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// 2000-01-01T00:00:00Z.
const OLDEST_MS: i64 = 946_684_800_000;
/// How far a timestamp may be ahead of its Kafka timestamp.
const AHEAD_MS: i64 = 5 * 60 * 1000;

/// A record of `metrics` that decodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// Its offset.
    pub offset: i64,
    /// Kafka's timestamp of it.
    pub kafka_timestamp_ms: i64,
    /// Event time.
    pub timestamp_ms: Option<i64>,
    /// The server; empty where there is none.
    pub server: Arc<str>,
    /// What the record says about the profile.
    pub profile: Option<Arc<str>>,
    /// What the record says about the state.
    pub state: Option<Arc<str>>,
    /// The measured metrics in the contract's order.
    pub values: Vec<Option<f32>>,
}

/// A rollup as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Start of the bucket.
    pub bucket_ms: i64,
    /// The server.
    pub server: Arc<str>,
    /// Name of its profile.
    pub profile: String,
    /// Last state.
    pub state: Option<String>,
    /// Accepted records.
    pub num_records: i32,
    /// All metrics, derived ones included; `None` is a gap.
    pub values: Vec<Option<f32>>,
}

/// What a partition's records come to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rollups {
    /// Rows of closed buckets, by (bucket, server).
    pub closed: Vec<Row>,
    /// Rows of buckets that are still open at the end.
    pub open: Vec<Row>,
    /// Records counted in, of closed and open buckets.
    pub accepted: u64,
    /// Records whose (server, timestamp) was taken.
    pub duplicate: u64,
    /// Records of closed buckets.
    pub late: u64,
    /// Rejected records by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Values that became gaps, by metric and reason, of all records that decode.
    pub gaps: BTreeMap<(String, &'static str), u64>,
}

/// A record on time, cleaned.
struct OnTime<'a> {
    raw: &'a Raw,
    values: Vec<Option<f32>>,
}

/// Rolls up one partition's records, given in order of their offsets; no clock closes anything.
#[must_use]
pub fn rollups(contract: &Contract, grace_ms: i64, records: &[Raw]) -> Rollups {
    let step = contract.step_ms();
    let close_at = |bucket: i64| bucket + step + grace_ms;
    let mut result = Rollups::default();
    let mut watermark = i64::MIN;
    // (bucket, server) → timestamp → its first record.
    let mut buckets: BTreeMap<(i64, Arc<str>), BTreeMap<i64, OnTime<'_>>> = BTreeMap::new();
    for raw in records {
        let values = clean(contract, &raw.values, &mut result.gaps);
        let timestamp = match judge_times(raw) {
            Ok(timestamp) => timestamp,
            Err(reason) => {
                *result.rejected.entry(reason).or_default() += 1;
                continue;
            }
        };
        let bucket = timestamp - timestamp.rem_euclid(step);
        if watermark >= close_at(bucket) {
            result.late += 1;
            continue;
        }
        if values.iter().all(Option::is_none) {
            *result.rejected.entry("no_usable_value").or_default() += 1;
            continue;
        }
        watermark = watermark.max(timestamp.min(raw.kafka_timestamp_ms));
        match buckets
            .entry((bucket, raw.server.clone()))
            .or_default()
            .entry(timestamp)
        {
            Entry::Occupied(_) => result.duplicate += 1,
            Entry::Vacant(slot) => {
                slot.insert(OnTime { raw, values });
                result.accepted += 1;
            }
        }
    }
    for ((bucket, server), slots) in buckets {
        let row = row(contract, bucket, server, &slots);
        let is_closed = watermark >= close_at(bucket);
        let rows = if is_closed {
            &mut result.closed
        } else {
            &mut result.open
        };
        rows.push(row);
    }
    result
}

fn judge_times(raw: &Raw) -> Result<i64, &'static str> {
    if raw.server.is_empty() {
        return Err("no_server");
    }
    let timestamp = raw.timestamp_ms.ok_or("no_timestamp")?;
    if timestamp < OLDEST_MS {
        return Err("timestamp_too_old");
    }
    if timestamp > raw.kafka_timestamp_ms + AHEAD_MS {
        return Err("timestamp_in_future");
    }
    Ok(timestamp)
}

/// All metrics of a record: what is not finite, below the minimum or beyond the tolerance is a gap.
fn clean(
    contract: &Contract,
    measured: &[Option<f32>],
    gaps: &mut BTreeMap<(String, &'static str), u64>,
) -> Vec<Option<f32>> {
    let mut values: Vec<Option<f32>> = Vec::new();
    for (index, metric) in contract.metrics.iter().enumerate() {
        let of = |other: usize| values.get(other).copied().flatten();
        let value = match metric.derived {
            None => measured.get(index).copied().flatten(),
            Some(Derived::Product { left, right }) => of(left).zip(of(right)).map(|(l, r)| l * r),
            Some(Derived::Ratio {
                numerator,
                denominator,
            }) => of(numerator).zip(of(denominator)).map(|(n, d)| n / d),
        };
        let (min, max) = (
            metric.min.unwrap_or(f32::NEG_INFINITY),
            metric.max.unwrap_or(f32::INFINITY),
        );
        let judged = match value {
            None => Ok(None),
            Some(value) if !value.is_finite() => Err("not_finite"),
            Some(value) if value < min => Err("below_minimum"),
            Some(value) if value > max + metric.tolerance => Err("above_maximum"),
            Some(value) => Ok(Some(value.min(max))),
        };
        values.push(judged.unwrap_or_else(|reason| {
            *gaps.entry((metric.name.clone(), reason)).or_default() += 1;
            None
        }));
    }
    values
}

fn row(
    contract: &Contract,
    bucket_ms: i64,
    server: Arc<str>,
    slots: &BTreeMap<i64, OnTime<'_>>,
) -> Row {
    let by_time: Vec<&OnTime<'_>> = slots.values().collect();
    let mut by_offset = by_time.clone();
    by_offset.sort_by_key(|record| record.raw.offset);
    let values = contract.metrics.iter().enumerate().map(|(index, metric)| {
        let of = |record: &&OnTime<'_>| record.values.get(index).copied().flatten();
        match metric.rollup {
            RollupFn::Last => by_time.iter().rev().find_map(of),
            RollupFn::Mean => {
                let present: Vec<f64> = by_offset.iter().filter_map(of).map(f64::from).collect();
                let mean = present.iter().sum::<f64>() / present.len() as f64;
                (!present.is_empty()).then_some(mean as f32)
            }
        }
    });
    let values = values.collect();
    let known_state = |record: &&OnTime<'_>| {
        let state = record.raw.state.as_deref()?;
        contract
            .states
            .iter()
            .find(|known| *known == state)
            .cloned()
    };
    let said = by_time
        .last()
        .and_then(|record| record.raw.profile.as_deref());
    Row {
        bucket_ms,
        profile: profile_of(contract, &server, said),
        server,
        state: by_time.iter().rev().find_map(known_state),
        num_records: by_time.len() as i32,
        values,
    }
}

/// What the record says, if the contract knows it; else by the name's pattern; else the default.
fn profile_of(contract: &Contract, server: &str, said: Option<&str>) -> String {
    let known = contract
        .profiles
        .iter()
        .find(|profile| Some(profile.name.as_str()) == said);
    let fits = |pattern: &str| {
        let chars = || pattern.chars().zip(server.chars());
        pattern.chars().count() == server.chars().count()
            && chars().all(|(p, s)| p == s && p != '#' || p == '#' && s.is_ascii_digit())
    };
    let by_name = || {
        contract
            .profiles
            .iter()
            .find(|p| p.pattern.as_deref().is_some_and(fits))
    };
    let default = || contract.profiles.get(contract.default_profile);
    let profile = known.or_else(by_name).or_else(default);
    profile
        .map(|profile| profile.name.clone())
        .unwrap_or_default()
}

/// The partition that librdkafka's `murmur2_random` and Java's default partitioner choose for a key.
#[must_use]
pub fn partition_of(key: &str, num_partitions: u32) -> u32 {
    (murmur2(key.as_bytes()) & 0x7fff_ffff) % num_partitions.max(1)
}

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word
            .iter()
            .rev()
            .fold(0u32, |k, &byte| k << 8 | u32::from(byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest
            .iter()
            .rev()
            .fold(0u32, |k, &byte| k << 8 | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// What `replay` sends of a record file to each partition: in timestamp order, ties in file order, placed by the server's
/// name, offsets from 0. `from_ms` is inclusive, `to_ms` exclusive; `kafka_timestamp_ms` is the broker's time of all.
///
/// # Errors
/// What is wrong with the file.
pub fn replayed(
    path: &Path,
    contract: &Contract,
    range: (Option<i64>, Option<i64>),
    kafka_timestamp_ms: i64,
    num_partitions: u32,
) -> Result<Vec<Vec<Raw>>> {
    let mut records = read_records(path, contract)?;
    let (from, to) = (range.0.unwrap_or(i64::MIN), range.1.unwrap_or(i64::MAX));
    records.retain(|record| record.timestamp_ms.is_some_and(|at| at >= from && at < to));
    records.sort_by_key(|record| record.timestamp_ms);
    let mut partitions = vec![Vec::new(); num_partitions.max(1) as usize];
    for mut record in records {
        let partition = &mut partitions[partition_of(&record.server, num_partitions) as usize];
        record.offset = partition.len() as i64;
        record.kafka_timestamp_ms = kafka_timestamp_ms;
        partition.push(record);
    }
    Ok(partitions)
}

/// All rows of a record file in file order, numbered from 0; the Kafka timestamp is the record's own.
///
/// Columns: `timestamp`, `server`, optionally `profile` and `state`, and the contract's measured metrics.
///
/// # Errors
/// An unreadable file, a missing column, or one of another kind.
pub fn read_records(path: &Path, contract: &Contract) -> Result<Vec<Raw>> {
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let metrics = contract
        .metrics
        .iter()
        .filter(|metric| metric.derived.is_none());
    let metrics: Vec<&str> = metrics.map(|metric| metric.name.as_str()).collect();
    let mut wanted: BTreeSet<&str> = ["timestamp", "server", "profile", "state"].into();
    wanted.extend(&metrics);
    let fields = builder.schema().fields().iter().enumerate();
    let roots = fields.filter(|(_, field)| wanted.contains(field.name().as_str()));
    let roots: Vec<usize> = roots.map(|(index, _)| index).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let mut names = BTreeSet::new();
    let mut records = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        read_batch(&batch?, &metrics, &mut names, &mut records)?;
    }
    Ok(records)
}

fn read_batch(
    batch: &RecordBatch,
    metrics: &[&str],
    names: &mut BTreeSet<Arc<str>>,
    records: &mut Vec<Raw>,
) -> Result<()> {
    let column = |name: &str, kind: &DataType| -> Result<ArrayRef> {
        let column = batch
            .column_by_name(name)
            .with_context(|| format!("no column {name}"))?;
        cast(column, kind).with_context(|| format!("column {name}"))
    };
    let kind = DataType::Timestamp(TimeUnit::Millisecond, None);
    let times = column("timestamp", &kind)?;
    let times = cast(
        &times.as_primitive::<TimestampMillisecondType>().clone(),
        &DataType::Int64,
    )?;
    let times = times.as_primitive::<Int64Type>();
    let servers = column("server", &DataType::Utf8)?;
    let optional = |name| column(name, &DataType::Utf8).ok();
    let (profiles, states) = (optional("profile"), optional("state"));
    let values = metrics.iter().map(|name| column(name, &DataType::Float32));
    let values: Vec<ArrayRef> = values.collect::<Result<_>>()?;
    let mut name_at = |column: &ArrayRef, row: usize| -> Option<Arc<str>> {
        let column = column.as_string::<i32>();
        if column.is_null(row) {
            return None;
        }
        let name = column.value(row);
        if let Some(known) = names.get(name) {
            return Some(known.clone());
        }
        let name: Arc<str> = name.into();
        names.insert(name.clone());
        Some(name)
    };
    ensure!(
        times.len() == batch.num_rows(),
        "columns of different lengths"
    );
    for row in 0..batch.num_rows() {
        let timestamp_ms = (!times.is_null(row)).then(|| times.value(row));
        let values = values
            .iter()
            .map(|column| column.as_primitive::<Float32Type>());
        records.push(Raw {
            offset: records.len() as i64,
            kafka_timestamp_ms: timestamp_ms.unwrap_or(0),
            timestamp_ms,
            server: name_at(&servers, row).unwrap_or_default(),
            profile: profiles.as_ref().and_then(|column| name_at(column, row)),
            state: states.as_ref().and_then(|column| name_at(column, row)),
            values: values
                .map(|column| (!column.is_null(row)).then(|| column.value(row)))
                .collect(),
        });
    }
    Ok(())
}

/// Drops repeats by (server, bucket), the first wins, and sorts by (bucket, server).
#[must_use]
pub fn without_repeats(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    let mut first = BTreeMap::new();
    for row in rows {
        first
            .entry((row.bucket_ms, row.server.clone()))
            .or_insert(row);
    }
    first.into_values().collect()
}

/// Compares rows bit by bit; both are sorted first.
///
/// # Errors
/// How many differ, with the first few in full.
pub fn compare(expected: &[Row], found: &[Row]) -> Result<()> {
    const SHOWN: usize = 5;
    let by_key = |rows: &[Row]| -> BTreeMap<(i64, Arc<str>), Row> {
        rows.iter()
            .map(|row| ((row.bucket_ms, row.server.clone()), row.clone()))
            .collect()
    };
    let (wanted, got) = (by_key(expected), by_key(found));
    ensure!(
        wanted.len() == expected.len(),
        "the expected rows hold repeats"
    );
    let num_repeats = found.len() - got.len();
    let mut bad = Vec::new();
    for (key, row) in &wanted {
        match got.get(key) {
            None => bad.push(format!("missing: {row:?}")),
            Some(other) if !is_same(row, other) => {
                bad.push(format!("expected {row:?}\n   found {other:?}"));
            }
            Some(_) => {}
        }
    }
    let more = got.iter().filter(|(key, _)| !wanted.contains_key(*key));
    bad.extend(more.map(|(_, row)| format!("unexpected: {row:?}")));
    let shown = bad
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    ensure!(
        bad.is_empty() && num_repeats == 0,
        "{} of {} rows differ, {num_repeats} repeats\n{shown}",
        bad.len(),
        wanted.len(),
    );
    Ok(())
}

fn is_same(a: &Row, b: &Row) -> bool {
    let bits = |row: &Row| -> Vec<Option<u32>> {
        row.values
            .iter()
            .map(|value| value.map(f32::to_bits))
            .collect()
    };
    let head = |row: &Row| (row.profile.clone(), row.state.clone(), row.num_records);
    head(a) == head(b) && bits(a) == bits(b)
}

#[cfg(test)]
mod tests;
