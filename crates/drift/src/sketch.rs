//! A histogram of everything seen, in bounded memory, whose result does not depend on the order of the values.
//!
//! Keys are the bits of the `f32` in numeric order; when there are more than [`MAX_KEYS`] of them, neighbouring keys
//! are joined in pairs everywhere, and again until they fit (the uniform collapse of UDDSketch: Epicoco et al., "UDDSketch:
//! accurate tracking of quantiles in data streams", 2020, here on float bits instead of logarithms). The final
//! resolution depends only on the set of values, so adding in any order and merging in any way give the same sketch.
//!
//! Invariants: at most [`MAX_KEYS`] keys; the counts add up to `n`. It is not a quantile estimator of one's own choice
//! of error: below [`MAX_KEYS`] distinct values it is exact, above it is as fine as the memory allows.

use std::collections::BTreeMap;

/// Most keys of a sketch. 16,384 keys resolve percentages (0.1–100) to about 0.06 % and take some 300 KiB; fewer would
/// blur metrics that vary in a narrow band, more cost memory for every profile and metric.
pub const MAX_KEYS: usize = 16_384;

/// Most edges that [`Sketch::edges`] gives: 64 bins.
pub const MAX_EDGES: usize = 63;

/// Bins between the outermost two edges. With the two outer bins, for values beyond all that was seen: 62.
const INNER_BINS: u64 = 60;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    shift: u32,
    counts: BTreeMap<u32, u64>,
    n: u64,
}

impl Sketch {
    /// An empty sketch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Values counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Counts one value; what is not finite is left out.
    pub fn add(&mut self, value: f32) {
        if !value.is_finite() {
            return;
        }
        self.n += 1;
        *self.counts.entry(key_of(value) >> self.shift).or_insert(0) += 1;
        if self.counts.len() > MAX_KEYS {
            self.collapse(self.shift + 1);
        }
    }

    /// Adds all that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.shift > self.shift {
            self.collapse(other.shift);
        }
        for (&key, &count) in &other.counts {
            *self
                .counts
                .entry(key >> (self.shift - other.shift))
                .or_insert(0) += count;
        }
        self.n += other.n;
        if self.counts.len() > MAX_KEYS {
            self.collapse(self.shift + 1);
        }
    }

    /// Joins keys to `shift`, and on until they fit.
    fn collapse(&mut self, mut shift: u32) {
        loop {
            let by = shift - self.shift;
            let mut joined = BTreeMap::new();
            for (&key, &count) in &self.counts {
                *joined.entry(key >> by).or_insert(0) += count;
            }
            self.counts = joined;
            self.shift = shift;
            if self.counts.len() <= MAX_KEYS {
                return;
            }
            shift += 1;
        }
    }

    /// Bin edges at about equal counts, ascending, at most [`MAX_EDGES`]; empty for an empty sketch.
    ///
    /// An edge is the inclusive upper bound of its bin. A value that holds much of the mass (a metric that is exactly 0
    /// half of the time) gets a bin of its own. The first edge lies below and the last one at or above everything
    /// seen: a window that leaves the range of the baseline shows, also where the baseline was constant.
    #[must_use]
    pub fn edges(&self) -> Vec<f32> {
        let (Some((&first, _)), Some((&last, _))) =
            (self.counts.first_key_value(), self.counts.last_key_value())
        else {
            return Vec::new();
        };
        // The aim grows until the bins fit. At twice the equal share they do: two neighbouring bins together hold more
        // than the aim, so there are fewer than 2 · INNER_BINS / 2 + 1 of them.
        let mut inner = Vec::new();
        for step in 0..=8 {
            let aim = (self.n * (8 + step)).div_ceil(8 * INNER_BINS);
            inner = self.split(aim.max(1));
            if (inner.len() as u64) < INNER_BINS {
                break;
            }
        }
        let mut edges = Vec::with_capacity(inner.len() + 2);
        let lowest = self.lowest(first);
        edges.extend(Some(below(lowest)).filter(|edge| *edge < lowest));
        edges.extend(inner);
        edges.push(above(self.highest(last)));
        edges.dedup();
        edges
    }

    /// Upper bounds of all bins but the last, each closed before it would exceed `aim`.
    fn split(&self, aim: u64) -> Vec<f32> {
        let mut edges = Vec::new();
        let mut held = 0;
        let mut previous = 0;
        for (&key, &count) in &self.counts {
            if held > 0 && held + count > aim {
                edges.push(self.highest(previous));
                held = 0;
            }
            held += count;
            previous = key;
        }
        edges
    }

    /// How many values fall in each bin of `edges` (one more than there are edges). Exact for edges of this sketch.
    #[must_use]
    pub fn counts(&self, edges: &[f32]) -> Vec<u64> {
        let mut counts = vec![0; edges.len() + 1];
        for (&key, &count) in &self.counts {
            if let Some(bin) = counts.get_mut(bin_of(edges, self.highest(key))) {
                *bin += count;
            }
        }
        counts
    }

    fn lowest(&self, key: u32) -> f32 {
        value_of(key << self.shift).max(f32::MIN)
    }

    fn highest(&self, key: u32) -> f32 {
        value_of((key << self.shift) | ((1_u32 << self.shift) - 1)).min(f32::MAX)
    }
}

/// The bin of `value`: the number of edges below it. Edges are inclusive upper bounds, ascending.
#[must_use]
pub fn bin_of(edges: &[f32], value: f32) -> usize {
    edges.partition_point(|edge| *edge < value)
}

/// The bits of a float in numeric order.
fn key_of(value: f32) -> u32 {
    // −0 and +0 are one value.
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 0x8000_0000
    }
}

/// The float of a key; keys beyond the largest finite float give ±infinity, never NaN.
fn value_of(key: u32) -> f32 {
    let bits = if key >> 31 == 1 {
        key & 0x7fff_ffff
    } else {
        !key
    };
    let value = f32::from_bits(bits);
    match (value.is_nan(), bits >> 31 == 1) {
        (true, true) => f32::NEG_INFINITY,
        (true, false) => f32::INFINITY,
        (false, _) => value,
    }
}

/// A little below: the rounding of a mean of equal values must not look like a new value.
fn below(value: f32) -> f32 {
    (value - value.abs() * 1e-6)
        .min(value.next_down())
        .max(f32::MIN)
}

fn above(value: f32) -> f32 {
    (value + value.abs() * 1e-6).min(f32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch_of(values: &[f32]) -> Sketch {
        let mut sketch = Sketch::new();
        for &value in values {
            sketch.add(value);
        }
        sketch
    }

    /// Bounds that every sketch's edges keep, and counts recomputed value by value.
    #[track_caller]
    fn check_edges(values: &[f32]) -> (Vec<f32>, Vec<u64>) {
        let sketch = sketch_of(values);
        let edges = sketch.edges();
        assert!(edges.len() <= MAX_EDGES, "{} edges", edges.len());
        assert!(edges.windows(2).all(|pair| pair[0] < pair[1]), "{edges:?}");
        let mut direct = vec![0; edges.len() + 1];
        for &value in values {
            direct[bin_of(&edges, value)] += 1;
        }
        assert_eq!(sketch.counts(&edges), direct);
        (edges, direct)
    }

    #[test]
    fn order_of_keys_is_order_of_values() {
        let values = [
            f32::MIN,
            -3.5,
            -1.0e-40,
            0.0,
            1.0e-40,
            0.1,
            1.0,
            7.5,
            f32::MAX,
        ];
        for pair in values.windows(2) {
            assert!(key_of(pair[0]) < key_of(pair[1]), "{pair:?}");
        }
        assert_eq!(key_of(-0.0), key_of(0.0));
        for value in values {
            assert_eq!(value_of(key_of(value)), value);
        }
        assert_eq!(value_of(u32::MAX), f32::INFINITY);
        assert_eq!(value_of(0), f32::NEG_INFINITY);
    }

    #[test]
    fn an_even_spread_gives_even_bins() {
        let values: Vec<f32> = (0..6_000).map(|i| i as f32 * 0.25).collect();
        let (edges, counts) = check_edges(&values);
        assert_eq!(edges.len(), 61);
        assert_eq!((counts[0], counts[61]), (0, 0));
        assert!(
            counts[1..61].iter().all(|&count| count == 100),
            "{counts:?}"
        );
    }

    #[test]
    fn an_atom_has_its_own_bin() {
        let mut values = vec![0.0; 500];
        values.extend((0..500).map(|i| 1.0 + i as f32));
        let (edges, counts) = check_edges(&values);
        assert_eq!(counts[bin_of(&edges, 0.0)], 500);
        assert_eq!(counts[bin_of(&edges, -0.1)], 0);
    }

    #[test]
    fn a_constant_is_seen_to_move_either_way() {
        let (edges, counts) = check_edges(&[50.0; 100]);
        assert_eq!(counts, [0, 100, 0]);
        assert_eq!(
            [
                bin_of(&edges, 49.9),
                bin_of(&edges, 50.0),
                bin_of(&edges, 50.1)
            ],
            [0, 1, 2]
        );
        // The rounding of a mean is no move.
        assert_eq!(
            [
                bin_of(&edges, 50.0_f32.next_up()),
                bin_of(&edges, 50.0_f32.next_down())
            ],
            [1, 1]
        );
    }

    #[test]
    fn nothing_seen_and_nothing_finite() {
        let sketch = sketch_of(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!(
            (sketch.n(), sketch.edges(), sketch.counts(&[])),
            (0, vec![], vec![0])
        );
    }

    #[test]
    fn extremes_stay_finite() {
        let mut values: Vec<f32> = (0..40_000_u32)
            .map(|i| f32::from_bits(0x7f7f_ffff - i * 5))
            .collect();
        values.extend((0..40_000_u32).map(|i| f32::from_bits(0xff7f_ffff - i * 5)));
        let (edges, _) = check_edges(&values);
        assert!(edges.iter().all(|edge| edge.is_finite()));
    }

    #[test]
    fn memory_is_bounded_and_order_is_nothing() {
        let values: Vec<f32> = (0..60_000_u32)
            .map(|i| ((i * 7919) % 60_013) as f32 * 0.001)
            .collect();
        let forward = sketch_of(&values);
        assert!(forward.counts.len() <= MAX_KEYS);
        assert!(forward.shift > 0);
        let mut reversed = values.clone();
        reversed.reverse();
        assert_eq!(forward, sketch_of(&reversed));
        let (edges, _) = check_edges(&values);
        assert!(edges.len() > 50);
    }

    proptest! {
        #[test]
        fn merging_is_adding(values in prop::collection::vec(-1.0e3_f32..1.0e3, 0..400), cut in 0_usize..400) {
            let cut = cut.min(values.len());
            let mut left = sketch_of(&values[..cut]);
            left.merge(&sketch_of(&values[cut..]));
            let mut right = sketch_of(&values[cut..]);
            right.merge(&sketch_of(&values[..cut]));
            prop_assert_eq!(&left, &sketch_of(&values));
            prop_assert_eq!(left, right);
        }

        #[test]
        fn edges_hold_for_any_values(values in prop::collection::vec(prop_oneof![Just(0.0_f32), any::<f32>(), 0.0_f32..3.0], 1..500)) {
            let finite: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
            check_edges(&finite);
        }
    }
}
