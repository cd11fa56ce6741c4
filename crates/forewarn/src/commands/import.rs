//! `forewarn import vm-trace DIR --out FILE`: a public trace's CSV files → one record file.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use contract::Contract;
use fleet::Records;
use fleet::vm_trace::{Importer, TraceFile};
use lake::records::{RecordWriter, Row};
use serde_json::json;

use super::output;
use crate::cli::ImportCommand;
use crate::refusal::Refusal;

/// The contract that the file fits.
const CONTRACT: &str = "vm";

/// What was imported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Imported {
    files: u64,
    rows: u64,
    bad_lines: u64,
}

/// Imports and prints how much.
///
/// # Errors
/// Refused where there is no file of the trace; failed where one cannot be read.
pub(crate) fn run(command: &ImportCommand, as_json: bool) -> Result<()> {
    let ImportCommand::VmTrace { dir, out } = command;
    let done = vm_trace(dir, out)?;
    let Imported {
        files,
        rows,
        bad_lines,
    } = done;
    if as_json {
        return output::json(&json!({"files": files, "rows": rows, "bad_lines": bad_lines}));
    }
    output::line(&format!(
        "{rows} rows from {files} files, {bad_lines} lines could not be read; use it with --set contract={CONTRACT}"
    ))
}

fn vm_trace(dir: &Path, out: &Path) -> Result<Imported> {
    let files = trace_files(dir)?;
    if files.is_empty() {
        return Err(Refusal::new(format!(
            "{}: no NUMBER.csv of the trace in it or below",
            dir.display()
        ))
        .into());
    }
    let contract = Contract::shipped(CONTRACT).context("find the contract of the trace")?;
    let mut writer = RecordWriter::create(out, &contract)?;
    let (mut importer, mut records) = (Importer::new(), Importer::records());
    let mut done = Imported::default();
    for (file, path) in files {
        let within = || format!("import {}", path.display());
        let text = BufReader::new(File::open(&path).with_context(within)?);
        records.clear();
        let report = importer
            .read(file, text, &mut records)
            .with_context(within)?;
        write(&mut writer, &records)?;
        done.files += 1;
        done.rows += report.rows;
        done.bad_lines += report.bad_lines;
    }
    writer.finish()?;
    Ok(done)
}

/// Values beyond the contract's metrics (the size of the machine) are left out by the writer.
fn write(writer: &mut RecordWriter, records: &Records) -> Result<()> {
    let mut values = Vec::new();
    for index in 0..records.len() {
        let Some(row) = records.row(index, &mut values) else {
            continue;
        };
        writer.write(&Row {
            server: row.server,
            timestamp_ms: Some(row.timestamp_ms),
            profile: row.profile,
            state: row.state,
            values: row.values,
        })?;
    }
    Ok(())
}

/// The trace's files in the directory and below, machine by machine, each in time order.
fn trace_files(dir: &Path) -> Result<Vec<(TraceFile, PathBuf)>, Refusal> {
    let mut files = Vec::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        let refuse = |error: std::io::Error| {
            Refusal::new(format!(
                "{}: cannot be listed: {error}",
                directory.display()
            ))
        };
        for entry in fs::read_dir(&directory).map_err(refuse)? {
            let path = entry.map_err(refuse)?.path();
            if path.is_dir() {
                directories.push(path);
            } else if let Some(file) = path.to_str().and_then(TraceFile::from_path) {
                files.push((file, path));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEADER: &str = "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\tCPU usage [%];\tMemory capacity provisioned [KB];\tMemory usage [KB];\tDisk read throughput [KB/s];\tDisk write throughput [KB/s];\tNetwork received throughput [KB/s];\tNetwork transmitted throughput [KB/s]\n";

    #[test]
    fn files_below_a_directory_become_one_record_file() {
        let dir = tempfile::tempdir().unwrap();
        for (month, time) in [("2013-7", 1_375_000_000), ("2013-8", 1_376_000_000)] {
            let folder = dir.path().join(month);
            fs::create_dir(&folder).unwrap();
            let line = format!("{time};2;5000;100;2.0;1048576;524288;0;1024;2048;0\n");
            fs::write(folder.join("7.csv"), format!("{HEADER}{line}nonsense\n")).unwrap();
            fs::write(folder.join("notes.txt"), "x").unwrap();
        }
        let out = dir.path().join("vm.parquet");
        let done = vm_trace(dir.path(), &out).unwrap();
        let expected = Imported {
            files: 2,
            rows: 2,
            bad_lines: 2,
        };
        assert_eq!(done, expected);
        let contract = Contract::shipped("vm").unwrap();
        let file = lake::records::RecordFile::open(&out, &contract).unwrap();
        let block = file.blocks().unwrap().next().unwrap().unwrap();
        let mut values = Vec::new();
        let row = block.row(1, &mut values);
        assert_eq!(
            (row.server, row.timestamp_ms),
            ("vm0007", Some(1_376_000_000_000))
        );
        let expected = [2.0, 50.0, 0.0, 1.0, 2.0, 0.0].map(Some);
        assert_eq!(values, expected);
    }

    #[test]
    fn a_directory_without_the_trace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = vm_trace(dir.path(), &dir.path().join("x")).unwrap_err();
        assert_eq!(crate::refusal::exit_code(&error), 2);
        assert!(vm_trace(Path::new("no/such/dir"), Path::new("x")).is_err());
    }
}
