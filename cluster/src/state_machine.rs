//! What a user replicates: bytes in, bytes out.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

/// Which shard (Raft group). Shard 0 is the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ShardId(pub u32);

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One committed entry: commands that share an index and a stamp.
pub struct Batch<'a> {
    /// Index of the entry in the shard's log.
    pub index: u64,
    /// Term of the leader that stamped it.
    pub term: u64,
    /// The leader's stamp, Unix milliseconds; never smaller than that of an earlier entry.
    pub at_ms: u64,
    /// The commands, in order.
    pub commands: &'a [Bytes],
}

/// Tables from this number on hold runs: their keys end in a number of eight bytes, big-endian, and rows whose keys differ
/// in it alone follow on each other (a conversation's entries). Such a row is written once, and neither replaced nor removed;
/// the store keeps neighbours together, which makes them many times cheaper.
pub const RUN_TABLES_FROM: u8 = 128;

/// A row for the row store: written with the entry that made it, durable before a snapshot covers that entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which table; the user numbers them.
    pub table: u8,
    /// Key within (shard, table); rows are ordered by it, bytewise.
    pub key: Vec<u8>,
    /// `None` removes the row. At most [`crate::limits::ROW_VALUE_MAX_BYTES`].
    pub value: Option<Bytes>,
}

/// What applying a [`Batch`] gave.
#[derive(Default)]
pub struct Applied {
    /// One reply per command, in order.
    pub replies: Vec<Bytes>,
    /// Rows to write, in order.
    pub rows: Vec<Row>,
}

/// Writes a captured state; runs beside `apply`, on a blocking thread.
pub type SnapshotWriter = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// One replica's state. Calls come one at a time, from the shard's apply task; equal batches must give equal states.
pub trait StateMachine: Send + 'static {
    /// Applies one committed batch. Must not fail: a bad command is answered with a reply that says so.
    fn apply(&mut self, batch: Batch<'_>) -> Applied;
    /// A digest of the state, comparable between replicas at equal index. Cheap: called after every batch.
    fn digest(&self) -> u64;
    /// Captures the state quickly; the returned writer serialises it later.
    fn snapshot(&mut self) -> SnapshotWriter;
    /// Replaces the state by one that a snapshot writer wrote.
    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()>;
    /// Told after a restore or a start: the index that the state stands at (0 = empty).
    fn restored_at(&mut self, _index: u64) {}
}

/// Makes the state machine of a shard when its replica opens on this node.
pub type StateMachineFactory = Arc<dyn Fn(ShardId) -> Box<dyn StateMachine> + Send + Sync>;
