//! `forewarn topics create`: what is missing is made, what exists is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus::topics::{Ensured, TopicSpec};
use serde_json::json;

use super::{App, output};
use crate::cli::TopicsCommand;
use crate::kafka;
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// How often a broker is asked for topics that it has just made.
const MAX_TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Creates the topics; running it again changes nothing.
///
/// # Errors
/// Refused where a topic exists with another partition count: that cannot be repaired in place.
pub(crate) async fn run(command: &TopicsCommand, app: &App) -> Result<()> {
    let TopicsCommand::Create {
        partitions,
        replication,
    } = command;
    let settings = kafka::settings(&app.settings, "topics");
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    if !kafka::connect(&settings, &shutdown, |_| {}).await? {
        return Ok(());
    }
    let specs = bus::topics::specs(&settings.prefix, *partitions, *replication);
    check_counts(&specs, &bus::topics::partitions(&settings).await?)?;
    let done = bus::topics::ensure(&settings, &specs).await?;
    // A broker may know a topic before it tells: only now does it tell of all, also of one that another made meanwhile.
    check_counts(&specs, &all_told(&settings, &specs).await?)?;
    let names = |state: fn(&Ensured) -> bool| -> Vec<&String> {
        let those = done.iter().filter(|(_, ensured)| state(ensured));
        those.map(|(name, _)| name).collect()
    };
    let created = names(|ensured| matches!(ensured, Ensured::Created));
    let existing = names(|ensured| matches!(ensured, Ensured::Existed));
    if app.json {
        return output::json(&json!({"created": created, "existing": existing}));
    }
    output::line(&format!(
        "{} topics created, {} existed",
        created.len(),
        existing.len()
    ))
}

/// Partition counts, once the broker tells of every topic; of those that it tells of where it takes too long.
async fn all_told(
    settings: &bus::Settings,
    specs: &[TopicSpec],
) -> Result<BTreeMap<String, i32>, bus::BusError> {
    let mut tries = 0;
    loop {
        let found = bus::topics::partitions(settings).await?;
        if tries == MAX_TRIES || specs.iter().all(|spec| found.contains_key(&spec.name)) {
            return Ok(found);
        }
        tries += 1;
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

fn check_counts(specs: &[TopicSpec], found: &BTreeMap<String, i32>) -> Result<(), Refusal> {
    let mut each = specs.iter();
    each.try_for_each(|spec| check_count(spec, found.get(&spec.name).copied()))
}

fn check_count(spec: &TopicSpec, found: Option<i32>) -> Result<(), Refusal> {
    match found {
        Some(count) if count != spec.partitions => Err(Refusal::new(format!(
            "topic {} has {count} partitions, expected {}: choose --partitions to fit, another topics.prefix, or delete the topic",
            spec.name, spec.partitions
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_partition_count_is_refused_by_name() {
        let specs = bus::topics::specs("forewarn.", 12, 1);
        let spec = specs.first().unwrap();
        assert!(check_count(spec, None).is_ok() && check_count(spec, Some(12)).is_ok());
        let message = check_count(spec, Some(3)).unwrap_err().to_string();
        assert!(message.contains(&spec.name) && message.contains("has 3 partitions, expected 12"));
    }
}
