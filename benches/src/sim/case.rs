//! A model with what theory says of it, and running it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use routing::event::Event;
use routing::ids::Millis;
use routing::settings::{CrossQueue, CrossQueueTerms};
use routing::simulation::{Counts, Outcome, Sink};
use routing::state::Tenant;

use super::chain;
use super::exact::{self, Station};
use super::measure::{Measure, Quantity, Size};
use super::model::{Class, Group, Model, Rate, START, TICKS};
use super::statistics::{Batches, Estimate};

/// A model, and what must come out.
pub struct Case {
    pub title: String,
    pub model: Model,
    pub wanted: Wanted,
}

/// What must come out.
pub enum Wanted {
    /// Long-run means.
    Means(Vec<(Quantity, f64)>),
    /// In service at these parts of a period.
    Load { period: f64, at: Vec<(f64, f64)> },
}

/// One value, simulated and exact.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub simulated: Estimate,
    pub exact: f64,
}

/// A case that was run.
pub struct Run {
    pub title: String,
    pub arrivals: u64,
    pub rows: Vec<Row>,
    /// Nothing was refused, and everybody was served or left.
    pub orderly: bool,
    pub took: Duration,
}

/// Rates of classes that share µ and θ, and who serves them.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub mu: f64,
    pub theta: f64,
    pub agents: u32,
    pub slots: u16,
}

impl Rates {
    fn station(&self, lambda: f64) -> Result<Station> {
        let station = Station {
            lambda,
            mu: self.mu,
            theta: self.theta,
            servers: self.agents * u32::from(self.slots),
        };
        ensure!(
            lambda > 0.0 && self.mu > 0.0 && self.theta >= 0.0 && station.servers > 0,
            "rates and agents must be above 0"
        );
        ensure!(
            station.stable(),
            "more work than service: without --theta the queue grows for ever"
        );
        Ok(station)
    }

    fn class(&self, lambda: f64, queue: usize, priority: u8) -> Class {
        Class {
            rate: Rate::Constant(lambda),
            mu: self.mu,
            theta: self.theta,
            queue,
            priority,
        }
    }

    fn group(&self, agents: u32, serves: Vec<(usize, u16)>) -> Group {
        Group {
            agents,
            slots: self.slots,
            serves,
        }
    }

    fn about(&self, lambdas: &[f64]) -> String {
        let lambdas: Vec<String> = lambdas.iter().map(f64::to_string).collect();
        let theta = if self.theta > 0.0 {
            format!(", θ {}", self.theta)
        } else {
            String::new()
        };
        let slots = if self.slots == 1 {
            String::new()
        } else {
            format!(" × {} slots", self.slots)
        };
        let (lambdas, mu, agents) = (lambdas.join(" and "), self.mu, self.agents);
        format!("λ {lambdas}, µ {mu}{theta}, {agents} agents{slots}")
    }
}

/// The laws that hold for any policy.
fn laws(wanted: &mut Vec<(Quantity, f64)>, classes: usize, theta: f64) {
    for class in 0..classes {
        wanted.push((Quantity::LittlesLaw(class), 0.0));
        if theta > 0.0 {
            wanted.push((Quantity::AbandonmentLaw(class), 0.0));
        }
    }
}

/// Erlang C, or with `theta` Erlang A.
pub fn erlang(lambda: f64, rates: Rates, target: f64) -> Result<Case> {
    let station = rates.station(lambda)?;
    let long_run = station.long_run();
    let mut wanted = vec![
        (Quantity::WaitProbability(None), long_run.wait_probability),
        (Quantity::Wait(None), long_run.wait),
        (Quantity::ServiceLevel(None), station.service_level(target)),
        (Quantity::Occupancy(0), long_run.occupancy),
        (Quantity::Queue(None), long_run.queue),
    ];
    if rates.theta > 0.0 {
        wanted.insert(1, (Quantity::Abandonment(None), long_run.abandonment));
    }
    laws(&mut wanted, 1, rates.theta);
    let name = if rates.theta > 0.0 { "Erlang A" } else { "Erlang C" };
    Ok(Case {
        title: format!("{name}: {}, T {target:.3}", rates.about(&[lambda])),
        model: Model {
            classes: vec![rates.class(lambda, 0, 5)],
            groups: vec![rates.group(rates.agents, vec![(0, 0)])],
            queues: one_queue(),
            cross_queue: CrossQueue::default(),
            target,
        },
        wanted: Wanted::Means(wanted),
    })
}

/// V model: classes of falling priority in one queue.
pub fn priorities(lambdas: &[f64], rates: Rates) -> Result<Case> {
    ensure!(
        (1..=10).contains(&lambdas.len()),
        "there are ten priorities: give 1 to 10 rates"
    );
    let station = rates.station(lambdas.iter().sum())?;
    let (long_run, waits) = (station.long_run(), exact::priority_waits(&station, lambdas));
    let mut wanted = vec![
        (Quantity::WaitProbability(None), long_run.wait_probability),
        (Quantity::Queue(None), long_run.queue),
    ];
    for (class, wait) in waits.iter().enumerate() {
        wanted.push((Quantity::Wait(Some(class)), *wait));
        if rates.theta > 0.0 {
            wanted.push((Quantity::Abandonment(Some(class)), rates.theta * wait));
        }
    }
    laws(&mut wanted, lambdas.len(), rates.theta);
    let class = |(number, lambda): (usize, &f64)| rates.class(*lambda, 0, 9 - number as u8);
    Ok(Case {
        title: format!("V model, strict priority: {}", rates.about(lambdas)),
        model: Model {
            classes: lambdas.iter().enumerate().map(class).collect(),
            groups: vec![rates.group(rates.agents, vec![(0, 0)])],
            queues: one_queue(),
            cross_queue: CrossQueue::default(),
            target: 1.0,
        },
        wanted: Wanted::Means(wanted),
    })
}

/// N model: dedicated agents for class 1, and flexible ones for both, who prefer class 2.
pub fn n_model(lambdas: [f64; 2], rates: Rates, dedicated: u32) -> Result<Case> {
    rates.station(lambdas[0] + lambdas[1])?;
    ensure!(
        rates.theta > 0.0,
        "the N model needs --theta: its chain is solved for a finite queue"
    );
    ensure!(0 < dedicated && dedicated < rates.agents, "both groups need an agent");
    let slots = u32::from(rates.slots);
    let flexible = rates.agents - dedicated;
    let exact = chain::n_model(lambdas, rates.mu, rates.theta, dedicated * slots, flexible * slots)?;
    let mut wanted = Vec::new();
    for class in 0..2 {
        wanted.push((Quantity::Wait(Some(class)), exact.wait[class]));
        wanted.push((Quantity::WaitProbability(Some(class)), exact.wait_probability[class]));
        wanted.push((Quantity::Occupancy(class), exact.occupancy[class]));
    }
    laws(&mut wanted, 2, rates.theta);
    Ok(Case {
        title: format!(
            "N model, {dedicated} of them for class 1 alone: {}",
            rates.about(&lambdas)
        ),
        model: Model {
            classes: vec![rates.class(lambdas[0], 0, 5), rates.class(lambdas[1], 1, 5)],
            groups: vec![
                rates.group(dedicated, vec![(0, 0)]),
                rates.group(flexible, vec![(0, 1), (1, 0)]),
            ],
            queues: vec![ranked(1), ranked(0)],
            cross_queue: CrossQueue::StrictRank,
            target: 1.0,
        },
        wanted: Wanted::Means(wanted),
    })
}

/// V model of two classes with a queue each, which keep these shares of all who wait; where both are equally far above theirs, the first
/// is served, by its priority.
pub fn fixed_ratio(lambdas: [f64; 2], shares: [f64; 2], rates: Rates) -> Result<Case> {
    let station = rates.station(lambdas[0] + lambdas[1])?;
    ensure!(
        rates.theta > 0.0,
        "fixed ratios need --theta: the chain is solved for a finite queue"
    );
    let ratios = shares.map(|share| (share * 1e6).round() as u32);
    ensure!(
        ratios[0] > 0 && ratios[1] > 0 && ratios[0] + ratios[1] == 1_000_000,
        "--shares: two parts of 1, each above 0"
    );
    let exact = chain::fixed_ratio(lambdas, rates.mu, rates.theta, station.servers, shares[0])?;
    let all = exact.queue[0] + exact.queue[1];
    let mut wanted = vec![
        (Quantity::WaitProbability(None), exact.wait_probability[0]),
        (Quantity::Queue(None), station.long_run().queue),
        (Quantity::QueueShare(0), exact.queue[0] / all),
    ];
    wanted.extend([0, 1].map(|class| (Quantity::Wait(Some(class)), exact.wait[class])));
    wanted.push((Quantity::Occupancy(0), exact.occupancy[0]));
    laws(&mut wanted, 2, rates.theta);
    let queue = |ratio| CrossQueueTerms {
        ratio,
        ..CrossQueueTerms::default()
    };
    let [first, second] = shares;
    Ok(Case {
        title: format!(
            "V model, fixed queue ratio {first} / {second}: {}",
            rates.about(&lambdas)
        ),
        model: Model {
            classes: vec![rates.class(lambdas[0], 0, 6), rates.class(lambdas[1], 1, 5)],
            groups: vec![rates.group(rates.agents, vec![(0, 0), (1, 0)])],
            queues: ratios.map(queue).to_vec(),
            cross_queue: CrossQueue::FixedQueueRatio,
            target: 1.0,
        },
        wanted: Wanted::Means(wanted),
    })
}

fn one_queue() -> Vec<CrossQueueTerms> {
    vec![CrossQueueTerms::default()]
}

fn ranked(rank: u8) -> CrossQueueTerms {
    CrossQueueTerms {
        rank,
        ..CrossQueueTerms::default()
    }
}

/// M_t/M/∞: checks the generator of customers, and that the state holds as many as came and have not gone.
pub fn load(mean: f64, amplitude: f64, period: f64, mu: f64) -> Result<Case> {
    ensure!(
        mean > 0.0 && amplitude.abs() <= mean && period > 0.0 && mu > 0.0,
        "the rate must not be negative"
    );
    let omega = std::f64::consts::TAU / period;
    let quarters = (0..4).map(|quarter| f64::from(quarter) / 4.0);
    let at = quarters.map(|part| (part, exact::offered_load(mean, amplitude, omega, mu, part * period)));
    // So many that nobody ever waits.
    let highest = (mean + amplitude.abs()) / mu;
    let slots = (highest + 20.0 * highest.sqrt() + 50.0).min(f64::from(u16::MAX)) as u16;
    let class = Class {
        rate: Rate::Sinusoid { mean, amplitude, omega },
        mu,
        theta: 0.0,
        queue: 0,
        priority: 5,
    };
    Ok(Case {
        title: format!("M_t/M/∞: λ(t) {mean} + {amplitude}·sin(2πt/{period}), µ {mu}"),
        model: Model {
            classes: vec![class],
            groups: vec![Group {
                agents: 1,
                slots,
                serves: vec![(0, 0)],
            }],
            queues: one_queue(),
            cross_queue: CrossQueue::default(),
            target: 1.0,
        },
        wanted: Wanted::Load {
            period,
            at: at.collect(),
        },
    })
}

impl Case {
    /// Simulates it.
    pub fn run(&self, size: Size) -> Result<Run> {
        let began = Instant::now();
        let mut world = self.model.world()?;
        let customers = self.model.customers(size.all(), size.seed);
        let (rows, orderly) = match &self.wanted {
            Wanted::Means(wanted) => {
                let mut measure = Measure::new(&self.model, size);
                let counts = world.run(customers, &mut measure)?;
                let rows = wanted.iter().map(|&(quantity, exact)| Row {
                    name: self.name(quantity),
                    simulated: measure.of(quantity).estimate(),
                    exact,
                });
                (rows.collect(), measure.orderly(&counts))
            }
            Wanted::Load { period, at } => {
                let mut samples = Samples::new(*period, at, size.all());
                let counts = world.run(customers, &mut samples)?;
                let rows = at.iter().zip(&samples.taken).map(|(&(part, exact), taken)| Row {
                    name: format!("in service at t = {}", part * period),
                    simulated: taken.estimate(),
                    exact,
                });
                (rows.collect(), samples.orderly(&counts))
            }
        };
        Ok(Run {
            title: self.title.clone(),
            arrivals: size.arrivals,
            rows,
            orderly,
            took: began.elapsed(),
        })
    }

    fn name(&self, quantity: Quantity) -> String {
        let of = |class: Option<usize>| match class {
            Some(class) if self.model.classes.len() > 1 => format!(" of class {}", class + 1),
            _ => String::new(),
        };
        match quantity {
            Quantity::WaitProbability(class) => format!("P(W > 0){}", of(class)),
            Quantity::Wait(class) => format!("E[W]{}", of(class)),
            Quantity::Abandonment(class) => format!("P(abandon){}", of(class)),
            Quantity::ServiceLevel(class) => format!("service level{}", of(class)),
            Quantity::Queue(class) => format!("E[Q]{}", of(class)),
            Quantity::QueueShare(class) => format!("share of E[Q]{}", of(Some(class))),
            Quantity::Occupancy(group) if self.model.groups.len() > 1 => format!("occupancy of group {}", group + 1),
            Quantity::Occupancy(_) => "occupancy".to_owned(),
            Quantity::LittlesLaw(class) => format!("E[Q] − λE[W]{}", of(Some(class))),
            Quantity::AbandonmentLaw(class) => format!("P(abandon) − θE[W]{}", of(Some(class))),
        }
    }
}

/// Takes the number in service at the same moments of each period; the first period is not taken.
struct Samples {
    period_ms: u64,
    moments_ms: Vec<u64>,
    taken: Vec<Batches>,
    begin_ms: u64,
    busy: u32,
    /// Who is still to come: afterwards it empties.
    to_come: u64,
    waited: u64,
}

impl Samples {
    fn new(period: f64, at: &[(f64, f64)], to_come: u64) -> Self {
        Self {
            period_ms: (period * TICKS).round() as u64,
            moments_ms: at
                .iter()
                .map(|(part, _)| (part * period * TICKS).round() as u64)
                .collect(),
            taken: vec![Batches::default(); at.len()],
            begin_ms: (START * TICKS).round() as u64,
            busy: 0,
            to_come,
            waited: 0,
        }
    }

    fn orderly(&self, counts: &Counts) -> bool {
        self.waited == 0 && counts.refused_decisions.is_empty() && counts.refused_deeds.is_empty()
    }
}

impl Sink for Samples {
    fn ended(&mut self, outcome: &Outcome) {
        self.waited += u64::from(outcome.waited_ms > 0);
    }

    fn stood(&mut self, from_ms: Millis, until_ms: Millis, _: &Tenant) {
        if self.to_come == 0 {
            return;
        }
        // Which number of the moment (one each period) is within: of (from, until], if any.
        for (moment_ms, taken) in self.moments_ms.iter().zip(&mut self.taken) {
            let first_ms = self.begin_ms + self.period_ms + moment_ms;
            let passed = |at_ms: Millis| at_ms.checked_sub(first_ms).map_or(0, |ms| ms / self.period_ms + 1);
            for _ in passed(from_ms)..passed(until_ms) {
                taken.sums.push((f64::from(self.busy), 1.0));
            }
        }
    }

    fn event(&mut self, _: Millis, event: &Event) {
        match event {
            Event::Started { .. } => self.to_come -= 1,
            Event::Assigned { .. } => self.busy += 1,
            Event::Unassigned { .. } => self.busy -= 1,
            _ => {}
        }
    }
}
