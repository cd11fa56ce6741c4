//! Pages for people: one file each, which needs nothing but itself. No script, no font, no address.
//!
//! Every name and number that comes from data goes through [`escape`]: [`table`], [`page`]'s title and the texts of [`svg`] do so
//! themselves, what is called `content` is markup already.

pub(crate) mod bars;
pub(crate) mod svg;

use std::fmt::Write as _;

pub(crate) use svg::escape;

/// No address at all may be fetched; the style stands in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--line:#d1d9e0;--model:#0969da;--band:#0969da33;--actual:#1b1f24;--other:#bc4c00;--bad:#cf222e;--alarm:#cf222e22}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;--line:#3d444d;--model:#4493f8;--band:#4493f840;--actual:#e6edf3;--other:#db6d28;--bad:#f85149;--alarm:#f8514933}}
body{margin:0 auto;max-width:60rem;padding:1.5rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}
p.note,figcaption,dt{color:var(--soft)}p.words{overflow-wrap:anywhere}
ul.claims li:first-child{font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th:first-child,td:first-child,ul+.wide :is(th,td),.words :is(th,td){text-align:left}.words td:last-child{white-space:normal}
figure{margin:1rem 0}svg{width:100%;max-width:48rem;height:auto}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}
path{fill:none;stroke-width:1.5}path.grid{stroke:var(--line);stroke-width:1}path.nominal{stroke:var(--soft);stroke-dasharray:4 3;stroke-width:1}
path.model{stroke:var(--model);stroke-width:2}path.train,path.warning{stroke:var(--other)}path.actual{stroke:var(--actual)}polygon.band{fill:var(--band)}
path.raw{stroke:var(--soft);stroke-width:1}path.limit{stroke:var(--bad)}path.warning,path.limit{stroke-dasharray:6 3;stroke-width:1}rect.alarm{fill:var(--alarm)}
rect.over{fill:var(--bad)}circle.model,circle.mid,rect.bar{fill:var(--model)}circle.train,circle.high{fill:var(--other)}circle.actual{fill:var(--actual)}circle.low,circle.raw{fill:var(--soft)}
";

/// A whole page; `content` is its sections.
pub(crate) fn page(title: &str, content: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/><title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n{content}</body></html>\n"
    )
}

/// A part of a page.
pub(crate) fn section(title: &str, content: &str) -> String {
    format!("<section><h2>{title}</h2>{content}</section>\n")
}

/// A drawing with what it says.
pub(crate) fn drawn(drawing: &str, caption: &str) -> String {
    format!("<figure>{drawing}<figcaption>{caption}</figcaption></figure>")
}

/// A part that is a drawing.
pub(crate) fn figure(title: &str, drawing: &str, caption: &str) -> String {
    section(title, &drawn(drawing, caption))
}

/// Rows under a header.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
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

/// Names and what they stand for.
pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut list = String::from("<dl>");
    for (name, value) in facts {
        let _ = write!(list, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    list + "</dl>"
}

/// Three digits, a dash where there is nothing.
pub(crate) fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"))
}
