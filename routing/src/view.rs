//! What the queue manager is told: complete small pictures, so that it needs no look at the state.
//!
//! The state gives the same pictures twice: in its events, as things change, and by iterators over all there is
//! ([`crate::state::Tenant::views`]), from which a new leader's queue manager starts. Both must lead to equal indexes; a test says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::Due;
use crate::ids::{AgentId, Channel, ConversationId, Millis, QueueId};
use crate::settings::{AgentSettings, QueueSettings, Requirement, RoutingSettings, Selector};

/// A conversation that waits: all that matching needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Which.
    pub conversation: ConversationId,
    /// Where it waits.
    pub queue: QueueId,
    /// Its channel.
    pub channel: Channel,
    /// 0–9.
    pub priority: u8,
    /// To the front, before every priority (R16), or requeued after its agent was lost (R30).
    pub expedited: bool,
    /// Original age: when it first began to wait. Kept through offers, transfers, requeues.
    pub since_ms: Millis,
    /// Tie after age: grows with each conversation started in the tenant.
    pub arrival: u64,
    /// R2: needed; sorted.
    pub required: Arc<[Requirement]>,
    /// R2: wished; sorted.
    pub preferred: Arc<[Requirement]>,
    /// R7, R31: only this agent, until the timer fires. Named in person, so neither queue nor skills are asked of them:
    /// only presence, exclusion and room.
    pub only: Option<AgentId>,
    /// R24: not these (declined, timed out, lost), until the timer fires; sorted.
    pub excluded: Vec<AgentId>,
    /// R32: the customer is gone: keeps its place, is not offered.
    pub held: bool,
    /// R5: rings that have opened for it, as bits (bit n: tier n). Tier 0 always serves.
    pub rings: u8,
    /// R3: what the agent must be; sorted.
    pub selectors: Arc<[Selector]>,
    /// Offers of it so far: with its id the seed of a weighted random choice (R8).
    pub offers: u64,
}

/// What an agent's slot looks like now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// Which.
    pub agent: AgentId,
    /// Skills, queues, capacity (shared with the state: unchanged settings are the same allocation).
    pub settings: Arc<AgentSettings>,
    /// Presence.
    pub presence: Presence,
    /// How many of each channel it holds: offers outstanding, assignments, wrap-ups.
    pub load: BTreeMap<Channel, u16>,
    /// Units of the total in use (R18).
    pub used: u32,
    /// Since when without new work: the last assignment's end of being new (sign-in, or the last offer that was accepted).
    pub idle_since_ms: Millis,
    /// R22: since when signed in.
    pub signed_in_at_ms: Millis,
    /// R22: when offers and assignments within the rate's window were made; ascending; empty without a rate.
    pub recent: Vec<Millis>,
    /// R8: conversations given to them since `today_since_ms`.
    pub handled_today: u32,
    /// Start of the day that `handled_today` counts.
    pub today_since_ms: Millis,
    /// R44: what has been observed of their speed.
    pub speeds: Arc<Speeds>,
}

/// Levels of concurrency that speeds are kept for: 1, 2, … and the last for all above.
pub const SPEED_LEVELS: usize = 8;

/// R44: how long one conversation takes an agent who has so many at once. Learned as conversations are handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Speeds {
    /// Mean handling time by concurrency 1–8 in milliseconds, exponentially smoothed (weight 1/8); 0: not observed.
    pub handle_ms: [u64; SPEED_LEVELS],
    /// How many were observed.
    pub seen: [u32; SPEED_LEVELS],
}

/// R35, R15: what has been observed of a queue's service: exponentially smoothed, weight 1/16; 0: not observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRates {
    /// Which.
    pub queue: QueueId,
    /// Mean time from assignment to the end of wrap-up, in milliseconds.
    pub handle_ms: u64,
    /// Mean patience: waiting time per abandonment, in milliseconds.
    pub patience_ms: u64,
    /// Conversations handled, all in all.
    pub handled: u64,
    /// Conversations answered of those that came in this and the last quarter hour, and of them within the target (abandon
    /// ignored): the service level of [`crate::settings::ShareRule::ServiceLevelBelow`].
    pub recent_offered: u32,
    /// Answered within the target.
    pub recent_within: u32,
}

impl QueueRates {
    /// Whether anything has been observed.
    pub fn observed(&self) -> bool {
        let nothing = Self {
            queue: self.queue,
            ..Self::default()
        };
        *self != nothing
    }
}

/// R29, R30: an agent's presence, as the state keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Signed out.
    #[default]
    Offline,
    /// Ready for work.
    Available,
    /// Not ready, for a reason.
    Away(String),
    /// Finishing, then away.
    Draining,
    /// Connections gone; held until `until_ms`, then offline. `was` comes back with the connections.
    Suspect {
        /// End of the hold.
        until_ms: Millis,
        /// Before.
        was: Box<Presence>,
    },
}

impl Supply {
    /// Why one more conversation of `channel` does not fit now, `None` when it fits (R17–R20).
    pub fn no_room(&self, channel: &Channel) -> Option<NoRoom> {
        let capacity = &self.settings.capacity;
        let Some(wanted) = capacity.channels.get(channel) else {
            return Some(NoRoom::ChannelNotServed);
        };
        if self.load.get(channel).copied().unwrap_or(0) >= wanted.concurrent_max {
            return Some(NoRoom::ChannelFull);
        }
        let held = || self.load.iter().filter(|(_, n)| **n > 0);
        if wanted.interruptible {
            let used = held().filter_map(|(held, &n)| {
                let limits = capacity.channels.get(held).filter(|c| c.interruptible)?;
                Some(limits.cost.saturating_mul(u32::from(n)))
            });
            if used.fold(wanted.cost, u32::saturating_add) > capacity.interruptible {
                return Some(NoRoom::InterruptibleFull);
            }
        } else if self.used.saturating_add(wanted.cost) > capacity.total {
            return Some(NoRoom::TotalFull);
        }
        let lasting = |held: &Channel| capacity.channels.get(held).is_none_or(|c| !c.interruptible);
        if wanted.exclusive && held().any(|(held, _)| lasting(held)) {
            return Some(NoRoom::ExclusiveNeedsAll);
        }
        let exclusive_held = held().any(|(held, _)| capacity.channels.get(held).is_some_and(|c| c.exclusive));
        exclusive_held.then_some(NoRoom::ExclusiveHeld)
    }

    /// The same for an offer that comes of itself: the agent's pace as well (R22).
    pub fn no_room_at(&self, channel: &Channel, now_ms: Millis) -> Option<NoRoom> {
        self.no_room(channel).or_else(|| {
            let pace = Pace {
                settings: &self.settings,
                signed_in_at_ms: self.signed_in_at_ms,
                recent: &self.recent,
                on_their_way: 0,
                held: self.load.values().map(|&n| u32::from(n)).sum(),
            };
            pace.closed_until(now_ms).map(|(why, _)| why)
        })
    }
}

/// R22: whether an agent may be offered one more now, of what comes of itself.
///
/// - Rate: fewer than `max` offers were made within the last `window_ms` (an offer made at t counts before t + `window_ms`), each
///   counted once, whatever became of it.
/// - Warm-up: until `warm_up_ms` after the sign-in, an agent holds at most 1 + ⌊(slots − 1) × elapsed / `warm_up_ms`⌋
///   conversations, where slots is the sum over the channels of how many of each alone would fit.
///
/// Both only open as time passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace<'a> {
    pub settings: &'a AgentSettings,
    pub signed_in_at_ms: Millis,
    /// Ascending.
    pub recent: &'a [Millis],
    /// Decided and not made yet.
    pub on_their_way: usize,
    /// Conversations of any channel, with what is on its way.
    pub held: u32,
}

impl Pace<'_> {
    /// Why not, and until when if nothing else changes (`u64::MAX`: until something does).
    pub fn closed_until(&self, now_ms: Millis) -> Option<(NoRoom, Millis)> {
        let rate = self.rate_until(now_ms).map(|until_ms| (NoRoom::RateReached, until_ms));
        let warm = self.warm_until(now_ms).map(|until_ms| (NoRoom::WarmingUp, until_ms));
        rate.into_iter().chain(warm).max_by_key(|(_, until_ms)| *until_ms)
    }

    fn rate_until(&self, now_ms: Millis) -> Option<Millis> {
        let rate = self.settings.rate?;
        let out_ms = |made_ms: &Millis| made_ms.saturating_add(rate.window_ms);
        let within: Vec<Millis> = self
            .recent
            .iter()
            .map(out_ms)
            .filter(|out_ms| *out_ms > now_ms)
            .collect();
        // So many of the oldest must slide out of the window.
        let too_many = (within.len() + self.on_their_way + 1).checked_sub(usize::from(rate.max))?;
        let last = too_many.checked_sub(1)?;
        Some(within.get(last).copied().unwrap_or(Millis::MAX))
    }

    fn warm_until(&self, now_ms: Millis) -> Option<Millis> {
        let warm_up_ms = self.settings.warm_up_ms;
        let elapsed_ms = now_ms.saturating_sub(self.signed_in_at_ms);
        if elapsed_ms >= warm_up_ms || self.held == 0 {
            return None;
        }
        let steps = u64::from(self.settings.capacity.slots().saturating_sub(1));
        let (held, steps) = (u128::from(self.held), u128::from(steps));
        let needed_ms = match steps {
            0 => u128::from(warm_up_ms),
            steps => (held * u128::from(warm_up_ms))
                .div_ceil(steps)
                .min(u128::from(warm_up_ms)),
        };
        let needed_ms = u64::try_from(needed_ms).unwrap_or(warm_up_ms);
        (elapsed_ms < needed_ms).then(|| self.signed_in_at_ms.saturating_add(needed_ms))
    }
}

/// Why one more does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The agent's capacity does not name the channel.
    ChannelNotServed,
    /// R17.
    ChannelFull,
    /// R18.
    TotalFull,
    /// R19: it is exclusive, and something else is there.
    ExclusiveNeedsAll,
    /// R19: something exclusive is there.
    ExclusiveHeld,
    /// R20.
    InterruptibleFull,
    /// R22.
    RateReached,
    /// R22.
    WarmingUp,
}

/// A queue as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Which.
    pub queue: QueueId,
    /// As set.
    pub settings: Arc<QueueSettings>,
    /// Grows with each change of the settings: the index of the last.
    pub version: u64,
    /// R6: rings that are shared, as bits.
    pub shared_rings: u8,
    /// R34: open by its calendar.
    pub open: bool,
}

/// All there is of one tenant at one index: from this a new leader's queue manager starts. Each list in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// Every queue.
    pub queues: Vec<QueueView>,
    /// Every agent, whatever their presence.
    pub supplies: Vec<Supply>,
    /// Every conversation that waits.
    pub demands: Vec<Demand>,
    /// Every deadline that is set.
    pub timers: Vec<Due>,
    /// What holds for all.
    pub routing: Arc<RoutingSettings>,
    /// What has been observed of each queue.
    pub rates: Vec<QueueRates>,
    /// Version of the policy in force; 0: none was ever given.
    pub policy_version: u64,
}
