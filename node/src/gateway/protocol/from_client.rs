//! What clients say.

mod about;

use std::collections::BTreeMap;

use routing::command::Role;
use routing::ids::{AgentId, Channel, ConversationId, Epoch, Millis, QueueId, Seq};
use serde::{Deserialize, Serialize};

use super::VERSION;

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
        /// R33: begins to wait later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<Later>,
        /// R33: where the customer can be called back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        callback: Option<String>,
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
        /// Whether the customer was helped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resolved: Option<bool>,
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
    /// R31: asks another agent in, to consult or to confer.
    Invite {
        number: u64,
        conversation: ConversationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        agent: AgentId,
        role: Role,
    },
    /// R31: the invited agent's answer.
    AnswerInvitation {
        number: u64,
        conversation: ConversationId,
        accept: bool,
    },
    /// R31: a supervisor comes in, or changes role.
    Join {
        number: u64,
        conversation: ConversationId,
        role: Role,
    },
    /// R31: a participant goes.
    Leave {
        number: u64,
        conversation: ConversationId,
    },
    /// R31: the owner lets a participant go, or takes an invitation back.
    Remove {
        number: u64,
        conversation: ConversationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        agent: AgentId,
    },
    /// R31: a participant becomes the owner (warm transfer).
    CompleteTransfer {
        number: u64,
        conversation: ConversationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        to: AgentId,
    },
    /// R31: to the agents in the conversation; the customer never sees it.
    Whisper {
        number: u64,
        conversation: ConversationId,
        body: Text,
    },
    /// R33: puts it off.
    Schedule {
        number: u64,
        conversation: ConversationId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<Epoch>,
        schedule: Later,
    },
    /// R33: what was put off waits now.
    CancelSchedule {
        number: u64,
        conversation: ConversationId,
    },
    /// R33: a waiting customer wants to be called back: keeps the place and need not stay.
    Callback {
        number: u64,
        conversation: ConversationId,
        contact: String,
    },
    /// The customer's rating, 1–5.
    Rate {
        number: u64,
        conversation: ConversationId,
        rating: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
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

/// R33: until `at_ms`, or until `agent` is available again and at the latest until `at_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// When, or when at the latest.
    pub at_ms: Millis,
    /// Who is waited for, and has it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Whether it then takes the place of its original age.
    #[serde(default)]
    pub keep_age: bool,
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
        // Nearly all that is said. Whatever is not plainly that is read below, and refused with its reason there.
        if text.contains(r#""type":"message""#)
            && let Ok(message) = serde_json::from_str::<PlainMessage<'_>>(text)
            && (message.kind, message.v) == ("message", VERSION)
        {
            return Ok(message.into());
        }
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

/// A message without detours: the general way builds a map of every frame first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainMessage<'a> {
    v: u16,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    id: u64,
    number: u64,
    conversation: ConversationId,
    body: Text,
    #[serde(default)]
    epoch: Option<Epoch>,
}

impl From<PlainMessage<'_>> for FromClient {
    fn from(message: PlainMessage<'_>) -> Self {
        Self {
            id: message.id,
            frame: ClientFrame::Message {
                number: message.number,
                conversation: message.conversation,
                body: message.body,
                epoch: message.epoch,
            },
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
