//! The decider of one tenant, on its shard's leader: who should be offered what, and which deadline has passed.
//!
//! It is told what commits ([`QueueManager::observe`]) and what became of its own proposals ([`QueueManager::settle`]), and says
//! what should be proposed next ([`QueueManager::decide`]). Its decisions follow from what it was told, in that order, alone.
//! It may be thrown away at any moment: the next one starts from the state's views and decides on.
//!
//! ```text
//!   observe ──► waiting, supply (the index) ◄── reservations ◄── settle
//!                        │                           ▲
//!   now ──► timers ──► decide ── Fire, Offer ────────┘
//! ```

mod agent;
mod batch;
mod best;
mod bits;
mod choice;
mod cross;
mod draw;
mod explain;
mod figures;
mod hashing;
mod index;
mod lanes;
mod order;
mod pending;
mod pool;
mod profile;
mod ranked;
mod sharing;
mod slab;
mod slowdown;
mod supply;
mod timers;
mod wait_estimate;
mod waiting;

use self::index::Index;
use self::pending::{Pending, PendingDecisions, PendingOffer, Resting, rests_after};
use self::sharing::Sharing;
use self::timers::Timers;
use self::waiting::Remembered;
use crate::command::{Command, Explanation, WaitEstimate};
use crate::event::{AgentItemKind, Event};
use crate::ids::{AgentId, ConversationId, Millis, QueueId};
use crate::known_bugs;
use crate::rejection::Rejection;
use crate::view::{NoRoom, Presence, Views};

/// Names a decision of one queue manager until it is settled; numbers start again with the next queue manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(pub u64);

/// A command that should be proposed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// For [`QueueManager::settle`].
    pub id: DecisionId,
    /// [`Command::Offer`], [`Command::OfferToMany`], [`Command::Fire`] or [`Command::ShareRing`].
    pub command: Command,
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Committed and applied.
    Applied,
    /// Committed and refused by the state.
    Rejected(Rejection),
    /// It never reached the log and never will (the proposer was full, or said no): it will be decided again a little later.
    NotProposed,
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
    /// Version of the tenant's policy in force.
    pub policy_version: u64,
    /// How many of its queue are before it in the order (held ones not counted).
    pub ahead: u64,
    /// What keeps it from being offered to anybody: `held` (the customer is gone), `proposed` (an offer is on
    /// its way), `refused` (an offer was refused a moment ago).
    pub withheld: Vec<&'static str>,
    /// Agents that were considered (members of the queue).
    pub considered: u32,
    /// Agents that could take it now.
    pub eligible: u32,
    /// What removes the others, by the first predicate that fails, and how many.
    pub removed: Vec<(String, u32)>,
    /// The agent that was asked about.
    pub agent: Option<AgentWhyNot>,
    /// R34: its queue is closed by the calendar.
    pub closed: bool,
    /// R7: the agent that it waits for alone.
    pub awaited: Option<AgentId>,
    /// R7: until when.
    pub awaited_until_ms: Option<Millis>,
    /// R4, R5: what time will change next.
    pub next_step: Option<NextStep>,
    /// R35: from now on.
    pub estimate: Option<WaitEstimate>,
}

/// R4, R5: a step of relaxation, or a ring, that is ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextStep {
    /// When.
    pub at_ms: Millis,
    /// The ring that opens; `None`: a step of relaxation.
    pub ring: Option<u8>,
    /// How many more agents could take it then, were they as they are now.
    pub more_eligible: u32,
}

/// R39: a predicate that an agent fails, with the values that it compares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Failed {
    /// There is no such agent.
    Unknown,
    /// Not available.
    Presence { is: &'static str },
    /// Not a member.
    Queue { queue: QueueId },
    /// R5, R6: not open for it, and not lent.
    Ring { ring: u8 },
    /// R2: `has` 0: not at all.
    Skill { skill: String, needs: u8, has: u8 },
    /// R3: a selector on this attribute does not hold.
    Attribute { attribute: String },
    /// Not served.
    Channel { channel: String },
    /// R17–R20, R22.
    Room {
        why: NoRoom,
        channel: String,
        held: u16,
        most: u16,
    },
    /// R22: their rate or warm-up allows no more until then.
    Pace { until_ms: Millis },
    /// An offer was refused a moment ago.
    Resting,
    /// R24.
    Excluded,
    /// R7: somebody else is waited for.
    Preference { agent: AgentId },
}

impl Failed {
    /// Stable code, as in [`AgentWhyNot::failed`].
    pub fn code(&self) -> String {
        match self {
            Self::Unknown => "unknown".to_owned(),
            Self::Presence { .. } => "presence".to_owned(),
            Self::Queue { .. } => "queue".to_owned(),
            Self::Ring { .. } => "ring".to_owned(),
            Self::Skill { skill, .. } => format!("skill:{skill}"),
            Self::Attribute { attribute } => format!("attribute:{attribute}"),
            Self::Channel { .. } => "channel".to_owned(),
            Self::Room { .. } | Self::Pace { .. } | Self::Resting => "capacity".to_owned(),
            Self::Excluded => "excluded".to_owned(),
            Self::Preference { .. } => "preference".to_owned(),
        }
    }
}

/// R39: why not this agent?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentWhyNot {
    /// Who.
    pub agent: AgentId,
    /// Each predicate that fails (`unknown`, `presence`, `queue`, `ring`, `attribute:site`, `skill:billing`, `channel`, `capacity`, `excluded`, `preference`); none: eligible.
    pub failed: Vec<String>,
    /// The same with values, for sentences ([`crate::words`]).
    pub reasons: Vec<Failed>,
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
    /// Events observed: a clock of its own, to tell what was heard before a decision from what was heard after.
    heard: u64,
    now_ms: Millis,
    index: Index,
    timers: Timers,
    pending: PendingDecisions,
    sharing: Sharing,
}

impl QueueManager {
    /// Starts from what there is, at index 0.
    pub fn new(views: Views) -> Self {
        Self::starting_at(0, views)
    }

    /// Starts from what there was at `index`: events up to and with it are in `views` and will be ignored.
    pub fn starting_at(index: u64, views: Views) -> Self {
        let mut manager = Self {
            start: index,
            heard: 0,
            now_ms: 0,
            index: Index::default(),
            timers: Timers::default(),
            pending: PendingDecisions::default(),
            sharing: Sharing::default(),
        };
        // Each list in the order of its ids, so that handles do not depend on who made the views.
        let Views {
            mut queues,
            mut supplies,
            mut demands,
            timers,
            routing,
            mut rates,
            policy_version,
        } = views;
        manager.index.policy_version = policy_version;
        manager.index.put_routing(&routing);
        queues.sort_by_key(|view| view.queue);
        supplies.sort_by_key(|supply| supply.agent);
        demands.sort_by_key(|demand| demand.conversation);
        rates.sort_by_key(|rates| rates.queue);
        queues.iter().for_each(|view| manager.index.put_queue(view));
        rates.iter().for_each(|rates| manager.index.put_rates(rates));
        supplies
            .iter()
            .for_each(|supply| manager.index.put_supply(supply, 0, std::iter::empty));
        demands
            .iter()
            .for_each(|demand| manager.index.put_demand(demand, false));
        if !known_bugs::put_in("queue_manager::timers_unheard") {
            timers.into_iter().for_each(|due| manager.timers.set(due));
        }
        // They began to wait before anybody here could say for how long.
        for conversation in std::mem::take(&mut manager.index.newcomers) {
            manager.index.remember(conversation, Remembered::Nothing);
        }
        manager
    }

    /// Learns an event of the log entry `index`. Every event of an entry is told, in order, before the next [`Self::decide`];
    /// those that are not for it are ignored, and so are those that the start already knew.
    pub fn observe(&mut self, index: u64, event: &Event) {
        if index <= self.start && self.start > 0 {
            return;
        }
        self.heard += 1;
        match event {
            Event::Demand(demand) => {
                self.pending.hear(demand.conversation);
                self.pending.rouse(Resting::Conversation(demand.conversation));
                self.index
                    .put_demand(demand, self.pending.is_offered(demand.conversation));
            }
            Event::DemandEnded { conversation } => {
                self.pending.hear(*conversation);
                self.pending.rouse(Resting::Conversation(*conversation));
                self.index.end_demand(*conversation);
            }
            // A known bug, for the tests of the tests.
            Event::Supply(supply)
                if supply.presence == Presence::Available && known_bugs::put_in("queue_manager::available_unheard") => {
            }
            Event::Supply(supply) => {
                self.pending.rouse(Resting::Agent(supply.agent));
                let pending = &self.pending;
                self.index
                    .put_supply(supply, self.heard, || pending.channels_of(supply.agent));
            }
            Event::SupplyEnded { agent } => {
                self.pending.rouse(Resting::Agent(*agent));
                self.index.end_supply(*agent);
            }
            Event::Queue(view) => {
                // Who may have what has changed with it.
                self.pending.hear_all();
                self.index.put_queue(view);
                let handle = self.index.queue(view.queue);
                for id in self.sharing.hear(handle, view.shared_rings, self.now_ms) {
                    self.pending.remove(id);
                }
            }
            Event::QueueEnded { queue } => self.index.end_queue(*queue),
            Event::Routing(settings) => self.index.put_routing(settings),
            Event::Rates(rates) => self.index.put_rates(rates),
            Event::PolicyActivated { version } => self.index.policy_version = *version,
            Event::TimerSet(due) => self.timers.set(*due),
            Event::TimerCleared { timer } => self.timers.clear(*timer),
            // These two say that an offer landed.
            Event::Assigned {
                conversation, agent, ..
            } => {
                self.pending.land(*conversation, *agent);
                self.index.answered.push(*conversation);
            }
            Event::Agent(item) => match &item.kind {
                AgentItemKind::Offered { conversation, .. } | AgentItemKind::Assigned { conversation, .. } => {
                    self.pending.land(*conversation, item.agent);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// At most `limit` commands that should be proposed now: fired timers first, then offers. Each is remembered, and what it
    /// offers is reserved, until it is settled. Time that goes back is taken as standing still.
    pub fn decide(&mut self, now_ms: Millis, limit: usize) -> Vec<Decision> {
        self.decide_with(now_ms, limit, true)
    }

    /// [`Self::decide`] with empty explanations: for measuring what explanations cost.
    #[doc(hidden)]
    pub fn decide_unexplained(&mut self, now_ms: Millis, limit: usize) -> Vec<Decision> {
        self.decide_with(now_ms, limit, false)
    }

    fn decide_with(&mut self, now_ms: Millis, limit: usize, explained: bool) -> Vec<Decision> {
        if self.now_ms == 0 && known_bugs::put_in("queue_manager::overdue_forgotten") {
            // A known bug, for the tests of the tests.
            while self.timers.propose_due(now_ms, DecisionId(0)).is_some() {}
        }
        self.now_ms = self.now_ms.max(now_ms);
        self.index.advance(self.now_ms);
        self.index.put_today(self.index.routing.day_start_ms(self.now_ms));
        for id in self.pending.take_landed() {
            self.give_back(id);
        }
        while let Some(who) = self.pending.take_rested(self.now_ms) {
            self.set_resting(who, false);
        }
        let mut decisions = Vec::new();
        while decisions.len() < limit {
            let Some(command) = self.next_command(limit - decisions.len(), explained) else {
                break;
            };
            decisions.push(command);
        }
        self.index.remember_estimates(self.now_ms, explained);
        decisions
    }

    fn next_command(&mut self, most: usize, explained: bool) -> Option<Decision> {
        let id = self.pending.next_id();
        if let Some(timer) = self.timers.propose_due(self.now_ms, id) {
            self.pending.add(id, Pending::Fire(timer));
            return Some(Decision {
                id,
                command: Command::Fire { timer },
            });
        }
        let Some(choice) = self.index.next_choice(self.now_ms, most, explained) else {
            return self.next_share(id);
        };
        let (conversation, agent): (_, AgentId) = (choice.conversation, choice.agent);
        let explanation: Explanation = choice.explanation;
        let command = if choice.others.is_empty() {
            Command::Offer {
                conversation,
                agent,
                explanation,
            }
        } else {
            Command::OfferToMany {
                conversation,
                agents: std::iter::once(agent).chain(choice.others.iter().copied()).collect(),
                explanation,
            }
        };
        let offer = PendingOffer {
            conversation,
            agent,
            others: choice.others,
            channel: choice.channel,
            paced: choice.paced,
            decided: self.heard,
            heard: false,
        };
        self.pending.add(id, Pending::Offer(offer));
        if known_bugs::put_in("queue_manager::reservation_forgotten") {
            self.give_back(id); // a known bug, for the tests of the tests
        }
        Some(Decision { id, command })
    }

    /// Who may be lent is asked once nobody of the queue's own is free (R6).
    fn next_share(&mut self, id: DecisionId) -> Option<Decision> {
        let share = self.sharing.next(&mut self.index, self.now_ms)?;
        self.sharing.propose(id, &share);
        self.pending.add(id, Pending::Share(share.handle, share.ring));
        Some(Decision {
            id,
            command: Command::ShareRing {
                queue: share.queue,
                ring: share.ring,
                shared: share.shared,
                why: share.why,
            },
        })
    }

    /// Tells what became of a decision; before or after its events, in either order.
    pub fn settle(&mut self, id: DecisionId, result: Settled) {
        match self.pending.get(id) {
            None => {}
            Some(Pending::Fire(timer)) => self.settle_fire(id, *timer, &result),
            Some(&Pending::Share(..)) if matches!(result, Settled::Applied | Settled::Unknown) => {
                // Applied: the queue's picture ends it, or the next barrier does.
                self.pending.wait_for_barrier(id);
            }
            Some(&Pending::Share(queue, ring)) => {
                self.sharing.forget((queue, ring), id, true, self.now_ms);
                self.index.touch(queue);
                self.pending.remove(id);
            }
            Some(Pending::Offer(_)) if matches!(result, Settled::Applied | Settled::Unknown) => {
                // Applied: its events give it back; should they have been lost on the way, the next barrier does.
                self.pending.wait_for_barrier(id);
            }
            Some(Pending::Offer(offer)) => {
                let heard = |handle: &u32| self.index.agents[*handle].changed > offer.decided;
                let unheard: Vec<AgentId> = (offer.agents())
                    .filter(|agent| !self.index.agent_of.get(agent).is_none_or(heard))
                    .collect();
                for who in rests_after(offer, &unheard, &result) {
                    self.pending.rest(who, self.now_ms);
                    self.set_resting(who, true);
                }
                self.give_back(id);
            }
        }
    }

    fn settle_fire(&mut self, id: DecisionId, timer: crate::command::Timer, result: &Settled) {
        match result {
            // Its events clear it or set it anew, now or soon.
            Settled::Applied => {}
            Settled::Unknown => {
                self.pending.wait_for_barrier(id);
                return;
            }
            Settled::Rejected(Rejection::NothingOutstanding) => self.timers.forget(timer, id),
            Settled::Rejected(Rejection::NotDue { due_ms, at_ms }) => {
                let later_ms = due_ms.saturating_sub(*at_ms).max(1);
                self.timers.again(timer, id, self.now_ms.saturating_add(later_ms));
            }
            Settled::Rejected(_) | Settled::NotProposed => self.timers.rest(timer, id, self.now_ms),
        }
        self.pending.remove(id);
    }

    /// A read barrier has passed, and every event up to it was observed: decisions whose result was unknown are forgotten.
    pub fn barrier_passed(&mut self) {
        // A known bug, for the tests of the tests.
        let forgotten = known_bugs::put_in("queue_manager::unknown_forgotten");
        for id in self.pending.take_unsure().into_iter().filter(|_| !forgotten) {
            if let Some(&Pending::Fire(timer)) = self.pending.get(id) {
                self.timers.again(timer, id, self.now_ms);
            }
            if let Some(&Pending::Share(queue, ring)) = self.pending.get(id) {
                self.sharing.forget((queue, ring), id, false, self.now_ms);
                self.index.touch(queue);
            }
            self.give_back(id);
        }
    }

    /// Ends a decision: what it reserved is free, as far as the pictures say so.
    fn give_back(&mut self, id: DecisionId) {
        if let Some(Pending::Offer(offer)) = self.pending.remove(id) {
            for agent in offer.agents() {
                self.index.reserve(agent, &offer.channel, offer.paced, false);
            }
            self.index
                .withhold(offer.conversation, |waiting| waiting.proposed = false);
        }
    }

    fn set_resting(&mut self, who: Resting, resting: bool) {
        match who {
            Resting::Conversation(conversation) => {
                self.index.withhold(conversation, |waiting| waiting.resting = resting);
            }
            Resting::Agent(agent) => self.index.rest_agent(agent, resting),
        }
    }

    /// The earliest moment at which [`Self::decide`] has something to say without a further event; `None`: never.
    pub fn next_wakeup(&self) -> Option<Millis> {
        let wakes = [
            self.timers.next_ms(),
            self.pending.next_rest_end_ms(),
            self.sharing.next_wake_ms(),
            self.index.next_pace_ms(),
        ];
        wakes.into_iter().flatten().min()
    }

    /// R35: which one it is of all that wait in its queue, from 1; customers who are gone are not counted. `None` when it does
    /// not wait. A search, not a scan: a microsecond or so among 100,000.
    pub fn position(&self, conversation: ConversationId) -> Option<u64> {
        let &slot = self.index.waiting_of.get(&conversation)?;
        Some(self.index.ahead(slot, self.now_ms) + 1)
    }

    /// R35: how long it will wait from now until it is offered; `None`: it does not wait, nobody is there to serve it, or nothing
    /// has been observed of its queue yet.
    pub fn estimate(&self, conversation: ConversationId) -> Option<WaitEstimate> {
        self.index.estimate(conversation, self.now_ms)
    }

    /// R35: how long somebody would wait who came to this queue now, at the end of it and without asking for skills; `None` as for
    /// [`Self::estimate`], or when there is no such queue.
    pub fn estimate_for_newcomer(&self, queue: QueueId) -> Option<WaitEstimate> {
        let &handle = self.index.queue_of.get(&queue)?;
        let queue = &self.index.queues[handle as usize];
        queue
            .known
            .then(|| self.index.estimate_for_newcomer(handle, queue.rings))?
    }

    /// R39: why a conversation still waits, and why `agent` does not get it; `None` when it does not wait.
    pub fn explain(&self, conversation: ConversationId, agent: Option<AgentId>) -> Option<WhyNot> {
        self.index.why_not(conversation, agent, self.now_ms, &self.timers)
    }

    /// For the metrics: a pass over agents and waiting conversations, for every few seconds, not for every event.
    pub fn queue_figures(&self) -> Vec<QueueFigures> {
        self.index.figures()
    }

    /// Everything that future decisions depend on (turns and rests aside), in a canonical form, for comparisons in tests.
    #[doc(hidden)]
    pub fn picture(&self) -> String {
        let mut timers: Vec<_> = self.timers.all().collect();
        timers.sort();
        format!("{}{timers:?}", self.index.picture())
    }
}
