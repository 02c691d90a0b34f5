//! R44: by how much one more conversation slows an agent's others down.
//!
//! An agent who has k at once and takes h(k) for each spends k × h(k) of waiting customers' time on them; one more adds
//! (k + 1) × h(k + 1) − k × h(k). Whoever adds least is chosen. h is what was observed of this agent at each level
//! ([`Speeds`]); a level that was not observed counts as the nearest observed one below it, else above. Of an agent of whom
//! nothing is known every further conversation counts with the queue's mean handling time, so that among such agents the one
//! with fewest is chosen, and they stand neither before nor behind all others.

use crate::ids::Millis;
use crate::view::{SPEED_LEVELS, Speeds};

/// Slowdowns may be negative (observations vary); keys are not: this is no slowdown.
const ZERO: u64 = 1 << 62;

/// Where an agent stands; the smaller is the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slowdown {
    /// Anything is known of their speed.
    pub(super) observed: bool,
    /// As a key; 0 where nothing was observed.
    pub(super) part: u64,
    /// Conversations at once.
    pub(super) held: u32,
}

impl Slowdown {
    /// All of whom nothing is known are before this, all others are not.
    pub(super) const FIRST_OBSERVED: Self = Self {
        observed: true,
        part: 0,
        held: 0,
    };

    pub(super) fn of(speeds: &Speeds, held: u32) -> Self {
        let time = |level: u32| match handle_ms(speeds, level) {
            Some(ms) => Some(i128::from(level) * i128::from(ms)),
            None => (level == 0).then_some(0),
        };
        let added = (time(held.saturating_add(1)).zip(time(held))).map(|(with, without)| with - without);
        Self {
            observed: added.is_some(),
            part: added.map_or(0, key),
            held,
        }
    }
}

/// What an agent of whom nothing is known stands with.
pub(super) fn unobserved(queue_handle_ms: Millis) -> u64 {
    key(i128::from(queue_handle_ms))
}

/// Milliseconds behind a key; 0 behind none.
pub(super) fn added_ms(part: u64) -> i64 {
    if part == 0 {
        return 0;
    }
    (i128::from(part) - i128::from(ZERO)) as i64
}

fn key(added_ms: i128) -> u64 {
    let bound = i128::from(ZERO - 1);
    (added_ms.clamp(-bound, bound) + i128::from(ZERO)) as u64
}

fn handle_ms(speeds: &Speeds, level: u32) -> Option<Millis> {
    let at = usize::try_from(level.checked_sub(1)?).map_or(SPEED_LEVELS, |at| at + 1);
    let (lower, higher) = speeds.handle_ms.split_at(at.min(SPEED_LEVELS));
    let observed = |ms: &&Millis| **ms > 0;
    let nearest = lower.iter().rev().find(observed).or(higher.iter().find(observed));
    nearest.copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speeds(handle_ms: &[u64]) -> Speeds {
        let mut speeds = Speeds::default();
        speeds.handle_ms[..handle_ms.len()].copy_from_slice(handle_ms);
        speeds
    }

    fn added(speeds: &Speeds, held: u32) -> i64 {
        added_ms(Slowdown::of(speeds, held).part)
    }

    #[test]
    fn one_more_adds_its_own_time_and_the_delay_of_the_others() {
        let known = speeds(&[100, 120, 150]);
        assert_eq!(added(&known, 0), 100);
        assert_eq!(added(&known, 1), 140);
        assert_eq!(added(&known, 2), 210);
        // Level 4 was not observed: as level 3.
        assert_eq!(added(&known, 3), 150);
        assert_eq!(added(&known, 100), 150);
    }

    #[test]
    fn a_gap_takes_the_nearest_below_else_above() {
        let gaps = speeds(&[0, 80, 0, 200]);
        assert_eq!(added(&gaps, 0), 80);
        assert_eq!(added(&gaps, 1), 80);
        assert_eq!(added(&gaps, 2), 80);
        assert_eq!(added(&gaps, 3), 4 * 200 - 3 * 80);
        // Faster with two than with one.
        assert_eq!(added(&speeds(&[300, 100]), 1), -100);
    }

    #[test]
    fn who_is_not_known_counts_with_the_queues_time() {
        let unknown = Slowdown::of(&Speeds::default(), 3);
        assert!(!unknown.observed && unknown.held == 3);
        assert_eq!(added_ms(unobserved(250)), 250);
        assert!(unobserved(u64::MAX) > unobserved(1) && added(&speeds(&[u64::MAX]), 5) > 0);
    }
}
