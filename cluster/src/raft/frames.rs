//! Frames that shards exchange, and their numbers.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::limits::FRAME_MAX_BYTES;
use crate::shards::{Lane, Proposed};
use crate::state_machine::ShardId;
use crate::status::ClusterId;
use crate::transport::{NodeId, PeerAddress};

/// Schema of every frame below.
const SCHEMA: u16 = 1;

/// Kinds of frames.
pub(crate) mod kind {
    /// Entries, in the order of a shard's lane.
    pub(crate) const APPEND: u16 = 1;
    /// A vote is asked for.
    pub(crate) const VOTE: u16 = 2;
    /// Would a vote be given?
    pub(crate) const PRE_VOTE: u16 = 3;
    /// Leadership is handed over.
    pub(crate) const TRANSFER_LEADER: u16 = 4;
    /// An append without entries, outside of the lane.
    pub(crate) const HEARTBEAT: u16 = 5;
    /// A snapshot transfer, piece by piece.
    pub(crate) const SNAPSHOT: u16 = 6;
    /// A command for the leader.
    pub(crate) const PROPOSE: u16 = 100;
    /// The leader's ReadIndex.
    pub(crate) const READ_INDEX: u16 = 101;
    /// Open replicas, join a cluster.
    pub(crate) const OPEN: u16 = 102;
    /// A step of a membership change, for the leader.
    pub(crate) const CHANGE: u16 = 103;
    /// What time is it there?
    pub(crate) const TIME: u16 = 104;
    /// Is there room on the disk there?
    pub(crate) const ROOM: u16 = 105;
    /// How fast is the shard's log there, and may that node lead it?
    pub(crate) const FLUSHES: u16 = 106;
    /// The newest term that the replica there has promised anybody.
    pub(crate) const PROMISED: u16 = 107;
    /// The user's kinds begin here.
    pub(crate) const USER: u16 = 1000;
}

/// A frame's body: schema, shard, value.
pub(crate) fn pack<T: Serialize>(shard: ShardId, value: &T) -> Bytes {
    codec::encode(&(SCHEMA, shard, value))
}

/// Reads what [`pack`] wrote; `None` when it is not that (the caller's call fails).
pub(crate) fn unpack<T: DeserializeOwned>(body: &[u8]) -> Option<(ShardId, T)> {
    match codec::decode::<(u16, ShardId, T)>(body, FRAME_MAX_BYTES) {
        Ok((SCHEMA, shard, value)) => Some((shard, value)),
        Ok((schema, shard, _)) => {
            tracing::warn!(schema, %shard, "frame of an unknown schema");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "unreadable frame");
            None
        }
    }
}

/// A command on its way to the leader.
#[derive(Serialize, Deserialize)]
pub(crate) struct ProposeFrame {
    pub(crate) group: u64,
    pub(crate) lane: Lane,
    pub(crate) command: Bytes,
    /// What is left of the caller's deadline.
    pub(crate) deadline_ms: u64,
}

/// The leader's answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProposeAnswer {
    /// Applied.
    Done(Proposed),
    /// Not proposed: this node does not lead (the node that it takes for the leader, if any).
    NotLeader(Option<NodeId>),
    /// Not proposed: no room.
    Overloaded { retry_after_ms: u64 },
    /// May or may not be applied.
    Unknown,
    /// Not proposed: too large.
    TooLarge,
    /// Not proposed: the leader's disk is nearly full, and nobody else can lead.
    DiskFull,
}

/// The leader's answer to a ReadIndex.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum ReadAnswer {
    /// Read at this index or later.
    Index(u64),
    /// Not the leader, or it could not confirm that it is (the node that it takes for the leader, if any).
    NotLeader(Option<NodeId>),
}

/// Asks a node to join a cluster and open replicas.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OpenFrame {
    pub(crate) cluster: ClusterId,
    pub(crate) shards: Vec<ShardId>,
    pub(crate) nodes: std::collections::BTreeMap<NodeId, PeerAddress>,
    /// The node is a member already, so its disk must not be empty.
    pub(crate) is_member: bool,
}

/// A node's answer to [`OpenFrame`].
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum OpenAnswer {
    /// The replicas are open.
    Open,
    /// The node belongs to another cluster.
    OtherCluster(ClusterId),
    /// Refused, or a replica could not be opened.
    Failed(String),
}

/// A step of a membership change.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum ChangeFrame {
    /// Adds a learner, if it is not a member yet.
    AddLearner(NodeId, PeerAddress),
    /// Makes a learner that has caught up a voter.
    Promote(NodeId),
    /// Removes a member altogether.
    Remove(NodeId),
    /// Hands leadership to a voter.
    Transfer(NodeId),
}

/// The leader's answer to a [`ChangeFrame`].
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum ChangeAnswer {
    /// Done, or done before.
    Done,
    /// Not yet: the learner lags by so many entries.
    Lagging(u64),
    /// Not the leader.
    NotLeader(Option<NodeId>),
    /// The node is no member.
    Unknown,
    /// Refused: too few voters would be left, or too few answer.
    QuorumAtRisk(String),
    /// Did not work this time.
    Failed(String),
}

/// What a leader on a slow disk asks of those who might follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlushesAnswer {
    /// What a flush of the shard's log takes there; `None` when too little was flushed to tell.
    pub(crate) took_ms: Option<u64>,
    /// Whether there is room on the disk.
    pub(crate) has_room: bool,
    /// How long ago that node handed the shard's leadership over because its own disk was slow, if it did lately.
    pub(crate) left_ms_ago: Option<u64>,
}

/// The shard that a frame is for, read without the rest: the codec writes the schema in one byte, then the shard.
pub(crate) fn shard_of(body: &[u8]) -> Option<ShardId> {
    let (&schema, rest) = body.split_first()?;
    if u16::from(schema) != SCHEMA {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    match first {
        0..=250 => Some(ShardId(first.into())),
        251 => Some(ShardId(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?).into())),
        252 => Some(ShardId(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_is_read_from_the_head() {
        for shard in [0, 1, 250, 251, 65_535, 65_536, u32::MAX].map(ShardId) {
            let body = pack(shard, &7_u64);
            assert_eq!(shard_of(&body), Some(shard));
            assert_eq!(unpack::<u64>(&body), Some((shard, 7)));
        }
        assert_eq!(shard_of(&[]), None);
        assert_eq!(shard_of(&[1]), None);
        assert_eq!(shard_of(&[1, 251, 0]), None);
        assert_eq!(shard_of(&[9, 0]), None);
    }
}
