//! The formulas that decide, against values from NumPy 2.4.6.

use super::detector::{OF, persisting};
use super::scan::{Noise, Quiet, scan};
use super::season::HOURS;
use super::tail::Tail;

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
        "found {found}, expected {expected}"
    );
}

const NOISE: Noise = Noise {
    rho: 0.5,
    variance: 4.0,
    lag: 1,
};

#[track_caller]
fn check_step(values: &[f64], season_variance: f64, expected: Option<(f64, f64, usize)>) {
    let quiet = Quiet {
        noise: &NOISE,
        season_variance,
        weights: &[],
        only_up: false,
    };
    match (scan(values, &quiet), expected) {
        (Some(found), Some((evidence, size, length))) => {
            near(found.evidence, evidence);
            near(found.size, size);
            assert_eq!(found.length, length);
        }
        (None, None) => {}
        (found, expected) => panic!("found {found:?}, expected {expected:?}"),
    }
}

#[test]
fn a_step_is_that_of_generalised_least_squares() {
    // S = 4 * .5**|i - j|; P = inv(S); for each tau up to n - 6: h = (i >= tau); d = h@P@h; n = h@P@x;
    // evidence = .5 * n*n / (d * (1 + d * season_variance)), size = n / d. The largest is at tau = 3.
    let mut x = [1.0, -0.5, 0.2, 2.5, 3.0, 2.0, 2.8, 3.5, 2.2, 3.1];
    check_step(&x, 0.0, Some((2.992_666_666_666_666_6, 2.68, 7)));
    check_step(&x, 0.25, Some((2.476_689_655_172_413_6, 2.68, 7)));
    // Without the sixth value: its row and column left out of S.
    x[5] = f64::NAN;
    check_step(
        &x,
        0.0,
        Some((3.127_102_040_816_327, 2.767_346_938_775_51, 7)),
    );
    // Nothing is there, or too little.
    check_step(&[f64::NAN; 20], 0.0, None);
    check_step(&[1.0; 5], 0.0, None);
    let mut spike = [0.0; 20];
    spike[8..12].fill(9.0);
    // It does not stay: no step but that of nothing since.
    check_step(&spike, 0.0, Some((0.0, 0.0, 6)));
}

#[test]
fn errors_that_fall_are_no_step() {
    let x = [1.0, -0.5, 0.2, 2.5, 3.0, 2.0, 2.8, 3.5, 2.2, 3.1];
    let only_up = |values: &[f64]| {
        let quiet = Quiet {
            noise: &NOISE,
            season_variance: 0.0,
            weights: &[],
            only_up: true,
        };
        scan(values, &quiet)
    };
    near(only_up(&x).unwrap().evidence, 2.992_666_666_666_666_6);
    assert_eq!(only_up(&x.map(|value| -value)), None);
}

#[test]
fn noise_is_fitted_to_its_moments() {
    // r = sin(.7 i) + .3 cos(.05 i), i < 288: mean(r**2), sum(r[1:] * r[:-1]) / sum(.5 * (r[1:]**2 + r[:-1]**2)).
    let dense = |step: u16| (f64::from(step) * 0.7).sin() + 0.3 * (f64::from(step) * 0.05).cos();
    let values: Vec<f64> = (0..288).map(dense).collect();
    let noise = Noise::fit(&values).unwrap();
    near(noise.variance, 0.546_536_812_957_500_3);
    near(noise.rho, 0.785_574_328_375_827_2);
    assert_eq!(noise.lag, 1);
    // r = cos(.1 i)[::3], i < 600: the same, to the power of 1/3.
    let coarse = |step: u16| match step % 3 {
        0 => (f64::from(step) * 0.1).cos(),
        _ => f64::NAN,
    };
    let values: Vec<f64> = (0..600).map(coarse).collect();
    let noise = Noise::fit(&values).unwrap();
    near(noise.variance, 0.502_578_471_431_577_3);
    near(noise.rho, 0.984_889_815_449_256_4);
    assert_eq!(noise.lag, 3);
    // Half a day, and at least 24 values.
    assert!(Noise::fit(&values[..140]).is_none());
    assert!(Noise::fit(&[0.0; 288]).is_none());
}

#[test]
fn the_variance_of_a_mean_is_that_of_its_covariances() {
    // S.sum() / 100 of ten values, S as above; of four values two steps apart: S = 4 * .25**|i - j|.
    near(NOISE.variance_of_mean(10), 1.040_156_25);
    let apart = Noise { lag: 2, ..NOISE };
    near(apart.variance_of_mean(4), 1.445_312_5);
    near(NOISE.variance_of_mean(1), 4.0);
}

#[test]
fn hours_that_are_louder_count_less() {
    let noise = Noise {
        rho: 0.0,
        variance: 1.0,
        lag: 1,
    };
    let value = |step: usize| match step {
        0 => (4, 0.0),
        1..25 => (5, 2.0),
        _ => (6, 0.0),
    };
    let found = noise.by_hour((0..49).map(value));
    assert_eq!(found.len(), HOURS);
    // Weighed against 24 usual ones: (24 + 24 · 2²) / 48; (24 + 0) / 48 is less than the least.
    assert_eq!((found[4], found[5], found[6]), (1.0, 2.5, 0.7));
}

#[test]
fn the_tail_goes_on_from_its_mean_excess() {
    // m = arange(1, 101): a tenth lies above 90, on average by mean(91..100) - 90 = 5.5.
    let maxima: Vec<f64> = (1_u8..=100).map(f64::from).collect();
    let tail = Tail::fit(&maxima).unwrap();
    assert_eq!((tail.share, tail.from, tail.scale), (0.1, 90.0, 5.5));
    // 90 + 5.5 * log(.1 / (1 / 150 / 50))
    near(tail.level(1.0 / 150.0, 50), 126.410_402_635_916_97);
    // No lighter than half a squared Gaussian; nothing of too few.
    assert_eq!(Tail::fit(&[3.0; 40]).unwrap().scale, 1.0);
    assert_eq!(Tail::fit(&maxima[..19]), None);
}

#[test]
fn what_six_of_twelve_reach_persists() {
    let mut held = [0.0; OF];
    for (place, value) in held.iter_mut().zip([9.0, 1.0, 12.0, 4.0, 7.0, 3.0, 5.0]) {
        *place = value;
    }
    assert_eq!(persisting(held), 3.0);
    held[5] = 0.0;
    assert_eq!(persisting(held), 1.0);
    held[1] = 0.0;
    assert_eq!(persisting(held), 0.0);
}
