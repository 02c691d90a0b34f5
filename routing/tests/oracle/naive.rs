//! What the queue manager should decide, by looking at everybody: quadratic, plain, and written without a look at its indexes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use routing::ids::{AgentId, Channel, ConversationId, QueueId};
use routing::settings::{AgentChoice, CrossQueue, Order, RoutingSettings};
use routing::view::{Demand, Presence, QueueRates, QueueView, Supply};

/// All that decides.
#[derive(Clone, Debug, Default)]
pub struct Naive {
    pub queues: BTreeMap<QueueId, QueueView>,
    pub supplies: BTreeMap<AgentId, Supply>,
    pub demands: BTreeMap<ConversationId, Demand>,
    /// Round robin: who had the last turn.
    pub turns: BTreeMap<QueueId, AgentId>,
    /// Stride scheduling: each queue's pass, and that of the last served.
    pub passes: BTreeMap<QueueId, u128>,
    pub pass: u128,
    pub routing: RoutingSettings,
    pub rates: BTreeMap<QueueId, QueueRates>,
    pub now_ms: u64,
    /// Conversations on their way to who was asked for by name.
    pub named: BTreeSet<ConversationId>,
    /// Offers on their way.
    pub reserved: Vec<(ConversationId, AgentId, Channel)>,
}

impl Naive {
    /// The agent with what is reserved counted.
    fn with_reserved(&self, supply: &Supply) -> Supply {
        let mut supply = supply.clone();
        for (conversation, _, channel) in self.reserved.iter().filter(|(_, agent, _)| *agent == supply.agent) {
            *supply.load.entry(channel.clone()).or_default() += 1;
            let limits = supply.settings.capacity.channels.get(channel);
            supply.used += limits.filter(|c| !c.interruptible).map_or(0, |c| c.cost);
            if supply.settings.rate.is_some() && !self.named.contains(conversation) {
                supply.recent.push(self.now_ms);
            }
        }
        supply
    }

    /// Whether the conversation may be offered to somebody.
    fn offerable(&self, demand: &Demand) -> bool {
        !demand.held
            && self
                .reserved
                .iter()
                .all(|(conversation, ..)| *conversation != demand.conversation)
    }

    /// Whether this agent may have it now.
    pub fn eligible(&self, demand: &Demand, supply: &Supply) -> bool {
        let asked_for = match demand.only {
            Some(only) if only != supply.agent => return false,
            only => only.is_some(),
        };
        let settings = &supply.settings;
        let selected = demand
            .selectors
            .iter()
            .all(|selector| selector.holds(&settings.attributes));
        let skilled = selected
            && demand
                .required
                .iter()
                .all(|r| settings.skills.get(&r.skill).is_some_and(|&l| l >= r.level));
        let serves = settings
            .queues
            .get(&demand.queue)
            .is_some_and(|membership| self.serves(demand, membership.tier));
        supply.presence == Presence::Available
            && (asked_for || (serves && skilled))
            && !demand.excluded.contains(&supply.agent)
            && match asked_for {
                true => self.with_reserved(supply).no_room(&demand.channel).is_none(),
                false => self
                    .with_reserved(supply)
                    .no_room_at(&demand.channel, self.now_ms)
                    .is_none(),
            }
    }

    /// R5, R6: tier 0, an open ring, a shared one, or a tier that is no ring.
    fn serves(&self, demand: &Demand, tier: u8) -> bool {
        let queue = self.queues.get(&demand.queue);
        let no_ring = queue.is_none_or(|queue| usize::from(tier) > queue.settings.rings.len());
        let shared = queue.is_some_and(|queue| queue.shared_rings >> tier & 1 == 1);
        tier == 0 || no_ring || shared || demand.rings >> tier & 1 == 1
    }

    fn candidates<'a>(&'a self, demand: &'a Demand) -> impl Iterator<Item = &'a Supply> {
        self.supplies
            .values()
            .filter(move |supply| self.eligible(demand, supply))
    }

    /// The next decision, with the agents best first; it is reserved with each of them.
    pub fn next(&mut self) -> Option<(ConversationId, Vec<AgentId>)> {
        let heads: Vec<Demand> = (self.queues.values())
            .filter_map(|queue| {
                let mut waiting: Vec<&Demand> = (self.demands.values())
                    .filter(|d| d.queue == queue.queue && self.offerable(d) && self.candidates(d).next().is_some())
                    .collect();
                waiting.sort_by(|a, b| before(queue, self.now_ms, a, b));
                waiting.first().copied().cloned()
            })
            .collect();
        let demand = heads.iter().min_by(|a, b| self.across(a, b))?.clone();
        let mut agents = self.best_first(&demand);
        let settings = &self.queues[&demand.queue].settings;
        agents.truncate(if settings.auto_accept {
            1
        } else {
            usize::from(settings.offers_at_once)
        });
        let last = agents.last()?;
        match demand.only {
            None => {
                self.turns.insert(demand.queue, *last);
                self.named.remove(&demand.conversation);
            }
            Some(_) => _ = self.named.insert(demand.conversation),
        }
        self.charge(&demand);
        for agent in &agents {
            self.reserved
                .push((demand.conversation, *agent, demand.channel.clone()));
        }
        Some((demand.conversation, agents))
    }

    fn best_first(&self, demand: &Demand) -> Vec<AgentId> {
        let asked = || demand.required.iter().chain(demand.preferred.iter());
        let skill = |s: &Supply| {
            asked()
                .map(|r| u32::from(*s.settings.skills.get(&r.skill).unwrap_or(&0)))
                .sum::<u32>()
        };
        let idle = |a: &Supply, b: &Supply| (a.idle_since_ms, a.agent).cmp(&(b.idle_since_ms, b.agent));
        let mut all: Vec<&Supply> = self.candidates(demand).collect();
        match self.queues[&demand.queue].settings.choice {
            AgentChoice::LongestIdle => all.sort_by(|a, b| idle(a, b)),
            AgentChoice::MostSkilled => all.sort_by(|a, b| skill(b).cmp(&skill(a)).then(idle(a, b))),
            AgentChoice::LeastSkilled => all.sort_by(|a, b| skill(a).cmp(&skill(b)).then(idle(a, b))),
            AgentChoice::LeastLoaded => all.sort_by(|a, b| {
                let (a_now, b_now) = (self.with_reserved(a), self.with_reserved(b));
                ratio(&a_now, &b_now).then(idle(a, b))
            }),
            AgentChoice::RoundRobin => {
                let last = self.turns.get(&demand.queue);
                all.sort_by_key(|s| (last.is_some_and(|last| s.agent <= *last), s.agent));
            }
            AgentChoice::FixedOrder => all.sort_by(|a, b| {
                let place = |s: &Supply| {
                    let membership = s.settings.queues.get(&demand.queue);
                    membership.map(|m| (m.tier, m.position))
                };
                place(a).cmp(&place(b)).then(idle(a, b))
            }),
            AgentChoice::WeightedRandom => {
                let weight = |s: &Supply| s.settings.queues.get(&demand.queue).map_or(1, |m| u64::from(m.weight));
                let (mut seed, mut drawn) = (seed(demand), Vec::new());
                while let Some(mut left) = draw(&mut seed, all.iter().map(|s| weight(s)).sum()) {
                    let at = all.iter().position(|s| {
                        let here = left < weight(s);
                        left = left.saturating_sub(weight(s));
                        here
                    });
                    drawn.push(all.remove(at.expect("the number is below the sum")));
                }
                all = drawn;
            }
            AgentChoice::FewestHandledToday => {
                let today_ms = self.routing.day_start_ms(self.now_ms);
                let today = |s: &Supply| {
                    let on_its_way = self.reserved.iter().filter(|(_, agent, _)| *agent == s.agent);
                    let old = s.today_since_ms < today_ms;
                    on_its_way.count() as u32 + if old { 0 } else { s.handled_today }
                };
                all.sort_by(|a, b| today(a).cmp(&today(b)).then(idle(a, b)));
            }
            AgentChoice::LeastSlowdown => all.sort_by(|a, b| {
                let place = |s: &Supply| (self.slowdown(demand.queue, s), self.at_once(s));
                place(a).cmp(&place(b)).then(idle(a, b))
            }),
        }
        all.iter().map(|s| s.agent).collect()
    }

    fn at_once(&self, supply: &Supply) -> u64 {
        self.with_reserved(supply).load.values().map(|&n| u64::from(n)).sum()
    }

    /// What one more conversation adds to the time that the agent's customers take.
    fn slowdown(&self, queue: QueueId, supply: &Supply) -> i64 {
        let held = self.at_once(supply) as usize;
        let time = |level: usize| {
            let known = |at: &usize| supply.speeds.handle_ms[*at] > 0;
            let at = (0..level.min(8)).rev().find(known).or((0..8).find(known));
            at.map(|at| supply.speeds.handle_ms[at] * level as u64)
        };
        match (time(held + 1), held) {
            (None, _) => self.rates.get(&queue).map_or(0, |rates| rates.handle_ms) as i64,
            (Some(with), 0) => with as i64,
            (Some(with), held) => with as i64 - time(held).unwrap_or(0) as i64,
        }
    }

    /// Which of the first of two queues goes first.
    fn across(&self, a: &Demand, b: &Demand) -> Ordering {
        let usual = priority_then_age(a, b);
        if a.expedited || b.expedited {
            return usual;
        }
        let settings = |d: &Demand| self.queues[&d.queue].settings.clone();
        let (of_a, of_b) = (settings(a), settings(b));
        let (terms_a, terms_b) = (of_a.cross_queue, of_b.cross_queue);
        let policy = match self.routing.cross_queue {
            CrossQueue::PriorityThenAge => Ordering::Equal,
            CrossQueue::StrictRank => terms_a.rank.cmp(&terms_b.rank),
            CrossQueue::Weighted => self.start_pass(a.queue).cmp(&self.start_pass(b.queue)),
            CrossQueue::LongestWait => (a.since_ms, a.arrival).cmp(&(b.since_ms, b.arrival)),
            CrossQueue::EarliestDeadline => {
                (a.since_ms + of_a.answer_target_ms).cmp(&(b.since_ms + of_b.answer_target_ms))
            }
            CrossQueue::FixedQueueRatio => self.excess(b.queue).cmp(&self.excess(a.queue)),
            CrossQueue::GeneralisedCmu => {
                let worth =
                    |d: &Demand, cost: u32| u128::from(cost) * u128::from(self.now_ms.saturating_sub(d.since_ms));
                let (a_worth, b_worth) = (worth(a, terms_a.cost), worth(b, terms_b.cost));
                (b_worth * self.handle(a.queue)).cmp(&(a_worth * self.handle(b.queue)))
            }
        };
        policy.then(usual)
    }

    fn start_pass(&self, queue: QueueId) -> u128 {
        self.passes.get(&queue).copied().unwrap_or(0).max(self.pass)
    }

    fn charge(&mut self, demand: &Demand) {
        if self.routing.cross_queue != CrossQueue::Weighted {
            return;
        }
        let start = self.start_pass(demand.queue);
        let weight = self.queues[&demand.queue].settings.cross_queue.weight;
        self.passes.insert(demand.queue, start + (1 << 32) / u128::from(weight));
        if !demand.expedited {
            self.pass = start;
        }
    }

    /// How far a queue is above its share of all that wait, times the sum of the ratios.
    fn excess(&self, queue: QueueId) -> i64 {
        let length = |queue: QueueId| {
            let waiting = self.demands.values();
            waiting.filter(|d| d.queue == queue && self.offerable(d)).count() as i64
        };
        let ratio = |queue: QueueId| i64::from(self.queues[&queue].settings.cross_queue.ratio);
        let ratios: i64 = self.queues.keys().map(|&queue| ratio(queue)).sum();
        let all: i64 = self.queues.keys().map(|&queue| length(queue)).sum();
        length(queue) * ratios - ratio(queue) * all
    }

    fn handle(&self, queue: QueueId) -> u128 {
        let of = |queue: &QueueId| self.rates.get(queue).map_or(0, |rates| u128::from(rates.handle_ms));
        let observed: Vec<u128> = self.rates.keys().map(of).filter(|&ms| ms > 0).collect();
        match (of(&queue), observed.len() as u128) {
            (0, 0) => 1,
            (0, count) => observed.iter().sum::<u128>() / count,
            (known, _) => known,
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From the conversation and its offers.
fn seed(demand: &Demand) -> u64 {
    let seed = split_mix(&mut (demand.conversation.0 as u64));
    let seed = split_mix(&mut (seed ^ (demand.conversation.0 >> 64) as u64));
    split_mix(&mut (seed ^ demand.offers))
}

/// A number below `total`; `None` when there is none.
fn draw(seed: &mut u64, total: u64) -> Option<u64> {
    // The lowest 2^64 mod total numbers are drawn again, so that every remainder is as likely.
    let total = std::num::NonZeroU64::new(total)?;
    let surplus = (u128::from(u64::MAX) + 1) % u128::from(total.get());
    let number = (0..)
        .map(|_| split_mix(seed))
        .find(|number| u128::from(*number) >= surplus)?;
    Some(number % total)
}

fn ratio(a: &Supply, b: &Supply) -> Ordering {
    let part = |s: &Supply| match s.settings.capacity.total {
        0 => (1, 1),
        total => (u64::from(s.used), u64::from(total)),
    };
    let ((a_used, a_total), (b_used, b_total)) = (part(a), part(b));
    (a_used * b_total).cmp(&(b_used * a_total))
}

fn priority_then_age(a: &Demand, b: &Demand) -> Ordering {
    let age = (a.since_ms, a.arrival).cmp(&(b.since_ms, b.arrival));
    match (a.expedited, b.expedited) {
        (true, true) => age,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => b.priority.cmp(&a.priority).then(age),
    }
}

/// Who goes first within a queue.
pub fn before(queue: &QueueView, now_ms: u64, a: &Demand, b: &Demand) -> Ordering {
    let usual = priority_then_age(a, b);
    if a.expedited || b.expedited {
        return usual;
    }
    let age = (a.since_ms, a.arrival).cmp(&(b.since_ms, b.arrival));
    match &queue.settings.order {
        Order::StrictPriority => usual,
        Order::LinearAgeing { step_ms } => {
            let score = |d: &Demand| i128::from(d.since_ms) - i128::from(d.priority) * i128::from(*step_ms);
            score(a).cmp(&score(b)).then(age)
        }
        Order::AccumulatingPriority { rates } => {
            let credit = |d: &Demand| u64::from(rates[usize::from(d.priority)]) * now_ms.saturating_sub(d.since_ms);
            credit(b).cmp(&credit(a)).then(age)
        }
        Order::EarliestDeadline { targets_ms } => {
            let deadline = |d: &Demand| match targets_ms[usize::from(d.priority)] {
                0 => d.since_ms + queue.settings.answer_target_ms,
                target_ms => d.since_ms + target_ms,
            };
            deadline(a).cmp(&deadline(b)).then(age)
        }
    }
}
