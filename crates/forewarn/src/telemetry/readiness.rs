//! Readiness: one latch a role, each with the reason why it is closed.
//!
//! A process is ready when it has roles and all of them are. A role opens its latch when it does
//! its work and closes it with a reason when it cannot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The latches of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

/// What `/readyz` answers.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Report {
    /// Whether there are roles and all are ready.
    pub(crate) ready: bool,
    /// Role → why it is not ready; roles that are ready are in `ready_roles`.
    pub(crate) not_ready: BTreeMap<&'static str, String>,
    pub(crate) ready_roles: Vec<&'static str>,
}

impl Readiness {
    /// The role does its work.
    pub(crate) fn ready(&self, role: &'static str) {
        self.lock().insert(role, None);
    }

    /// The role cannot do its work, and why. A role that is named here for the first time counts
    /// from now on.
    pub(crate) fn not_ready(&self, role: &'static str, reason: impl Into<String>) {
        self.lock().insert(role, Some(reason.into()));
    }

    /// Which roles are ready and why the others are not.
    pub(crate) fn report(&self) -> Report {
        let latches = self.lock();
        let not_ready: BTreeMap<_, _> = latches
            .iter()
            .filter_map(|(role, reason)| Some((*role, reason.clone()?)))
            .collect();
        let ready_roles: Vec<_> = latches
            .iter()
            .filter(|(_, reason)| reason.is_none())
            .map(|(role, _)| *role)
            .collect();
        Report {
            ready: not_ready.is_empty() && !ready_roles.is_empty(),
            not_ready,
            ready_roles,
        }
    }

    /// A panic elsewhere leaves the map whole: each change is one insert.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_there_are_roles_and_all_are() {
        let readiness = Readiness::default();
        assert!(!readiness.report().ready, "no role at all");
        readiness.not_ready("rollup", "starting");
        readiness.not_ready("forecast", "starting");
        readiness.ready("rollup");
        readiness.not_ready("forecast", "no production model");
        let report = readiness.report();
        assert!(!report.ready);
        assert_eq!(report.ready_roles, ["rollup"]);
        assert_eq!(report.not_ready["forecast"], "no production model");
        readiness.ready("forecast");
        assert!(readiness.report().ready);
        readiness.not_ready("rollup", "waits for broker localhost:9092");
        assert!(!readiness.report().ready);
    }
}
