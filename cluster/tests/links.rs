//! The real links over simulated TCP, from one seed: three nodes call each other while hosts crash, networks are cut, one
//! way or both, and stall, and what is held arrives late.
//!
//! What must hold: a reply belongs to its call; every call ends by its deadline; the frames of one connection arrive in
//! order, and none twice on any; a peer that lives is not reported gone; what waits is bounded; equal seeds give equal runs.
//!
//! Without TLS, whose keys and nonces come from no seed.

#[path = "links/chatter.rs"]
mod chatter;
#[path = "links/sockets.rs"]
mod sockets;
#[path = "links/truth.rs"]
mod truth;

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use truth::{Seen, Truth};

const NODES: [u64; 3] = [1, 2, 3];
const SEEDS: u64 = 24;
const FAULTS_FOR: Duration = Duration::from_secs(12);
/// Links that broke are up again within this.
const QUIET: Duration = Duration::from_secs(6);

fn host(node: u64) -> String {
    format!("node-{node}")
}

/// tokio drops the tasks of a crashed host in an order that follows from their numbers, modulo a small power of two, and
/// they are numbered through the whole process: every run begins at a multiple, and no other goes on beside it.
fn align_task_numbers() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime can be built");
    let next = || {
        runtime
            .spawn(async {})
            .id()
            .to_string()
            .parse::<u64>()
            .expect("a number")
    };
    while next() % 64 != 0 {}
}

/// Runs one seed, on a thread of its own: seeds of libraries are kept per thread.
fn run(seed: u64) -> Seen {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    align_task_numbers();
    let running = std::thread::Builder::new().name(format!("links-{seed}"));
    let running = running.spawn(move || run_here(seed)).expect("a thread can be started");
    running.join().unwrap_or_else(|_| panic!("seed {seed} panicked"))
}

fn run_here(seed: u64) -> Seen {
    cluster::environment::seed_this_thread(seed);
    let truth = Truth::new();
    let mut simulation = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(FAULTS_FOR + 3 * QUIET)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .build();
    for node in NODES {
        let truth = truth.clone();
        simulation.host(host(node), move || chatter::run(node, seed, truth.clone()));
    }
    let mut driver = Driver {
        simulation: &mut simulation,
        truth: truth.clone(),
        random: SmallRng::seed_from_u64(seed),
    };
    driver.make_trouble();
    driver.go_on_for(QUIET);
    truth.demand_service(Duration::from_secs(2), driver.simulation.elapsed());
    truth.stop();
    driver.go_on_for(Duration::from_secs(3));
    truth.seen()
}

struct Driver<'a, 'b> {
    simulation: &'a mut turmoil::Sim<'b>,
    truth: Truth,
    random: SmallRng,
}

impl Driver<'_, '_> {
    fn go_on_for(&mut self, time: Duration) {
        let until = self.simulation.elapsed() + time;
        while self.simulation.elapsed() < until {
            self.truth.now(self.simulation.elapsed());
            self.simulation.step().expect("no host fails");
        }
    }

    fn go_on(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.random.random_range(ms);
        self.go_on_for(Duration::from_millis(ms));
    }

    fn make_trouble(&mut self) {
        self.go_on_for(Duration::from_secs(1));
        while self.simulation.elapsed() < FAULTS_FOR {
            let one = NODES[self.random.random_range(0..NODES.len())];
            let other = 1 + one % NODES.len() as u64;
            let (one, other, node) = (host(one), host(other), one);
            match self.random.random_range(0..6) {
                0 | 1 => self.crash(node),
                2 => {
                    self.truth.fired("partition");
                    self.simulation.partition(one.as_str(), other.as_str());
                    self.go_on(50..5_000);
                    self.simulation.repair(one.as_str(), other.as_str());
                }
                3 => {
                    self.truth.fired("one-way partition");
                    self.simulation.partition_oneway(one.as_str(), other.as_str());
                    self.go_on(50..5_000);
                    self.simulation.repair_oneway(one.as_str(), other.as_str());
                }
                4 => {
                    self.truth.fired("hold");
                    self.simulation.hold(one.as_str(), other.as_str());
                    self.go_on(50..5_000);
                    self.simulation.release(one.as_str(), other.as_str());
                }
                _ => self.go_on(100..1_500),
            }
            self.go_on(50..800);
        }
    }

    /// A process dies, which ends its connections; sometimes the machine, which ends none of them.
    fn crash(&mut self, node: u64) {
        let name = host(node);
        let loses_power = self.random.random_bool(0.3);
        let others = NODES.map(host).into_iter().filter(|other| *other != name);
        let others: Vec<String> = others.collect();
        if loses_power {
            others
                .iter()
                .for_each(|other| self.simulation.partition(name.as_str(), other.as_str()));
        }
        self.truth.fired(if loses_power { "power lost" } else { "crash" });
        self.truth.dies(node);
        self.simulation.crash(name.as_str());
        self.go_on(1..2_000);
        self.truth.lives(node);
        self.simulation.bounce(name.as_str());
        if loses_power {
            others
                .iter()
                .for_each(|other| self.simulation.repair(name.as_str(), other.as_str()));
        }
    }
}

#[test]
fn links_keep_their_promises() {
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        let seen = run(seed);
        assert!(seen.violations.is_empty(), "seed {seed}: {:#?}", seen.violations);
        all.add(&seen);
    }
    eprintln!("{SEEDS} seeds: {all:#?}");
    for fault in ["crash", "power lost", "partition", "one-way partition", "hold"] {
        assert!(all.count(fault) >= SEEDS / 4, "{fault} is too rare: {all:#?}");
    }
    for outcome in [
        "answered",
        "refused",
        "unreachable",
        "unknown",
        "busy",
        "down",
        "up",
        "goodbye",
    ] {
        assert!(all.count(outcome) > 0, "nothing was {outcome}: {all:#?}");
    }
    assert!(all.count("answered") > SEEDS * 1_000, "{all:#?}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [1, 5] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second);
        assert_ne!(first.trace, run(seed + 1_000).trace);
    }
}
