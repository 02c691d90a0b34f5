//! What is read out of series of times: the dip that a fault leaves, when it is over, and whether something grows. Pure.

/// Intervals in a row that must be normal again: a single good one may be luck.
const CALM_INTERVALS: u64 = 3;

/// One message: when it was due and when it was acknowledged (`u64::MAX`: never), microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub due_us: u64,
    pub done_us: u64,
}

impl Span {
    /// From due to done.
    pub fn took_us(&self) -> u64 {
        self.done_us.saturating_sub(self.due_us)
    }
}

/// The middle one; the mean of the two in the middle of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

/// The value below or at which a share `q` of them lies.
pub fn quantile(values: &mut [u64], q: f64) -> Option<u64> {
    let at = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    (!values.is_empty()).then(|| *values.select_nth_unstable(at).1)
}

/// Messages due and not acknowledged, integrated over `from_us..until_us`: message-seconds.
pub fn owed(spans: &[Span], from_us: u64, until_us: u64) -> f64 {
    let within = |span: &Span| {
        span.done_us
            .min(until_us)
            .saturating_sub(span.due_us.max(from_us).min(until_us))
    };
    spans.iter().map(|span| within(span) as f64 / 1e6).sum()
}

/// How long after `from_us` the p99 of intervals of `interval_us`, by the time that messages were due, is within `limit_us` for good:
/// the begin of the first few such intervals in a row. `None`: not before `until_us`.
pub fn normal_after_us(spans: &[Span], from_us: u64, until_us: u64, interval_us: u64, limit_us: u64) -> Option<u64> {
    let intervals = until_us.saturating_sub(from_us) / interval_us;
    let mut taken: Vec<Vec<u64>> = vec![Vec::new(); intervals as usize];
    for span in spans.iter().filter(|span| span.due_us >= from_us) {
        if let Some(interval) = taken.get_mut(((span.due_us - from_us) / interval_us) as usize) {
            interval.push(span.took_us());
        }
    }
    let mut calm = 0;
    for (n, interval) in taken.iter_mut().enumerate() {
        // An interval in which nothing was due says nothing against it.
        let good = quantile(interval, 0.99).is_none_or(|p99_us| p99_us <= limit_us);
        calm = if good { calm + 1 } else { 0 };
        if calm == CALM_INTERVALS {
            return Some((n as u64 + 1 - CALM_INTERVALS) * interval_us);
        }
    }
    None
}

/// The longest time without any of `times_us` between `from_us` and `until_us`.
pub fn longest_gap_us(times_us: impl Iterator<Item = u64>, from_us: u64, until_us: u64) -> u64 {
    let mut times: Vec<u64> = times_us.filter(|at| (from_us..until_us).contains(at)).collect();
    times.extend([from_us, until_us]);
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

/// A straight line through points.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Slope {
    /// Growth by one of x.
    pub by: f64,
    /// Its standard error.
    pub error: f64,
}

impl Slope {
    /// It is above `limit` by more than chance (two standard errors).
    pub fn surely_above(&self, limit: f64) -> bool {
        self.by - 2.0 * self.error > limit
    }
}

/// Least squares through the means of `blocks` parts of the points: neighbours of one series hang together, and would make
/// the line look surer than it is. `None`: too few points.
pub fn slope(points: &[(f64, f64)], blocks: usize) -> Option<Slope> {
    let size = points.len() / blocks;
    if size == 0 || blocks < 3 {
        return None;
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let means: Vec<(f64, f64)> = points
        .chunks_exact(size)
        .take(blocks)
        .map(|block| {
            let (x, y): (Vec<f64>, Vec<f64>) = block.iter().copied().unzip();
            (mean(&x), mean(&y))
        })
        .collect();
    let (xs, ys): (Vec<f64>, Vec<f64>) = means.iter().copied().unzip();
    let (x_mean, y_mean) = (mean(&xs), mean(&ys));
    let spread: f64 = xs.iter().map(|x| (x - x_mean).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let by = means.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>() / spread;
    let left: f64 = means
        .iter()
        .map(|(x, y)| (y - y_mean - by * (x - x_mean)).powi(2))
        .sum();
    let error = (left / (blocks - 2) as f64 / spread).sqrt();
    Some(Slope { by, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message every 10 ms for 4 s, each done after 2 ms, but those due from 1 s on not before 1.5 s.
    fn with_a_dip() -> Vec<Span> {
        let done = |due_us: u64| {
            if due_us >= 1_000_000 {
                (due_us + 2_000).max(1_500_000)
            } else {
                due_us + 2_000
            }
        };
        let due = (0..400).map(|n| n * 10_000);
        due.map(|due_us| Span {
            due_us,
            done_us: done(due_us),
        })
        .collect()
    }

    #[test]
    fn the_area_of_the_dip_is_what_messages_waited_too_long() {
        let spans = with_a_dip();
        // Fifty messages, due evenly over half a second, wait for its end: 50 × 0.25 s, and half a step.
        let area = owed(&spans, 1_000_000, 2_000_000);
        let normal = owed(&spans, 0, 1_000_000);
        assert!((normal - 100.0 * 0.002).abs() < 1e-9, "{normal}");
        assert!((area - (50.0 * 0.255 + 50.0 * 0.002)).abs() < 0.01, "{area}");
        let never = [Span {
            due_us: 0,
            done_us: u64::MAX,
        }];
        assert_eq!(owed(&never, 1_000_000, 3_000_000), 2.0);
        assert_eq!(owed(&never, 0, 0), 0.0);
    }

    #[test]
    fn it_is_normal_again_when_intervals_in_a_row_are() {
        let mut spans = with_a_dip();
        let after = |spans: &[Span], until_us| normal_after_us(spans, 1_000_000, until_us, 100_000, 4_000);
        assert_eq!(after(&spans, 4_000_000), Some(500_000));
        assert_eq!(after(&spans, 1_700_000), None, "too short a look");
        // A relapse within the next intervals counts, one long after does not.
        spans[160].done_us += 50_000;
        assert_eq!(after(&spans, 4_000_000), Some(700_000));
        let calm: Vec<Span> = with_a_dip()
            .into_iter()
            .filter(|span| span.due_us < 1_000_000)
            .collect();
        assert_eq!(normal_after_us(&calm, 500_000, 1_000_000, 100_000, 4_000), Some(0));
    }

    #[test]
    fn gaps_reach_from_end_to_end() {
        let spans = with_a_dip();
        let done = || spans.iter().map(|span| span.done_us);
        assert_eq!(longest_gap_us(done(), 1_000_000, 3_000_000), 500_000);
        assert_eq!(longest_gap_us(std::iter::empty(), 5, 9), 4);
    }

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(quantile(&mut hundred, 0.99), Some(99));
        assert_eq!(quantile(&mut [7], 0.5), Some(7));
        assert_eq!(quantile(&mut [], 0.5), None);
    }

    #[test]
    fn growth_is_told_from_noise() {
        // Noise without a trend, and the same with one.
        let noise = |n: usize| ((n * 7_919) % 101) as f64 / 10.0;
        let flat: Vec<(f64, f64)> = (0..400).map(|n| (n as f64, 100.0 + noise(n))).collect();
        let growing: Vec<(f64, f64)> = flat.iter().map(|(x, y)| (*x, y + 0.05 * x)).collect();
        let (flat, growing) = (slope(&flat, 20).unwrap(), slope(&growing, 20).unwrap());
        assert!(!flat.surely_above(0.01), "{flat:?}");
        assert!(growing.surely_above(0.04) && !growing.surely_above(0.06), "{growing:?}");
        assert_eq!(slope(&[(0.0, 1.0)], 20), None);
        let line: Vec<(f64, f64)> = (0..40).map(|n| (n as f64, 3.0 * n as f64)).collect();
        let exact = slope(&line, 20).unwrap();
        assert!((exact.by - 3.0).abs() < 1e-9 && exact.error < 1e-9);
    }
}
