//! From what quiet days showed to the level that they reach once in a stated time.
//!
//! The largest evidence of a day, over all cells, has an exponential tail (evidence is half a squared Gaussian, and sums over many moments
//! only shift it), so its mean excess over a high quantile is all that must be known to extrapolate (peaks over a
//! threshold: Balkema and de Haan, "Residual life time at great age", 1974; Pickands, 1975, with shape 0).

/// The tail is fitted to this share of the daily maxima.
const TAIL_SHARE: f64 = 0.1;

/// No lighter than the tail of half a squared Gaussian.
const MIN_SCALE: f64 = 1.0;

/// Where quiet days stop, and how they go on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Tail {
    /// This share of the maxima lies above `from`.
    pub share: f64,
    /// Evidence.
    pub from: f64,
    /// Mean excess over `from`.
    pub scale: f64,
}

impl Tail {
    /// From the daily maxima of all cells; `None` of fewer than 20.
    #[must_use]
    pub fn fit(maxima: &[f64]) -> Option<Tail> {
        let mut sorted: Vec<f64> = maxima.iter().copied().filter(|m| m.is_finite()).collect();
        if sorted.len() < 20 {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let above = ((sorted.len() as f64 * TAIL_SHARE) as usize).max(10);
        let from = *sorted.get(sorted.len() - above - 1)?;
        let excess: f64 = sorted.iter().rev().take(above).map(|m| m - from).sum();
        Some(Tail {
            share: above as f64 / sorted.len() as f64,
            from,
            scale: (excess / above as f64).max(MIN_SCALE),
        })
    }

    /// Whether a tail that was stored is one.
    pub(crate) fn can_be(&self) -> bool {
        let is_positive = |value: f64| value > 0.0 && value.is_finite();
        is_positive(self.scale)
            && is_positive(self.share)
            && self.share <= 1.0
            && self.from.is_finite()
    }

    /// The level that one of `cells` reaches on a share `per_day` of quiet days.
    #[must_use]
    pub fn level(&self, per_day: f64, cells: usize) -> f64 {
        let each = per_day / cells.max(1) as f64;
        self.from + self.scale * (self.share / each.max(1e-300)).ln().max(0.0)
    }
}
