//! Deterministic refusals. Never remembered by the idempotency windows.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CalendarId, ConversationId, Epoch, QueueId};

/// Why a command was refused. Nothing has changed. [`Rejection::code`] is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Rejection {
    #[error("there is no such tenant in this shard")]
    UnknownTenant,
    #[error("there is no conversation {0}")]
    UnknownConversation(ConversationId),
    #[error("there is no agent {0}")]
    UnknownAgent(AgentId),
    #[error("there is no queue {0}")]
    UnknownQueue(QueueId),
    #[error("there is no skill `{0}`")]
    UnknownSkill(String),
    #[error("{what} already exists")]
    AlreadyExists { what: String },
    #[error("{what} is still in use: {by}")]
    InUse { what: String, by: String },
    #[error("the conversation is {is}; this needs it {needs}")]
    WrongState { is: String, needs: String },
    #[error("the agent is {is}; this needs them {needs}")]
    WrongPresence { is: String, needs: String },
    #[error("epoch {} is not the current one, {}", given.0, current.0)]
    StaleEpoch { given: Epoch, current: Epoch },
    #[error("this offer was taken by another agent")]
    OfferTaken,
    #[error("this offer is over: {why}")]
    OfferOver { why: String },
    #[error("the agent has no room for it: {why}")]
    NoCapacity { why: String },
    #[error("the agent is not eligible: {why}")]
    NotEligible { why: String },
    #[error("not permitted: {why}")]
    NotPermitted { why: String },
    #[error("the deadline has not passed yet: {due_ms} is later than {at_ms}")]
    NotDue { due_ms: u64, at_ms: u64 },
    #[error("nothing of the kind is outstanding")]
    NothingOutstanding,
    #[error("the queue is full")]
    QueueFull(QueueId),
    #[error("{what} is {is}; at most {max}")]
    TooLarge { what: String, is: u64, max: u64 },
    #[error("{what}: {why}")]
    Invalid { what: String, why: String },
    #[error("the reopening window ended at {until_ms}")]
    TooLateToReopen { until_ms: u64 },
    #[error("command {number} is older than the window of its key")]
    TooOld { number: u64 },
    #[error("the version {0} of the command format is not supported here")]
    UnsupportedVersion(u16),
    #[error("the queue is closed{}", opens_ms.map(|ms| format!(": it opens at {ms}")).unwrap_or_default())]
    QueueClosed { queue: QueueId, opens_ms: Option<u64> },
    #[error("version {current} is in force, not {expected}")]
    StaleVersion { expected: u64, current: u64 },
    #[error("there is no calendar {0}")]
    UnknownCalendar(CalendarId),
    #[error("the agent does not take part in this conversation")]
    NotAParticipant,
}

impl Rejection {
    /// Stable code for clients, snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownTenant => "unknown_tenant",
            Self::UnknownConversation(_) => "unknown_conversation",
            Self::UnknownAgent(_) => "unknown_agent",
            Self::UnknownQueue(_) => "unknown_queue",
            Self::UnknownSkill(_) => "unknown_skill",
            Self::AlreadyExists { .. } => "already_exists",
            Self::InUse { .. } => "in_use",
            Self::WrongState { .. } => "wrong_state",
            Self::WrongPresence { .. } => "wrong_presence",
            Self::StaleEpoch { .. } => "stale_epoch",
            Self::OfferTaken => "offer_taken",
            Self::OfferOver { .. } => "offer_over",
            Self::NoCapacity { .. } => "no_capacity",
            Self::NotEligible { .. } => "not_eligible",
            Self::NotPermitted { .. } => "not_permitted",
            Self::NotDue { .. } => "not_due",
            Self::NothingOutstanding => "nothing_outstanding",
            Self::QueueFull(_) => "queue_full",
            Self::TooLarge { .. } => "too_large",
            Self::Invalid { .. } => "invalid",
            Self::TooLateToReopen { .. } => "too_late_to_reopen",
            Self::TooOld { .. } => "too_old",
            Self::UnsupportedVersion(_) => "unsupported_version",
            Self::QueueClosed { .. } => "queue_closed",
            Self::StaleVersion { .. } => "stale_version",
            Self::UnknownCalendar(_) => "unknown_calendar",
            Self::NotAParticipant => "not_a_participant",
        }
    }
}
