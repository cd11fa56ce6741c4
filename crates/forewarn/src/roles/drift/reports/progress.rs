//! Which buckets may be reported: those that every partition has reached, but for silent ones. Pure.

use std::collections::{BTreeMap, BTreeSet};

use contract::record::Pane;

/// How far each partition of `rollups` has handed in panes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    began_ms: i64,
    partitions: BTreeMap<i32, Seen>,
}

#[derive(Debug)]
struct Seen {
    oldest: i64,
    /// The last bucket whose panes are all there.
    newest: Option<i64>,
    /// The last bucket of which a pane is there, and of which profiles.
    coming: (i64, BTreeSet<String>),
    last_ms: i64,
}

impl Seen {
    /// Takes note of a pane; whether a bucket became whole by it. Panes come in the order of their buckets: one of a later
    /// bucket completes those before it. A chunk may end between two panes of one bucket, so that the first is not enough.
    fn take(&mut self, pane: &Pane) -> bool {
        let mut whole = None;
        if pane.bucket > self.coming.0 {
            whole = Some(self.coming.0);
            self.coming = (pane.bucket, BTreeSet::new());
        }
        if pane.bucket == self.coming.0 {
            self.coming.1.insert(pane.profile.clone());
            let of = usize::try_from(pane.num_panes).unwrap_or(0);
            if self.coming.1.len() >= of {
                whole = Some(pane.bucket);
            }
        }
        let before = self.newest;
        self.newest = self.newest.max(whole);
        self.newest > before
    }
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

    /// Takes note of a pane; whether a bucket of its partition became whole by it.
    pub(super) fn heard(&mut self, pane: &Pane, now_ms: i64) -> bool {
        let seen = self.partitions.entry(pane.partition).or_insert(Seen {
            oldest: pane.bucket,
            newest: None,
            coming: (pane.bucket, BTreeSet::new()),
            last_ms: now_ms,
        });
        seen.oldest = seen.oldest.min(pane.bucket);
        seen.last_ms = now_ms;
        seen.take(pane)
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
        let mut speaking = self.partitions.values().filter(speaks).map(newest);
        match speaking.next() {
            // One that has no whole bucket yet is waited for.
            Some(first) => speaking.fold(first, Option::min),
            None => self.partitions.values().filter_map(newest).max(),
        }
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

    /// One of `num_panes` panes of a bucket.
    fn pane(partition: i32, bucket: i64, profile: &str, num_panes: i32) -> Pane {
        Pane {
            partition,
            profile: profile.to_owned(),
            bucket,
            baseline: String::new(),
            contract: String::new(),
            position: 0,
            servers: 0,
            rows: 0,
            cpu_load: Default::default(),
            mem_load: Default::default(),
            metrics: Vec::new(),
            new_servers: 0,
            new_names: Vec::new(),
            num_panes,
        }
    }

    fn hear(progress: &mut Progress, partition: i32, bucket: i64, now_ms: i64) -> bool {
        progress.heard(&pane(partition, bucket, "web", 1), now_ms)
    }

    #[test]
    fn partitions_that_were_never_heard_are_waited_for_as_long_as_silent_ones() {
        let mut progress = Progress::new(100);
        assert_eq!(progress.through(100, PATIENCE), None);
        assert!(hear(&mut progress, 0, 5, 101));
        assert!(hear(&mut progress, 0, 9, 102));
        assert_eq!(progress.through(109, PATIENCE), None);
        assert_eq!(progress.through(110, PATIENCE), Some(9));
        // A run to the end does not wait.
        assert_eq!(progress.through(102, None), Some(9));
    }

    #[test]
    fn what_all_that_speak_have_reached() {
        let mut progress = Progress::new(0);
        hear(&mut progress, 0, 7, 1);
        hear(&mut progress, 1, 4, 1);
        assert!(!hear(&mut progress, 1, 3, 2));
        assert_eq!(progress.oldest(), Some(3));
        assert_eq!(progress.through(2, PATIENCE), Some(4));
        hear(&mut progress, 0, 8, 11);
        // Partition 1 is silent by now, but not for a run to the end.
        assert_eq!(progress.through(12, PATIENCE), Some(8));
        assert_eq!(progress.through(12, None), Some(4));
        // All are: the furthest.
        assert_eq!(progress.through(40, PATIENCE), Some(8));
    }

    #[test]
    fn a_bucket_is_whole_when_all_of_its_panes_are_there() {
        let mut progress = Progress::new(0);
        assert!(hear(&mut progress, 0, 9, 1));
        assert!(!progress.heard(&pane(1, 5, "web", 2), 1));
        // Partition 1 has none that is whole, and speaks.
        assert_eq!(progress.through(1, None), None);
        // The same again is not the other.
        assert!(!progress.heard(&pane(1, 5, "web", 2), 1));
        assert_eq!(progress.through(1, None), None);
        assert!(progress.heard(&pane(1, 5, "database", 2), 1));
        assert_eq!(progress.through(1, None), Some(5));
        // A later one completes those before it, whatever is missing of them.
        assert!(!progress.heard(&pane(1, 6, "web", 2), 1));
        assert!(progress.heard(&pane(1, 7, "web", 2), 1));
        assert_eq!(progress.through(1, None), Some(6));
        // Panes that do not tell how many there are.
        assert!(progress.heard(&pane(1, 8, "web", 0), 1));
        assert_eq!(progress.through(1, None), Some(8));
    }
}
