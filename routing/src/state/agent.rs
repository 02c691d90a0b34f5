//! One agent's row, and the agent's own stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::AgentItem;
use crate::ids::{AgentId, Channel, Millis};
use crate::limits;
use crate::settings::AgentSettings;
use crate::view::{Presence, Speeds, Supply};

/// What an agent looks like to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    /// Who.
    pub agent: AgentId,
    /// As set.
    pub settings: Arc<AgentSettings>,
    /// Presence.
    pub presence: Presence,
    /// How many of each channel: offers outstanding, assignments, wrap-ups.
    pub load: BTreeMap<Channel, u16>,
    /// Units of the total in use.
    pub used: u32,
    /// Since when without new work.
    pub idle_since_ms: Millis,
    /// Last position of the agent's own stream.
    pub agent_seq: u64,
}

/// The stream no longer reaches back (or not so far forward): the reader takes a fresh picture and goes on from `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent's stream is kept from {first} to {last}")]
pub struct StreamGap {
    /// First position kept.
    pub first: u64,
    /// Last position given.
    pub last: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agent {
    pub settings: Arc<AgentSettings>,
    pub presence: Presence,
    /// Without zeros.
    pub load: BTreeMap<Channel, u16>,
    pub idle_since_ms: Millis,
    pub agent_seq: u64,
    /// Offers that timed out since the last one that was answered.
    pub timeouts_in_a_row: u8,
    /// Holds more than its capacity, since that was lowered; nothing is added meanwhile.
    pub over_capacity: bool,
    /// R22.
    pub signed_in_at_ms: Millis,
    /// R22: within the rate's window; ascending; empty without a rate.
    pub recent: Vec<Millis>,
    /// R8.
    pub handled_today: u32,
    pub today_since_ms: Millis,
    /// R44.
    pub speeds: Arc<Speeds>,
}

impl Agent {
    pub fn new(settings: Arc<AgentSettings>, at_ms: Millis) -> Self {
        Self {
            settings,
            presence: Presence::Offline,
            load: BTreeMap::new(),
            idle_since_ms: at_ms,
            agent_seq: 0,
            timeouts_in_a_row: 0,
            over_capacity: false,
            signed_in_at_ms: 0,
            recent: Vec::new(),
            handled_today: 0,
            today_since_ms: 0,
            speeds: Arc::default(),
        }
    }

    pub fn used(&self) -> u32 {
        let channels = &self.settings.capacity.channels;
        self.load.iter().fold(0u32, |sum, (channel, &n)| {
            let limits = channels.get(channel).filter(|c| !c.interruptible);
            let cost = limits.map_or(0, |c| c.cost);
            sum.saturating_add(cost.saturating_mul(u32::from(n)))
        })
    }

    pub fn take(&mut self, channel: &Channel) {
        match self.load.get_mut(channel) {
            Some(n) => *n = n.saturating_add(1),
            None => _ = self.load.insert(channel.clone(), 1),
        }
    }

    pub fn release(&mut self, channel: &Channel) {
        if let Some(n) = self.load.get_mut(channel) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.load.remove(channel);
            }
        }
    }

    /// R22: an offer that came of itself was made.
    pub fn paced(&mut self, at_ms: Millis) {
        if let Some(rate) = self.settings.rate {
            self.recent
                .retain(|made_ms| made_ms.saturating_add(rate.window_ms) > at_ms);
            self.recent.push(at_ms);
        }
        self.forget_recent();
    }

    /// R22: no more are remembered than the rate counts.
    pub fn forget_recent(&mut self) {
        let counted = self.settings.rate.map_or(0, |rate| usize::from(rate.max));
        let surplus = self.recent.len().saturating_sub(counted);
        self.recent.drain(..surplus);
    }

    /// Whether what it holds is within its capacity as set now (R17–R20).
    pub fn fits(&self) -> bool {
        let capacity = &self.settings.capacity;
        let (mut lasting, mut interruptible) = (0u32, 0u32);
        for (channel, &n) in &self.load {
            match capacity.channels.get(channel).filter(|c| c.interruptible) {
                Some(limits) => interruptible = interruptible.saturating_add(limits.cost.saturating_mul(n.into())),
                None => lasting += u32::from(n),
            }
        }
        self.used() <= capacity.total
            && interruptible <= capacity.interruptible
            && self.load.iter().all(|(channel, &n)| {
                capacity
                    .channels
                    .get(channel)
                    .is_some_and(|c| n <= c.concurrent_max && (!c.exclusive || lasting == 1))
            })
    }

    /// Signed in, and not suspect.
    pub fn here(&self) -> bool {
        !matches!(self.presence, Presence::Offline | Presence::Suspect { .. })
    }

    pub fn supply(&self, agent: AgentId) -> Supply {
        Supply {
            agent,
            settings: self.settings.clone(),
            presence: self.presence.clone(),
            load: self.load.clone(),
            used: self.used(),
            idle_since_ms: self.idle_since_ms,
            signed_in_at_ms: self.signed_in_at_ms,
            recent: self.recent.clone(),
            handled_today: self.handled_today,
            today_since_ms: self.today_since_ms,
            speeds: self.speeds.clone(),
        }
    }

    /// Whether the queue manager would see it otherwise than `before`.
    pub fn supply_changed(&self, before: &Self) -> bool {
        self.presence != before.presence
            || self.load != before.load
            || self.idle_since_ms != before.idle_since_ms
            || self.signed_in_at_ms != before.signed_in_at_ms
            || self.recent != before.recent
            || self.handled_today != before.handled_today
            || self.today_since_ms != before.today_since_ms
            || self.speeds != before.speeds
            || (!Arc::ptr_eq(&self.settings, &before.settings) && self.settings != before.settings)
    }

    pub fn view(&self, agent: AgentId) -> AgentView {
        AgentView {
            agent,
            settings: self.settings.clone(),
            presence: self.presence.clone(),
            load: self.load.clone(),
            used: self.used(),
            idle_since_ms: self.idle_since_ms,
            agent_seq: self.agent_seq,
        }
    }
}

/// A presence's name in refusals.
pub(crate) fn presence_word(presence: &Presence) -> &'static str {
    match presence {
        Presence::Offline => "offline",
        Presence::Available => "available",
        Presence::Away(_) => "away",
        Presence::Draining => "draining",
        Presence::Suspect { .. } => "suspect",
    }
}

/// The last items of an agent's own stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentStream {
    items: VecDeque<AgentItem>,
}

impl AgentStream {
    pub fn push(&mut self, item: AgentItem) {
        if self.items.len() == limits::AGENT_STREAM_WINDOW {
            self.items.pop_front();
        }
        self.items.push_back(item);
    }

    pub fn items(&self) -> impl Iterator<Item = &AgentItem> {
        self.items.iter()
    }

    pub fn after(&self, after: u64, last: u64) -> Result<Vec<AgentItem>, StreamGap> {
        let first = self.items.front().map_or(last + 1, |item| item.agent_seq);
        if after > last || after + 1 < first {
            return Err(StreamGap { first, last });
        }
        Ok(self.items.iter().skip((after + 1 - first) as usize).cloned().collect())
    }
}
