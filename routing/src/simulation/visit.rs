//! A conversation while it is open, and what its people will do.

use super::outcome::{End, Outcome};
use super::workload::{Arrival, Patience};
use crate::ids::{AgentId, ConversationId, Epoch, Millis, QueueId};

/// What somebody will do at a moment that is known already.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// The customer has waited long enough.
    Leaves,
    /// The agent is done; void under another epoch.
    EndsService { agent: AgentId, epoch: Epoch },
    /// The agent answers an offer: the `number`th, from 0.
    Replies { agent: AgentId, epoch: Epoch, number: u32 },
    /// The agent ends the wrap-up.
    FinishesWrapUp { agent: AgentId, epoch: Epoch },
}

/// A conversation that is open.
#[derive(Debug)]
pub(super) struct Visit {
    pub arrival: Arrival,
    pub arrived_at_ms: Millis,
    /// Number of the input that brought it.
    pub came: u64,
    pub waits: bool,
    pub queue: Option<QueueId>,
    pub offered_at_ms: Option<Millis>,
    pub offers: u32,
    pub answered_at_ms: Option<Millis>,
    pub offered_at_once: bool,
    pub waited_ms: u64,
    pub agent: Option<(AgentId, Epoch)>,
    /// Since when somebody serves it.
    pub serving_since_ms: Option<Millis>,
    pub served_ms: u64,
}

impl Visit {
    pub fn new(arrival: Arrival, arrived_at_ms: Millis, came: u64) -> Self {
        Self {
            arrival,
            arrived_at_ms,
            came,
            waits: false,
            queue: None,
            offered_at_ms: None,
            offers: 0,
            answered_at_ms: None,
            offered_at_once: false,
            waited_ms: 0,
            agent: None,
            serving_since_ms: None,
            served_ms: 0,
        }
    }

    pub fn id(&self) -> ConversationId {
        self.arrival.conversation
    }

    /// It waits; the first time, gives after how long its customer leaves, if they do.
    pub fn begins_to_wait(&mut self) -> Option<u64> {
        match (std::mem::replace(&mut self.waits, true), self.arrival.patience) {
            (false, Patience::Closes(ms) | Patience::Disconnects(ms)) => Some(ms),
            _ => None,
        }
    }

    /// It is offered, after so much had happened; gives the offer's number, from 0.
    pub fn offered(&mut self, at_ms: Millis, happened: u64) -> u32 {
        if self.offers == 0 {
            self.offered_at_ms = Some(at_ms);
            self.offered_at_once = self.came == happened;
        }
        self.offers += 1;
        self.offers - 1
    }

    /// Somebody got it; gives how long they will need.
    pub fn assigned(&mut self, at_ms: Millis, agent: AgentId, epoch: Epoch) -> u64 {
        self.agent = Some((agent, epoch));
        self.serving_since_ms = Some(at_ms);
        self.arrival.service.ms(agent).saturating_sub(self.served_ms)
    }

    /// Who had it has it no longer.
    pub fn unassigned(&mut self, at_ms: Millis) {
        if let Some(since_ms) = self.serving_since_ms.take() {
            self.served_ms += at_ms.saturating_sub(since_ms);
        }
    }

    pub fn outcome(mut self, at_ms: Millis, end: End) -> Outcome {
        self.unassigned(at_ms);
        let known = match self.arrival.patience {
            Patience::AtLeast(ms) => self.waited_ms <= ms,
            _ => true,
        };
        Outcome {
            conversation: self.id(),
            arrived_at_ms: self.arrived_at_ms,
            queue: self.queue,
            offered_at_ms: self.offered_at_ms,
            offers: self.offers,
            answered_at_ms: self.answered_at_ms,
            offered_at_once: self.offered_at_once,
            agent: self.agent.map(|(agent, _)| agent),
            waited_ms: self.waited_ms,
            served_ms: self.served_ms,
            ended_at_ms: at_ms,
            end,
            beyond_known_patience: !known,
        }
    }
}
