//! openraft's state machine on top of the user's [`StateMachine`], the row store and the snapshot files.
//!
//! A snapshot at index S is published in this order: capture the state (on the apply path, quick), make the rows up to
//! S durable, write and publish the file. Only a published snapshot lets openraft purge the log up to S, so whatever is
//! purged is on disk as state or as rows.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::entry::{CommandBatch, Replies};
use super::trouble::Trouble;
use super::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::codec;
use crate::environment::{Blocking, SnapshotFiles, Spool};
use crate::known_bugs::put_in;
use crate::limits;
use crate::state_machine::{Batch, ShardId, SnapshotWriter, StateMachine};
use crate::storage::{LogPosition, RowStore};

/// Schema of the head of a snapshot's content.
const SCHEMA: u16 = 1;
/// A membership of some hundred nodes fits many times.
const HEAD_MAX_BYTES: usize = 256 << 10;

/// What a snapshot's content begins with, before the user's bytes.
type Head = (u16, SnapshotMeta, u64);

/// Where a replica stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AppliedMark {
    /// Last applied index.
    pub(crate) index: u64,
    /// Its term.
    pub(crate) term: u64,
    /// The last stamp.
    pub(crate) at_ms: u64,
    /// The state's digest there.
    pub(crate) digest: u64,
}

/// A snapshot on its way through openraft.
pub(crate) enum SnapshotFile {
    /// Published on this node.
    Stored {
        /// Where it stands.
        position: LogPosition,
    },
    /// Received in full and not yet published.
    Received(Box<dyn Spool>),
}

/// What a replica keeps its things in.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) shard: ShardId,
    pub(crate) rows: Arc<dyn RowStore>,
    pub(crate) snapshots: Arc<dyn SnapshotFiles>,
    pub(crate) blocking: Blocking,
    pub(crate) trouble: Trouble,
}

pub(crate) struct Machine {
    stores: Stores,
    /// Never locked, only reached through `&mut self`: the mutex makes it `Sync`, as openraft asks.
    user: Mutex<Box<dyn StateMachine>>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    at_ms: u64,
    mark: watch::Sender<AppliedMark>,
    measures: Measures,
}

struct Measures {
    apply_seconds: metrics::Histogram,
    batch_commands: metrics::Histogram,
}

impl Measures {
    fn new(shard: ShardId) -> Self {
        let shard = shard.to_string();
        Self {
            apply_seconds: metrics::histogram!("kaiwa_raft_apply_duration_seconds", "shard" => shard.clone()),
            batch_commands: metrics::histogram!("kaiwa_raft_batch_entries", "shard" => shard, "stage" => "apply"),
        }
    }
}

impl Machine {
    /// An empty replica; openraft restores it from the newest snapshot and the log.
    pub(crate) fn new(stores: Stores, mut user: Box<dyn StateMachine>, mark: watch::Sender<AppliedMark>) -> Self {
        user.restored_at(0);
        Self {
            measures: Measures::new(stores.shard),
            stores,
            user: Mutex::new(user),
            last_applied: None,
            membership: StoredMembership::default(),
            at_ms: 0,
            mark,
        }
    }

    fn apply_entry(&mut self, entry: Entry) -> io::Result<Replies> {
        let replies = match &entry.payload {
            EntryPayload::Blank => Replies::default(),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Replies::default()
            }
            EntryPayload::Normal(batch) => self.apply_batch(entry.log_id, batch)?,
        };
        self.last_applied = Some(entry.log_id);
        self.publish_mark();
        Ok(replies)
    }

    fn apply_batch(&mut self, id: LogId, batch: &CommandBatch) -> io::Result<Replies> {
        let (at_ms, commands) = batch
            .decode()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("entry {} holds no batch", id.index)))?;
        // A new leader's clock may be behind its predecessor's: the log's time never goes back.
        self.at_ms = self.at_ms.max(at_ms);
        let started = std::time::Instant::now();
        let applied = self.user.get_mut().apply(Batch {
            index: id.index,
            term: id.leader_id.term,
            at_ms: self.at_ms,
            commands: &commands,
        });
        self.measures.apply_seconds.record(started.elapsed().as_secs_f64());
        self.measures.batch_commands.record(commands.len() as f64);
        if applied.replies.len() != commands.len() {
            return Err(io::Error::other(format!(
                "the state machine gave {} replies to {} commands",
                applied.replies.len(),
                commands.len()
            )));
        }
        if !applied.rows.is_empty() {
            self.stores.rows.write(self.stores.shard, id.index, applied.rows)?;
        }
        Ok(Replies(applied.replies))
    }

    fn publish_mark(&mut self) {
        let (index, term) = self.last_applied.map_or((0, 0), |id| (id.index, id.leader_id.term));
        let digest = self.user.get_mut().digest();
        self.mark.send_replace(AppliedMark {
            index,
            term,
            at_ms: self.at_ms,
            digest,
        });
    }

    /// Replaces the state by the one in `content`, which must be the snapshot that `meta` names.
    fn restore(&mut self, meta: &SnapshotMeta, content: &mut dyn Read) -> io::Result<()> {
        let (_, found, at_ms) = read_head(content)?;
        if found.last_log_id != meta.last_log_id {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the snapshot stands at {:?}, not at {:?}",
                    found.last_log_id, meta.last_log_id
                ),
            ));
        }
        self.user.get_mut().restore(content)?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.at_ms = at_ms;
        self.user.get_mut().restored_at(index_of(meta));
        self.publish_mark();
        Ok(())
    }
}

fn position_of(meta: &SnapshotMeta) -> LogPosition {
    meta.last_log_id.map_or_else(LogPosition::default, super::log::position)
}

pub(crate) fn index_of(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.map_or(0, |id| id.index)
}

fn write_head(head: &Head, out: &mut dyn Write) -> io::Result<()> {
    let bytes: Bytes = codec::encode(head);
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    out.write_all(&bytes)
}

pub(crate) fn read_head(content: &mut dyn Read) -> io::Result<Head> {
    let malformed = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("snapshot: {what}"));
    let mut length = [0; 4];
    content.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > HEAD_MAX_BYTES {
        return Err(malformed(format!("head of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    content.read_exact(&mut bytes)?;
    let head: Head = codec::decode(&bytes, HEAD_MAX_BYTES).map_err(|error| malformed(error.to_string()))?;
    if head.0 != SCHEMA {
        return Err(malformed(format!("schema {}", head.0)));
    }
    Ok(head)
}

/// Writes one captured state as the newest snapshot.
pub(crate) struct Builder {
    stores: Stores,
    meta: SnapshotMeta,
    at_ms: u64,
    digest: u64,
    state: Mutex<Option<SnapshotWriter>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let built = self.build().await;
        self.stores.trouble.note(built)
    }
}

impl Builder {
    async fn build(&mut self) -> io::Result<Snapshot> {
        let state = self
            .state
            .get_mut()
            .take()
            .ok_or_else(|| io::Error::other("a builder builds once"))?;
        let (stores, meta, at_ms) = (self.stores.clone(), self.meta.clone(), self.at_ms);
        let (position, index, digest) = (position_of(&meta), index_of(&meta), self.digest);
        let started = std::time::Instant::now();
        let blocking = stores.blocking;
        blocking
            .run_behind("snapshot", limits::SNAPSHOT_NICE, move || {
                if put_in("cluster::purge_before_snapshot_durable") {
                    return Ok(());
                }
                stores.rows.barrier(stores.shard, index)?;
                let write: SnapshotWriter = Box::new(move |out| {
                    write_head(&(SCHEMA, meta, at_ms), out)?;
                    state(out)
                });
                stores.snapshots.publish(position, digest, write)
            })
            .await??;
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("kaiwa_raft_snapshot_duration_seconds", "shard" => self.stores.shard.to_string(), "op" => "build")
            .record(seconds);
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: SnapshotFile::Stored { position },
        })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = self.apply_entry(entry);
            let replies = self.stores.trouble.note(applied)?;
            if let Some(responder) = responder {
                responder.send(replies);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder {
            stores: self.stores.clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
            },
            at_ms: self.at_ms,
            digest: self.user.get_mut().digest(),
            state: Mutex::new(Some(self.user.get_mut().snapshot())),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> Result<(), io::Error> {
        let installed = self.install(meta, snapshot).await;
        self.stores.trouble.note(installed)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let found = self.current_snapshot();
        self.stores.trouble.note(found)
    }
}

impl Machine {
    async fn install(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let index = index_of(meta);
        match snapshot {
            SnapshotFile::Stored { position } => {
                let durable = self.stores.rows.durable_index(self.stores.shard)?;
                if durable < index {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("rows are durable up to {durable} only, the snapshot stands at {index}"),
                    ));
                }
                let mut content = self.stores.snapshots.open(position)?;
                self.restore(meta, &mut content)
            }
            SnapshotFile::Received(mut spool) => {
                self.restore(meta, &mut *spool.read()?)?;
                let stores = self.stores.clone();
                let (position, digest) = (position_of(meta), self.user.get_mut().digest());
                let blocking = stores.blocking;
                blocking
                    .run(move || {
                        stores.rows.barrier(stores.shard, index)?;
                        let copy: SnapshotWriter = Box::new(move |out| {
                            io::copy(&mut *spool.read()?, out)?;
                            Ok(())
                        });
                        stores.snapshots.publish(position, digest, copy)
                    })
                    .await?
            }
        }
    }

    fn current_snapshot(&self) -> io::Result<Option<Snapshot>> {
        let Some(position) = self.stores.snapshots.newest()? else {
            return Ok(None);
        };
        let (_, meta, _) = read_head(&mut *self.stores.snapshots.open(position)?)?;
        Ok(Some(Snapshot {
            meta,
            snapshot: SnapshotFile::Stored { position },
        }))
    }
}
