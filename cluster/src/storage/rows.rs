//! The rows on disk, over sled 0.34: one database per node, one tree, so that one batch covers rows and applied index.
//!
//! ```text
//!   write ──► queue + overlay ──► writer thread: one batch ──► sled     reads look into the overlay, then into sled
//!   barrier: the writer has come so far ──► flush ──► fdatasync on our own descriptor
//! ```
//!
//! What sled costs is the number of its rows, not their bytes. So rows of a run (see [`RUN_TABLES_FROM`](crate::state_machine::RUN_TABLES_FROM)) gather for a while and
//! are kept together, several under the key of the first.
//!
//! sled's `flush` is not durable: it ends with `sync_file_range`. The barrier therefore syncs sled's file itself. Values
//! stay small and segments large, because what sled puts into its blobs folder is never synced by anybody.

mod again;
mod opening;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};

pub(crate) use self::again::ReopenedRows;
use super::durable_file::FailStop;
use super::rows_codec::{self, ExportPage};
use super::{RowStore, measures};
use crate::limits;
use crate::state_machine::{Row, ShardId};

/// The node's rows, in sled.
pub struct SledRows {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    /// Held as long as the store is open.
    _lock: File,
}

/// What opening the rows gave.
///
/// Whoever opens must also compare [`RowStore::durable_index`] with the local snapshot of each shard: when it is lower,
/// the node stopped between setting rows aside and being refilled, and the snapshot must go aside too.
pub enum RowsOpened {
    /// As they were, or new.
    Ready(SledRows),
    /// The rows were damaged and are set aside; the store is empty. Local snapshots must be set aside with them, and the
    /// node must neither lead nor serve until it is refilled from its peers.
    Refill {
        /// The new, empty store.
        rows: SledRows,
        /// Where the damaged one went, if there was anything left of it.
        set_aside: Option<PathBuf>,
        /// What was wrong.
        reason: String,
    },
}

struct Shared {
    db: sled::Db,
    /// The same inode as sled's own file.
    file: File,
    queue: Mutex<Queue>,
    /// There is work for the writer, or it shall stop.
    work: Condvar,
    /// The writer shall not wait for more.
    hurry: Condvar,
    /// The writer has written something, or failed.
    written: Condvar,
    /// Rows in the queue, with the number of the write that put them there. Locked after `queue`, never before.
    overlay: RwLock<BTreeMap<Vec<u8>, (u64, Bytes)>>,
    sync: Mutex<SyncState>,
    synced: Condvar,
    durable: RwLock<BTreeMap<ShardId, u64>>,
    fail_stop: FailStop,
}

#[derive(Default)]
struct Queue {
    writes: VecDeque<Write>,
    bytes: usize,
    /// Number of the last write that was queued, and of the last that sled has.
    queued: u64,
    written: u64,
    /// Applied index per shard: of what was queued, and of what sled has.
    applied_queued: BTreeMap<ShardId, u64>,
    applied_written: BTreeMap<ShardId, u64>,
    /// Callers that wait until everything is written.
    waiting: usize,
    is_closing: bool,
}

impl Queue {
    fn hurries(&self) -> bool {
        self.is_closing || self.waiting > 0 || self.bytes > limits::ROWS_PENDING_MAX_BYTES / 2
    }
}

struct Write {
    number: u64,
    shard: ShardId,
    /// `None` for rows that came from another replica.
    index: Option<u64>,
    rows: Vec<(Vec<u8>, Bytes)>,
    bytes: usize,
}

#[derive(Default)]
struct SyncState {
    is_running: bool,
    started: u64,
    finished: u64,
}

impl Shared {
    /// The first error is the only answer from then on; wakes everybody who waits.
    fn fail(&self, op: &'static str, error: &io::Error) -> io::Error {
        measures::failed(op, error);
        if error.kind() == io::ErrorKind::InvalidData {
            measures::corruption("rows");
        }
        tracing::error!(op, %error, "the row store takes nothing more until it is opened again");
        let first = self.fail_stop.fail(error);
        // Taking each lock once makes sure that nobody is between its check and its wait.
        drop(self.queue.lock());
        drop(self.sync.lock());
        self.written.notify_all();
        self.synced.notify_all();
        first
    }

    /// Runs sled; its errors and panics stop the store.
    fn with_sled<T>(&self, op: &'static str, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> io::Result<T> {
        self.fail_stop.check()?;
        let result = run_sled(|| act(&self.db));
        result.map_err(|error| self.fail(op, &error))
    }

    /// Queues a write, when there is room for it. An index that is queued already is left out: its rows are here.
    fn enqueue(&self, shard: ShardId, index: Option<u64>, rows: Vec<(Vec<u8>, Bytes)>) -> io::Result<()> {
        let bytes = rows.iter().map(|(key, stored)| 2 * key.len() + stored.len() + 64).sum();
        let mut queue = self.queue.lock();
        self.fail_stop.check()?;
        while queue.bytes > limits::ROWS_PENDING_MAX_BYTES {
            self.written.wait(&mut queue);
            self.fail_stop.check()?;
        }
        if let Some(index) = index {
            let applied = queue.applied_queued.entry(shard).or_default();
            if index <= *applied {
                return Ok(());
            }
            *applied = index;
        }
        queue.queued += 1;
        let number = queue.queued;
        let mut overlay = self.overlay.write();
        for (key, stored) in &rows {
            overlay.insert(key.clone(), (number, stored.clone()));
        }
        drop(overlay);
        queue.bytes += bytes;
        queue.writes.push_back(Write {
            number,
            shard,
            index,
            rows,
            bytes,
        });
        self.work.notify_one();
        if queue.hurries() {
            self.hurry.notify_one();
        }
        Ok(())
    }

    /// Waits until sled has everything that is queued by now.
    fn wait_until_written(&self) -> io::Result<()> {
        let mut queue = self.queue.lock();
        let queued = queue.queued;
        queue.waiting += 1;
        self.hurry.notify_one();
        let result = loop {
            if let Err(error) = self.fail_stop.check() {
                break Err(error);
            }
            if queue.written >= queued {
                break Ok(());
            }
            self.written.wait(&mut queue);
        };
        queue.waiting -= 1;
        result
    }

    /// Makes durable what sled has by now; callers that come meanwhile share the next one.
    fn sync(&self) -> io::Result<()> {
        let mut sync = self.sync.lock();
        let wanted = sync.started + 1;
        loop {
            self.fail_stop.check()?;
            if sync.finished >= wanted {
                return Ok(());
            }
            if sync.is_running {
                self.synced.wait(&mut sync);
                continue;
            }
            sync.is_running = true;
            sync.started += 1;
            drop(sync);
            let result = self.sync_now();
            sync = self.sync.lock();
            sync.is_running = false;
            if result.is_ok() {
                sync.finished = sync.started;
            }
            self.synced.notify_all();
            result?;
        }
    }

    fn sync_now(&self) -> io::Result<()> {
        let applied = self.queue.lock().applied_written.clone();
        let started = Instant::now();
        self.with_sled("rows_flush", |db| db.flush())?;
        self.file.sync_data().map_err(|error| self.fail("rows_sync", &error))?;
        measures::fsync_took("rows", started.elapsed());
        *self.durable.write() = applied;
        Ok(())
    }

    fn stored(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.fail_stop.check()?;
        // In this order: a row leaves the overlay only when sled has it.
        if let Some((_, stored)) = self.overlay.read().get(key) {
            return Ok(Some(stored.clone()));
        }
        if !rows_codec::is_in_run(key) {
            let found = self.with_sled("rows_get", |db| db.get(key))?;
            return Ok(found.map(|stored| Bytes::copy_from_slice(&stored)));
        }
        let mut found = None;
        if let Some((first, kept)) = self.with_sled("rows_get", |db| run_before(db, key))? {
            let look = rows_codec::each_row(&first, &kept, |row, stored| {
                if row == key {
                    found = Some(Bytes::copy_from_slice(stored));
                }
                Ok(row < key)
            });
            look.map_err(|error| self.damaged(error))?;
        }
        Ok(found)
    }

    /// Rows of the overlay that a scan with this limit can meet.
    fn overlay_range(&self, from: &[u8], until: &[u8], limit: usize) -> BTreeMap<Vec<u8>, Bytes> {
        let overlay = self.overlay.read();
        let mut found = BTreeMap::new();
        let mut present = 0;
        for (key, (_, stored)) in overlay.range::<[u8], _>((Bound::Included(from), Bound::Excluded(until))) {
            if present == limit {
                break;
            }
            present += usize::from(matches!(rows_codec::read_row(stored), Ok((_, Some(_)))));
            found.insert(key.clone(), stored.clone());
        }
        found
    }

    fn damaged(&self, error: io::Error) -> io::Error {
        self.fail("rows_read", &error)
    }
}

/// The last run of the table that begins at `key` or before it.
fn run_before(db: &sled::Db, key: &[u8]) -> sled::Result<Option<(sled::IVec, sled::IVec)>> {
    db.range(&key[..5]..=key).next_back().transpose()
}

/// sled's errors as the system's; its panics too, which damaged files can cause.
fn run_sled<T>(act: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(error),
        Ok(Err(error)) => Err(rows_codec::damaged(&format!("sled: {error}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(rows_codec::damaged(&format!("sled panicked: {text}")))
        }
    }
}

impl RowStore for SledRows {
    fn write(&self, shard: ShardId, index: u64, rows: Vec<Row>) -> io::Result<()> {
        let stored = |row: &Row| rows_codec::stored_row(shard, index, row).map(|(key, stored)| (key, stored.into()));
        self.shared
            .enqueue(shard, Some(index), rows.iter().map(stored).collect::<io::Result<_>>()?)
    }

    fn get(&self, shard: ShardId, table: u8, key: &[u8]) -> io::Result<Option<Bytes>> {
        let Some(stored) = self.shared.stored(&rows_codec::row_key(shard, table, key))? else {
            return Ok(None);
        };
        let (_, value) = rows_codec::read_row(&stored).map_err(|error| self.shared.damaged(error))?;
        Ok(value.map(|value| stored.slice_ref(value)))
    }

    fn scan(
        &self,
        shard: ShardId,
        table: u8,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> io::Result<Vec<(Vec<u8>, Bytes)>> {
        if from >= until || limit == 0 {
            return Ok(Vec::new());
        }
        let (from, until) = (
            rows_codec::row_key(shard, table, from),
            rows_codec::row_key(shard, table, until),
        );
        // In this order: a row leaves the overlay only when sled has it.
        let mut merged = self.shared.overlay_range(&from, &until, limit);
        // Beyond this key the overlay was not looked at; it has `limit` rows up to there.
        let mut present = 0;
        let mut last = None;
        for (key, stored) in &merged {
            present += usize::from(matches!(rows_codec::read_row(stored), Ok((_, Some(_)))));
            if present == limit {
                last = Some(key.clone());
            }
        }
        let mut found = 0;
        let mut take = |key: &[u8], stored: &[u8]| {
            if found == limit || key >= &until[..] || last.as_deref().is_some_and(|last| key > last) {
                return Ok(false);
            }
            if key >= &from[..] && !merged.contains_key(key) {
                found += usize::from(rows_codec::read_row(stored)?.1.is_some());
                merged.insert(key.to_vec(), Bytes::copy_from_slice(stored));
            }
            Ok(true)
        };
        let damage = self.shared.with_sled("rows_scan", |db| {
            // A run that begins before the range may reach into it.
            let before = if rows_codec::is_in_run(&from) {
                run_before(db, &from)?
            } else {
                None
            };
            let start = before.map_or_else(|| from.clone(), |(first, _)| first.to_vec());
            for row in db.range(start..until.clone()) {
                let (key, kept) = row?;
                match rows_codec::each_row(&key, &kept, &mut take) {
                    Ok(false) => break,
                    Ok(true) => {}
                    Err(error) => return Ok(Some(error)),
                }
            }
            Ok(None)
        })?;
        if let Some(error) = damage {
            return Err(self.shared.damaged(error));
        }
        let mut rows = Vec::new();
        for (key, stored) in merged {
            let (_, value) = rows_codec::read_row(&stored).map_err(|error| self.shared.damaged(error))?;
            if let Some(value) = value {
                rows.push((key[5..].to_vec(), stored.slice_ref(value)));
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    fn barrier(&self, shard: ShardId, index: u64) -> io::Result<()> {
        // Without rows of its own, the index still becomes the applied one.
        self.shared.enqueue(shard, Some(index), Vec::new())?;
        self.shared.wait_until_written()?;
        self.shared.sync()
    }

    fn durable_index(&self, shard: ShardId) -> io::Result<u64> {
        self.shared.fail_stop.check()?;
        Ok(self.shared.durable.read().get(&shard).copied().unwrap_or(0))
    }

    /// Reads what sled has: call it after a barrier at `up_to`.
    fn export(
        &self,
        shard: ShardId,
        after: u64,
        up_to: u64,
        cursor: Option<Vec<u8>>,
        max_bytes: usize,
    ) -> io::Result<(Vec<u8>, Option<Vec<u8>>)> {
        let start = cursor.unwrap_or_else(|| rows_codec::row_key(shard, 0, &[]));
        let end = rows_codec::shard_end(shard).map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec()));
        let mut page = ExportPage::new(after, up_to);
        let mut looked_at = 0;
        let mut damage = None;
        let next = self.shared.with_sled("rows_export", |db| {
            for row in db.range((Bound::Included(start), end)) {
                let (key, stored) = row?;
                if page.len() >= max_bytes || looked_at == limits::ROWS_EXPORT_LOOKED_AT_MAX {
                    return Ok(Some(key.to_vec()));
                }
                looked_at += 1;
                let offered = rows_codec::each_row(&key, &stored, |key, stored| page.offer(key, stored).map(|()| true));
                damage = offered.err();
                if damage.is_some() {
                    break;
                }
            }
            Ok(None)
        })?;
        match damage {
            Some(error) => Err(self.shared.damaged(error)),
            None => Ok((page.finish(), next)),
        }
    }

    fn import(&self, shard: ShardId, exported: &[u8]) -> io::Result<()> {
        let mut newer = Vec::new();
        for (key, stored) in rows_codec::read_export(shard, exported)? {
            let (index, _) = rows_codec::read_row(&stored)?;
            let present = self.shared.stored(&key)?;
            let present = present
                .map(|present| rows_codec::read_row(&present).map(|(index, _)| index))
                .transpose();
            if present
                .map_err(|error| self.shared.damaged(error))?
                .is_none_or(|present| present < index)
            {
                newer.push((key, stored.into()));
            }
        }
        self.shared.enqueue(shard, None, newer)
    }

    fn clear(&self, shard: ShardId) -> io::Result<()> {
        let shared = &self.shared;
        shared.wait_until_written()?;
        // First the index: rows without it are no harm, it without rows would be.
        shared.with_sled("rows_clear", |db| db.remove(rows_codec::applied_key(shard)))?;
        {
            let mut queue = shared.queue.lock();
            queue.applied_queued.remove(&shard);
            queue.applied_written.remove(&shard);
        }
        shared.sync()?;
        loop {
            let removed = shared.with_sled("rows_clear", |db| {
                let mut batch = sled::Batch::default();
                let mut count = 0;
                for key in db
                    .scan_prefix(rows_codec::applied_key(shard))
                    .keys()
                    .take(limits::ROWS_BATCH_MAX)
                {
                    batch.remove(key?);
                    count += 1;
                }
                db.apply_batch(batch).map(|()| count)
            })?;
            if removed == 0 {
                return shared.sync();
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.shared.with_sled("rows_size", |db| db.size_on_disk()).unwrap_or(0)
    }

    fn check(&self) -> io::Result<()> {
        self.shared.fail_stop.check()
    }
}

impl Drop for SledRows {
    /// Lets the writer finish what is queued.
    fn drop(&mut self) {
        self.shared.queue.lock().is_closing = true;
        self.shared.work.notify_all();
        self.shared.hurry.notify_all();
        if let Some(writer) = self.writer.take() {
            // Its panic was caught and told by then.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
