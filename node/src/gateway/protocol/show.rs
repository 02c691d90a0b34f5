//! Conversations and entries as a role may see them.

use std::collections::BTreeMap;

use routing::command::{Author, Body, Principal, Reader, Role, Schedule};
use routing::event::{CloseOutcome, ConversationView, Entry, EntryKind, Phase, UnassignReason};
use routing::ids::{AgentId, Channel, ConversationId, Epoch, Millis, QueueId, Seq};
use serde::{Deserialize, Serialize};

use super::{Attribute, Text};

/// Who wrote, read, typed, joined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Party {
    Customer,
    Agent { agent: AgentId },
    Supervisor,
    System,
}

impl From<&Author> for Party {
    fn from(author: &Author) -> Self {
        match author {
            Author::Customer => Self::Customer,
            Author::Agent { agent, .. } => Self::Agent { agent: *agent },
            Author::Supervisor(Principal::Agent(agent)) => Self::Agent { agent: *agent },
            Author::Supervisor(_) => Self::Supervisor,
            Author::System => Self::System,
            Author::Participant { agent } => Self::Agent { agent: *agent },
        }
    }
}

impl From<Reader> for Party {
    fn from(reader: Reader) -> Self {
        match reader {
            Reader::Customer => Self::Customer,
            Reader::Agent(agent) => Self::Agent { agent },
        }
    }
}

/// A durable entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFrame {
    /// Which conversation.
    pub conversation: ConversationId,
    /// From 1.
    pub seq: Seq,
    /// The last before it that this reader may see (0: none).
    pub prev: Seq,
    /// When.
    pub at_ms: Millis,
    /// What.
    pub content: EntryContent,
}

/// What an entry records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum EntryContent {
    Message {
        author: Party,
        body: Text,
    },
    Note {
        agent: AgentId,
        body: Text,
    },
    Joined {
        agent: AgentId,
    },
    Left {
        agent: AgentId,
        /// Not for customers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<UnassignReason>,
    },
    Moved {
        queue: QueueId,
    },
    Paused,
    Resumed,
    Closed {
        outcome: CloseOutcome,
    },
    Reopened,
    Whisper {
        agent: AgentId,
        body: Text,
    },
    ParticipantJoined {
        agent: AgentId,
        as_role: Role,
    },
    ParticipantLeft {
        agent: AgentId,
        as_role: Role,
    },
    Scheduled {
        schedule: Schedule,
    },
    CallbackRequested {
        contact: String,
    },
    Rated {
        rating: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

impl EntryFrame {
    /// For a customer or for staff. `None`: not for this reader.
    pub fn of(entry: &Entry, for_customer: bool) -> Option<Self> {
        if for_customer && !entry.kind.for_customer() {
            return None;
        }
        let content = match &entry.kind {
            EntryKind::Message { author, body } => EntryContent::Message {
                author: author.into(),
                body: body.into(),
            },
            EntryKind::Note { agent, body } => EntryContent::Note {
                agent: *agent,
                body: body.into(),
            },
            EntryKind::Joined { agent } => EntryContent::Joined { agent: *agent },
            EntryKind::Left { agent, reason } => EntryContent::Left {
                agent: *agent,
                reason: (!for_customer).then(|| reason.clone()),
            },
            EntryKind::Moved { queue } => EntryContent::Moved { queue: *queue },
            EntryKind::Paused => EntryContent::Paused,
            EntryKind::Resumed => EntryContent::Resumed,
            EntryKind::Closed { outcome } => EntryContent::Closed { outcome: *outcome },
            EntryKind::Reopened => EntryContent::Reopened,
            EntryKind::Whisper { agent, body } => EntryContent::Whisper {
                agent: *agent,
                body: body.into(),
            },
            EntryKind::ParticipantJoined { agent, role } => EntryContent::ParticipantJoined {
                agent: *agent,
                as_role: *role,
            },
            EntryKind::ParticipantLeft { agent, role } => EntryContent::ParticipantLeft {
                agent: *agent,
                as_role: *role,
            },
            EntryKind::Scheduled { schedule } => EntryContent::Scheduled { schedule: *schedule },
            EntryKind::CallbackRequested { contact } => EntryContent::CallbackRequested {
                contact: contact.clone(),
            },
            EntryKind::Rated { rating, comment } => EntryContent::Rated {
                rating: *rating,
                comment: comment.clone(),
            },
        };
        let prev = if for_customer {
            entry.prev_for_customer
        } else {
            entry.seq - 1
        };
        Some(Self {
            conversation: entry.conversation,
            seq: entry.seq,
            prev,
            at_ms: entry.at_ms,
            content,
        })
    }
}

impl From<&Body> for Text {
    fn from(body: &Body) -> Self {
        Self {
            text: body.text.clone(),
            media_type: body.media_type.clone(),
        }
    }
}

/// A conversation. What is `None` or empty is not known, or not for this reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationFrame {
    /// Which.
    pub conversation: ConversationId,
    /// Its channel.
    pub channel: Channel,
    /// Where in its life. For customers an offer is still waiting, and wrap-up is closed.
    pub phase: Phase,
    /// Who owns it; for staff also to whom it is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Last entry that this reader may see.
    pub last_seq: Seq,
    /// Began.
    pub started_at_ms: Millis,
    /// Read cursors.
    pub read: Vec<ReadCursor>,
    /// Whose. From here on for staff only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Which queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueId>,
    /// 0–9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Of the offer or assignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Offer's or wrap-up's deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<Millis>,
    /// The customer is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_present: Option<bool>,
    /// Attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
}

/// How far somebody has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadCursor {
    /// Who.
    pub reader: Party,
    /// Up to where.
    pub seq: Seq,
}

impl ConversationFrame {
    /// For a customer or for staff.
    pub fn of(view: &ConversationView, for_customer: bool) -> Self {
        let read = view
            .read
            .iter()
            .map(|(reader, seq)| ReadCursor {
                reader: (*reader).into(),
                seq: *seq,
            })
            .collect();
        let mut frame = Self {
            conversation: view.conversation,
            channel: view.channel.clone(),
            phase: view.phase,
            agent: view.agent,
            last_seq: view.last_seq,
            started_at_ms: view.started_at_ms,
            read,
            customer: None,
            queue: None,
            priority: None,
            epoch: None,
            deadline_ms: None,
            customer_present: None,
            attributes: BTreeMap::new(),
        };
        if for_customer {
            frame.last_seq = view.last_seq_for_customer;
            frame.phase = match view.phase {
                Phase::Offered => Phase::Waiting,
                Phase::WrapUp => Phase::Closed,
                other => other,
            };
            if !matches!(view.phase, Phase::Assigned | Phase::Paused) {
                frame.agent = None;
            }
        } else {
            frame.customer = Some(view.customer.0.clone());
            frame.queue = view.queue;
            frame.priority = Some(view.priority);
            frame.epoch = Some(view.epoch);
            frame.deadline_ms = view.deadline_ms;
            frame.customer_present = Some(view.customer_present);
            frame.attributes = view
                .attributes
                .iter()
                .map(|(key, value)| (key.clone(), value.clone().into()))
                .collect();
        }
        frame
    }
}
