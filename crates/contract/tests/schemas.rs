//! The schema files on disk are what the library generates, and stay compatible with what was released.
//!
//! `FOREWARN_WRITE_SCHEMAS=1 cargo test -p contract --test schemas` writes them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use contract::schema::{compatible, shipped_files};

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// Paths of all `.avsc` files below a folder, relative to it.
fn avsc_files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "avsc") {
                let relative = path.strip_prefix(root).unwrap();
                found.insert(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn files_on_disk_are_the_generated_ones() {
    let root = schemas();
    let files = shipped_files();
    if std::env::var_os("FOREWARN_WRITE_SCHEMAS").is_some() {
        for (path, content) in &files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }
    for (path, content) in &files {
        let found = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(
            found == *content,
            "schemas/{path} is not what is generated: run `forewarn schema generate`"
        );
    }
    let expected: BTreeSet<String> = files.into_iter().map(|(path, _)| path).collect();
    let found = avsc_files(&root)
        .into_iter()
        .filter(|path| !path.starts_with("released/"))
        .collect::<BTreeSet<_>>();
    assert_eq!(found, expected);
}

/// `schemas/released/{version}/` holds the files of a release; there is nothing to hold against before the first.
#[test]
fn files_are_compatible_with_every_release() {
    let releases = schemas().join("released");
    let Ok(versions) = std::fs::read_dir(&releases) else {
        return;
    };
    for version in versions {
        let version = version.unwrap().path();
        for path in avsc_files(&version) {
            let old = std::fs::read_to_string(version.join(&path)).unwrap();
            let new = std::fs::read_to_string(schemas().join(&path))
                .unwrap_or_else(|e| panic!("schemas/{path} was released and is gone: {e}"));
            compatible(&old, &new).unwrap_or_else(|e| panic!("{path} since {version:?}: {e}"));
        }
    }
}
