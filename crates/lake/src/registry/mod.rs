//! The model registry: immutable versions, their checksums, and the pointer to the one that is served.
//!
//! `models/{version}/…` holds the files of a version; `manifest.json`, with the size and SHA-256 of each, is written last
//! and makes the version exist. `models/production/{n:020}.json` names the version that is served: the highest number
//! counts, and each is written create-only, so that the pointers are their own history and two promotions at the same
//! time cannot both succeed. `models/rejected/{version}.json` marks what a gate refused.
//!
//! Invariants: nothing is overwritten; what [`Registry::load`] returns matches the manifest, byte for byte; no name from
//! outside leads out of `models/`.
//!
//! It is not: a judge of models. Files are bytes with a name here.

mod manifest;
mod pointer;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

pub use manifest::{FileEntry, Loaded, Manifest, NewVersion, load_path, version_name};
pub use pointer::Production;

use crate::store::{Created, Root, create, read};

const ROOT: &str = "models";
const PRODUCTION: &str = "production";
const REJECTED: &str = "rejected";
const MANIFEST: &str = "manifest.json";

/// What went wrong, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store failed; the same call may be made again.
    #[error("{object}: the store failed: {source}")]
    Store {
        /// Object or prefix asked for.
        object: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// There is no such version (or it was never completed).
    #[error("{object}: no such model")]
    NotFound {
        /// Where it was looked for.
        object: String,
    },
    /// An object is not what its manifest says, or cannot be read: do not use it.
    #[error("{object}: {reason}")]
    Corrupt {
        /// The object.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else was faster, or the name is taken: look again and decide anew.
    #[error("{object}: {reason}")]
    Conflict {
        /// The object.
        object: String,
        /// Who has it.
        reason: String,
    },
    /// A name or path that is not one of the registry's.
    #[error("{name:?}: {reason}")]
    Name {
        /// What was given.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
}

impl RegistryError {
    /// Whether it says something about the store at this moment only: the same call may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, RegistryError::Store { .. })
    }
}

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Files without a manifest: being written, or given up.
    Incomplete,
    /// Complete, never served.
    Registered,
    /// Served now.
    Production,
    /// Served once.
    Retired,
    /// Refused by a gate.
    Rejected,
}

/// One line of the list of versions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionEntry {
    /// The version.
    pub version: String,
    /// Where it stands.
    pub status: Status,
    /// Whether it is the one that is served.
    pub deployed: bool,
    /// When it was registered, ms; `None` while it is incomplete.
    pub created_at: Option<i64>,
    /// Fingerprint of its contract.
    pub contract: Option<String>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Why it was rejected, or put into production for the last time.
    pub reason: Option<String>,
    /// What was noted at registration.
    pub summary: BTreeMap<String, serde_json::Value>,
}

/// Why a version was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rejection {
    version: String,
    at: i64,
    reason: String,
}

/// The registry at one store.
#[derive(Debug, Clone)]
pub struct Registry {
    root: Root,
}

impl Registry {
    /// The registry below `root`.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Registry { root }
    }

    fn store(&self) -> &dyn ObjectStore {
        self.root.store.as_ref()
    }

    /// The store.
    #[must_use]
    pub fn object_store(&self) -> &Arc<dyn ObjectStore> {
        &self.root.store
    }

    /// Path of a version as events carry it, relative to the registry.
    ///
    /// # Errors
    /// [`RegistryError::Name`] where the version is no valid name.
    pub fn relative_path(version: &str) -> Result<String, RegistryError> {
        Ok(version_prefix(version)?.to_string())
    }

    /// Absolute path or URL of a version.
    ///
    /// # Errors
    /// [`RegistryError::Name`] where the version is no valid name.
    pub fn url_of(&self, version: &str) -> Result<String, RegistryError> {
        Ok(self.root.url_of(&Self::relative_path(version)?))
    }

    /// The version that a path in an event names; anything but `models/{version}` is refused.
    ///
    /// # Errors
    /// [`RegistryError::Name`].
    pub fn version_of(path: &str) -> Result<&str, RegistryError> {
        let version = path.strip_prefix(ROOT).and_then(|p| p.strip_prefix('/'));
        let version = version.ok_or_else(|| RegistryError::Name {
            name: path.to_owned(),
            reason: "a path that does not begin with models/ is not of this registry",
        })?;
        check_name(version)?;
        Ok(version)
    }

    /// Writes a version: its files, then the manifest. Doing it again with the same bytes changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] where the version exists with other content; [`RegistryError::Name`];
    /// [`RegistryError::Store`].
    pub async fn publish(&self, new: NewVersion) -> Result<Manifest, RegistryError> {
        manifest::publish(self.store(), new).await
    }

    /// Reads a version and checks every file against the manifest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Corrupt`], [`RegistryError::Name`], [`RegistryError::Store`].
    pub async fn load(&self, version: &str) -> Result<Loaded, RegistryError> {
        let loaded = manifest::load_at(self.store(), &version_prefix(version)?).await?;
        if loaded.manifest.version != version {
            return Err(RegistryError::Corrupt {
                object: version_prefix(version)?.to_string(),
                reason: format!("its manifest is of {}", loaded.manifest.version),
            });
        }
        Ok(loaded)
    }

    /// What is served, `None` before the first promotion.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] where the highest pointer cannot be read, [`RegistryError::Store`].
    pub async fn production(&self) -> Result<Option<Production>, RegistryError> {
        pointer::highest(self.store()).await
    }

    /// All promotions, oldest first.
    ///
    /// # Errors
    /// As [`production`](Self::production).
    pub async fn history(&self) -> Result<Vec<Production>, RegistryError> {
        pointer::history(self.store()).await
    }

    /// Makes `version` the one that is served, provided that pointer number `after` (0: none) is still the highest.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] where another promotion came first; [`RegistryError::NotFound`] where the version has
    /// no manifest; the others as elsewhere.
    pub async fn promote(
        &self,
        version: &str,
        after: u64,
        at_ms: i64,
        reason: &str,
    ) -> Result<Production, RegistryError> {
        manifest::read_manifest(self.store(), &version_prefix(version)?).await?;
        pointer::promote(self.store(), version, after, at_ms, reason).await
    }

    /// Marks a version as refused by a gate. The first reason stays.
    ///
    /// # Errors
    /// [`RegistryError::Name`], [`RegistryError::Store`].
    pub async fn reject(
        &self,
        version: &str,
        at_ms: i64,
        reason: &str,
    ) -> Result<(), RegistryError> {
        let path = rejected_path(version)?;
        let rejection = Rejection {
            version: version.to_owned(),
            at: at_ms,
            reason: reason.to_owned(),
        };
        let bytes = to_json(&path, &rejection)?;
        let created = create(self.store(), &path, bytes).await;
        created.map(|_| ()).map_err(|source| failed(&path, source))
    }

    /// All versions, by name, which is by time.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] where a manifest or pointer cannot be read, [`RegistryError::Store`].
    pub async fn list(&self) -> Result<Vec<VersionEntry>, RegistryError> {
        let root = Path::from(ROOT);
        let found = self.store().list_with_delimiter(Some(&root)).await;
        let found = found.map_err(|source| failed(&root, source))?;
        let history = self.history().await?;
        let mut entries = Vec::new();
        for prefix in &found.common_prefixes {
            let name = prefix.filename().unwrap_or_default();
            if check_name(name).is_ok() {
                entries.push(self.entry(name, &history).await?);
            }
        }
        entries.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(entries)
    }

    async fn entry(
        &self,
        version: &str,
        history: &[Production],
    ) -> Result<VersionEntry, RegistryError> {
        let prefix = version_prefix(version)?;
        let manifest = match manifest::read_manifest(self.store(), &prefix).await {
            Ok(manifest) => Some(manifest),
            Err(RegistryError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let rejected = rejected_path(version)?;
        let rejection: Option<Rejection> = read_json(self.store(), &rejected).await?;
        let served = history.iter().rev().find(|p| p.version == version);
        let deployed = history.last().is_some_and(|p| p.version == version);
        let status = match (&manifest, deployed, served.is_some(), &rejection) {
            (None, ..) => Status::Incomplete,
            (_, true, ..) => Status::Production,
            (_, _, _, Some(_)) => Status::Rejected,
            (_, _, true, None) => Status::Retired,
            _ => Status::Registered,
        };
        let reason = match status {
            Status::Rejected => rejection.map(|rejection| rejection.reason),
            _ => served.map(|production| production.reason.clone()),
        };
        Ok(VersionEntry {
            version: version.to_owned(),
            status,
            deployed,
            created_at: manifest.as_ref().map(|manifest| manifest.created_at),
            contract: manifest.as_ref().map(|manifest| manifest.contract.clone()),
            bytes: manifest.as_ref().map_or(0, Manifest::bytes),
            reason,
            summary: manifest
                .map(|manifest| manifest.summary)
                .unwrap_or_default(),
        })
    }
}

/// A name that is safe as one segment of a path on every store, and none of the registry's own.
fn check_name(name: &str) -> Result<(), RegistryError> {
    let refuse = |reason| {
        Err(RegistryError::Name {
            name: name.to_owned(),
            reason,
        })
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(allowed) {
        return refuse(
            "expected 1 to 100 letters, digits, '-', '_' and '.', not beginning with '.'",
        );
    }
    if name == PRODUCTION || name == REJECTED {
        return refuse("this name is the registry's own");
    }
    Ok(())
}

fn version_prefix(version: &str) -> Result<Path, RegistryError> {
    check_name(version)?;
    Ok(Path::from(ROOT).join(version))
}

fn rejected_path(version: &str) -> Result<Path, RegistryError> {
    check_name(version)?;
    Ok(Path::from(ROOT)
        .join(REJECTED)
        .join(format!("{version}.json")))
}

fn failed(path: &Path, source: object_store::Error) -> RegistryError {
    RegistryError::Store {
        object: path.to_string(),
        source,
    }
}

fn corrupt(path: &Path, reason: impl ToString) -> RegistryError {
    RegistryError::Corrupt {
        object: path.to_string(),
        reason: reason.to_string(),
    }
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Bytes, RegistryError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| corrupt(path, error))?;
    Ok(bytes.into())
}

async fn read_json<T: serde::de::DeserializeOwned>(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<Option<T>, RegistryError> {
    let bytes = read(store, path).await;
    let Some(bytes) = bytes.map_err(|source| failed(path, source))? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|error| corrupt(path, error))
}

/// A create-only write that a repeat of itself does not disturb.
async fn create_same(
    store: &dyn ObjectStore,
    path: &Path,
    bytes: Bytes,
) -> Result<(), RegistryError> {
    let created = create(store, path, bytes.clone()).await;
    match created.map_err(|source| failed(path, source))? {
        Created::New => Ok(()),
        Created::Exists => match read(store, path).await {
            Ok(Some(found)) if found == bytes => Ok(()),
            Ok(_) => Err(RegistryError::Conflict {
                object: path.to_string(),
                reason: "exists with other content; versions are never overwritten".to_owned(),
            }),
            Err(source) => Err(failed(path, source)),
        },
    }
}

/// Names of the objects directly below a prefix.
async fn list_names(store: &dyn ObjectStore, prefix: &Path) -> Result<Vec<String>, RegistryError> {
    let found = store.list(Some(prefix));
    let names = found.map_ok(|meta| meta.location.filename().map(str::to_owned));
    let names: Vec<Option<String>> = names
        .try_collect()
        .await
        .map_err(|source| failed(prefix, source))?;
    Ok(names.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
