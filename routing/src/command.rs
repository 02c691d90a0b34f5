//! Input to the log. Variants are append-only: an old command never changes its meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{
    AgentId, CalendarId, Channel, ConversationId, CustomerId, Epoch, Millis, QueueId, Seq, SkillName, TenantId,
};
use crate::settings::{
    AgentSettings, Calendar, Classification, OpenHours, Policy, QueueSettings, RoutingSettings, Rule,
};

/// Version of the command format that this crate writes.
pub const COMMAND_SCHEMA: u16 = 2;

/// What the log carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`COMMAND_SCHEMA`].
    pub schema: u16,
    /// Whose.
    pub tenant: TenantId,
    /// Makes a retry safe on any node.
    pub key: Option<IdempotencyKey>,
    /// What.
    pub command: Command,
}

/// Names one command of one client for ever. `number` grows by one with each new command of (principal, instance).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// Who.
    pub principal: Principal,
    /// Which of their client instances.
    pub instance: u64,
    /// Which command of that instance.
    pub number: u64,
}

/// Who stands behind a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// A customer.
    Customer(CustomerId),
    /// An agent or supervisor.
    Agent(AgentId),
    /// An administrator, by the name of the API key.
    Admin(String),
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Text.
    Text(String),
    /// Whole number.
    Number(i64),
    /// Truth.
    Bool(bool),
}

/// What a message or a note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// `text/plain`, or another media type, at most [`crate::limits::NAME_MAX_BYTES`].
    pub media_type: String,
    /// At most [`crate::limits::BODY_MAX_BYTES`].
    pub text: String,
}

/// What a supervisor may change of one conversation, effective at once (R16).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// Raise or lower.
    Priority(u8),
    /// To the front, before every priority.
    Expedite,
    /// To another queue; age kept.
    Move(QueueId),
}

/// R31: where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferTarget {
    /// To one agent: offered to them first, for `wait_ms`, then to the queue it came from.
    Agent {
        /// Who.
        agent: AgentId,
        /// How long only them.
        wait_ms: u64,
    },
    /// To a queue; original age kept.
    Queue(QueueId),
}

/// R29: what an agent says of themself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceChange {
    /// Ready for work.
    Available,
    /// Not ready, for a reason; keeps what is assigned.
    Away(String),
    /// Finishes what is assigned, then away.
    Draining,
}

/// One choice of the queue manager, and why (R39).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Version of the tenant's policy that was in force for whoever chose.
    pub policy_version: u64,
    /// Agents that were considered (members of the queue).
    pub considered: u32,
    /// What removed the others: predicate (`presence`, `skill:billing`, `capacity`, `excluded`, `preference`) and how many.
    pub removed: Vec<(String, u32)>,
    /// The best few, best first, with their scores (higher is better).
    pub best: Vec<(AgentId, i64)>,
    /// What decided among them, in words (`longest idle`, …).
    pub tie_break: String,
    /// R35: what was estimated when it began to wait.
    pub estimate: Option<WaitEstimate>,
    /// R41: how many conversations were matched together (0: it was alone).
    pub batch: u8,
    /// R41: its part of how much the batch's scores were better than one by one. The parts of a batch's choices add up to that.
    pub batch_gain: u32,
}

/// R35: how long a conversation will wait from when it began to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WaitEstimate {
    /// Half wait no longer.
    pub p50_ms: u64,
    /// Nine of ten wait no longer.
    pub p90_ms: u64,
}

/// R31: what somebody beside customer and owner may do in a conversation. The state enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An agent asked for advice: reads all, writes to agents only; the customer does not see them. Takes capacity.
    Consult,
    /// An agent who joined: reads all, writes to everybody; the customer sees them. Takes capacity.
    Conference,
    /// A supervisor who reads all and writes nothing; the customer does not see them.
    Monitor,
    /// A supervisor who reads all and writes to agents only; the customer does not see them.
    Whisper,
    /// A supervisor who writes to everybody; the customer sees them.
    Barge,
}

/// R33: until when a conversation is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleUntil {
    /// Until a moment.
    At {
        /// When.
        at_ms: Millis,
    },
    /// Until an agent is available again, and then for them first; at the latest at a moment, and then for anybody.
    AgentReturns {
        /// Who.
        agent: AgentId,
        /// When at the latest.
        latest_ms: Millis,
    },
}

/// R33: a conversation that is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Until when.
    pub until: ScheduleUntil,
    /// Whether it then takes the place of its original age; otherwise it begins to wait then.
    pub keep_age: bool,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // fields repeat the words of the design
pub enum Command {
    // ---- settings
    /// Makes the tenant, or renames it.
    PutTenant { name: String },
    /// Makes or replaces a queue.
    PutQueue { queue: QueueId, settings: QueueSettings },
    /// Removes a queue that nothing waits in and nobody serves.
    RemoveQueue { queue: QueueId },
    /// Makes a skill known.
    PutSkill { skill: SkillName, description: String },
    /// Forgets a skill that nobody has or asks for.
    RemoveSkill { skill: SkillName },
    /// Makes or replaces an agent; what is assigned stays.
    PutAgent { agent: AgentId, settings: AgentSettings },
    /// Removes an agent who is offline and owns nothing.
    RemoveAgent { agent: AgentId },
    /// Replaces the ordered list of rules, and the fallback.
    PutRules {
        rules: Vec<Rule>,
        fallback: Option<Classification>,
    },

    // ---- conversations
    /// A customer comes.
    StartConversation {
        conversation: ConversationId,
        channel: Channel,
        customer: CustomerId,
        attributes: BTreeMap<String, Value>,
        classification: Classification,
        /// The first message, if there is one.
        message: Option<Body>,
        /// R33: begins to wait later.
        schedule: Option<Schedule>,
        /// R33: where the customer can be called back; who waits for a call need not stay connected.
        callback: Option<String>,
    },
    /// Customer's message, or an agent's (fenced by the epoch of the assignment).
    PostMessage {
        conversation: ConversationId,
        author: Author,
        body: Body,
    },
    /// An agent's or supervisor's note; customers never see it.
    PostNote {
        conversation: ConversationId,
        agent: AgentId,
        body: Body,
    },
    /// Read cursor: never goes back.
    MarkRead {
        conversation: ConversationId,
        reader: Reader,
        seq: Seq,
    },
    /// Sets attributes; `None` removes one.
    SetAttributes {
        conversation: ConversationId,
        attributes: BTreeMap<String, Option<Value>>,
    },
    /// R21: keeps the owner, frees the capacity.
    Pause {
        conversation: ConversationId,
        agent: AgentId,
        epoch: Epoch,
    },
    /// R21: back to the owner, also beyond their capacity? No: refused when they have no room, then it waits for them first (preference), then anybody.
    Resume { conversation: ConversationId, by: Author },
    /// Ends it: by its agent (epoch), its customer, or a supervisor.
    Close {
        conversation: ConversationId,
        by: Author,
        disposition: Option<String>,
        /// Whether the customer was helped, for first contact resolution; `None`: if an agent had answered.
        resolved: Option<bool>,
    },
    /// Within the queue's window; waits again, with the last agent preferred.
    Reopen { conversation: ConversationId, by: Author },
    /// R32: the customer's connections are gone.
    CustomerLeft { conversation: ConversationId },
    /// R32: they are back.
    CustomerReturned { conversation: ConversationId },
    /// R16: by a supervisor or an administrator.
    OverrideConversation {
        conversation: ConversationId,
        by: Principal,
        change: Override,
    },
    /// R31: cold transfer.
    Transfer {
        conversation: ConversationId,
        by: AgentId,
        epoch: Epoch,
        target: TransferTarget,
    },
    /// R10: an agent with the permission takes a waiting conversation.
    Pull {
        conversation: ConversationId,
        agent: AgentId,
    },
    /// R10: a supervisor or administrator gives it to an agent, by hand.
    AssignByHand {
        conversation: ConversationId,
        agent: AgentId,
        by: Principal,
    },

    // ---- agents
    /// First connection of an agent: lease granted, presence as given.
    SignIn { agent: AgentId, presence: PresenceChange },
    /// Goes offline at once: what is assigned is requeued with its age and top priority.
    SignOut { agent: AgentId },
    /// R29.
    SetPresence { agent: AgentId, presence: PresenceChange },
    /// R30: all connections gone: suspect until the hold ends.
    ConnectionsLost { agent: AgentId },
    /// R30: back in time.
    ConnectionsBack { agent: AgentId },
    /// R24.
    AcceptOffer {
        conversation: ConversationId,
        agent: AgentId,
        epoch: Epoch,
    },
    /// R24.
    DeclineOffer {
        conversation: ConversationId,
        agent: AgentId,
        epoch: Epoch,
        reason: String,
    },
    /// R28: by hand.
    FinishWrapUp {
        conversation: ConversationId,
        agent: AgentId,
        epoch: Epoch,
        disposition: Option<String>,
    },
    /// R28.
    ExtendWrapUp {
        conversation: ConversationId,
        agent: AgentId,
        epoch: Epoch,
        by_ms: u64,
    },

    // ---- decisions of the queue manager
    /// R24: offers the conversation (or assigns it at once, where the queue says so).
    Offer {
        conversation: ConversationId,
        agent: AgentId,
        explanation: Explanation,
    },
    /// A deadline has passed: do what it calls for. Refused with `not_due` when it has not, `nothing_outstanding` when it is gone.
    Fire { timer: Timer },
    /// R9: offers the conversation to several agents at once, all under one epoch; the first to accept has it.
    OfferToMany {
        conversation: ConversationId,
        agents: Vec<AgentId>,
        explanation: Explanation,
    },
    /// R6: a ring of a queue is shared from now on, or no longer.
    ShareRing {
        queue: QueueId,
        ring: u8,
        shared: bool,
        why: String,
    },

    // ---- policies
    /// Replaces the whole policy at this index; refused (`stale_version`) when `expected` is not the version in force.
    ActivatePolicy {
        policy: Box<Policy>,
        expected: Option<u64>,
        by: Principal,
        note: String,
    },
    /// R15, R41: what holds for the whole tenant.
    PutRouting { settings: RoutingSettings },
    /// R34: makes or replaces a calendar.
    PutCalendar { calendar: CalendarId, given: Calendar },
    /// R34: removes a calendar that no queue has.
    RemoveCalendar { calendar: CalendarId },
    /// R34: more of the same calendar's future; refused when its settings are no longer `zone`'s of `version`.
    ExtendCalendar {
        calendar: CalendarId,
        /// Of the calendar, as its view has it.
        version: u64,
        hours: Vec<OpenHours>,
        covered_until_ms: Millis,
    },
    /// More of the tenant's days.
    ExtendDays { starts_ms: Vec<Millis> },

    // ---- participants (R31)
    /// The owner asks another agent in, to consult or to confer; offered to them for as long as an offer of the queue.
    Invite {
        conversation: ConversationId,
        by: AgentId,
        epoch: Epoch,
        agent: AgentId,
        /// [`Role::Consult`] or [`Role::Conference`].
        role: Role,
    },
    /// The invited agent's answer.
    AnswerInvitation {
        conversation: ConversationId,
        agent: AgentId,
        accept: bool,
    },
    /// A supervisor comes in, or changes from one role to another.
    JoinAs {
        conversation: ConversationId,
        agent: AgentId,
        /// [`Role::Monitor`], [`Role::Whisper`] or [`Role::Barge`].
        role: Role,
    },
    /// A participant goes.
    LeaveConversation {
        conversation: ConversationId,
        agent: AgentId,
    },
    /// The owner lets a consulted or conferring agent go, or takes an invitation back.
    RemoveParticipant {
        conversation: ConversationId,
        by: AgentId,
        epoch: Epoch,
        agent: AgentId,
    },
    /// Warm transfer: a consulted or conferring agent becomes the owner, under a new epoch.
    CompleteTransfer {
        conversation: ConversationId,
        by: AgentId,
        epoch: Epoch,
        to: AgentId,
    },
    /// To the agents in the conversation: owner, consulted, conferring, supervisors. Customers never see it.
    PostWhisper {
        conversation: ConversationId,
        agent: AgentId,
        body: Body,
    },

    // ---- later (R33)
    /// Puts an open conversation off.
    Schedule {
        conversation: ConversationId,
        by: Author,
        schedule: Schedule,
    },
    /// What was put off waits now.
    CancelSchedule { conversation: ConversationId, by: Author },
    /// A waiting customer asks to be called back: keeps the place and need not stay connected.
    RequestCallback {
        conversation: ConversationId,
        by: Author,
        contact: String,
    },
    /// The customer's rating, 1–5 (CSAT); once, after an agent has answered.
    Rate {
        conversation: ConversationId,
        rating: u8,
        comment: Option<String>,
    },
}

/// Whose message, or whose act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The conversation's customer.
    Customer,
    /// Its agent, under an epoch; a stale one is refused.
    Agent {
        /// Who.
        agent: AgentId,
        /// Of the assignment.
        epoch: Epoch,
    },
    /// A supervisor, or an administrator.
    Supervisor(Principal),
    /// The system itself.
    System,
    /// R31: somebody who takes part beside the owner, with the rights of their role.
    Participant {
        /// Who.
        agent: AgentId,
    },
}

/// Whose read cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// The customer.
    Customer,
    /// An agent.
    Agent(AgentId),
}

/// A deadline in the state. At most one of each is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Timer {
    /// R24: the offer expires.
    OfferDeadline { conversation: ConversationId, epoch: Epoch },
    /// R28: wrap-up ends.
    WrapUpEnd { conversation: ConversationId, epoch: Epoch },
    /// R27: step `step` of its queue's escalations.
    Escalation { conversation: ConversationId, step: u8 },
    /// R26: no agent's reply.
    NoReply { conversation: ConversationId, epoch: Epoch },
    /// R32: the hold of a customer who left ends.
    AbandonHold { conversation: ConversationId },
    /// R7: the preferred agent's time is over.
    PreferenceEnd { conversation: ConversationId },
    /// R24: an exclusion after a decline or a timeout ends (the earliest of the conversation's).
    ExclusionEnd { conversation: ConversationId },
    /// The reopening window ended: the conversation leaves the state.
    Archive { conversation: ConversationId },
    /// R30: the presence lease of a suspect agent ends.
    LeaseEnd { agent: AgentId },
    /// Idempotency windows not used for a day are forgotten.
    ForgetWindows,
    /// R4: step `step` of its queue's relaxations.
    Relaxation { conversation: ConversationId, step: u8 },
    /// R5: ring `ring` opens for it.
    RingOpens { conversation: ConversationId, ring: u8 },
    /// R21: nobody has said anything for long.
    IdlePause { conversation: ConversationId, epoch: Epoch },
    /// R32: the customer has said nothing since it was assigned.
    SilentAbandon { conversation: ConversationId, epoch: Epoch },
    /// R33: it begins to wait.
    Scheduled { conversation: ConversationId },
    /// R31: an invitation expires.
    InvitationEnd {
        conversation: ConversationId,
        agent: AgentId,
    },
    /// R34: a calendar opens or closes.
    CalendarEdge { calendar: CalendarId },
    /// A quarter hour of the KPIs ends.
    QuarterHour,
}

/// When a timer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Due {
    /// When.
    pub at_ms: Millis,
    /// What.
    pub timer: Timer,
}
