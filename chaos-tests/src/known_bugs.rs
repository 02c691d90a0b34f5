//! Bugs that are known, put back in by failpoints: the suite must find each. Those of single steps are looked for by the simulations
//! (`routing/tests/known_bugs.rs`, `cluster/tests/known_bugs.rs`), which have more of them and are quicker; these are looked for in
//! real processes.

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
        scenario: "power",
        only: "power-all",
        seeds: 3,
    },
    Bug {
        name: "routing::epoch_unchecked",
        scenario: "people",
        only: "agents-flap,reconnect-storm",
        seeds: 2,
    },
    Bug {
        name: "routing::capacity_unchecked",
        scenario: "kills",
        only: "kill-one",
        seeds: 2,
    },
    Bug {
        name: "routing::windows_lost_in_snapshot",
        scenario: "members",
        only: "snapshot-cut,restart-rolling",
        seeds: 3,
    },
    Bug {
        name: "routing::timers_only_in_memory",
        scenario: "kills",
        only: "kill-all",
        seeds: 2,
    },
    Bug {
        name: "routing::snapshot_without_side_tables",
        scenario: "members",
        only: "snapshot-cut,restart-rolling",
        seeds: 2,
    },
    Bug {
        name: "cluster::lease_read",
        scenario: "time",
        only: "pause",
        seeds: 3,
    },
    Bug {
        name: "queue_manager::newest_first",
        scenario: "kills",
        only: "kill-one",
        seeds: 1,
    },
    Bug {
        name: "cluster::fsync_error_ignored",
        scenario: "disks",
        only: "fsync-fails-log",
        seeds: 2,
    },
];
