#![allow(clippy::unwrap_used, clippy::expect_used)]

use object_store::{ObjectStoreExt, PutPayload};

use super::*;
use crate::store::open;

fn registry(name: &str) -> Registry {
    Registry::new(open(&format!("memory://registry-{name}")).unwrap())
}

fn new(version: &str, model: &'static str) -> NewVersion {
    let files = [
        ("model.safetensors", model),
        ("training_info.json", "{\"epochs\":1}"),
    ];
    NewVersion {
        version: version.to_owned(),
        created_at_ms: 1_377_993_600_000,
        contract: "c0ffee".to_owned(),
        summary: BTreeMap::from([("val_loss".to_owned(), 0.5.into())]),
        files: files
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Bytes::from(text)))
            .collect(),
    }
}

async fn overwrite(registry: &Registry, path: &str, bytes: &'static str) {
    let payload = PutPayload::from_static(bytes.as_bytes());
    let path = Path::from(path);
    registry.object_store().put(&path, payload).await.unwrap();
}

#[tokio::test]
async fn a_version_comes_back_as_it_was_published() {
    let registry = registry("roundtrip");
    let manifest = registry.publish(new("v1", "weights")).await.unwrap();
    // sha256 of "weights", by sha256sum.
    let expected = FileEntry {
        bytes: 7,
        sha256: "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c".to_owned(),
    };
    assert_eq!(manifest.files["model.safetensors"], expected);
    let loaded = registry.load("v1").await.unwrap();
    assert_eq!(loaded.manifest, manifest);
    assert_eq!(loaded.file("model.safetensors").unwrap(), "weights");
    let missing = loaded.file("report.html").unwrap_err();
    assert!(matches!(missing, RegistryError::NotFound { .. }));
    assert_eq!(manifest.bytes(), 7 + 12);
    assert_eq!(
        registry.url_of("v1").unwrap(),
        "memory://registry-roundtrip/models/v1"
    );
    let by_path = load_path("memory://registry-roundtrip/models/v1").await;
    assert_eq!(by_path.unwrap(), loaded);
}

#[tokio::test]
async fn a_version_on_disk_is_loaded_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new(open(dir.path().to_str().unwrap()).unwrap());
    registry.publish(new("v1", "weights")).await.unwrap();
    let path = registry.url_of("v1").unwrap();
    assert!(
        path.starts_with('/') && path.ends_with("/models/v1"),
        "{path}"
    );
    let loaded = load_path(&path).await.unwrap();
    assert_eq!(loaded.file("model.safetensors").unwrap(), "weights");
    let none = dir.path().join("none");
    let error = load_path(none.to_str().unwrap()).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }));
    assert!(!none.exists(), "looking makes no directory");
}

#[tokio::test]
async fn versions_are_immutable_and_repeats_harmless() {
    let registry = registry("immutable");
    registry.publish(new("v1", "weights")).await.unwrap();
    registry.publish(new("v1", "weights")).await.unwrap();
    let error = registry.publish(new("v1", "other")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Conflict { .. }), "{error}");
    let loaded = registry.load("v1").await.unwrap();
    assert_eq!(loaded.file("model.safetensors").unwrap(), "weights");
}

#[tokio::test]
async fn a_crash_before_the_manifest_leaves_no_version() {
    let registry = registry("crash");
    overwrite(&registry, "models/v1/model.safetensors", "weights").await;
    let error = registry.load("v1").await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    let list = registry.list().await.unwrap();
    assert_eq!((list.len(), list[0].status), (1, Status::Incomplete));
    let error = registry.promote("v1", 0, 5, "x").await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    // The same worker may finish what it began.
    registry.publish(new("v1", "weights")).await.unwrap();
    registry.load("v1").await.unwrap();
}

#[track_caller]
fn check_corrupt(result: Result<Loaded, RegistryError>, object: &str, says: &str) {
    match result {
        Err(RegistryError::Corrupt { object: o, reason }) => {
            assert!(o.ends_with(object), "{o}");
            assert!(reason.contains(says), "{reason}");
        }
        other => panic!("expected a corrupt object, got {other:?}"),
    }
}

#[tokio::test]
async fn changed_files_are_found() {
    let registry = registry("changed");
    registry.publish(new("v1", "weights")).await.unwrap();
    overwrite(&registry, "models/v1/model.safetensors", "weightz").await;
    check_corrupt(registry.load("v1").await, "model.safetensors", "SHA-256");
    overwrite(&registry, "models/v1/model.safetensors", "weight").await;
    check_corrupt(registry.load("v1").await, "model.safetensors", "6 bytes");
    let path = Path::from("models/v1/model.safetensors");
    registry.object_store().delete(&path).await.unwrap();
    check_corrupt(registry.load("v1").await, "model.safetensors", "missing");
    overwrite(&registry, "models/v1/manifest.json", "{\"version\"").await;
    check_corrupt(registry.load("v1").await, "manifest.json", "EOF");
}

#[tokio::test]
async fn a_manifest_that_leads_elsewhere_is_refused() {
    let registry = registry("escape");
    registry.publish(new("v1", "weights")).await.unwrap();
    registry.publish(new("v2", "weights")).await.unwrap();
    let text = r#"{"version":"v1","created_at":1,"contract":"c","summary":{},
        "files":{"../v2/model.safetensors":{"bytes":7,"sha256":""}}}"#;
    overwrite(&registry, "models/v1/manifest.json", text).await;
    check_corrupt(
        registry.load("v1").await,
        "manifest.json",
        "expected 1 to 100",
    );
    let text = r#"{"version":"v2","created_at":1,"contract":"c","summary":{},"files":{}}"#;
    overwrite(&registry, "models/v1/manifest.json", text).await;
    check_corrupt(
        registry.load("v1").await,
        "models/v1",
        "its manifest is of v2",
    );
}

#[test]
fn names_from_outside_stay_inside() {
    assert_eq!(Registry::version_of("models/v1.2-x_3").unwrap(), "v1.2-x_3");
    for path in [
        "models/../secrets",
        "models/..",
        "models/.hidden",
        "models/v1/model.safetensors",
        "models/",
        "models",
        "/models/v1",
        "modelsv1",
        "other/v1",
        "models/v1\0",
        "models/%2e%2e",
        "models/production",
        "models/rejected",
        "s3://bucket/models/v1",
    ] {
        let refused = Registry::version_of(path);
        assert!(matches!(refused, Err(RegistryError::Name { .. })), "{path}");
    }
    assert!(Registry::relative_path(&"x".repeat(101)).is_err());
    assert_eq!(Registry::relative_path("v1").unwrap(), "models/v1");
}

#[tokio::test]
async fn own_names_are_no_file_names() {
    let registry = registry("names");
    let mut bad = new("v1", "weights");
    bad.files.insert("manifest.json".to_owned(), Bytes::new());
    let error = registry.publish(bad).await.unwrap_err();
    assert!(matches!(error, RegistryError::Name { .. }), "{error}");
    let mut bad = new("v1", "weights");
    bad.files.insert("a/b".to_owned(), Bytes::new());
    assert!(registry.publish(bad).await.is_err());
    assert!(
        registry.list().await.unwrap().is_empty(),
        "refused before any write"
    );
}

#[tokio::test]
async fn the_highest_pointer_counts_and_the_past_stays() {
    let registry = registry("pointer");
    for version in ["v1", "v2", "v3"] {
        registry.publish(new(version, "weights")).await.unwrap();
    }
    assert_eq!(registry.production().await.unwrap(), None);
    let first = registry.promote("v1", 0, 10, "first model").await.unwrap();
    assert_eq!((first.number, first.previous.as_deref()), (1, None));
    let second = registry.promote("v2", 1, 20, "better").await.unwrap();
    assert_eq!((second.number, second.previous.as_deref()), (2, Some("v1")));
    registry.reject("v3", 30, "out of range").await.unwrap();
    registry.reject("v3", 40, "another reason").await.unwrap();
    let served = registry.production().await.unwrap().unwrap();
    assert_eq!(served, second);
    let list = registry.list().await.unwrap();
    let lines: Vec<_> = list
        .iter()
        .map(|v| {
            (
                v.version.as_str(),
                v.status,
                v.deployed,
                v.reason.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("v1", Status::Retired, false, Some("first model")),
            ("v2", Status::Production, true, Some("better")),
            ("v3", Status::Rejected, false, Some("out of range")),
        ]
    );
    let json = serde_json::to_value(&list[1]).unwrap();
    assert_eq!(
        (&json["status"], &json["summary"]["val_loss"]),
        (&"production".into(), &0.5.into())
    );
    // Rolled back: the old version is served again, and the list says so.
    registry.promote("v1", 2, 50, "rolled back").await.unwrap();
    let list = registry.list().await.unwrap();
    let statuses: Vec<Status> = list.iter().map(|version| version.status).collect();
    assert_eq!(
        statuses,
        [Status::Production, Status::Retired, Status::Rejected]
    );
    let numbers: Vec<u64> = registry
        .history()
        .await
        .unwrap()
        .iter()
        .map(|p| p.number)
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn of_two_promotions_one_is_told() {
    let registry = registry("race");
    registry.publish(new("v1", "weights")).await.unwrap();
    registry.publish(new("v2", "weights")).await.unwrap();
    let (one, two) = futures::join!(
        registry.promote("v1", 0, 1, "a"),
        registry.promote("v2", 0, 1, "b")
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let loser = one.and(two).unwrap_err();
    assert!(matches!(&loser, RegistryError::Conflict { .. }));
    assert!(
        loser.to_string().contains("was promoted in the meantime"),
        "{loser}"
    );
    let late = registry.promote("v2", 0, 1, "c").await.unwrap_err();
    assert!(matches!(late, RegistryError::Conflict { .. }));
    let early = registry.promote("v2", 7, 1, "c").await.unwrap_err();
    assert!(matches!(early, RegistryError::Conflict { .. }));
}

#[tokio::test]
async fn an_unreadable_pointer_is_named() {
    let registry = registry("bad-pointer");
    registry.publish(new("v1", "weights")).await.unwrap();
    registry.promote("v1", 0, 1, "a").await.unwrap();
    overwrite(
        &registry,
        "models/production/00000000000000000002.json",
        "{",
    )
    .await;
    let error = registry.production().await.unwrap_err().to_string();
    assert!(
        error.contains("production/00000000000000000002.json"),
        "{error}"
    );
}

#[test]
fn only_a_failing_store_is_worth_asking_again() {
    let object = || "models/v/config.json".to_owned();
    let source = object_store::Error::NotImplemented {
        operation: "get".to_owned(),
        implementer: "test".to_owned(),
    };
    assert!(
        RegistryError::Store {
            object: object(),
            source
        }
        .is_passing()
    );
    assert!(!RegistryError::NotFound { object: object() }.is_passing());
}
