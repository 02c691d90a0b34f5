//! Markov chains in continuous time, solved numerically: for models without a formula.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Sweeps after which it is given up.
const SWEEPS_MAX: u32 = 200_000;
/// A sweep that moves no more than this part of the whole is the last.
const PRECISION: f64 = 1e-12;

/// The long-run distribution of the states that are reached from `first` by `moves` (state, rate), by Gauss-Seidel.
pub fn long_run<S: Ord + Copy>(first: S, moves: impl Fn(S) -> Vec<(S, f64)>) -> Result<Vec<(S, f64)>> {
    let (mut states, mut number) = (vec![first], BTreeMap::from([(first, 0)]));
    let mut into: Vec<Vec<(usize, f64)>> = vec![Vec::new()];
    let mut out: Vec<f64> = Vec::new();
    while out.len() < states.len() {
        let from = out.len();
        let next = moves(states[from]);
        out.push(next.iter().map(|(_, rate)| rate).sum());
        for (state, rate) in next {
            let to = *number.entry(state).or_insert_with(|| {
                states.push(state);
                into.push(Vec::new());
                states.len() - 1
            });
            into[to].push((from, rate));
        }
    }
    let mut weights = vec![1.0 / states.len() as f64; states.len()];
    for _ in 0..SWEEPS_MAX {
        let mut moved = 0.0;
        for to in 0..states.len() {
            let flow: f64 = into[to].iter().map(|&(from, rate)| weights[from] * rate).sum();
            let weight = flow / out[to];
            moved += (weight - weights[to]).abs();
            weights[to] = weight;
        }
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        if moved / sum < PRECISION {
            return Ok(states.into_iter().zip(weights).collect());
        }
    }
    bail!("the chain of {} states has not settled", states.len())
}

/// Two classes and their long run.
#[derive(Clone, Copy, Debug)]
pub struct TwoClasses {
    pub wait: [f64; 2],
    pub wait_probability: [f64; 2],
    pub queue: [f64; 2],
    /// Of the groups of agents.
    pub occupancy: [f64; 2],
}

/// So many wait at most in a chain: far beyond what matters where people leave.
fn longest(lambdas: [f64; 2], theta: f64, least: u32) -> u32 {
    // Without any service the queue would be Poisson with this mean.
    let mean = (lambdas[0] + lambdas[1]) / theta;
    least.max((mean + 9.0 * mean.sqrt() + 20.0).min(120.0) as u32)
}

/// N model: `dedicated` agents serve class 1 alone, `flexible` ones both. Class 1 goes to a dedicated agent while one is free; a flexible one who
/// becomes free takes class 2 first. Equal µ and θ.
pub fn n_model(lambdas: [f64; 2], mu: f64, theta: f64, dedicated: u32, flexible: u32) -> Result<TwoClasses> {
    type State = (u32, u32, u32, u32); // busy dedicated, busy flexible, waiting of class 1, of class 2
    let longest = longest(lambdas, theta, 60);
    let states = long_run((0, 0, 0, 0), |(d, f, q1, q2): State| {
        let mut moves = Vec::with_capacity(6);
        let first = match () {
            () if d < dedicated => (d + 1, f, q1, q2),
            () if f < flexible => (d, f + 1, q1, q2),
            () => (d, f, (q1 + 1).min(longest), q2),
        };
        let second = if f < flexible {
            (d, f + 1, q1, q2)
        } else {
            (d, f, q1, (q2 + 1).min(longest))
        };
        moves.push((first, lambdas[0]));
        moves.push((second, lambdas[1]));
        if d > 0 {
            let next = if q1 > 0 { (d, f, q1 - 1, q2) } else { (d - 1, f, q1, q2) };
            moves.push((next, f64::from(d) * mu));
        }
        if f > 0 {
            let next = match () {
                () if q2 > 0 => (d, f, q1, q2 - 1),
                () if q1 > 0 => (d, f, q1 - 1, q2),
                () => (d, f - 1, q1, q2),
            };
            moves.push((next, f64::from(f) * mu));
        }
        if q1 > 0 {
            moves.push(((d, f, q1 - 1, q2), f64::from(q1) * theta));
        }
        if q2 > 0 {
            moves.push(((d, f, q1, q2 - 1), f64::from(q2) * theta));
        }
        moves.retain(|(to, _)| *to != (d, f, q1, q2));
        moves
    })?;
    let mean = |value: &dyn Fn(State) -> f64| states.iter().map(|(state, p)| value(*state) * p).sum::<f64>();
    let queue = [mean(&|(_, _, q1, _)| q1.into()), mean(&|(_, _, _, q2)| q2.into())];
    Ok(TwoClasses {
        wait: [queue[0] / lambdas[0], queue[1] / lambdas[1]],
        wait_probability: [
            mean(&|(d, f, _, _)| f64::from(u8::from(d == dedicated && f == flexible))),
            mean(&|(_, f, _, _)| f64::from(u8::from(f == flexible))),
        ],
        queue,
        occupancy: [
            mean(&|(d, _, _, _)| f64::from(d) / f64::from(dedicated)),
            mean(&|(_, f, _, _)| f64::from(f) / f64::from(flexible)),
        ],
    })
}

/// V model with fixed shares of the queue: a server who becomes free takes the class that is furthest above its share of all who wait
/// (Gurvich and Whitt 2009); among equals, the first class. Equal µ and θ.
pub fn fixed_ratio(lambdas: [f64; 2], mu: f64, theta: f64, servers: u32, share: f64) -> Result<TwoClasses> {
    type State = (u32, u32, u32); // busy, waiting of class 1, of class 2
    let longest = longest(lambdas, theta, 60);
    let states = long_run((0, 0, 0), |(n, q1, q2): State| {
        let mut moves = Vec::with_capacity(5);
        if n < servers {
            moves.push(((n + 1, 0, 0), lambdas[0] + lambdas[1]));
        } else {
            moves.push(((n, (q1 + 1).min(longest), q2), lambdas[0]));
            moves.push(((n, q1, (q2 + 1).min(longest)), lambdas[1]));
        }
        let rate = f64::from(n) * mu;
        let all = f64::from(q1 + q2);
        let ahead = (f64::from(q1) - share * all) - (f64::from(q2) - (1.0 - share) * all);
        let first = match () {
            () if q2 == 0 => 1.0,
            () if q1 == 0 => 0.0,
            () => f64::from(u8::from(ahead > -1e-9)),
        };
        if q1 + q2 == 0 && n > 0 {
            moves.push(((n - 1, 0, 0), rate));
        }
        if q1 > 0 {
            moves.push(((n, q1 - 1, q2), rate * first + f64::from(q1) * theta));
        }
        if q2 > 0 {
            moves.push(((n, q1, q2 - 1), rate * (1.0 - first) + f64::from(q2) * theta));
        }
        moves.retain(|(to, rate)| *to != (n, q1, q2) && *rate > 0.0);
        moves
    })?;
    let mean = |value: &dyn Fn(State) -> f64| states.iter().map(|(state, p)| value(*state) * p).sum::<f64>();
    let queue = [mean(&|(_, q1, _)| q1.into()), mean(&|(_, _, q2)| q2.into())];
    let all_busy = mean(&|(n, _, _)| f64::from(u8::from(n == servers)));
    Ok(TwoClasses {
        wait: [queue[0] / lambdas[0], queue[1] / lambdas[1]],
        wait_probability: [all_busy; 2],
        queue,
        occupancy: [mean(&|(n, _, _)| f64::from(n) / f64::from(servers)); 2],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(is: f64, printed: f64, digits: i32) {
        let half = 0.5000001 * 10f64.powi(-digits);
        assert!((is - printed).abs() <= half, "{is} is not {printed} to {digits} digits");
    }

    #[test]
    fn n_model_as_printed() {
        let n = n_model([4.0, 3.0], 1.0, 0.5, 3, 4).expect("it settles");
        close(n.wait[0], 0.253968, 6);
        close(n.wait[1], 0.298929, 6);
        close(n.wait_probability[0], 0.558235, 6);
        close(n.wait_probability[1], 0.731147, 6);
        close(n.occupancy[0], 0.836727, 6);
        close(n.occupancy[1], 0.883373, 6);
    }

    #[test]
    fn fixed_ratio_as_printed() {
        let v = fixed_ratio([4.0, 6.0], 1.0, 0.5, 10, 0.2).expect("it settles");
        close(v.queue[0] + v.queue[1], 2.07826, 5);
        close(v.queue[0] / (v.queue[0] + v.queue[1]), 0.215, 3);
    }
}
