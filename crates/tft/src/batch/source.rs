//! Where the steps of a window come from: columns in training, the rows of a request in serving.

use crate::data::{Columns, Context};

/// Where the steps of one window are read from.
pub(crate) enum Source<'a> {
    /// `context` ends before step `issue` of the columns; the horizon follows, as far as it is there.
    Columns { columns: &'a Columns, issue: usize },
    /// The rows of a request.
    Rows(&'a Context),
}

impl Source<'_> {
    /// Fills `out` (context, then horizon if it is that long) with one metric; what is not there is NaN.
    pub(super) fn fill(&self, metric: usize, num_metrics: usize, context: usize, out: &mut [f32]) {
        out.fill(f32::NAN);
        match self {
            Source::Columns { columns, issue } => {
                let values = columns.metric(metric);
                let first = issue.saturating_sub(context);
                let pad = context - (issue - first);
                let last = (issue + out.len() - context).min(values.len());
                if first < last {
                    out[pad..pad + last - first].copy_from_slice(&values[first..last]);
                }
            }
            Source::Rows(request) => {
                let rows = request.values.len() / num_metrics;
                let used = rows.min(context);
                let pad = context - used;
                let tail = &request.values[(rows - used) * num_metrics..];
                for (slot, row) in out[pad..context]
                    .iter_mut()
                    .zip(tail.chunks_exact(num_metrics))
                {
                    let value = row[metric];
                    *slot = if value.is_finite() { value } else { f32::NAN };
                }
            }
        }
    }

    /// State at context step `step`, if it is known.
    pub(super) fn state(&self, step: usize, context: usize) -> Option<usize> {
        let (states, at) = match self {
            Source::Columns { columns, issue } => (
                columns.states.as_ref()?,
                (issue + step).checked_sub(context)?,
            ),
            Source::Rows(request) => {
                let states = request.states.as_ref()?;
                (states, (states.len() + step).checked_sub(context)?)
            }
        };
        states.get(at).map(|&s| usize::from(s))
    }

    pub(super) fn profile(&self) -> usize {
        match self {
            Source::Columns { columns, .. } => columns.profile,
            Source::Rows(request) => request.profile,
        }
    }

    pub(super) fn id(&self) -> u32 {
        match self {
            Source::Columns { columns, .. } => columns.id,
            Source::Rows(request) => contract::server_id(&request.server),
        }
    }

    pub(super) fn end_ms(&self, step_ms: i64) -> i64 {
        match self {
            Source::Columns { columns, issue } => columns
                .start_ms
                .saturating_add(step_ms.saturating_mul(*issue as i64)),
            Source::Rows(request) => request.end_ms,
        }
    }
}
