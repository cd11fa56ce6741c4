//! Models for tests: trained once a test binary, then put into each site's registry as it needs.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use contract::codec::encode;
use contract::record::{ControlEvent, ControlPayload, MODEL_PROMOTED, ModelChange};
use lake::registry::Registry;
use tempfile::TempDir;

use crate::{Site, kafka};

/// Servers of the fleet that the models are trained on.
pub const SERVERS: &str = "12";
const HOURS: &str = "100";

/// A fleet's metrics and models trained on them.
pub struct Models {
    dir: TempDir,
    /// Two versions for the shipped contract `linborg`, the older first.
    pub linborg: [String; 2],
    /// One version for [`Self::other_contract`].
    pub other: String,
}

/// The models of this process, trained by the first caller.
///
/// # Panics
/// When a training fails.
pub fn models() -> &'static Models {
    static MODELS: OnceLock<Models> = OnceLock::new();
    MODELS.get_or_init(|| {
        let dir = TempDir::new().expect("make a temporary directory");
        let shipped = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../schemas/linborg.contract.toml"
        );
        let shipped = std::fs::read_to_string(shipped).expect("read the contract");
        let other = dir.path().join("other.contract.toml");
        let text = shipped.replace("unit = \"", "unit = \"other ");
        std::fs::write(&other, text).expect("write the contract");
        let mut site = Site::new("127.0.0.1:1", "linborg");
        site.set(
            "registry.url",
            &dir.path().join("registry").display().to_string(),
        );
        let file = dir.path().join("fleet.parquet").display().to_string();
        site.run(&[
            "simulate",
            "--servers",
            SERVERS,
            "--hours",
            HOURS,
            "--step",
            "5m",
            "--seed",
            "7",
            "--out",
            &file,
        ])
        .ok();
        let train = |site: &Site, seed: &str| {
            let trained = site.run(&[
                "train",
                "--data",
                &file,
                "--preset",
                "quick",
                "--seed",
                seed,
                "--max-seconds",
                "2",
                "--json",
            ]);
            let trained = trained.ok().last_json();
            trained["version"].as_str().expect("a version").to_owned()
        };
        let linborg = [train(&site, "1"), train(&site, "2")];
        site.set("contract", &other.display().to_string());
        let other = train(&site, "3");
        Models {
            dir,
            linborg,
            other,
        }
    })
}

impl Models {
    /// The fleet's metrics, one record a server and bucket.
    pub fn metrics(&self) -> PathBuf {
        self.dir.path().join("fleet.parquet")
    }

    /// A contract with the metrics of `linborg` and other units.
    pub fn other_contract(&self) -> String {
        self.dir
            .path()
            .join("other.contract.toml")
            .display()
            .to_string()
    }

    /// A version's folder.
    pub fn path(&self, version: &str) -> PathBuf {
        let relative = Registry::relative_path(version).expect("a version");
        self.dir.path().join("registry").join(relative)
    }

    /// Registers all versions in the site's registry; none is served by that.
    ///
    /// # Panics
    /// When they cannot be copied.
    pub fn register(&self, site: &Site) {
        for version in self.linborg.iter().chain([&self.other]) {
            let relative = Registry::relative_path(version).expect("a version");
            copy(&self.path(version), &site.path("registry").join(relative));
        }
    }
}

/// Moves the site's production pointer, without telling anybody.
///
/// # Panics
/// When the registry refuses.
pub fn promote(site: &Site, version: &str) {
    let url = site.path("registry").display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("start a runtime");
    runtime.block_on(async {
        let registry = Registry::new(lake::store::open(&url).expect("open the registry"));
        let current = registry.production().await.expect("read the registry");
        let after = current.map_or(0, |current| current.number);
        registry
            .promote(version, after, crate::now_ms(), "a test")
            .await
            .expect("promote");
    });
}

/// Tells everybody on `control` that a model is served.
///
/// # Panics
/// When it cannot be sent.
pub fn announce(site: &Site, version: &str) {
    let event = ControlEvent {
        id: format!("promoted-{version}"),
        event_type: MODEL_PROMOTED.to_owned(),
        source: "test".to_owned(),
        time: crate::now_ms(),
        payload: ControlPayload::Model(ModelChange {
            version: version.to_owned(),
            path: Registry::relative_path(version).expect("a version"),
            contract: String::new(),
            job_id: String::new(),
            val_loss: None,
            previous: None,
            reason: "a test".to_owned(),
        }),
    };
    let value = encode(&event).expect("encode");
    kafka::send(
        site.brokers(),
        &site.topic("control"),
        &[(0, None, Some(&value))],
    );
}

/// Copies a folder with all that is in it.
///
/// # Panics
/// When a file cannot be read or written.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("list a folder") {
        let entry = entry.expect("list a folder");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}
