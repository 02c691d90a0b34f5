//! Decisions that are on their way, and what rests after a refusal.
//!
//! The events of an applied offer and its result arrive in either order. What it reserves is given back when the events have been
//! seen (the offer *landed*: the pictures count it from then on), or when it is known that it never will. So a slot is never
//! offered twice, and none is lost: each offer lands, is refused, is dropped, or is cleared up by a read barrier.

use std::collections::{BTreeMap, BTreeSet};

use super::hashing::IdMap;
use super::index::SharedChannel;
use super::{DecisionId, Settled};
use crate::command::Timer;
use crate::ids::{AgentId, Channel, ConversationId, Millis};
use crate::rejection::Rejection;

/// First rest after a refusal; each further one in a row is twice as long, up to 2^8 times.
const REST_MS: u64 = 50;

/// An offer that is on its way.
#[derive(Clone, Debug)]
pub(super) struct PendingOffer {
    pub(super) conversation: ConversationId,
    pub(super) agent: AgentId,
    /// R9: to whom else; each has room reserved.
    pub(super) others: Box<[AgentId]>,
    pub(super) channel: SharedChannel,
    /// R22: it comes of itself, and counts for their pace.
    pub(super) paced: bool,
    /// The queue manager's count of events at the time of the decision.
    pub(super) decided: u64,
    /// Something of the conversation was heard since.
    pub(super) heard: bool,
}

impl PendingOffer {
    pub(super) fn agents(&self) -> impl Iterator<Item = AgentId> + '_ {
        std::iter::once(self.agent).chain(self.others.iter().copied())
    }
}

/// A decision that is on its way.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Offer(PendingOffer),
    Fire(Timer),
    /// R6: the queue's handle, and the ring.
    Share(u32, u8),
}

/// Who rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resting {
    Conversation(ConversationId),
    Agent(AgentId),
}

#[derive(Debug, Default)]
pub(super) struct PendingDecisions {
    last: u64,
    all: BTreeMap<DecisionId, Pending>,
    offers: IdMap<ConversationId, DecisionId>,
    /// Seen to be applied; given back before the next decision, when the whole entry has been observed.
    landed: Vec<DecisionId>,
    /// A barrier ends them: known to be applied, or not known at all.
    unsure: BTreeSet<DecisionId>,
    rests: BTreeMap<Resting, (u32, Millis)>,
    rest_ends: BTreeSet<(Millis, Resting)>,
}

impl PendingDecisions {
    pub(super) fn next_id(&mut self) -> DecisionId {
        self.last += 1;
        DecisionId(self.last)
    }

    pub(super) fn add(&mut self, id: DecisionId, pending: Pending) {
        if let Pending::Offer(offer) = &pending {
            self.offers.insert(offer.conversation, id);
        }
        self.all.insert(id, pending);
    }

    pub(super) fn is_offered(&self, conversation: ConversationId) -> bool {
        self.offers.contains_key(&conversation)
    }

    /// Channels of the offers to an agent.
    pub(super) fn channels_of(&self, agent: AgentId) -> impl Iterator<Item = (&Channel, bool)> {
        self.all.values().filter_map(move |pending| match pending {
            Pending::Offer(offer) if offer.agents().any(|other| other == agent) => Some((&*offer.channel, offer.paced)),
            _ => None,
        })
    }

    /// Something of the conversation was heard.
    pub(super) fn hear(&mut self, conversation: ConversationId) {
        if let Some(id) = self.offers.get(&conversation)
            && let Some(Pending::Offer(offer)) = self.all.get_mut(id)
        {
            offer.heard = true;
        }
    }

    /// Something that concerns every conversation of a queue was heard.
    pub(super) fn hear_all(&mut self) {
        for pending in self.all.values_mut() {
            if let Pending::Offer(offer) = pending {
                offer.heard = true;
            }
        }
    }

    /// The conversation was offered or assigned to the agent: if it was to others too, to those who could have it still, all in
    /// one entry.
    pub(super) fn land(&mut self, conversation: ConversationId, agent: AgentId) {
        if let Some(id) = self.offers.get(&conversation)
            && let Some(Pending::Offer(offer)) = self.all.get(id)
            && offer.agents().any(|other| other == agent)
        {
            self.landed.push(*id);
        }
    }

    pub(super) fn take_landed(&mut self) -> Vec<DecisionId> {
        std::mem::take(&mut self.landed)
    }

    pub(super) fn take_unsure(&mut self) -> Vec<DecisionId> {
        std::mem::take(&mut self.unsure).into_iter().collect()
    }

    pub(super) fn get(&self, id: DecisionId) -> Option<&Pending> {
        self.all.get(&id)
    }

    /// Ends a decision.
    pub(super) fn remove(&mut self, id: DecisionId) -> Option<Pending> {
        let pending = self.all.remove(&id)?;
        if let Pending::Offer(offer) = &pending {
            self.offers.remove(&offer.conversation);
        }
        self.unsure.remove(&id);
        Some(pending)
    }

    pub(super) fn wait_for_barrier(&mut self, id: DecisionId) {
        if self.all.contains_key(&id) {
            self.unsure.insert(id);
        }
    }

    /// From when an offer was refused until something is heard of who rests, or the rest ends.
    pub(super) fn rest(&mut self, who: Resting, now_ms: Millis) {
        let (count, until_ms) = self.rests.get(&who).copied().unwrap_or((0, 0));
        self.rest_ends.remove(&(until_ms, who));
        let until_ms = now_ms.saturating_add(REST_MS << count.min(8));
        self.rests.insert(who, (count + 1, until_ms));
        self.rest_ends.insert((until_ms, who));
    }

    /// Something was heard.
    pub(super) fn rouse(&mut self, who: Resting) {
        if let Some((_, until_ms)) = self.rests.remove(&who) {
            self.rest_ends.remove(&(until_ms, who));
        }
    }

    /// The next whose rest has ended. The count of refusals in a row goes on.
    pub(super) fn take_rested(&mut self, now_ms: Millis) -> Option<Resting> {
        let &(until_ms, who) = self.rest_ends.first().filter(|(until_ms, _)| *until_ms <= now_ms)?;
        self.rest_ends.remove(&(until_ms, who));
        Some(who)
    }

    pub(super) fn next_rest_end_ms(&self) -> Option<Millis> {
        self.rest_ends.first().map(|(until_ms, _)| *until_ms)
    }
}

/// Who has to rest after an offer came to nothing; nobody: it may be tried again at once, with somebody else or later. `unheard`
/// are those of its agents of whom nothing was heard since.
pub(super) fn rests_after(offer: &PendingOffer, unheard: &[AgentId], result: &Settled) -> Vec<Resting> {
    let conversation = Resting::Conversation(offer.conversation);
    match result {
        // The log is full: a moment's rest.
        Settled::NotProposed => vec![conversation],
        Settled::Rejected(
            Rejection::NoCapacity { .. } | Rejection::WrongPresence { .. } | Rejection::UnknownAgent(_),
        ) => unheard.iter().copied().map(Resting::Agent).collect(),
        Settled::Rejected(_) if !offer.heard && unheard.len() == 1 + offer.others.len() => vec![conversation],
        Settled::Rejected(_) | Settled::Applied | Settled::Unknown => Vec::new(),
    }
}
