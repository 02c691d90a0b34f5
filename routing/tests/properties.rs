//! Random commands thrown at state and queue manager together, with random delays, decisions lost, repeated and unknown, and the
//! queue manager replaced at any moment. After every command the invariants hold; every offer is the naive one; at the end
//! nobody waits for whom somebody is free; and the same log gives the same bytes.

#[path = "properties/deeds.rs"]
mod deeds;
#[path = "oracle/naive.rs"]
mod naive;
#[path = "oracle/naive_report.rs"]
mod naive_report;

use std::collections::{BTreeMap, VecDeque};

use deeds::{Deed, deed};
use naive::Naive;
use naive_report::NaiveReport;
use proptest::prelude::*;
use routing::command::{COMMAND_SCHEMA, Command, Envelope, IdempotencyKey, Principal, Timer};
use routing::event::{AgentItem, AgentItemKind, Event, TenantEvent};
use routing::ids::{AgentId, Channel, ConversationId, Millis, TenantId};
use routing::invariants::{self, History};
use routing::queue_manager::{Decision, QueueManager, Settled};
use routing::rejection::Rejection;
use routing::report::{Figures, RowKey};
use routing::state::{State, Tenant};
use routing::view::Views;

const TENANT: TenantId = TenantId(7);

/// A decision on its way.
#[derive(Clone, Debug)]
struct Flight {
    decision: Decision,
    channel: Option<Channel>,
    landed: bool,
    result: Option<Settled>,
}

impl Flight {
    fn offer(&self) -> Option<(ConversationId, Vec<AgentId>, Channel)> {
        let (conversation, agents, _) = deeds::offer_of(&self.decision.command)?;
        Some((conversation, agents, self.channel.clone()?))
    }
}

/// State, log, queue manager and what is between them.
struct World {
    state: State,
    history: History,
    log: Vec<(u64, Millis, Envelope)>,
    /// KPIs as counted from the events, and the rows that have left the state.
    report: NaiveReport,
    left: BTreeMap<RowKey, Figures>,
    now_ms: Millis,
    manager: QueueManager,
    heard: Naive,
    unheard: VecDeque<(u64, Event)>,
    flights: Vec<Flight>,
    /// Settled, and neither landed nor cleared up by a barrier.
    settled: Vec<Flight>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: State::new(),
            history: History::default(),
            log: Vec::new(),
            report: NaiveReport::default(),
            left: BTreeMap::new(),
            // A moment before a quarter hour ends.
            now_ms: 1_790_000,
            manager: QueueManager::new(Views::default()),
            heard: Naive::default(),
            unheard: VecDeque::new(),
            flights: Vec::new(),
            settled: Vec::new(),
        };
        world
            .apply(Command::PutTenant { name: "t".into() }, None)
            .expect("a tenant");
        for command in deeds::setting_up() {
            world
                .apply(command.clone(), None)
                .unwrap_or_else(|why| panic!("{command:?}: {why}"));
        }
        world
    }

    fn tenant(&self) -> &Tenant {
        self.state.tenant(TENANT).expect("it was made")
    }

    /// One command through the log, and everything that must hold after it.
    fn apply(&mut self, command: Command, key: Option<IdempotencyKey>) -> Result<(), Rejection> {
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key,
            command,
        };
        let index = self.log.len() as u64 + 1;
        self.log.push((index, self.now_ms, envelope.clone()));
        let before = self.state.rows_hash();
        let mut events = Vec::new();
        let result = self.state.apply(index, self.now_ms, &envelope, &mut events);
        if let Err(why) = &result {
            assert!(events.is_empty(), "{why} told something");
            assert_eq!(self.state.rows_hash(), before, "{why} changed something: {envelope:?}");
        }
        let told: Vec<Event> = events.iter().map(|told| told.event.clone()).collect();
        self.report.hear(self.now_ms, &told);
        for TenantEvent { event, .. } in events {
            if let Event::ReportClosed { key, figures } = &event {
                self.left.entry(key.clone()).or_default().add(figures);
            }
            self.history
                .observe(&event)
                .unwrap_or_else(|violation| panic!("{violation} after {envelope:?}"));
            self.unheard.push_back((index, event));
        }
        let checked = invariants::check(&self.state).and_then(|()| self.history.check(self.tenant()));
        checked.unwrap_or_else(|violation| panic!("{violation} after {envelope:?}"));
        result.map(|_| ())
    }

    /// Hears so many entries.
    fn hear(&mut self, entries: usize) {
        for _ in 0..entries {
            let Some(&(index, _)) = self.unheard.front() else {
                return;
            };
            while let Some((_, event)) = self.unheard.pop_front_if(|(at, _)| *at == index) {
                self.manager.observe(index, &event);
                learn(&mut self.heard, &event);
                if let Event::Agent(AgentItem { agent, kind, .. }) = &event
                    && let AgentItemKind::Offered { conversation, .. } | AgentItemKind::Assigned { conversation, .. } =
                        kind
                {
                    for flight in self.flights.iter_mut().chain(&mut self.settled) {
                        flight.landed |= flight
                            .offer()
                            .is_some_and(|(c, agents, _)| c == *conversation && agents.contains(agent));
                    }
                }
            }
        }
    }

    /// A decision reaches the log, or is lost on the way there.
    fn commit(&mut self, at: usize, taken: bool) {
        let open: Vec<usize> = (0..self.flights.len())
            .filter(|&i| self.flights[i].result.is_none())
            .collect();
        if open.is_empty() {
            return;
        }
        let at = open[at % open.len()];
        let result = match taken.then(|| self.apply(self.flights[at].decision.command.clone(), None)) {
            None => Settled::Unknown,
            Some(Ok(())) => Settled::Applied,
            Some(Err(why)) => Settled::Rejected(why),
        };
        self.flights[at].result = Some(result);
    }

    fn settle(&mut self, at: usize, lost: bool) {
        let done: Vec<usize> = (0..self.flights.len())
            .filter(|&i| self.flights[i].result.is_some())
            .collect();
        if done.is_empty() {
            return;
        }
        let flight = self.flights.remove(done[at % done.len()]);
        let result = if lost {
            Settled::Unknown
        } else {
            flight.result.clone().expect("it is done")
        };
        if matches!(result, Settled::Rejected(_)) {
            // What refused it has been heard: else the queue manager rests for a moment, which the oracle does not.
            self.hear(usize::MAX);
        }
        self.manager.settle(flight.decision.id, result.clone());
        if matches!(result, Settled::Applied | Settled::Unknown) {
            self.settled.push(flight);
        }
    }

    fn barrier(&mut self) {
        self.hear(usize::MAX);
        self.manager.barrier_passed();
        self.settled.clear();
    }

    /// A new leader: its queue manager knows what the state knows, and nothing of what was on its way.
    fn fail_over(&mut self) {
        let views = self.tenant().views();
        self.heard = Naive::default();
        for event in as_events(&views) {
            learn(&mut self.heard, &event);
        }
        self.manager = QueueManager::starting_at(self.state.index(), views);
        self.flights.clear();
        self.settled.clear();
        // Whatever is still under way from the old one's stream is below the start.
        for (index, event) in std::mem::take(&mut self.unheard) {
            self.manager.observe(index, &event);
        }
    }

    fn decide(&mut self, limit: usize) -> usize {
        self.settled.retain(|flight| !flight.landed);
        self.heard.now_ms = self.now_ms;
        let decisions = self.manager.decide(self.now_ms, limit);
        let made = decisions.len();
        let under_way = self.flights.iter().chain(&self.settled).filter(|flight| !flight.landed);
        let reserved = under_way
            .filter_map(Flight::offer)
            .flat_map(|(conversation, agents, channel)| {
                agents
                    .into_iter()
                    .map(move |agent| (conversation, agent, channel.clone()))
            });
        self.heard.reserved = reserved.collect();
        for decision in decisions {
            let mut channel = None;
            if let Some((conversation, agents, explanation)) = deeds::offer_of(&decision.command) {
                assert_eq!(explanation.best.first().map(|best| best.0), agents.first().copied());
                let wanted = self.heard.next();
                assert_eq!(
                    Some((conversation, agents)),
                    wanted,
                    "not the first of the order, or not the choice for it"
                );
                let demand = self.heard.demands.get(&conversation);
                channel = demand.map(|demand| demand.channel.clone());
            }
            self.flights.push(Flight {
                decision,
                channel,
                landed: false,
                result: None,
            });
        }
        if made < limit {
            assert_eq!(self.heard.next(), None, "somebody waits although somebody is free");
        }
        made
    }

    fn step(&mut self, deed: &Deed) {
        match deed {
            Deed::Pass(ms) => self.now_ms += u64::from(*ms),
            Deed::Decide(limit) => _ = self.decide(usize::from(*limit)),
            Deed::Commit(at) => self.commit(usize::from(*at), true),
            Deed::Lose(at) => self.commit(usize::from(*at), false),
            Deed::Repeat(at) => {
                // The same decision twice in the log: the second is refused, or does what the first did not.
                if let Some(flight) = self.flights.get(usize::from(*at) % self.flights.len().max(1)) {
                    let command = flight.decision.command.clone();
                    let _ = self.apply(command, None);
                }
            }
            Deed::Hear(entries) => self.hear(usize::from(*entries)),
            Deed::Settle(at) => self.settle(usize::from(*at), false),
            Deed::Forget(at) => self.settle(usize::from(*at), true),
            Deed::Barrier => self.barrier(),
            Deed::FailOver => self.fail_over(),
            Deed::Do(act, who) => {
                if let Some(command) = act.command(self.tenant(), self.log.len(), self.now_ms) {
                    let key = who.map(|instance| IdempotencyKey {
                        principal: Principal::Admin("p".into()),
                        instance: 1,
                        number: u64::from(instance),
                    });
                    let _ = self.apply(command, key);
                }
            }
        }
    }

    /// Without faults and without time passing: everything that can be decided is, and nothing of it is refused.
    fn quiet(&mut self) {
        while !self.flights.is_empty() {
            self.commit(0, true);
            self.settle(0, false);
        }
        self.barrier();
        for round in 0.. {
            assert!(round < 10_000, "no rest is reached");
            // Refusals from before may rest still.
            self.now_ms = self
                .manager
                .next_wakeup()
                .filter(|at| *at < self.now_ms + 30_000 && round < 50)
                .unwrap_or(0)
                .max(self.now_ms);
            if self.decide(16) == 0 && self.manager.next_wakeup().is_none_or(|at| at > self.now_ms) {
                break;
            }
            // What a timer does may overtake what was decided beside it; apart from that, nothing is refused.
            let fired = |flight: &Flight| matches!(flight.decision.command, Command::Fire { .. });
            let may_refuse = self.flights.iter().any(fired);
            while !self.flights.is_empty() {
                self.commit(0, true);
                let Flight { decision, result, .. } = &self.flights[0];
                let agreed = may_refuse || *result == Some(Settled::Applied);
                assert!(agreed, "state and queue manager disagree: {decision:?} {result:?}");
                self.settle(0, false);
            }
            self.hear(usize::MAX);
        }
        let views = self.tenant().views();
        // Both at the same time: an agent's pace depends on it.
        let mut anew = QueueManager::new(views.clone());
        for manager in [&mut self.manager, &mut anew] {
            manager.decide(self.now_ms, 0);
        }
        assert_eq!(self.manager.picture(), anew.picture());
        // The same question to the state itself, whatever the queue manager heard.
        let mut naive = Naive {
            reserved: Vec::new(),
            now_ms: self.now_ms,
            turns: self.heard.turns.clone(),
            ..Naive::default()
        };
        for event in as_events(&views) {
            learn(&mut naive, &event);
        }
        assert_eq!(naive.next(), None, "somebody waits although somebody is free");
    }

    /// At the end of the quarter hour, everybody's time is booked.
    fn close_quarter(&mut self) {
        let due = self
            .tenant()
            .views()
            .timers
            .into_iter()
            .find(|due| due.timer == Timer::QuarterHour);
        if let Some(due) = due {
            self.now_ms = self.now_ms.max(due.at_ms);
            let timer = due.timer;
            self.apply(Command::Fire { timer }, None).expect("it is due");
        }
    }

    /// What has left the state and what is in it, together, is what the events tell.
    fn kpis(&mut self) {
        let mut counted = std::mem::take(&mut self.left);
        for (key, figures) in self.tenant().report() {
            counted.entry(key.clone()).or_default().add(figures);
        }
        self.report.end(self.state.at_ms());
        naive_report::compare(&self.report, &counted);
    }

    /// Equal logs, equal everything; and a restored replica is the same replica.
    fn replay(&self) {
        let mut again = State::new();
        let mut half = None;
        for (at, (index, at_ms, envelope)) in self.log.iter().enumerate() {
            if at == self.log.len() / 2 {
                let mut bytes = Vec::new();
                again.capture().write(&mut bytes).expect("to memory");
                half = Some(State::read(&mut bytes.as_slice()).expect("what was written"));
            }
            let mut events = Vec::new();
            let result = again.apply(*index, *at_ms, envelope, &mut events);
            if let Some(half) = &mut half {
                let mut others = Vec::new();
                assert_eq!(half.apply(*index, *at_ms, envelope, &mut others), result);
                assert_eq!(others, events);
            }
        }
        for other in [Some(&again), half.as_ref()].into_iter().flatten() {
            assert_eq!(other.digest(), self.state.digest());
            assert_eq!(other.full_hash(), self.state.full_hash());
        }
        let bytes = |state: &State| {
            let mut bytes = Vec::new();
            state.capture().write(&mut bytes).expect("to memory");
            bytes
        };
        assert_eq!(bytes(&again), bytes(&self.state));
    }
}

fn as_events(views: &Views) -> impl Iterator<Item = Event> {
    let queues = views.queues.iter().cloned().map(Event::Queue);
    let supplies = views.supplies.iter().cloned().map(Event::Supply);
    queues
        .chain(supplies)
        .chain(views.demands.iter().cloned().map(Event::Demand))
}

fn learn(views: &mut Naive, event: &Event) {
    match event {
        Event::Demand(demand) => _ = views.demands.insert(demand.conversation, demand.clone()),
        Event::DemandEnded { conversation } => _ = views.demands.remove(conversation),
        Event::Supply(supply) => _ = views.supplies.insert(supply.agent, supply.clone()),
        Event::SupplyEnded { agent } => _ = views.supplies.remove(agent),
        Event::Queue(view) => _ = views.queues.insert(view.queue, view.clone()),
        Event::QueueEnded { queue } => _ = views.queues.remove(queue),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn nothing_is_lost_doubled_overtaken_or_left_waiting(deeds in prop::collection::vec(deed(), 1..200)) {
        let mut world = World::new();
        for deed in &deeds {
            world.step(deed);
        }
        world.quiet();
        world.close_quarter();
        world.kpis();
        world.replay();
    }
}
