//! The engine of one partition. Definitions and invariants: see the parent module.

use std::sync::Arc;

use super::bucket::{Added, Bucket};
use super::commit::Commit;
use super::config::RollupConfig;
use super::{Closed, Counts, Outcome, Record, Reject, Row};
use crate::bucket_of;

/// Emptied buckets kept for reuse. As many are open at once in a steady stream; more would only hold memory.
const MAX_SPARE_BUCKETS: usize = 3;

/// The rollup of one partition.
///
/// Its owner offers every record of the partition in offset order, takes the rows with [`Self::drain_closed`], sends them,
/// and once they are delivered commits what [`Self::commit`] said after the drain. After anything undelivered the engine is
/// thrown away and a new one made from the last commit: rewinding only the consumer would count the records as replayed.
#[derive(Debug)]
pub struct Partition {
    config: Arc<RollupConfig>,
    /// Ascending by start; everything in it is after `closed_through`.
    open: Vec<Bucket>,
    /// Closed but not fetched yet, ascending by start.
    closed: Vec<Bucket>,
    spare: Vec<Bucket>,
    watermark: Option<i64>,
    closed_through: Option<i64>,
    /// `closed_through` before the first bucket in `closed` closed: what a commit may claim while those wait.
    closed_through_before: Option<i64>,
    /// The watermark at which another bucket closes (or an earlier one, never a later one).
    next_close_ms: i64,
    /// `None` until the first record where nothing was committed.
    next_offset: Option<i64>,
    /// Position of the commit this engine was made from: records below it were handled by another engine.
    handled_before: i64,
    counts: Counts,
    values: Vec<f32>,
}

impl Partition {
    /// An engine that goes on from `resume`, and then must be fed from `resume.offset` on; or one without history.
    #[must_use]
    pub fn new(config: Arc<RollupConfig>, resume: Option<Commit>) -> Partition {
        let closed_through = resume.and_then(|commit| commit.closed_through);
        let mut partition = Partition {
            config,
            open: Vec::new(),
            closed: Vec::new(),
            spare: Vec::new(),
            watermark: None,
            closed_through,
            closed_through_before: None,
            next_close_ms: i64::MIN,
            next_offset: resume.map(|commit| commit.offset),
            handled_before: resume.map_or(i64::MIN, |commit| commit.position),
            counts: Counts::default(),
            values: Vec::new(),
        };
        partition.schedule_close();
        partition
    }

    /// Takes the next record. Offsets grow, with or without holes; one that does not is replayed and changes nothing.
    pub fn offer(&mut self, record: &Record<'_>) -> Outcome {
        debug_assert_eq!(record.values.len(), self.config.num_metrics);
        let outcome = if self.pass(record.offset) {
            match self.judge(record) {
                Outcome::Late | Outcome::Rejected(_) if record.offset < self.handled_before => {
                    Outcome::Replayed
                }
                outcome => outcome,
            }
        } else {
            Outcome::Replayed
        };
        self.counts.count(outcome);
        debug_assert!(self.counts.balanced(), "{:?}", self.counts);
        outcome
    }

    /// Takes a record that does not decode (or is null): only its offset matters.
    pub fn reject_undecodable(&mut self, offset: i64) -> Outcome {
        let outcome = if self.pass(offset) && offset >= self.handled_before {
            Outcome::Rejected(Reject::Undecodable)
        } else {
            Outcome::Replayed
        };
        self.counts.count(outcome);
        outcome
    }

    /// Moves the position past offsets that hold no record (transaction markers, compacted away). Never back.
    pub fn advance(&mut self, position: i64) {
        self.next_offset = Some(self.next_offset.map_or(position, |next| next.max(position)));
    }

    /// Closes every open bucket. For a partition that is idle by the clock: the consumer stands at its end and nothing
    /// came for `rollup.idle_after`; never with `--until-end`. Also the end of a file that is rolled up as a whole.
    pub fn close_idle(&mut self) {
        if let Some(newest) = self.open.last().map(|bucket| bucket.start) {
            self.close_through(newest);
        }
    }

    /// Whether rows wait for [`Self::drain_closed`].
    #[must_use]
    pub fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Rows that wait for [`Self::drain_closed`].
    #[must_use]
    pub fn num_closed(&self) -> usize {
        self.closed.iter().map(Bucket::num_servers).sum()
    }

    /// Hands the rows of closed buckets to `visit`, by (bucket, server), each once. From then on [`Self::commit`] claims
    /// them as done.
    pub fn drain_closed(&mut self, mut visit: impl FnMut(Row<'_>)) {
        for bucket in self.closed.drain(..) {
            bucket.for_each_row(&self.config, &mut self.values, &mut visit);
            if self.spare.len() < MAX_SPARE_BUCKETS && bucket.is_worth_keeping() {
                self.spare.push(bucket);
            }
        }
    }

    /// [`Self::drain_closed`] into owned rows.
    #[must_use]
    pub fn take_closed(&mut self) -> Vec<Closed> {
        let mut rows = Vec::with_capacity(self.num_closed());
        self.drain_closed(|row| rows.push(row.into()));
        rows
    }

    /// What to commit once everything drained so far is delivered. Rows that still wait in the engine count as not closed,
    /// so that they are given again after a restart. `None`: no record yet and nothing committed before, so no offset is
    /// known and none must be committed.
    #[must_use]
    pub fn commit(&self) -> Option<Commit> {
        let next_offset = self.next_offset?;
        let buckets = self.closed.iter().chain(&self.open);
        let oldest = buckets.map(|bucket| bucket.first_offset).min();
        let closed_through = if self.closed.is_empty() {
            self.closed_through
        } else {
            self.closed_through_before
        };
        Some(Commit {
            // Not the position: while records are re-read, those still to come may open their bucket again.
            offset: oldest.unwrap_or(next_offset),
            closed_through,
            position: next_offset.max(self.handled_before),
        })
    }

    /// What became of the records so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The watermark in ms; `None` before the first record. After a restart it is that of the records read since.
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Start of the last closed bucket, fetched or not.
    #[must_use]
    pub fn closed_through(&self) -> Option<i64> {
        self.closed_through
    }

    /// Open buckets, and (server, bucket) pairs in them.
    #[must_use]
    pub fn num_open(&self) -> (usize, usize) {
        let pairs = self.open.iter().map(Bucket::num_servers).sum();
        (self.open.len(), pairs)
    }

    /// Bytes on the heap, spare ones included: flat in a steady stream.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let buckets = self.open.iter().chain(&self.closed).chain(&self.spare);
        let held: usize = buckets.map(Bucket::heap_bytes).sum();
        let slots = self.open.capacity() + self.closed.capacity() + self.spare.capacity();
        held + slots * size_of::<Bucket>() + self.values.capacity() * size_of::<f32>()
    }

    /// Moves the position past `offset`; `false` when it was passed before.
    #[inline]
    fn pass(&mut self, offset: i64) -> bool {
        if self.next_offset.is_some_and(|next| offset < next) {
            return false;
        }
        self.next_offset = Some(offset.saturating_add(1));
        true
    }

    /// The checks in their order, and the record's effect where it passes them.
    #[inline]
    fn judge(&mut self, record: &Record<'_>) -> Outcome {
        let timestamp = match self.check(record) {
            Ok(timestamp) => timestamp,
            Err(reject) => return Outcome::Rejected(reject),
        };
        let outcome = match self.open_position(timestamp) {
            Some(index) => self.add(index, record, timestamp),
            None => self.open_and_add(record, timestamp),
        };
        if !matches!(outcome, Outcome::Rejected(_)) {
            self.move_watermark(timestamp.min(record.kafka_timestamp_ms));
        }
        outcome
    }

    /// Server and timestamp.
    #[inline]
    fn check(&self, record: &Record<'_>) -> Result<i64, Reject> {
        if record.server.is_empty() {
            return Err(Reject::NoServer);
        }
        if record.server.len() > self.config.max_server_bytes {
            return Err(Reject::ServerNameTooLong);
        }
        let timestamp = record.timestamp_ms.ok_or(Reject::NoTimestamp)?;
        if timestamp < self.config.min_timestamp_ms {
            return Err(Reject::TimestampTooOld);
        }
        let newest = record
            .kafka_timestamp_ms
            .saturating_add(self.config.max_ahead_ms);
        if timestamp > newest {
            return Err(Reject::TimestampInFuture);
        }
        Ok(timestamp)
    }

    /// Index of the open bucket that holds `timestamp`. From the newest: most records belong there or one before.
    #[inline]
    fn open_position(&self, timestamp: i64) -> Option<usize> {
        self.open.iter().rposition(|bucket| {
            timestamp >= bucket.start
                && timestamp.saturating_sub(bucket.start) < self.config.step_ms
        })
    }

    #[inline]
    fn add(&mut self, index: usize, record: &Record<'_>, timestamp: i64) -> Outcome {
        if !has_usable_value(record.values) {
            return Outcome::Rejected(Reject::NoUsableValue);
        }
        let bucket = &mut self.open[index];
        let place = timestamp.saturating_sub(bucket.start) as u32;
        match bucket.add(record, place, &self.config) {
            Added::Accepted => Outcome::Accepted,
            Added::Duplicate => Outcome::Duplicate,
            Added::Full => Outcome::Rejected(Reject::TooManyServers),
        }
    }

    /// For a record whose bucket is not open: late where it is closed, else the first of a new one.
    fn open_and_add(&mut self, record: &Record<'_>, timestamp: i64) -> Outcome {
        let start = bucket_of(timestamp, self.config.step_ms);
        if self.closed_through.is_some_and(|closed| start <= closed) {
            return Outcome::Late;
        }
        if !has_usable_value(record.values) {
            return Outcome::Rejected(Reject::NoUsableValue);
        }
        let bucket = match self.spare.pop() {
            Some(mut spare) => {
                spare.reset(start, record.offset);
                spare
            }
            None => Bucket::new(start, record.offset),
        };
        let index = self.open.partition_point(|open| open.start < start);
        self.open.insert(index, bucket);
        self.add(index, record, timestamp)
    }

    #[inline]
    fn move_watermark(&mut self, to: i64) {
        if self.watermark.is_some_and(|watermark| to <= watermark) {
            return;
        }
        self.watermark = Some(to);
        if to >= self.next_close_ms {
            // The last bucket whose end + grace is not after the watermark: equality closes.
            let open_end = to.saturating_sub(self.config.grace_ms);
            let last = bucket_of(open_end, self.config.step_ms).saturating_sub(self.config.step_ms);
            self.close_through(last);
        }
    }

    /// Closes every bucket up to and including the one that starts at `last`, open or empty.
    fn close_through(&mut self, last: i64) {
        if self.closed_through.is_none_or(|closed| closed < last) {
            if self.closed.is_empty() {
                self.closed_through_before = self.closed_through;
            }
            let num_closed = self.open.partition_point(|bucket| bucket.start <= last);
            self.closed.extend(self.open.drain(..num_closed));
            self.closed_through = Some(last);
        }
        self.schedule_close();
    }

    /// The bucket after `closed_through` closes at its end + grace.
    fn schedule_close(&mut self) {
        self.next_close_ms = self.closed_through.map_or(i64::MIN, |closed| {
            bucket_of(closed, self.config.step_ms)
                .saturating_add(2 * self.config.step_ms)
                .saturating_add(self.config.grace_ms)
        });
    }
}

#[inline]
fn has_usable_value(values: &[f32]) -> bool {
    values.iter().any(|value| value.is_finite())
}

#[cfg(test)]
mod tests;
