//! An object's footer: the key-value metadata that makes a parquet file a link of the chain, and how to read it without
//! the rest of the file.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use serde::{Deserialize, Serialize};
use window::chain::{Link, LinkKind};

/// Version of the archive's file layout; goes up when readers have to know.
pub const SCHEMA_VERSION: u32 = 1;

/// Read at the end of an object at first. Footers are 2–10 KiB; smaller objects come whole with the one request.
const SPECULATIVE_BYTES: u64 = 64 << 10;
/// A footer larger than this is not ours.
const MAX_FOOTER_BYTES: usize = 64 << 20;

/// What tells one record from another that has the same offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Offset of the record.
    pub offset: i64,
    /// [`record_crc`](super::record_crc) of it.
    pub crc32c: u32,
}

/// The footer of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First offset covered; the object's name says the same.
    pub start_offset: i64,
    /// Where the next object starts.
    pub next_offset: i64,
    /// Rows held.
    pub rows: i64,
    /// Least and greatest time of the records, ms; `None` where no row has one.
    pub timestamps_ms: Option<(i64, i64)>,
    /// The first record, `None` without rows.
    pub first_record: Option<Fingerprint>,
    /// Who wrote the object.
    pub writer: String,
    /// Fingerprint of the contract that the records were decoded by.
    pub contract: String,
    /// [`SCHEMA_VERSION`] at the time.
    pub schema_version: u32,
    /// Bytes from the file's start to the end of the last row group, and their CRC-32C.
    pub data: DataChecksum,
}

/// CRC-32C over the first `bytes` of a file: everything but the footer and the page index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataChecksum {
    /// How many.
    pub bytes: u64,
    /// CRC-32C of them.
    pub crc32c: u32,
}

const TOPIC: &str = "forewarn.topic";
const PARTITION: &str = "forewarn.partition";
const START: &str = "forewarn.start_offset";
const NEXT: &str = "forewarn.next_offset";
const ROWS: &str = "forewarn.rows";
const FIRST_TIME: &str = "forewarn.first_timestamp";
const LAST_TIME: &str = "forewarn.last_timestamp";
const FIRST_OFFSET: &str = "forewarn.first_record_offset";
const FIRST_CRC: &str = "forewarn.first_record_crc32c";
const WRITER: &str = "forewarn.writer";
const CONTRACT: &str = "forewarn.contract";
const VERSION: &str = "forewarn.schema_version";
const DATA_BYTES: &str = "forewarn.data_bytes";
const DATA_CRC: &str = "forewarn.data_crc32c";

impl Footer {
    /// The range as the chain's algebra sees it.
    #[must_use]
    pub fn link(&self) -> Link {
        Link {
            start: self.start_offset,
            next: self.next_offset,
            num_rows: self.rows,
            kind: LinkKind::Object,
        }
    }

    pub(crate) fn to_key_values(&self) -> Vec<KeyValue> {
        let mut pairs = vec![
            (TOPIC, self.topic.clone()),
            (PARTITION, self.partition.to_string()),
            (START, self.start_offset.to_string()),
            (NEXT, self.next_offset.to_string()),
            (ROWS, self.rows.to_string()),
            (WRITER, self.writer.clone()),
            (CONTRACT, self.contract.clone()),
            (VERSION, self.schema_version.to_string()),
            (DATA_BYTES, self.data.bytes.to_string()),
            (DATA_CRC, self.data.crc32c.to_string()),
        ];
        if let Some((first, last)) = self.timestamps_ms {
            pairs.push((FIRST_TIME, first.to_string()));
            pairs.push((LAST_TIME, last.to_string()));
        }
        if let Some(record) = self.first_record {
            pairs.push((FIRST_OFFSET, record.offset.to_string()));
            pairs.push((FIRST_CRC, record.crc32c.to_string()));
        }
        pairs
            .into_iter()
            .map(|(key, value)| KeyValue::new(key.to_owned(), value))
            .collect()
    }

    fn from_metadata(metadata: &ParquetMetaData) -> Result<Footer, String> {
        let none = Vec::new();
        let file = metadata.file_metadata();
        let pairs = file.key_value_metadata().unwrap_or(&none);
        let timestamps_ms = match (
            optional::<i64>(pairs, FIRST_TIME)?,
            optional::<i64>(pairs, LAST_TIME)?,
        ) {
            (Some(first), Some(last)) => Some((first, last)),
            _ => None,
        };
        let first_record = match (
            optional::<i64>(pairs, FIRST_OFFSET)?,
            optional::<u32>(pairs, FIRST_CRC)?,
        ) {
            (Some(offset), Some(crc32c)) => Some(Fingerprint { offset, crc32c }),
            _ => None,
        };
        let footer = Footer {
            topic: required(pairs, TOPIC)?,
            partition: required(pairs, PARTITION)?,
            start_offset: required(pairs, START)?,
            next_offset: required(pairs, NEXT)?,
            rows: required(pairs, ROWS)?,
            timestamps_ms,
            first_record,
            writer: required(pairs, WRITER)?,
            contract: required(pairs, CONTRACT)?,
            schema_version: required(pairs, VERSION)?,
            data: DataChecksum {
                bytes: required(pairs, DATA_BYTES)?,
                crc32c: required(pairs, DATA_CRC)?,
            },
        };
        footer.check_against(file.num_rows())?;
        Ok(footer)
    }

    /// What can be seen from the footer alone.
    fn check_against(&self, num_rows: i64) -> Result<(), String> {
        if self.schema_version > SCHEMA_VERSION {
            let version = self.schema_version;
            return Err(format!(
                "layout version {version} is newer than this program's {SCHEMA_VERSION}"
            ));
        }
        if self.rows != num_rows {
            return Err(format!(
                "footer says {} rows, file has {num_rows}",
                self.rows
            ));
        }
        Ok(())
    }
}

fn optional<T: std::str::FromStr>(pairs: &[KeyValue], key: &str) -> Result<Option<T>, String> {
    let found = pairs.iter().find(|pair| pair.key == key);
    let Some(text) = found.and_then(|pair| pair.value.as_deref()) else {
        return Ok(None);
    };
    let value = text.parse();
    value
        .map(Some)
        .map_err(|_| format!("footer key {key} is {text:?}"))
}

fn required<T: std::str::FromStr>(pairs: &[KeyValue], key: &str) -> Result<T, String> {
    optional(pairs, key)?.ok_or_else(|| format!("footer key {key} is missing"))
}

/// Why a footer could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// No such object.
    NotFound,
    /// The object is there and is not one of ours, or is damaged.
    Unreadable(String),
    /// The store failed.
    Store(object_store::Error),
}

/// What one or two requests tell of an object.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) footer: Footer,
    pub(crate) size: u64,
    /// The whole object, where it was small enough to come with its footer.
    pub(crate) whole: Option<Bytes>,
}

/// Reads an object's footer.
pub(crate) async fn read_footer(store: &dyn ObjectStore, path: &Path) -> Result<Stored, ReadError> {
    let (mut tail, size) = get_tail(store, path, SPECULATIVE_BYTES).await?;
    let mut reader = ParquetMetaDataReader::new();
    if let Err(error) = reader.try_parse_sized(&tail, size) {
        let ParquetError::NeedMoreData(needed) = error else {
            return Err(ReadError::Unreadable(error.to_string()));
        };
        if needed > MAX_FOOTER_BYTES {
            return Err(ReadError::Unreadable(format!("a footer of {needed} bytes")));
        }
        (tail, _) = get_tail(store, path, needed as u64).await?;
        reader
            .try_parse_sized(&tail, size)
            .map_err(|error| ReadError::Unreadable(error.to_string()))?;
    }
    let metadata = reader
        .finish()
        .map_err(|error| ReadError::Unreadable(error.to_string()))?;
    let footer = Footer::from_metadata(&metadata).map_err(ReadError::Unreadable)?;
    let whole = (tail.len() as u64 == size).then_some(tail);
    Ok(Stored {
        footer,
        size,
        whole,
    })
}

async fn get_tail(
    store: &dyn ObjectStore,
    path: &Path,
    bytes: u64,
) -> Result<(Bytes, u64), ReadError> {
    let options = GetOptions {
        range: Some(GetRange::Suffix(bytes)),
        ..GetOptions::default()
    };
    let found = store.get_opts(path, options).await.map_err(read_error)?;
    let size = found.meta.size;
    if size == 0 {
        return Err(ReadError::Unreadable("empty file".to_owned()));
    }
    Ok((found.bytes().await.map_err(read_error)?, size))
}

fn read_error(error: object_store::Error) -> ReadError {
    match error {
        object_store::Error::NotFound { .. } => ReadError::NotFound,
        error => ReadError::Store(error),
    }
}
