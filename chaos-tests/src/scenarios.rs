//! Which faults meet which nodes, disks and people. A run draws from a scenario's faults by its seed: each of them once first, then
//! by weight, often two at a time.

use crate::arena::DiskKind;
use crate::lab::disk::loop_disk::FileSystem;

/// What a run is made of.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// One node for each.
    pub disks: &'static [DiskKind],
    /// Nodes whose clock can be set.
    pub clocks: &'static [u64],
    /// Names of faults, with weights.
    pub faults: &'static [(&'static str, u32)],
}

const PLAIN: DiskKind = DiskKind::Plain;
const EXT4: DiskKind = DiskKind::Loop(FileSystem::Ext4);
const XFS: DiskKind = DiskKind::Loop(FileSystem::Xfs);
const FAULTY: DiskKind = DiskKind::Faulty;

/// All of them, in the order of the suite.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "kills",
        about: "processes that are killed, torn writes, leaders that are moved",
        disks: &[PLAIN, PLAIN, PLAIN],
        clocks: &[],
        faults: &[
            ("kill-one", 4),
            ("kill-rolling", 1),
            ("kill-all", 2),
            ("torn-write", 2),
            ("leader-transfer", 2),
        ],
    },
    Scenario {
        name: "partitions",
        about: "five nodes that do not all see each other",
        disks: &[PLAIN, PLAIN, PLAIN, PLAIN, PLAIN],
        clocks: &[],
        faults: &[
            ("partition-lonely", 3),
            ("partition-gone", 2),
            ("partition-one-way", 3),
            ("partition-bridge", 2),
            ("partition-ring", 2),
            ("partition-clients", 1),
            ("kill-one", 1),
        ],
    },
    Scenario {
        name: "lines",
        about: "packets lost, late, overtaken and repeated; connections reset",
        disks: &[PLAIN, PLAIN, PLAIN],
        clocks: &[],
        faults: &[
            ("line-loss", 2),
            ("line-delay", 2),
            ("line-reorder", 2),
            ("line-duplicate", 2),
            ("reset-links", 2),
            ("reset-clients", 1),
            ("partition-bridge", 1),
        ],
    },
    Scenario {
        name: "time",
        about: "processes that stand still, clocks that lie",
        disks: &[PLAIN, PLAIN, PLAIN],
        clocks: &[2, 3],
        faults: &[
            ("pause", 4),
            ("clock-jump", 2),
            ("clock-drift", 2),
            ("leader-transfer", 1),
        ],
    },
    Scenario {
        name: "power",
        about: "power lost on one node or on all, on ext4 and xfs",
        disks: &[EXT4, XFS, EXT4],
        clocks: &[],
        faults: &[("power-one", 4), ("power-all", 2), ("kill-one", 1)],
    },
    Scenario {
        name: "torn-power",
        about: "power lost on slow disks that keep nothing, or some pages, of what was not synced",
        disks: &[FAULTY, FAULTY, FAULTY],
        clocks: &[],
        faults: &[("power-one", 2), ("power-all", 3), ("slow-disk", 1)],
    },
    Scenario {
        name: "disks",
        about: "disks that are full, slow, or fail to sync",
        disks: &[EXT4, FAULTY, FAULTY],
        clocks: &[],
        faults: &[
            ("disk-full", 3),
            ("slow-disk", 2),
            ("slow-device", 2),
            ("fsync-fails-log", 2),
            ("fsync-fails-rows", 2),
        ],
    },
    Scenario {
        name: "rot",
        about: "flipped bits in logs, snapshots and rows of a stopped node",
        disks: &[PLAIN, PLAIN, PLAIN],
        clocks: &[],
        faults: &[("rot-log", 1), ("rot-snapshot", 1), ("rot-rows", 1)],
    },
    Scenario {
        name: "members",
        about: "nodes that join, leave, catch up by snapshot, and are drained",
        disks: &[PLAIN, PLAIN, PLAIN],
        clocks: &[],
        faults: &[
            ("membership", 2),
            ("snapshot-cut", 2),
            ("restart-rolling", 1),
            ("leader-transfer", 2),
        ],
    },
    Scenario {
        name: "upgrade",
        about: "an older build that is replaced node by node",
        disks: &[PLAIN, PLAIN, PLAIN],
        clocks: &[],
        faults: &[("upgrade-rolling", 1), ("kill-one", 3), ("leader-transfer", 2)],
    },
    Scenario {
        name: "people",
        about: "agents who come and go, clients that do not read or never finish, actors that panic",
        disks: &[PLAIN, PLAIN, PLAIN],
        clocks: &[],
        faults: &[
            ("agents-flap", 2),
            ("reconnect-storm", 2),
            ("clients-stall", 1),
            ("slow-loris", 1),
            ("actor-panic", 3),
            ("kill-one", 1),
        ],
    },
    Scenario {
        name: "everything",
        about: "all of it together",
        disks: &[EXT4, XFS, FAULTY],
        clocks: &[2],
        faults: &[
            ("kill-one", 3),
            ("kill-rolling", 1),
            ("kill-all", 1),
            ("torn-write", 1),
            ("power-one", 2),
            ("power-all", 1),
            ("rot-log", 1),
            ("rot-snapshot", 1),
            ("rot-rows", 1),
            ("disk-full", 2),
            ("slow-disk", 2),
            ("slow-device", 1),
            ("fsync-fails-log", 1),
            ("fsync-fails-rows", 1),
            ("partition-lonely", 2),
            ("partition-gone", 1),
            ("partition-one-way", 2),
            ("partition-bridge", 1),
            ("partition-clients", 1),
            ("line-loss", 1),
            ("line-delay", 1),
            ("line-reorder", 1),
            ("line-duplicate", 1),
            ("reset-links", 1),
            ("reset-clients", 1),
            ("pause", 2),
            ("clock-jump", 1),
            ("clock-drift", 1),
            ("membership", 1),
            ("snapshot-cut", 1),
            ("leader-transfer", 1),
            ("restart-rolling", 1),
            ("agents-flap", 1),
            ("reconnect-storm", 1),
            ("clients-stall", 1),
            ("slow-loris", 1),
            ("actor-panic", 2),
        ],
    },
    Scenario {
        name: "everything-of-five",
        about: "all that five nodes can suffer together",
        disks: &[EXT4, FAULTY, PLAIN, PLAIN, PLAIN],
        clocks: &[3],
        faults: &[
            ("kill-one", 3),
            ("kill-all", 1),
            ("power-one", 2),
            ("disk-full", 1),
            ("slow-disk", 1),
            ("fsync-fails-log", 1),
            ("partition-lonely", 2),
            ("partition-one-way", 2),
            ("partition-bridge", 2),
            ("partition-ring", 2),
            ("line-loss", 1),
            ("line-delay", 1),
            ("reset-links", 1),
            ("pause", 2),
            ("clock-jump", 1),
            ("membership", 1),
            ("leader-transfer", 1),
            ("agents-flap", 1),
            ("reconnect-storm", 1),
            ("actor-panic", 1),
        ],
    },
];

/// Those of the usual suite: the rest is for soaking.
pub fn suite() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().filter(|scenario| !scenario.name.starts_with("everything"))
}

/// The scenario of this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::faults;

    #[test]
    fn scenarios_name_faults_that_there_are_and_every_fault_is_in_the_suite() {
        let mut used = BTreeSet::new();
        for scenario in super::ALL {
            for (name, weight) in scenario.faults {
                assert!(faults::named(name).is_some(), "{}: {name}", scenario.name);
                assert!(*weight > 0);
            }
        }
        for scenario in super::suite() {
            used.extend(scenario.faults.iter().map(|(name, _)| *name));
        }
        for kind in faults::all() {
            assert!(used.contains(kind.name), "no scenario of the suite has {}", kind.name);
        }
    }
}
