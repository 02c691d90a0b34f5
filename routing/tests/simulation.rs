//! The whole routing core on virtual time, from one seed: a replicated log, three replicas of the state, leaders that come and go with
//! their queue managers, deposed ones that do not know, and clients that ask until they are answered.
//!
//! A run has two phases. First faults: leaders cut off with what they had proposed, replies lost, results unknown, replicas that
//! lag or are replaced by snapshots, clocks that jump. Then they end, and everything must heal.
//!
//! The invariants, by the letters of the project's list: A nothing acknowledged is lost or done twice; B the log's time never goes
//! back; C one owner, under rising epochs, and nobody acts without the right to it; D no load above its capacity, by the state and
//! by every decision; E entries dense; F nothing appears that nobody sent; H equal replicas at equal index, snapshots included; I no
//! timer early, none lost, nobody waits for whom somebody is free; J nobody is offered before who goes first.
//!
//! `KAIWA_SIMULATION_SEEDS=1000..2000` runs other seeds than the usual ones.

#[path = "simulation/harness.rs"]
mod harness;

use std::time::Instant;

use harness::run::{Counts, Settings, run};

/// Enough for every fault to meet every other a few times.
const SEEDS: u64 = 24;

fn seeds() -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("KAIWA_SIMULATION_SEEDS") else {
        return 0..SEEDS;
    };
    let (from, until) = wanted.split_once("..").expect("two numbers with .. between them");
    from.parse().expect("a number")..until.parse().expect("a number")
}

#[test]
fn nothing_is_lost_doubled_overtaken_or_left_waiting() {
    let (seeds, began, mut all) = (seeds(), Instant::now(), Counts::default());
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let report = run(&Settings::new(seed));
        if let Some(found) = report.found {
            panic!(
                "seed {seed}, step {}, at {} ms: {} is violated: {}\nagain: KAIWA_SIMULATION_SEEDS={seed}..{} cargo test -p kaiwa-routing \
                 --test simulation nothing_is_lost",
                found.step,
                found.at_ms,
                found.letter,
                found.what,
                seed + 1
            );
        }
        all.add(&report.counts);
    }
    let took = began.elapsed();
    let per_minute = all.steps() as f64 / took.as_secs_f64() * 60.0;
    eprintln!("{count} seeds in {took:?}, {per_minute:.0} steps a minute: {all:?}");
    // A run whose faults never fired proves nothing.
    assert!(
        all.terms > count * 3 && all.restored > count && all.jumps > count,
        "{all:?}"
    );
    assert!(
        all.lost > count && all.replies_lost > count && all.unknown > count,
        "{all:?}"
    );
    assert!(
        all.retries > count * 10 && all.repeats > count && all.clamped > count,
        "{all:?}"
    );
    assert!(
        all.decisions_of_deposed > count && all.decisions_refused > count,
        "{all:?}"
    );
    assert!(
        all.audited > count * 50 && all.fired > count * 20 && all.acknowledged > count * 100,
        "{all:?}"
    );
    assert!(all.not_due > 0 && all.stale > count && all.too_old > 0, "{all:?}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [3, 8] {
        let (first, second) = (run(&Settings::new(seed)), run(&Settings::new(seed)));
        assert_eq!(first, second);
        assert_ne!(first.trace, run(&Settings::new(seed + 1_000)).trace);
    }
}
