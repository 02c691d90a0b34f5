//! Entries of a transcript.

use routing::command::{Author, Principal};
use routing::event::{CloseOutcome, Entry, EntryKind, UnassignReason};
use routing::ids::{AgentId, QueueId};
use serde::Serialize;
use utoipa::ToSchema;

use super::conversation::TextBody;
use crate::access::Identity;

/// A durable entry of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EntryBody {
    /// From 1; all kinds share it.
    pub seq: u64,
    /// The last seq before it that the caller may see (0: none): another one means a gap.
    pub prev: u64,
    /// When.
    pub at_ms: u64,
    /// What.
    pub kind: Kind,
}

/// What an entry records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A message.
    Message {
        /// Whose.
        author: AuthorBody,
        /// What it says.
        body: TextBody,
    },
    /// A note; never shown to customers.
    Note {
        /// Whose.
        #[schema(value_type = String)]
        agent: AgentId,
        /// What it says.
        body: TextBody,
    },
    /// An agent joined.
    Joined {
        /// Who.
        #[schema(value_type = String)]
        agent: AgentId,
    },
    /// An agent left.
    Left {
        /// Who.
        #[schema(value_type = String)]
        agent: AgentId,
        /// Why.
        reason: Reason,
    },
    /// Moved to a queue; never shown to customers.
    Moved {
        /// Where.
        #[schema(value_type = String)]
        queue: QueueId,
    },
    /// Paused.
    Paused,
    /// Resumed.
    Resumed,
    /// Closed.
    Closed {
        /// How.
        outcome: Outcome,
    },
    /// Reopened.
    Reopened,
}

/// Whose message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthorBody {
    /// The conversation's customer.
    Customer,
    /// An agent, by id.
    Agent(String),
    /// A supervisor (an agent's id) or an administrator (a name); customers are told neither.
    Supervisor(Option<String>),
    /// The system itself.
    System,
}

/// Why an agent left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Reason {
    Closed,
    Transferred,
    NoReply,
    LeaseLost,
    SignedOut,
    Reassigned,
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Outcome {
    Answered,
    Abandoned,
    ShortAbandoned,
    Offline,
    Cancelled,
}

impl EntryBody {
    /// The entry as this caller may see it; `None` when they may not.
    pub fn shown(entry: &Entry, to: &Identity) -> Option<Self> {
        to.sees(entry).then(|| Self {
            seq: entry.seq,
            prev: to.prev(entry),
            at_ms: entry.at_ms,
            kind: kind(&entry.kind, to),
        })
    }
}

fn kind(kind: &EntryKind, to: &Identity) -> Kind {
    match kind {
        EntryKind::Message { author, body } => Kind::Message {
            author: shown_author(author, to),
            body: body.clone().into(),
        },
        EntryKind::Note { agent, body } => Kind::Note {
            agent: *agent,
            body: body.clone().into(),
        },
        EntryKind::Joined { agent } => Kind::Joined { agent: *agent },
        EntryKind::Left { agent, reason } => Kind::Left {
            agent: *agent,
            reason: reason.into(),
        },
        EntryKind::Moved { queue } => Kind::Moved { queue: *queue },
        EntryKind::Paused => Kind::Paused,
        EntryKind::Resumed => Kind::Resumed,
        EntryKind::Closed { outcome } => Kind::Closed {
            outcome: (*outcome).into(),
        },
        EntryKind::Reopened => Kind::Reopened,
    }
}

fn shown_author(author: &Author, to: &Identity) -> AuthorBody {
    match author {
        Author::Customer => AuthorBody::Customer,
        Author::Agent { agent, .. } => AuthorBody::Agent(agent.to_string()),
        Author::Supervisor(_) if to.customer().is_some() => AuthorBody::Supervisor(None),
        Author::Supervisor(Principal::Agent(agent)) => AuthorBody::Supervisor(Some(agent.to_string())),
        Author::Supervisor(Principal::Admin(name)) => AuthorBody::Supervisor(Some(name.clone())),
        Author::Supervisor(Principal::Customer(_)) => AuthorBody::Supervisor(None),
        Author::System => AuthorBody::System,
    }
}

impl From<&UnassignReason> for Reason {
    fn from(reason: &UnassignReason) -> Self {
        match reason {
            UnassignReason::Closed => Self::Closed,
            UnassignReason::Transferred => Self::Transferred,
            UnassignReason::NoReply => Self::NoReply,
            UnassignReason::LeaseLost => Self::LeaseLost,
            UnassignReason::SignedOut => Self::SignedOut,
            UnassignReason::Reassigned => Self::Reassigned,
        }
    }
}

impl From<CloseOutcome> for Outcome {
    fn from(outcome: CloseOutcome) -> Self {
        match outcome {
            CloseOutcome::Answered => Self::Answered,
            CloseOutcome::Abandoned => Self::Abandoned,
            CloseOutcome::ShortAbandoned => Self::ShortAbandoned,
            CloseOutcome::Offline => Self::Offline,
            CloseOutcome::Cancelled => Self::Cancelled,
        }
    }
}

/// A page of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EntryPage {
    /// In order of `seq`.
    pub entries: Vec<EntryBody>,
    /// Give this as `after` to get more; absent: there are no more now.
    pub next_after: Option<u64>,
}
