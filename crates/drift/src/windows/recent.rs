//! Changes that need no noise to be told from: a profile or metric that the baseline has no value of, and a metric that never varied there
//! and now does.
//!
//! As all others they must persist, [`PERSIST`] of the last [`OF`] buckets; one broken pane is no change.

use std::collections::BTreeMap;

use super::{Windows, empty_profile, first_key};
use crate::baseline::Baseline;
use crate::judge::JudgedCell;
use crate::measures::ks;
use crate::shift::detector::{OF, PERSIST, WINDOW};
use crate::sums::{MetricSums, ProfileSums, Sign};

/// Share of a bucket's values that differ from the only one that the baseline has seen, from which on the metric has moved.
const MOVED: f64 = 0.5;

/// Values without which one cannot say that a metric never varies: a day of one server.
const MIN_CONSTANT_VALUES: u64 = WINDOW as u64;

impl Windows {
    /// Of the hour's `cells` those that changed so, as (profile, metric). Call `move_to` first.
    pub(crate) fn plain_changes(
        &self,
        baseline: &Baseline,
        cells: &[JudgedCell],
    ) -> Vec<(usize, usize)> {
        let suspected = |cell: &&JudgedCell| cell.is_new || cell.never_varied && cell.ks > 0.0;
        let mut recent: BTreeMap<usize, Vec<ProfileSums>> = BTreeMap::new();
        let changed = cells.iter().filter(suspected).filter(|cell| {
            let of_profile = recent.entry(cell.profile);
            let buckets = of_profile.or_insert_with(|| self.recent(cell.profile));
            let sums = buckets.iter();
            let sums = sums.filter_map(|bucket| bucket.metrics.get(cell.metric));
            sums.filter(|sums| has_changed(baseline, cell, sums))
                .count()
                >= PERSIST
        });
        changed.map(|cell| (cell.profile, cell.metric)).collect()
    }

    /// The last [`OF`] buckets of a profile that have a pane, over all partitions.
    fn recent(&self, profile: usize) -> Vec<ProfileSums> {
        let [hour, ..] = &self.slides;
        let from = hour.to - OF as i64 * self.step_ms;
        let mut buckets: BTreeMap<i64, ProfileSums> = BTreeMap::new();
        for ((bucket, _, held, of), pane) in self.panes.range(first_key(from)..first_key(hour.to)) {
            if *held == profile && Some(of) == self.baseline.as_ref() {
                let sums = buckets.entry(*bucket);
                let sums = sums.or_insert_with(|| empty_profile(&self.contract));
                pane.apply(sums, Sign::Plus);
            }
        }
        buckets.into_values().collect()
    }
}

fn has_changed(baseline: &Baseline, cell: &JudgedCell, sums: &MetricSums) -> bool {
    if cell.is_new {
        return sums.n > 0;
    }
    let known = baseline.cell(cell.profile, cell.metric);
    let known = known.filter(|known| known.n >= MIN_CONSTANT_VALUES);
    known.is_some_and(|known| ks(&known.counts, &sums.counts) >= MOVED)
}
