//! A disk that exists in memory, for the simulation: it survives crashes of its node, but what was not flushed does not.
//!
//! It can be slow, full, damaged, and fail to flush. What it finds damaged it says when it is opened, as the real engines do,
//! whose checksums are not simulated.
//!
//! Nothing here has a thread or reads a clock: an fsync is a sleep of tokio, whose length comes from the seed, so with
//! paused time a run depends on its seed alone.

mod disk_log;
mod disk_rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::disk_log::LogFile;
pub use self::disk_log::SimulatedLog;
use self::disk_rows::RowFile;
pub use self::disk_rows::SimulatedRows;
use super::StorageError;
use crate::state_machine::ShardId;

/// How a disk behaves.
#[derive(Clone, Debug)]
pub struct DiskBehaviour {
    /// Shortest fsync, microseconds.
    pub fsync_min_us: u64,
    /// Longest fsync, microseconds.
    pub fsync_max_us: u64,
    /// A fault put in on purpose, to see that the simulation finds it: callbacks are called before the flush.
    pub acknowledge_before_flush: bool,
}

impl Default for DiskBehaviour {
    fn default() -> Self {
        Self {
            fsync_min_us: 100,
            fsync_max_us: 2_000,
            acknowledge_before_flush: false,
        }
    }
}

/// One node's disk; clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    disk: Arc<Mutex<Disk>>,
}

struct Disk {
    behaviour: DiskBehaviour,
    random: SmallRng,
    /// Grows with every crash: engines opened before are dead.
    lives: u64,
    /// The next flush fails, and with it its engine.
    fail_flushes: bool,
    /// There is no room: nothing more is written.
    full: bool,
    /// Failures that an engine has met: flushes that failed, and writes without room.
    failures: u64,
    logs: BTreeMap<ShardId, LogFile>,
    rows: RowFile,
}

impl Disk {
    fn fsync_time(&mut self) -> Duration {
        let DiskBehaviour {
            fsync_min_us,
            fsync_max_us,
            ..
        } = self.behaviour;
        Duration::from_micros(self.random.random_range(fsync_min_us..=fsync_max_us.max(fsync_min_us)))
    }
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new(seed: u64, behaviour: DiskBehaviour) -> Self {
        let disk = Disk {
            behaviour,
            random: SmallRng::seed_from_u64(seed),
            lives: 0,
            fail_flushes: false,
            full: false,
            failures: 0,
            logs: BTreeMap::new(),
            rows: RowFile::default(),
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
        }
    }

    /// Opens the log of a shard as the disk has it. Its flushes run on the current tokio runtime.
    pub fn open_log(&self, shard: ShardId) -> Result<SimulatedLog, StorageError> {
        SimulatedLog::open(self.disk.clone(), shard)
    }

    /// Opens the rows of the node as the disk has them. Damaged ones must be set aside first.
    pub fn open_rows(&self) -> SimulatedRows {
        SimulatedRows::open(self.disk.clone())
    }

    /// The node loses power: whatever was not flushed is gone, and the engines opened so far answer with errors and call
    /// nobody back any more.
    pub fn crash(&self) {
        self.crash_keeping(|_, _| 0);
    }

    /// Like [`Self::crash`], but of what was not flushed a random beginning had reached the disk by itself. The record in
    /// which it ends is torn, which its checksum tells: it is cut off, and so the entries of one append may be kept in part.
    pub fn crash_torn(&self) {
        self.crash_keeping(|random, waiting| random.random_range(0..=waiting));
    }

    fn crash_keeping(&self, kept: impl Fn(&mut SmallRng, usize) -> usize) {
        let mut disk = self.disk.lock();
        let Disk {
            random,
            logs,
            rows,
            lives,
            ..
        } = &mut *disk;
        *lives += 1;
        for log in logs.values_mut() {
            log.crash(|waiting| kept(random, waiting));
        }
        rows.crash(|waiting| kept(random, waiting));
    }

    /// From now on (or no longer) flushes fail; an engine that met such a failure never recovers.
    pub fn fail_flushes(&self, fail: bool) {
        self.disk.lock().fail_flushes = fail;
    }

    /// From now on there is no room (or there is again); an engine that met that takes nothing more until it is opened again.
    pub fn fill(&self, full: bool) {
        self.disk.lock().full = full;
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.disk.lock().full
    }

    /// Failed flushes, and writes without room, that an engine has met so far.
    pub fn failures(&self) -> u64 {
        self.disk.lock().failures
    }

    /// Bits of a shard's log (or of the vote in it) have rotted: it cannot be opened any more.
    pub fn damage_log(&self, shard: ShardId) {
        self.disk.lock().logs.entry(shard).or_default().damage();
    }

    /// Bits of the rows have rotted.
    pub fn damage_rows(&self) {
        self.disk.lock().rows.damage();
    }

    /// Sets damaged rows aside, which leaves none; says whether they were damaged.
    pub fn set_damaged_rows_aside(&self) -> bool {
        self.disk.lock().rows.set_aside_if_damaged()
    }

    /// Changes how fast it is, and whether it lies.
    pub fn set_behaviour(&self, behaviour: DiskBehaviour) {
        self.disk.lock().behaviour = behaviour;
    }
}

#[cfg(test)]
mod tests;
