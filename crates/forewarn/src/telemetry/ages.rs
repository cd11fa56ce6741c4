//! Lag in seconds: how long ago the end of a partition stood where a group is now.
//!
//! Kafka tells offsets only. Ends are noted as they are asked for; between two notes the end is
//! taken to have moved evenly. Memory: [`MAX_NOTES`] a partition.
//!
//! It is not: event time. A backlog that was there before this process counts from its first note.

use std::collections::{BTreeMap, VecDeque};

/// Notes kept of one partition: an hour at one every 15 s. An older backlog counts as one hour.
const MAX_NOTES: usize = 240;

/// Where a partition's end was, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    at_ms: i64,
    end: i64,
}

/// Ends of partitions over time.
#[derive(Debug, Default)]
pub(crate) struct EndAges(BTreeMap<(String, i32), VecDeque<Note>>);

impl EndAges {
    /// The end of a partition is at offset `end` now.
    pub(crate) fn note(&mut self, topic: &str, partition: i32, end: i64, at_ms: i64) {
        let notes = self.0.entry((topic.to_owned(), partition)).or_default();
        // A recreated topic begins anew.
        if notes.back().is_some_and(|last| end < last.end) {
            notes.clear();
        }
        // Of a stretch without records only its first and last moment matter.
        let n = notes.len();
        let standing = |i: usize| notes.get(i).is_some_and(|note| note.end == end);
        if n >= 2 && standing(n - 1) && standing(n - 2) {
            notes.pop_back();
        }
        notes.push_back(Note { at_ms, end });
        while notes.len() > MAX_NOTES {
            notes.pop_front();
        }
    }

    /// How long the record at `committed` has been waiting, in seconds; 0 at the end.
    pub(crate) fn seconds(
        &self,
        topic: &str,
        partition: i32,
        committed: i64,
        now_ms: i64,
    ) -> Option<f64> {
        let notes = self.0.get(&(topic.to_owned(), partition))?;
        let last = notes.back()?;
        if committed >= last.end {
            return Some(0.0);
        }
        // The last moment at which the group was at the end or ahead of it.
        let before = notes.iter().rev().find(|note| note.end <= committed);
        let after = notes.iter().find(|note| note.end > committed)?;
        let since_ms = match before {
            None => after.at_ms as f64,
            Some(before) => {
                let moved = (after.end - before.end).max(1) as f64;
                let share = (committed - before.end) as f64 / moved;
                before.at_ms as f64 + share * (after.at_ms - before.at_ms) as f64
            }
        };
        Some(((now_ms as f64 - since_ms) / 1_000.0).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(notes: &[(i64, i64)]) -> EndAges {
        let mut ages = EndAges::default();
        for (at_ms, end) in notes {
            ages.note("t", 0, *end, *at_ms);
        }
        ages
    }

    #[track_caller]
    fn check(notes: &[(i64, i64)], committed: i64, now_ms: i64, expected: Option<f64>) {
        assert_eq!(ages(notes).seconds("t", 0, committed, now_ms), expected);
    }

    #[test]
    fn the_age_is_taken_between_two_notes() {
        let notes = [(0, 100), (10_000, 200), (20_000, 300)];
        check(&notes, 300, 25_000, Some(0.0));
        // Offset 250 was the end at 15 s.
        check(&notes, 250, 25_000, Some(10.0));
        check(&notes, 100, 25_000, Some(25.0));
        // Older than the first note: since then.
        check(&notes, 50, 25_000, Some(25.0));
        check(&[], 0, 0, None);
    }

    #[test]
    fn a_pause_of_the_producers_is_no_age() {
        // Nothing came from 0 to 60 s, then 10 records until 70 s.
        let notes = [
            (0, 100),
            (20_000, 100),
            (40_000, 100),
            (60_000, 100),
            (70_000, 110),
        ];
        check(&notes, 100, 70_000, Some(10.0));
        check(&notes, 105, 70_000, Some(5.0));
        assert_eq!(ages(&notes).0[&("t".to_owned(), 0)].len(), 3);
    }

    #[test]
    fn memory_is_bounded_and_a_new_topic_begins_anew() {
        let many: Vec<(i64, i64)> = (0..1_000).map(|n| (n * 1_000, n)).collect();
        assert_eq!(ages(&many).0[&("t".to_owned(), 0)].len(), MAX_NOTES);
        check(&[(0, 100), (1_000, 5)], 4, 2_000, Some(1.0));
    }
}
