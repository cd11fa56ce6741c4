//! What travels: the metric contract, the records and events of every topic, and the way between bytes and columns.
//!
//! * [`Contract`] is the one description of a domain's metrics, read from a `*.contract.toml` file. Everything else
//!   (Avro schemas, columns, model inputs) follows it; nothing in the pipeline knows a metric by name.
//! * [`record`] has the records of the low-volume topics, [`topic`] the topics, [`schema`] their Avro schemas and
//!   [`codec`] the bytes.
//!
//! Invariants: two contracts with the same [`Contract::fingerprint`] describe the same numbers in the same order; a
//! value that does not decode changes nothing and never panics, whatever its bytes.
//!
//! It is not: a Kafka client, a clock, or a place for anything that decides.

mod clean;
pub mod codec;
mod domain;
mod file;
mod fixed;
mod hours;
pub mod record;
pub mod schema;
pub mod topic;

pub use clean::GapReason;
pub use domain::{
    Contract, Derived, LoadMetrics, Metric, Profile, RollupFn, ThresholdOverride, server_id,
};
pub use file::{ContractError, renamed_metric};
pub use fixed::Fixed;
pub use hours::{HOURS_OF_WEEK, hour_of_week};
pub use topic::Topic;
