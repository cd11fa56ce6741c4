//! What a role did: the JSON line of `--until-end` and the log line at a stop.

use std::collections::BTreeMap;

use serde::Serialize;

/// Records read from one partition and what became of them:
/// `accepted + duplicate + late + rejected + replayed = consumed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionCounts {
    pub(crate) consumed: u64,
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    pub(crate) late: u64,
    pub(crate) rejected: u64,
    pub(crate) replayed: u64,
}

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
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) partitions: BTreeMap<i32, PartitionCounts>,
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
        let sum = |of: fn(&PartitionCounts) -> u64| self.partitions.values().map(of).sum::<u64>();
        let (consumed, accepted) = (sum(|c| c.consumed), sum(|c| c.accepted));
        let (duplicate, late, replayed) =
            (sum(|c| c.duplicate), sum(|c| c.late), sum(|c| c.replayed));
        self.consumed = consumed;
        self.accepted = Some(accepted);
        self.duplicate = Some(duplicate);
        self.late = Some(late);
        self.replayed = Some(replayed);
    }
}
