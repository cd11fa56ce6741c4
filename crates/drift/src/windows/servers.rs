//! Which servers the panes of the last hour name.

use std::collections::{BTreeMap, BTreeSet};

use contract::record::ServerDrift;

use super::{Windows, first_key};
use crate::fixed::{float, term};

/// Most servers that a report names of one profile and metric, as a pane does of each partition.
const NAMED_PER_CELL: usize = crate::servers::FURTHEST;

/// Most servers that a report names in all, the furthest: two pages.
const MAX_NAMED: usize = 100;

/// Most new servers that a report names.
const MAX_NEW_NAMED: usize = 8;

/// The servers of the last hour that stand out.
#[derive(Debug, Default)]
pub(crate) struct ServersSeen {
    /// The furthest from their own usual first.
    pub(crate) away: Vec<ServerDrift>,
    /// By profile and metric: servers judged and servers far off, summed over the hour's panes.
    counts: BTreeMap<(usize, usize), (i64, i64)>,
    /// Those that the baseline does not know.
    pub(crate) num_new: i64,
    /// Some of them, by name.
    pub(crate) new: Vec<String>,
}

impl ServersSeen {
    /// Share of the servers of a profile that were far from their own usual in a metric; `None` where none was judged.
    pub(crate) fn share_away(&self, profile: usize, metric: usize) -> Option<f64> {
        let (judged, away) = self.counts.get(&(profile, metric))?;
        (*judged > 0).then(|| *away as f64 / *judged as f64)
    }
}

/// In how many panes a server was far off in one direction, and by how much in all.
#[derive(Debug, Default)]
struct Away {
    panes: u32,
    sum: i128,
}

impl Windows {
    /// Servers that at least half of the last hour's panes name, and new ones. Call `move_to` first.
    pub(crate) fn servers(&self) -> ServersSeen {
        let [hour, ..] = &self.slides;
        // By profile, metric, direction and server.
        let mut away: BTreeMap<(usize, usize, bool, &str), Away> = BTreeMap::new();
        let mut counts: BTreeMap<(usize, usize), (i64, i64)> = BTreeMap::new();
        let mut new: BTreeMap<(i32, usize), i32> = BTreeMap::new();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let panes = self.panes.range(first_key(hour.from)..first_key(hour.to));
        for ((_, partition, profile, of), pane) in panes {
            if Some(of) != self.baseline.as_ref() {
                continue;
            }
            let most = new.entry((*partition, *profile)).or_default();
            *most = (*most).max(pane.new_servers);
            let named = pane.named();
            for of in named.metrics {
                let held = counts.entry((*profile, of.metric)).or_default();
                *held = (held.0 + of.judged, held.1 + of.away);
                for (server, sd) in of.furthest {
                    let key = (*profile, of.metric, sd < 0.0, server);
                    let held = away.entry(key).or_default();
                    held.panes += 1;
                    held.sum = held.sum.wrapping_add(term(sd));
                }
            }
            names.extend(named.new);
        }
        ServersSeen {
            away: self.persisting(away),
            counts,
            num_new: new.values().copied().map(i64::from).sum(),
            new: names
                .into_iter()
                .take(MAX_NEW_NAMED)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Those that half of the hour's buckets name, the furthest first, by name among equals.
    fn persisting(&self, away: BTreeMap<(usize, usize, bool, &str), Away>) -> Vec<ServerDrift> {
        let [hour, ..] = &self.slides;
        let buckets = (hour.length_ms / self.step_ms).max(1) as f64;
        let mut found: Vec<ServerDrift> = Vec::new();
        for ((profile, metric, _, server), held) in away {
            let share = f64::from(held.panes) / buckets;
            let names = self.contract.profiles.get(profile);
            let names = names.zip(self.contract.metrics.get(metric));
            if let Some((profile, metric)) = names.filter(|_| share >= 0.5) {
                found.push(ServerDrift {
                    server: server.to_owned(),
                    profile: profile.name.clone(),
                    metric: metric.name.clone(),
                    size_sd: float(held.sum) / f64::from(held.panes),
                    // A server whose partition changed has two panes in a bucket.
                    share: share.min(1.0),
                });
            }
        }
        // The sort is stable: among equals the order of profile, metric and name stays.
        found.sort_by(|a, b| b.size_sd.abs().total_cmp(&a.size_sd.abs()));
        let mut of_cell: BTreeMap<(String, String), usize> = BTreeMap::new();
        found.retain(|server| {
            let cell = (server.profile.clone(), server.metric.clone());
            let named = of_cell.entry(cell).or_default();
            *named += 1;
            *named <= NAMED_PER_CELL
        });
        found.truncate(MAX_NAMED);
        found
    }
}
