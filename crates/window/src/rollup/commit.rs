//! What is committed for a partition of `metrics`, and how it is read back.

use crate::metadata::{self, MetadataError};

/// A committed offset with its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The offset to commit: the oldest record that an open bucket needs, or the position when none is open.
    pub offset: i64,
    /// Start of the last closed bucket: this and every earlier one gives no further row. `None` before any closes.
    pub closed_through: Option<i64>,
    /// The next offset to consume at the time of the commit; records below it were handled once.
    pub position: i64,
}

impl Commit {
    /// The metadata: `{"closed_through":…,"position":…}`.
    #[must_use]
    pub fn metadata(&self) -> String {
        metadata::write("closed_through", self.closed_through, self.position)
    }

    /// Reads back what was committed. `Ok(None)` for an empty metadata (a tool reset the offset): start at the offset
    /// without history.
    ///
    /// # Errors
    /// The metadata is not this role's, or contradicts the offset: say so and start without history.
    pub fn from_metadata(offset: i64, text: &str) -> Result<Option<Commit>, MetadataError> {
        let read = metadata::read(offset, text, |closed: &metadata::Closed| closed.position)?;
        Ok(read.map(|closed| Commit {
            offset,
            closed_through: closed.closed_through,
            position: closed.position,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn metadata_is_the_documented_text() {
        let commit = Commit {
            offset: 5,
            closed_through: Some(1_375_315_200_000),
            position: 9,
        };
        assert_eq!(
            commit.metadata(),
            r#"{"closed_through":1375315200000,"position":9}"#
        );
        let none = Commit {
            closed_through: None,
            ..commit
        };
        assert_eq!(none.metadata(), r#"{"closed_through":null,"position":9}"#);
    }

    #[test]
    fn unknown_fields_are_ignored_and_empty_text_is_no_history() {
        let text = r#"{"closed_through":10,"position":9,"later":"x"}"#;
        let read = Commit::from_metadata(5, text).unwrap().unwrap();
        assert_eq!(read.closed_through, Some(10));
        assert_eq!(Commit::from_metadata(5, ""), Ok(None));
        assert_eq!(Commit::from_metadata(5, " \n"), Ok(None));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let foreign = |text: &str| {
            let error = Commit::from_metadata(5, text).unwrap_err();
            assert!(matches!(error, MetadataError::Foreign { .. }), "{error}");
        };
        foreign("NO_METADATA");
        foreign("{}");
        foreign(r#"{"closed_through":1.5,"position":9}"#);
        foreign(r#"{"issued_through":1}"#);
        foreign(&format!(
            "{{\"position\":9,\"x\":\"{}\"}}",
            "y".repeat(5000)
        ));
        let position = Err(MetadataError::Position {
            offset: 5,
            position: 4,
        });
        assert_eq!(
            Commit::from_metadata(5, r#"{"closed_through":null,"position":4}"#),
            position
        );
        assert!(Commit::from_metadata(-1, r#"{"closed_through":null,"position":4}"#).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(offset in 0i64.., ahead in 0i64..1_000, closed in any::<Option<i64>>()) {
            let commit = Commit { offset, closed_through: closed, position: offset.saturating_add(ahead) };
            prop_assert_eq!(Commit::from_metadata(offset, &commit.metadata()), Ok(Some(commit)));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = Commit::from_metadata(3, &text);
        }
    }
}
