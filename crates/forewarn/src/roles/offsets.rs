//! Where a partition is read from after a restart, and what is committed for the next one.
//!
//! What an offset and its metadata mean is decided in `window`; here the commit of the last owner
//! is held against what the partition still has.

use std::sync::Arc;

use bus::{AssignedPartition, CommitOffset};
use window::context::RereadCommit;
use window::rollup::Commit;

/// A committed offset with its metadata, of whichever kind the role keeps.
pub(crate) trait Committed: Copy + PartialEq {
    /// The offset to read from.
    fn offset(&self) -> i64;
    /// What a restart must know beside it.
    fn metadata(&self) -> String;
}

impl Committed for Commit {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn metadata(&self) -> String {
        Commit::metadata(self)
    }
}

impl Committed for RereadCommit {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn metadata(&self) -> String {
        RereadCommit::metadata(self)
    }
}

/// What the last owner left of a partition that is read again; `who` starts without history where
/// the metadata is not ours.
pub(crate) fn reread_from(part: &AssignedPartition, who: &str) -> Option<RereadCommit> {
    let offset = part.committed?;
    match RereadCommit::from_metadata(offset, &part.metadata) {
        Ok(commit) => commit.map(|c| RereadCommit {
            offset: c.offset.max(part.low),
            position: c.position.max(part.low),
            ..c
        }),
        Err(error) => {
            tracing::warn!(
                topic = %part.topic, partition = part.partition, %error,
                "{who} starts without history"
            );
            None
        }
    }
}

/// The offset to read a partition from: the commit's, else the committed one without history, else
/// the oldest that there is.
pub(crate) fn start_of(part: &AssignedPartition, commit: Option<&impl Committed>) -> i64 {
    commit.map_or_else(
        || part.committed.unwrap_or(part.low).max(part.low),
        Committed::offset,
    )
}

/// What is to be committed of a partition, if it is not what was committed `before`, which it
/// becomes.
pub(crate) fn changed<C: Committed>(
    topic: &Arc<str>,
    partition: i32,
    now: Option<C>,
    before: &mut Option<C>,
) -> Option<CommitOffset> {
    let commit = now?;
    if now == *before {
        return None;
    }
    *before = now;
    Some(CommitOffset {
        topic: Arc::clone(topic),
        partition,
        offset: commit.offset(),
        metadata: commit.metadata(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(committed: Option<i64>, metadata: &str) -> AssignedPartition {
        AssignedPartition {
            topic: Arc::from("t"),
            partition: 3,
            committed,
            metadata: metadata.to_owned(),
            low: 10,
            high: 50,
        }
    }

    #[track_caller]
    fn check(committed: Option<i64>, metadata: &str, start: i64, has_history: bool) {
        let part = part(committed, metadata);
        let commit = reread_from(&part, "test");
        assert_eq!(commit.is_some(), has_history);
        assert_eq!(start_of(&part, commit.as_ref()), start);
    }

    #[test]
    fn a_partition_is_read_from_its_commit_but_never_before_what_it_has() {
        check(
            Some(20),
            r#"{"issued_through":300,"position":30}"#,
            20,
            true,
        );
        check(Some(5), r#"{"issued_through":300,"position":7}"#, 10, true);
        check(Some(20), "", 20, false);
        check(Some(5), "not ours", 10, false);
        check(None, "", 10, false);
    }

    #[test]
    fn a_commit_is_written_once() {
        let commit = RereadCommit {
            offset: 4,
            issued_through: None,
            position: 9,
        };
        let (topic, mut before) = (Arc::from("t"), None);
        assert!(changed::<RereadCommit>(&topic, 3, None, &mut before).is_none());
        let written = changed(&topic, 3, Some(commit), &mut before);
        assert!(written.is_some_and(|w| w.offset == 4 && w.metadata == commit.metadata()));
        assert!(changed(&topic, 3, Some(commit), &mut before).is_none());
    }
}
