//! The log on disk, over the crate `raft-log`: one folder per shard.
//!
//! `raft-log` syncs once per flush that it is asked for. So one flush is under way at a time, and whatever is appended
//! meanwhile shares the next one: batches grow with the load, and nobody waits for company.
//!
//! ```text
//!   append ──► buffer ──► flush (write, fdatasync) ──► callbacks, in order
//!                 ▲                     │
//!                 └── appended meanwhile: the next flush starts when this one ends
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use raft_log::api::raft_log_writer::RaftLogWriter;

use super::durable_file::{FailStop, create_folder, forget_cached, sync_folder};
use super::log_codec::{WalEntry, WalPosition, WalTypes, WalVote};
use super::{LogEngine, LogPosition, LogState, OnFlushed, StorageError, measures};
use crate::known_bugs::put_in;
use crate::limits;

type RaftLog = raft_log::RaftLog<WalTypes>;

/// Beside the log's own folder; says that there has been a log, so that one that vanished is not taken for a new one.
const CREATED_MARK: &str = "log-created";

/// The durable log of one shard.
pub struct WalLog {
    shared: Arc<Shared>,
}

struct Shared {
    inner: RwLock<Inner>,
    /// Their records are in the log's buffer; they share the next flush. Locked after `inner`, never before.
    waiting: Mutex<Vec<Waiter>>,
    fail_stop: FailStop,
    /// Bytes given to `append` and not yet flushed.
    unflushed_bytes: Mutex<usize>,
    flushed_some: Condvar,
}

struct Inner {
    /// `None` once closed.
    log: Option<RaftLog>,
    in_flight: bool,
}

struct Waiter {
    since: Instant,
    bytes: usize,
    is_append: bool,
    flushed: OnFlushed,
}

/// One flush under way: its callbacks are called when it ends, and also when `raft-log` drops it because it stopped.
pub(super) struct FlushDone {
    shared: Weak<Shared>,
    started: Instant,
    waiters: Vec<Waiter>,
}

impl raft_log::Callback for FlushDone {
    fn send(mut self, result: io::Result<()>) {
        let waiters = std::mem::take(&mut self.waiters);
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        match result {
            Err(_) if put_in("cluster::fsync_error_ignored") => {
                shared.start_next_flush();
                shared.settle(waiters, Ok(()));
            }
            Err(_) if put_in("cluster::fsync_retried") => {
                shared.waiting.lock().splice(0..0, waiters);
                shared.start_next_flush();
            }
            Ok(()) => {
                measures::fsync_took("log", self.started.elapsed());
                shared.start_next_flush();
                shared.settle(waiters, Ok(()));
            }
            Err(error) => shared.fail(waiters, &error),
        }
    }
}

impl Drop for FlushDone {
    fn drop(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        if let Some(shared) = self.shared.upgrade().filter(|_| !waiters.is_empty()) {
            shared.fail(waiters, &io::Error::other("the log's writer stopped"));
        }
    }
}

impl Shared {
    /// Calls back, and makes room.
    fn settle(&self, waiters: Vec<Waiter>, result: Result<(), &io::Error>) {
        let bytes: usize = waiters.iter().map(|waiter| waiter.bytes).sum();
        *self.unflushed_bytes.lock() -= bytes;
        self.flushed_some.notify_all();
        for waiter in waiters {
            if waiter.is_append && result.is_ok() {
                measures::append_took(waiter.since.elapsed());
            }
            (waiter.flushed)(result.map_err(|error| io::Error::new(error.kind(), error.to_string())));
        }
    }

    /// Stops the log for good. May be called with `inner` locked.
    fn fail(&self, waiters: Vec<Waiter>, error: &io::Error) {
        measures::failed("log_flush", error);
        tracing::error!(%error, "the log cannot be written; it takes nothing more until it is opened again");
        let first = self.fail_stop.fail(error);
        self.settle(waiters, Err(&first));
        let waiting = std::mem::take(&mut *self.waiting.lock());
        self.settle(waiting, Err(&first));
    }

    /// Runs on the writer's thread when a flush has ended well.
    fn start_next_flush(self: &Arc<Self>) {
        let mut inner = self.inner.write();
        inner.in_flight = false;
        if !self.waiting.lock().is_empty() {
            // Its failure is told to the waiters.
            let _ = self.flush(&mut inner);
        }
    }

    /// Hands everything in the log's buffer to its writer, with the callbacks of everybody who waits.
    fn flush(self: &Arc<Self>, inner: &mut Inner) -> io::Result<()> {
        let waiters = std::mem::take(&mut *self.waiting.lock());
        let done = FlushDone {
            shared: Arc::downgrade(self),
            started: Instant::now(),
            waiters,
        };
        // When there is no log, or it refuses, dropping `done` fails the waiters.
        let log = inner
            .log
            .as_mut()
            .ok_or_else(|| io::Error::other("the log is closed"))?;
        inner.in_flight = true;
        log.flush(true, Some(done))
    }
}

impl WalLog {
    /// Opens the log of one shard, which lives in `folder`; makes a new one when there has never been one.
    ///
    /// A torn tail, which was never acknowledged, is cut off. What is read back is durable on return.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Io {
            folder: folder.to_owned(),
            source,
        };
        let wal_folder = folder.join("wal");
        create_folder(&wal_folder).map_err(failed)?;
        let mark = folder.join(CREATED_MARK);
        let is_new = !mark.exists();
        let chunks = chunks(&wal_folder).map_err(failed)?;
        if !is_new && chunks.is_empty() {
            measures::corruption("log");
            let reason = "its files are gone".to_owned();
            return Err(StorageError::DamagedLog {
                folder: folder.to_owned(),
                reason,
            });
        }
        for chunk in &chunks {
            forget_cached(chunk).map_err(failed)?;
        }
        let log = RaftLog::open(Arc::new(wal_config(&wal_folder))).map_err(|error| open_error(folder, error))?;
        let shared = Shared {
            inner: RwLock::new(Inner {
                log: Some(log),
                in_flight: false,
            }),
            waiting: Mutex::default(),
            fail_stop: FailStop::default(),
            unflushed_bytes: Mutex::default(),
            flushed_some: Condvar::new(),
        };
        let engine = Self {
            shared: Arc::new(shared),
        };
        // What an earlier process wrote and did not sync is in the page cache only, yet it counts as ours from now on.
        engine.flush_and_wait().map_err(failed)?;
        if is_new {
            fs::write(&mark, b"")
                .and_then(|()| sync_folder(folder))
                .map_err(failed)?;
        }
        Ok(engine)
    }

    fn flush_and_wait(&self) -> io::Result<()> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.change(0, false, Box::new(move |result| drop(sender.send(result))), |_| Ok(()))?;
        receiver
            .recv()
            .map_err(|_| io::Error::other("the log's writer stopped"))?
    }

    /// Runs a change of the log and puts it into the next flush.
    fn change(
        &self,
        bytes: usize,
        is_append: bool,
        flushed: OnFlushed,
        change: impl FnOnce(&mut RaftLog) -> io::Result<()>,
    ) -> io::Result<()> {
        let shared = &self.shared;
        let since = Instant::now();
        let mut inner = shared.inner.write();
        shared.fail_stop.check()?;
        let log = inner
            .log
            .as_mut()
            .ok_or_else(|| io::Error::other("the log is closed"))?;
        change(log).inspect_err(|error| self.stop_unless_refused(error))?;
        let flushed = super::early_if_put_in(flushed);
        *shared.unflushed_bytes.lock() += bytes;
        shared.waiting.lock().push(Waiter {
            since,
            bytes,
            is_append,
            flushed,
        });
        if !inner.in_flight {
            return shared.flush(&mut inner);
        }
        // A failure between the first check and the push did not see this waiter.
        if let Err(first) = shared.fail_stop.check() {
            let waiting = std::mem::take(&mut *shared.waiting.lock());
            shared.settle(waiting, Err(&first));
            return Err(first);
        }
        Ok(())
    }

    /// A refused change left no trace; anything else leaves the log in doubt.
    fn stop_unless_refused(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::InvalidInput {
            self.shared.fail(Vec::new(), error);
        }
    }

    /// Blocks while too much waits for the disk.
    fn wait_for_room(&self) -> io::Result<()> {
        let mut unflushed = self.shared.unflushed_bytes.lock();
        while *unflushed > limits::LOG_UNFLUSHED_MAX_BYTES {
            self.shared.fail_stop.check()?;
            self.shared
                .flushed_some
                .wait_for(&mut unflushed, Duration::from_secs(1));
        }
        Ok(())
    }

    fn with_log<T>(&self, look: impl FnOnce(&RaftLog) -> io::Result<T>) -> io::Result<T> {
        self.shared.fail_stop.check()?;
        let inner = self.shared.inner.read();
        look(
            inner
                .log
                .as_ref()
                .ok_or_else(|| io::Error::other("the log is closed"))?,
        )
    }
}

impl Drop for WalLog {
    /// Flushes what is left, and waits for it; so the log can be opened again at once.
    fn drop(&mut self) {
        let mut inner = self.shared.inner.write();
        if !self.shared.waiting.lock().is_empty() {
            let _ = self.shared.flush(&mut inner);
        }
        let log = inner.log.take();
        // The writer's last callbacks look at `inner`.
        drop(inner);
        drop(log);
    }
}

impl LogEngine for WalLog {
    fn state(&self) -> io::Result<LogState> {
        self.with_log(|log| {
            let state = log.log_state();
            let position = |position: Option<&WalPosition>| position.map(|position| position.0);
            let last = position(state.last());
            Ok(LogState {
                vote: state.vote().map(|vote| vote.bytes.clone()),
                committed: position(state.committed()).min(last),
                purged: position(state.purged()),
                last,
            })
        })
    }

    fn append(&self, entries: Vec<(LogPosition, Bytes)>, flushed: OnFlushed) -> io::Result<()> {
        self.wait_for_room()?;
        let bytes = entries.iter().map(|(_, bytes)| bytes.len()).sum();
        self.change(bytes, true, flushed, |log| {
            let mut last = log.log_state().last().map(|last| last.0);
            for (position, _) in &entries {
                if last.is_some_and(|last| position.index != last.index + 1 || *position <= last) {
                    return Err(refused(format!("entry {position:?} does not follow {last:?}")));
                }
                last = Some(*position);
            }
            let entries = entries
                .into_iter()
                .map(|(position, bytes)| (WalPosition(position), WalEntry(bytes)));
            log.append(entries).map(drop)
        })
    }

    fn truncate_after(&self, position: Option<LogPosition>, flushed: OnFlushed) -> io::Result<()> {
        self.change(0, false, flushed, |log| {
            let state = log.log_state();
            let purged = state.purged().map(|purged| purged.0);
            let keep = position.or(purged);
            if keep.map(|keep| keep.index) < purged.map(|purged| purged.index) {
                return Err(refused(format!(
                    "cannot truncate after {keep:?}: purged up to {purged:?}"
                )));
            }
            if state.last().map(|last| last.0.index) <= keep.map(|keep| keep.index) {
                return Ok(());
            }
            if let Some(keep) = keep.filter(|keep| Some(*keep) != purged)
                && position_at(log, keep.index)? != Some(keep)
            {
                return Err(refused(format!("cannot truncate after {keep:?}: no such entry")));
            }
            if keep < state.committed().map(|committed| committed.0) {
                return Err(refused(format!("cannot truncate after {keep:?}: more is committed")));
            }
            log.truncate(keep.map_or(0, |keep| keep.index + 1)).map(drop)
        })
    }

    fn purge(&self, position: LogPosition, flushed: OnFlushed) -> io::Result<()> {
        self.change(0, false, flushed, |log| {
            let state = log.log_state();
            let purged = state.purged().map(|purged| purged.0);
            if purged.is_some_and(|purged| position.index <= purged.index) {
                return Ok(());
            }
            let committed = state.committed().map(|committed| committed.0);
            if purged
                .max(committed)
                .is_some_and(|settled| position.index > settled.index && position < settled)
            {
                return Err(refused(format!(
                    "cannot purge up to {position:?}: a later term is committed before it"
                )));
            }
            // A snapshot may stand for another history than our uncommitted tail: that tail goes first.
            let conflicts = match state.last() {
                Some(last) if last.0.index >= position.index => position_at(log, position.index)? != Some(position),
                Some(last) => last.0 > position,
                None => false,
            };
            if conflicts {
                if purged < state.committed().map(|committed| committed.0) {
                    return Err(refused(format!(
                        "cannot purge up to {position:?}: another history is committed"
                    )));
                }
                log.truncate(purged.map_or(0, |purged| purged.index + 1))?;
            }
            log.purge(WalPosition(position)).map(drop)
        })
    }

    fn save_vote(&self, vote: Bytes, flushed: OnFlushed) -> io::Result<()> {
        self.change(0, false, flushed, |log| {
            let number = log.log_state().vote().map_or(0, |vote| vote.number) + 1;
            log.save_vote(WalVote { number, bytes: vote }).map(drop)
        })
    }

    /// Goes to disk with the next flush. A position that this log does not hold (yet) is left out: the saved one is
    /// never ahead of what can be read back.
    fn save_committed(&self, position: Option<LogPosition>) -> io::Result<()> {
        let Some(position) = position else { return Ok(()) };
        let mut inner = self.shared.inner.write();
        self.shared.fail_stop.check()?;
        let log = inner
            .log
            .as_mut()
            .ok_or_else(|| io::Error::other("the log is closed"))?;
        let state = log.log_state();
        if state.committed().is_some_and(|committed| position <= committed.0) {
            return Ok(());
        }
        let is_held = state.purged().is_some_and(|purged| purged.0 == position)
            || position_at(log, position.index)? == Some(position);
        if is_held {
            log.commit(WalPosition(position))
                .inspect_err(|error| self.stop_unless_refused(error))?;
        }
        Ok(())
    }

    fn read(&self, from: u64, until: u64) -> io::Result<Vec<(LogPosition, Bytes)>> {
        let read = self.with_log(|log| {
            let entries = log.read(from, until.max(from));
            entries
                .map(|entry| entry.map(|(position, entry)| (position.0, entry.0)))
                .collect()
        });
        read.inspect_err(|error: &io::Error| {
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                measures::corruption("log");
                self.shared.fail(Vec::new(), error);
            }
        })
    }

    fn bytes(&self) -> u64 {
        self.with_log(|log| Ok(log.on_disk_size())).unwrap_or(0)
    }
}

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn position_at(log: &RaftLog, index: u64) -> io::Result<Option<LogPosition>> {
    let entry = log.read(index, index + 1).next().transpose()?;
    Ok(entry.map(|(position, _)| position.0))
}

fn wal_config(wal_folder: &Path) -> raft_log::Config {
    let mut config = raft_log::Config::new(wal_folder.display());
    config.log_cache_capacity = Some(limits::LOG_CACHE_BYTES);
    config.wal.chunk_max_size = Some(limits::LOG_CHUNK_BYTES);
    config.wal.read_buffer_size = Some(1 << 20);
    // Its default waits a millisecond for company; here company gathers while the flush before is under way.
    config.wal.flush_batch_wait = Some(Duration::ZERO);
    // The bound is ours (`wait_for_room`): its own would block the writer's thread, which starts the next flush.
    config.wal.flush_queue_max_bytes = Some(usize::MAX / 2);
    config
}

fn chunks(wal_folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut chunks = Vec::new();
    for entry in fs::read_dir(wal_folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            chunks.push(path);
        }
    }
    Ok(chunks)
}

/// Tells damage from a refusing system.
fn open_error(folder: &Path, error: io::Error) -> StorageError {
    use io::ErrorKind as Kind;
    let folder = folder.to_owned();
    match error.kind() {
        Kind::WouldBlock => StorageError::InUse { folder },
        Kind::NotFound
        | Kind::PermissionDenied
        | Kind::ReadOnlyFilesystem
        | Kind::StorageFull
        | Kind::QuotaExceeded
        | Kind::OutOfMemory
        | Kind::InvalidInput => StorageError::Io { folder, source: error },
        // Unreadable sectors too come as "other".
        _ => {
            measures::corruption("log");
            StorageError::DamagedLog {
                folder,
                reason: error.to_string(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
