//! A simulated disk's logs.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::{LogEngine, LogPosition, LogState, OnFlushed, StorageError, early_if_put_in};
use super::Disk;
use crate::known_bugs::put_in;
use crate::state_machine::ShardId;

#[derive(Clone, Default)]
struct Content {
    vote: Option<Bytes>,
    committed: Option<LogPosition>,
    purged: Option<LogPosition>,
    last: Option<LogPosition>,
    entries: BTreeMap<u64, (LogPosition, Bytes)>,
}

enum Change {
    Append(Vec<(LogPosition, Bytes)>),
    TruncateAfter(Option<LogPosition>),
    Purge(LogPosition),
    Vote(Bytes),
    Committed(LogPosition),
}

/// One shard's log: what is on the disk, what its process sees, and the changes between the two.
#[derive(Default)]
pub(super) struct LogFile {
    durable: Content,
    current: Content,
    waiting: VecDeque<(Change, Option<OnFlushed>)>,
    is_flushing: bool,
    /// What stopped this life of it.
    failed: Option<io::ErrorKind>,
    /// A flush failed, which only an engine with a bug survives: what comes after it cannot be read back.
    has_hole: bool,
    damaged: bool,
}

impl LogFile {
    pub(super) fn crash(&mut self, kept: impl FnOnce(usize) -> usize) {
        let records = self.waiting.iter().map(|(change, _)| change.records()).sum();
        let mut left = if self.has_hole { 0 } else { kept(records) };
        for (change, _) in self.waiting.drain(..) {
            if left < change.records() {
                if let Change::Append(mut entries) = change {
                    entries.truncate(left);
                    self.durable.apply(&Change::Append(entries));
                }
                break;
            }
            left -= change.records();
            self.durable.apply(&change);
        }
        self.waiting.clear();
        self.current = self.durable.clone();
        self.is_flushing = false;
        self.has_hole = false;
        self.failed = None;
    }

    pub(super) fn damage(&mut self) {
        self.damaged = true;
    }

    /// Fail-stop: takes nothing more; whoever waits is to be told.
    fn fail(&mut self, kind: io::ErrorKind) -> Vec<OnFlushed> {
        self.failed = Some(kind);
        self.waiting.drain(..).filter_map(|(_, callback)| callback).collect()
    }
}

impl Change {
    /// How many records of the log it is.
    fn records(&self) -> usize {
        match self {
            Self::Append(entries) => entries.len(),
            _ => 1,
        }
    }
}

impl Content {
    fn position_at(&self, index: u64) -> Option<LogPosition> {
        self.entries.get(&index).map(|(position, _)| *position)
    }

    /// What a real log would refuse.
    fn check(&self, change: &Change) -> io::Result<()> {
        let refused = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        match change {
            Change::Append(entries) => {
                let mut last = self.last;
                for (position, _) in entries {
                    if last.is_some_and(|last| position.index != last.index + 1 || *position <= last) {
                        return refused(format!("entry {position:?} does not follow {last:?}"));
                    }
                    last = Some(*position);
                }
            }
            Change::TruncateAfter(keep) => {
                let keep = keep.or(self.purged);
                let index = |position: Option<LogPosition>| position.map(|position| position.index);
                if index(keep) < index(self.purged) {
                    return refused(format!(
                        "cannot truncate after {keep:?}: purged up to {:?}",
                        self.purged
                    ));
                }
                if index(self.last) <= index(keep) {
                    return Ok(());
                }
                let is_held = keep.is_none_or(|keep| self.position_at(keep.index) == Some(keep));
                if (keep != self.purged && !is_held) || keep < self.committed {
                    return refused(format!("cannot truncate after {keep:?}"));
                }
            }
            Change::Purge(position) => {
                let settled = self.purged.max(self.committed);
                if settled.is_some_and(|settled| position.index > settled.index && *position < settled) {
                    return refused(format!(
                        "cannot purge up to {position:?}: a later term is committed before it"
                    ));
                }
                if self.conflicts_with(*position) && self.purged < self.committed {
                    return refused(format!("cannot purge up to {position:?}: another history is committed"));
                }
            }
            Change::Vote(_) | Change::Committed(_) => {}
        }
        Ok(())
    }

    fn conflicts_with(&self, position: LogPosition) -> bool {
        match self.last {
            _ if self.purged.is_some_and(|purged| position.index <= purged.index) => false,
            Some(last) if last.index >= position.index => self.position_at(position.index) != Some(position),
            Some(last) => last > position,
            None => false,
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => {
                for (position, bytes) in entries {
                    self.last = Some(*position);
                    self.entries.insert(position.index, (*position, bytes.clone()));
                }
            }
            Change::TruncateAfter(keep) => {
                let keep = keep.or(self.purged);
                if self.last.map(|last| last.index) > keep.map(|keep| keep.index) {
                    self.entries.split_off(&keep.map_or(0, |keep| keep.index + 1));
                    self.last = keep;
                }
            }
            Change::Purge(position) => {
                if self.purged.is_some_and(|purged| position.index <= purged.index) {
                    return;
                }
                if self.conflicts_with(*position) {
                    self.entries.clear();
                }
                self.entries = self.entries.split_off(&(position.index + 1));
                self.purged = Some(*position);
                self.last = self
                    .entries
                    .last_key_value()
                    .map_or(Some(*position), |(_, (last, _))| Some(*last));
            }
            Change::Vote(vote) => self.vote = Some(vote.clone()),
            Change::Committed(position) => self.committed = Some(*position),
        }
    }
}

/// A log on a simulated disk.
pub struct SimulatedLog {
    disk: Arc<Mutex<Disk>>,
    shard: ShardId,
    life: u64,
}

impl SimulatedLog {
    pub(super) fn open(disk: Arc<Mutex<Disk>>, shard: ShardId) -> Result<Self, StorageError> {
        let life = {
            let mut disk = disk.lock();
            let lives = disk.lives;
            if disk.logs.entry(shard).or_default().damaged {
                return Err(StorageError::DamagedLog {
                    folder: format!("simulated shard {shard}").into(),
                    reason: "bits have rotted".into(),
                });
            }
            lives
        };
        Ok(Self { disk, shard, life })
    }

    fn with_file<T>(&self, act: impl FnOnce(&mut LogFile) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        if disk.lives != self.life {
            return Err(io::Error::other("the node of this log has crashed"));
        }
        let file = disk.logs.entry(self.shard).or_default();
        if let Some(kind) = file.failed {
            return Err(failure(kind));
        }
        act(file)
    }

    /// When there is no room: stops, tells whoever waits, and fails.
    fn check_room(&self) -> io::Result<()> {
        let callbacks = {
            let mut disk = self.disk.lock();
            if !disk.full || disk.lives != self.life {
                return Ok(());
            }
            disk.failures += 1;
            disk.logs
                .entry(self.shard)
                .or_default()
                .fail(io::ErrorKind::StorageFull)
        };
        for callback in callbacks {
            callback(Err(failure(io::ErrorKind::StorageFull)));
        }
        Err(failure(io::ErrorKind::StorageFull))
    }

    fn change(&self, change: Change, flushed: OnFlushed) -> io::Result<()> {
        self.check_room()?;
        let lies = self.disk.lock().behaviour.acknowledge_before_flush;
        let flushed = early_if_put_in(flushed);
        let (now, later) = if lies {
            (Some(flushed), None)
        } else {
            (None, Some(flushed))
        };
        let must_start = self.with_file(|file| {
            file.current.check(&change)?;
            file.current.apply(&change);
            file.waiting.push_back((change, later));
            Ok(!std::mem::replace(&mut file.is_flushing, true))
        })?;
        if let Some(flushed) = now {
            flushed(Ok(()));
        }
        if must_start {
            tokio::spawn(flush_while_waiting(self.disk.clone(), self.shard, self.life));
        }
        Ok(())
    }
}

fn failure(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "simulated failure of a disk")
}

/// Known bugs (see [`crate::known_bugs`]), which come to the same on a simulated disk: a second fsync says that all is well.
fn survives_failures() -> bool {
    put_in("cluster::fsync_error_ignored") || put_in("cluster::fsync_retried")
}

/// One flush after another, each with all that has gathered, as long as something waits.
async fn flush_while_waiting(disk: Arc<Mutex<Disk>>, shard: ShardId, life: u64) {
    loop {
        let (count, took) = {
            let mut disk = disk.lock();
            let took = disk.fsync_time();
            let is_alive = disk.lives == life;
            match disk.logs.get_mut(&shard) {
                Some(file) if is_alive => {
                    let count = file.waiting.len();
                    file.is_flushing = count > 0;
                    (count, took)
                }
                _ => return,
            }
        };
        if count == 0 {
            return;
        }
        tokio::time::sleep(took).await;
        let (callbacks, failed) = {
            let mut disk = disk.lock();
            if disk.lives != life {
                return;
            }
            let fails = disk.fail_flushes;
            disk.failures += u64::from(fails);
            let Some(file) = disk.logs.get_mut(&shard) else {
                return;
            };
            if fails && !survives_failures() {
                (file.fail(io::ErrorKind::Other), true)
            } else {
                // After a failed flush the system takes the lost pages for written.
                file.has_hole |= fails;
                let mut callbacks = Vec::new();
                let count = count.min(file.waiting.len());
                for (change, callback) in file.waiting.drain(..count) {
                    if !file.has_hole {
                        file.durable.apply(&change);
                    }
                    callbacks.extend(callback);
                }
                (callbacks, false)
            }
        };
        for callback in callbacks {
            callback(if failed {
                Err(failure(io::ErrorKind::Other))
            } else {
                Ok(())
            });
        }
        if failed {
            return;
        }
    }
}

impl LogEngine for SimulatedLog {
    fn state(&self) -> io::Result<LogState> {
        self.with_file(|file| {
            let Content {
                vote,
                committed,
                purged,
                last,
                ..
            } = &file.current;
            Ok(LogState {
                vote: vote.clone(),
                committed: (*committed).min(*last),
                purged: *purged,
                last: *last,
            })
        })
    }

    fn append(&self, entries: Vec<(LogPosition, Bytes)>, flushed: OnFlushed) -> io::Result<()> {
        self.change(Change::Append(entries), flushed)
    }

    fn truncate_after(&self, position: Option<LogPosition>, flushed: OnFlushed) -> io::Result<()> {
        self.change(Change::TruncateAfter(position), flushed)
    }

    fn purge(&self, position: LogPosition, flushed: OnFlushed) -> io::Result<()> {
        self.change(Change::Purge(position), flushed)
    }

    fn save_vote(&self, vote: Bytes, flushed: OnFlushed) -> io::Result<()> {
        self.change(Change::Vote(vote), flushed)
    }

    fn save_committed(&self, position: Option<LogPosition>) -> io::Result<()> {
        self.with_file(|file| {
            if let Some(position) = position
                && Some(position) > file.current.committed
                && (file.current.position_at(position.index) == Some(position) || file.current.purged == Some(position))
            {
                let change = Change::Committed(position);
                file.current.apply(&change);
                file.waiting.push_back((change, None));
            }
            Ok(())
        })
    }

    fn read(&self, from: u64, until: u64) -> io::Result<Vec<(LogPosition, Bytes)>> {
        self.with_file(|file| {
            Ok(file
                .current
                .entries
                .range(from..until.max(from))
                .map(|(_, entry)| entry.clone())
                .collect())
        })
    }

    fn bytes(&self) -> u64 {
        self.with_file(|file| Ok(file.current.entries.values().map(|(_, bytes)| bytes.len() as u64).sum()))
            .unwrap_or(0)
    }
}
