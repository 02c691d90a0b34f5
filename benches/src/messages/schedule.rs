//! When each message is meant to be sent, and by whom: fixed before the run begins, whatever the cluster does.

use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// Independent of each other: exponential gaps, a random sender each time.
    Poisson,
    /// Equal gaps, senders in turn.
    Constant,
}

/// One message to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// From the start of the run.
    pub at: Duration,
    /// Who sends, below the number of senders.
    pub sender: usize,
}

/// The messages of one run, in order of time. Equal arguments, equal schedule.
pub struct Schedule {
    arrivals: Arrivals,
    rate: f64,
    senders: usize,
    end_s: f64,
    rng: SmallRng,
    at_s: f64,
    count: u64,
}

impl Schedule {
    /// `rate` messages per second over all `senders`, for `length`.
    pub fn new(arrivals: Arrivals, rate: f64, senders: usize, length: Duration, seed: u64) -> Self {
        Self {
            arrivals,
            rate,
            senders,
            end_s: length.as_secs_f64(),
            rng: SmallRng::seed_from_u64(seed),
            at_s: 0.0,
            count: 0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let sender = match self.arrivals {
            Arrivals::Poisson => {
                // 1 - u is in (0, 1]: its logarithm is finite.
                self.at_s += -(1.0 - self.rng.random::<f64>()).ln() / self.rate;
                self.rng.random_range(0..self.senders)
            }
            Arrivals::Constant => {
                // From the count, so that no error adds up.
                self.at_s = self.count as f64 / self.rate;
                (self.count % self.senders as u64) as usize
            }
        };
        self.count += 1;
        (self.at_s < self.end_s).then(|| Planned {
            at: Duration::from_secs_f64(self.at_s),
            sender,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(arrivals: Arrivals, seed: u64) -> Vec<Planned> {
        Schedule::new(arrivals, 1_000.0, 20, Duration::from_secs(10), seed).collect()
    }

    #[test]
    fn a_seed_gives_its_schedule_again() {
        assert_eq!(schedule(Arrivals::Poisson, 7), schedule(Arrivals::Poisson, 7));
        assert_ne!(schedule(Arrivals::Poisson, 7), schedule(Arrivals::Poisson, 8));
    }

    #[test]
    fn constant_arrivals_are_evenly_spread() {
        let planned = schedule(Arrivals::Constant, 1);
        assert_eq!(planned.len(), 10_000);
        for (n, planned) in planned.iter().enumerate() {
            let expected = Duration::from_millis(n as u64);
            assert!(
                planned.at.abs_diff(expected) < Duration::from_micros(1),
                "{n}: {planned:?}"
            );
            assert_eq!(planned.sender, n % 20);
        }
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_spread() {
        let planned = schedule(Arrivals::Poisson, 3);
        // Standard deviation of the count is 100: five of them.
        assert!(planned.len().abs_diff(10_000) < 500, "{}", planned.len());
        assert!(planned.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let gaps: Vec<f64> = planned.windows(2).map(|p| (p[1].at - p[0].at).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let variation = variance.sqrt() / mean; // 1 for exponential gaps, 0 for equal ones
        assert!((0.9..1.1).contains(&variation), "{variation}");
        for sender in 0..20 {
            let sent = planned.iter().filter(|planned| planned.sender == sender).count();
            assert!(sent.abs_diff(500) < 120, "sender {sender}: {sent}");
        }
    }
}
