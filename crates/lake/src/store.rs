//! From a URL to an object store.
//!
//! Accepted are a path, `file://` and `memory://NAME` (one store per name and process: the archive and the trainer of
//! one program see the same objects). Local files are fsynced, with their directories, before a write returns.
//! `s3://`, `gs://` and `az://` are recognised and refused, so that a typing mistake never becomes a local directory.
//!
//! It is not: a cache of stores, apart from the named memory stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Why a store cannot be used. All of it is found before any work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not one of those that this build reads: correct the setting.
    #[error("{url}: {reason}; give a path, file:///PATH or memory://NAME")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory cannot be made or opened.
    #[error("{url}: cannot open the directory: {source}")]
    Directory {
        /// What was given.
        url: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Two racing creates of one object both succeeded: the archive's chain cannot be kept whole on such a store.
    #[error(
        "two creates of the same object both succeeded: this store has no conditional create, use another one"
    )]
    NotConditional,
    /// The store did not answer as it should; trying again may help.
    #[error("cannot write to the store: {0}")]
    Store(#[from] object_store::Error),
}

/// A store and the absolute form of the URL that named it.
#[derive(Debug, Clone)]
pub struct Root {
    /// Where the objects are.
    pub store: Arc<dyn ObjectStore>,
    /// An absolute path, or `memory://NAME`, without a slash at the end.
    pub url: String,
}

impl Root {
    /// The absolute path or URL of one object or prefix below the root.
    #[must_use]
    pub fn url_of(&self, object: &str) -> String {
        format!("{}/{object}", self.url)
    }
}

/// Opens the store that `url` names and makes the directory where it is missing.
///
/// # Errors
/// [`StoreError::Url`] for what this build does not read, [`StoreError::Directory`] where the directory cannot be made.
pub fn open(url: &str) -> Result<Root, StoreError> {
    match url.split_once("://") {
        Some(("memory", name)) => Ok(memory(name)),
        Some(("file", _)) => open_directory(url, &file_path(url)?),
        Some(("s3" | "s3a" | "gs" | "az" | "abfs" | "abfss", _)) => Err(StoreError::Url {
            url: url.to_owned(),
            reason: "this build does not read cloud stores".to_owned(),
        }),
        Some((scheme, _)) => Err(StoreError::Url {
            url: url.to_owned(),
            reason: format!("unknown scheme {scheme}://"),
        }),
        None if url.is_empty() => Err(StoreError::Url {
            url: "(empty)".to_owned(),
            reason: "no path".to_owned(),
        }),
        None => open_directory(url, std::path::Path::new(url)),
    }
}

fn file_path(url: &str) -> Result<std::path::PathBuf, StoreError> {
    let refuse = |reason: &str| StoreError::Url {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    url::Url::parse(url)
        .map_err(|error| refuse(&error.to_string()))?
        .to_file_path()
        .map_err(|()| refuse("not a local path (file:// takes an absolute path and no host)"))
}

fn open_directory(url: &str, path: &std::path::Path) -> Result<Root, StoreError> {
    let directory = |source| StoreError::Directory {
        url: url.to_owned(),
        source,
    };
    std::fs::create_dir_all(path).map_err(directory)?;
    let absolute = std::fs::canonicalize(path).map_err(directory)?;
    let store = LocalFileSystem::new_with_prefix(&absolute)?.with_fsync(true);
    Ok(Root {
        store: Arc::new(store),
        url: absolute.to_string_lossy().trim_end_matches('/').to_owned(),
    })
}

fn memory(name: &str) -> Root {
    static STORES: OnceLock<Mutex<HashMap<String, Arc<InMemory>>>> = OnceLock::new();
    let name = name.trim_end_matches('/');
    let stores = STORES.get_or_init(Mutex::default);
    let mut stores = stores.lock().unwrap_or_else(PoisonError::into_inner);
    let store = Arc::clone(stores.entry(name.to_owned()).or_default());
    Root {
        store,
        url: format!("memory://{name}"),
    }
}

/// Makes sure that of two racing creates of one object exactly one succeeds.
///
/// # Errors
/// [`StoreError::NotConditional`] where both do; [`StoreError::Store`] where the store cannot be written to.
pub async fn probe(store: &dyn ObjectStore) -> Result<(), StoreError> {
    let path = Path::from(format!("_probe-{}", random_hex()));
    let (first, second) = futures::join!(
        create(store, &path, "first".into()),
        create(store, &path, "second".into())
    );
    // The object has served its purpose whatever was found; one left behind does no harm.
    let _ = store.delete(&path).await;
    match (first?, second?) {
        (Created::New, Created::Exists) | (Created::Exists, Created::New) => Ok(()),
        // Neither: somebody else's object of the same 128-bit name, or a store that answers at random.
        _ => Err(StoreError::NotConditional),
    }
}

/// What became of a conditional create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// The object is there, and it is ours.
    New,
    /// Something has this name already. It may be our own earlier attempt that was reported failed.
    Exists,
}

/// One conditional PUT.
pub(crate) async fn create(
    store: &dyn ObjectStore,
    path: &Path,
    bytes: bytes::Bytes,
) -> Result<Created, object_store::Error> {
    let options = PutOptions::from(PutMode::Create);
    match store.put_opts(path, bytes.into(), options).await {
        Ok(_) => Ok(Created::New),
        // Some stores answer a lost race with 412 (Precondition) or 409, both mapped to one of these two.
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => Ok(Created::Exists),
        Err(error) => Err(error),
    }
}

/// Whole content of an object, `None` where it is not there.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    path: &Path,
) -> Result<Option<bytes::Bytes>, object_store::Error> {
    match store.get(path).await {
        Ok(found) => Ok(Some(found.bytes().await?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// 128 random bits as 32 hex digits: who wrote an object.
pub(crate) fn random_hex() -> String {
    let bits: u128 = StdRng::from_os_rng().random();
    format!("{bits:032x}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_is_made_and_keeps_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not").join("there yet");
        let root = open(path.to_str().unwrap()).unwrap();
        probe(root.store.as_ref()).await.unwrap();
        let object = Path::from("a/b=1/c");
        create(root.store.as_ref(), &object, "x".into())
            .await
            .unwrap();
        assert_eq!(std::fs::read(path.join("a/b=1/c")).unwrap(), b"x");
        let left: Vec<_> = std::fs::read_dir(&path).unwrap().collect();
        assert_eq!(left.len(), 1, "the probe leaves nothing behind");
        let again = open(&format!(
            "file://{}",
            path.to_str().unwrap().replace(' ', "%20")
        ))
        .unwrap();
        assert_eq!(again.url, root.url);
        let bytes = read(again.store.as_ref(), &object).await.unwrap();
        assert_eq!(bytes.unwrap(), "x");
        let gone = read(again.store.as_ref(), &Path::from("a/none")).await;
        assert!(gone.unwrap().is_none());
    }

    #[tokio::test]
    async fn memory_is_shared_by_name() {
        let one = open("memory://shared-by-name").unwrap();
        let same = open("memory://shared-by-name/").unwrap();
        let other = open("memory://another-name").unwrap();
        probe(one.store.as_ref()).await.unwrap();
        let path = Path::from("x");
        let new = create(one.store.as_ref(), &path, "1".into()).await.unwrap();
        assert_eq!(new, Created::New);
        let exists = create(same.store.as_ref(), &path, "2".into()).await;
        assert_eq!(exists.unwrap(), Created::Exists);
        assert!(read(other.store.as_ref(), &path).await.unwrap().is_none());
    }

    #[track_caller]
    fn check_refused(url: &str, says: &str) {
        let error = open(url).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn what_is_not_read_is_refused_in_one_line() {
        check_refused(
            "s3://bucket/prefix",
            "this build does not read cloud stores",
        );
        check_refused("gs://bucket", "cloud stores");
        check_refused("az://bucket", "cloud stores");
        check_refused("http://host/x", "unknown scheme http://");
        check_refused("file://host/x", "not a local path");
        check_refused("", "no path");
        check_refused("/dev/null/x", "cannot open the directory");
    }
}
