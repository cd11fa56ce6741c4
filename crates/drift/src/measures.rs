//! The formulas: what each measure of drift is, and how they become one score. What a score means is [`crate::policies`]'.
//!
//! Every function is total: an empty side, a constant metric or a window without forecasts gives a number or `None`, never
//! NaN and never an infinity. Calibration (what is usual) is not here, see [`crate::shift`].

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

/// Weight of the prediction error rate in the score.
pub const WEIGHT_PER: f64 = 0.40;
/// Weight of the distribution shift in the score.
pub const WEIGHT_DSS: f64 = 0.30;
/// Weight of the feature drift in the score.
pub const WEIGHT_FDS: f64 = 0.20;
/// Weight of the anomaly rate in the score.
pub const WEIGHT_ANOMALY: f64 = 0.10;

/// Values further than this many standard deviations from the baseline's mean are outliers.
pub const OUTLIER_SD: f64 = 3.0;

/// One relative error counts at most this much. Actuals near a small floor would otherwise let a single value outweigh a
/// day; smaller would change the measure where forecasts are plainly wrong.
pub const MAX_RELATIVE_ERROR: f64 = 1.0e6;

/// The four measures of one window, raw.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Measures {
    /// Prediction error rate; `None` without forecasts.
    pub per: Option<f64>,
    /// Distribution shift, 0–1.
    pub dss: f64,
    /// Feature drift, scaled to 0–1.
    pub fds: f64,
    /// Share of outliers and of forecasts out of range, 0–1.
    pub anomaly_rate: f64,
}

impl Measures {
    /// The weighted sum of the four; a missing error rate counts 0. The weights are Forewarn's own.
    #[must_use]
    pub fn score(&self) -> f64 {
        WEIGHT_PER * self.per.unwrap_or(0.0)
            + WEIGHT_DSS * self.dss
            + WEIGHT_FDS * self.fds
            + WEIGHT_ANOMALY * self.anomaly_rate
    }
}

/// The two-sample Kolmogorov–Smirnov statistic of two histograms over the same edges: the largest distance of the two
/// cumulative distributions, at the edges. 0–1; it equals the statistic of the values themselves when no two
/// different values share a bin, and is below it otherwise.
///
/// Source: Smirnov, "Table for estimating the goodness of fit of empirical distributions", 1948; `scipy.stats.ks_2samp`.
/// 0 for an empty sample of `counts`, 1 where `baseline` is empty and `counts` is not: all of it is new. Counts beyond
/// the baseline's last bin belong to that bin.
#[must_use]
pub fn ks(baseline: &[u64], counts: &[i64]) -> f64 {
    let total_baseline: u64 = baseline.iter().sum();
    let total: f64 = counts.iter().map(|&count| count.max(0) as f64).sum();
    if total <= 0.0 {
        return 0.0;
    }
    if total_baseline == 0 {
        return 1.0;
    }
    let mut largest: f64 = 0.0;
    let (mut seen_baseline, mut seen) = (0_u64, 0.0);
    // After the last bin both are 1.
    for (bin, &count) in baseline
        .iter()
        .take(baseline.len().saturating_sub(1))
        .enumerate()
    {
        seen_baseline += count;
        seen += counts.get(bin).map_or(0.0, |&count| count.max(0) as f64);
        largest = largest.max((seen_baseline as f64 / total_baseline as f64 - seen / total).abs());
    }
    largest.min(1.0)
}

/// |mean − baseline mean| in standard deviations of the baseline's values (not of its mean: more rows do not make the
/// same shift larger). 0 where the baseline has no variation: such a metric is judged by [`ks`] only, in each of the last buckets.
///
/// Source: the standardised difference, Glass, "Primary, secondary, and meta-analysis of research", 1976.
#[must_use]
pub fn z(mean: f64, baseline_mean: f64, baseline_sd: f64) -> f64 {
    if !varies(baseline_mean, baseline_sd) {
        return 0.0;
    }
    ((mean - baseline_mean).abs() / baseline_sd).min(f64::MAX)
}

/// Whether a metric varied in the baseline: its standard deviation is above rounding (1e-6 of the mean) and above
/// the step of the fixed-point sums.
#[must_use]
pub fn varies(mean: f64, sd: f64) -> bool {
    sd.is_finite() && mean.is_finite() && sd > 1e-9 && sd > 1e-6 * mean.abs()
}

/// How the distances of several metrics become the feature drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// The largest: one metric that moved is seen among many that did not.
    #[default]
    Max,
    /// Their mean.
    Mean,
    /// Their sum: many small distances count too, and more metrics make it larger.
    Sum,
}

/// The distances of several metrics, each in standard deviations, together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distances {
    largest: f64,
    sum: f64,
    n: u32,
}

impl Distances {
    /// Adds one of [`z`].
    pub fn add(&mut self, z: f64) {
        self.largest = self.largest.max(z);
        self.sum = (self.sum + z).min(f64::MAX);
        self.n = self.n.saturating_add(1);
    }

    /// 0 of none.
    #[must_use]
    pub fn aggregate(&self, by: Aggregate) -> f64 {
        match by {
            Aggregate::Max => self.largest,
            Aggregate::Mean => self.sum / f64::from(self.n.max(1)),
            Aggregate::Sum => self.sum,
        }
    }
}

/// p-value of a distance of means of [`z`], two-sided, for independent values: the standard normal distribution at
/// z / √(1/n₁ + 1/n₂), erfc(x/√2).
///
/// Source: Armitage, Berry and Matthews, "Statistical methods in medical research", 2002, chapter 4 (two means of large samples). 1 for an
/// empty side.
#[must_use]
pub fn mean_p(z: f64, baseline_n: u64, n: i64) -> f64 {
    let (a, b) = (baseline_n as f64, n.max(0) as f64);
    if a <= 0.0 || b <= 0.0 || z.is_nan() {
        return 1.0;
    }
    let x = z / (1.0 / a + 1.0 / b).sqrt();
    erfc(x / std::f64::consts::SQRT_2).clamp(0.0, 1.0)
}

/// z/(1+z): 0–1. Forewarn's own: it keeps the order, and a distance without bound can enter the score.
#[must_use]
pub fn scale(z: f64) -> f64 {
    z / (1.0 + z)
}

/// `part / whole`, 0 of nothing.
#[must_use]
pub fn share(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// How busy a fleet is, 0–1: 0.6 · mean CPU / 100 + 0.4 · `requests_share`, where `mean_cpu_pct` is in percent and
/// `requests_share` is the rate of prediction requests relative to its usual peak. The weights are Forewarn's own.
#[must_use]
pub fn load(mean_cpu_pct: f64, requests_share: f64) -> f64 {
    0.6 * (mean_cpu_pct / 100.0).clamp(0.0, 1.0) + 0.4 * requests_share.clamp(0.0, 1.0)
}

/// Values below which [`psi`] says nothing: of 60 values of identical data 96 % of the windows lie above 0.1.
pub const MIN_PSI_VALUES: i64 = 500;

/// Bins of [`psi`].
const PSI_BINS: usize = 10;

/// Population stability index: Σ (a − b) · ln(a / b) over about ten bins of equal baseline share; a the window's share, b the
/// baseline's, both at least 1e-4. `None` for fewer than [`MIN_PSI_VALUES`] on either side.
///
/// Source: Siddiqi, "Credit risk scorecards", 2006 (above 0.1 some, above 0.25 much); it is the symmetrised Kullback–Leibler divergence
/// of Jeffreys, 1946.
#[must_use]
pub fn psi(baseline: &[u64], counts: &[i64]) -> Option<f64> {
    const LEAST: f64 = 1e-4;
    let total_baseline: u64 = baseline.iter().sum();
    let total: i64 = counts.iter().map(|&count| count.max(0)).sum();
    if total < MIN_PSI_VALUES || total_baseline < MIN_PSI_VALUES.unsigned_abs() {
        return None;
    }
    let mut psi = 0.0;
    let (mut seen, mut held, mut here) = (0_u64, 0_u64, 0_i64);
    for (bin, &count) in baseline.iter().enumerate() {
        seen += count;
        held += count;
        here += counts.get(bin).copied().unwrap_or(0).max(0);
        let is_last = bin + 1 == baseline.len();
        if is_last {
            here += counts
                .iter()
                .skip(baseline.len())
                .map(|&c| c.max(0))
                .sum::<i64>();
        }
        // A bin is full at the next tenth of the baseline.
        let tenths = |n: u64| (n as f64 / total_baseline as f64 * PSI_BINS as f64 + 1e-9) as u64;
        if is_last || tenths(seen) > tenths(seen - held) {
            let b = (held as f64 / total_baseline as f64).max(LEAST);
            let a = (here as f64 / total as f64).max(LEAST);
            psi += (a - b) * (a / b).ln();
            (held, here) = (0, 0);
        }
    }
    Some(psi)
}

/// p-value of a two-sample Kolmogorov–Smirnov statistic for independent values: Kolmogorov's distribution at
/// (√n + 0.12 + 0.11/√n) · D, n = n₁·n₂/(n₁+n₂).
///
/// Source: Stephens, "Use of the Kolmogorov–Smirnov, Cramér–von Mises and related statistics without extensive tables", 1970.
/// 1 for an empty side.
#[must_use]
pub fn ks_p(statistic: f64, baseline_n: u64, n: i64) -> f64 {
    let (a, b) = (baseline_n as f64, n.max(0) as f64);
    if a <= 0.0 || b <= 0.0 {
        return 1.0;
    }
    let root = (a * b / (a + b)).sqrt();
    let x = (root + 0.12 + 0.11 / root) * statistic;
    if x < 0.2 {
        return 1.0;
    }
    let terms = (1_u8..=100).map(|k| {
        let k = f64::from(k);
        let sign = if k as i64 % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * k * k * x * x).exp()
    });
    terms.sum::<f64>().clamp(0.0, 1.0)
}

/// The median of `values`, the mean of the middle two for an even number; `None` of nothing. Not finite ones are left out.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    match values.len() % 2 {
        1 => Some(upper),
        _ => values
            .get(values.len() / 2 - 1)
            .map(|lower| 0.5 * (lower + upper)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sketch::{Sketch, bin_of};

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-12,
            "found {found}, expected {expected}"
        );
    }

    /// KS of two samples through the very histograms that panes hold.
    fn ks_of(baseline: &[f32], window: &[f32]) -> f64 {
        let mut sketch = Sketch::new();
        baseline.iter().for_each(|&value| sketch.add(value));
        let edges = sketch.edges();
        let mut counts = vec![0; edges.len() + 1];
        window
            .iter()
            .for_each(|&value| counts[bin_of(&edges, value)] += 1);
        ks(&sketch.counts(&edges), &counts)
    }

    #[test]
    fn ks_as_scipy_has_it() {
        // scipy.stats.ks_2samp(a, b).statistic, SciPy 1.17.1.
        let a: Vec<f32> = (1_u8..=10).map(f32::from).collect();
        let b: Vec<f32> = (3_u8..=14).map(f32::from).collect();
        near(ks_of(&a, &b), 0.333_333_333_333_333_3);
        // With ties: ks_2samp([0,0,0,0,1,2,3,4], [0,1,1,2,5,5]).
        near(
            ks_of(
                &[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0],
                &[0.0, 1.0, 1.0, 2.0, 5.0, 5.0],
            ),
            0.333_333_333_333_333_3,
        );
        near(ks_of(&a, &a), 0.0);
        near(ks_of(&a, &[100.0]), 1.0);
        near(ks_of(&a, &[-100.0]), 1.0);
    }

    #[test]
    fn ks_of_many_values_is_right_to_a_bin() {
        // x = np.arange(1000)/10; y = x[::3] + 12.5; ks_2samp(x, y).statistic = 0.12674251497005993
        let x: Vec<f32> = (0..1_000_u16).map(|i| f32::from(i) / 10.0).collect();
        let y: Vec<f32> = x.iter().step_by(3).map(|value| value + 12.5).collect();
        let found = ks_of(&x, &y);
        assert!(
            found <= 0.126_742_515 && found > 0.126_742_515 - 1.0 / 60.0,
            "{found}"
        );
    }

    #[test]
    fn ks_without_data() {
        near(ks(&[], &[]), 0.0);
        near(ks(&[3, 4], &[0, 0]), 0.0);
        near(ks(&[0, 0], &[1, 0]), 1.0);
        // More bins than the baseline: they belong to its last.
        near(ks(&[1, 1], &[1, 0, 1]), 0.0);
        // A count that cannot be is no count.
        near(ks(&[1, 1], &[-5, 3]), 0.5);
    }

    #[test]
    fn psi_by_hand() {
        // Ten bins of 100; b = .1 each, a = .2, .1 × 8, 0 (at least 1e-4):
        // (.2-.1)*ln(2) + (1e-4-.1)*ln(1e-3) = 0.0693147 + 0.6900847
        let baseline = [100_u64; 10];
        let mut counts = [100_i64; 10];
        counts[0] = 200;
        counts[9] = 0;
        let found = psi(&baseline, &counts).unwrap();
        assert!((found - 0.759_399_5).abs() < 1e-6, "{found}");
        near(psi(&baseline, &[100; 10]).unwrap(), 0.0);
        assert_eq!(psi(&baseline, &[49; 10]), None);
        assert_eq!(psi(&[], &[600]), None);
        // Counts beyond the last bin belong to it.
        near(
            psi(&[500, 500], &[300, 100, 200]).unwrap(),
            psi(&[500, 500], &[300, 300]).unwrap(),
        );
    }

    #[test]
    fn ks_p_as_scipy_has_it() {
        // scipy.stats.kstwobign.sf((sqrt(50) + .12 + .11/sqrt(50)) * .2) = 0.031..: by hand 2*(e^-2x² - e^-8x²), x = 1.441324:
        // 2*(0.015684 - 6.05e-8) = 0.031368
        let x: f64 = (50.0_f64.sqrt() + 0.12 + 0.11 / 50.0_f64.sqrt()) * 0.2;
        let by_hand = 2.0 * ((-2.0 * x * x).exp() - (-8.0 * x * x).exp());
        assert!((ks_p(0.2, 100, 100) - by_hand).abs() < 1e-12);
        assert!((by_hand - 0.0314).abs() < 2e-4, "{by_hand}");
        // The same call, and for ks_2samp's 0.1267 of 1,000 and 300 values: n = sqrt(300*1000/1300),
        // scipy.stats.kstwobign.sf((n + .12 + .11/n) * .12674251497005993), SciPy 1.17.1.
        near(ks_p(0.2, 100, 100), 0.031_376_652_153_072_53);
        near(
            ks_p(0.126_742_514_970_059_93, 1_000, 300),
            0.001_064_157_296_522_839,
        );
        near(ks_p(0.0, 100, 100), 1.0);
        near(ks_p(1.0, 0, 100), 1.0);
    }

    #[test]
    fn z_by_hand() {
        near(z(14.0, 12.0, 4.0), 0.5);
        near(z(10.0, 12.0, 4.0), 0.5);
        near(z(5.0, 5.0, 0.0), 0.0);
        near(z(50.0, 5.0, 0.0), 0.0);
        near(z(50.0, 5.0, f64::NAN), 0.0);
        near(scale(0.0), 0.0);
        near(scale(1.0), 0.5);
        near(scale(3.0), 0.75);
        // Too far for a float: still a number.
        near(scale(z(f64::MAX, -1e308, 1e305)), 1.0);
    }

    #[test]
    fn distances_become_one() {
        let mut all = Distances::default();
        let of = |all: &Distances| {
            [Aggregate::Max, Aggregate::Mean, Aggregate::Sum].map(|by| all.aggregate(by))
        };
        assert_eq!(of(&all), [0.0; 3]);
        for z in [0.5, 2.0, 0.0] {
            all.add(z);
        }
        assert_eq!(of(&all), [2.0, 2.5 / 3.0, 2.5]);
        all.add(f64::MAX);
        all.add(f64::MAX);
        near(scale(all.aggregate(Aggregate::Sum)), 1.0);
    }

    #[test]
    fn mean_p_as_scipy_has_it() {
        // statrs' erfc is right to ten digits or so.
        let near = |found: f64, expected: f64| {
            assert!(
                (found - expected).abs() <= 1e-9 * expected,
                "found {found}, expected {expected}"
            );
        };
        // 2 * scipy.stats.norm.sf(.2 / sqrt(1/100 + 1/100)), SciPy 1.17.1; by hand: the 5 % of 1.96.
        near(mean_p(0.2, 100, 100), 0.157_299_207_050_285_13);
        near(mean_p(1.959_963_984_540_054 * 0.2_f64.sqrt(), 10, 10), 0.05);
        // 2 * norm.sf(.3 / sqrt(1/5000 + 1/200))
        near(mean_p(0.3, 5_000, 200), 3.178_973_761_746_524_6e-5);
        near(mean_p(0.0, 100, 100), 1.0);
        near(mean_p(5.0, 0, 100), 1.0);
        near(mean_p(5.0, 100, 0), 1.0);
        near(mean_p(f64::MAX, 100, 100), 0.0);
    }

    #[test]
    fn score_by_hand() {
        let raw = Measures {
            per: Some(0.5),
            dss: 0.4,
            fds: 0.25,
            anomaly_rate: 0.1,
        };
        near(raw.score(), 0.2 + 0.12 + 0.05 + 0.01);
        near(Measures { per: None, ..raw }.score(), 0.12 + 0.05 + 0.01);
        near(WEIGHT_PER + WEIGHT_DSS + WEIGHT_FDS + WEIGHT_ANOMALY, 1.0);
    }

    #[test]
    fn shares_loads_and_medians() {
        near(share(1, 4), 0.25);
        near(share(1, 0), 0.0);
        near(load(50.0, 0.0), 0.3);
        near(load(250.0, 2.0), 1.0);
        near(load(-1.0, -1.0), 0.0);
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([f64::NAN, 5.0, 1.0, 9.0]), Some(5.0));
    }
}
