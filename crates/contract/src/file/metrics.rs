//! The metrics of a contract file: what they may be called and what their numbers must be.

use serde::Deserialize;

use super::{ContractError, value_error};
use crate::domain::{Derived, Metric, RollupFn};

/// Older names and what took their place.
const OLD_NAMES: [(&str, &str); 4] = [
    (
        "cpu_pct",
        "cpu_user_pct, cpu_sys_pct, cpu_iowait_pct and cpu_idle_pct",
    ),
    ("mem_pct", "mem_used_pct"),
    ("disk_io_mb_s", "cpu_iowait_pct and disk_usage_pct"),
    (
        "latency_ms",
        "back_close_wait, front_close_wait and load_average",
    ),
];

/// The names that took the place of an older metric name, if it is one.
pub fn renamed_metric(name: &str) -> Option<&'static str> {
    let found = OLD_NAMES.into_iter().find(|(old, _)| *old == name);
    found.map(|(_, new)| new)
}

/// Names that columns of our own have.
const RESERVED: [&str; 9] = [
    "server",
    "timestamp",
    "profile",
    "state",
    "num_records",
    "contract",
    "kafka_key",
    "kafka_offset",
    "kafka_timestamp",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetric {
    pub(super) name: String,
    unit: String,
    min: Option<f32>,
    max: Option<f32>,
    tolerance: Option<f32>,
    #[serde(default)]
    rollup: RawRollup,
    warning: Option<f32>,
    critical: Option<f32>,
    #[serde(default)]
    lower_is_worse: bool,
    #[serde(default)]
    monotone: bool,
    per_floor: Option<f32>,
    derived: Option<RawDerived>,
    meaning: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum RawRollup {
    #[default]
    Mean,
    Last,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawDerived {
    Product([String; 2]),
    Ratio([String; 2]),
}

/// # Errors
/// The first metric that cannot be.
pub(super) fn resolve_metrics(raw: Vec<RawMetric>) -> Result<Vec<Metric>, ContractError> {
    let mut metrics: Vec<Metric> = Vec::with_capacity(raw.len());
    for metric in raw {
        check_metric(&metric)?;
        let key = format!("metrics.{}", metric.name);
        let derived = metric
            .derived
            .map(|d| resolve_derived(&key, d, &metrics))
            .transpose()?;
        if derived.is_none() && metrics.last().is_some_and(|m| m.derived.is_some()) {
            return Err(value_error(
                key,
                "a measured metric after a derived one: put derived ones last",
            ));
        }
        metrics.push(Metric {
            name: metric.name,
            unit: metric.unit,
            min: metric.min,
            max: metric.max,
            tolerance: metric.tolerance.unwrap_or(0.0),
            rollup: match metric.rollup {
                RawRollup::Mean => RollupFn::Mean,
                RawRollup::Last => RollupFn::Last,
            },
            warning: metric.warning,
            critical: metric.critical,
            lower_is_worse: metric.lower_is_worse,
            monotone: metric.monotone,
            per_floor: metric.per_floor,
            derived,
            meaning: metric.meaning,
        });
    }
    if metrics.first().is_none_or(|m| m.derived.is_some()) {
        return Err(value_error(
            "metrics",
            "all are derived: expected at least one that is measured",
        ));
    }
    Ok(metrics)
}

fn check_metric(metric: &RawMetric) -> Result<(), ContractError> {
    let name = metric.name.as_str();
    if let Some(new) = renamed_metric(name) {
        return Err(ContractError::OldName {
            old: name.to_owned(),
            new,
        });
    }
    let key = format!("metrics.{name}");
    if RESERVED.contains(&name) || name.starts_with("kafka_") {
        return Err(value_error(
            key,
            "the name of a column of our own: choose another",
        ));
    }
    // Avro field names have no '-' and do not begin with a digit.
    if name.contains('-') || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(value_error(
            key,
            "expected letters, digits and '_', no digit first",
        ));
    }
    let numbers = [
        ("min", metric.min),
        ("max", metric.max),
        ("tolerance", metric.tolerance),
        ("warning", metric.warning),
        ("critical", metric.critical),
        ("per_floor", metric.per_floor),
    ];
    for (field, number) in numbers {
        if let Some(number) = number
            && !number.is_finite()
        {
            return Err(value_error(
                format!("{key}.{field}"),
                format!("{number}: expected a finite number"),
            ));
        }
    }
    if let (Some(min), Some(max)) = (metric.min, metric.max)
        && min >= max
    {
        return Err(value_error(
            format!("{key}.max"),
            format!("{max}: expected more than min, {min}"),
        ));
    }
    if metric.tolerance.is_some_and(|t| t < 0.0)
        || metric.tolerance.is_some() && metric.max.is_none()
    {
        return Err(value_error(
            format!("{key}.tolerance"),
            "expected 0 or more, and a max beside it",
        ));
    }
    if metric.per_floor.is_some_and(|f| f < 0.0) {
        return Err(value_error(
            format!("{key}.per_floor"),
            "expected 0 or more",
        ));
    }
    check_order(&key, metric.warning, metric.critical, metric.lower_is_worse)
}

/// Critical must not be reached before the warning.
pub(super) fn check_order(
    key: &str,
    warning: Option<f32>,
    critical: Option<f32>,
    lower_is_worse: bool,
) -> Result<(), ContractError> {
    let (Some(warning), Some(critical)) = (warning, critical) else {
        return Ok(());
    };
    let (first, last) = if lower_is_worse {
        (critical, warning)
    } else {
        (warning, critical)
    };
    if first > last {
        let side = if lower_is_worse {
            "at most"
        } else {
            "at least"
        };
        return Err(value_error(
            format!("{key}.critical"),
            format!("{critical}: expected {side} the warning, {warning}"),
        ));
    }
    Ok(())
}

fn resolve_derived(
    key: &str,
    raw: RawDerived,
    earlier: &[Metric],
) -> Result<Derived, ContractError> {
    let find = |name: &String| {
        earlier.iter().position(|m| m.name == *name).ok_or_else(|| {
            value_error(
                format!("{key}.derived"),
                format!("{name:?} is no metric before this one"),
            )
        })
    };
    Ok(match raw {
        RawDerived::Product([left, right]) => Derived::Product {
            left: find(&left)?,
            right: find(&right)?,
        },
        RawDerived::Ratio([numerator, denominator]) => Derived::Ratio {
            numerator: find(&numerator)?,
            denominator: find(&denominator)?,
        },
    })
}
