//! The writer of one partition's chain: buffers records and writes them as the chain's next object.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::batch::Batch;
use super::encode::{encode, nullable};
use super::footer::{DataChecksum, Fingerprint, Footer, ReadError, SCHEMA_VERSION, read_footer};
use super::layout::{Origin, object_path, origin_path, tombstone_path};
use super::tail::{MAX_TURNS, Tail, check_name, failed, find_tail, quarantine, read_origin};
use super::{ArchiveError, FlushPolicy};
use crate::store::{Created, create, random_hex};

/// Who writes: one per process, so that an object that is already there can be told from somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterId(String);

impl WriterId {
    /// A new one, 128 random bits.
    #[must_use]
    pub fn random() -> Self {
        WriterId(random_hex())
    }
}

/// What a chain holds.
#[derive(Debug, Clone)]
pub struct ChainSpec {
    /// Full topic name, with prefix.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Id of the Kafka cluster that the records come from.
    pub cluster_id: String,
    /// Fingerprint of the contract they are decoded by.
    pub contract: String,
    /// Columns they are decoded to.
    pub schema: SchemaRef,
}

/// What a flush did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlushOutcome {
    /// The chain reached this offset already.
    Nothing,
    /// The buffer is in the store.
    Written {
        /// Rows written.
        rows: i64,
        /// Bytes of the object, compressed.
        bytes: u64,
        /// The chain's next offset: commit it as a hint.
        next_offset: i64,
    },
    /// Another writer was faster. The buffer is dropped: seek to `next_offset`, and drop what was already fetched.
    Adopted {
        /// Where to go on reading.
        next_offset: i64,
    },
}

/// The chain of one partition, open for writing. Dropping it loses nothing that a re-read from
/// [`next_offset`](Self::next_offset) does not bring back.
#[derive(Debug)]
pub struct Chain {
    store: Arc<dyn ObjectStore>,
    spec: ChainSpec,
    writer: WriterId,
    origin: Option<Origin>,
    /// Where the next object starts; `None` for a chain that nobody has begun.
    next: Option<i64>,
    fingerprints: Vec<Fingerprint>,
    batches: Vec<Arc<Batch>>,
    rows: usize,
    bytes: usize,
    first_push_ms: i64,
}

/// What the store made of one object of ours.
enum Put {
    Mine { next: i64, bytes: u64 },
    Foreign,
    Vanished,
}

impl Chain {
    /// Finds the chain's end.
    ///
    /// # Errors
    /// [`ArchiveError::Store`] (try again), [`ArchiveError::Quarantine`] where the last object or `_origin` cannot be
    /// trusted, [`ArchiveError::OtherCluster`].
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        spec: ChainSpec,
        writer: WriterId,
    ) -> Result<Chain, ArchiveError> {
        let spec = ChainSpec {
            schema: nullable(&spec.schema),
            ..spec
        };
        let tail = find_tail(store.as_ref(), &spec.topic, spec.partition).await?;
        let mut chain = Chain {
            store,
            spec,
            writer,
            origin: None,
            next: None,
            fingerprints: Vec::new(),
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
            first_push_ms: 0,
        };
        chain.adopt(tail)?;
        Ok(chain)
    }

    /// Where the next object starts and the consumer has to start reading; `None` for a chain that nobody has begun
    /// (then [`begin`](Self::begin) it).
    #[must_use]
    pub fn next_offset(&self) -> Option<i64> {
        self.next
    }

    /// Says where a chain begins that has no object yet: the partition's low watermark. Written with the first flush.
    /// No effect on a chain that has begun.
    pub fn begin(&mut self, initial_offset: i64) {
        self.next.get_or_insert(initial_offset);
    }

    /// Records that the topic must still hold, newest first, where Kafka has not expired them. Read the first that it
    /// has and hand its [`record_crc`](super::record_crc) to [`check_record`](Self::check_record).
    #[must_use]
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Compares one record of the topic with what was archived.
    ///
    /// # Errors
    /// [`ArchiveError::Recreated`] where it is another record.
    pub fn check_record(&self, offset: i64, crc32c: u32) -> Result<(), ArchiveError> {
        let known = self.fingerprints.iter().find(|f| f.offset == offset);
        match known {
            Some(known) if known.crc32c != crc32c => {
                Err(self.recreated(format!("offset {offset} holds another record")))
            }
            _ => Ok(()),
        }
    }

    /// Compares the chain's end with the partition's watermarks and returns how many offsets Kafka expired before they
    /// were archived (0 as it should be; more: alarm, they are lost).
    ///
    /// # Errors
    /// [`ArchiveError::Recreated`] where the chain is ahead of the partition's end.
    pub fn check_watermarks(&self, low: i64, high: i64) -> Result<i64, ArchiveError> {
        match self.next {
            Some(next) if next > high => Err(self.recreated(format!(
                "the archive reaches offset {next}, the topic ends at {high}"
            ))),
            Some(next) => Ok(low.saturating_sub(next).max(0)),
            None => Ok(0),
        }
    }

    fn recreated(&self, reason: String) -> ArchiveError {
        ArchiveError::Recreated {
            topic: self.spec.topic.clone(),
            partition: self.spec.partition,
            reason,
        }
    }

    /// Takes records into the buffer and returns how many of them were skipped because the chain or the buffer holds
    /// them already. `now_ms` is any clock that the caller also hands to [`is_due`](Self::is_due).
    ///
    /// # Errors
    /// [`ArchiveError::Batch`] where the columns are not those of the chain's schema or the chain has not begun.
    pub fn push(&mut self, batch: Batch, now_ms: i64) -> Result<usize, ArchiveError> {
        let Some(position) = self.position() else {
            return Err(self.bad_batch("the chain has not begun"));
        };
        let columns = RecordBatch::try_new(
            Arc::clone(&self.spec.schema),
            batch.columns.columns().to_vec(),
        );
        let columns = columns.map_err(|error| self.bad_batch(&error.to_string()))?;
        let offered = batch.len();
        let mut batch = batch.with_columns(columns);
        if batch.first_offset().is_some_and(|first| first < position) {
            batch = batch.starting_at(position);
        }
        let taken = batch.len();
        if taken > 0 {
            if self.batches.is_empty() {
                self.first_push_ms = now_ms;
            }
            self.rows += taken;
            self.bytes += batch.memory_bytes();
            self.batches.push(Arc::new(batch));
        }
        Ok(offered - taken)
    }

    fn bad_batch(&self, reason: &str) -> ArchiveError {
        ArchiveError::Batch {
            topic: self.spec.topic.clone(),
            partition: self.spec.partition,
            reason: reason.to_owned(),
        }
    }

    /// Offset after the last one buffered or archived.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        let buffered = self.batches.last().and_then(|batch| batch.last_offset());
        buffered.map(|last| last.saturating_add(1)).or(self.next)
    }

    /// Rows in the buffer.
    #[must_use]
    pub fn buffered_rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the buffer in memory, roughly.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the buffer is to be written now.
    #[must_use]
    pub fn is_due(&self, policy: &FlushPolicy, now_ms: i64) -> bool {
        let age_ms = now_ms.saturating_sub(self.first_push_ms);
        policy.is_due(self.rows, self.bytes, age_ms)
    }

    /// Writes the buffer as the chain's next object, `[next_offset(), upto)`, where `upto` is the consumer's position:
    /// past control records too, and past the buffer's last record. With an empty buffer and a position that moved, an
    /// object without rows is written.
    ///
    /// It may be dropped at any await and called again: nothing is lost or written twice.
    ///
    /// # Errors
    /// [`ArchiveError::Store`] and [`ArchiveError::Contested`]: the buffer is kept, call it again later. All others:
    /// stop this partition.
    pub async fn flush(&mut self, upto: i64) -> Result<FlushOutcome, ArchiveError> {
        let upto = self.position().map_or(upto, |position| position.max(upto));
        let (mut rows, mut bytes) = (0, 0);
        for _ in 0..MAX_TURNS {
            let Some(start) = self.next.filter(|&next| next < upto) else {
                let next_offset = upto;
                return Ok(if rows == 0 && bytes == 0 {
                    FlushOutcome::Nothing
                } else {
                    FlushOutcome::Written {
                        rows,
                        bytes,
                        next_offset,
                    }
                });
            };
            if !self.secure_origin(start).await? {
                return self.lost_race().await;
            }
            match self.put_object(start, upto).await? {
                Put::Mine { next, bytes: size } => {
                    bytes += size;
                    rows += self.advance(next);
                }
                Put::Foreign => return self.lost_race().await,
                Put::Vanished => {}
            }
        }
        let start = self.next.unwrap_or(upto);
        Err(ArchiveError::Contested {
            object: self.object_path(start).to_string(),
        })
    }

    /// Drops what the chain now holds up to `next`; returns its rows.
    fn advance(&mut self, next: i64) -> i64 {
        let before = self.rows;
        let kept: Vec<Arc<Batch>> = self
            .batches
            .drain(..)
            .filter(|batch| batch.last_offset().is_some_and(|last| last >= next))
            .map(|batch| match batch.first_offset() {
                Some(first) if first < next => Arc::new(batch.starting_at(next)),
                _ => batch,
            })
            .collect();
        self.rows = kept.iter().map(|batch| batch.len()).sum();
        self.bytes = kept.iter().map(|batch| batch.memory_bytes()).sum();
        self.batches = kept;
        self.next = Some(next);
        i64::try_from(before - self.rows).unwrap_or(i64::MAX)
    }

    async fn lost_race(&mut self) -> Result<FlushOutcome, ArchiveError> {
        let tail = find_tail(self.store.as_ref(), &self.spec.topic, self.spec.partition).await?;
        let Some(next_offset) = tail.next else {
            return Err(ArchiveError::Contested {
                object: origin_path(&self.spec.topic, self.spec.partition).to_string(),
            });
        };
        self.adopt(tail)?;
        self.batches.clear();
        (self.rows, self.bytes) = (0, 0);
        Ok(FlushOutcome::Adopted { next_offset })
    }

    fn adopt(&mut self, tail: Tail) -> Result<(), ArchiveError> {
        if let Some(origin) = &tail.origin {
            self.check_cluster(origin)?;
        }
        let first = tail.origin.as_ref().and_then(|origin| origin.first_record);
        self.fingerprints = tail.newest.into_iter().chain(first).collect();
        self.origin = tail.origin;
        self.next = tail.next;
        Ok(())
    }

    fn check_cluster(&self, origin: &Origin) -> Result<(), ArchiveError> {
        if origin.cluster_id == self.spec.cluster_id {
            return Ok(());
        }
        Err(ArchiveError::OtherCluster {
            topic: self.spec.topic.clone(),
            partition: self.spec.partition,
            archived: origin.cluster_id.clone(),
            connected: self.spec.cluster_id.clone(),
        })
    }

    fn object_path(&self, start: i64) -> Path {
        object_path(&self.spec.topic, self.spec.partition, start)
    }

    /// Makes `_origin` exist before the first object; `false` where another writer made it begin elsewhere.
    async fn secure_origin(&mut self, start: i64) -> Result<bool, ArchiveError> {
        if self.origin.is_some() {
            return Ok(true);
        }
        let path = origin_path(&self.spec.topic, self.spec.partition);
        let origin = Origin {
            cluster_id: self.spec.cluster_id.clone(),
            topic: self.spec.topic.clone(),
            partition: self.spec.partition,
            initial_offset: start,
            first_record: self.first_record(),
            writer: self.writer.0.clone(),
        };
        let bytes = serde_json::to_vec(&origin).map_err(|error| quarantine(&path, error))?;
        let created = create(self.store.as_ref(), &path, bytes.into()).await;
        let origin = match created.map_err(|source| failed(&path, source))? {
            Created::New => origin,
            Created::Exists => match read_origin(self.store.as_ref(), &path).await? {
                Some(found) => found,
                None => {
                    let object = path.to_string();
                    return Err(ArchiveError::Contested { object });
                }
            },
        };
        self.check_cluster(&origin)?;
        let same = origin.initial_offset == start;
        self.origin = same.then_some(origin);
        Ok(same)
    }

    fn first_record(&self) -> Option<Fingerprint> {
        let first = self.batches.first()?;
        Some(Fingerprint {
            offset: first.first_offset()?,
            crc32c: first.first_crc()?,
        })
    }

    /// One conditional PUT of the whole buffer, and what it came to.
    async fn put_object(&self, start: i64, upto: i64) -> Result<Put, ArchiveError> {
        let path = self.object_path(start);
        let (bytes, footer) = self.encoded(start, upto).await?;
        let size = bytes.len() as u64;
        let created = create(self.store.as_ref(), &path, bytes).await;
        let (put, is_new) = match created.map_err(|source| failed(&path, source))? {
            Created::New => (
                Put::Mine {
                    next: footer.next_offset,
                    bytes: size,
                },
                true,
            ),
            Created::Exists => (self.whose(&path, start, upto).await?, false),
        };
        if matches!(put, Put::Mine { .. }) && self.is_retired(start).await? {
            // The chain went on long ago and retention removed this object's namesake. Nobody reads ours.
            if is_new {
                let removed = self.store.delete(&path).await;
                removed.map_err(|source| failed(&path, source))?;
            }
            return Ok(Put::Foreign);
        }
        Ok(put)
    }

    async fn is_retired(&self, start: i64) -> Result<bool, ArchiveError> {
        let path = tombstone_path(&self.spec.topic, self.spec.partition, start);
        match self.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(failed(&path, source)),
        }
    }

    /// Resolves "already there". An earlier attempt of ours that was reported failed may hold fewer records than the
    /// buffer does now.
    async fn whose(&self, path: &Path, start: i64, upto: i64) -> Result<Put, ArchiveError> {
        match read_footer(self.store.as_ref(), path).await {
            Err(ReadError::NotFound) => Ok(Put::Vanished),
            Err(ReadError::Store(source)) => Err(failed(path, source)),
            Err(ReadError::Unreadable(reason)) => Err(quarantine(path, reason)),
            Ok(stored) => {
                check_name(path, &stored.footer, start)?;
                let next = stored.footer.next_offset;
                let bytes = stored.size;
                let mine = stored.footer.writer == self.writer.0;
                Ok(if mine && next <= upto {
                    Put::Mine { next, bytes }
                } else {
                    Put::Foreign
                })
            }
        }
    }

    async fn encoded(&self, start: i64, upto: i64) -> Result<(bytes::Bytes, Footer), ArchiveError> {
        let footer = Footer {
            topic: self.spec.topic.clone(),
            partition: self.spec.partition,
            start_offset: start,
            next_offset: upto,
            rows: i64::try_from(self.rows).unwrap_or(i64::MAX),
            timestamps_ms: None,
            first_record: self.first_record(),
            writer: self.writer.0.clone(),
            contract: self.spec.contract.clone(),
            schema_version: SCHEMA_VERSION,
            data: DataChecksum {
                bytes: 0,
                crc32c: 0,
            },
        };
        let schema = Arc::clone(&self.spec.schema);
        // The buffer keeps its batches: dropping this future must not lose them.
        let batches = self.batches.clone();
        let encoded = tokio::task::spawn_blocking(move || encode(&schema, &batches, footer)).await;
        match encoded {
            Ok(Ok(encoded)) => Ok(encoded),
            Ok(Err(error)) => Err(self.bad_batch(&error.to_string())),
            Err(error) => Err(self.bad_batch(&format!("encoding stopped: {error}"))),
        }
    }
}
