//! Which profiles the watch does not judge now, as too many of their servers are missing.

use std::collections::BTreeMap;

use super::Slide;
use crate::shift::detector::is_whole;
use crate::shift::scan::RECENT;

/// A profile that is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) profile: usize,
    /// In the last bucket.
    pub(crate) servers: i64,
    /// Of any bucket of the day.
    pub(crate) most: i64,
}

/// Servers of each profile in each bucket, over all partitions.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<usize, BTreeMap<i64, i64>>);

impl Counts {
    pub(super) fn add(&mut self, profile: usize, bucket: i64, servers: i32) {
        let of_profile = self.0.entry(profile).or_default();
        *of_profile.entry(bucket).or_default() += i64::from(servers);
    }

    /// Those of which half of the last half hour's buckets are gaps, and the most servers of all together.
    pub(super) fn partial(&self, day: &Slide, step_ms: i64) -> (Vec<Partial>, i64) {
        let mut found = Vec::new();
        let mut all = 0;
        for (&profile, buckets) in &self.0 {
            let most = buckets.values().copied().max().unwrap_or(0);
            all += most;
            let recent = buckets.range(day.to - RECENT as i64 * step_ms..day.to);
            let whole = recent.filter(|&(_, &servers)| is_whole(servers, most));
            if 2 * whole.count() < RECENT {
                let last = buckets.get(&(day.to - step_ms));
                found.push(Partial {
                    profile,
                    servers: last.copied().unwrap_or(0),
                    most,
                });
            }
        }
        (found, all)
    }
}
