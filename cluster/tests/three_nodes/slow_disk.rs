//! A disk whose flushes take long, put under the logs of one node.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use cluster::environment::Environment;
use cluster::storage::{LogEngine, LogPosition, LogState, OnFlushed};
use parking_lot::{Condvar, Mutex};

/// How long a flush takes beyond what it takes anyway. A cheap clone.
#[derive(Clone, Default)]
pub struct SlowDisk(Arc<(Mutex<Option<Duration>>, Condvar)>);

impl SlowDisk {
    /// From now on, also for flushes under way; `None`: as fast as it is.
    pub fn set_delay(&self, delay: Option<Duration>) {
        *self.0.0.lock() = delay;
        self.0.1.notify_all();
    }

    /// Puts the disk under every log of a node.
    pub fn under(&self, environment: &mut Environment) {
        let (open, disk) = (environment.open_log.clone(), self.clone());
        environment.open_log = Arc::new(move |shard| {
            let log = open(shard)?;
            let (flushes, flushed) = mpsc::channel();
            let disk = disk.clone();
            thread::spawn(move || disk.call_back(&flushed));
            Ok(Arc::new(Log { log, flushes }) as Arc<dyn LogEngine>)
        });
    }

    /// One slow flush after another, each with all that has gathered.
    fn call_back(&self, flushed: &mpsc::Receiver<Flushed>) {
        while let Ok(first) = flushed.recv() {
            let together: Vec<Flushed> = [first].into_iter().chain(flushed.try_iter()).collect();
            let mut delay = self.0.0.lock();
            if let Some(long) = *delay {
                self.0.1.wait_for(&mut delay, long);
            }
            drop(delay);
            together.into_iter().for_each(|(callback, result)| callback(result));
        }
    }
}

type Flushed = (OnFlushed, io::Result<()>);

struct Log {
    log: Arc<dyn LogEngine>,
    flushes: mpsc::Sender<Flushed>,
}

impl Log {
    fn slowly(&self, flushed: OnFlushed) -> OnFlushed {
        let flushes = self.flushes.clone();
        Box::new(move |result| flushes.send((flushed, result)).unwrap())
    }
}

impl LogEngine for Log {
    fn state(&self) -> io::Result<LogState> {
        self.log.state()
    }

    fn append(&self, entries: Vec<(LogPosition, Bytes)>, flushed: OnFlushed) -> io::Result<()> {
        self.log.append(entries, self.slowly(flushed))
    }

    fn truncate_after(&self, position: Option<LogPosition>, flushed: OnFlushed) -> io::Result<()> {
        self.log.truncate_after(position, self.slowly(flushed))
    }

    fn purge(&self, position: LogPosition, flushed: OnFlushed) -> io::Result<()> {
        self.log.purge(position, self.slowly(flushed))
    }

    fn save_vote(&self, vote: Bytes, flushed: OnFlushed) -> io::Result<()> {
        self.log.save_vote(vote, self.slowly(flushed))
    }

    fn save_committed(&self, position: Option<LogPosition>) -> io::Result<()> {
        self.log.save_committed(position)
    }

    fn read(&self, from: u64, until: u64) -> io::Result<Vec<(LogPosition, Bytes)>> {
        self.log.read(from, until)
    }

    fn bytes(&self) -> u64 {
        self.log.bytes()
    }
}
