//! Why it was decided so, why it still waits (R39), and how long it will (R35).

use routing::command::Explanation;
use routing::ids::AgentId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::query::{WaitingPlace, Why};

/// Where a waiting conversation stands (R35).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WaitingBody {
    /// Its place in the order of its queue, from 1.
    pub position: u64,
    /// Half of those in its place wait no longer than this from now on; absent: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<u64>,
    /// Nine of ten wait no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90_ms: Option<u64>,
}

impl From<WaitingPlace> for WaitingBody {
    fn from(place: WaitingPlace) -> Self {
        Self {
            position: place.position,
            p50_ms: place.estimate.map(|estimate| estimate.p50_ms),
            p90_ms: place.estimate.map(|estimate| estimate.p90_ms),
        }
    }
}

/// Why a choice was made (R39).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Decision {
    /// Version of the tenant's policy.
    pub policy_version: u64,
    /// Agents that were considered.
    pub considered: u32,
    /// What removed how many of them.
    pub removed: Vec<Removed>,
    /// The best few, best first.
    pub best: Vec<Candidate>,
    /// What decided among the best.
    pub tie_break: String,
    /// Half, and nine of ten, were to wait at most so long when it began to wait (R35): milliseconds.
    pub estimate_ms: Option<[u64; 2]>,
    /// How many were matched together; 0: it was alone (R41).
    pub batch: u8,
    /// Its part of how much the scores of the batch were better than one by one; the parts of a batch add up to that.
    pub batch_gain: u32,
}

/// A predicate and how many agents it removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Removed {
    /// `presence`, `skill:billing`, `capacity`, `excluded`, `preference` …
    pub predicate: String,
    /// How many.
    pub agents: u32,
}

/// An agent who could have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Candidate {
    /// Who.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// Higher is better.
    pub score: i64,
}

fn removed_out(removed: &[(String, u32)]) -> Vec<Removed> {
    let one = |(predicate, agents): &(String, u32)| Removed {
        predicate: predicate.clone(),
        agents: *agents,
    };
    removed.iter().map(one).collect()
}

impl From<&Explanation> for Decision {
    fn from(explanation: &Explanation) -> Self {
        Self {
            policy_version: explanation.policy_version,
            considered: explanation.considered,
            removed: removed_out(&explanation.removed),
            best: explanation
                .best
                .iter()
                .map(|&(agent, score)| Candidate { agent, score })
                .collect(),
            tie_break: explanation.tie_break.clone(),
            estimate_ms: explanation.estimate.map(|estimate| [estimate.p50_ms, estimate.p90_ms]),
            batch: explanation.batch,
            batch_gain: explanation.batch_gain,
        }
    }
}

/// Why it was decided so, or why it still waits (R39).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WhyBody {
    /// In a sentence.
    pub summary: String,
    /// The whole of it, a sentence a fact.
    pub sentences: Vec<String>,
    /// For a decided conversation: the recorded explanation.
    pub decided: Option<Decision>,
    /// For a waiting one: its place in the order of its queue, from 1.
    pub position: Option<u64>,
    /// For a waiting one: what removes how many agents; asked about one agent: what stands against them.
    pub removed: Vec<Removed>,
}

impl From<Why> for WhyBody {
    fn from(why: Why) -> Self {
        Self {
            decided: why.decided.as_deref().map(Decision::from),
            position: why.position,
            removed: removed_out(&why.removed),
            summary: why.summary,
            sentences: why.sentences,
        }
    }
}
