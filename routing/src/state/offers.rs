//! Offers and assignments (R10, R24): the state checks what was chosen, and fences it with an epoch (R36).

use std::sync::Arc;

use super::agent::{Agent, presence_word};
use super::arrive;
use super::conversation::{Alarm, Conversation, Stage};
use super::draft::{Draft, must_be_here};
use super::queue::Queue;
use super::{participants, presence, timers, valid};
use crate::command::{Explanation, Principal};
use crate::event::{AgentItemKind, EntryKind, Event, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, Channel, ConversationId, Epoch};
use crate::rejection::Rejection;
use crate::view::{NoRoom, Presence};

pub(crate) fn offer(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    explanation: &Explanation,
) -> Result<Receipt, Rejection> {
    valid::explanation(explanation)?;
    let row = d.conversation(id)?;
    if row.stage != Stage::Waiting {
        return Err(valid::wrong_state(row, "waiting"));
    }
    let queue = row.queue.ok_or_else(|| valid::wrong_state(row, "in a queue"))?;
    let serving = d.queue(queue)?;
    may_have(d.agent(agent)?, agent, row, &serving)?;
    let settings = serving.settings.clone();
    let epoch = d.next_epoch(id)?;
    d.conversation_mut(id)?.explanation = Some(Arc::new(explanation.clone()));
    if settings.auto_accept {
        assign(d, id, agent)?;
        return Ok(Receipt {
            epoch: Some(epoch),
            ..d.receipt_for(id)
        });
    }
    let deadline_ms = d.at_ms.saturating_add(settings.offer_timeout_ms);
    let stage = Stage::Offered {
        agent,
        offered_at_ms: d.at_ms,
        deadline_ms,
    };
    let row = d.enter(id, stage)?;
    row.set_alarm(Alarm::OfferDeadline, deadline_ms);
    let (channel, customer) = (Channel::clone(&row.channel), (*row.customer).clone());
    d.agent_item(
        agent,
        AgentItemKind::Offered {
            conversation: id,
            epoch,
            deadline_ms,
            queue,
            channel,
            customer,
        },
    )?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

/// R9.
pub(crate) fn offer_to_many(
    d: &mut Draft<'_>,
    id: ConversationId,
    agents: &[AgentId],
    explanation: &Explanation,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, agents, explanation);
    Err(valid::invalid("command", "not built yet"))
}

/// Whether this agent may be offered this conversation now; the same question that the queue manager asked, asked again where
/// the answer binds.
fn may_have(who: &Agent, agent: AgentId, row: &Conversation, queue: &Queue) -> Result<(), Rejection> {
    let no = |why: &str| Err(Rejection::NotEligible { why: why.to_owned() });
    if who.presence != Presence::Available {
        let is = presence_word(&who.presence).to_owned();
        return Err(Rejection::WrongPresence {
            is,
            needs: "available".to_owned(),
        });
    }
    if row.held() {
        return Err(Rejection::WrongState {
            is: "held".to_owned(),
            needs: "waiting".to_owned(),
        });
    }
    if row.excludes(agent) {
        return no("excluded");
    }
    match row.only {
        Some(only) if only != agent => return no("another agent is waited for"),
        // Named in person: neither queue nor skills are asked of them.
        Some(_) => {}
        None => {
            let Some(membership) = row.queue.and_then(|queue| who.settings.queues.get(&queue)) else {
                return no("does not serve the queue");
            };
            if !queue.rings_serving(row.rings).serve(membership.tier) {
                return no(&format!("ring {} is not open", membership.tier));
            }
            let able = |asked: &crate::settings::Requirement| {
                who.settings
                    .skills
                    .get(&asked.skill)
                    .is_some_and(|level| *level >= asked.level)
            };
            if let Some(lacking) = row.required.iter().find(|asked| !able(asked)) {
                return no(&format!("lacks skill {} at level {}", lacking.skill.0, lacking.level));
            }
        }
    }
    must_have_room(who, agent, &row.channel)
}

/// R17, R18, R19: no command raises a load above its capacity.
pub(crate) fn must_have_room(who: &Agent, agent: AgentId, channel: &Channel) -> Result<(), Rejection> {
    let why = match who.supply(agent).no_room(channel) {
        None => return Ok(()),
        Some(NoRoom::ChannelNotServed) => "does not serve the channel",
        Some(NoRoom::ChannelFull) => "has as many of this channel as allowed",
        Some(NoRoom::TotalFull) => "capacity is used up",
        Some(NoRoom::ExclusiveNeedsAll) => "it is exclusive and the agent has other work",
        Some(NoRoom::ExclusiveHeld) => "has exclusive work",
    };
    Err(Rejection::NoCapacity { why: why.to_owned() })
}

/// It is the agent's, under the current epoch.
pub(crate) fn assign(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<(), Rejection> {
    participants::becomes_owner(d, id, agent)?;
    let at_ms = d.at_ms;
    let row = d.enter(
        id,
        Stage::Assigned {
            agent,
            assigned_at_ms: at_ms,
        },
    )?;
    let first = !row.answered;
    // R33: who was put off did not wait meanwhile, whatever their age.
    let since_the_start = first && !row.promised();
    let waited_ms = at_ms.saturating_sub(if since_the_start {
        row.since_ms
    } else {
        row.waiting_since_ms
    });
    row.answered = true;
    row.answered_at_ms = row.answered_at_ms.or(Some(at_ms));
    row.last_agent = Some(agent);
    let (epoch, channel, customer) = (row.epoch, Channel::clone(&row.channel), (*row.customer).clone());
    let (awaiting, queue) = (row.awaiting_reply, row.queue);
    let queue = queue.ok_or(Rejection::NothingOutstanding)?;
    if awaiting && let Some(no_reply) = &d.queue(queue)?.settings.no_reply {
        let due_ms = at_ms.saturating_add(no_reply.after_ms);
        d.conversation_mut(id)?.set_alarm(Alarm::NoReply, due_ms);
    }
    d.agent_mut(agent)?.idle_since_ms = at_ms;
    d.entry(id, EntryKind::Joined { agent })?;
    d.tell(Event::Assigned {
        conversation: id,
        queue,
        agent,
        epoch,
        waited_ms,
        first,
    });
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

/// An offer is over, and the conversation waits again in its old place (R25). Exclusion and counting are the caller's.
pub(crate) fn end(d: &mut Draft<'_>, id: ConversationId, outcome: OfferOutcome) -> Result<(), Rejection> {
    announce_end(d, id, outcome)?;
    arrive::wait(d, id)
}

fn announce_end(d: &mut Draft<'_>, id: ConversationId, outcome: OfferOutcome) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let (
        Stage::Offered {
            agent, offered_at_ms, ..
        },
        Some(queue),
        epoch,
    ) = (row.stage, row.queue, row.epoch)
    else {
        return Err(Rejection::NothingOutstanding);
    };
    d.agent_item(
        agent,
        AgentItemKind::OfferEnded {
            conversation: id,
            epoch,
            outcome: outcome.clone(),
        },
    )?;
    d.tell(Event::OfferEnded {
        conversation: id,
        queue,
        agent,
        epoch,
        outcome,
        offered_at_ms,
    });
    Ok(())
}

/// The offer that (agent, epoch) names is outstanding; or why not.
fn outstanding(d: &Draft<'_>, id: ConversationId, agent: AgentId, epoch: Epoch) -> Result<(), Rejection> {
    d.agent(agent)?;
    let row = d.conversation(id)?;
    let over = |why: &str| Err(Rejection::OfferOver { why: why.to_owned() });
    match row.stage {
        Stage::Offered { agent: whose, .. } if whose == agent && epoch == row.epoch => Ok(()),
        _ if epoch > row.epoch => Err(Rejection::NothingOutstanding),
        Stage::Offered { .. } => over("another one has taken its place"),
        Stage::Waiting => over("it was declined, expired or withdrawn"),
        Stage::Assigned { agent: whose, .. }
        | Stage::Paused { agent: whose, .. }
        | Stage::WrapUp { agent: whose, .. } => {
            if whose == agent {
                over("the conversation is yours already")
            } else {
                Err(Rejection::OfferTaken)
            }
        }
        Stage::Closed { .. } => over("the conversation is closed"),
        Stage::Scheduled => over("the conversation was put off"),
    }
}

pub(crate) fn accept(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    epoch: Epoch,
) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    let yours_already =
        row.epoch == epoch && matches!(row.stage, Stage::Assigned { agent: whose, .. } if whose == agent);
    if !yours_already {
        outstanding(d, id, agent, epoch)?;
        announce_end(d, id, OfferOutcome::Accepted)?;
        d.agent_mut(agent)?.timeouts_in_a_row = 0;
        assign(d, id, agent)?;
    }
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

pub(crate) fn decline(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    epoch: Epoch,
    reason: &str,
) -> Result<Receipt, Rejection> {
    valid::text("reason", reason)?;
    outstanding(d, id, agent, epoch)?;
    d.agent_mut(agent)?.timeouts_in_a_row = 0;
    end(
        d,
        id,
        OfferOutcome::Declined {
            reason: reason.to_owned(),
        },
    )?;
    keep_from(d, id, agent)?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

/// R24: not offered to them again for as long as the queue says.
pub(crate) fn keep_from(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<(), Rejection> {
    let Some(queue) = d.conversation(id)?.queue else {
        return Ok(());
    };
    let for_ms = d.queue(queue)?.settings.decline_exclude_ms;
    let until_ms = d.at_ms.saturating_add(for_ms);
    let row = d.conversation_mut(id)?;
    if for_ms > 0 {
        row.exclude(agent, until_ms);
    }
    // Who was waited for alone has said no: waiting on for them would wait for nobody.
    if row.only == Some(agent) {
        row.only = None;
        row.clear_alarm(Alarm::PreferenceEnd);
    }
    Ok(())
}

/// R24: no answer in time.
pub(crate) fn expire(d: &mut Draft<'_>, id: ConversationId, epoch: Epoch) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, Some(epoch), Alarm::OfferDeadline)?;
    let row = d.conversation(id)?;
    let (Stage::Offered { agent, .. }, Some(queue)) = (row.stage, row.queue) else {
        return Err(Rejection::NothingOutstanding);
    };
    let until_away = d.queue(queue)?.settings.timeouts_until_away;
    end(d, id, OfferOutcome::Expired)?;
    keep_from(d, id, agent)?;
    let who = d.agent_mut(agent)?;
    who.timeouts_in_a_row = who.timeouts_in_a_row.saturating_add(1);
    if until_away > 0 && who.timeouts_in_a_row >= until_away && who.presence == Presence::Available {
        who.timeouts_in_a_row = 0;
        presence::set(d, agent, Presence::Away(presence::OFFER_TIMEOUTS.to_owned()))?;
    }
    Ok(d.receipt_for(id))
}

/// R10: the agent takes it.
pub(crate) fn pull(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    let who = d.agent(agent)?;
    must_be_here(who)?;
    if !(who.settings.may_pull || who.settings.supervisor) {
        return Err(Rejection::NotPermitted {
            why: "the agent may not pull".to_owned(),
        });
    }
    if row.stage != Stage::Waiting {
        return Err(valid::wrong_state(row, "waiting"));
    }
    if row.queue.is_none_or(|queue| !who.settings.queues.contains_key(&queue)) && !who.settings.supervisor {
        return Err(Rejection::NotEligible {
            why: "does not serve the queue".to_owned(),
        });
    }
    must_have_room(who, agent, &row.channel)?;
    let epoch = d.next_epoch(id)?;
    assign(d, id, agent)?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

/// R10: given by hand, also when somebody else has it or is offered it.
pub(crate) fn assign_by_hand(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    by: &Principal,
) -> Result<Receipt, Rejection> {
    valid::supervisor(d, by)?;
    let row = d.conversation(id)?;
    if !row.open() || row.queue.is_none() {
        return Err(valid::wrong_state(row, "open"));
    }
    let stage = row.stage;
    if matches!(stage, Stage::Assigned { agent: owner, .. } | Stage::Paused { agent: owner, .. } if owner == agent) {
        return Err(valid::wrong_state(row, "with another agent"));
    }
    must_be_here(d.agent(agent)?)?;
    match stage {
        Stage::Offered { .. } => end(
            d,
            id,
            OfferOutcome::Withdrawn {
                why: "assigned by hand".to_owned(),
            },
        )?,
        Stage::Assigned { .. } | Stage::Paused { .. } => {
            arrive::unassign(d, id, UnassignReason::Reassigned)?;
            let at_ms = d.at_ms;
            d.conversation_mut(id)?.waiting_since_ms = at_ms;
        }
        _ => {}
    }
    // Asked after the offer's end: it may have been to them.
    let channel = d.conversation(id)?.channel.clone();
    must_have_room(d.agent(agent)?, agent, &channel)?;
    let epoch = d.next_epoch(id)?;
    assign(d, id, agent)?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}
