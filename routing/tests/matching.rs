//! The queue manager on views alone: every decision equals the naive one, whatever the order in which events and results reach
//! it; indexes kept up with events equal those made from views.

#[path = "oracle/naive.rs"]
mod naive;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use naive::Naive;
use proptest::prelude::*;
use routing::command::{Command, Due, Timer, Value};
use routing::event::{AgentItem, AgentItemKind, Event};
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Epoch, QueueId, SkillName};
use routing::limits::PRIORITIES;
use routing::queue_manager::{DecisionId, QueueManager, Settled};
use routing::rejection::Rejection;
use routing::settings::{
    AgentChoice, AgentSettings, Capacity, ChannelCapacity, CrossQueue, CrossQueueTerms, Membership, Order,
    QueueSettings, Requirement, Ring, RingOpens, RoutingSettings, Selector, SelectorTest,
};
use routing::view::{Demand, Presence, QueueRates, QueueView, Speeds, Supply, Views};

const CHANNELS: [&str; 3] = ["chat", "email", "voice"];
const CHOICES: &[AgentChoice] = &[
    AgentChoice::LongestIdle,
    AgentChoice::LeastLoaded,
    AgentChoice::MostSkilled,
    AgentChoice::LeastSkilled,
    AgentChoice::RoundRobin,
    AgentChoice::FixedOrder,
    AgentChoice::WeightedRandom,
    AgentChoice::FewestHandledToday,
    AgentChoice::LeastSlowdown,
];
/// Days as short as these pass within a run.
const DAY_MS: u64 = 150;
const SKILLS: [&str; 2] = ["billing", "ja"];

#[derive(Clone, Debug)]
struct DemandShape {
    queue: u8,
    channel: u8,
    priority: u8,
    expedited: bool,
    since: u8,
    required: Vec<(u8, u8)>,
    preferred: Vec<(u8, u8)>,
    only: Option<u8>,
    excluded: BTreeSet<u8>,
    held: bool,
    /// As bits.
    rings: u8,
}

#[derive(Clone, Debug)]
struct AgentShape {
    skills: BTreeMap<u8, u8>,
    /// Tier, position, weight by queue.
    queues: BTreeMap<u8, (u8, u8, u8)>,
    total: u8,
    channels: BTreeMap<u8, (u8, u8, bool)>,
}

#[derive(Clone, Debug)]
enum Step {
    Demand(u8, DemandShape),
    DemandEnds(u8),
    Agent(u8, AgentShape),
    Presence(u8, u8),
    /// One conversation of the channel is over.
    Finish(u8, u8),
    AgentEnds(u8),
    /// Order, choice, terms, target.
    Queue(u8, u8, u8, (u8, u8)),
    Routing(u8),
    Rates(u8, u8),
    /// How many rings, and which of them are shared.
    Rings(u8, u8, u8),
    /// Handled today, of which day, and observed speeds by level.
    Learned(u8, u8, u8, Vec<u8>),
    /// The log takes this decision in flight, or loses it.
    Commit(u8, bool),
    Hear(u8),
    Settle(u8),
    /// The result of a decision in flight is unknown; later a barrier tells.
    Unknown(u8),
    Barrier,
    Decide(u8),
}

fn requirements() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec((0..2u8, 1..4u8), 1..3)]
}

fn demand() -> impl Strategy<Value = DemandShape> {
    let rare = || prop::bool::weighted(0.1);
    let only = prop_oneof![6 => Just(None), 1 => (0..6u8).prop_map(Some)];
    let excluded = prop_oneof![4 => Just(BTreeSet::new()), 1 => prop::collection::btree_set(0..6u8, 1..3)];
    let rings = prop_oneof![2 => Just(0), 1 => (0..4u8).prop_map(|bits| bits << 1)];
    let constraints = (requirements(), requirements(), only, excluded, rings);
    (0..3u8, 0..3u8, 0..10u8, rare(), 0..50u8, rare(), constraints).prop_map(
        |(queue, channel, priority, expedited, since, held, (required, preferred, only, excluded, rings))| {
            DemandShape {
                queue,
                channel,
                priority,
                expedited,
                since,
                required,
                preferred,
                only,
                excluded,
                held,
                rings,
            }
        },
    )
}

fn agent() -> impl Strategy<Value = AgentShape> {
    let tier = prop_oneof![2 => Just(0), 1 => 1..3u8];
    (
        prop::collection::btree_map(0..2u8, 1..4u8, 0..3),
        prop::collection::btree_map(0..3u8, (tier, 0..3u8, 1..4u8), 1..4),
        0..8u8,
        prop::collection::btree_map(0..3u8, (1..4u8, 0..3u8, prop::bool::weighted(0.2)), 1..4),
    )
        .prop_map(|(skills, queues, total, channels)| AgentShape {
            skills,
            queues,
            total,
            channels,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24u8, demand()).prop_map(|(id, shape)| Step::Demand(id, shape)),
        2 => (0..24u8).prop_map(Step::DemandEnds),
        2 => (0..6u8, agent()).prop_map(|(id, shape)| Step::Agent(id, shape)),
        4 => (0..6u8, 0..8u8).prop_map(|(id, presence)| Step::Presence(id, presence)),
        6 => (0..6u8, 0..3u8).prop_map(|(id, channel)| Step::Finish(id, channel)),
        1 => (0..6u8).prop_map(Step::AgentEnds),
        2 => (0..3u8, 0..8u8, 0..CHOICES.len() as u8, (1..4u8, 1..4u8))
            .prop_map(|(id, order, choice, terms)| Step::Queue(id, order, choice, terms)),
        1 => (0..7u8).prop_map(Step::Routing),
        1 => (0..3u8, 0..4u8).prop_map(|(id, handle)| Step::Rates(id, handle)),
        2 => (0..3u8, 0..3u8, 0..4u8).prop_map(|(id, rings, shared)| Step::Rings(id, rings, shared << 1)),
        2 => (0..6u8, 0..4u8, 0..3u8, prop::collection::vec(0..4u8, 0..4))
            .prop_map(|(id, today, day, speeds)| Step::Learned(id, today, day, speeds)),
        8 => (any::<u8>(), prop::bool::weighted(0.9)).prop_map(|(at, taken)| Step::Commit(at, taken)),
        6 => (1..12u8).prop_map(Step::Hear),
        6 => any::<u8>().prop_map(Step::Settle),
        1 => any::<u8>().prop_map(Step::Unknown),
        1 => Just(Step::Barrier),
        8 => (1..6u8).prop_map(Step::Decide),
    ]
}

/// R3: every third wants another site than one of three.
fn selectors(since: u8) -> Arc<[Selector]> {
    let test = SelectorTest::NotEquals(Value::Number(i64::from(since / 3 % 3)));
    let attribute = "site".to_owned();
    let wanted = since.is_multiple_of(3).then_some(Selector { attribute, test });
    wanted.into_iter().collect()
}

fn list(shape: &[(u8, u8)]) -> Arc<[Requirement]> {
    let mut list: Vec<_> = (shape.iter())
        .map(|&(skill, level)| Requirement {
            skill: SkillName(SKILLS[usize::from(skill)].into()),
            level,
        })
        .collect();
    list.sort();
    list.dedup_by(|a, b| a.skill == b.skill);
    list.into()
}

fn channel(at: u8) -> Channel {
    Channel(CHANNELS[usize::from(at)].into())
}

fn id(n: u8) -> u128 {
    // Handles must not depend on the order of ids.
    u128::from(n).wrapping_mul(0x9e37_79b9) % 251
}

impl AgentShape {
    fn settings(&self) -> Arc<AgentSettings> {
        let channels = self.channels.iter().map(|(&at, &(concurrent_max, cost, exclusive))| {
            let capacity = ChannelCapacity {
                concurrent_max: concurrent_max.into(),
                cost: cost.into(),
                exclusive,
                interruptible: false,
            };
            (channel(at), capacity)
        });
        Arc::new(AgentSettings {
            skills: self
                .skills
                .iter()
                .map(|(&s, &l)| (SkillName(SKILLS[usize::from(s)].into()), l))
                .collect(),
            queues: (self.queues.iter())
                .map(|(&queue, &(tier, position, weight))| {
                    let membership = Membership {
                        tier,
                        position: position.into(),
                        weight: weight.into(),
                    };
                    (QueueId(id(queue)), membership)
                })
                .collect(),
            capacity: Capacity {
                total: self.total.into(),
                channels: channels.collect(),
                interruptible: 0,
            },
            attributes: BTreeMap::from([("site".to_owned(), Value::Number(i64::from(self.total % 3)))]),
            ..AgentSettings::default()
        })
    }
}

fn order_of(n: u8) -> Order {
    let by_priority = |base: u32, step: u32| std::array::from_fn(|priority| base + step * priority as u32);
    match n {
        0 | 1 => Order::StrictPriority,
        2 => Order::LinearAgeing { step_ms: 3 },
        3 => Order::LinearAgeing { step_ms: 20 },
        4 => Order::AccumulatingPriority {
            rates: by_priority(1_000, 3),
        },
        5 => Order::AccumulatingPriority {
            rates: by_priority(0, 1),
        },
        6 => Order::EarliestDeadline {
            targets_ms: by_priority(0, 3).map(u64::from),
        },
        _ => Order::EarliestDeadline {
            targets_ms: [0; PRIORITIES],
        },
    }
}

#[derive(Clone, Debug)]
struct Flight {
    id: DecisionId,
    conversation: ConversationId,
    agent: AgentId,
    channel: Channel,
    /// Its events have been heard.
    landed: bool,
    /// Result, once committed.
    result: Option<Settled>,
    unsure: bool,
}

/// A log, what it has decided (`truth`), and what the queue manager has heard of it (`heard`).
struct World {
    truth: Naive,
    heard: Naive,
    index: u64,
    unheard: VecDeque<(u64, Vec<Event>)>,
    flights: Vec<Flight>,
    /// Settled as applied, not yet landed; or settled as unknown.
    settled: Vec<Flight>,
    manager: QueueManager,
    arrivals: u64,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            truth: Naive::default(),
            heard: Naive::default(),
            index: 0,
            unheard: VecDeque::new(),
            flights: Vec::new(),
            settled: Vec::new(),
            manager: QueueManager::new(Views::default()),
            arrivals: 0,
            now_ms: 1_000,
        };
        for queue in 0..3 {
            world.step(&Step::Queue(queue, 0, queue, (1, 3)));
        }
        world
    }

    fn commit(&mut self, events: Vec<Event>) {
        self.index += 1;
        for event in &events {
            learn(&mut self.truth, event);
        }
        self.unheard.push_back((self.index, events));
    }

    fn hear(&mut self, most: usize) {
        for _ in 0..most {
            let Some((index, events)) = self.unheard.pop_front() else {
                return;
            };
            for event in &events {
                learn(&mut self.heard, event);
                self.manager.observe(index, event);
                if let Event::Agent(AgentItem {
                    agent,
                    kind: AgentItemKind::Offered { conversation, .. },
                    ..
                }) = event
                {
                    for flight in self.flights.iter_mut().chain(&mut self.settled) {
                        flight.landed |= flight.conversation == *conversation && flight.agent == *agent;
                    }
                }
            }
        }
    }

    fn step(&mut self, step: &Step) {
        self.now_ms += 7;
        match step {
            Step::Demand(n, shape) => {
                let conversation = ConversationId(id(*n));
                self.arrivals += 1;
                let excluded: BTreeSet<_> = shape.excluded.iter().map(|&a| AgentId(id(a))).collect();
                let demand = Demand {
                    conversation,
                    queue: QueueId(id(shape.queue)),
                    channel: channel(shape.channel),
                    priority: shape.priority,
                    expedited: shape.expedited,
                    since_ms: shape.since.into(),
                    arrival: self.arrivals,
                    required: list(&shape.required),
                    preferred: list(&shape.preferred),
                    only: shape.only.map(|a| AgentId(id(a))),
                    excluded: excluded.into_iter().collect(),
                    held: shape.held,
                    rings: shape.rings,
                    selectors: selectors(shape.since),
                    offers: self.arrivals % 3,
                };
                self.commit(vec![Event::Demand(demand)]);
            }
            Step::DemandEnds(n) => {
                let conversation = ConversationId(id(*n));
                if self.truth.demands.contains_key(&conversation) {
                    self.commit(vec![Event::DemandEnded { conversation }]);
                }
            }
            Step::Agent(n, shape) => {
                let agent = AgentId(id(*n));
                let settings = shape.settings();
                let old = self.truth.supplies.get(&agent);
                let load = old.map(|s| s.load.clone()).unwrap_or_default();
                let supply = Supply {
                    agent,
                    presence: old.map_or(Presence::Available, |s| s.presence.clone()),
                    used: load.iter().map(|(c, &n)| u32::from(n) * cost(&settings, c)).sum(),
                    load,
                    settings,
                    idle_since_ms: old.map_or(self.now_ms % 40, |s| s.idle_since_ms),
                    signed_in_at_ms: 0,
                    recent: Vec::new(),
                    handled_today: old.map_or(0, |s| s.handled_today),
                    today_since_ms: old.map_or(0, |s| s.today_since_ms),
                    speeds: old.map(|s| Arc::clone(&s.speeds)).unwrap_or_default(),
                };
                self.commit(vec![Event::Supply(supply)]);
            }
            Step::Presence(n, presence) => self.change_supply(*n, |supply, _| {
                supply.presence = match presence {
                    0 => Presence::Offline,
                    1 => Presence::Away("lunch".into()),
                    2 => Presence::Draining,
                    3 => Presence::Suspect {
                        until_ms: 9,
                        was: Box::new(Presence::Available),
                    },
                    _ => Presence::Available,
                }
            }),
            Step::Learned(n, today, day, speeds) => self.change_supply(*n, |supply, now_ms| {
                supply.handled_today = (*today).into();
                supply.today_since_ms = (now_ms - now_ms % DAY_MS) - u64::from(*day) * DAY_MS;
                let mut learned = Speeds::default();
                for (level, ms) in speeds.iter().enumerate() {
                    learned.handle_ms[level] = u64::from(*ms) * 40;
                }
                supply.speeds = Arc::new(learned);
            }),
            Step::Finish(n, at) => self.change_supply(*n, |supply, now_ms| {
                let done = channel(*at);
                if let Some(count) = supply.load.get_mut(&done).filter(|count| **count > 0) {
                    *count -= 1;
                    supply.used = supply.used.saturating_sub(cost(&supply.settings, &done));
                    supply.idle_since_ms = now_ms % 40;
                }
            }),
            Step::AgentEnds(n) => {
                let agent = AgentId(id(*n));
                if self.truth.supplies.contains_key(&agent) {
                    self.commit(vec![Event::SupplyEnded { agent }]);
                }
            }
            Step::Routing(policy) => {
                let settings = RoutingSettings {
                    cross_queue: [
                        CrossQueue::PriorityThenAge,
                        CrossQueue::StrictRank,
                        CrossQueue::Weighted,
                        CrossQueue::LongestWait,
                        CrossQueue::EarliestDeadline,
                        CrossQueue::FixedQueueRatio,
                        CrossQueue::GeneralisedCmu,
                    ][usize::from(*policy)],
                    day_starts_ms: (0..40).map(|day| day * DAY_MS).collect(),
                    ..RoutingSettings::default()
                };
                self.commit(vec![Event::Routing(Arc::new(settings))]);
            }
            Step::Rates(n, handle) => {
                let rates = QueueRates {
                    queue: QueueId(id(*n)),
                    handle_ms: u64::from(*handle) * 50,
                    ..QueueRates::default()
                };
                self.commit(vec![Event::Rates(rates)]);
            }
            Step::Queue(n, order, choice, (term, target)) => {
                let queue = QueueId(id(*n));
                let mut settings = QueueSettings::named("q");
                settings.order = order_of(*order);
                settings.choice = CHOICES[usize::from(*choice)];
                settings.answer_target_ms = u64::from(*target) * 10;
                settings.cross_queue = CrossQueueTerms {
                    weight: (*term).into(),
                    rank: term % 3,
                    ratio: (*term).into(),
                    cost: (*term).into(),
                };
                let before = self.truth.queues.get(&queue);
                settings.rings = before.map(|view| view.settings.rings.clone()).unwrap_or_default();
                let view = QueueView {
                    queue,
                    settings: Arc::new(settings),
                    version: self.index,
                    shared_rings: before.map_or(0, |view| view.shared_rings),
                    open: true,
                };
                self.commit(vec![Event::Queue(view)]);
            }
            Step::Rings(n, rings, shared) => {
                let mut view = self.truth.queues[&QueueId(id(*n))].clone();
                let mut settings = QueueSettings::clone(&view.settings);
                let ring = Ring {
                    opens: RingOpens::AfterMs(1),
                };
                settings.rings = vec![ring; usize::from(*rings)];
                view.settings = Arc::new(settings);
                view.shared_rings = *shared;
                self.commit(vec![Event::Queue(view)]);
            }
            Step::Commit(at, taken) => self.commit_flight(*at, *taken),
            Step::Hear(most) => self.hear(usize::from(*most)),
            Step::Settle(at) => self.settle(*at),
            Step::Unknown(at) => {
                if !self.flights.is_empty() {
                    let mut flight = self.flights.remove(usize::from(*at) % self.flights.len());
                    self.manager.settle(flight.id, Settled::Unknown);
                    flight.unsure = true;
                    self.settled.push(flight);
                }
            }
            Step::Barrier => self.barrier(),
            Step::Decide(limit) => self.decide(usize::from(*limit)),
        }
    }

    fn change_supply(&mut self, n: u8, change: impl FnOnce(&mut Supply, u64)) {
        if let Some(mut supply) = self.truth.supplies.get(&AgentId(id(n))).cloned() {
            change(&mut supply, self.now_ms);
            self.commit(vec![Event::Supply(supply)]);
        }
    }

    /// A decision reaches the log: the truth takes it or refuses it; or it never does.
    fn commit_flight(&mut self, at: u8, taken: bool) {
        let open: Vec<usize> = (0..self.flights.len())
            .filter(|&i| self.flights[i].result.is_none())
            .collect();
        if open.is_empty() {
            return;
        }
        let at = open[usize::from(at) % open.len()];
        if !taken {
            self.flights[at].result = Some(Settled::Unknown);
            return;
        }
        let flight = self.flights[at].clone();
        let good = self.truth.demands.get(&flight.conversation).filter(|demand| {
            let supply = self.truth.supplies.get(&flight.agent);
            !demand.held && demand.channel == flight.channel && supply.is_some_and(|s| self.truth.eligible(demand, s))
        });
        if good.is_none() {
            self.flights[at].result = Some(Settled::Rejected(Rejection::NothingOutstanding));
            return;
        }
        let mut supply = self.truth.supplies[&flight.agent].clone();
        *supply.load.entry(flight.channel.clone()).or_default() += 1;
        supply.used += cost(&supply.settings, &flight.channel);
        let offered = AgentItemKind::Offered {
            conversation: flight.conversation,
            epoch: Epoch(1),
            deadline_ms: 0,
            queue: QueueId(0),
            channel: flight.channel.clone(),
            customer: CustomerId(String::new()),
        };
        let item = AgentItem {
            agent: flight.agent,
            agent_seq: 1,
            at_ms: 0,
            kind: offered,
        };
        self.flights[at].result = Some(Settled::Applied);
        let mut events = vec![
            Event::DemandEnded {
                conversation: flight.conversation,
            },
            Event::Agent(item),
            Event::Supply(supply),
        ];
        let turn = self.index as usize % 3;
        events.rotate_left(turn);
        self.commit(events);
    }

    fn settle(&mut self, at: u8) {
        let done: Vec<usize> = (0..self.flights.len())
            .filter(|&i| self.flights[i].result.is_some())
            .collect();
        if done.is_empty() {
            return;
        }
        let flight = self.flights.remove(done[usize::from(at) % done.len()]);
        let result = flight.result.clone().expect("it is done");
        if matches!(result, Settled::Rejected(_)) {
            // What refused it was heard before: else the queue manager would rest for a moment, which the oracle does not.
            self.hear(usize::MAX);
        }
        self.manager.settle(flight.id, result.clone());
        match result {
            Settled::Applied => self.settled.push(flight),
            Settled::Unknown => self.settled.push(Flight { unsure: true, ..flight }),
            _ => {}
        }
    }

    fn barrier(&mut self) {
        self.hear(usize::MAX);
        self.manager.barrier_passed();
        self.settled.clear();
    }

    fn reservations(&self) -> Vec<(ConversationId, AgentId, Channel)> {
        let open = self.flights.iter().chain(&self.settled).filter(|flight| !flight.landed);
        open.map(|flight| (flight.conversation, flight.agent, flight.channel.clone()))
            .collect()
    }

    fn decide(&mut self, limit: usize) {
        self.settled.retain(|flight| !flight.landed);
        self.heard.reserved = self.reservations();
        self.heard.now_ms = self.now_ms;
        let decisions = self.manager.decide(self.now_ms, limit);
        for decision in &decisions {
            let Command::Offer {
                conversation,
                agent,
                explanation,
            } = &decision.command
            else {
                panic!("no timers here")
            };
            let demand = self.heard.demands[conversation].clone();
            let wanted = self.heard.next();
            assert_eq!(Some((*conversation, vec![*agent])), wanted, "not the naive decision");
            assert_eq!(explanation.best.first().map(|b| b.0), Some(*agent));
            let flight = Flight {
                id: decision.id,
                conversation: *conversation,
                agent: *agent,
                channel: demand.channel,
                landed: false,
                result: None,
                unsure: false,
            };
            self.flights.push(flight);
        }
        if decisions.len() < limit {
            assert_eq!(self.heard.next(), None, "somebody waits although somebody is free");
        }
    }

    /// Everything arrives; then the indexes equal those made from views.
    fn quiet(&mut self) {
        while !self.flights.is_empty() {
            self.commit_flight(0, true);
            self.settle(0);
        }
        self.barrier();
        // Lets go of what landed.
        self.manager.decide(self.now_ms, 0);
        let views = Views {
            queues: self.heard.queues.values().cloned().collect(),
            supplies: self.heard.supplies.values().rev().cloned().collect(),
            demands: self.heard.demands.values().cloned().collect(),
            timers: Vec::new(),
            routing: Arc::new(self.heard.routing.clone()),
            rates: self.heard.rates.values().copied().collect(),
            policy_version: 0,
        };
        let mut another = QueueManager::new(views);
        another.decide(self.now_ms, 0);
        assert_eq!(self.manager.picture(), another.picture());
        self.explanations();
    }

    /// Each explanation agrees with the naive view of the same question.
    fn explanations(&mut self) {
        self.heard.reserved.clear();
        for demand in self.heard.demands.values() {
            let eligible = self
                .heard
                .supplies
                .values()
                .filter(|s| self.heard.eligible(demand, s))
                .count();
            for (id, supply) in &self.heard.supplies {
                let why = self.manager.explain(demand.conversation, Some(*id)).expect("it waits");
                let agent = why.agent.clone().expect("asked for");
                assert_eq!(
                    agent.failed.is_empty(),
                    self.heard.eligible(demand, supply),
                    "{agent:?} {demand:?} {supply:?}"
                );
                assert_eq!(why.eligible as usize, eligible, "{why:?}");
                if demand.only.is_none() {
                    let removed: u32 = why.removed.iter().map(|(_, count)| count).sum();
                    assert_eq!(why.considered, why.eligible + removed);
                }
            }
        }
    }
}

fn cost(settings: &AgentSettings, channel: &Channel) -> u32 {
    settings.capacity.channels.get(channel).map_or(0, |c| c.cost)
}

fn learn(views: &mut Naive, event: &Event) {
    match event {
        Event::Demand(demand) => {
            views.demands.insert(demand.conversation, demand.clone());
        }
        Event::DemandEnded { conversation } => {
            views.demands.remove(conversation);
        }
        Event::Supply(supply) => {
            views.supplies.insert(supply.agent, supply.clone());
        }
        Event::SupplyEnded { agent } => {
            views.supplies.remove(agent);
        }
        Event::Queue(view) => {
            views.queues.insert(view.queue, view.clone());
        }
        Event::Routing(settings) => views.routing = (**settings).clone(),
        Event::Rates(rates) => _ = views.rates.insert(rates.queue, *rates),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn every_decision_is_the_naive_one(steps in prop::collection::vec(step(), 1..160)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.quiet();
        world.decide(64);
    }
}

#[test]
fn timers_are_proposed_once_when_due_and_again_when_they_were_not_due_after_all() {
    let timer = Timer::AbandonHold {
        conversation: ConversationId(1),
    };
    let views = Views {
        timers: vec![Due { at_ms: 100, timer }],
        ..Views::default()
    };
    let mut manager = QueueManager::new(views);
    assert_eq!(manager.next_wakeup(), Some(100));
    assert!(manager.decide(99, 8).is_empty());
    let fired = manager.decide(100, 8);
    assert_eq!(fired.len(), 1);
    assert_eq!(fired[0].command, Command::Fire { timer });
    assert!(manager.decide(101, 8).is_empty());
    assert_eq!(manager.next_wakeup(), None);
    manager.settle(
        fired[0].id,
        Settled::Rejected(Rejection::NotDue { due_ms: 100, at_ms: 96 }),
    );
    assert_eq!(manager.next_wakeup(), Some(105));
    let again = manager.decide(105, 8);
    manager.settle(again[0].id, Settled::Unknown);
    assert!(manager.decide(200, 8).is_empty());
    manager.barrier_passed();
    let third = manager.decide(200, 8);
    assert_eq!(third[0].command, Command::Fire { timer });
    // Set anew while the old one is on its way: the result of the old one says nothing about the new one.
    manager.observe(5, &Event::TimerSet(Due { at_ms: 300, timer }));
    manager.settle(third[0].id, Settled::Rejected(Rejection::NothingOutstanding));
    assert_eq!(manager.next_wakeup(), Some(300));
    manager.observe(6, &Event::TimerCleared { timer });
    assert_eq!(manager.next_wakeup(), None);
}

#[test]
fn what_the_state_refuses_without_a_word_rests_longer_each_time() {
    let mut world = World::new();
    let shape = AgentShape {
        skills: BTreeMap::new(),
        queues: [(0, (0, 0, 1))].into(),
        total: 3,
        channels: [(0, (3, 1, false))].into(),
    };
    let demand = DemandShape {
        queue: 0,
        channel: 0,
        priority: 5,
        expedited: false,
        since: 1,
        required: vec![],
        preferred: vec![],
        only: None,
        excluded: BTreeSet::new(),
        held: false,
        rings: 0,
    };
    world.step(&Step::Agent(0, shape));
    world.step(&Step::Demand(0, demand));
    world.hear(9);
    let manager = &mut world.manager;
    let first = manager.decide(1_000, 8);
    manager.settle(
        first[0].id,
        Settled::Rejected(Rejection::NotEligible { why: "?".into() }),
    );
    assert!(manager.decide(1_001, 8).is_empty());
    assert_eq!(manager.next_wakeup(), Some(1_050));
    let second = manager.decide(1_050, 8);
    assert_eq!(second.len(), 1);
    manager.settle(
        second[0].id,
        Settled::Rejected(Rejection::NotEligible { why: "?".into() }),
    );
    assert_eq!(manager.next_wakeup(), Some(1_150));
    // A word about it ends the rest.
    let heard = world.heard.demands.values().next().expect("it waits").clone();
    manager.observe(99, &Event::Demand(heard));
    assert_eq!(manager.decide(1_060, 8).len(), 1);
}

#[test]
fn events_that_the_start_knew_are_ignored() {
    let mut manager = QueueManager::starting_at(7, Views::default());
    let timer = Timer::ForgetWindows;
    manager.observe(7, &Event::TimerSet(Due { at_ms: 1, timer }));
    assert_eq!(manager.next_wakeup(), None);
    manager.observe(8, &Event::TimerSet(Due { at_ms: 1, timer }));
    assert_eq!(manager.next_wakeup(), Some(1));
}
