//! Between frames and what routing has of the same kind.

use routing::command::{Body, PresenceChange, Schedule, ScheduleUntil, TransferTarget, Value};
use routing::event::{AgentItem, AgentItemKind, Receipt};

use super::{Ack, Attribute, Later, ScheduledFor, ServerFrame, Target, Text, Waiting, WantedPresence};
use crate::query::WaitingPlace;

impl ServerFrame {
    /// An item of an agent's stream.
    pub fn of_item(item: &AgentItem) -> Self {
        let (agent_seq, at_ms) = (item.agent_seq, item.at_ms);
        match item.kind.clone() {
            AgentItemKind::Offered {
                conversation,
                epoch,
                deadline_ms,
                queue,
                channel,
                customer,
            } => Self::Offered {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                deadline_ms,
                queue,
                channel,
                customer: customer.0,
            },
            AgentItemKind::OfferEnded {
                conversation,
                epoch,
                outcome,
            } => Self::OfferEnded {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                outcome,
            },
            AgentItemKind::Assigned {
                conversation,
                epoch,
                queue,
                channel,
                customer,
            } => Self::Assigned {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                queue,
                channel,
                customer: customer.0,
            },
            AgentItemKind::Unassigned {
                conversation,
                epoch,
                reason,
            } => Self::Unassigned {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                reason,
            },
            AgentItemKind::WrapUp {
                conversation,
                epoch,
                deadline_ms,
            } => Self::WrapUp {
                agent_seq,
                at_ms,
                conversation,
                epoch,
                deadline_ms,
            },
            AgentItemKind::WrapUpEnded { conversation, epoch } => Self::WrapUpEnded {
                agent_seq,
                at_ms,
                conversation,
                epoch,
            },
            AgentItemKind::Presence { presence } => Self::Presence {
                agent_seq,
                at_ms,
                presence,
            },
            AgentItemKind::Invited {
                conversation,
                role,
                by,
                deadline_ms,
            } => Self::Invited {
                agent_seq,
                at_ms,
                conversation,
                role,
                by,
                deadline_ms,
            },
            AgentItemKind::InvitationEnded { conversation, outcome } => Self::InvitationEnded {
                agent_seq,
                at_ms,
                conversation,
                outcome,
            },
            AgentItemKind::Joined { conversation, role } => Self::JoinedAs {
                agent_seq,
                at_ms,
                conversation,
                role,
            },
            AgentItemKind::Left {
                conversation,
                role,
                why,
            } => Self::LeftAs {
                agent_seq,
                at_ms,
                conversation,
                role,
                why,
            },
        }
    }
}

impl Ack {
    /// Of a receipt.
    pub fn of(id: u64, receipt: &Receipt) -> Self {
        Self {
            id,
            conversation: receipt.conversation,
            seq: receipt.seq,
            epoch: receipt.epoch,
            at_ms: receipt.at_ms,
            repeated: receipt.repeated,
        }
    }
}
impl From<Text> for Body {
    fn from(text: Text) -> Self {
        Self {
            media_type: text.media_type,
            text: text.text,
        }
    }
}

impl From<Attribute> for Value {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Bool(truth) => Self::Bool(truth),
            Attribute::Number(number) => Self::Number(number),
            Attribute::Text(text) => Self::Text(text),
        }
    }
}

impl From<Value> for Attribute {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(truth) => Self::Bool(truth),
            Value::Number(number) => Self::Number(number),
            Value::Text(text) => Self::Text(text),
        }
    }
}

impl From<Target> for TransferTarget {
    fn from(target: Target) -> Self {
        match target {
            Target::Queue { queue } => Self::Queue(queue),
            Target::Agent { agent, wait_ms } => Self::Agent { agent, wait_ms },
        }
    }
}

impl From<WantedPresence> for PresenceChange {
    fn from(wanted: WantedPresence) -> Self {
        match wanted {
            WantedPresence::Available => Self::Available,
            WantedPresence::Away { reason } => Self::Away(reason),
            WantedPresence::Draining => Self::Draining,
        }
    }
}

impl From<Later> for Schedule {
    fn from(later: Later) -> Self {
        let until = match later.agent {
            None => ScheduleUntil::At { at_ms: later.at_ms },
            Some(agent) => ScheduleUntil::AgentReturns {
                agent,
                latest_ms: later.at_ms,
            },
        };
        Self {
            until,
            keep_age: later.keep_age,
        }
    }
}

impl From<Schedule> for ScheduledFor {
    fn from(schedule: Schedule) -> Self {
        let (at_ms, agent) = match schedule.until {
            ScheduleUntil::At { at_ms } => (at_ms, None),
            ScheduleUntil::AgentReturns { agent, latest_ms } => (latest_ms, Some(agent)),
        };
        Self {
            at_ms,
            agent,
            keep_age: schedule.keep_age,
        }
    }
}

impl From<WaitingPlace> for Waiting {
    fn from(place: WaitingPlace) -> Self {
        Self {
            position: place.position,
            p50_ms: place.estimate.map(|estimate| estimate.p50_ms),
            p90_ms: place.estimate.map(|estimate| estimate.p90_ms),
        }
    }
}
