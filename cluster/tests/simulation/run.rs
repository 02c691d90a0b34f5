//! One run: what is run, what it gave, and the thread and runtime that it has for itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, RngSeed};

use super::world::World;

/// What is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything follows from it.
    pub seed: u64,
    /// How long faults are put in, simulated.
    pub faults_for: Duration,
    /// How long nothing happens before the end.
    pub quiet_for: Duration,
    /// openraft's `enable_leader_restore`: anything but `Some(false)` is a bug put in on purpose.
    pub leader_restore: Option<bool>,
    /// This node's clock is ten seconds ahead of the others'.
    pub fast_clock: Option<u64>,
}

impl Settings {
    /// A run without bugs of ours.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            faults_for: Duration::from_secs(7),
            quiet_for: Duration::ZERO,
            leader_restore: Some(false),
            fast_clock: None,
        }
    }

    /// With how many nodes it begins: bridges and rings want five.
    pub fn nodes(&self) -> u64 {
        if self.seed % 4 == 3 { 5 } else { 3 }
    }

    /// Whether states are so large that a snapshot travels in several chunks.
    pub fn large_states(&self) -> bool {
        self.seed.is_multiple_of(3)
    }
}

/// What a run gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What did not hold; empty when all is well.
    pub violations: Vec<String>,
    /// A hash over everything that happened, with its time.
    pub trace: u64,
    /// Commands acknowledged.
    pub acknowledged: u64,
    /// Commands whose outcome was unknown.
    pub unknown: u64,
    /// Commands that were certainly not proposed.
    pub refused: u64,
    /// Reads that were checked.
    pub reads: u64,
    /// Terms with a leader.
    pub terms: u64,
    /// Snapshots that came from another replica.
    pub snapshots_received: u64,
    /// How long it was, simulated.
    pub simulated_ms: u64,
    /// How often each fault fired.
    pub fired: BTreeMap<&'static str, u64>,
    /// Who led when the run ended.
    pub last_leader: Option<u64>,
}

impl Report {
    /// Sums of several runs.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.reads += other.reads;
        self.terms += other.terms;
        self.snapshots_received += other.snapshots_received;
        self.simulated_ms += other.simulated_ms;
        for (fault, times) in &other.fired {
            *self.fired.entry(fault).or_default() += times;
        }
    }
}

/// Runs one seed, on a thread of its own: some libraries keep random state per thread.
pub fn run(settings: Settings) -> Report {
    let thread = std::thread::Builder::new().name(format!("seed-{}", settings.seed));
    let running = thread
        .spawn(move || run_here(settings))
        .expect("a thread can be started");
    match running.join() {
        Ok(report) => report,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
            Report {
                violations: vec![format!("panicked: {}", text.unwrap_or_default())],
                ..Report::default()
            }
        }
    }
}

/// Runs seeds, as many at a time as there are cores, until one is to be the last; in no order.
pub fn run_all(
    seeds: std::ops::Range<u64>,
    each: impl Fn(u64) -> Settings + Sync,
    take: impl FnMut(u64, Report) -> bool + Send,
) {
    let next = AtomicU64::new(seeds.start);
    let take = Mutex::new((take, true));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || !take.lock().1 {
                        return;
                    }
                    let report = run(each(seed));
                    let (take, goes_on) = &mut *take.lock();
                    *goes_on &= take(seed, report);
                }
            });
        }
    });
}

fn run_here(settings: Settings) -> Report {
    cluster::environment::seed_this_thread(settings.seed);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&settings.seed.to_le_bytes()))
        .build()
        .expect("a runtime can be built");
    let report = runtime.block_on(async { World::new(settings).run().await });
    // Tasks of crashed nodes may wait for ever; they end with the runtime.
    runtime.shutdown_background();
    report
}
