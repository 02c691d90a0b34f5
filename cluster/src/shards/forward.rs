//! Asking a shard's leader, wherever it is: one hop, with the deadline in the frame; and asking any one node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Inner, RETRY};
use crate::known_bugs::put_in;
use crate::raft::frames::{ChangeAnswer, ChangeFrame, ProposeAnswer, ProposeFrame, ReadAnswer, kind, pack, unpack};
use crate::state_machine::ShardId;
use crate::transport::{CallError, NodeId, Purpose};

/// A leader that hands over answers what it was asked before, and does so quickly.
const SUCCEEDED_GRACE: Duration = Duration::from_millis(200);

impl Inner {
    /// The node to ask for `shard`'s leader: the leader if it is known here, else any other node in turn.
    pub(super) fn ask(&self, shard: ShardId, hint: Option<NodeId>, attempt: usize) -> Option<NodeId> {
        match self.replica(shard) {
            Some(replica) => replica.leader().or(hint),
            None => hint.or_else(|| {
                let nodes = self.identity.get()?.nodes;
                let others: Vec<_> = nodes.into_keys().filter(|&node| node != self.node).collect();
                others.get(attempt % others.len().max(1)).copied()
            }),
        }
    }

    /// Asks one node a question that is all in its kind; `None` when no answer came.
    pub(super) async fn ask_peer<T: DeserializeOwned>(
        &self,
        peer: NodeId,
        shard: ShardId,
        kind: u16,
        within: Duration,
    ) -> Option<T> {
        let question = pack(shard, &());
        let answer = self.transport.call(peer, Purpose::Raft, kind, question, within).await;
        Some(unpack::<T>(&answer.ok()?)?.1)
    }

    /// Until the shard's leader changes, or a moment has passed.
    pub(super) async fn wait_for_leader(&self, shard: ShardId, deadline: Instant) {
        let until = deadline.min(Instant::now() + RETRY);
        match self.replica(shard) {
            Some(replica) => {
                let mut leadership = replica.leadership.subscribe();
                let _ = tokio::time::timeout_at(until, leadership.changed()).await;
            }
            None => tokio::time::sleep_until(until).await,
        }
    }

    pub(super) async fn propose_once(
        &self,
        to: NodeId,
        shard: ShardId,
        frame: ProposeFrame,
        deadline: Instant,
    ) -> ProposeAnswer {
        if to == self.node {
            return match self.replica(shard) {
                Some(replica) => replica.propose(frame.group, frame.lane, frame.command, deadline).await,
                None => ProposeAnswer::NotLeader(None),
            };
        }
        let left = deadline.duration_since(Instant::now());
        let frame = ProposeFrame {
            deadline_ms: left.as_millis() as u64,
            ..frame
        };
        match self
            .call_leader(to, shard, kind::PROPOSE, pack(shard, &frame), left)
            .await
        {
            Ok(body) => unpack(&body).map_or(ProposeAnswer::Unknown, |(_, answer)| answer),
            Err(CallError::OutcomeUnknown(..)) if put_in("cluster::forward_repeated") => ProposeAnswer::NotLeader(None),
            Err(CallError::OutcomeUnknown(..)) => ProposeAnswer::Unknown,
            Err(CallError::Busy(_)) => ProposeAnswer::Overloaded { retry_after_ms: 100 },
            Err(CallError::Refused(_) | CallError::Unreachable(..)) => ProposeAnswer::NotLeader(None),
        }
    }

    /// Calls the node that leads `shard` as far as is known here; the outcome is unknown when another has succeeded it
    /// meanwhile. A process that stands still keeps its links, and everybody who asked it before would wait for their
    /// deadline.
    async fn call_leader(
        &self,
        to: NodeId,
        shard: ShardId,
        kind: u16,
        body: Bytes,
        left: Duration,
    ) -> Result<Bytes, CallError> {
        tokio::select! {
            biased;
            answer = self.transport.call(to, Purpose::Commands, kind, body, left) => answer,
            () = self.succeeded(shard, to) => Err(CallError::OutcomeUnknown(to, "another leads by now".into())),
        }
    }

    /// Until `leader` has been succeeded for so long that it would have answered, were it alive.
    async fn succeeded(&self, shard: ShardId, leader: NodeId) {
        let Some(replica) = self.replica(shard) else {
            return std::future::pending().await;
        };
        let mut leadership = replica.leadership.subscribe();
        let other = leadership.wait_for(|now| now.leader.is_some_and(|now| now != leader));
        if other.await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(SUCCEEDED_GRACE).await;
    }

    pub(super) async fn read_once(self: &Arc<Self>, to: NodeId, shard: ShardId, deadline: Instant) -> ReadAnswer {
        if to == self.node {
            return self.read_index(shard, deadline).await;
        }
        let left = deadline.duration_since(Instant::now());
        let body = pack(shard, &(left.as_millis() as u64));
        match self.call_leader(to, shard, kind::READ_INDEX, body, left).await {
            Ok(body) => unpack(&body).map_or(ReadAnswer::NotLeader(None), |(_, answer)| answer),
            Err(_) => ReadAnswer::NotLeader(None),
        }
    }

    pub(super) async fn change_once(
        &self,
        to: NodeId,
        shard: ShardId,
        step: ChangeFrame,
        deadline: Instant,
    ) -> ChangeAnswer {
        if to == self.node {
            return self.change_here(shard, step).await;
        }
        let left = deadline.duration_since(Instant::now()).min(Duration::from_secs(15));
        match self
            .transport
            .call(to, Purpose::Commands, kind::CHANGE, pack(shard, &step), left)
            .await
        {
            Ok(body) => unpack(&body).map_or(ChangeAnswer::NotLeader(None), |(_, answer)| answer),
            Err(error) => ChangeAnswer::Failed(error.to_string()),
        }
    }
}
