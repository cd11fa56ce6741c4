//! Fixed-point sums: adding in any order gives the same bits.
//!
//! On the wire: Avro bytes, 16 of them, big-endian two's complement. In what people read (JSON, parquet) it becomes a
//! double, see [`crate::codec`].

use std::fmt;
use std::ops::{Add, AddAssign};

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A sum in units of 2⁻³².
///
/// The largest magnitude is 2⁹⁵ ≈ 4·10²⁸; sums saturate there instead of wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fixed(pub i128);

/// 2³²
const ONE: f64 = 4_294_967_296.0;

/// 2⁵²: from here on every double is a whole number.
const WHOLE: f64 = 4_503_599_627_370_496.0;

impl Fixed {
    /// Nothing.
    pub const ZERO: Fixed = Fixed(0);

    /// The nearest fixed-point number, ties away from zero; 0 for NaN, saturating for what is too large.
    pub fn from_f64(value: f64) -> Fixed {
        let scaled = value * ONE;
        // What `scaled.round() as i128` gives, both of which are calls: sums take millions of terms a second.
        if scaled.abs() < WHOLE {
            let whole = scaled as i64;
            let rest = scaled - whole as f64;
            Fixed((whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5)).into())
        } else {
            // A float-to-integer `as` saturates and turns NaN into 0.
            Fixed(scaled as i128)
        }
    }

    /// From 16 bytes, big-endian; `None` for another length.
    pub(crate) fn from_be_slice(bytes: &[u8]) -> Option<Fixed> {
        let array = <[u8; 16]>::try_from(bytes).ok()?;
        Some(Fixed(i128::from_be_bytes(array)))
    }

    /// The value as a double, rounded.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / ONE
    }
}

impl Add for Fixed {
    type Output = Fixed;

    fn add(self, other: Fixed) -> Fixed {
        Fixed(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Fixed {
    fn add_assign(&mut self, other: Fixed) {
        *self = *self + other;
    }
}

impl Serialize for Fixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_be_bytes())
    }
}

impl<'de> Deserialize<'de> for Fixed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fixed, D::Error> {
        deserializer.deserialize_bytes(FixedVisitor)
    }
}

struct FixedVisitor;

impl Visitor<'_> for FixedVisitor {
    type Value = Fixed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("16 bytes, big-endian")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Fixed, E> {
        Fixed::from_be_slice(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &"16 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_two_to_the_minus_32() {
        assert_eq!(Fixed::from_f64(1.0), Fixed(1 << 32));
        assert_eq!(Fixed::from_f64(-0.5), Fixed(-(1 << 31)));
        assert_eq!(Fixed(3 << 31).to_f64(), 1.5);
        // Half a unit, away from zero.
        assert_eq!(Fixed::from_f64(1.5 / ONE), Fixed(2));
        assert_eq!(Fixed::from_f64(-1.5 / ONE), Fixed(-2));
    }

    #[test]
    fn what_does_not_fit_saturates() {
        assert_eq!(Fixed::from_f64(f64::NAN), Fixed::ZERO);
        assert_eq!(Fixed::from_f64(f64::INFINITY), Fixed(i128::MAX));
        assert_eq!(Fixed::from_f64(-1e300), Fixed(i128::MIN));
        assert_eq!(Fixed(i128::MAX) + Fixed(1), Fixed(i128::MAX));
    }

    #[test]
    fn bytes_are_big_endian() {
        let mut bytes = [0_u8; 16];
        bytes[14] = 1;
        assert_eq!(Fixed::from_be_slice(&bytes), Some(Fixed(256)));
        assert_eq!(Fixed::from_be_slice(&[0xFF; 16]), Some(Fixed(-1)));
        assert_eq!(Fixed::from_be_slice(&bytes[1..]), None);
    }

    proptest::proptest! {
        /// The short way is the long way: all doubles, and those with a rest near a half.
        #[test]
        fn rounding_is_that_of_the_double(
            value in proptest::num::f64::ANY,
            whole in -1_i64 << 54..1 << 54,
            shift in 0_u32..54,
        ) {
            let near = (whole >> shift) as f64 + 0.5;
            for value in [value, near / ONE, near.next_up() / ONE, near.next_down() / ONE] {
                proptest::prop_assert_eq!(Fixed::from_f64(value).0, (value * ONE).round() as i128);
            }
        }

        /// Sums of metric values, whose size is far from the limit, have the same bits in any order.
        #[test]
        fn the_order_of_addition_does_not_matter(
            mut values in proptest::collection::vec(-1e12_f64..1e12, 0..50),
        ) {
            let sum = |values: &[f64]| values.iter().fold(Fixed::ZERO, |a, v| a + Fixed::from_f64(*v));
            let forward = sum(&values);
            values.reverse();
            let middle = values.len() / 2;
            let merged = sum(&values[..middle]) + sum(&values[middle..]);
            proptest::prop_assert_eq!(forward, merged);
        }
    }
}
