//! What nodes say.

use routing::command::Role;
use routing::event::{OfferOutcome, UnassignReason};
use routing::ids::{AgentId, Channel, ConversationId, Epoch, Millis, QueueId, Seq};
use routing::view::Presence;
use serde::{Deserialize, Serialize};

use super::{ConversationFrame, EntryFrame, Party, VERSION, Waiting};

/// What a node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // the document has a table
pub enum ServerFrame {
    /// The hello was good.
    Welcome(Welcome),
    /// A durable entry of a followed conversation: each exactly once and in order, over all connections together.
    Entry(EntryFrame),
    /// A followed conversation as it is now.
    Conversation(ConversationFrame),
    /// R35: where a followed conversation that waits stands; now and then again, as long as it waits.
    Waiting {
        conversation: ConversationId,
        #[serde(flatten)]
        waiting: Waiting,
    },
    /// A read cursor moved.
    Read {
        conversation: ConversationId,
        reader: Party,
        seq: Seq,
    },
    Typing {
        conversation: ConversationId,
        who: Party,
        typing: bool,
    },
    /// All that is offered to, assigned to, paused with, or wrapped up by the agent, as of `agent_seq`.
    Desk {
        agent_seq: u64,
        at_ms: Millis,
        presence: Presence,
        conversations: Vec<ConversationFrame>,
    },
    Offered {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        epoch: Epoch,
        deadline_ms: Millis,
        queue: QueueId,
        channel: Channel,
        customer: String,
    },
    OfferEnded {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        epoch: Epoch,
        outcome: OfferOutcome,
    },
    Assigned {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        epoch: Epoch,
        queue: QueueId,
        channel: Channel,
        customer: String,
    },
    Unassigned {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        epoch: Epoch,
        reason: UnassignReason,
    },
    WrapUp {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        epoch: Epoch,
        deadline_ms: Millis,
    },
    WrapUpEnded {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        epoch: Epoch,
    },
    Presence {
        agent_seq: u64,
        at_ms: Millis,
        presence: Presence,
    },
    /// R31: asked in.
    Invited {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        role: Role,
        by: AgentId,
        deadline_ms: Millis,
    },
    /// R31: the invitation is over.
    InvitationEnded {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        outcome: OfferOutcome,
    },
    /// R31: takes part beside the owner.
    JoinedAs {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        role: Role,
    },
    /// R31: takes part no longer.
    LeftAs {
        agent_seq: u64,
        at_ms: Millis,
        conversation: ConversationId,
        role: Role,
        why: String,
    },
    Targets {
        id: u64,
        queues: Vec<QueueTarget>,
        agents: Vec<AgentTarget>,
    },
    /// This node drains: reconnect, to `url` when there is one, after `after_ms`.
    Drain {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        after_ms: u64,
    },
    Ack(Ack),
    Error(ErrorFrame),
    Pong {
        id: u64,
        at_ms: Millis,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// Answer to a good hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The node's id.
    pub node: u64,
    /// Where the cluster's nodes are reached (those that do not drain), in no particular order.
    pub nodes: Vec<String>,
    /// `customer`, `agent` or `supervisor`.
    pub role: String,
    /// The customer's name or the agent's id.
    pub subject: String,
    /// The agent's name; the customer's once more.
    pub name: String,
    /// The node's clock.
    pub at_ms: Millis,
    /// When the token ends, and with it the connection.
    pub expires_at_ms: Millis,
}

/// It is done, and on disk at a majority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Of the frame.
    pub id: u64,
    /// The conversation it made or touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// The entry it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The epoch it made or confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The log's stamp.
    pub at_ms: Millis,
    /// A repeat: this is the first answer.
    #[serde(default)]
    pub repeated: bool,
}

/// It was not done, or (`outcome_unknown`) nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorFrame {
    /// Of the frame, when it was readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Stable.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Present when it makes sense to repeat the same frame, with the same number, after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A queue to transfer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTarget {
    /// Which.
    pub queue: QueueId,
    /// Its name.
    pub name: String,
    /// Conversations that wait in it.
    pub waiting: u64,
}

/// An agent to transfer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTarget {
    /// Who.
    pub agent: AgentId,
    /// Their name.
    pub name: String,
    /// Their presence.
    pub presence: Presence,
}

impl ServerFrame {
    /// Writes a text frame.
    pub fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Out<'a> {
            v: u16,
            #[serde(flatten)]
            frame: &'a ServerFrame,
        }
        serde_json::to_string(&Out {
            v: VERSION,
            frame: self,
        })
        .expect("a frame is JSON")
    }

    /// Reads a text frame, as a client does: leniently.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The position in the agent's stream, of an item or a desk.
    pub fn agent_seq(&self) -> Option<u64> {
        match self {
            Self::Desk { agent_seq, .. }
            | Self::Offered { agent_seq, .. }
            | Self::OfferEnded { agent_seq, .. }
            | Self::Assigned { agent_seq, .. }
            | Self::Unassigned { agent_seq, .. }
            | Self::WrapUp { agent_seq, .. }
            | Self::WrapUpEnded { agent_seq, .. }
            | Self::Presence { agent_seq, .. }
            | Self::Invited { agent_seq, .. }
            | Self::InvitationEnded { agent_seq, .. }
            | Self::JoinedAs { agent_seq, .. }
            | Self::LeftAs { agent_seq, .. } => Some(*agent_seq),
            _ => None,
        }
    }
}
