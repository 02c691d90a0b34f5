//! A contact centre on virtual time: the real [`State`] and the real [`QueueManager`], with simulated people around them.
//!
//! ```text
//!   workload ──► due next? ──► State::apply ──► events ──► QueueManager::observe ─► decide ─┐
//!   people   ──►    ▲              ▲                                                        │
//!                   └─ clock       └──────── Offer, Fire, settled, until it is quiet ───────┘
//! ```
//!
//! Nothing is modelled twice: waiting, offers, timers, abandonment and load are the state's, choices are the queue manager's, and both
//! are driven as a cluster drives them, one command per log entry. Only people are played: customers come and lose
//! patience, agents reply to offers, serve, and finish wrap-ups; each with the times that the [`Arrival`] carries.
//!
//! Absent on purpose: randomness (a workload is an iterator; who draws it is outside), floats, a wall clock, messages within a
//! conversation. One millisecond here is whatever the workload takes it for; equal workloads give equal results.

mod outcome;
#[cfg(test)]
mod tests;
mod visit;
mod workload;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

pub use outcome::{Counts, End, Outcome, Sink};
pub use workload::{Arrival, Input, Patience, Reply, Service, What, shift};

use crate::command::{Author, COMMAND_SCHEMA, Command, Envelope};
use crate::event::{AgentItemKind, CloseOutcome, Event, Receipt, TenantEvent, UnassignReason};
use crate::ids::{Channel, ConversationId, CustomerId, Millis, TenantId};
use crate::limits;
use crate::queue_manager::{QueueManager, Settled};
use crate::rejection::Rejection;
use crate::state::{State, Tenant};
use crate::view::Views;
use visit::{Deed, Visit};

const TENANT: TenantId = TenantId(1);
/// Decisions that are taken at once.
const DECISIONS_MAX: usize = 256;
/// A queue manager that has decided so often without a moment passing never will be quiet.
const ROUNDS_MAX: u32 = 1_000_000;

/// Why a simulation cannot go on: a mistake of who runs it, or of the core.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// Setting up.
    #[error("the set-up was refused: {rejection} ({command})")]
    SetUp {
        /// What was to be done.
        command: String,
        /// Why it was not.
        rejection: Rejection,
    },
    /// The workload.
    #[error("the workload goes back in time: {at_ms} after {now_ms}")]
    Backwards {
        /// When something was to happen.
        at_ms: Millis,
        /// When it was already later.
        now_ms: Millis,
    },
    /// The core.
    #[error("the queue manager does not become quiet at {at_ms}")]
    NeverQuiet {
        /// When.
        at_ms: Millis,
    },
}

/// A tenant, its queue manager, and its people.
#[derive(Debug)]
pub struct World {
    state: State,
    manager: QueueManager,
    index: u64,
    now_ms: Millis,
    /// What people will do: earliest first, then in the order of their intention.
    deeds: BinaryHeap<Reverse<(Millis, u64, ConversationId, Deed)>>,
    intentions: u64,
    /// Inputs and deeds so far.
    happened: u64,
    visits: BTreeMap<ConversationId, Visit>,
    counts: Counts,
    told: Vec<TenantEvent>,
}

impl World {
    /// A tenant without anything, at a moment.
    ///
    /// # Errors
    /// None that is expected.
    pub fn new(at_ms: Millis) -> Result<Self, SimulationError> {
        let mut world = Self {
            state: State::new(),
            manager: QueueManager::new(Views::default()),
            index: 0,
            now_ms: at_ms,
            deeds: BinaryHeap::new(),
            intentions: 0,
            happened: 0,
            visits: BTreeMap::new(),
            counts: Counts::default(),
            told: Vec::new(),
        };
        world.set_up(Command::PutTenant {
            name: "simulation".to_owned(),
        })?;
        Ok(world)
    }

    /// Settings, agents who are there from the start: before [`Self::run`].
    ///
    /// # Errors
    /// When the state refuses it.
    pub fn set_up(&mut self, command: Command) -> Result<Receipt, SimulationError> {
        let said = format!("{command:?}");
        let result = self.apply(command, &mut Nobody);
        result.map_err(|rejection| SimulationError::SetUp {
            command: said,
            rejection,
        })
    }

    /// Runs a workload to its end, and on until nobody is left; for at most [`limits::DURATION_MAX_MS`] after the last input.
    ///
    /// # Errors
    /// See [`SimulationError`].
    pub fn run<W: IntoIterator<Item = Input>, S: Sink>(
        &mut self,
        workload: W,
        sink: &mut S,
    ) -> Result<Counts, SimulationError> {
        let mut coming = workload.into_iter().peekable();
        let mut last_input_ms = self.now_ms;
        loop {
            self.become_quiet(sink)?;
            let input_ms = coming.peek().map(|input| input.at_ms);
            last_input_ms = input_ms.unwrap_or(last_input_ms);
            let deed_ms = self.deeds.peek().map(|Reverse((at_ms, ..))| *at_ms);
            if input_ms.is_none() && self.visits.is_empty() && deed_ms.is_none() {
                break;
            }
            let wakeup_ms = self.manager.next_wakeup();
            let Some(next_ms) = [input_ms, deed_ms, wakeup_ms].into_iter().flatten().min() else {
                break;
            };
            if next_ms > last_input_ms.saturating_add(limits::DURATION_MAX_MS) {
                break;
            }
            self.pass_time(next_ms, sink);
            self.happened += 1;
            if deed_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
                self.do_next(sink);
            } else if let Some(input) = coming.next_if(|input| input.at_ms <= next_ms) {
                if input.at_ms < self.now_ms {
                    let (at_ms, now_ms) = (input.at_ms, self.now_ms);
                    return Err(SimulationError::Backwards { at_ms, now_ms });
                }
                self.take(input, sink);
            }
        }
        for visit in std::mem::take(&mut self.visits).into_values() {
            sink.ended(&visit.outcome(self.now_ms, End::LeftOver));
        }
        Ok(self.counts.clone())
    }

    /// The state as it is now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The tenant as it is now.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.state.tenant(TENANT)
    }

    /// The queue manager as it is now.
    pub fn queue_manager(&self) -> &QueueManager {
        &self.manager
    }

    /// Virtual time.
    pub fn now_ms(&self) -> Millis {
        self.now_ms
    }

    fn pass_time<S: Sink>(&mut self, to_ms: Millis, sink: &mut S) {
        if to_ms > self.now_ms {
            if let Some(tenant) = self.state.tenant(TENANT) {
                sink.stood(self.now_ms, to_ms, tenant);
            }
            self.now_ms = to_ms;
        }
    }

    /// What a cluster's leader does after every entry: decide, apply, observe, settle, until there is nothing to decide.
    fn become_quiet<S: Sink>(&mut self, sink: &mut S) -> Result<(), SimulationError> {
        for _ in 0..ROUNDS_MAX {
            let decisions = self.manager.decide(self.now_ms, DECISIONS_MAX);
            if decisions.is_empty() {
                return Ok(());
            }
            for decision in decisions {
                self.counts.offers += u64::from(matches!(decision.command, Command::Offer { .. }));
                let settled = match self.apply(decision.command, sink) {
                    Ok(_) => Settled::Applied,
                    Err(rejection) => {
                        *self.counts.refused_decisions.entry(rejection.code()).or_default() += 1;
                        Settled::Rejected(rejection)
                    }
                };
                self.manager.settle(decision.id, settled);
            }
        }
        Err(SimulationError::NeverQuiet { at_ms: self.now_ms })
    }

    fn apply<S: Sink>(&mut self, command: Command, sink: &mut S) -> Result<Receipt, Rejection> {
        self.index += 1;
        self.counts.commands += 1;
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key: None,
            command,
        };
        let mut told = std::mem::take(&mut self.told);
        let result = self.state.apply(self.index, self.now_ms, &envelope, &mut told);
        for TenantEvent { event, .. } in told.drain(..) {
            self.manager.observe(self.index, &event);
            sink.event(self.now_ms, &event);
            self.learn(&event, sink);
        }
        self.told = told;
        result
    }

    fn take<S: Sink>(&mut self, input: Input, sink: &mut S) {
        match input.what {
            What::Arrival(arrival) => self.arrive(*arrival, sink),
            What::Command(command) => self.act(*command, sink),
        }
    }

    /// Somebody does something; it may be too late for it.
    fn act<S: Sink>(&mut self, command: Command, sink: &mut S) {
        if let Err(rejection) = self.apply(command, sink) {
            *self.counts.refused_deeds.entry(rejection.code()).or_default() += 1;
        }
    }

    fn arrive<S: Sink>(&mut self, mut arrival: Arrival, sink: &mut S) {
        self.counts.arrivals += 1;
        let id = arrival.conversation;
        // What only the state needs goes to it, and is not kept here.
        let command = Command::StartConversation {
            conversation: id,
            channel: Channel(std::mem::take(&mut arrival.channel.0)),
            customer: CustomerId(std::mem::take(&mut arrival.customer.0)),
            attributes: std::mem::take(&mut arrival.attributes),
            classification: std::mem::take(&mut arrival.classification),
            message: arrival.message.take(),
            schedule: arrival.schedule.take(),
            callback: arrival.callback.take(),
        };
        self.visits.insert(id, Visit::new(arrival, self.now_ms, self.happened));
        if let Err(rejection) = self.apply(command, sink) {
            let code = rejection.code();
            *self.counts.refused_deeds.entry(code).or_default() += 1;
            if let Some(visit) = self.visits.remove(&id) {
                sink.ended(&visit.outcome(self.now_ms, End::Refused(code)));
            }
        }
    }

    fn intend(&mut self, after_ms: u64, id: ConversationId, deed: Deed) {
        self.intentions += 1;
        let at_ms = self.now_ms.saturating_add(after_ms);
        self.deeds.push(Reverse((at_ms, self.intentions, id, deed)));
    }

    fn do_next<S: Sink>(&mut self, sink: &mut S) {
        let Some(Reverse((_, _, id, deed))) = self.deeds.pop() else {
            return;
        };
        let visit = self.visits.get(&id);
        match deed {
            Deed::Leaves => {
                let Some(visit) = visit.filter(|visit| visit.answered_at_ms.is_none()) else {
                    return;
                };
                let command = match visit.arrival.patience {
                    Patience::Disconnects(_) => Command::CustomerLeft { conversation: id },
                    _ => close(id, Author::Customer),
                };
                self.act(command, sink);
            }
            Deed::EndsService { agent, epoch } => {
                if visit.is_some_and(|visit| visit.serving_since_ms.is_some() && visit.agent == Some((agent, epoch))) {
                    self.act(close(id, Author::Agent { agent, epoch }), sink);
                }
            }
            Deed::Replies { agent, epoch, number } => {
                let Some(visit) = visit else { return };
                let declines = visit.arrival.replies.get(number as usize);
                let command = match declines.and_then(|reply| reply.declines.clone()) {
                    None => Command::AcceptOffer {
                        conversation: id,
                        agent,
                        epoch,
                    },
                    Some(reason) => Command::DeclineOffer {
                        conversation: id,
                        agent,
                        epoch,
                        reason,
                    },
                };
                self.act(command, sink);
            }
            Deed::FinishesWrapUp { agent, epoch } => self.act(
                Command::FinishWrapUp {
                    conversation: id,
                    agent,
                    epoch,
                    disposition: None,
                },
                sink,
            ),
        }
    }

    /// What an event means for the people.
    fn learn<S: Sink>(&mut self, event: &Event, sink: &mut S) {
        match event {
            Event::Demand(demand) => {
                // Patience begins with the wait: who is put off does not wait yet.
                if let Some(visit) = self.visits.get_mut(&demand.conversation)
                    && let Some(after_ms) = visit.begins_to_wait()
                {
                    self.intend(after_ms, demand.conversation, Deed::Leaves);
                }
            }
            Event::Agent(item) => {
                if let AgentItemKind::Offered {
                    conversation, epoch, ..
                } = item.kind
                    && let Some(visit) = self.visits.get_mut(&conversation)
                {
                    let number = visit.offered(self.now_ms, self.happened);
                    let after_ms = visit.arrival.replies.get(number as usize).map_or(0, |r| r.after_ms);
                    let agent = item.agent;
                    self.intend(after_ms, conversation, Deed::Replies { agent, epoch, number });
                }
            }
            &Event::Assigned {
                conversation,
                queue,
                agent,
                epoch,
                waited_ms,
                first,
            } => {
                let Some(visit) = self.visits.get_mut(&conversation) else {
                    return;
                };
                if visit.offers == 0 {
                    visit.offered(self.now_ms, self.happened);
                }
                if first {
                    visit.answered_at_ms = Some(self.now_ms);
                    visit.waited_ms = waited_ms;
                    visit.queue = Some(queue);
                }
                let takes_ms = visit.assigned(self.now_ms, agent, epoch);
                self.intend(takes_ms, conversation, Deed::EndsService { agent, epoch });
            }
            Event::Unassigned {
                conversation, reason, ..
            } if *reason != UnassignReason::Closed => {
                if let Some(visit) = self.visits.get_mut(conversation) {
                    visit.unassigned(self.now_ms);
                }
            }
            &Event::Closed {
                conversation,
                queue,
                outcome,
                waited_ms,
            } => {
                let Some(mut visit) = self.visits.remove(&conversation) else {
                    return;
                };
                if visit.answered_at_ms.is_none() {
                    visit.queue = queue;
                    visit.waited_ms = waited_ms;
                }
                if let (CloseOutcome::Answered, Some(after_ms), Some((agent, epoch))) =
                    (outcome, visit.arrival.wrap_up_ms, visit.agent)
                {
                    self.intend(after_ms, conversation, Deed::FinishesWrapUp { agent, epoch });
                }
                sink.ended(&visit.outcome(self.now_ms, End::Closed(outcome)));
            }
            _ => {}
        }
    }
}

fn close(conversation: ConversationId, by: Author) -> Command {
    Command::Close {
        conversation,
        by,
        disposition: None,
        resolved: None,
    }
}

/// For the set-up.
struct Nobody;

impl Sink for Nobody {
    fn ended(&mut self, _: &Outcome) {}
}
