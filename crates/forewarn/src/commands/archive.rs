//! `forewarn archive verify`: every chain of the lake, walked.

use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::Topic;
use lake::verify::Report;

use super::{App, output};
use crate::cli::ArchiveCommand;
use crate::kafka;
use crate::refusal::{NotHeld, Refusal};

/// How long a broker may take to tell its watermarks. The check needs none.
const BROKER_WITHIN: Duration = Duration::from_secs(5);

/// Walks the chains and, where a broker is configured and answers, compares its watermarks.
///
/// # Errors
/// [`NotHeld`] where a chain is not whole.
pub(crate) async fn run(command: &ArchiveCommand, app: &App) -> Result<()> {
    let ArchiveCommand::Verify = command;
    let url = &app.settings.lake.url;
    let root = lake::store::open(url).map_err(|e| Refusal::new(format!("lake.url: {e}")))?;
    let walked = lake::verify::verify(&root.store, None).await;
    let mut report = walked.with_context(|| format!("read the archive in {}", root.url))?;
    if !app.settings.is_default("kafka.brokers") {
        compare(&mut report, app).await;
    }
    if app.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    match &report.first_bad {
        None => Ok(()),
        Some(bad) => Err(NotHeld::new(format!(
            "the archive in {} is not whole: {}: {}",
            root.url, bad.object, bad.reason
        ))
        .into()),
    }
}

/// A broker that is away, or that has other topics, is no finding.
async fn compare(report: &mut Report, app: &App) {
    let settings = kafka::settings(&app.settings, "verify");
    let compared = tokio::time::timeout(BROKER_WITHIN, async {
        let there = bus::topics::partitions(&settings).await?;
        let topics: Vec<String> = Topic::ALL
            .iter()
            .map(|topic| topic.full(&settings.prefix))
            .filter(|name| there.contains_key(name))
            .collect();
        bus::topics::end_offsets(&settings, &topics).await
    });
    match compared.await {
        Ok(Ok(offsets)) => {
            for ((topic, partition), range) in offsets {
                report.compare_watermarks(&topic, partition, range.low, range.high);
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "watermarks were not compared"),
        Err(_) => tracing::warn!("watermarks were not compared: no answer from kafka in time"),
    }
}

fn print(report: &Report) -> Result<()> {
    let rows: Vec<Vec<String>> = report
        .topics
        .iter()
        .map(|topic| {
            let bad = topic.partitions.iter().filter(|p| p.bad.is_some()).count();
            vec![
                topic.topic.clone(),
                topic.partitions.len().to_string(),
                topic.objects.to_string(),
                topic.rows.to_string(),
                match bad {
                    0 => "whole".to_owned(),
                    bad => format!("{bad} not whole"),
                },
            ]
        })
        .collect();
    if rows.is_empty() {
        return output::line("nothing is archived yet");
    }
    output::table(&["TOPIC", "PARTITIONS", "OBJECTS", "ROWS", "CHAINS"], &rows)
}
