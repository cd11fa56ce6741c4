//! The topics, by short name; the prefix is configuration.

use std::fmt;

/// A topic of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What producers measure, keyed by server.
    Metrics,
    /// One row per server and bucket.
    Rollups,
    /// Forecasts of the production model.
    Predictions,
    /// Forecasts of a candidate that runs beside it.
    PredictionsShadow,
    /// Records of `metrics` that could not be used, unchanged.
    MetricsDlq,
    /// Per partition, profile and bucket: what drift is computed from.
    DriftPanes,
    /// Drift reports.
    Drift,
    /// Alerts, firing and resolved.
    Alerts,
    /// Decisions, trainings, model changes.
    Control,
}

impl Topic {
    /// All topics.
    pub const ALL: [Topic; 9] = [
        Topic::Metrics,
        Topic::Rollups,
        Topic::Predictions,
        Topic::PredictionsShadow,
        Topic::MetricsDlq,
        Topic::DriftPanes,
        Topic::Drift,
        Topic::Alerts,
        Topic::Control,
    ];

    /// The name without prefix.
    pub fn short_name(self) -> &'static str {
        match self {
            Topic::Metrics => "metrics",
            Topic::Rollups => "rollups",
            Topic::Predictions => "predictions",
            Topic::PredictionsShadow => "predictions.shadow",
            Topic::MetricsDlq => "metrics.dlq",
            Topic::DriftPanes => "drift.panes",
            Topic::Drift => "drift",
            Topic::Alerts => "alerts",
            Topic::Control => "control",
        }
    }

    /// The name in Kafka.
    pub fn full(self, prefix: &str) -> String {
        format!("{prefix}{}", self.short_name())
    }

    /// The topic of a name without prefix.
    pub fn from_short(name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|t| t.short_name() == name)
    }

    /// The topic of a name in Kafka; `None` for another prefix or an unknown name.
    pub fn from_full(prefix: &str, name: &str) -> Option<Topic> {
        Topic::from_short(name.strip_prefix(prefix)?)
    }

    /// Whether it has as many partitions as `metrics`; the others have one, because order matters more than volume.
    pub fn partitioned(self) -> bool {
        match self {
            Topic::Metrics
            | Topic::Rollups
            | Topic::Predictions
            | Topic::PredictionsShadow
            | Topic::MetricsDlq => true,
            Topic::DriftPanes | Topic::Drift | Topic::Alerts | Topic::Control => false,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_topics() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_full("a.", &topic.full("a.")), Some(topic));
            assert_eq!(Topic::from_short(topic.short_name()), Some(topic));
        }
        assert_eq!(Topic::MetricsDlq.full("forewarn."), "forewarn.metrics.dlq");
        assert_eq!(Topic::from_full("forewarn.", "other.metrics"), None);
        assert_eq!(Topic::from_full("forewarn.", "forewarn.metric"), None);
    }

    #[test]
    fn low_volume_topics_have_one_partition() {
        let single: Vec<Topic> = Topic::ALL
            .into_iter()
            .filter(|t| !t.partitioned())
            .collect();
        assert_eq!(
            single,
            [
                Topic::DriftPanes,
                Topic::Drift,
                Topic::Alerts,
                Topic::Control
            ]
        );
    }
}
