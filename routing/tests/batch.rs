//! R41: what is matched together, against every way to match it.

#[path = "oracle/naive.rs"]
mod naive;

use std::collections::BTreeMap;
use std::sync::Arc;

use naive::Naive;
use proptest::prelude::*;
use routing::command::{Command, Explanation};
use routing::ids::{AgentId, Channel, ConversationId, QueueId, SkillName};
use routing::queue_manager::QueueManager;
use routing::settings::{
    AgentChoice, AgentSettings, Capacity, ChannelCapacity, Membership, QueueSettings, Requirement, RoutingSettings,
};
use routing::view::{Demand, Presence, QueueView, Supply, Views};

const BATCH_MAX: usize = 8;
const NOW_MS: u64 = 1_000;
const SKILLS: [&str; 2] = ["billing", "ja"];

#[derive(Clone, Debug)]
struct Wish {
    queue: u8,
    channel: u8,
    priority: u8,
    since: u8,
    required: Option<(u8, u8)>,
    preferred: Option<(u8, u8)>,
    excluded: Option<u8>,
    only: Option<u8>,
}

#[derive(Clone, Debug)]
struct Able {
    skills: BTreeMap<u8, u8>,
    queues: Vec<u8>,
    position: u8,
    /// Concurrent and cost by channel.
    chat: (u8, u8),
    voice: (u8, u8, bool),
    total: u8,
    idle: u8,
}

fn wish() -> impl Strategy<Value = Wish> {
    let skill = || prop::option::weighted(0.4, (0..2u8, 1..4u8));
    let rare = |p| prop::option::weighted(p, 0..5u8);
    (0..2u8, 0..2u8, 0..3u8, 0..9u8, skill(), skill(), rare(0.2), rare(0.1)).prop_map(
        |(queue, channel, priority, since, required, preferred, excluded, only)| Wish {
            queue,
            channel,
            priority,
            since,
            required,
            preferred,
            excluded,
            only,
        },
    )
}

fn able() -> impl Strategy<Value = Able> {
    (
        prop::collection::btree_map(0..2u8, 1..4u8, 0..3),
        prop::sample::subsequence(vec![0, 1], 1..3),
        0..3u8,
        (1..4u8, 1..3u8),
        (1..3u8, 1..3u8, any::<bool>()),
        1..6u8,
        0..9u8,
    )
        .prop_map(|(skills, queues, position, chat, voice, total, idle)| Able {
            skills,
            queues,
            position,
            chat,
            voice,
            total,
            idle,
        })
}

fn requirement(wanted: Option<(u8, u8)>) -> Arc<[Requirement]> {
    let wanted = wanted.map(|(skill, level)| Requirement {
        skill: SkillName(SKILLS[usize::from(skill)].into()),
        level,
    });
    wanted.into_iter().collect()
}

fn channel(at: u8) -> Channel {
    Channel(["chat", "voice"][usize::from(at)].into())
}

fn demand(n: usize, wish: &Wish, one_channel: bool) -> Demand {
    Demand {
        conversation: ConversationId(n as u128 * 7919 % 101),
        queue: QueueId(wish.queue.into()),
        channel: channel(if one_channel { 0 } else { wish.channel }),
        priority: wish.priority,
        expedited: false,
        since_ms: wish.since.into(),
        arrival: n as u64 + 1,
        required: requirement(wish.required),
        preferred: requirement(wish.preferred),
        selectors: [].into(),
        only: wish.only.map(|agent| AgentId(agent.into())),
        excluded: wish.excluded.map(|agent| AgentId(agent.into())).into_iter().collect(),
        held: false,
        rings: 0,
        offers: 0,
    }
}

fn supply(n: usize, able: &Able) -> Supply {
    let limits = |concurrent: u8, cost: u8, exclusive| ChannelCapacity {
        concurrent_max: concurrent.into(),
        cost: cost.into(),
        exclusive,
        interruptible: false,
    };
    let place = Membership {
        tier: 0,
        position: able.position.into(),
        weight: 1,
    };
    let settings = AgentSettings {
        skills: (able.skills.iter())
            .map(|(&skill, &level)| (SkillName(SKILLS[usize::from(skill)].into()), level))
            .collect(),
        queues: able
            .queues
            .iter()
            .map(|&queue| (QueueId(queue.into()), place))
            .collect(),
        capacity: Capacity {
            total: able.total.into(),
            interruptible: 0,
            channels: [
                (channel(0), limits(able.chat.0, able.chat.1, false)),
                (channel(1), limits(able.voice.0, able.voice.1, able.voice.2)),
            ]
            .into(),
        },
        ..AgentSettings::default()
    };
    Supply {
        agent: AgentId(n as u128),
        settings: Arc::new(settings),
        presence: Presence::Available,
        load: BTreeMap::new(),
        used: 0,
        idle_since_ms: able.idle.into(),
        signed_in_at_ms: 0,
        recent: Vec::new(),
        handled_today: 0,
        today_since_ms: 0,
        speeds: Arc::default(),
    }
}

fn queue(n: u8, choice: AgentChoice) -> QueueView {
    let mut settings = QueueSettings::named("q");
    settings.choice = choice;
    QueueView {
        queue: QueueId(n.into()),
        settings: Arc::new(settings),
        version: 1,
        shared_rings: 0,
        open: true,
    }
}

fn choice() -> impl Strategy<Value = AgentChoice> {
    prop_oneof![
        Just(AgentChoice::MostSkilled),
        Just(AgentChoice::LongestIdle),
        Just(AgentChoice::FixedOrder)
    ]
}

fn views(wishes: &[Wish], agents: &[Able], choices: (AgentChoice, AgentChoice), one_channel: bool) -> Views {
    Views {
        queues: vec![queue(0, choices.0), queue(1, choices.1)],
        supplies: agents.iter().enumerate().map(|(n, able)| supply(n, able)).collect(),
        demands: (wishes.iter().enumerate())
            .map(|(n, wish)| demand(n, wish, one_channel))
            .collect(),
        ..Views::default()
    }
}

fn decide(views: &Views, batch_max: usize) -> Vec<(ConversationId, AgentId, Explanation)> {
    let mut views = views.clone();
    views.routing = Arc::new(RoutingSettings {
        batch_max: batch_max as u8,
        ..RoutingSettings::default()
    });
    let decisions = QueueManager::new(views).decide(NOW_MS, 64);
    (decisions.into_iter())
        .map(|decision| match decision.command {
            Command::Offer {
                conversation,
                agent,
                explanation,
                ..
            } => (conversation, agent, explanation),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Takes the offers one by one: none may be more than fits. Then nobody waits for whom somebody is free.
fn follow(views: &Views, decisions: &[(ConversationId, AgentId, Explanation)]) {
    let mut world = Naive {
        queues: views.queues.iter().map(|view| (view.queue, view.clone())).collect(),
        supplies: views.supplies.iter().map(|s| (s.agent, s.clone())).collect(),
        demands: views.demands.iter().map(|d| (d.conversation, d.clone())).collect(),
        now_ms: NOW_MS,
        ..Naive::default()
    };
    for (conversation, agent, _) in decisions {
        let demand = &world.demands[conversation];
        assert!(world.eligible(demand, &world.supplies[agent]), "{agent:?} has no room");
        assert!(
            world.reserved.iter().all(|taken| taken.0 != *conversation),
            "decided twice"
        );
        let channel = demand.channel.clone();
        world.reserved.push((*conversation, *agent, channel));
    }
    assert_eq!(world.next(), None, "somebody waits although somebody is free");
}

/// Every way to match, the best of them: who is matched, in the order, then points.
struct Oracle<'a> {
    /// In the order; whom each may have, best first, with points.
    rows: Vec<(ConversationId, Vec<(&'a Supply, i64)>)>,
    best: Option<(Vec<bool>, i64)>,
}

impl<'a> Oracle<'a> {
    fn of(views: &'a Views) -> Self {
        let world = Naive::default();
        let mut demands: Vec<&Demand> = views.demands.iter().collect();
        demands.sort_by_key(|d| (std::cmp::Reverse(d.priority), d.since_ms, d.arrival));
        let rows = demands.into_iter().map(|demand| {
            let choice = views.queues[demand.queue.0 as usize].settings.choice;
            let level = |s: &Supply| {
                let asked = demand.required.iter().chain(demand.preferred.iter());
                asked
                    .map(|r| i64::from(*s.settings.skills.get(&r.skill).unwrap_or(&0)))
                    .sum::<i64>()
            };
            let by_skill = choice == AgentChoice::MostSkilled && demand.only.is_none();
            let mut able: Vec<&Supply> = views.supplies.iter().filter(|s| world.eligible(demand, s)).collect();
            able.sort_by_key(|s| {
                let place = match choice {
                    AgentChoice::MostSkilled => -level(s),
                    AgentChoice::FixedOrder => s.settings.queues.get(&demand.queue).map_or(0, |m| m.position.into()),
                    _ => 0,
                };
                (place, s.idle_since_ms, s.agent)
            });
            let points = |at: usize, s: &Supply| {
                let skill = if by_skill { 64 * level(s) } else { 0 };
                skill + (BATCH_MAX - at) as i64
            };
            let able = able.into_iter().enumerate().map(|(at, s)| (s, points(at, s)));
            (demand.conversation, able.collect())
        });
        let mut oracle = Self {
            rows: rows.filter(|(_, able): &(_, Vec<_>)| !able.is_empty()).collect(),
            best: None,
        };
        oracle.search(&mut Vec::new(), &mut BTreeMap::new(), 0);
        oracle
    }

    fn search(&mut self, matched: &mut Vec<bool>, held: &mut BTreeMap<AgentId, u32>, points: i64) {
        if matched.len() == self.rows.len() {
            let this = (matched.clone(), points);
            if self.best.as_ref().is_none_or(|best| *best < this) {
                self.best = Some(this);
            }
            return;
        }
        for (supply, worth) in self.rows[matched.len()].1.clone() {
            if held.get(&supply.agent).copied().unwrap_or(0) < room(supply) {
                *held.entry(supply.agent).or_default() += 1;
                matched.push(true);
                self.search(matched, held, points + worth);
                matched.pop();
                *held.entry(supply.agent).or_default() -= 1;
            }
        }
        matched.push(false);
        self.search(matched, held, points);
        matched.pop();
    }

    /// Points of each in turn with the best who is left.
    fn one_by_one(&self) -> i64 {
        let (mut held, mut points) = (BTreeMap::<AgentId, u32>::new(), 0);
        for (_, able) in &self.rows {
            let left = able
                .iter()
                .find(|(s, _)| held.get(&s.agent).copied().unwrap_or(0) < room(s));
            if let Some((supply, worth)) = left {
                *held.entry(supply.agent).or_default() += 1;
                points += worth;
            }
        }
        points
    }
}

/// Chats that fit.
fn room(supply: &Supply) -> u32 {
    let capacity = &supply.settings.capacity;
    let chat = &capacity.channels[&channel(0)];
    u32::from(chat.concurrent_max).min(capacity.total / chat.cost)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(800) })]

    #[test]
    fn a_batch_is_the_best_of_all_ways_to_match_it(
        wishes in prop::collection::vec(wish(), 1..6),
        agents in prop::collection::vec(able(), 1..6),
        choices in (choice(), choice()),
    ) {
        let views = views(&wishes, &agents, choices, true);
        let together = decide(&views, BATCH_MAX);
        follow(&views, &together);
        prop_assert!(together.len() >= decide(&views, 0).len(), "one by one matches more");
        let oracle = Oracle::of(&views);
        let (matched, points) = oracle.best.clone().expect("one way is to match nobody");
        let of = |conversation| together.iter().find(|decision| decision.0 == conversation);
        let ours: Vec<bool> = oracle.rows.iter().map(|(conversation, _)| of(*conversation).is_some()).collect();
        prop_assert_eq!(&ours, &matched, "others are matched");
        if together.iter().any(|(_, _, why)| why.batch > 0) {
            let worth = |(conversation, able): &(ConversationId, Vec<(&Supply, i64)>)| {
                let agent = of(*conversation)?.1;
                able.iter().find(|(s, _)| s.agent == agent).map(|(_, points)| *points)
            };
            let sum: i64 = oracle.rows.iter().filter_map(worth).sum();
            prop_assert_eq!(sum, points, "there is a better way");
            let gain = u32::try_from(points - oracle.one_by_one()).unwrap_or(0);
            prop_assert!(together.iter().all(|(_, _, why)| usize::from(why.batch) == together.len()));
            prop_assert_eq!(together.iter().map(|(_, _, why)| why.batch_gain).sum::<u32>(), gain);
        }
    }

    #[test]
    fn of_several_channels_no_room_is_given_twice_and_nobody_is_forgotten(
        wishes in prop::collection::vec(wish(), 1..12),
        agents in prop::collection::vec(able(), 1..6),
        choices in (choice(), choice()),
    ) {
        let views = views(&wishes, &agents, choices, false);
        follow(&views, &decide(&views, BATCH_MAX));
        follow(&views, &decide(&views, 2));
    }
}

#[test]
fn who_is_alone_is_decided_as_ever() {
    let wish = Wish {
        queue: 0,
        channel: 0,
        priority: 1,
        since: 1,
        required: None,
        preferred: None,
        excluded: None,
        only: None,
    };
    let able = Able {
        skills: BTreeMap::new(),
        queues: vec![0],
        position: 0,
        chat: (3, 1),
        voice: (1, 1, false),
        total: 9,
        idle: 1,
    };
    let choices = (AgentChoice::LongestIdle, AgentChoice::LongestIdle);
    let lone_wish = views(
        std::slice::from_ref(&wish),
        &[able.clone(), able.clone()],
        choices,
        true,
    );
    let lone_agent = views(
        &[wish.clone(), wish.clone()],
        std::slice::from_ref(&able),
        choices,
        true,
    );
    let both = views(&[wish.clone(), wish], &[able.clone(), able], choices, true);
    let batches = |views| -> Vec<u8> { decide(views, BATCH_MAX).iter().map(|d| d.2.batch).collect() };
    assert_eq!(batches(&lone_wish), [0]);
    assert_eq!(batches(&lone_agent), [0, 0]);
    assert_eq!(batches(&both), [2, 2]);
}
