//! What an operator sets for a tenant: queues, agents, skills, rules. Durations in milliseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, Channel, QueueId, SkillName};

/// In which order a queue's conversations are served. Ties go to the older, then to the earlier command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// R11: the higher priority first, regardless of age.
    #[default]
    StrictPriority,
    /// R12: each step of priority is worth so much age.
    LinearAgeing {
        /// Age that one step of priority outweighs.
        step_ms: u64,
    },
}

/// R8: who gets a conversation, among those who may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentChoice {
    /// Who has been without new work for longest.
    #[default]
    LongestIdle,
    /// Lowest ratio of used to total capacity; tie: longest idle.
    LeastLoaded,
    /// Highest sum of levels in the skills asked for (required and preferred); tie: longest idle.
    MostSkilled,
    /// In turn, by id.
    RoundRobin,
}

/// R28: what follows the end of an assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrapUp {
    /// Capacity is free at once.
    #[default]
    None,
    /// Ends by itself, or earlier by hand.
    Timed {
        /// Length.
        length_ms: u64,
        /// All extensions together.
        extension_max_ms: u64,
    },
    /// Ends by hand, or at the latest after so long.
    Manual {
        /// Longest length.
        longest_ms: u64,
    },
}

/// R23: what happens to who comes when the queue is full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtCap {
    /// The conversation is refused (`queue_full`), or goes to the next queue that the command names.
    #[default]
    Refuse,
    /// The conversation is kept, closed with outcome `offline`, and this text is its first entry.
    Offline {
        /// Said to the customer.
        text: String,
    },
}

/// R27: what happens to who has waited for long, or when the queue is long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// When.
    pub when: EscalateWhen,
    /// What.
    pub action: EscalateAction,
}

/// When an escalation step is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalateWhen {
    /// The conversation has waited for so long in this queue.
    WaitedMs(u64),
    /// More than so many wait in the queue at the moment when the conversation joins it.
    LongerThan(u32),
}

/// What an escalation step does. Age and place are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalateAction {
    /// Sets the priority, if it is lower.
    RaisePriority(u8),
    /// Moves the conversation to another queue.
    MoveQueue(QueueId),
}

/// R26: what happens when the agent does not answer a customer's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoReply {
    /// After so long without an agent's message.
    pub after_ms: u64,
    /// The agent is not offered it again for so long.
    pub exclude_ms: u64,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Name, unique within the tenant.
    pub name: String,
    /// R11, R12.
    pub order: Order,
    /// R8.
    pub choice: AgentChoice,
    /// R24: how long an agent may think about an offer.
    pub offer_timeout_ms: u64,
    /// R24: assigned without asking.
    pub auto_accept: bool,
    /// R24: not offered again to who declined it, or let it time out, for so long.
    pub decline_exclude_ms: u64,
    /// R24: the agent goes away after so many timeouts in a row (0: never).
    pub timeouts_until_away: u8,
    /// R23: longest length (0: no cap).
    pub length_max: u32,
    /// R23: nobody is admitted while the oldest has waited longer than this (0: no cap).
    pub wait_max_ms: u64,
    /// R23.
    pub at_cap: AtCap,
    /// R26.
    pub no_reply: Option<NoReply>,
    /// R27, in order.
    pub escalations: Vec<Escalation>,
    /// R28.
    pub wrap_up: WrapUp,
    /// R32: how long a customer who left keeps the place.
    pub abandon_hold_ms: u64,
    /// R32: who leaves earlier than this counts as a short abandon.
    pub short_abandon_ms: u64,
    /// A closed conversation may be reopened for so long.
    pub reopen_window_ms: u64,
    /// Service-level target (T), for the KPIs.
    pub answer_target_ms: u64,
}

impl QueueSettings {
    /// Settings that suit a chat queue; only the name is the caller's.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            order: Order::default(),
            choice: AgentChoice::default(),
            offer_timeout_ms: 20_000,
            auto_accept: false,
            decline_exclude_ms: 60_000,
            timeouts_until_away: 3,
            length_max: 0,
            wait_max_ms: 0,
            at_cap: AtCap::default(),
            no_reply: None,
            escalations: Vec::new(),
            wrap_up: WrapUp::default(),
            abandon_hold_ms: 60_000,
            short_abandon_ms: 5_000,
            reopen_window_ms: 24 * 3_600_000,
            answer_target_ms: 30_000,
        }
    }
}

/// R17–R19: what one channel takes of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCapacity {
    /// R17: at most so many at once.
    pub concurrent_max: u16,
    /// R18: units of the agent's total that one takes.
    pub cost: u32,
    /// R19: nothing else beside it.
    pub exclusive: bool,
}

/// An agent's capacity. A channel that is not named here is not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// R18: units in all.
    pub total: u32,
    /// Per channel.
    pub channels: BTreeMap<Channel, ChannelCapacity>,
}

/// An agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Name, unique within the tenant; the `sub` of the agent's tokens.
    pub name: String,
    /// Skills and levels 1–10.
    pub skills: BTreeMap<SkillName, u8>,
    /// Queues that the agent serves.
    pub queues: Vec<QueueId>,
    /// R17–R19.
    pub capacity: Capacity,
    /// R10: may take a chosen waiting conversation.
    pub may_pull: bool,
    /// May assign by hand, override, and act on others' conversations.
    pub supervisor: bool,
    /// R30: how long conversations are held for an agent whose connections are gone.
    pub lease_hold_ms: u64,
}

/// A skill that a conversation asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// Which.
    pub skill: SkillName,
    /// At least this level (1–10).
    pub level: u8,
}

/// R7: an agent to wait for before anyone else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// Who.
    pub agent: AgentId,
    /// For so long; then anybody.
    pub wait_ms: u64,
}

/// R1: what classification gives a conversation; evaluated before the log, carried in the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classification {
    /// In order of admission: the first that admits it takes it. Never empty in a valid command.
    pub queues: Vec<QueueId>,
    /// 0–9, 9 first.
    pub priority: u8,
    /// R2: needed.
    pub required: Vec<Requirement>,
    /// R2: adds to the score.
    pub preferred: Vec<Requirement>,
    /// R7.
    pub preferred_agent: Option<Preference>,
    /// The rule that matched, for the explanation.
    pub rule: Option<String>,
}

/// R1: one rule; kept in the state, evaluated in `node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Name, unique in the list.
    pub name: String,
    /// A CEL expression over the conversation's attributes that gives a boolean.
    pub when: String,
    /// Each rule may be one part of a split: (weight, classification). One part is the usual case. Which part is
    /// taken is drawn at the gateway and recorded in the command.
    pub parts: Vec<(u32, Classification)>,
}
