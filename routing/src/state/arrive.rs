//! Coming, waiting, leaving: admission (R23), places in queues (R25, R27), customers who go and return (R32).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::admission::{self, Place};
use super::conversation::{Alarm, Conversation, OfferTerms, Stage};
use super::draft::Draft;
use super::{end, escalate, offers, participants, relax, schedule, talk, timers, valid};
use crate::command::{Author, Body, Schedule, Value};
use crate::event::{AgentItemKind, CloseOutcome, EntryKind, Event, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, Channel, ConversationId, CustomerId, Epoch, QueueId};
use crate::known_bugs;
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::Classification;
use crate::view::Presence;

/// Who comes.
pub(crate) struct Newcomer<'a> {
    pub id: ConversationId,
    pub channel: &'a Channel,
    pub customer: &'a CustomerId,
    pub attributes: &'a BTreeMap<String, Value>,
    pub classification: &'a Classification,
    pub schedule: Option<&'a Schedule>,
    pub callback: Option<&'a str>,
}

pub(crate) fn start(d: &mut Draft<'_>, who: Newcomer<'_>, message: Option<&Body>) -> Result<Receipt, Rejection> {
    valid::newcomer(d, &who)?;
    message.map(valid::body).transpose()?;
    if d.conversation(who.id).is_ok() {
        return Err(Rejection::AlreadyExists {
            what: format!("conversation {}", who.id),
        });
    }
    let open = d.base().counts().open() as usize;
    if open >= limits::CONVERSATIONS_MAX {
        let (is, max) = (open as u64 + 1, limits::CONVERSATIONS_MAX as u64);
        return Err(Rejection::TooLarge {
            what: "number of open conversations".to_owned(),
            is,
            max,
        });
    }
    let queues = &who.classification.queues;
    for queue in queues {
        d.queue(*queue)?;
    }
    let id = who.id;
    let row = newcomer_row(d, &who);
    d.put_conversation(row);
    let here = who.schedule.and_then(|given| schedule::here_already(d, given));
    if let (Some(given), None) = (who.schedule, here) {
        return start_later(d, &who, given, message);
    }
    let place = admission::place(d, queues)?;
    let (customer, channel) = (who.customer.clone(), who.channel.clone());
    let (called, said);
    match place {
        Place::Queue(queue) => {
            d.tell(Event::Started {
                conversation: id,
                customer,
                channel,
                queue: Some(queue),
            });
            called = (who.callback)
                .map(|contact| schedule::note_callback(d, id, contact))
                .transpose()?;
            said = take_message(d, id, message)?;
            let preferred = who.classification.preferred_agent.as_ref();
            let preference = here.or(preferred.map(|p| (p.agent, p.wait_ms)));
            prefer(d, id, preference)?;
            join(d, id, queue)?;
            wait(d, id)?;
        }
        Place::Offline { text, kept_ms } => {
            d.tell(Event::Started {
                conversation: id,
                customer,
                channel,
                queue: None,
            });
            let body = Body {
                media_type: "text/plain".to_owned(),
                text,
            };
            d.entry(
                id,
                EntryKind::Message {
                    author: Author::System,
                    body,
                },
            )?;
            if let Some(contact) = who.callback {
                schedule::note_callback(d, id, contact)?;
            }
            take_message(d, id, message)?;
            end::shut(d, id, CloseOutcome::Offline, kept_ms)?;
            return Ok(Receipt {
                seq: Some(d.conversation(id)?.last_seq),
                ..d.receipt_for(id)
            });
        }
    }
    Ok(Receipt {
        seq: said.or(called),
        ..d.receipt_for(id)
    })
}

/// R33: it belongs to the first of its queues from now on, and joins it when its time comes.
fn start_later(
    d: &mut Draft<'_>,
    who: &Newcomer<'_>,
    schedule: &Schedule,
    message: Option<&Body>,
) -> Result<Receipt, Rejection> {
    let (id, queue) = (who.id, who.classification.queues.first().copied());
    d.conversation_mut(id)?.queue = queue;
    d.tell(Event::Started {
        conversation: id,
        customer: who.customer.clone(),
        channel: who.channel.clone(),
        queue,
    });
    let put_off = schedule::enter(d, id, schedule)?;
    if let Some(contact) = who.callback {
        schedule::note_callback(d, id, contact)?;
    }
    let seq = take_message(d, id, message)?.or(Some(put_off));
    Ok(Receipt {
        seq,
        ..d.receipt_for(id)
    })
}

fn take_message(d: &mut Draft<'_>, id: ConversationId, message: Option<&Body>) -> Result<Option<u64>, Rejection> {
    message.map(|body| talk::customer_says(d, id, body)).transpose()
}

fn newcomer_row(d: &mut Draft<'_>, who: &Newcomer<'_>) -> Conversation {
    let index = &d.base().index;
    let now = d.at_ms;
    let (required, preferred) = (
        index.asks(&who.classification.required),
        index.asks(&who.classification.preferred),
    );
    Conversation {
        id: who.id,
        customer: Arc::new(who.customer.clone()),
        channel: index.channels.share(Arc::new(who.channel.clone())),
        queue: None,
        stage: Stage::Waiting,
        epoch: Epoch(0),
        priority: who.classification.priority,
        expedited: false,
        left_at_ms: None,
        awaiting_reply: false,
        answered: false,
        replied: false,
        escalated: 0,
        started_at_ms: now,
        since_ms: now,
        arrival: d.next_arrival(),
        waiting_since_ms: now,
        queue_since_ms: now,
        asked_required: required.clone(),
        asked_preferred: preferred.clone(),
        required,
        preferred,
        selectors: {
            let mut selectors = who.classification.selectors.clone();
            selectors.sort_unstable();
            selectors.dedup();
            d.base().index.selectors.share(selectors.into())
        },
        relaxed: 0,
        rings: 0,
        also_offered: Vec::new(),
        terms: OfferTerms::default(),
        only: None,
        last_agent: None,
        excluded: Vec::new(),
        alarms: Vec::new(),
        last_seq: 0,
        last_seq_for_customer: 0,
        entries_digest: 0,
        attributes: Arc::new(who.attributes.clone()),
        read: Vec::new(),
        explanation: None,
        disposition: None,
        rule: who.classification.rule.as_deref().map(Arc::from),
        resolved: false,
        customer_spoke: false,
        entered: None,
        answered_at_ms: None,
        ended_at_ms: None,
        outcome: None,
        served_ms: 0,
        rare: None,
        returns: false,
        leg: None,
    }
}

/// R7: for so long only them, if they exist.
pub(crate) fn prefer(
    d: &mut Draft<'_>,
    id: ConversationId,
    preference: Option<(AgentId, u64)>,
) -> Result<(), Rejection> {
    let until_ms = d.at_ms.saturating_add(preference.map_or(0, |(_, wait_ms)| wait_ms));
    let known = preference.filter(|(agent, wait_ms)| *wait_ms > 0 && d.agent(*agent).is_ok());
    let row = d.conversation_mut(id)?;
    row.only = known.map(|(agent, _)| agent);
    match known {
        Some(_) => row.set_alarm(Alarm::PreferenceEnd, until_ms),
        None => row.clear_alarm(Alarm::PreferenceEnd),
    }
    Ok(())
}

/// Takes a place in a queue: a new stay there, the age kept. Steps on the queue's length are taken here (R27).
pub(crate) fn join(d: &mut Draft<'_>, id: ConversationId, queue: QueueId) -> Result<(), Rejection> {
    let at_ms = d.at_ms;
    let mut next = Some(queue);
    // Each hop is one move by length; a ring of full queues ends where it has gone around.
    for _ in 0..=limits::ESCALATIONS_MAX {
        let Some(queue) = next.take() else { break };
        let row = d.conversation_mut(id)?;
        row.queue = Some(queue);
        row.entered = row.entered.or(Some(queue));
        row.queue_since_ms = at_ms;
        row.escalated = 0;
        relax::start_over(row);
        next = escalate::by_length(d, id, queue)?;
    }
    Ok(())
}

/// Waits, where it is: for the first time, or again after an offer that came to nothing. Unless joining the queue has closed it.
pub(crate) fn wait(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let at_ms = d.at_ms;
    if matches!(d.conversation(id)?.stage, Stage::Closed { .. }) {
        return Ok(());
    }
    let row = d.enter(id, Stage::Waiting)?;
    let (queue, held) = (row.queue, row.held());
    let Some(queue) = queue else { return Ok(()) };
    let settings = d.queue(queue)?.settings.clone();
    let row = d.conversation_mut(id)?;
    if known_bugs::put_in("routing::age_lost") {
        row.since_ms = at_ms; // a known bug, for the tests of the tests
    }
    escalate::set_alarms(row, &settings);
    relax::set_alarms(row, &settings);
    match held {
        false => row.clear_alarm(Alarm::AbandonHold),
        true => row.set_alarm(Alarm::AbandonHold, at_ms.saturating_add(settings.abandon_hold_ms)),
    }
    Ok(())
}

/// Waits again in its queue after it had an agent: the age is kept, the stay in the queue and the wait for an agent are new.
pub(crate) fn wait_anew(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let at_ms = d.at_ms;
    let row = d.conversation_mut(id)?;
    row.waiting_since_ms = at_ms;
    row.queue_since_ms = at_ms;
    row.escalated = 0;
    relax::start_over(row);
    wait(d, id)
}

/// An owner loses it (assigned or paused), and their guests leave (R31); where it goes next is the caller's.
pub(crate) fn unassign(d: &mut Draft<'_>, id: ConversationId, reason: UnassignReason) -> Result<(), Rejection> {
    participants::guests_leave(d, id, &reason)?;
    lose_owner(d, id, reason)
}

/// The same, when one of the guests gets it.
pub(crate) fn lose_owner(d: &mut Draft<'_>, id: ConversationId, reason: UnassignReason) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let (Some(agent), Some(queue), epoch) = (row.stage.agent(), row.queue, row.epoch) else {
        return Ok(());
    };
    d.entry(
        id,
        EntryKind::Left {
            agent,
            reason: reason.clone(),
        },
    )?;
    d.tell(Event::Unassigned {
        conversation: id,
        queue,
        agent,
        epoch,
        reason: reason.clone(),
    });
    d.agent_item(
        agent,
        AgentItemKind::Unassigned {
            conversation: id,
            epoch,
            reason,
        },
    )?;
    // From here on the old epoch is stale, whatever comes next.
    d.next_epoch(id)?;
    d.enter(id, Stage::Waiting)?;
    Ok(())
}

/// R7: the preferred agent's time is over.
pub(crate) fn preference_end(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::PreferenceEnd)?;
    let row = d.conversation_mut(id)?;
    row.only = None;
    row.clear_alarm(Alarm::PreferenceEnd);
    Ok(d.receipt_for(id))
}

/// R24: exclusions that have ended are forgotten.
pub(crate) fn exclusion_end(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::ExclusionEnd)?;
    let at_ms = d.at_ms;
    d.conversation_mut(id)?.end_exclusions(at_ms);
    Ok(d.receipt_for(id))
}

pub(crate) fn customer_left(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    let at_ms = d.at_ms;
    let row = d.conversation_mut(id)?;
    if !row.customer_present() || !row.open() {
        return Ok(d.receipt_for(id));
    }
    row.left_at_ms = Some(at_ms);
    match row.stage {
        // R33: they need not stay.
        _ if !row.held() => {}
        Stage::Offered { .. } => offers::end(
            d,
            id,
            OfferOutcome::Withdrawn {
                why: "customer left".to_owned(),
            },
        )?,
        Stage::Waiting => wait(d, id)?,
        _ => {}
    }
    Ok(d.receipt_for(id))
}

pub(crate) fn customer_returned(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    is_present(d, id)?;
    Ok(d.receipt_for(id))
}

/// The customer is here: by connection, or because they act.
pub(crate) fn is_present(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let row = d.conversation_mut(id)?;
    if !row.customer_present() && row.open() {
        row.left_at_ms = None;
        row.clear_alarm(Alarm::AbandonHold);
    }
    Ok(())
}

/// R32: who left has not come back.
pub(crate) fn abandon(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::AbandonHold)?;
    let outcome = end::outcome_without_answer(d, id)?;
    end::end(d, id, outcome)?;
    Ok(d.receipt_for(id))
}

/// Whether an agent may be waited for alone: they exist and are not gone.
pub(crate) fn may_come(d: &Draft<'_>, agent: AgentId) -> bool {
    d.agent(agent).is_ok_and(|row| row.presence != Presence::Offline)
}
