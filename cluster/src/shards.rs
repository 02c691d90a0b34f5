//! All shards of one node: opening them, proposing to them, reading from them, moving them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::config::Config;
use crate::error::{InitError, MembershipError, ProposeError, ReadError, StartError};
use crate::state_machine::{ShardId, StateMachineFactory};
use crate::status::{ClusterId, ClusterStatus, Leadership};
use crate::storage::RowStore;
use crate::transport::{CallError, NodeId, PeerAddress};

/// Takes the user's own frames from other nodes (and from this one). Kinds are 1000 and above.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers a call; runs on a task of its own, so it may wait.
    async fn call(&self, from: NodeId, kind: u16, body: Bytes) -> Bytes;
    /// Takes a frame that wants no answer. Called in the order of the link; must return at once.
    fn deliver(&self, from: NodeId, kind: u16, body: Bytes);
}

/// Which share of a proposer's queue a command may use.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Lane {
    /// Commands of clients: bounded, fair between groups.
    Client,
    /// Decisions and timers: they have a share of their own and go first.
    Decision,
}

/// A command that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proposed {
    /// Index of the entry that holds it.
    pub index: u64,
    /// What the state machine answered.
    pub reply: Bytes,
}

/// All shards of one node. A cheap clone.
#[derive(Clone)]
pub struct Shards {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
}

impl Shards {
    /// Opens storage, links and every local replica.
    pub async fn start(
        config: Config,
        factory: StateMachineFactory,
        service: Arc<dyn Service>,
    ) -> Result<Self, StartError> {
        let _ = (factory, service);
        Ok(Self {
            inner: Arc::new(Inner { config }),
        })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.inner.config.node
    }

    /// The cluster that this node belongs to; `None` before `init` or joining.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        None
    }

    /// The node's rows.
    pub fn rows(&self) -> Arc<dyn RowStore> {
        unreachable!("rows come with the first landing of the engine")
    }

    /// Makes a cluster of `nodes` (this one included) with shards `0..=shard_count`, and waits until each has a
    /// leader. Idempotent: a call that was cut short may be repeated, with the same nodes.
    pub async fn init(
        &self,
        nodes: BTreeMap<NodeId, PeerAddress>,
        shard_count: u32,
    ) -> Result<ClusterId, InitError> {
        let _ = (nodes, shard_count);
        Err(InitError::NoLeader(ShardId(0)))
    }

    /// Shards with a replica on this node.
    pub fn local_shards(&self) -> Vec<ShardId> {
        Vec::new()
    }

    /// Proposes a command and waits until it is applied. Any node takes it and forwards it to the leader, one hop.
    /// `group` is what the proposer is fair between (a tenant's number).
    pub async fn propose(
        &self,
        shard: ShardId,
        group: u64,
        lane: Lane,
        command: Bytes,
        deadline: Duration,
    ) -> Result<Proposed, ProposeError> {
        let _ = (group, lane, command, deadline);
        Err(ProposeError::NoLeader(shard))
    }

    /// Waits until the local replica has applied everything acknowledged before this call, by the leader's
    /// ReadIndex; returns that index. What is then read from the local state is linearizable.
    pub async fn read_barrier(&self, shard: ShardId, deadline: Duration) -> Result<u64, ReadError> {
        let _ = deadline;
        Err(ReadError::NoLeader(shard))
    }

    /// Changes with every leader or term; `None` when this node has no replica of the shard.
    pub fn leadership(&self, shard: ShardId) -> Option<watch::Receiver<Leadership>> {
        let _ = shard;
        None
    }

    /// The stamp that the shard would give now, Unix milliseconds; meaningful on its leader.
    pub fn now_ms(&self, shard: ShardId) -> u64 {
        let _ = shard;
        0
    }

    /// Calls the [`Service`] of a node (kinds from 1000). A call to this node does not leave it.
    pub fn call(
        &self,
        to: NodeId,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let _ = (kind, body, deadline);
        Box::pin(async move { Err(CallError::Refused(to)) })
    }

    /// Sends a frame to the [`Service`] of a node, on the link for fan-out.
    pub fn send(&self, to: NodeId, kind: u16, body: Bytes) -> Result<(), CallError> {
        let _ = (kind, body);
        Err(CallError::Refused(to))
    }

    /// What this node knows about itself and its replicas.
    pub fn status(&self) -> ClusterStatus {
        ClusterStatus {
            node: self.node(),
            cluster: self.cluster_id(),
            nodes: BTreeMap::new(),
            shards: Vec::new(),
        }
    }

    /// Refreshes the gauges of the shards; call it now and then, and before a scrape.
    pub fn report_metrics(&self) {}

    /// Makes `node` a voter of every shard: learner, caught up, voter, one shard and one step at a time. Any node may
    /// be asked. The new node must run with an empty disk (or with this cluster's id).
    pub async fn add_node(
        &self,
        node: NodeId,
        address: PeerAddress,
    ) -> Result<(), MembershipError> {
        let _ = (node, address);
        Err(MembershipError::Stopped)
    }

    /// Takes `node` out of every shard, after handing over its leaderships. Refuses what puts a quorum at risk.
    pub async fn remove_node(&self, node: NodeId) -> Result<(), MembershipError> {
        let _ = node;
        Err(MembershipError::Stopped)
    }

    /// Hands a shard's leadership to another voter.
    pub async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), MembershipError> {
        let _ = to;
        Err(MembershipError::NoLeader(shard))
    }

    /// Hands over every leadership that this node has, for a drain.
    pub async fn hand_over_all(&self) -> Result<(), MembershipError> {
        Ok(())
    }

    /// Stops: says goodbye on the links, stops the shards, flushes, closes.
    pub async fn stop(&self) {}
}
