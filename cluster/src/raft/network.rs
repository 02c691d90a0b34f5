//! openraft's network on top of the links: what this node sends to one peer for one shard.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend};
use serde::de::DeserializeOwned;

use super::frames::{kind, pack, unpack};
use super::machine::SnapshotFile;
use super::transfer;
use super::{Snapshot, TypeConfig, Vote};
use crate::environment::{Blocking, SnapshotFiles};
use crate::limits::APPENDS_IN_FLIGHT;
use crate::state_machine::ShardId;
use crate::storage::RowStore;
use crate::transport::{CallError, NodeId, Purpose, Transport};

/// Makes the connections of one shard.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) shard: ShardId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) rows: Arc<dyn RowStore>,
    pub(crate) snapshots: Arc<dyn SnapshotFiles>,
    pub(crate) blocking: Blocking,
    /// Numbers the append streams, so that the follower tells a new one from the tail of a broken one.
    pub(crate) streams: Arc<AtomicU64>,
}

impl RaftNetworkFactory<TypeConfig> for Links {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Peer {
        Peer {
            links: self.clone(),
            target: NodeId(target),
            heartbeat: false,
        }
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &BasicNode) -> Peer {
        Peer {
            links: self.clone(),
            target: NodeId(target),
            heartbeat: true,
        }
    }
}

/// One peer, as one shard sees it.
pub(crate) struct Peer {
    links: Links,
    target: NodeId,
    heartbeat: bool,
}

impl Peer {
    fn call(
        &self,
        purpose: Purpose,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        self.links.transport.call(self.target, purpose, kind, body, deadline)
    }

    async fn unary<T: DeserializeOwned>(
        &self,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> Result<T, RPCError<TypeConfig>> {
        let answer = self.call(Purpose::Raft, kind, body, deadline).await;
        self.read(kind, deadline, answer)
    }

    fn read<T: DeserializeOwned>(
        &self,
        kind: u16,
        deadline: Duration,
        answer: Result<Bytes, CallError>,
    ) -> Result<T, RPCError<TypeConfig>> {
        read_answer(
            self.links.shard,
            &*self.links.transport,
            self.target,
            kind,
            deadline,
            answer,
        )
    }
}

fn rpc_name(kind: u16) -> (RPCTypes, &'static str) {
    match kind {
        kind::VOTE => (RPCTypes::Vote, "vote"),
        kind::PRE_VOTE => (RPCTypes::Vote, "pre_vote"),
        kind::TRANSFER_LEADER => (RPCTypes::TransferLeader, "transfer_leader"),
        kind::HEARTBEAT => (RPCTypes::AppendEntries, "heartbeat"),
        _ => (RPCTypes::AppendEntries, "append"),
    }
}

fn read_answer<T: DeserializeOwned>(
    shard: ShardId,
    transport: &dyn Transport,
    target: NodeId,
    kind: u16,
    deadline: Duration,
    answer: Result<Bytes, CallError>,
) -> Result<T, RPCError<TypeConfig>> {
    let (action, name) = rpc_name(kind);
    if answer.is_err() {
        metrics::counter!(
            "kaiwa_raft_rpc_failures_total",
            "shard" => shard.to_string(), "peer" => target.to_string(), "rpc" => name
        )
        .increment(1);
    }
    match answer {
        Ok(body) => match unpack(&body) {
            Some((_, value)) => Ok(value),
            None => Err(NetworkError::from_string("unreadable answer").into()),
        },
        Err(error @ (CallError::Refused(_) | CallError::Unreachable(..))) => {
            Err(Unreachable::from_string(error).into())
        }
        Err(CallError::OutcomeUnknown(_, reason)) => {
            tracing::debug!(%shard, %target, name, reason, "no answer");
            let (id, target) = (transport.node().0, target.0);
            Err(Timeout {
                action,
                id,
                target,
                timeout: deadline,
            }
            .into())
        }
        Err(error @ CallError::Busy(_)) => Err(NetworkError::from_string(error).into()),
    }
}

/// Appends may wait for a slow disk on the other side: openraft's own 3/4 of a heartbeat stalls replication for
/// every longer fsync. A link that breaks fails its appends at once anyway.
fn append_deadline(option: &RPCOption) -> Duration {
    option.soft_ttl() * 4
}

type Appended = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = pack(self.links.shard, &rpc);
        let result: StreamAppendResult<TypeConfig> =
            self.unary(kind::HEARTBEAT, body, append_deadline(&option)).await?;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Appended>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let (shard, target) = (self.links.shard, self.target);
        let transport = self.links.transport.clone();
        let number = self.links.streams.fetch_add(1, Ordering::Relaxed);
        let (kind, deadline) = match self.heartbeat {
            true => (kind::HEARTBEAT, option.soft_ttl()),
            false => (kind::APPEND, append_deadline(&option)),
        };
        let heartbeat = self.heartbeat;
        // `call` queues the frame at once, in the order of the requests; `buffered` keeps that order for the answers.
        let answers = input
            .map(move |request| {
                let body = if heartbeat {
                    pack(shard, &request)
                } else {
                    pack(shard, &(number, &request))
                };
                let answer = transport.call(target, Purpose::Raft, kind, body, deadline);
                let transport = transport.clone();
                async move { read_answer(shard, &*transport, target, kind, deadline, answer.await) }
            })
            .buffered(APPENDS_IN_FLIGHT);
        let until_first_failure = stream::unfold(Some(answers), |answers| async {
            let mut answers = answers?;
            let answer: Appended = answers.next().await?;
            let rest = matches!(answer, Ok(Ok(_))).then_some(answers);
            Some((answer, rest))
        });
        let stream: BoxStream<'s, Appended> = until_first_failure.boxed();
        std::future::ready(Ok(stream)).boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.unary(kind::VOTE, pack(self.links.shard, &rpc), option.soft_ttl())
            .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.unary(kind::PRE_VOTE, pack(self.links.shard, &rpc), option.soft_ttl())
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sending = transfer::send(&self.links, self.target, vote, snapshot);
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = sending => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.unary(
            kind::TRANSFER_LEADER,
            pack(self.links.shard, &req),
            option.hard_ttl() * 4,
        )
        .await
    }
}
