//! A queue: order, choice, offers, and what happens as time passes.

use serde::{Deserialize, Serialize};

use super::classification::Requirement;
use crate::ids::{CalendarId, QueueId, SkillName};
use crate::limits::{LAST_AGENT_WAIT_MS, PRIORITIES, RINGS_MAX, SKILL_LEVELS};

/// In which order a queue's conversations are served. Ties go to the older, then to the earlier command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// R11: the higher priority first, regardless of age.
    #[default]
    StrictPriority,
    /// R12: each step of priority is worth so much age.
    LinearAgeing {
        /// Age that one step of priority outweighs.
        step_ms: u64,
    },
    /// R13: each priority earns credit at its own rate while it waits; the most credit goes first (Kleinrock 1964; Stanford,
    /// Taylor and Ziedins 2014). Who is served after waiting W was overtaken by nobody of its queue who came later than
    /// W × (1 − its rate / the highest rate) after it.
    AccumulatingPriority {
        /// Credit per millisecond of waiting, by priority 0–9. At least one is above 0, and none falls with the priority.
        rates: [u32; PRIORITIES],
    },
    /// R14: who must be answered first goes first: began to wait + the target of its priority.
    EarliestDeadline {
        /// By priority 0–9; 0 stands for the queue's `answer_target_ms`.
        targets_ms: [u64; PRIORITIES],
    },
}

/// R8: who gets a conversation, among those who may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentChoice {
    /// Who has been without new work for longest.
    #[default]
    LongestIdle,
    /// Lowest ratio of used to total capacity; tie: longest idle.
    LeastLoaded,
    /// Highest sum of levels in the skills asked for (required and preferred); tie: longest idle.
    MostSkilled,
    /// In turn, by id.
    RoundRobin,
    /// By tier, then position of the membership; tie: longest idle.
    FixedOrder,
    /// Drawn, by weight of the membership; the seed is the conversation's id and the number of its offers, which the log has.
    WeightedRandom,
    /// Who was given fewest today (of the tenant's day); tie: longest idle.
    FewestHandledToday,
    /// R44: where one more slows the agent's others down least, by the speeds learned of each agent; tie: fewest at once, then
    /// longest idle.
    LeastSlowdown,
    /// Lowest sum of levels in the skills asked for, so that specialists stay free; tie: longest idle.
    LeastSkilled,
}

/// R28: what follows the end of an assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrapUp {
    /// Capacity is free at once.
    #[default]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtCap {
    /// The conversation is refused (`queue_full`), or goes to the next queue that the command names.
    #[default]
    Refuse,
    /// The conversation is kept, closed with outcome `offline`, and this text is its first entry.
    Offline {
        /// Said to the customer.
        text: String,
    },
}

/// R27: what happens to who has waited for long, or when the queue is long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// When.
    pub when: EscalateWhen,
    /// What.
    pub action: EscalateAction,
}

/// When an escalation step is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalateWhen {
    /// The conversation has waited for so long in this queue.
    WaitedMs(u64),
    /// More than so many wait in the queue at the moment when the conversation joins it.
    LongerThan(u32),
}

/// What an escalation step does. Age and place are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscalateAction {
    /// Sets the priority, if it is lower.
    RaisePriority(u8),
    /// Moves the conversation to another queue.
    MoveQueue(QueueId),
    /// Closes it with these words; outcome `cancelled`, or `answered` if it had an agent before.
    Close {
        /// Said to the customer.
        text: String,
    },
    /// Asks for other skills from here on; priority and place stay.
    Reclassify {
        /// R2: needed.
        required: Vec<Requirement>,
        /// R2: wished.
        preferred: Vec<Requirement>,
    },
}

/// R4: what a conversation asks for is lowered after it has waited in its queue; its place stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relaxation {
    /// After so long in this queue. Steps are in order of this.
    pub after_ms: u64,
    /// Which required skill; `None`: every one.
    pub skill: Option<SkillName>,
    /// What becomes of it.
    pub change: SkillChange,
}

impl Relaxation {
    /// What is still required of what was.
    pub fn lowered(&self, required: &[Requirement]) -> Vec<Requirement> {
        let after = |one: &Requirement| match self.change {
            _ if self.skill.as_ref().is_some_and(|skill| *skill != one.skill) => Some(one.clone()),
            SkillChange::LowerBy(by) => Some(Requirement {
                skill: one.skill.clone(),
                level: one.level.saturating_sub(by).max(*SKILL_LEVELS.start()),
            }),
            SkillChange::Prefer | SkillChange::Drop => None,
        };
        required.iter().filter_map(after).collect()
    }
}

/// R4: what becomes of a required skill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkillChange {
    /// So many levels less are asked for, at least 1.
    LowerBy(u8),
    /// It adds to the score, and is not needed.
    Prefer,
    /// It is not asked for.
    Drop,
}

/// R5, R6: a further group of agents: the members of this queue whose tier is the ring's position, counted from 1. Members of tier
/// 0 serve from the start; who is of another tier is offered a conversation once that ring has opened for it or is shared. A tier
/// beyond the queue's rings is only a place in a fixed order (R8) and serves from the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// When it serves.
    pub opens: RingOpens,
}

/// A set of rings, as bits (bit n: tier n); tier 0 is always in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rings(u8);

impl Rings {
    /// With these as well.
    pub fn and(self, bits: u8) -> Self {
        Self(self.0 | bits)
    }

    /// Whether agents of this tier serve.
    pub fn serve(self, tier: u8) -> bool {
        tier == 0 || tier >= u8::BITS as u8 || self.0 & (1 << tier) != 0
    }
}

/// When a ring serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingOpens {
    /// R5: for each conversation, after so long in this queue.
    AfterMs(u64),
    /// R6: for all of the queue, while a rule holds.
    While(ShareRule),
}

/// R6: when agents are lent to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareRule {
    /// While the oldest has waited longer than this.
    LongestWaitAboveMs(u64),
    /// While more than so many wait.
    LengthAbove(u32),
    /// While, over this and the last quarter hour, the service level (abandon ignored) is below so many percent.
    ServiceLevelBelow(u8),
    /// While the estimated wait (P50) of who would come now is above this.
    EstimatedWaitAboveMs(u64),
}

/// R21: a paused conversation goes on while its owner has no room for it or is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnWhenFull {
    /// It waits, in its old place, for the owner alone for so long, then for anybody.
    WaitForOwnerMs(u64),
    /// It waits, in its old place, for anybody.
    Anybody,
    /// It stays paused until the owner has room, and then goes on by itself.
    StayPaused,
}

/// R34: what becomes of who comes, is transferred or reopens while the queue's calendar says that it is closed. Whoever is in the
/// queue is served whenever an agent is there for it, open or closed: at closing time nobody is sent away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenClosed {
    /// The next queue that the command names; refused (`queue_closed`) when there is none.
    #[default]
    Refuse,
    /// Kept, closed with outcome `offline`, and this text is its first entry. What is transferred or reopened is refused.
    Offline {
        /// Said to the customer.
        text: String,
    },
    /// Goes to another queue (one that bots serve, say), by that one's hours and caps.
    MoveQueue(QueueId),
    /// Waits, within the queue's caps: usually for the opening, because nobody is there before.
    Wait,
}

/// R15: what the choice among queues knows of this queue; see [`super::CrossQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossQueueTerms {
    /// `weighted`: share of service, at least 1.
    pub weight: u32,
    /// `strict_rank`: the lower goes first.
    pub rank: u8,
    /// `fixed_queue_ratio`: share of all that wait that should wait here, at least 1 in all.
    pub ratio: u32,
    /// `generalised_cmu`: cost of waiting, at least 1: each waiting conversation costs `cost` × wait².
    pub cost: u32,
}

impl Default for CrossQueueTerms {
    fn default() -> Self {
        Self {
            weight: 1,
            rank: 0,
            ratio: 1,
            cost: 1,
        }
    }
}

/// R26: what happens when the agent does not answer a customer's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoReply {
    /// After so long without an agent's message.
    pub after_ms: u64,
    /// The agent is not offered it again for so long.
    pub exclude_ms: u64,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Name, unique within the tenant.
    pub name: String,
    /// R11, R12.
    pub order: Order,
    /// R8.
    pub choice: AgentChoice,
    /// R24: how long an agent may think about an offer.
    pub offer_timeout_ms: u64,
    /// R24: assigned without asking.
    pub auto_accept: bool,
    /// R24: not offered again to who declined it, or let it time out, for so long.
    pub decline_exclude_ms: u64,
    /// R24: the agent goes away after so many timeouts in a row (0: never).
    pub timeouts_until_away: u8,
    /// R23: longest length (0: no cap).
    pub length_max: u32,
    /// R23: nobody is admitted while the oldest has waited longer than this (0: no cap).
    pub wait_max_ms: u64,
    /// R23.
    pub at_cap: AtCap,
    /// R26.
    pub no_reply: Option<NoReply>,
    /// R27, in order.
    pub escalations: Vec<Escalation>,
    /// R28.
    pub wrap_up: WrapUp,
    /// R32: how long a customer who left keeps the place.
    pub abandon_hold_ms: u64,
    /// R32: who leaves earlier than this counts as a short abandon.
    pub short_abandon_ms: u64,
    /// A closed conversation may be reopened for so long.
    pub reopen_window_ms: u64,
    /// Service-level target (T), for the KPIs and for deadlines.
    pub answer_target_ms: u64,
    /// R9: offered to so many at once; the first to accept has it.
    pub offers_at_once: u8,
    /// R4, in order of time.
    pub relaxations: Vec<Relaxation>,
    /// R5, R6: ring 1, ring 2, …
    pub rings: Vec<Ring>,
    /// R21.
    pub return_when_full: ReturnWhenFull,
    /// R21: paused by itself after so long without a word from either side (0: never).
    pub idle_pause_ms: u64,
    /// R32: closed as silently abandoned when the customer, who has said nothing since it was assigned, does not answer the agent's
    /// first word for so long (0: never). Shorter than `idle_pause_ms`, if it is to come before that.
    pub silent_abandon_ms: u64,
    /// R34: business hours; `None`: always open.
    pub calendar: Option<CalendarId>,
    /// R34.
    pub when_closed: WhenClosed,
    /// R15.
    pub cross_queue: CrossQueueTerms,
}

impl QueueSettings {
    /// Settings that suit a chat queue; only the name is the caller's.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            order: Order::default(),
            choice: AgentChoice::default(),
            offer_timeout_ms: 20_000,
            auto_accept: false,
            decline_exclude_ms: 60_000,
            timeouts_until_away: 3,
            length_max: 0,
            wait_max_ms: 0,
            at_cap: AtCap::default(),
            no_reply: None,
            escalations: Vec::new(),
            wrap_up: WrapUp::default(),
            abandon_hold_ms: 60_000,
            short_abandon_ms: 5_000,
            reopen_window_ms: 24 * 3_600_000,
            answer_target_ms: 30_000,
            offers_at_once: 1,
            relaxations: Vec::new(),
            rings: Vec::new(),
            return_when_full: ReturnWhenFull::WaitForOwnerMs(LAST_AGENT_WAIT_MS),
            idle_pause_ms: 0,
            silent_abandon_ms: 0,
            calendar: None,
            when_closed: WhenClosed::default(),
            cross_queue: CrossQueueTerms::default(),
        }
    }

    /// Rings that serve every conversation: those that are shared, and tiers that have no ring.
    pub fn rings_always(&self, shared_rings: u8) -> Rings {
        let ringed = (1..)
            .take(self.rings.len().min(RINGS_MAX))
            .fold(0, |bits, tier| bits | 1 << tier);
        Rings(!ringed | shared_rings)
    }
}
