//! Frames between nodes, beside those of the cluster itself. Kinds are append-only.

use std::ops::Deref;
use std::sync::Arc;

use routing::command::Reader;
use routing::event::{AgentItem, ConversationView, Entry};
use routing::ids::{AgentId, ConversationId, Seq, TenantId};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::query::{Answer, Query};

/// Call: a query for who has a replica, or leads. [`QueryCall`] → `Result<Answer, EngineError>`.
pub const QUERY: u16 = 1000;
/// Call: what a node listens to. [`ListenCall`] → [`ListenReply`].
pub const LISTEN: u16 = 1001;
/// Frame: somebody types. [`TypingFrame`].
pub const TYPING: u16 = 1003;
/// Frame: things for a node's listeners. [`PushHead`], then each [`WirePush`] with its length before it. (1002 was one alone.)
pub const PUSHES: u16 = 1004;

/// A forwarded query.
#[derive(Debug, Serialize, Deserialize)]
pub struct QueryCall {
    /// Whose state.
    pub tenant: TenantId,
    /// Where the asking node believes the tenant to be.
    pub shard: u32,
    /// What.
    pub query: Query,
}

/// The reply to a [`QueryCall`].
pub type QueryReply = Result<Answer, EngineError>;

/// What can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Followed {
    /// A conversation.
    Conversation(ConversationId),
    /// An agent's own stream.
    Agent(AgentId),
}

/// How many sockets of a node follow something. Absolute, so that a repeated call does no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners {
    /// The conversation's customers.
    pub customers: u32,
    /// Agents and supervisors; for an agent's stream, the agent's connections.
    pub staff: u32,
}

impl Listeners {
    /// Nobody.
    pub fn none(self) -> bool {
        self.customers == 0 && self.staff == 0
    }
}

/// What a node listens to in a shard: a change, or (after `reset`) the first part of all.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenCall {
    /// Which shard.
    pub shard: u32,
    /// Of the listening process.
    pub incarnation: u64,
    /// Forget what this node listened to before.
    pub reset: bool,
    /// The new counts.
    pub changes: Vec<(TenantId, Followed, Listeners)>,
}

/// The leader's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenReply {
    /// Noted. So many pushes have been sent to the node in this term.
    Noted {
        /// The leader's term.
        term: u64,
        /// Number of the last push.
        sent: u64,
    },
    /// This node does not lead the shard, or not yet.
    NotLeader,
    /// The leader knows nothing of this node, or lost pushes for it: send all, with `reset`.
    Unknown,
}

/// Head of a frame of pushes: who sent it, and its number in the row of frames from that leader to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushHead {
    /// Which shard.
    pub shard: u32,
    /// Term of the leader.
    pub term: u64,
    /// From 1, without gap.
    pub number: u64,
}

/// Something for a node's listeners; what a sender has at hand it lends, see [`WirePushRef`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WirePush<E = Arc<Entry>, V = Arc<ConversationView>, I = Arc<AgentItem>> {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub what: WirePushKind<E, V, I>,
}

/// What a [`WirePush`] says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum WirePushKind<E = Arc<Entry>, V = Arc<ConversationView>, I = Arc<AgentItem>> {
    Entry(E),
    Conversation(V),
    Read(ConversationId, Reader, Seq),
    Typing(ConversationId, Reader, bool),
    AgentItem(I),
}

/// A [`WirePush`] as its sender has it, written the same way.
pub type WirePushRef<'a> = WirePush<&'a Entry, &'a ConversationView, &'a AgentItem>;

impl<E, V, I> WirePushKind<E, V, I>
where
    E: Deref<Target = Entry>,
    V: Deref<Target = ConversationView>,
    I: Deref<Target = AgentItem>,
{
    /// Who follows what gets it.
    pub fn followed(&self) -> Followed {
        match self {
            Self::Entry(entry) => Followed::Conversation(entry.conversation),
            Self::Conversation(view) => Followed::Conversation(view.conversation),
            Self::Read(id, ..) | Self::Typing(id, ..) => Followed::Conversation(*id),
            Self::AgentItem(item) => Followed::Agent(item.agent),
        }
    }
}

/// Somebody types, or stopped.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TypingFrame {
    /// Which shard.
    pub shard: u32,
    /// Whose.
    pub tenant: TenantId,
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub who: Reader,
    /// Types, or stopped.
    pub typing: bool,
}
