//! What a node can tell about itself and its shards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state_machine::ShardId;
use crate::transport::{NodeId, PeerAddress};

/// A cluster's number, made once by `init`; 128 random bits, written as hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for ClusterId {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(s, 16).map(Self)
    }
}

impl Serialize for ClusterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Who leads a shard, as this node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// This node leads, and the first entry of its term is applied here.
    pub ready: bool,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Leads the shard.
    Leader,
    /// Follows, with a vote.
    Follower,
    /// Stands for election.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Stopped.
    Stopped,
}

/// How far the leader knows a peer's replica to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerProgress {
    /// Last index known to be on the peer's disk.
    pub matched: u64,
    /// Entries it lacks.
    pub lag: u64,
}

/// One local replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// Current term.
    pub term: u64,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// This replica's part.
    pub role: Role,
    /// Members with a vote.
    pub voters: Vec<NodeId>,
    /// Members without one.
    pub learners: Vec<NodeId>,
    /// Last index in the log.
    pub last_index: u64,
    /// Last index known to be committed.
    pub commit_index: u64,
    /// Last index applied.
    pub applied_index: u64,
    /// Index of the newest snapshot.
    pub snapshot_index: u64,
    /// Last index purged from the log.
    pub purged_index: u64,
    /// The index at which `digest` was taken, at most `applied_index`.
    pub digest_index: u64,
    /// Digest of the state at `digest_index`.
    pub digest: u64,
    /// Commands waiting in the proposer.
    pub pending: u64,
    /// On the leader only: every other member's progress.
    pub peers: BTreeMap<NodeId, PeerProgress>,
}

/// One node's view of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// This node.
    pub node: NodeId,
    /// The cluster, once it is made or joined.
    pub cluster: Option<ClusterId>,
    /// Every node that this one knows, itself included.
    pub nodes: BTreeMap<NodeId, PeerAddress>,
    /// The replicas on this node.
    pub shards: Vec<ShardStatus>,
}
