//! Who may do what to which conversation: pure functions over an [`Identity`] and a [`ConversationView`], used by REST
//! and gateway alike.
//!
//! Two questions, asked in this order:
//! 1. [`permit`]: may this role do such a thing at all? (→ `forbidden`)
//! 2. [`permit_on`]: may they do it to *this* conversation? A customer has only their own, an agent those offered or
//!    given to them and, to read and to pull, those that wait in their queues, a supervisor all of the tenant. What they
//!    may not see does not exist for them (→ `unknown_conversation`), so that nobody can probe for ids.
//!
//! An agent's act that carries agent and epoch ([`Identity::is_fenced`]) needs no second question: the state checks both,
//! and only the state can answer the *repeat* of an act that ended the agent's ownership (close, transfer, decline). The
//! same holds for what participants (R31) do under their own name: answer an invitation, whisper, leave, have what was put off begin.
//! Customers are not fenced: the second question is their only fence and must always be asked.
//!
//! The tenant is not a parameter: it is the identity's, and every query and command is made in it.

use std::sync::Arc;

use routing::command::{Author, IdempotencyKey, Principal, Reader, Role, Schedule, ScheduleUntil};
use routing::event::{ConversationView, Entry, Phase};
use routing::ids::{AgentId, CustomerId, Epoch, Seq, TenantId};
use routing::settings::AgentSettings;

/// Who calls, after their token has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// From the token (for an administrator: from the path).
    pub tenant: TenantId,
    /// Who.
    pub who: Who,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A customer.
    Customer(CustomerId),
    /// An agent.
    Agent {
        /// Which.
        agent: AgentId,
        /// As set when the token was checked: queues, permissions.
        settings: Arc<AgentSettings>,
    },
    /// An agent whose token says supervisor and whose settings allow it.
    Supervisor {
        /// Which.
        agent: AgentId,
        /// As set when the token was checked.
        settings: Arc<AgentSettings>,
    },
    /// An administrator, by the name of the API key.
    Admin(String),
}

/// What somebody wants to do with a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the words of `routing::command::Command`
pub enum Action {
    /// See it, its transcript, follow it.
    Read,
    PostMessage,
    PostNote,
    MarkRead,
    Typing,
    SetAttributes,
    Close,
    Reopen,
    Pause,
    Resume,
    Transfer,
    Override,
    Pull,
    AssignByHand,
    Why,
    AcceptOffer,
    DeclineOffer,
    FinishWrapUp,
    ExtendWrapUp,
    Invite,
    AnswerInvitation,
    JoinAs,
    Leave,
    RemoveParticipant,
    CompleteTransfer,
    Whisper,
    Schedule,
    CancelSchedule,
    RequestCallback,
    Rate,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 30] = [
        Self::Read,
        Self::PostMessage,
        Self::PostNote,
        Self::MarkRead,
        Self::Typing,
        Self::SetAttributes,
        Self::Close,
        Self::Reopen,
        Self::Pause,
        Self::Resume,
        Self::Transfer,
        Self::Override,
        Self::Pull,
        Self::AssignByHand,
        Self::Why,
        Self::AcceptOffer,
        Self::DeclineOffer,
        Self::FinishWrapUp,
        Self::ExtendWrapUp,
        Self::Invite,
        Self::AnswerInvitation,
        Self::JoinAs,
        Self::Leave,
        Self::RemoveParticipant,
        Self::CompleteTransfer,
        Self::Whisper,
        Self::Schedule,
        Self::CancelSchedule,
        Self::RequestCallback,
        Self::Rate,
    ];
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// To be answered exactly like a conversation that does not exist.
    #[error("there is no such conversation")]
    Hidden,
    /// Not with this role.
    #[error("not permitted: {0}")]
    Forbidden(&'static str),
    /// An agent acts on an assignment: which one?
    #[error("an agent names the epoch of the offer or assignment")]
    EpochMissing,
}

impl Identity {
    /// Who stands behind commands.
    pub fn principal(&self) -> Principal {
        match &self.who {
            Who::Customer(customer) => Principal::Customer(customer.clone()),
            Who::Agent { agent, .. } | Who::Supervisor { agent, .. } => Principal::Agent(*agent),
            Who::Admin(name) => Principal::Admin(name.clone()),
        }
    }

    /// The idempotency key of a client's command.
    pub fn key(&self, instance: u64, number: u64) -> IdempotencyKey {
        IdempotencyKey {
            principal: self.principal(),
            instance,
            number,
        }
    }

    /// Whose read cursor and typing are theirs (administrators have none).
    pub fn reader(&self) -> Option<Reader> {
        match &self.who {
            Who::Customer(_) => Some(Reader::Customer),
            Who::Agent { agent, .. } | Who::Supervisor { agent, .. } => Some(Reader::Agent(*agent)),
            Who::Admin(_) => None,
        }
    }

    /// The agent (a supervisor is one).
    pub fn agent(&self) -> Option<AgentId> {
        match &self.who {
            Who::Agent { agent, .. } | Who::Supervisor { agent, .. } => Some(*agent),
            Who::Customer(_) | Who::Admin(_) => None,
        }
    }

    /// The customer.
    pub fn customer(&self) -> Option<&CustomerId> {
        match &self.who {
            Who::Customer(customer) => Some(customer),
            _ => None,
        }
    }

    /// Sees all of the tenant: supervisor or administrator.
    pub fn oversees(&self) -> bool {
        matches!(self.who, Who::Supervisor { .. } | Who::Admin(_))
    }

    /// Whether `author(epoch)` gives an act that the state itself fences by agent and epoch.
    pub fn is_fenced(&self, epoch: Option<Epoch>) -> bool {
        match &self.who {
            Who::Agent { .. } => true,
            Who::Supervisor { .. } => epoch.is_some(),
            Who::Customer(_) | Who::Admin(_) => false,
        }
    }

    /// As whom they act: an agent under the epoch that they name, a supervisor under one (as the owner) or without
    /// (from above), a customer and an administrator without.
    pub fn author(&self, epoch: Option<Epoch>) -> Result<Author, Denied> {
        match (&self.who, epoch) {
            (Who::Customer(_), _) => Ok(Author::Customer),
            (Who::Agent { agent, .. } | Who::Supervisor { agent, .. }, Some(epoch)) => {
                Ok(Author::Agent { agent: *agent, epoch })
            }
            (Who::Agent { .. }, None) => Err(Denied::EpochMissing),
            (Who::Supervisor { .. } | Who::Admin(_), None) | (Who::Admin(_), Some(_)) => {
                Ok(Author::Supervisor(self.principal()))
            }
        }
    }

    /// As whom they write to the customer: an agent or supervisor who names no epoch and takes part beside the owner does so
    /// as that; everybody else as ever. `view`: as they may see it, `None` when they may not (any more): then a plain agent can
    /// only have been a participant, and the state knows whether this repeats what they said as one.
    pub fn speaker(&self, epoch: Option<Epoch>, view: Option<&ConversationView>) -> Result<Author, Denied> {
        let takes_part = |agent: AgentId| match view {
            Some(view) => view.agent != Some(agent) && role_in(agent, view).is_some(),
            None => matches!(self.who, Who::Agent { .. }),
        };
        match (self.agent(), epoch) {
            (Some(agent), None) if takes_part(agent) => Ok(Author::Participant { agent }),
            _ => self.author(epoch),
        }
    }

    /// Whether they may see this entry.
    pub fn sees(&self, entry: &Entry) -> bool {
        self.customer().is_none() || entry.kind.for_customer()
    }

    /// The last seq before this entry that they may see (0: none).
    pub fn prev(&self, entry: &Entry) -> Seq {
        if self.customer().is_some() {
            entry.prev_for_customer
        } else {
            entry.seq.saturating_sub(1)
        }
    }

    /// Whether they may know that the conversation exists.
    pub fn may_see(&self, view: &ConversationView) -> bool {
        match &self.who {
            Who::Customer(customer) => *customer == view.customer,
            Who::Agent { agent, settings } => {
                owns(*agent, view)
                    || view.also_offered.contains(agent)
                    || role_in(*agent, view).is_some()
                    || view.invited.iter().any(|(invited, _, _)| invited == agent)
                    || view.schedule.is_some_and(|schedule| waits_for(*agent, &schedule))
                    || (matches!(view.phase, Phase::Waiting | Phase::Scheduled)
                        && view.queue.is_some_and(|queue| settings.queues.contains_key(&queue)))
            }
            Who::Supervisor { .. } | Who::Admin(_) => true,
        }
    }
}

/// Offered, assigned, paused with, or wrapped up by.
fn owns(agent: AgentId, view: &ConversationView) -> bool {
    view.agent == Some(agent)
}

fn waits_for(agent: AgentId, schedule: &Schedule) -> bool {
    matches!(schedule.until, ScheduleUntil::AgentReturns { agent: whom, .. } if whom == agent)
}

/// R31: as what they take part beside customer and owner.
pub fn role_in(agent: AgentId, view: &ConversationView) -> Option<Role> {
    let found = view.participants.iter().find(|(participant, _)| *participant == agent);
    found.map(|(_, role)| *role)
}

/// Whether customers may know that this agent has to do with their conversation: its owner, or in it with a role that they see.
pub fn visible_to_customer(agent: AgentId, view: &ConversationView) -> bool {
    let owner = matches!(view.phase, Phase::Assigned | Phase::Paused) && owns(agent, view);
    owner || role_in(agent, view).is_some_and(Role::for_customer)
}

/// What a participant's role lets them do beside reading (R31).
fn role_permits(role: Role, action: Action) -> bool {
    match action {
        Action::Read | Action::Why | Action::MarkRead | Action::Leave | Action::AnswerInvitation => true,
        Action::PostMessage | Action::Typing => role.speaks(),
        Action::PostNote | Action::Whisper => role.whispers(),
        _ => false,
    }
}

/// May this role do such a thing at all?
pub fn permit(identity: &Identity, action: Action) -> Result<(), Denied> {
    use Action::*;
    match (&identity.who, action) {
        (_, Read) => Ok(()),
        (Who::Customer(_), PostMessage | MarkRead | Typing | SetAttributes | Close | Reopen | Resume) => Ok(()),
        (Who::Customer(_), Schedule | CancelSchedule | RequestCallback | Rate) => Ok(()),
        (Who::Customer(_), _) => Err(Denied::Forbidden("customers cannot do this")),
        (_, Rate) => Err(Denied::Forbidden("customers rate their own conversations")),
        (Who::Agent { .. }, Override | AssignByHand | JoinAs | RequestCallback) => {
            Err(Denied::Forbidden("this needs a supervisor"))
        }
        (Who::Agent { settings, .. }, Pull) if !settings.may_pull => Err(Denied::Forbidden(
            "this agent may not take conversations out of a queue",
        )),
        (Who::Agent { .. } | Who::Supervisor { .. }, _) => Ok(()),
        (Who::Admin(_), Override | AssignByHand | Why | Close) => Ok(()),
        (Who::Admin(_), _) => Err(Denied::Forbidden("an API key takes no part in conversations")),
    }
}

/// R33: may they put a conversation off so? A place in the queue is not the customer's to reserve: who wants to keep theirs asks
/// to be called back.
pub fn permit_keep_age(identity: &Identity, keep_age: bool) -> Result<(), Denied> {
    match identity.customer() {
        Some(_) if keep_age => Err(Denied::Forbidden("keep_age is for staff to say")),
        _ => Ok(()),
    }
}

/// May they do it to this conversation? Includes [`permit`]. Says nothing of phase and epoch: the state does.
pub fn permit_on(identity: &Identity, action: Action, view: &ConversationView) -> Result<(), Denied> {
    if !identity.may_see(view) {
        return Err(Denied::Hidden);
    }
    permit(identity, action)?;
    match &identity.who {
        Who::Agent { agent, .. } if owns(*agent, view) => Ok(()),
        Who::Agent { .. }
            if matches!(
                action,
                Action::Read | Action::Pull | Action::Why | Action::AnswerInvitation
            ) =>
        {
            Ok(())
        }
        Who::Agent { agent, .. } => match role_in(*agent, view) {
            Some(role) if role_permits(role, action) => Ok(()),
            Some(_) => Err(Denied::Forbidden("their role in the conversation does not allow it")),
            None => Err(Denied::Forbidden("the conversation is not this agent's")),
        },
        // Who listens unseen is not to be seen typing.
        Who::Supervisor { agent, .. } if action == Action::Typing && !owns(*agent, view) => {
            match role_in(*agent, view) {
                Some(role) if !role.speaks() => {
                    Err(Denied::Forbidden("their role in the conversation does not allow it"))
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
