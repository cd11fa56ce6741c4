//! Where a reader ends: at the offsets that its topics had at the start, or never.
//!
//! A run is over when every assigned partition has been read to its fixed end. Records that
//! arrive later belong to the next run. Pure: the loop feeds it assignments and positions.

use std::collections::HashMap;
use std::sync::Arc;

/// Fixed end offsets and how far each assigned partition has been read; of a service, nothing.
#[derive(Debug, Default)]
pub(crate) struct Ends(Option<Fixed>);

#[derive(Debug)]
struct Fixed {
    /// Topic → partition → what is known; nested so that a record is looked up without a copy.
    parts: HashMap<Arc<str>, HashMap<i32, Part>>,
    answered: bool,
}

#[derive(Debug, Default)]
struct Part {
    /// Next offset at the start of the run.
    end: Option<i64>,
    /// What is read next; `None` while it is not assigned.
    position: Option<i64>,
}

impl Ends {
    /// Of a service: everything belongs to it and it is never done.
    pub(crate) fn never() -> Self {
        Self(None)
    }

    /// `ends`: (topic, partition, next offset at the start of the run).
    pub(crate) fn fixed(ends: impl IntoIterator<Item = (Arc<str>, i32, i64)>) -> Self {
        let mut parts: HashMap<Arc<str>, HashMap<i32, Part>> = HashMap::new();
        for (topic, partition, end) in ends {
            let part = Part {
                end: Some(end),
                position: None,
            };
            parts.entry(topic).or_default().insert(partition, part);
        }
        Self(Some(Fixed {
            parts,
            answered: false,
        }))
    }

    /// Whether there is an end.
    pub(crate) fn is_fixed(&self) -> bool {
        self.0.is_some()
    }

    /// The group has answered, perhaps with no partition for this process.
    pub(crate) fn answered(&mut self) {
        if let Some(fixed) = &mut self.0 {
            fixed.answered = true;
        }
    }

    /// A partition will be read from `start` on.
    pub(crate) fn assign(&mut self, topic: &Arc<str>, partition: i32, start: i64) {
        if let Some(fixed) = &mut self.0 {
            fixed.answered = true;
            let partitions = fixed.parts.entry(Arc::clone(topic)).or_default();
            partitions.entry(partition).or_default().position = Some(start);
        }
    }

    /// A partition is somebody else's now.
    pub(crate) fn revoke(&mut self, topic: &str, partition: i32) {
        if let Some(part) = self.part(topic, partition) {
            part.position = None;
        }
    }

    /// Takes the record at `offset` as read; `false` when it belongs to the next run.
    pub(crate) fn take(&mut self, topic: &str, partition: i32, offset: i64) -> bool {
        if !self.is_fixed() {
            return true;
        }
        let Some(part) = self.part(topic, partition) else {
            return false;
        };
        // One beyond the end tells too that everything before it was read.
        part.advance(offset.saturating_add(1));
        part.end.is_some_and(|end| offset < end)
    }

    /// Everything before `next` has been read, also where no record lies.
    pub(crate) fn advance(&mut self, topic: &str, partition: i32, next: i64) {
        if let Some(part) = self.part(topic, partition) {
            part.advance(next);
        }
    }

    /// Whether a partition has been read to its end; never of a service.
    pub(crate) fn is_read(&self, topic: &str, partition: i32) -> bool {
        self.0.as_ref().is_some_and(|fixed| {
            let part = fixed
                .parts
                .get(topic)
                .and_then(|parts| parts.get(&partition));
            part.is_none_or(Part::is_read)
        })
    }

    /// Whether all assigned partitions have been read to their ends.
    pub(crate) fn done(&self) -> bool {
        self.0.as_ref().is_some_and(|fixed| {
            fixed.answered
                && fixed
                    .parts
                    .values()
                    .flat_map(HashMap::values)
                    .all(Part::is_read)
        })
    }

    fn part(&mut self, topic: &str, partition: i32) -> Option<&mut Part> {
        self.0.as_mut()?.parts.get_mut(topic)?.get_mut(&partition)
    }
}

impl Part {
    fn advance(&mut self, next: i64) {
        if let Some(position) = &mut self.position {
            *position = (*position).max(next);
        }
    }

    fn is_read(&self) -> bool {
        let (Some(position), Some(end)) = (self.position, self.end) else {
            return true;
        };
        position >= end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> Arc<str> {
        Arc::from("m")
    }

    #[test]
    fn a_run_ends_when_every_assigned_partition_has_reached_its_fixed_end() {
        let mut ends = Ends::fixed([(topic(), 0, 10), (topic(), 1, 0)]);
        assert!(!ends.done(), "nothing is assigned yet");
        ends.assign(&topic(), 0, 4);
        ends.assign(&topic(), 1, 0);
        assert!(!ends.done());
        ends.advance("m", 0, 9);
        assert!(!ends.done() && !ends.is_read("m", 0) && ends.is_read("m", 1));
        assert!(ends.take("m", 0, 9) && !ends.take("m", 0, 10));
        assert!(ends.done());
        ends.advance("m", 0, 12);
        assert!(ends.done());
    }

    #[test]
    fn a_revoked_partition_is_not_waited_for() {
        let mut ends = Ends::fixed([(topic(), 0, 10)]);
        ends.assign(&topic(), 0, 0);
        ends.revoke("m", 0);
        assert!(ends.done());
    }

    #[test]
    fn a_process_without_partitions_is_done_once_the_group_has_answered() {
        let mut ends = Ends::fixed([(topic(), 0, 10)]);
        ends.answered();
        assert!(ends.done());
    }

    #[test]
    fn a_reader_ends_when_each_partition_has_reached_the_end_it_had() {
        let ranges = [(0, 0, 3), (1, 5, 5), (2, 7, 9)];
        let mut left = Ends::fixed(ranges.map(|(partition, _, high)| (topic(), partition, high)));
        for (partition, low, _) in ranges {
            left.assign(&topic(), partition, low);
        }
        assert!(left.take("m", 0, 2) && !left.take("m", 0, 3) && !left.take("m", 1, 5));
        assert!(!left.done());
        left.advance("m", 2, 8);
        assert!(!left.done());
        // The end may be a transaction's marker: the position jumps past it.
        left.advance("m", 2, 10);
        assert!(left.done());
    }

    #[test]
    fn a_service_takes_everything_and_never_ends() {
        let mut ends = Ends::never();
        ends.assign(&topic(), 0, 0);
        ends.answered();
        assert!(ends.take("m", 0, 7) && ends.take("other", 3, 0));
        assert!(!ends.done() && !ends.is_fixed() && !ends.is_read("m", 0));
    }
}
