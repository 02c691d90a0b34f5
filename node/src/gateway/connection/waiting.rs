//! R35: who follows a waiting conversation is told its position and how long it will wait, now and then again.

use std::sync::Arc;
use std::time::Duration;

use routing::event::Phase;
use routing::ids::ConversationId;
use tokio::time::Instant;

use super::{Connection, Done};
use crate::gateway::outbound::Outbound;
use crate::gateway::protocol::{ServerFrame, Waiting};
use crate::limits::{WAITING_ASKED_MAX, WAITING_ASKED_MIN};
use crate::query::{Answer, Query, WaitingPlace};

/// What the follower of a waiting conversation has been told.
#[derive(Default)]
pub(super) struct WaitingTold {
    last: Option<Waiting>,
    asking: bool,
    /// `None`: at once.
    ask_at: Option<Instant>,
}

impl Connection {
    /// Asks of every followed conversation that waits and whose time has come.
    pub(in crate::gateway) fn ask_waiting(&mut self) {
        let now = Instant::now();
        let due = self.conversations.iter().filter(|(_, followed)| {
            let waits = followed.view.as_ref().is_some_and(|view| view.phase == Phase::Waiting);
            waits && !followed.waiting.asking && followed.waiting.ask_at.is_none_or(|at| at <= now)
        });
        let due: Vec<ConversationId> = due.map(|(conversation, _)| *conversation).collect();
        due.into_iter()
            .for_each(|conversation| self.ask_waiting_of(conversation));
    }

    fn ask_waiting_of(&mut self, conversation: ConversationId) {
        let Some(followed) = self.conversations.get_mut(&conversation) else {
            return;
        };
        followed.waiting.asking = true;
        let (round, tenant, backend) = (followed.round, self.caller.identity.tenant, Arc::clone(&self.backend));
        self.jobs.push(Box::pin(async move {
            let place = match backend.query(tenant, Query::Waiting { conversation }).await {
                Ok(Answer::Waiting(place)) => place,
                _ => None,
            };
            Done::Waiting {
                conversation,
                round,
                place,
            }
        }));
    }

    pub(super) fn waiting_told(
        &mut self,
        conversation: ConversationId,
        round: u64,
        place: Option<WaitingPlace>,
        out: &mut Outbound,
    ) {
        let Some(followed) = self.conversations.get_mut(&conversation).filter(|f| f.round == round) else {
            return;
        };
        let told = &mut followed.waiting;
        told.asking = false;
        told.ask_at = Some(Instant::now() + pause(place.as_ref()));
        let Some(waiting) = place.map(Waiting::from) else {
            return;
        };
        if told.last != Some(waiting) {
            told.last = Some(waiting);
            out.push(&ServerFrame::Waiting { conversation, waiting });
        }
    }
}

/// Until the next question: a tenth of the wait, so that short waits are told closely and long ones cost little.
fn pause(place: Option<&WaitingPlace>) -> Duration {
    let estimate = place.and_then(|place| place.estimate);
    let tenth = estimate.map_or(WAITING_ASKED_MIN, |estimate| {
        Duration::from_millis(estimate.p50_ms / 10)
    });
    tenth.clamp(WAITING_ASKED_MIN, WAITING_ASKED_MAX)
}

#[cfg(test)]
mod tests {
    use routing::command::WaitEstimate;

    use super::*;

    #[test]
    fn long_waits_are_asked_of_less_often() {
        let of = |p50_ms| {
            pause(Some(&WaitingPlace {
                position: 3,
                estimate: Some(WaitEstimate { p50_ms, p90_ms: p50_ms }),
            }))
        };
        assert_eq!(of(0), WAITING_ASKED_MIN);
        assert_eq!(of(200_000), Duration::from_secs(20));
        assert_eq!(of(u64::MAX), WAITING_ASKED_MAX);
        assert_eq!(pause(None), WAITING_ASKED_MIN);
    }
}
