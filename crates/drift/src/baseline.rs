//! What the model learnt from: per profile and metric a histogram, a mean and a standard deviation, of all and by hour of the
//! week, and what quiet days look like ([`Detector`]).
//!
//! It is built from the training window, stored beside the model and replaced with it. Metrics that the contract marks
//! monotone have no cell: they are not judged.
//!
//! How it is stored: [`crate::BaselineRow`].

use contract::Contract;

use crate::hours::{HourCell, HourSums};
use crate::measures;
use crate::shift::detector::Detector;
use crate::shift::history::History;
use crate::shift::season::{HOURS, bucket_hour};
use crate::sketch::{Sketch, bin_of};

/// A stored baseline that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BaselineError {
    /// It was made for other metrics: make one with the contract in use, or use the contract it was made for.
    #[error(
        "baseline {id} is of contract {found}, expected {expected}: train a model with the contract in use"
    )]
    OtherContract {
        /// The baseline.
        id: String,
        /// Its contract's fingerprint.
        found: String,
        /// The fingerprint of the contract in use.
        expected: String,
    },
    /// The stored rows contradict themselves: fetch the file again or take another model.
    #[error("baseline {id}, {profile} {metric}: {what}: the file is damaged")]
    Damaged {
        /// The baseline.
        id: String,
        /// The profile of the row.
        profile: String,
        /// The metric of the row.
        metric: String,
        /// What does not hold.
        what: &'static str,
    },
}

/// One metric of one profile.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cell {
    /// Inclusive upper bounds of the bins but the last, ascending, at most 63; in the metric's unit.
    pub edges: Vec<f32>,
    /// Values in each bin; one more than edges, none for an empty cell.
    pub counts: Vec<u64>,
    /// Values in all.
    pub n: u64,
    /// Their mean, 0 for none.
    pub mean: f64,
    /// Their standard deviation (n − 1 in the denominator), 0 for fewer than two.
    pub sd: f64,
    /// The same by hour of the week, Monday 00:00 first; none until [`Baseline::learn_hours`].
    pub hours: Vec<HourCell>,
}

impl Cell {
    /// The bin of a value.
    #[must_use]
    pub fn bin(&self, value: f32) -> usize {
        bin_of(&self.edges, value)
    }

    /// Whether a value lies beyond [`measures::OUTLIER_SD`]; never where the metric did not vary.
    #[must_use]
    pub fn is_outlier(&self, value: f32) -> bool {
        measures::z(f64::from(value), self.mean, self.sd) > measures::OUTLIER_SD
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Names it in panes and reports; two different baselines never share one.
    pub id: String,
    /// Fingerprint of the contract it was made with.
    pub contract: String,
    /// What quiet days look like; `None` until [`crate::calibrate()`] has run: nothing is an alarm then.
    pub detector: Option<Detector>,
    /// `[profile][metric]`, in the contract's order.
    pub(crate) cells: Vec<Vec<Cell>>,
}

impl Baseline {
    /// The cell of a profile and metric; `None` for indices that the contract does not have.
    #[must_use]
    pub fn cell(&self, profile: usize, metric: usize) -> Option<&Cell> {
        self.cells.get(profile)?.get(metric)
    }

    /// Counts the rows once more, by hour of the week in the contract's zone: those that the [`BaselineBuilder`] counted, profile, start
    /// of the bucket and values each. A second pass, because the bins are known only after the first.
    pub fn learn_hours<'a>(
        &mut self,
        contract: &Contract,
        rows: impl IntoIterator<Item = (usize, i64, &'a [f32])>,
    ) {
        let metrics = contract.num_metrics();
        let mut sums: Vec<Vec<HourSums>> = vec![Vec::new(); self.cells.len() * metrics];
        for (profile, bucket, values) in rows {
            let Some(cells) = self.cells.get(profile) else {
                continue;
            };
            let (hour, _) = bucket_hour(contract.time_zone, bucket, contract.step_ms());
            let sums = sums.iter_mut().skip(profile * metrics);
            for ((hours, cell), &value) in sums.zip(cells).zip(values) {
                if cell.n == 0 || !value.is_finite() {
                    continue;
                }
                hours.resize_with(HOURS, HourSums::default);
                if let Some(sums) = hours.get_mut(hour) {
                    sums.count(value, cell.bin(value), cell.counts.len());
                }
            }
        }
        for (cell, hours) in self.cells.iter_mut().flatten().zip(sums) {
            let bins = cell.counts.len();
            cell.hours = hours.into_iter().map(|sums| sums.finish(bins)).collect();
        }
    }

    pub(crate) fn check_contract(&self, contract: &Contract) -> Result<(), BaselineError> {
        check_contract(&self.id, &self.contract, contract)
    }
}

pub(crate) fn check_contract(
    id: &str,
    found: &str,
    contract: &Contract,
) -> Result<(), BaselineError> {
    if found == contract.fingerprint() {
        return Ok(());
    }
    Err(BaselineError::OtherContract {
        id: id.to_owned(),
        found: found.to_owned(),
        expected: contract.fingerprint().to_owned(),
    })
}

pub(crate) fn empty_cells(contract: &Contract) -> Vec<Vec<Cell>> {
    vec![vec![Cell::default(); contract.num_metrics()]; contract.profiles.len()]
}

/// Collects a training window, in any order of rows; memory is bounded by profiles × metrics, see [`Sketch`].
#[derive(Debug)]
pub struct BaselineBuilder {
    contract: String,
    judged: Vec<bool>,
    gathered: Vec<Vec<Gathered>>,
    history: History,
}

#[derive(Debug, Clone, Default)]
struct Gathered {
    sketch: Sketch,
    mean: f64,
    m2: f64,
}

impl Gathered {
    fn add(&mut self, value: f32) {
        self.sketch.add(value);
        // Welford, "Note on a method for calculating corrected sums of squares and products", 1962.
        let delta = f64::from(value) - self.mean;
        self.mean += delta / self.sketch.n() as f64;
        self.m2 += delta * (f64::from(value) - self.mean);
    }

    fn finish(&self) -> Cell {
        let n = self.sketch.n();
        if n == 0 {
            return Cell::default();
        }
        let edges = self.sketch.edges();
        Cell {
            counts: self.sketch.counts(&edges),
            edges,
            n,
            mean: self.mean,
            sd: if n < 2 {
                0.0
            } else {
                (self.m2 / (n - 1) as f64).max(0.0).sqrt()
            },
            hours: Vec::new(),
        }
    }
}

impl BaselineBuilder {
    /// Nothing yet, for the profiles and metrics of `contract`.
    #[must_use]
    pub fn new(contract: &Contract) -> BaselineBuilder {
        BaselineBuilder {
            contract: contract.fingerprint().to_owned(),
            judged: contract
                .metrics
                .iter()
                .map(|metric| !metric.monotone)
                .collect(),
            gathered: vec![
                vec![Gathered::default(); contract.num_metrics()];
                contract.profiles.len()
            ],
            history: History::new(contract.profiles.len() * contract.num_metrics()),
        }
    }

    /// Counts one row of rollups: `bucket` is its start, `values` are in the contract's order, NaN for a gap. A profile that the
    /// contract does not have is left out.
    pub fn add(&mut self, profile: usize, bucket: i64, values: &[f32]) {
        let metrics = self.judged.len();
        let Some(gathered) = self.gathered.get_mut(profile) else {
            return;
        };
        if let Some(sums) = self.history.bucket(bucket) {
            let cells = sums.iter_mut().skip(profile * metrics);
            for ((sums, &value), &judged) in cells.zip(values).zip(&self.judged) {
                if judged && value.is_finite() {
                    sums.count(value);
                }
            }
        }
        for ((gathered, &value), &judged) in gathered.iter_mut().zip(values).zip(&self.judged) {
            if judged && value.is_finite() {
                gathered.add(value);
            }
        }
    }

    /// The baseline, not yet calibrated, and what [`crate::calibrate()`] needs beside it.
    #[must_use]
    pub fn finish(self, id: &str) -> (Baseline, History) {
        let baseline = Baseline {
            id: id.to_owned(),
            contract: self.contract.clone(),
            detector: None,
            cells: self
                .gathered
                .iter()
                .map(|cells| cells.iter().map(Gathered::finish).collect())
                .collect(),
        };
        (baseline, self.history)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        Contract::shipped("linborg").unwrap()
    }

    fn row_of(contract: &Contract, metric: &str, value: f32) -> Vec<f32> {
        let mut values = vec![f32::NAN; contract.num_metrics()];
        values[contract.metric_index(metric).unwrap()] = value;
        values
    }

    #[test]
    fn moments_by_hand() {
        // np.mean and np.std(ddof=1) of [12, 15, 11, 18, 14]: 14, sqrt(7.5).
        let contract = contract();
        let cpu = contract.metric_index("cpu_user_pct").unwrap();
        let mut builder = BaselineBuilder::new(&contract);
        for value in [12.0, 15.0, f32::NAN, 11.0, f32::INFINITY, 18.0, 14.0] {
            builder.add(2, 0, &row_of(&contract, "cpu_user_pct", value));
        }
        builder.add(99, 0, &row_of(&contract, "cpu_user_pct", 1.0));
        let (baseline, _) = builder.finish("b");
        let cell = baseline.cell(2, cpu).unwrap();
        assert_eq!((cell.n, cell.mean), (5, 14.0));
        assert!((cell.sd - 7.5_f64.sqrt()).abs() < 1e-12);
        // 3 sd above the mean: 22.215838…
        assert!(
            cell.is_outlier(22.3)
                && !cell.is_outlier(22.2)
                && cell.is_outlier(5.7)
                && !cell.is_outlier(5.8)
        );
        assert_eq!(baseline.cell(0, cpu), Some(&Cell::default()));
        assert_eq!(baseline.cell(99, 0), None);
    }

    #[test]
    fn what_never_varied_has_no_outliers() {
        let contract = contract();
        let mut builder = BaselineBuilder::new(&contract);
        for _ in 0..50 {
            builder.add(0, 0, &row_of(&contract, "disk_usage_pct", 64.1));
        }
        let (baseline, _) = builder.finish("b");
        let cell = baseline
            .cell(0, contract.metric_index("disk_usage_pct").unwrap())
            .unwrap();
        assert!(!cell.is_outlier(99.0));
    }

    #[test]
    fn monotone_metrics_are_not_judged() {
        let contract = contract();
        let uptime = contract
            .metrics
            .iter()
            .position(|metric| metric.monotone)
            .unwrap();
        let mut builder = BaselineBuilder::new(&contract);
        builder.add(0, 0, &vec![1.0; contract.num_metrics()]);
        let (baseline, _) = builder.finish("b");
        assert_eq!(baseline.cell(0, uptime).unwrap().n, 0);
        assert_eq!(
            baseline.rows(&contract).len(),
            contract
                .metrics
                .iter()
                .filter(|metric| !metric.monotone)
                .count()
        );
    }
}
