//! An agent: skills, memberships, capacity.
//!
//! Interruptible work (R20) draws on its own pool, `Capacity::interruptible`; all other work on `Capacity::total`. Neither takes of
//! the other, and each channel has its own `concurrent_max` as well. Exclusive work asks for nothing else that is not
//! interruptible: it comes beside interruptible work, and interrupts it. While an agent holds exclusive work nothing is offered
//! to them, of either pool. What is interrupted stays assigned, and its deadlines (no reply, idle, wrap-up) run on: the agent may be
//! interrupted, but what a queue promises its customers holds. Queues of interruptible work have long deadlines. A channel
//! cannot be exclusive and interruptible.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::Value;
use crate::ids::{Channel, QueueId, SkillName};

/// R17–R19: what one channel takes of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCapacity {
    /// R17: at most so many at once.
    pub concurrent_max: u16,
    /// R18: units of the agent's total that one takes.
    pub cost: u32,
    /// R19: nothing else beside it.
    pub exclusive: bool,
    /// R20: draws on the interruptible pool; exclusive work comes beside it and interrupts it.
    pub interruptible: bool,
}

/// An agent's capacity. A channel that is not named here is not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// R18: units in all, of what is not interruptible.
    pub total: u32,
    /// R20: units in all, of what is interruptible.
    pub interruptible: u32,
    /// Per channel.
    pub channels: BTreeMap<Channel, ChannelCapacity>,
}

impl Capacity {
    /// Conversations that would fit of each channel alone, added up: what a warm-up (R22) grows to.
    pub fn slots(&self) -> u32 {
        let of = |limits: &ChannelCapacity| {
            let pool = if limits.interruptible {
                self.interruptible
            } else {
                self.total
            };
            let fit = pool.checked_div(limits.cost).unwrap_or(u32::MAX);
            let most = u32::from(limits.concurrent_max).min(fit);
            if limits.exclusive { most.min(1) } else { most }
        };
        self.channels.values().map(of).fold(0, u32::saturating_add)
    }
}

/// How an agent belongs to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    /// R5, R8: 0 serves from the start and goes first in a fixed order; 1 and above are the queue's rings.
    pub tier: u8,
    /// R8: place within the tier in a fixed order.
    pub position: u16,
    /// R8: share of a weighted random choice, at least 1.
    pub weight: u16,
}

impl Membership {
    /// Memberships without distinction.
    pub fn plain(queues: impl IntoIterator<Item = QueueId>) -> BTreeMap<QueueId, Self> {
        queues.into_iter().map(|queue| (queue, Self::default())).collect()
    }
}

impl Default for Membership {
    fn default() -> Self {
        Self {
            tier: 0,
            position: 0,
            weight: 1,
        }
    }
}

/// R22: at most so many new assignments within a window that slides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AssignmentRate {
    /// At most so many (1–32).
    pub max: u8,
    /// Within so long.
    pub window_ms: u64,
}

/// An agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Name, unique within the tenant; the `sub` of the agent's tokens.
    pub name: String,
    /// Skills and levels 1–10.
    pub skills: BTreeMap<SkillName, u8>,
    /// Queues that the agent serves.
    pub queues: BTreeMap<QueueId, Membership>,
    /// R17–R19.
    pub capacity: Capacity,
    /// R10: may take a chosen waiting conversation.
    pub may_pull: bool,
    /// May assign by hand, override, and act on others' conversations.
    pub supervisor: bool,
    /// R30: how long conversations are held for an agent whose connections are gone.
    pub lease_hold_ms: u64,
    /// R22; offers that come of themselves count, pulls and hand-overs by name do not.
    pub rate: Option<AssignmentRate>,
    /// R22: after a sign-in the room for offers grows from one conversation to all of it over so long (0: at once).
    pub warm_up_ms: u64,
    /// R3: what selectors test. Agents with equal attributes are matched together, so keep to what many share (a site, a
    /// licence), not what makes each another (a number of their own).
    pub attributes: BTreeMap<String, Value>,
}
