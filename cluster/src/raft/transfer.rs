//! Sending and receiving a snapshot: first the rows that the receiver lacks, then the file, in chunks, each with its own
//! deadline, on the links for snapshots.
//!
//! ```text
//!   sender: Begin{meta} ──► receiver: "my rows are durable up to D"
//!           Rows(export D..S)* ──► import        (rows are facts of committed entries: importing them is always safe)
//!           Chunk* ──► spool
//!           Finish{vote} ──► Raft::install_full_snapshot ──► restore, rows barrier, publish
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{NetworkError, StreamingError, Timeout, Unreachable};
use openraft::network::RPCTypes;
use openraft::raft::SnapshotResponse;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::frames::{kind, pack, unpack};
use super::machine::{SnapshotFile, index_of};
use super::network::Links;
use super::{Raft, Snapshot, SnapshotMeta, TypeConfig, Vote};
use crate::environment::Spool;
use crate::known_bugs::put_in;
use crate::limits::SNAPSHOT_CHUNK_BYTES;
use crate::storage::RowStore;
use crate::transport::{CallError, NodeId, Purpose};

/// For one chunk; the receiver may have to write it out.
const CHUNK_DEADLINE: Duration = Duration::from_secs(10);
/// For the last step, in which the receiver restores its state and syncs its rows.
const FINISH_DEADLINE: Duration = Duration::from_secs(60);

/// A piece of a transfer.
#[derive(Serialize, Deserialize)]
enum Piece {
    Begin {
        number: u64,
        index: u64,
    },
    Rows {
        number: u64,
        bytes: Bytes,
    },
    Chunk {
        number: u64,
        bytes: Bytes,
    },
    Finish {
        number: u64,
        vote: Vote,
        meta: SnapshotMeta,
    },
}

/// The receiver's answer to a piece.
#[derive(Serialize, Deserialize)]
enum PieceAnswer {
    /// Go on; to `Begin`: the rows are durable up to this index.
    Continue(u64),
    /// To `Finish`: installed, or refused by a higher vote.
    Installed(SnapshotResponse<TypeConfig>),
    /// Start again.
    Failed(String),
}

fn call_error(links: &Links, target: NodeId, error: CallError) -> StreamingError<TypeConfig> {
    match error {
        CallError::OutcomeUnknown(..) => Timeout {
            action: RPCTypes::InstallSnapshot,
            id: links.transport.node().0,
            target: target.0,
            timeout: CHUNK_DEADLINE,
        }
        .into(),
        CallError::Refused(_) | CallError::Unreachable(..) => Unreachable::from_string(error).into(),
        CallError::Busy(_) => NetworkError::from_string(error).into(),
    }
}

fn local_error(error: io::Error) -> StreamingError<TypeConfig> {
    // Unreachable makes openraft back off before it tries again.
    Unreachable::from_string(format!("snapshot cannot be read: {error}")).into()
}

async fn send_piece(links: &Links, target: NodeId, piece: Piece) -> Result<PieceAnswer, StreamingError<TypeConfig>> {
    let deadline = if matches!(piece, Piece::Finish { .. }) {
        FINISH_DEADLINE
    } else {
        CHUNK_DEADLINE
    };
    let body = pack(links.shard, &piece);
    let answer = links
        .transport
        .call(target, Purpose::Snapshots, kind::SNAPSHOT, body, deadline)
        .await
        .map_err(|error| call_error(links, target, error))?;
    match unpack(&answer) {
        Some((_, PieceAnswer::Failed(reason))) => Err(Unreachable::from_string(reason).into()),
        Some((_, answer)) => Ok(answer),
        None => Err(NetworkError::from_string("unreadable answer").into()),
    }
}

/// Sends a snapshot with the rows that the receiver lacks.
pub(crate) async fn send(
    links: &Links,
    target: NodeId,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
    let SnapshotFile::Stored { position } = snapshot.snapshot else {
        return Err(local_error(io::Error::other("only a published snapshot is sent")));
    };
    let index = position.index;
    let started = tokio::time::Instant::now();
    let number = links.streams.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // Opened before the rows are sent, so that a newer snapshot cannot take it away meanwhile.
    let mut content = links.snapshots.open(position).map_err(local_error)?;
    let PieceAnswer::Continue(durable) = send_piece(links, target, Piece::Begin { number, index }).await? else {
        return Err(NetworkError::from_string("unexpected answer").into());
    };
    send_rows(links, target, number, durable, index).await?;
    let mut bytes_sent = 0;
    loop {
        let blocking = links.blocking;
        let (back, chunk) = blocking
            .run(move || {
                let mut chunk = Vec::new();
                let read = (&mut content).take(SNAPSHOT_CHUNK_BYTES as u64).read_to_end(&mut chunk);
                (content, read.map(|_| chunk))
            })
            .await
            .map_err(local_error)?;
        content = back;
        let chunk = chunk.map_err(local_error)?;
        if chunk.is_empty() {
            break;
        }
        bytes_sent += chunk.len();
        send_piece(
            links,
            target,
            Piece::Chunk {
                number,
                bytes: chunk.into(),
            },
        )
        .await?;
    }
    let answer = send_piece(
        links,
        target,
        Piece::Finish {
            number,
            vote,
            meta: snapshot.meta,
        },
    )
    .await?;
    let shard = links.shard.to_string();
    metrics::gauge!("kaiwa_raft_snapshot_bytes", "shard" => shard.clone()).set(bytes_sent as f64);
    metrics::histogram!("kaiwa_raft_snapshot_duration_seconds", "shard" => shard, "op" => "send")
        .record(started.elapsed().as_secs_f64());
    match answer {
        PieceAnswer::Installed(response) => Ok(response),
        _ => Err(NetworkError::from_string("unexpected answer").into()),
    }
}

async fn send_rows(
    links: &Links,
    target: NodeId,
    number: u64,
    after: u64,
    up_to: u64,
) -> Result<(), StreamingError<TypeConfig>> {
    if after >= up_to || put_in("cluster::snapshot_without_rows") {
        return Ok(());
    }
    let mut cursor = None;
    loop {
        let (rows, shard) = (links.rows.clone(), links.shard);
        let (bytes, next) = links
            .blocking
            .run(move || rows.export(shard, after, up_to, cursor, SNAPSHOT_CHUNK_BYTES))
            .await
            .and_then(|exported| exported)
            .map_err(local_error)?;
        if !bytes.is_empty() {
            send_piece(
                links,
                target,
                Piece::Rows {
                    number,
                    bytes: bytes.into(),
                },
            )
            .await?;
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// A transfer that is arriving; one per sender.
struct Arriving {
    number: u64,
    index: u64,
    spool: Box<dyn Spool>,
}

/// The receiving side of one shard.
pub(crate) struct Receiver {
    links: Links,
    arriving: Mutex<BTreeMap<NodeId, Arriving>>,
}

impl Receiver {
    pub(crate) fn new(links: Links) -> Self {
        Self {
            links,
            arriving: Mutex::new(BTreeMap::new()),
        }
    }

    /// Takes one piece; `None` when it is unreadable.
    pub(crate) async fn take(self: Arc<Self>, raft: Raft, from: NodeId, body: Bytes) -> Option<Bytes> {
        let (shard, piece) = unpack::<Piece>(&body)?;
        let answer = match piece {
            Piece::Finish { number, vote, meta } => self.finish(raft, from, number, vote, meta).await,
            piece => {
                let this = self.clone();
                self.links
                    .blocking
                    .run(move || this.collect(from, piece))
                    .await
                    .and_then(|taken| taken)
            }
        };
        Some(pack(
            shard,
            &answer.unwrap_or_else(|error| PieceAnswer::Failed(error.to_string())),
        ))
    }

    fn collect(&self, from: NodeId, piece: Piece) -> io::Result<PieceAnswer> {
        let rows: &dyn RowStore = &*self.links.rows;
        let shard = self.links.shard;
        match piece {
            Piece::Begin { number, index } => {
                let spool = self.links.snapshots.spool()?;
                self.arriving.lock().insert(from, Arriving { number, index, spool });
                Ok(PieceAnswer::Continue(rows.durable_index(shard)?))
            }
            Piece::Rows { number, bytes } => {
                let known = self
                    .arriving
                    .lock()
                    .get(&from)
                    .is_some_and(|arriving| arriving.number == number);
                if !known {
                    return Err(io::Error::other("no such transfer"));
                }
                rows.import(shard, &bytes)?;
                Ok(PieceAnswer::Continue(0))
            }
            Piece::Chunk { number, bytes } => {
                let mut all = self.arriving.lock();
                let arriving = all.get_mut(&from).filter(|arriving| arriving.number == number);
                let arriving = arriving.ok_or_else(|| io::Error::other("no such transfer"))?;
                arriving.spool.write_all(&bytes)?;
                Ok(PieceAnswer::Continue(0))
            }
            Piece::Finish { .. } => Err(io::Error::other("the end is taken elsewhere")),
        }
    }

    async fn finish(
        &self,
        raft: Raft,
        from: NodeId,
        number: u64,
        vote: Vote,
        meta: SnapshotMeta,
    ) -> io::Result<PieceAnswer> {
        let arrived = self.arriving.lock().remove(&from);
        let arrived = arrived.filter(|arrived| arrived.number == number && arrived.index == index_of(&meta));
        let arrived = arrived.ok_or_else(|| io::Error::other("no such transfer"))?;
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotFile::Received(arrived.spool),
        };
        let response = raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(io::Error::other)?;
        Ok(PieceAnswer::Installed(response))
    }
}
