//! Drawings with a row for each name.

use std::fmt::Write as _;

use super::svg::{Anchor, Frame, text};

const WIDTH: f64 = 640.0;
/// Height of a row.
const ROW: f64 = 22.0;

/// A frame with so many rows; `names` is the room for names at the left, `bottom` that below.
pub(crate) fn rows(count: usize, names: f64, bottom: f64, x: [f64; 2]) -> Frame {
    Frame {
        width: WIDTH,
        height: count as f64 * ROW + bottom,
        margin: [names, 0.0, 20.0, bottom],
        x,
        y: [0.0, 1.0],
    }
}

/// The middle of a row.
pub(crate) fn centre(row: usize) -> f64 {
    (row as f64 + 0.5) * ROW
}

/// The name of a row.
pub(crate) fn name(frame: &Frame, row: usize, name: &str) -> String {
    let [names, ..] = frame.margin;
    text(names - 10.0, centre(row) + 4.0, Anchor::End, name)
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) name: String,
    /// From 0 on; what is below is drawn as 0.
    pub(crate) length: f64,
    /// Stands behind the bar.
    pub(crate) note: String,
}

/// Bars under one another, with a dashed line at `mark`.
pub(crate) fn bars(label: &str, names: f64, bars: &[Bar], mark: Option<f64>) -> String {
    let lengths = bars.iter().map(|bar| bar.length);
    let finite = lengths.chain(mark).filter(|length| length.is_finite());
    let most = finite.fold(0.0, f64::max);
    let frame = rows(bars.len(), names, 8.0, [0.0, most * 1.2]);
    let mut content = String::new();
    if let Some(mark) = mark {
        let (x, end) = (frame.x(mark), frame.height - 4.0);
        let _ = write!(content, r#"<path class="nominal" d="M{x:.1} 0V{end:.1}"/>"#);
    }
    for (row, bar) in bars.iter().enumerate() {
        let length = if bar.length.is_finite() {
            bar.length.max(0.0)
        } else {
            0.0
        };
        let (y, from, to) = (centre(row), frame.x(0.0), frame.x(length));
        content.push_str(&name(&frame, row, &bar.name));
        let _ = write!(
            content,
            r#"<rect class="bar" x="{from:.1}" y="{:.1}" width="{:.1}" height="12"/>"#,
            y - 6.0,
            (to - from).max(0.0)
        );
        content.push_str(&text(to + 6.0, y + 4.0, Anchor::Start, &bar.note));
    }
    frame.svg(label, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, length: f64) -> Bar {
        Bar {
            name: name.to_owned(),
            length,
            note: format!("{length}"),
        }
    }

    #[test]
    fn bars_lie_where_their_lengths_say() {
        // 100 px of names, 20 at the right: 520 for 0 to 1.2 · 2.
        let svg = bars("b", 100.0, &[bar("<a>", 2.0), bar("b", -1.0)], Some(1.0));
        assert!(svg.contains(r#"x="100.0" y="5.0" width="433.3""#), "{svg}");
        assert!(svg.contains(r#"x="100.0" y="27.0" width="0.0""#), "{svg}");
        assert!(svg.contains(r#"d="M316.7 0V48.0""#), "{svg}");
        assert!(svg.contains("&lt;a&gt;") && !svg.contains("<a>"), "{svg}");
    }

    #[test]
    fn nothing_and_no_number_are_drawn_too() {
        assert!(bars("b", 100.0, &[], None).starts_with("<svg"));
        let svg = bars("b", 100.0, &[bar("x", f64::NAN), bar("y", 0.0)], None);
        assert!(!svg.contains(r#"="NaN"#) && !svg.contains("inf"), "{svg}");
    }
}
