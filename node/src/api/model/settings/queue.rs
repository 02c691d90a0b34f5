//! A queue.

use routing::ids::CalendarId;
use routing::limits::PRIORITIES;
use routing::settings::{
    AgentChoice, AtCap, CrossQueueTerms, NoReply, Order, QueueSettings, ReturnWhenFull, WhenClosed, WrapUp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::passing::{EscalationBody, RelaxationBody, RingBody};
use crate::api::model::QueueRef;

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

/// R26: what happens when the agent does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoReplyBody {
    /// After so long without an agent's message.
    pub after_ms: u64,
    /// The agent is not offered it again for so long.
    pub exclude_ms: u64,
}

/// R21: what becomes of a paused conversation that goes on while its owner has no room or is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReturnBody {
    /// Waits for the owner alone for so long, then for anybody.
    WaitForOwnerMs(u64),
    /// Waits for anybody.
    Anybody,
    /// Stays paused until the owner has room.
    StayPaused,
}

/// R34: who comes while the queue is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WhenClosedBody {
    /// Refused (`queue_closed`), or to the next queue of its classification.
    Refuse,
    /// Kept, closed with outcome `offline`; this text is its first entry.
    Offline {
        /// Said to the customer.
        text: String,
    },
    /// Goes to another queue.
    MoveQueue(QueueRef),
    /// Waits for the opening.
    Wait,
}

/// R15: what the choice among queues knows of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossQueueBody {
    /// `weighted`: share of service, at least 1.
    pub weight: u32,
    /// `strict_rank`: the lower goes first.
    pub rank: u8,
    /// `fixed_queue_ratio`: share of all that wait that should wait here.
    pub ratio: u32,
    /// `generalised_cmu`: cost of waiting, at least 1.
    pub cost: u32,
}

impl Default for CrossQueueBody {
    fn default() -> Self {
        let CrossQueueTerms {
            weight,
            rank,
            ratio,
            cost,
        } = CrossQueueTerms::default();
        Self {
            weight,
            rank,
            ratio,
            cost,
        }
    }
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
    /// R9: offered to so many at once; the first to accept has it.
    pub offers_at_once: u8,
    /// R4, in order of time.
    pub relaxations: Vec<RelaxationBody>,
    /// R5, R6: ring 1, ring 2, …
    pub rings: Vec<RingBody>,
    /// R21: a paused conversation goes on while its owner has no room or is not here.
    pub return_when_full: ReturnBody,
    /// R21: paused by itself after so long without a word from either side (0: never).
    pub idle_pause_ms: u64,
    /// R32: closed when the customer says nothing for so long after it was assigned (0: never).
    pub silent_abandon_ms: u64,
    /// R34: business hours, `cal_…`; none: always open.
    #[schema(value_type = Option<String>)]
    pub calendar: Option<CalendarId>,
    /// R34.
    pub when_closed: WhenClosedBody,
    /// R15.
    pub cross_queue: CrossQueueBody,
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
            escalations: from.escalations.iter().map(EscalationBody::from).collect(),
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
            offers_at_once: from.offers_at_once,
            relaxations: from.relaxations.iter().map(RelaxationBody::from).collect(),
            rings: from.rings.iter().map(RingBody::from).collect(),
            return_when_full: match from.return_when_full {
                ReturnWhenFull::WaitForOwnerMs(ms) => ReturnBody::WaitForOwnerMs(ms),
                ReturnWhenFull::Anybody => ReturnBody::Anybody,
                ReturnWhenFull::StayPaused => ReturnBody::StayPaused,
            },
            idle_pause_ms: from.idle_pause_ms,
            silent_abandon_ms: from.silent_abandon_ms,
            calendar: from.calendar,
            when_closed: match &from.when_closed {
                WhenClosed::Refuse => WhenClosedBody::Refuse,
                WhenClosed::Offline { text } => WhenClosedBody::Offline { text: text.clone() },
                WhenClosed::MoveQueue(queue) => WhenClosedBody::MoveQueue(QueueRef(*queue)),
                WhenClosed::Wait => WhenClosedBody::Wait,
            },
            cross_queue: CrossQueueBody {
                weight: from.cross_queue.weight,
                rank: from.cross_queue.rank,
                ratio: from.cross_queue.ratio,
                cost: from.cross_queue.cost,
            },
        }
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
            escalations: from.escalations.into_iter().map(Into::into).collect(),
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
            offers_at_once: from.offers_at_once,
            relaxations: from.relaxations.into_iter().map(Into::into).collect(),
            rings: from.rings.into_iter().map(Into::into).collect(),
            return_when_full: match from.return_when_full {
                ReturnBody::WaitForOwnerMs(ms) => ReturnWhenFull::WaitForOwnerMs(ms),
                ReturnBody::Anybody => ReturnWhenFull::Anybody,
                ReturnBody::StayPaused => ReturnWhenFull::StayPaused,
            },
            idle_pause_ms: from.idle_pause_ms,
            silent_abandon_ms: from.silent_abandon_ms,
            calendar: from.calendar,
            when_closed: match from.when_closed {
                WhenClosedBody::Refuse => WhenClosed::Refuse,
                WhenClosedBody::Offline { text } => WhenClosed::Offline { text },
                WhenClosedBody::MoveQueue(QueueRef(queue)) => WhenClosed::MoveQueue(queue),
                WhenClosedBody::Wait => WhenClosed::Wait,
            },
            cross_queue: CrossQueueTerms {
                weight: from.cross_queue.weight,
                rank: from.cross_queue.rank,
                ratio: from.cross_queue.ratio,
                cost: from.cross_queue.cost,
            },
        }
    }
}
