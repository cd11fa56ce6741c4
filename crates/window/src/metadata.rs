//! The text that Kafka keeps beside a committed offset: one small JSON object.
//!
//! `rollup` writes `{"closed_through":…,"position":…}`, `context` writes `{"issued_through":…,"position":…}`. Either first
//! field is null as long as nothing is closed or issued. Unknown fields are ignored, so that a later version may add some.
//!
//! Limit: [`MAX_METADATA_BYTES`]. It is not: a place for state; whatever is not derivable from the topic does not belong here.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest metadata that is looked at: the broker's default `offset.metadata.max.bytes`. A longer text is not ours.
pub const MAX_METADATA_BYTES: usize = 4096;

/// The committed metadata cannot be used. The caller says so and starts at the committed offset without history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not the JSON object that this role writes.
    #[error("commit metadata is not this role's: {found:?}: {reason}")]
    Foreign {
        /// Start of the text found, at most 80 characters.
        found: String,
        /// What the parser objected to.
        reason: String,
    },
    /// The position lies before the committed offset, or one of them is negative.
    #[error("commit metadata has position {position} for the committed offset {offset}")]
    Position {
        /// The committed offset.
        offset: i64,
        /// The position in the metadata.
        position: i64,
    },
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) closed_through: Option<i64>,
    pub(crate) position: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Issued {
    pub(crate) issued_through: Option<i64>,
    pub(crate) position: i64,
}

/// `field` is one of our two field names, so nothing needs escaping.
pub(crate) fn write(field: &str, through: Option<i64>, position: i64) -> String {
    match through {
        Some(through) => format!("{{\"{field}\":{through},\"position\":{position}}}"),
        None => format!("{{\"{field}\":null,\"position\":{position}}}"),
    }
}

/// `Ok(None)` for an empty text: the offset was committed by a tool that resets offsets.
pub(crate) fn read<T: DeserializeOwned>(
    offset: i64,
    text: &str,
    position: impl Fn(&T) -> i64,
) -> Result<Option<T>, MetadataError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let foreign = |reason: String| MetadataError::Foreign {
        found: text.chars().take(80).collect(),
        reason,
    };
    if text.len() > MAX_METADATA_BYTES {
        return Err(foreign(format!("{} bytes long", text.len())));
    }
    let parsed: T = serde_json::from_str(text).map_err(|error| foreign(error.to_string()))?;
    let position = position(&parsed);
    if offset < 0 || position < offset {
        return Err(MetadataError::Position { offset, position });
    }
    Ok(Some(parsed))
}
