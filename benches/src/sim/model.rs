//! A model of queueing theory as a tenant with queues and agents, and its customers, drawn from a seed.

use std::collections::BTreeMap;

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};
use routing::command::{Command, PresenceChange};
use routing::ids::{AgentId, Channel, ConversationId, QueueId};
use routing::settings::{
    AgentChoice, AgentSettings, Capacity, ChannelCapacity, Classification, CrossQueue, CrossQueueTerms, Membership,
    QueueSettings, RoutingSettings,
};
use routing::simulation::{Arrival, Input, Patience, Service, What, World};

/// One unit of a model's time, in the state's milliseconds: far finer than any mean, and not so fine that the state's quarter hours
/// (9 units) would cost much.
pub const TICKS: f64 = 100_000.0;
/// When a model begins: nothing in the state is before it.
pub const START: f64 = 10.0;

/// Customers who come alike.
#[derive(Clone, Debug)]
pub struct Class {
    pub rate: Rate,
    /// Services per unit of time and slot.
    pub mu: f64,
    /// Departures of each who waits; 0: they stay.
    pub theta: f64,
    /// Which of the model's queues.
    pub queue: usize,
    /// 0–9, 9 first.
    pub priority: u8,
}

/// Arrivals per unit of time.
#[derive(Clone, Copy, Debug)]
pub enum Rate {
    /// A Poisson process.
    Constant(f64),
    /// A Poisson process with rate mean + amplitude·sin(ωt).
    Sinusoid { mean: f64, amplitude: f64, omega: f64 },
}

/// Agents who are alike.
#[derive(Clone, Debug)]
pub struct Group {
    pub agents: u32,
    /// Conversations at once, each.
    pub slots: u16,
    /// Which of the model's queues they serve, and in which place: the lower is tried first.
    pub serves: Vec<(usize, u16)>,
}

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    pub classes: Vec<Class>,
    pub groups: Vec<Group>,
    pub queues: Vec<CrossQueueTerms>,
    /// Who is served by an agent who is free for several queues.
    pub cross_queue: CrossQueue,
    /// Answer target, in units of time.
    pub target: f64,
}

fn channel() -> Channel {
    Channel("chat".to_owned())
}

fn queue_id(number: usize) -> QueueId {
    QueueId(number as u128 + 1)
}

fn agent_id(group: usize, number: u32) -> AgentId {
    AgentId(((group as u128) << 32) | (u128::from(number) + 1))
}

/// Which group an agent is of.
pub fn group_of(agent: AgentId) -> usize {
    (agent.0 >> 32) as usize
}

fn conversation_id(number: u64, class: usize) -> ConversationId {
    ConversationId((u128::from(number) << 8) | class as u128)
}

/// The number of an arrival, from 0, and its class.
pub fn arrival_of(conversation: ConversationId) -> (u64, usize) {
    ((conversation.0 >> 8) as u64, (conversation.0 & 0xff) as usize)
}

fn ticks(time: f64) -> u64 {
    (time * TICKS).round() as u64
}

impl Model {
    /// Slots of a group.
    pub fn slots(&self, group: usize) -> f64 {
        let group = &self.groups[group];
        f64::from(group.agents) * f64::from(group.slots)
    }

    /// The queues' ids.
    pub fn queue_ids(&self) -> impl Iterator<Item = QueueId> {
        (0..self.queues.len()).map(queue_id)
    }

    /// A tenant whose agents are all here and idle.
    pub fn world(&self) -> Result<World> {
        let mut world = World::new(ticks(START))?;
        let cross_queue = self.cross_queue;
        world.set_up(Command::PutRouting {
            settings: RoutingSettings {
                cross_queue,
                ..RoutingSettings::default()
            },
        })?;
        for (number, terms) in self.queues.iter().enumerate() {
            let settings = QueueSettings {
                choice: AgentChoice::FixedOrder,
                auto_accept: true,
                reopen_window_ms: 0,
                short_abandon_ms: 0,
                answer_target_ms: ticks(self.target),
                cross_queue: *terms,
                ..QueueSettings::named(&format!("queue {number}"))
            };
            let queue = queue_id(number);
            world.set_up(Command::PutQueue { queue, settings })?;
        }
        for (number, group) in self.groups.iter().enumerate() {
            for agent in (0..group.agents).map(|agent| agent_id(number, agent)) {
                let settings = group.settings(agent);
                world.set_up(Command::PutAgent { agent, settings })?;
                let presence = PresenceChange::Available;
                world.set_up(Command::SignIn { agent, presence })?;
            }
        }
        Ok(world)
    }

    /// So many customers, in order of their coming.
    pub fn customers(&self, arrivals: u64, seed: u64) -> Customers<'_> {
        let streams = self.classes.iter().enumerate().map(|(number, class)| {
            let stream = |purpose| Stream::new(seed, 3 * number as u64 + purpose);
            let mut streams = Streams {
                next: START,
                coming: stream(0),
                service: stream(1),
                patience: stream(2),
            };
            streams.next = class.rate.after(START, &mut streams.coming);
            streams
        });
        Customers {
            model: self,
            streams: streams.collect(),
            given: 0,
            arrivals,
        }
    }
}

fn membership(&(queue, position): &(usize, u16)) -> (QueueId, Membership) {
    let membership = Membership {
        position,
        ..Membership::default()
    };
    (queue_id(queue), membership)
}

impl Group {
    fn settings(&self, agent: AgentId) -> AgentSettings {
        let slots = ChannelCapacity {
            concurrent_max: self.slots,
            cost: 1,
            exclusive: false,
            interruptible: false,
        };
        AgentSettings {
            name: agent.to_string(),
            queues: self.serves.iter().map(membership).collect(),
            capacity: Capacity {
                total: self.slots.into(),
                channels: BTreeMap::from([(channel(), slots)]),
                ..Capacity::default()
            },
            ..AgentSettings::default()
        }
    }
}

impl Rate {
    /// In the long run.
    pub fn mean(self) -> f64 {
        match self {
            Self::Constant(mean) | Self::Sinusoid { mean, .. } => mean,
        }
    }

    /// The next arrival after `now`; by thinning where the rate is not constant (Lewis and Shedler 1979).
    fn after(self, now: f64, stream: &mut Stream) -> f64 {
        match self {
            Self::Constant(rate) => now + stream.exponential(rate),
            Self::Sinusoid { mean, amplitude, omega } => {
                let highest = mean + amplitude;
                let mut next = now;
                loop {
                    next += stream.exponential(highest);
                    let rate = mean + amplitude * (omega * (next - START)).sin();
                    if stream.below_one() * highest < rate {
                        return next;
                    }
                }
            }
        }
    }
}

/// Random numbers that a seed names for ever: the generator's values are part of its promise, whatever its version.
struct Stream(ChaCha8Rng);

impl Stream {
    fn new(seed: u64, number: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(number);
        Self(generator)
    }

    fn exponential(&mut self, rate: f64) -> f64 {
        let unit: f64 = Exp1.sample(&mut self.0);
        unit / rate
    }

    fn below_one(&mut self) -> f64 {
        rand::Rng::random(&mut self.0)
    }
}

/// Apart for each purpose, so that the same customers come whatever the agents are.
struct Streams {
    next: f64,
    coming: Stream,
    service: Stream,
    patience: Stream,
}

/// The customers of a model.
pub struct Customers<'a> {
    model: &'a Model,
    streams: Vec<Streams>,
    given: u64,
    arrivals: u64,
}

impl Iterator for Customers<'_> {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        if self.given == self.arrivals {
            return None;
        }
        let first = self
            .streams
            .iter()
            .enumerate()
            .min_by(|a, b| a.1.next.total_cmp(&b.1.next));
        let number = first.map(|(number, _)| number)?;
        let (class, streams) = (&self.model.classes[number], &mut self.streams[number]);
        let at_ms = ticks(streams.next);
        streams.next = class.rate.after(streams.next, &mut streams.coming);
        let classification = Classification {
            queues: vec![queue_id(class.queue)],
            priority: class.priority,
            ..Classification::default()
        };
        let id = conversation_id(self.given, number);
        self.given += 1;
        let mut arrival = Arrival::new(id, channel(), classification);
        arrival.service = Service::Takes(ticks(streams.service.exponential(class.mu)));
        if class.theta > 0.0 {
            arrival.patience = Patience::Closes(ticks(streams.patience.exponential(class.theta)));
        }
        let what = What::Arrival(Box::new(arrival));
        Some(Input { at_ms, what })
    }
}
