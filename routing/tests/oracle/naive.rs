//! What the queue manager should decide, by looking at everybody: quadratic, plain, and written without a look at its indexes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use routing::ids::{AgentId, Channel, ConversationId, QueueId};
use routing::settings::{AgentChoice, Order};
use routing::view::{Demand, Presence, QueueView, Supply};

/// All that decides.
#[derive(Clone, Debug, Default)]
pub struct Naive {
    pub queues: BTreeMap<QueueId, QueueView>,
    pub supplies: BTreeMap<AgentId, Supply>,
    pub demands: BTreeMap<ConversationId, Demand>,
    /// Round robin: who had the last turn.
    pub turns: BTreeMap<QueueId, AgentId>,
    /// Offers on their way.
    pub reserved: Vec<(ConversationId, AgentId, Channel)>,
}

impl Naive {
    /// The agent with what is reserved counted.
    fn with_reserved(&self, supply: &Supply) -> Supply {
        let mut supply = supply.clone();
        for (_, _, channel) in self.reserved.iter().filter(|(_, agent, _)| *agent == supply.agent) {
            *supply.load.entry(channel.clone()).or_default() += 1;
            supply.used += supply.settings.capacity.channels.get(channel).map_or(0, |c| c.cost);
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
        let skilled = demand
            .required
            .iter()
            .all(|r| settings.skills.get(&r.skill).is_some_and(|&l| l >= r.level));
        supply.presence == Presence::Available
            && (asked_for || (settings.queues.contains_key(&demand.queue) && skilled))
            && !demand.excluded.contains(&supply.agent)
            && self.with_reserved(supply).no_room(&demand.channel).is_none()
    }

    fn candidates<'a>(&'a self, demand: &'a Demand) -> impl Iterator<Item = &'a Supply> {
        self.supplies
            .values()
            .filter(move |supply| self.eligible(demand, supply))
    }

    /// The next decision; it is reserved.
    pub fn next(&mut self) -> Option<(ConversationId, AgentId)> {
        let heads = self.queues.values().filter_map(|queue| {
            let mut waiting: Vec<&Demand> = (self.demands.values())
                .filter(|d| d.queue == queue.queue && self.offerable(d) && self.candidates(d).next().is_some())
                .collect();
            waiting.sort_by(|a, b| before(&queue.settings.order, a, b));
            waiting.first().copied()
        });
        let demand = heads.min_by(|a, b| before(&Order::StrictPriority, a, b))?.clone();
        let agent = self.choose(&demand)?;
        if demand.only.is_none() {
            self.turns.insert(demand.queue, agent);
        }
        self.reserved.push((demand.conversation, agent, demand.channel.clone()));
        Some((demand.conversation, agent))
    }

    fn choose(&self, demand: &Demand) -> Option<AgentId> {
        let asked = || demand.required.iter().chain(demand.preferred.iter());
        let skill = |s: &Supply| {
            asked()
                .map(|r| u32::from(*s.settings.skills.get(&r.skill).unwrap_or(&0)))
                .sum::<u32>()
        };
        let idle = |a: &Supply, b: &Supply| (a.idle_since_ms, a.agent).cmp(&(b.idle_since_ms, b.agent));
        let candidates = self.candidates(demand);
        let best = match self.queues[&demand.queue].settings.choice {
            AgentChoice::LongestIdle => candidates.min_by(|a, b| idle(a, b)),
            AgentChoice::MostSkilled => candidates.min_by(|a, b| skill(b).cmp(&skill(a)).then(idle(a, b))),
            AgentChoice::LeastLoaded => candidates.min_by(|a, b| {
                let (a_now, b_now) = (self.with_reserved(a), self.with_reserved(b));
                ratio(&a_now, &b_now).then(idle(a, b))
            }),
            AgentChoice::RoundRobin => {
                let all: Vec<&Supply> = candidates.collect();
                let last = self.turns.get(&demand.queue);
                let next = all.iter().find(|s| last.is_none_or(|last| s.agent > *last));
                next.or(all.first()).copied()
            }
            other => unreachable!("{other:?} is not drawn here"),
        };
        best.map(|s| s.agent)
    }
}

fn ratio(a: &Supply, b: &Supply) -> Ordering {
    let part = |s: &Supply| match s.settings.capacity.total {
        0 => (1, 1),
        total => (u64::from(s.used), u64::from(total)),
    };
    let ((a_used, a_total), (b_used, b_total)) = (part(a), part(b));
    (a_used * b_total).cmp(&(b_used * a_total))
}

/// Who goes first.
pub fn before(order: &Order, a: &Demand, b: &Demand) -> Ordering {
    let age = (a.since_ms, a.arrival).cmp(&(b.since_ms, b.arrival));
    match (a.expedited, b.expedited) {
        (true, true) => age,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => match order {
            Order::StrictPriority => b.priority.cmp(&a.priority).then(age),
            Order::LinearAgeing { step_ms } => {
                let score = |d: &Demand| i128::from(d.since_ms) - i128::from(d.priority) * i128::from(*step_ms);
                score(a).cmp(&score(b)).then(age)
            }
            other => unreachable!("{other:?} is not drawn here"),
        },
    }
}
