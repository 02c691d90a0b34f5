//! Entries of a transcript.

use routing::command::{Author, Principal, Role, Schedule, ScheduleUntil};
use routing::event::{CloseOutcome, Entry, EntryKind, UnassignReason};
use routing::ids::{AgentId, QueueId};
use serde::{Deserialize, Serialize};
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
    /// To the agents in the conversation; never shown to customers.
    Whisper {
        /// Whose.
        #[schema(value_type = String)]
        agent: AgentId,
        /// What it says.
        body: TextBody,
    },
    /// Somebody came in beside the owner, or changed role; customers see those who may write to them.
    ParticipantJoined {
        /// Who.
        #[schema(value_type = String)]
        agent: AgentId,
        /// As what.
        role: ParticipantRole,
    },
    /// They went.
    ParticipantLeft {
        /// Who.
        #[schema(value_type = String)]
        agent: AgentId,
        /// What they were.
        role: ParticipantRole,
    },
    /// Put off until later.
    Scheduled {
        /// Until when.
        schedule: ScheduleBody,
    },
    /// The customer asked to be called back.
    CallbackRequested {
        /// Where.
        contact: String,
    },
    /// The customer's rating; never shown to customers.
    Rated {
        /// 1–5.
        rating: u8,
        /// In their words.
        comment: Option<String>,
    },
}

/// What somebody beside customer and owner may do (R31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantRole {
    /// Reads all, writes to agents only; an agent.
    Consult,
    /// Reads all, writes to everybody; an agent.
    Conference,
    /// Reads all, writes nothing; a supervisor.
    Monitor,
    /// Reads all, writes to agents only; a supervisor.
    Whisper,
    /// Reads all, writes to everybody; a supervisor.
    Barge,
}

impl From<Role> for ParticipantRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Consult => Self::Consult,
            Role::Conference => Self::Conference,
            Role::Monitor => Self::Monitor,
            Role::Whisper => Self::Whisper,
            Role::Barge => Self::Barge,
        }
    }
}

impl From<ParticipantRole> for Role {
    fn from(role: ParticipantRole) -> Self {
        match role {
            ParticipantRole::Consult => Self::Consult,
            ParticipantRole::Conference => Self::Conference,
            ParticipantRole::Monitor => Self::Monitor,
            ParticipantRole::Whisper => Self::Whisper,
            ParticipantRole::Barge => Self::Barge,
        }
    }
}

/// Until when a conversation is put off (R33): `at_ms`, or `agent` (until they are available again) with `at_ms` as the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// When it begins to wait, or when at the latest; milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent: Option<AgentId>,
    /// For staff to say: whether it then takes the place of its original age.
    #[serde(default)]
    pub keep_age: bool,
}

impl From<Schedule> for ScheduleBody {
    fn from(schedule: Schedule) -> Self {
        let (at_ms, agent) = match schedule.until {
            ScheduleUntil::At { at_ms } => (at_ms, None),
            ScheduleUntil::AgentReturns { agent, latest_ms } => (latest_ms, Some(agent)),
        };
        Self {
            at_ms,
            agent,
            keep_age: schedule.keep_age,
        }
    }
}

impl From<ScheduleBody> for Schedule {
    fn from(body: ScheduleBody) -> Self {
        let until = match body.agent {
            None => ScheduleUntil::At { at_ms: body.at_ms },
            Some(agent) => ScheduleUntil::AgentReturns {
                agent,
                latest_ms: body.at_ms,
            },
        };
        Self {
            until,
            keep_age: body.keep_age,
        }
    }
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
    /// Somebody who takes part beside the owner, by id.
    Participant(String),
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
    Scheduled,
    OwnerFull,
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
    SilentAbandoned,
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
        EntryKind::Whisper { agent, body } => Kind::Whisper {
            agent: *agent,
            body: body.clone().into(),
        },
        EntryKind::ParticipantJoined { agent, role } => Kind::ParticipantJoined {
            agent: *agent,
            role: (*role).into(),
        },
        EntryKind::ParticipantLeft { agent, role } => Kind::ParticipantLeft {
            agent: *agent,
            role: (*role).into(),
        },
        EntryKind::Scheduled { schedule } => Kind::Scheduled {
            schedule: (*schedule).into(),
        },
        EntryKind::CallbackRequested { contact } => Kind::CallbackRequested {
            contact: contact.clone(),
        },
        EntryKind::Rated { rating, comment } => Kind::Rated {
            rating: *rating,
            comment: comment.clone(),
        },
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
        Author::Participant { agent } => AuthorBody::Participant(agent.to_string()),
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
            UnassignReason::Scheduled => Self::Scheduled,
            UnassignReason::OwnerFull => Self::OwnerFull,
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
            CloseOutcome::SilentAbandoned => Self::SilentAbandoned,
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
