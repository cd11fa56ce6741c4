//! Which windows train and which validate.

use super::TrainError;
use super::config::TrainConfig;
use crate::data::Columns;
use crate::domain::Domain;
use crate::eval::{Filled, MIN_CONTEXT_ROWS};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A window: series and issue step. The context ends before the issue step, the horizon starts with it.
pub(crate) type Window = (usize, usize);

/// Steps between two validation windows of a server, before they are thinned.
const VALIDATION_STRIDE: usize = 12;

/// What validates is a day long at least, even where the weights have seen it.
const LEAST_UNSEEN_MS: i64 = 86_400_000;

/// Where the part of `from_ms..to_ms` begins that weights have not seen whose data ended at `seen_until_ms`: as far as a day is
/// left of it.
#[must_use]
pub fn unseen_from(from_ms: i64, to_ms: i64, seen_until_ms: Option<i64>) -> i64 {
    let latest = to_ms.saturating_sub(LEAST_UNSEEN_MS);
    from_ms.max(seen_until_ms.unwrap_or(i64::MIN).min(latest))
}

/// The split of a training.
pub(crate) struct Plan {
    /// Start of the data that are used, ms.
    pub(crate) from_ms: i64,
    /// Forecast steps of training windows end by it, those of validation windows start with it, ms.
    pub(crate) border_ms: i64,
    /// End of the data, ms.
    pub(crate) to_ms: i64,
    /// Windows that validate.
    pub(crate) validation: Vec<Window>,
    /// Per series: issue steps that may train, `first..last`.
    spans: Vec<(usize, usize)>,
    /// The same where nothing has to validate any more.
    whole: Vec<(usize, usize)>,
    filled: Vec<Filled>,
    /// Issue times from here on count double.
    recent_ms: i64,
    horizon: usize,
    context: usize,
}

impl Plan {
    /// Splits `columns`.
    pub(crate) fn new(
        columns: &[Columns],
        domain: &Domain,
        config: &TrainConfig,
    ) -> Result<Self, TrainError> {
        let step = domain.step_ms.max(1);
        let filled: Vec<_> = columns
            .iter()
            .map(|c| Filled::of(c, domain.num_metrics()))
            .collect();
        // Only rows with a value count: an empty series that starts in 1970 must not move the border.
        let reach = columns.iter().zip(&filled).filter_map(|(c, f)| {
            let (first, last) = f.ends(0, c.steps)?;
            let at = |row: usize| c.start_ms.saturating_add(step.saturating_mul(row as i64));
            Some((at(first), at(last + 1)))
        });
        let (earliest, to_ms) = reach
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .unwrap_or((0, 0));
        let wanted_ms = (config.days.clamp(0.0, 100_000.0) * 86_400_000.0) as i64;
        let from_ms = earliest.max(to_ms.saturating_sub(wanted_ms));
        let span = to_ms.saturating_sub(from_ms);
        let border_ms =
            to_ms.saturating_sub((span as f64 * config.validation_share.clamp(0.01, 0.5)) as i64);
        let border_ms = unseen_from(border_ms, to_ms, config.seen_until_ms);
        let mut plan = Self {
            from_ms,
            border_ms,
            to_ms,
            validation: Vec::new(),
            spans: Vec::new(),
            whole: Vec::new(),
            filled,
            recent_ms: from_ms.midpoint(border_ms),
            horizon: domain.horizon,
            context: domain.context,
        };
        plan.check_amount(columns, domain, config)?;
        let steps = |c: &Columns, at_ms: i64| {
            usize::try_from(at_ms.saturating_sub(c.start_ms).div_euclid(step)).unwrap_or(0)
        };
        let until = |at_ms: i64| {
            let span = |c: &Columns| {
                let last = (steps(c, at_ms) + 1).saturating_sub(domain.horizon);
                (steps(c, from_ms), last.min(c.steps))
            };
            columns.iter().map(span).collect()
        };
        (plan.spans, plan.whole) = (until(border_ms), until(to_ms));
        plan.validation =
            validation_windows(columns, domain, border_ms, to_ms, config.validation_windows);
        if plan.validation.is_empty() || plan.epoch(columns, step, config, 0).is_empty() {
            return Err(TrainError::TooLittle(format!(
                "no whole window to {}: rows are too sparse",
                if plan.validation.is_empty() {
                    "validate on"
                } else {
                    "train on"
                }
            )));
        }
        Ok(plan)
    }

    /// Refuses what the preset cannot learn from.
    fn check_amount(
        &self,
        columns: &[Columns],
        domain: &Domain,
        config: &TrainConfig,
    ) -> Result<(), TrainError> {
        let (preset, day) = (config.preset, domain.day());
        let needed_steps = (preset.days_needed() * day as f64) as usize;
        let (mut enough, mut rows, mut longest) = (0, 0, 0);
        for (c, filled) in columns.iter().zip(&self.filled) {
            let from =
                usize::try_from((self.from_ms - c.start_ms).div_euclid(domain.step_ms.max(1)))
                    .unwrap_or(0);
            let present = filled.count(from, c.steps);
            let span = filled
                .ends(from, c.steps)
                .map_or(0, |(first, last)| last - first + 1);
            rows += present;
            longest = longest.max(span);
            enough += usize::from(span >= needed_steps && present >= needed_steps / 2);
        }
        if enough >= preset.servers_needed() {
            return Ok(());
        }
        Err(TrainError::TooLittle(format!(
            "too little data for preset {}: {enough} of {} servers have {} days of at least half their rows \
             ({rows} rows in all, longest series {:.1} days), needed are {} servers and {} rows",
            preset.as_str(),
            columns.len(),
            preset.days_needed(),
            longest as f64 / day as f64,
            preset.servers_needed(),
            preset.rows_needed(day),
        )))
    }

    /// The windows of an epoch in random order: every recent one, and of the older half every second one at random, so that
    /// recent data weigh 2 to 1.
    pub(crate) fn epoch(
        &self,
        columns: &[Columns],
        step: i64,
        config: &TrainConfig,
        epoch: usize,
    ) -> Vec<Window> {
        self.drawn(&self.spans, columns, step, config, epoch)
    }

    /// The same, with those of the validation part among them.
    pub(crate) fn whole_epoch(
        &self,
        columns: &[Columns],
        step: i64,
        config: &TrainConfig,
        epoch: usize,
    ) -> Vec<Window> {
        self.drawn(&self.whole, columns, step, config, epoch)
    }

    fn drawn(
        &self,
        spans: &[(usize, usize)],
        columns: &[Columns],
        step: i64,
        config: &TrainConfig,
        epoch: usize,
    ) -> Vec<Window> {
        let mut rng = ChaCha8Rng::seed_from_u64(
            config
                .seed
                .wrapping_mul(1_000_003)
                .wrapping_add(epoch as u64),
        );
        let stride = config.stride.max(1);
        let mut windows = Vec::new();
        for (series, &(first, last)) in spans.iter().enumerate() {
            let phase = rng.random_range(0..stride);
            for issue in (first + phase..last).step_by(stride) {
                let at_ms = columns[series]
                    .start_ms
                    .saturating_add(step.saturating_mul(issue as i64));
                let older = at_ms < self.recent_ms;
                if usable(&self.filled[series], issue, self.context, self.horizon)
                    && !(older && rng.random::<bool>())
                {
                    windows.push((series, issue));
                }
            }
        }
        windows.shuffle(&mut rng);
        windows
    }
}

/// Whether a forecast could be made there, and judged.
fn usable(filled: &Filled, issue: usize, context: usize, horizon: usize) -> bool {
    filled.count(issue.saturating_sub(context), issue) >= MIN_CONTEXT_ROWS
        && filled.count(issue, issue + horizon) > 0
}

/// Windows whose forecast steps all lie in `from_ms..to_ms`, evenly thinned to `limit`.
pub(crate) fn validation_windows(
    columns: &[Columns],
    domain: &Domain,
    from_ms: i64,
    to_ms: i64,
    limit: usize,
) -> Vec<Window> {
    let step = domain.step_ms.max(1);
    let mut all = Vec::new();
    for (series, c) in columns.iter().enumerate() {
        let filled = Filled::of(c, domain.num_metrics());
        let behind = from_ms.saturating_sub(c.start_ms);
        let first =
            usize::try_from(behind.div_euclid(step) + i64::from(behind.rem_euclid(step) > 0))
                .unwrap_or(0);
        let last = usize::try_from(
            to_ms.saturating_sub(c.start_ms).div_euclid(step) - domain.horizon as i64,
        );
        let Ok(last) = last else { continue };
        let issues = (first..=last.min(c.steps.saturating_sub(1))).step_by(VALIDATION_STRIDE);
        let usable = issues.filter(|&issue| usable(&filled, issue, domain.context, domain.horizon));
        all.extend(usable.map(|issue| (series, issue)));
    }
    let keep = limit.min(all.len());
    (0..keep).map(|k| all[k * all.len() / keep]).collect()
}
