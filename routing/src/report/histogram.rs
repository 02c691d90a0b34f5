//! Durations in logarithmic classes: they add up, and give percentiles to within an eighth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Classes per power of two.
const STEPS: u64 = 8;
const STEPS_LOG2: u32 = STEPS.ilog2();

/// How many durations fell into each class. Up to 7 ms a class is one value, above it an eighth of a power of two: a percentile
/// is too high by less than 12.5 %, never too low.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// By class; without zeros.
    classes: BTreeMap<u16, u64>,
}

fn class(ms: u64) -> u16 {
    if ms < STEPS {
        return ms as u16;
    }
    let octave = ms.ilog2() - STEPS_LOG2;
    let step = (ms >> octave) - STEPS;
    ((u64::from(octave) + 1) * STEPS + step) as u16
}

/// The largest value of a class.
fn upper_ms(class: u16) -> u64 {
    let class = u64::from(class);
    if class < STEPS {
        return class;
    }
    let (octave, step) = (class / STEPS - 1, class % STEPS);
    // In 128 bits: the last class ends at 2^64 - 1.
    let end = u128::from(STEPS + step + 1) << octave;
    u64::try_from(end - 1).unwrap_or(u64::MAX)
}

impl Histogram {
    /// One more.
    pub fn record(&mut self, ms: u64) {
        *self.classes.entry(class(ms)).or_default() += 1;
    }

    /// All of another.
    pub fn add(&mut self, other: &Self) {
        for (class, n) in &other.classes {
            *self.classes.entry(*class).or_default() += n;
        }
    }

    /// How many in all.
    pub fn count(&self) -> u64 {
        self.classes.values().sum()
    }

    /// Nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The end of the class that the `percent`-th of a hundred is in (nearest rank); `None` of nothing.
    pub fn percentile_ms(&self, percent: u8) -> Option<u64> {
        let count = self.count();
        let rank = (u128::from(count) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0u128;
        for (class, n) in &self.classes {
            seen += u128::from(*n);
            if seen >= rank {
                return Some(upper_ms(*class));
            }
        }
        None
    }

    /// Classes as (largest value, count), ascending.
    pub fn classes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.classes.iter().map(|(class, n)| (upper_ms(*class), *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_ends_less_than_an_eighth_above_its_values() {
        let mut last = 0;
        for ms in (0..100_000u64).chain((17..64).map(|bit| 1 << bit)).chain([u64::MAX]) {
            let upper = upper_ms(class(ms));
            assert!(upper >= ms, "{ms} is in a class up to {upper}");
            assert!(
                u128::from(upper - ms) * 8 <= u128::from(ms),
                "{ms} is in a class up to {upper}"
            );
            assert!(last <= class(ms), "classes ascend");
            last = class(ms);
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut waits = Histogram::default();
        assert_eq!(waits.percentile_ms(50), None);
        (1..=7).for_each(|ms| waits.record(ms));
        assert_eq!(waits.percentile_ms(50), Some(4));
        assert_eq!(waits.percentile_ms(90), Some(7));
        assert_eq!(waits.percentile_ms(0), Some(1));
        let mut twice = waits.clone();
        twice.add(&waits);
        assert_eq!((twice.count(), twice.percentile_ms(50)), (14, Some(4)));
    }
}
