//! How one signal of a cell is stored: a group of columns of a baseline's row.

use serde::{Deserialize, Serialize};

use crate::shift::detector::SignalModel;
use crate::shift::history::Signal;
use crate::shift::scan::{MAX_LAG, MAX_RHO, Noise};
use crate::shift::season::{HOURS, Season};

/// One signal of a cell on quiet days, as stored; see [`SignalModel`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalRow {
    /// In what the signal is measured.
    pub unit: f64,
    /// By hour of the week.
    pub season: Vec<f32>,
    /// By hour of the week.
    pub inflation: Vec<f32>,
    /// Correlation of the noise at one step.
    pub rho: f64,
    /// Its variance.
    pub variance: f64,
    /// Steps from one value to the next.
    #[serde(default = "one")]
    pub lag: i64,
    /// Of a day.
    pub season_variance: f64,
    /// Of the evidence.
    pub scale: f64,
}

/// Baselines were stored without a lag while all values stood side by side.
fn one() -> i64 {
    1
}

impl SignalRow {
    pub(super) fn of(model: &SignalModel) -> SignalRow {
        SignalRow {
            unit: model.unit,
            season: model.season.hours.clone(),
            inflation: model.inflation.clone(),
            rho: model.noise.rho,
            variance: model.noise.variance,
            lag: i64::try_from(model.noise.lag).unwrap_or(i64::MAX),
            season_variance: model.season_variance,
            scale: model.scale,
        }
    }

    pub(super) fn model(&self, cell: usize, signal: Signal) -> Result<SignalModel, &'static str> {
        if self.season.len() != HOURS || self.inflation.len() != HOURS {
            return Err("a season or inflation that has not 168 hours");
        }
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let is_positive = self.inflation.iter().all(|value| *value > 0.0);
        if !finite(&self.season) || !finite(&self.inflation) || !is_positive {
            return Err("a season or inflation that is not a number");
        }
        let positive = [self.unit, self.variance, self.scale];
        if positive
            .iter()
            .any(|value| !value.is_finite() || *value <= 0.0)
            || !(0.0..=MAX_RHO).contains(&self.rho)
            || !(0.0..f64::MAX).contains(&self.season_variance)
        {
            return Err("a noise that cannot be");
        }
        let lag = usize::try_from(self.lag).unwrap_or(0);
        if !(1..=MAX_LAG).contains(&lag) {
            return Err("values that are too far apart");
        }
        Ok(SignalModel {
            cell,
            signal,
            unit: self.unit,
            season: Season {
                hours: self.season.clone(),
            },
            noise: Noise {
                rho: self.rho,
                variance: self.variance,
                lag,
            },
            inflation: self.inflation.clone(),
            season_variance: self.season_variance,
            scale: self.scale,
        })
    }
}
