//! Fixed point: what lets sums be merged in any order and still give the same bits.
//!
//! A number is held as an integer count of 2⁻³² in an `i128` ([`contract::Fixed`]). Integer addition is associative, float
//! addition is not: panes that arrive in another order after a rebalance must not give another score.
//!
//! Limits: the step is 2⁻³² ≈ 2.3e-10; one term is clamped to ±2⁶² (so the square of a value above 2³¹ is), and 2³²
//! terms fit before a sum wraps. Sums add with wrapping, not saturating: saturation would depend on the order.

use contract::Fixed;

/// The largest magnitude of one term: 2⁶². Larger would let fewer terms into a sum, smaller would cut real squares.
pub const TERM_LIMIT: f64 = 4_611_686_018_427_387_904.0;

/// The fixed-point form of one term, rounded to the nearest step and clamped to ±[`TERM_LIMIT`]; NaN gives 0.
#[must_use]
pub fn term(value: f64) -> i128 {
    Fixed::from_f64(value.clamp(-TERM_LIMIT, TERM_LIMIT)).0
}

/// The float nearest to a fixed-point sum.
#[must_use]
pub fn float(sum: i128) -> f64 {
    Fixed(sum).to_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, fixed: i128) {
        assert_eq!(term(value), fixed);
    }

    #[test]
    fn known_values() {
        check(1.0, 1 << 32);
        check(-2.5, -(5 << 31));
        check(0.25, 1 << 30);
        check(0.0, 0);
        // Below half a step.
        check(1.0e-10, 0);
        check(f64::NAN, 0);
        check(f64::INFINITY, 1 << 94);
        check(-1.0e300, -(1 << 94));
    }

    #[test]
    fn there_and_back() {
        for value in [0.1, 99.999, 1.0e9, -123.456, 1.0e15] {
            let back = float(term(value));
            assert!(
                (back - value).abs() <= 2.0_f64.powi(-33) + f64::abs(value) * 1e-15,
                "{value} {back}"
            );
        }
    }

    #[test]
    fn as_many_terms_as_promised_fit() {
        assert_eq!(term(TERM_LIMIT).checked_mul(1 << 32), Some(1 << 126));
    }
}
