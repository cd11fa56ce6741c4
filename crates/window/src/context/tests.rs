#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;

fn commit(offset: i64, issued_through: Option<i64>, position: i64) -> Option<RereadCommit> {
    Some(RereadCommit {
        offset,
        issued_through,
        position,
    })
}

#[test]
fn the_offset_follows_what_the_context_needs() {
    let mut reread = Reread::new(30, None);
    assert_eq!(reread.commit(), None);
    for (offset, bucket) in [(5, 10), (6, 10), (7, 20), (8, 30), (9, 40)] {
        assert_eq!(reread.observe(offset, bucket), Reading::New);
    }
    assert_eq!(reread.commit(), commit(5, None, 10));
    // A forecast for bucket 50 looks back at rows after 20, all of which are after issued − keep = 10.
    reread.issued(40);
    assert_eq!(reread.commit(), commit(7, Some(40), 10));
    reread.issued(30);
    assert_eq!(reread.issued_through(), Some(40));
    reread.issued(100);
    assert_eq!(reread.commit(), commit(10, Some(100), 10));
    // A row that is too old to be needed holds nothing back.
    reread.observe(10, 70);
    assert_eq!(reread.commit(), commit(11, Some(100), 11));
    reread.observe(11, 71);
    reread.observe(12, 80);
    reread.advance(20);
    assert_eq!(reread.commit(), commit(11, Some(100), 20));
}

/// After a restart of the rollup, rows of older buckets come once more, behind newer ones.
#[test]
fn a_repeat_does_not_move_the_first_offset() {
    let mut reread = Reread::new(100, None);
    reread.observe(0, 10);
    reread.observe(1, 20);
    reread.observe(2, 10);
    assert_eq!(reread.commit(), commit(0, None, 3));
}

#[test]
fn rows_read_again_make_no_output_unless_it_is_due() {
    let resume = RereadCommit {
        offset: 5,
        issued_through: Some(30),
        position: 8,
    };
    let mut reread = Reread::new(100, Some(resume));
    assert_eq!(reread.commit(), Some(resume));
    assert_eq!(reread.observe(5, 20), Reading::Context);
    assert_eq!(reread.observe(6, 30), Reading::Context);
    assert_eq!(reread.commit(), commit(5, Some(30), 8));
    // Consumed before the stop, but its output was not issued.
    assert_eq!(reread.observe(7, 40), Reading::New);
    // Not consumed before.
    assert_eq!(reread.observe(8, 30), Reading::New);
    assert_eq!(reread.commit(), commit(5, Some(30), 9));
}

#[test]
fn metadata_is_the_documented_text() {
    let written = commit(5, Some(300_000), 9).unwrap();
    let text = r#"{"issued_through":300000,"position":9}"#;
    assert_eq!(written.metadata(), text);
    assert_eq!(RereadCommit::from_metadata(5, text), Ok(Some(written)));
    assert_eq!(RereadCommit::from_metadata(5, ""), Ok(None));
    assert!(RereadCommit::from_metadata(10, text).is_err());
    assert!(RereadCommit::from_metadata(5, "{}").is_err());
}

#[test]
fn a_role_that_never_issues_stays_bounded_and_safe() {
    let mut reread = Reread::new(10, None);
    for offset in 0..3 * MAX_BUCKETS as i64 {
        reread.observe(offset, offset * 10);
    }
    assert_eq!(reread.first_offsets.len(), MAX_BUCKETS);
    assert_eq!(reread.commit().unwrap().offset, 0);
}

proptest! {
    /// Whatever comes, in whatever order: a restart from any commit sees every row that was observed and is still needed.
    #[test]
    fn no_needed_row_lies_before_the_commit(
        keep in 0i64..40,
        steps in proptest::collection::vec((0u8..6, 0i64..60), 1..80),
    ) {
        let mut reread = Reread::new(keep, None);
        let mut rows: Vec<(i64, i64)> = Vec::new();
        let mut offset = 0;
        for (kind, value) in steps {
            match kind {
                0 => reread.issued(value),
                1 => {
                    if let Some(commit) = reread.commit() {
                        reread = Reread::new(keep, Some(commit));
                        for &(offset, bucket) in rows.iter().filter(|row| row.0 >= commit.offset) {
                            let issued = commit.issued_through.is_some_and(|issued| bucket <= issued);
                            let expected = if issued { Reading::Context } else { Reading::New };
                            prop_assert_eq!(reread.observe(offset, bucket), expected);
                        }
                        prop_assert_eq!(reread.commit(), Some(commit));
                    }
                }
                _ => {
                    offset += 1 + value % 2;
                    rows.push((offset, value));
                    prop_assert_eq!(reread.observe(offset, value), Reading::New);
                }
            }
            let Some(commit) = reread.commit() else { continue };
            let needed = rows.iter().filter(|row| {
                commit.issued_through.is_none_or(|issued| row.1 > issued - keep)
            });
            for &(offset, _) in needed {
                prop_assert!(offset >= commit.offset);
            }
            prop_assert_eq!(commit.position, rows.last().map_or(commit.position, |row| row.0 + 1));
        }
    }
}
