//! The highest rate that keeps within a limit: up in steps, then halving, then once more for confirmation.

/// From one step up to the next.
const STEP: f64 = 1.5;
/// The search ends when the answer is known so closely.
const CLOSE_ENOUGH: f64 = 1.1;
/// Good runs in a row, beside the first, that make a rate confirmed.
const CONFIRMATIONS: u32 = 2;
/// Below this there is no point in looking.
const RATE_MIN: f64 = 1.0;

/// What the search knows so far.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The rate to try next.
    pub next: f64,
    /// Kept within the limit.
    good: Option<f64>,
    /// Did not.
    bad: Option<f64>,
    /// Further good runs at `good`.
    confirmed: u32,
}

impl Search {
    /// Begins at a rate.
    pub fn from(rate: f64) -> Self {
        Self {
            next: rate,
            good: None,
            bad: None,
            confirmed: 0,
        }
    }

    /// Learns how a run at `next` went.
    pub fn learn(&mut self, good: bool) {
        match (good, self.good == Some(self.next)) {
            (true, true) => self.confirmed += 1,
            (true, false) => {
                self.good = Some(self.next);
                self.confirmed = 0;
            }
            // It was luck: from here down.
            (false, true) => {
                self.bad = Some(self.next);
                self.good = None;
            }
            (false, false) => self.bad = Some(self.next),
        }
        self.next = match (self.good, self.bad) {
            (Some(good), Some(bad)) if bad / good <= CLOSE_ENOUGH => good,
            (Some(good), Some(bad)) => (good * bad).sqrt(),
            (Some(good), None) => good * STEP,
            (None, Some(bad)) => bad / CLOSE_ENOUGH.powi(2),
            (None, None) => self.next,
        };
    }

    /// `Some`: the search has ended, with or without a rate.
    pub fn ended(&self) -> Option<Option<f64>> {
        if self.confirmed >= CONFIRMATIONS {
            return Some(self.good);
        }
        (self.next < RATE_MIN).then_some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate found, and the number of runs, when the `n`th run at a rate goes as `good` says.
    fn search(from: f64, good: impl Fn(u32, f64) -> bool) -> (Option<f64>, u32) {
        let mut search = Search::from(from);
        for n in 0..100 {
            if let Some(found) = search.ended() {
                return (found, n);
            }
            search.learn(good(n, search.next));
        }
        panic!("the search does not end");
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for from in [10.0, 900.0, 1_100.0, 5_000.0] {
            let (found, runs) = search(from, |_, rate| rate <= 1_000.0);
            let found = found.unwrap();
            assert!(
                (1_000.0 / CLOSE_ENOUGH..=1_000.0).contains(&found),
                "from {from}: {found}"
            );
            assert!(runs <= 20, "from {from}: {runs} runs");
        }
    }

    #[test]
    fn luck_is_not_confirmed() {
        // 1,500 is good once, by luck.
        let (found, _) = search(1_000.0, |n, rate| rate <= 1_000.0 || (n == 1 && rate == 1_500.0));
        assert!((800.0..=1_000.0).contains(&found.unwrap()), "{found:?}");
    }

    #[test]
    fn nothing_is_found_where_nothing_is_good() {
        assert_eq!(search(100.0, |_, _| false).0, None);
    }
}
