//! A queue manager with busy agents and long queues, on views alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::command::{Command, Value};
use routing::event::{AgentItem, AgentItemKind, Event};
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Epoch, QueueId, SkillName};
use routing::queue_manager::{Decision, QueueManager, Settled};
use routing::settings::{
    AgentChoice, AgentSettings, AssignmentRate, Capacity, ChannelCapacity, CrossQueue, CrossQueueTerms, Membership,
    Order, QueueSettings, Requirement, Ring, RingOpens, RoutingSettings, Selector, SelectorTest,
};
use routing::view::{Demand, Presence, QueueRates, QueueView, Speeds, Supply, Views};

pub const AGENTS: usize = 10_000;
pub const PROFILES: usize = 1_000;
pub const CLASSES: usize = 1_000;
pub const QUEUES: usize = 50;
pub const SKILLS: usize = 20;
/// Conversations that an agent holds at most.
pub const SLOTS: u16 = 3;

/// Which policies the queues have.
#[derive(Clone, Copy, PartialEq)]
pub enum Policies {
    /// Longest idle, strict priority.
    Plain,
    /// The first four choices and the first two orders.
    Mixed,
    /// Every feature: all orders and choices, a cross-queue policy that weighs costs and speeds, rings, selectors, wishes, agents
    /// named and excluded, offers to several, learned speeds, rate caps, batches.
    Everything,
}

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub agents: usize,
    pub profiles: usize,
    pub classes: usize,
    pub waiting: usize,
}

impl Size {
    /// Of the design's target, with so many waiting.
    pub fn of(waiting: usize) -> Self {
        Self {
            agents: AGENTS,
            profiles: PROFILES,
            classes: CLASSES,
            waiting,
        }
    }
}

pub fn chat() -> Channel {
    Channel("chat".into())
}

fn spread(n: usize) -> u128 {
    // Ids as they are in life: in no order.
    u128::from((n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 32 | n as u128
}

pub fn queue_id(n: usize) -> QueueId {
    QueueId(spread(n))
}

pub fn agent_id(n: usize) -> AgentId {
    AgentId(spread(n))
}

pub fn conversation_id(n: u64) -> ConversationId {
    ConversationId(spread(n as usize))
}

pub fn skill(n: usize) -> SkillName {
    SkillName(format!("skill.{n:02}"))
}

pub fn queue_settings(n: usize, policies: Policies) -> QueueSettings {
    let mut settings = QueueSettings::named(&format!("queue {n}"));
    if policies == Policies::Mixed {
        settings.choice = [
            AgentChoice::LongestIdle,
            AgentChoice::LeastLoaded,
            AgentChoice::MostSkilled,
            AgentChoice::RoundRobin,
        ][n % 4];
        if n.is_multiple_of(3) {
            settings.order = Order::LinearAgeing { step_ms: 30_000 };
        }
    }
    if policies == Policies::Everything {
        settings.choice = [
            AgentChoice::LongestIdle,
            AgentChoice::LeastLoaded,
            AgentChoice::MostSkilled,
            AgentChoice::RoundRobin,
            AgentChoice::FixedOrder,
            AgentChoice::WeightedRandom,
            AgentChoice::FewestHandledToday,
            AgentChoice::LeastSlowdown,
            AgentChoice::LeastSkilled,
        ][n % 9];
        settings.order = [
            Order::StrictPriority,
            Order::LinearAgeing { step_ms: 30_000 },
            Order::AccumulatingPriority {
                rates: [1, 1, 2, 2, 3, 3, 4, 4, 5, 5],
            },
            Order::EarliestDeadline {
                targets_ms: [
                    90_000, 80_000, 70_000, 60_000, 50_000, 40_000, 30_000, 20_000, 10_000, 5_000,
                ],
            },
        ][n / 9 % 4]
            .clone();
        settings.offers_at_once = if n % 10 == 9 { 2 } else { 1 };
        let ring = |after_ms| Ring {
            opens: RingOpens::AfterMs(after_ms),
        };
        settings.rings = vec![ring(20_000), ring(60_000)];
        settings.cross_queue = CrossQueueTerms {
            weight: 1 + n as u32 % 5,
            rank: n as u8 % 3,
            ratio: 1 + n as u32 % 4,
            cost: 1 + n as u32 % 7,
        };
    }
    settings
}

/// What is learned of agents, each another.
fn speeds(n: usize) -> Arc<Speeds> {
    let mut speeds = Speeds::default();
    for (level, handle_ms) in speeds.handle_ms.iter_mut().enumerate() {
        *handle_ms = 200_000 + (n as u64 * 7_919 % 100_000) + level as u64 * 40_000;
        speeds.seen[level] = 10;
    }
    Arc::new(speeds)
}

/// Five queues of fifty and six skills of twenty: a profile serves some twenty classes of the thousand.
pub fn agent_settings(profile: usize, name: String, policies: Policies) -> AgentSettings {
    let skills = (0..6).map(|i| {
        (
            skill((profile * 3 + i * 7) % SKILLS),
            1 + ((profile / 20 + i) % 10) as u8,
        )
    });
    let channel = ChannelCapacity {
        concurrent_max: SLOTS,
        cost: 1,
        exclusive: false,
        interruptible: false,
    };
    AgentSettings {
        name,
        skills: skills.collect(),
        queues: (0..5)
            .map(|i| (queue_id((profile + i * 11) % QUEUES), membership(profile, i, policies)))
            .collect(),
        attributes: BTreeMap::from([("site".to_owned(), Value::Number((profile % 3) as i64))]),
        rate: (policies == Policies::Everything).then_some(AssignmentRate {
            max: 32,
            window_ms: 1_000,
        }),
        capacity: Capacity {
            total: SLOTS.into(),
            channels: BTreeMap::from([(chat(), channel)]),
            interruptible: 0,
        },
        ..AgentSettings::default()
    }
}

fn membership(profile: usize, i: usize, policies: Policies) -> Membership {
    if policies != Policies::Everything {
        return Membership::default();
    }
    Membership {
        tier: ((profile + i) % 3) as u8,
        position: (profile % 17) as u16,
        weight: 1 + (profile % 4) as u16,
    }
}

/// What a class asks for: its queue, and one skill.
pub fn class(n: usize) -> (QueueId, Vec<Requirement>) {
    let level = 1 + (n / 100 % 5) as u8;
    (
        queue_id(n % QUEUES),
        vec![Requirement {
            skill: skill(n / QUEUES % SKILLS),
            level,
        }],
    )
}

/// Deterministic, and cheap.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

pub struct Shop {
    manager: QueueManager,
    supplies: Vec<Supply>,
    agent_of: BTreeMap<AgentId, usize>,
    classes: Vec<(QueueId, Arc<[Requirement]>)>,
    nothing: Arc<[Requirement]>,
    wishes: Arc<[Requirement]>,
    anybody: Arc<[Selector]>,
    not_here: Arc<[Selector]>,
    dice: Dice,
    arrivals: u64,
    index: u64,
    now_ms: u64,
    everything: bool,
}

impl Shop {
    pub fn new(size: Size, policies: Policies) -> Self {
        let everything = policies == Policies::Everything;
        let profiles: Vec<Arc<AgentSettings>> = (0..size.profiles)
            .map(|p| Arc::new(agent_settings(p, String::new(), policies)))
            .collect();
        let supplies: Vec<Supply> = (0..size.agents)
            .map(|n| Supply {
                agent: agent_id(n),
                settings: Arc::clone(&profiles[n % size.profiles]),
                presence: Presence::Available,
                load: BTreeMap::from([(chat(), SLOTS)]),
                used: SLOTS.into(),
                idle_since_ms: n as u64,
                signed_in_at_ms: 0,
                recent: Vec::new(),
                handled_today: if everything { n as u32 % 50 } else { 0 },
                today_since_ms: 0,
                speeds: if everything { speeds(n) } else { Arc::default() },
            })
            .collect();
        let mut shop = Self {
            manager: QueueManager::new(Views::default()),
            agent_of: supplies
                .iter()
                .enumerate()
                .map(|(n, supply)| (supply.agent, n))
                .collect(),
            supplies,
            classes: (0..size.classes)
                .map(class)
                .map(|(queue, required)| (queue, required.into()))
                .collect(),
            nothing: Arc::new([]),
            wishes: Arc::new([Requirement {
                skill: skill(SKILLS / 2),
                level: 3,
            }]),
            anybody: Arc::new([]),
            not_here: Arc::new([Selector {
                attribute: "site".to_owned(),
                test: SelectorTest::NotEquals(Value::Number(1)),
            }]),
            dice: Dice::new(),
            arrivals: 0,
            index: 1,
            now_ms: 1_000_000,
            everything,
        };
        let queues = (0..QUEUES).map(|n| QueueView {
            queue: queue_id(n),
            settings: Arc::new(queue_settings(n, policies)),
            version: 1,
            shared_rings: 0,
            open: true,
        });
        let views = Views {
            queues: queues.collect(),
            supplies: shop.supplies.clone(),
            demands: (0..size.waiting).map(|_| shop.newcomer()).collect(),
            routing: Arc::new(if everything {
                RoutingSettings {
                    cross_queue: CrossQueue::GeneralisedCmu,
                    batch_max: 16,
                    ..RoutingSettings::default()
                }
            } else {
                RoutingSettings::default()
            }),
            rates: (0..if everything { QUEUES } else { 0 })
                .map(|n| QueueRates {
                    queue: queue_id(n),
                    handle_ms: 120_000 + n as u64 * 10_000,
                    patience_ms: 300_000,
                    handled: 1_000,
                    ..QueueRates::default()
                })
                .collect(),
            ..Views::default()
        };
        shop.manager = QueueManager::new(views);
        assert!(shop.decide(usize::MAX, false).is_empty(), "everybody is busy");
        shop
    }

    pub fn into_manager(self) -> QueueManager {
        self.manager
    }

    fn newcomer(&mut self) -> Demand {
        self.arrivals += 1;
        self.now_ms += 1;
        let one_in = |n: u64| self.everything && self.arrivals.is_multiple_of(n);
        let (wishes, somewhere, named, without) = (one_in(3), one_in(4), one_in(200), one_in(150));
        let somebody = agent_id(self.dice.below(self.supplies.len()));
        let class = self.dice.below(self.classes.len());
        let (queue, required) = &self.classes[class];
        Demand {
            conversation: conversation_id(self.arrivals),
            queue: *queue,
            channel: chat(),
            priority: (self.arrivals % 10) as u8,
            expedited: self.arrivals.is_multiple_of(1_000),
            since_ms: self.now_ms,
            arrival: self.arrivals,
            required: Arc::clone(required),
            preferred: Arc::clone(if wishes { &self.wishes } else { &self.nothing }),
            only: named.then_some(somebody),
            excluded: if without { vec![somebody] } else { Vec::new() },
            held: false,
            rings: if self.everything {
                self.arrivals as u8 % 4 * 2
            } else {
                0
            },
            selectors: Arc::clone(if somewhere { &self.not_here } else { &self.anybody }),
            offers: 0,
        }
    }

    fn observe(&mut self, event: &Event) {
        self.index += 1;
        self.manager.observe(self.index, event);
    }

    fn hold(&mut self, agent: AgentId, more: i16) {
        let supply = &mut self.supplies[self.agent_of[&agent]];
        let held = supply.load.entry(chat()).or_default();
        *held = held.wrapping_add_signed(more);
        supply.used = supply.used.wrapping_add_signed(more.into());
        supply.idle_since_ms = self.now_ms;
        let event = Event::Supply(supply.clone());
        self.observe(&event);
    }

    fn tell(&mut self, agent: AgentId, kind: AgentItemKind) {
        self.observe(&Event::Agent(AgentItem {
            agent,
            agent_seq: 1,
            at_ms: 0,
            kind,
        }));
    }

    /// So many conversations end.
    pub fn free(&mut self, slots: usize) {
        for _ in 0..slots {
            let one = self.dice.below(self.supplies.len());
            let supply = &mut self.supplies[one];
            let held = supply.load.get_mut(&chat()).expect("they chat");
            if *held > 0 {
                *held -= 1;
                supply.used -= 1;
                let event = Event::Supply(supply.clone());
                self.observe(&event);
            }
        }
    }

    pub fn decide(&mut self, limit: usize, explained: bool) -> Vec<Decision> {
        if explained {
            self.manager.decide(self.now_ms, limit)
        } else {
            self.manager.decide_unexplained(self.now_ms, limit)
        }
    }

    /// Decides until nothing is left to decide.
    pub fn exhaust(&mut self) {
        loop {
            let decisions = self.decide(1_000, false);
            if decisions.is_empty() {
                return;
            }
            self.land(decisions);
        }
    }

    /// The decisions are applied; a newcomer comes for each.
    pub fn land(&mut self, decisions: Vec<Decision>) {
        for Decision { id, command } in decisions {
            let (conversation, agents) = match command {
                Command::Offer {
                    conversation, agent, ..
                } => (conversation, vec![agent]),
                Command::OfferToMany {
                    conversation, agents, ..
                } => (conversation, agents),
                _ => unreachable!("no timers here"),
            };
            self.observe(&Event::DemandEnded { conversation });
            for agent in &agents {
                self.hold(*agent, 1);
                self.tell(
                    *agent,
                    AgentItemKind::Offered {
                        conversation,
                        epoch: Epoch(1),
                        deadline_ms: 0,
                        queue: QueueId(0),
                        channel: chat(),
                        customer: CustomerId(String::new()),
                    },
                );
            }
            self.manager.settle(id, Settled::Applied);
            // The first accepts: the others have their room back.
            for agent in &agents[1..] {
                self.hold(*agent, -1);
            }
            let newcomer = self.newcomer();
            self.observe(&Event::Demand(newcomer));
        }
        // Lets go of what has landed, which is no part of the next choice.
        assert!(self.decide(0, false).is_empty());
    }
}
