//! An agent, as the queue manager sees one: what they hold, what is on its way to them, and what fits.

use std::sync::Arc;

use super::pool::FreeKey;
use super::profile::{ChannelShape, Profile};
use crate::ids::{AgentId, Millis};
use crate::settings::AgentSettings;
use crate::view::{NoRoom, Pace, Presence, Speeds};

/// Presence without its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PresenceKind {
    Offline,
    Available,
    Away,
    Draining,
    Suspect,
}

impl PresenceKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Available => "available",
            Self::Away => "away",
            Self::Draining => "finishing, and takes nothing new",
            Self::Suspect => "without a connection",
        }
    }
}

impl From<&Presence> for PresenceKind {
    fn from(presence: &Presence) -> Self {
        match presence {
            Presence::Offline => Self::Offline,
            Presence::Available => Self::Available,
            Presence::Away(_) => Self::Away,
            Presence::Draining => Self::Draining,
            Presence::Suspect { .. } => Self::Suspect,
        }
    }
}

/// Conversations that an agent holds or is about to hold, by the profile's channels.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// By position of the channel in the profile.
    pub(super) by_channel: Vec<u16>,
    /// Of channels that the settings no longer name.
    pub(super) others: u32,
    /// Units of the total.
    pub(super) units: u32,
    /// R20: of the interruptible pool.
    pub(super) interruptible: u32,
    /// R22: offers that come of themselves.
    pub(super) paced: u32,
}

impl Holding {
    pub(super) fn conversations(&self) -> u32 {
        let known = self.by_channel.iter().map(|&count| u32::from(count));
        known.sum::<u32>().saturating_add(self.others)
    }
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) settings: Arc<AgentSettings>,
    pub(super) profile: u32,
    pub(super) presence: PresenceKind,
    /// As the state says.
    pub(super) held: Holding,
    /// Offered by decisions that are on their way.
    pub(super) reserved: Holding,
    pub(super) idle_since_ms: Millis,
    /// Since `today_since_ms`.
    pub(super) handled_today: u32,
    pub(super) today_since_ms: Millis,
    pub(super) speeds: Arc<Speeds>,
    /// An offer to them was refused, and nothing has been heard since.
    pub(super) resting: bool,
    /// When the last picture came, on the queue manager's count of events.
    pub(super) changed: u64,
    /// Channels, by position, whose pool they are in.
    pub(super) free: u32,
    /// Channels, by position, of which one more fits, whatever their pace: for who asks for them by name.
    pub(super) room: u32,
    /// R22.
    pub(super) signed_in_at_ms: Millis,
    pub(super) recent: Vec<Millis>,
    /// R22: nothing comes of itself until then.
    pub(super) paced_until_ms: Option<Millis>,
    pub(super) key: FreeKey,
}

impl Agent {
    pub(super) fn used(&self) -> u32 {
        self.held.units.saturating_add(self.reserved.units)
    }

    /// Conversations of all channels.
    pub(super) fn at_once(&self) -> u32 {
        self.held.conversations().saturating_add(self.reserved.conversations())
    }

    pub(super) fn count(&self, slot: usize) -> u16 {
        self.held.by_channel[slot].saturating_add(self.reserved.by_channel[slot])
    }

    /// [`Supply::no_room`], with what is reserved counted.
    pub(super) fn no_room(&self, profile: &Profile, slot: usize) -> Option<NoRoom> {
        let shape = &profile.channels()[slot];
        if self.count(slot) >= shape.concurrent_max {
            return Some(NoRoom::ChannelFull);
        }
        if self.used_like(shape).saturating_add(shape.cost) > profile.pool_of(shape) {
            return Some(match shape.interruptible {
                true => NoRoom::InterruptibleFull,
                false => NoRoom::TotalFull,
            });
        }
        let mut held = (0..profile.channels().len()).filter(|&other| self.count(other) > 0);
        let lasting = held.clone().any(|other| !profile.channels()[other].interruptible);
        let busy = lasting || self.held.others > 0 || self.reserved.others > 0;
        if shape.exclusive && busy {
            return Some(NoRoom::ExclusiveNeedsAll);
        }
        held.any(|other| profile.channels()[other].exclusive)
            .then_some(NoRoom::ExclusiveHeld)
    }

    /// Units of the pool that a channel draws on, in use.
    pub(super) fn used_like(&self, shape: &ChannelShape) -> u32 {
        match shape.interruptible {
            true => self.held.interruptible.saturating_add(self.reserved.interruptible),
            false => self.used(),
        }
    }

    /// R22.
    pub(super) fn closed_until(&self, now_ms: Millis) -> Option<Millis> {
        if self.settings.rate.is_none() && self.settings.warm_up_ms == 0 {
            return None;
        }
        let pace = Pace {
            settings: &self.settings,
            signed_in_at_ms: self.signed_in_at_ms,
            recent: &self.recent,
            on_their_way: self.reserved.paced as usize,
            held: self.at_once(),
        };
        pace.closed_until(now_ms).map(|(_, until_ms)| until_ms)
    }

    /// Until when their pace allows no more (R22).
    pub(super) fn paced_until_ms(&self) -> Option<Millis> {
        self.paced_until_ms
    }

    /// Whether one more fits of what they are asked for by name.
    pub(super) fn has_room(&self, slot: usize) -> bool {
        self.room & (1 << slot) != 0
    }

    pub(super) fn is_free(&self, slot: usize) -> bool {
        self.free & (1 << slot) != 0
    }
}
