//! The rollup of one partition of `metrics`: raw records in, one row per server and bucket out.
//!
//! [`Partition`] is the whole engine. Per record, in this order: decode (the caller; [`Partition::reject_undecodable`])
//! → server → timestamp → late → usable values → room → duplicate. Everything else follows from four definitions:
//!
//! * **Watermark**: the greatest min(timestamp, Kafka timestamp) of the records so far that were not rejected. A producer
//!   whose clock runs ahead can therefore close nobody's bucket.
//! * **Closed**: a bucket is closed once the watermark is ≥ its end + grace, or once the partition was declared idle while
//!   it, or a later bucket, was open. Closing is final. A record of a closed bucket is late.
//! * **Slot**: (server, timestamp) inside an open bucket. The first record takes it, a further one is a duplicate.
//! * **Position**: the next offset to consume. A record below it has been handled once already.
//!
//! Restart: [`Partition::commit`] names the oldest record that an open bucket needs and, as metadata, through which bucket
//! everything is closed and the position. An engine made from it and fed from that offset on gives exactly the rows that
//! the first one would have given from there, because whether a record is late depends on the watermark only through
//! what is closed, and that is in the metadata.
//!
//! Invariants:
//! * `accepted + duplicate + late + rejected + replayed = consumed`, after every call ([`Counts::balanced`]).
//! * One engine gives a row at most once, in order of (bucket, server) within what closes at once, buckets ascending always.
//! * How calls are grouped, and when rows are fetched, changes nothing.
//! * A rejected record changes nothing but its count and the position.
//!
//! Limits: [`RollupConfig::with_max_servers`] servers an open bucket, [`RollupConfig::with_max_server_bytes`] bytes a name,
//! one bit per millisecond of a step and server for the duplicate check. Open buckets number at most
//! (look-ahead + grace) / step + 3, since the watermark follows the newest timestamp within the look-ahead.
//!
//! It is not: a judge of values (they come cleaned, a gap is NaN), nor thread-safe by itself (one owner per partition).

mod bucket;
mod commit;
mod config;
mod partition;
mod seen;

pub use commit::Commit;
pub use config::{Aggregate, ConfigError, RollupConfig};
pub use partition::Partition;

use std::ops::AddAssign;

use serde::Serialize;

/// One decoded record of `metrics`.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Kafka offset.
    pub offset: i64,
    /// Kafka's timestamp of the record: append time, or the producer's claim where the topic is so configured.
    pub kafka_timestamp_ms: i64,
    /// Name of the server, which is the key too. Empty: there was none.
    pub server: &'a str,
    /// Event time. `None`: the record has none.
    pub timestamp_ms: Option<i64>,
    /// Index of the server's profile in the contract.
    pub profile: u16,
    /// Index of the state in the contract; `None` where the record does not say.
    pub state: Option<u16>,
    /// Cleaned values, `[metrics]` in the contract's order; a gap is NaN (anything not finite counts as one).
    pub values: &'a [f32],
}

/// What became of a record. Exactly one of these per offered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Counted into its bucket.
    Accepted,
    /// Its (server, timestamp) is taken in an open bucket: the first one wins.
    Duplicate,
    /// Its bucket is closed.
    Late,
    /// Below the position: handled before, by this engine or by the one that committed.
    Replayed,
    /// Not usable: belongs into the dead letters with this reason.
    Rejected(Reject),
}

/// Why a record was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// The bytes do not decode; the decoder knows more.
    Undecodable,
    /// No server, or an empty name.
    NoServer,
    /// A name longer than the limit.
    ServerNameTooLong,
    /// No timestamp.
    NoTimestamp,
    /// Before the oldest accepted time (2000-01-01).
    TimestampTooOld,
    /// More than the look-ahead (5 min) after the record's Kafka timestamp.
    TimestampInFuture,
    /// Every value is a gap.
    NoUsableValue,
    /// The bucket holds the greatest number of servers already, and this would be one more.
    TooManyServers,
}

impl Reject {
    /// The reason as dead letters and metrics name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reject::Undecodable => "undecodable",
            Reject::NoServer => "no_server",
            Reject::ServerNameTooLong => "server_name_too_long",
            Reject::NoTimestamp => "no_timestamp",
            Reject::TimestampTooOld => "timestamp_too_old",
            Reject::TimestampInFuture => "timestamp_in_future",
            Reject::NoUsableValue => "no_usable_value",
            Reject::TooManyServers => "too_many_servers",
        }
    }
}

/// How many records of each outcome an engine has seen since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records offered, whatever became of them.
    pub consumed: u64,
    /// [`Outcome::Accepted`].
    pub accepted: u64,
    /// [`Outcome::Duplicate`].
    pub duplicate: u64,
    /// [`Outcome::Late`].
    pub late: u64,
    /// [`Outcome::Replayed`].
    pub replayed: u64,
    /// [`Outcome::Rejected`], for any reason.
    pub rejected: u64,
}

impl Counts {
    /// The invariant `nothing-lost`: the outcomes add up to what was consumed.
    #[must_use]
    pub fn balanced(&self) -> bool {
        let outcomes = self.accepted + self.duplicate + self.late + self.rejected + self.replayed;
        outcomes == self.consumed
    }

    fn count(&mut self, outcome: Outcome) {
        self.consumed += 1;
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::Late => self.late += 1,
            Outcome::Replayed => self.replayed += 1,
            Outcome::Rejected(_) => self.rejected += 1,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.consumed += other.consumed;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.replayed += other.replayed;
        self.rejected += other.rejected;
    }
}

/// A closed bucket's row of one server, borrowed from the engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Name of the server.
    pub server: &'a str,
    /// Start of the bucket, in ms.
    pub bucket: i64,
    /// Profile of the record that is last by event time.
    pub profile: u16,
    /// The last stated one by event time; `None` where no record stated any.
    pub state: Option<u16>,
    /// Accepted records, whatever their gaps.
    pub num_records: i32,
    /// `[metrics]`; NaN where no accepted record had a value.
    pub values: &'a [f32],
}

/// A [`Row`] that owns what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// See [`Row::server`].
    pub server: String,
    /// See [`Row::bucket`].
    pub bucket: i64,
    /// See [`Row::profile`].
    pub profile: u16,
    /// See [`Row::state`].
    pub state: Option<u16>,
    /// See [`Row::num_records`].
    pub num_records: i32,
    /// See [`Row::values`].
    pub values: Vec<f32>,
}

impl From<Row<'_>> for Closed {
    fn from(row: Row<'_>) -> Closed {
        Closed {
            server: row.server.to_owned(),
            bucket: row.bucket,
            profile: row.profile,
            state: row.state,
            num_records: row.num_records,
            values: row.values.to_vec(),
        }
    }
}
