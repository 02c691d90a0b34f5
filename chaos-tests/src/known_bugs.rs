//! Bugs that are known, put back in by failpoints: the suite must find each. Those of single steps are looked for by the simulations
//! (`routing/tests/known_bugs.rs`, `cluster/tests/known_bugs.rs`), which have more of them and are quicker; these are looked for in
//! real processes. Some are only for the simulations: a queue manager that never overfills an agent hides a state that would let it.

/// A bug, and where it should be found.
pub struct Bug {
    /// Its failpoint.
    pub name: &'static str,
    /// The scenario that should find it.
    pub scenario: &'static str,
    /// Only with these faults, separated by commas; empty: with all of the scenario.
    pub only: &'static str,
    /// Within so many seeds.
    pub seeds: u64,
}

/// All that are looked for in real processes.
pub const ALL: &[Bug] = &[
    Bug {
        name: "cluster::ack_before_fsync",
        scenario: "torn-power",
        only: "power-all",
        seeds: 4,
    },
    Bug {
        name: "cluster::fsync_error_ignored",
        scenario: "disks",
        only: "fsync-fails-log",
        seeds: 3,
    },
    Bug {
        name: "cluster::lease_read",
        scenario: "time",
        only: "pause",
        seeds: 4,
    },
    Bug {
        name: "cluster::snapshot_without_rows",
        scenario: "members",
        only: "snapshot-cut,membership",
        seeds: 2,
    },
    Bug {
        name: "routing::repeat_done_again",
        scenario: "lines",
        only: "reset-clients,reset-links",
        seeds: 3,
    },
    Bug {
        name: "routing::offer_unchecked",
        scenario: "people",
        only: "agents-flap,kill-one",
        seeds: 2,
    },
    Bug {
        name: "routing::timers_only_in_memory",
        scenario: "kills",
        only: "kill-all",
        seeds: 3,
    },
    Bug {
        name: "routing::diverges",
        scenario: "members",
        only: "restart-rolling,membership",
        seeds: 2,
    },
    Bug {
        name: "queue_manager::newest_first",
        scenario: "kills",
        only: "kill-one",
        seeds: 2,
    },
    Bug {
        name: "queue_manager::timers_unheard",
        scenario: "kills",
        only: "kill-one,kill-all",
        seeds: 3,
    },
];

#[cfg(test)]
mod tests {
    use crate::{faults, scenarios};

    #[test]
    fn bugs_are_looked_for_where_there_is_something() {
        for bug in super::ALL {
            let scenario = scenarios::named(bug.scenario).expect(bug.scenario);
            for only in bug.only.split(',') {
                assert!(faults::named(only).is_some(), "{}: {only}", bug.name);
                assert!(
                    scenario.faults.iter().any(|(name, _)| *name == only),
                    "{}: {only}",
                    bug.name
                );
            }
            assert!(bug.seeds > 0);
        }
    }
}
