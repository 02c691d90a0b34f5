//! The decider of one tenant, on its shard's leader: who should be offered what, and which deadline has passed.

use crate::command::Command;
use crate::event::Event;
use crate::ids::{AgentId, ConversationId, Millis, QueueId};
use crate::rejection::Rejection;
use crate::view::Views;

/// Names a decision of one queue manager until it is settled; numbers start again with the next queue manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(pub u64);

/// A command that should be proposed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// For [`QueueManager::settle`].
    pub id: DecisionId,
    /// [`Command::Offer`] or [`Command::Fire`].
    pub command: Command,
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Committed and applied.
    Applied,
    /// Committed and refused by the state, or never proposed.
    Rejected(Rejection),
    /// Nobody can say yet: kept until [`QueueManager::barrier_passed`].
    Unknown,
}

/// R39: why a waiting conversation is not offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyNot {
    /// Which.
    pub conversation: ConversationId,
    /// Where it waits.
    pub queue: QueueId,
    /// Version of the queue's policy.
    pub policy_version: u64,
    /// How many of its queue are before it in the order (held ones not counted).
    pub ahead: u64,
    /// What keeps it from being offered to anybody: `held` (the customer is gone), `proposed` (a decision is on its way).
    pub withheld: Vec<&'static str>,
    /// Agents that were considered (members of the queue).
    pub considered: u32,
    /// Agents that could take it now.
    pub eligible: u32,
    /// What removes the others, by the first predicate that fails, and how many.
    pub removed: Vec<(String, u32)>,
    /// The agent that was asked about.
    pub agent: Option<AgentWhyNot>,
}

/// R39: why not this agent?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentWhyNot {
    /// Who.
    pub agent: AgentId,
    /// Each predicate that fails (`unknown`, `presence`, `queue`, `skill:billing`, `channel`, `capacity`, `excluded`, `preference`); none: eligible.
    pub failed: Vec<String>,
}

/// What the metrics tell of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFigures {
    /// Which.
    pub queue: QueueId,
    /// Waiting, by priority 0–9 (held ones too).
    pub depth: [u32; 10],
    /// Age of the oldest that waits.
    pub oldest_since_ms: Option<Millis>,
    /// Members, by presence.
    pub agents: AgentFigures,
    /// Conversations that the available members could take at most, were they idle.
    pub slots: u32,
    /// Conversations that they could still take.
    pub free_slots: u32,
    /// The same, of those members alone whom something that waits in this queue could be offered to.
    pub eligible_free_slots: u32,
}

/// Members of a queue by presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AgentFigures {
    pub available: u32,
    pub away: u32,
    pub draining: u32,
    pub suspect: u32,
    pub offline: u32,
}

/// The decider of one tenant.
#[derive(Debug)]
pub struct QueueManager {
    start: u64,
}

impl QueueManager {
    /// Starts from what there is, at index 0.
    pub fn new(views: Views) -> Self {
        Self::starting_at(0, views)
    }

    /// Starts from what there was at `index`: events up to and with it are in `views` and will be ignored.
    pub fn starting_at(index: u64, views: Views) -> Self {
        let _ = views;
        Self { start: index }
    }

    /// Learns an event of the log entry `index`. Every event of an entry is told, in order, before the next [`Self::decide`];
    /// those that are not for it are ignored.
    pub fn observe(&mut self, index: u64, event: &Event) {
        let _ = (index <= self.start, event);
    }

    /// At most `limit` commands that should be proposed now: fired timers first, then offers. Each is remembered, and what it
    /// offers is reserved, until it is settled.
    pub fn decide(&mut self, now_ms: Millis, limit: usize) -> Vec<Decision> {
        let _ = (now_ms, limit);
        Vec::new()
    }

    /// Tells what became of a decision; before or after its events, in either order.
    pub fn settle(&mut self, id: DecisionId, result: Settled) {
        let _ = (id, result);
    }

    /// A read barrier has passed, and every event up to it was observed: decisions whose result was unknown are forgotten.
    pub fn barrier_passed(&mut self) {}

    /// The earliest moment at which [`Self::decide`] has something to say without a further event; `None`: never.
    pub fn next_wakeup(&self) -> Option<Millis> {
        None
    }

    /// R39: why a conversation still waits, and why `agent` does not get it; `None` when it does not wait.
    pub fn explain(&self, conversation: ConversationId, agent: Option<AgentId>) -> Option<WhyNot> {
        let _ = (conversation, agent);
        None
    }

    /// For the metrics: a pass over agents and waiting conversations, for every few seconds, not for every event.
    pub fn queue_figures(&self) -> Vec<QueueFigures> {
        Vec::new()
    }
}
