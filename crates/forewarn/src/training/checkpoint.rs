//! The file that a training goes on from after it was stopped or killed.
//!
//! Written beside the file it replaces, synced, renamed over it: whenever the process dies, there is the old checkpoint or the new one. A
//! write that fails (a full disk) is a warning: the checkpoint before it stays, the training goes on.
//!
//! One process at a time holds a checkpoint, by a lock that its death releases: two trainings that take turns in one file would lose both.
//!
//! It is not: the content, which is the model's affair (`tft`), its checksum included.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Where a training keeps its checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointFile {
    path: PathBuf,
    every: Duration,
    mismatch: Mismatch,
    /// Held as long as any clone lives.
    _lock: Arc<File>,
}

/// What to do with a checkpoint that this training cannot go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Say so: somebody chose the directory.
    Refuse,
    /// Warn and start over.
    StartOver,
}

impl CheckpointFile {
    /// The checkpoint of training `name` in `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// When the directory cannot be made, or another process holds the checkpoint.
    pub(crate) fn open(
        directory: &Path,
        name: &str,
        every: Duration,
        mismatch: Mismatch,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("make the checkpoint directory {}", directory.display()))?;
        let path = directory.join(format!("{name}.safetensors"));
        let guard = path.with_extension("lock");
        let lock = File::create(&guard).with_context(|| format!("make {}", guard.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{}: another training that runs now keeps its checkpoint there",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", guard.display()));
            }
        }
        Ok(Self {
            path,
            every,
            mismatch,
            _lock: Arc::new(lock),
        })
    }

    /// Whether a training `name` has left a checkpoint in `directory`.
    pub(crate) fn is_left(directory: &Path, name: &str) -> bool {
        directory.join(format!("{name}.safetensors")).is_file()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn every_seconds(&self) -> f64 {
        self.every.as_secs_f64()
    }

    pub(crate) fn mismatch(&self) -> Mismatch {
        self.mismatch
    }

    /// The checkpoint that is there.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("read the checkpoint {}", self.path.display()))
            }
        }
    }

    /// Puts `bytes` in the place of the checkpoint before; where that fails, the one before stays.
    pub(crate) fn keep(&self, bytes: &[u8]) {
        let path = self.path.display();
        match replace(&self.path, bytes) {
            Ok(()) => tracing::debug!(%path, bytes = bytes.len(), "checkpoint written"),
            Err(error) => tracing::warn!(
                %path, %error,
                "checkpoint cannot be written: the one before stays, the training goes on"
            ),
        }
    }

    /// Removes the checkpoint: its training has ended.
    pub(crate) fn remove(&self) {
        for path in [&self.path, &self.path.with_extension("lock")] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => tracing::warn!(
                    path = %path.display(), %error,
                    "checkpoint of a training that has ended cannot be removed"
                ),
                _ => {}
            }
        }
    }
}

/// Writes a file beside `path` and, once it is on the disk, renames it over `path`.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| std::fs::rename(&part, path)) {
        // A part that cannot be removed is overwritten by the next one.
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    // The rename itself: without it a power failure could bring the old name back, which is whole too.
    match path.parent().map(File::open) {
        Some(Ok(directory)) => directory.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(directory: &Path) -> CheckpointFile {
        let every = Duration::from_secs(1);
        CheckpointFile::open(&directory.join("a/b"), "job", every, Mismatch::Refuse).unwrap()
    }

    #[test]
    fn the_last_one_kept_is_read_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        assert_eq!(file.read().unwrap(), None);
        let left = || CheckpointFile::is_left(&directory.path().join("a/b"), "job");
        assert!(!left());
        file.keep(b"first");
        assert!(left());
        file.keep(b"second");
        assert_eq!(file.read().unwrap().unwrap(), b"second");
        file.remove();
        file.remove();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn a_full_disk_leaves_the_one_before_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        file.keep(b"before");
        // What is written there meets a device without room.
        let part = file.path().with_extension("part");
        std::os::unix::fs::symlink("/dev/full", &part).unwrap();
        let full = replace(file.path(), b"no room for it");
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.read().unwrap().unwrap(), b"before");
        assert!(part.symlink_metadata().is_err(), "the part stays");
        file.keep(b"after");
        assert_eq!(file.read().unwrap().unwrap(), b"after");
    }

    #[test]
    fn one_training_at_a_time_holds_a_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let first = file(directory.path());
        let every = Duration::from_secs(1);
        let again = || {
            CheckpointFile::open(
                &directory.path().join("a/b"),
                "job",
                every,
                Mismatch::Refuse,
            )
        };
        let refused = again().unwrap_err().to_string();
        assert!(refused.contains("another training"), "{refused}");
        drop(first);
        again().unwrap();
    }

    #[test]
    fn a_directory_that_is_gone_is_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        std::fs::remove_dir_all(directory.path().join("a")).unwrap();
        file.keep(b"nowhere");
        assert_eq!(file.read().unwrap(), None);
    }
}
