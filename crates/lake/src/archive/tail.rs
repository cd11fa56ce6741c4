//! The end of a chain as the store has it: read from the last object's footer or tombstone, never remembered.

use object_store::ObjectStore;
use object_store::path::Path;

use super::ArchiveError;
use super::footer::{Fingerprint, Footer, ReadError, read_footer};
use super::layout::{Listing, Origin, Tombstone, list_partition};
use super::layout::{object_path, origin_path, tombstone_path};
use crate::store::read;

/// Turns within one call before "it exists" and "it does not" of the same object is called an error.
pub(super) const MAX_TURNS: usize = 8;

/// The end of a chain as the store has it.
pub(super) struct Tail {
    pub(super) origin: Option<Origin>,
    pub(super) next: Option<i64>,
    /// First record of the last object.
    pub(super) newest: Option<Fingerprint>,
}

pub(super) fn failed(path: &Path, source: object_store::Error) -> ArchiveError {
    ArchiveError::Store {
        object: path.to_string(),
        source,
    }
}

pub(super) fn quarantine(path: &Path, reason: impl ToString) -> ArchiveError {
    ArchiveError::Quarantine {
        object: path.to_string(),
        reason: reason.to_string(),
    }
}

pub(super) fn check_name(path: &Path, footer: &Footer, start: i64) -> Result<(), ArchiveError> {
    if footer.start_offset != start || footer.next_offset <= start {
        let (from, to) = (footer.start_offset, footer.next_offset);
        return Err(quarantine(path, format!("its footer says {from} to {to}")));
    }
    Ok(())
}

pub(crate) async fn read_origin(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<Option<Origin>, ArchiveError> {
    let bytes = read(store, path).await;
    let Some(bytes) = bytes.map_err(|source| failed(path, source))? else {
        return Ok(None);
    };
    let origin = serde_json::from_slice(&bytes);
    origin.map(Some).map_err(|error| quarantine(path, error))
}

/// Where a partition's chain has got to: the offset after the last one archived, `None` where there is no chain.
///
/// # Errors
/// As [`Chain::open`](super::Chain::open), except for the cluster, which is not compared.
pub async fn tail_offset(
    store: &dyn ObjectStore,
    topic: &str,
    partition: i32,
) -> Result<Option<i64>, ArchiveError> {
    Ok(find_tail(store, topic, partition).await?.next)
}

pub(super) async fn find_tail(
    store: &dyn ObjectStore,
    topic: &str,
    partition: i32,
) -> Result<Tail, ArchiveError> {
    let origin_at = origin_path(topic, partition);
    for _ in 0..MAX_TURNS {
        let listing = list_partition(store, topic, partition).await?;
        let newest = newest_start(&listing);
        if !listing.has_origin {
            return match newest {
                Some(_) => Err(quarantine(
                    &origin_at,
                    "missing, although objects are there",
                )),
                None => Ok(Tail {
                    origin: None,
                    next: None,
                    newest: None,
                }),
            };
        }
        let Some(origin) = read_origin(store, &origin_at).await? else {
            continue;
        };
        let Some(start) = newest else {
            let next = Some(origin.initial_offset);
            return Ok(Tail {
                origin: Some(origin),
                next,
                newest: None,
            });
        };
        if let Some((next, newest)) = end_of(store, topic, partition, &listing, start).await? {
            return Ok(Tail {
                origin: Some(origin),
                next: Some(next),
                newest,
            });
        }
    }
    Err(ArchiveError::Contested {
        object: origin_at.to_string(),
    })
}

fn newest_start(listing: &Listing) -> Option<i64> {
    let object = listing.objects.last().map(|&(start, _)| start);
    object.max(listing.tombstones.last().copied())
}

/// Next offset and first record of the link that starts at `start`; `None` where it vanished after the listing.
async fn end_of(
    store: &dyn ObjectStore,
    topic: &str,
    partition: i32,
    listing: &Listing,
    start: i64,
) -> Result<Option<(i64, Option<Fingerprint>)>, ArchiveError> {
    if listing.tombstones.last() == Some(&start) {
        let path = tombstone_path(topic, partition, start);
        let bytes = read(store, &path).await;
        let Some(bytes) = bytes.map_err(|source| failed(&path, source))? else {
            return Ok(None);
        };
        let tombstone: Tombstone =
            serde_json::from_slice(&bytes).map_err(|error| quarantine(&path, error))?;
        return Ok(Some((tombstone.next_offset, None)));
    }
    let path = object_path(topic, partition, start);
    match read_footer(store, &path).await {
        Ok(stored) => {
            check_name(&path, &stored.footer, start)?;
            let footer = stored.footer;
            Ok(Some((footer.next_offset, footer.first_record)))
        }
        Err(ReadError::NotFound) => Ok(None),
        Err(ReadError::Store(source)) => Err(failed(&path, source)),
        Err(ReadError::Unreadable(reason)) => Err(quarantine(&path, reason)),
    }
}
