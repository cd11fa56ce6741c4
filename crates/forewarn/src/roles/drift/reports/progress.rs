//! Which buckets may be reported: those that every partition has reached, but for silent ones. Pure.

use std::collections::BTreeMap;

/// How far each partition of `rollups` has handed in panes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    began_ms: i64,
    partitions: BTreeMap<i32, Seen>,
}

#[derive(Debug)]
struct Seen {
    oldest: i64,
    newest: i64,
    last_ms: i64,
}

/// How long a service waits for a partition that says nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Partitions of `rollups`.
    pub(super) expected: usize,
    pub(super) idle_ms: i64,
}

impl Progress {
    /// Nothing was heard yet, by a clock that says `now_ms`.
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            began_ms: now_ms,
            partitions: BTreeMap::new(),
        }
    }

    /// Takes note of a pane; whether it is of a later bucket than those before it of its partition.
    pub(super) fn heard(&mut self, partition: i32, bucket: i64, now_ms: i64) -> bool {
        let seen = self.partitions.entry(partition).or_insert(Seen {
            oldest: bucket,
            newest: bucket,
            last_ms: now_ms,
        });
        let later = bucket > seen.newest;
        seen.oldest = seen.oldest.min(bucket);
        seen.newest = seen.newest.max(bucket);
        seen.last_ms = now_ms;
        later
    }

    /// The last bucket that may be reported: the one that all partitions have reached, or with patience all that were heard lately. A
    /// backlog comes partition after partition, so those that were never heard are waited for just as long.
    pub(super) fn through(&self, now_ms: i64, patience: Option<Patience>) -> Option<i64> {
        if patience.is_some_and(|held| {
            self.partitions.len() < held.expected && now_ms < self.began_ms + held.idle_ms
        }) {
            return None;
        }
        let speaks =
            |seen: &&Seen| patience.is_none_or(|held| now_ms - seen.last_ms < held.idle_ms);
        let newest = |seen: &Seen| seen.newest;
        let speaking = self.partitions.values().filter(speaks).map(newest);
        let all = self.partitions.values().map(newest);
        speaking.min().or(all.max())
    }

    /// The oldest bucket that was handed in.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.partitions.values().map(|seen| seen.oldest).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Option<Patience> = Some(Patience {
        expected: 2,
        idle_ms: 10,
    });

    #[test]
    fn partitions_that_were_never_heard_are_waited_for_as_long_as_silent_ones() {
        let mut progress = Progress::new(100);
        assert_eq!(progress.through(100, PATIENCE), None);
        assert!(!progress.heard(0, 5, 101));
        assert!(progress.heard(0, 9, 102));
        assert_eq!(progress.through(109, PATIENCE), None);
        assert_eq!(progress.through(110, PATIENCE), Some(9));
        // A run to the end does not wait.
        assert_eq!(progress.through(102, None), Some(9));
    }

    #[test]
    fn what_all_that_speak_have_reached() {
        let mut progress = Progress::new(0);
        progress.heard(0, 7, 1);
        progress.heard(1, 4, 1);
        assert!(!progress.heard(1, 3, 2));
        assert_eq!(progress.oldest(), Some(3));
        assert_eq!(progress.through(2, PATIENCE), Some(4));
        progress.heard(0, 8, 11);
        // Partition 1 is silent by now, but not for a run to the end.
        assert_eq!(progress.through(12, PATIENCE), Some(8));
        assert_eq!(progress.through(12, None), Some(4));
        // All are: the furthest.
        assert_eq!(progress.through(40, PATIENCE), Some(8));
    }
}
