//! Recorded data in the order and at the pace it is sent again.
//!
//! Order: by timestamp, ties in file order. A file need not be sorted: [`Sorter`] holds what it has been given until
//! the caller says that nothing earlier can come (from the least timestamps of the parts still to be read). A file in time
//! order passes through part by part; one sorted by server is held as a whole, which the limit on rows bounds.
//!
//! It is not: a clock. [`Pacer`] says when a record is due, the caller waits.

use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use arrow::array::RecordBatch;

use crate::glob;
use crate::records::{Records, RecordsError, Row};

/// Which rows are replayed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// No row before this time (milliseconds since the epoch).
    pub from_ms: Option<i64>,
    /// No row at this time or later.
    pub to_ms: Option<i64>,
    /// Whose rows.
    pub servers: Servers,
}

impl Filter {
    /// Whether a row passes.
    pub fn accepts(&self, server: &str, timestamp_ms: i64) -> bool {
        self.from_ms.is_none_or(|from| from <= timestamp_ms)
            && self.to_ms.is_none_or(|to| timestamp_ms < to)
            && self.servers.contains(server)
    }
}

/// A choice of servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Servers {
    /// Everybody.
    #[default]
    All,
    /// Those whose whole name fits: `*` stands for any characters, `?` for one.
    Glob(String),
    /// Those listed.
    Listed(HashSet<String>),
}

impl Servers {
    /// Reads a list of one name a line; blank lines and lines that begin with `#` are skipped.
    pub fn from_lines(text: &str) -> Self {
        let names = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Servers::Listed(names.map(str::to_owned).collect())
    }

    /// Whether a server is chosen.
    pub fn contains(&self, server: &str) -> bool {
        match self {
            Servers::All => true,
            Servers::Glob(pattern) => glob::matches(pattern, server),
            Servers::Listed(names) => names.contains(server),
        }
    }
}

/// Puts rows in time order.
#[derive(Debug)]
pub struct Sorter {
    held: Records,
    filter: Filter,
    max_rows: usize,
    incomplete: u64,
}

impl Sorter {
    /// For these metrics; at most `max_rows` rows are held at a time.
    pub fn new(
        metrics: impl IntoIterator<Item = impl Into<String>>,
        filter: Filter,
        max_rows: usize,
    ) -> Self {
        Sorter {
            held: Records::new(metrics),
            filter,
            max_rows,
            incomplete: 0,
        }
    }

    /// Takes the rows of a batch that pass the filter.
    ///
    /// # Errors
    /// [`RecordsError::TooMany`] when more rows would be held than agreed, else what [`Records::append`] says.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), RecordsError> {
        let filter = &self.filter;
        let incomplete = self.held.append(batch, |server, timestamp_ms| {
            filter.accepts(server, timestamp_ms)
        })?;
        self.incomplete += incomplete as u64;
        if self.held.len() > self.max_rows {
            return Err(RecordsError::TooMany {
                what: "rows out of time order",
                most: self.max_rows,
            });
        }
        Ok(())
    }

    /// Rows held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Rows left out so far because they have no server or no timestamp.
    pub fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// Gives out the rows before a time, in order: those that no row still to come can precede. `None`: all.
    ///
    /// # Errors
    /// None that can be met: the rows fit before.
    pub fn release(&mut self, before_ms: Option<i64>) -> Result<Sorted, RecordsError> {
        let empty = Records::new(self.held.metrics());
        let held = std::mem::replace(&mut self.held, empty);
        let ready = |timestamp_ms: &i64| before_ms.is_none_or(|before| *timestamp_ms < before);
        let num_ready = held.timestamps().iter().filter(|t| ready(t)).count();
        let released = match before_ms {
            Some(_) if num_ready == 0 => {
                let none = Records::new(held.metrics());
                self.held = held;
                none
            }
            Some(before) if num_ready < held.len() => {
                let (early, late) = held.split(before)?;
                self.held = late;
                early
            }
            _ => held,
        };
        Ok(Sorted::new(released))
    }
}

/// Rows in time order. Memory: the rows, and 4 bytes each for their order.
#[derive(Debug)]
pub struct Sorted {
    records: Records,
    order: Vec<u32>,
    next: usize,
    scratch: Vec<Option<f32>>,
}

impl Sorted {
    /// Sorts rows that are there as a whole.
    pub fn new(records: Records) -> Self {
        // Row numbers fit: `Records` holds at most u32::MAX rows.
        let mut order: Vec<u32> = (0..records.len() as u32).collect();
        let timestamps = records.timestamps();
        // Stable, so that ties stay in file order.
        order.sort_by_key(|&row| timestamps.get(row as usize).copied());
        Sorted {
            records,
            order,
            next: 0,
            scratch: Vec::new(),
        }
    }

    /// Rows in all.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The next row in order.
    pub fn next_row(&mut self) -> Option<Row<'_>> {
        let row = *self.order.get(self.next)?;
        self.next += 1;
        self.records.row(row as usize, &mut self.scratch)
    }
}

/// How fast data is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as it is taken.
    Max,
    /// So many times the data's own pace.
    Times(f64),
}

/// A speed that is neither `max` nor a positive number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no speed: 'max', or how many times the data's own pace, such as 60")]
pub struct BadSpeed(String);

impl FromStr for Speed {
    type Err = BadSpeed;

    fn from_str(text: &str) -> Result<Self, BadSpeed> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
            _ => Err(BadSpeed(text.to_owned())),
        }
    }
}

/// Says when records are due.
#[derive(Debug, Clone, Copy)]
pub struct Pacer {
    speed: Speed,
    first_ms: Option<i64>,
}

impl Pacer {
    /// The first record asked about is due at once, the others relative to it.
    pub fn new(speed: Speed) -> Self {
        Pacer {
            speed,
            first_ms: None,
        }
    }

    /// How long after the first record this one is due. A record earlier than the first is due at once; what would be due
    /// in more than a century is due in a century.
    pub fn due(&mut self, timestamp_ms: i64) -> Duration {
        const CENTURY_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;
        let first_ms = *self.first_ms.get_or_insert(timestamp_ms);
        match self.speed {
            Speed::Max => Duration::ZERO,
            Speed::Times(times) => {
                let seconds = timestamp_ms.saturating_sub(first_ms) as f64 / 1000.0 / times;
                Duration::try_from_secs_f64(seconds.clamp(0.0, CENTURY_SECONDS))
                    .unwrap_or(Duration::ZERO)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(rows: &[(&str, i64)]) -> Records {
        let mut records = Records::new(["n"]);
        for (n, (server, timestamp_ms)) in rows.iter().enumerate() {
            let values = [Some(n as f32)];
            let row = Row {
                server,
                timestamp_ms: *timestamp_ms,
                profile: None,
                state: None,
                values: &values,
            };
            records.push(&row).unwrap();
        }
        records
    }

    fn batch(rows: &[(&str, i64)]) -> RecordBatch {
        records(rows).to_batch(0..rows.len()).unwrap()
    }

    fn drain(mut sorted: Sorted) -> Vec<(String, i64, f32)> {
        let mut rows = Vec::with_capacity(sorted.len());
        while let Some(row) = sorted.next_row() {
            rows.push((
                row.server.to_owned(),
                row.timestamp_ms,
                row.values[0].unwrap(),
            ));
        }
        rows
    }

    fn numbers(sorted: Sorted) -> Vec<f32> {
        drain(sorted).into_iter().map(|row| row.2).collect()
    }

    #[test]
    fn ties_stay_in_file_order() {
        let rows = [("a", 3), ("b", 1), ("c", 3), ("d", 1), ("e", 2)];
        assert_eq!(
            numbers(Sorted::new(records(&rows))),
            [1.0, 3.0, 4.0, 0.0, 2.0]
        );
    }

    #[test]
    fn from_is_inclusive_and_to_exclusive() {
        let filter = Filter {
            from_ms: Some(2),
            to_ms: Some(4),
            servers: Servers::Glob("a*".into()),
        };
        let mut sorter = Sorter::new(["n"], filter, 100);
        sorter
            .push(&batch(&[("a", 1), ("a", 2), ("ab", 3), ("b", 3), ("a", 4)]))
            .unwrap();
        assert_eq!(numbers(sorter.release(None).unwrap()), [1.0, 2.0]);
    }

    #[test]
    fn a_list_of_servers_is_read() {
        let servers = Servers::from_lines("# a comment\nvm0001\n\n  vm0007x8  \r\n");
        assert!(servers.contains("vm0001") && servers.contains("vm0007x8"));
        assert!(
            !servers.contains("vm0007")
                && !servers.contains("# a comment")
                && !servers.contains("")
        );
        assert!(Servers::All.contains("anything"));
    }

    #[test]
    fn no_more_rows_are_held_than_agreed() {
        let mut sorter = Sorter::new(["n"], Filter::default(), 2);
        sorter.push(&batch(&[("a", 1), ("a", 2)])).unwrap();
        assert!(matches!(
            sorter.push(&batch(&[("a", 3)])),
            Err(RecordsError::TooMany { most: 2, .. })
        ));
    }

    #[test]
    fn speeds_are_read() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for bad in ["", "0", "-1", "nan", "inf", "fast", "MAX"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn records_are_due_at_the_pace_of_the_data() {
        let mut pacer = Pacer::new(Speed::Times(60.0));
        let due = [1_000, 61_000, 301_000, 0].map(|t| pacer.due(t));
        assert_eq!(due, [0, 1, 5, 0].map(Duration::from_secs));
        assert!(pacer.due(i64::MAX) > Duration::from_secs(3_000_000_000));
        assert_eq!(Pacer::new(Speed::Max).due(99), Duration::ZERO);
        let mut slow = Pacer::new(Speed::Times(1e-300));
        slow.due(i64::MIN);
        assert!(slow.due(i64::MAX) < Duration::from_secs(3_200_000_000));
    }

    proptest! {
        /// Part by part, with the promise kept that nothing earlier comes, is as good as all at once.
        #[test]
        fn parts_give_the_same_order(times in prop::collection::vec(0i64..40, 1..60), size in 1usize..12) {
            let rows: Vec<(&str, i64)> = times.iter().map(|t| ("s", *t)).collect();
            let mut expected: Vec<(i64, usize)> = times.iter().copied().zip(0..).collect();
            expected.sort();
            let mut sorter = Sorter::new(["n"], Filter::default(), 1000);
            let mut got = Vec::new();
            for (n, part) in rows.chunks(size).enumerate() {
                sorter.push(&batch(part)).unwrap();
                let before = rows.iter().skip((n + 1) * size).map(|row| row.1).min();
                got.extend(drain(sorter.release(before).unwrap()).into_iter().map(|row| row.1));
            }
            prop_assert_eq!(sorter.held(), 0);
            prop_assert_eq!(got, expected.iter().map(|row| row.0).collect::<Vec<_>>());
        }

        #[test]
        fn all_at_once_is_a_stable_sort(times in prop::collection::vec(-5i64..5, 0..60)) {
            let rows: Vec<(&str, i64)> = times.iter().map(|t| ("s", *t)).collect();
            let mut expected: Vec<(i64, usize)> = times.iter().copied().zip(0..).collect();
            expected.sort();
            let want: Vec<f32> = expected.iter().map(|row| row.1 as f32).collect();
            prop_assert_eq!(numbers(Sorted::new(records(&rows))), want);
        }
    }
}
