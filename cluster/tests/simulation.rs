//! Three replicas with the real openraft, in one thread, on paused time, from one seed.
//!
//! Disk, links, clocks and randomness are simulated; everything between them is the code that runs in production. A run
//! has two phases: first faults (crashes that drop what was not flushed, silent or seen by the peers; partitions, slow
//! disks, lost frames, clocks apart), while clients propose and read and the invariants are checked at every step; then the faults
//! end, and the cluster must heal, serve, agree, and still have everything that it acknowledged.
//!
//! ```text
//!   seed ──► tokio's scheduler, openraft's timeouts, disks, links, faults, clients ──► trace hash (equal for equal seeds)
//! ```
//!
//! The invariants, by the letters of the project's list: A nothing acknowledged is lost; B reads see what was
//! acknowledged before; F nothing appears that nobody proposed, and nothing twice; G one leader per term; H equal digests
//! at equal index; I service once the faults have ended.

#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/links.rs"]
mod links;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/world.rs"]
mod world;

use run::{Report, Settings, run};

/// Enough for every fault to meet every other a few times.
const SEEDS: u64 = 240;
/// Within so many seeds a bug that was put in must have been found.
const BUG_SEEDS: u64 = 150;

/// Other seeds than the usual ones: `KAIWA_SIMULATION_SEEDS=1000..2000`.
fn seeds() -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("KAIWA_SIMULATION_SEEDS") else {
        return 0..SEEDS;
    };
    let (from, until) = wanted.split_once("..").expect("two numbers with .. between them");
    from.parse().expect("a number")..until.parse().expect("a number")
}

#[test]
fn nothing_is_lost_and_service_comes_back() {
    let mut all = Report::default();
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let report = run(Settings::new(seed));
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
        all.acknowledged += report.acknowledged;
        all.unknown += report.unknown;
        all.reads += report.reads;
        all.crashes += report.crashes;
        all.partitions += report.partitions;
        all.terms += report.terms;
        all.snapshots_received += report.snapshots_received;
    }
    eprintln!("{count} seeds: {all:?}");
    // A run whose faults never fired proves nothing.
    assert!(
        all.crashes > count && all.partitions > count / 2 && all.terms > count * 2,
        "{all:?}"
    );
    assert!(
        all.acknowledged > count * 50 && all.unknown > 0 && all.reads > count * 10,
        "{all:?}"
    );
    assert!(all.snapshots_received > count / 4, "{all:?}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [3, 8] {
        let (first, second) = (run(Settings::new(seed)), run(Settings::new(seed)));
        assert_eq!(first, second);
        assert_ne!(first.trace, run(Settings::new(seed + 1_000)).trace);
    }
}

fn first_seed_that_finds(bug: impl Fn(&mut Settings)) -> Option<(u64, Vec<String>)> {
    (0..BUG_SEEDS).find_map(|seed| {
        let mut settings = Settings::new(seed);
        bug(&mut settings);
        let violations = run(settings).violations;
        (!violations.is_empty()).then_some((seed, violations))
    })
}

#[test]
fn a_restored_leader_is_found() {
    let found = first_seed_that_finds(|settings| settings.leader_restore = None);
    let (seed, violations) = found.expect("leaders that resume their term went unnoticed");
    eprintln!("enable_leader_restore: None, found by seed {seed}: {violations:#?}");
}

#[test]
fn an_acknowledgement_before_the_flush_is_found() {
    let found = first_seed_that_finds(|settings| settings.acknowledge_before_flush = true);
    let (seed, violations) = found.expect("disks that lie went unnoticed");
    eprintln!("acknowledged before the flush, found by seed {seed}: {violations:#?}");
}

#[test]
fn a_node_with_a_fast_clock_does_not_go_on_leading() {
    for seed in 0..3 {
        let settings = Settings {
            // It founds the cluster, so it leads first; and there are no faults that could depose it.
            fast_clock: Some(1),
            faults_for: std::time::Duration::ZERO,
            quiet_for: std::time::Duration::from_secs(10),
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
