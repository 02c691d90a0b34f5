//! Who gets a conversation: the best of the free agents, by the queue's choice (R8).

use std::cmp::Ordering;
use std::ops::Bound;

use super::index::{Index, Queue};
use super::slab::NONE;
use super::slowdown::{self, Slowdown};
use super::waiting::{Class, Spec};
use crate::ids::{AgentId, Millis};
use crate::settings::AgentChoice;

/// Above any sum of levels.
const SCORE_MAX: u64 = 1 << 20;

/// Where a candidate stands by the queue's choice; the smaller is the better. `part / whole` is compared exactly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    pub(super) part: u64,
    pub(super) whole: u64,
    /// Before the idle time.
    pub(super) then: u32,
    pub(super) idle_since_ms: Millis,
    pub(super) id: AgentId,
    pub(super) agent: u32,
}

impl Rank {
    pub(super) const NOBODY: Self = Self {
        part: u64::MAX,
        whole: 1,
        then: 0,
        idle_since_ms: u64::MAX,
        id: AgentId(u128::MAX),
        agent: NONE,
    };

    fn compare(&self, other: &Self) -> Ordering {
        let ratio = if self.whole == other.whole {
            self.part.cmp(&other.part)
        } else {
            (u128::from(self.part) * u128::from(other.whole)).cmp(&(u128::from(other.part) * u128::from(self.whole)))
        };
        ratio
            .then(self.then.cmp(&other.then))
            .then(self.idle_since_ms.cmp(&other.idle_since_ms))
            .then(self.id.cmp(&other.id))
    }

    /// In a queue that chooses by skill: the sum of levels.
    pub(super) fn levels(&self) -> i64 {
        SCORE_MAX.saturating_sub(self.part) as i64
    }

    /// What an explanation shows; higher is better.
    pub(super) fn score(&self, choice: AgentChoice, now_ms: Millis) -> i64 {
        let score = match choice {
            AgentChoice::LongestIdle => now_ms.saturating_sub(self.idle_since_ms),
            // Free share of the capacity, in millionths.
            AgentChoice::LeastLoaded => 1_000_000 - 1_000_000 * self.part.min(self.whole) / self.whole,
            AgentChoice::MostSkilled => SCORE_MAX - self.part,
            AgentChoice::RoundRobin => 1 - self.part.min(1),
            // How far from the front; the place in the draw; how many today; levels.
            AgentChoice::FixedOrder
            | AgentChoice::WeightedRandom
            | AgentChoice::FewestHandledToday
            | AgentChoice::LeastSkilled => {
                return -(i64::try_from(self.part).unwrap_or(i64::MAX));
            }
            AgentChoice::LeastSlowdown => return -slowdown::added_ms(self.part),
        };
        i64::try_from(score).unwrap_or(i64::MAX)
    }
}

/// The best few, best first.
#[derive(Debug)]
pub(super) struct Best {
    ranks: Vec<Rank>,
    wanted: usize,
}

impl Best {
    pub(super) fn of(wanted: usize) -> Self {
        Self {
            ranks: Vec::with_capacity(wanted + 1),
            wanted: wanted.max(1),
        }
    }

    /// False when it is not among the best few; nobody who comes after it in the same order will be.
    pub(super) fn offer(&mut self, rank: Rank) -> bool {
        if self.ranks.len() == self.wanted
            && let Some(last) = self.ranks.last()
            && rank.compare(last) != Ordering::Less
        {
            return false;
        }
        let at = self
            .ranks
            .partition_point(|better| better.compare(&rank) == Ordering::Less);
        self.ranks.insert(at, rank);
        self.ranks.truncate(self.wanted);
        true
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    pub(super) fn ranks(&self) -> &[Rank] {
        &self.ranks
    }
}

impl Index {
    /// The best agents that are free for a class, looking at the heads of its pools' sets only.
    pub(super) fn best_agents(&self, class: u32, best: &mut Best) {
        let class = &self.classes[class];
        let spec = &self.specs[class.key.spec];
        if let Some(only) = class.key.only {
            if let Some(rank) = self.only_agent(class, spec, only) {
                best.offer(rank);
            }
            return;
        }
        let queue = &self.queues[spec.key.queue as usize];
        match queue.choice {
            AgentChoice::LongestIdle => self.by_idle(class, spec, best, |_| 0),
            AgentChoice::WeightedRandom => {
                if let Some((_, slot)) = class.order.first() {
                    self.by_draw(class, spec, queue, *slot, best);
                }
            }
            AgentChoice::FewestHandledToday => self.by_today(class, spec, best),
            AgentChoice::LeastSlowdown => self.by_slowdown(class, spec, queue, best),
            AgentChoice::MostSkilled => {
                self.by_idle(class, spec, best, |profile| SCORE_MAX - u64::from(spec.score(profile)))
            }
            AgentChoice::LeastSkilled => self.by_idle(class, spec, best, |profile| u64::from(spec.score(profile))),
            AgentChoice::FixedOrder => self.by_idle(class, spec, best, |profile| {
                self.profiles[profile]
                    .membership(queue.id)
                    .map_or(u64::MAX, |m| u64::from(m.tier) << 16 | u64::from(m.position))
            }),
            AgentChoice::LeastLoaded => self.by_load(class, spec, best),
            AgentChoice::RoundRobin => self.by_turn(class, spec, queue.last_turn, best),
        }
    }

    /// R7, R31: a person asked for this agent, so neither skills nor queues are asked for; presence and room are.
    pub(super) fn only_agent(&self, class: &Class, spec: &Spec, only: AgentId) -> Option<Rank> {
        let &handle = self.agent_of.get(&only)?;
        let agent = &self.agents[handle];
        let slot = self.profiles[agent.profile].channel(&spec.key.channel)?;
        if !agent.has_room(slot) || class.excludes(only) {
            return None;
        }
        Some(Rank {
            part: 0,
            idle_since_ms: agent.idle_since_ms,
            id: only,
            agent: handle,
            ..Rank::NOBODY
        })
    }

    /// By what is the same for all agents of a profile, then the longest idle.
    fn by_idle(&self, class: &Class, spec: &Spec, best: &mut Best, part: impl Fn(u32) -> u64) {
        for pool in spec.row.iter_both(&self.free_pools) {
            let pool = &self.pools[pool];
            let part = part(pool.profile);
            for &(idle_since_ms, id, agent) in &pool.by_idle {
                if !class.excludes(id)
                    && !best.offer(Rank {
                        part,
                        idle_since_ms,
                        id,
                        agent,
                        ..Rank::NOBODY
                    })
                {
                    break;
                }
            }
        }
    }

    fn by_load(&self, class: &Class, spec: &Spec, best: &mut Best) {
        for pool in spec.row.iter_both(&self.free_pools) {
            let pool = &self.pools[pool];
            let whole = self.profiles[pool.profile].total();
            for &(used, idle_since_ms, id, agent) in pool.by_load.iter().flatten() {
                // A capacity of nothing counts as full.
                let (part, whole) = if whole == 0 {
                    (1, 1)
                } else {
                    (u64::from(used), u64::from(whole))
                };
                if !class.excludes(id)
                    && !best.offer(Rank {
                        part,
                        whole,
                        idle_since_ms,
                        id,
                        agent,
                        ..Rank::NOBODY
                    })
                {
                    break;
                }
            }
        }
    }

    fn by_today(&self, class: &Class, spec: &Spec, best: &mut Best) {
        for pool in spec.row.iter_both(&self.free_pools) {
            for &(today, idle_since_ms, id, agent) in self.pools[pool].by_today.iter().flatten() {
                if !class.excludes(id)
                    && !best.offer(Rank {
                        part: today.into(),
                        idle_since_ms,
                        id,
                        agent,
                        ..Rank::NOBODY
                    })
                {
                    break;
                }
            }
        }
    }

    fn by_slowdown(&self, class: &Class, spec: &Spec, queue: &Queue, best: &mut Best) {
        let unobserved = slowdown::unobserved(queue.handle_ms);
        for pool in spec.row.iter_both(&self.free_pools) {
            let Some(all) = &self.pools[pool].by_slowdown else {
                continue;
            };
            // Those of whom nothing is known stand first in the set, and elsewhere among the others.
            let apart = (Slowdown::FIRST_OBSERVED, 0, AgentId(0), 0);
            for free in [all.range(..apart), all.range(apart..)] {
                for &(slowdown, idle_since_ms, id, agent) in free {
                    let rank = Rank {
                        part: if slowdown.observed { slowdown.part } else { unobserved },
                        then: slowdown.held,
                        idle_since_ms,
                        id,
                        agent,
                        ..Rank::NOBODY
                    };
                    if !class.excludes(id) && !best.offer(rank) {
                        break;
                    }
                }
            }
        }
    }

    fn by_turn(&self, class: &Class, spec: &Spec, last_turn: Option<AgentId>, best: &mut Best) {
        for pool in spec.row.iter_both(&self.free_pools) {
            let Some(ids) = &self.pools[pool].by_id else { continue };
            // After the last turn, then from the first again.
            let from = last_turn.map_or(Bound::Unbounded, |last| Bound::Excluded((last, NONE)));
            let to = last_turn.map(|last| Bound::Included((last, NONE)));
            let after = ids.range((from, Bound::Unbounded)).map(|&(id, agent)| (0, id, agent));
            let again = to
                .into_iter()
                .flat_map(|to| ids.range((Bound::Unbounded, to)))
                .map(|&(id, agent)| (1, id, agent));
            for (part, id, agent) in after.chain(again) {
                if !class.excludes(id)
                    && !best.offer(Rank {
                        part,
                        idle_since_ms: 0,
                        id,
                        agent,
                        ..Rank::NOBODY
                    })
                {
                    break;
                }
            }
        }
    }
}

impl Class {
    pub(super) fn excludes(&self, id: AgentId) -> bool {
        !self.key.excluded.is_empty() && self.key.excluded.binary_search(&id).is_ok()
    }
}

impl Spec {
    fn score(&self, profile: u32) -> u32 {
        self.relations
            .binary_search_by_key(&profile, |r| r.profile)
            .map_or(0, |at| self.relations[at].score)
    }
}

/// What decides, in words.
pub(super) fn words(choice: AgentChoice) -> &'static str {
    match choice {
        AgentChoice::LongestIdle => "longest idle",
        AgentChoice::LeastLoaded => "least loaded, then longest idle",
        AgentChoice::MostSkilled => "most skilled, then longest idle",
        AgentChoice::LeastSkilled => "least skilled, then longest idle",
        AgentChoice::RoundRobin => "round robin",
        AgentChoice::FixedOrder => "fixed order, then longest idle",
        AgentChoice::WeightedRandom => "weighted random",
        AgentChoice::FewestHandledToday => "fewest handled today, then longest idle",
        AgentChoice::LeastSlowdown => "least slowdown, then fewest at once, then longest idle",
    }
}
