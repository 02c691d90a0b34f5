//! What a conversation asks for, and the rules that say so (R1).

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, QueueId, SkillName};

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
