//! Ends: close, wrap-up (R28), reopen, archive.

use std::sync::Arc;

use super::conversation::{Alarm, Conversation, Stage};
use super::draft::Draft;
use super::{admission, arrive, offers, participants, timers, valid};
use crate::command::Author;
use crate::event::{AgentItemKind, CloseOutcome, EntryKind, Event, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, ConversationId, Epoch, Millis};
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::WrapUp;

pub(crate) fn close(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: &Author,
    disposition: Option<&str>,
    resolved: Option<bool>,
) -> Result<Receipt, Rejection> {
    disposition.map(|text| valid::name("disposition", text)).transpose()?;
    let row = d.conversation(id)?;
    if !row.open() {
        return Err(valid::wrong_state(row, "open"));
    }
    match by {
        Author::Customer | Author::System => {}
        Author::Agent { agent, epoch } => _ = valid::owner(d, id, *agent, *epoch)?,
        Author::Supervisor(principal) => valid::supervisor(d, principal)?,
        Author::Participant { .. } => return Err(valid::not_yours()),
    }
    let row = d.conversation(id)?;
    let resolved = resolved.unwrap_or(row.answered);
    let outcome = match by {
        _ if row.answered => CloseOutcome::Answered,
        Author::Customer if row.stage != Stage::Scheduled => outcome_without_answer(d, id)?,
        _ => CloseOutcome::Cancelled,
    };
    note_disposition(d, id, disposition)?;
    d.conversation_mut(id)?.resolved = resolved;
    end(d, id, outcome)?;
    Ok(Receipt {
        seq: Some(d.conversation(id)?.last_seq),
        epoch: Some(d.conversation(id)?.epoch),
        ..d.receipt_for(id)
    })
}

fn note_disposition(d: &mut Draft<'_>, id: ConversationId, text: Option<&str>) -> Result<(), Rejection> {
    if let Some(text) = text {
        d.conversation_mut(id)?.disposition = Some(Arc::from(text));
    }
    Ok(())
}

/// R32: how it counts when the customer stops waiting, or has stopped when they left.
pub(crate) fn outcome_without_answer(d: &Draft<'_>, id: ConversationId) -> Result<CloseOutcome, Rejection> {
    let row = d.conversation(id)?;
    if row.answered {
        return Ok(CloseOutcome::Answered);
    }
    let short_ms = match row.queue {
        Some(queue) => d.queue(queue)?.settings.short_abandon_ms,
        None => 0,
    };
    let waited_ms = waited_ms(row, d.at_ms);
    Ok(if waited_ms < short_ms {
        CloseOutcome::ShortAbandoned
    } else {
        CloseOutcome::Abandoned
    })
}

/// How long the customer has waited: until now, or until they left.
fn waited_ms(row: &Conversation, at_ms: Millis) -> u64 {
    let until_ms = row.left_at_ms.unwrap_or(at_ms);
    if row.in_queue() {
        until_ms.saturating_sub(row.waiting_since_ms)
    } else {
        0
    }
}

/// Ends an open conversation: an outstanding offer is withdrawn, its owner goes into wrap-up where the queue has one.
pub(crate) fn end(d: &mut Draft<'_>, id: ConversationId, outcome: CloseOutcome) -> Result<(), Rejection> {
    if matches!(d.conversation(id)?.stage, Stage::Offered { .. }) {
        offers::end(
            d,
            id,
            OfferOutcome::Withdrawn {
                why: "closed".to_owned(),
            },
        )?;
    }
    participants::all_leave(d, id)?;
    let row = d.conversation(id)?;
    let (stage, epoch) = (row.stage, row.epoch);
    let settings = match row.queue {
        Some(queue) => Some((queue, d.queue(queue)?.settings.clone())),
        None => None,
    };
    let kept_ms = settings.as_ref().map_or(0, |(_, settings)| settings.reopen_window_ms);
    let until_ms = d.at_ms.saturating_add(kept_ms);
    let wrap_up_ms = match settings.as_ref().map(|(_, settings)| &settings.wrap_up) {
        Some(WrapUp::Timed { length_ms, .. }) => *length_ms,
        Some(WrapUp::Manual { longest_ms }) => *longest_ms,
        Some(WrapUp::None) | None => 0,
    };
    let owner = stage.agent();
    if let (Some(agent), Some((queue, _))) = (owner, &settings) {
        let (reason, queue) = (UnassignReason::Closed, *queue);
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
    }
    match stage {
        Stage::Assigned { agent, assigned_at_ms } if wrap_up_ms > 0 => {
            announce_close(d, id, outcome)?;
            let deadline_ms = d.at_ms.saturating_add(wrap_up_ms);
            let wrap_up = Stage::WrapUp {
                agent,
                assigned_at_ms,
                deadline_ms,
                extended_ms: 0,
                until_ms,
            };
            d.enter(id, wrap_up)?.set_alarm(Alarm::WrapUpEnd, deadline_ms);
            d.agent_item(
                agent,
                AgentItemKind::WrapUp {
                    conversation: id,
                    epoch,
                    deadline_ms,
                },
            )
        }
        Stage::Assigned { agent, assigned_at_ms } | Stage::Paused { agent, assigned_at_ms } => {
            if let Some((queue, _)) = settings {
                let handled_ms = d.at_ms.saturating_sub(assigned_at_ms);
                d.tell(Event::Handled {
                    conversation: id,
                    queue,
                    agent,
                    handled_ms,
                });
            }
            shut(d, id, outcome, kept_ms)
        }
        _ => shut(d, id, outcome, kept_ms),
    }
}

/// Closed at once, kept for so long.
pub(crate) fn shut(
    d: &mut Draft<'_>,
    id: ConversationId,
    outcome: CloseOutcome,
    kept_ms: u64,
) -> Result<(), Rejection> {
    announce_close(d, id, outcome)?;
    let until_ms = d.at_ms.saturating_add(kept_ms);
    d.enter(id, Stage::Closed { until_ms })?
        .set_alarm(Alarm::Archive, until_ms);
    Ok(())
}

fn announce_close(d: &mut Draft<'_>, id: ConversationId, outcome: CloseOutcome) -> Result<(), Rejection> {
    d.entry(id, EntryKind::Closed { outcome })?;
    let row = d.conversation(id)?;
    let queue = row.queue;
    let waited_ms = if row.in_queue() {
        d.at_ms.saturating_sub(row.waiting_since_ms)
    } else {
        0
    };
    d.tell(Event::Closed {
        conversation: id,
        queue,
        outcome,
        waited_ms,
    });
    let at_ms = d.at_ms;
    let row = d.conversation_mut(id)?;
    row.awaiting_reply = false;
    row.ended_at_ms = Some(at_ms);
    row.outcome = Some(outcome);
    Ok(())
}

/// R28: the agent is done with it.
pub(crate) fn end_wrap_up(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let (epoch, queue) = (row.epoch, row.queue);
    let Stage::WrapUp {
        agent,
        assigned_at_ms,
        until_ms,
        ..
    } = row.stage
    else {
        return Ok(());
    };
    if let Some(queue) = queue {
        let handled_ms = d.at_ms.saturating_sub(assigned_at_ms);
        d.tell(Event::Handled {
            conversation: id,
            queue,
            agent,
            handled_ms,
        });
    }
    d.agent_item(
        agent,
        AgentItemKind::WrapUpEnded {
            conversation: id,
            epoch,
        },
    )?;
    d.enter(id, Stage::Closed { until_ms })?
        .set_alarm(Alarm::Archive, until_ms);
    Ok(())
}

/// R28: by its deadline.
pub(crate) fn wrap_up_end(d: &mut Draft<'_>, id: ConversationId, epoch: Epoch) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, Some(epoch), Alarm::WrapUpEnd)?;
    end_wrap_up(d, id)?;
    Ok(d.receipt_for(id))
}

/// R28: by hand.
pub(crate) fn finish_wrap_up(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    epoch: Epoch,
    disposition: Option<&str>,
) -> Result<Receipt, Rejection> {
    disposition.map(|text| valid::name("disposition", text)).transpose()?;
    in_wrap_up(d, id, agent, epoch)?;
    note_disposition(d, id, disposition)?;
    end_wrap_up(d, id)?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

fn in_wrap_up(d: &Draft<'_>, id: ConversationId, agent: AgentId, epoch: Epoch) -> Result<Stage, Rejection> {
    let row = d.conversation(id)?;
    valid::current(row, epoch)?;
    match row.stage {
        Stage::WrapUp { agent: owner, .. } if owner == agent => Ok(row.stage),
        Stage::WrapUp { .. } => Err(valid::not_yours()),
        _ => Err(valid::wrong_state(row, "in wrap-up")),
    }
}

/// R28: more time, up to what the queue allows in all. A manual wrap-up has its longest length from the start.
pub(crate) fn extend_wrap_up(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    epoch: Epoch,
    by_ms: u64,
) -> Result<Receipt, Rejection> {
    let Stage::WrapUp {
        assigned_at_ms,
        deadline_ms,
        extended_ms,
        until_ms,
        ..
    } = in_wrap_up(d, id, agent, epoch)?
    else {
        return Err(Rejection::NothingOutstanding);
    };
    let queue = d.conversation(id)?.queue.ok_or(Rejection::NothingOutstanding)?;
    let max = match d.queue(queue)?.settings.wrap_up {
        WrapUp::Timed { extension_max_ms, .. } => extension_max_ms,
        WrapUp::None | WrapUp::Manual { .. } => 0,
    };
    let extended_ms = extended_ms.saturating_add(by_ms);
    if extended_ms > max {
        return Err(Rejection::TooLarge {
            what: "extension".to_owned(),
            is: extended_ms,
            max,
        });
    }
    let deadline_ms = deadline_ms.saturating_add(by_ms);
    let stage = Stage::WrapUp {
        agent,
        assigned_at_ms,
        deadline_ms,
        extended_ms,
        until_ms,
    };
    d.enter(id, stage)?.set_alarm(Alarm::WrapUpEnd, deadline_ms);
    d.agent_item(
        agent,
        AgentItemKind::WrapUp {
            conversation: id,
            epoch,
            deadline_ms,
        },
    )?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

/// Waits again, as one who has just come, for the last agent alone for a short while.
pub(crate) fn reopen(d: &mut Draft<'_>, id: ConversationId, by: &Author) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    let (Stage::Closed { until_ms } | Stage::WrapUp { until_ms, .. }) = row.stage else {
        return Err(valid::wrong_state(row, "closed"));
    };
    match by {
        Author::Customer | Author::System => {}
        Author::Agent { agent, .. } if row.last_agent == Some(*agent) => {}
        Author::Agent { .. } | Author::Participant { .. } => return Err(valid::not_yours()),
        Author::Supervisor(principal) => valid::supervisor(d, principal)?,
    }
    if d.at_ms > until_ms {
        return Err(Rejection::TooLateToReopen { until_ms });
    }
    let Some(queue) = row.queue else {
        return Err(Rejection::NotEligible {
            why: "it was never admitted to a queue".to_owned(),
        });
    };
    let (was_in, queue) = (queue, admission::instead(d, queue)?);
    end_wrap_up(d, id)?;
    let (at_ms, arrival) = (d.at_ms, d.next_arrival());
    let row = d.conversation_mut(id)?;
    row.since_ms = at_ms;
    row.arrival = arrival;
    row.waiting_since_ms = at_ms;
    row.answered = false;
    row.customer_spoke = false;
    row.answered_at_ms = None;
    row.ended_at_ms = None;
    row.outcome = None;
    row.resolved = false;
    row.disposition = None;
    if let Some(rare) = &mut row.rare {
        (rare.callback, rare.promised) = (None, false);
        row.tidy();
    }
    if *by == Author::Customer {
        row.left_at_ms = None;
    }
    let last = row.last_agent;
    // Stale, from here on, is whatever was in flight for the life before.
    d.next_epoch(id)?;
    d.entry(id, EntryKind::Reopened)?;
    if queue != was_in {
        d.entry(id, EntryKind::Moved { queue })?;
    }
    d.enter(id, Stage::Waiting)?;
    let last = last.filter(|agent| arrive::may_come(d, *agent));
    arrive::prefer(d, id, last.map(|agent| (agent, limits::LAST_AGENT_WAIT_MS)))?;
    arrive::join(d, id, queue)?;
    arrive::wait(d, id)?;
    Ok(Receipt {
        seq: Some(d.conversation(id)?.last_seq),
        ..d.receipt_for(id)
    })
}

/// The window to reopen is over: it leaves the state.
pub(crate) fn archive(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::Archive)?;
    let view = Box::new(d.conversation(id)?.view());
    d.tell(Event::Archived { conversation: id, view });
    d.remove_conversation(id);
    Ok(d.receipt_for(id))
}

/// CSAT: what the customer says of whoever had it last; once, also while it is reopened, and after its end until it is archived.
pub(crate) fn rate(
    d: &mut Draft<'_>,
    id: ConversationId,
    rating: u8,
    comment: Option<&str>,
) -> Result<Receipt, Rejection> {
    if !(1..=limits::RATING_MAX).contains(&rating) {
        let why = format!("{rating} is none; a rating is 1 to {}", limits::RATING_MAX);
        return Err(valid::invalid("rating", why));
    }
    if let Some(comment) = comment {
        valid::at_most("length of the comment", comment.len(), limits::REMARK_MAX_BYTES)?;
    }
    let row = d.conversation(id)?;
    let (queue, agent) = (row.queue, row.last_agent);
    if agent.is_none() {
        return Err(valid::wrong_state(row, "answered by an agent"));
    }
    if row.rare.as_ref().is_some_and(|rare| rare.rating.is_some()) {
        return Err(Rejection::AlreadyExists {
            what: "a rating of this conversation".to_owned(),
        });
    }
    d.conversation_mut(id)?.rare_mut().rating = Some(rating);
    let comment = comment.map(str::to_owned);
    let seq = d.entry(id, EntryKind::Rated { rating, comment })?;
    d.tell(Event::Rated {
        conversation: id,
        queue,
        agent,
        rating,
    });
    Ok(Receipt {
        seq: Some(seq),
        ..d.receipt_for(id)
    })
}
