//! One bucket of one partition: its servers, their slots and sums. Reused for later buckets, so that a steady stream
//! allocates nothing.
//!
//! Servers are numbered from 0 in order of arrival. Their sums lie in flat arrays `[servers × metrics]`.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::config::RollupConfig;
use super::seen::Seen;
use super::{Record, Row};

/// What became of a record that belongs into this bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    Accepted,
    Duplicate,
    Full,
}

/// Everything about a server in this bucket but its sums.
#[derive(Debug)]
struct Server {
    /// Its name is `names[name_start..name_end]`.
    name_start: usize,
    name_end: usize,
    seen: Seen,
    num_records: i32,
    profile: u16,
    state: u16,
    /// 1 + place of the record that `profile` is from; 0: none yet.
    profile_at: u32,
    /// 1 + place of the record that `state` is from; 0: none yet.
    state_at: u32,
}

/// The value of a [`Last`](super::Aggregate::Last) metric and 1 + the place it is from (0: none yet).
#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    at: u32,
    value: f32,
}

#[derive(Debug)]
pub(super) struct Bucket {
    /// In ms, a multiple of the step.
    pub(super) start: i64,
    /// Offset of the first record accepted: the oldest one that this bucket needs.
    pub(super) first_offset: i64,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    names: String,
    /// The first `num_servers` are in use, the others keep their memory.
    servers: Vec<Server>,
    num_servers: usize,
    sums: Vec<f64>,
    counts: Vec<u32>,
    latest: Vec<Latest>,
}

impl Bucket {
    pub(super) fn new(start: i64, first_offset: i64) -> Bucket {
        Bucket {
            start,
            first_offset,
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            names: String::new(),
            servers: Vec::new(),
            num_servers: 0,
            sums: Vec::new(),
            counts: Vec::new(),
            latest: Vec::new(),
        }
    }

    /// Empties it for another time span, keeping its memory.
    pub(super) fn reset(&mut self, start: i64, first_offset: i64) {
        self.start = start;
        self.first_offset = first_offset;
        self.table.clear();
        self.names.clear();
        self.num_servers = 0;
        self.sums.clear();
        self.counts.clear();
        self.latest.clear();
    }

    /// Whether it is worth keeping for reuse: one that once held many more servers than last is not, so that a burst of
    /// names does not hold its memory for ever.
    pub(super) fn is_worth_keeping(&self) -> bool {
        const SPARE: usize = 1024;
        self.servers.capacity() <= 4 * self.num_servers + SPARE
            && self.names.capacity() <= 4 * self.names.len() + 64 * SPARE
    }

    pub(super) fn num_servers(&self) -> usize {
        self.num_servers
    }

    /// Counts a record in. `place` = its timestamp − the bucket's start.
    #[inline]
    pub(super) fn add(&mut self, record: &Record<'_>, place: u32, config: &RollupConfig) -> Added {
        let Some(index) = self.server(record.server, config) else {
            return Added::Full;
        };
        let server = &mut self.servers[index];
        if !server.seen.insert(place, config.step_ms as u32) {
            return Added::Duplicate;
        }
        let at = place + 1;
        server.num_records += 1;
        if at > server.profile_at {
            server.profile_at = at;
            server.profile = record.profile;
        }
        if let Some(state) = record.state.filter(|_| at > server.state_at) {
            server.state_at = at;
            server.state = state;
        }
        self.add_values(index, at, record.values, config);
        Added::Accepted
    }

    #[inline]
    fn add_values(&mut self, server: usize, at: u32, values: &[f32], config: &RollupConfig) {
        let num = config.num_metrics;
        let from = server * num;
        let sums = &mut self.sums[from..from + num];
        let counts = &mut self.counts[from..from + num];
        for ((sum, count), &value) in sums.iter_mut().zip(counts).zip(values) {
            let usable = value.is_finite();
            *sum += if usable { f64::from(value) } else { 0.0 };
            *count += u32::from(usable);
        }
        let from = server * config.last_metrics.len();
        let metrics = config.last_metrics.iter().enumerate();
        for (slot, &metric) in metrics {
            let latest = &mut self.latest[from + slot];
            let value = values.get(metric).copied().unwrap_or(f32::NAN);
            if value.is_finite() && at > latest.at {
                *latest = Latest { at, value };
            }
        }
    }

    /// Number of the server of this name, a new one where it has none; `None` when there is no room for one more.
    #[inline]
    fn server(&mut self, name: &str, config: &RollupConfig) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let (names, servers) = (&self.names, &self.servers);
        let is_it = |&index: &u32| name_of(names, &servers[index as usize]) == name;
        if let Some(&index) = self.table.find(hash, is_it) {
            return Some(index as usize);
        }
        self.new_server(name, hash, config)
    }

    fn new_server(&mut self, name: &str, hash: u64, config: &RollupConfig) -> Option<usize> {
        let index = self.num_servers;
        if index >= config.max_servers {
            return None;
        }
        let name_start = self.names.len();
        self.names.push_str(name);
        let name_end = self.names.len();
        let mut seen = Seen::new();
        if let Some(spare) = self.servers.get_mut(index) {
            std::mem::swap(&mut seen, &mut spare.seen);
            seen.reset();
        }
        let server = Server {
            name_start,
            name_end,
            seen,
            num_records: 0,
            profile: 0,
            state: 0,
            profile_at: 0,
            state_at: 0,
        };
        match self.servers.get_mut(index) {
            Some(spare) => *spare = server,
            None => self.servers.push(server),
        }
        self.num_servers = index + 1;
        let len = self.num_servers;
        self.sums.resize(len * config.num_metrics, 0.0);
        self.counts.resize(len * config.num_metrics, 0);
        self.latest
            .resize(len * config.last_metrics.len(), Latest::default());
        let (names, servers, hasher) = (&self.names, &self.servers, &self.hasher);
        self.table.insert_unique(hash, index as u32, |&other| {
            hasher.hash_one(name_of(names, &servers[other as usize]))
        });
        Some(index)
    }

    /// Hands every server's row to `visit`, by name. `values` is scratch space.
    pub(super) fn for_each_row(
        &self,
        config: &RollupConfig,
        values: &mut Vec<f32>,
        visit: &mut impl FnMut(Row<'_>),
    ) {
        let mut order: Vec<usize> = (0..self.num_servers).collect();
        order.sort_unstable_by_key(|&index| name_of(&self.names, &self.servers[index]));
        for index in order {
            let server = &self.servers[index];
            self.fill_values(index, config, values);
            visit(Row {
                server: name_of(&self.names, server),
                bucket: self.start,
                profile: server.profile,
                state: (server.state_at > 0).then_some(server.state),
                num_records: server.num_records,
                values,
            });
        }
    }

    fn fill_values(&self, server: usize, config: &RollupConfig, values: &mut Vec<f32>) {
        let num = config.num_metrics;
        let range = server * num..(server + 1) * num;
        let means = self.sums[range.clone()].iter().zip(&self.counts[range]);
        values.clear();
        // 0 / 0 is NaN: a metric without any value is a gap.
        values.extend(means.map(|(&sum, &count)| (sum / f64::from(count)) as f32));
        let from = server * config.last_metrics.len();
        for (slot, &metric) in config.last_metrics.iter().enumerate() {
            let latest = self.latest[from + slot];
            values[metric] = if latest.at > 0 {
                latest.value
            } else {
                f32::NAN
            };
        }
    }

    /// Bytes on the heap, spare ones included.
    pub(super) fn heap_bytes(&self) -> usize {
        let seen: usize = self.servers.iter().map(|s| s.seen.heap_bytes()).sum();
        seen + self.table.allocation_size()
            + self.names.capacity()
            + self.servers.capacity() * size_of::<Server>()
            + self.sums.capacity() * size_of::<f64>()
            + self.counts.capacity() * size_of::<u32>()
            + self.latest.capacity() * size_of::<Latest>()
    }
}

#[inline]
fn name_of<'a>(names: &'a str, server: &Server) -> &'a str {
    &names[server.name_start..server.name_end]
}
