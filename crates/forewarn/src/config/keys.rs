//! Every configuration key: its name, its default and what it means, in one table.
//!
//! The table decides which keys exist; what a value must look like is decided in `resolve`.

/// One key that a user may write.
#[derive(Debug)]
pub(crate) struct Key {
    /// Dotted name, as in `--set` and in error messages.
    pub(crate) name: &'static str,
    /// What holds where nobody wrote anything; empty means "not set".
    pub(crate) default: &'static str,
    /// What the value is for, in one line.
    pub(crate) help: &'static str,
}

/// Names below this prefix are librdkafka's and go to it as they are.
pub(crate) const PROPERTIES_PREFIX: &str = "kafka.properties.";

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default,
        help,
    }
}

/// All keys but `kafka.properties.*`, in the order in which they are printed.
pub(crate) const KEYS: &[Key] = &[
    key(
        "contract",
        "linborg",
        "metric contract: a shipped name (linborg, vm, wafer-test) or a path to a .contract.toml",
    ),
    key(
        "delivery",
        "at_least_once",
        "at_least_once: a repeat has the same identity",
    ),
    key(
        "kafka.brokers",
        "localhost:9092",
        "host:port, several separated by commas",
    ),
    key(
        "kafka.instance_id",
        "",
        "stable name of this process: fences its predecessor at once",
    ),
    key(
        "kafka.schema_ids",
        "",
        "Confluent schema ids of metrics records that were written with the contract's schema, like [7, 12]",
    ),
    key("topics.prefix", "forewarn.", "before every topic's name"),
    key(
        "lake.url",
        "forewarn-data/lake",
        "where the archive is kept: a path, file:// or memory://",
    ),
    key(
        "registry.url",
        "forewarn-data/registry",
        "where models are kept: a path, file:// or memory://",
    ),
    key(
        "telemetry.listen",
        "127.0.0.1:0",
        "host:port of /metrics, /healthz and /readyz; port 0 takes a free one",
    ),
    key(
        "rollup.grace",
        "60s",
        "how long a bucket waits for records that come late",
    ),
    key(
        "rollup.idle_after",
        "10m",
        "silence after which a partition's buckets close by clock",
    ),
    key(
        "forecast.every",
        "1",
        "forecast at each N-th closed bucket of a server",
    ),
    key("forecast.batch", "512", "servers in one call of the model"),
    key(
        "forecast.max_wait",
        "200ms",
        "how long a batch may wait to fill",
    ),
    key(
        "archive.topics",
        "metrics,rollups,predictions,drift,control",
        "short names of the topics that are kept",
    ),
    key(
        "archive.flush_rows",
        "1000000",
        "rows of one partition that make an object",
    ),
    key(
        "archive.flush_bytes",
        "128MiB",
        "bytes of one partition that make an object",
    ),
    key(
        "archive.flush_age",
        "10m",
        "age of its first row that makes an object",
    ),
    key(
        "drift.policy",
        "sla",
        "sla: score above 0.08 warning, 0.10 alarm, 0.12 critical; any-metric: 0.12 alarm, or any measure above its own limit (raw; calibrated, both alarm where one metric's evidence reaches the level)",
    ),
    key(
        "drift.calibration",
        "on",
        "on: values say how far evidence goes towards what quiet days reach; raw: as measured (alarms often)",
    ),
    key(
        "drift.fds",
        "max",
        "max, mean or sum: how the distances of the metrics' means become the raw FDS; calibrated values judge each metric by itself",
    ),
    key(
        "model.device",
        "auto",
        "where the network runs: auto, cpu, libtorch, libtorch:cuda:N or cuda:N, of those compiled in; several with commas train together, the first forecasts",
    ),
    key(
        "train.preset",
        "production",
        "quick, validate, production or incremental: epochs and days",
    ),
    key(
        "train.days",
        "",
        "days of rollups to train on; the preset's when not set",
    ),
    key(
        "train.max_seconds",
        "",
        "longest training; the preset's when not set",
    ),
    key(
        "train.precision",
        "auto",
        "what a training computes in: f32, bf16 (weights, loss and optimiser stay f32), or auto: bf16 on GPUs that have it",
    ),
    key(
        "train.tuned",
        "",
        "file that forewarn tune wrote: sizes, dropout, parts and learning rate of a model that is trained anew",
    ),
    key(
        "train.checkpoints",
        "",
        "directory of checkpoints; without it the train role begins a stopped training anew",
    ),
    key(
        "train.checkpoint_every",
        "10m",
        "time between two checkpoints, beside those after an epoch and on a stop",
    ),
    key(
        "train.retry_after",
        "5m",
        "time from a training that failed to the next try, of which there are two; 30m at most",
    ),
    key(
        "decision.min_hours_between",
        "6h",
        "least time between two trainings",
    ),
    key(
        "decision.triggers",
        "drift",
        "what a training may rest on: any, all, or schedule, drift, performance, share, event:NAME with and, or, not, ( )",
    ),
    key(
        "decision.schedule",
        "",
        "trainings by the clock: minute, hour, day of the month, month, day of the week, like 0 2 * * *",
    ),
    key(
        "decision.time_zone",
        "",
        "whose clock the schedule goes by, like America/New_York; the contract's when not set",
    ),
    key(
        "decision.max_in_week",
        "3",
        "most trainings in 7 days, those of the schedule aside",
    ),
    key(
        "decision.force_after",
        "30d",
        "time without a training that forces one",
    ),
    key(
        "decision.min_accuracy",
        "0.88",
        "accuracy, from 0 to 1, below which the trigger performance holds",
    ),
    key(
        "decision.max_share_drifted",
        "0.5",
        "share of drifted metrics above which the trigger share holds",
    ),
    key(
        "quiet.rule",
        "load",
        "load (below max_load), cpu-mem (CPU below 60 %, memory below 70 %), both or either",
    ),
    key(
        "quiet.max_load",
        "0.3",
        "load below which a training may start",
    ),
    key(
        "log.level",
        "info",
        "what is logged, as in RUST_LOG, which wins over it",
    ),
    key(
        "log.format",
        "text",
        "text or json; --log-format wins over it",
    ),
];

/// The key of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether keys begin with this name and a dot.
pub(crate) fn is_section(name: &str) -> bool {
    let inside = |key: &str| {
        key.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    KEYS.iter().any(|key| inside(key.name)) || inside(PROPERTIES_PREFIX)
}

/// The known key that was most likely meant, where one is near enough to be worth naming.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name);
    KEYS.iter()
        .map(|key| {
            let known_last = key.name.rsplit('.').next().unwrap_or(key.name);
            let whole = strsim::normalized_damerau_levenshtein(name, key.name);
            // `flush_rows` for `archive.flush_rows`: the section was forgotten or mistaken.
            let tail = strsim::normalized_damerau_levenshtein(last, known_last) * 0.9;
            (whole.max(tail), key.name)
        })
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_explained() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
        assert!(KEYS.iter().all(|key| !key.help.is_empty()));
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        for (written, meant) in [
            ("kafka.broker", Some("kafka.brokers")),
            ("kafka.bokers", Some("kafka.brokers")),
            ("flush_rows", Some("archive.flush_rows")),
            ("lake.path", None),
            ("rollup.idle", None),
            ("quiet.maxload", Some("quiet.max_load")),
            ("zzz", None),
        ] {
            let found = nearest(written);
            match meant {
                Some(_) => assert_eq!(found, meant, "{written}"),
                None => assert!(
                    found.is_none() || found.is_some_and(|f| f.contains('.')),
                    "{written}"
                ),
            }
        }
        assert_eq!(nearest("zzz"), None);
    }
}
