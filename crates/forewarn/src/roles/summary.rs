//! What a role did: the JSON line of `--until-end` and the log line at a stop.

use std::collections::BTreeMap;

use serde::Serialize;
use window::rollup::Counts;

/// One role's account of a run. Fields that make no sense for a role are left out.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) role: &'static str,
    pub(crate) consumed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duplicate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replayed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejected: Option<BTreeMap<String, u64>>,
    pub(crate) produced: u64,
    pub(crate) seconds: f64,
    /// Records read from each partition and what became of them:
    /// `accepted + duplicate + late + rejected + replayed = consumed`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) partitions: BTreeMap<i32, Counts>,
}

impl Summary {
    /// An account with every total at zero.
    pub(crate) fn new(role: &'static str) -> Self {
        Self {
            role,
            ..Self::default()
        }
    }

    /// Adds partition counts up into the totals.
    pub(crate) fn total_partitions(&mut self) {
        let mut total = Counts::default();
        for counts in self.partitions.values() {
            total += *counts;
        }
        self.consumed = total.consumed;
        self.accepted = Some(total.accepted);
        self.duplicate = Some(total.duplicate);
        self.late = Some(total.late);
        self.replayed = Some(total.replayed);
    }
}
