//! `kaiwa-bench sim`: the real state and queue manager, on virtual time, against exact results of queueing theory.

mod case;
mod chain;
pub(crate) mod exact;
mod measure;
mod model;
mod report;
pub(crate) mod statistics;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use case::{Case, Rates, Run};
use measure::Size;

/// What to simulate.
#[derive(Debug, Args)]
pub struct SimArgs {
    #[command(subcommand)]
    model: Chosen,
    #[command(flatten)]
    how: How,
}

/// How long, and how to tell.
#[derive(Debug, Args)]
struct How {
    /// Arrivals that count in each case (`1e6` is a number too); a fiftieth more come before
    #[arg(long, global = true, value_parser = whole_number, default_value = "1e6")]
    arrivals: u64,
    /// Batches for the confidence intervals
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(10..=10_000), default_value_t = 50)]
    batches: u64,
    /// Of the random numbers: equal seeds, equal results
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Cases at the same time
    #[arg(long, global = true, default_value_t = 1)]
    jobs: usize,
    /// The results as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Chosen {
    /// Erlang C: one class; with --theta Erlang A, whose customers lose patience
    Erlang {
        #[command(flatten)]
        rates: RateArgs,
        /// Arrivals per unit of time
        #[arg(long)]
        lambda: f64,
        /// Answer target of the service level, in units of time
        #[arg(long, default_value_t = 0.5)]
        target: f64,
    },
    /// V model: several classes, strict priority, the first of --lambda first
    Priorities {
        #[command(flatten)]
        rates: RateArgs,
        /// Arrivals per unit of time of each class
        #[arg(long, num_args = 1.., required = true, value_delimiter = ',')]
        lambda: Vec<f64>,
    },
    /// N model: some agents for class 1 alone, who are tried first; the others serve both and prefer class 2
    NModel {
        #[command(flatten)]
        rates: RateArgs,
        /// Arrivals per unit of time of both classes
        #[arg(long, num_args = 1.., required = true, value_delimiter = ',')]
        lambda: Vec<f64>,
        /// Agents for class 1 alone, of --agents in all
        #[arg(long)]
        dedicated: u32,
    },
    /// V model of two queues that keep given shares of all who wait (fixed queue ratio); the first goes first among equals
    Ratio {
        #[command(flatten)]
        rates: RateArgs,
        /// Arrivals per unit of time of both classes
        #[arg(long, num_args = 1.., required = true, value_delimiter = ',')]
        lambda: Vec<f64>,
        /// Their shares of the queue
        #[arg(long, num_args = 1.., required = true, value_delimiter = ',')]
        shares: Vec<f64>,
    },
    /// M_t/M/∞: arrivals that follow a sine, as many agents as it takes
    Load {
        /// Mean arrivals per unit of time
        #[arg(long, default_value_t = 100.0)]
        mean: f64,
        /// How far they go up and down
        #[arg(long, default_value_t = 60.0)]
        amplitude: f64,
        /// Length of a period
        #[arg(long, default_value_t = 24.0)]
        period: f64,
        /// Services per unit of time
        #[arg(long, default_value_t = 1.0)]
        mu: f64,
    },
    /// The whole table of exact results
    Table,
}

#[derive(Clone, Copy, Debug, Args)]
struct RateArgs {
    /// Services per unit of time and slot
    #[arg(long, default_value_t = 1.0)]
    mu: f64,
    /// Departures per unit of time of each who waits; 0: they stay
    #[arg(long, default_value_t = 0.0)]
    theta: f64,
    /// Agents
    #[arg(long)]
    agents: u32,
    /// Conversations that an agent holds at once
    #[arg(long, default_value_t = 1)]
    slots: u16,
}

impl RateArgs {
    fn rates(self) -> Rates {
        Rates {
            mu: self.mu,
            theta: self.theta,
            agents: self.agents,
            slots: self.slots,
        }
    }
}

fn two(what: &str, given: &[f64]) -> Result<[f64; 2]> {
    let two = <[f64; 2]>::try_from(given).ok();
    two.with_context(|| format!("--{what}: two numbers are wanted, {} were given", given.len()))
}

/// `10000`, `1e4`.
fn whole_number(text: &str) -> Result<u64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if number.fract() == 0.0 && (1e3..=1e11).contains(&number) {
        Ok(number as u64)
    } else {
        Err("a whole number from 1000 to 1e11".to_owned())
    }
}

/// Simulates and prints. `false`: a value disagrees with the exact one, or could not be told from others.
pub fn run(args: &SimArgs) -> Result<bool> {
    let cases = match &args.model {
        Chosen::Erlang { rates, lambda, target } => vec![case::erlang(*lambda, rates.rates(), *target)?],
        Chosen::Priorities { rates, lambda } => vec![case::priorities(lambda, rates.rates())?],
        Chosen::NModel {
            rates,
            lambda,
            dedicated,
        } => vec![case::n_model(two("lambda", lambda)?, rates.rates(), *dedicated)?],
        Chosen::Ratio { rates, lambda, shares } => {
            vec![case::fixed_ratio(
                two("lambda", lambda)?,
                two("shares", shares)?,
                rates.rates(),
            )?]
        }
        Chosen::Load {
            mean,
            amplitude,
            period,
            mu,
        } => vec![case::load(*mean, *amplitude, *period, *mu)?],
        Chosen::Table => table::cases()?,
    };
    let size = Size {
        arrivals: args.how.arrivals,
        batches: args.how.batches,
        seed: args.how.seed,
    };
    let runs = run_all(&cases, size, args.how.jobs)?;
    let mut out = io::stdout();
    if args.how.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report::json(&runs))?)?;
    } else {
        write!(out, "{}", report::text(&runs))?;
    }
    Ok(report::good(&runs))
}

/// Between the seeds of two cases that follow each other; no seed that people give comes near.
const SEEDS_APART: u64 = 1 << 32;

/// So many at the same time; the results in the order of the cases.
fn run_all(cases: &[Case], size: Size, jobs: usize) -> Result<Vec<Run>> {
    ensure!(jobs > 0, "--jobs must be above 0");
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(cases.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { break };
                    // Seeds of their own, so that cases do not all deviate alike.
                    let seed = size.seed.wrapping_add(number as u64 * SEEDS_APART);
                    let run = case.run(Size { seed, ..size });
                    done.lock()
                        .unwrap_or_else(|poisoned| poisoned.into_inner())
                        .push((number, run));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, run)| run).collect()
}
