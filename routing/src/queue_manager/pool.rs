//! Pools: the free agents of a profile for one of its channels.

use std::collections::BTreeSet;

use super::bits::BitSet;
use super::ranked::Ranked;
use super::slowdown::Slowdown;
use crate::ids::{AgentId, Millis};

/// The free agents of one profile for one channel, in each order that a queue of the profile needs.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) profile: u32,
    /// Position of the channel in the profile.
    pub(super) slot: u8,
    /// Classes that it can serve.
    pub(super) row: BitSet,
    pub(super) by_idle: BTreeSet<(Millis, AgentId, u32)>,
    pub(super) by_load: Option<BTreeSet<(u32, Millis, AgentId, u32)>>,
    pub(super) by_id: Option<BTreeSet<(AgentId, u32)>>,
    pub(super) by_today: Option<BTreeSet<(u32, Millis, AgentId, u32)>>,
    pub(super) by_slowdown: Option<BTreeSet<(Slowdown, Millis, AgentId, u32)>>,
    pub(super) ranked: Option<Ranked<(AgentId, u32)>>,
}

impl Pool {
    pub(super) fn insert(&mut self, key: FreeKey, id: AgentId, agent: u32) {
        self.by_idle.insert((key.idle_since_ms, id, agent));
        if let Some(set) = &mut self.by_load {
            set.insert((key.used, key.idle_since_ms, id, agent));
        }
        if let Some(set) = &mut self.by_id {
            set.insert((id, agent));
        }
        if let Some(set) = &mut self.by_today {
            set.insert((key.today, key.idle_since_ms, id, agent));
        }
        if let Some(set) = &mut self.by_slowdown {
            set.insert((key.slowdown, key.idle_since_ms, id, agent));
        }
        if let Some(set) = &mut self.ranked {
            set.insert((id, agent));
        }
    }

    pub(super) fn remove(&mut self, key: FreeKey, id: AgentId, agent: u32) {
        self.by_idle.remove(&(key.idle_since_ms, id, agent));
        if let Some(set) = &mut self.by_load {
            set.remove(&(key.used, key.idle_since_ms, id, agent));
        }
        if let Some(set) = &mut self.by_id {
            set.remove(&(id, agent));
        }
        if let Some(set) = &mut self.by_today {
            set.remove(&(key.today, key.idle_since_ms, id, agent));
        }
        if let Some(set) = &mut self.by_slowdown {
            set.remove(&(key.slowdown, key.idle_since_ms, id, agent));
        }
        if let Some(set) = &mut self.ranked {
            set.remove(&(id, agent));
        }
    }

    /// Whether both keys are the same place in all of its orders.
    pub(super) fn same_place(&self, a: FreeKey, b: FreeKey) -> bool {
        a.idle_since_ms == b.idle_since_ms
            && (a.used == b.used || self.by_load.is_none())
            && (a.today == b.today || self.by_today.is_none())
            && (a.slowdown == b.slowdown || self.by_slowdown.is_none())
    }
}

/// Where a free agent stands in the sets of its pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FreeKey {
    pub(super) used: u32,
    pub(super) idle_since_ms: Millis,
    /// Handled today (nothing when that count is of an earlier day), with what is on its way.
    pub(super) today: u32,
    pub(super) slowdown: Slowdown,
}
