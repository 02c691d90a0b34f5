//! Conversations and entries as a role may see them.

use std::collections::BTreeMap;

use routing::command::{Author, Body, Principal, Reader, Role};
use routing::event::{CloseOutcome, ConversationView, Entry, EntryKind, Phase, UnassignReason};
use routing::ids::{AgentId, Channel, ConversationId, Epoch, Millis, QueueId, Seq};
use serde::{Deserialize, Serialize};

use super::{Attribute, Text};
use crate::access::visible_to_customer;

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
    Scheduled(ScheduledFor),
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
            EntryKind::Scheduled { schedule } => EntryContent::Scheduled((*schedule).into()),
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
    /// Read cursors: for customers, theirs and those of who speaks to them.
    pub read: Vec<ReadCursor>,
    /// Who takes part beside customer and owner; customers are told of those who speak to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<Participant>,
    /// R33: put off until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduledFor>,
    /// R33: where the customer wants to be called back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// The customer's rating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
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
    /// To whom else it is offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_offered: Vec<AgentId>,
    /// Who is asked in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invited: Vec<Invited>,
    /// The rule that classified it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How many steps of relaxation were taken in this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxed: Option<u8>,
}

/// R31: somebody beside customer and owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Who.
    pub agent: AgentId,
    /// As what.
    pub role: Role,
}

/// R31: somebody who is asked in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// Who.
    pub agent: AgentId,
    /// As what.
    pub role: Role,
    /// Until when they may answer.
    pub deadline_ms: Millis,
}

/// R33: until `at_ms`, or until `agent` is available again and at the latest until `at_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledFor {
    /// When, or when at the latest.
    pub at_ms: Millis,
    /// Who is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Whether it then takes the place of its original age.
    #[serde(default)]
    pub keep_age: bool,
}

/// R35: where a waiting conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its place in the order of its queue, from 1.
    pub position: u64,
    /// Half of those in its place wait no longer than this from now on; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<u64>,
    /// Nine of ten wait no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90_ms: Option<u64>,
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
        let known = |agent: AgentId| !for_customer || visible_to_customer(agent, view);
        let read = view
            .read
            .iter()
            .filter(|(reader, _)| match reader {
                Reader::Customer => true,
                Reader::Agent(agent) => known(*agent),
            })
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
            participants: view
                .participants
                .iter()
                .filter(|(_, role)| !for_customer || role.for_customer())
                .map(|&(agent, role)| Participant { agent, role })
                .collect(),
            schedule: view.schedule.map(Into::into),
            callback: view.callback.clone(),
            rating: view.rating,
            customer: None,
            queue: None,
            priority: None,
            epoch: None,
            deadline_ms: None,
            customer_present: None,
            attributes: BTreeMap::new(),
            also_offered: Vec::new(),
            invited: Vec::new(),
            rule: None,
            relaxed: None,
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
            frame.also_offered = view.also_offered.clone();
            let invited = view.invited.iter().map(|&(agent, role, deadline_ms)| Invited {
                agent,
                role,
                deadline_ms,
            });
            frame.invited = invited.collect();
            frame.rule = view.rule.clone();
            frame.relaxed = Some(view.relaxed.count_ones() as u8);
        }
        frame
    }
}
