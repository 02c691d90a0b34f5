//! Profiles: agents who can do the same.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Fails, Relation};
use super::slab::NONE;
use super::waiting::SpecKey;
use crate::command::Value;
use crate::ids::{Channel, QueueId, SkillName};
use crate::settings::{AgentSettings, Membership, Rings};

/// What makes agents interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProfileKey {
    skills: Vec<(SkillName, u8)>,
    pub(super) queues: Vec<(QueueId, Membership)>,
    total: u32,
    interruptible: u32,
    pub(super) channels: Vec<ChannelShape>,
    attributes: BTreeMap<String, Value>,
}

/// A channel of a profile's capacity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChannelShape {
    pub(super) channel: Channel,
    pub(super) concurrent_max: u16,
    pub(super) cost: u32,
    pub(super) exclusive: bool,
    pub(super) interruptible: bool,
}

impl ProfileKey {
    pub(super) fn of(settings: &AgentSettings) -> Self {
        let queues = settings
            .queues
            .iter()
            .map(|(queue, membership)| (*queue, *membership))
            .collect();
        Self {
            attributes: settings.attributes.clone(),
            skills: settings
                .skills
                .iter()
                .map(|(skill, level)| (skill.clone(), *level))
                .collect(),
            queues,
            total: settings.capacity.total,
            interruptible: settings.capacity.interruptible,
            channels: (settings.capacity.channels.iter())
                .map(|(channel, c)| ChannelShape {
                    channel: channel.clone(),
                    concurrent_max: c.concurrent_max,
                    cost: c.cost,
                    exclusive: c.exclusive,
                    interruptible: c.interruptible,
                })
                .collect(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Profile {
    pub(super) key: ProfileKey,
    pub(super) queues: Vec<u32>,
    /// By position of the channel in the key.
    pub(super) pools: Vec<u32>,
    pub(super) members: BTreeSet<u32>,
    pub(super) agents: u32,
    pub(super) available: u32,
}

impl Profile {
    pub(super) fn total(&self) -> u32 {
        self.key.total
    }

    /// Units of the pool that a channel draws on.
    pub(super) fn pool_of(&self, shape: &ChannelShape) -> u32 {
        match shape.interruptible {
            true => self.key.interruptible,
            false => self.key.total,
        }
    }

    pub(super) fn channels(&self) -> &[ChannelShape] {
        &self.key.channels
    }

    pub(super) fn channel(&self, channel: &Channel) -> Option<usize> {
        self.key.channels.iter().position(|shape| shape.channel == *channel)
    }

    pub(super) fn membership(&self, queue: QueueId) -> Option<Membership> {
        let at = self.key.queues.binary_search_by_key(&queue, |(id, _)| *id).ok()?;
        Some(self.key.queues[at].1)
    }

    fn level(&self, skill: &SkillName) -> u8 {
        self.key
            .skills
            .binary_search_by(|(name, _)| name.cmp(skill))
            .map_or(0, |at| self.key.skills[at].1)
    }

    /// How this profile, one of the spec's queue, stands to the spec. `rings` are those that serve it.
    pub(super) fn relation(&self, handle: u32, spec: &SpecKey, queue: QueueId, rings: Rings) -> Relation {
        let in_ring = self
            .membership(queue)
            .is_some_and(|membership| rings.serve(membership.tier));
        let lacking = spec
            .required
            .iter()
            .position(|wanted| self.level(&wanted.skill) < wanted.level);
        let slot = self.channel(&spec.channel);
        let failed = spec
            .selectors
            .iter()
            .position(|selector| !selector.holds(&self.key.attributes));
        let fails = match (lacking, slot) {
            _ if !in_ring => Fails::Ring,
            _ if failed.is_some() => Fails::Selector(failed.unwrap_or(0) as u8),
            (Some(at), _) => Fails::Skill(at as u8),
            (None, None) => Fails::Channel,
            (None, Some(_)) => Fails::Nothing,
        };
        let asked = spec.required.iter().chain(spec.preferred.iter());
        Relation {
            profile: handle,
            pool: slot.map_or(NONE, |slot| self.pools[slot]),
            fails,
            score: asked.map(|wanted| u32::from(self.level(&wanted.skill))).sum(),
        }
    }
}
