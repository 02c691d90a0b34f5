//! A leader: its clock, what it has proposed, its queue manager, and what that was told. A deposed one does not know.

use std::collections::{BTreeMap, VecDeque};

use routing::event::{AgentItemKind, Event};
use routing::ids::{AgentId, Channel, ConversationId, Millis};
use routing::invariants::Violation;
use routing::queue_manager::{Decision, DecisionId, QueueManager, Settled};
use routing::rejection::Rejection;
use routing::settings::RoutingSettings;
use routing::state::Tenant;
use routing::view::Views;

use super::deeds;
use super::log::{Log, Proposal};
use super::naive::{self, Naive};
use super::oracle::must;
use super::run::Counts;

/// Longer than any rest after a refusal: 50 ms × 2^8.
const RESTS_MAX_MS: Millis = 12_800;

/// An offer on its way.
#[derive(Clone, Debug)]
struct Flight {
    conversation: ConversationId,
    agents: Vec<AgentId>,
    channel: Channel,
    /// Applied, or not known: until its events are seen, or a barrier has passed.
    settled: bool,
}

/// One term's.
#[derive(Debug)]
pub struct Leader {
    pub term: u64,
    pub replica: usize,
    /// Ahead of the true time, or behind it.
    pub clock_ms: i64,
    /// Somebody else leads, or will.
    pub deposed: bool,
    /// Proposed and not committed, in order.
    pub pending: VecDeque<Proposal>,
    /// Its queue manager's next wake-up.
    pub wakes_at_ms: Option<Millis>,
    /// It will hear what its replica has applied.
    pub hears: bool,
    manager: QueueManager,
    /// Entries heard.
    heard: usize,
    barrier: Option<usize>,
    flights: BTreeMap<DecisionId, Flight>,
    /// What it was told, for the plain model of its decisions.
    told: Naive,
    /// Conversations and agents whose offers were refused, and when.
    refused: BTreeMap<ConversationId, Millis>,
    refused_agents: BTreeMap<AgentId, Millis>,
}

impl Leader {
    /// Starts from what its replica has.
    pub fn new(term: u64, replica: usize, clock_ms: i64, index: u64, tenant: &Tenant) -> Self {
        let views = tenant.views();
        let mut told = Naive::default();
        started_from(&mut told, &views);
        Self {
            term,
            replica,
            clock_ms,
            deposed: false,
            pending: VecDeque::new(),
            wakes_at_ms: None,
            hears: false,
            manager: QueueManager::starting_at(index, views),
            heard: index as usize,
            barrier: None,
            flights: BTreeMap::new(),
            told,
            refused: BTreeMap::new(),
            refused_agents: BTreeMap::new(),
        }
    }

    /// Its clock, when the true time is this.
    pub fn time_ms(&self, now_ms: Millis) -> Millis {
        now_ms.saturating_add_signed(self.clock_ms)
    }

    /// Hears at most so many entries of those that its replica has applied.
    pub fn hear(&mut self, log: &Log, until: usize, entries: usize, counts: &mut Counts) {
        let until = until.min(self.heard.saturating_add(entries));
        while self.heard < until {
            let index = self.heard as u64 + 1;
            for event in log.applied[self.heard]
                .outcomes
                .iter()
                .flat_map(|outcome| &outcome.events)
            {
                self.manager.observe(index, event);
                counts.heard += 1;
                learn(&mut self.told, event);
                self.land(event);
            }
            self.heard += 1;
        }
        if self.barrier.is_some_and(|barrier| self.heard >= barrier) {
            self.barrier = None;
            self.manager.barrier_passed();
            self.flights.retain(|_, flight| !flight.settled);
        }
    }

    /// Whether everything that its replica has applied was heard.
    pub fn has_heard(&self, until: usize) -> bool {
        self.heard >= until
    }

    /// A read barrier begins: what is in the log now will have been heard when it passes.
    pub fn begin_barrier(&mut self, entries: usize) {
        self.barrier.get_or_insert(entries);
    }

    fn land(&mut self, event: &Event) {
        let (conversation, agent) = match event {
            Event::Assigned {
                conversation, agent, ..
            } => (*conversation, *agent),
            Event::Agent(item) => match &item.kind {
                AgentItemKind::Offered { conversation, .. } | AgentItemKind::Assigned { conversation, .. } => {
                    (*conversation, item.agent)
                }
                _ => return,
            },
            _ => return,
        };
        self.flights
            .retain(|_, flight| flight.conversation != conversation || !flight.agents.contains(&agent));
    }

    /// Decisions at its own time; each is what the plain model allows.
    ///
    /// # Errors
    /// C: a conversation is offered while its offer is on its way. D: to who has no room or may not have it. J: although another
    /// goes before it. I: nothing is offered although something could be.
    pub fn decide(&mut self, now_ms: Millis, limit: usize, counts: &mut Counts) -> Result<Vec<Decision>, Violation> {
        let now_ms = self.time_ms(now_ms);
        let decisions = self.manager.decide(now_ms, limit);
        self.told.now_ms = self.told.now_ms.max(now_ms);
        let now_ms = self.told.now_ms;
        self.refused.retain(|_, at_ms| *at_ms + RESTS_MAX_MS > now_ms);
        self.refused_agents.retain(|_, at_ms| *at_ms + RESTS_MAX_MS > now_ms);
        self.told.reserved = (self.flights.values())
            .flat_map(|flight| {
                let one = |agent: &AgentId| (flight.conversation, *agent, flight.channel.clone());
                flight.agents.iter().map(one).collect::<Vec<_>>()
            })
            .collect();
        counts.decisions += decisions.len() as u64;
        counts.decisions_of_deposed += u64::from(self.deposed) * decisions.len() as u64;
        for decision in &decisions {
            if let Some((conversation, agents, explanation)) = deeds::offer_of(&decision.command) {
                counts.audited += 1;
                let best = explanation.best.first().map(|best| best.0);
                must('F', best == agents.first().copied(), || {
                    format!("{decision:?} explains another choice")
                })?;
                self.audit(decision.id, conversation, agents)?;
            }
        }
        let rested = self.refused.is_empty() && self.refused_agents.is_empty();
        if decisions.len() < limit && rested && counts.happenings.is_multiple_of(3) {
            let next = self.told.clone().next();
            must('I', next.is_none(), || {
                format!("{next:?} could be offered at {now_ms}, and nobody decides it")
            })?;
        }
        Ok(decisions)
    }

    fn audit(&mut self, id: DecisionId, conversation: ConversationId, agents: Vec<AgentId>) -> Result<(), Violation> {
        let told = &self.told;
        let under_way = told.reserved.iter().any(|(other, ..)| *other == conversation);
        must('C', !under_way, || {
            format!("{conversation} is offered while its offer is on its way")
        })?;
        let Some(demand) = told.demands.get(&conversation).cloned() else {
            return must('F', false, || format!("{conversation} is offered and does not wait"));
        };
        for agent in &agents {
            let may = (told.supplies.get(agent)).is_some_and(|supply| told.eligible(&demand, supply));
            must('D', may && !demand.held, || {
                format!(
                    "{conversation} is offered to {agent}, who may not have it: {demand:?}, {:?}",
                    told.supplies.get(agent)
                )
            })?;
        }
        if let Some(queue) = told.queues.get(&demand.queue) {
            let taken = agents.first().and_then(|agent| told.supplies.get(agent));
            let overtaken = told.demands.values().find(|other| {
                other.queue == demand.queue
                    && !other.held
                    && naive::before(queue, told.now_ms, other, &demand).is_lt()
                    && !self.refused.contains_key(&other.conversation)
                    && told
                        .reserved
                        .iter()
                        .all(|(under_way, ..)| *under_way != other.conversation)
                    && taken.is_some_and(|supply| told.eligible(other, supply))
            });
            must('J', overtaken.is_none(), || {
                format!("{demand:?} is offered to {agents:?} before {overtaken:?} in {queue:?}")
            })?;
        }
        match demand.only {
            Some(_) => _ = self.told.named.insert(conversation),
            None => _ = self.told.named.remove(&conversation),
        }
        let one = |agent: &AgentId| (conversation, *agent, demand.channel.clone());
        self.told.reserved.extend(agents.iter().map(one));
        let flight = Flight {
            conversation,
            agents,
            channel: demand.channel.clone(),
            settled: false,
        };
        self.flights.insert(id, flight);
        Ok(())
    }

    /// What became of a decision.
    pub fn settle(&mut self, id: DecisionId, result: &Settled, counts: &mut Counts) {
        let at_ms = self.told.now_ms;
        match result {
            Settled::Applied => {}
            Settled::Unknown => counts.unknown += 1,
            Settled::Rejected(_) | Settled::NotProposed => counts.decisions_refused += 1,
        }
        match result {
            Settled::Applied | Settled::Unknown => {
                if let Some(flight) = self.flights.get_mut(&id) {
                    flight.settled = true;
                }
            }
            Settled::Rejected(why) => {
                if let Some(flight) = self.flights.remove(&id) {
                    self.refused.insert(flight.conversation, at_ms);
                    let of_agent = matches!(
                        why,
                        Rejection::NoCapacity { .. } | Rejection::WrongPresence { .. } | Rejection::UnknownAgent(_)
                    );
                    let agents = flight.agents.into_iter().filter(|_| of_agent);
                    self.refused_agents.extend(agents.map(|agent| (agent, at_ms)));
                }
            }
            Settled::NotProposed => {
                if let Some(flight) = self.flights.remove(&id) {
                    self.refused.insert(flight.conversation, at_ms);
                }
            }
        }
        self.manager.settle(id, result.clone());
    }

    /// Offers on their way, as the model counts them.
    pub fn reserved(&self) -> Vec<(ConversationId, AgentId, Channel)> {
        let one = |flight: &Flight| {
            let (conversation, channel) = (flight.conversation, flight.channel.clone());
            let of = flight
                .agents
                .iter()
                .map(move |agent| (conversation, *agent, channel.clone()));
            of.collect::<Vec<_>>()
        };
        self.flights.values().flat_map(one).collect()
    }

    /// Nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.pending.is_empty() && self.flights.is_empty()
    }

    /// When its queue manager has something to say, by the true time.
    pub fn next_wakeup_ms(&self) -> Option<Millis> {
        let wakes_ms = self.manager.next_wakeup()?;
        Some(wakes_ms.saturating_add_signed(-self.clock_ms))
    }

    /// All that its future decisions depend on, against one that starts now.
    pub fn is_as_new(&mut self, tenant: &Tenant) -> Result<(), Violation> {
        let mut anew = QueueManager::new(tenant.views());
        for manager in [&mut self.manager, &mut anew] {
            manager.decide(self.told.now_ms, 0);
        }
        let (kept, made) = (self.manager.picture(), anew.picture());
        must('I', kept == made, || {
            format!("a new queue manager knows something else:\n{kept}\n{made}")
        })
    }
}

/// What the plain model makes of views.
pub fn started_from(told: &mut Naive, views: &Views) {
    let Views {
        queues,
        supplies,
        demands,
        routing,
        rates,
        ..
    } = views;
    told.queues = queues.iter().map(|view| (view.queue, view.clone())).collect();
    told.supplies = supplies.iter().map(|supply| (supply.agent, supply.clone())).collect();
    told.demands = (demands.iter())
        .map(|demand| (demand.conversation, demand.clone()))
        .collect();
    told.routing = RoutingSettings::clone(routing);
    told.rates = rates.iter().map(|rates| (rates.queue, *rates)).collect();
}

fn learn(told: &mut Naive, event: &Event) {
    match event {
        Event::Demand(demand) => _ = told.demands.insert(demand.conversation, demand.clone()),
        Event::DemandEnded { conversation } => _ = told.demands.remove(conversation),
        Event::Supply(supply) => _ = told.supplies.insert(supply.agent, supply.clone()),
        Event::SupplyEnded { agent } => _ = told.supplies.remove(agent),
        Event::Queue(view) => _ = told.queues.insert(view.queue, view.clone()),
        Event::QueueEnded { queue } => _ = told.queues.remove(queue),
        Event::Routing(settings) => told.routing = RoutingSettings::clone(settings),
        Event::Rates(rates) => _ = told.rates.insert(rates.queue, *rates),
        _ => {}
    }
}
