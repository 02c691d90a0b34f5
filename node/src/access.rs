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
//! and only the state can answer the *repeat* of an act that ended the agent's ownership (close, transfer, decline).
//! Customers are not fenced: the second question is their only fence and must always be asked.
//!
//! The tenant is not a parameter: it is the identity's, and every query and command is made in it.

use std::sync::Arc;

use routing::command::{Author, IdempotencyKey, Principal, Reader};
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
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 19] = [
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
                    || (view.phase == Phase::Waiting
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

/// May this role do such a thing at all?
pub fn permit(identity: &Identity, action: Action) -> Result<(), Denied> {
    use Action::*;
    match (&identity.who, action) {
        (_, Read) => Ok(()),
        (Who::Customer(_), PostMessage | MarkRead | Typing | SetAttributes | Close | Reopen | Resume) => Ok(()),
        (Who::Customer(_), _) => Err(Denied::Forbidden("customers cannot do this")),
        (Who::Agent { .. }, Override | AssignByHand) => Err(Denied::Forbidden("this needs a supervisor")),
        (Who::Agent { settings, .. }, Pull) if !settings.may_pull => Err(Denied::Forbidden(
            "this agent may not take conversations out of a queue",
        )),
        (Who::Agent { .. } | Who::Supervisor { .. }, _) => Ok(()),
        (Who::Admin(_), Override | AssignByHand | Why | Close) => Ok(()),
        (Who::Admin(_), _) => Err(Denied::Forbidden("an API key takes no part in conversations")),
    }
}

/// May they do it to this conversation? Includes [`permit`]. Says nothing of phase and epoch: the state does.
pub fn permit_on(identity: &Identity, action: Action, view: &ConversationView) -> Result<(), Denied> {
    if !identity.may_see(view) {
        return Err(Denied::Hidden);
    }
    permit(identity, action)?;
    match &identity.who {
        Who::Agent { agent, .. } if !matches!(action, Action::Read | Action::Pull | Action::Why) => {
            if owns(*agent, view) {
                Ok(())
            } else {
                Err(Denied::Forbidden("the conversation is not this agent's"))
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::ids::{Channel, ConversationId, QueueId};

    const QUEUE: QueueId = QueueId(7);

    fn view(phase: Phase, agent: Option<AgentId>) -> ConversationView {
        ConversationView {
            conversation: ConversationId(1),
            channel: Channel("web_chat".into()),
            customer: CustomerId("ann".into()),
            phase,
            queue: Some(QUEUE),
            priority: 5,
            agent,
            epoch: Epoch(3),
            deadline_ms: None,
            last_seq: 0,
            last_seq_for_customer: 0,
            started_at_ms: 0,
            since_ms: 0,
            customer_present: true,
            attributes: Arc::default(),
            read: Vec::new(),
            disposition: None,
            explanation: None,
            also_offered: Vec::new(),
            participants: Vec::new(),
            invited: Vec::new(),
            schedule: None,
            callback: None,
            rule: None,
            relaxed: 0,
            rating: None,
            entered: None,
            required: Vec::new(),
            preferred: Vec::new(),
            answered_at_ms: None,
            ended_at_ms: None,
            outcome: None,
            served_ms: 0,
        }
    }

    fn identity(who: Who) -> Identity {
        Identity {
            tenant: TenantId(1),
            who,
        }
    }

    fn customer(name: &str) -> Identity {
        identity(Who::Customer(CustomerId(name.into())))
    }

    fn agent(id: u128, queues: &[QueueId]) -> Identity {
        identity(Who::Agent {
            agent: AgentId(id),
            settings: Arc::new(AgentSettings {
                queues: routing::settings::Membership::plain(queues.iter().copied()),
                ..AgentSettings::default()
            }),
        })
    }

    fn supervisor() -> Identity {
        identity(Who::Supervisor {
            agent: AgentId(9),
            settings: Arc::default(),
        })
    }

    #[test]
    fn a_customer_has_only_their_own_and_others_do_not_exist() {
        for phase in [Phase::Waiting, Phase::Assigned, Phase::Closed] {
            let view = view(phase, Some(AgentId(1)));
            assert_eq!(permit_on(&customer("ann"), Action::PostMessage, &view), Ok(()));
            for action in Action::ALL {
                assert_eq!(
                    permit_on(&customer("bob"), action, &view),
                    Err(Denied::Hidden),
                    "{action:?}"
                );
            }
        }
    }

    #[test]
    fn a_customer_does_nothing_of_the_staff() {
        let view = view(Phase::Assigned, Some(AgentId(1)));
        let allowed: Vec<_> = Action::ALL
            .into_iter()
            .filter(|&action| permit_on(&customer("ann"), action, &view).is_ok())
            .collect();
        use Action::*;
        assert_eq!(
            allowed,
            [
                Read,
                PostMessage,
                MarkRead,
                Typing,
                SetAttributes,
                Close,
                Reopen,
                Resume
            ]
        );
    }

    #[test]
    fn an_agent_reads_what_waits_in_their_queues_and_acts_on_what_is_theirs() {
        let waiting = view(Phase::Waiting, None);
        assert_eq!(permit_on(&agent(1, &[QUEUE]), Action::Read, &waiting), Ok(()));
        assert!(matches!(
            permit_on(&agent(1, &[QUEUE]), Action::PostNote, &waiting),
            Err(Denied::Forbidden(_))
        ));
        assert_eq!(permit_on(&agent(1, &[]), Action::Read, &waiting), Err(Denied::Hidden));

        let mine = view(Phase::Assigned, Some(AgentId(1)));
        assert_eq!(permit_on(&agent(1, &[]), Action::PostNote, &mine), Ok(()));
        assert_eq!(permit_on(&agent(2, &[QUEUE]), Action::Read, &mine), Err(Denied::Hidden));
        let offered = view(Phase::Offered, Some(AgentId(1)));
        assert_eq!(
            permit_on(&agent(2, &[QUEUE]), Action::Read, &offered),
            Err(Denied::Hidden)
        );
    }

    #[test]
    fn supervising_needs_a_supervisor_and_pulling_a_permission() {
        let waiting = view(Phase::Waiting, None);
        for action in [Action::Override, Action::AssignByHand, Action::Pull] {
            assert!(matches!(
                permit_on(&agent(1, &[QUEUE]), action, &waiting),
                Err(Denied::Forbidden(_))
            ));
            assert_eq!(permit_on(&supervisor(), action, &waiting), Ok(()));
        }
    }

    #[test]
    fn an_agent_acts_under_an_epoch() {
        assert_eq!(agent(1, &[]).author(None), Err(Denied::EpochMissing));
        assert_eq!(
            agent(1, &[]).author(Some(Epoch(3))),
            Ok(Author::Agent {
                agent: AgentId(1),
                epoch: Epoch(3)
            })
        );
        assert_eq!(
            supervisor().author(None),
            Ok(Author::Supervisor(Principal::Agent(AgentId(9))))
        );
        assert_eq!(customer("ann").author(Some(Epoch(3))), Ok(Author::Customer));
        assert!(
            agent(1, &[]).is_fenced(None)
                && !supervisor().is_fenced(None)
                && !customer("ann").is_fenced(Some(Epoch(1)))
        );
    }
}
