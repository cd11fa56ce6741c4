//! The calibrated signal: has anything moved that quiet days do not move?
//!
//! Per cell (profile × metric) three series on the grid are watched: the mean over servers, the spread between servers, and the
//! forecast's error. Each less its season ([`season`]) is noise of known correlation, in which [`scan`] looks for a
//! step; the evidence that persists is compared with what held-out quiet days gave ([`tail`]).
//!
//! All of it is a function of the last day's buckets: a restart changes nothing.

pub mod detector;
pub mod history;
pub(crate) mod learn;
pub mod scan;
pub mod season;
pub mod tail;
pub mod watch;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
