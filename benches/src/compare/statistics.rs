//! Whether two series differ by more than chance, when the values of each hang together.
//!
//! Values of neighbouring seconds are alike (a flush, a compaction, a neighbour on the machine), so a plain t-test takes noise for a
//! difference. The variance of a mean comes from the *long-run variance*: the sum of all autocovariances, weighted by Bartlett's kernel
//! (Newey and West, Econometrica 55, 1987), the estimator that latte (github.com/pkolaczk/latte) uses for the same purpose. How many
//! independent values a series is worth follows from it, and with that Welch's t-test (1947). Several comparisons at a time are corrected
//! by Holm's method (1979).

/// Lags are looked at up to this power of the number of values; with Bartlett's weights the far ones hardly count.
const BANDWIDTH_POWER: f64 = 0.4;
/// What a value is believed to carry of the one before, at most.
const CARRIED_MAX: f64 = 0.97;
/// A series is never worth less.
const WORTH_MIN: f64 = 2.0;

/// A mean with what is known of its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    pub mean: f64,
    /// Of the mean, not of the values.
    pub variance: f64,
    /// Independent values that it is worth.
    pub worth: f64,
}

/// The mean of values that stand in order of time.
pub fn of_series(values: &[f64]) -> Mean {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    if values.len() < 4 {
        return Mean {
            mean,
            variance: f64::INFINITY,
            worth: WORTH_MIN,
        };
    }
    let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let plain = covariance(&centred, 0);
    if plain <= 0.0 {
        return Mean {
            mean,
            variance: 0.0,
            worth: n,
        };
    }
    // First what a value carries of the one before is taken out, as far as that goes, and put back at the end: a kernel alone makes
    // the variance of such series too small (Andrews and Monahan, Econometrica 60, 1992). The estimate of it is itself too small, by
    // (1 + 3ρ) / n (Kendall 1954).
    let carried = covariance(&centred, 1) / plain;
    let carried = (carried + (1.0 + 3.0 * carried) / n).clamp(0.0, CARRIED_MAX);
    let rest: Vec<f64> = centred.windows(2).map(|pair| pair[1] - carried * pair[0]).collect();
    let bandwidth = n.powf(BANDWIDTH_POWER);
    let lags = 1..bandwidth.ceil() as usize;
    let weighted = lags.map(|lag| 2.0 * (1.0 - lag as f64 / bandwidth) * covariance(&rest, lag));
    let long_run = (covariance(&rest, 0) + weighted.sum::<f64>()) / (1.0 - carried).powi(2);
    // Values that alternate would be worth more than they are many: not believed.
    let worth = (n * plain / long_run.max(plain)).max(WORTH_MIN);
    Mean {
        mean,
        // The usual correction for the mean being estimated as well.
        variance: plain / (worth - 1.0).max(1.0),
        // The variance is not known better than by so many degrees of freedom (Priestley 1981, for Bartlett's kernel).
        worth: worth.min(1.0 + 1.5 * n / bandwidth),
    }
}

/// Of values whose mean is 0.
fn covariance(centred: &[f64], lag: usize) -> f64 {
    let products = centred[lag..].iter().zip(centred).map(|(a, b)| a * b);
    products.sum::<f64>() / centred.len() as f64
}

/// The mean of whole runs, each of which is one value.
pub fn of_runs(values: &[f64]) -> Mean {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let scatter: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Mean {
        mean,
        variance: scatter / (n - 1.0) / n,
        worth: n,
    }
}

/// Probability of a difference of this size or more by chance alone (Welch, two-sided).
pub fn by_chance(a: Mean, b: Mean) -> f64 {
    let variance = a.variance + b.variance;
    if variance.is_infinite() {
        return 1.0;
    }
    if variance <= 0.0 {
        return if a.mean == b.mean { 1.0 } else { 0.0 };
    }
    let t = (a.mean - b.mean) / variance.sqrt();
    let part = |mean: Mean| mean.variance.powi(2) / (mean.worth - 1.0).max(1.0);
    let freedom = variance.powi(2) / (part(a) + part(b));
    beta_regularised(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// Holm's correction: the probabilities as they count when all are looked at together.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut corrected = vec![1.0; probabilities.len()];
    let mut most: f64 = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        most = most
            .max(probabilities[at] * (probabilities.len() - rank) as f64)
            .min(1.0);
        corrected[at] = most;
    }
    corrected
}

/// Logarithm of the gamma function (Lanczos, g = 7), for x > 0.
fn ln_gamma(x: f64) -> f64 {
    const C: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = C
        .iter()
        .enumerate()
        .skip(1)
        .fold(C[0], |sum, (n, c)| sum + c / (x + n as f64));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The regularised incomplete beta function, by its continued fraction (Lentz's method; Numerical Recipes 6.4).
fn beta_regularised(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const STEPS: u32 = 500;
    const TINY: f64 = 1e-300;
    let safe = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / safe(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for m in (1..=STEPS).map(f64::from) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for step in [even, odd] {
            d = 1.0 / safe(1.0 + step * d);
            c = safe(1.0 + step / c);
            change = c * d;
            h *= change;
        }
        if (change - 1.0).abs() < 1e-14 {
            break;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    /// Values around `mean`, each of which carries `rho` of the one before.
    fn series(mean: f64, rho: f64, count: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut last = 0.0;
        let mut next = || {
            let noise: f64 = StandardNormal.sample(&mut rng);
            last = rho * last + (1.0 - rho * rho).sqrt() * noise;
            mean + last
        };
        (0..200).for_each(|_| {
            next();
        });
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn probabilities_are_those_of_tables() {
        // Two-sided 5 % and 1 % points of Student's t.
        for (t, freedom, p) in [
            (2.228, 10.0, 0.05),
            (3.169, 10.0, 0.01),
            (1.960, 1e7, 0.05),
            (12.706, 1.0, 0.05),
        ] {
            let found: f64 = beta_regularised(freedom / 2.0, 0.5, freedom / (freedom + t * t));
            assert!((found - p).abs() < 2e-4, "{t} {freedom}: {found}");
        }
    }

    #[test]
    fn a_series_that_hangs_together_is_worth_less() {
        let spread = |rho: f64| {
            let of = |seed| of_series(&series(10.0, rho, 400, seed)).variance;
            (0..20).map(of).sum::<f64>() / 20.0
        };
        // In theory 1 / 400, and (1 + ρ) / (1 − ρ) times as much: 9 for 0.8.
        assert!((0.8..1.3).contains(&(spread(0.0) * 400.0)), "{}", spread(0.0) * 400.0);
        assert!((6.5..12.0).contains(&(spread(0.8) * 400.0)), "{}", spread(0.8) * 400.0);
    }

    /// How many of 400 pairs of equal builds are told apart at 1 %.
    fn false_alarms(rho: f64, mean_of: fn(&[f64]) -> Mean) -> usize {
        let told = |seed: &u64| {
            let (a, b) = (series(10.0, rho, 120, 2 * seed), series(10.0, rho, 120, 2 * seed + 1));
            by_chance(mean_of(&a), mean_of(&b)) < 0.01
        };
        (1_000..1_400_u64).filter(told).count()
    }

    #[test]
    fn equal_builds_are_not_told_apart() {
        // 4 of 400 are expected; the estimate of the variance is itself uncertain.
        assert!(false_alarms(0.0, of_series) <= 12, "{}", false_alarms(0.0, of_series));
        assert!(false_alarms(0.6, of_series) <= 14, "{}", false_alarms(0.6, of_series));
        // And a test that does not know that values hang together would be wrong.
        assert!(false_alarms(0.6, of_runs) >= 60, "{}", false_alarms(0.6, of_runs));
    }

    #[test]
    fn a_slowdown_is_found() {
        let found = |seed: &u64| {
            let (a, b) = (series(10.0, 0.5, 120, 2 * seed), series(11.0, 0.5, 120, 2 * seed + 1));
            by_chance(of_series(&a), of_series(&b)) < 0.01
        };
        let count = (0..100_u64).filter(found).count();
        assert!(count >= 90, "{count} of 100");
    }

    #[test]
    fn many_comparisons_are_corrected() {
        let corrected = holm(&[0.01, 0.04, 0.03]);
        for (found, wanted) in corrected.iter().zip([0.03, 0.06, 0.06]) {
            assert!((found - wanted).abs() < 1e-12, "{corrected:?}");
        }
    }
}
