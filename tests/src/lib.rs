//! The harness: runs the real program against a real Kafka, as a user would.
//!
//! `scripts/test` starts Kafka and sets `FOREWARN_TEST_BROKERS`. Without it the tests that need a
//! broker say so and pass, unless `FOREWARN_TEST_REQUIRED` or `CI` is set: then they fail. The same holds for a browser.

pub mod forwarder;
pub mod kafka;
pub mod models;
pub mod oracle;
pub mod pages;
pub mod records;
mod running;
pub mod topics;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use contract::codec::{Encoder, MetricRow};
use serde_json::Value;
use tempfile::TempDir;

pub use self::running::Running;

/// Addresses of the test broker; `None` (with a printed reason) where there is none and none is required.
///
/// # Panics
/// When a broker is required and there is none.
pub fn brokers() -> Option<String> {
    if let Ok(brokers) = std::env::var("FOREWARN_TEST_BROKERS") {
        return Some(brokers);
    }
    assert!(
        !required(),
        "FOREWARN_TEST_BROKERS is not set: run the tests with scripts/test"
    );
    println!("skipped: no broker (FOREWARN_TEST_BROKERS is not set, scripts/test sets it)");
    None
}

/// Whether what a test needs must be there: `scripts/test` and CI say so.
fn required() -> bool {
    ["FOREWARN_TEST_REQUIRED", "CI"]
        .iter()
        .any(|name| std::env::var(name).is_ok())
}

/// The real VM trace, where it lies beside the checkout; `None` with a printed reason elsewhere.
pub fn vm_trace() -> Option<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/bitbrains-rnd-dev.parquet");
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// A browser without a screen (Debian: `chromium`, which `scripts/test` installs); `None` (with a printed reason) where there is none
/// and none is required.
///
/// # Panics
/// When a browser is required and there is none.
#[must_use]
pub fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|dir| {
            ["chromium", "chromium-browser", "google-chrome"].map(|name| dir.join(name))
        })
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        assert!(
            !required(),
            "no browser in PATH: run the tests with scripts/test, or apt-get install chromium"
        );
        println!("skipped: no browser in PATH (scripts/test installs Debian's chromium)");
    }
    found
}

/// The program under test: built by the same `cargo` run, beside the test's own binary.
///
/// # Panics
/// When it was not built.
pub fn binary() -> PathBuf {
    let mut path = std::env::current_exe().expect("know the test's own path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("forewarn");
    assert!(
        path.exists(),
        "{} is missing: cargo build -p forewarn",
        path.display()
    );
    path
}

/// One installation: a topic prefix, a lake and a registry of its own.
pub struct Site {
    /// Its directory, removed at the end.
    pub dir: TempDir,
    /// Topic prefix, unique in the broker.
    pub prefix: String,
    brokers: String,
    settings: Vec<String>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// The JSON values on stdout, one a line.
    ///
    /// # Panics
    /// When a line is no JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        };
        self.stdout
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(parse)
            .collect()
    }

    /// The last JSON line.
    ///
    /// # Panics
    /// When there is none.
    pub fn last_json(&self) -> Value {
        let last = self
            .stdout
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty());
        let last = last.unwrap_or_else(|| panic!("nothing on stdout: {self:?}"));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {last:?}"))
    }

    /// Itself, when it ended with code 0.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts a refusal: the code and one line on stderr that holds all the words.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        assert_eq!(
            self.stderr.trim_end().lines().count(),
            1,
            "one line: {}",
            self.stderr
        );
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not in {:?}",
                self.stderr
            );
        }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Site {
    /// A fresh site on the broker, for a contract by name or path.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    pub fn new(brokers: &str, contract: &str) -> Self {
        let dir = TempDir::new().expect("make a temporary directory");
        let name = dir
            .path()
            .file_name()
            .map(|n| n.to_string_lossy().into_owned());
        let prefix = format!("t{}.", name.unwrap_or_default().trim_start_matches('.'));
        let at = |sub: &str| dir.path().join(sub).display().to_string();
        let settings = vec![
            format!("kafka.brokers={brokers}"),
            format!("topics.prefix={prefix}"),
            format!("contract={contract}"),
            format!("lake.url={}", at("lake")),
            format!("registry.url={}", at("registry")),
        ];
        Self {
            prefix,
            brokers: brokers.to_owned(),
            settings,
            dir,
        }
    }

    /// The broker's address.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A topic's full name.
    pub fn topic(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    /// A path below the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces or adds a `--set`.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|s| !s.starts_with(&format!("{key}=")));
        self.settings.push(format!("{key}={value}"));
    }

    /// The command with this site's settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.args(args);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.command(args).output().expect("start forewarn").into()
    }

    /// Starts the program and leaves it running.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, args: &[&str]) -> Running {
        let log = self.path(&format!("{}.log", args.join("-").replace('/', "_")));
        Running::start(self.command(args), log)
    }

    /// Waits until a topic has had so many records, while the process runs.
    ///
    /// # Panics
    /// When that does not happen in a minute, or the process ends.
    #[track_caller]
    pub fn wait_for_records(&self, topic: &str, at_least: i64, running: &mut Running) {
        running.until(topic, Duration::from_secs(60), || {
            (kafka::count(self.brokers(), &self.topic(topic)) >= at_least).then_some(())
        });
    }

    /// `train` with the preset `quick`, for so many seconds at most; its JSON.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn train_quick(&self, file: &str, max_seconds: &str) -> Value {
        let quick = ["--preset", "quick", "--max-seconds", max_seconds, "--json"];
        self.run(&[&["train", "--data", file], &quick[..]].concat())
            .ok()
            .last_json()
    }

    /// Simulates a fleet of one record in five minutes into a file; gives its path.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn simulate(&self, servers: &str, hours: &str, seed: &str) -> String {
        let file = self.path("fleet.parquet").display().to_string();
        let fleet = [
            "--servers",
            servers,
            "--hours",
            hours,
            "--step",
            "5m",
            "--seed",
            seed,
        ];
        self.run(&[&["simulate", "--out", &file], &fleet[..]].concat())
            .ok();
        file
    }

    /// `topics create`.
    ///
    /// # Panics
    /// When it fails.
    pub fn create_topics(&self, partitions: u32) {
        self.run(&["topics", "create", "--partitions", &partitions.to_string()])
            .ok();
    }

    /// One role to the end of its topics; its JSON line.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn to_end(&self, role: &str) -> Value {
        self.run(&["run", "--role", role, "--until-end", "--json"])
            .ok()
            .last_json()
    }
}

/// The wall clock, ms since the epoch.
///
/// # Panics
/// Before 1970.
#[allow(clippy::disallowed_methods)] // A test is a producer: it has the wall's time.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_millis()).expect("before year 292 million")
}

/// A record of `metrics`, with neither profile nor state.
///
/// # Panics
/// When it cannot be encoded.
pub fn metric_record(
    encoder: &Encoder,
    server: &str,
    timestamp: i64,
    values: &[Option<f32>],
) -> Vec<u8> {
    let row = MetricRow {
        server,
        timestamp,
        profile: None,
        state: None,
        values,
    };
    let mut bytes = Vec::new();
    encoder.encode_metric(&row, &mut bytes).expect("encode");
    bytes
}
