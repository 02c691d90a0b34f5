//! Exact results of queueing theory that a simulation must reproduce. Rates are per unit of time, times in units of time.
//!
//! Erlang (1917) for waiting without abandonment; Palm (1957) and Garnett, Mandelbaum and Reiman (2002) with it; Cobham (1954) for
//! priorities; Eick, Massey and Whitt (1993) for infinite servers under a sinusoidal load. Where no formula is known, the
//! Markov chain of the model is solved numerically (`chain.rs`).

/// A single class of customers: λ arrivals, µ services per server, `theta` departures of each who waits (0: nobody leaves), `servers`.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    pub lambda: f64,
    pub mu: f64,
    pub theta: f64,
    pub servers: u32,
}

/// What holds in the long run.
#[derive(Clone, Copy, Debug)]
pub struct LongRun {
    /// P(W > 0).
    pub wait_probability: f64,
    /// E\[W\] over all who come.
    pub wait: f64,
    /// Share of those who leave without service.
    pub abandonment: f64,
    /// E\[Q\].
    pub queue: f64,
    /// Share of the servers that is busy.
    pub occupancy: f64,
}

/// Erlang B: the share that finds all servers busy when nobody waits; `a` = λ/µ.
pub fn erlang_b(a: f64, servers: u32) -> f64 {
    (1..=servers).fold(1.0, |b, k| a * b / (f64::from(k) + a * b))
}

impl Station {
    fn capacity(&self) -> f64 {
        f64::from(self.servers) * self.mu
    }

    /// Whether there is a long run: somebody leaves, or there is more service than work.
    pub fn stable(&self) -> bool {
        self.theta > 0.0 || self.lambda < self.capacity()
    }

    /// π of all servers busy and k waiting, relative to that of k = 0, as long as it matters.
    fn queue_weights(&self) -> Vec<f64> {
        let mut weights = vec![1.0];
        let mut last = 1.0;
        for waiting in 1.. {
            last *= self.lambda / (self.capacity() + f64::from(waiting) * self.theta);
            weights.push(last);
            // Past the largest, and nothing to the sum any more.
            let falling = self.lambda < self.capacity() + f64::from(waiting) * self.theta;
            if falling && last < 1e-17 || weights.len() > 10_000_000 {
                break;
            }
        }
        weights
    }

    /// P(W > 0): all servers busy. By Erlang B, the part where not all are busy is known.
    fn wait_probability(&self, weights: &[f64]) -> f64 {
        let b = erlang_b(self.lambda / self.mu, self.servers);
        let busy: f64 = weights.iter().sum();
        // In units of π_n: all states up to n weigh 1/b.
        busy / (1.0 / b - 1.0 + busy)
    }

    /// Erlang C or Erlang A.
    pub fn long_run(&self) -> LongRun {
        let weights = self.queue_weights();
        let wait_probability = self.wait_probability(&weights);
        let busy: f64 = weights.iter().sum();
        let waiting: f64 = weights.iter().enumerate().map(|(k, weight)| k as f64 * weight).sum();
        let queue = wait_probability * waiting / busy;
        let abandonment = self.theta * queue / self.lambda;
        LongRun {
            wait_probability,
            wait: queue / self.lambda,
            abandonment,
            queue,
            occupancy: self.lambda * (1.0 - abandonment) / self.capacity(),
        }
    }

    /// Share of all who come that is served within `target`. The wait that is offered to who has endless patience has the
    /// density λπ₍n−1₎·exp(λ∫₀ˣe^{−θu}du − nµx) (Baccelli and Hebuterne 1981); a share e^{−θx} is still there after x.
    pub fn service_level(&self, target: f64) -> f64 {
        let weights = self.queue_weights();
        let busy: f64 = weights.iter().sum();
        let wait_probability = self.wait_probability(&weights);
        // π_{n−1}·λ = π_n·nµ
        let at_zero = wait_probability / busy * self.capacity();
        let (lambda, theta, capacity) = (self.lambda, self.theta, self.capacity());
        let served_after = |x: f64| {
            let came = if theta > 0.0 {
                lambda * -(-theta * x).exp_m1() / theta
            } else {
                lambda * x
            };
            at_zero * (came - capacity * x - theta * x).exp()
        };
        1.0 - wait_probability + simpson(served_after, target, 2_000)
    }

    /// Class 1 under non-preemptive priority over others who have the same µ and θ: watched while all servers are busy, its queue
    /// is a birth-death chain of its own. `self` is all classes together; gives E\[Q₁\].
    pub fn queue_of_the_first(&self, lambda: f64) -> f64 {
        let all = self.long_run();
        let first = Self { lambda, ..*self };
        let weights = first.queue_weights();
        let waiting: f64 = weights.iter().enumerate().map(|(k, weight)| k as f64 * weight).sum();
        all.wait_probability * waiting / weights.iter().sum::<f64>()
    }
}

fn simpson(f: impl Fn(f64) -> f64, until: f64, steps: u32) -> f64 {
    let width = until / f64::from(steps);
    let inner: f64 = (1..steps)
        .map(|k| f(f64::from(k) * width) * if k % 2 == 1 { 4.0 } else { 2.0 })
        .sum();
    (f(0.0) + inner + f(until)) * width / 3.0
}

/// E\[W\] of each class under strict non-preemptive priority, the first class first, with equal µ and θ.
pub fn priority_waits(station: &Station, lambdas: &[f64]) -> Vec<f64> {
    let mut before = (0.0, 0.0);
    lambdas
        .iter()
        .map(|lambda| {
            // The classes up to this one together are a first class towards all others.
            let together = before.0 + lambda;
            let queue = station.queue_of_the_first(together);
            let own = queue - before.1;
            before = (together, queue);
            own / lambda
        })
        .collect()
}

/// Mean number in service of M_t/M/∞ with λ(t) = `mean` + `amplitude`·sin(ωt).
pub fn offered_load(mean: f64, amplitude: f64, omega: f64, mu: f64, t: f64) -> f64 {
    let (scale, phase) = (omega / mu, omega * t);
    (mean + amplitude * (phase.sin() - scale * phase.cos()) / (1.0 + scale * scale)) / mu
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(is: f64, printed: f64, digits: i32) {
        let half = 0.5000001 * 10f64.powi(-digits);
        assert!((is - printed).abs() <= half, "{is} is not {printed} to {digits} digits");
    }

    fn station(lambda: f64, mu: f64, theta: f64, servers: u32) -> Station {
        Station {
            lambda,
            mu,
            theta,
            servers,
        }
    }

    /// Erlang C: P(W > 0) when everybody waits.
    fn erlang_c(a: f64, servers: u32) -> f64 {
        let (b, rho) = (erlang_b(a, servers), a / f64::from(servers));
        b / (1.0 - rho * (1.0 - b))
    }

    #[test]
    fn erlang_c_as_printed() {
        for (lambda, servers, target, p, wait, level) in [
            (4.0, 5, 0.5, 0.55411, 0.55411, 0.66391),
            (8.0, 10, 0.5, 0.40918, 0.20459, 0.84947),
            (100.0, 105, 0.1, 0.51571, 0.10314, 0.68721),
        ] {
            let station = station(lambda, 1.0, 0.0, servers);
            let long_run = station.long_run();
            close(erlang_c(lambda, servers), p, 5);
            close(long_run.wait_probability, p, 5);
            close(long_run.wait, wait, 5);
            close(station.service_level(target), level, 5);
            let closed_form = 1.0 - p * (-(f64::from(servers) - lambda) * target).exp();
            close(closed_form, level, 4);
        }
    }

    #[test]
    fn erlang_a_as_printed() {
        for (lambda, mu, theta, servers, target, p, abandonment, wait, level, occupancy) in [
            (4.0, 1.0, 0.5, 5, 0.5, 0.41505, 0.07797, 0.15594, 0.82521, 0.73763),
            (
                10.0,
                1.0,
                0.5,
                10,
                1.0 / 3.0,
                0.61966,
                0.10391,
                0.20783,
                0.67421,
                0.89609,
            ),
            (
                12.0,
                1.0,
                0.5,
                10,
                1.0 / 3.0,
                0.85038,
                0.19566,
                0.39131,
                0.39897,
                0.96521,
            ),
            (105.0, 1.0, 2.0, 100, 0.1, 0.59222, 0.07396, 0.03698, 0.81632, 0.97234),
            (3.6, 0.125, 0.5, 30, 0.5, 0.30692, 0.07793, 0.15587, 0.82397, 0.88518),
        ] {
            let station = station(lambda, mu, theta, servers);
            let long_run = station.long_run();
            close(long_run.wait_probability, p, 5);
            close(long_run.abandonment, abandonment, 5);
            close(long_run.wait, wait, 5);
            close(long_run.occupancy, occupancy, 5);
            close(station.service_level(target), level, 5);
        }
        close(station(10.0, 1.0, 0.5, 10).long_run().queue, 2.07826, 5);
    }

    #[test]
    fn priorities_as_printed() {
        let waits = priority_waits(&station(8.0, 1.0, 0.0, 10), &[3.0, 5.0]);
        close(waits[0], 0.058454, 6);
        close(waits[1], 0.292272, 6);
        // Cobham: E[W_k] = C/(nµ) / ((1 − σ_{k−1})(1 − σ_k)).
        close(waits[1], erlang_c(8.0, 10) / 10.0 / (0.7 * 0.2), 9);
        let waits = priority_waits(&station(10.0, 1.0, 0.5, 10), &[4.0, 6.0]);
        close(waits[0], 0.088290, 6);
        close(waits[1], 0.287518, 6);
        close(0.5 * waits[0], 0.044145, 6);
        close(0.5 * waits[1], 0.143759, 6);
    }

    #[test]
    fn a_sinusoidal_load_as_printed() {
        let omega = std::f64::consts::TAU / 24.0;
        for (t, load) in [(0.0, 85.30), (6.0, 156.15), (12.0, 114.70), (18.0, 43.85)] {
            close(offered_load(100.0, 60.0, omega, 1.0, t), load, 2);
        }
    }
}
