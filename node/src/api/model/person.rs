//! Agents as shown, and presence.

use std::collections::BTreeMap;

use routing::command::PresenceChange;
use routing::ids::{AgentId, Channel};
use routing::view::Presence;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::conversation::Conversation;
use super::settings::AgentBody;
use crate::query::AgentRecord;

/// R29: what an agent says of themself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresenceWish {
    /// Ready for work.
    #[default]
    Available,
    /// Not ready, for a reason; keeps what is assigned.
    Away(String),
    /// Finishes what is assigned, then away.
    Draining,
}

impl From<PresenceWish> for PresenceChange {
    fn from(wish: PresenceWish) -> Self {
        match wish {
            PresenceWish::Available => Self::Available,
            PresenceWish::Away(reason) => Self::Away(reason),
            PresenceWish::Draining => Self::Draining,
        }
    }
}

/// R29, R30: an agent's presence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresenceBody {
    /// Signed out.
    Offline,
    /// Ready for work.
    Available,
    /// Not ready, for a reason.
    Away(String),
    /// Finishing, then away.
    Draining,
    /// All connections gone; conversations are held until then.
    Suspect {
        /// End of the hold.
        until_ms: u64,
    },
}

impl From<&Presence> for PresenceBody {
    fn from(presence: &Presence) -> Self {
        match presence {
            Presence::Offline => Self::Offline,
            Presence::Available => Self::Available,
            Presence::Away(reason) => Self::Away(reason.clone()),
            Presence::Draining => Self::Draining,
            Presence::Suspect { until_ms, .. } => Self::Suspect { until_ms: *until_ms },
        }
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Agent {
    /// Which.
    #[schema(value_type = String, example = "agt_0192e4a5b6c77d8e9f00112233445566")]
    pub id: AgentId,
    /// As set.
    pub settings: AgentBody,
    /// Presence.
    pub presence: PresenceBody,
    /// Conversations held, per channel.
    pub load: BTreeMap<String, u16>,
    /// Units of capacity in use.
    pub used: u32,
    /// Last item of the agent's stream.
    pub agent_seq: u64,
}

impl From<&AgentRecord> for Agent {
    fn from(record: &AgentRecord) -> Self {
        Self {
            id: record.agent,
            settings: AgentBody::from(&*record.settings),
            presence: (&record.presence).into(),
            load: record
                .load
                .iter()
                .map(|(Channel(channel), count)| (channel.clone(), *count))
                .collect(),
            used: record.used,
            agent_seq: record.agent_seq,
        }
    }
}

/// A page of agents, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AgentPage {
    /// These.
    pub agents: Vec<Agent>,
    /// Give this as `cursor` to get more; absent: there are no more.
    pub next_cursor: Option<String>,
}

/// As what somebody calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RoleName {
    Customer,
    Agent,
    Supervisor,
}

/// Who the caller is, and what is before them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Me {
    /// As what.
    pub role: RoleName,
    /// The tenant.
    pub tenant: String,
    /// A customer's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// An agent's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// An agent's desk (offered, assigned, paused, in wrap-up), or a customer's first conversations.
    pub conversations: Vec<Conversation>,
}
