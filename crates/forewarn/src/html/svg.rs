//! The parts of a drawing, as text. Numbers that are not finite are left out, names are escaped.

use std::fmt::Write as _;

/// A drawing's size and the values that its corners stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Room around the plot: left, top, right, bottom.
    pub(crate) margin: [f64; 4],
    pub(crate) x: [f64; 2],
    pub(crate) y: [f64; 2],
}

impl Frame {
    pub(crate) fn x(&self, value: f64) -> f64 {
        let [left, _, right, _] = self.margin;
        left + (self.width - left - right) * share(value, self.x)
    }

    pub(crate) fn y(&self, value: f64) -> f64 {
        let [_, top, _, bottom] = self.margin;
        self.height - bottom - (self.height - top - bottom) * share(value, self.y)
    }

    /// The whole drawing; `label` says what it shows to who cannot see it.
    pub(crate) fn svg(&self, label: &str, content: &str) -> String {
        format!(
            r#"<svg viewBox="0 0 {:.0} {:.0}" role="img" aria-label="{}">{content}</svg>"#,
            self.width,
            self.height,
            escape(label),
        )
    }
}

/// Where `value` lies between two others; the middle where these are the same.
fn share(value: f64, [from, to]: [f64; 2]) -> f64 {
    if to > from {
        (value - from) / (to - from)
    } else {
        0.5
    }
}

/// Text that is safe in content and in quoted attributes. Control characters, which no XML may hold, are left out.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

/// The range of the finite values with a little room; 0 to 1 of none.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let values = values.filter(|v| v.is_finite());
    let found = values.fold(None, |range: Option<[f64; 2]>, v| {
        Some(range.map_or([v, v], |[low, high]| [low.min(v), high.max(v)]))
    });
    match found {
        Some([low, high]) if high > low => [low, high + 0.05 * (high - low)],
        Some([low, _]) => [low - 0.5, low + 0.5],
        None => [0.0, 1.0],
    }
}

/// A line through the points; one that is absent breaks it, and one that stands alone is a dot.
pub(crate) fn line(frame: &Frame, class: &str, points: &[(f64, Option<f64>)]) -> String {
    let (mut path, mut dots) = (String::new(), String::new());
    for run in points.split(|(_, y)| !y.is_some_and(f64::is_finite)) {
        for (at, (x, y)) in run.iter().enumerate() {
            let (x, y) = (frame.x(*x), frame.y(y.unwrap_or_default()));
            let command = if at == 0 { 'M' } else { 'L' };
            let _ = match run.len() {
                1 => write!(
                    dots,
                    r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.5"/>"#
                ),
                _ => write!(path, "{command}{x:.1} {y:.1}"),
            };
        }
    }
    if !path.is_empty() {
        path = format!(r#"<path class="{class}" d="{path}"/>"#);
    }
    path + &dots
}

/// The area between two lines over the same places.
pub(crate) fn band(frame: &Frame, class: &str, x: &[f64], low: &[f32], high: &[f32]) -> String {
    let point = |(x, y): (&f64, &f32)| format!("{:.1},{:.1}", frame.x(*x), frame.y((*y).into()));
    let up = x.iter().zip(high).map(point);
    let down = x.iter().zip(low).rev().map(point);
    let points: Vec<String> = up.chain(down).collect();
    format!(
        r#"<polygon class="{class}" points="{}"/>"#,
        points.join(" ")
    )
}

/// Which end of a text stands at its place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

pub(crate) fn text(x: f64, y: f64, anchor: Anchor, content: &str) -> String {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    format!(
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escape(content)
    )
}

/// Horizontal lines at round values, each with its number.
pub(crate) fn grid(frame: &Frame) -> String {
    let [left, _, right, _] = frame.margin;
    let mut lines = String::new();
    for value in ticks(frame.y) {
        let y = frame.y(value);
        let _ = write!(
            lines,
            r#"<path class="grid" d="M{left:.1} {y:.1}H{:.1}"/>"#,
            frame.width - right
        );
        lines.push_str(&text(left - 6.0, y + 4.0, Anchor::End, &number(value)));
    }
    lines
}

/// Some three to six round values in a range (1, 2 or 5 times a power of ten).
fn ticks([from, to]: [f64; 2]) -> Vec<f64> {
    let rough = (to - from) / 4.0;
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&step| step >= rough)
        .unwrap_or(rough);
    let first = (from / step).ceil();
    (0..)
        .map(|n| (first + f64::from(n)) * step)
        .take_while(|&value| value <= to)
        .take(10)
        .collect()
}

/// A number as a reader wants it: three or four digits that matter.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 1_000.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        0.0 => 0,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        width: 120.0,
        height: 70.0,
        margin: [10.0; 4],
        x: [0.0, 10.0],
        y: [0.0, 5.0],
    };

    #[test]
    fn values_lie_where_the_frame_says() {
        assert_eq!((FRAME.x(0.0), FRAME.x(10.0)), (10.0, 110.0));
        assert_eq!((FRAME.y(0.0), FRAME.y(5.0)), (60.0, 10.0));
        let flat = Frame {
            y: [3.0, 3.0],
            ..FRAME
        };
        assert_eq!(flat.y(3.0), 35.0);
    }

    #[test]
    fn names_cannot_leave_their_place() {
        assert_eq!(
            escape("<b a=\"x\" c='y'>&\u{1}"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;"
        );
        let svg = FRAME.svg("\"/><script>", "");
        assert!(!svg.contains("<script>"), "{svg}");
    }

    #[test]
    fn lines_break_at_gaps() {
        let points = [
            (0.0, Some(0.0)),
            (1.0, Some(5.0)),
            (2.0, None),
            (3.0, Some(f64::NAN)),
            (10.0, Some(5.0)),
        ];
        assert_eq!(
            line(&FRAME, "a", &points),
            r#"<path class="a" d="M10.0 60.0L20.0 10.0"/><circle class="a" cx="110.0" cy="10.0" r="2.5"/>"#
        );
        assert_eq!(line(&FRAME, "a", &[]), "");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks([0.0, 100.0]), [0.0, 50.0, 100.0]);
        assert_eq!(ticks([0.0, 4.0]), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(ticks([-3.0, 5.0]), [-2.0, 0.0, 2.0, 4.0]);
        assert!(ticks([1.0, 1.0]).is_empty() && ticks([0.0, f64::NAN]).is_empty());
        assert_eq!(range([f64::NAN, 2.0, 4.0].into_iter()), [2.0, 4.1]);
        assert_eq!(range([2.0].into_iter()), [1.5, 2.5]);
        assert_eq!(range(std::iter::empty()), [0.0, 1.0]);
    }

    #[test]
    fn numbers_are_short() {
        let short: Vec<String> = [0.0, 0.5, 0.012_34, 12.0, 1234.5, -3.25]
            .map(number)
            .to_vec();
        assert_eq!(short, ["0", "0.5", "0.0123", "12", "1234", "-3.25"]);
    }
}
