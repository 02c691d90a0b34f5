//! Weighted random choice (R8), reproducible from the log.
//!
//! The seed is the conversation's id and the number of its offers so far; from it follow [`Numbers`].
//! Candidates stand in the order of their ids, each as wide as its weight; the number drawn, uniform below the sum of weights (by rejection, so without bias), points at one of them.
//! So the draw depends on who may have the conversation and on nothing that only one queue manager knows. What follows the first
//! is drawn from those left.
//!
//! Cost: O(pools × log² agents) for each one drawn: agents of a profile have the same weight, so a pool's sum is its count.

use super::best::{Best, Rank};
use super::index::{Index, Queue};
use super::ranked::Ranked;
use super::waiting::{Class, Spec};
use crate::ids::{AgentId, ConversationId};
use crate::numbers::Numbers;

fn seeded(conversation: ConversationId, offers: u32) -> Numbers {
    let mut seed = 0;
    for part in [conversation.0 as u64, (conversation.0 >> 64) as u64, offers.into()] {
        seed = Numbers::new(seed ^ part).draw();
    }
    Numbers::new(seed)
}

/// Free agents of one weight, and which of them are still in question.
struct Part<'a> {
    agents: &'a Ranked<(AgentId, u32)>,
    weight: u64,
    from: usize,
    to: usize,
}

/// Who may be drawn: all in the parts but those who are gone, who are in them too.
struct Urn<'a> {
    parts: Vec<Part<'a>>,
    gone: Vec<(AgentId, u64)>,
}

impl Urn<'_> {
    fn total(&self) -> u64 {
        let all: u64 = (self.parts.iter())
            .map(|part| part.weight * part.agents.len() as u64)
            .sum();
        all - self.gone.iter().map(|(_, weight)| weight).sum::<u64>()
    }

    /// The first in the order of ids up to whom the weights exceed `target`, which is below the total, and their weight.
    fn at(&mut self, target: u64) -> Option<(AgentId, u32, u64)> {
        for part in &mut self.parts {
            (part.from, part.to) = (0, part.agents.len());
        }
        let mut found = None;
        // Halves the longest part each time; the others shrink with it.
        while let Some(longest) = (self.parts.iter())
            .filter(|part| part.to > part.from)
            .max_by_key(|part| part.to - part.from)
        {
            let weight = longest.weight;
            let middle = longest.agents.nth(usize::midpoint(longest.from, longest.to))?;
            let counts = self.parts.iter().map(|part| part.agents.count_up_to(&middle));
            let counts: Vec<usize> = counts.collect();
            let up_to: u64 = (self.parts.iter().zip(&counts))
                .map(|(part, &count)| part.weight * count as u64)
                .sum();
            let gone = self.gone.iter().filter(|(id, _)| *id <= middle.0);
            let exceeds = up_to - gone.map(|(_, weight)| weight).sum::<u64>() > target;
            if exceeds {
                found = Some((middle.0, middle.1, weight));
            }
            for (part, count) in self.parts.iter_mut().zip(counts) {
                if exceeds {
                    let itself = count > 0 && part.agents.nth(count - 1) == Some(middle);
                    part.to = part.to.min(count - usize::from(itself));
                } else {
                    part.from = part.from.max(count);
                }
            }
        }
        found
    }
}

impl Index {
    /// Draws as many as are wanted for the conversation in `slot`.
    pub(super) fn by_draw(&self, class: &Class, spec: &Spec, queue: &Queue, slot: u32, best: &mut Best) {
        let weight_in = |profile: u32| {
            let membership = self.profiles[profile].membership(queue.id);
            u64::from(membership.map_or(1, |membership| membership.weight.max(1)))
        };
        let parts = spec.row.iter_both(&self.free_pools).filter_map(|pool| {
            let pool = &self.pools[pool];
            Some(Part {
                agents: pool.ranked.as_ref()?,
                weight: weight_in(pool.profile),
                from: 0,
                to: 0,
            })
        });
        let gone = class.key.excluded.iter().filter_map(|id| {
            let agent = &self.agents[*self.agent_of.get(id)?];
            let profile = &self.profiles[agent.profile];
            let slot = profile.channel(&spec.key.channel)?;
            let counted = agent.is_free(slot) && spec.row.contains(profile.pools[slot]);
            counted.then(|| (*id, weight_in(agent.profile)))
        });
        let mut urn = Urn {
            parts: parts.collect(),
            gone: gone.collect(),
        };
        let waiting = &self.waiting[slot];
        let mut numbers = seeded(waiting.conversation, waiting.offers);
        for place in 0..best.wanted() as u64 {
            let total = urn.total();
            if total == 0 {
                return;
            }
            let Some((id, agent, weight)) = urn.at(numbers.below(total)) else {
                return;
            };
            urn.gone.push((id, weight));
            best.offer(Rank {
                part: place,
                id,
                agent,
                ..Rank::NOBODY
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: impl IntoIterator<Item = u128>) -> Ranked<(AgentId, u32)> {
        ids.into_iter().map(|id| (AgentId(id), id as u32)).collect()
    }

    #[test]
    fn every_number_points_at_whom_it_should() {
        let (one, three, five) = (set((0..700).step_by(2)), set([3, 5, 9, 801]), set([1, 1_000]));
        let part = |agents, weight| Part {
            agents,
            weight,
            from: 0,
            to: 0,
        };
        let mut urn = Urn {
            parts: vec![part(&one, 1), part(&three, 3), part(&five, 5)],
            gone: vec![(AgentId(9), 3), (AgentId(4), 1)],
        };
        let mut line = Vec::new();
        for id in 0..=1_000_u128 {
            for part in &urn.parts {
                let here = part.agents.iter().any(|(other, _)| other.0 == id);
                if here && !urn.gone.iter().any(|(gone, _)| gone.0 == id) {
                    line.extend(std::iter::repeat_n(id, part.weight as usize));
                }
            }
        }
        assert_eq!(urn.total(), line.len() as u64);
        for (target, &id) in line.iter().enumerate() {
            assert_eq!(urn.at(target as u64).map(|found| found.0.0), Some(id), "{target}");
        }
    }

    #[test]
    fn draws_follow_the_weights() {
        let (light, heavy) = (set([1, 2]), set([3]));
        let mut drawn = [0_u32; 4];
        for conversation in 0..8_000 {
            let part = |agents, weight| Part {
                agents,
                weight,
                from: 0,
                to: 0,
            };
            let mut urn = Urn {
                parts: vec![part(&light, 1), part(&heavy, 6)],
                gone: Vec::new(),
            };
            let mut numbers = seeded(ConversationId(conversation << 77 | 5), 2);
            let number = numbers.below(urn.total());
            drawn[urn.at(number).expect("somebody").1 as usize] += 1;
        }
        // 1000, 1000, 6000 expected: five standard deviations are below 200.
        assert!(
            drawn[1].abs_diff(1_000) < 150 && drawn[2].abs_diff(1_000) < 150,
            "{drawn:?}"
        );
        assert!(drawn[3].abs_diff(6_000) < 200, "{drawn:?}");
    }
}
