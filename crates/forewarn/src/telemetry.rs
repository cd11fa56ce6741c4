//! What the process says about itself: metrics, health, readiness, logs.
//!
//! One [`Telemetry`] is shared by everything that runs. Counters are the program's account, not
//! its memory: nothing is decided by reading them back.

mod ages;
pub(crate) mod logs;
mod metrics;
mod process;
mod readiness;
mod server;

pub(crate) use ages::EndAges;
pub(crate) use metrics::{GroupLag, Telemetry};
pub(crate) use server::serve;
