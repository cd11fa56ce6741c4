//! Which forecasts are judged.

use crate::data::Columns;
use crate::domain::Domain;

/// Rows with a value that a context needs, as in serving.
pub const MIN_CONTEXT_ROWS: usize = 12;

/// Bounds of the forecast steps, and the distance of issue times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// No forecast step starts before it, ms; without it the data's start.
    pub from_ms: Option<i64>,
    /// All forecast steps end by it, ms; without it the data's end.
    pub to_ms: Option<i64>,
    /// Steps between two issue times of a server.
    pub stride: usize,
}

/// Chosen windows `(series, issue step)`: the context ends before the issue step, the horizon starts with it.
pub(crate) fn choose(columns: &[Columns], domain: &Domain, range: &Range) -> Vec<(usize, usize)> {
    let step = domain.step_ms.max(1);
    let end = |c: &Columns| {
        c.start_ms
            .saturating_add(step.saturating_mul(c.steps as i64))
    };
    let to = range
        .to_ms
        .or_else(|| columns.iter().map(end).max())
        .unwrap_or(i64::MAX);
    let mut chosen = Vec::new();
    for (series, c) in columns.iter().enumerate() {
        let filled = Filled::of(c, domain.num_metrics());
        let first = range
            .from_ms
            .map_or(0, |from| steps_up_to(from.saturating_sub(c.start_ms), step));
        // The last issue step whose horizon ends by `to`; steps past the series' own end are absent, not forbidden.
        let last = to.saturating_sub(c.start_ms).div_euclid(step) - domain.horizon as i64;
        let Ok(last) = usize::try_from(last) else {
            continue;
        };
        let has_context = |issue: usize| {
            filled.count(issue.saturating_sub(domain.context), issue) >= MIN_CONTEXT_ROWS
        };
        let reach = last.min(c.steps.saturating_sub(1));
        let is_possible =
            |issue: usize| has_context(issue) && filled.count(issue, issue + domain.horizon) > 0;
        let Some(start) = (first..=reach).find(|&issue| is_possible(issue)) else {
            continue;
        };
        let grid = (start..=reach).step_by(range.stride.max(1));
        chosen.extend(
            grid.filter(|&issue| is_possible(issue))
                .map(|issue| (series, issue)),
        );
    }
    chosen
}

/// Steps of `step` ms until at least `distance` ms are passed.
fn steps_up_to(distance: i64, step: i64) -> usize {
    let whole = distance.div_euclid(step) + i64::from(distance.rem_euclid(step) > 0);
    usize::try_from(whole).unwrap_or(0)
}

/// How many rows up to each step have a value.
pub(crate) struct Filled(Vec<u32>);

impl Filled {
    pub(crate) fn of(columns: &Columns, metrics: usize) -> Self {
        let mut present = vec![false; columns.steps];
        for metric in 0..metrics {
            for (slot, value) in present.iter_mut().zip(columns.metric(metric)) {
                *slot |= !value.is_nan();
            }
        }
        let mut sums = Vec::with_capacity(columns.steps + 1);
        let mut sum = 0;
        sums.push(0);
        for one in present {
            sum += u32::from(one);
            sums.push(sum);
        }
        Self(sums)
    }

    /// Rows with a value in `from..to`; what lies beyond the end is absent.
    pub(crate) fn count(&self, from: usize, to: usize) -> usize {
        let end = self.0.len() - 1;
        (self.0[to.min(end)] - self.0[from.min(end)]) as usize
    }

    /// First and last row with a value in `from..to`.
    pub(crate) fn ends(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        let rows = self
            .0
            .windows(2)
            .enumerate()
            .take(to)
            .skip(from)
            .filter(|(_, pair)| pair[1] > pair[0]);
        let mut steps = rows.map(|(step, _)| step);
        let first = steps.next()?;
        Some((first, steps.next_back().unwrap_or(first)))
    }
}
