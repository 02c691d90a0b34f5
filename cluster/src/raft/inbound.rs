//! Frames of openraft's own from other nodes, for one shard.
//!
//! Appends go through one ordered lane per connection into openraft's pipelined `stream_append`. Its output ends on a
//! conflict or a higher vote; the leader then begins a new stream, which carries a new number, and the lane with it.
//! What is left of the old one is dropped, which fails those calls at the leader.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, VoteRequest};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::frames::{kind, pack, unpack};
use super::transfer::Receiver;
use super::{Raft, TypeConfig};
use crate::limits::APPEND_LANE;
use crate::state_machine::ShardId;
use crate::transport::{Caller, Reply};

type Append = (AppendEntriesRequest<TypeConfig>, Reply);

struct Lane {
    stream: u64,
    appends: mpsc::Sender<Append>,
}

/// The receiving side of one shard.
pub(crate) struct Inbound {
    shard: ShardId,
    raft: Raft,
    snapshots: Arc<Receiver>,
    lanes: Mutex<BTreeMap<Caller, Lane>>,
    tasks: TaskTracker,
}

impl Inbound {
    pub(crate) fn new(shard: ShardId, raft: Raft, snapshots: Receiver, tasks: TaskTracker) -> Self {
        Self {
            shard,
            raft,
            snapshots: Arc::new(snapshots),
            lanes: Mutex::default(),
            tasks,
        }
    }

    /// Takes a frame; returns at once. A frame that is dropped fails its caller's call.
    pub(crate) fn take(&self, from: Caller, frame: u16, body: Bytes, reply: Reply) {
        match frame {
            kind::APPEND => self.append(from, &body, reply),
            kind::HEARTBEAT => self.heartbeat(&body, reply),
            kind::VOTE | kind::PRE_VOTE => self.vote(frame == kind::PRE_VOTE, &body, reply),
            kind::TRANSFER_LEADER => self.transfer_leader(&body, reply),
            kind::SNAPSHOT => {
                let (raft, receiver) = (self.raft.clone(), self.snapshots.clone());
                self.tasks.spawn(async move {
                    if let Some(answer) = receiver.take(raft, from.node, body).await {
                        reply.send(answer);
                    }
                });
            }
            _ => tracing::warn!(frame, shard = %self.shard, "unknown frame"),
        }
    }

    /// Ends the lane of a connection that ended.
    pub(crate) fn disconnected(&self, from: Caller) {
        self.lanes.lock().remove(&from);
    }

    fn append(&self, from: Caller, body: &[u8], reply: Reply) {
        let Some((_, (stream, request))) = unpack::<(u64, AppendEntriesRequest<TypeConfig>)>(body) else {
            return;
        };
        let mut lanes = self.lanes.lock();
        let known = lanes.get(&from).map(|lane| lane.stream);
        match known {
            Some(current) if current > stream => return,
            Some(current) if current == stream => {}
            _ => {
                let (appends, queue) = mpsc::channel(APPEND_LANE);
                self.tasks.spawn(run_lane(self.shard, self.raft.clone(), queue));
                lanes.insert(from, Lane { stream, appends });
            }
        }
        let lane = lanes.get(&from).expect("the lane was found or made above");
        // Full or ended: dropping the reply fails the call.
        let _ = lane.appends.try_send((request, reply));
    }

    fn heartbeat(&self, body: &[u8], reply: Reply) {
        let Some((shard, request)) = unpack::<AppendEntriesRequest<TypeConfig>>(body) else {
            return;
        };
        let raft = self.raft.clone();
        self.tasks.spawn(async move {
            let prev = request.prev_log_id;
            let last = request.entries.last().map(|entry| entry.log_id).or(prev);
            if let Ok(response) = raft.append_entries(request).await {
                let result: StreamAppendResult<TypeConfig> = response.into_stream_result(prev, last);
                reply.send(pack(shard, &result));
            }
        });
    }

    fn vote(&self, pre_vote: bool, body: &[u8], reply: Reply) {
        let Some((shard, request)) = unpack::<VoteRequest<TypeConfig>>(body) else {
            return;
        };
        let raft = self.raft.clone();
        self.tasks.spawn(async move {
            let response = if pre_vote {
                raft.pre_vote(request).await
            } else {
                raft.vote(request).await
            };
            if let Ok(response) = response {
                reply.send(pack(shard, &response));
            }
        });
    }

    fn transfer_leader(&self, body: &[u8], reply: Reply) {
        let Some((shard, request)) = unpack::<TransferLeaderRequest<TypeConfig>>(body) else {
            return;
        };
        let raft = self.raft.clone();
        self.tasks.spawn(async move {
            if let Ok(response) = raft.handle_transfer_leader(request).await {
                reply.send(pack(shard, &response));
            }
        });
    }
}

/// Feeds one stream of appends to the raft core, answering in order, until it ends.
async fn run_lane(shard: ShardId, raft: Raft, queue: mpsc::Receiver<Append>) {
    let (waiting, mut replies) = mpsc::channel::<Reply>(APPEND_LANE);
    let requests = stream::unfold((queue, waiting), |(mut queue, waiting)| async move {
        let (request, reply) = queue.recv().await?;
        waiting.send(reply).await.ok()?;
        Some((request, (queue, waiting)))
    });
    let mut results = pin!(raft.stream_append(requests));
    while let Some(result) = results.next().await {
        let Some(reply) = replies.recv().await else {
            return;
        };
        match result {
            Ok(result) => reply.send(pack(shard, &result)),
            Err(fatal) => {
                tracing::debug!(%shard, %fatal, "append lane ends");
                return;
            }
        }
    }
}
