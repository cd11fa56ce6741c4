//! The policies: when a score or a measure is a warning, an alarm or critical, and which values are held against that.

use serde::{Deserialize, Serialize};

use crate::measures::Measures;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing to do.
    Healthy,
    /// Watch it.
    Warning,
    /// Train.
    Urgent,
    /// Accuracy below what is promised: train soon.
    Critical,
}

impl Status {
    /// As in records: `healthy`, `warning`, `urgent`, `critical`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Healthy => "healthy",
            Status::Warning => "warning",
            Status::Urgent => "urgent",
            Status::Critical => "critical",
        }
    }
}

/// Which values a policy is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// Calibrated on quiet days.
    #[default]
    On,
    /// As measured. On autocorrelated, seasonal metrics it alarms in half of all quiet windows.
    Raw,
}

/// Limits of the measures, each of which is an alarm by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Of the prediction error rate.
    pub per: f64,
    /// Of the distribution shift.
    pub dss: f64,
    /// Of the feature drift.
    pub fds: f64,
    /// Of the anomaly rate.
    pub anomaly_rate: f64,
}

impl Limits {
    /// 0.10, 0.20, 0.15, 0.05.
    pub const ANY_METRIC: Limits = Limits {
        per: 0.10,
        dss: 0.20,
        fds: 0.15,
        anomaly_rate: 0.05,
    };

    /// Whether a measure is above its limit.
    #[must_use]
    pub fn exceeded_by(&self, measures: &Measures) -> bool {
        measures.per.is_some_and(|per| per > self.per)
            || measures.dss > self.dss
            || measures.fds > self.fds
            || measures.anomaly_rate > self.anomaly_rate
    }
}

/// Where a score turns from one status into the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Above it: warning.
    pub warning: f64,
    /// Above it: urgent, and an alarm.
    pub alarm: f64,
    /// Above it: critical.
    pub critical: f64,
    /// Alarms beside the score's.
    pub limits: Option<Limits>,
}

impl Policy {
    /// For a service level of 88 % accuracy: 0.08, 0.10, 0.12.
    pub const SLA: Policy = Policy {
        warning: 0.08,
        alarm: 0.10,
        critical: 0.12,
        limits: None,
    };

    /// Any measure above its limit, or a score above 0.12.
    pub const ANY_METRIC: Policy = Policy {
        warning: 0.08,
        alarm: 0.12,
        critical: 0.12,
        limits: Some(Limits::ANY_METRIC),
    };

    /// The status of a score. A score equal to a threshold is not above it.
    #[must_use]
    pub fn status(&self, score: f64) -> Status {
        if score > self.critical {
            Status::Critical
        } else if score > self.alarm {
            Status::Urgent
        } else if score > self.warning {
            Status::Warning
        } else {
            Status::Healthy
        }
    }

    /// Whether a score is an alarm.
    #[must_use]
    pub fn is_alarm(&self, score: f64) -> bool {
        score > self.alarm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_alarms_by_themselves() {
        let quiet = Measures {
            per: Some(0.10),
            dss: 0.20,
            fds: 0.15,
            anomaly_rate: 0.05,
        };
        let limits = Limits::ANY_METRIC;
        assert!(!limits.exceeded_by(&quiet));
        assert!(limits.exceeded_by(&Measures {
            per: Some(0.11),
            ..quiet
        }));
        assert!(limits.exceeded_by(&Measures { dss: 0.21, ..quiet }));
        assert!(limits.exceeded_by(&Measures { fds: 0.16, ..quiet }));
        assert!(limits.exceeded_by(&Measures {
            anomaly_rate: 0.06,
            ..quiet
        }));
        assert!(!limits.exceeded_by(&Measures { per: None, ..quiet }));
    }

    #[test]
    fn statuses_and_their_edges() {
        let check = |score, status, alarm| {
            assert_eq!(Policy::SLA.status(score), status, "{score}");
            assert_eq!(Policy::SLA.is_alarm(score), alarm, "{score}");
        };
        check(0.0, Status::Healthy, false);
        check(0.08, Status::Healthy, false);
        check(0.080_001, Status::Warning, false);
        check(0.10, Status::Warning, false);
        check(0.100_001, Status::Urgent, true);
        check(0.12, Status::Urgent, true);
        check(0.120_001, Status::Critical, true);
        assert!(Status::Critical > Status::Urgent && Status::Warning > Status::Healthy);
    }
}
