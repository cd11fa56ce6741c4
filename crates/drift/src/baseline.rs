//! What the model learnt from: per profile and metric a histogram, a mean and a standard deviation, of all and by hour of the
//! week, and what quiet days look like ([`Detector`]).
//!
//! It is learnt from the training window ([`Baseline::learn`]), stored beside the model and replaced with it. Metrics that the contract
//! marks monotone have no cell: they are not judged.
//!
//! How it is stored: [`crate::BaselineRow`].

use contract::Contract;

use crate::hours::HourCell;
use crate::measures;
use crate::servers::Servers;
use crate::shift::detector::Detector;
use crate::shift::season::Season;
use crate::sketch::bin_of;

/// One row of rollups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Index of its profile in the contract.
    pub profile: usize,
    /// Start of the bucket, ms.
    pub bucket: i64,
    /// In the contract's order, NaN for a gap.
    pub values: &'a [f32],
}

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
    /// The same by hour of the week, Monday 00:00 first; none in a baseline that was stored without.
    pub hours: Vec<HourCell>,
    /// What servers are held against: the mean over them by hour of the week, in which what the training window cannot tell from noise is
    /// shrunk away; none of a cell without values.
    pub season: Option<Season>,
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
    /// What is usual of each server.
    pub(crate) servers: Servers,
}

impl Baseline {
    /// What a profile's metrics usually are at an hour of the week, in the contract's order; 0 where nothing is known.
    #[must_use]
    pub(crate) fn usual_at(&self, profile: usize, hour: usize) -> Vec<f64> {
        let cells = self.cells.get(profile).map_or(&[][..], Vec::as_slice);
        let at = |cell: &Cell| cell.season.as_ref()?.hours.get(hour).copied();
        let usual = cells.iter().map(|cell| at(cell).map_or(0.0, f64::from));
        usual.collect()
    }

    /// Servers that the baseline knows.
    #[must_use]
    pub fn num_servers(&self) -> usize {
        self.servers.len()
    }

    /// The cell of a profile and metric; `None` for indices that the contract does not have.
    #[must_use]
    pub fn cell(&self, profile: usize, metric: usize) -> Option<&Cell> {
        self.cells.get(profile)?.get(metric)
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
