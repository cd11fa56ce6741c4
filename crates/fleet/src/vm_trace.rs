//! The CSV files of the trace GWA-T-12 (Bitbrains; Shen, van Beek, Iosup, "Statistical characterization of
//! business-critical workloads hosted in cloud datacenters", CCGrid 2015), one file a virtual machine and month.
//!
//! What becomes of a line (units as in the `vm` contract):
//! * the time is in seconds, whatever the header says (a number of the size of milliseconds is taken as such);
//! * KB and KB/s are divided by 1024; CPU usage is taken over in percent;
//! * memory in use is a percentage of the memory provisioned, null where none is provisioned;
//! * nothing is cut, sorted or left out: duplicates, gaps and outliers are what the trace has.
//!
//! Names: the file `7.csv` is the series `vm0007`. A machine that comes back in a later month with another size (cores or
//! memory of the file's first good line) is a series of its own, named after the month: `vm0007x8` from the folder `2013-8`.
//!
//! A line that cannot be read is counted and the first one reported; a file with another header is refused.
//!
//! It is not: a CSV reader for anything else.

use std::collections::HashMap;
use std::io::{self, BufRead};

use crate::records::{Records, RecordsError, Row};

/// Columns of what is imported, in the order of [`Records::metrics`]: the six metrics of the `vm` contract, then the size.
pub const COLUMNS: [&str; 8] = [
    "cpu_used_pct",
    "mem_used_pct",
    "disk_read_mb_s",
    "disk_write_mb_s",
    "net_in_mb_s",
    "net_out_mb_s",
    "cpu_cores",
    "mem_capacity_mb",
];

const HEADER: [&str; 11] = [
    "Timestamp [ms]",
    "CPU cores",
    "CPU capacity provisioned [MHZ]",
    "CPU usage [MHZ]",
    "CPU usage [%]",
    "Memory capacity provisioned [KB]",
    "Memory usage [KB]",
    "Disk read throughput [KB/s]",
    "Disk write throughput [KB/s]",
    "Network received throughput [KB/s]",
    "Network transmitted throughput [KB/s]",
];

/// Longest line that is read; the trace's have about 200 bytes. What is longer is skipped as unreadable.
const MAX_LINE_BYTES: usize = 4096;
/// What is at least as large is milliseconds: as seconds it would be the year 5138.
const FIRST_MILLISECOND: i64 = 100_000_000_000;
/// Largest time that is taken (year 5138, in milliseconds).
const LAST_MILLISECOND: i64 = 100_000_000_000_000;

/// Why a file could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file could not be read.
    #[error("cannot read the trace file: {0}")]
    Io(#[from] io::Error),
    /// The first line is not the trace's header.
    #[error(
        "not a file of the GWA-T-12 trace: the header begins with '{found}', expected '{expected}'"
    )]
    Header {
        /// How the first line begins.
        found: String,
        /// How the header begins.
        expected: &'static str,
    },
    /// The records do not fit.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// Which machine and month a file is about. The order is the one in which files are to be imported: machine by machine, each
/// in time order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceFile {
    /// The machine's number.
    pub vm: u32,
    /// The year, if the folder says so.
    pub year: Option<u32>,
    /// The month, if the folder says so.
    pub month: Option<u32>,
}

impl TraceFile {
    /// Reads `rnd/2013-8/7.csv` (with either kind of slash). `None` for what is not `NUMBER.csv`.
    pub fn from_path(path: &str) -> Option<Self> {
        let mut parts = path.rsplit(['/', '\\']);
        let stem = parts.next()?.strip_suffix(".csv")?;
        if stem.is_empty() || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let vm = stem.parse().ok()?;
        let folder = parts.next().and_then(|folder| folder.split_once('-'));
        let date = folder.and_then(|(year, month)| Some((year.parse().ok()?, month.parse().ok()?)));
        let (year, month) = date.filter(|(_, month)| (1..=12).contains(month)).unzip();
        Some(TraceFile { vm, year, month })
    }
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileReport {
    /// The series its rows belong to; `None` when there was no good line.
    pub server: Option<String>,
    /// Rows imported.
    pub rows: u64,
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// The first of them: its number (the header is line 1) and what is wrong with it.
    pub first_bad: Option<(u64, &'static str)>,
}

/// Imports file by file. Holds the names and sizes of the series seen.
#[derive(Debug, Clone, Default)]
pub struct Importer {
    series: HashMap<u32, Vec<Series>>,
}

#[derive(Debug, Clone)]
struct Series {
    size: Size,
    name: String,
}

/// Cores and memory as they stand in the file; compared as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    cores: u64,
    memory: u64,
}

/// One good line.
struct Line {
    timestamp_ms: i64,
    size: Size,
    values: [Option<f32>; COLUMNS.len()],
}

impl Importer {
    /// No series yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the rows go: empty records of [`COLUMNS`].
    pub fn records() -> Records {
        Records::new(COLUMNS)
    }

    /// Reads a file to its end and adds its rows to `out` (made by [`Importer::records`]), in the order of its lines.
    ///
    /// # Errors
    /// [`TraceError`]; rows read before are in `out`.
    pub fn read(
        &mut self,
        file: TraceFile,
        mut text: impl BufRead,
        out: &mut Records,
    ) -> Result<FileReport, TraceError> {
        let mut report = FileReport::default();
        let mut line = Vec::new();
        if !next_line(&mut text, &mut line)? {
            return Ok(report);
        }
        check_header(&line)?;
        let mut number = 1;
        while next_line(&mut text, &mut line)? {
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match parse(&line) {
                Ok(good) => {
                    let server = match &report.server {
                        Some(server) => server,
                        None => report.server.insert(self.series_of(file, good.size)),
                    };
                    let (timestamp_ms, values) = (good.timestamp_ms, &good.values);
                    out.push(&Row {
                        server,
                        timestamp_ms,
                        profile: None,
                        state: None,
                        values,
                    })?;
                    report.rows += 1;
                }
                Err(reason) => {
                    report.bad_lines += 1;
                    report.first_bad.get_or_insert((number, reason));
                }
            }
        }
        Ok(report)
    }

    fn series_of(&mut self, file: TraceFile, size: Size) -> String {
        let known = self.series.entry(file.vm).or_default();
        if let Some(series) = known.iter().find(|series| series.size == size) {
            return series.name.clone();
        }
        // Without a month in the folder the machine's second size is series 2.
        let suffix = file.month.unwrap_or(known.len() as u32 + 1);
        let name = match known.first() {
            None => format!("vm{:04}", file.vm),
            Some(_) => format!("vm{:04}x{suffix}", file.vm),
        };
        known.push(Series {
            size,
            name: name.clone(),
        });
        name
    }
}

/// Reads a line without its end into `line`, what is beyond [`MAX_LINE_BYTES`] is dropped. `false` at the end.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let chunk = match text.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let content = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        // One byte more than allowed tells that the line is too long.
        let room = (MAX_LINE_BYTES + 1).saturating_sub(line.len());
        line.extend_from_slice(content.get(..room).unwrap_or(content));
        let used = end.map_or(chunk.len(), |end| end + 1);
        text.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn check_header(line: &[u8]) -> Result<(), TraceError> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_start_matches('\u{feff}');
    let fields = || text.split(';').map(str::trim);
    // One more field is what a separator at the line's end makes.
    let same = fields()
        .zip(HEADER)
        .all(|(field, name)| field.eq_ignore_ascii_case(name));
    if same && fields().count() >= HEADER.len() {
        return Ok(());
    }
    Err(TraceError::Header {
        found: text.trim().chars().take(40).collect(),
        expected: HEADER[0],
    })
}

fn parse(line: &[u8]) -> Result<Line, &'static str> {
    if line.len() > MAX_LINE_BYTES {
        return Err("longer than 4096 bytes");
    }
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let mut fields = text.split(';').map(str::trim);
    let mut texts = [""; HEADER.len()];
    for to in &mut texts {
        *to = fields.next().ok_or("fewer than 11 fields")?;
    }
    if fields.any(|field| !field.is_empty()) {
        return Err("more than 11 fields");
    }
    let [time, numbers @ ..] = texts;
    let timestamp_ms = parse_time(time).ok_or("the timestamp is not a number of seconds")?;
    let mut parsed = [0.0; HEADER.len() - 1];
    for (to, text) in parsed.iter_mut().zip(numbers) {
        *to = text.parse::<f64>().map_err(|_| "a field is not a number")?;
    }
    let [
        cores,
        _capacity_mhz,
        _used_mhz,
        cpu,
        memory,
        memory_used,
        read,
        write,
        received,
        sent,
    ] = parsed;
    let memory_pct = if memory > 0.0 {
        Some((100.0 * memory_used / memory) as f32)
    } else {
        None
    };
    let mib = |kib: f64| Some((kib / 1024.0) as f32);
    let values = [
        Some(cpu as f32),
        memory_pct,
        mib(read),
        mib(write),
        mib(received),
        mib(sent),
        Some(cores as f32),
        mib(memory),
    ];
    let size = Size {
        cores: cores.to_bits(),
        memory: memory.to_bits(),
    };
    Ok(Line {
        timestamp_ms,
        size,
        values,
    })
}

fn parse_time(text: &str) -> Option<i64> {
    let number = text.parse::<i64>().ok().or_else(|| {
        // Some exports write whole numbers as 1376314846.0.
        let number = text.parse::<f64>().ok()?;
        (number.is_finite() && number.abs() < LAST_MILLISECOND as f64).then_some(number as i64)
    })?;
    let timestamp_ms = if number < FIRST_MILLISECOND {
        number.checked_mul(1000)?
    } else {
        number
    };
    (1..=LAST_MILLISECOND)
        .contains(&timestamp_ms)
        .then_some(timestamp_ms)
}

#[cfg(test)]
mod tests;
