//! The two inputs of one partition, brought together by event time.
//!
//! A row waits until the predictions made before its bucket have been read ([`window::align`]); a
//! prediction that is a day ahead of the rows waits until they come nearer. Whichever topic is
//! ahead is not to be read meanwhile: [`Aligned::wants_rows`], [`Aligned::wants_forecasts`].
//!
//! Invariants:
//! * At any time one of the two topics is wanted, so that reading never comes to a standstill
//!   before both are at their ends.
//! * A prediction is given to the builder before the rows that it is compared with.
//! * Memory: [`MAX_HELD_ROWS`], what the builder keeps, and of both what was on its way when
//!   reading was to pause.
//!
//! It is not: a reader of topics, or a clock.

use std::collections::VecDeque;

use contract::record::{Pane, Prediction};
use drift::{ForecastOutcome, PaneBuilder, RowOutcome};
use window::align::Align;

use super::LIMITS;

/// Rows held before `rollups` is paused: a day of 300 servers.
const MAX_HELD_ROWS: usize = 86_400;
/// Rows that still come after the pause: a chunk in hand, one being built, and the queue.
const ON_THEIR_WAY: usize = (LIMITS.queue_chunks + 2) * LIMITS.max_records;

/// A row that waits for its predictions.
pub(super) struct Held {
    pub(super) server: String,
    pub(super) profile: usize,
    pub(super) offset: i64,
    /// Not one that was read again after a restart.
    pub(super) is_new: bool,
    pub(super) values: Vec<f32>,
}

/// What was not counted, by reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Rows that the builder refused, with the last one's offset and outcome.
    pub(super) rows: u64,
    pub(super) last_row: Option<(i64, RowOutcome)>,
    /// New rows of buckets that were closed.
    pub(super) late: u64,
    /// Predictions on another grid or of another contract.
    pub(super) forecasts: u64,
    /// Predictions far ahead of those around them.
    pub(super) too_far_ahead: u64,
    /// Predictions of more servers than are kept.
    pub(super) servers: u64,
}

/// See the module.
pub(super) struct Aligned {
    pub(super) builder: PaneBuilder,
    rows: Align<Held>,
    max_rows: usize,
    /// Read, and not given to the builder yet: the first is too far ahead of the rows.
    forecasts: VecDeque<Prediction>,
    forecasts_ended: bool,
    /// Bucket of the newest row that was counted.
    pub(super) newest: Option<i64>,
    pub(super) skipped: Skipped,
}

impl Aligned {
    /// `newest`: the last bucket that was closed before a restart.
    pub(super) fn new(builder: PaneBuilder, newest: Option<i64>) -> Aligned {
        Aligned::with_limit(builder, newest, MAX_HELD_ROWS)
    }

    fn with_limit(builder: PaneBuilder, newest: Option<i64>, max_rows: usize) -> Aligned {
        Aligned {
            builder,
            rows: Align::new(max_rows.saturating_add(ON_THEIR_WAY)),
            max_rows,
            forecasts: VecDeque::new(),
            forecasts_ended: false,
            newest,
            skipped: Skipped::default(),
        }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// The row, when it came although rows were not wanted for longer than what was on its way.
    pub(super) fn row(&mut self, bucket: i64, row: Held) -> Result<(), Held> {
        self.rows.hold(bucket, row)
    }

    /// Takes a prediction.
    pub(super) fn forecast(&mut self, prediction: Prediction) {
        self.forecasts_ended = false;
        self.forecasts.push_back(prediction);
    }

    /// `predictions` has been read to its end.
    pub(super) fn end_of_forecasts(&mut self) {
        self.forecasts_ended = true;
    }

    /// No further row is to come: the predictions that wait for rows have none to be compared with.
    /// They are not lost, their offset stays behind until their time has passed.
    pub(super) fn end_of_rows(&mut self) -> Vec<Pane> {
        let mut panes = self.advance();
        self.forecasts.clear();
        panes.extend(self.advance());
        panes
    }

    /// Counts what can be counted; the panes that closed.
    pub(super) fn advance(&mut self) -> Vec<Pane> {
        let mut panes = Vec::new();
        loop {
            let given = self.give_forecasts();
            let counted = self.count_rows(&mut panes);
            // The oldest row is the next to be counted: nothing is before it any more.
            let closed = self.rows.first_bucket().is_some_and(|bucket| {
                let before = self.builder.closed_before();
                panes.extend(self.builder.close_before(bucket));
                self.builder.closed_before() != before
            });
            if given || counted || closed {
                continue;
            }
            // The oldest row waits, and what is before it was forgotten: a prediction that is still
            // too far ahead is not in order with the others, and would wait for ever.
            if self.rows.num_held() == 0 || self.forecasts.pop_front().is_none() {
                return panes;
            }
            self.skipped.too_far_ahead += 1;
        }
    }

    /// Gives predictions to the builder up to one that is too far ahead; whether any was given.
    fn give_forecasts(&mut self) -> bool {
        let mut any = false;
        while let Some(first) = self.forecasts.front() {
            // Also of one that has to wait: rows up to it need only what was read before it.
            self.rows.prediction_read(first.issued_at);
            match self.builder.forecast(first) {
                ForecastOutcome::TooFarAhead => break,
                // What is late is compared with nothing: its rows were counted, or never came.
                ForecastOutcome::Kept | ForecastOutcome::Late => {}
                ForecastOutcome::OtherContract | ForecastOutcome::OffGrid => {
                    self.skipped.forecasts += 1;
                }
                ForecastOutcome::TooManyServers => self.skipped.servers += 1,
            }
            self.forecasts.pop_front();
            any = true;
        }
        let all_known = self.forecasts_ended && self.forecasts.is_empty();
        self.rows.set_at_end(all_known);
        any
    }

    /// Counts the rows whose predictions are known; a row of a later bucket closes the earlier ones.
    fn count_rows(&mut self, panes: &mut Vec<Pane>) -> bool {
        let mut any = false;
        while let Some((bucket, row)) = self.rows.next_released() {
            any = true;
            if self.newest.is_none_or(|newest| bucket > newest) {
                self.newest = Some(bucket);
                panes.extend(self.builder.close_before(bucket));
            }
            let (profile, position) = (row.profile, row.offset.saturating_add(1));
            let outcome = self
                .builder
                .row(&row.server, profile, bucket, position, &row.values);
            match outcome {
                RowOutcome::Counted | RowOutcome::Repeat => {}
                RowOutcome::Late => self.skipped.late += u64::from(row.is_new),
                RowOutcome::NotOfContract | RowOutcome::Full => {
                    self.skipped.rows += 1;
                    self.skipped.last_row = Some((row.offset, outcome));
                }
            }
        }
        any
    }

    /// Whether more rows are to be read.
    pub(super) fn wants_rows(&self) -> bool {
        self.rows.num_held() < self.max_rows
    }

    /// Whether more predictions are to be read.
    pub(super) fn wants_forecasts(&self) -> bool {
        self.forecasts.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests;
