//! Offers and assignments (R9, R10, R24): the state checks what was chosen, and fences it with an epoch (R36).
//!
//! - To several at once (R9): all under one epoch and one deadline. The first to accept has it, the others' offers end as
//!   `taken_by_another`, and a late accept is refused `offer_taken`. A decline, or an agent who goes, ends that one's offer alone;
//!   the deadline ends all of them, and counts against each. What takes the conversation away ends all.
//! - An offer finishes under the terms it was made with ([`OfferTerms`]): its deadline, for how long who declines it or lets it
//!   pass is passed over, and after how many timeouts the agent goes away. Settings that change meanwhile hold from the
//!   next offer on.

use std::sync::Arc;

use super::agent::{Agent, presence_word};
use super::arrive;
use super::conversation::{Alarm, Conversation, OfferTerms, Stage};
use super::draft::{Draft, must_be_here};
use super::queue::Queue;
use super::{participants, presence, silence, timers, valid};
use crate::command::{Explanation, Principal};
use crate::event::{AgentItemKind, EntryKind, Event, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, Channel, ConversationId, Epoch, Millis};
use crate::known_bugs;
use crate::limits;
use crate::rejection::Rejection;
use crate::view::{NoRoom, Presence};

pub(crate) fn offer(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    explanation: &Explanation,
) -> Result<Receipt, Rejection> {
    valid::explanation(explanation)?;
    let (row, serving) = waiting(d, id)?;
    may_have(d.agent(agent)?, agent, row, &serving, d.at_ms)?;
    make(d, id, &[agent], explanation)
}

/// R9: to those of them who may have it still; refused, for the cause of the first, when that is nobody. Under one epoch and
/// one deadline: each takes capacity until the offer to them ends, the first to accept has it.
pub(crate) fn offer_to_many(
    d: &mut Draft<'_>,
    id: ConversationId,
    agents: &[AgentId],
    explanation: &Explanation,
) -> Result<Receipt, Rejection> {
    valid::explanation(explanation)?;
    valid::at_most("number of agents", agents.len(), limits::OFFERS_AT_ONCE_MAX)?;
    let twice = |(at, agent): (usize, &AgentId)| agents[..at].contains(agent);
    if agents.is_empty() || agents.iter().enumerate().any(twice) {
        return Err(valid::invalid("agents", "name at least one, and each once"));
    }
    let (row, serving) = waiting(d, id)?;
    let (mut able, mut refusal) = (Vec::with_capacity(agents.len()), None);
    for agent in agents {
        match d
            .agent(*agent)
            .and_then(|who| may_have(who, *agent, row, &serving, d.at_ms))
        {
            Ok(()) => able.push(*agent),
            Err(why) => _ = refusal.get_or_insert(why),
        }
    }
    match refusal {
        Some(why) if able.is_empty() => Err(why),
        _ => make(d, id, &able, explanation),
    }
}

fn waiting<'d>(d: &'d Draft<'_>, id: ConversationId) -> Result<(&'d Conversation, Arc<Queue>), Rejection> {
    let row = d.conversation(id)?;
    match (row.stage, row.queue) {
        (Stage::Waiting, Some(queue)) => Ok((row, d.queue(queue)?)),
        (Stage::Waiting, None) => Err(valid::wrong_state(row, "in a queue")),
        _ => Err(valid::wrong_state(row, "waiting")),
    }
}

/// The offer to one or several who may have it, the best first; where the queue does not ask, it is the best one's.
fn make(
    d: &mut Draft<'_>,
    id: ConversationId,
    agents: &[AgentId],
    explanation: &Explanation,
) -> Result<Receipt, Rejection> {
    let (Some(&first), Some(queue)) = (agents.first(), d.conversation(id)?.queue) else {
        return Err(Rejection::NothingOutstanding);
    };
    let of = d.queue(queue)?;
    let epoch = d.next_epoch(id)?;
    let (asked, counted) = (
        if of.settings.auto_accept { &agents[..1] } else { agents },
        d.conversation(id)?.only.is_none(),
    );
    for agent in asked.iter().filter(|_| counted) {
        let at_ms = d.at_ms;
        d.agent_mut(*agent)?.paced(at_ms);
    }
    let policy_version = d.base().policy_version();
    let row = d.conversation_mut(id)?;
    row.explanation = Some(Arc::new(explanation.clone()));
    row.terms = OfferTerms {
        policy_version,
        exclude_ms: of.settings.decline_exclude_ms,
        timeouts_until_away: of.settings.timeouts_until_away,
    };
    let receipt = Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    };
    if of.settings.auto_accept {
        assign(d, id, first)?;
        return Ok(receipt);
    }
    let deadline_ms = d.at_ms.saturating_add(of.settings.offer_timeout_ms);
    let stage = Stage::Offered {
        agent: first,
        offered_at_ms: d.at_ms,
        deadline_ms,
    };
    d.enter(id, stage)?.set_alarm(Alarm::OfferDeadline, deadline_ms);
    d.occupying(id, |row| {
        row.also_offered = agents[1..].to_vec();
        row.also_offered.sort_unstable();
    })?;
    let row = d.conversation(id)?;
    let (channel, customer) = (Channel::clone(&row.channel), (*row.customer).clone());
    for agent in agents {
        d.agent_item(
            *agent,
            AgentItemKind::Offered {
                conversation: id,
                epoch,
                deadline_ms,
                queue,
                channel: channel.clone(),
                customer: customer.clone(),
            },
        )?;
    }
    Ok(receipt)
}

/// Whether this agent may be offered this conversation now; the same question that the queue manager asked, asked again where
/// the answer binds.
fn may_have(who: &Agent, agent: AgentId, row: &Conversation, queue: &Queue, at_ms: Millis) -> Result<(), Rejection> {
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
            let attributes = &who.settings.attributes;
            if let Some(failed) = row.selectors.iter().find(|selector| !selector.holds(attributes)) {
                return no(&format!("fails the selector on attribute {}", failed.attribute));
            }
            if let Some(lacking) = row.required.iter().find(|asked| !able(asked)) {
                return no(&format!("lacks skill {} at level {}", lacking.skill.0, lacking.level));
            }
        }
    }
    // R22 is for what comes of itself.
    match row.only {
        Some(_) => must_have_room(who, agent, &row.channel),
        None => no_capacity(who.supply(agent).no_room_at(&row.channel, at_ms)),
    }
}

/// R17–R20: no command raises a load above its capacity.
pub(crate) fn must_have_room(who: &Agent, agent: AgentId, channel: &Channel) -> Result<(), Rejection> {
    no_capacity(who.supply(agent).no_room(channel))
}

fn no_capacity(why: Option<NoRoom>) -> Result<(), Rejection> {
    let why = match why {
        None => return Ok(()),
        // A known bug, for the tests of the tests.
        Some(_) if known_bugs::put_in("routing::capacity_unchecked") => return Ok(()),
        Some(NoRoom::InterruptibleFull) => "capacity for interruptible work is used up",
        Some(NoRoom::RateReached) => "has been offered as much as the rate allows",
        Some(NoRoom::WarmingUp) => "has signed in a short while ago and is warming up",
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
    silence::broken(d, id)?;
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

/// An offer is over for everybody, and the conversation waits again in its old place (R25). Exclusion and counting are the
/// caller's.
pub(crate) fn end(d: &mut Draft<'_>, id: ConversationId, outcome: OfferOutcome) -> Result<(), Rejection> {
    for agent in d.conversation(id)?.offered_to() {
        announce_end(d, id, agent, outcome.clone())?;
    }
    arrive::wait(d, id)
}

/// An offer is over for one agent. The others' stand; when it was the last, the conversation waits again in its old place.
pub(crate) fn end_for(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    outcome: OfferOutcome,
) -> Result<(), Rejection> {
    announce_end(d, id, agent, outcome)?;
    if d.conversation(id)?.also_offered.is_empty() {
        return arrive::wait(d, id);
    }
    d.occupying(id, |row| {
        let Stage::Offered { agent: first, .. } = &mut row.stage else {
            return;
        };
        match row.also_offered.binary_search(&agent) {
            Ok(at) => _ = row.also_offered.remove(at),
            Err(_) => *first = row.also_offered.remove(0),
        }
    })
}

fn announce_end(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, outcome: OfferOutcome) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let (Stage::Offered { offered_at_ms, .. }, Some(queue), epoch) = (row.stage, row.queue, row.epoch) else {
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
        Stage::Offered { .. } if epoch == row.epoch && row.is_offered_to(agent) => Ok(()),
        // A known bug, for the tests of the tests.
        Stage::Offered { .. } if known_bugs::put_in("routing::offer_unchecked") => Ok(()),
        _ if epoch > row.epoch => Err(Rejection::NothingOutstanding),
        Stage::Offered { .. } if epoch == row.epoch => over("it is offered to others"),
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
        announce_end(d, id, agent, OfferOutcome::Accepted)?;
        for other in d
            .conversation(id)?
            .offered_to()
            .into_iter()
            .filter(|other| *other != agent)
        {
            announce_end(d, id, other, OfferOutcome::TakenByAnother)?;
        }
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
    let outcome = OfferOutcome::Declined {
        reason: reason.to_owned(),
    };
    end_for(d, id, agent, outcome)?;
    let for_ms = d.conversation(id)?.terms.exclude_ms;
    keep_from(d, id, agent, for_ms)?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

/// R24: not offered to them again for so long.
pub(crate) fn keep_from(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, for_ms: u64) -> Result<(), Rejection> {
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
    let (agents, terms) = (row.offered_to(), row.terms);
    end(d, id, OfferOutcome::Expired)?;
    for agent in agents {
        keep_from(d, id, agent, terms.exclude_ms)?;
        let who = d.agent_mut(agent)?;
        who.timeouts_in_a_row = who.timeouts_in_a_row.saturating_add(1);
        let often = terms.timeouts_until_away > 0 && who.timeouts_in_a_row >= terms.timeouts_until_away;
        if often && who.presence == Presence::Available {
            who.timeouts_in_a_row = 0;
            presence::set(d, agent, Presence::Away(presence::OFFER_TIMEOUTS.to_owned()))?;
        }
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
