//! A trace: what happened in a period, without a word of what was said.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::command::Value;
use routing::event::{CloseOutcome, ConversationView};
use routing::ids::{AgentId, Channel, ConversationId, Millis, QueueId};
use routing::settings::{AgentSettings, Policy, Requirement, Selector};
use routing::view::Presence;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Version of the file's format.
pub const TRACE_FORMAT: u16 = 1;

/// A period of a tenant, as a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// [`TRACE_FORMAT`].
    pub kaiwa_trace: u16,
    /// Name of the tenant.
    pub tenant: String,
    /// First millisecond.
    pub from_ms: Millis,
    /// First millisecond after it.
    pub until_ms: Millis,
    /// What was set when the trace was exported.
    pub setting: Setting,
    /// Changes of presence up to `until_ms`, in order of time: those before the period say who was there when it began.
    pub presences: Vec<(AgentId, Millis, Presence)>,
    /// Conversations that began in the period and have ended, in the order of their beginning.
    pub conversations: Vec<TracedConversation>,
}

/// What was set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// All that decides routing but the agents.
    #[schema(value_type = Object)]
    pub policy: Box<Policy>,
    /// The agents.
    #[schema(value_type = Vec<Object>)]
    pub agents: Vec<(AgentId, Arc<AgentSettings>)>,
}

/// One conversation, as it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TracedConversation {
    /// Which.
    #[schema(value_type = String)]
    pub conversation: ConversationId,
    /// Its channel.
    #[schema(value_type = String)]
    pub channel: Channel,
    /// When it began.
    pub started_at_ms: Millis,
    /// The rule that classified it.
    pub rule: Option<String>,
    /// The first queue that admitted it; absent: none did.
    #[schema(value_type = Option<String>)]
    pub entered: Option<QueueId>,
    /// 0–9, as it was at the end.
    pub priority: u8,
    /// What it asked for at the start.
    #[schema(value_type = Vec<Object>)]
    pub required: Vec<Requirement>,
    /// What it wished for at the start.
    #[schema(value_type = Vec<Object>)]
    pub preferred: Vec<Requirement>,
    /// What the agent had to be.
    #[schema(value_type = Vec<Object>)]
    pub selectors: Vec<Selector>,
    /// Attributes, for the rules of another policy.
    #[schema(value_type = Object)]
    pub attributes: BTreeMap<String, Value>,
    /// When it first met an agent.
    pub answered_at_ms: Option<Millis>,
    /// When it ended.
    pub ended_at_ms: Option<Millis>,
    /// How it ended.
    #[schema(value_type = Option<String>)]
    pub outcome: Option<CloseOutcome>,
    /// Time with agents, wrap-up too.
    pub served_ms: u64,
}

impl From<&ConversationView> for TracedConversation {
    fn from(view: &ConversationView) -> Self {
        Self {
            conversation: view.conversation,
            channel: view.channel.clone(),
            started_at_ms: view.started_at_ms,
            rule: view.rule.clone(),
            entered: view.entered,
            priority: view.priority,
            required: view.required.clone(),
            preferred: view.preferred.clone(),
            selectors: view.selectors.clone(),
            attributes: (*view.attributes).clone(),
            answered_at_ms: view.answered_at_ms,
            ended_at_ms: view.ended_at_ms,
            outcome: view.outcome,
            served_ms: view.served_ms,
        }
    }
}
