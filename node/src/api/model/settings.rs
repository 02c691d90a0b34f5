//! Settings of a tenant: queues, agents, rules. Durations in milliseconds; defaults are those of routing.

use std::collections::BTreeMap;

use routing::ids::{AgentId, Channel, QueueId, SkillName};
use routing::limits::PRIORITIES;
use routing::settings::{
    AgentChoice, AgentSettings, AtCap, Capacity, ChannelCapacity, Classification, EscalateAction, EscalateWhen,
    Escalation, Membership, NoReply, Order, Preference, QueueSettings, Requirement, Rule, WrapUp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::QueueRef;

/// How long conversations are held for an agent whose connections are gone, unless set.
const LEASE_HOLD_DEFAULT_MS: u64 = 30_000;

/// In which order a queue's conversations are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OrderBody {
    /// R11: the higher priority first, regardless of age.
    StrictPriority,
    /// R12: each step of priority is worth so much age.
    LinearAgeing {
        /// Age that one step of priority outweighs.
        step_ms: u64,
    },
    /// R13: each priority earns credit at its own rate while it waits; the most credit goes first.
    AccumulatingPriority {
        /// Credit per millisecond, by priority 0–9.
        rates: [u32; PRIORITIES],
    },
    /// R14: who must be answered first goes first.
    EarliestDeadline {
        /// Target by priority 0–9; 0 stands for the queue's `answer_target_ms`.
        targets_ms: [u64; PRIORITIES],
    },
}

/// R8: who gets a conversation, among those who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ChoiceBody {
    LongestIdle,
    LeastLoaded,
    MostSkilled,
    RoundRobin,
    FixedOrder,
    WeightedRandom,
    FewestHandledToday,
    LeastSlowdown,
    LeastSkilled,
}

/// R28: what follows the end of an assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WrapUpBody {
    /// Capacity is free at once.
    None,
    /// Ends by itself, or earlier by hand.
    Timed {
        /// Length.
        length_ms: u64,
        /// All extensions together.
        extension_max_ms: u64,
    },
    /// Ends by hand, or at the latest after so long.
    Manual {
        /// Longest length.
        longest_ms: u64,
    },
}

/// R23: what happens to who comes when the queue is full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AtCapBody {
    /// Refused (`queue_full`), or to the next queue of its classification.
    Refuse,
    /// Kept, closed with outcome `offline`; this text is its first entry.
    Offline {
        /// Said to the customer.
        text: String,
    },
}

/// R27: one step of escalation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationBody {
    /// When.
    pub when: WhenBody,
    /// What.
    pub action: ActionBody,
}

/// When an escalation step is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenBody {
    /// The conversation has waited for so long in this queue.
    WaitedMs(u64),
    /// More than so many wait when the conversation joins.
    LongerThan(u32),
}

/// What an escalation step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionBody {
    /// Sets the priority, if it is lower.
    RaisePriority(u8),
    /// Moves the conversation to another queue.
    MoveQueue(QueueRef),
    /// Closes it with these words.
    Close(String),
    /// Asks for other skills from here on.
    Reclassify {
        /// R2: needed.
        required: Vec<RequirementBody>,
        /// R2: wished.
        preferred: Vec<RequirementBody>,
    },
}

/// R26: what happens when the agent does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoReplyBody {
    /// After so long without an agent's message.
    pub after_ms: u64,
    /// The agent is not offered it again for so long.
    pub exclude_ms: u64,
}

/// A queue. Only the name is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueBody {
    /// Unique within the tenant, at most 64 bytes.
    #[schema(required, example = "support")]
    pub name: String,
    /// R11, R12.
    pub order: OrderBody,
    /// R8.
    pub choice: ChoiceBody,
    /// R24: how long an agent may think about an offer.
    pub offer_timeout_ms: u64,
    /// R24: assigned without asking.
    pub auto_accept: bool,
    /// R24: not offered again for so long to who declined it or let it time out.
    pub decline_exclude_ms: u64,
    /// R24: the agent goes away after so many timeouts in a row (0: never).
    pub timeouts_until_away: u8,
    /// R23: longest length (0: no cap).
    pub length_max: u32,
    /// R23: nobody is admitted while the oldest has waited longer (0: no cap).
    pub wait_max_ms: u64,
    /// R23.
    pub at_cap: AtCapBody,
    /// R26.
    pub no_reply: Option<NoReplyBody>,
    /// R27, in order.
    pub escalations: Vec<EscalationBody>,
    /// R28.
    pub wrap_up: WrapUpBody,
    /// R32: how long a customer who left keeps the place.
    pub abandon_hold_ms: u64,
    /// R32: who leaves earlier counts as a short abandon.
    pub short_abandon_ms: u64,
    /// A closed conversation may be reopened for so long.
    pub reopen_window_ms: u64,
    /// Service-level target.
    pub answer_target_ms: u64,
}

impl Default for QueueBody {
    fn default() -> Self {
        Self::from(&QueueSettings::named(""))
    }
}

impl From<&QueueSettings> for QueueBody {
    fn from(from: &QueueSettings) -> Self {
        Self {
            name: from.name.clone(),
            order: match from.order {
                Order::StrictPriority => OrderBody::StrictPriority,
                Order::LinearAgeing { step_ms } => OrderBody::LinearAgeing { step_ms },
                Order::AccumulatingPriority { rates } => OrderBody::AccumulatingPriority { rates },
                Order::EarliestDeadline { targets_ms } => OrderBody::EarliestDeadline { targets_ms },
            },
            choice: match from.choice {
                AgentChoice::LongestIdle => ChoiceBody::LongestIdle,
                AgentChoice::LeastLoaded => ChoiceBody::LeastLoaded,
                AgentChoice::MostSkilled => ChoiceBody::MostSkilled,
                AgentChoice::RoundRobin => ChoiceBody::RoundRobin,
                AgentChoice::FixedOrder => ChoiceBody::FixedOrder,
                AgentChoice::WeightedRandom => ChoiceBody::WeightedRandom,
                AgentChoice::FewestHandledToday => ChoiceBody::FewestHandledToday,
                AgentChoice::LeastSlowdown => ChoiceBody::LeastSlowdown,
                AgentChoice::LeastSkilled => ChoiceBody::LeastSkilled,
            },
            offer_timeout_ms: from.offer_timeout_ms,
            auto_accept: from.auto_accept,
            decline_exclude_ms: from.decline_exclude_ms,
            timeouts_until_away: from.timeouts_until_away,
            length_max: from.length_max,
            wait_max_ms: from.wait_max_ms,
            at_cap: match &from.at_cap {
                AtCap::Refuse => AtCapBody::Refuse,
                AtCap::Offline { text } => AtCapBody::Offline { text: text.clone() },
            },
            no_reply: from.no_reply.as_ref().map(|no_reply| NoReplyBody {
                after_ms: no_reply.after_ms,
                exclude_ms: no_reply.exclude_ms,
            }),
            escalations: from.escalations.iter().map(escalation_out).collect(),
            wrap_up: match from.wrap_up {
                WrapUp::None => WrapUpBody::None,
                WrapUp::Timed {
                    length_ms,
                    extension_max_ms,
                } => WrapUpBody::Timed {
                    length_ms,
                    extension_max_ms,
                },
                WrapUp::Manual { longest_ms } => WrapUpBody::Manual { longest_ms },
            },
            abandon_hold_ms: from.abandon_hold_ms,
            short_abandon_ms: from.short_abandon_ms,
            reopen_window_ms: from.reopen_window_ms,
            answer_target_ms: from.answer_target_ms,
        }
    }
}

fn escalation_out(from: &Escalation) -> EscalationBody {
    EscalationBody {
        when: match from.when {
            EscalateWhen::WaitedMs(ms) => WhenBody::WaitedMs(ms),
            EscalateWhen::LongerThan(length) => WhenBody::LongerThan(length),
        },
        action: match &from.action {
            EscalateAction::RaisePriority(priority) => ActionBody::RaisePriority(*priority),
            EscalateAction::MoveQueue(queue) => ActionBody::MoveQueue(QueueRef(*queue)),
            EscalateAction::Close { text } => ActionBody::Close(text.clone()),
            EscalateAction::Reclassify { required, preferred } => ActionBody::Reclassify {
                required: required.iter().map(RequirementBody::from).collect(),
                preferred: preferred.iter().map(RequirementBody::from).collect(),
            },
        },
    }
}

fn escalation_in(from: EscalationBody) -> Escalation {
    Escalation {
        when: match from.when {
            WhenBody::WaitedMs(ms) => EscalateWhen::WaitedMs(ms),
            WhenBody::LongerThan(length) => EscalateWhen::LongerThan(length),
        },
        action: match from.action {
            ActionBody::RaisePriority(priority) => EscalateAction::RaisePriority(priority),
            ActionBody::MoveQueue(QueueRef(queue)) => EscalateAction::MoveQueue(queue),
            ActionBody::Close(text) => EscalateAction::Close { text },
            ActionBody::Reclassify { required, preferred } => EscalateAction::Reclassify {
                required: required.into_iter().map(Requirement::from).collect(),
                preferred: preferred.into_iter().map(Requirement::from).collect(),
            },
        },
    }
}

impl From<QueueBody> for QueueSettings {
    fn from(from: QueueBody) -> Self {
        Self {
            name: from.name,
            order: match from.order {
                OrderBody::StrictPriority => Order::StrictPriority,
                OrderBody::LinearAgeing { step_ms } => Order::LinearAgeing { step_ms },
                OrderBody::AccumulatingPriority { rates } => Order::AccumulatingPriority { rates },
                OrderBody::EarliestDeadline { targets_ms } => Order::EarliestDeadline { targets_ms },
            },
            choice: match from.choice {
                ChoiceBody::LongestIdle => AgentChoice::LongestIdle,
                ChoiceBody::LeastLoaded => AgentChoice::LeastLoaded,
                ChoiceBody::MostSkilled => AgentChoice::MostSkilled,
                ChoiceBody::RoundRobin => AgentChoice::RoundRobin,
                ChoiceBody::FixedOrder => AgentChoice::FixedOrder,
                ChoiceBody::WeightedRandom => AgentChoice::WeightedRandom,
                ChoiceBody::FewestHandledToday => AgentChoice::FewestHandledToday,
                ChoiceBody::LeastSlowdown => AgentChoice::LeastSlowdown,
                ChoiceBody::LeastSkilled => AgentChoice::LeastSkilled,
            },
            offer_timeout_ms: from.offer_timeout_ms,
            auto_accept: from.auto_accept,
            decline_exclude_ms: from.decline_exclude_ms,
            timeouts_until_away: from.timeouts_until_away,
            length_max: from.length_max,
            wait_max_ms: from.wait_max_ms,
            at_cap: match from.at_cap {
                AtCapBody::Refuse => AtCap::Refuse,
                AtCapBody::Offline { text } => AtCap::Offline { text },
            },
            no_reply: from.no_reply.map(|no_reply| NoReply {
                after_ms: no_reply.after_ms,
                exclude_ms: no_reply.exclude_ms,
            }),
            escalations: from.escalations.into_iter().map(escalation_in).collect(),
            wrap_up: match from.wrap_up {
                WrapUpBody::None => WrapUp::None,
                WrapUpBody::Timed {
                    length_ms,
                    extension_max_ms,
                } => WrapUp::Timed {
                    length_ms,
                    extension_max_ms,
                },
                WrapUpBody::Manual { longest_ms } => WrapUp::Manual { longest_ms },
            },
            abandon_hold_ms: from.abandon_hold_ms,
            short_abandon_ms: from.short_abandon_ms,
            reopen_window_ms: from.reopen_window_ms,
            answer_target_ms: from.answer_target_ms,
            ..Self::named("")
        }
    }
}

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
}

/// An agent's capacity. A channel that is not named is not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityBody {
    /// Units in all.
    pub total: u32,
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
                channels: channels.collect(),
            },
            may_pull: from.may_pull,
            supervisor: from.supervisor,
            lease_hold_ms: from.lease_hold_ms,
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
                interruptible: false,
            };
            (Channel(channel), capacity)
        });
        Self {
            name: from.name,
            skills: from
                .skills
                .into_iter()
                .map(|(skill, level)| (SkillName(skill), level))
                .collect(),
            queues: Membership::plain(from.queues),
            capacity: Capacity {
                total: from.capacity.total,
                channels: channels.collect(),
                interruptible: 0,
            },
            may_pull: from.may_pull,
            supervisor: from.supervisor,
            lease_hold_ms: from.lease_hold_ms,
            ..Self::default()
        }
    }
}

/// A skill that a conversation asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequirementBody {
    /// Which.
    #[schema(example = "language.ja")]
    pub skill: String,
    /// At least this level, 1–10.
    pub level: u8,
}

impl From<RequirementBody> for Requirement {
    fn from(RequirementBody { skill, level }: RequirementBody) -> Self {
        Self {
            skill: SkillName(skill),
            level,
        }
    }
}

impl From<&Requirement> for RequirementBody {
    fn from(from: &Requirement) -> Self {
        Self {
            skill: from.skill.0.clone(),
            level: from.level,
        }
    }
}

/// R7: an agent to wait for before anyone else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferenceBody {
    /// Who.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// For so long; then anybody.
    pub wait_ms: u64,
}

/// R1: what a rule gives a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassificationBody {
    /// In order of admission: the first that admits it takes it.
    #[schema(value_type = Vec<String>)]
    pub queues: Vec<QueueId>,
    /// 0–9, 9 first.
    #[serde(default = "priority_default")]
    pub priority: u8,
    /// R2: needed.
    #[serde(default)]
    pub required: Vec<RequirementBody>,
    /// R2: adds to the score.
    #[serde(default)]
    pub preferred: Vec<RequirementBody>,
    /// R7.
    #[serde(default)]
    pub preferred_agent: Option<PreferenceBody>,
}

fn priority_default() -> u8 {
    routing::limits::PRIORITY_DEFAULT
}

impl From<ClassificationBody> for Classification {
    fn from(from: ClassificationBody) -> Self {
        Self {
            queues: from.queues,
            priority: from.priority,
            required: from.required.into_iter().map(Into::into).collect(),
            preferred: from.preferred.into_iter().map(Into::into).collect(),
            preferred_agent: from
                .preferred_agent
                .map(|PreferenceBody { agent, wait_ms }| Preference { agent, wait_ms }),
            rule: None,
        }
    }
}

impl From<&Classification> for ClassificationBody {
    fn from(from: &Classification) -> Self {
        Self {
            queues: from.queues.clone(),
            priority: from.priority,
            required: from.required.iter().map(Into::into).collect(),
            preferred: from.preferred.iter().map(Into::into).collect(),
            preferred_agent: from.preferred_agent.as_ref().map(|preference| PreferenceBody {
                agent: preference.agent,
                wait_ms: preference.wait_ms,
            }),
        }
    }
}

/// R1: one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// Unique in the list.
    pub name: String,
    /// A CEL expression that gives true or false.
    #[schema(example = "attributes.plan == 'gold'")]
    pub when: String,
    /// One, or the parts of a split by weight.
    pub parts: Vec<PartBody>,
}

/// A part of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartBody {
    /// Weight among the parts.
    #[serde(default = "weight_default")]
    pub weight: u32,
    /// What it gives.
    pub classification: ClassificationBody,
}

fn weight_default() -> u32 {
    1
}

/// R1: all rules, first match wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RulesBody {
    /// In order.
    pub rules: Vec<RuleBody>,
    /// For what no rule matches.
    #[serde(default)]
    pub fallback: Option<ClassificationBody>,
}

impl From<RuleBody> for Rule {
    fn from(from: RuleBody) -> Self {
        Self {
            name: from.name,
            when: from.when,
            parts: from
                .parts
                .into_iter()
                .map(|part| (part.weight, part.classification.into()))
                .collect(),
        }
    }
}

impl From<&Rule> for RuleBody {
    fn from(from: &Rule) -> Self {
        let part = |(weight, classification): &(u32, Classification)| PartBody {
            weight: *weight,
            classification: classification.into(),
        };
        Self {
            name: from.name.clone(),
            when: from.when.clone(),
            parts: from.parts.iter().map(part).collect(),
        }
    }
}
