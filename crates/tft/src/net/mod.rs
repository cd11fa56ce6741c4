//! The network: a Temporal Fusion Transformer (Lim et al., arXiv:1912.09363) over tokens of several steps.
//!
//! Tokens are time-major: `[tokens × batch, width]`, so that one time step is contiguous. Every random number
//! (first weights, dropout) comes from a seeded generator of ours, not from the backend's: the same seed gives the same
//! weights whatever else runs in the process.

mod attention;
mod gate;
mod head;
mod lstm;
mod network;
mod random;
mod select;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use network::{Inputs, Network};
pub(crate) use random::Random;
