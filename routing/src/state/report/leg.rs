//! Legs: one agent's having of a conversation.

use serde::{Deserialize, Serialize};

use super::Fold;
use crate::event::{Event, UnassignReason};
use crate::ids::{AgentId, ConversationId, Millis};
use crate::state::conversation::{Conversation, Stage};

/// What has been measured of the current leg, kept with the conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leg {
    /// Everything before is in the sums.
    pub at_ms: Millis,
    /// The agent's clocks then.
    pub attention_then: u64,
    pub crowd_then_ms: u64,
    pub talk_ms: u64,
    pub hold_ms: u64,
    pub wrap_ms: u64,
    /// Share of the agent's attention, in 1/[`crate::report::ATTENTION_ONE`] ms.
    pub attention: u64,
    /// ∫k(t)dt while it had any of their attention.
    pub crowd_ms: u64,
}

/// How a leg ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Handled,
    TransferredCold,
    TransferredWarm,
    Requeued,
    Reassigned,
    PutOff,
}

fn owner(row: Option<&Conversation>) -> Option<(AgentId, Millis)> {
    match row?.stage {
        Stage::Assigned { agent, assigned_at_ms }
        | Stage::Paused { agent, assigned_at_ms }
        | Stage::WrapUp {
            agent, assigned_at_ms, ..
        } => Some((agent, assigned_at_ms)),
        _ => None,
    }
}

impl Leg {
    /// Up to now, as what it was.
    fn settle(&mut self, was: &Stage, at_ms: Millis, (attention, crowd_ms): (u64, u64)) {
        let span_ms = at_ms.saturating_sub(self.at_ms);
        match was {
            Stage::Assigned { .. } => self.talk_ms += span_ms,
            Stage::WrapUp { .. } => self.wrap_ms += span_ms,
            _ => self.hold_ms += span_ms,
        }
        if !matches!(was, Stage::Paused { .. }) {
            self.attention += attention.saturating_sub(self.attention_then);
            self.crowd_ms += crowd_ms.saturating_sub(self.crowd_then_ms);
        }
        self.go_on(at_ms, (attention, crowd_ms));
    }

    fn go_on(&mut self, at_ms: Millis, (attention, crowd_ms): (u64, u64)) {
        self.at_ms = at_ms;
        self.attention_then = attention;
        self.crowd_then_ms = crowd_ms;
    }

    pub fn all_ms(&self) -> u64 {
        self.talk_ms + self.hold_ms + self.wrap_ms
    }
}

impl Fold<'_> {
    /// Goes on with a leg, ends it, begins one.
    pub(super) fn leg(&mut self, before: Option<&Conversation>, after: Option<&mut Conversation>) {
        let (was, is) = (owner(before), owner(after.as_deref()));
        let mut leg = None;
        if let (Some(row), Some((agent, _))) = (before, was) {
            let mut so_far = row.leg.as_deref().cloned().unwrap_or_default();
            so_far.settle(&row.stage, self.at_ms, self.clocks(agent));
            if was == is {
                leg = Some(so_far);
            } else {
                let end = self.end_of(row, is.map(|(agent, _)| agent));
                self.end_leg(row, agent, &so_far, end);
            }
        }
        let Some(after) = after else { return };
        if let (None, Some((agent, _))) = (&leg, is) {
            let mut new = Leg::default();
            new.go_on(self.at_ms, self.clocks(agent));
            leg = Some(new);
        }
        after.leg = leg.map(Box::new);
    }

    fn end_of(&self, row: &Conversation, next: Option<AgentId>) -> End {
        let about = |id: &ConversationId| *id == row.id;
        for event in self.events.iter().rev() {
            match event {
                Event::Handled { conversation, .. } if about(conversation) => return End::Handled,
                Event::Unassigned {
                    conversation, reason, ..
                } if about(conversation) => {
                    return match reason {
                        UnassignReason::Closed => End::Handled,
                        UnassignReason::Transferred if next.is_some_and(|next| takes_part(row, next)) => {
                            End::TransferredWarm
                        }
                        UnassignReason::Transferred => End::TransferredCold,
                        UnassignReason::Reassigned => End::Reassigned,
                        UnassignReason::Scheduled => End::PutOff,
                        UnassignReason::NoReply
                        | UnassignReason::LeaseLost
                        | UnassignReason::SignedOut
                        | UnassignReason::OwnerFull => End::Requeued,
                    };
                }
                _ => {}
            }
        }
        End::Handled
    }

    fn end_leg(&mut self, row: &Conversation, agent: AgentId, leg: &Leg, end: End) {
        let done = matches!(end, End::Handled | End::TransferredCold | End::TransferredWarm);
        self.book_work(row, Some(agent), |figures| {
            let work = &mut figures.work;
            work.talk_ms += leg.talk_ms;
            work.hold_ms += leg.hold_ms;
            work.wrap_ms += leg.wrap_ms;
            work.attention += leg.attention;
            work.handled += u64::from(done);
            work.transferred_cold += u64::from(end == End::TransferredCold);
            work.transferred_warm += u64::from(end == End::TransferredWarm);
            work.requeued += u64::from(end == End::Requeued);
            work.reassigned += u64::from(end == End::Reassigned);
            if done {
                figures.handle_times.record(leg.all_ms());
            }
        });
        if done {
            self.learn_from(row, agent, leg);
        }
    }
}

fn takes_part(row: &Conversation, agent: AgentId) -> bool {
    let beside = row.rare.iter().flat_map(|rare| &rare.participants);
    beside.into_iter().any(|(who, _)| *who == agent)
}
