//! Rows in any order → dense grids.

use std::collections::BTreeMap;

use contract::Contract;
use window::bucket_of;

use super::{Selection, ServerSeries, TrainingError, TrainingWindow};
use crate::records::Block;

/// State of a step that has none.
pub const NO_STATE: u8 = u8::MAX;

/// Steps that one server's grid may have: 400 days of 5 minutes. More would let two stray rows, years apart, fill the
/// memory with gaps.
pub const MAX_STEPS: usize = 400 * 288;

/// Values that all grids together may have: 2 GiB.
pub const MAX_VALUES: usize = 1 << 29;

pub(super) const DAY_MS: i64 = 86_400_000;

/// One rollup row on its way into a grid.
pub struct Rollup<'a> {
    /// Name of the server.
    pub server: &'a str,
    /// Start of the bucket, ms.
    pub bucket: i64,
    /// Index of the profile in the contract.
    pub profile: usize,
    /// Index of the state in the contract; `None` where nobody said.
    pub state: Option<usize>,
    /// All metrics in model order; NaN is a gap.
    pub values: &'a [f32],
}

/// Rows of many servers that become one dense grid each; the first of a server and bucket wins.
pub struct Collector<'a> {
    pub(super) contract: &'a Contract,
    pub(super) selection: &'a Selection<'a>,
    /// By server: ordered, so that the result does not depend on a hash.
    servers: BTreeMap<String, Rows>,
    /// Newest bucket of all servers, wanted or not: what the last days are counted from.
    newest: Option<i64>,
    other_contract: u64,
    undecodable: u64,
}

/// Rows of one server as they came.
#[derive(Default)]
struct Rows {
    buckets: Vec<i64>,
    profiles: Vec<u16>,
    states: Vec<u8>,
    values: Vec<f32>,
}

impl<'a> Collector<'a> {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(contract: &'a Contract, selection: &'a Selection<'a>) -> Self {
        Collector {
            contract,
            selection,
            servers: BTreeMap::new(),
            newest: None,
            other_contract: 0,
            undecodable: 0,
        }
    }

    /// Takes a row, if it is wanted.
    pub fn add(&mut self, row: &Rollup<'_>) {
        if !self.selection.has_bucket(row.bucket) {
            return;
        }
        self.newest = self.newest.max(Some(row.bucket));
        if !(self.selection.servers)(row.server) {
            return;
        }
        // Looked up twice for a new server only: the name is copied once.
        if !self.servers.contains_key(row.server) {
            self.servers.insert(row.server.to_owned(), Rows::default());
        }
        if let Some(rows) = self.servers.get_mut(row.server) {
            rows.buckets.push(row.bucket);
            rows.profiles
                .push(u16::try_from(row.profile).unwrap_or(u16::MAX));
            let state = row.state.and_then(|state| u8::try_from(state).ok());
            rows.states.push(state.unwrap_or(NO_STATE));
            rows.values.extend_from_slice(row.values);
        }
    }

    /// Takes the rollup rows of a block whose index `wanted` says yes to.
    pub(super) fn add_block(&mut self, block: &Block, wanted: impl Fn(usize) -> bool) {
        let mut raw = Vec::new();
        let mut values = Vec::new();
        for index in (0..block.len()).filter(|&index| wanted(index)) {
            let row = block.row(index, &mut raw);
            let Some(timestamp) = row.timestamp_ms.filter(|_| !row.server.is_empty()) else {
                self.undecodable += 1;
                continue;
            };
            let made_by = block.contract(index);
            if made_by.is_some_and(|contract| contract != self.contract.fingerprint()) {
                self.other_contract += 1;
                continue;
            }
            values.clear();
            let checked = row.values.iter().zip(&self.contract.metrics);
            values.extend(checked.map(|(value, metric)| {
                value.map_or(f32::NAN, |value| metric.check(value).unwrap_or(f32::NAN))
            }));
            self.add(&Rollup {
                server: row.server,
                bucket: bucket_of(timestamp, self.contract.step_ms()),
                profile: self.contract.profile_of(row.server, row.profile),
                state: row.state.and_then(|state| self.contract.state_index(state)),
                values: &values,
            });
        }
    }

    pub(super) fn skip_other_contract(&mut self, rows: i64) {
        let rows = u64::try_from(rows).unwrap_or(0);
        self.other_contract = self.other_contract.saturating_add(rows);
    }

    /// The grids of the wanted rows.
    ///
    /// # Errors
    /// [`TrainingError::Span`] and [`TrainingError::TooLarge`].
    pub fn finish(self) -> Result<TrainingWindow, TrainingError> {
        let from = match (self.newest, self.selection.last_days) {
            (Some(newest), Some(days)) => newest
                .saturating_add(self.contract.step_ms())
                .saturating_sub(i64::from(days).saturating_mul(DAY_MS)),
            _ => i64::MIN,
        };
        let mut window = TrainingWindow {
            other_contract: self.other_contract,
            undecodable: self.undecodable,
            ..TrainingWindow::default()
        };
        let mut num_values = 0;
        for (server, rows) in self.servers {
            let Some((order, repeats)) = rows.order(from) else {
                continue;
            };
            window.repeats += repeats;
            window.rows += order.len() as u64;
            let series = rows.dense(server, &order, self.contract)?;
            num_values += series.values.len();
            if num_values > MAX_VALUES {
                return Err(TrainingError::TooLarge { values: num_values });
            }
            window.series.push(series);
        }
        Ok(window)
    }
}

impl Rows {
    /// Indices of the rows from `from` on, by bucket, the first of each; and how many repeats were dropped. `None` where
    /// nothing is left.
    fn order(&self, from: i64) -> Option<(Vec<usize>, u64)> {
        let bucket = |index: usize| self.buckets.get(index).copied().unwrap_or(i64::MIN);
        let mut order: Vec<usize> = (0..self.buckets.len())
            .filter(|&index| bucket(index) >= from)
            .collect();
        // Stable: of equal buckets the one that came first stays first.
        order.sort_by_key(|&index| bucket(index));
        let before = order.len();
        order.dedup_by_key(|index| bucket(*index));
        let repeats = (before - order.len()) as u64;
        (!order.is_empty()).then_some((order, repeats))
    }

    fn dense(
        &self,
        server: String,
        order: &[usize],
        contract: &Contract,
    ) -> Result<ServerSeries, TrainingError> {
        let (step_ms, num_metrics) = (contract.step_ms(), contract.num_metrics());
        let bucket = |index: &usize| self.buckets.get(*index).copied().unwrap_or_default();
        let start_ms = order.first().map(bucket).unwrap_or_default();
        let span_ms = order
            .last()
            .map(bucket)
            .unwrap_or_default()
            .saturating_sub(start_ms);
        let steps = usize::try_from(span_ms / step_ms)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        if steps > MAX_STEPS {
            return Err(TrainingError::Span {
                server,
                days: span_ms / DAY_MS,
                max: i64::try_from(MAX_STEPS)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(step_ms)
                    / DAY_MS,
            });
        }
        let mut values = vec![f32::NAN; steps * num_metrics];
        let mut states = vec![NO_STATE; steps];
        for index in order {
            let step = usize::try_from((bucket(index) - start_ms) / step_ms).unwrap_or(0);
            let from = self.values.chunks_exact(num_metrics).nth(*index);
            let to = values.chunks_exact_mut(num_metrics).nth(step);
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
            if let (Some(&from), Some(to)) = (self.states.get(*index), states.get_mut(step)) {
                *to = from;
            }
        }
        let newest = order.last().and_then(|&index| self.profiles.get(index));
        Ok(ServerSeries {
            profile: newest.map_or(contract.default_profile, |&profile| usize::from(profile)),
            server,
            start_ms,
            values,
            states,
        })
    }
}
