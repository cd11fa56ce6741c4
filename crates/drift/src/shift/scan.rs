//! Has the level of a noisy series moved, and since when? A scan over all moments at which it could have.
//!
//! The residuals of a cell (its value less the season) are taken as an autoregressive process of order one, of variance γ and
//! correlation ρ a step. For each moment τ of the last day the generalised least squares estimate of a step that began at τ is
//! compared with its standard error, and the largest counts: the likelihood ratio scan for a change of level in
//! autocorrelated noise (Box and Tiao, "Intervention analysis", 1975; Lai, "Sequential changepoint detection in quality control",
//! 1995). Weighing by the noise's own correlation is what makes the scan fast: what jumps further than noise does in five
//! minutes is seen at once, what moves slower is summed up.
//!
//! A step must stay: one that the last half hour does not confirm is a spike and does not count. A gap of k steps is a lag of k; where
//! all values are k steps apart (errors of forecasts that are issued at each k-th bucket), half an hour is k times as long.

/// A step that began less than this many values ago (half an hour) is not yet told from a spike.
pub const MIN_LENGTH: usize = 6;

/// A residual counts as at most so many standard deviations, and what is new in it as at most so many of its own: an incident of one
/// server, fifty deviations high, must not weigh like a day of drift.
const MOST_SD: f64 = 4.0;
const MOST_NEW_SD: f64 = 6.5;

/// The last values (half an hour), in which a step must still be there.
pub(crate) const RECENT: usize = 6;

/// Values without which nothing is known of a noise, and the part of a day that they must fill.
const MIN_NOISE_VALUES: usize = 24;
const MIN_NOISE_STEPS: usize = 144;

/// The noise of a series.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Noise {
    /// Correlation at a lag of one step, 0 to [`MAX_RHO`].
    pub rho: f64,
    /// Variance.
    pub variance: f64,
    /// Steps from one value to the next, 1 to [`MAX_LAG`].
    pub lag: usize,
}

/// A correlation above it cannot be told from a walk with three weeks of data.
pub const MAX_RHO: f64 = 0.995;

/// Most steps between two values: an hour. Of fewer a day a step could not be told from noise within the day.
pub const MAX_LAG: usize = 12;

/// Steps from one value to the next, NaN for none: the smallest lag at which a quarter of the values have another, so that holes in a
/// dense series do not make it a coarse one; 1 where there is none up to [`MAX_LAG`].
pub(crate) fn lag_of(values: &[f64]) -> usize {
    let present = values.iter().filter(|value| value.is_finite()).count();
    let pairs = |lag: usize| {
        let pairs = values.iter().zip(values.iter().skip(lag));
        pairs
            .filter(|(a, b)| a.is_finite() && b.is_finite())
            .count()
    };
    let mut lags = 1..=MAX_LAG;
    lags.find(|&lag| 4 * pairs(lag) >= present.max(1))
        .unwrap_or(1)
}

impl Noise {
    /// Moments of residuals on the grid, NaN for a gap; `None` where fewer than half a day is there, or nothing varies. The correlation is
    /// that of the smallest lag at which there are values, to the root of the lag.
    #[must_use]
    pub fn fit(residuals: &[f64]) -> Option<Noise> {
        let present = residuals.iter().filter(|value| value.is_finite());
        let (n, squares) = present.fold((0_usize, 0.0), |(n, sum), value| {
            (n + 1, sum + value * value)
        });
        let lag = lag_of(residuals);
        let variance = squares / n.max(1) as f64;
        let is_enough = n >= MIN_NOISE_VALUES && n * lag >= MIN_NOISE_STEPS;
        if !is_enough || variance.is_nan() || variance <= 0.0 {
            return None;
        }
        let (mut products, mut squares) = (0.0, 0.0);
        for (a, b) in residuals.iter().zip(residuals.iter().skip(lag)) {
            if a.is_finite() && b.is_finite() {
                products += a * b;
                squares += 0.5 * (a * a + b * b);
            }
        }
        let carried = if squares > 0.0 {
            (products / squares).max(0.0)
        } else {
            0.0
        };
        Some(Noise {
            rho: carried.powf(1.0 / lag as f64).min(MAX_RHO),
            variance,
            lag,
        })
    }

    /// The variance of a mean of `n` values.
    #[must_use]
    pub fn variance_of_mean(&self, n: usize) -> f64 {
        let (n, rho) = (n.max(1) as f64, self.rho.powf(self.lag as f64));
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
        let next = Lag::of(self, self.lag);
        let mut before = [f64::NAN; MAX_LAG];
        for (step, (hour, value)) in residuals.enumerate() {
            // What stands there is as old as the lag.
            let held = before.get_mut(step % self.lag.clamp(1, MAX_LAG));
            let before = held.map_or(f64::NAN, |held| std::mem::replace(held, value));
            let share = ((value - next.carried * before) * next.root).powi(2);
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
    /// One over how much larger the standard deviation of each residual's hour is than the usual; 1 where it ends.
    pub weights: &'a [f64],
    /// Whether only a step upwards is one: a forecast that errs less than it did is no drift.
    pub only_up: bool,
}

/// The strongest step in residuals (oldest first, NaN for a gap); `None` where too few are there or none stays.
#[must_use]
pub fn scan(residuals: &[f64], quiet: &Quiet<'_>) -> Option<Step> {
    let recent = recent_mean(residuals, quiet.noise.lag)?;
    let last_start = residuals.len().checked_sub(MIN_LENGTH * quiet.noise.lag)?;
    let mut best: Option<Step> = None;
    // Sums over what comes after τ.
    let (mut numerator, mut denominator) = (0.0, 0.0);
    for term in terms(residuals, quiet).iter().rev() {
        if term.index <= last_start {
            // If it began here, this value moved by all of it, against its predecessor.
            let (n, d) = (numerator + term.pull, denominator + term.precision);
            let (twice, by) = (n * n, d * (1.0 + d * quiet.season_variance));
            // Compared by products, without a division at each moment.
            let is_most = best.is_none_or(|best| twice > 2.0 * best.evidence * by);
            if is_most && stays(recent, n, d) && (n >= 0.0 || !quiet.only_up) {
                best = Some(Step {
                    evidence: 0.5 * twice / by,
                    size: n / d,
                    length: residuals.len() - term.index,
                });
            }
        }
        // If it began before, by what the noise does not carry over.
        numerator += term.moved * term.pull;
        denominator += term.moved * term.moved * term.precision;
    }
    best
}

/// Whether the last half hour confirms at least half of the step n / d.
fn stays(recent: f64, n: f64, d: f64) -> bool {
    recent * n >= 0.0 && recent.abs() * d >= 0.5 * n.abs()
}

/// One value against the one before it.
#[derive(Debug, Clone, Copy)]
struct Term {
    index: usize,
    /// What is new in it, times its precision.
    pull: f64,
    precision: f64,
    /// What the noise does not carry over from the value before.
    moved: f64,
}

impl Term {
    fn of(index: usize, value: f64, before: f64, lag: Lag, weight: f64) -> Term {
        let root = lag.root * weight;
        let new = (value - lag.carried * before) * root;
        Term {
            index,
            pull: new.clamp(-MOST_NEW_SD, MOST_NEW_SD) * root,
            precision: root * root,
            moved: 1.0 - lag.carried,
        }
    }
}

fn terms(residuals: &[f64], quiet: &Quiet<'_>) -> Vec<Term> {
    let noise = quiet.noise;
    let most = MOST_SD * noise.variance.sqrt();
    let (whole, next) = (Lag::whole(noise), Lag::of(noise, 1));
    let weights = quiet.weights.iter().copied().chain(std::iter::repeat(1.0));
    let weighed = residuals.iter().zip(weights).enumerate();
    // Most windows have no gap, and need not ask for one at each value.
    if residuals.iter().all(|value| value.is_finite()) {
        let (mut lag, mut before) = (whole, 0.0);
        let of = |(index, (value, weight)): (usize, (&f64, f64))| {
            let value = value.clamp(-most, most);
            let term = Term::of(index, value, before, lag, weight);
            (lag, before) = (next, value);
            term
        };
        return weighed.map(of).collect();
    }
    let mut terms = Vec::with_capacity(residuals.len());
    let mut last: Option<(usize, f64)> = None;
    for (index, (value, weight)) in weighed.filter(|(_, (value, _))| value.is_finite()) {
        let value = value.clamp(-most, most);
        let (lag, before) = match last {
            Some((at, before)) if index - at == 1 => (next, before),
            Some((at, before)) => (Lag::of(noise, index - at), before),
            None => (whole, 0.0),
        };
        last = Some((index, value));
        terms.push(Term::of(index, value, before, lag, weight));
    }
    terms
}

/// What the noise carries over a lag, and one over the standard deviation of what comes new.
#[derive(Debug, Clone, Copy)]
struct Lag {
    carried: f64,
    root: f64,
}

impl Lag {
    fn of(noise: &Noise, lag: usize) -> Lag {
        let carried = noise.rho.powi(i32::try_from(lag).unwrap_or(i32::MAX));
        Lag {
            carried,
            root: (noise.variance * (1.0 - carried * carried)).sqrt().recip(),
        }
    }

    /// Without a predecessor.
    fn whole(noise: &Noise) -> Lag {
        Lag {
            carried: 0.0,
            root: noise.variance.sqrt().recip(),
        }
    }
}

fn recent_mean(residuals: &[f64], lag: usize) -> Option<f64> {
    let last = residuals.get(residuals.len().saturating_sub(RECENT * lag)..)?;
    let present = last.iter().filter(|value| value.is_finite());
    let (n, sum) = present.fold((0_usize, 0.0), |(n, sum), value| (n + 1, sum + value));
    (2 * n >= RECENT).then(|| sum / n as f64)
}
