//! The figures of `forewarn eval` as tables.

use anyhow::Result;
use tft::eval::{Interval, Intervals, Pooled, Report};

use crate::commands::output;

/// Prints all figures: per metric, per horizon, per profile.
pub(super) fn print(report: &Report) -> Result<()> {
    let (header, rows) = metrics(report);
    output::table(&header, &rows)?;
    let (header, rows) = parts(report);
    output::table(&header, &rows)?;
    let sure = report.intervals.as_ref().map(|of| &of.pooled);
    output::line(&format!(
        "{} forecasts; mean over metrics: wQL / best naive {}, per server {}, coverage of P10–P90 {} (nominal 0.8)",
        report.windows,
        with_interval(
            report.pooled.wql_ratio_best,
            sure.and_then(|p| p.wql_ratio_best)
        ),
        with_interval(report.pooled.per_server, sure.and_then(|p| p.per_server)),
        with_interval(report.pooled.coverage, sure.and_then(|p| p.coverage)),
    ))?;
    output::line(&match &report.intervals {
        Some(of) => format!(
            "in brackets: 95 % intervals, {} resamples of {} servers",
            of.resamples, of.servers
        ),
        None => "no intervals: they need five servers".to_owned(),
    })
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"))
}

fn with_interval(value: Option<f64>, interval: Option<Interval>) -> String {
    match interval {
        Some([low, high]) => format!("{} [{low:.3}, {high:.3}]", figure(value)),
        None => figure(value),
    }
}

fn metrics(report: &Report) -> ([&'static str; 12], Vec<Vec<String>>) {
    let header = [
        "METRIC",
        "WQL",
        "/BEST NAIVE",
        "MAE",
        "MSE",
        "MASE",
        "COVERAGE",
        "STRICT",
        "WIDTH",
        "LAST",
        "YESTERDAY",
        "24H QUANTILES",
    ];
    let row = |(at, (name, metric)): (usize, &(String, tft::eval::MetricReport))| {
        let sure = report.intervals.as_ref().and_then(|of| of.metrics.get(at));
        let ratio = sure.and_then(|(_, of)| of.wql_ratio_best);
        let naive = &metric.naive;
        vec![
            name.clone(),
            figure(metric.wql),
            with_interval(metric.ratio_best(), ratio),
            figure(metric.mae),
            figure(metric.mse),
            figure(metric.mase),
            figure(metric.coverage),
            figure(metric.coverage_strict),
            figure(metric.width),
            figure(naive.last),
            figure(naive.yesterday),
            figure(naive.quantiles24h),
        ]
    };
    (header, report.metrics.iter().enumerate().map(row).collect())
}

fn parts(report: &Report) -> ([&'static str; 7], Vec<Vec<String>>) {
    let header = [
        "MEAN OVER METRICS",
        "/BEST NAIVE",
        "/YESTERDAY",
        "PER SERVER",
        "MASE",
        "COVERAGE",
        "STRICT",
    ];
    let row = |name: String, pooled: &Pooled, intervals: Option<&Intervals>| {
        let sure = intervals.map(|of| &of.pooled);
        vec![
            name,
            with_interval(pooled.wql_ratio_best, sure.and_then(|p| p.wql_ratio_best)),
            figure(pooled.wql_ratio_yesterday),
            with_interval(pooled.per_server, sure.and_then(|p| p.per_server)),
            figure(pooled.mase),
            with_interval(pooled.coverage, sure.and_then(|p| p.coverage)),
            figure(pooled.coverage_strict),
        ]
    };
    let horizon = |minutes: u32| match minutes % 60 {
        0 => format!("up to {} h", minutes / 60),
        _ => format!("up to {minutes} min"),
    };
    let horizons = report
        .horizons
        .iter()
        .map(|of| row(horizon(of.minutes), &of.pooled, of.intervals.as_ref()));
    let profiles = report.profiles.iter().map(|(name, of)| {
        let name = format!("{name} ({} servers)", of.servers);
        row(name, &of.pooled, of.intervals.as_ref())
    });
    (header, horizons.chain(profiles).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_figure_is_a_dash_and_an_absent_interval_nothing() {
        assert_eq!(with_interval(None, None), "–");
        assert_eq!(with_interval(Some(0.7896), None), "0.790");
        let interval = Some([0.71, 0.8899]);
        assert_eq!(with_interval(Some(0.79), interval), "0.790 [0.710, 0.890]");
    }
}
