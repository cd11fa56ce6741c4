//! From quantiles to the probability of crossing a threshold.
//!
//! Per step, the three quantiles are joined by a normal distribution with one spread below and another above the median
//! (a two-piece normal). Over several steps the greatest of their probabilities counts: neighbouring steps rise and
//! fall together, and taking them as independent would make every long horizon certain. It is not an alert: who is told
//! is decided elsewhere.

use crate::data::Forecast;
use contract::Contract;
use contract::record::Risk;

/// Normal score of P90.
const Z90: f32 = 1.281_551_6;
/// Risks below this probability within the longest horizon are left out: they would only fill the topic.
const SMALLEST: f32 = 0.05;

/// Probability that a value with these quantiles lies at or above `threshold`.
fn above(p10: f32, p50: f32, p90: f32, threshold: f32) -> f32 {
    let distance = threshold - p50;
    let width = if distance < 0.0 { p50 - p10 } else { p90 - p50 };
    if width <= f32::EPSILON * p50.abs() {
        return match distance {
            d if d < 0.0 => 1.0,
            0.0 => 0.5,
            _ => 0.0,
        };
    }
    1.0 - normal_cdf(distance / width * Z90)
}

/// Standard normal distribution function (Abramowitz and Stegun, 7.1.26; error below 1e-7 of the tail's scale).
fn normal_cdf(z: f32) -> f32 {
    let x = f64::from(z.abs()) / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * poly * (-x * x).exp();
    if z < 0.0 {
        tail as f32
    } else {
        (1.0 - tail) as f32
    }
}

/// Risks of one server's forecast: for every metric with a threshold, per severity, the probability to cross it within 30 min, 1 h, 4 h
/// and 8 h, and the start of the first bucket in which crossing is more likely than not. `profile` is the server's.
#[must_use]
pub fn risks(
    contract: &Contract,
    profile: usize,
    forecast: &Forecast,
    issued_at_ms: i64,
) -> Vec<Risk> {
    let metrics = contract.num_metrics();
    let step_ms = i64::from(contract.step_seconds) * 1000;
    let mut found = Vec::new();
    if metrics == 0 || step_ms <= 0 {
        return found;
    }
    for (index, metric) in contract.metrics.iter().enumerate() {
        let (warning, critical) = contract.thresholds(index, profile);
        for (severity, threshold) in [("warning", warning), ("critical", critical)] {
            let Some(threshold) = threshold else { continue };
            let steps = || {
                let rows = forecast
                    .p10
                    .chunks_exact(metrics)
                    .zip(forecast.p50.chunks_exact(metrics));
                rows.zip(forecast.p90.chunks_exact(metrics))
                    .map(|((p10, p50), p90)| {
                        let p = above(p10[index], p50[index], p90[index], threshold);
                        if metric.lower_is_worse { 1.0 - p } else { p }
                    })
            };
            let within = |minutes: i64| {
                let count = usize::try_from(minutes * 60_000 / step_ms).unwrap_or(0);
                steps().take(count).fold(0.0_f32, f32::max)
            };
            let p_8h = within(480);
            if p_8h < SMALLEST {
                continue;
            }
            let first = steps()
                .position(|p| p >= 0.5)
                .and_then(|step| i64::try_from(step).ok());
            found.push(Risk {
                metric: metric.name.clone(),
                severity: severity.to_owned(),
                threshold,
                p_30min: within(30),
                p_1h: within(60),
                p_4h: within(240),
                p_8h,
                crosses_at: first.map(|step| issued_at_ms.saturating_add(step * step_ms)),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn quantiles_give_back_their_own_probabilities() {
        for (threshold, expected) in [
            (10.0, 0.9),
            (30.0, 0.5),
            (40.0, 0.1),
            (30.0 + 10.0 / Z90, 0.158_655),
        ] {
            assert!(
                (above(10.0, 30.0, 40.0, threshold) - expected).abs() < 1e-5,
                "{threshold}"
            );
        }
        assert_eq!(above(5.0, 5.0, 5.0, 4.0), 1.0);
        assert_eq!(above(5.0, 5.0, 5.0, 5.0), 0.5);
        assert_eq!(above(5.0, 5.0, 5.0, 6.0), 0.0);
    }

    #[test]
    fn a_rising_metric_crosses_when_its_median_does() {
        let contract = Contract::shipped("linborg").unwrap();
        let m = contract.num_metrics();
        let cpu = contract.metric_index("cpu_user_pct").unwrap();
        let idle = contract.metric_index("cpu_idle_pct").unwrap();
        let mut forecast = Forecast {
            p10: vec![50.0; 96 * m],
            p50: vec![50.0; 96 * m],
            p90: vec![50.0; 96 * m],
        };
        for (metric, worse) in [(cpu, false), (idle, true)] {
            for step in 0..96 {
                let at = step * m + metric;
                let rise = step as f32;
                forecast.p50[at] = if worse { 50.0 - rise } else { 50.0 + rise };
                forecast.p10[at] = forecast.p50[at] - 5.0;
                forecast.p90[at] = forecast.p50[at] + 5.0;
            }
        }
        let found = risks(&contract, contract.default_profile, &forecast, 1_000);
        let of = |metric: &str, severity: &str| {
            found
                .iter()
                .find(|r| r.metric == metric && r.severity == severity)
                .unwrap()
                .clone()
        };
        // 50 + step reaches 85 at step 35.
        let warning = of("cpu_user_pct", "warning");
        assert_eq!(warning.crosses_at, Some(1_000 + 35 * 300_000));
        assert!(warning.p_30min < 1e-6 && warning.p_1h < warning.p_4h && warning.p_8h > 0.999);
        // 50 − step falls to 15 at step 35, and lower is worse.
        assert_eq!(
            of("cpu_idle_pct", "warning").crosses_at,
            Some(1_000 + 35 * 300_000)
        );
        assert!(
            found
                .iter()
                .all(|r| r.metric != "uptime_days" && r.metric != "net_in_mb_s")
        );
    }
}
