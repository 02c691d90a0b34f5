//! Agents come, go and are lost (R29, R30).

use super::agent::{Agent, presence_word};
use super::conversation::Stage;
use super::draft::Draft;
use super::{arrive, end, offers, participants, returns, schedule, valid};
use crate::command::{Due, PresenceChange, Timer};
use crate::event::{AgentItemKind, OfferOutcome, Receipt, UnassignReason};
use crate::ids::{AgentId, ConversationId, Millis};
use crate::rejection::Rejection;
use crate::view::Presence;

/// Why an agent is away who was draining and has finished.
pub(crate) const DRAINED: &str = "drained";
/// Why an agent is away who let too many offers time out in a row (R24).
pub(crate) const OFFER_TIMEOUTS: &str = "offer_timeouts";

/// The deadline of a suspect's lease.
pub(crate) fn lease_timer(agent: AgentId, row: &Agent) -> Option<Due> {
    match row.presence {
        Presence::Suspect { until_ms, .. } => Some(Due {
            at_ms: until_ms,
            timer: Timer::LeaseEnd { agent },
        }),
        _ => None,
    }
}

/// The only way from one presence to another. Only who is available has offers outstanding.
pub(crate) fn set(d: &mut Draft<'_>, agent: AgentId, presence: Presence) -> Result<(), Rejection> {
    let row = d.agent_mut(agent)?;
    if row.presence == presence {
        return Ok(());
    }
    let before = std::mem::replace(&mut row.presence, presence.clone());
    d.agent_item(
        agent,
        AgentItemKind::Presence {
            presence: presence.clone(),
        },
    )?;
    if presence != Presence::Available {
        for id in held(d, agent) {
            if d.conversation(id)?.is_offered_to(agent) {
                let why = format!("agent is {}", presence_word(&presence));
                offers::end_for(d, id, agent, OfferOutcome::Withdrawn { why })?;
            }
        }
    }
    schedule::presence_changed(d, agent, &before, &presence)
}

fn held(d: &Draft<'_>, agent: AgentId) -> Vec<ConversationId> {
    d.base().conversations_of_agent(agent).collect()
}

fn wished(change: &PresenceChange) -> Result<Presence, Rejection> {
    Ok(match change {
        PresenceChange::Available => Presence::Available,
        PresenceChange::Away(reason) => {
            valid::name("reason", reason)?;
            Presence::Away(reason.clone())
        }
        PresenceChange::Draining => Presence::Draining,
    })
}

pub(crate) fn sign_in(d: &mut Draft<'_>, agent: AgentId, change: &PresenceChange) -> Result<Receipt, Rejection> {
    let presence = wished(change)?;
    let at_ms = d.at_ms;
    let row = d.agent_mut(agent)?;
    if row.presence == Presence::Offline {
        row.idle_since_ms = at_ms;
        row.signed_in_at_ms = at_ms;
        row.timeouts_in_a_row = 0;
    }
    set(d, agent, presence)?;
    Ok(d.receipt())
}

pub(crate) fn sign_out(d: &mut Draft<'_>, agent: AgentId) -> Result<Receipt, Rejection> {
    if d.agent(agent)?.presence != Presence::Offline {
        go_offline(d, agent, UnassignReason::SignedOut)?;
    }
    Ok(d.receipt())
}

pub(crate) fn change(d: &mut Draft<'_>, agent: AgentId, change: &PresenceChange) -> Result<Receipt, Rejection> {
    let presence = wished(change)?;
    let row = d.agent(agent)?;
    match &row.presence {
        Presence::Offline => {
            return Err(Rejection::WrongPresence {
                is: "offline".to_owned(),
                needs: "signed in".to_owned(),
            });
        }
        // Said on the way out, or through another door: it holds once the connections are back.
        Presence::Suspect { until_ms, .. } => {
            let until_ms = *until_ms;
            set(
                d,
                agent,
                Presence::Suspect {
                    until_ms,
                    was: Box::new(presence),
                },
            )?;
        }
        _ => {
            d.agent_mut(agent)?.timeouts_in_a_row = 0;
            set(d, agent, presence)?;
        }
    }
    Ok(d.receipt())
}

pub(crate) fn lost(d: &mut Draft<'_>, agent: AgentId) -> Result<Receipt, Rejection> {
    let row = d.agent(agent)?;
    match row.presence.clone() {
        Presence::Offline => {
            return Err(Rejection::WrongPresence {
                is: "offline".to_owned(),
                needs: "signed in".to_owned(),
            });
        }
        Presence::Suspect { .. } => {}
        was => {
            let until_ms = d.at_ms.saturating_add(row.settings.lease_hold_ms);
            set(
                d,
                agent,
                Presence::Suspect {
                    until_ms,
                    was: Box::new(was),
                },
            )?;
        }
    }
    Ok(d.receipt())
}

pub(crate) fn back(d: &mut Draft<'_>, agent: AgentId) -> Result<Receipt, Rejection> {
    match d.agent(agent)?.presence.clone() {
        Presence::Offline => {
            return Err(Rejection::WrongPresence {
                is: "offline".to_owned(),
                needs: "signed in".to_owned(),
            });
        }
        Presence::Suspect { was, .. } => set(d, agent, *was)?,
        _ => {}
    }
    Ok(d.receipt())
}

/// R30: the hold is over.
pub(crate) fn lease_end(d: &mut Draft<'_>, agent: AgentId) -> Result<Receipt, Rejection> {
    let row = d.agent(agent).map_err(|_| Rejection::NothingOutstanding)?;
    let due: Option<Millis> = lease_timer(agent, row).map(|due| due.at_ms);
    super::timers::must_be_due(due, d.at_ms)?;
    go_offline(d, agent, UnassignReason::LeaseLost)?;
    Ok(d.receipt())
}

fn lose(d: &mut Draft<'_>, id: ConversationId, reason: &UnassignReason) -> Result<(), Rejection> {
    if participants::succeed(d, id, reason)? {
        return Ok(());
    }
    arrive::unassign(d, id, reason.clone())?;
    d.conversation_mut(id)?.expedited = true;
    arrive::wait_anew(d, id)
}

/// What is assigned goes back with its age, before everything else, or to who confers there (R31); wrap-ups end, and parts in
/// others' conversations; paused conversations keep their owner.
fn go_offline(d: &mut Draft<'_>, agent: AgentId, reason: UnassignReason) -> Result<(), Rejection> {
    set(d, agent, Presence::Offline)?;
    returns::without_owner(d, agent, &reason)?;
    for id in held(d, agent) {
        participants::is_offline(d, id, agent)?;
        match d.conversation(id)?.stage {
            Stage::Assigned { agent: owner, .. } if owner == agent => lose(d, id, &reason)?,
            Stage::WrapUp { agent: owner, .. } if owner == agent => end::end_wrap_up(d, id)?,
            _ => {}
        }
    }
    debug_assert!(
        held(d, agent)
            .iter()
            .all(|id| d.conversation(*id).is_ok_and(|row| !row.occupants().contains(&agent)))
    );
    Ok(())
}
