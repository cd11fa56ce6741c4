//! Where metrics come from: the fleet simulator, replay of recorded data, and the import of a public trace.
//!
//! * [`Simulator`] makes up a fleet of servers for the LINBORG contract: the same seed gives the same bytes.
//! * [`Records`] holds recorded data in columns; [`replay`] puts it in time order and says when each record is due.
//! * [`vm_trace`] reads the CSV files of the GWA-T-12 trace.
//!
//! Invariants:
//! * No clock and no files: time is an argument, text comes from a reader of the caller's, and records go to the caller.
//! * A null (nothing measured) and a NaN (something measured that is no number) stay different things.
//! * Nothing that comes from outside makes this crate panic; what it holds in memory has a stated limit.
//!
//! It is not: a Kafka producer, a parquet reader, or the place where values are judged (that is `contract`).

mod batch;
mod behaviour;
mod error;
mod glob;
mod layout;
mod noise;
mod records;
pub mod replay;
mod scenario;
mod schedule;
mod season;
mod server;
mod simulator;
mod vitals;
pub mod vm_trace;

pub use error::FleetError;
pub use layout::{FleetSpec, MAX_SERVERS};
pub use records::{Records, RecordsError, Row};
pub use scenario::{MetricShift, SHIFTS, Scenario, ScenarioKind};
pub use schedule::{Incident, IncidentKind};
pub use simulator::{Record, Simulator, Step};
