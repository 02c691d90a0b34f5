//! What the metrics tell of queues: one pass over all agents and all that waits.

use super::agent::{Agent, PresenceKind};
use super::bits::BitSet;
use super::index::Index;
use super::profile::Profile;
use super::{AgentFigures, QueueFigures};
use crate::limits::PRIORITY_MAX;

impl Index {
    pub(super) fn figures(&self) -> Vec<QueueFigures> {
        let mut figures: Vec<QueueFigures> = (self.queues.iter())
            .map(|queue| QueueFigures {
                queue: queue.id,
                depth: [0; PRIORITY_MAX as usize + 1],
                oldest_since_ms: None,
                agents: AgentFigures::default(),
                slots: 0,
                free_slots: 0,
                eligible_free_slots: 0,
            })
            .collect();
        for (_, waiting) in self.waiting.iter() {
            let queue = self.specs[self.classes[waiting.class].key.spec].key.queue;
            let figure = &mut figures[queue as usize];
            figure.depth[usize::from(waiting.priority.min(PRIORITY_MAX))] += 1;
            let oldest = figure
                .oldest_since_ms
                .map_or(waiting.since_ms, |oldest| oldest.min(waiting.since_ms));
            figure.oldest_since_ms = Some(oldest);
        }
        let wanted: Vec<BitSet> = self
            .queues
            .iter()
            .map(|queue| self.wanted_pools(&queue.specs))
            .collect();
        for (_, agent) in self.agents.iter() {
            let profile = &self.profiles[agent.profile];
            for &queue in &profile.queues {
                let figure = &mut figures[queue as usize];
                *match agent.presence {
                    PresenceKind::Available => &mut figure.agents.available,
                    PresenceKind::Away => &mut figure.agents.away,
                    PresenceKind::Draining => &mut figure.agents.draining,
                    PresenceKind::Suspect => &mut figure.agents.suspect,
                    PresenceKind::Offline => &mut figure.agents.offline,
                } += 1;
                if agent.presence == PresenceKind::Available {
                    figure.slots += slots(profile);
                    figure.free_slots += free_slots(agent, profile, |_| true);
                    let wanted = &wanted[queue as usize];
                    figure.eligible_free_slots +=
                        free_slots(agent, profile, |slot| wanted.contains(profile.pools[slot]));
                }
            }
        }
        let mut known: Vec<_> = figures
            .into_iter()
            .zip(&self.queues)
            .filter(|(_, queue)| queue.known)
            .map(|(figure, _)| figure)
            .collect();
        known.sort_by_key(|figure| figure.queue);
        known
    }

    /// Pools that can serve something that waits in one of these specs, constraints to single agents aside.
    fn wanted_pools(&self, specs: &std::collections::BTreeSet<u32>) -> BitSet {
        let mut wanted = BitSet::default();
        for &spec in specs {
            let spec = &self.specs[spec];
            let waits = |class: &u32| self.nonempty.contains(*class) && self.classes[*class].key.only.is_none();
            if spec.classes.iter().any(waits) {
                wanted.add_all(&spec.row);
            }
        }
        wanted
    }
}

/// Conversations of its roomiest channel that an idle agent could take.
pub(super) fn slots(profile: &Profile) -> u32 {
    let most = (0..profile.channels().len()).map(|slot| slots_of(profile, slot));
    most.max().unwrap_or(0)
}

/// Conversations of one channel that an idle agent could take.
pub(super) fn slots_of(profile: &Profile, slot: usize) -> u32 {
    let shape = &profile.channels()[slot];
    let by_total = profile.pool_of(shape).checked_div(shape.cost).unwrap_or(u32::MAX);
    let most = u32::from(shape.concurrent_max).min(by_total);
    if shape.exclusive { most.min(1) } else { most }
}

/// Conversations of its roomiest channel, among those asked for, that an agent could still take.
fn free_slots(agent: &Agent, profile: &Profile, asked: impl Fn(usize) -> bool) -> u32 {
    let free = (profile.channels().iter().enumerate())
        .filter(|(slot, _)| agent.is_free(*slot) && asked(*slot))
        .map(|(slot, shape)| {
            if shape.exclusive {
                return 1;
            }
            let by_total = profile
                .pool_of(shape)
                .saturating_sub(agent.used_like(shape))
                .checked_div(shape.cost)
                .unwrap_or(u32::MAX);
            let held = agent.held.by_channel[slot].saturating_add(agent.reserved.by_channel[slot]);
            u32::from(shape.concurrent_max.saturating_sub(held)).min(by_total)
        });
    free.max().unwrap_or(0)
}
