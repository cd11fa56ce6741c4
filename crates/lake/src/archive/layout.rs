//! Names of the archive's objects, and the two small JSON objects beside the parquet ones.

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::footer::Fingerprint;

const ROOT: &str = "archive";
const ORIGIN: &str = "_origin";

/// `_origin`: where a chain begins, create-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Id of the Kafka cluster the records come from.
    pub cluster_id: String,
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Start of the first object.
    pub initial_offset: i64,
    /// First record of the first object, where it has one.
    pub first_record: Option<Fingerprint>,
    /// Who wrote it.
    pub writer: String,
}

/// `{start}.tombstone`: stands for an object that retention removed, create-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Start of the removed object; its name says the same.
    pub start_offset: i64,
    /// Where the chain runs on.
    pub next_offset: i64,
}

/// Path of the object that starts at `start`.
#[must_use]
pub fn object_path(topic: &str, partition: i32, start: i64) -> Path {
    partition_prefix(topic, partition).join(format!("{start:020}.parquet"))
}

/// Path of the tombstone beside the object that started at `start`.
#[must_use]
pub fn tombstone_path(topic: &str, partition: i32, start: i64) -> Path {
    partition_prefix(topic, partition).join(format!("{start:020}.tombstone"))
}

/// Path of the partition's `_origin`.
#[must_use]
pub fn origin_path(topic: &str, partition: i32) -> Path {
    partition_prefix(topic, partition).join(ORIGIN)
}

fn partition_prefix(topic: &str, partition: i32) -> Path {
    Path::from(ROOT)
        .join(topic)
        .join(format!("p={partition:05}"))
}

/// What lies in a partition's directory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Whether `_origin` is there.
    pub(crate) has_origin: bool,
    /// Starts and sizes of the objects, ascending.
    pub(crate) objects: Vec<(i64, u64)>,
    /// Starts of the tombstones, ascending.
    pub(crate) tombstones: Vec<i64>,
    /// Names that are none of ours.
    pub(crate) strangers: Vec<String>,
}

pub(crate) async fn list_partition(
    store: &dyn ObjectStore,
    topic: &str,
    partition: i32,
) -> Result<Listing, ArchiveError> {
    let prefix = partition_prefix(topic, partition);
    let failed = |source| ArchiveError::Store {
        object: prefix.to_string(),
        source,
    };
    let mut listing = Listing::default();
    let mut found = store.list(Some(&prefix));
    while let Some(meta) = found.try_next().await.map_err(failed)? {
        let name = meta.location.filename().unwrap_or_default();
        if name == ORIGIN {
            listing.has_origin = true;
        } else if let Some(start) = offset_in(name, ".parquet") {
            listing.objects.push((start, meta.size));
        } else if let Some(start) = offset_in(name, ".tombstone") {
            listing.tombstones.push(start);
        } else {
            listing.strangers.push(meta.location.to_string());
        }
    }
    listing.objects.sort_unstable();
    listing.tombstones.sort_unstable();
    listing.strangers.sort_unstable();
    Ok(listing)
}

fn offset_in(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// Full names of the archived topics, ascending.
pub(crate) async fn list_topics(store: &dyn ObjectStore) -> Result<Vec<String>, ArchiveError> {
    list_directories(store, &Path::from(ROOT)).await
}

/// Partitions that a topic has a chain of, ascending.
pub(crate) async fn list_partitions(
    store: &dyn ObjectStore,
    topic: &str,
) -> Result<Vec<i32>, ArchiveError> {
    let names = list_directories(store, &Path::from(ROOT).join(topic)).await?;
    let mut partitions: Vec<i32> = names
        .iter()
        .filter_map(|name| name.strip_prefix("p=")?.parse().ok())
        .collect();
    partitions.sort_unstable();
    Ok(partitions)
}

async fn list_directories(
    store: &dyn ObjectStore,
    prefix: &Path,
) -> Result<Vec<String>, ArchiveError> {
    let found = store.list_with_delimiter(Some(prefix)).await;
    let found = found.map_err(|source| ArchiveError::Store {
        object: prefix.to_string(),
        source,
    })?;
    let mut names: Vec<String> = found
        .common_prefixes
        .iter()
        .filter_map(|path| path.filename().map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::store::create;
    use object_store::memory::InMemory;

    #[test]
    fn names_sort_like_offsets() {
        let path = object_path("forewarn.metrics", 7, 1234);
        assert_eq!(
            path.as_ref(),
            "archive/forewarn.metrics/p=00007/00000000000000001234.parquet"
        );
        assert_eq!(
            tombstone_path("t", 0, 9).as_ref(),
            "archive/t/p=00000/00000000000000000009.tombstone"
        );
        assert_eq!(
            offset_in("00000000000000001234.parquet", ".parquet"),
            Some(1234)
        );
        assert_eq!(offset_in("1234.parquet", ".parquet"), None);
        assert_eq!(offset_in("-0000000000000001234.parquet", ".parquet"), None);
        assert_eq!(offset_in("99999999999999999999.parquet", ".parquet"), None);
        let largest = object_path("t", 0, i64::MAX);
        assert_eq!(
            offset_in(largest.filename().unwrap(), ".parquet"),
            Some(i64::MAX)
        );
    }

    #[tokio::test]
    async fn listing_sorts_out_what_is_ours() {
        let store = InMemory::new();
        for path in [
            object_path("a.t", 3, 20),
            object_path("a.t", 3, 5),
            tombstone_path("a.t", 3, 0),
            origin_path("a.t", 3),
            Path::from("archive/a.t/p=00003/notes.txt"),
            object_path("a.t", 12, 0),
            object_path("b.t", 0, 0),
        ] {
            create(&store, &path, "xy".into()).await.unwrap();
        }
        assert_eq!(list_topics(&store).await.unwrap(), ["a.t", "b.t"]);
        assert_eq!(list_partitions(&store, "a.t").await.unwrap(), [3, 12]);
        let expected = Listing {
            has_origin: true,
            objects: vec![(5, 2), (20, 2)],
            tombstones: vec![0],
            strangers: vec!["archive/a.t/p=00003/notes.txt".to_owned()],
        };
        assert_eq!(list_partition(&store, "a.t", 3).await.unwrap(), expected);
        let none = list_partition(&store, "c.t", 0).await.unwrap();
        assert_eq!(none, Listing::default());
    }
}
