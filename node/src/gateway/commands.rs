//! From a client's frame to a command of the log: who may, as whom, under which epoch.

mod deed;

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::command::{Command, Value};
use routing::event::{ConversationView, Receipt};
use routing::ids::{ConversationId, Epoch};

use self::deed::{Deed, epoch_of};
use super::backend::{Backend, Caller, Failure};
use super::protocol::ClientFrame;
use crate::access::{Action, Denied, Identity, Who, permit, permit_keep_age, permit_on};
use crate::query::{Answer, Query};
use crate::wall_clock;

/// A client's command, with what its connection knows already.
pub(super) struct Job {
    pub(super) frame: ClientFrame,
    pub(super) instance: u64,
    /// The view that the connection has, of a conversation that this caller may see.
    pub(super) known: Option<Arc<ConversationView>>,
}

/// Of what does not exist, or not for the caller.
const HIDDEN: &str = "unknown_conversation";

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::Hidden => HIDDEN,
            Denied::Forbidden(_) => "forbidden",
            Denied::EpochMissing => "epoch_missing",
        };
        Self::new(code, denied.to_string())
    }
}

/// Asks for a conversation's view, and whether the caller may do this to it.
pub(super) async fn view(
    backend: &dyn Backend,
    identity: &Identity,
    conversation: ConversationId,
    action: Action,
) -> Result<Arc<ConversationView>, Failure> {
    match backend
        .query(identity.tenant, Query::Conversation(conversation))
        .await?
    {
        Answer::Conversation(Some(view)) => {
            permit_on(identity, action, &view)?;
            Ok(Arc::new(view))
        }
        Answer::Conversation(None) => Err(Denied::Hidden.into()),
        other => Err(unexpected(&other)),
    }
}

/// A node of another version answered something else.
pub(super) fn unexpected(answer: &Answer) -> Failure {
    tracing::error!(answer = ?std::mem::discriminant(answer), "a query got another question's answer");
    Failure::new("internal", "the answer was of another kind")
}

/// Checks and carries out.
pub(super) async fn carry_out(
    backend: Arc<dyn Backend>,
    caller: Arc<Caller>,
    mut job: Job,
) -> Result<Receipt, Failure> {
    let identity = &caller.identity;
    let key = job.frame.number_mut().map(|number| identity.key(job.instance, *number));
    let command = match job.frame {
        ClientFrame::Start {
            channel,
            attributes,
            message,
            schedule,
            callback,
            ..
        } => {
            let Who::Customer(customer) = &identity.who else {
                return Err(Failure::new("forbidden", "conversations are started by customers"));
            };
            permit_keep_age(identity, schedule.is_some_and(|schedule| schedule.keep_age))?;
            let attributes: BTreeMap<String, Value> = attributes.into_iter().map(|(k, v)| (k, v.into())).collect();
            let conversation = ConversationId(wall_clock::new_id());
            let classification = backend
                .classify(identity.tenant, conversation, customer, &channel, &attributes)
                .await?;
            Command::StartConversation {
                conversation,
                channel,
                customer: customer.clone(),
                attributes,
                classification,
                message: message.map(Into::into),
                schedule: schedule.map(Into::into),
                callback,
            }
        }
        frame if frame.conversation().is_some() => on_conversation(&*backend, identity, frame, job.known).await?,
        frame => of_agent(identity, frame)?,
    };
    Ok(backend.command(identity.tenant, key, command).await?)
}

fn of_agent(identity: &Identity, frame: ClientFrame) -> Result<Command, Failure> {
    let agent = identity
        .agent()
        .ok_or_else(|| Failure::new("forbidden", "this is for agents"))?;
    match frame {
        ClientFrame::SignIn { presence, .. } => Ok(Command::SignIn {
            agent,
            presence: presence.into(),
        }),
        ClientFrame::SignOut { .. } => Ok(Command::SignOut { agent }),
        ClientFrame::Presence { presence, .. } => Ok(Command::SetPresence {
            agent,
            presence: presence.into(),
        }),
        _ => Err(no_command()),
    }
}

fn no_command() -> Failure {
    Failure::new("invalid_frame", "this is no command")
}

async fn on_conversation(
    backend: &dyn Backend,
    identity: &Identity,
    frame: ClientFrame,
    known: Option<Arc<ConversationView>>,
) -> Result<Command, Failure> {
    let Some(conversation) = frame.conversation() else {
        return Err(Failure::new("invalid_frame", "this is about no conversation"));
    };
    let (action, given) = needs(&frame);
    permit(identity, action)?;
    // Fenced by agent and epoch, or by the agent's own part: the state checks.
    let fenced = (given.is_some() || by_own_name(&frame)) && identity.agent().is_some();
    let view = match known {
        _ if fenced => None,
        Some(view) if permit_on(identity, action, &view).is_ok() => Some(view),
        // What the connection knows may be old; a plain agent's acts that lack only an epoch are left to the state.
        _ if matches!(identity.who, Who::Agent { .. }) && by_author(&frame) => {
            match self::view(backend, identity, conversation, Action::Read).await {
                Ok(view) => Some(view),
                // Perhaps the repeat of what a participant said before they left.
                Err(failure) if failure.code == HIDDEN && matches!(frame, ClientFrame::Message { .. }) => None,
                Err(failure) => return Err(failure),
            }
        }
        _ => Some(self::view(backend, identity, conversation, action).await?),
    };
    let deed = Deed {
        identity,
        conversation,
        given,
        epoch: view.as_ref().map_or(given, |view| epoch_of(identity, given, view)),
        view,
    };
    deed.command(frame)
}

/// What a frame does, and the epoch that it names.
fn needs(frame: &ClientFrame) -> (Action, Option<Epoch>) {
    match frame {
        ClientFrame::Message { epoch, .. } => (Action::PostMessage, *epoch),
        ClientFrame::Note { .. } => (Action::PostNote, None),
        ClientFrame::Read { .. } => (Action::MarkRead, None),
        ClientFrame::Close { epoch, .. } => (Action::Close, *epoch),
        ClientFrame::Reopen { .. } => (Action::Reopen, None),
        ClientFrame::Resume { .. } => (Action::Resume, None),
        ClientFrame::Pause { epoch, .. } => (Action::Pause, *epoch),
        ClientFrame::Transfer { epoch, .. } => (Action::Transfer, *epoch),
        ClientFrame::Accept { epoch, .. } => (Action::AcceptOffer, Some(*epoch)),
        ClientFrame::Decline { epoch, .. } => (Action::DeclineOffer, Some(*epoch)),
        ClientFrame::FinishWrapUp { epoch, .. } => (Action::FinishWrapUp, Some(*epoch)),
        ClientFrame::ExtendWrapUp { epoch, .. } => (Action::ExtendWrapUp, Some(*epoch)),
        ClientFrame::Pull { .. } => (Action::Pull, None),
        ClientFrame::Invite { epoch, .. } => (Action::Invite, *epoch),
        ClientFrame::AnswerInvitation { .. } => (Action::AnswerInvitation, None),
        ClientFrame::Join { .. } => (Action::JoinAs, None),
        ClientFrame::Leave { .. } => (Action::Leave, None),
        ClientFrame::Remove { epoch, .. } => (Action::RemoveParticipant, *epoch),
        ClientFrame::CompleteTransfer { epoch, .. } => (Action::CompleteTransfer, *epoch),
        ClientFrame::Whisper { .. } => (Action::Whisper, None),
        ClientFrame::Schedule { epoch, .. } => (Action::Schedule, *epoch),
        ClientFrame::CancelSchedule { .. } => (Action::CancelSchedule, None),
        ClientFrame::Callback { .. } => (Action::RequestCallback, None),
        ClientFrame::Rate { .. } => (Action::Rate, None),
        _ => (Action::Read, None),
    }
}

/// Acts whose agent and epoch the state compares.
fn by_author(frame: &ClientFrame) -> bool {
    matches!(
        frame,
        ClientFrame::Message { .. }
            | ClientFrame::Close { .. }
            | ClientFrame::Pause { .. }
            | ClientFrame::Transfer { .. }
            | ClientFrame::Resume { .. }
            | ClientFrame::Reopen { .. }
            | ClientFrame::Invite { .. }
            | ClientFrame::Remove { .. }
            | ClientFrame::CompleteTransfer { .. }
            | ClientFrame::Schedule { .. }
    )
}

/// R31, R33: acts under the agent's own name, whose part in the conversation the state looks up.
fn by_own_name(frame: &ClientFrame) -> bool {
    matches!(
        frame,
        ClientFrame::AnswerInvitation { .. }
            | ClientFrame::Leave { .. }
            | ClientFrame::Whisper { .. }
            | ClientFrame::CancelSchedule { .. }
    )
}
