//! Failures, one type per cause.

use std::io;

use crate::state_machine::ShardId;
use crate::transport::NodeId;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Log, snapshots or rows could not be opened.
    #[error("storage cannot be opened: {0}")]
    Storage(#[from] io::Error),
    /// The links cannot be served: port taken, certificate unreadable.
    #[error("links cannot be opened: {0}")]
    Links(String),
    /// The configuration contradicts itself.
    #[error("configuration refused: {0}")]
    Config(String),
    /// The Raft core of a shard did not start.
    #[error("shard {shard} did not start: {reason}")]
    Raft {
        /// The shard.
        shard: ShardId,
        /// What openraft said.
        reason: String,
    },
}

/// Why a cluster was not initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// This node is not among the given nodes.
    #[error("this node ({0}) must be one of the nodes")]
    NotAmongNodes(NodeId),
    /// This node, or one of the others, belongs to a cluster already.
    #[error("node {0} belongs to a cluster already")]
    AlreadyInCluster(NodeId),
    /// One of the nodes did not answer.
    #[error("node {0} does not answer: {1}")]
    Unreachable(NodeId, String),
    /// The cluster was made, but a shard has no leader yet; calling again goes on where this call ended.
    #[error("shard {0} has no leader yet; try again")]
    NoLeader(ShardId),
    /// A replica could not be opened.
    #[error("a replica cannot be opened: {0}")]
    Start(#[from] StartError),
}

/// Why a command was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was reached within the deadline; the command was certainly not proposed.
    #[error("shard {0} has no reachable leader")]
    NoLeader(ShardId),
    /// The leader's queue is at its bound; not proposed.
    #[error("overloaded; retry after {retry_after_ms} ms")]
    Overloaded {
        /// When to try again, milliseconds.
        retry_after_ms: u64,
    },
    /// The command may or may not be applied: ask again under the same idempotency key.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// The command is larger than [`crate::limits::COMMAND_MAX_BYTES`].
    #[error("command too large")]
    TooLarge,
    /// The leader's disk is nearly full, and no other node can lead; not proposed.
    #[error("no room on the disks of the cluster")]
    DiskFull,
    /// This node stops.
    #[error("node stops")]
    Stopped,
}

/// Why a linearizable read is not possible now. Nothing was changed; it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader was reached within the deadline, or it could not confirm its leadership.
    #[error("shard {0} has no reachable leader")]
    NoLeader(ShardId),
    /// This node has no replica of the shard.
    #[error("no local replica of shard {0}")]
    NoReplica(ShardId),
    /// The local replica did not catch up within the deadline.
    #[error("replica of shard {0} lags")]
    Lagging(ShardId),
    /// This node stops.
    #[error("node stops")]
    Stopped,
}

/// Why a change of membership or leadership was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The shard has no reachable leader.
    #[error("shard {0} has no reachable leader")]
    NoLeader(ShardId),
    /// The node is not known here.
    #[error("node {0} is not a member")]
    UnknownNode(NodeId),
    /// The node did not answer.
    #[error("node {0} does not answer: {1}")]
    Unreachable(NodeId, String),
    /// The change would leave the shard without a safe quorum.
    #[error("shard {shard}: refused, quorum would be at risk: {reason}")]
    QuorumAtRisk {
        /// The shard.
        shard: ShardId,
        /// What is missing.
        reason: String,
    },
    /// The change did not finish in time; asking again goes on where it stopped.
    #[error("shard {0}: not finished in time: {1}")]
    Timeout(ShardId, String),
    /// The node belongs to another cluster.
    #[error("node {0} belongs to another cluster")]
    OtherCluster(NodeId),
    /// This node stops, or is in no cluster.
    #[error("node stops or is in no cluster")]
    Stopped,
}
