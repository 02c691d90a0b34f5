//! Estimates from batches, and how sure they are.

/// A long-run mean, batch by batch.
#[derive(Clone, Debug, Default)]
pub struct Batches {
    /// Sums of numerator and denominator.
    pub sums: Vec<(f64, f64)>,
    /// Of each batch, what is known to be 0 in the long run and tells how the batch deviates: control variates. None, or
    /// the same number in every batch.
    pub controls: Vec<Vec<f64>>,
}

/// A mean, and its standard error by the method of batch means.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    pub mean: f64,
    pub error: f64,
    /// Degrees of freedom.
    pub freedom: u32,
}

impl Batches {
    /// The ratio of the sums, corrected by regression on the controls (Lavenberg and Welch 1981); its error from how the batches
    /// scatter around that.
    pub fn estimate(&self) -> Estimate {
        let count = self.sums.len() as f64;
        let (above, below) = self.sums.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        let (ratio, below) = (above / below, below / count);
        let rest: Vec<f64> = self.sums.iter().map(|(x, y)| x - ratio * y).collect();
        let kinds = self.controls.first().map_or(0, Vec::len);
        let column = |kind: usize| self.controls.iter().map(move |controls| controls[kind]);
        let means: Vec<f64> = (0..kinds).map(|kind| column(kind).sum::<f64>() / count).collect();
        let centred: Vec<Vec<f64>> = (0..kinds)
            .map(|kind| column(kind).map(|control| control - means[kind]).collect())
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let products: Vec<Vec<f64>> = centred
            .iter()
            .map(|a| centred.iter().map(|b| dot(a, b)).collect())
            .collect();
        let slopes = solve(&products, centred.iter().map(|a| dot(a, &rest)).collect());
        let leverage = dot(&solve(&products, means.clone()), &means);
        let explained = |batch: usize| (0..kinds).map(|kind| slopes[kind] * centred[kind][batch]).sum::<f64>();
        let scatter: f64 = rest
            .iter()
            .enumerate()
            .map(|(n, rest)| (rest - explained(n)).powi(2))
            .sum();
        let freedom = count - 1.0 - kinds as f64;
        Estimate {
            mean: ratio - dot(&slopes, &means) / below,
            error: (scatter / freedom * (1.0 / count + leverage)).sqrt() / below,
            freedom: freedom as u32,
        }
    }
}

/// The solution of a small positive definite system; what is singular in it counts as 0.
fn solve(matrix: &[Vec<f64>], right: Vec<f64>) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = matrix
        .iter()
        .zip(&right)
        .map(|(row, r)| [&row[..], &[*r]].concat())
        .collect();
    let size = rows.len();
    for pivot in 0..size {
        if rows[pivot][pivot] <= 1e-9 * matrix[pivot][pivot] {
            rows[pivot].fill(0.0);
            continue;
        }
        let scaled: Vec<f64> = rows[pivot].iter().map(|value| value / rows[pivot][pivot]).collect();
        for (other, row) in rows.iter_mut().enumerate() {
            let factor = if other == pivot { 0.0 } else { row[pivot] };
            row.iter_mut()
                .zip(&scaled)
                .for_each(|(value, scaled)| *value -= factor * scaled);
        }
        rows[pivot] = scaled;
    }
    rows.into_iter().map(|row| row[size]).collect()
}

impl Estimate {
    /// Half the width of the interval that holds the true value with probability 1 − `alpha`.
    pub fn half_width(&self, alpha: f64) -> f64 {
        self.error * student(1.0 - alpha / 2.0, self.freedom)
    }
}

/// Quantile of the standard normal distribution, to nine digits (Acklam's rational approximation).
pub fn normal(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [
        7.784695709041462e-3,
        3.224671290700398e-1,
        2.445134137142996,
        3.754408661907416,
    ];
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if p > 0.5 {
        return -normal(1.0 - p);
    }
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        return polynomial(&C, q) / (polynomial(&D, q) * q + 1.0);
    }
    let q = p - 0.5;
    let r = q * q;
    polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
}

/// Quantile of Student's t (Abramowitz and Stegun 26.7.5): to three digits from ten degrees of freedom.
pub fn student(p: f64, freedom: u32) -> f64 {
    let (z, v) = (normal(p), f64::from(freedom));
    let g1 = (z.powi(3) + z) / 4.0;
    let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let g3 = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    let g4 = (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1_482.0 * z.powi(5) - 1_920.0 * z.powi(3) - 945.0 * z) / 92_160.0;
    z + g1 / v + g2 / v.powi(2) + g3 / v.powi(3) + g4 / v.powi(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_as_in_tables() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959964), (0.995, 2.575829), (0.00003, -4.012811)] {
            assert!((normal(p) - z).abs() < 1e-5, "{p}: {}", normal(p));
        }
        for (p, freedom, t) in [
            (0.975, 10, 2.2281),
            (0.975, 63, 1.9983),
            (0.9995, 30, 3.6460),
            (0.9995, 60, 3.4602),
        ] {
            assert!(
                (student(p, freedom) - t).abs() < 1e-3,
                "{p} {freedom}: {}",
                student(p, freedom)
            );
        }
    }

    fn plain(sums: Vec<(f64, f64)>) -> Batches {
        Batches {
            sums,
            controls: Vec::new(),
        }
    }

    #[test]
    fn a_ratio_of_sums_with_its_error() {
        let estimate = plain(vec![(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (2.0, 1.0)]).estimate();
        assert!((estimate.mean - 2.0).abs() < 1e-12);
        assert!(
            (estimate.error - (2.0f64 / 12.0).sqrt()).abs() < 1e-12,
            "as of a plain mean"
        );
        assert_eq!(estimate.freedom, 3);
        let proportional = plain(vec![(2.0, 1.0), (8.0, 4.0), (4.0, 2.0)]).estimate();
        assert!((proportional.mean - 2.0).abs() < 1e-12 && proportional.error < 1e-12);
    }

    #[test]
    fn controls_take_out_what_they_explain() {
        // 5 + 3a − 2b, and the true mean is that of a = b = 0.
        let controls = vec![
            vec![1.0, 0.5],
            vec![-0.5, 1.0],
            vec![2.0, -1.0],
            vec![0.5, 0.25],
            vec![-1.0, -2.0],
        ];
        let sums = controls.iter().map(|c| (5.0 + 3.0 * c[0] - 2.0 * c[1], 1.0)).collect();
        let estimate = Batches { sums, controls }.estimate();
        assert!((estimate.mean - 5.0).abs() < 1e-9, "{estimate:?}");
        assert!(estimate.error < 1e-9 && estimate.freedom == 2);
        // A control that says nothing new changes nothing but the degrees of freedom.
        let sums = vec![(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (2.0, 1.0), (2.0, 1.0)];
        let controls = vec![vec![0.0, 0.0]; 5];
        let estimate = Batches { sums, controls }.estimate();
        assert!((estimate.mean - 2.0).abs() < 1e-12);
    }
}
