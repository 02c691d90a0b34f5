//! What a node's shards run on. The real thing is made by [`Environment::open`]; a simulation brings its own.

mod disk;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::error::StartError;
pub use crate::raft::{Gate, seed_this_thread};
use crate::state_machine::{ShardId, SnapshotWriter};
use crate::status::ClusterId;
use crate::storage::{LogEngine, LogPosition, RowStore};
use crate::transport::{SharedHandler, Transport};

/// Published snapshots of one shard.
pub trait SnapshotFiles: Send + Sync + 'static {
    /// Writes a snapshot, makes it durable, publishes it; older ones may go.
    fn publish(&self, position: LogPosition, digest: u64, write: SnapshotWriter) -> io::Result<()>;
    /// Position of the newest readable snapshot.
    fn newest(&self) -> io::Result<Option<LogPosition>>;
    /// Its content; stays readable while it is held, even when a newer one is published.
    fn open(&self, position: LogPosition) -> io::Result<Box<dyn Read + Send>>;
    /// A place for a snapshot that arrives in pieces.
    fn spool(&self) -> io::Result<Box<dyn Spool>>;
}

/// Bytes that arrive in pieces and are read when they are complete. What is dropped leaves nothing behind.
pub trait Spool: Write + Send {
    /// Everything written so far, from the beginning.
    fn read(&mut self) -> io::Result<Box<dyn Read + '_>>;
}

/// A small file that says which cluster this node belongs to, replaced as a whole, durably.
pub trait IdentityFile: Send + Sync + 'static {
    /// What was saved last.
    fn load(&self) -> io::Result<Option<Bytes>>;
    /// Replaces it; durable on return.
    fn save(&self, bytes: &[u8]) -> io::Result<()>;
}

/// Opens a shard's log.
pub type OpenLog = Arc<dyn Fn(ShardId) -> io::Result<Arc<dyn LogEngine>> + Send + Sync>;
/// Opens a shard's snapshots.
pub type OpenSnapshots = Arc<dyn Fn(ShardId) -> io::Result<Arc<dyn SnapshotFiles>> + Send + Sync>;
/// Starts the links, with the handler that takes what arrives.
pub type Connect = Box<dyn FnOnce(SharedHandler) -> Result<Box<dyn Links>, StartError> + Send>;

/// A node's links: how to use them, and how to end them.
pub trait Links: Send + Sync + 'static {
    /// Sends frames.
    fn transport(&self) -> Arc<dyn Transport>;
    /// Tells the peers which cluster this node belongs to; those of another one are refused from now on.
    fn joined(&self, cluster: ClusterId);
    /// Says goodbye on every link and ends.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Where work that blocks runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// On tokio's threads for it.
    Threads,
    /// Where it is called, so that a simulation stays on one thread.
    Inline,
}

impl Blocking {
    /// Runs `work`; fails only when it panicked or the runtime stops.
    pub(crate) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::Inline => Ok(work()),
        }
    }

    /// Runs `work` behind everything else, on a thread of its own; for what takes seconds of a core. Fails as [`Self::run`].
    pub(crate) async fn run_behind<T: Send + 'static>(
        self,
        name: &str,
        nice: i32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Threads => {
                let (done, result) = oneshot::channel();
                let act = move || {
                    give_way(nice);
                    // Who stopped waiting is no error.
                    let _ = done.send(work());
                };
                thread::Builder::new().name(name.to_owned()).spawn(act)?;
                result.await.map_err(io::Error::other)
            }
            Self::Inline => Ok(work()),
        }
    }
}

/// Lowers the priority of this thread alone, and of those that it starts. For good: few may raise it again.
pub(crate) fn give_way(nice: i32) {
    // To Linux a thread is a process of this kind, and 0 the caller.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

/// Everything that a run depends on: disk, links, wall clock.
pub struct Environment {
    /// Opens a shard's log.
    pub open_log: OpenLog,
    /// Opens a shard's snapshots.
    pub open_snapshots: OpenSnapshots,
    /// The node's rows.
    pub rows: Arc<dyn RowStore>,
    /// The node's identity.
    pub identity: Arc<dyn IdentityFile>,
    /// Starts the links.
    pub connect: Connect,
    /// Wall time, Unix milliseconds.
    pub wall_clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Where work that blocks runs.
    pub blocking: Blocking,
    /// openraft's `enable_leader_restore`: `Some(false)`, always. Anything else loses acknowledged commands, and
    /// exists so that the simulation can show that it would notice.
    pub leader_restore: Option<bool>,
}
