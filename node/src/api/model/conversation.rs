//! Conversations, attributes, receipts.

use std::collections::BTreeMap;

use routing::command::{Body, Override, Reader, Role, TransferTarget, Value};
use routing::event::{ConversationView, Phase, Receipt};
use routing::ids::{AgentId, ConversationId, Epoch, Millis, QueueId, Seq};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use super::QueueRef;
use super::entry::{ParticipantRole, ScheduleBody};
use super::why::{Decision, WaitingBody};
use crate::access::{Identity, visible_to_customer};

/// A value of an attribute: a text, a whole number, or a truth value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A truth value.
    Bool(bool),
}

impl From<Attribute> for Value {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Text(text) => Self::Text(text),
            Attribute::Number(number) => Self::Number(number),
            Attribute::Bool(truth) => Self::Bool(truth),
        }
    }
}

impl From<&Value> for Attribute {
    fn from(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.clone()),
            Value::Number(number) => Self::Number(*number),
            Value::Bool(truth) => Self::Bool(*truth),
        }
    }
}

// By hand, because an untagged enum's derived errors do not say what is wrong.
impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl de::Visitor<'_> for Scalar {
            type Value = Attribute;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, a whole number, true or false")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Attribute, E> {
                Ok(Attribute::Text(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Attribute, E> {
                Ok(Attribute::Bool(truth))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Attribute, E> {
                Ok(Attribute::Number(number))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Attribute, E> {
                let number = i64::try_from(number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &"a 64-bit signed integer"))?;
                Ok(Attribute::Number(number))
            }
        }
        from.deserialize_any(Scalar)
    }
}

/// Attributes, by key.
pub type Attributes = BTreeMap<String, Attribute>;

/// To routing's.
pub fn attributes_in(attributes: Attributes) -> BTreeMap<String, Value> {
    attributes.into_iter().map(|(key, value)| (key, value.into())).collect()
}

/// From routing's.
pub fn attributes_out(attributes: &BTreeMap<String, Value>) -> Attributes {
    attributes
        .iter()
        .map(|(key, value)| (key.clone(), value.into()))
        .collect()
}

/// What a message or note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextBody {
    /// `text/plain` or another media type, at most 64 bytes.
    #[serde(default = "text_plain")]
    #[schema(example = "text/plain")]
    pub media_type: String,
    /// At most 32 KiB.
    #[schema(example = "Where is my parcel?")]
    pub text: String,
}

fn text_plain() -> String {
    "text/plain".to_owned()
}

impl From<TextBody> for Body {
    fn from(TextBody { media_type, text }: TextBody) -> Self {
        Self { media_type, text }
    }
}

impl From<Body> for TextBody {
    fn from(Body { media_type, text }: Body) -> Self {
        Self { media_type, text }
    }
}

/// The acknowledgement of a command: what it says is on disk at a majority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReceiptBody {
    /// When.
    pub at_ms: u64,
    /// The conversation that it made or touched.
    #[schema(value_type = Option<String>, example = "conv_0192e4a5b6c77d8e9f00112233445566")]
    pub conversation: Option<ConversationId>,
    /// The entry that it made.
    pub seq: Option<u64>,
    /// The epoch that it made or confirmed.
    pub epoch: Option<u64>,
    /// A repeat: this is the first answer.
    pub repeated: bool,
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        Self {
            at_ms: receipt.at_ms,
            conversation: receipt.conversation,
            seq: receipt.seq,
            epoch: receipt.epoch.map(|Epoch(epoch)| epoch),
            repeated: receipt.repeated,
        }
    }
}

/// Where a conversation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PhaseName {
    Waiting,
    Offered,
    Assigned,
    Paused,
    WrapUp,
    Closed,
    Scheduled,
}

impl From<Phase> for PhaseName {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Waiting => Self::Waiting,
            Phase::Offered => Self::Offered,
            Phase::Assigned => Self::Assigned,
            Phase::Paused => Self::Paused,
            Phase::WrapUp => Self::WrapUp,
            Phase::Closed => Self::Closed,
            Phase::Scheduled => Self::Scheduled,
        }
    }
}

/// A read cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReadCursor {
    /// The agent; absent: the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent: Option<AgentId>,
    /// Read up to here.
    pub seq: u64,
}

/// A conversation, as the caller may see it. Fields for staff are absent for customers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Conversation {
    /// Which.
    #[schema(value_type = String, example = "conv_0192e4a5b6c77d8e9f00112233445566")]
    pub id: ConversationId,
    /// Its channel.
    #[schema(example = "web_chat")]
    pub channel: String,
    /// Whose.
    pub customer: String,
    /// Where in its life.
    pub phase: PhaseName,
    /// Who owns it, or to whom it is offered (customers: only who owns it).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent: Option<AgentId>,
    /// Last entry that the caller may see.
    pub last_seq: Seq,
    /// Began.
    pub started_at_ms: u64,
    /// The customer is here.
    pub customer_present: bool,
    /// Attributes.
    pub attributes: Attributes,
    /// Read cursors: for customers, theirs and those of who speaks to them.
    pub read: Vec<ReadCursor>,
    /// Who takes part beside customer and owner; customers are told of those who speak to them.
    pub participants: Vec<ParticipantBody>,
    /// Put off until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleBody>,
    /// Where the customer wants to be called back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// The customer's rating, 1–5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
    /// Where it stands, as long as it waits; only when it is asked for by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingBody>,
    /// For staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staff: Option<ForStaff>,
}

/// What only staff sees of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ForStaff {
    /// Which queue; absent: never admitted to one.
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueId>,
    /// 0–9, 9 first.
    pub priority: u8,
    /// Of the offer or assignment.
    pub epoch: u64,
    /// When the offer or the wrap-up ends.
    pub deadline_ms: Option<u64>,
    /// Original age: when it first began to wait.
    pub since_ms: u64,
    /// Last entry that the customer may see.
    pub last_seq_for_customer: Seq,
    /// Why it was offered to whom it was offered last.
    pub explanation: Option<Decision>,
    /// What came of it.
    pub disposition: Option<String>,
    /// To whom else it is offered.
    #[schema(value_type = Vec<String>)]
    pub also_offered: Vec<AgentId>,
    /// Who is asked in.
    pub invited: Vec<InvitedBody>,
    /// The rule that classified it.
    pub rule: Option<String>,
    /// How many steps of relaxation were taken in this queue.
    pub relaxed: u8,
}

/// Somebody beside customer and owner (R31).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ParticipantBody {
    /// Who.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// As what.
    pub role: ParticipantRole,
}

/// Somebody who is asked in (R31).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvitedBody {
    /// Who.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// As what.
    pub role: ParticipantRole,
    /// Until when they may answer.
    pub deadline_ms: u64,
}

impl Conversation {
    /// What this caller may see of it.
    pub fn shown(view: &ConversationView, to: &Identity) -> Self {
        let staff = to.customer().is_none();
        Self {
            id: view.conversation,
            channel: view.channel.0.clone(),
            customer: view.customer.0.clone(),
            phase: view.phase.into(),
            agent: view.agent.filter(|_| staff || view.phase != Phase::Offered),
            last_seq: if staff {
                view.last_seq
            } else {
                view.last_seq_for_customer
            },
            started_at_ms: view.started_at_ms,
            customer_present: view.customer_present,
            attributes: attributes_out(&view.attributes),
            read: cursors(view, staff),
            participants: view
                .participants
                .iter()
                .filter(|(_, role)| staff || role.for_customer())
                .map(|&(agent, role)| ParticipantBody {
                    agent,
                    role: role.into(),
                })
                .collect(),
            schedule: view.schedule.map(Into::into),
            callback: view.callback.clone(),
            rating: view.rating,
            waiting: None,
            staff: staff.then(|| ForStaff {
                queue: view.queue,
                priority: view.priority,
                epoch: view.epoch.0,
                deadline_ms: view.deadline_ms,
                since_ms: view.since_ms,
                last_seq_for_customer: view.last_seq_for_customer,
                explanation: view.explanation.as_deref().map(Decision::from),
                disposition: view.disposition.clone(),
                also_offered: view.also_offered.clone(),
                invited: view.invited.iter().map(InvitedBody::from).collect(),
                rule: view.rule.clone(),
                relaxed: view.relaxed.count_ones() as u8,
            }),
        }
    }
}

impl From<&(AgentId, Role, Millis)> for InvitedBody {
    fn from(&(agent, role, deadline_ms): &(AgentId, Role, Millis)) -> Self {
        Self {
            agent,
            role: role.into(),
            deadline_ms,
        }
    }
}

fn cursors(view: &ConversationView, staff: bool) -> Vec<ReadCursor> {
    let seen = |reader: &Reader| match reader {
        Reader::Customer => true,
        Reader::Agent(agent) => staff || visible_to_customer(*agent, view),
    };
    let shown = view.read.iter().filter(|(reader, _)| seen(reader));
    shown.map(|&(reader, seq)| cursor(reader, seq)).collect()
}

fn cursor(reader: Reader, seq: Seq) -> ReadCursor {
    let agent = match reader {
        Reader::Customer => None,
        Reader::Agent(agent) => Some(agent),
    };
    ReadCursor { agent, seq }
}

/// A page of conversations, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConversationPage {
    /// These.
    pub conversations: Vec<Conversation>,
    /// Give this as `cursor` to get more; absent: there are no more.
    pub next_cursor: Option<String>,
}

/// R31: where to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// To one agent: offered to them alone for `wait_ms`, then to the queue it came from.
    Agent {
        /// Who.
        #[schema(value_type = String)]
        agent: AgentId,
        /// How long only them.
        wait_ms: u64,
    },
    /// To a queue; the age is kept.
    Queue(QueueRef),
}

impl From<Target> for TransferTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Agent { agent, wait_ms } => Self::Agent { agent, wait_ms },
            Target::Queue(QueueRef(queue)) => Self::Queue(queue),
        }
    }
}

/// R16: what changes, at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Raise or lower, 0–9.
    Priority(u8),
    /// To the front, before every priority.
    Expedite,
    /// To another queue; the age is kept.
    Move(QueueRef),
}

impl From<Change> for Override {
    fn from(change: Change) -> Self {
        match change {
            Change::Priority(priority) => Self::Priority(priority),
            Change::Expedite => Self::Expedite,
            Change::Move(QueueRef(queue)) => Self::Move(queue),
        }
    }
}
