//! Who takes part beside customer and owner (R31): consult, confer, monitor, whisper, barge, and the warm transfer.
//!
//! What the words of the commands leave open:
//!
//! - Consulted and conferring agents are the owner's guests: they take part while it is assigned or paused, and leave when it goes
//!   back to a queue, to another agent by a cold transfer or by hand, is put off or closed. Supervisors stay until it is closed.
//! - An invitation is its owner's: it ends with the ownership. Like an offer, it may be answered until it has been expired.
//! - The owner may change a guest from one role to the other by inviting them again: nothing is asked, their room is taken already.
//! - A warm transfer hands everything over but the invitations; the other participants stay.
//! - When the owner is lost (lease ended, signed out), the agent who has conferred for longest and is here becomes the owner: the
//!   customer is talking to them. Without one it is requeued.
//! - A suspect's part is kept, like their conversations; the end of the lease ends it.
//! - A conferring agent's message is an agent's answer (R26, first reply); a supervisor's is not: the owner still owes one.

use super::agent::presence_word;
use super::conversation::{Alarm, Conversation, Stage};
use super::draft::{Draft, must_be_here};
use super::{arrive, offers, timers, valid};
use crate::command::{Body, Role};
use crate::event::{AgentItemKind, EntryKind, Event, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, ConversationId, Epoch, Millis};
use crate::limits;
use crate::rejection::Rejection;

impl Conversation {
    /// R31: as what an agent takes part beside the owner.
    pub fn role_of(&self, agent: AgentId) -> Option<Role> {
        let all = &self.rare.as_ref()?.participants;
        all.iter().find(|(who, _)| *who == agent).map(|(_, role)| *role)
    }

    /// R31: as what an agent is asked in, and until when.
    pub fn invitation_of(&self, agent: AgentId) -> Option<(Role, Millis)> {
        let all = &self.rare.as_ref()?.invited;
        let found = all.iter().find(|(who, _, _)| *who == agent);
        found.map(|&(_, role, until_ms)| (role, until_ms))
    }

    /// In order of joining.
    fn participants(&self) -> Vec<(AgentId, Role)> {
        self.rare
            .as_ref()
            .map(|rare| rare.participants.clone())
            .unwrap_or_default()
    }

    /// Who owns it: assigned or paused.
    pub fn owner(&self) -> Option<AgentId> {
        match self.stage {
            Stage::Assigned { agent, .. } | Stage::Paused { agent, .. } => Some(agent),
            _ => None,
        }
    }

    fn must_have_place(&self) -> Result<(), Rejection> {
        let taken = self
            .rare
            .as_ref()
            .map_or(0, |rare| rare.participants.len() + rare.invited.len());
        valid::at_most("number of participants", taken + 1, limits::PARTICIPANTS_MAX)
    }
}

/// A role's name in refusals and reasons.
fn word(role: Role) -> &'static str {
    match role {
        Role::Consult => "consult",
        Role::Conference => "conference",
        Role::Monitor => "monitor",
        Role::Whisper => "whisper",
        Role::Barge => "barge",
    }
}

fn not_eligible(why: impl Into<String>) -> Rejection {
    Rejection::NotEligible { why: why.into() }
}

// ---- agents, at the owner's wish

pub(crate) fn invite(
    d: &mut Draft<'_>,
    id: ConversationId,
    (by, epoch): (AgentId, Epoch),
    agent: AgentId,
    role: Role,
) -> Result<Receipt, Rejection> {
    if role.supervises() {
        let why = format!(
            "{} is a supervisor's; an invitation is to consult or to confer",
            word(role)
        );
        return Err(valid::invalid("role", why));
    }
    valid::owner(d, id, by, epoch)?;
    if agent == by {
        return Err(not_eligible("the agent owns the conversation"));
    }
    let who = d.agent(agent)?;
    must_be_here(who)?;
    let row = d.conversation(id)?;
    let deadline_ms = match (row.role_of(agent), row.invitation_of(agent)) {
        (Some(is), _) if is == role || is.supervises() => {
            return Err(not_eligible(format!("the agent takes part already: {}", word(is))));
        }
        (Some(_), _) => {
            change_role(d, id, agent, role)?;
            return Ok(Receipt {
                epoch: Some(epoch),
                ..d.receipt_for(id)
            });
        }
        (None, Some((is, until_ms))) => {
            let why = format!("the agent is asked in already: {}, until {until_ms}", word(is));
            return Err(not_eligible(why));
        }
        (None, None) => {
            row.must_have_place()?;
            offers::must_have_room(who, agent, &row.channel)?;
            let queue = row.queue.ok_or(Rejection::NothingOutstanding)?;
            let timeout_ms = match d.queue(queue)?.settings.offer_timeout_ms {
                0 => limits::INVITATION_MS,
                timeout_ms => timeout_ms,
            };
            d.at_ms.saturating_add(timeout_ms)
        }
    };
    let row = d.conversation_mut(id)?;
    let invited = &mut row.rare_mut().invited;
    let at = invited.partition_point(|(who, _, _)| *who < agent);
    invited.insert(at, (agent, role, deadline_ms));
    row.set_alarm(Alarm::InvitationEnd(agent), deadline_ms);
    d.agent_item(
        agent,
        AgentItemKind::Invited {
            conversation: id,
            role,
            by,
            deadline_ms,
        },
    )?;
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

pub(crate) fn answer(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    accept: bool,
) -> Result<Receipt, Rejection> {
    let who = d.agent(agent)?;
    let row = d.conversation(id)?;
    let Some((role, _)) = row.invitation_of(agent) else {
        return match row.role_of(agent) {
            // Said twice.
            Some(role) if accept && !role.supervises() => Ok(d.receipt_for(id)),
            _ => Err(Rejection::OfferOver {
                why: "the agent is not asked in, or not any more".to_owned(),
            }),
        };
    };
    if !accept {
        let reason = String::new();
        end_invitation(d, id, agent, OfferOutcome::Declined { reason })?;
        return Ok(d.receipt_for(id));
    }
    must_be_here(who)?;
    offers::must_have_room(who, agent, &row.channel)?;
    end_invitation(d, id, agent, OfferOutcome::Accepted)?;
    come_in(d, id, agent, role)?;
    let at_ms = d.at_ms;
    d.agent_mut(agent)?.idle_since_ms = at_ms;
    let seq = d.conversation(id)?.last_seq;
    Ok(Receipt {
        seq: Some(seq),
        ..d.receipt_for(id)
    })
}

/// No answer in time.
pub(crate) fn invitation_end(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::InvitationEnd(agent))?;
    end_invitation(d, id, agent, OfferOutcome::Expired)?;
    Ok(d.receipt_for(id))
}

pub(crate) fn remove(
    d: &mut Draft<'_>,
    id: ConversationId,
    (by, epoch): (AgentId, Epoch),
    agent: AgentId,
) -> Result<Receipt, Rejection> {
    valid::owner(d, id, by, epoch)?;
    let row = d.conversation(id)?;
    match (row.role_of(agent), row.invitation_of(agent)) {
        (Some(role), _) if role.supervises() => {
            return Err(Rejection::NotPermitted {
                why: "a supervisor goes of themself".to_owned(),
            });
        }
        (Some(_), _) => go(d, id, agent, "removed")?,
        (None, Some(_)) => {
            let why = "taken back".to_owned();
            end_invitation(d, id, agent, OfferOutcome::Withdrawn { why })?;
        }
        (None, None) => return Err(Rejection::NotAParticipant),
    }
    Ok(Receipt {
        epoch: Some(epoch),
        ..d.receipt_for(id)
    })
}

/// Warm transfer: whoever was asked in has it now, under a new epoch, in its old age. Their load stays what it is.
pub(crate) fn complete_transfer(
    d: &mut Draft<'_>,
    id: ConversationId,
    (by, epoch): (AgentId, Epoch),
    to: AgentId,
) -> Result<Receipt, Rejection> {
    valid::owner(d, id, by, epoch)?;
    match d.conversation(id)?.role_of(to) {
        None => return Err(Rejection::NotAParticipant),
        Some(role) if role.supervises() => {
            let why = format!(
                "the agent takes part as {}; a warm transfer goes to who was invited",
                word(role)
            );
            return Err(not_eligible(why));
        }
        Some(_) => must_be_here(d.agent(to)?)?,
    }
    hand_to(d, id, to, UnassignReason::Transferred)?;
    let row = d.conversation(id)?;
    Ok(Receipt {
        seq: Some(row.last_seq),
        epoch: Some(row.epoch),
        ..d.receipt_for(id)
    })
}

/// From its owner to one who takes part.
fn hand_to(d: &mut Draft<'_>, id: ConversationId, to: AgentId, reason: UnassignReason) -> Result<(), Rejection> {
    end_invitations(d, id, &format!("the owner has left ({})", reason_word(&reason)))?;
    arrive::lose_owner(d, id, reason)?;
    let at_ms = d.at_ms;
    d.conversation_mut(id)?.waiting_since_ms = at_ms;
    offers::assign(d, id, to)
}

// ---- supervisors

pub(crate) fn join_as(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, role: Role) -> Result<Receipt, Rejection> {
    if !role.supervises() {
        let why = format!(
            "{} is by invitation; a supervisor joins to monitor, whisper or barge",
            word(role)
        );
        return Err(valid::invalid("role", why));
    }
    let who = d.agent(agent)?;
    if !who.settings.supervisor {
        return Err(Rejection::NotPermitted {
            why: "only a supervisor may join without an invitation".to_owned(),
        });
    }
    must_be_here(who)?;
    let row = d.conversation(id)?;
    if !row.open() {
        return Err(valid::wrong_state(row, "open"));
    }
    if row.owner() == Some(agent) {
        return Err(not_eligible("the agent owns the conversation"));
    }
    if row.invitation_of(agent).is_some() {
        return Err(not_eligible("the agent is asked in: that is to be answered first"));
    }
    match row.role_of(agent) {
        Some(is) if is == role => return Ok(d.receipt_for(id)),
        Some(is) if !is.supervises() => {
            let why = format!("the agent takes part as {}: to be left first", word(is));
            return Err(not_eligible(why));
        }
        Some(_) => change_role(d, id, agent, role)?,
        None => {
            row.must_have_place()?;
            come_in(d, id, agent, role)?;
        }
    }
    Ok(Receipt {
        seq: Some(d.conversation(id)?.last_seq),
        ..d.receipt_for(id)
    })
}

// ---- all of them

pub(crate) fn leave(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<Receipt, Rejection> {
    d.agent(agent)?;
    let row = d.conversation(id)?;
    if row.owner() == Some(agent) {
        return Err(not_eligible(
            "the agent owns the conversation: it is closed, transferred or put off",
        ));
    }
    if row.role_of(agent).is_none() {
        return Err(Rejection::NotAParticipant);
    }
    go(d, id, agent, "left")?;
    Ok(Receipt {
        seq: Some(d.conversation(id)?.last_seq),
        ..d.receipt_for(id)
    })
}

pub(crate) fn whisper(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    body: &Body,
) -> Result<Receipt, Rejection> {
    valid::body(body)?;
    d.agent(agent)?;
    let row = d.conversation(id)?;
    if !row.open() {
        return Err(valid::wrong_state(row, "open"));
    }
    match row.role_of(agent) {
        _ if row.owner() == Some(agent) => {}
        None => return Err(Rejection::NotAParticipant),
        Some(role) if role.whispers() => {}
        Some(_) => {
            return Err(Rejection::NotPermitted {
                why: "who monitors writes nothing: to whisper or barge comes first".to_owned(),
            });
        }
    }
    let body = body.clone();
    let seq = d.entry(id, EntryKind::Whisper { agent, body })?;
    Ok(Receipt {
        seq: Some(seq),
        ..d.receipt_for(id)
    })
}

/// Whether this participant may write to the customer; and whether that answers for the agents.
pub(crate) fn may_speak(d: &Draft<'_>, id: ConversationId, agent: AgentId) -> Result<bool, Rejection> {
    d.agent(agent)?;
    match d.conversation(id)?.role_of(agent) {
        None => Err(Rejection::NotAParticipant),
        Some(role) if role.speaks() => Ok(!role.supervises()),
        Some(role) => Err(Rejection::NotPermitted {
            why: format!(
                "who takes part as {} does not write to the customer: conference and barge do",
                word(role)
            ),
        }),
    }
}

// ---- when something happens to the conversation or to them

/// The owner's guests leave with the owner.
pub(crate) fn guests_leave(d: &mut Draft<'_>, id: ConversationId, reason: &UnassignReason) -> Result<(), Rejection> {
    let why = reason_word(reason);
    end_invitations(d, id, why)?;
    for (agent, role) in d.conversation(id)?.participants() {
        if !role.supervises() {
            go(d, id, agent, why)?;
        }
    }
    Ok(())
}

/// It is closed.
pub(crate) fn all_leave(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    end_invitations(d, id, "closed")?;
    for (agent, _) in d.conversation(id)?.participants() {
        go(d, id, agent, "closed")?;
    }
    Ok(())
}

/// The owner is lost: whoever has conferred for longest and is here has it now. Whether there was one.
pub(crate) fn succeed(d: &mut Draft<'_>, id: ConversationId, reason: &UnassignReason) -> Result<bool, Rejection> {
    let conferring = d.conversation(id)?.participants();
    let next = conferring
        .into_iter()
        .find(|(agent, role)| *role == Role::Conference && d.agent(*agent).is_ok_and(|row| row.here()));
    if let Some((next, _)) = next {
        hand_to(d, id, next, reason.clone())?;
    }
    Ok(next.is_some())
}

/// Who takes part gets it for their own: their part is over.
pub(crate) fn becomes_owner(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<(), Rejection> {
    go(d, id, agent, "owns it now")
}

/// They are gone, by their own wish or not: from a part, or from an invitation.
pub(crate) fn is_offline(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<(), Rejection> {
    let is = presence_word(&d.agent(agent)?.presence);
    if d.conversation(id)?.invitation_of(agent).is_some() {
        let why = format!("agent is {is}");
        end_invitation(d, id, agent, OfferOutcome::Withdrawn { why })?;
    }
    go(d, id, agent, is)
}

/// Is a supervisor no more.
pub(crate) fn loses_rights(d: &mut Draft<'_>, agent: AgentId) -> Result<(), Rejection> {
    let theirs: Vec<_> = d.base().conversations_of_agent(agent).collect();
    for id in theirs {
        if d.conversation(id)?.role_of(agent).is_some_and(Role::supervises) {
            go(d, id, agent, "no longer a supervisor")?;
        }
    }
    Ok(())
}

// ---- steps

fn come_in(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, role: Role) -> Result<(), Rejection> {
    d.occupying(id, |row| row.rare_mut().participants.push((agent, role)))?;
    announce(d, id, agent, role)
}

/// At the end of the order: who came to confer last is the last to follow the owner.
fn change_role(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, role: Role) -> Result<(), Rejection> {
    let before = d.conversation(id)?.role_of(agent);
    d.occupying(id, |row| {
        let all = &mut row.rare_mut().participants;
        all.retain(|(who, _)| *who != agent);
        all.push((agent, role));
    })?;
    // The customer saw them come, and would never see them go.
    if let Some(before) = before.filter(|before| before.for_customer() && !role.for_customer()) {
        d.entry(id, EntryKind::ParticipantLeft { agent, role: before })?;
    }
    announce(d, id, agent, role)
}

fn announce(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, role: Role) -> Result<(), Rejection> {
    d.entry(id, EntryKind::ParticipantJoined { agent, role })?;
    d.tell(Event::Participant {
        conversation: id,
        agent,
        role,
        joined: true,
    });
    d.agent_item(agent, AgentItemKind::Joined { conversation: id, role })
}

/// Takes part no longer; nothing when they do not.
fn go(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, why: &str) -> Result<(), Rejection> {
    let Some(role) = d.conversation(id)?.role_of(agent) else {
        return Ok(());
    };
    d.occupying(id, |row| {
        row.rare_mut().participants.retain(|(who, _)| *who != agent);
        row.tidy();
    })?;
    d.entry(id, EntryKind::ParticipantLeft { agent, role })?;
    d.tell(Event::Participant {
        conversation: id,
        agent,
        role,
        joined: false,
    });
    d.agent_item(
        agent,
        AgentItemKind::Left {
            conversation: id,
            role,
            why: why.to_owned(),
        },
    )
}

fn end_invitations(d: &mut Draft<'_>, id: ConversationId, why: &str) -> Result<(), Rejection> {
    let rare = d.conversation(id)?.rare.as_ref();
    let invited: Vec<AgentId> = rare
        .map(|rare| rare.invited.iter().map(|(agent, _, _)| *agent).collect())
        .unwrap_or_default();
    for agent in invited {
        let why = why.to_owned();
        end_invitation(d, id, agent, OfferOutcome::Withdrawn { why })?;
    }
    Ok(())
}

fn end_invitation(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    outcome: OfferOutcome,
) -> Result<(), Rejection> {
    let row = d.conversation_mut(id)?;
    row.rare_mut().invited.retain(|(who, _, _)| *who != agent);
    row.tidy();
    row.clear_alarm(Alarm::InvitationEnd(agent));
    d.agent_item(
        agent,
        AgentItemKind::InvitationEnded {
            conversation: id,
            outcome,
        },
    )
}

fn reason_word(reason: &UnassignReason) -> &'static str {
    match reason {
        UnassignReason::Closed => "closed",
        UnassignReason::Transferred => "transferred",
        UnassignReason::NoReply => "no reply",
        UnassignReason::LeaseLost => "lease lost",
        UnassignReason::SignedOut => "signed out",
        UnassignReason::Reassigned => "reassigned",
        UnassignReason::Scheduled => "put off",
        UnassignReason::OwnerFull => "owner full",
    }
}
