//! Random numbers: the same seed gives the same bits, on every machine.
//!
//! Only `+ - * /` and `sqrt` are used, which IEEE 754 fixes to the last bit; `exp`, `ln` and `sin` differ between
//! maths libraries. Noise of a server is an Ornstein–Uhlenbeck process, and what a record carries is its *mean over the
//! step*, drawn from the exact joint distribution of end point and mean. So the mean of sixty 5-second records and one
//! 300-second record have the same distribution, whatever the step.
//!
//! It is not: a source of secrets.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
///
/// For the few decisions that must be found again from a key alone (is there an incident in slot 17?).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that depend on all of `parts` and on their order.
    pub(crate) fn new(parts: &[u64]) -> Self {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for &part in parts {
            dice.0 ^= part;
            dice.0 = dice.next();
        }
        dice
    }

    /// Next 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Mean 0, variance 1.
    pub(crate) fn normal(&mut self) -> f64 {
        normal_from(self.next())
    }
}

/// FNV-1a, 64 bits: what makes a server's stream its own, whatever fleet it is in.
pub(crate) fn hash_name(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The random stream of one server.
pub(crate) fn stream(seed: u64, server: &str) -> ChaCha8Rng {
    let mut dice = Dice::new(&[seed]);
    let mut key = [0u8; 32];
    for part in key.chunks_exact_mut(8) {
        part.copy_from_slice(&dice.next().to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(hash_name(server));
    rng
}

/// A draw of mean 0 and variance 1 from one 64-bit word: the sum of four uniform 16-bit numbers (Irwin–Hall).
///
/// Bounded at ±3.46, and near enough to a normal for a process that adds up many of them.
fn normal_from(word: u64) -> f64 {
    // Mean 4 * 65535 / 2; variance 4 * (65536^2 - 1) / 12.
    const MEAN: f64 = 131_070.0;
    const SD: f64 = 37_837.227_221_8;
    let sum = (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
    (sum as f64 - MEAN) / SD
}

/// One step of an Ornstein–Uhlenbeck process of variance 1, and of its mean over that step.
///
/// With r = step / time constant and e = exp(-r), for a start value x: the end point has mean e·x and variance 1 − e²; the
/// mean over the step has mean x(1 − e)/r and variance (2r − 3 + 4e − e²)/r²; their covariance is (1 − e)²/r
/// (Gillespie, "Exact numerical simulation of the Ornstein-Uhlenbeck process and its integral", Phys. Rev. E 54, 1996).
#[derive(Debug, Clone, Copy)]
pub(crate) struct OuStep {
    keep: f64,
    draw: f64,
    mean_keep: f64,
    mean_shared: f64,
    mean_own: f64,
}

impl OuStep {
    /// Both in milliseconds, both positive.
    pub(crate) fn new(step_ms: i64, time_constant_ms: i64) -> Self {
        let r = step_ms as f64 / time_constant_ms as f64;
        let e = exp_minus(r);
        let draw = (1.0 - e * e).max(0.0).sqrt();
        let covariance = (1.0 - e) * (1.0 - e) / r;
        let mean_shared = if draw > 0.0 { covariance / draw } else { 0.0 };
        let own = mean_variance(r, e) - mean_shared * mean_shared;
        OuStep {
            keep: e,
            draw,
            mean_keep: (1.0 - e) / r,
            mean_shared,
            mean_own: own.max(0.0).sqrt(),
        }
    }

    /// Moves `state` to the end of the step and returns the mean over it. Both have variance near 1.
    pub(crate) fn advance(&self, state: &mut f64, rng: &mut ChaCha8Rng) -> f64 {
        let shared = normal_from(rng.next_u64());
        let own = normal_from(rng.next_u64());
        let mean = self.mean_keep * *state + self.mean_shared * shared + self.mean_own * own;
        *state = self.keep * *state + self.draw * shared;
        mean
    }
}

/// A draw from the stationary distribution, where a process starts.
pub(crate) fn stationary(rng: &mut ChaCha8Rng) -> f64 {
    normal_from(rng.next_u64())
}

/// (2r − 3 + 4e − e²)/r²: the variance of the mean, given where the step starts.
fn mean_variance(r: f64, e: f64) -> f64 {
    if r < 0.05 {
        // The terms cancel to r³; below this the Taylor series is the more exact of the two.
        r * (2.0 / 3.0 - r * (0.5 - r * (7.0 / 30.0 - r / 12.0)))
    } else {
        (2.0 * r - 3.0 + 4.0 * e - e * e) / (r * r)
    }
}

/// exp(−r) for r ≥ 0 by halving, Taylor series and squaring.
fn exp_minus(r: f64) -> f64 {
    if r > 700.0 {
        return 0.0;
    }
    let mut halvings = 0;
    let mut x = r;
    while x > 0.25 {
        x *= 0.5;
        halvings += 1;
    }
    let mut sum = 1.0;
    for n in (1..=14).rev() {
        sum = 1.0 - x / f64::from(n) * sum;
    }
    for _ in 0..halvings {
        sum *= sum;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        (mean, variance)
    }

    fn autocorrelation(values: &[f64], lag: usize) -> f64 {
        let (mean, variance) = moments(values);
        let pairs = values.iter().zip(&values[lag..]);
        let sum = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
        sum / (values.len() - lag) as f64 / variance
    }

    fn means_of(step_ms: i64, time_constant_ms: i64, steps: usize, seed: u64) -> Vec<f64> {
        let mut rng = stream(seed, "noise");
        let mut state = stationary(&mut rng);
        let ou = OuStep::new(step_ms, time_constant_ms);
        (0..steps)
            .map(|_| ou.advance(&mut state, &mut rng))
            .collect()
    }

    #[test]
    fn exponential_is_that_of_the_maths_library() {
        for r in [0.0, 1e-6, 0.002, 0.1, 0.25, 1.0, 3.7, 80.0, 699.0] {
            let want = f64::exp(-r);
            assert!(
                (exp_minus(r) - want).abs() <= want * 1e-14 * (1.0 + r),
                "{r}"
            );
        }
        assert_eq!(exp_minus(701.0), 0.0);
    }

    #[test]
    fn variance_of_the_mean_is_continuous_where_the_formula_changes() {
        let r = 0.05;
        let below = mean_variance(r - 1e-9, exp_minus(r - 1e-9));
        let above = mean_variance(r, exp_minus(r));
        assert!((below - above).abs() < 1e-7, "{below} {above}");
        // By hand for r = 1: 2 - 3 + 4/e - 1/e².
        assert!((mean_variance(1.0, exp_minus(1.0)) - 0.336_182_5).abs() < 1e-6);
    }

    #[test]
    fn draws_have_mean_zero_and_variance_one() {
        let mut dice = Dice::new(&[1]);
        let values: Vec<f64> = (0..200_000).map(|_| dice.normal()).collect();
        let (mean, variance) = moments(&values);
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02,
            "{mean} {variance}"
        );
        assert!(values.iter().all(|v| v.abs() < 3.47));
    }

    #[test]
    fn autocorrelation_is_that_of_the_time_constant() {
        // Step means of a process with r = 0.2: correlation of neighbours is
        // (1-e)²/r² / (2(r-1+e)/r²) = 0.8753, and each further step multiplies it by e = 0.8187.
        let values = means_of(60_000, 300_000, 400_000, 3);
        let e = f64::exp(-0.2);
        let first = (1.0 - e) * (1.0 - e) / (2.0 * (0.2 - 1.0 + e));
        assert!((autocorrelation(&values, 1) - first).abs() < 0.01);
        assert!((autocorrelation(&values, 2) - first * e).abs() < 0.01);
        assert!((autocorrelation(&values, 5) - first * e * e * e * e).abs() < 0.015);
    }

    #[test]
    fn sixty_short_steps_are_one_long_step() {
        let short = means_of(5_000, 600_000, 60 * 20_000, 5);
        let pooled: Vec<f64> = short
            .chunks_exact(60)
            .map(|c| c.iter().sum::<f64>() / 60.0)
            .collect();
        let long = means_of(300_000, 600_000, 20_000, 6);
        let (_, pooled_variance) = moments(&pooled);
        let (_, long_variance) = moments(&long);
        // Exact: 2(r - 1 + e)/r² with r = 0.5.
        let exact = 2.0 * (0.5 - 1.0 + f64::exp(-0.5)) / 0.25;
        assert!(
            (pooled_variance - exact).abs() < 0.04,
            "{pooled_variance} {exact}"
        );
        assert!(
            (long_variance - exact).abs() < 0.04,
            "{long_variance} {exact}"
        );
        let difference = autocorrelation(&pooled, 1) - autocorrelation(&long, 1);
        assert!(difference.abs() < 0.03, "{difference}");
    }

    #[test]
    fn streams_differ_by_seed_and_by_server() {
        let first = |seed, server| stream(seed, server).next_u64();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }

    #[test]
    fn bits_are_fixed() {
        // SplitMix64 from its reference implementation: seed 0 gives this first.
        assert_eq!(Dice(0).next(), 0xe220_a839_7b1d_cdaf);
        // FNV-1a of "a", from its authors' test vectors.
        assert_eq!(hash_name("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
