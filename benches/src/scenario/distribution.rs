//! Times and numbers that are drawn: `"20s"`, `{ exponential = "3m" }`, `{ uniform = ["1s", "5s"] }`,
//! `{ log_normal = { median = "2m", p90 = "6m" } }`; numbers (`5`, `{ geometric = 5 }`) in the same way.

use node::toml_input::{Item, Mistakes, Place, Raw, Reader, duration_ms};
use rand::Rng;
use rand_distr::{Distribution as _, LogNormal};

/// The standard normal's 90th percentile.
const NORMAL_P90: f64 = 1.281_551_565_544_6;

/// What kind of values a scenario means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Written as durations, kept in milliseconds.
    Time,
    /// Plain numbers.
    Number,
}

/// How a value is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Constant(f64),
    /// With this mean.
    Exponential(f64),
    /// From, to.
    Uniform(f64, f64),
    /// By its median and its 90th percentile.
    LogNormal { median: f64, p90: f64 },
    /// Whole numbers from 1, with this mean.
    Geometric(f64),
}

impl Distribution {
    /// Draws one; never below 0.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        match *self {
            Self::Constant(value) => value,
            // 1 - u is in (0, 1]: its logarithm is finite.
            Self::Exponential(mean) => -mean * (1.0 - rng.random::<f64>()).ln(),
            Self::Uniform(from, to) => from + (to - from) * rng.random::<f64>(),
            Self::LogNormal { median, p90 } => match LogNormal::new(median.ln(), (p90 / median).ln() / NORMAL_P90) {
                Ok(law) => law.sample(rng),
                // Not reached: both are checked when they are read.
                Err(_) => median,
            },
            Self::Geometric(mean) if mean <= 1.0 => 1.0,
            Self::Geometric(mean) => 1.0 + ((1.0 - rng.random::<f64>()).ln() / (1.0 - 1.0 / mean).ln()).floor(),
        }
    }

    /// Its mean.
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Constant(value) | Self::Exponential(value) => value,
            Self::Geometric(mean) => mean.max(1.0),
            Self::Uniform(from, to) => f64::midpoint(from, to),
            Self::LogNormal { median, p90 } => {
                let sigma = (p90 / median).ln() / NORMAL_P90;
                median * (sigma * sigma / 2.0).exp()
            }
        }
    }

    /// Whether it is exponential, as the formulas of queueing theory assume.
    pub fn exponential(&self) -> bool {
        matches!(self, Self::Exponential(_))
    }
}

/// One value: a duration or a number.
pub fn scalar(item: &Item, unit: Unit) -> Option<f64> {
    match (&item.value, unit) {
        (Raw::Text(text), Unit::Time) => duration_ms(text).map(|ms| ms as f64),
        (Raw::Integer(number), Unit::Number) => Some(*number as f64),
        (Raw::Float(text), Unit::Number) => text.replace('_', "").parse().ok(),
        _ => None,
    }
    .filter(|value| value.is_finite() && *value >= 0.0)
}

fn wanted(unit: Unit) -> &'static str {
    match unit {
        Unit::Time => "a duration is written like \"20s\", \"250ms\" or \"1m30s\"",
        Unit::Number => "a number that is not negative is wanted",
    }
}

/// A value of a table that must be there.
pub fn needed(reader: &mut Reader<'_>, key: &'static str, unit: Unit, mistakes: &mut Mistakes) -> f64 {
    let Some(item) = reader.item(key) else {
        reader.wrong(key, mistakes, "missing", wanted(unit));
        return 0.0;
    };
    scalar(item, unit).unwrap_or_else(|| {
        let wrong = format!("{} does not fit", item.value.describe());
        reader.wrong(key, mistakes, wrong, wanted(unit));
        0.0
    })
}

/// A value of a table that may be left out.
pub fn optional(reader: &mut Reader<'_>, key: &'static str, unit: Unit, mistakes: &mut Mistakes) -> Option<f64> {
    reader.item(key)?;
    Some(needed(reader, key, unit, mistakes))
}

/// A distribution under a key, if it is there.
pub fn read(reader: &mut Reader<'_>, key: &'static str, unit: Unit, mistakes: &mut Mistakes) -> Option<Distribution> {
    let item = reader.item(key)?;
    if !matches!(item.value, Raw::Table(_)) {
        return Some(Distribution::Constant(needed(reader, key, unit, mistakes)));
    }
    let line = reader.line_of(key);
    let path = reader.path_of(key);
    let mut table = reader.table(key, mistakes)?;
    let mut found = Vec::new();
    if let Some(mean) = optional(&mut table, "exponential", unit, mistakes) {
        found.push(Distribution::Exponential(mean));
    }
    if unit == Unit::Number
        && let Some(mean) = optional(&mut table, "geometric", unit, mistakes)
    {
        found.push(Distribution::Geometric(mean));
    }
    if let Some(item) = table.item("uniform") {
        let pair = match &item.value {
            Raw::List(list) if list.len() == 2 => scalar(&list[0], unit).zip(scalar(&list[1], unit)),
            _ => None,
        };
        match pair {
            Some((from, to)) if from <= to => found.push(Distribution::Uniform(from, to)),
            _ => table.wrong(
                "uniform",
                mistakes,
                "no pair of values",
                "write [from, to], the smaller first",
            ),
        }
    }
    if let Some(mut law) = table.table("log_normal", mistakes) {
        let median = needed(&mut law, "median", unit, mistakes);
        let p90 = needed(&mut law, "p90", unit, mistakes);
        if !(median > 0.0 && p90 > median) {
            law.wrong(
                "p90",
                mistakes,
                "not above the median",
                "a median above 0 and a p90 above it are wanted",
            );
        }
        law.finish(mistakes);
        found.push(Distribution::LogNormal { median, p90 });
    }
    table.finish(mistakes);
    if found.len() != 1 && mistakes.is_empty() {
        let right = "say one of exponential, uniform, log_normal, or for numbers geometric";
        mistakes.add(
            Place::Line(line),
            &path,
            format!("{} distributions", found.len()),
            right,
        );
    }
    found.first().copied()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn draws_have_the_mean_that_is_said() {
        let all = [
            Distribution::Constant(3.0),
            Distribution::Exponential(40.0),
            Distribution::Uniform(2.0, 8.0),
            Distribution::LogNormal {
                median: 10.0,
                p90: 30.0,
            },
            Distribution::Geometric(5.0),
        ];
        for law in all {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let mean = (0..200_000).map(|_| law.draw(&mut rng)).sum::<f64>() / 200_000.0;
            assert!(
                (mean / law.mean() - 1.0).abs() < 0.02,
                "{law:?}: {mean} for {}",
                law.mean()
            );
        }
    }

    #[test]
    fn the_median_and_the_p90_are_those_that_are_said() {
        let law = Distribution::LogNormal {
            median: 10.0,
            p90: 30.0,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn: Vec<f64> = (0..100_000).map(|_| law.draw(&mut rng)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[50_000] - 10.0).abs() < 0.2 && (drawn[90_000] - 30.0).abs() < 0.8);
    }
}
