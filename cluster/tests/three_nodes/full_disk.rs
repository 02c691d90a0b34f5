//! A disk without room, put under the logs of one node.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use cluster::environment::Environment;
use cluster::storage::{LogEngine, LogPosition, LogState, OnFlushed};

/// What the disk says to whoever wants to write.
#[derive(Clone)]
pub struct Disk {
    fails: Arc<AtomicBool>,
    kind: io::ErrorKind,
}

impl Disk {
    /// That takes everything until it is told otherwise; then it fails so.
    pub fn failing_with(kind: io::ErrorKind) -> Self {
        Self {
            fails: Arc::default(),
            kind,
        }
    }

    pub fn set_failing(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Puts the disk under every log of a node.
    pub fn under(&self, environment: &mut Environment) {
        let (open, disk) = (environment.open_log.clone(), self.clone());
        environment.open_log = Arc::new(move |shard| {
            disk.check()?;
            let failed = AtomicBool::new(false);
            let (log, disk) = (open(shard)?, disk.clone());
            Ok(Arc::new(Log { log, disk, failed }) as Arc<dyn LogEngine>)
        });
    }

    fn check(&self) -> io::Result<()> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(self.kind.into()),
            false => Ok(()),
        }
    }
}

struct Log {
    log: Arc<dyn LogEngine>,
    disk: Disk,
    /// Fail-stop, as the real one.
    failed: AtomicBool,
}

impl Log {
    fn check(&self) -> io::Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(self.disk.kind.into());
        }
        self.disk
            .check()
            .inspect_err(|_| self.failed.store(true, Ordering::SeqCst))
    }
}

impl LogEngine for Log {
    fn state(&self) -> io::Result<LogState> {
        self.log.state()
    }

    fn append(&self, entries: Vec<(LogPosition, Bytes)>, flushed: OnFlushed) -> io::Result<()> {
        match self.check() {
            Ok(()) => self.log.append(entries, flushed),
            // As the real one: the write fails later, on a thread of its own.
            Err(error) => {
                flushed(Err(error));
                Ok(())
            }
        }
    }

    fn truncate_after(&self, position: Option<LogPosition>, flushed: OnFlushed) -> io::Result<()> {
        self.check()?;
        self.log.truncate_after(position, flushed)
    }

    fn purge(&self, position: LogPosition, flushed: OnFlushed) -> io::Result<()> {
        self.check()?;
        self.log.purge(position, flushed)
    }

    fn save_vote(&self, vote: Bytes, flushed: OnFlushed) -> io::Result<()> {
        self.check()?;
        self.log.save_vote(vote, flushed)
    }

    fn save_committed(&self, position: Option<LogPosition>) -> io::Result<()> {
        self.check()?;
        self.log.save_committed(position)
    }

    fn read(&self, from: u64, until: u64) -> io::Result<Vec<(LogPosition, Bytes)>> {
        self.log.read(from, until)
    }

    fn bytes(&self) -> u64 {
        self.log.bytes()
    }
}
