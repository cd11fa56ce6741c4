//! The rules once more, plainly, and how rows are compared.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use window::rollup::{Counts, Outcome, Reject};

use crate::stream::{AHEAD, Bits, Event, MIN_TIMESTAMP, STEP};

/// Accepted records by timestamp, with their offsets.
pub(crate) type Slots = BTreeMap<i64, (i64, Event)>;

/// The rules once more, without slots, open buckets or resumption: a list of accepted records, and for each record a look
/// at all records before it.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) watermark: Option<i64>,
    /// Bucket up to which the clock closed.
    idle_through: Option<i64>,
    /// By (bucket, server).
    accepted: BTreeMap<(i64, &'static str), Slots>,
    pub(crate) counts: Counts,
}

impl Model {
    pub(crate) fn is_closed(&self, bucket: i64, grace: i64) -> bool {
        self.watermark.is_some_and(|w| w >= bucket + STEP + grace)
            || self.idle_through.is_some_and(|idle| bucket <= idle)
    }

    pub(crate) fn judge(&mut self, grace: i64, offset: i64, event: &Event) -> Outcome {
        let Event::Record {
            server,
            timestamp,
            kafka_timestamp,
            values,
            ..
        } = event
        else {
            return Outcome::Rejected(Reject::Undecodable);
        };
        if server.is_empty() {
            return Outcome::Rejected(Reject::NoServer);
        }
        let Some(timestamp) = *timestamp else {
            return Outcome::Rejected(Reject::NoTimestamp);
        };
        if timestamp < MIN_TIMESTAMP {
            return Outcome::Rejected(Reject::TimestampTooOld);
        }
        if timestamp - kafka_timestamp > AHEAD {
            return Outcome::Rejected(Reject::TimestampInFuture);
        }
        let bucket = timestamp.div_euclid(STEP) * STEP;
        let outcome = if self.is_closed(bucket, grace) {
            Outcome::Late
        } else if values.iter().all(|value| value.is_nan()) {
            Outcome::Rejected(Reject::NoUsableValue)
        } else if self.is_crowded(bucket, server) {
            Outcome::Rejected(Reject::TooManyServers)
        } else {
            let slots = self.accepted.entry((bucket, server)).or_default();
            match slots.entry(timestamp) {
                Entry::Occupied(_) => Outcome::Duplicate,
                Entry::Vacant(slot) => {
                    slot.insert((offset, event.clone()));
                    Outcome::Accepted
                }
            }
        };
        if !matches!(outcome, Outcome::Rejected(_)) {
            self.watermark = self.watermark.max(Some(timestamp.min(*kafka_timestamp)));
        }
        outcome
    }

    pub(crate) fn is_crowded(&self, bucket: i64, server: &'static str) -> bool {
        let others = self.accepted.keys().filter(|key| key.0 == bucket);
        let others = others.filter(|key| key.1 != server).count();
        others >= 2 && !self.accepted.contains_key(&(bucket, server))
    }

    pub(crate) fn offer(&mut self, grace: i64, offset: i64, event: &Event) -> Option<Outcome> {
        if matches!(event, Event::Idle) {
            let open = self.accepted.keys().map(|key| key.0);
            let newest = open.filter(|&bucket| !self.is_closed(bucket, grace)).max();
            self.idle_through = self.idle_through.max(newest);
            return None;
        }
        let outcome = self.judge(grace, offset, event);
        self.counts.consumed += 1;
        match outcome {
            Outcome::Accepted => self.counts.accepted += 1,
            Outcome::Duplicate => self.counts.duplicate += 1,
            Outcome::Late => self.counts.late += 1,
            Outcome::Replayed => self.counts.replayed += 1,
            Outcome::Rejected(_) => self.counts.rejected += 1,
        }
        Some(outcome)
    }

    /// Rows of everything closed, by (bucket, server).
    pub(crate) fn rows(&self, grace: i64) -> Vec<Bits> {
        let closed = self.accepted.iter();
        let closed = closed.filter(|((bucket, _), _)| self.is_closed(*bucket, grace));
        closed
            .map(|(&(bucket, server), slots)| row(bucket, server, slots))
            .collect()
    }
}

pub(crate) fn row(bucket: i64, server: &str, slots: &Slots) -> Bits {
    let mut by_offset: Vec<_> = slots.values().collect();
    by_offset.sort_by_key(|slot| slot.0);
    let values = |metric: usize, slots: Vec<&(i64, Event)>| -> Vec<f32> {
        let values = slots.into_iter().filter_map(|(_, event)| match event {
            Event::Record { values, .. } => Some(values[metric]),
            _ => None,
        });
        values.filter(|value| !value.is_nan()).collect()
    };
    let to_mean = values(0, by_offset);
    let sum: f64 = to_mean.iter().map(|&value| f64::from(value)).sum();
    let mean = if to_mean.is_empty() {
        f32::NAN
    } else {
        (sum / to_mean.len() as f64) as f32
    };
    let by_time: Vec<_> = slots.values().collect();
    let last = values(1, by_time.clone()).last().copied();
    let said = by_time.iter().filter_map(|(_, event)| match event {
        Event::Record { profile, state, .. } => Some((*profile, *state)),
        _ => None,
    });
    let said: Vec<(u16, Option<u16>)> = said.collect();
    (
        bucket,
        server.to_owned(),
        slots.len() as i32,
        said.last().unwrap().0,
        said.iter().rev().find_map(|said| said.1),
        vec![mean.to_bits(), last.unwrap_or(f32::NAN).to_bits()],
    )
}

pub(crate) fn is_nan_row_equal(found: &Bits, expected: &Bits) -> bool {
    // A gap is any NaN: its bits are nobody's business.
    let values = |row: &Bits| -> Vec<Option<u32>> {
        let values = row.5.iter();
        values
            .map(|&bits| (!f32::from_bits(bits).is_nan()).then_some(bits))
            .collect()
    };
    let head = |row: &Bits| (row.0, row.1.clone(), row.2, row.3, row.4);
    head(found) == head(expected) && values(found) == values(expected)
}

#[track_caller]
pub(crate) fn same_rows(found: &[Bits], expected: &[Bits]) {
    let same = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| is_nan_row_equal(found, expected));
    assert!(same, "found {found:#?}\nexpected {expected:#?}");
}

/// Drops repeats by (bucket, server): the first wins.
pub(crate) fn first_of_each(rows: &[Bits]) -> Vec<Bits> {
    let mut seen = BTreeSet::new();
    let mut first: Vec<Bits> = rows
        .iter()
        .filter(|row| seen.insert((row.0, row.1.clone())))
        .cloned()
        .collect();
    first.sort();
    first
}
