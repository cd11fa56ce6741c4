//! What a consumer hands to the archive: decoded columns and, per row, what Kafka says of the record.

use std::ops::Range;

use arrow::array::RecordBatch;
use bytes::Bytes;

/// One record as it came from Kafka.
#[derive(Debug, Clone, Copy)]
pub struct KafkaRecord<'a> {
    /// Offset in its partition.
    pub offset: i64,
    /// Kafka's timestamp, ms.
    pub timestamp_ms: i64,
    /// Key, `None` for a null key.
    pub key: Option<&'a [u8]>,
    /// Value, `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// CRC-32C over key and value: tells whether a topic still holds the record it held at this offset.
#[must_use]
pub fn record_crc(key: Option<&[u8]>, value: Option<&[u8]>) -> u32 {
    let crc = crc32c::crc32c(key.unwrap_or_default());
    crc32c::crc32c_append(crc, value.unwrap_or_default())
}

/// Collects what Kafka says of each record while a decoder collects the columns.
///
/// Call exactly one of the methods for each row that the decoder takes (a null row for [`undecodable`](Self::undecodable)
/// and [`tombstone`](Self::tombstone)), in offset order, then [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct Intake {
    offsets: Vec<i64>,
    timestamps_ms: Vec<i64>,
    crcs: Vec<u32>,
    values: Vec<(usize, Bytes)>,
    keys: Vec<(usize, Bytes)>,
}

impl Intake {
    /// A record whose columns were decoded.
    pub fn decoded(&mut self, record: &KafkaRecord<'_>) {
        self.offsets.push(record.offset);
        self.timestamps_ms.push(record.timestamp_ms);
        self.crcs.push(record_crc(record.key, record.value));
    }

    /// A record that did not decode: its value is kept as it came.
    pub fn undecodable(&mut self, record: &KafkaRecord<'_>) {
        let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
        self.values.push((self.offsets.len(), value));
        self.decoded(record);
    }

    /// A record with a null value: its key is kept.
    pub fn tombstone(&mut self, record: &KafkaRecord<'_>) {
        if let Some(key) = record.key {
            self.keys
                .push((self.offsets.len(), Bytes::copy_from_slice(key)));
        }
        self.decoded(record);
    }

    /// Number of records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Joins the rows with the decoder's columns and starts anew.
    ///
    /// # Errors
    /// A sentence, when the columns have another number of rows or the offsets do not ascend.
    pub fn finish(&mut self, columns: RecordBatch) -> Result<Batch, String> {
        let taken = std::mem::take(self);
        if columns.num_rows() != taken.offsets.len() {
            return Err(format!(
                "{} rows of columns for {} records",
                columns.num_rows(),
                taken.offsets.len()
            ));
        }
        if let Some(pair) = taken.offsets.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("offset {} follows {}", pair[1], pair[0]));
        }
        Ok(Batch {
            columns,
            kafka: taken,
        })
    }
}

/// Decoded rows of one partition with their offsets, ascending.
#[derive(Debug)]
pub struct Batch {
    pub(super) columns: RecordBatch,
    kafka: Intake,
}

impl Batch {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kafka.offsets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kafka.offsets.is_empty()
    }

    pub(super) fn with_columns(self, columns: RecordBatch) -> Batch {
        Batch { columns, ..self }
    }

    pub(super) fn first_offset(&self) -> Option<i64> {
        self.kafka.offsets.first().copied()
    }

    pub(super) fn last_offset(&self) -> Option<i64> {
        self.kafka.offsets.last().copied()
    }

    pub(super) fn first_crc(&self) -> Option<u32> {
        self.kafka.crcs.first().copied()
    }

    pub(super) fn offsets(&self) -> &[i64] {
        &self.kafka.offsets
    }

    pub(super) fn timestamps_ms(&self) -> &[i64] {
        &self.kafka.timestamps_ms
    }

    /// (row, bytes) of the records that did not decode.
    pub(super) fn values(&self) -> &[(usize, Bytes)] {
        &self.kafka.values
    }

    /// (row, key) of the tombstones.
    pub(super) fn keys(&self) -> &[(usize, Bytes)] {
        &self.kafka.keys
    }

    /// Bytes held in memory, roughly.
    pub(super) fn memory_bytes(&self) -> usize {
        let sparse = self.kafka.values.iter().chain(&self.kafka.keys);
        let per_row = size_of::<i64>() * 2 + size_of::<u32>();
        self.columns.get_array_memory_size()
            + self.len() * per_row
            + sparse.map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// The rows at `offset` and after it.
    pub(super) fn starting_at(&self, offset: i64) -> Batch {
        let first = self.kafka.offsets.partition_point(|&o| o < offset);
        self.slice(first..self.len())
    }

    fn slice(&self, rows: Range<usize>) -> Batch {
        let sparse = |all: &[(usize, Bytes)]| {
            all.iter()
                .filter(|(row, _)| rows.contains(row))
                .map(|(row, bytes)| (row - rows.start, bytes.clone()))
                .collect()
        };
        Batch {
            columns: self.columns.slice(rows.start, rows.len()),
            kafka: Intake {
                offsets: self.kafka.offsets[rows.clone()].to_vec(),
                timestamps_ms: self.kafka.timestamps_ms[rows.clone()].to_vec(),
                crcs: self.kafka.crcs[rows.clone()].to_vec(),
                values: sparse(&self.kafka.values),
                keys: sparse(&self.kafka.keys),
            },
        }
    }
}
