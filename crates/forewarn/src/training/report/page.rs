//! The page around the drawings.

use std::fmt::Write as _;

use tft::eval::{Interval, Pooled};

use super::svg::escape;
use super::{ModelReport, charts};

/// No address at all may be fetched; the style stands in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--line:#d1d9e0;--model:#0969da;--band:#0969da33;--actual:#1b1f24;--other:#bc4c00}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;--line:#3d444d;--model:#4493f8;--band:#4493f840;--actual:#e6edf3;--other:#db6d28}}
body{margin:0 auto;max-width:60rem;padding:1.5rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}
p.note,figcaption,dt{color:var(--soft)}
ul.claims li:first-child{font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th:first-child,td:first-child,ul+.wide :is(th,td){text-align:left}
figure{margin:1rem 0}svg{width:100%;max-width:48rem;height:auto}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}
path{fill:none;stroke-width:1.5}path.grid{stroke:var(--line);stroke-width:1}path.nominal{stroke:var(--soft);stroke-dasharray:4 3;stroke-width:1}
path.model{stroke:var(--model);stroke-width:2}path.train{stroke:var(--other)}path.actual{stroke:var(--actual)}polygon.band{fill:var(--band)}
circle.model,circle.mid,rect.bar{fill:var(--model)}circle.train,circle.high{fill:var(--other)}circle.actual{fill:var(--actual)}circle.low{fill:var(--soft)}
";

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
    let title = escape(&format!("Model {}", report.version));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n{}</body></html>\n",
        sections.concat()
    )
}

fn section(title: &str, content: &str) -> String {
    format!("<section><h2>{title}</h2>{content}</section>\n")
}

fn figure(title: &str, drawing: &str, caption: &str) -> String {
    let content = format!("<figure>{drawing}<figcaption>{caption}</figcaption></figure>");
    section(title, &content)
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

fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
    for name in header {
        let _ = write!(html, "<th>{}</th>", escape(name));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            let _ = write!(html, "<td>{}</td>", escape(cell));
        }
        html.push_str("</tr>");
    }
    html + "</tbody></table></div>"
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"))
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
            shown(m.mase),
            with_interval(m.coverage, sure.and_then(|of| of.coverage)),
            shown(m.coverage_strict),
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
        "MASE",
        "Coverage",
        "strict",
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
    let row = |name: String, pooled: &Pooled| {
        let figures = [
            pooled.wql_ratio_best,
            pooled.per_server,
            pooled.mase,
            pooled.coverage,
            pooled.coverage_strict,
        ];
        std::iter::once(name).chain(figures.map(shown)).collect()
    };
    let horizons = report
        .report
        .horizons
        .iter()
        .map(|of| row(format!("up to {} min", of.minutes), &of.pooled));
    let profiles = report
        .report
        .profiles
        .iter()
        .map(|(name, of)| row(format!("{name} ({} servers)", of.servers), &of.pooled));
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
        let _ = write!(
            content,
            "<figure>{}<figcaption>{}</figcaption></figure>",
            charts::fan(fan),
            escape(&caption)
        );
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
    let mut list = String::from("<dl>");
    for (name, value) in facts {
        let _ = write!(list, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    section("Training", &(list + "</dl>"))
}
