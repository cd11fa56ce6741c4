//! `forewarn replay FILE`: recorded metrics, published again in time order at a chosen pace.
//!
//! Order: by timestamp, ties in file order. What is held in memory is what is out of order: a
//! file in time order passes through block by block, one sorted by server is held as a whole.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use contract::Contract;
use contract::codec::MetricRow;
use fleet::replay::{Filter, Pacer, Servers, Sorted};
use fleet::{Records, Row};
use lake::records::{Block, Kind, RecordFile};
use serde_json::json;
use tokio::time::Instant;

use super::publish::{Publisher, wait_until_due};
use super::{App, output};
use crate::cli::ReplayArgs;
use crate::refusal::Refusal;
use crate::shutdown::Shutdown;

/// Rows that may be out of order at a time: about 2 GiB with the 14 metrics of LINBORG.
const MAX_HELD_ROWS: usize = 25_000_000;
/// Publishes the file's records and prints what arrived.
///
/// # Errors
/// Refused where the file or the topic does not fit; failed where records do not arrive.
pub(crate) async fn run(args: &ReplayArgs, app: &App) -> Result<()> {
    let contract = &app.settings.contract;
    let file = open(&args.file, contract)?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let Some(mut publisher) = Publisher::connect(app, "replay", &shutdown).await? else {
        return Ok(());
    };
    let filter = Filter {
        from_ms: args.range.from,
        to_ms: args.range.to,
        servers: args.servers.clone().unwrap_or(Servers::All),
    };
    let started = Instant::now();
    let mut pacer = Pacer::new(args.speed);
    let mut reader = Reader::new(&file, contract, filter)?;
    'parts: while let Some(mut part) = reader.next_part()? {
        while let Some(row) = part.next_row() {
            if !wait_until_due(started + pacer.due(row.timestamp_ms), &shutdown).await {
                break 'parts;
            }
            publisher.send(&metric_row(&row)).await?;
        }
    }
    if reader.incomplete > 0 {
        tracing::warn!(
            rows = reader.incomplete,
            "left out rows without server or timestamp"
        );
    }
    let (sent, servers) = publisher.finish().await?;
    let seconds = started.elapsed().as_secs_f64();
    if app.json {
        return output::json(&json!({"sent": sent, "servers": servers, "seconds": seconds}));
    }
    output::line(&format!(
        "{sent} records of {servers} servers sent in {seconds:.1} s"
    ))
}

fn open(path: &Path, contract: &Contract) -> Result<RecordFile, Refusal> {
    let file = RecordFile::open(path, contract).map_err(|error| Refusal::new(error.to_string()))?;
    if file.kind() == Kind::Rollups {
        return Err(Refusal::new(format!(
            "{}: holds rollups (it has num_records), expected raw records",
            path.display()
        )));
    }
    if !file.ignored().is_empty() {
        let columns = file.ignored().join(", ");
        tracing::warn!(%columns, "ignored columns that are not in the contract {}", contract.name);
    }
    Ok(file)
}

fn metric_row<'a>(row: &Row<'a>) -> MetricRow<'a> {
    MetricRow {
        server: row.server,
        timestamp: row.timestamp_ms,
        profile: row.profile,
        state: row.state,
        values: row.values,
    }
}

/// Reads a file and gives its rows out in parts, each sorted, none earlier than the one before.
struct Reader {
    blocks: lake::records::Blocks,
    /// For each block the least timestamp of all behind it: what may be given out already.
    later: std::vec::IntoIter<i64>,
    held: Records,
    filter: Filter,
    incomplete: u64,
}

impl Reader {
    /// Reads the file once for its timestamps; the rows come in a second pass.
    fn new(file: &RecordFile, contract: &Contract, filter: Filter) -> Result<Self> {
        let mut earliest = Vec::new();
        let mut values = Vec::new();
        for block in file.blocks()? {
            let block = block?;
            let times = (0..block.len()).filter_map(|i| block.row(i, &mut values).timestamp_ms);
            earliest.push(times.min().unwrap_or(i64::MAX));
        }
        let names = contract.raw_metrics().iter().map(|m| m.name.as_str());
        Ok(Self {
            blocks: file.blocks()?,
            later: later_minima(&earliest).into_iter(),
            held: Records::new(names),
            filter,
            incomplete: 0,
        })
    }

    /// The next rows that nothing still to be read can precede.
    fn next_part(&mut self) -> Result<Option<Sorted>> {
        while let Some(block) = self.blocks.next() {
            self.hold(&block?)?;
            let later = self.later.next().unwrap_or(i64::MIN);
            let latest = self.held.timestamps().iter().max();
            // Equal times may go out: what is held comes before them in the file.
            if latest.is_some_and(|latest| *latest <= later) {
                return Ok(Some(self.release()));
            }
            if self.held.len() > MAX_HELD_ROWS {
                bail!(
                    "{MAX_HELD_ROWS} rows are out of time order: replay the file in parts (--from, --to, --servers)"
                );
            }
        }
        Ok((!self.held.is_empty()).then(|| self.release()))
    }

    fn hold(&mut self, block: &Block) -> Result<()> {
        let mut values = Vec::new();
        for index in 0..block.len() {
            let row = block.row(index, &mut values);
            let Some(timestamp_ms) = row.timestamp_ms.filter(|_| !row.server.is_empty()) else {
                self.incomplete += 1;
                continue;
            };
            if self.filter.accepts(row.server, timestamp_ms) {
                self.held.push(&Row {
                    server: row.server,
                    timestamp_ms,
                    profile: row.profile,
                    state: row.state,
                    values: row.values,
                })?;
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Sorted {
        let empty = Records::new(self.held.metrics());
        Sorted::new(std::mem::replace(&mut self.held, empty))
    }
}

/// For each block the least timestamp of all blocks behind it.
fn later_minima(earliest: &[i64]) -> Vec<i64> {
    let mut least = i64::MAX;
    let mut later: Vec<i64> = earliest
        .iter()
        .rev()
        .map(|own| {
            let behind = least;
            least = least.min(*own);
            behind
        })
        .collect();
    later.reverse();
    later
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use lake::records::RecordWriter;

    #[test]
    fn what_comes_later_bounds_what_may_go_out() {
        assert_eq!(later_minima(&[5, 3, 9, 7]), [3, 7, 7, i64::MAX]);
        assert_eq!(later_minima(&[]), Vec::<i64>::new());
    }

    /// Rows of `times` in file order, each with its place in the file as value.
    fn replayed(times: &[i64], filter: Filter) -> (Vec<(i64, f32)>, usize) {
        let contract = Contract::shipped("vm").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let mut writer = RecordWriter::create(&path, &contract).unwrap();
        for (place, time) in times.iter().enumerate() {
            let values = [Some(place as f32)];
            let row = lake::records::Row {
                server: "a",
                timestamp_ms: Some(*time),
                profile: None,
                state: None,
                values: &values,
            };
            writer.write(&row).unwrap();
        }
        writer.finish().unwrap();
        let file = open(&path, &contract).unwrap();
        let mut reader = Reader::new(&file, &contract, filter).unwrap();
        let (mut rows, mut parts) = (Vec::new(), 0);
        while let Some(mut part) = reader.next_part().unwrap() {
            parts += 1;
            while let Some(row) = part.next_row() {
                rows.push((row.timestamp_ms, row.values[0].unwrap()));
            }
        }
        (rows, parts)
    }

    fn expected(times: &[i64], keep: impl Fn(i64) -> bool) -> Vec<(i64, f32)> {
        let mut rows: Vec<(i64, f32)> =
            times.iter().copied().zip((0..).map(|n| n as f32)).collect();
        rows.retain(|(time, _)| keep(*time));
        rows.sort_by_key(|(time, _)| *time);
        rows
    }

    #[test]
    fn a_file_in_time_order_passes_in_parts() {
        let times: Vec<i64> = (0..20_000).map(|n| n / 7).collect();
        let (rows, parts) = replayed(&times, Filter::default());
        assert_eq!(rows, expected(&times, |_| true));
        assert!(parts > 1, "{parts}");
    }

    #[test]
    fn a_file_in_any_order_comes_out_in_time_order_with_ties_in_file_order() {
        let times: Vec<i64> = (0..20_000).map(|n| (n * 7_919) % 5_000).collect();
        let filter = Filter {
            from_ms: Some(100),
            to_ms: Some(4_000),
            servers: Servers::Glob("*".to_owned()),
        };
        let (rows, _) = replayed(&times, filter);
        assert_eq!(rows, expected(&times, |time| (100..4_000).contains(&time)));
    }
}
