//! How far ahead: the horizons that are reported, and the bands of steps between them.

use crate::domain::Domain;

/// Reported horizons, minutes: those of the risks in `predictions`.
const MINUTES: [u32; 4] = [30, 60, 240, 480];

/// The steps of a forecast in bands, so that the figures up to a horizon are those of the first bands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bands {
    /// Step after the last one of each band; the last one is the forecast's length.
    ends: Vec<usize>,
    /// Minutes and number of bands of each horizon.
    horizons: Vec<(u32, usize)>,
}

impl Bands {
    /// Horizons shorter than a step or longer than the forecast do not exist.
    pub(super) fn of(domain: &Domain) -> Self {
        let (mut ends, mut horizons) = (Vec::new(), Vec::new());
        for minutes in MINUTES {
            let steps = i64::from(minutes) * 60_000 / domain.step_ms.max(1);
            let steps = usize::try_from(steps).unwrap_or(0);
            if (1..=domain.horizon).contains(&steps) {
                if ends.last() != Some(&steps) {
                    ends.push(steps);
                }
                horizons.push((minutes, ends.len()));
            }
        }
        if ends.last() != Some(&domain.horizon) {
            ends.push(domain.horizon);
        }
        Self { ends, horizons }
    }

    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The band of a step, from 0.
    pub(super) fn band(&self, step: usize) -> usize {
        let band = self.ends.partition_point(|&end| end <= step);
        band.min(self.ends.len() - 1)
    }

    /// Minutes of each horizon, and how many bands reach up to it.
    pub(super) fn horizons(&self) -> &[(u32, usize)] {
        &self.horizons
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(step_ms: i64, horizon: usize, ends: &[usize], horizons: &[(u32, usize)]) {
        let contract = contract::Contract::shipped("vm").unwrap();
        let domain = Domain {
            step_ms,
            horizon,
            ..Domain::of(&contract)
        };
        let bands = Bands::of(&domain);
        assert_eq!(bands.ends, ends);
        assert_eq!(bands.horizons(), horizons);
        let mut first = 0;
        for (band, &end) in ends.iter().enumerate() {
            assert!((first..end).all(|step| bands.band(step) == band));
            first = end;
        }
    }

    #[test]
    fn horizons_are_whole_steps_within_the_forecast() {
        let all = [(30, 1), (60, 2), (240, 3), (480, 4)];
        check(300_000, 96, &[6, 12, 48, 96], &all);
        check(300_000, 100, &[6, 12, 48, 96, 100], &all);
        check(300_000, 12, &[6, 12], &[(30, 1), (60, 2)]);
        // An hour a step: half an hour is none.
        check(3_600_000, 8, &[1, 4, 8], &[(60, 1), (240, 2), (480, 3)]);
        check(86_400_000, 3, &[3], &[]);
    }
}
