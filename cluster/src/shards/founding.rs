//! Making a cluster, joining one, and the asking side of membership changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::BasicNode;
use rand::Rng;
use tokio::time::Instant;

use super::{CHANGE_DEADLINE, Inner};
use crate::error::{InitError, MembershipError, StartError};
use crate::identity::Membership;
use crate::raft::frames::{ChangeAnswer, ChangeFrame, OpenAnswer, OpenFrame, kind, pack, unpack};
use crate::state_machine::ShardId;
use crate::status::ClusterId;
use crate::transport::{NodeId, PeerAddress, Purpose};

/// For the other nodes to answer, and for every shard to have a leader.
const FOUND_DEADLINE: Duration = Duration::from_secs(30);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);
/// For one attempt at opening replicas on another node.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

impl Inner {
    /// Belongs to a cluster from now on: saves that, connects, opens the replicas.
    pub(super) async fn join(&self, known: Membership) -> Result<(), StartError> {
        self.links.joined(known.cluster);
        let shards = known.shards.clone();
        self.transport.set_peers(known.nodes.clone());
        self.identity.set(known)?;
        for shard in shards {
            self.open(shard).await?;
        }
        Ok(())
    }

    /// Another node asks this one to join and to open replicas.
    pub(super) async fn opened_by_peer(&self, frame: OpenFrame) -> OpenAnswer {
        let mut wanted = Membership {
            node: self.node,
            cluster: frame.cluster,
            shards: frame.shards.into_iter().collect(),
            nodes: frame.nodes,
        };
        let known = self.identity.get();
        if known.is_none() && frame.is_member {
            // Its votes and entries are gone: as the same member it could undo what it once promised.
            return OpenAnswer::Failed(format!(
                "node {} is a member, but its disk is empty: remove it, and add it again under a new node id",
                self.node
            ));
        }
        if let Some(known) = known {
            if known.cluster != wanted.cluster {
                return OpenAnswer::OtherCluster(known.cluster);
            }
            wanted.shards.extend(known.shards);
            for (node, address) in known.nodes {
                wanted.nodes.entry(node).or_insert(address);
            }
        }
        match self.join(wanted).await {
            Ok(()) => OpenAnswer::Open,
            Err(error) => OpenAnswer::Failed(error.to_string()),
        }
    }

    /// Asks `node` to open the replicas of `frame`, until it answers.
    async fn ask_to_open(&self, node: NodeId, frame: &OpenFrame, deadline: Instant) -> Result<OpenAnswer, String> {
        loop {
            let body = pack(ShardId(0), frame);
            let called = self
                .transport
                .call(node, Purpose::Commands, kind::OPEN, body, OPEN_DEADLINE)
                .await;
            let reason = match called {
                Ok(answer) => match unpack(&answer) {
                    Some((_, answer)) => return Ok(answer),
                    None => "unreadable answer".to_string(),
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline || self.stop.is_cancelled() {
                return Err(reason);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    pub(super) async fn found(
        &self,
        nodes: BTreeMap<NodeId, PeerAddress>,
        shard_count: u32,
    ) -> Result<ClusterId, InitError> {
        if !nodes.contains_key(&self.node) {
            return Err(InitError::NotAmongNodes(self.node));
        }
        let shards: BTreeSet<ShardId> = (0..=shard_count).map(ShardId).collect();
        let known = match self.identity.get() {
            // An earlier call was cut short: go on with it.
            Some(known) if known.nodes == nodes && known.shards == shards => known,
            Some(_) => return Err(InitError::AlreadyInCluster(self.node)),
            None => Membership {
                node: self.node,
                cluster: ClusterId(rand::rng().random()),
                shards,
                nodes,
            },
        };
        self.join(known.clone()).await?;
        let deadline = Instant::now() + FOUND_DEADLINE;
        let frame = OpenFrame {
            cluster: known.cluster,
            shards: known.shards.iter().copied().collect(),
            nodes: known.nodes.clone(),
            // A shard is initialised only after every node has opened its replicas.
            is_member: self.replicas().iter().any(|replica| !replica.members().is_empty()),
        };
        for &node in known.nodes.keys().filter(|node| **node != self.node) {
            match self.ask_to_open(node, &frame, deadline).await {
                Ok(OpenAnswer::Open) => {}
                Ok(OpenAnswer::OtherCluster(_)) => return Err(InitError::AlreadyInCluster(node)),
                Ok(OpenAnswer::Failed(reason)) | Err(reason) => return Err(InitError::Unreachable(node, reason)),
            }
        }
        for &shard in &known.shards {
            self.initialise(shard, &known.nodes, deadline).await?;
        }
        self.spread_leaders(&known).await;
        Ok(known.cluster)
    }

    /// Initialises a shard until it has a leader: openraft's `initialize` returns before its entry is durable, so a
    /// crash at once can undo it.
    async fn initialise(
        &self,
        shard: ShardId,
        nodes: &BTreeMap<NodeId, PeerAddress>,
        deadline: Instant,
    ) -> Result<(), InitError> {
        let members: BTreeMap<u64, BasicNode> = nodes
            .iter()
            .map(|(node, at)| {
                (
                    node.0,
                    BasicNode {
                        addr: at.address.to_string(),
                    },
                )
            })
            .collect();
        while Instant::now() < deadline && !self.stop.is_cancelled() {
            let Some(replica) = self.replica(shard) else {
                break;
            };
            if matches!(replica.raft.is_initialized().await, Ok(false)) {
                // Refused when a peer got there first; then its leader shows up below.
                if let Err(error) = replica.raft.initialize(members.clone()).await {
                    tracing::debug!(%shard, %error, "initialize");
                }
            }
            let mut leadership = replica.leadership.subscribe();
            let led = leadership.wait_for(|now| now.leader.is_some());
            if tokio::time::timeout(Duration::from_secs(1), led)
                .await
                .is_ok_and(|led| led.is_ok())
            {
                return Ok(());
            }
        }
        Err(InitError::NoLeader(shard))
    }

    /// Gives every node its share of the leaderships, as far as that works now.
    async fn spread_leaders(&self, known: &Membership) {
        let nodes: Vec<NodeId> = known.nodes.keys().copied().collect();
        for &shard in &known.shards {
            let to = nodes[shard.0 as usize % nodes.len()];
            let deadline = Instant::now() + Duration::from_secs(3);
            if let Err(error) = self.change_by(shard, ChangeFrame::Transfer(to), deadline).await {
                tracing::info!(%shard, %to, %error, "leadership stays where it is");
            }
        }
    }

    pub(super) async fn change(&self, shard: ShardId, step: ChangeFrame) -> Result<(), MembershipError> {
        self.change_by(shard, step, Instant::now() + CHANGE_DEADLINE).await
    }

    /// Has the shard's leader take one step, until it is done or refused.
    async fn change_by(&self, shard: ShardId, step: ChangeFrame, deadline: Instant) -> Result<(), MembershipError> {
        let (ChangeFrame::AddLearner(node, _)
        | ChangeFrame::Promote(node)
        | ChangeFrame::Remove(node)
        | ChangeFrame::Transfer(node)) = step;
        let mut hint = None;
        let mut last = None;
        for attempt in 0.. {
            if self.stop.is_cancelled() {
                return Err(MembershipError::Stopped);
            }
            if Instant::now() >= deadline {
                break;
            }
            let answer = match self.ask(shard, hint, attempt) {
                Some(to) => self.change_once(to, shard, step.clone(), deadline).await,
                None => ChangeAnswer::NotLeader(None),
            };
            match answer {
                ChangeAnswer::Done => return Ok(()),
                ChangeAnswer::Unknown => return Err(MembershipError::UnknownNode(node)),
                ChangeAnswer::QuorumAtRisk(reason) => return Err(MembershipError::QuorumAtRisk { shard, reason }),
                ChangeAnswer::NotLeader(leader) => hint = leader,
                ChangeAnswer::Lagging(entries) => last = Some(format!("the new replica lacks {entries} entries")),
                ChangeAnswer::Failed(reason) => last = Some(reason),
            }
            tokio::time::sleep(RETRY).await;
        }
        Err(last.map_or(MembershipError::NoLeader(shard), |reason| {
            MembershipError::Timeout(shard, reason)
        }))
    }

    pub(super) async fn add_node(self: &Arc<Self>, node: NodeId, address: PeerAddress) -> Result<(), MembershipError> {
        let known = self.identity.get().ok_or(MembershipError::Stopped)?;
        self.joining.lock().insert(node, address.clone());
        self.refresh_peers();
        let added = self.add_known_node(node, &address, known).await;
        self.joining.lock().remove(&node);
        self.refresh_peers();
        added
    }

    async fn add_known_node(
        &self,
        node: NodeId,
        address: &PeerAddress,
        known: Membership,
    ) -> Result<(), MembershipError> {
        let mut nodes = known.nodes;
        nodes.insert(node, address.clone());
        let frame = OpenFrame {
            cluster: known.cluster,
            shards: known.shards.iter().copied().collect(),
            nodes,
            is_member: self
                .replicas()
                .iter()
                .any(|replica| replica.members().contains_key(&node)),
        };
        let deadline = Instant::now() + OPEN_DEADLINE;
        if node != self.node {
            match self.ask_to_open(node, &frame, deadline).await {
                Ok(OpenAnswer::Open) => {}
                Ok(OpenAnswer::OtherCluster(_)) => return Err(MembershipError::OtherCluster(node)),
                Ok(OpenAnswer::Failed(reason)) | Err(reason) => return Err(MembershipError::Unreachable(node, reason)),
            }
        }
        for shard in known.shards {
            self.change(shard, ChangeFrame::AddLearner(node, address.clone()))
                .await?;
            self.change(shard, ChangeFrame::Promote(node)).await?;
        }
        Ok(())
    }
}
