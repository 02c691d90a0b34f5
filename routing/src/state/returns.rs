//! A paused conversation goes on (R21), by its customer's message, or because somebody says so.
//!
//! - Its owner is here and has room: it is theirs again, under the same epoch.
//! - Otherwise the queue's `return_when_full` decides: it waits in its old place, for the owner alone for a while or for anybody;
//!   or it stays paused, and goes on by itself as soon as its owner is here and has room again: with the very command that
//!   makes the room, before anything else can take it, the oldest first.
//! - An owner who is offline is not waited for: it waits in its old place, for anybody.

use super::conversation::{Alarm, Stage};
use super::draft::Draft;
use super::{arrive, offers, silence};
use crate::event::{AgentItemKind, EntryKind, UnassignReason};
use crate::ids::{AgentId, Channel, ConversationId};
use crate::rejection::Rejection;
use crate::settings::ReturnWhenFull;
use crate::view::Presence;

pub(crate) fn go_on(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let (Stage::Paused { agent, .. }, Some(queue)) = (row.stage, row.queue) else {
        return Ok(());
    };
    if fits(d, id, agent)? {
        return to_the_owner(d, id);
    }
    let owner = d.agent(agent)?;
    let (gone, here) = (owner.presence == Presence::Offline, owner.here());
    let wait_ms = match d.queue(queue)?.settings.return_when_full {
        ReturnWhenFull::StayPaused if !gone => {
            d.conversation_mut(id)?.returns = true;
            return Ok(());
        }
        ReturnWhenFull::WaitForOwnerMs(wait_ms) if !gone => wait_ms,
        _ => 0,
    };
    d.entry(id, EntryKind::Resumed)?;
    let reason = match here {
        true => UnassignReason::OwnerFull,
        false => UnassignReason::Reassigned,
    };
    arrive::unassign(d, id, reason)?;
    arrive::prefer(d, id, Some((agent, wait_ms)))?;
    arrive::wait_anew(d, id)
}

fn fits(d: &Draft<'_>, id: ConversationId, agent: AgentId) -> Result<bool, Rejection> {
    let owner = d.agent(agent)?;
    Ok(owner.here() && offers::must_have_room(owner, agent, &d.conversation(id)?.channel).is_ok())
}

fn to_the_owner(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let Stage::Paused { agent, assigned_at_ms } = row.stage else {
        return Ok(());
    };
    let (epoch, awaiting, queue) = (row.epoch, row.awaiting_reply, row.queue);
    let (channel, customer) = (Channel::clone(&row.channel), (*row.customer).clone());
    let queue = queue.ok_or(Rejection::NothingOutstanding)?;
    d.entry(id, EntryKind::Resumed)?;
    let at_ms = d.at_ms;
    let row = d.enter(id, Stage::Assigned { agent, assigned_at_ms })?;
    row.last_agent = Some(agent);
    if awaiting && let Some(no_reply) = &d.queue(queue)?.settings.no_reply {
        let due_ms = at_ms.saturating_add(no_reply.after_ms);
        d.conversation_mut(id)?.set_alarm(Alarm::NoReply, due_ms);
    }
    silence::broken(d, id)?;
    d.agent_item(
        agent,
        AgentItemKind::Assigned {
            conversation: id,
            epoch,
            queue,
            channel,
            customer,
        },
    )
}

/// Something of the agent has changed: those that wait for their room, the oldest first.
pub(crate) fn to_whom_there_is_room(d: &mut Draft<'_>, agent: AgentId) -> Result<(), Rejection> {
    for id in returning(d, agent) {
        let row = d.conversation(id)?;
        let theirs = matches!(row.stage, Stage::Paused { agent: owner, .. } if owner == agent);
        if theirs && row.returns && fits(d, id, agent)? {
            to_the_owner(d, id)?;
        }
    }
    Ok(())
}

/// The owner has gone: those that wait for their room wait in their queue, before everything else (R30).
pub(crate) fn without_owner(d: &mut Draft<'_>, agent: AgentId, reason: &UnassignReason) -> Result<(), Rejection> {
    for id in returning(d, agent) {
        d.entry(id, EntryKind::Resumed)?;
        arrive::unassign(d, id, reason.clone())?;
        d.conversation_mut(id)?.expedited = true;
        arrive::wait_anew(d, id)?;
    }
    Ok(())
}

fn returning(d: &Draft<'_>, agent: AgentId) -> Vec<ConversationId> {
    let first = (agent, 0, 0, ConversationId(0));
    let last = (agent, u64::MAX, u64::MAX, ConversationId(u128::MAX));
    let all = d.base().index.returning.range(first..=last);
    all.map(|(_, _, _, id)| *id).collect()
}
