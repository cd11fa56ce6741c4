//! Where a partition is read from after a restart, and what is committed for the next one.
//!
//! What an offset and its metadata mean is decided in `window`; here the commit of the last owner
//! is held against what the partition still has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bus::{AssignedPartition, BusError, CommitOffset, Consumer};
use window::context::RereadCommit;
use window::metadata::MetadataError;
use window::rollup::Commit;

/// A committed offset with its metadata, of whichever kind the role keeps.
pub(crate) trait Committed: Copy + PartialEq {
    /// The offset to read from.
    fn offset(&self) -> i64;
    /// The offset after the last one that was read.
    fn position(&self) -> i64;
    /// What a restart must know beside the offset.
    fn metadata(&self) -> String;
    /// Reads back what was committed; `None` for an empty metadata.
    fn read(offset: i64, metadata: &str) -> Result<Option<Self>, MetadataError>;
    /// The same where records before `low` are gone.
    fn not_before(self, low: i64) -> Self;
}

impl Committed for Commit {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn metadata(&self) -> String {
        Commit::metadata(self)
    }

    fn read(offset: i64, metadata: &str) -> Result<Option<Self>, MetadataError> {
        Commit::from_metadata(offset, metadata)
    }

    fn not_before(self, low: i64) -> Self {
        Commit {
            offset: self.offset.max(low),
            position: self.position.max(low),
            ..self
        }
    }
}

impl Committed for RereadCommit {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn metadata(&self) -> String {
        RereadCommit::metadata(self)
    }

    fn read(offset: i64, metadata: &str) -> Result<Option<Self>, MetadataError> {
        RereadCommit::from_metadata(offset, metadata)
    }

    fn not_before(self, low: i64) -> Self {
        RereadCommit {
            offset: self.offset.max(low),
            position: self.position.max(low),
            ..self
        }
    }
}

/// Where a partition is read from, and what its last owner left for that.
#[derive(Debug, PartialEq)]
pub(crate) struct Resumed<C> {
    /// The first offset to read.
    pub(crate) start: i64,
    /// `None`: without history.
    pub(crate) commit: Option<C>,
}

/// Holds what the last owner committed against what the partition has.
///
/// `who` starts without history where the metadata is not ours, and from the oldest record where the
/// partition ends before what was read of it: then the topic was recreated, and these offsets are
/// other records.
pub(crate) fn resume<C: Committed>(part: &AssignedPartition, who: &str) -> Resumed<C> {
    let (topic, partition) = (&part.topic, part.partition);
    let mut resumed = Resumed {
        start: part.low,
        commit: None,
    };
    let Some(offset) = part.committed else {
        return resumed;
    };
    let commit = C::read(offset, &part.metadata).unwrap_or_else(|error| {
        tracing::warn!(%topic, partition, %error, "{who} starts without history");
        None
    });
    let position = commit.map_or(offset, |commit| commit.position());
    if position > part.high {
        tracing::error!(
            %topic, partition, position, end = part.high,
            "the topic ends before what was committed, it was recreated: {who} starts without history"
        );
        return resumed;
    }
    if offset < part.low {
        tracing::error!(
            %topic, partition, committed = offset, oldest = part.low,
            "records that {who} still needed were deleted: raise the topic's retention"
        );
    }
    resumed.start = offset.max(part.low);
    resumed.commit = commit.map(|commit| commit.not_before(part.low));
    resumed
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

/// The commits of a role, and what of them the broker has not taken yet.
///
/// A broker that is away for a while is no reason to stop: what is not committed is committed at the next try, and a crash until
/// then reads again what it would have saved.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    waiting: BTreeMap<(Arc<str>, i32), CommitOffset>,
    failing_since: Option<Instant>,
}

impl Commits {
    /// Commits `offsets` and what still waits.
    ///
    /// # Errors
    /// What no later try can heal.
    pub(crate) async fn commit(
        &mut self,
        consumer: &Consumer,
        offsets: Vec<CommitOffset>,
    ) -> Result<()> {
        for offset in offsets {
            let key = (Arc::clone(&offset.topic), offset.partition);
            self.waiting.insert(key, offset);
        }
        let all: Vec<_> = self.waiting.values().cloned().collect();
        self.settle(consumer.commit(all).await, Instant::now())
    }

    /// What follows from a try.
    fn settle(&mut self, tried: Result<(), BusError>, now: Instant) -> Result<()> {
        match tried {
            Ok(()) => {
                self.waiting.clear();
                if let Some(since) = self.failing_since.take() {
                    let seconds = now.duration_since(since).as_secs();
                    tracing::info!(seconds, "offsets are committed again");
                }
                Ok(())
            }
            // Its new owner reads again what was not committed, and what it gives again has the same identity. The rebalance itself
            // is told by its event.
            Err(BusError::NotOwner(what)) => {
                tracing::warn!("{what} was taken away before its offsets were committed");
                self.waiting.clear();
                Ok(())
            }
            Err(error @ (BusError::Timeout(_) | BusError::Kafka(_))) => {
                if self.failing_since.is_none() {
                    self.failing_since = Some(now);
                    tracing::warn!(%error, "offsets are not committed: tried again every few seconds");
                }
                Ok(())
            }
            Err(error) => Err(error).context("commit offsets"),
        }
    }

    /// Nothing may wait when a role ends.
    ///
    /// # Errors
    /// When something does: what it is read for would be read again, and the operator must know why.
    pub(crate) fn finish(&self) -> Result<()> {
        anyhow::ensure!(
            self.waiting.is_empty(),
            "the offsets of {} partitions could not be committed: is the broker there? The next start reads their last records again",
            self.waiting.len()
        );
        Ok(())
    }
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
    fn check<C: Committed>(committed: Option<i64>, metadata: &str, start: i64, has_history: bool) {
        let resumed = resume::<C>(&part(committed, metadata), "test");
        assert_eq!(resumed.start, start);
        assert_eq!(
            resumed.commit.map(|c| c.offset()),
            has_history.then_some(start)
        );
    }

    #[test]
    fn a_partition_is_read_from_its_commit_but_never_before_what_it_has() {
        check::<RereadCommit>(
            Some(20),
            r#"{"issued_through":300,"position":30}"#,
            20,
            true,
        );
        check::<RereadCommit>(Some(5), r#"{"issued_through":300,"position":7}"#, 10, true);
        check::<Commit>(Some(5), r#"{"closed_through":300,"position":7}"#, 10, true);
        check::<RereadCommit>(Some(20), "", 20, false);
        check::<RereadCommit>(Some(5), "not ours", 10, false);
        check::<RereadCommit>(None, "", 10, false);
    }

    #[test]
    fn a_recreated_topic_is_read_from_its_beginning_without_history() {
        // The partition ends at 50.
        check::<Commit>(
            Some(20),
            r#"{"closed_through":300,"position":50}"#,
            20,
            true,
        );
        check::<Commit>(
            Some(20),
            r#"{"closed_through":300,"position":51}"#,
            10,
            false,
        );
        check::<RereadCommit>(
            Some(20),
            r#"{"issued_through":300,"position":51}"#,
            10,
            false,
        );
        check::<RereadCommit>(Some(51), "", 10, false);
        check::<RereadCommit>(Some(60), "not ours", 10, false);
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

    #[test]
    fn a_broker_that_is_away_is_waited_for() {
        let now = Instant::now();
        let offset = CommitOffset {
            topic: Arc::from("t"),
            partition: 3,
            offset: 7,
            metadata: String::new(),
        };
        let mut commits = Commits::default();
        commits
            .waiting
            .insert((Arc::clone(&offset.topic), 3), offset);
        for away in [
            BusError::Kafka("commit: WaitingForCoordinator".to_owned()),
            BusError::Timeout("commit".to_owned()),
        ] {
            assert!(commits.settle(Err(away), now).is_ok());
            assert_eq!(
                (commits.waiting.len(), commits.failing_since),
                (1, Some(now))
            );
            assert!(commits.finish().is_err());
        }
        let fenced = BusError::Fenced("another".to_owned());
        assert!(commits.settle(Err(fenced), now).is_err());
        assert!(commits.settle(Ok(()), now).is_ok());
        assert!(commits.waiting.is_empty() && commits.failing_since.is_none());
        assert!(commits.finish().is_ok());
    }
}
