//! A simulated disk's logs.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::{LogEngine, LogPosition, LogState, OnFlushed};
use super::Disk;
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
    failed: bool,
}

impl LogFile {
    pub(super) fn crash(&mut self, kept: impl FnOnce(usize) -> usize) {
        let kept = kept(self.waiting.len());
        for (change, _) in self.waiting.drain(..).take(kept) {
            self.durable.apply(&change);
        }
        self.current = self.durable.clone();
        self.is_flushing = false;
        self.failed = false;
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
    pub(super) fn open(disk: Arc<Mutex<Disk>>, shard: ShardId) -> Self {
        let life = {
            let mut disk = disk.lock();
            disk.logs.entry(shard).or_default();
            disk.lives
        };
        Self { disk, shard, life }
    }

    fn with_file<T>(&self, act: impl FnOnce(&mut LogFile) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        if disk.lives != self.life {
            return Err(io::Error::other("the node of this log has crashed"));
        }
        let file = disk.logs.entry(self.shard).or_default();
        if file.failed {
            return Err(failure());
        }
        act(file)
    }

    fn change(&self, change: Change, flushed: OnFlushed) -> io::Result<()> {
        let lies = self.disk.lock().behaviour.acknowledge_before_flush;
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

fn failure() -> io::Error {
    io::Error::other("simulated failure of an fsync")
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
            let fails = disk.fail_flushes;
            let is_alive = disk.lives == life;
            let Some(file) = disk.logs.get_mut(&shard).filter(|_| is_alive) else {
                return;
            };
            file.failed |= fails;
            let count = if fails { file.waiting.len() } else { count };
            let mut callbacks = Vec::new();
            for (change, callback) in file.waiting.drain(..count) {
                if !fails {
                    file.durable.apply(&change);
                }
                callbacks.extend(callback);
            }
            (callbacks, fails)
        };
        for callback in callbacks {
            callback(if failed { Err(failure()) } else { Ok(()) });
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
