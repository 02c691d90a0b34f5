//! Where frames go that arrive from other nodes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::proposer::Answer;
use crate::raft::frames::{ChangeFrame, OpenFrame, ProposeAnswer, ProposeFrame, kind, pack, shard_of, unpack};
use crate::state_machine::ShardId;
use crate::transport::{Caller, Handler, NodeId, PeerAddress, Purpose, Reply};

/// Takes frames; those that arrive before it is bound are let fall.
#[derive(Default)]
pub(super) struct Router(OnceLock<Weak<Inner>>);

impl Router {
    pub(super) fn bind(&self, inner: &Arc<Inner>) {
        let _ = self.0.set(Arc::downgrade(inner));
    }

    fn inner(&self) -> Option<Arc<Inner>> {
        self.0.get()?.upgrade().filter(|inner| !inner.stop.is_cancelled())
    }
}

impl Handler for Router {
    fn on_call(&self, from: Caller, purpose: Purpose, kind: u16, body: Bytes, reply: Reply) {
        let Some(inner) = self.inner() else {
            return;
        };
        match kind {
            1..100 => {
                if let Some(replica) = shard_of(&body).and_then(|shard| inner.replica(shard)) {
                    replica.inbound.take(from, kind, body, reply);
                }
            }
            // The most frequent call by far: no task waits for it.
            kind::PROPOSE => {
                if let Some((shard, frame)) = unpack::<ProposeFrame>(&body) {
                    propose(&inner, shard, frame, Answer::There(shard, reply));
                }
            }
            // Nor for this one, which comes with every round of reads.
            kind::PROMISED => {
                if let Some(replica) = shard_of(&body).and_then(|shard| inner.replica(shard)) {
                    reply.send(pack(replica.shard, &replica.promised.term()));
                }
            }
            kind::USER.. => {
                let service = inner.service.clone();
                inner
                    .tasks
                    .spawn(async move { reply.send(service.call(from.node, kind, body).await) });
            }
            _ => {
                tracing::trace!(kind, ?purpose, from = %from.node, "call");
                inner.tasks.clone().spawn(async move {
                    if let Some(answer) = answer(&inner, kind, &body).await {
                        reply.send(answer);
                    }
                });
            }
        }
    }

    fn on_send(&self, from: Caller, _purpose: Purpose, kind: u16, body: Bytes) {
        match self.inner() {
            Some(inner) if kind >= kind::USER => inner.service.deliver(from.node, kind, body),
            _ => {}
        }
    }

    fn on_disconnect(&self, from: Caller) {
        if let Some(inner) = self.inner() {
            for replica in inner.replicas() {
                replica.inbound.disconnected(from);
            }
        }
    }
}

fn packed<T: Serialize>(shard: ShardId, answer: T) -> Option<Bytes> {
    Some(pack(shard, &answer))
}

fn propose(inner: &Inner, shard: ShardId, frame: ProposeFrame, answer: Answer) {
    let deadline = Instant::now() + Duration::from_millis(frame.deadline_ms);
    match inner.replica(shard) {
        Some(replica) => replica.offer(frame.group, frame.lane, frame.command, deadline, answer),
        None => answer.send(ProposeAnswer::NotLeader(None)),
    }
}

async fn answer(inner: &Arc<Inner>, kind: u16, body: &[u8]) -> Option<Bytes> {
    match kind {
        kind::READ_INDEX => {
            let (shard, deadline_ms) = unpack::<u64>(body)?;
            let deadline = Instant::now() + Duration::from_millis(deadline_ms);
            packed(shard, inner.read_index(shard, deadline).await)
        }
        kind::OPEN => {
            let (shard, frame) = unpack::<OpenFrame>(body)?;
            packed(shard, inner.opened_by_peer(frame).await)
        }
        kind::CHANGE => {
            let (shard, step) = unpack::<ChangeFrame>(body)?;
            packed(shard, inner.change_here(shard, step).await)
        }
        kind::TIME => {
            let (shard, ()) = unpack::<()>(body)?;
            packed(shard, (inner.wall_clock)())
        }
        kind::ROOM => {
            let (shard, ()) = unpack::<()>(body)?;
            packed(shard, !inner.disk_low.load(Ordering::Relaxed))
        }
        kind::FLUSHES => {
            let (shard, ()) = unpack::<()>(body)?;
            packed(shard, inner.flushes(shard)?)
        }
        _ => {
            tracing::warn!(kind, "unknown call");
            None
        }
    }
}

impl Inner {
    /// Every node that any replica's membership names, those that are being added, and those of the identity as long as
    /// a replica knows no membership yet.
    fn wanted_peers(&self) -> BTreeMap<NodeId, PeerAddress> {
        let known = self.identity.get();
        let mut all = BTreeMap::new();
        let replicas = self.replicas();
        let mut complete = known.as_ref().is_some_and(|known| known.shards.len() == replicas.len());
        for replica in replicas {
            let members = replica.members();
            complete &= !members.is_empty();
            all.extend(members);
        }
        if let Some(known) = known.filter(|_| !complete) {
            for (node, address) in known.nodes {
                all.entry(node).or_insert(address);
            }
        }
        all
    }

    /// Brings links and identity in line with the memberships.
    pub(super) fn refresh_peers(&self) {
        let wanted = self.wanted_peers();
        if let Some(known) = self.identity.get().filter(|known| known.nodes != wanted) {
            let changed = crate::identity::Membership {
                nodes: wanted.clone(),
                ..known
            };
            if let Err(error) = self.identity.set(changed) {
                tracing::error!(%error, "the identity cannot be saved");
            }
        }
        let mut peers = wanted;
        let mut joining = self.joining.lock();
        joining.retain(|node, _| !peers.contains_key(node));
        peers.extend(joining.clone());
        drop(joining);
        self.transport.set_peers(peers);
    }
}

/// Follows the memberships, until `stop`.
pub(super) async fn keep_peers(inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = inner.members_changed.notified() => inner.refresh_peers(),
        }
    }
}
