//! R39: why, and why not. Counts go by profile, not by agent, so that every decision can afford its explanation.

use super::agent::PresenceKind;
use super::index::{Fails, Index};
use super::timers::Timers;
use super::waiting::{Class, Spec};
use super::{AgentWhyNot, Failed, NextStep, WhyNot};
use crate::command::Timer;
use crate::ids::{AgentId, ConversationId, Millis};
use crate::limits::{REQUIREMENTS_MAX, SELECTORS_MAX};
use crate::settings::Rings;

/// Members of a queue by the first predicate that removes them, in the order of [`Counts::removed`].
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) considered: u32,
    pub(super) eligible: u32,
    presence: u32,
    ring: u32,
    selectors: [u32; SELECTORS_MAX],
    skills: [u32; REQUIREMENTS_MAX],
    channel: u32,
    capacity: u32,
    excluded: u32,
    preference: u32,
}

impl Counts {
    pub(super) fn removed(&self, spec: &Spec) -> Vec<(String, u32)> {
        let mut removed = Vec::new();
        let mut add = |name: &str, count: u32| {
            if count > 0 {
                removed.push((name.to_owned(), count));
            }
        };
        add("presence", self.presence);
        add("ring", self.ring);
        for (selector, &count) in spec.key.selectors.iter().zip(&self.selectors) {
            add(&format!("attribute:{}", selector.attribute), count);
        }
        for (wanted, &count) in spec.key.required.iter().zip(&self.skills) {
            if count > 0 {
                add(&format!("skill:{}", wanted.skill.0), count);
            }
        }
        add("channel", self.channel);
        add("capacity", self.capacity);
        add("excluded", self.excluded);
        add("preference", self.preference);
        removed
    }
}

impl Index {
    /// What removes the members of the class's queue, now.
    pub(super) fn count(&self, class: &Class) -> Counts {
        let spec = &self.specs[class.key.spec];
        let mut counts = Counts::default();
        for relation in &spec.relations {
            let profile = &self.profiles[relation.profile];
            counts.considered += profile.agents;
            counts.presence += profile.agents - profile.available;
            match relation.fails {
                Fails::Ring => counts.ring += profile.available,
                Fails::Selector(at) => counts.selectors[usize::from(at).min(SELECTORS_MAX - 1)] += profile.available,
                Fails::Skill(at) => counts.skills[usize::from(at).min(REQUIREMENTS_MAX - 1)] += profile.available,
                Fails::Channel => counts.channel += profile.available,
                Fails::Nothing => {
                    let free = self.pools[relation.pool].by_idle.len() as u32;
                    counts.capacity += profile.available - free;
                    counts.eligible += free;
                }
            }
        }
        let is_eligible = |id: AgentId| {
            self.agent_of.get(&id).is_some_and(|&agent| {
                let agent = &self.agents[agent];
                (self.profiles[agent.profile].pools.iter().enumerate())
                    .any(|(slot, &pool)| spec.row.contains(pool) && agent.is_free(slot))
            })
        };
        counts.excluded = class.key.excluded.iter().filter(|&&id| is_eligible(id)).count() as u32;
        counts.eligible -= counts.excluded;
        if let Some(only) = class.key.only {
            let member = u32::from(is_eligible(only) && !class.excludes(only));
            counts.preference = counts.eligible - member;
            // The one who was asked for need not be a member.
            counts.eligible = u32::from(self.only_agent(class, spec, only).is_some());
        }
        counts
    }

    pub(super) fn why_not(
        &self,
        conversation: ConversationId,
        agent: Option<AgentId>,
        now_ms: Millis,
        timers: &Timers,
    ) -> Option<WhyNot> {
        let &slot = self.waiting_of.get(&conversation)?;
        let waiting = &self.waiting[slot];
        let class = &self.classes[waiting.class];
        let spec = &self.specs[class.key.spec];
        let queue = &self.queues[spec.key.queue as usize];
        let counts = self.count(class);
        let withheld = [
            (waiting.held, "held"),
            (waiting.proposed, "proposed"),
            (waiting.resting, "refused"),
        ];
        Some(WhyNot {
            conversation,
            queue: queue.id,
            policy_version: self.policy_version,
            ahead: self.ahead(slot, now_ms),
            withheld: withheld
                .into_iter()
                .filter_map(|(is, name)| is.then_some(name))
                .collect(),
            considered: counts.considered,
            eligible: counts.eligible,
            removed: counts.removed(spec),
            agent: agent.map(|id| {
                let reasons = self.reasons(class, spec, id);
                let mut failed: Vec<String> = reasons.iter().map(Failed::code).collect();
                failed.dedup();
                AgentWhyNot {
                    agent: id,
                    failed,
                    reasons,
                }
            }),
            closed: !queue.open,
            awaited: class.key.only,
            awaited_until_ms: timers.due_ms(Timer::PreferenceEnd { conversation }),
            next_step: self.next_step(conversation, spec, timers),
            estimate: self.estimate(conversation, now_ms),
        })
    }

    /// How many of its queue are before it, now.
    pub(super) fn ahead(&self, slot: u32, now_ms: Millis) -> u64 {
        let waiting = &self.waiting[slot];
        let queue = &self.queues[self.queue_of_class[waiting.class as usize] as usize];
        queue.lanes.ahead(&queue.order, &waiting.place(), now_ms)
    }

    /// R4, R5: what time will change first, and for how many.
    fn next_step(&self, conversation: ConversationId, spec: &Spec, timers: &Timers) -> Option<NextStep> {
        let settings = &self.queues[spec.key.queue as usize].settings;
        let steps = (0..).zip(&settings.relaxations).filter_map(|(step, relaxation)| {
            let at_ms = timers.due_ms(Timer::Relaxation { conversation, step })?;
            let mut key = spec.key.clone();
            key.required = relaxation.lowered(&key.required).into();
            Some((at_ms, None, key))
        });
        let rings = (1..).zip(&settings.rings).filter_map(|(ring, _)| {
            let at_ms = timers.due_ms(Timer::RingOpens { conversation, ring })?;
            let mut key = spec.key.clone();
            key.rings |= 1 << ring;
            Some((at_ms, Some(ring), key))
        });
        let (at_ms, ring, key) = steps.chain(rings).min_by_key(|(at_ms, ring, _)| (*at_ms, *ring))?;
        let queue = &self.queues[spec.key.queue as usize];
        let open = queue.rings.and(key.rings);
        let more = spec
            .relations
            .iter()
            .filter(|relation| !relation.compatible())
            .map(|relation| {
                let then = self.profiles[relation.profile].relation(relation.profile, &key, queue.id, open);
                match then.compatible() {
                    true => self.pools[then.pool].by_idle.len() as u32,
                    false => 0,
                }
            });
        Some(NextStep {
            at_ms,
            ring,
            more_eligible: more.sum(),
        })
    }

    /// The same as [`Self::failed`], with values.
    fn reasons(&self, class: &Class, spec: &Spec, id: AgentId) -> Vec<Failed> {
        let Some(&handle) = self.agent_of.get(&id) else {
            return vec![Failed::Unknown];
        };
        let agent = &self.agents[handle];
        let profile = &self.profiles[agent.profile];
        let queue = self.queues[spec.key.queue as usize].id;
        let channel = || spec.key.channel.0.clone();
        let mut failed = Vec::new();
        if agent.presence != PresenceKind::Available {
            let is = agent.presence.word();
            failed.push(Failed::Presence { is });
        }
        if class.key.only != Some(id) {
            match profile.membership(queue).map(|membership| membership.tier) {
                None => failed.push(Failed::Queue { queue }),
                Some(ring) if !self.rings_of(spec).serve(ring) => failed.push(Failed::Ring { ring }),
                Some(_) => {}
            }
            let attributes = &agent.settings.attributes;
            for selector in spec.key.selectors.iter().filter(|selector| !selector.holds(attributes)) {
                failed.push(Failed::Attribute {
                    attribute: selector.attribute.clone(),
                });
            }
            for wanted in spec.key.required.iter() {
                let has = agent.settings.skills.get(&wanted.skill).copied().unwrap_or(0);
                if has < wanted.level {
                    failed.push(Failed::Skill {
                        skill: wanted.skill.0.clone(),
                        needs: wanted.level,
                        has,
                    });
                }
            }
        }
        match profile.channel(&spec.key.channel) {
            None => failed.push(Failed::Channel { channel: channel() }),
            Some(slot) => {
                if let Some(why) = agent.no_room(profile, slot) {
                    failed.push(Failed::Room {
                        why,
                        channel: channel(),
                        held: agent.count(slot),
                        most: profile.channels()[slot].concurrent_max,
                    });
                }
                if let Some(until_ms) = agent.paced_until_ms().filter(|_| class.key.only != Some(id)) {
                    failed.push(Failed::Pace { until_ms });
                }
                if agent.resting {
                    failed.push(Failed::Resting);
                }
            }
        }
        if class.excludes(id) {
            failed.push(Failed::Excluded);
        }
        if let Some(agent) = class.key.only.filter(|only| *only != id) {
            failed.push(Failed::Preference { agent });
        }
        failed
    }

    fn rings_of(&self, spec: &Spec) -> Rings {
        self.queues[spec.key.queue as usize].rings.and(spec.key.rings)
    }
}
