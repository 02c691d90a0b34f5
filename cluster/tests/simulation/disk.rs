//! What a node keeps beside logs and rows: snapshots and its identity. Both are published as a whole or not at all.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::oracle::Oracle;
use cluster::environment::{IdentityFile, SnapshotFiles, Spool};
use cluster::state_machine::{ShardId, SnapshotWriter};
use cluster::storage::LogPosition;
use cluster::storage::simulated::SimulatedDisk;

/// The newest, and one more in case that one turns out to be damaged.
const KEPT: usize = 2;

#[derive(Clone)]
struct Snapshot {
    position: LogPosition,
    content: Bytes,
    /// Its checksum is wrong.
    damaged: bool,
}

#[derive(Default)]
struct Files {
    identity: Option<Bytes>,
    /// Oldest first.
    snapshots: BTreeMap<ShardId, Vec<Snapshot>>,
}

/// One node's files; they survive crashes.
#[derive(Clone, Default)]
pub(super) struct NodeFiles(Arc<Mutex<Files>>);

impl NodeFiles {
    /// The files, as one life of the node sees them: once it has crashed, it writes nothing any more.
    pub(super) fn in_life(&self, lives: Arc<AtomicBool>, disk: SimulatedDisk, oracle: Oracle) -> LifeFiles {
        LifeFiles {
            files: self.clone(),
            lives,
            disk,
            oracle,
        }
    }

    /// Bits of the newest snapshot have rotted; says whether there is one.
    pub(super) fn damage_newest_snapshot(&self, shard: ShardId) -> bool {
        let mut files = self.0.lock();
        let newest = files
            .snapshots
            .get_mut(&shard)
            .and_then(|snapshots| snapshots.last_mut());
        newest.map(|newest| newest.damaged = true).is_some()
    }

    /// What opening does: damaged snapshots are set aside, until a whole one is the newest.
    pub(super) fn set_damaged_aside(&self, shard: ShardId) -> Option<LogPosition> {
        let mut files = self.0.lock();
        let snapshots = files.snapshots.entry(shard).or_default();
        while snapshots.last().is_some_and(|newest| newest.damaged) {
            snapshots.pop();
        }
        snapshots.last().map(|newest| newest.position)
    }

    pub(super) fn set_all_aside(&self, shard: ShardId) {
        self.0.lock().snapshots.remove(&shard);
    }
}

#[derive(Clone)]
pub(super) struct LifeFiles {
    files: NodeFiles,
    lives: Arc<AtomicBool>,
    disk: SimulatedDisk,
    oracle: Oracle,
}

impl LifeFiles {
    fn check(&self) -> io::Result<()> {
        match self.lives.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(io::Error::other("this node has crashed")),
        }
    }

    fn check_room(&self) -> io::Result<()> {
        self.check()?;
        match self.disk.is_full() {
            false => Ok(()),
            true => Err(io::Error::new(io::ErrorKind::StorageFull, "no room")),
        }
    }

    pub(super) fn of_shard(&self, shard: ShardId) -> ShardSnapshots {
        ShardSnapshots {
            files: self.clone(),
            shard,
        }
    }
}

impl IdentityFile for LifeFiles {
    fn load(&self) -> io::Result<Option<Bytes>> {
        self.check()?;
        Ok(self.files.0.lock().identity.clone())
    }

    fn save(&self, bytes: &[u8]) -> io::Result<()> {
        self.check_room()?;
        self.files.0.lock().identity = Some(Bytes::copy_from_slice(bytes));
        Ok(())
    }
}

pub(super) struct ShardSnapshots {
    files: LifeFiles,
    shard: ShardId,
}

impl SnapshotFiles for ShardSnapshots {
    fn publish(&self, position: LogPosition, _digest: u64, write: SnapshotWriter) -> io::Result<()> {
        let mut content = Vec::new();
        write(&mut content)?;
        self.files.check_room()?;
        let mut files = self.files.files.0.lock();
        let snapshots = files.snapshots.entry(self.shard).or_default();
        if snapshots
            .last()
            .is_none_or(|newest| newest.position.index <= position.index)
        {
            snapshots.push(Snapshot {
                position,
                content: content.into(),
                damaged: false,
            });
            let surplus = snapshots.len().saturating_sub(KEPT);
            snapshots.drain(..surplus);
        }
        Ok(())
    }

    fn newest(&self) -> io::Result<Option<LogPosition>> {
        self.files.check()?;
        let files = self.files.files.0.lock();
        let newest = files.snapshots.get(&self.shard).and_then(|snapshots| snapshots.last());
        Ok(newest.map(|newest| newest.position))
    }

    fn open(&self, position: LogPosition) -> io::Result<Box<dyn Read + Send>> {
        self.files.check()?;
        let files = self.files.files.0.lock();
        let mut snapshots = files.snapshots.get(&self.shard).into_iter().flatten();
        match snapshots.find(|snapshot| snapshot.position == position) {
            Some(found) if found.damaged => Err(io::Error::new(io::ErrorKind::InvalidData, "wrong checksum")),
            Some(found) => Ok(Box::new(Cursor::new(found.content.clone()))),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such snapshot")),
        }
    }

    fn spool(&self) -> io::Result<Box<dyn Spool>> {
        self.files.check_room()?;
        self.files.oracle.snapshot_received();
        Ok(Box::new(MemorySpool(Vec::new())))
    }
}

struct MemorySpool(Vec<u8>);

impl Write for MemorySpool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Spool for MemorySpool {
    fn read(&mut self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(&self.0[..]))
    }
}
