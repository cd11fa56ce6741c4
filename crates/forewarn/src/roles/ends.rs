//! Where `--until-end` ends: the offsets that the topics had at the start.
//!
//! A run is over when every assigned partition has been read to its fixed end. Records that
//! arrive later belong to the next run. Pure: the role loop feeds it assignments and positions.

use std::collections::HashMap;

/// Fixed end offsets and how far each assigned partition has been read.
#[derive(Debug)]
pub(crate) struct Ends {
    ends: HashMap<(String, i32), i64>,
    positions: HashMap<(String, i32), i64>,
    assigned: bool,
}

impl Ends {
    /// `ends`: (topic, partition, next offset at the start of the run).
    pub(crate) fn new(ends: impl IntoIterator<Item = (String, i32, i64)>) -> Self {
        Self {
            ends: ends.into_iter().map(|(t, p, end)| ((t, p), end)).collect(),
            positions: HashMap::new(),
            assigned: false,
        }
    }

    /// A partition will be read from `start` on.
    pub(crate) fn assign(&mut self, topic: &str, partition: i32, start: i64) {
        self.assigned = true;
        self.positions.insert((topic.to_owned(), partition), start);
    }

    /// The group has answered, perhaps with no partition for this process.
    pub(crate) fn answered(&mut self) {
        self.assigned = true;
    }

    /// A partition is somebody else's now.
    pub(crate) fn revoke(&mut self, topic: &str, partition: i32) {
        self.positions.remove(&(topic.to_owned(), partition));
    }

    /// Everything before `next` has been read.
    pub(crate) fn advance(&mut self, topic: &str, partition: i32, next: i64) {
        if let Some(position) = self.positions.get_mut(&(topic.to_owned(), partition)) {
            *position = (*position).max(next);
        }
    }

    /// Whether a record at `offset` belongs to this run.
    pub(crate) fn includes(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.ends
            .get(&(topic.to_owned(), partition))
            .is_some_and(|end| offset < *end)
    }

    /// Whether all assigned partitions have been read to their ends.
    pub(crate) fn done(&self) -> bool {
        self.assigned
            && self
                .positions
                .iter()
                .all(|(key, position)| self.ends.get(key).is_none_or(|end| position >= end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_when_every_assigned_partition_has_reached_its_fixed_end() {
        let mut ends = Ends::new([("m".to_owned(), 0, 10), ("m".to_owned(), 1, 0)]);
        assert!(!ends.done(), "nothing is assigned yet");
        ends.assign("m", 0, 4);
        ends.assign("m", 1, 0);
        assert!(!ends.done());
        ends.advance("m", 0, 9);
        assert!(!ends.done());
        assert!(ends.includes("m", 0, 9) && !ends.includes("m", 0, 10));
        ends.advance("m", 0, 12);
        assert!(ends.done());
    }

    #[test]
    fn a_revoked_partition_is_not_waited_for() {
        let mut ends = Ends::new([("m".to_owned(), 0, 10)]);
        ends.assign("m", 0, 0);
        ends.revoke("m", 0);
        assert!(ends.done());
    }

    #[test]
    fn a_process_without_partitions_is_done_once_the_group_has_answered() {
        let mut ends = Ends::new([("m".to_owned(), 0, 10)]);
        ends.answered();
        assert!(ends.done());
    }
}
