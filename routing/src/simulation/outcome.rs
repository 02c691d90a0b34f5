//! What a simulation tells.

use std::collections::BTreeMap;

use crate::event::{CloseOutcome, Event};
use crate::ids::{AgentId, ConversationId, Millis, QueueId};
use crate::state::Tenant;

/// Who wants to know.
pub trait Sink {
    /// A conversation is over, or was refused, or is left over at the end.
    fn ended(&mut self, outcome: &Outcome);

    /// From one moment to another the tenant was like this: for averages over time.
    fn stood(&mut self, _from_ms: Millis, _until_ms: Millis, _tenant: &Tenant) {}

    /// Every event, as the state tells it.
    fn event(&mut self, _at_ms: Millis, _event: &Event) {}
}

/// One conversation's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub conversation: ConversationId,
    /// When it came.
    pub arrived_at_ms: Millis,
    /// The queue where it met its (first) agent, or else where it ended.
    pub queue: Option<QueueId>,
    /// When it was first offered to somebody, or assigned without asking.
    pub offered_at_ms: Option<Millis>,
    /// How often it was offered; 1 where the queue assigns without asking.
    pub offers: u32,
    /// When it first met an agent.
    pub answered_at_ms: Option<Millis>,
    /// It was offered before anything else happened: an agent was free for it when it came.
    pub offered_at_once: bool,
    /// Who served it (last).
    pub agent: Option<AgentId>,
    /// Until the first answer, or until it left or ended without one, as the state counts it.
    pub waited_ms: u64,
    /// With agents, wrap-up not counted.
    pub served_ms: u64,
    /// When it ended.
    pub ended_at_ms: Millis,
    /// How.
    pub end: End,
    /// It waited longer than is known that its customer would have: see [`super::Patience::AtLeast`].
    pub beyond_known_patience: bool,
}

/// How a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As the state says.
    Closed(CloseOutcome),
    /// It was not admitted; the rejection's code.
    Refused(&'static str),
    /// It had not ended when the simulation did.
    LeftOver,
}

/// What a run has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Conversations that came.
    pub arrivals: u64,
    /// Commands applied, refused ones included.
    pub commands: u64,
    /// Of these, offers that the queue manager proposed.
    pub offers: u64,
    /// Decisions of the queue manager that the state refused, by code. Nothing is in flight here, so there should be none.
    pub refused_decisions: BTreeMap<&'static str, u64>,
    /// What people did that the state refused, by code.
    pub refused_deeds: BTreeMap<&'static str, u64>,
}
