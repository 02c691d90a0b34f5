//! Agents, in profiles of those who can do the same; each profile has a pool of free ones for each of its channels.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::agent::{Agent, Holding, PresenceKind};
use super::bits::Members;
use super::index::Index;
use super::pool::{FreeKey, Pool};
use super::profile::{Profile, ProfileKey};
use super::slowdown::Slowdown;
use crate::ids::{AgentId, Channel, Millis};
use crate::known_bugs;
use crate::settings::{AgentChoice, AgentSettings};
use crate::view::Supply;

/// Profiles without agents that are kept beyond the number of those with some.
const EMPTY_PROFILES_KEPT: usize = 64;

impl Index {
    /// An agent's picture changed. `reserved` names the channels of the offers to them that are on their way, and whether each counts
    /// for their pace; it is only asked when their capacity took a new shape.
    pub(super) fn put_supply<'a, I>(&mut self, supply: &Supply, changed: u64, reserved: impl FnOnce() -> I)
    where
        I: Iterator<Item = (&'a Channel, bool)>,
    {
        let known = self.agent_of.get(&supply.agent).copied();
        let handle = match known {
            Some(handle) if self.same_profile(handle, &supply.settings) => handle,
            _ => {
                if let Some(handle) = known {
                    self.remove_agent(handle);
                }
                let handle = self.add_agent(supply);
                for (channel, paced) in reserved() {
                    self.count_reserved(handle, channel, paced, true);
                }
                handle
            }
        };
        let agent = &mut self.agents[handle];
        let profile = &mut self.profiles[agent.profile];
        let presence = PresenceKind::from(&supply.presence);
        profile.available += u32::from(presence == PresenceKind::Available);
        profile.available -= u32::from(agent.presence == PresenceKind::Available);
        agent.presence = presence;
        agent.held.units = supply.used;
        agent.held.others = 0;
        agent.held.by_channel.fill(0);
        agent.held.interruptible = 0;
        for (channel, &count) in &supply.load {
            match profile.channel(channel) {
                Some(slot) => {
                    agent.held.by_channel[slot] = count;
                    let shape = &profile.channels()[slot];
                    if shape.interruptible {
                        let units = shape.cost.saturating_mul(u32::from(count));
                        agent.held.interruptible = agent.held.interruptible.saturating_add(units);
                    }
                }
                None => agent.held.others += u32::from(count),
            }
        }
        agent.idle_since_ms = supply.idle_since_ms;
        agent.signed_in_at_ms = supply.signed_in_at_ms;
        agent.recent.clone_from(&supply.recent);
        agent.handled_today = supply.handled_today;
        agent.today_since_ms = supply.today_since_ms;
        if agent.speeds != supply.speeds {
            agent.speeds = Arc::clone(&supply.speeds);
        }
        agent.resting = false;
        agent.changed = changed;
        let profile = agent.profile;
        self.refresh(handle);
        for at in 0..self.profiles[profile].queues.len() {
            let queue = self.profiles[profile].queues[at];
            self.touch(queue);
        }
    }

    /// The agent is no more.
    pub(super) fn end_supply(&mut self, id: AgentId) {
        if let Some(&handle) = self.agent_of.get(&id) {
            self.remove_agent(handle);
        }
    }

    /// Counts, or stops counting, an offer that is on its way.
    pub(super) fn reserve(&mut self, id: AgentId, channel: &Channel, paced: bool, on: bool) {
        if let Some(&handle) = self.agent_of.get(&id) {
            self.count_reserved(handle, channel, paced, on);
            self.refresh(handle);
        }
    }

    pub(super) fn reserve_for(&mut self, handle: u32, channel: &Channel, paced: bool) {
        if !known_bugs::put_in("queue_manager::room_unreserved") {
            self.count_reserved(handle, channel, paced, true);
        }
        self.refresh(handle);
    }

    pub(super) fn unreserve_for(&mut self, handle: u32, channel: &Channel, paced: bool) {
        self.count_reserved(handle, channel, paced, false);
        self.refresh(handle);
    }

    pub(super) fn rest_agent(&mut self, id: AgentId, resting: bool) {
        if let Some(&handle) = self.agent_of.get(&id) {
            self.agents[handle].resting = resting;
            self.refresh(handle);
        }
    }

    /// R22: time has passed, and some agents' pace allows more.
    pub(super) fn advance(&mut self, now_ms: Millis) {
        self.now_ms = now_ms;
        while let Some(&(until_ms, id)) = self.paces.first()
            && until_ms <= now_ms
        {
            self.paces.pop_first();
            if let Some(&handle) = self.agent_of.get(&id) {
                self.agents[handle].paced_until_ms = None;
                self.refresh(handle);
            }
        }
    }

    /// R22: when the first pace allows more.
    pub(super) fn next_pace_ms(&self) -> Option<Millis> {
        self.paces
            .first()
            .map(|(until_ms, _)| *until_ms)
            .filter(|ms| *ms < Millis::MAX)
    }

    fn count_reserved(&mut self, handle: u32, channel: &Channel, paced: bool, on: bool) {
        let agent = &mut self.agents[handle];
        let profile = &self.profiles[agent.profile];
        let reserved = &mut agent.reserved;
        reserved.paced = match on {
            true => reserved.paced + u32::from(paced),
            false => reserved.paced.saturating_sub(u32::from(paced)),
        };
        match profile.channel(channel) {
            Some(slot) => {
                let shape = &profile.channels()[slot];
                let count = &mut reserved.by_channel[slot];
                let units = match shape.interruptible {
                    true => &mut reserved.interruptible,
                    false => &mut reserved.units,
                };
                if on {
                    *count += 1;
                    *units = units.saturating_add(shape.cost);
                } else {
                    *count = count.saturating_sub(1);
                    *units = units.saturating_sub(shape.cost);
                }
            }
            None if on => reserved.others += 1,
            None => reserved.others = reserved.others.saturating_sub(1),
        }
    }

    /// Unchanged settings are the same allocation; changed ones may still be of the same shape.
    fn same_profile(&mut self, handle: u32, settings: &Arc<AgentSettings>) -> bool {
        let agent = &mut self.agents[handle];
        if Arc::ptr_eq(&agent.settings, settings) {
            return true;
        }
        let same = self.profiles[agent.profile].key == ProfileKey::of(settings);
        if same {
            agent.settings = Arc::clone(settings);
        }
        same
    }

    fn add_agent(&mut self, supply: &Supply) -> u32 {
        let profile = self.profile(&supply.settings);
        let channels = self.profiles[profile].channels().len();
        let empty = || Holding {
            by_channel: vec![0; channels],
            others: 0,
            units: 0,
            interruptible: 0,
            paced: 0,
        };
        let handle = self.agents.insert(Agent {
            id: supply.agent,
            settings: Arc::clone(&supply.settings),
            profile,
            presence: PresenceKind::Offline,
            held: empty(),
            reserved: empty(),
            idle_since_ms: 0,
            handled_today: 0,
            today_since_ms: 0,
            speeds: Arc::default(),
            resting: false,
            changed: 0,
            free: 0,
            room: 0,
            signed_in_at_ms: 0,
            recent: Vec::new(),
            paced_until_ms: None,
            key: FreeKey::default(),
        });
        self.agent_of.insert(supply.agent, handle);
        let profile_entry = &mut self.profiles[profile];
        profile_entry.agents += 1;
        profile_entry.members.insert(handle);
        self.empty_profiles.remove(&profile);
        handle
    }

    fn remove_agent(&mut self, handle: u32) {
        let agent = &mut self.agents[handle];
        let profile_handle = agent.profile;
        let profile = &mut self.profiles[profile_handle];
        profile.available -= u32::from(agent.presence == PresenceKind::Available);
        profile.agents -= 1;
        profile.members.remove(&handle);
        let emptied = profile.agents == 0;
        agent.presence = PresenceKind::Offline;
        self.refresh(handle);
        if let Some(agent) = self.agents.remove(handle) {
            self.agent_of.remove(&agent.id);
        }
        if emptied {
            self.empty_profiles.insert(profile_handle);
            if self.empty_profiles.len() > EMPTY_PROFILES_KEPT + self.profiles.len() / 2 {
                self.sweep_profiles();
            }
        }
    }

    /// Brings the pools up to what the agent's picture and reservations say.
    fn refresh(&mut self, handle: u32) {
        let agent = &mut self.agents[handle];
        let profile = &self.profiles[agent.profile];
        let mut room = 0u32;
        if agent.presence == PresenceKind::Available && !agent.resting {
            for slot in 0..profile.channels().len() {
                room |= u32::from(agent.no_room(profile, slot).is_none()) << slot;
            }
        }
        let paced_until_ms = match room {
            0 => None,
            _ => agent.closed_until(self.now_ms),
        };
        if paced_until_ms != agent.paced_until_ms {
            if let Some(until_ms) = std::mem::replace(&mut agent.paced_until_ms, paced_until_ms) {
                self.paces.remove(&(until_ms, agent.id));
            }
            self.paces.extend(paced_until_ms.map(|until_ms| (until_ms, agent.id)));
        }
        let free = if paced_until_ms.is_some() { 0 } else { room };
        let was_room = std::mem::replace(&mut agent.room, room);
        let key = FreeKey {
            used: agent.used(),
            idle_since_ms: agent.idle_since_ms,
            today: (agent.reserved.conversations()).saturating_add(if agent.today_since_ms >= self.today_ms {
                agent.handled_today
            } else {
                0
            }),
            slowdown: Slowdown::of(&agent.speeds, agent.at_once()),
        };
        let (was_free, was_key) = (agent.free, agent.key);
        let id = agent.id;
        agent.free = free;
        agent.key = key;
        for slot in (Members {
            bits: u64::from(was_free | free),
            base: 0,
        }) {
            let (was, is) = (was_free & (1 << slot) != 0, free & (1 << slot) != 0);
            let pool_handle = profile.pools[slot as usize];
            let pool = &mut self.pools[pool_handle];
            if was && is && pool.same_place(was_key, key) {
                continue;
            }
            if was {
                pool.remove(was_key, id, handle);
            }
            if is {
                pool.insert(key, id, handle);
            }
            match (was, is) {
                (false, true) => {
                    self.free_pools.insert(pool_handle);
                    self.fresh_pools.insert(pool_handle);
                    self.reach.add_all(&pool.row);
                    self.stuck.clear();
                }
                (true, false) if pool.by_idle.is_empty() => {
                    self.free_pools.remove(pool_handle);
                    self.fresh_pools.remove(pool_handle);
                    if self.fresh_pools.is_empty() {
                        self.reach.clear();
                    }
                }
                _ => {}
            }
        }
        if room & !was_room != 0
            && let Some(classes) = self.only_classes.get(&id)
        {
            for &class in classes {
                self.fresh_classes.insert(class);
            }
        }
    }

    fn profile(&mut self, settings: &AgentSettings) -> u32 {
        let key = ProfileKey::of(settings);
        if let Some(&profile) = self.profile_of.get(&key) {
            return profile;
        }
        let queues: Vec<u32> = key.queues.iter().map(|&(queue, _)| self.queue(queue)).collect();
        let slots = 0..key.channels.len();
        let handle = self.profiles.insert(Profile {
            key: key.clone(),
            queues: queues.clone(),
            pools: Vec::new(),
            members: BTreeSet::new(),
            agents: 0,
            available: 0,
        });
        let pools: Vec<u32> = slots
            .map(|slot| {
                self.pools.insert(Pool {
                    profile: handle,
                    slot: slot as u8,
                    ..Pool::default()
                })
            })
            .collect();
        self.profiles[handle].pools = pools;
        self.profile_of.insert(key, handle);
        self.empty_profiles.insert(handle);
        for queue in queues {
            self.queues[queue as usize].profiles.insert(handle);
            let specs: Vec<u32> = self.queues[queue as usize].specs.iter().copied().collect();
            for spec in specs {
                self.relate(spec, handle);
            }
        }
        self.reorder_pools(handle);
        handle
    }

    /// Gives the pools of a profile the orders that its queues' choices need, and no others.
    pub(super) fn reorder_pools(&mut self, handle: u32) {
        let profile = &self.profiles[handle];
        let needs = |choice| {
            profile
                .queues
                .iter()
                .any(|&queue| self.queues[queue as usize].choice == choice)
        };
        let agents = &self.agents;
        for &pool in &profile.pools {
            let pool = &mut self.pools[pool];
            let free = || {
                let free = pool.by_idle.iter();
                free.map(|&(idle, id, agent)| (agents[agent].key, idle, id, agent))
            };
            let by_load = needs(AgentChoice::LeastLoaded)
                .then(|| free().map(|(key, idle, id, a)| (key.used, idle, id, a)).collect());
            let by_today = needs(AgentChoice::FewestHandledToday)
                .then(|| free().map(|(key, idle, id, a)| (key.today, idle, id, a)).collect());
            let by_slowdown = needs(AgentChoice::LeastSlowdown)
                .then(|| free().map(|(key, idle, id, a)| (key.slowdown, idle, id, a)).collect());
            let by_id = needs(AgentChoice::RoundRobin).then(|| free().map(|(_, _, id, a)| (id, a)).collect());
            let ranked = needs(AgentChoice::WeightedRandom).then(|| free().map(|(_, _, id, a)| (id, a)).collect());
            pool.by_load = by_load;
            pool.by_today = by_today;
            pool.by_slowdown = by_slowdown;
            pool.by_id = by_id;
            pool.ranked = ranked;
        }
    }

    /// A new day, or days that begin at other times: counts of earlier ones are 0. A look at every agent, once a day.
    pub(super) fn put_today(&mut self, today_ms: Millis) {
        if self.today_ms != today_ms {
            self.today_ms = today_ms;
            let agents: Vec<u32> = self.agents.iter().map(|(handle, _)| handle).collect();
            agents.into_iter().for_each(|agent| self.refresh(agent));
        }
    }

    /// Forgets every profile that has no agent.
    pub(super) fn sweep_profiles(&mut self) {
        for handle in std::mem::take(&mut self.empty_profiles) {
            let Some(profile) = self.profiles.remove(handle) else {
                continue;
            };
            self.profile_of.remove(&profile.key);
            for &queue in &profile.queues {
                self.queues[queue as usize].profiles.remove(&handle);
                for &spec in &self.queues[queue as usize].specs {
                    let spec = &mut self.specs[spec];
                    if let Ok(at) = spec.relations.binary_search_by_key(&handle, |r| r.profile) {
                        let relation = spec.relations.remove(at);
                        if relation.compatible() {
                            spec.row.remove(relation.pool);
                        }
                    }
                }
            }
            for pool in profile.pools {
                self.pools.remove(pool);
            }
        }
    }
}
