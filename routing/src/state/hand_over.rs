//! From hand to hand: pause and resume (R21), transfer (R31), override (R16), no reply (R26).

use super::conversation::{Alarm, Stage};
use super::draft::Draft;
use super::{admission, arrive, offers, returns, timers, valid};
use crate::command::{Author, Override, Principal, TransferTarget};
use crate::event::{EntryKind, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, ConversationId, Epoch};
use crate::rejection::Rejection;

pub(crate) fn pause(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, epoch: Epoch) -> Result<Receipt, Rejection> {
    let Stage::Assigned { .. } = valid::owner(d, id, agent, epoch)? else {
        return Err(valid::wrong_state(d.conversation(id)?, "assigned"));
    };
    rests(d, id)?;
    Ok(Receipt {
        seq: Some(d.conversation(id)?.last_seq),
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

/// R21: it keeps its owner and frees their capacity.
pub(crate) fn rests(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let Stage::Assigned { agent, assigned_at_ms } = d.conversation(id)?.stage else {
        return Err(Rejection::NothingOutstanding);
    };
    d.entry(id, EntryKind::Paused)?;
    d.enter(id, Stage::Paused { agent, assigned_at_ms })?;
    Ok(())
}

pub(crate) fn resume(d: &mut Draft<'_>, id: ConversationId, by: &Author) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    let Stage::Paused { agent: owner, .. } = row.stage else {
        return Err(valid::wrong_state(row, "paused"));
    };
    match by {
        Author::Customer => arrive::is_present(d, id)?,
        Author::System => {}
        Author::Supervisor(principal) => valid::supervisor(d, principal)?,
        Author::Participant { .. } => return Err(valid::not_yours()),
        Author::Agent { agent, epoch } => {
            valid::owner(d, id, *agent, *epoch)?;
            super::draft::must_be_here(d.agent(owner)?)?;
            offers::must_have_room(d.agent(owner)?, owner, &d.conversation(id)?.channel)?;
        }
    }
    returns::go_on(d, id)?;
    let row = d.conversation(id)?;
    Ok(Receipt {
        seq: Some(row.last_seq),
        epoch: Some(row.epoch),
        ..d.receipt_for(id)
    })
}

pub(crate) fn transfer(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: AgentId,
    epoch: Epoch,
    target: &TransferTarget,
) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    let supervised = d.agent(by)?.settings.supervisor;
    let stage = row.stage;
    match stage {
        Stage::Assigned { .. } | Stage::Paused { .. } if supervised => valid::current(row, epoch)?,
        _ => _ = valid::owner(d, id, by, epoch)?,
    }
    let (Some(from), Some(old_queue)) = (stage.agent(), d.conversation(id)?.queue) else {
        return Err(valid::wrong_state(d.conversation(id)?, "assigned"));
    };
    let exclude_ms = d.queue(old_queue)?.settings.decline_exclude_ms;
    match *target {
        TransferTarget::Agent { agent, wait_ms } => {
            d.agent(agent)?;
            valid::duration("wait_ms", wait_ms)?;
            if agent == from {
                return Err(Rejection::NotEligible {
                    why: "it is theirs already".to_owned(),
                });
            }
            arrive::unassign(d, id, UnassignReason::Transferred)?;
            offers::keep_from(d, id, from, exclude_ms)?;
            arrive::prefer(d, id, Some((agent, wait_ms)))?;
            // A decline of long ago does not stand against being asked for by name.
            let row = d.conversation_mut(id)?;
            row.readmit(agent);
            arrive::wait_anew(d, id)?;
        }
        TransferTarget::Queue(queue) => {
            d.queue(queue)?;
            let queue = match queue == old_queue {
                true => queue,
                false => admission::instead(d, queue)?,
            };
            arrive::unassign(d, id, UnassignReason::Transferred)?;
            offers::keep_from(d, id, from, exclude_ms)?;
            d.entry(id, EntryKind::Moved { queue })?;
            let at_ms = d.at_ms;
            d.conversation_mut(id)?.waiting_since_ms = at_ms;
            arrive::join(d, id, queue)?;
            arrive::wait(d, id)?;
        }
    }
    let row = d.conversation(id)?;
    Ok(Receipt {
        seq: Some(row.last_seq),
        epoch: Some(row.epoch),
        ..d.receipt_for(id)
    })
}

/// R16.
pub(crate) fn change(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: &Principal,
    change: &Override,
) -> Result<Receipt, Rejection> {
    valid::supervisor(d, by)?;
    let row = d.conversation(id)?;
    if !row.open() {
        return Err(valid::wrong_state(row, "open"));
    }
    let (waits, offered) = (row.in_queue(), matches!(row.stage, Stage::Offered { .. }));
    match *change {
        Override::Priority(priority) => {
            valid::priority(priority)?;
            d.conversation_mut(id)?.priority = priority;
        }
        _ if !waits => return Err(valid::wrong_state(row, "waiting")),
        Override::Expedite => d.conversation_mut(id)?.expedited = true,
        Override::Move(queue) => {
            d.queue(queue)?;
            if offered {
                offers::end(
                    d,
                    id,
                    OfferOutcome::Withdrawn {
                        why: "moved".to_owned(),
                    },
                )?;
            }
            d.entry(id, EntryKind::Moved { queue })?;
            arrive::join(d, id, queue)?;
            arrive::wait(d, id)?;
        }
    }
    Ok(d.receipt_for(id))
}

/// R26: the agent has not answered: back to the queue, in the old place.
pub(crate) fn no_reply(d: &mut Draft<'_>, id: ConversationId, epoch: Epoch) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, Some(epoch), Alarm::NoReply)?;
    let row = d.conversation(id)?;
    let (Stage::Assigned { agent, .. }, Some(queue)) = (row.stage, row.queue) else {
        return Err(Rejection::NothingOutstanding);
    };
    let exclude_ms = d
        .queue(queue)?
        .settings
        .no_reply
        .as_ref()
        .map_or(0, |no_reply| no_reply.exclude_ms);
    arrive::unassign(d, id, UnassignReason::NoReply)?;
    if exclude_ms > 0 {
        let until_ms = d.at_ms.saturating_add(exclude_ms);
        d.conversation_mut(id)?.exclude(agent, until_ms);
    }
    arrive::wait_anew(d, id)?;
    Ok(d.receipt_for(id))
}
