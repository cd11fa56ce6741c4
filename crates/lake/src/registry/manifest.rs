//! A version's files and the manifest that makes it exist.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{MANIFEST, RegistryError, check_name, corrupt, create_same, failed};
use super::{read_json, to_json, version_prefix};
use crate::store::open;

/// A model file larger than this is none of ours (models have about 100,000 parameters).
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A version to be written.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Its name, see [`version_name`].
    pub version: String,
    /// Now, ms.
    pub created_at_ms: i64,
    /// Fingerprint of the contract.
    pub contract: String,
    /// A few figures for the list of versions.
    pub summary: BTreeMap<String, serde_json::Value>,
    /// File name → content.
    pub files: BTreeMap<String, Bytes>,
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version.
    pub version: String,
    /// When it was registered, ms.
    pub created_at: i64,
    /// Fingerprint of the contract.
    pub contract: String,
    /// A few figures for the list of versions.
    pub summary: BTreeMap<String, serde_json::Value>,
    /// File name → size and checksum.
    pub files: BTreeMap<String, FileEntry>,
}

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Size.
    pub bytes: u64,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
}

/// A version as it was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Its manifest.
    pub manifest: Manifest,
    /// File name → content, checked.
    pub files: BTreeMap<String, Bytes>,
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self.files.values().map(|file| file.bytes);
        sizes.fold(0, u64::saturating_add)
    }
}

impl Loaded {
    /// One file.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] where the version has none of this name.
    pub fn file(&self, name: &str) -> Result<&Bytes, RegistryError> {
        self.files.get(name).ok_or_else(|| RegistryError::NotFound {
            object: format!("{}/{name}", self.manifest.version),
        })
    }
}

/// Name of a version: the time in UTC and 8 digits of a hash of `content`, so that names sort by time.
///
/// ```
/// assert_eq!(lake::registry::version_name(1_377_993_600_000, b"abc"), "20130901T000000Z-ba7816bf");
/// ```
#[must_use]
pub fn version_name(now_ms: i64, content: &[u8]) -> String {
    let time: DateTime<Utc> = DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    let hash = sha256_hex(content);
    let short = hash.get(..8).unwrap_or_default();
    format!("{}-{short}", time.format("%Y%m%dT%H%M%SZ"))
}

fn sha256_hex(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn publish(
    store: &dyn ObjectStore,
    new: NewVersion,
) -> Result<Manifest, RegistryError> {
    let prefix = version_prefix(&new.version)?;
    let mut files = BTreeMap::new();
    for (name, content) in &new.files {
        check_file_name(name)?;
        let bytes = content.len() as u64;
        let sha256 = sha256_hex(content);
        files.insert(name.clone(), FileEntry { bytes, sha256 });
    }
    let manifest = Manifest {
        version: new.version,
        created_at: new.created_at_ms,
        contract: new.contract,
        summary: new.summary,
        files,
    };
    for (name, content) in new.files {
        create_same(store, &prefix.clone().join(name), content).await?;
    }
    let path = prefix.join(MANIFEST);
    create_same(store, &path, to_json(&path, &manifest)?).await?;
    Ok(manifest)
}

fn check_file_name(name: &str) -> Result<(), RegistryError> {
    if name == MANIFEST {
        return Err(RegistryError::Name {
            name: name.to_owned(),
            reason: "the manifest is written by the registry",
        });
    }
    check_name(name)
}

pub(super) async fn read_manifest(
    store: &dyn ObjectStore,
    prefix: &Path,
) -> Result<Manifest, RegistryError> {
    let path = prefix.clone().join(MANIFEST);
    let manifest: Option<Manifest> = read_json(store, &path).await?;
    let manifest = manifest.ok_or_else(|| RegistryError::NotFound {
        object: path.to_string(),
    })?;
    for name in manifest.files.keys() {
        check_file_name(name).map_err(|error| corrupt(&path, error))?;
    }
    Ok(manifest)
}

pub(super) async fn load_at(
    store: &dyn ObjectStore,
    prefix: &Path,
) -> Result<Loaded, RegistryError> {
    let manifest = read_manifest(store, prefix).await?;
    let mut files = BTreeMap::new();
    for (name, entry) in &manifest.files {
        let path = prefix.clone().join(name.as_str());
        files.insert(name.clone(), load_file(store, &path, entry).await?);
    }
    Ok(Loaded { manifest, files })
}

async fn load_file(
    store: &dyn ObjectStore,
    path: &Path,
    entry: &FileEntry,
) -> Result<Bytes, RegistryError> {
    let found = match store.get(path).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => {
            return Err(corrupt(path, "missing, although the manifest names it"));
        }
        Err(source) => return Err(failed(path, source)),
    };
    let size = found.meta.size;
    if size != entry.bytes || size > MAX_FILE_BYTES {
        let expected = entry.bytes;
        return Err(corrupt(
            path,
            format!("{size} bytes, the manifest says {expected}"),
        ));
    }
    let content = found.bytes().await.map_err(|source| failed(path, source))?;
    if sha256_hex(&content) != entry.sha256 {
        return Err(corrupt(path, "its SHA-256 is not the one in the manifest"));
    }
    Ok(content)
}

/// Reads a version from its own directory (or URL), wherever that is, and checks every file against the manifest.
///
/// # Errors
/// As [`Registry::load`](super::Registry::load).
pub async fn load_path(path: &str) -> Result<Loaded, RegistryError> {
    let not_found = || RegistryError::NotFound {
        object: path.to_owned(),
    };
    // Opening would make a directory that is not there.
    if !path.contains("://") && !std::path::Path::new(path).is_dir() {
        return Err(not_found());
    }
    let (parent, prefix) = match path.strip_prefix("memory://") {
        Some(rest) => {
            let (name, prefix) = rest.split_once('/').ok_or_else(not_found)?;
            (format!("memory://{name}"), Path::from(prefix))
        }
        None => (path.to_owned(), Path::default()),
    };
    let root = open(&parent).map_err(|error| RegistryError::Corrupt {
        object: path.to_owned(),
        reason: error.to_string(),
    })?;
    load_at(root.store.as_ref(), &prefix).await
}
