//! A pane as the merger keeps it: checked, and packed into bytes.
//!
//! A day holds 288 panes per partition and profile, and a repeat must be able to replace any of them, so each is kept. As
//! a struct one takes some 15 KiB, packed (variable-length integers, empty bins left out) some 1.5 KiB where few
//! servers share a partition and profile; 1 KiB more in the worst hours, when three servers are far from their usual in every metric.
//!
//! Invariant: [`Packed::apply`] adds exactly what the pane held. The bytes are never stored or sent: they have no version.

use std::sync::Arc;

use contract::Contract;
use contract::record::{Pane, PaneMetric};

use crate::servers::{FURTHEST, MAX_SD};
use crate::sums::{
    ErrorSums, HORIZON_MINUTES, MAX_BINS, MAX_VERSIONS, NUM_HORIZONS, ProfileSums, Sign,
};

/// Most rows of one pane; more is no pane of ours. Sums of that many terms do not wrap.
const MAX_ROWS: i64 = 1 << 31;

/// Longest name of a model version, a baseline or a server that is kept.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) position: i64,
    pub(crate) servers: i32,
    pub(crate) rows: i64,
    pub(crate) new_servers: i32,
    bytes: Box<[u8]>,
    versions: Box<[Arc<str>]>,
    /// Written by [`write_named`].
    named: Box<[u8]>,
}

/// The servers of one metric.
#[derive(Debug)]
pub(crate) struct NamedMetric<'a> {
    pub(crate) metric: usize,
    /// Held against their own usual.
    pub(crate) judged: i64,
    /// Far from it.
    pub(crate) away: i64,
    /// Server, and how far it is in standard deviations.
    pub(crate) furthest: Vec<(&'a str, f64)>,
}

/// The servers that a pane names.
#[derive(Debug, Default)]
pub(crate) struct Named<'a> {
    pub(crate) metrics: Vec<NamedMetric<'a>>,
    /// Those that the baseline does not know, the first by name.
    pub(crate) new: Vec<&'a str>,
}

impl Packed {
    /// Checks a pane and packs it. `intern` gives the one allocation of a version's name.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn new(
        pane: &Pane,
        contract: &Contract,
        mut intern: impl FnMut(&str) -> Arc<str>,
    ) -> Result<Packed, &'static str> {
        if pane.metrics.len() > contract.num_metrics()
            || pane.servers < 0
            || !(0..=pane.servers).contains(&pane.new_servers)
            || !(0..=MAX_ROWS).contains(&pane.rows)
        {
            return Err("more metrics than the contract, or rows that cannot be");
        }
        let mut ordered: Vec<Option<&PaneMetric>> = vec![None; contract.num_metrics()];
        for metric in &pane.metrics {
            check_metric(metric, pane.rows)?;
            let place = contract
                .metric_index(&metric.metric)
                .and_then(|index| ordered.get_mut(index));
            *place.ok_or("a metric that the contract does not have")? = Some(metric);
        }
        let named = write_named(&ordered, &pane.new_names)?;
        let mut versions: Vec<Arc<str>> = Vec::new();
        let mut bytes = Vec::new();
        for load in [pane.cpu_load, pane.mem_load] {
            if !(0..=MAX_ROWS).contains(&load.n) {
                return Err("load that cannot be");
            }
            write(&mut bytes, load.n as u128);
            write(&mut bytes, zigzag(load.total.0));
        }
        for metric in ordered {
            let Some(metric) = metric else {
                bytes.push(0);
                continue;
            };
            bytes.push(1);
            write_metric(&mut bytes, metric, &mut |name| match versions
                .iter()
                .position(|held| held.as_ref() == name)
            {
                Some(index) => Some(index),
                None if versions.len() >= MAX_VERSIONS => None,
                None => {
                    versions.push(intern(name));
                    Some(versions.len() - 1)
                }
            })?;
        }
        Ok(Packed {
            position: pane.position,
            servers: pane.servers,
            rows: pane.rows,
            new_servers: pane.new_servers,
            bytes: bytes.into(),
            versions: versions.into(),
            named,
        })
    }

    /// Adds the pane to `sums`, or takes it away. `sums` has one entry per metric of the contract.
    pub(crate) fn apply(&self, sums: &mut ProfileSums, sign: Sign) {
        sums.rows = sums.rows.wrapping_add(sign.of(self.rows));
        // The bytes are our own and whole.
        let whole = self.apply_bytes(sums, sign);
        debug_assert!(whole.is_some(), "packed pane is cut short");
    }

    /// The servers that the pane names.
    pub(crate) fn named(&self) -> Named<'_> {
        let named = self.read_named();
        debug_assert!(named.is_some(), "packed names are cut short");
        named.unwrap_or_default()
    }

    fn read_named(&self) -> Option<Named<'_>> {
        let mut reader = Reader(&self.named);
        let mut named = Named::default();
        for _ in 0..reader.count()? {
            let metric = usize::try_from(reader.count()?).ok()?;
            let (judged, away) = (reader.count()?, reader.count()?);
            let mut furthest = Vec::new();
            for _ in 0..reader.count()? {
                let sd = f64::from_le_bytes(reader.bytes(8)?.try_into().ok()?);
                furthest.push((reader.text()?, sd));
            }
            named.metrics.push(NamedMetric {
                metric,
                judged,
                away,
                furthest,
            });
        }
        for _ in 0..reader.count()? {
            named.new.push(reader.text()?);
        }
        Some(named)
    }

    fn apply_bytes(&self, sums: &mut ProfileSums, sign: Sign) -> Option<()> {
        let mut reader = Reader(&self.bytes);
        for load in [&mut sums.cpu, &mut sums.memory] {
            load.add(reader.count()?, reader.signed()?, sign);
        }
        for metric in &mut sums.metrics {
            if reader.count()? == 0 {
                continue;
            }
            metric.n = metric.n.wrapping_add(sign.of(reader.count()?));
            metric.sum = metric.sum.wrapping_add(sign.of_wide(reader.signed()?));
            metric.sum_sq = metric.sum_sq.wrapping_add(sign.of_wide(reader.signed()?));
            metric.outliers = metric.outliers.wrapping_add(sign.of(reader.count()?));
            metric.forecasts = metric.forecasts.wrapping_add(sign.of(reader.count()?));
            metric.out_of_range = metric.out_of_range.wrapping_add(sign.of(reader.count()?));
            for _ in 0..reader.count()? {
                let bin = usize::try_from(reader.count()?).ok()?;
                metric.add_to_bin(bin, sign.of(reader.count()?));
            }
            for _ in 0..reader.count()? {
                let place = usize::try_from(reader.count()?).ok()?;
                let version = self.versions.get(place / NUM_HORIZONS)?;
                let errors = ErrorSums {
                    relative_n: reader.count()?,
                    relative_sum: reader.signed()?,
                    abs_n: reader.count()?,
                    abs_sum: reader.signed()?,
                    actual_sum: reader.signed()?,
                };
                let held = metric.errors_of(version, usize::MAX)?;
                held.get_mut(place % NUM_HORIZONS)?.add(&errors, sign);
            }
            if sign == Sign::Minus {
                metric.errors.retain(|(_, horizons)| {
                    horizons.iter().any(|held| *held != ErrorSums::default())
                });
            }
        }
        Some(())
    }
}

/// What must hold of a metric before it is counted.
fn check_metric(metric: &PaneMetric, rows: i64) -> Result<(), &'static str> {
    if metric.counts.len() > MAX_BINS {
        return Err("more than 64 bins");
    }
    if metric
        .counts
        .iter()
        .any(|&count| !(0..=rows).contains(&count))
        || metric.counts.iter().sum::<i64>() != metric.n
    {
        return Err("counts do not add up to n");
    }
    let within = |part: i64, whole: i64| (0..=whole).contains(&part);
    if !within(metric.n, rows) || !within(metric.outliers, metric.n) {
        return Err("more values than rows, or more outliers than values");
    }
    if !within(metric.forecasts, MAX_ROWS) || !within(metric.out_of_range, metric.forecasts) {
        return Err("more forecasts out of range than forecasts");
    }
    for error in &metric.errors {
        if !within(error.abs_n, MAX_ROWS) || !within(error.relative_n, error.abs_n) {
            return Err("more relative errors than errors");
        }
        if error.model_version.len() > MAX_NAME_BYTES {
            return Err("a model version's name is too long");
        }
    }
    let judged = i64::from(metric.judged_servers);
    if !within(judged, rows) || !within(metric.away_servers.into(), judged) {
        return Err("more servers than rows, or more far off than judged");
    }
    if metric.furthest.len() > FURTHEST.min(metric.away_servers.unsigned_abs() as usize) {
        return Err("more servers named than 3 or than are far off");
    }
    if metric.errors.len() > NUM_HORIZONS * MAX_VERSIONS {
        return Err("errors of more than 8 models");
    }
    Ok(())
}

/// Writes one metric; `version` gives a version's place, or `None` when there are too many.
fn write_metric(
    bytes: &mut Vec<u8>,
    metric: &PaneMetric,
    version: &mut impl FnMut(&str) -> Option<usize>,
) -> Result<(), &'static str> {
    write(bytes, metric.n as u128);
    write(bytes, zigzag(metric.sum.0));
    write(bytes, zigzag(metric.sum_sq.0));
    for count in [metric.outliers, metric.forecasts, metric.out_of_range] {
        write(bytes, count as u128);
    }
    write(
        bytes,
        metric.counts.iter().filter(|&&count| count > 0).count() as u128,
    );
    for (bin, &count) in metric
        .counts
        .iter()
        .enumerate()
        .filter(|&(_, &count)| count > 0)
    {
        write(bytes, bin as u128);
        write(bytes, count as u128);
    }
    write(bytes, metric.errors.len() as u128);
    for error in &metric.errors {
        let horizon = HORIZON_MINUTES
            .iter()
            .position(|&minutes| minutes == error.horizon_minutes)
            .ok_or("a horizon other than 30, 60, 240 or 480 minutes")?;
        let version = version(&error.model_version).ok_or("errors of more than 8 models")?;
        let sums = ErrorSums::of_record(error);
        write(bytes, (version * NUM_HORIZONS + horizon) as u128);
        write(bytes, sums.relative_n as u128);
        write(bytes, zigzag(sums.relative_sum));
        write(bytes, sums.abs_n as u128);
        write(bytes, zigzag(sums.abs_sum));
        write(bytes, zigzag(sums.actual_sum));
    }
    Ok(())
}

/// Packs the names of servers, or says what does not hold.
fn write_named(
    metrics: &[Option<&PaneMetric>],
    new_names: &[String],
) -> Result<Box<[u8]>, &'static str> {
    let judged = || {
        let metrics = metrics.iter().enumerate();
        metrics.filter_map(|(index, metric)| Some((index, (*metric)?)))
    };
    let judged = || judged().filter(|(_, metric)| metric.judged_servers > 0);
    let mut bytes = Vec::new();
    write(&mut bytes, judged().count() as u128);
    for (index, metric) in judged() {
        write(&mut bytes, index as u128);
        write(&mut bytes, u128::from(metric.judged_servers.unsigned_abs()));
        write(&mut bytes, u128::from(metric.away_servers.unsigned_abs()));
        write(&mut bytes, metric.furthest.len() as u128);
        for away in &metric.furthest {
            if !(-MAX_SD..=MAX_SD).contains(&away.sd) {
                return Err("a distance that cannot be");
            }
            bytes.extend(away.sd.to_le_bytes());
            write_text(&mut bytes, &away.server)?;
        }
    }
    if new_names.len() > FURTHEST {
        return Err("more than 3 new servers named");
    }
    write(&mut bytes, new_names.len() as u128);
    for name in new_names {
        write_text(&mut bytes, name)?;
    }
    Ok(bytes.into())
}

fn write_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_NAME_BYTES {
        return Err("a server's name is too long");
    }
    write(bytes, text.len() as u128);
    bytes.extend(text.as_bytes());
    Ok(())
}

fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)) as u128
}

fn write(bytes: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.count()?).ok()?;
        std::str::from_utf8(self.bytes(len)?).ok()
    }

    fn unsigned(&mut self) -> Option<u128> {
        let mut value = 0;
        let mut shift = 0;
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u128::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn signed(&mut self) -> Option<i128> {
        let value = self.unsigned()?;
        Some((value >> 1) as i128 ^ -((value & 1) as i128))
    }

    fn count(&mut self) -> Option<i64> {
        i64::try_from(self.unsigned()?).ok()
    }
}
