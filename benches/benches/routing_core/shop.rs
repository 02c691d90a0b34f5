//! A queue manager with busy agents and long queues, on views alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::command::Command;
use routing::event::{AgentItem, AgentItemKind, Event};
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Epoch, QueueId, SkillName};
use routing::queue_manager::{Decision, QueueManager, Settled};
use routing::settings::{
    AgentChoice, AgentSettings, Capacity, ChannelCapacity, Membership, Order, QueueSettings, Requirement,
};
use routing::view::{Demand, Presence, QueueView, Supply, Views};

pub const AGENTS: usize = 10_000;
pub const PROFILES: usize = 1_000;
pub const QUEUES: usize = 50;
pub const SKILLS: usize = 20;
/// Conversations that an agent holds at most.
pub const SLOTS: u16 = 3;

/// Which policies the queues have.
#[derive(Clone, Copy, PartialEq)]
pub enum Policies {
    /// Longest idle, strict priority.
    Plain,
    /// Every choice, every order.
    Mixed,
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
    settings
}

/// Five queues of fifty and six skills of twenty: a profile serves some twenty classes of the thousand.
pub fn agent_settings(profile: usize, name: String) -> AgentSettings {
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
        queues: Membership::plain((0..5).map(|i| queue_id((profile + i * 11) % QUEUES))),
        capacity: Capacity {
            total: SLOTS.into(),
            channels: BTreeMap::from([(chat(), channel)]),
            interruptible: 0,
        },
        ..AgentSettings::default()
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
    dice: Dice,
    arrivals: u64,
    index: u64,
    now_ms: u64,
}

impl Shop {
    pub fn new(waiting: usize, policies: Policies) -> Self {
        let profiles: Vec<Arc<AgentSettings>> = (0..PROFILES)
            .map(|p| Arc::new(agent_settings(p, String::new())))
            .collect();
        let supplies: Vec<Supply> = (0..AGENTS)
            .map(|n| Supply {
                agent: agent_id(n),
                settings: Arc::clone(&profiles[n % PROFILES]),
                presence: Presence::Available,
                load: BTreeMap::from([(chat(), SLOTS)]),
                used: SLOTS.into(),
                idle_since_ms: n as u64,
                signed_in_at_ms: 0,
                recent: Vec::new(),
                handled_today: 0,
                today_since_ms: 0,
                speeds: Arc::default(),
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
            classes: (0..1_000)
                .map(class)
                .map(|(queue, required)| (queue, required.into()))
                .collect(),
            nothing: Arc::new([]),
            dice: Dice::new(),
            arrivals: 0,
            index: 1,
            now_ms: 1_000_000,
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
            demands: (0..waiting).map(|_| shop.newcomer()).collect(),
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
        let (queue, required) = &self.classes[self.dice.below(1_000)];
        Demand {
            conversation: conversation_id(self.arrivals),
            queue: *queue,
            channel: chat(),
            priority: (self.arrivals % 10) as u8,
            expedited: self.arrivals.is_multiple_of(1_000),
            since_ms: self.now_ms,
            arrival: self.arrivals,
            required: Arc::clone(required),
            preferred: Arc::clone(&self.nothing),
            only: None,
            excluded: Vec::new(),
            held: false,
            rings: 0,
            offers: 0,
        }
    }

    fn observe(&mut self, event: &Event) {
        self.index += 1;
        self.manager.observe(self.index, event);
    }

    /// So many conversations end.
    pub fn free(&mut self, slots: usize) {
        for _ in 0..slots {
            let supply = &mut self.supplies[self.dice.below(AGENTS)];
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

    /// The decisions are applied; a newcomer comes for each.
    pub fn land(&mut self, decisions: Vec<Decision>) {
        for Decision { id, command } in decisions {
            let Command::Offer {
                conversation, agent, ..
            } = command
            else {
                unreachable!("no timers here")
            };
            self.observe(&Event::DemandEnded { conversation });
            let supply = &mut self.supplies[self.agent_of[&agent]];
            *supply.load.entry(chat()).or_default() += 1;
            supply.used += 1;
            supply.idle_since_ms = self.now_ms;
            let event = Event::Supply(supply.clone());
            self.observe(&event);
            let kind = AgentItemKind::Offered {
                conversation,
                epoch: Epoch(1),
                deadline_ms: 0,
                queue: QueueId(0),
                channel: chat(),
                customer: CustomerId(String::new()),
            };
            self.observe(&Event::Agent(AgentItem {
                agent,
                agent_seq: 1,
                at_ms: 0,
                kind,
            }));
            self.manager.settle(id, Settled::Applied);
            let newcomer = self.newcomer();
            self.observe(&Event::Demand(newcomer));
        }
        // Lets go of what has landed, which is no part of the next choice.
        assert!(self.decide(0, false).is_empty());
    }
}
