//! Has the level of a noisy series moved, and since when? A scan over all moments at which it could have.
//!
//! The residuals of a cell (its value less the season) are taken as an autoregressive process of order one, of variance γ and
//! correlation ρ a step. For each moment τ of the last day the generalised least squares estimate of a step that began at τ is
//! compared with its standard error, and the largest counts: the likelihood ratio scan for a change of level in
//! autocorrelated noise (Box and Tiao, "Intervention analysis", 1975; Lai, "Sequential changepoint detection in quality control",
//! 1995). Weighing by the noise's own correlation is what makes the scan fast: what jumps further than noise does in five
//! minutes is seen at once, what moves slower is summed up.
//!
//! A step must stay: one that the last half hour does not confirm is a spike and does not count. A gap of k steps is a lag of k.

/// A step that began less than this many buckets ago (half an hour) is not yet told from a spike.
pub const MIN_LENGTH: usize = 6;

/// A residual counts as at most so many standard deviations, and what is new in it as at most so many of its own: an incident of one
/// server, fifty deviations high, must not weigh like a day of drift.
const MOST_SD: f64 = 4.0;
const MOST_NEW_SD: f64 = 6.5;

/// The last buckets (half an hour), in which a step must still be there.
const RECENT: usize = 6;

/// The noise of a series.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Noise {
    /// Correlation at a lag of one step, 0 to [`MAX_RHO`].
    pub rho: f64,
    /// Variance.
    pub variance: f64,
}

/// A correlation above it cannot be told from a walk with three weeks of data.
pub const MAX_RHO: f64 = 0.995;

impl Noise {
    /// Moments of residuals on the grid, NaN for a gap; `None` where fewer than a day is there, or nothing varies.
    #[must_use]
    pub fn fit(residuals: &[f64]) -> Option<Noise> {
        let present = residuals.iter().filter(|value| value.is_finite());
        let (n, squares) = present.fold((0_usize, 0.0), |(n, sum), value| {
            (n + 1, sum + value * value)
        });
        let variance = squares / n.max(1) as f64;
        if n < 144 || variance.is_nan() || variance <= 0.0 {
            return None;
        }
        let (mut pairs, mut products, mut squares) = (0_usize, 0.0, 0.0);
        for pair in residuals.windows(2) {
            if let [a, b] = pair
                && a.is_finite()
                && b.is_finite()
            {
                pairs += 1;
                products += a * b;
                squares += 0.5 * (a * a + b * b);
            }
        }
        let rho = if pairs == 0 || squares <= 0.0 {
            0.0
        } else {
            products / squares
        };
        Some(Noise {
            rho: rho.clamp(0.0, MAX_RHO),
            variance,
        })
    }

    /// The variance of a mean over `n` steps.
    #[must_use]
    pub fn variance_of_mean(&self, n: usize) -> f64 {
        let (n, rho) = (n.max(1) as f64, self.rho);
        let correlated =
            (1.0 + rho) / (1.0 - rho) - 2.0 * rho * (1.0 - rho.powf(n)) / (n * (1.0 - rho).powi(2));
        self.variance / n * correlated
    }

    /// By how much the noise of each hour of the week is larger than the usual, from residuals and their hours. Where the season
    /// jumps within an hour, or some hours are busier, a step must be larger to count.
    #[must_use]
    pub fn by_hour(&self, residuals: impl Iterator<Item = (usize, f64)>) -> Vec<f32> {
        /// Innovations of the usual variance that an hour's own are weighed against: two hours of them.
        const PRIOR: f64 = 24.0;
        /// No hour is taken for much quieter than the usual.
        const LEAST: f64 = 0.7;
        let mut sums = vec![(PRIOR, PRIOR); super::season::HOURS];
        let mut before = f64::NAN;
        for (hour, value) in residuals {
            let innovation = value - self.rho * before;
            before = value;
            let share = innovation * innovation / (self.variance * (1.0 - self.rho * self.rho));
            if let Some(sum) = sums.get_mut(hour).filter(|_| share.is_finite()) {
                *sum = (sum.0 + share, sum.1 + 1.0);
            }
        }
        sums.iter()
            .map(|(sum, n)| (sum / n).max(LEAST) as f32)
            .collect()
    }
}

/// A step, as the scan found it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Log-likelihood ratio: half the square of the estimate in standard errors.
    pub evidence: f64,
    /// Its size, in the series' unit.
    pub size: f64,
    /// How many buckets ago it began.
    pub length: usize,
}

/// What is known of a series beside its residuals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quiet<'a> {
    /// The noise.
    pub noise: &'a Noise,
    /// Variance of what the season gets wrong for a whole day.
    pub season_variance: f64,
    /// One over how much larger the noise of each residual's hour is than the usual; 1 where it ends.
    pub weights: &'a [f64],
}

/// The strongest step in residuals (oldest first, NaN for a gap); `None` where too few are there or none stays.
#[must_use]
pub fn scan(residuals: &[f64], quiet: &Quiet<'_>) -> Option<Step> {
    let recent = recent_mean(residuals)?;
    let noise = quiet.noise;
    let fresh = Lag::of(noise, 1);
    let over = |lag: usize| match lag {
        1 => fresh,
        lag => Lag::of(noise, lag),
    };
    let weight = |index: usize| quiet.weights.get(index).copied().unwrap_or(1.0);
    let last_start = residuals.len().checked_sub(MIN_LENGTH)?;
    let mut best: Option<(f64, f64, usize)> = None;
    // Sums over what comes after τ.
    let (mut numerator, mut denominator) = (0.0, 0.0);
    let mut later: Option<(usize, f64)> = None;
    let most = MOST_SD * noise.variance.sqrt();
    let bounded = |value: f64| value.clamp(-most, most);
    let new_of = |difference: f64, precision: f64| {
        let most = MOST_NEW_SD / precision.sqrt();
        difference.clamp(-most, most)
    };
    for (index, &value) in residuals.iter().enumerate().rev() {
        if !value.is_finite() {
            continue;
        }
        let value = bounded(value);
        // What comes next has a predecessor now: it joins the sums with what the noise carries over.
        if let Some((next, x)) = later {
            let lag = over(next - index);
            let precision = lag.precision * weight(next);
            let moved = (1.0 - lag.carried) * precision;
            numerator += moved * new_of(x - lag.carried * value, precision);
            denominator += moved * (1.0 - lag.carried);
        }
        later = Some((index, value));
        if index > last_start {
            continue;
        }
        // If it began here, this value moved by all of it, against its predecessor.
        let (lag, before) = match predecessor(residuals, index) {
            Some((lag, before)) => (over(lag), bounded(before)),
            None => (Lag::whole(noise), 0.0),
        };
        let precision = lag.precision * weight(index);
        let n = numerator + new_of(value - lag.carried * before, precision) * precision;
        let d = denominator + precision;
        let stays = recent * n >= 0.0 && recent.abs() * d >= 0.5 * n.abs();
        let stronger = |(most, of, _): (f64, f64, usize)| {
            n * n * of * (1.0 + of * quiet.season_variance)
                > most * most * d * (1.0 + d * quiet.season_variance)
        };
        if stays && best.is_none_or(stronger) {
            best = Some((n, d, index));
        }
    }
    best.map(|(n, d, index)| Step {
        evidence: 0.5 * n * n / (d * (1.0 + d * quiet.season_variance)),
        size: n / d,
        length: residuals.len() - index,
    })
}

/// What the noise carries over a lag, and one over the variance that comes new.
#[derive(Debug, Clone, Copy)]
struct Lag {
    carried: f64,
    precision: f64,
}

impl Lag {
    fn of(noise: &Noise, lag: usize) -> Lag {
        let carried = noise.rho.powi(i32::try_from(lag).unwrap_or(i32::MAX));
        Lag {
            carried,
            precision: 1.0 / (noise.variance * (1.0 - carried * carried)),
        }
    }

    /// Without a predecessor.
    fn whole(noise: &Noise) -> Lag {
        Lag {
            carried: 0.0,
            precision: 1.0 / noise.variance,
        }
    }
}

/// The nearest value before `index`, with its lag.
fn predecessor(residuals: &[f64], index: usize) -> Option<(usize, f64)> {
    let before = residuals.get(..index)?;
    let found = before.iter().rev().zip(1..);
    found
        .map(|(value, lag)| (lag, *value))
        .find(|(_, value)| value.is_finite())
}

fn recent_mean(residuals: &[f64]) -> Option<f64> {
    let last = residuals.get(residuals.len().saturating_sub(RECENT)..)?;
    let present = last.iter().filter(|value| value.is_finite());
    let (n, sum) = present.fold((0_usize, 0.0), |(n, sum), value| (n + 1, sum + value));
    (2 * n >= RECENT).then(|| sum / n as f64)
}
