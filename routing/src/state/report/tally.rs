//! What single events add.

use super::Fold;
use crate::event::{AgentItem, AgentItemKind, CloseOutcome, Event, OfferOutcome};
use crate::ids::{AgentId, ConversationId};
use crate::limits::RATING_MAX;
use crate::report::{Subject, quarter_hour_of};
use crate::state::conversation::Conversation;

/// Whether an event adds anything.
pub(super) fn counts(event: &Event) -> bool {
    match event {
        Event::Agent(item) => matches!(item.kind, AgentItemKind::Offered { .. }),
        Event::Started { .. }
        | Event::OfferEnded { .. }
        | Event::Assigned { .. }
        | Event::FirstReply { .. }
        | Event::Closed { .. }
        | Event::Relaxed { .. }
        | Event::RingOpened { .. }
        | Event::Rated { .. } => true,
        _ => false,
    }
}

impl Fold<'_> {
    pub(super) fn tally<'b>(&mut self, event: &Event, row: impl Fn(&ConversationId) -> Option<&'b Conversation>) {
        match event {
            Event::Started { customer, .. } => self.came_back(customer),
            Event::Agent(AgentItem {
                agent,
                kind: AgentItemKind::Offered { conversation, .. },
                ..
            }) => {
                if let Some(row) = row(conversation) {
                    self.book_work(row, Some(*agent), |figures| figures.work.offers_made += 1);
                }
            }
            Event::OfferEnded {
                conversation,
                agent,
                outcome,
                ..
            } => {
                if let Some(row) = row(conversation) {
                    self.book_work(row, Some(*agent), |figures| {
                        let work = &mut figures.work;
                        *match outcome {
                            OfferOutcome::Accepted => &mut work.offers_accepted,
                            OfferOutcome::Declined { .. } => &mut work.offers_declined,
                            OfferOutcome::Expired => &mut work.offers_expired,
                            OfferOutcome::Withdrawn { .. } => &mut work.offers_withdrawn,
                            OfferOutcome::TakenByAnother => &mut work.offers_taken,
                        } += 1;
                    });
                }
            }
            Event::Assigned {
                conversation,
                agent,
                waited_ms,
                first,
                ..
            } => {
                self.given_to(*agent);
                if let Some(row) = row(conversation) {
                    self.assigned(row, *agent, first.then_some(*waited_ms));
                }
            }
            Event::FirstReply {
                conversation, after_ms, ..
            } => {
                if let Some(row) = row(conversation) {
                    self.book_work(row, row.stage.agent(), |figures| {
                        figures.work.replied += 1;
                        figures.work.first_reply_ms += after_ms;
                        figures.first_replies.record(*after_ms);
                    });
                }
            }
            Event::Closed {
                conversation, outcome, ..
            } => {
                if let Some(row) = row(conversation) {
                    self.closed(row, *outcome);
                }
            }
            Event::Relaxed { conversation, .. } => {
                if let Some(row) = row(conversation) {
                    self.book_work(row, None, |figures| figures.work.relaxed += 1);
                }
            }
            Event::RingOpened { conversation, .. } => {
                if let Some(row) = row(conversation) {
                    self.book_work(row, None, |figures| figures.work.rings_opened += 1);
                }
            }
            Event::Rated {
                conversation,
                agent,
                rating,
                ..
            } => {
                if let Some(row) = row(conversation) {
                    let rating = *rating;
                    self.book_work(row, *agent, |figures| {
                        figures.work.ratings += 1;
                        figures.work.satisfied += u64::from(rating + 1 >= RATING_MAX);
                        figures.work.rating_sum += u64::from(rating);
                    });
                }
            }
            _ => {}
        }
    }

    /// `waited_ms`: for a first answer.
    fn assigned(&mut self, row: &Conversation, agent: AgentId, waited_ms: Option<u64>) {
        let within = waited_ms.is_some_and(|waited_ms| waited_ms <= self.target_ms(row.queue));
        let skills = self.agent(agent).map(|row| row.settings.clone());
        let asked = row.asked_required.iter().chain(row.asked_preferred.iter());
        let (mut levels_asked, mut levels_met) = (0u64, 0u64);
        for one in asked {
            let has = skills.as_ref().and_then(|settings| settings.skills.get(&one.skill));
            levels_asked += u64::from(one.level);
            levels_met += u64::from(one.level.min(has.copied().unwrap_or(0)));
        }
        self.book_work(row, Some(agent), |figures| {
            figures.work.assignments += 1;
            figures.work.levels_asked += levels_asked;
            figures.work.levels_met += levels_met;
        });
        let Some(waited_ms) = waited_ms else { return };
        let channel = row.channel.clone();
        let quarter_ms = quarter_hour_of(self.at_ms);
        self.book(quarter_ms, Subject::Agent { agent, channel }, |figures| {
            figures.visits.answered += 1;
            figures.visits.answered_within += u64::from(within);
            figures.visits.answered_wait_ms += waited_ms;
            figures.wait_max_ms = figures.wait_max_ms.max(waited_ms);
            figures.waits.record(waited_ms);
        });
    }

    fn closed(&mut self, row: &Conversation, outcome: CloseOutcome) {
        let took_ms = self.at_ms.saturating_sub(row.started_at_ms);
        let agent = row.last_agent.filter(|_| row.answered);
        self.book_work(row, agent, |figures| {
            figures.work.closed += 1;
            if row.resolved {
                figures.work.resolved_by_agent += u64::from(row.answered);
                figures.work.resolved_without_agent += u64::from(!row.answered);
                figures.work.resolution_ms += took_ms;
                figures.resolutions.record(took_ms);
            }
        });
        if row.resolved {
            self.helped(row, agent);
        }
        if outcome == CloseOutcome::SilentAbandoned {
            let (queue, channel) = (row.queue, row.channel.clone());
            let quarter_ms = quarter_hour_of(row.since_ms);
            self.book(quarter_ms, Subject::Queue { queue, channel }, |figures| {
                figures.visits.silent_abandoned += 1;
            });
        }
    }
}
