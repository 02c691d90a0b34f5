//! Participants, schedules, callbacks and ratings, beside the queue manager.

use proptest::prelude::*;
use routing::command::{Author, Command, Role, Schedule, ScheduleUntil};
use routing::event::Phase;
use routing::ids::Millis;
use routing::state::Tenant;

use super::{agent, body, hold, pick};

/// Numbers pick among what there is.
#[derive(Clone, Debug)]
pub enum Part {
    Invite(u8, u8, bool),
    Answer(u8, bool),
    Leave(u8),
    Complete(u8),
    Speak(u8),
    /// Of whom, until when, until whose return, with its age.
    PutOff(u8, u16, Option<u8>, bool),
    Begin(u8),
    Callback(u8),
    Rate(u8, u8),
}

pub fn part() -> impl Strategy<Value = Part> {
    let any = any::<u8>;
    prop_oneof![
        4 => (any(), any(), prop::bool::ANY).prop_map(|(c, a, confer)| Part::Invite(c, a, confer)),
        5 => (any(), prop::bool::weighted(0.8)).prop_map(|(c, yes)| Part::Answer(c, yes)),
        1 => any().prop_map(Part::Leave),
        2 => any().prop_map(Part::Complete),
        1 => any().prop_map(Part::Speak),
        3 => (any(), 1..3_000u16, prop::option::of(any()), prop::bool::ANY)
            .prop_map(|(c, ms, whose, keep_age)| Part::PutOff(c, ms, whose, keep_age)),
        1 => any().prop_map(Part::Begin),
        2 => any().prop_map(Part::Callback),
        1 => (any(), 1..6u8).prop_map(|(c, rating)| Part::Rate(c, rating)),
    ]
}

impl Part {
    pub fn command(&self, tenant: &Tenant, now_ms: Millis) -> Option<Command> {
        let owned = [Phase::Assigned, Phase::Paused];
        Some(match self {
            Self::Invite(c, a, confer) => {
                let (conversation, by, epoch) = hold(pick(tenant, *c, &owned)?)?;
                let role = if *confer { Role::Conference } else { Role::Consult };
                Command::Invite {
                    conversation,
                    by,
                    epoch,
                    agent: agent(*a),
                    role,
                }
            }
            Self::Answer(c, accept) => {
                let all: Vec<_> = tenant.conversations(None).filter(|c| !c.invited.is_empty()).collect();
                let view = all.get(usize::from(*c) % all.len().max(1))?;
                Command::AnswerInvitation {
                    conversation: view.conversation,
                    agent: view.invited.first()?.0,
                    accept: *accept,
                }
            }
            Self::Leave(c) => {
                let view = pick(tenant, *c, &owned)?;
                Command::LeaveConversation {
                    conversation: view.conversation,
                    agent: view.participants.first()?.0,
                }
            }
            Self::Complete(c) => {
                let view = pick(tenant, *c, &owned)?;
                let to = view.participants.first()?.0;
                let (conversation, by, epoch) = hold(view)?;
                Command::CompleteTransfer {
                    conversation,
                    by,
                    epoch,
                    to,
                }
            }
            Self::Speak(c) => {
                let view = pick(tenant, *c, &owned)?;
                let author = Author::Participant {
                    agent: view.participants.first()?.0,
                };
                Command::PostMessage {
                    conversation: view.conversation,
                    author,
                    body: body(),
                }
            }
            Self::PutOff(c, ms, whose, keep_age) => {
                let latest_ms = now_ms + u64::from(*ms);
                let until = match whose {
                    Some(whose) => ScheduleUntil::AgentReturns {
                        agent: agent(*whose),
                        latest_ms,
                    },
                    None => ScheduleUntil::At { at_ms: latest_ms },
                };
                Command::Schedule {
                    conversation: pick(tenant, *c, &[])?.conversation,
                    by: Author::System,
                    schedule: Schedule {
                        until,
                        keep_age: *keep_age,
                    },
                }
            }
            Self::Begin(c) => Command::CancelSchedule {
                conversation: pick(tenant, *c, &[Phase::Scheduled])?.conversation,
                by: Author::Customer,
            },
            Self::Callback(c) => Command::RequestCallback {
                conversation: pick(tenant, *c, &[Phase::Waiting, Phase::Offered])?.conversation,
                by: Author::System,
                contact: "+81".into(),
            },
            Self::Rate(c, rating) => Command::Rate {
                conversation: pick(tenant, *c, &[])?.conversation,
                rating: *rating,
                comment: None,
            },
        })
    }
}
