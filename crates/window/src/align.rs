//! Holds rollups back until the forecasts that they are compared with have been read.
//!
//! `drift` reads a partition of `rollups` and the same partition of `predictions`. Their speeds differ, so that without
//! order the errors of a backlog would depend on chance. A rollup of bucket B is released once a prediction with
//! `issued_at` ≥ B of the partition has been read, or once `predictions` has been read to its end: then all forecasts
//! issued before B, which are the ones that reach past B's first step, are known as far as there are any.
//!
//! Invariants:
//! * Rollups leave in the order in which they came; none is lost and none waits once the other topic is at its end.
//! * At most the stated number is held: a full one gives the row back, and its owner pauses `rollups` meanwhile.
//!
//! It is not: a join. What was forecast for which server is the owner's to keep.

use std::collections::VecDeque;

/// The rollups of one partition that wait for its predictions. `T` is a row, or where it lies.
#[derive(Debug)]
pub struct Align<T> {
    held: VecDeque<(i64, T)>,
    max_held: usize,
    /// Greatest `issued_at` read.
    read_through: Option<i64>,
    at_end: bool,
}

impl<T> Align<T> {
    /// Holds up to `max_held` rows (at least 1). More: memory; fewer: `rollups` is paused and resumed more often.
    #[must_use]
    pub fn new(max_held: usize) -> Align<T> {
        Align {
            held: VecDeque::new(),
            max_held: max_held.max(1),
            read_through: None,
            at_end: false,
        }
    }

    /// Takes a row of the bucket that starts at `bucket` ms. Released ones are to be fetched with [`Self::next_released`]
    /// before the next row is offered, else room runs out.
    ///
    /// # Errors
    /// The row, when as many as allowed are held.
    pub fn hold(&mut self, bucket: i64, row: T) -> Result<(), T> {
        if self.is_full() {
            return Err(row);
        }
        self.held.push_back((bucket, row));
        Ok(())
    }

    /// A prediction of this partition was read.
    pub fn prediction_read(&mut self, issued_at: i64) {
        self.read_through = self.read_through.max(Some(issued_at));
        self.at_end = false;
    }

    /// Whether `predictions` of this partition stands at its end. Reading one more prediction takes it back.
    pub fn set_at_end(&mut self, at_end: bool) {
        self.at_end = at_end;
    }

    /// The next row in order of arrival, with its bucket, as soon as it may go.
    pub fn next_released(&mut self) -> Option<(i64, T)> {
        let &(bucket, _) = self.held.front()?;
        let is_read = self.read_through.is_some_and(|read| read >= bucket);
        if is_read || self.at_end {
            return self.held.pop_front();
        }
        None
    }

    /// The bucket of the row that leaves next.
    #[must_use]
    pub fn first_bucket(&self) -> Option<i64> {
        self.held.front().map(|&(bucket, _)| bucket)
    }

    /// Whether [`Self::hold`] would refuse a row: pause `rollups`.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.held.len() >= self.max_held
    }

    /// Rows held.
    #[must_use]
    pub fn num_held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn released(align: &mut Align<&'static str>) -> Vec<(i64, &'static str)> {
        std::iter::from_fn(|| align.next_released()).collect()
    }

    #[test]
    fn a_row_waits_for_a_forecast_issued_at_its_bucket_or_later() {
        let mut align = Align::new(10);
        align.hold(100, "a").unwrap();
        align.hold(200, "b").unwrap();
        assert_eq!(released(&mut align), []);
        align.prediction_read(99);
        assert_eq!(released(&mut align), []);
        align.prediction_read(100);
        assert_eq!(released(&mut align), [(100, "a")]);
        align.prediction_read(50);
        assert_eq!(released(&mut align), []);
        align.prediction_read(300);
        assert_eq!(released(&mut align), [(200, "b")]);
    }

    #[test]
    fn the_end_of_predictions_releases_until_one_more_is_read() {
        let mut align = Align::new(10);
        align.hold(100, "a").unwrap();
        align.set_at_end(true);
        assert_eq!(released(&mut align), [(100, "a")]);
        align.hold(200, "b").unwrap();
        assert_eq!(released(&mut align), [(200, "b")]);
        align.prediction_read(150);
        align.hold(300, "c").unwrap();
        assert_eq!(released(&mut align), []);
    }

    #[test]
    fn a_full_one_gives_the_row_back() {
        let mut align = Align::new(0);
        align.hold(100, "a").unwrap();
        assert!(align.is_full());
        assert_eq!(align.hold(100, "b"), Err("b"));
        assert_eq!((align.num_held(), align.first_bucket()), (1, Some(100)));
    }

    proptest! {
        #[test]
        fn order_is_kept_and_nothing_is_lost(steps in proptest::collection::vec((0u8..3, 0i64..20), 0..200)) {
            let mut align = Align::new(16);
            let (mut offered, mut out, mut newest) = (Vec::new(), Vec::new(), i64::MIN);
            for (kind, value) in steps {
                match kind {
                    0 => {
                        let row = (value, offered.len());
                        if align.hold(value, offered.len()).is_ok() {
                            offered.push(row);
                        }
                    }
                    1 => {
                        newest = newest.max(value);
                        align.prediction_read(value);
                        while let Some(row) = align.next_released() {
                            prop_assert!(row.0 <= newest);
                            out.push(row);
                        }
                    }
                    _ => align.set_at_end(false),
                }
                prop_assert!(align.num_held() <= 16);
            }
            align.set_at_end(true);
            out.extend(std::iter::from_fn(|| align.next_released()));
            prop_assert_eq!(out, offered);
        }
    }
}
