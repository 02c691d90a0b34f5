//! Facts after commit: what the transcript, the listeners, the metrics and the queue manager learn.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::{Author, Body, Due, Explanation, Reader, Role, Schedule, Timer};
use crate::ids::{AgentId, CalendarId, Channel, ConversationId, CustomerId, Epoch, Millis, QueueId, Seq, TenantId};
use crate::report::{Figures, RowKey};
use crate::settings::{Requirement, RoutingSettings, Selector};
use crate::view::{Demand, Presence, QueueRates, QueueView, Supply};

/// An event of a tenant, as `apply` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantEvent {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub event: Event,
}

/// What happened. The queue manager reads only `Demand`, `DemandEnded`, `Supply`, `SupplyEnded`, `Queue`, `QueueEnded`, `Timer*`, `Routing`, `Rates`;
/// everything else is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Event {
    // ---- for the queue manager
    /// A conversation began to wait, or something of its waiting changed.
    Demand(Demand),
    /// It waits no longer (offered, assigned, closed …).
    DemandEnded { conversation: ConversationId },
    /// An agent's picture changed.
    Supply(Supply),
    /// The agent is no more.
    SupplyEnded { agent: AgentId },
    /// A queue is new or changed.
    Queue(QueueView),
    /// The queue is no more.
    QueueEnded { queue: QueueId },
    /// A deadline is set, in the place of an earlier one of the same timer.
    TimerSet(Due),
    /// It is no more.
    TimerCleared { timer: Timer },

    // ---- for people
    /// Settings of skills or rules, or the tenant itself, changed.
    SettingsChanged,
    /// A conversation began.
    Started {
        conversation: ConversationId,
        customer: CustomerId,
        channel: Channel,
        queue: Option<QueueId>,
    },
    /// A durable entry of a conversation.
    Entry(Entry),
    /// A read cursor moved.
    Read {
        conversation: ConversationId,
        reader: Reader,
        seq: Seq,
    },
    /// The conversation's state, queue, owner, priority or attributes changed: what a desk or widget shows.
    Conversation(Box<ConversationView>),
    /// An item of an agent's own stream.
    Agent(AgentItem),
    /// How an offer ended.
    OfferEnded {
        conversation: ConversationId,
        queue: QueueId,
        agent: AgentId,
        epoch: Epoch,
        outcome: OfferOutcome,
        offered_at_ms: Millis,
    },
    /// A conversation met an agent: `waited_ms` since it began to wait (for the first answer, since it started).
    Assigned {
        conversation: ConversationId,
        queue: QueueId,
        agent: AgentId,
        epoch: Epoch,
        waited_ms: u64,
        first: bool,
    },
    /// A conversation lost its agent.
    Unassigned {
        conversation: ConversationId,
        queue: QueueId,
        agent: AgentId,
        epoch: Epoch,
        reason: UnassignReason,
    },
    /// The first human reply.
    FirstReply {
        conversation: ConversationId,
        queue: QueueId,
        after_ms: u64,
    },
    /// A conversation ended. `handled_ms`: from its last assignment to the end of wrap-up; 0 when never assigned.
    Closed {
        conversation: ConversationId,
        queue: Option<QueueId>,
        outcome: CloseOutcome,
        waited_ms: u64,
    },
    /// Wrap-up is over.
    Handled {
        conversation: ConversationId,
        queue: QueueId,
        agent: AgentId,
        handled_ms: u64,
    },
    /// It has left the state; the final header, for the archive.
    Archived {
        conversation: ConversationId,
        view: Box<ConversationView>,
    },

    // ---- for the queue manager
    /// R15, R41: what holds for the whole tenant changed.
    Routing(Arc<RoutingSettings>),
    /// R35: what has been observed of a queue's service changed.
    Rates(QueueRates),

    // ---- for people
    /// The policy changed, in whole or in part.
    PolicyActivated { version: u64 },
    /// R34: a calendar's settings or hours changed, or it opened or closed.
    CalendarChanged { calendar: CalendarId, open: bool },
    /// R6: a ring of a queue is shared, or no longer.
    RingShared {
        queue: QueueId,
        ring: u8,
        shared: bool,
        why: String,
    },
    /// R4: a step of relaxation was taken.
    Relaxed {
        conversation: ConversationId,
        queue: QueueId,
        step: u8,
    },
    /// R5: a ring opened for a conversation.
    RingOpened {
        conversation: ConversationId,
        queue: QueueId,
        ring: u8,
    },
    /// R33: put off, or (`None`) not any more.
    Scheduled {
        conversation: ConversationId,
        schedule: Option<Schedule>,
    },
    /// R31: somebody came in, changed role, or (`joined` false) went.
    Participant {
        conversation: ConversationId,
        agent: AgentId,
        role: Role,
        joined: bool,
    },
    /// A customer's rating.
    Rated {
        conversation: ConversationId,
        queue: Option<QueueId>,
        agent: Option<AgentId>,
        rating: u8,
    },
    /// KPIs leave the state: of an old quarter hour, or news of one that has left before. Rows of equal key add up.
    ReportClosed { key: RowKey, figures: Arc<Figures> },
}

/// A durable entry: all kinds share one `seq` in their conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which conversation.
    pub conversation: ConversationId,
    /// From 1.
    pub seq: Seq,
    /// The last seq before it that the customer may see (0: none).
    pub prev_for_customer: Seq,
    /// When.
    pub at_ms: Millis,
    /// What.
    pub kind: EntryKind,
}

/// What an entry records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum EntryKind {
    /// A message.
    Message { author: Author, body: Body },
    /// A note; not for customers.
    Note { agent: AgentId, body: Body },
    /// Somebody joined.
    Joined { agent: AgentId },
    /// Somebody left.
    Left { agent: AgentId, reason: UnassignReason },
    /// Moved to a queue (transfer, overflow, override). Not for customers.
    Moved { queue: QueueId },
    /// Paused.
    Paused,
    /// Resumed.
    Resumed,
    /// Closed.
    Closed { outcome: CloseOutcome },
    /// Reopened.
    Reopened,
    /// To the agents in the conversation. Not for customers.
    Whisper { agent: AgentId, body: Body },
    /// R31: somebody came in beside the owner, or changed role. For customers if the role is.
    ParticipantJoined { agent: AgentId, role: Role },
    /// R31: they went.
    ParticipantLeft { agent: AgentId, role: Role },
    /// R33: put off.
    Scheduled { schedule: Schedule },
    /// R33: the customer asked to be called back.
    CallbackRequested { contact: String },
    /// The customer's rating. Not for customers (they gave it).
    Rated { rating: u8, comment: Option<String> },
}

impl Role {
    /// Whether customers see who has it.
    pub fn for_customer(self) -> bool {
        matches!(self, Self::Conference | Self::Barge)
    }

    /// Whether they may write to the customer.
    pub fn speaks(self) -> bool {
        self.for_customer()
    }

    /// Whether they may write to the agents in the conversation.
    pub fn whispers(self) -> bool {
        self != Self::Monitor
    }

    /// Whether it is a supervisor's.
    pub fn supervises(self) -> bool {
        matches!(self, Self::Monitor | Self::Whisper | Self::Barge)
    }
}

impl EntryKind {
    /// Whether customers may see it.
    pub fn for_customer(&self) -> bool {
        match self {
            Self::Note { .. } | Self::Moved { .. } | Self::Whisper { .. } | Self::Rated { .. } => false,
            Self::ParticipantJoined { role, .. } | Self::ParticipantLeft { role, .. } => role.for_customer(),
            _ => true,
        }
    }
}

/// How an offer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum OfferOutcome {
    Accepted,
    Declined {
        reason: String,
    },
    /// Its deadline passed.
    Expired,
    /// Taken back: customer gone, closed, pulled, override, agent lost.
    Withdrawn {
        why: String,
    },
    /// R9: offered to several, and another was first.
    TakenByAnother,
}

/// Why an agent lost a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum UnassignReason {
    Closed,
    Transferred,
    NoReply,
    LeaseLost,
    SignedOut,
    Reassigned,
    /// R33: put off.
    Scheduled,
    /// R21: it went on when its owner had no room.
    OwnerFull,
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CloseOutcome {
    /// Closed after it had been answered.
    Answered,
    /// The customer left before the answer.
    Abandoned,
    /// The same, sooner than the queue's short-abandon time.
    ShortAbandoned,
    /// Taken at the cap, for later.
    Offline,
    /// Closed before the answer by a supervisor.
    Cancelled,
    /// R32: assigned, and the customer had gone without a sign.
    SilentAbandoned,
}

/// State of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Phase {
    Waiting,
    Offered,
    Assigned,
    Paused,
    WrapUp,
    Closed,
    /// R33: waits for its time.
    Scheduled,
}

/// What a desk or a widget shows of a conversation (the bodies are elsewhere).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationView {
    /// Which.
    pub conversation: ConversationId,
    /// Its channel.
    pub channel: Channel,
    /// Whose.
    pub customer: CustomerId,
    /// Where in its life.
    pub phase: Phase,
    /// Which queue (`None`: never admitted to one).
    pub queue: Option<QueueId>,
    /// 0–9.
    pub priority: u8,
    /// Who owns it (assigned, paused, wrap-up), or to whom it is offered.
    pub agent: Option<AgentId>,
    /// Of the offer or assignment.
    pub epoch: Epoch,
    /// Offer's or wrap-up's deadline.
    pub deadline_ms: Option<Millis>,
    /// Last entry.
    pub last_seq: Seq,
    /// Last entry that the customer may see.
    pub last_seq_for_customer: Seq,
    /// Began.
    pub started_at_ms: Millis,
    /// Began to wait (original age).
    pub since_ms: Millis,
    /// The customer is here.
    pub customer_present: bool,
    /// Attributes.
    pub attributes: Arc<std::collections::BTreeMap<String, crate::command::Value>>,
    /// Read cursors.
    pub read: Vec<(Reader, Seq)>,
    /// Why it was offered to whom it was offered last (R39).
    pub explanation: Option<Arc<Explanation>>,
    /// What its agent wrote down at the end.
    pub disposition: Option<String>,
    /// R9: to whom else it is offered.
    pub also_offered: Vec<AgentId>,
    /// R31: who takes part beside customer and owner, in order of joining.
    pub participants: Vec<(AgentId, Role)>,
    /// R31: who is asked in, as what, and until when.
    pub invited: Vec<(AgentId, Role, Millis)>,
    /// R33.
    pub schedule: Option<Schedule>,
    /// R33: where the customer can be called back.
    pub callback: Option<String>,
    /// R1: the rule that classified it.
    pub rule: Option<String>,
    /// R4: steps of relaxation taken in this queue, as bits.
    pub relaxed: u8,
    /// CSAT.
    pub rating: Option<u8>,
    /// First queue that admitted it.
    pub entered: Option<QueueId>,
    /// R2: needed, as asked for at the start (relaxation aside).
    pub required: Vec<Requirement>,
    /// R2: wished, as asked for at the start.
    pub preferred: Vec<Requirement>,
    /// R3: what the agent must be.
    pub selectors: Vec<Selector>,
    /// When it first met an agent, since it started or was reopened.
    pub answered_at_ms: Option<Millis>,
    /// When it was closed.
    pub ended_at_ms: Option<Millis>,
    /// How it ended.
    pub outcome: Option<CloseOutcome>,
    /// Time with agents, all assignments that are over together, wrap-up too.
    pub served_ms: u64,
}

/// An item of an agent's own stream; `agent_seq` from 1, without gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentItem {
    /// Whose.
    pub agent: AgentId,
    /// Position.
    pub agent_seq: u64,
    /// When.
    pub at_ms: Millis,
    /// What.
    pub kind: AgentItemKind,
}

/// What an agent's stream says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AgentItemKind {
    /// A conversation is offered.
    Offered {
        conversation: ConversationId,
        epoch: Epoch,
        deadline_ms: Millis,
        queue: QueueId,
        channel: Channel,
        customer: CustomerId,
    },
    /// It is no longer.
    OfferEnded {
        conversation: ConversationId,
        epoch: Epoch,
        outcome: OfferOutcome,
    },
    /// It is yours.
    Assigned {
        conversation: ConversationId,
        epoch: Epoch,
        queue: QueueId,
        channel: Channel,
        customer: CustomerId,
    },
    /// It is not yours any more.
    Unassigned {
        conversation: ConversationId,
        epoch: Epoch,
        reason: UnassignReason,
    },
    /// Wrap-up began, or was extended.
    WrapUp {
        conversation: ConversationId,
        epoch: Epoch,
        deadline_ms: Millis,
    },
    /// Wrap-up ended.
    WrapUpEnded { conversation: ConversationId, epoch: Epoch },
    /// Presence changed.
    Presence { presence: Presence },
    /// R31: asked in.
    Invited {
        conversation: ConversationId,
        role: Role,
        by: AgentId,
        deadline_ms: Millis,
    },
    /// R31: the invitation is over: answered, expired, taken back.
    InvitationEnded {
        conversation: ConversationId,
        outcome: OfferOutcome,
    },
    /// R31: takes part, with these rights.
    Joined { conversation: ConversationId, role: Role },
    /// R31: takes part no longer.
    Left {
        conversation: ConversationId,
        role: Role,
        why: String,
    },
}

/// The answer to a command that was applied, remembered by the idempotency window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The stamp.
    pub at_ms: Millis,
    /// The conversation it made or touched.
    pub conversation: Option<ConversationId>,
    /// The entry it made.
    pub seq: Option<Seq>,
    /// The epoch it made or confirmed.
    pub epoch: Option<Epoch>,
    /// A repeat: this is the first answer.
    pub repeated: bool,
}
