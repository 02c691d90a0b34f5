//! An agent.

use std::collections::BTreeMap;

use routing::ids::{Channel, QueueId, SkillName};
use routing::settings::{AgentSettings, AssignmentRate, Capacity, ChannelCapacity, Membership};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::model::conversation::{Attributes, attributes_in, attributes_out};

/// How long conversations are held for an agent whose connections are gone, unless set.
const LEASE_HOLD_DEFAULT_MS: u64 = 30_000;

/// R17–R19: what one channel takes of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelBody {
    /// At most so many at once.
    pub concurrent_max: u16,
    /// Units of the agent's total that one takes.
    pub cost: u32,
    /// Nothing else beside it.
    #[serde(default)]
    pub exclusive: bool,
    /// R20: draws on the interruptible pool.
    #[serde(default)]
    pub interruptible: bool,
}

/// An agent's capacity. A channel that is not named is not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityBody {
    /// Units in all, of what is not interruptible.
    pub total: u32,
    /// R20: units in all, of what is interruptible.
    #[serde(default)]
    pub interruptible: u32,
    /// Per channel.
    pub channels: BTreeMap<String, ChannelBody>,
}

/// An agent. Only the name is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentBody {
    /// Unique within the tenant; the `sub` of the agent's tokens.
    #[schema(required, example = "aiko")]
    pub name: String,
    /// Skills and levels 1–10.
    pub skills: BTreeMap<String, u8>,
    /// Queues that the agent serves.
    #[schema(value_type = Vec<String>)]
    pub queues: Vec<QueueId>,
    /// R17–R19.
    pub capacity: CapacityBody,
    /// R10: may take a chosen waiting conversation.
    pub may_pull: bool,
    /// May assign by hand, override, and act on others' conversations.
    pub supervisor: bool,
    /// R30: how long conversations are held when all connections are gone.
    pub lease_hold_ms: u64,
    /// R5, R8: how they belong to queues, where it is not the usual; a queue that is only named here is served as well.
    #[schema(value_type = std::collections::BTreeMap<String, MembershipBody>)]
    pub memberships: BTreeMap<QueueId, MembershipBody>,
    /// R22: at most so many new conversations within a window.
    pub rate: Option<RateBody>,
    /// R22: after a sign-in, room grows from one conversation to all of it over so long (0: at once).
    pub warm_up_ms: u64,
    /// R3: what selectors of conversations test: what agents share (a site, a licence), not what makes each another.
    pub attributes: Attributes,
}

/// R5, R8: how an agent belongs to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MembershipBody {
    /// 0 serves from the start; 1 and above are the queue's rings.
    pub tier: u8,
    /// Place within the tier in a fixed order.
    pub position: u16,
    /// Share of a weighted random choice, at least 1.
    pub weight: u16,
}

impl Default for MembershipBody {
    fn default() -> Self {
        Membership::default().into()
    }
}

impl From<Membership> for MembershipBody {
    fn from(from: Membership) -> Self {
        Self {
            tier: from.tier,
            position: from.position,
            weight: from.weight,
        }
    }
}

impl From<MembershipBody> for Membership {
    fn from(from: MembershipBody) -> Self {
        Self {
            tier: from.tier,
            position: from.position,
            weight: from.weight,
        }
    }
}

/// R22: at most so many new conversations within a window that slides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateBody {
    /// At most so many, 1–32.
    pub max: u8,
    /// Within so long.
    pub window_ms: u64,
}

impl Default for AgentBody {
    fn default() -> Self {
        Self {
            name: String::new(),
            skills: BTreeMap::new(),
            queues: Vec::new(),
            capacity: CapacityBody::default(),
            may_pull: false,
            supervisor: false,
            lease_hold_ms: LEASE_HOLD_DEFAULT_MS,
            memberships: BTreeMap::new(),
            rate: None,
            warm_up_ms: 0,
            attributes: Attributes::new(),
        }
    }
}

impl From<&AgentSettings> for AgentBody {
    fn from(from: &AgentSettings) -> Self {
        let channels = from.capacity.channels.iter().map(|(Channel(channel), capacity)| {
            let body = ChannelBody {
                concurrent_max: capacity.concurrent_max,
                cost: capacity.cost,
                exclusive: capacity.exclusive,
                interruptible: capacity.interruptible,
            };
            (channel.clone(), body)
        });
        Self {
            name: from.name.clone(),
            skills: from
                .skills
                .iter()
                .map(|(SkillName(skill), level)| (skill.clone(), *level))
                .collect(),
            queues: from.queues.keys().copied().collect(),
            capacity: CapacityBody {
                total: from.capacity.total,
                interruptible: from.capacity.interruptible,
                channels: channels.collect(),
            },
            may_pull: from.may_pull,
            supervisor: from.supervisor,
            lease_hold_ms: from.lease_hold_ms,
            memberships: from
                .queues
                .iter()
                .filter(|(_, how)| **how != Membership::default())
                .map(|(queue, how)| (*queue, (*how).into()))
                .collect(),
            rate: from.rate.map(|rate| RateBody {
                max: rate.max,
                window_ms: rate.window_ms,
            }),
            warm_up_ms: from.warm_up_ms,
            attributes: attributes_out(&from.attributes),
        }
    }
}

impl From<AgentBody> for AgentSettings {
    fn from(from: AgentBody) -> Self {
        let channels = from.capacity.channels.into_iter().map(|(channel, body)| {
            let capacity = ChannelCapacity {
                concurrent_max: body.concurrent_max,
                cost: body.cost,
                exclusive: body.exclusive,
                interruptible: body.interruptible,
            };
            (Channel(channel), capacity)
        });
        let mut queues = Membership::plain(from.queues);
        queues.extend(from.memberships.into_iter().map(|(queue, how)| (queue, how.into())));
        Self {
            name: from.name,
            skills: from
                .skills
                .into_iter()
                .map(|(skill, level)| (SkillName(skill), level))
                .collect(),
            queues,
            capacity: Capacity {
                total: from.capacity.total,
                channels: channels.collect(),
                interruptible: from.capacity.interruptible,
            },
            may_pull: from.may_pull,
            supervisor: from.supervisor,
            lease_hold_ms: from.lease_hold_ms,
            rate: from.rate.map(|rate| AssignmentRate {
                max: rate.max,
                window_ms: rate.window_ms,
            }),
            warm_up_ms: from.warm_up_ms,
            attributes: attributes_in(from.attributes),
        }
    }
}
