//! What goes wrong with the fleet, and from when on.

use std::fmt;
use std::str::FromStr;

use crate::FleetError;

/// What happens to the fleet from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScenarioKind {
    /// Nothing but the incidents that every fleet has.
    Healthy,
    /// Two servers in five get slowly worse (4 to 8 h of build-up), again and again.
    Degrading,
    /// Three servers in ten break down within the first hour and stay so for hours, again and again.
    Critical,
    /// Drift: the metrics of [`SHIFTS`] stand at another level.
    Shift,
    /// Drift: as [`ScenarioKind::Shift`], but reached evenly over three days.
    Ramp,
    /// Drift: three in five `web_api` servers take up a workload that no profile has.
    NewProfile,
    /// Drift: everybody's working hours move by eight hours.
    SeasonChange,
}

impl ScenarioKind {
    /// All of them.
    pub const ALL: [ScenarioKind; 7] = [
        ScenarioKind::Healthy,
        ScenarioKind::Degrading,
        ScenarioKind::Critical,
        ScenarioKind::Shift,
        ScenarioKind::Ramp,
        ScenarioKind::NewProfile,
        ScenarioKind::SeasonChange,
    ];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ScenarioKind::Healthy => "healthy",
            ScenarioKind::Degrading => "degrading",
            ScenarioKind::Critical => "critical",
            ScenarioKind::Shift => "shift",
            ScenarioKind::Ramp => "ramp",
            ScenarioKind::NewProfile => "new-profile",
            ScenarioKind::SeasonChange => "season-change",
        }
    }
}

impl fmt::Display for ScenarioKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ScenarioKind {
    type Err = FleetError;

    fn from_str(name: &str) -> Result<Self, FleetError> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| FleetError::UnknownScenario {
            name: name.to_owned(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// A scenario and when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// What happens.
    pub kind: ScenarioKind,
    /// From when on, milliseconds since the epoch: a step that starts before it is as in a healthy fleet.
    pub from_ms: i64,
}

impl Scenario {
    /// Nothing happens.
    pub fn healthy() -> Self {
        Scenario {
            kind: ScenarioKind::Healthy,
            from_ms: 0,
        }
    }

    /// The kind in force in the step that starts at a time.
    pub(crate) fn at(&self, timestamp_ms: i64) -> ScenarioKind {
        if timestamp_ms >= self.from_ms {
            self.kind
        } else {
            ScenarioKind::Healthy
        }
    }

    /// How much of [`SHIFTS`] is there at a time, 0 to 1.
    pub(crate) fn shift_at(&self, timestamp_ms: i64) -> f64 {
        match self.at(timestamp_ms) {
            ScenarioKind::Shift => 1.0,
            ScenarioKind::Ramp => {
                let since = timestamp_ms.saturating_sub(self.from_ms) as f64;
                (since / RAMP_MS as f64).min(1.0)
            }
            _ => 0.0,
        }
    }
}

/// How long a ramp takes.
const RAMP_MS: i64 = 3 * 86_400_000;

/// By how much a metric of a profile is moved by `shift`, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricShift {
    /// Whose metric.
    pub profile: &'static str,
    /// Which metric.
    pub metric: &'static str,
    /// By how much; the valid range still holds, so what stands at its edge moves less.
    pub amount: f64,
}

const fn shift(profile: &'static str, metric: &'static str, amount: f64) -> MetricShift {
    MetricShift {
        profile,
        metric,
        amount,
    }
}

/// What `shift` does, in the two largest profiles: between one and two and a half standard deviations of metrics that move
/// with the day, in the directions where there is room, and many more of those that hardly move in quiet times (I/O wait,
/// swap, connections in CLOSE_WAIT): a release that leaks connections and memory.
///
/// `cpu_idle_pct` moves against `cpu_user_pct`, since the four kinds of CPU time add up to 100;
/// Java is part of user time.
pub const SHIFTS: [MetricShift; 22] = [
    shift("web_api", "cpu_user_pct", 12.0),
    shift("web_api", "cpu_idle_pct", -18.0),
    shift("web_api", "java_cpu_pct", 7.0),
    shift("web_api", "mem_used_pct", 20.0),
    shift("web_api", "net_in_mb_s", 12.0),
    shift("web_api", "net_out_mb_s", 34.0),
    shift("web_api", "load_average", 1.2),
    shift("web_api", "cpu_iowait_pct", 6.0),
    shift("web_api", "swap_used_pct", 12.0),
    shift("web_api", "back_close_wait", 60.0),
    shift("web_api", "front_close_wait", 60.0),
    shift("ml_compute", "cpu_user_pct", -20.0),
    shift("ml_compute", "cpu_idle_pct", 14.0),
    shift("ml_compute", "java_cpu_pct", -11.0),
    shift("ml_compute", "mem_used_pct", -17.0),
    shift("ml_compute", "net_in_mb_s", 13.0),
    shift("ml_compute", "net_out_mb_s", 7.0),
    shift("ml_compute", "load_average", -3.4),
    shift("ml_compute", "cpu_iowait_pct", 6.0),
    shift("ml_compute", "swap_used_pct", 12.0),
    shift("ml_compute", "back_close_wait", 60.0),
    shift("ml_compute", "front_close_wait", 60.0),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for kind in ScenarioKind::ALL {
            assert_eq!(kind.as_str().parse::<ScenarioKind>().unwrap(), kind);
        }
        let error = "earthquake"
            .parse::<ScenarioKind>()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("earthquake") && error.contains("new-profile"),
            "{error}"
        );
    }

    #[test]
    fn a_scenario_begins_at_its_time() {
        let shift = Scenario {
            kind: ScenarioKind::Shift,
            from_ms: 1000,
        };
        assert_eq!((shift.shift_at(999), shift.shift_at(1000)), (0.0, 1.0));
        let ramp = Scenario {
            kind: ScenarioKind::Ramp,
            from_ms: 0,
        };
        assert_eq!(ramp.shift_at(RAMP_MS / 2), 0.5);
        assert_eq!(ramp.shift_at(RAMP_MS * 5), 1.0);
        assert_eq!(Scenario::healthy().shift_at(0), 0.0);
    }
}
