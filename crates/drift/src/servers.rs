//! Which servers drive it: what is usual of each server, and which are furthest from it.
//!
//! A server's usual is the mean and the standard deviation of its distance from what is usual of its profile at the hour of the week
//! ([`Cell::season`]), so that a daily peak is nobody's peculiarity. A pane names the three servers of each metric that are furthest from theirs,
//! in standard deviations of their own, if they are further than three of them; a report those that were named in half of the
//! last hour's panes (`windows/servers.rs`). It explains a verdict and makes none.
//!
//! Invariants: a pane is the same whatever the order of its rows; memory is bounded by [`MAX_KNOWN_SERVERS`] per profile, and in a pane by [`FURTHEST`]
//! per metric, whatever the number of servers. A server that the baseline does not know is said to be new, not judged; where the baseline
//! could not hold all, or holds none, nobody is said to be new.

use std::collections::{BTreeMap, HashMap};

use contract::record::ServerAway;

use crate::baseline::Cell;
use crate::fixed::{float, term};
use crate::measures::{OUTLIER_SD, varies};
use crate::packed::MAX_NAME_BYTES;

/// Most servers of a profile that a baseline knows: the first by name. Each takes some 50 bytes per metric while it is learnt and 32
/// after, 7 and 5 MB a profile at 14 metrics. More would let invented names fill the memory; of fewer a large fleet would lose the names
/// of those that moved.
pub const MAX_KNOWN_SERVERS: usize = 10_000;

/// Values below which a server is not judged: a day at five minutes. What fewer tell is the usual of some hours.
pub const MIN_SERVER_VALUES: u64 = 288;

/// Most servers that a pane names per metric. More would let one bad day double the panes; with fewer two that moved together could hide a
/// third.
pub(crate) const FURTHEST: usize = 3;

/// What is taken for the least spread of a server, as a share of its profile's: one that always stood still would otherwise be
/// infinitely far off when it moves a little.
const LEAST_SPREAD: f64 = 0.1;

/// Distances count this much at most; a stored one must be a number.
pub(crate) const MAX_SD: f64 = 1.0e6;

/// One metric of one server.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usual {
    /// Values.
    pub(crate) n: u64,
    /// Their mean distance from the profile's mean at the hour.
    pub(crate) mean: f64,
    /// Its standard deviation (n − 1 in the denominator).
    pub(crate) sd: f64,
    /// What a distance is measured in; 0: not judged.
    spread: f64,
}

impl Usual {
    /// `cell` is the profile's.
    pub(crate) fn new(n: u64, mean: f64, sd: f64, cell: &Cell) -> Usual {
        let spread = sd.max(LEAST_SPREAD * cell.sd);
        let is_judged = n >= MIN_SERVER_VALUES && varies(cell.mean, spread);
        Usual {
            n,
            mean,
            sd,
            spread: if is_judged { spread } else { 0.0 },
        }
    }

    /// How far a distance from the profile's mean is from the usual one; `None` where it is not judged.
    fn away(&self, distance: f64) -> Option<f64> {
        let judged = self.spread > 0.0 && distance.is_finite();
        judged.then(|| ((distance - self.mean) / self.spread).clamp(-MAX_SD, MAX_SD))
    }
}

/// What is usual of each server.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Servers {
    /// By profile and name: by metric.
    pub(crate) profiles: Vec<HashMap<Box<str>, Box<[Usual]>>>,
    /// No server of the rows was left out.
    pub(crate) is_whole: bool,
}

/// What a baseline knows of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Known<'a> {
    /// By metric.
    Usual(&'a [Usual]),
    /// It was not there.
    New,
    /// The baseline does not hold all servers: it may have been there.
    Untold,
}

impl Servers {
    pub(crate) fn of(&self, profile: usize, server: &str) -> Known<'_> {
        let held = self.profiles.get(profile).and_then(|held| held.get(server));
        match held {
            Some(usual) => Known::Usual(usual),
            None if self.is_whole => Known::New,
            None => Known::Untold,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.profiles.iter().map(HashMap::len).sum()
    }
}

/// Servers while a baseline is learnt.
pub(crate) struct ServerSums {
    /// By profile and name: by metric.
    profiles: Vec<BTreeMap<Box<str>, Box<[Distances]>>>,
    limit: usize,
    is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Distances {
    n: u64,
    sum: i128,
    sum_sq: i128,
}

impl Distances {
    fn count(&mut self, distance: f64) {
        self.n += 1;
        self.sum = self.sum.wrapping_add(term(distance));
        self.sum_sq = self.sum_sq.wrapping_add(term(distance * distance));
    }

    fn usual(&self, cell: &Cell) -> Usual {
        let n = self.n.max(1) as f64;
        let mean = float(self.sum) / n;
        let m2 = (float(self.sum_sq) - n * mean * mean).max(0.0);
        Usual::new(self.n, mean, (m2 / (n - 1.0).max(1.0)).sqrt(), cell)
    }
}

impl ServerSums {
    pub(crate) fn new(profiles: usize) -> ServerSums {
        ServerSums::with_limit(profiles, MAX_KNOWN_SERVERS)
    }

    fn with_limit(profiles: usize, limit: usize) -> ServerSums {
        ServerSums {
            profiles: vec![BTreeMap::new(); profiles],
            limit,
            is_whole: true,
        }
    }

    /// Counts a row; `usual` is what its profile's metrics are at the hour.
    pub(crate) fn count(
        &mut self,
        profile: usize,
        server: &str,
        values: &[f32],
        usual: &[f64],
        cells: &[Cell],
    ) {
        let Some(sums) = self.of(profile, server, cells.len()) else {
            return;
        };
        for (((sums, &value), usual), cell) in sums.iter_mut().zip(values).zip(usual).zip(cells) {
            if cell.n > 0 && value.is_finite() {
                sums.count(f64::from(value) - usual);
            }
        }
    }

    /// The sums of a server; `None` of one that has no room: the first by name are kept, whatever the order of rows. One that
    /// had to go stands behind all that are kept from then on, so that it never comes back with half of its rows.
    fn of(&mut self, profile: usize, server: &str, metrics: usize) -> Option<&mut [Distances]> {
        let held = self.profiles.get_mut(profile)?;
        if !held.contains_key(server) {
            let is_full = held.len() >= self.limit;
            let last = held.last_key_value();
            let is_behind = last.is_some_and(|(last, _)| server > last.as_ref());
            if is_full || server.len() > MAX_NAME_BYTES {
                self.is_whole = false;
            }
            if is_full && is_behind || server.len() > MAX_NAME_BYTES {
                return None;
            }
            if is_full {
                held.pop_last();
            }
            let none = vec![Distances::default(); metrics];
            held.insert(server.into(), none.into());
        }
        held.get_mut(server).map(AsMut::as_mut)
    }

    /// What is usual of them; `cells` are the profiles'.
    pub(crate) fn finish(self, cells: &[Vec<Cell>]) -> Servers {
        let profiles = self.profiles.into_iter().zip(cells);
        let profiles = profiles.map(|(held, cells)| {
            let named = held.into_iter().map(|(server, sums)| {
                let usual = sums.iter().zip(cells).map(|(sums, cell)| sums.usual(cell));
                (server, usual.collect())
            });
            named.collect()
        });
        Servers {
            profiles: profiles.collect(),
            is_whole: self.is_whole,
        }
    }
}

/// The servers of one metric.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenMetric {
    /// Held against their own usual.
    pub(crate) judged: i32,
    /// Further from it than three standard deviations.
    pub(crate) away: i32,
    /// The furthest of these first.
    pub(crate) furthest: Vec<ServerAway>,
}

/// The servers of one profile in one bucket: those furthest from their own usual, and those that are new.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What is usual of the profile's metrics at this hour.
    usual: Vec<f64>,
    /// By metric.
    metrics: Vec<SeenMetric>,
    new: i32,
    /// The first by name.
    new_names: Vec<String>,
}

impl Seen {
    pub(crate) fn new(usual: Vec<f64>) -> Seen {
        Seen {
            metrics: vec![SeenMetric::default(); usual.len()],
            usual,
            ..Seen::default()
        }
    }

    /// Holds a server's values against its own usual.
    pub(crate) fn count(&mut self, known: Known<'_>, server: &str, values: &[f32]) {
        let usual = match known {
            Known::Usual(usual) => usual,
            Known::Untold => return,
            Known::New => {
                self.new = self.new.saturating_add(1);
                return keep_first(&mut self.new_names, server);
            }
        };
        let expected = self.usual.iter().zip(usual);
        for ((seen, &value), (profile, own)) in self.metrics.iter_mut().zip(values).zip(expected) {
            let Some(sd) = own.away(f64::from(value) - profile) else {
                continue;
            };
            seen.judged += 1;
            if sd.abs() > OUTLIER_SD {
                seen.away += 1;
                keep_furthest(&mut seen.furthest, server, sd);
            }
        }
    }

    /// The servers of a metric.
    pub(crate) fn metric(&self, metric: usize) -> Option<&SeenMetric> {
        self.metrics.get(metric)
    }

    /// How many are new, and the first of them by name.
    pub(crate) fn new_servers(&self) -> (i32, &[String]) {
        (self.new, &self.new_names)
    }
}

/// Keeps the first [`FURTHEST`] by name.
pub(crate) fn keep_first(names: &mut Vec<String>, server: &str) {
    if server.len() > MAX_NAME_BYTES {
        return;
    }
    if let Err(place) = names.binary_search_by(|held| held.as_str().cmp(server))
        && place < FURTHEST
    {
        names.insert(place, server.to_owned());
        names.truncate(FURTHEST);
    }
}

/// Keeps the [`FURTHEST`]; among equals the first by name.
fn keep_furthest(held: &mut Vec<ServerAway>, server: &str, sd: f64) {
    let is_before = |held: &ServerAway| {
        let further = held.sd.abs().total_cmp(&sd.abs());
        further.then_with(|| server.cmp(&held.server)).is_gt()
    };
    let place = held.partition_point(is_before);
    if place < FURTHEST {
        held.insert(
            place,
            ServerAway {
                server: server.to_owned(),
                sd,
            },
        );
        held.truncate(FURTHEST);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// One metric of one profile that varies.
    fn cells() -> Vec<Vec<Cell>> {
        vec![vec![Cell {
            n: 9,
            sd: 1.0,
            ..Cell::default()
        }]]
    }

    fn learned(servers: &[&str]) -> Servers {
        let cells = cells();
        let mut sums = ServerSums::with_limit(1, 2);
        for server in servers {
            sums.count(0, server, &[1.0], &[0.0], &cells[0]);
        }
        sums.finish(&cells)
    }

    #[test]
    fn beyond_the_limit_the_first_by_name_are_known_whatever_the_order() {
        let few = learned(&["b", "a", "b"]);
        assert!(few.is_whole && few.len() == 2);
        assert_eq!(few.of(0, "c"), Known::New);
        assert_eq!(few.of(7, "a"), Known::New);

        let many = learned(&["d", "b", "c", "a", "b", "d"]);
        assert!(many == learned(&["a", "b", "b", "c", "d", "d"]));
        let Known::Usual([usual]) = many.of(0, "b") else {
            panic!("{many:?}")
        };
        assert_eq!(usual.n, 2);
        // It may have been one of those that had no room.
        assert_eq!(many.of(0, "z"), Known::Untold);
        let nameless = learned(&["a", &"x".repeat(1_000)]);
        assert!(!nameless.is_whole && nameless.len() == 1);
    }

    #[test]
    fn nothing_is_known_of_what_holds_no_servers() {
        assert_eq!(Servers::default().of(0, "a"), Known::Untold);
        let mut seen = Seen::new(vec![0.0]);
        seen.count(Known::Untold, "a", &[9.0]);
        assert_eq!(seen.metric(0).unwrap().judged, 0);
        assert_eq!(seen.new_servers(), (0, &[][..]));
    }

    #[test]
    fn distances_are_cut() {
        let cells = cells();
        let usual = [Usual::new(MIN_SERVER_VALUES, 0.0, 0.0, &cells[0][0])];
        let mut seen = Seen::new(vec![0.0]);
        for (server, value) in [
            ("a", -3.0e30),
            ("b", f32::NAN),
            ("c", 3.0e30),
            ("d", 3.0e30),
        ] {
            seen.count(Known::Usual(&usual), server, &[value]);
        }
        let found = seen.metric(0).unwrap();
        // One has no value.
        assert_eq!((found.judged, found.away), (3, 3));
        let found = &found.furthest;
        let found: Vec<(&str, f64)> = found.iter().map(|f| (f.server.as_str(), f.sd)).collect();
        assert_eq!(found, [("a", -MAX_SD), ("c", MAX_SD), ("d", MAX_SD)]);
    }
}
