//! Seeds of the parts of a training.
//!
//! What is drawn at random in a step follows from the seed and the step's number alone: a training that goes on from a checkpoint needs
//! no state of a generator.

/// A seed for part `number` of what `seed` decides (the finaliser of SplitMix64, Steele et al. 2014).
pub(crate) fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
