//! Readiness: one latch a role, each with the reason why it is closed.
//!
//! A process is ready when it has roles and all of them are. A role opens its latch when it does
//! its work and closes it with a reason when it cannot. A broker that does not answer closes a second
//! latch of the role, which the next thing heard from it opens: whatever else the role waits for stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The latches of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<Mutex<Latches>>);

#[derive(Debug, Default)]
struct Latches {
    /// Role → why it cannot do its work.
    work: BTreeMap<&'static str, Option<String>>,
    /// Roles that do not hear from the broker, and why.
    broker: BTreeMap<&'static str, String>,
}

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
        self.lock().work.insert(role, None);
    }

    /// The role's broker does not answer.
    pub(crate) fn unreachable(&self, role: &'static str, reason: &str) {
        self.lock().broker.insert(role, reason.to_owned());
    }

    /// The role heard from its broker.
    pub(crate) fn reachable(&self, role: &'static str) {
        self.lock().broker.remove(role);
    }

    /// The role cannot do its work, and why. A role that is named here for the first time counts
    /// from now on.
    pub(crate) fn not_ready(&self, role: &'static str, reason: impl Into<String>) {
        self.lock().work.insert(role, Some(reason.into()));
    }

    /// Which roles are ready and why the others are not.
    pub(crate) fn report(&self) -> Report {
        let latches = self.lock();
        let mut not_ready = latches.broker.clone();
        for (role, reason) in &latches.work {
            if let Some(reason) = reason {
                not_ready.insert(role, reason.clone());
            }
        }
        let roles = latches.work.keys().copied();
        let ready_roles: Vec<_> = roles.filter(|r| !not_ready.contains_key(r)).collect();
        Report {
            ready: not_ready.is_empty() && !ready_roles.is_empty(),
            not_ready,
            ready_roles,
        }
    }

    /// A panic elsewhere leaves the maps whole: each change is one insert or removal.
    fn lock(&self) -> MutexGuard<'_, Latches> {
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

    #[test]
    fn an_outage_ends_with_the_next_thing_heard_and_hides_no_other_reason() {
        let readiness = Readiness::default();
        readiness.ready("rollup");
        readiness.not_ready("forecast", "no production model");
        readiness.unreachable("rollup", "b:9092 does not answer");
        readiness.unreachable("forecast", "b:9092 does not answer");
        let report = readiness.report();
        assert_eq!(report.not_ready["rollup"], "b:9092 does not answer");
        assert_eq!(report.ready_roles, [""; 0]);
        readiness.reachable("rollup");
        readiness.reachable("forecast");
        let report = readiness.report();
        assert_eq!(report.ready_roles, ["rollup"]);
        assert_eq!(report.not_ready["forecast"], "no production model");
    }
}
