//! The page around the drawings.

use tft::eval::{Interval, Intervals, Pooled};

use super::{ModelReport, charts};
use crate::html::{self, escape, figure, section, shown, table};

/// What may be claimed after how many epochs, whatever the model.
const RULES: [(&str, &str); 4] = [
    ("1 to 9 epochs", "a working pipeline, no accuracy"),
    (
        "10 to 19 epochs",
        "the measured validation loss, no accuracy",
    ),
    (
        "20 epochs, not converged",
        "the measured validation loss, no accuracy",
    ),
    ("20 epochs, converged", "the measured accuracy, and no more"),
];

/// The page of a report.
pub(in super::super) fn page(report: &ModelReport<'_>) -> String {
    let sections = [
        claims(report),
        figure(
            "Loss",
            &charts::losses(report.training.history),
            "Blue: validation, relative to the quantiles of the last 24 hours: below 1 is better than they are. Orange: training; it is measured \
             on other windows, with dropout: its course can be compared, not its height.",
        ),
        metrics(report),
        parts(report),
        figure(
            "Calibration",
            &charts::calibration(&report.report.metrics),
            "Share of the actual values below P10 (grey), P50 (blue) and P90 (orange), and where it should be (dashed). A value that equals a \
             quantile counts half: metrics that stand still half of the time cannot do better.",
        ),
        figure(
            "What the forecasts look at",
            &charts::weights(&report.variables),
            "Mean weight of each input over the contexts of the servers below.",
        ),
        samples(report),
        facts(report),
    ];
    html::page(&format!("Model {}", report.version), &sections.concat())
}

fn claims(report: &ModelReport<'_>) -> String {
    let said: String = report
        .claims
        .iter()
        .map(|claim| format!("<li>{}</li>", escape(claim)))
        .collect();
    let rules: Vec<Vec<String>> = RULES
        .iter()
        .map(|(after, claim)| vec![(*after).to_owned(), (*claim).to_owned()])
        .collect();
    let rules = table(&["After", "may be claimed"], &rules);
    section(
        "What may be claimed",
        &format!("<ul class=\"claims\">{said}</ul>{rules}"),
    )
}

fn with_interval(value: Option<f64>, interval: Option<Interval>) -> String {
    match interval {
        Some([low, high]) => format!("{} [{low:.3}, {high:.3}]", shown(value)),
        None => shown(value),
    }
}

fn metrics(report: &ModelReport<'_>) -> String {
    let intervals = report.report.intervals.as_ref();
    let row = |(at, (name, m)): (usize, &(String, tft::eval::MetricReport))| {
        let sure = intervals
            .and_then(|of| of.metrics.get(at))
            .map(|(_, of)| of);
        vec![
            name.clone(),
            shown(m.wql),
            with_interval(m.ratio_best(), sure.and_then(|of| of.wql_ratio_best)),
            shown(m.naive.last),
            shown(m.naive.yesterday),
            shown(m.naive.quantiles24h),
            shown(m.mae),
            shown(m.mse),
            shown(m.mase),
            with_interval(m.coverage, sure.and_then(|of| of.coverage)),
            shown(m.coverage_strict),
            shown(m.width),
        ]
    };
    let rows: Vec<Vec<String>> = report.report.metrics.iter().enumerate().map(row).collect();
    let header = [
        "Metric",
        "wQL",
        "/ best naive",
        "last value",
        "yesterday",
        "24 h quantiles",
        "MAE",
        "MSE",
        "MASE",
        "Coverage",
        "strict",
        "Width",
    ];
    let note = match intervals {
        Some(of) => format!(
            "In brackets: 95 % intervals by resampling the {} servers.",
            of.servers
        ),
        None => "No intervals: they need five servers.".to_owned(),
    };
    let note = format!(
        "<p class=\"note\">On {} validation forecasts. Last value, yesterday, 24 h quantiles: wQL of the naive forecasts. {note}</p>",
        report.report.windows
    );
    section("Per metric", &(table(&header, &rows) + &note))
}

fn parts(report: &ModelReport<'_>) -> String {
    let row = |name: String, pooled: &Pooled, intervals: Option<&Intervals>| {
        let sure = intervals.map(|of| &of.pooled);
        vec![
            name,
            with_interval(pooled.wql_ratio_best, sure.and_then(|p| p.wql_ratio_best)),
            with_interval(pooled.per_server, sure.and_then(|p| p.per_server)),
            shown(pooled.mase),
            with_interval(pooled.coverage, sure.and_then(|p| p.coverage)),
            shown(pooled.coverage_strict),
        ]
    };
    let horizons = report.report.horizons.iter().map(|of| {
        let name = format!("up to {} min", of.minutes);
        row(name, &of.pooled, of.intervals.as_ref())
    });
    let profiles = report.report.profiles.iter().map(|(name, of)| {
        let name = format!("{name} ({} servers)", of.servers);
        row(name, &of.pooled, of.intervals.as_ref())
    });
    let rows: Vec<Vec<String>> = horizons.chain(profiles).collect();
    let header = [
        "Mean over metrics",
        "/ best naive",
        "per server",
        "MASE",
        "Coverage",
        "strict",
    ];
    section("Per horizon and profile", &table(&header, &rows))
}

fn samples(report: &ModelReport<'_>) -> String {
    if report.samples.is_empty() {
        let none = "<p class=\"note\">No server has a whole context and horizon in the validation part.</p>";
        return section("Sample forecasts", none);
    }
    let mut content = String::new();
    for fan in &report.samples {
        let caption = format!(
            "{} ({}), {} in {}, issued {}",
            fan.server, fan.profile, fan.metric, fan.unit, fan.issued_at
        );
        content.push_str(&html::drawn(&charts::fan(fan), &escape(&caption)));
    }
    let note = "<p class=\"note\">From the validation part. Black or white: what was measured. Blue: P50, in the band P10–P90.</p>";
    section("Sample forecasts", &(note.to_owned() + &content))
}

fn facts(report: &ModelReport<'_>) -> String {
    let training = &report.training;
    let mut facts = vec![
        ("Trained at", report.trained_at.clone()),
        ("Contract", report.contract.to_owned()),
        (
            "Data",
            format!(
                "{} servers, {:.0} h",
                training.num_servers, training.data_hours
            ),
        ),
        ("Parameters", training.model_parameters.to_string()),
        ("Seconds", format!("{:.0}", training.seconds)),
        ("Seed", training.seed.to_string()),
    ];
    facts.extend(training.command.map(|by| ("Command", by.to_owned())));
    facts.extend(
        training
            .simulated_by
            .iter()
            .map(|by| ("Simulated by", by.clone())),
    );
    section("Training", &html::facts(facts))
}
