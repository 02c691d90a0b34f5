//! Later (R33): put off until a time or an agent's return, and callbacks that keep the place.
//!
//! What the words of the commands leave open:
//!
//! - Who is put off is promised service: when the time comes, admission (R23, R34) is not asked again, and the customer need not
//!   be connected.
//! - An agent returns when they become available; whoever puts a conversation off until the return of an agent who is available
//!   now means the next return. A connection that was lost and is back is no return. Who starts a conversation so begins at once.
//! - Then that agent is waited for alone for [`limits::RETURNED_AGENT_WAIT_MS`], and never past the latest moment.
//! - Put off again, the new schedule stands in the place of the old one.
//! - The customer may put off what waits, not what an agent has: that is the owner's, or a supervisor's.

use std::sync::Arc;

use super::conversation::{Alarm, Conversation, Stage};
use super::draft::Draft;
use super::{arrive, offers, timers, valid};
use crate::command::{Author, Schedule, ScheduleUntil};
use crate::event::{EntryKind, Event, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, ConversationId, Millis};
use crate::limits;
use crate::rejection::Rejection;
use crate::view::Presence;

impl Conversation {
    /// R33: was put off, and is to be served whether the customer is here or not.
    pub fn promised(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.promised)
    }

    /// R32: keeps its place and is not offered, because the customer is gone and is neither to be called back nor promised.
    pub fn held(&self) -> bool {
        !self.customer_present() && self.callback().is_none() && !self.promised()
    }

    fn schedule(&self) -> Option<Schedule> {
        self.rare.as_ref().and_then(|rare| rare.schedule)
    }
}

impl Schedule {
    /// When it ends at the latest.
    fn latest_ms(&self) -> Millis {
        match self.until {
            ScheduleUntil::At { at_ms } => at_ms,
            ScheduleUntil::AgentReturns { latest_ms, .. } => latest_ms,
        }
    }
}

/// A moment ahead, not too far, and an agent who is known.
pub(crate) fn valid(d: &Draft<'_>, schedule: &Schedule) -> Result<(), Rejection> {
    let (latest_ms, at_ms) = (schedule.latest_ms(), d.at_ms);
    if latest_ms <= at_ms {
        let why = format!("{latest_ms} has passed; it is {at_ms} now");
        return Err(valid::invalid("schedule", why));
    }
    if latest_ms - at_ms > limits::SCHEDULE_MAX_MS {
        return Err(Rejection::TooLarge {
            what: "time until the schedule".to_owned(),
            is: latest_ms - at_ms,
            max: limits::SCHEDULE_MAX_MS,
        });
    }
    match schedule.until {
        ScheduleUntil::AgentReturns { agent, .. } => d.agent(agent).map(|_| ()),
        ScheduleUntil::At { .. } => Ok(()),
    }
}

/// The agent whose return is waited for is available now: who, and for how long alone.
pub(crate) fn here_already(d: &Draft<'_>, schedule: &Schedule) -> Option<(AgentId, u64)> {
    let ScheduleUntil::AgentReturns { agent, latest_ms } = schedule.until else {
        return None;
    };
    let here = d.agent(agent).is_ok_and(|row| row.presence == Presence::Available);
    here.then(|| (agent, alone_ms(d, latest_ms)))
}

fn alone_ms(d: &Draft<'_>, latest_ms: Millis) -> u64 {
    latest_ms.saturating_sub(d.at_ms).min(limits::RETURNED_AGENT_WAIT_MS)
}

pub(crate) fn put_off(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: &Author,
    schedule: &Schedule,
) -> Result<Receipt, Rejection> {
    valid(d, schedule)?;
    let row = d.conversation(id)?;
    let (stage, owned) = (row.stage, row.owner().is_some());
    match by {
        Author::Agent { agent, epoch } => _ = valid::owner(d, id, *agent, *epoch)?,
        Author::Supervisor(principal) => valid::supervisor(d, principal)?,
        Author::Customer if !owned => {}
        Author::System => {}
        Author::Customer | Author::Participant { .. } => return Err(valid::not_yours()),
    }
    match stage {
        Stage::Waiting | Stage::Scheduled => {}
        Stage::Offered { .. } => offers::end(
            d,
            id,
            OfferOutcome::Withdrawn {
                why: "put off".to_owned(),
            },
        )?,
        Stage::Assigned { .. } | Stage::Paused { .. } => arrive::unassign(d, id, UnassignReason::Scheduled)?,
        Stage::WrapUp { .. } | Stage::Closed { .. } => {
            return Err(valid::wrong_state(d.conversation(id)?, "open"));
        }
    }
    let seq = enter(d, id, schedule)?;
    Ok(Receipt {
        seq: Some(seq),
        epoch: Some(d.conversation(id)?.epoch),
        ..d.receipt_for(id)
    })
}

/// From wherever it is; gives the entry.
pub(crate) fn enter(d: &mut Draft<'_>, id: ConversationId, schedule: &Schedule) -> Result<u64, Rejection> {
    let schedule = *schedule;
    let seq = d.entry(id, EntryKind::Scheduled { schedule })?;
    let row = d.enter(id, Stage::Scheduled)?;
    row.rare_mut().schedule = Some(schedule);
    row.set_alarm(Alarm::Scheduled, schedule.latest_ms());
    d.tell(Event::Scheduled {
        conversation: id,
        schedule: Some(schedule),
    });
    Ok(seq)
}

pub(crate) fn cancel(d: &mut Draft<'_>, id: ConversationId, by: &Author) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    let Some(schedule) = row.schedule() else {
        return Err(valid::wrong_state(row, "scheduled"));
    };
    let mut wanted_by = None;
    match by {
        Author::System => {}
        Author::Customer => arrive::is_present(d, id)?,
        Author::Supervisor(principal) => valid::supervisor(d, principal)?,
        // Whoever had it last, or is waited for, wants it themself.
        Author::Agent { agent, .. } | Author::Participant { agent } => {
            let waited_for =
                matches!(schedule.until, ScheduleUntil::AgentReturns { agent: whom, .. } if whom == *agent);
            if row.last_agent != Some(*agent) && !waited_for {
                return Err(valid::not_yours());
            }
            wanted_by = Some((*agent, limits::LAST_AGENT_WAIT_MS));
        }
    }
    begin(d, id, wanted_by)?;
    Ok(d.receipt_for(id))
}

/// The time has come: for anybody.
pub(crate) fn due(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::Scheduled)?;
    begin(d, id, None)?;
    Ok(d.receipt_for(id))
}

/// An agent's presence has become another: what was put off until their return goes on, for them first.
pub(crate) fn presence_changed(
    d: &mut Draft<'_>,
    agent: AgentId,
    before: &Presence,
    after: &Presence,
) -> Result<(), Rejection> {
    if behind(before) == &Presence::Available || behind(after) != &Presence::Available {
        return Ok(());
    }
    let with_them: Vec<_> = d.base().conversations_of_agent(agent).collect();
    for id in with_them {
        let Some(schedule) = d.conversation(id)?.schedule() else {
            continue;
        };
        if matches!(schedule.until, ScheduleUntil::AgentReturns { agent: whom, .. } if whom == agent) {
            let alone_ms = alone_ms(d, schedule.latest_ms());
            d.conversation_mut(id)?.readmit(agent);
            begin(d, id, Some((agent, alone_ms)))?;
        }
    }
    Ok(())
}

/// A suspect is what they were.
fn behind(presence: &Presence) -> &Presence {
    match presence {
        Presence::Suspect { was, .. } => was,
        other => other,
    }
}

/// What was put off waits.
fn begin(d: &mut Draft<'_>, id: ConversationId, first: Option<(AgentId, u64)>) -> Result<(), Rejection> {
    let (at_ms, row) = (d.at_ms, d.conversation(id)?);
    let (Some(queue), Some(schedule)) = (row.queue, row.schedule()) else {
        return Err(Rejection::NothingOutstanding);
    };
    let arrival = if schedule.keep_age {
        row.arrival
    } else {
        d.next_arrival()
    };
    let row = d.conversation_mut(id)?;
    row.arrival = arrival;
    row.waiting_since_ms = at_ms;
    if !schedule.keep_age {
        row.since_ms = at_ms;
    }
    row.rare_mut().promised = true;
    d.enter(id, Stage::Waiting)?;
    arrive::prefer(d, id, first)?;
    arrive::join(d, id, queue)?;
    arrive::wait(d, id)
}

/// A callback is asked for: with its first words, or while it waits.
pub(crate) fn note_callback(d: &mut Draft<'_>, id: ConversationId, contact: &str) -> Result<u64, Rejection> {
    let row = d.conversation_mut(id)?;
    row.rare_mut().callback = Some(Arc::from(contact));
    row.clear_alarm(Alarm::AbandonHold);
    d.entry(
        id,
        EntryKind::CallbackRequested {
            contact: contact.to_owned(),
        },
    )
}

pub(crate) fn valid_contact(contact: &str) -> Result<(), Rejection> {
    if contact.is_empty() {
        return Err(valid::invalid(
            "contact",
            "empty: a number or an address to call back at",
        ));
    }
    valid::at_most("contact", contact.len(), limits::REMARK_MAX_BYTES)
}

pub(crate) fn request_callback(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: &Author,
    contact: &str,
) -> Result<Receipt, Rejection> {
    valid_contact(contact)?;
    let row = d.conversation(id)?;
    if !(row.in_queue() || row.stage == Stage::Scheduled) {
        return Err(valid::wrong_state(row, "waiting"));
    }
    match by {
        Author::Customer => arrive::is_present(d, id)?,
        Author::System => {}
        Author::Supervisor(principal) => valid::supervisor(d, principal)?,
        Author::Agent { .. } | Author::Participant { .. } => return Err(valid::not_yours()),
    }
    let seq = note_callback(d, id, contact)?;
    Ok(Receipt {
        seq: Some(seq),
        ..d.receipt_for(id)
    })
}
