//! All fsync discipline of the project lives here: the log engine, snapshot files, and the row store (sled).
//!
//! | what | where | durable when |
//! |---|---|---|
//! | vote, entries, committed index, purge mark | [`LogEngine`], one per shard | its callback is called (after fdatasync) |
//! | snapshots | checksummed files, one folder per shard | published: written, fsynced, renamed, folder fsynced |
//! | rows | [`RowStore`], one per node | [`RowStore::barrier`] returned |
//!
//! An fsync that failed is never tried again: the engine answers every later call with the first error (fail-stop). What
//! failed is opened anew, as after a crash, or not at all. A page whose writing failed may stay in the page cache, clean, as
//! if it were on the disk: so whatever is opened is first forgotten there and read from the disk.

mod durable_file;
pub(crate) mod flush_times;
pub mod log;
mod log_codec;
mod measures;
pub mod rows;
mod rows_codec;
pub mod simulated;
pub mod snapshot;

use std::io;
use std::path::PathBuf;

use bytes::Bytes;

use crate::known_bugs::put_in;
use crate::state_machine::{Row, ShardId};

/// Whether an operation failed only because there was no room for it.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why something on disk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The log or the vote in it is damaged beyond a torn tail: what this node promised to its peers is no longer known.
    #[error(
        "the log in {folder} is damaged ({reason}); it cannot be repaired in place, because votes and acknowledged \
         entries may be missing: remove this node from the cluster, empty its data folder, and let it rejoin under a new \
         node id"
    )]
    DamagedLog {
        /// The shard's log folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the folder open.
    #[error("{folder} is in use by another process")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk or the file system refused; nothing says that data is damaged.
    #[error("{folder}: {source}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::DamagedLog { .. } => io::ErrorKind::InvalidData,
            StorageError::InUse { .. } => io::ErrorKind::ResourceBusy,
            StorageError::Io { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// Called once, after fdatasync or with the error that stopped the engine. Runs on the engine's thread: must be quick,
/// and must not call the engine.
///
/// When the call that took it fails by itself, it is dropped without being called.
pub type OnFlushed = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A known bug (see [`crate::known_bugs`]): calls back before the flush.
fn early_if_put_in(flushed: OnFlushed) -> OnFlushed {
    if !put_in("cluster::ack_before_fsync") {
        return flushed;
    }
    flushed(Ok(()));
    Box::new(|_| {})
}

/// Index and term of an entry, as the log keeps it (openraft's standard leader id: one leader per term).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct LogPosition {
    /// Term of the entry's leader.
    pub term: u64,
    /// Node id of the entry's leader.
    pub leader: u64,
    /// Index of the entry.
    pub index: u64,
}

/// What a log engine knows when it opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The vote as last saved, opaque.
    pub vote: Option<Bytes>,
    /// Last committed position as last saved; never past `last`.
    pub committed: Option<LogPosition>,
    /// Last purged position.
    pub purged: Option<LogPosition>,
    /// Last position (the purged one when the log is empty).
    pub last: Option<LogPosition>,
}

/// One shard's durable log. Votes and entries go through one ordered queue; recent entries are read from memory.
pub trait LogEngine: Send + Sync + 'static {
    /// Where the log stands.
    fn state(&self) -> io::Result<LogState>;
    /// Appends entries with consecutive indexes. They are readable on return; `flushed` is called after fdatasync.
    fn append(&self, entries: Vec<(LogPosition, Bytes)>, flushed: OnFlushed) -> io::Result<()>;
    /// Removes everything after `position` (everything, when `None`).
    fn truncate_after(&self, position: Option<LogPosition>, flushed: OnFlushed) -> io::Result<()>;
    /// Forgets everything up to and including `position`.
    fn purge(&self, position: LogPosition, flushed: OnFlushed) -> io::Result<()>;
    /// Saves the vote, in order with the entries.
    fn save_vote(&self, vote: Bytes, flushed: OnFlushed) -> io::Result<()>;
    /// Saves the committed position, in order with the entries; need not be flushed by itself.
    fn save_committed(&self, position: Option<LogPosition>) -> io::Result<()>;
    /// The entries of a half-open range of indexes that are present, in order.
    fn read(&self, from: u64, until: u64) -> io::Result<Vec<(LogPosition, Bytes)>>;
    /// Bytes on disk, for the metrics.
    fn bytes(&self) -> u64;
}

/// One node's store of rows, for all of its shards. Reads see every row given to `write`, flushed or not.
pub trait RowStore: Send + Sync + 'static {
    /// Takes the rows that applying `index` made. They are written in the background, coalesced, in order,
    /// each with the index that wrote it, and the shard's applied index with them.
    fn write(&self, shard: ShardId, index: u64, rows: Vec<Row>) -> io::Result<()>;
    /// One row.
    fn get(&self, shard: ShardId, table: u8, key: &[u8]) -> io::Result<Option<Bytes>>;
    /// Rows whose key lies in `[from, until)`, in order, at most `limit`.
    fn scan(
        &self,
        shard: ShardId,
        table: u8,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> io::Result<Vec<(Vec<u8>, Bytes)>>;
    /// Blocks until every row of `shard` up to `index` is durable, and `durable_index` with them. Everything up to
    /// `index` must have been given to `write` or `import` before; indexes without rows may be left out.
    fn barrier(&self, shard: ShardId, index: u64) -> io::Result<()>;
    /// The applied index that is durable for `shard` (0 = none).
    fn durable_index(&self, shard: ShardId) -> io::Result<u64>;
    /// Rows of all tables of `shard` written by an index in `(after, up_to]`, from `cursor` on, about `max_bytes`
    /// of them: for a replica that lacks them. Returns the next cursor, `None` at the end.
    fn export(
        &self,
        shard: ShardId,
        after: u64,
        up_to: u64,
        cursor: Option<Vec<u8>>,
        max_bytes: usize,
    ) -> io::Result<(Vec<u8>, Option<Vec<u8>>)>;
    /// Takes what `export` gave; `barrier` at the snapshot's index makes it durable.
    fn import(&self, shard: ShardId, exported: &[u8]) -> io::Result<()>;
    /// Forgets every row of `shard` and its durable index, durably: before the shard is filled anew, or leaves this node.
    fn clear(&self, shard: ShardId) -> io::Result<()>;
    /// Bytes on disk, for the metrics.
    fn bytes(&self) -> u64;
    /// The first failure, once there was one: the store takes nothing more until it is opened again.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
    /// Opens a store that failed again, as after a crash: what was not durable may be gone. No replica may be using it.
    fn reopen(&self) -> io::Result<()> {
        Ok(())
    }
}
