//! Which offset lets a role read the last N hours again.
//!
//! `forecast` and `drift` need a stretch of rows (24 h of context, 8 h of pending forecasts) to issue anything. No offset is
//! looked up by time: Kafka's time is not event time. Instead the committed offset stays behind the position, at the oldest
//! row that a bucket still to be issued needs, and the metadata says through which bucket output was issued.
//!
//! After a restart the role reads from that offset. A row below the position whose output was issued is
//! [`Reading::Context`]: it goes into the context and makes no output. Every other row is [`Reading::New`].
//!
//! Invariants:
//! * Every row observed with a bucket after `issued_through − keep` lies at or after the committed offset.
//! * Memory: [`MAX_BUCKETS`] entries. Beyond, old buckets share an entry and the offset is further back than it need be.
//!
//! It is not: the context itself, nor a check for repeats within it ((server, bucket) is the role's to know; the first wins).

use std::collections::BTreeMap;

use crate::metadata::{self, MetadataError};

/// Buckets told apart: 8 days of 5 minutes are 2,304. Fewer would make a role that waits long for its first model read
/// more again than needed; more costs memory only.
pub const MAX_BUCKETS: usize = 4096;

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Read again: output for its bucket was issued before the restart.
    Context,
    /// Output for it is still due.
    New,
}

/// A committed offset with its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RereadCommit {
    /// The offset to commit: the oldest row still needed, or the position.
    pub offset: i64,
    /// Start of the last bucket for which all output was issued.
    pub issued_through: Option<i64>,
    /// The next offset to consume.
    pub position: i64,
}

impl RereadCommit {
    /// The metadata: `{"issued_through":…,"position":…}`.
    #[must_use]
    pub fn metadata(&self) -> String {
        metadata::write("issued_through", self.issued_through, self.position)
    }

    /// Reads back what was committed. `Ok(None)` for an empty metadata: start at the offset without history.
    ///
    /// # Errors
    /// The metadata is not this role's, or contradicts the offset: say so and start without history.
    pub fn from_metadata(offset: i64, text: &str) -> Result<Option<RereadCommit>, MetadataError> {
        let read = metadata::read(offset, text, |issued: &metadata::Issued| issued.position)?;
        Ok(read.map(|issued| RereadCommit {
            offset,
            issued_through: issued.issued_through,
            position: issued.position,
        }))
    }
}

/// Bookkeeping of one partition.
#[derive(Debug)]
pub struct Reread {
    keep_ms: i64,
    /// Bucket → offset of its first row, for buckets still needed.
    first_offsets: BTreeMap<i64, i64>,
    issued_through: Option<i64>,
    next_offset: Option<i64>,
    resumed: Option<RereadCommit>,
}

impl Reread {
    /// Keeps rows re-readable whose bucket starts less than `keep_ms` before the last bucket issued (at least 0).
    /// After a restart from `resume` rows must be observed from `resume.offset` on.
    #[must_use]
    pub fn new(keep_ms: i64, resume: Option<RereadCommit>) -> Reread {
        Reread {
            keep_ms: keep_ms.max(0),
            first_offsets: BTreeMap::new(),
            issued_through: resume.and_then(|commit| commit.issued_through),
            next_offset: resume.map(|commit| commit.offset),
            resumed: resume,
        }
    }

    /// A row of the bucket that starts at `bucket` was read at `offset`.
    pub fn observe(&mut self, offset: i64, bucket: i64) -> Reading {
        self.advance(offset.saturating_add(1));
        if self.is_needed(bucket) {
            let first = self.first_offsets.entry(bucket).or_insert(offset);
            *first = offset.min(*first);
            self.share_oldest();
        }
        match self.resumed {
            Some(before) if offset < before.position && Some(bucket) <= before.issued_through => {
                Reading::Context
            }
            _ => Reading::New,
        }
    }

    /// Moves the position past offsets that hold no row of interest. Never back.
    pub fn advance(&mut self, position: i64) {
        self.next_offset = self.next_offset.max(Some(position));
    }

    /// All output for `bucket` and every earlier one is delivered. Never back.
    pub fn issued(&mut self, bucket: i64) {
        self.issued_through = self.issued_through.max(Some(bucket));
        while let Some(oldest) = self.first_offsets.first_entry() {
            let still_needed = self
                .issued_through
                .is_none_or(|issued| *oldest.key() > issued.saturating_sub(self.keep_ms));
            if still_needed {
                break;
            }
            oldest.remove();
        }
    }

    /// Start of the last bucket issued, also from before the restart.
    #[must_use]
    pub fn issued_through(&self) -> Option<i64> {
        self.issued_through
    }

    /// What to commit; `None` where no offset is known yet.
    #[must_use]
    pub fn commit(&self) -> Option<RereadCommit> {
        let next_offset = self.next_offset?;
        let oldest = self.first_offsets.values().min().copied();
        let handled = self.resumed.map_or(next_offset, |before| before.position);
        Some(RereadCommit {
            offset: oldest.unwrap_or(next_offset),
            issued_through: self.issued_through,
            position: next_offset.max(handled),
        })
    }

    fn is_needed(&self, bucket: i64) -> bool {
        self.issued_through
            .is_none_or(|issued| bucket > issued.saturating_sub(self.keep_ms))
    }

    fn share_oldest(&mut self) {
        if self.first_offsets.len() <= MAX_BUCKETS {
            return;
        }
        let Some((_, oldest)) = self.first_offsets.pop_first() else {
            return;
        };
        if let Some(mut next) = self.first_offsets.first_entry() {
            let shared = oldest.min(*next.get());
            next.insert(shared);
        }
    }
}

#[cfg(test)]
mod tests;
