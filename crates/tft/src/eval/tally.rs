//! From windows to sums: each forecast beside what came after it and beside the naive ones.

use super::bootstrap;
use super::cells::Cells;
use super::horizon::Bands;
use super::naive::Naive;
use super::report::{HorizonReport, MetricReport, Pooled, ProfileReport, Report, mean, named};
use crate::data::{Columns, Forecast};
use crate::domain::Domain;

/// A window with what came after it.
pub(crate) struct Truth<'a> {
    pub(crate) series: usize,
    pub(crate) columns: &'a Columns,
    pub(crate) issue: usize,
}

/// All sums of an evaluation.
pub(crate) struct Tally<'a> {
    domain: &'a Domain,
    day: usize,
    bands: Bands,
    /// Windows of each series, and its profile.
    windows: Vec<u64>,
    profiles: Vec<usize>,
    cells: Cells,
    sorted: Vec<f32>,
    padded: Vec<f32>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(domain: &'a Domain, series: &[Columns]) -> Self {
        let bands = Bands::of(domain);
        Self {
            domain,
            day: domain.day(),
            windows: vec![0; series.len()],
            profiles: series.iter().map(|s| s.profile).collect(),
            cells: Cells::new(series.len(), domain.num_metrics(), bands.count()),
            bands,
            sorted: Vec::new(),
            padded: Vec::new(),
        }
    }

    /// Adds one window; `forecast` is `[horizon × metrics]` for each quantile.
    pub(crate) fn add(&mut self, truth: &Truth<'_>, forecast: &Forecast) {
        self.windows[truth.series] += 1;
        for metric in 0..self.domain.num_metrics() {
            self.add_metric(truth, forecast, metric);
        }
    }

    fn add_metric(&mut self, truth: &Truth<'_>, forecast: &Forecast, metric: usize) {
        let (context, metrics) = (self.domain.context, self.domain.num_metrics());
        let values = truth.columns.metric(metric);
        let first = truth.issue.saturating_sub(context);
        let known = &values[first..truth.issue.min(values.len())];
        self.padded.clear();
        self.padded.resize(context - known.len(), f32::NAN);
        self.padded.extend_from_slice(known);
        let Some(naive) = Naive::of(&self.padded, self.day, &mut self.sorted) else {
            return;
        };
        let day = &self.padded[context - self.day..];
        let actuals = values[truth.issue.min(values.len())..]
            .iter()
            .take(self.domain.horizon);
        for (step, &actual) in actuals.enumerate().filter(|(_, v)| !v.is_nan()) {
            let at = step * metrics + metric;
            let quantiles = [forecast.p10[at], forecast.p50[at], forecast.p90[at]];
            let yesterday = day.get(step).copied().filter(|v| !v.is_nan());
            let cell = self.cells.cell(truth.series, metric, self.bands.band(step));
            cell.add(f64::from(actual), quantiles, &naive, yesterday);
        }
    }

    /// [`Report::loss`].
    pub(crate) fn loss(&self) -> Option<f64> {
        let all = vec![1.0; self.windows.len()];
        loss(&self.cells.up_to(self.bands.count()).figures(&all))
    }

    /// What follows from the sums.
    pub(crate) fn report(&self, forecasts_per_second: f64) -> Report {
        let names = &self.domain.metrics;
        let all = vec![1.0; self.windows.len()];
        let whole = self.cells.up_to(self.bands.count());
        let figures = whole.figures(&all);
        let judged: Vec<bool> = self.windows.iter().map(|&w| w > 0).collect();
        Report {
            windows: self.windows.iter().sum(),
            pooled: Pooled::of(&figures),
            loss: loss(&figures),
            metrics: named(names, figures),
            forecasts_per_second,
            horizons: self.horizons(&all, &judged),
            profiles: self.per_profile(&whole),
            intervals: bootstrap::intervals(names, &whole, &judged),
        }
    }

    fn horizons(&self, all: &[f64], judged: &[bool]) -> Vec<HorizonReport> {
        let names = &self.domain.metrics;
        let up_to = |&(minutes, bands): &(u32, usize)| {
            let cells = self.cells.up_to(bands);
            let figures = cells.figures(all);
            HorizonReport {
                minutes,
                pooled: Pooled::of(&figures),
                metrics: named(names, figures),
                intervals: bootstrap::intervals(names, &cells, judged),
            }
        };
        self.bands.horizons().iter().map(up_to).collect()
    }

    /// Only profiles that have a window.
    fn per_profile(&self, whole: &Cells) -> Vec<(String, ProfileReport)> {
        let mut reports = Vec::new();
        for (profile, name) in self.domain.profile_names.iter().enumerate() {
            let judged: Vec<bool> = self
                .windows
                .iter()
                .zip(&self.profiles)
                .map(|(&windows, &of)| of == profile && windows > 0)
                .collect();
            let servers = judged.iter().filter(|&&is| is).count();
            if servers == 0 {
                continue;
            }
            let windows = self.windows.iter().zip(&judged);
            let weights: Vec<f64> = judged.iter().map(|&is| f64::from(u8::from(is))).collect();
            let names = &self.domain.metrics;
            let figures = whole.figures(&weights);
            let report = ProfileReport {
                servers,
                windows: windows.filter(|(_, is)| **is).map(|(n, _)| n).sum(),
                pooled: Pooled::of(&figures),
                metrics: named(names, figures),
                intervals: bootstrap::intervals(names, whole, &judged),
            };
            reports.push((name.clone(), report));
        }
        reports
    }
}

fn loss(figures: &[MetricReport]) -> Option<f64> {
    mean(
        &figures
            .iter()
            .filter_map(MetricReport::loss)
            .collect::<Vec<_>>(),
    )
}
