//! One run: what is run, what it gave, and the thread and runtime that it has for itself.

use std::time::Duration;

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
    /// Disks that call back before they have flushed: a bug put in on purpose.
    pub acknowledge_before_flush: bool,
}

impl Settings {
    /// A run without bugs of ours.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            faults_for: Duration::from_secs(6),
            quiet_for: Duration::ZERO,
            leader_restore: Some(false),
            acknowledge_before_flush: false,
            fast_clock: None,
        }
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
    /// Reads that were checked.
    pub reads: u64,
    /// Crashes put in.
    pub crashes: u64,
    /// Partitions put in.
    pub partitions: u64,
    /// Terms with a leader.
    pub terms: u64,
    /// Snapshots that came from another replica.
    pub snapshots_received: u64,
    /// Who led when the run ended.
    pub last_leader: Option<u64>,
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
