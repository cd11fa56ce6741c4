//! Kafka, and nothing but Kafka: how records get in and out of a role.
//!
//! * [`Consumer`]: one blocking thread owns the librdkafka consumer; async code sees a closed [`Event`] enum through a
//!   bounded queue. Records come in [`Chunk`]s, never one by one.
//! * [`Producer`]: sends are only queued; [`Producer::flush`] says whether all of a batch arrived.
//! * [`topics`]: creates and checks topics, finds their ends, waits for a broker.
//! * [`dead_letter`]: records that could not be used, unchanged, with the reason.
//! * [`EmbeddedBroker`]: librdkafka's mock cluster, for the demo and tests.
//!
//! Invariants
//! * No Kafka error is ignored: it is an [`Event`], an `Err`, or (where librdkafka retries by itself) a log line.
//! * A record of a partition that was revoked never comes out of [`Consumer::next`] after the revocation was asked for.
//! * Nothing is committed for a partition that this consumer does not own.
//! * Memory is bounded: the queue holds [`Limits::queue_chunks`] chunks, librdkafka's own buffers are set from [`Limits`].
//!
//! It is not: a decoder (bytes stay bytes), a place for decisions, or a clock: times that get written are given by the
//! caller. Deadlines inside (rebalances, retries) use the monotonic clock, they never reach a record.

mod chunk;
mod client;
mod consumer;
pub mod dead_letter;
mod embedded;
mod error;
mod event;
mod native;
mod producer;
mod settings;
mod shared;
pub mod topics;
mod worker;

pub use chunk::{Chunk, RecordRef};
pub use consumer::{CommitOffset, Consumer};
pub use embedded::EmbeddedBroker;
pub use error::BusError;
pub use event::{Assigned, AssignedPartition, Event, Revoked, Start};
pub use producer::{Flushed, Out, Producer};
pub use settings::{Limits, Settings};
