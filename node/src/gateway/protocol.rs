//! The WebSocket protocol: JSON text frames, `{v, type, id, …}`, snake_case. For people: `ops/protocol.md`.
//!
//! Frames from clients are read strictly: an unknown field or type is refused with an `error` frame. Frames to clients may
//! grow: a client ignores what it does not know.

use std::collections::BTreeMap;

use routing::command::{Body, PresenceChange, Role, TransferTarget, Value};
use routing::event::{AgentItem, AgentItemKind, OfferOutcome, Receipt, UnassignReason};
use routing::ids::{AgentId, Channel, ConversationId, Epoch, Millis, QueueId, Seq};
use routing::view::Presence;
use serde::{Deserialize, Serialize};

mod show;

pub use show::{ConversationFrame, EntryContent, EntryFrame, Party, ReadCursor};

/// The only version so far.
pub const VERSION: u16 = 1;
/// What a client asks for in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "kaiwa.v1";
/// What its token follows there (`token.<jwt>`), where it cannot set other headers.
pub const TOKEN_PROTOCOL_PREFIX: &str = "token.";

/// Close codes of this protocol (RFC 6455 has the numbers).
pub mod close {
    /// The node drains or stops: reconnect elsewhere.
    pub const GOING_AWAY: u16 = 1001;
    /// Not a text frame.
    pub const UNSUPPORTED: u16 = 1003;
    /// No valid token, no hello in time, the token has ended, or silence for too long.
    pub const POLICY: u16 = 1008;
    /// A frame of more than [`crate::limits::FRAME_MAX_BYTES`].
    pub const TOO_LARGE: u16 = 1009;
    /// A fault of ours; try again.
    pub const INTERNAL: u16 = 1011;
    /// Too slow, or too many frames: come back and resume by cursor.
    pub const TRY_AGAIN: u16 = 1013;
}

/// A frame from a client, with what all of them have.
#[derive(Clone, Debug, PartialEq)]
pub struct FromClient {
    /// Chosen by the client; comes back in `ack`, `error` and `pong`.
    pub id: u64,
    /// The rest.
    pub frame: ClientFrame,
}

/// Why a frame could not be read. The connection stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BadFrame {
    /// Of the frame, as far as it could be read.
    pub id: Option<u64>,
    /// `malformed`, `unsupported_version`, `unknown_type` or `invalid_frame`.
    pub code: &'static str,
    /// In a sentence.
    pub detail: String,
}

/// What a client may say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)] // the document has a table
pub enum ClientFrame {
    /// First of all.
    Hello {
        /// Unless it came with `Sec-WebSocket-Protocol`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// Chosen at random by the client (below 2^53) and kept across reconnects: with `number` it names a command for ever.
        instance: u64,
        #[serde(default)]
        resume: Resume,
    },
    /// A customer comes. Its conversation is followed from the ack on.
    Start {
        number: u64,
        #[serde(default = "web_chat")]
        channel: Channel,
        #[serde(default)]
        attributes: BTreeMap<String, Attribute>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<Text>,
    },
    /// Follows a conversation from after `cursor` on.
    Follow {
        conversation: ConversationId,
        #[serde(default)]
        cursor: Seq,
    },
    Unfollow {
        conversation: ConversationId,
    },
    Message {
        number: u64,
        conversation: ConversationId,
        body: Text,
        /// An agent's: of the assignment. Left out: the one that the gateway knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
    },
    Note {
        number: u64,
        conversation: ConversationId,
        body: Text,
    },
    /// Everything up to `seq` has been read.
    Read {
        conversation: ConversationId,
        seq: Seq,
    },
    /// Never in the log; not acknowledged.
    Typing {
        conversation: ConversationId,
        typing: bool,
    },
    Close {
        number: u64,
        conversation: ConversationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disposition: Option<String>,
    },
    Reopen {
        number: u64,
        conversation: ConversationId,
    },
    Pause {
        number: u64,
        conversation: ConversationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
    },
    Resume {
        number: u64,
        conversation: ConversationId,
    },
    Transfer {
        number: u64,
        conversation: ConversationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        to: Target,
    },
    Accept {
        number: u64,
        conversation: ConversationId,
        epoch: Epoch,
    },
    Decline {
        number: u64,
        conversation: ConversationId,
        epoch: Epoch,
        #[serde(default)]
        reason: String,
    },
    SignIn {
        number: u64,
        #[serde(default)]
        presence: WantedPresence,
    },
    SignOut {
        number: u64,
    },
    Presence {
        number: u64,
        presence: WantedPresence,
    },
    FinishWrapUp {
        number: u64,
        conversation: ConversationId,
        epoch: Epoch,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disposition: Option<String>,
    },
    ExtendWrapUp {
        number: u64,
        conversation: ConversationId,
        epoch: Epoch,
        by_ms: u64,
    },
    /// R10: takes a chosen waiting conversation.
    Pull {
        number: u64,
        conversation: ConversationId,
    },
    /// Asks for [`ServerFrame::Targets`]: where an agent may transfer to.
    Targets {},
    Ping {},
}

/// Where a client stopped reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// Last entry that it has, by conversation.
    #[serde(default)]
    pub conversations: BTreeMap<ConversationId, Seq>,
    /// Last item of the agent's own stream that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_seq: Option<u64>,
}

/// A message's or note's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// At most [`routing::limits::BODY_MAX_BYTES`].
    pub text: String,
    /// `text/plain` unless said otherwise.
    #[serde(default = "text_plain")]
    pub media_type: String,
}

/// An attribute's value: text, a whole number, or a truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Attribute {
    Bool(bool),
    Number(i64),
    Text(String),
}

/// R31: where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Target {
    Queue {
        queue: QueueId,
    },
    Agent {
        agent: AgentId,
        /// How long only them.
        #[serde(default = "transfer_wait_ms")]
        wait_ms: u64,
    },
}

/// R29: what an agent says of themself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum WantedPresence {
    #[default]
    Available,
    Away {
        #[serde(default)]
        reason: String,
    },
    Draining,
}

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

/// The channel of the pages.
pub fn web_chat() -> Channel {
    Channel("web_chat".to_owned())
}

fn text_plain() -> String {
    "text/plain".to_owned()
}

fn transfer_wait_ms() -> u64 {
    30_000
}

impl FromClient {
    /// Reads a text frame.
    pub fn parse(text: &str) -> Result<Self, BadFrame> {
        let bad = |id, code, detail: String| BadFrame { id, code, detail };
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|e| bad(None, "malformed", format!("not a JSON object: {e}")))?;
        let id = match object.remove("id") {
            None => None,
            Some(given) => Some(
                given
                    .as_u64()
                    .ok_or_else(|| bad(None, "invalid_frame", "`id` is a whole number from 0".to_owned()))?,
            ),
        };
        match object.remove("v").map(|v| v.as_u64()) {
            Some(Some(v)) if v == u64::from(VERSION) => {}
            Some(Some(v)) => {
                return Err(bad(
                    id,
                    "unsupported_version",
                    format!("version {v}; this node speaks {VERSION}"),
                ));
            }
            _ => {
                return Err(bad(
                    id,
                    "invalid_frame",
                    format!("`v` is missing or no number; it is {VERSION}"),
                ));
            }
        }
        let frame = serde_json::from_value(serde_json::Value::Object(object)).map_err(|e| {
            let detail = e.to_string();
            let code = if detail.starts_with("unknown variant") {
                "unknown_type"
            } else {
                "invalid_frame"
            };
            bad(id, code, detail)
        })?;
        Ok(Self {
            id: id.unwrap_or(0),
            frame,
        })
    }

    /// Writes a text frame.
    pub fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Out<'a> {
            v: u16,
            id: u64,
            #[serde(flatten)]
            frame: &'a ClientFrame,
        }
        serde_json::to_string(&Out {
            v: VERSION,
            id: self.id,
            frame: &self.frame,
        })
        .expect("a frame is JSON")
    }
}

impl ClientFrame {
    /// The number of a command; `None` for frames that are not commands.
    pub fn number_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Start { number, .. }
            | Self::Message { number, .. }
            | Self::Note { number, .. }
            | Self::Close { number, .. }
            | Self::Reopen { number, .. }
            | Self::Pause { number, .. }
            | Self::Resume { number, .. }
            | Self::Transfer { number, .. }
            | Self::Accept { number, .. }
            | Self::Decline { number, .. }
            | Self::SignIn { number, .. }
            | Self::SignOut { number }
            | Self::Presence { number, .. }
            | Self::FinishWrapUp { number, .. }
            | Self::ExtendWrapUp { number, .. }
            | Self::Pull { number, .. } => Some(number),
            Self::Hello { .. }
            | Self::Follow { .. }
            | Self::Unfollow { .. }
            | Self::Read { .. }
            | Self::Typing { .. }
            | Self::Targets {}
            | Self::Ping {} => None,
        }
    }

    /// The conversation that it is about.
    pub fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Follow { conversation, .. }
            | Self::Unfollow { conversation }
            | Self::Message { conversation, .. }
            | Self::Note { conversation, .. }
            | Self::Read { conversation, .. }
            | Self::Typing { conversation, .. }
            | Self::Close { conversation, .. }
            | Self::Reopen { conversation, .. }
            | Self::Pause { conversation, .. }
            | Self::Resume { conversation, .. }
            | Self::Transfer { conversation, .. }
            | Self::Accept { conversation, .. }
            | Self::Decline { conversation, .. }
            | Self::FinishWrapUp { conversation, .. }
            | Self::ExtendWrapUp { conversation, .. }
            | Self::Pull { conversation, .. } => Some(*conversation),
            Self::Hello { .. }
            | Self::Start { .. }
            | Self::SignIn { .. }
            | Self::SignOut { .. }
            | Self::Presence { .. }
            | Self::Targets {}
            | Self::Ping {} => None,
        }
    }
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

    /// An item of an agent's stream.
    pub fn of_item(item: &AgentItem) -> Self {
        let (agent_seq, at_ms) = (item.agent_seq, item.at_ms);
        match item.kind.clone() {
            AgentItemKind::Offered {
                conversation,
                epoch,
                deadline_ms,
                queue,
                channel,
                customer,
            } => Self::Offered {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                deadline_ms,
                queue,
                channel,
                customer: customer.0,
            },
            AgentItemKind::OfferEnded {
                conversation,
                epoch,
                outcome,
            } => Self::OfferEnded {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                outcome,
            },
            AgentItemKind::Assigned {
                conversation,
                epoch,
                queue,
                channel,
                customer,
            } => Self::Assigned {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                queue,
                channel,
                customer: customer.0,
            },
            AgentItemKind::Unassigned {
                conversation,
                epoch,
                reason,
            } => Self::Unassigned {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                reason,
            },
            AgentItemKind::WrapUp {
                conversation,
                epoch,
                deadline_ms,
            } => Self::WrapUp {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                deadline_ms,
            },
            AgentItemKind::WrapUpEnded { conversation, epoch } => Self::WrapUpEnded {
                agent_seq,
                at_ms,
                conversation,
                epoch,
            },
            AgentItemKind::Presence { presence } => Self::Presence {
                agent_seq,
                at_ms,
                presence,
            },
            AgentItemKind::Invited {
                conversation,
                role,
                by,
                deadline_ms,
            } => Self::Invited {
                agent_seq,
                at_ms,
                conversation,
                role,
                by,
                deadline_ms,
            },
            AgentItemKind::InvitationEnded { conversation, outcome } => Self::InvitationEnded {
                agent_seq,
                at_ms,
                conversation,
                outcome,
            },
            AgentItemKind::Joined { conversation, role } => Self::JoinedAs {
                agent_seq,
                at_ms,
                conversation,
                role,
            },
            AgentItemKind::Left {
                conversation,
                role,
                why,
            } => Self::LeftAs {
                agent_seq,
                at_ms,
                conversation,
                role,
                why,
            },
        }
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

impl Ack {
    /// Of a receipt.
    pub fn of(id: u64, receipt: &Receipt) -> Self {
        Self {
            id,
            conversation: receipt.conversation,
            seq: receipt.seq,
            epoch: receipt.epoch,
            at_ms: receipt.at_ms,
            repeated: receipt.repeated,
        }
    }
}

impl Text {
    /// Plain text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            media_type: text_plain(),
        }
    }
}

impl From<Text> for Body {
    fn from(text: Text) -> Self {
        Self {
            media_type: text.media_type,
            text: text.text,
        }
    }
}

impl From<Attribute> for Value {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Bool(truth) => Self::Bool(truth),
            Attribute::Number(number) => Self::Number(number),
            Attribute::Text(text) => Self::Text(text),
        }
    }
}

impl From<Value> for Attribute {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(truth) => Self::Bool(truth),
            Value::Number(number) => Self::Number(number),
            Value::Text(text) => Self::Text(text),
        }
    }
}

impl From<Target> for TransferTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Queue { queue } => Self::Queue(queue),
            Target::Agent { agent, wait_ms } => Self::Agent { agent, wait_ms },
        }
    }
}

impl From<WantedPresence> for PresenceChange {
    fn from(wanted: WantedPresence) -> Self {
        match wanted {
            WantedPresence::Available => Self::Available,
            WantedPresence::Away { reason } => Self::Away(reason),
            WantedPresence::Draining => Self::Draining,
        }
    }
}

#[cfg(test)]
mod tests;
