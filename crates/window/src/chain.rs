//! The algebra of the archive's chain: offset ranges that follow one another without gap or overlap.
//!
//! A link covers the offsets `[start, next)` of one partition and is either an object or the tombstone that retention
//! left in its place. The first link starts at the partition's initial offset (its origin), each further one where its
//! predecessor ended; the end of the last is where the next object begins. Nothing else decides that: the consumer
//! group's committed offset is only a hint.
//!
//! Invariant `chain-whole`: [`check`] is `Ok` exactly when every offset from the origin to the tail is covered once.
//!
//! It is not: a reader of objects or footers (`lake` does that and hands the ranges in).

/// What holds a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// A parquet object with the records.
    Object,
    /// What retention left of one; only the range is known.
    Tombstone,
}

/// One range of offsets in a partition's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// First offset covered; also the object's name.
    pub start: i64,
    /// Offset after the last one covered, past control records and poison ones: the next link's start.
    pub next: i64,
    /// Records held. Not more than `next - start`; fewer where Kafka itself uses offsets or compacted some away.
    pub num_rows: i64,
    /// Object or tombstone (whose `num_rows` is not checked).
    pub kind: LinkKind,
}

/// Why a chain is not whole. Each names the start of the link at which the walk stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Offsets between two links, or between the origin and the first link, are missing.
    #[error("offsets {expected} to {start} are missing before the object at {start}")]
    Gap {
        /// Where this link begins.
        start: i64,
        /// Where it should begin.
        expected: i64,
    },
    /// A link begins before its predecessor's end (or before the origin).
    #[error("the object at {start} begins before {expected}, where its predecessor ends")]
    Overlap {
        /// Where this link begins.
        start: i64,
        /// Where it should begin.
        expected: i64,
    },
    /// A link covers nothing, or ends before it begins.
    #[error("the object at {start} ends at {next}: it covers no offset")]
    Empty {
        /// Where this link begins.
        start: i64,
        /// Where it ends.
        next: i64,
    },
    /// An object holds more rows than it covers offsets, or a negative number.
    #[error("the object at {start} says {num_rows} rows for {offsets} offsets")]
    Rows {
        /// Where this link begins.
        start: i64,
        /// Rows it claims.
        num_rows: i64,
        /// Offsets it covers.
        offsets: i64,
    },
    /// An object and the tombstone beside it do not end at the same offset.
    #[error("the object at {start} ends at {object_next}, its tombstone at {tombstone_next}")]
    Tombstone {
        /// Where both begin.
        start: i64,
        /// Where the object ends.
        object_next: i64,
        /// Where the tombstone ends.
        tombstone_next: i64,
    },
}

impl ChainError {
    /// Start of the link at which the walk stopped: everything before it is whole.
    #[must_use]
    pub fn start(&self) -> i64 {
        match *self {
            ChainError::Gap { start, .. }
            | ChainError::Overlap { start, .. }
            | ChainError::Empty { start, .. }
            | ChainError::Rows { start, .. }
            | ChainError::Tombstone { start, .. } => start,
        }
    }
}

/// Walks the chain from `origin` and returns its tail: the offset at which the next object begins.
///
/// `links` may come in any order. An object and a tombstone of the same start and end count as one link (retention was
/// interrupted between writing the one and removing the other). Without links the tail is the origin.
///
/// # Errors
/// The first link, by start, at which the chain is not whole.
pub fn check(origin: i64, links: &[Link]) -> Result<i64, ChainError> {
    let mut sorted: Vec<Link> = links.to_vec();
    sorted.sort_by_key(|link| (link.start, link.kind));
    let mut tail = origin;
    let mut previous: Option<Link> = None;
    for link in sorted {
        check_alone(&link)?;
        if let Some(object) = previous.filter(|object| is_pair(object, &link)) {
            if object.next != link.next {
                return Err(ChainError::Tombstone {
                    start: link.start,
                    object_next: object.next,
                    tombstone_next: link.next,
                });
            }
        } else {
            tail = follow(tail, &link)?;
        }
        previous = Some(link);
    }
    Ok(tail)
}

/// The tail after one more link.
///
/// # Errors
/// [`ChainError::Gap`] or [`ChainError::Overlap`] when the link does not begin at `tail`; [`ChainError::Empty`] and
/// [`ChainError::Rows`] when it makes no sense by itself.
pub fn follow(tail: i64, link: &Link) -> Result<i64, ChainError> {
    check_alone(link)?;
    match link.start.cmp(&tail) {
        std::cmp::Ordering::Equal => Ok(link.next),
        std::cmp::Ordering::Greater => Err(ChainError::Gap {
            start: link.start,
            expected: tail,
        }),
        std::cmp::Ordering::Less => Err(ChainError::Overlap {
            start: link.start,
            expected: tail,
        }),
    }
}

fn check_alone(link: &Link) -> Result<(), ChainError> {
    let (start, next) = (link.start, link.next);
    if next <= start {
        return Err(ChainError::Empty { start, next });
    }
    let offsets = next.saturating_sub(start);
    let rows_fit = (0..=offsets).contains(&link.num_rows);
    if link.kind == LinkKind::Object && !rows_fit {
        return Err(ChainError::Rows {
            start,
            num_rows: link.num_rows,
            offsets,
        });
    }
    Ok(())
}

fn is_pair(object: &Link, tombstone: &Link) -> bool {
    object.start == tombstone.start
        && object.kind == LinkKind::Object
        && tombstone.kind == LinkKind::Tombstone
}

/// What the group's committed offset says about the chain. The consumer starts at the tail in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing committed, or exactly the tail.
    Agrees,
    /// The commit lags behind (the last one failed): nothing to do.
    Behind {
        /// Offsets between commit and tail.
        by: i64,
    },
    /// The commit is ahead of the chain: objects are missing or were deleted. Alarm, and seek back to the tail.
    Ahead {
        /// Offsets between tail and commit.
        by: i64,
    },
}

/// Compares the committed offset with the chain's tail.
#[must_use]
pub fn hint(tail: i64, committed: Option<i64>) -> Hint {
    match committed {
        Some(offset) if offset > tail => Hint::Ahead {
            by: offset.saturating_sub(tail),
        },
        Some(offset) if offset < tail => Hint::Behind {
            by: tail.saturating_sub(offset),
        },
        _ => Hint::Agrees,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(start: i64, next: i64) -> Link {
        Link {
            start,
            next,
            num_rows: next.saturating_sub(start),
            kind: LinkKind::Object,
        }
    }

    fn tombstone(start: i64, next: i64) -> Link {
        Link {
            kind: LinkKind::Tombstone,
            num_rows: 0,
            ..object(start, next)
        }
    }

    #[track_caller]
    fn check_is(links: &[Link], expected: Result<i64, ChainError>) {
        assert_eq!(check(7, links), expected);
    }

    #[test]
    fn whole_chains() {
        check_is(&[], Ok(7));
        check_is(&[object(7, 10)], Ok(10));
        check_is(&[object(10, 30), object(7, 10), object(30, 31)], Ok(31));
        check_is(&[tombstone(7, 10), object(10, 12)], Ok(12));
        // Retention stopped between writing the tombstone and removing the object.
        check_is(&[tombstone(7, 10), object(7, 10), object(10, 12)], Ok(12));
        // Transaction markers use offsets without being records.
        let marked = Link {
            num_rows: 1,
            ..object(7, 10)
        };
        check_is(&[marked], Ok(10));
    }

    #[test]
    fn broken_chains_name_the_first_bad_link() {
        let gap = |start, expected| Err(ChainError::Gap { start, expected });
        let overlap = |start, expected| Err(ChainError::Overlap { start, expected });
        check_is(&[object(8, 10)], gap(8, 7));
        check_is(&[object(6, 10)], overlap(6, 7));
        check_is(
            &[object(7, 10), object(12, 13), object(20, 21)],
            gap(12, 10),
        );
        check_is(&[object(7, 10), object(9, 13)], overlap(9, 10));
        check_is(&[object(7, 10), object(7, 10)], overlap(7, 10));
        check_is(&[tombstone(7, 10), tombstone(7, 10)], overlap(7, 10));
        check_is(
            &[object(7, 7)],
            Err(ChainError::Empty { start: 7, next: 7 }),
        );
        check_is(
            &[object(7, 10), tombstone(7, 9)],
            Err(ChainError::Tombstone {
                start: 7,
                object_next: 10,
                tombstone_next: 9,
            }),
        );
        let crowded = Link {
            num_rows: 4,
            ..object(7, 10)
        };
        check_is(
            &[crowded],
            Err(ChainError::Rows {
                start: 7,
                num_rows: 4,
                offsets: 3,
            }),
        );
        assert_eq!(gap(12, 10).unwrap_err().start(), 12);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let all = Link {
            num_rows: 0,
            ..object(i64::MIN, i64::MAX)
        };
        assert_eq!(check(i64::MIN, &[all]), Ok(i64::MAX));
        assert_eq!(hint(i64::MIN, Some(i64::MAX)), Hint::Ahead { by: i64::MAX });
    }

    #[test]
    fn the_commit_is_only_a_hint() {
        assert_eq!(hint(10, None), Hint::Agrees);
        assert_eq!(hint(10, Some(10)), Hint::Agrees);
        assert_eq!(hint(10, Some(4)), Hint::Behind { by: 6 });
        assert_eq!(hint(10, Some(15)), Hint::Ahead { by: 5 });
    }

    proptest! {
        /// `check` accepts exactly the sets of links that cover every offset from the origin to the tail once.
        #[test]
        fn check_agrees_with_counting_offsets(
            ranges in proptest::collection::vec((0i64..12, 1i64..4), 0..6),
        ) {
            let links: Vec<Link> = ranges.iter().map(|&(s, n)| object(s, s + n)).collect();
            let end = links.iter().map(|l| l.next).max().unwrap_or(0);
            let covered_once = (0..end)
                .all(|offset| links.iter().filter(|l| (l.start..l.next).contains(&offset)).count() == 1);
            let checked = check(0, &links);
            prop_assert_eq!(checked.is_ok(), covered_once);
            if let Ok(tail) = checked {
                prop_assert_eq!(tail, end);
            }
        }

        /// Cut anywhere, in any order: a contiguous chain is whole, and without one of its inner links it is not.
        #[test]
        fn every_cut_is_whole_and_every_loss_is_seen(
            origin in -5i64..50,
            lengths in proptest::collection::vec(1i64..9, 1..12),
            rotate in 0usize..12,
            lose in 0usize..12,
        ) {
            let mut start = origin;
            let mut links = Vec::new();
            for length in lengths {
                links.push(object(start, start + length));
                start += length;
            }
            let len = links.len();
            links.rotate_left(rotate % len);
            prop_assert_eq!(check(origin, &links), Ok(start));
            let lost = links.remove(lose % len);
            let last = lost.next == start;
            prop_assert_eq!(check(origin, &links).is_ok(), last);
        }
    }
}
