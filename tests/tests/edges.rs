//! Dependency edges: the table in `ARCHITECTURE.md`, held by `cargo metadata`.
//!
//! A crate may use only the crates of ours in its row, and only the owner of an outside
//! library may name that library. `tests` and `benches` are exempt.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Crate → the crates of ours that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("window", &[]),
    ("drift", &["contract", "window"]),
    ("policy", &["contract", "drift"]),
    ("tft", &["contract"]),
    ("lake", &["contract", "window"]),
    ("bus", &["contract", "window"]),
    ("fleet", &["contract"]),
    (
        "forewarn",
        &[
            "contract", "window", "drift", "policy", "tft", "lake", "bus", "fleet",
        ],
    ),
];

/// Outside library → the crates that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("apache-avro", &["contract"]),
    ("arrow-avro", &["contract"]),
    ("serde_avro_fast", &["contract"]),
    ("statrs", &["drift"]),
    ("burn", &["tft"]),
    ("object_store", &["lake"]),
    ("parquet", &["lake"]),
    ("rdkafka", &["bus"]),
    ("rdkafka-sys", &["bus"]),
    ("clap", &["forewarn"]),
    ("axum", &["forewarn"]),
    ("figment", &["forewarn"]),
];

/// Crates that decide and never act: none of these libraries may be a normal dependency.
const PURE: &[&str] = &["contract", "window", "drift", "policy", "tft", "fleet"];
const ACTING: &[&str] = &[
    "tokio",
    "tracing",
    "log",
    "object_store",
    "rdkafka",
    "reqwest",
];

const EXEMPT: &[&str] = &["tests", "benches"];

/// Package → names of its normal dependencies.
fn normal_dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("run cargo metadata");
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("parse cargo metadata");
    let mut packages = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("package name").to_owned();
        let dependencies = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|d| d["kind"].is_null())
            .map(|d| d["name"].as_str().expect("dependency name").to_owned())
            .collect();
        packages.insert(name, dependencies);
    }
    packages
}

/// All edges that the tables do not allow, in words.
fn forbidden(packages: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, dependencies) in packages {
        if EXEMPT.contains(&name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(krate, _)| krate == name) else {
            found.push(format!("crate {name} is not in the table"));
            continue;
        };
        for dependency in dependencies {
            let ours = packages.contains_key(dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                found.push(format!("{name} may not use {dependency}"));
            }
            if let Some((_, owners)) = OWNERS.iter().find(|(library, _)| library == dependency)
                && !owners.contains(&name.as_str())
            {
                found.push(format!(
                    "{name} may not name {dependency}: {owners:?} own it"
                ));
            }
            if PURE.contains(&name.as_str()) && ACTING.contains(&dependency.as_str()) {
                found.push(format!("{name} is pure and may not use {dependency}"));
            }
        }
    }
    found
}

#[test]
fn only_the_edges_of_the_table_exist() {
    let packages = normal_dependencies();
    assert!(packages.len() >= MAY_USE.len(), "packages: {packages:?}");
    assert_eq!(forbidden(&packages), Vec::<String>::new());
}

#[test]
fn a_forbidden_edge_is_found() {
    let mut packages = normal_dependencies();
    packages
        .get_mut("window")
        .expect("window is a package")
        .extend([
            "contract".to_owned(),
            "rdkafka".to_owned(),
            "tokio".to_owned(),
        ]);
    let found = forbidden(&packages);
    assert!(
        found.contains(&"window may not use contract".to_owned()),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|f| f.starts_with("window may not name rdkafka")),
        "{found:?}"
    );
    assert!(
        found.contains(&"window is pure and may not use tokio".to_owned()),
        "{found:?}"
    );
}
