//! Topics: creating them, checking them at start, finding their ends, waiting for a broker.
//!
//! Creating never changes a topic that exists. A topic's shape that would give wrong results (missing, another number of
//! partitions than its companions) is an error; a setting that only costs something is a warning.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::topic::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;

use crate::client::Probe;
use crate::dead_letter;
use crate::error::BusError;
use crate::settings::Settings;

/// Time for one request; metadata of thousands of topics takes a while.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// While waiting for a broker: how long one attempt takes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// And how long until the next one.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);
/// Kafka's default `message.max.bytes`, where the broker does not tell.
const DEFAULT_MAX_MESSAGE_BYTES: u64 = 1_048_588;

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Which of ours.
    pub topic: Topic,
    /// The full name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Number of replicas.
    pub replication: i32,
    /// Topic configuration, by Kafka's names.
    pub config: Vec<(String, String)>,
}

/// What became of a topic that should exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was created.
    Created,
    /// It existed; nothing was changed.
    Existed,
}

/// First and next offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The oldest offset that is there.
    pub low: i64,
    /// The offset that the next record will have.
    pub high: i64,
}

/// Offsets by topic (full name) and partition.
pub type Offsets = BTreeMap<(Arc<str>, i32), Range>;

/// All topics of ours: the partitioned ones with `partitions`, the others with one.
pub fn specs(prefix: &str, partitions: i32, replication: i32) -> Vec<TopicSpec> {
    Topic::ALL
        .into_iter()
        .map(|topic| TopicSpec {
            topic,
            name: topic.full(prefix),
            partitions: if topic.partitioned() { partitions } else { 1 },
            replication,
            config: config_of(topic)
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        })
        .collect()
}

/// The configuration that a topic of ours needs, beside the dead letters' size.
fn config_of(topic: Topic) -> &'static [(&'static str, &'static str)] {
    match topic {
        // The broker's clock: a producer's own claim must not move the watermark.
        Topic::Metrics => &[("message.timestamp.type", "LogAppendTime")],
        // Decisions are a fold over all of it.
        Topic::Control => &[("cleanup.policy", "delete"), ("retention.ms", "-1")],
        // The latest state of each alert, by fingerprint.
        Topic::Alerts => &[("cleanup.policy", "compact")],
        _ => &[],
    }
}

/// librdkafka's mock cluster answers no question about topics: only their names and partitions are known.
const EMBEDDED_CLUSTER: &str = "mockCluster";

/// Creates those that do not exist yet. `metrics` first: the dead letters' size limit is made from its own.
///
/// # Errors
/// [`BusError::Topic`] where the broker refuses one; [`BusError::Unreachable`]; [`BusError::Denied`].
pub async fn ensure(
    settings: &Settings,
    specs: &[TopicSpec],
) -> Result<Vec<(String, Ensured)>, BusError> {
    if cluster_id(settings).await?.starts_with(EMBEDDED_CLUSTER) {
        return Err(BusError::Topic(format!(
            "the embedded broker at {} has its topics already and makes no others",
            settings.brokers
        )));
    }
    let admin = Admin::new(settings)?;
    let (dlq, others): (Vec<_>, Vec<_>) = specs
        .iter()
        .cloned()
        .partition(|spec| spec.topic == Topic::MetricsDlq);
    let mut done = admin.create(&others).await?;
    for mut spec in dlq {
        let metrics = Topic::Metrics.full(&settings.prefix);
        let max = admin
            .max_message_bytes(&metrics)
            .await?
            .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES);
        spec.config.push((
            "max.message.bytes".to_owned(),
            (max + dead_letter::EXTRA_BYTES).to_string(),
        ));
        done.extend(admin.create(&[spec]).await?);
    }
    Ok(done)
}

/// Checks the topics that a role needs; the warnings are one line each.
///
/// # Errors
/// [`BusError::Topic`], one line: a topic is missing, or its number of partitions does not fit; [`BusError::Unreachable`].
pub async fn check(settings: &Settings, needed: &[Topic]) -> Result<Vec<String>, BusError> {
    let found = partitions(settings).await?;
    check_partitions(&settings.prefix, needed, &found)?;
    if cluster_id(settings).await?.starts_with(EMBEDDED_CLUSTER) {
        return Ok(Vec::new());
    }
    Admin::new(settings)?
        .warnings(&settings.prefix, needed)
        .await
}

fn check_partitions(
    prefix: &str,
    needed: &[Topic],
    found: &BTreeMap<String, i32>,
) -> Result<(), BusError> {
    let mut first: Option<(String, i32)> = None;
    for topic in needed {
        let name = topic.full(prefix);
        let Some(&count) = found.get(&name) else {
            return Err(BusError::Topic(format!(
                "topic {name} does not exist: create it with `forewarn topics create`, or set topics.prefix"
            )));
        };
        if !topic.partitioned() {
            if count != 1 {
                return Err(BusError::Topic(format!(
                    "topic {name} has {count} partitions, expected 1: its records must stay in order; recreate it"
                )));
            }
            continue;
        }
        match &first {
            None => first = Some((name, count)),
            Some((other, expected)) if *expected != count => {
                return Err(BusError::Topic(format!(
                    "topic {name} has {count} partitions, expected {expected} as {other} has: a server's records must have \
                     the same partition number in both; recreate it"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Number of partitions of every topic that these credentials can see.
///
/// # Errors
/// [`BusError::Unreachable`], [`BusError::Denied`].
pub async fn partitions(settings: &Settings) -> Result<BTreeMap<String, i32>, BusError> {
    with_probe(settings, |probe| {
        let metadata = probe
            .client()
            .fetch_metadata(None, REQUEST_TIMEOUT)
            .map_err(|error| probe.why(error))?;
        Ok(metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none())
            .map(|topic| {
                let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
                (topic.name().to_owned(), count)
            })
            .collect())
    })
    .await
}

/// First and next offsets of these topics (full names), as of now: what `--until-end` works up to.
///
/// # Errors
/// [`BusError::Topic`] where one does not exist; [`BusError::Unreachable`].
pub async fn end_offsets(settings: &Settings, topics: &[String]) -> Result<Offsets, BusError> {
    let counts = partitions(settings).await?;
    let topics = topics.to_vec();
    with_probe(settings, move |probe| {
        let mut offsets = Offsets::new();
        for name in topics {
            let count = *counts.get(&name).ok_or_else(|| {
                BusError::Topic(format!(
                    "topic {name} does not exist: create it with `forewarn topics create`, or set topics.prefix"
                ))
            })?;
            let topic: Arc<str> = Arc::from(name.as_str());
            for partition in 0..count {
                let (low, high) = probe
                    .client()
                    .fetch_watermarks(&name, partition, REQUEST_TIMEOUT)
                    .map_err(|error| probe.why(error))?;
                offsets.insert((Arc::clone(&topic), partition), Range { low, high });
            }
        }
        Ok(offsets)
    })
    .await
}

/// The cluster's id, so that two clusters are not mistaken for each other.
///
/// # Errors
/// [`BusError::Unreachable`].
pub async fn cluster_id(settings: &Settings) -> Result<String, BusError> {
    let brokers = settings.brokers.clone();
    with_probe(settings, move |probe| {
        probe
            .client()
            .client()
            .fetch_cluster_id(REQUEST_TIMEOUT)
            .ok_or(BusError::Unreachable {
                brokers,
                reason: "no answer".to_owned(),
            })
    })
    .await
}

/// Waits until a broker answers. `on_retry` gets one line with host and port for each failed attempt. Cancel it to give up.
///
/// # Errors
/// [`BusError::Config`] and [`BusError::Denied`]: waiting would not help.
pub async fn connect(settings: &Settings, mut on_retry: impl FnMut(&str)) -> Result<(), BusError> {
    loop {
        let attempt = with_probe(settings, |probe| {
            match probe.client().fetch_metadata(None, ATTEMPT_TIMEOUT) {
                Ok(_) => Ok(()),
                Err(error) => Err(probe.why(error)),
            }
        });
        match attempt.await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => on_retry(&error.to_string()),
        }
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
}

/// Runs something that blocks beside the async threads, with a client of its own.
async fn with_probe<T: Send + 'static>(
    settings: &Settings,
    work: impl FnOnce(&Probe) -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    let config = settings.probe();
    tokio::task::spawn_blocking(move || work(&Probe::new(&config)?))
        .await
        .map_err(|e| BusError::Kafka(format!("ask the broker: {e}")))?
}

struct Admin {
    client: AdminClient<DefaultClientContext>,
    options: AdminOptions,
    brokers: String,
}

impl Admin {
    fn new(settings: &Settings) -> Result<Admin, BusError> {
        Ok(Admin {
            client: settings.probe().create()?,
            options: AdminOptions::new()
                .request_timeout(Some(REQUEST_TIMEOUT))
                .operation_timeout(Some(REQUEST_TIMEOUT)),
            brokers: settings.brokers.clone(),
        })
    }

    async fn create(&self, specs: &[TopicSpec]) -> Result<Vec<(String, Ensured)>, BusError> {
        let topics: Vec<NewTopic<'_>> = specs
            .iter()
            .map(|spec| {
                let replication = TopicReplication::Fixed(spec.replication);
                let topic = NewTopic::new(&spec.name, spec.partitions, replication);
                spec.config
                    .iter()
                    .fold(topic, |topic, (k, v)| topic.set(k, v))
            })
            .collect();
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let results = self
            .client
            .create_topics(&topics, &self.options)
            .await
            .map_err(|error| self.failed("create topics", &error.to_string()))?;
        results
            .into_iter()
            .map(|result| match result {
                Ok(name) => Ok((name, Ensured::Created)),
                Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => Ok((name, Ensured::Existed)),
                Err((name, code)) => match BusError::from_code(code, &code.to_string()) {
                    denied @ BusError::Denied(_) => Err(denied),
                    _ => Err(BusError::Topic(format!(
                        "topic {name} cannot be created: {code}"
                    ))),
                },
            })
            .collect()
    }

    fn failed(&self, what: &str, text: &str) -> BusError {
        BusError::Unreachable {
            brokers: self.brokers.clone(),
            reason: format!("{what}: {text}"),
        }
    }

    /// A topic's configuration; `None` where the broker does not tell.
    async fn config(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, BusError> {
        let resources = [ResourceSpecifier::Topic(name)];
        let described = match self
            .client
            .describe_configs(&resources, &self.options)
            .await
        {
            Ok(described) => described,
            Err(rdkafka::error::KafkaError::AdminOp(RDKafkaErrorCode::UnsupportedFeature)) => {
                return Ok(None);
            }
            Err(error) => return Err(self.failed("describe topics", &error.to_string())),
        };
        match described.into_iter().next() {
            Some(Ok(resource)) => Ok(Some(
                resource
                    .entries
                    .into_iter()
                    .filter_map(|entry| Some((entry.name, entry.value?)))
                    .collect(),
            )),
            // Not allowed to look, or gone: nothing to say about its configuration.
            Some(Err(_)) | None => Ok(None),
        }
    }

    async fn max_message_bytes(&self, name: &str) -> Result<Option<u64>, BusError> {
        let config = self.config(name).await?;
        Ok(config.and_then(|c| c.get("max.message.bytes")?.parse().ok()))
    }

    async fn warnings(&self, prefix: &str, needed: &[Topic]) -> Result<Vec<String>, BusError> {
        let mut warnings = Vec::new();
        for topic in needed {
            let name = topic.full(prefix);
            let Some(config) = self.config(&name).await? else {
                continue;
            };
            for (key, expected) in config_of(*topic) {
                let found = config.get(*key).map_or("", String::as_str);
                if found != *expected {
                    warnings.push(format!(
                        "topic {name}: {key} is {found}, expected {expected}"
                    ));
                }
            }
            if *topic == Topic::MetricsDlq {
                let metrics = Topic::Metrics.full(prefix);
                let at_least = self
                    .max_message_bytes(&metrics)
                    .await?
                    .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
                    + dead_letter::EXTRA_BYTES;
                let found = config
                    .get("max.message.bytes")
                    .and_then(|v| v.parse::<u64>().ok())
                    .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES);
                if found < at_least {
                    warnings.push(format!(
                        "topic {name}: max.message.bytes is {found}, expected at least {at_least}: the largest records of \
                         {metrics} do not fit"
                    ));
                }
            }
        }
        Ok(warnings)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_counts(needed: &[Topic], found: &[(&str, i32)], problem: Option<&str>) {
        let found = found.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
        let result = check_partitions("p.", needed, &found);
        match (result, problem) {
            (Ok(()), None) => {}
            (Err(BusError::Topic(text)), Some(part)) => {
                assert!(text.contains(part) && !text.contains('\n'), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn companions_have_the_same_number_of_partitions() {
        use Topic::{Control, Metrics, Rollups};
        let both = [Metrics, Rollups];
        check_counts(&both, &[("p.metrics", 12), ("p.rollups", 12)], None);
        let other = [("p.metrics", 12), ("p.rollups", 6)];
        check_counts(
            &both,
            &other,
            Some("p.rollups has 6 partitions, expected 12 as p.metrics"),
        );
        check_counts(
            &both,
            &[("p.metrics", 12)],
            Some("topic p.rollups does not exist"),
        );
        check_counts(&[Control], &[("p.control", 1)], None);
        check_counts(
            &[Control],
            &[("p.control", 3)],
            Some("has 3 partitions, expected 1"),
        );
    }

    #[test]
    fn every_topic_has_a_spec() {
        let specs = specs("p.", 12, 3);
        assert_eq!(specs.len(), Topic::ALL.len());
        for spec in &specs {
            assert_eq!(spec.replication, 3);
            assert_eq!(
                spec.partitions,
                if spec.topic.partitioned() { 12 } else { 1 }
            );
        }
        let control = specs.iter().find(|s| s.topic == Topic::Control).unwrap();
        assert!(
            control
                .config
                .contains(&("retention.ms".into(), "-1".into()))
        );
    }
}
