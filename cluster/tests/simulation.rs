//! Three replicas (or five) with the real openraft, in one thread, on paused time, from one seed.
//!
//! Disk, links, clocks and randomness are simulated; everything between them is the code that runs in production. A run
//! has two phases: first faults, of machines, links and members at the same time, while clients propose and read and the
//! invariants are checked at every step; then the faults end, and the cluster must heal, serve, agree, and still have
//! everything that it acknowledged.
//!
//! ```text
//!   seed ──► tokio's scheduler, openraft's timeouts, disks, links, faults, clients ──► trace hash (equal for equal seeds)
//! ```
//!
//! The invariants are in `simulation/invariants`, by the letters of the project's list; the faults in `simulation/faults`.
//! `known_bugs.rs` shows that they find what they are there for.

#[path = "simulation/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::faults::FAULTS;
use harness::run::{Report, Settings, run, run_all};

/// Enough for every fault to meet every other a few times.
const SEEDS: u64 = 200;

/// Other seeds than the usual ones: `KAIWA_SIMULATION_SEEDS=1000..2000`.
fn seeds() -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("KAIWA_SIMULATION_SEEDS") else {
        return 0..SEEDS;
    };
    let (from, until) = wanted.split_once("..").expect("two numbers with .. between them");
    from.parse().expect("a number")..until.parse().expect("a number")
}

/// What the nodes say goes to the error output when `RUST_LOG` asks for it; best of a single seed.
fn log() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        // Another test was first.
        let _ = log.try_init();
    }
}

#[test]
fn nothing_is_lost_and_service_comes_back() {
    log();
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let started = Instant::now();
    let mut all = Report::default();
    let mut failed = Vec::new();
    run_all(seeds, Settings::new, |seed, report| {
        all.add(&report);
        if !report.violations.is_empty() {
            eprintln!(
                "seed {seed}: {:#?}\nagain: KAIWA_SIMULATION_SEEDS={seed}..{} cargo test -p kaiwa-cluster --test simulation \
                 nothing_is_lost -- --nocapture",
                report.violations,
                seed + 1
            );
            failed.push(seed);
        }
        // All of a large run's failures are worth knowing, up to a point.
        failed.len() < 10
    });
    let speed = Duration::from_millis(all.simulated_ms).div_duration_f64(started.elapsed());
    eprintln!("{count} seeds, {speed:.0} simulated seconds per second: {all:#?}");
    assert!(failed.is_empty(), "seeds {failed:?}");
    if count < SEEDS {
        return;
    }
    // A run whose faults never fired proves nothing.
    let rare: Vec<_> = FAULTS
        .iter()
        .filter(|fault| all.fired.get(*fault).is_none_or(|fired| *fired < count / 10))
        .collect();
    assert!(rare.is_empty(), "too rare: {rare:?}");
    assert!(
        all.acknowledged > count * 50 && all.unknown > count && all.reads > count * 10,
        "{all:#?}"
    );
    assert!(all.terms > count * 2 && all.snapshots_received > count / 2, "{all:#?}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [3, 8, 9] {
        let (first, second) = (run(Settings::new(seed)), run(Settings::new(seed)));
        assert_eq!(first, second);
        assert_ne!(first.trace, run(Settings::new(seed + 1_000)).trace);
    }
}

#[test]
fn a_node_with_a_fast_clock_does_not_go_on_leading() {
    for seed in 0..3 {
        let settings = Settings {
            // It founds the cluster, so it leads first; and there are no faults that could depose it.
            fast_clock: Some(1),
            faults_for: Duration::ZERO,
            quiet_for: Duration::from_secs(10),
            ..Settings::new(seed)
        };
        let report = run(settings);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        assert!(
            report.last_leader.is_some_and(|leader| leader != 1),
            "seed {seed}: {report:?}"
        );
    }
}
