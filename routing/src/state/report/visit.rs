//! Visits: waits for a first answer, booked in the quarter hour in which they began.

use std::sync::Arc;

use super::Fold;
use crate::event::{CloseOutcome, Event};
use crate::ids::{Channel, Millis, QueueId};
use crate::report::{Figures, Subject, quarter_hour_of};
use crate::state::conversation::{Conversation, Stage};

#[derive(Clone, PartialEq, Eq)]
struct Visit {
    queue: Option<QueueId>,
    channel: Arc<Channel>,
    since_ms: Millis,
}

impl Visit {
    fn of(row: &Conversation) -> Self {
        Self {
            queue: row.queue,
            channel: row.channel.clone(),
            since_ms: row.since_ms,
        }
    }
}

/// While it waits or is offered, and nobody has answered.
fn visit(row: Option<&Conversation>) -> Option<Visit> {
    let row = row?;
    (row.in_queue() && !row.answered).then(|| Visit::of(row))
}

impl Fold<'_> {
    pub(super) fn visit(&mut self, before: Option<&Conversation>, after: Option<&Conversation>) {
        let Some(after) = after else { return };
        let answered = after.answered && before.is_none_or(|before| !before.answered);
        let offline = self.outcome(after) == Some(CloseOutcome::Offline);
        if offline {
            self.book_visit(&Visit::of(after), |row| row.visits.offline += 1);
        }
        if after.open() && before.is_some_and(|before| !before.open()) {
            self.came_back(&after.customer);
        }
        self.batch(before, after);
        let (was, is) = (visit(before), visit(Some(after)));
        let now = match (was, is) {
            (None, None) if !answered => return,
            (None, is) => {
                let begun = is.unwrap_or_else(|| Visit::of(after));
                self.book_visit(&begun, |row| row.visits.arrived += 1);
                begun
            }
            (Some(was), is) => {
                // What is answered or ends does so where it is now.
                let now = is.unwrap_or_else(|| Visit {
                    since_ms: was.since_ms,
                    ..Visit::of(after)
                });
                if was != now {
                    self.book_visit(&was, |row| row.visits.moved_out += 1);
                    self.book_visit(&now, |row| row.visits.moved_in += 1);
                }
                now
            }
        };
        if answered {
            self.answered(&now, after);
        } else if visit(Some(after)).is_none() {
            self.not_answered(&now, before, after);
        }
    }

    fn answered(&mut self, visit: &Visit, row: &Conversation) {
        let waited_ms = self.at_ms.saturating_sub(visit.since_ms);
        let within = waited_ms <= self.target_ms(visit.queue);
        let estimate = row.explanation.as_ref().and_then(|why| why.estimate);
        self.book_visit(visit, |figures| {
            let visits = &mut figures.visits;
            visits.answered += 1;
            visits.answered_within += u64::from(within);
            visits.answered_wait_ms += waited_ms;
            if let Some(estimate) = estimate {
                visits.estimated += 1;
                visits.within_p50 += u64::from(waited_ms <= estimate.p50_ms);
                visits.within_p90 += u64::from(waited_ms <= estimate.p90_ms);
            }
            figures.wait_max_ms = figures.wait_max_ms.max(waited_ms);
            figures.waits.record(waited_ms);
        });
        self.learn_wait(visit.queue, waited_ms, false);
    }

    fn not_answered(&mut self, visit: &Visit, before: Option<&Conversation>, row: &Conversation) {
        if row.stage == Stage::Scheduled {
            return self.book_visit(visit, |row| row.visits.put_off += 1);
        }
        let outcome = self.outcome(row);
        let short = outcome == Some(CloseOutcome::ShortAbandoned);
        if !short && outcome != Some(CloseOutcome::Abandoned) {
            return self.book_visit(visit, |row| row.visits.cancelled += 1);
        }
        let until_ms = before.and_then(|row| row.left_at_ms).unwrap_or(self.at_ms);
        let waited_ms = until_ms.saturating_sub(visit.since_ms);
        let within = waited_ms <= self.target_ms(visit.queue);
        self.book_visit(visit, |figures| {
            let visits = &mut figures.visits;
            visits.abandoned += 1;
            visits.abandoned_within += u64::from(within);
            visits.short_abandoned += u64::from(short);
            visits.abandoned_wait_ms += waited_ms;
            figures.wait_max_ms = figures.wait_max_ms.max(waited_ms);
        });
        self.learn_wait(visit.queue, waited_ms, true);
    }

    /// R41: what its choice in a batch was worth.
    fn batch(&mut self, before: Option<&Conversation>, after: &Conversation) {
        let (Some(why), chosen) = (&after.explanation, !matches!(after.stage, Stage::Waiting)) else {
            return;
        };
        let told = before.and_then(|row| row.explanation.as_ref());
        let anew = told.is_none_or(|told| !Arc::ptr_eq(told, why));
        if anew && chosen && why.batch > 1 {
            let gain = u64::from(why.batch_gain);
            self.book_work(after, None, |figures| {
                figures.work.batched += 1;
                figures.work.batch_gain += gain;
            });
        }
    }

    fn outcome(&self, row: &Conversation) -> Option<CloseOutcome> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Closed {
                conversation, outcome, ..
            } if *conversation == row.id => Some(*outcome),
            _ => None,
        })
    }

    fn book_visit(&mut self, visit: &Visit, add: impl FnOnce(&mut Figures)) {
        let subject = Subject::Queue {
            queue: visit.queue,
            channel: visit.channel.clone(),
        };
        self.book(quarter_hour_of(visit.since_ms), subject, add);
    }
}
