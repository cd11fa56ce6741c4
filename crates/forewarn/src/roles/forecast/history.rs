//! The last 24 h of one server: a ring of buckets, the context of its next forecast.
//!
//! Pure. Memory: `context_steps × metrics` floats a server, whatever the traffic.

/// A state that nobody sent.
pub(crate) const UNKNOWN_STATE: u8 = u8::MAX;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// The newest bucket of this server: a forecast is due.
    Newest,
    /// Older than the newest one but new: context only.
    Earlier,
    /// (server, bucket) is there already (the first wins), or too old to matter.
    Ignored,
}

/// Rows of one server on the grid of buckets.
#[derive(Debug, Clone)]
pub(crate) struct History {
    step_ms: i64,
    steps: usize,
    metrics: usize,
    /// `[steps × metrics]`, bucket b at row (b / step) mod steps; a gap is NaN.
    values: Vec<f32>,
    /// `[steps]`, index of the state in the contract, [`UNKNOWN_STATE`] where nobody said.
    states: Vec<u8>,
    /// Whether a row came for the bucket at this place.
    present: Vec<bool>,
    newest: Option<i64>,
    /// Index of the profile that the last row named.
    pub(crate) profile: usize,
}

impl History {
    pub(crate) fn new(step_ms: i64, steps: usize, metrics: usize) -> Self {
        Self {
            step_ms,
            steps,
            metrics,
            values: vec![f32::NAN; steps * metrics],
            states: vec![UNKNOWN_STATE; steps],
            present: vec![false; steps],
            newest: None,
            profile: 0,
        }
    }

    /// The newest bucket that has a row.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Buckets in the context that have a row.
    pub(crate) fn rows(&self) -> usize {
        self.present.iter().filter(|p| **p).count()
    }

    /// Puts a row in its place. `values`: `[metrics]`.
    pub(crate) fn insert(&mut self, bucket: i64, state: u8, values: &[f32]) -> Inserted {
        if values.len() != self.metrics {
            return Inserted::Ignored;
        }
        let newer = self.newest.is_none_or(|newest| bucket > newest);
        if newer {
            self.forget_until(bucket);
            self.newest = Some(bucket);
        } else if self
            .newest
            .is_some_and(|newest| (newest - bucket) / self.step_ms >= self.steps as i64)
        {
            return Inserted::Ignored;
        }
        let place = self.place(bucket);
        let (Some(present), Some(row)) = (
            self.present.get_mut(place),
            self.values
                .get_mut(place * self.metrics..(place + 1) * self.metrics),
        ) else {
            return Inserted::Ignored;
        };
        if *present {
            return Inserted::Ignored;
        }
        *present = true;
        row.copy_from_slice(values);
        if let Some(place) = self.states.get_mut(place) {
            *place = state;
        }
        if newer {
            Inserted::Newest
        } else {
            Inserted::Earlier
        }
    }

    /// The context that ends with the newest bucket, oldest first: `[steps × metrics]`.
    pub(crate) fn context(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.values.len());
        let Some(newest) = self.newest else {
            out.resize(self.values.len(), f32::NAN);
            return out;
        };
        let oldest = (self.place(newest) + 1) * self.metrics;
        let (tail, head) = self.values.split_at(oldest.min(self.values.len()));
        out.extend_from_slice(head);
        out.extend_from_slice(tail);
        out
    }

    /// The states of [`Self::context`]: `[steps]`.
    pub(crate) fn context_states(&self) -> Vec<u8> {
        let oldest = self.newest.map_or(0, |newest| self.place(newest) + 1);
        let (tail, head) = self.states.split_at(oldest.min(self.states.len()));
        [head, tail].concat()
    }

    /// Clears the places between the newest bucket and `bucket`, which becomes the newest.
    fn forget_until(&mut self, bucket: i64) {
        let skipped = self.newest.map_or(self.steps as i64, |newest| {
            ((bucket - newest) / self.step_ms).min(self.steps as i64)
        });
        for back in 0..skipped {
            let place = self.place(bucket - back * self.step_ms);
            if let Some(present) = self.present.get_mut(place) {
                *present = false;
            }
            if let Some(state) = self.states.get_mut(place) {
                *state = UNKNOWN_STATE;
            }
            if let Some(row) = self
                .values
                .get_mut(place * self.metrics..(place + 1) * self.metrics)
            {
                row.fill(f32::NAN);
            }
        }
    }

    fn place(&self, bucket: i64) -> usize {
        usize::try_from((bucket / self.step_ms).rem_euclid(self.steps as i64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        History::new(10, 4, 1)
    }

    /// `NaN` as -1, so that rows can be compared.
    fn context(history: &History) -> Vec<f32> {
        let plain = |v: &f32| if v.is_nan() { -1.0 } else { *v };
        history.context().iter().map(plain).collect()
    }

    #[test]
    fn the_context_ends_with_the_newest_bucket_and_is_padded_on_the_left() {
        let mut h = history();
        assert_eq!(h.insert(100, 0, &[1.0]), Inserted::Newest);
        assert_eq!(h.insert(110, 0, &[2.0]), Inserted::Newest);
        assert_eq!(context(&h), [-1.0, -1.0, 1.0, 2.0]);
        assert_eq!(h.rows(), 2);
    }

    #[test]
    fn a_skipped_bucket_is_a_gap_and_old_rows_fall_out() {
        let mut h = history();
        for (bucket, value) in [(100, 1.0), (110, 2.0), (120, 3.0), (140, 5.0)] {
            h.insert(bucket, 0, &[value]);
        }
        assert_eq!(context(&h), [2.0, 3.0, -1.0, 5.0]);
        assert_eq!(h.insert(1_000, 0, &[9.0]), Inserted::Newest);
        assert_eq!(context(&h), [-1.0, -1.0, -1.0, 9.0]);
    }

    #[test]
    fn the_first_row_of_a_bucket_wins_and_a_late_one_fills_its_gap() {
        let mut h = history();
        h.insert(100, 0, &[1.0]);
        h.insert(120, 0, &[3.0]);
        assert_eq!(h.insert(120, 0, &[7.0]), Inserted::Ignored);
        assert_eq!(h.insert(110, 0, &[2.0]), Inserted::Earlier);
        assert_eq!(
            h.insert(60, 0, &[0.0]),
            Inserted::Ignored,
            "out of the context"
        );
        assert_eq!(context(&h), [-1.0, 1.0, 2.0, 3.0]);
    }
}
