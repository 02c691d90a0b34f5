//! Questions to a tenant's state, as they travel between nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::command::WaitEstimate;
use routing::event::{AgentItem, ConversationView, Entry};
use routing::ids::{AgentId, ConversationId, CustomerId, Millis, QueueId, Seq, SkillName};
use routing::settings::{AgentSettings, Classification, Policy, QueueSettings, Rule};
use routing::view::Presence;
use serde::{Deserialize, Serialize};

use crate::reports::{LiveReport, ReportLine, ReportQuestion};

/// A question. Answers are linearizable: they show everything acknowledged before the question was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Query {
    /// → [`Answer::Conversation`]. Closed ones too, also after they left the state.
    Conversation(ConversationId),
    /// → [`Answer::Conversations`], by id, after a cursor.
    Conversations {
        filter: ConversationFilter,
        after: Option<ConversationId>,
        limit: usize,
    },
    /// → [`Answer::Entries`]: those after `after`, in order.
    Entries {
        conversation: ConversationId,
        after: Seq,
        limit: usize,
    },
    /// → [`Answer::Agent`].
    Agent(AgentId),
    /// → [`Answer::Agents`], by id.
    Agents { after: Option<AgentId>, limit: usize },
    /// → [`Answer::Agent`].
    AgentNamed(String),
    /// → [`Answer::AgentStream`]: items after `after`, and the desk as it is.
    AgentStream { agent: AgentId, after: u64 },
    /// → [`Answer::Queues`].
    Queues,
    /// → [`Answer::Skills`].
    Skills,
    /// → [`Answer::Rules`].
    Rules,
    /// → [`Answer::Conversations`]: closed ones that began in `[from_ms, until_ms)`, in the order of their ids, after a cursor.
    Closed {
        from_ms: Millis,
        until_ms: Millis,
        after: Option<ConversationId>,
        limit: usize,
    },
    /// → [`Answer::Presences`]: changes of presence in `[from_ms, until_ms)`, in order; at most `limit`.
    Presences {
        from_ms: Millis,
        until_ms: Millis,
        limit: usize,
    },
    /// → [`Answer::Setting`].
    Setting,
    /// → [`Answer::Policy`]: the one in force, or a version that is kept.
    Policy { version: Option<u64> },
    /// → [`Answer::PolicyVersions`].
    PolicyVersions,
    /// → [`Answer::Why`]; asked of the leader. R39: for a waiting conversation, why not (that agent) yet; for a decided one, why so.
    Why {
        conversation: ConversationId,
        agent: Option<AgentId>,
    },
    /// → [`Answer::Report`]: KPIs of a period.
    Report(ReportQuestion),
    /// → [`Answer::ReportLive`]: KPIs now.
    ReportLive,
    /// → [`Answer::Waiting`]; asked of the leader. R35: where a waiting conversation stands.
    Waiting { conversation: ConversationId },
}

/// A version of the policy, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersionRecord {
    /// From 1.
    pub version: u64,
    /// Index of the log at which it came into force.
    pub index: u64,
    /// When.
    pub at_ms: Millis,
    /// Who changed it, when the command said so.
    pub by: Option<routing::command::Principal>,
    /// Why.
    pub note: String,
    /// Which parts it changed: `queue support`, `rules`, …
    pub changed: Vec<String>,
}

/// Which conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ConversationFilter {
    All,
    Customer(CustomerId),
    Agent(AgentId),
    /// Waiting or offered in a queue.
    Queue(QueueId),
}

/// An answer; its variant goes with that of the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Answer {
    Conversation(Option<ConversationView>),
    Conversations(Vec<ConversationView>),
    Entries(Vec<Entry>),
    Agent(Option<AgentRecord>),
    Agents(Vec<AgentRecord>),
    AgentStream(AgentStream),
    Queues(Vec<QueueRecord>),
    Skills(BTreeMap<SkillName, String>),
    Rules {
        rules: Vec<Rule>,
        fallback: Option<Classification>,
    },
    Why(Why),
    /// (agent, when, what they became).
    Presences(Vec<(AgentId, Millis, Presence)>),
    /// All that decides routing, and the agents.
    Setting {
        policy: Box<Policy>,
        agents: Vec<(AgentId, Arc<AgentSettings>)>,
    },
    Report(Vec<ReportLine>),
    ReportLive(Box<LiveReport>),
    /// `None`: it does not wait.
    Waiting(Option<WaitingPlace>),
    /// The policy, if it is kept, and its version.
    Policy {
        version: u64,
        policy: Option<Box<Policy>>,
    },
    /// Oldest first.
    PolicyVersions(Vec<PolicyVersionRecord>),
}

/// R35: where a waiting conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingPlace {
    /// Its place in the order of its queue, from 1.
    pub position: u64,
    /// How long it will go on waiting, from now; `None`: too little is known of the queue.
    pub estimate: Option<WaitEstimate>,
}

/// An agent, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Which.
    pub agent: AgentId,
    /// As set.
    pub settings: Arc<AgentSettings>,
    /// Presence.
    pub presence: Presence,
    /// Conversations held, per channel.
    pub load: BTreeMap<routing::ids::Channel, u16>,
    /// Units in use.
    pub used: u32,
    /// Last item of the agent's stream.
    pub agent_seq: u64,
}

/// An agent's stream and desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStream {
    /// Items after the cursor, without gap; empty with `gap` when the cursor is too old.
    pub items: Vec<AgentItem>,
    /// The cursor was too old (or from the future): take `desk` instead.
    pub gap: bool,
    /// Where the stream stands.
    pub agent_seq: u64,
    /// Presence.
    pub presence: Presence,
    /// What is offered to, assigned to, paused with, or wrapped up by the agent.
    pub desk: Vec<ConversationView>,
}

/// A queue, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    /// Which.
    pub queue: QueueId,
    /// As set.
    pub settings: Arc<QueueSettings>,
    /// Conversations that wait.
    pub waiting: u64,
    /// Since when the oldest waits.
    pub oldest_since_ms: Option<Millis>,
}

/// R39.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// For a decided conversation: the recorded explanation.
    pub decided: Option<Arc<routing::command::Explanation>>,
    /// For a waiting one: its place in the order of its queue, from 1.
    pub position: Option<u64>,
    /// For a waiting one: predicates and how many agents each removes; for one agent: the predicates that fail (count 1).
    pub removed: Vec<(String, u32)>,
    /// In a sentence.
    pub summary: String,
    /// The whole of it, a sentence a fact.
    pub sentences: Vec<String>,
}
