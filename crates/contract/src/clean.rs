//! What becomes of the values of one record: valid, clamped, or a gap with a reason; then the derived metrics.
//!
//! Rules: not finite → gap; below the minimum → gap; above the maximum but within the tolerance → the maximum; beyond
//! → gap. A null is a gap without a reason: it is no error. One broken sensor does not cost the record its other values.

use crate::domain::{Contract, Derived, Metric};

/// Why a value became a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapReason {
    /// NaN or infinite.
    NotFinite,
    /// Beyond maximum and tolerance.
    AboveMaximum,
    /// Below the minimum.
    BelowMinimum,
}

impl GapReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [GapReason; 3] = [
        GapReason::NotFinite,
        GapReason::AboveMaximum,
        GapReason::BelowMinimum,
    ];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::NotFinite => "not_finite",
            GapReason::AboveMaximum => "above_maximum",
            GapReason::BelowMinimum => "below_minimum",
        }
    }
}

impl Metric {
    /// The value as it counts, or why it does not.
    ///
    /// # Errors
    /// The reason for the gap.
    #[inline]
    pub fn check(&self, value: f32) -> Result<f32, GapReason> {
        if !value.is_finite() {
            return Err(GapReason::NotFinite);
        }
        if let Some(min) = self.min
            && value < min
        {
            return Err(GapReason::BelowMinimum);
        }
        match self.max {
            Some(max) if value > max => {
                if value <= max + self.tolerance {
                    Ok(max)
                } else {
                    Err(GapReason::AboveMaximum)
                }
            }
            _ => Ok(value),
        }
    }
}

impl Contract {
    /// Checks the measured values of a record and adds the derived ones.
    ///
    /// `raw` yields the measured values in model order (`None` for null; a missing rest counts as null). `out` is
    /// replaced by one value per metric of the contract, NaN for a gap. `gap` is told the index of each metric that
    /// lost its value and why; nulls, and derived metrics whose inputs are gaps, are not told.
    pub fn clean(
        &self,
        raw: impl IntoIterator<Item = Option<f32>>,
        out: &mut Vec<f32>,
        gap: &mut impl FnMut(usize, GapReason),
    ) {
        out.clear();
        let mut raw = raw.into_iter();
        for (index, metric) in self.metrics.iter().enumerate() {
            let value = match metric.derived {
                None => raw.next().flatten(),
                Some(derived) => derive(derived, out),
            };
            let checked = value.map_or(f32::NAN, |value| {
                metric.check(value).unwrap_or_else(|reason| {
                    gap(index, reason);
                    f32::NAN
                })
            });
            out.push(checked);
        }
    }
}

/// `None` when an input is a gap.
fn derive(derived: Derived, values: &[f32]) -> Option<f32> {
    let value_of = |index: usize| values.get(index).copied().filter(|v| v.is_finite());
    Some(match derived {
        Derived::Product { left, right } => value_of(left)? * value_of(right)?,
        Derived::Ratio {
            numerator,
            denominator,
        } => value_of(numerator)? / value_of(denominator)?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        contract: &str,
        raw: &[Option<f32>],
        expected: &[f32],
        reasons: &[(usize, GapReason)],
    ) {
        let contract = Contract::shipped(contract).unwrap();
        let mut out = vec![1.0; 3];
        let mut gaps = Vec::new();
        contract.clean(raw.iter().copied(), &mut out, &mut |metric, reason| {
            gaps.push((metric, reason));
        });
        let bits = |values: &[f32]| -> Vec<Option<f32>> {
            values.iter().map(|v| (!v.is_nan()).then_some(*v)).collect()
        };
        assert_eq!(bits(&out), bits(expected));
        assert_eq!(gaps, reasons);
    }

    const GAP: f32 = f32::NAN;

    #[test]
    fn the_vm_contract_clamps_and_cuts_as_stated() {
        // cpu: 0–100, tolerance 10; mem: 0–100, tolerance 5; the others at least 0.
        let raw = [110.0, 105.0, 0.0, -0.001, f32::INFINITY, 1e30].map(Some);
        let expected = [100.0, 100.0, 0.0, GAP, GAP, 1e30];
        let reasons = [(3, GapReason::BelowMinimum), (4, GapReason::NotFinite)];
        check("vm", &raw, &expected, &reasons);

        let raw = [110.001, 105.001, f32::NAN, 0.5, 1.5, 2.5].map(Some);
        let expected = [GAP, GAP, GAP, 0.5, 1.5, 2.5];
        let reasons = [
            (0, GapReason::AboveMaximum),
            (1, GapReason::AboveMaximum),
            (2, GapReason::NotFinite),
        ];
        check("vm", &raw, &expected, &reasons);
    }

    #[test]
    fn a_null_is_a_gap_without_a_reason() {
        let raw = [None, Some(5.0)];
        check("vm", &raw, &[GAP, 5.0, GAP, GAP, GAP, GAP], &[]);
    }

    #[test]
    fn derived_metrics_follow_their_inputs() {
        // vdd, idd, frequency, temperature → power = vdd·idd, power_efficiency = frequency/power
        let raw = [1.5, 2.0, 900.0, 25.0].map(Some);
        check(
            "wafer-test",
            &raw,
            &[1.5, 2.0, 900.0, 25.0, 3.0, 300.0],
            &[],
        );
        // A gap makes gaps of what depends on it, silently: it was counted where it arose.
        let raw = [Some(1.5), Some(-2.0), Some(900.0), Some(25.0)];
        let expected = [1.5, GAP, 900.0, 25.0, GAP, GAP];
        check(
            "wafer-test",
            &raw,
            &expected,
            &[(1, GapReason::BelowMinimum)],
        );
        // Dividing by zero is not finite.
        let raw = [0.0, 2.0, 900.0, 25.0].map(Some);
        let expected = [0.0, 2.0, 900.0, 25.0, 0.0, GAP];
        check("wafer-test", &raw, &expected, &[(5, GapReason::NotFinite)]);
    }

    #[test]
    fn more_values_than_metrics_are_ignored() {
        let raw = [1.5, 2.0, 900.0, 25.0, 7.0, 7.0].map(Some);
        check(
            "wafer-test",
            &raw,
            &[1.5, 2.0, 900.0, 25.0, 3.0, 300.0],
            &[],
        );
    }
}
