//! For the tests of this crate: a store that fails on a seeded schedule, and records to archive.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::{
    Array, AsArray, Float32Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::archive::{Batch, ChainSpec, Intake, KAFKA_OFFSET, KafkaRecord};

/// What becomes of one PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is written, and an error says so.
    Fails,
    /// Done, but reported failed.
    DoneButFails,
    /// Done, but "already there" is answered, as to a client's own retry.
    DoneButExists,
    /// Nothing is written, and "already there" is answered, as some stores do in a conflict.
    OnlyExists,
}

/// A memory store that misbehaves, and panics when a create-only rule is broken.
pub(crate) struct Faulty {
    inner: InMemory,
    state: Mutex<State>,
}

struct State {
    rng: StdRng,
    /// Chance of a fault per operation.
    rate: f64,
    next_puts: Vec<Fault>,
    /// Everything that was ever created: nothing may be created twice without having been deleted.
    created: HashSet<String>,
    puts: usize,
    whole_gets: usize,
}

impl Faulty {
    pub(crate) fn new(seed: u64, rate: f64) -> Arc<Faulty> {
        Arc::new(Faulty {
            inner: InMemory::new(),
            state: Mutex::new(State {
                rng: StdRng::seed_from_u64(seed),
                rate,
                next_puts: Vec::new(),
                created: HashSet::new(),
                puts: 0,
                whole_gets: 0,
            }),
        })
    }

    /// Faults of the next PUTs, first one first.
    pub(crate) fn fail_next(&self, faults: &[Fault]) {
        self.state.lock().unwrap().next_puts = faults.iter().rev().copied().collect();
    }

    pub(crate) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.rate = 0.0;
        state.next_puts.clear();
    }

    /// Objects that were read whole.
    pub(crate) fn num_whole_gets(&self) -> usize {
        self.state.lock().unwrap().whole_gets
    }

    pub(crate) fn num_puts(&self) -> usize {
        self.state.lock().unwrap().puts
    }

    fn put_fault(&self) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.puts += 1;
        if let Some(fault) = state.next_puts.pop() {
            return Some(fault);
        }
        let rate = state.rate;
        let faults = [
            Fault::Fails,
            Fault::DoneButFails,
            Fault::DoneButExists,
            Fault::OnlyExists,
        ];
        let which = state.rng.random_range(0..faults.len());
        state.rng.random_bool(rate).then(|| faults[which])
    }

    fn read_fails(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        let rate = state.rate / 2.0;
        state.rng.random_bool(rate)
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "faulty",
        source: "connection reset".into(),
    }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists {
        path: path.to_string(),
        source: "412".into(),
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        assert_eq!(
            options.mode,
            PutMode::Create,
            "{path} is written without a condition"
        );
        let fault = self.put_fault();
        if matches!(fault, Some(Fault::Fails)) {
            return Err(broken());
        }
        if matches!(fault, Some(Fault::OnlyExists)) {
            return Err(exists(path));
        }
        let result = self.inner.put_opts(path, payload, options).await?;
        self.state.lock().unwrap().created.insert(path.to_string());
        match fault {
            Some(Fault::DoneButFails) => Err(broken()),
            Some(Fault::DoneButExists) => Err(exists(path)),
            _ => Ok(result),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("{path}: a multipart upload cannot be conditional");
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if self.read_fails() {
            return Err(broken());
        }
        self.state.lock().unwrap().whole_gets += usize::from(options.range.is_none());
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.read_fails() {
            return stream::iter([Err(broken())]).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        panic!("{from} is copied");
    }
}

pub(crate) const TOPIC: &str = "t.rollups";

pub(crate) fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("server", DataType::Utf8, false),
        Field::new("timestamp", time, false),
        Field::new("value", DataType::Float32, true),
    ]))
}

pub(crate) fn spec(partition: i32) -> ChainSpec {
    ChainSpec {
        topic: TOPIC.to_owned(),
        partition,
        cluster_id: "cluster".to_owned(),
        contract: "c0ffee".to_owned(),
        schema: schema(),
    }
}

fn server_of(offset: i64) -> String {
    format!("s{}", offset % 7)
}

fn time_of(offset: i64) -> i64 {
    // Not ascending: records of other servers are older now and then.
    1_000_000 + offset * 1000 - (offset % 5) * 1500
}

/// A batch whose rows follow from their offsets.
pub(crate) fn batch(offsets: &[i64]) -> Batch {
    let servers = StringArray::from_iter_values(offsets.iter().map(|&o| server_of(o)));
    let times = TimestampMillisecondArray::from_iter_values(offsets.iter().map(|&o| time_of(o)));
    let values = Float32Array::from_iter_values(offsets.iter().map(|&o| o as f32));
    let columns = RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(servers),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(values),
        ],
    );
    let mut intake = Intake::default();
    for &offset in offsets {
        intake.decoded(&KafkaRecord {
            offset,
            timestamp_ms: offset * 10,
            key: Some(b"k"),
            value: Some(&offset.to_be_bytes()),
        });
    }
    intake.finish(columns.unwrap()).unwrap()
}

pub(crate) fn range(offsets: Range<i64>) -> Batch {
    batch(&offsets.collect::<Vec<_>>())
}

/// All rows of an object as a plain reader sees them.
pub(crate) async fn plain(store: &dyn ObjectStore, path: &Path) -> RecordBatch {
    decode(store.get(path).await.unwrap().bytes().await.unwrap())
}

/// [`offsets`] of an object's bytes.
pub(crate) fn offsets_of(object: Bytes) -> Vec<i64> {
    offsets(&decode(object))
}

fn decode(bytes: Bytes) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<RecordBatch> = builder
        .build()
        .unwrap()
        .map(|batch| batch.unwrap())
        .collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// The offsets of an object made of [`batch`]es, in row order; every other column is compared with what it must be.
pub(crate) fn offsets(rows: &RecordBatch) -> Vec<i64> {
    let column = |name: &str| Arc::clone(rows.column_by_name(name).unwrap());
    let offsets = column(KAFKA_OFFSET);
    let offsets = offsets.as_primitive::<Int64Type>().values().to_vec();
    for (row, &offset) in offsets.iter().enumerate() {
        let value = column("value");
        assert_eq!(
            value.as_primitive::<Float32Type>().value(row),
            offset as f32
        );
        assert_eq!(
            column("server").as_string::<i32>().value(row),
            server_of(offset)
        );
        let millis = |name: &str| {
            let times = column(name);
            times.as_primitive::<TimestampMillisecondType>().value(row)
        };
        assert_eq!(millis("timestamp"), time_of(offset));
        assert_eq!(millis("kafka_timestamp"), offset * 10);
        assert!(column("kafka_value").is_null(row));
        assert!(column("kafka_key").is_null(row));
    }
    offsets
}
