//! Bugs that a store of this kind could have, put back in one after the other: the simulation must find each.
//!
//! One test in a binary of its own, because the switches hold for the whole process. It prints which seed found which bug,
//! and by which invariant.

#[path = "simulation/harness.rs"]
#[allow(dead_code, reason = "the faults are counted in simulation.rs")]
mod harness;

use harness::run::{Settings, run_all};

/// Within so many seeds a bug must have been found.
const SEEDS: u64 = 300;

/// A bug, and what it does.
struct Bug {
    name: &'static str,
    what: &'static str,
}

const BUGS: [Bug; 10] = [
    Bug {
        name: "cluster::ack_before_fsync",
        what: "the log calls back before it has flushed",
    },
    Bug {
        name: "cluster::fsync_error_ignored",
        what: "the log goes on after a flush failed",
    },
    Bug {
        name: "cluster::fsync_retried",
        what: "the log flushes again after a flush failed, and believes it",
    },
    Bug {
        name: "cluster::vote_not_durable",
        what: "votes are kept in memory",
    },
    Bug {
        name: "cluster::purge_before_snapshot_durable",
        what: "the log is purged up to a snapshot that is not on disk",
    },
    Bug {
        name: "cluster::snapshot_without_rows",
        what: "a replica that lacks rows gets the state alone",
    },
    Bug {
        name: "cluster::lease_read",
        what: "a leader answers reads without asking a quorum",
    },
    Bug {
        name: "cluster::forward_repeated",
        what: "a forwarded command of unknown outcome is proposed again",
    },
    Bug {
        name: "cluster::unknown_called_failed",
        what: "an unknown outcome is called a certain failure",
    },
    Bug {
        name: LEADER_RESTORE,
        what: "a leader that restarts resumes its term (openraft's default)",
    },
];

/// A setting of openraft, and no switch of ours.
const LEADER_RESTORE: &str = "enable_leader_restore";

/// The first seed that finds a bug, and what it says.
fn first_that_finds(bug: &Bug) -> Option<(u64, String)> {
    let is_setting = bug.name == LEADER_RESTORE;
    let _switched = (!is_setting).then(|| fail::FailGuard::new(bug.name, "return").expect("a switch"));
    let settings = |seed| Settings {
        leader_restore: (!is_setting).then_some(false),
        ..Settings::new(seed)
    };
    let mut found: Option<(u64, String)> = None;
    run_all(0..SEEDS, settings, |seed, report| {
        let first = report.violations.into_iter().next();
        if let Some(what) = first
            && found.as_ref().is_none_or(|(other, _)| seed < *other)
        {
            found = Some((seed, what));
        }
        found.is_none()
    });
    found
}

#[test]
fn every_known_bug_is_found() {
    let _scenario = fail::FailScenario::setup();
    let mut unnoticed = Vec::new();
    eprintln!("| bug | what it does | seed | found by |\n|---|---|---|---|");
    for bug in &BUGS {
        let Bug { name, what } = bug;
        match first_that_finds(bug) {
            Some((seed, by)) => {
                let by = by.split_once("ms: ").map_or(&*by, |(_, by)| by);
                eprintln!("| {name} | {what} | {seed} | {by} |");
            }
            None => unnoticed.push(name),
        }
    }
    assert!(unnoticed.is_empty(), "{SEEDS} seeds did not find {unnoticed:?}");
}
