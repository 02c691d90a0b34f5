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

#[derive(Default)]
struct Files {
    identity: Option<Bytes>,
    snapshots: BTreeMap<ShardId, (LogPosition, Bytes)>,
}

/// One node's files; they survive crashes.
#[derive(Clone, Default)]
pub(super) struct NodeFiles(Arc<Mutex<Files>>);

impl NodeFiles {
    /// The files, as one life of the node sees them: once it has crashed, it writes nothing any more.
    pub(super) fn in_life(&self, lives: Arc<AtomicBool>, oracle: Oracle) -> LifeFiles {
        LifeFiles {
            files: self.clone(),
            lives,
            oracle,
        }
    }
}

#[derive(Clone)]
pub(super) struct LifeFiles {
    files: NodeFiles,
    lives: Arc<AtomicBool>,
    oracle: Oracle,
}

impl LifeFiles {
    fn check(&self) -> io::Result<()> {
        match self.lives.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(io::Error::other("this node has crashed")),
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
        self.check()?;
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
        self.files.check()?;
        let snapshots = &mut self.files.files.0.lock().snapshots;
        if snapshots
            .get(&self.shard)
            .is_none_or(|(newest, _)| newest.index <= position.index)
        {
            snapshots.insert(self.shard, (position, content.into()));
        }
        Ok(())
    }

    fn newest(&self) -> io::Result<Option<LogPosition>> {
        self.files.check()?;
        Ok(self
            .files
            .files
            .0
            .lock()
            .snapshots
            .get(&self.shard)
            .map(|(position, _)| *position))
    }

    fn open(&self, position: LogPosition) -> io::Result<Box<dyn Read + Send>> {
        self.files.check()?;
        match self.files.files.0.lock().snapshots.get(&self.shard) {
            Some((newest, content)) if *newest == position => Ok(Box::new(Cursor::new(content.clone()))),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such snapshot")),
        }
    }

    fn spool(&self) -> io::Result<Box<dyn Spool>> {
        self.files.check()?;
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
