//! The archive: one chain of parquet objects per topic and partition.
//!
//! `archive/{topic}/p={partition:05}/{start offset:020}.parquet` holds the records of one contiguous range of offsets;
//! `{start offset:020}.tombstone` stands for one that retention removed; `_origin` fixes where the chain begins and of
//! which cluster it is. An object's footer says where the next one starts.
//!
//! Rules:
//! * The next object's name is the predecessor's next offset, read from the store. What the consumer group has committed
//!   is only a hint.
//! * Objects are created by one conditional PUT, never overwritten. "Already there" is resolved by reading the footer:
//!   our own earlier attempt, somebody else's (adopt it and seek past it), or unreadable (stop).
//! * The next offset is the next position to consume, past control records and records that do not decode; a range may
//!   hold fewer rows than offsets, or none.
//!
//! Columns of an object: the record's own (all nullable), then `kafka_offset`, `kafka_timestamp`, `kafka_value` (the
//! bytes of a record that does not decode) and `kafka_key` (of a tombstone).
//!
//! It is not: a consumer. It neither polls nor seeks; it says where to.

mod batch;
mod chain;
mod encode;
mod footer;
mod layout;
mod policy;
mod tail;

pub use batch::{Batch, Intake, KafkaRecord, record_crc};
pub use chain::{Chain, ChainSpec, FlushOutcome, WriterId};
pub use footer::{Fingerprint, Footer, SCHEMA_VERSION};
pub use layout::{Origin, Tombstone, object_path, origin_path, tombstone_path};
pub use policy::FlushPolicy;
pub use tail::tail_offset;

pub(crate) use tail::read_origin;

pub(crate) use footer::{DataChecksum, ReadError, Stored, read_footer};
pub(crate) use layout::{Listing, list_partition, list_partitions, list_topics};

/// Name of the column with a row's offset.
pub const KAFKA_OFFSET: &str = "kafka_offset";
/// Name of the column with a row's Kafka timestamp.
pub const KAFKA_TIMESTAMP: &str = "kafka_timestamp";
/// Name of the column with the bytes of a record that did not decode.
pub const KAFKA_VALUE: &str = "kafka_value";
/// Name of the column with the key of a tombstone.
pub const KAFKA_KEY: &str = "kafka_key";

/// What went wrong with a chain, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed. Nothing is lost: the records are still buffered and the same call may be made again.
    #[error("{object}: the store failed: {source}")]
    Store {
        /// Object or prefix asked for.
        object: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// An object of the chain cannot be trusted. Stop this partition and call a person.
    #[error(
        "{object}: {reason}; the chain cannot go on before it: move the object away, or restore it"
    )]
    Quarantine {
        /// The object in question.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The chain was written from another Kafka cluster. Stop.
    #[error(
        "{topic} partition {partition} was archived from cluster {archived}, this is cluster {connected}: \
         use another lake.url or topics.prefix"
    )]
    OtherCluster {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: i32,
        /// Cluster id in `_origin`.
        archived: String,
        /// Cluster id that the caller is connected to.
        connected: String,
    },
    /// The topic is not the one that was archived. Stop.
    #[error(
        "{topic} partition {partition} was recreated: {reason}; use another lake.url or topics.prefix"
    )]
    Recreated {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: i32,
        /// What does not match.
        reason: String,
    },
    /// The store says "already there" and "not there" of one object, again and again. Try later.
    #[error("{object}: the store answers both that it exists and that it does not")]
    Contested {
        /// The object in question.
        object: String,
    },
    /// The records handed in do not fit together: a mistake of the caller, or a schema that changed (flush, then open
    /// the chain again).
    #[error("{topic} partition {partition}: {reason}")]
    Batch {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: i32,
        /// What does not fit.
        reason: String,
    },
}

#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod tests;
