//! What somebody does to a conversation, as a command of the log.

use std::sync::Arc;

use routing::command::{Author, Command};
use routing::event::ConversationView;
use routing::ids::{AgentId, ConversationId, Epoch};

use super::no_command;
use crate::access::{Denied, Identity, Who, permit_keep_age};
use crate::gateway::backend::Failure;
use crate::gateway::protocol::ClientFrame;

/// The epoch under which they act, where they name none: that of the assignment as it is. Harmless for who does not own the
/// conversation (the state compares the agent too) and right for the repeat of an act that ended their ownership.
pub(super) fn epoch_of(identity: &Identity, given: Option<Epoch>, view: &ConversationView) -> Option<Epoch> {
    let owns = identity.agent().is_some() && view.agent == identity.agent();
    given.or_else(|| (owns || matches!(identity.who, Who::Agent { .. })).then_some(view.epoch))
}

/// Who acts on which conversation, with what was looked up for it.
pub(super) struct Deed<'a> {
    pub(super) identity: &'a Identity,
    pub(super) conversation: ConversationId,
    /// The epoch that the frame names.
    pub(super) given: Option<Epoch>,
    /// The epoch under which they act.
    pub(super) epoch: Option<Epoch>,
    pub(super) view: Option<Arc<ConversationView>>,
}

impl Deed<'_> {
    pub(super) fn command(&self, frame: ClientFrame) -> Result<Command, Failure> {
        use ClientFrame as Frame;
        match frame {
            Frame::Message { .. } | Frame::Note { .. } | Frame::Read { .. } | Frame::Whisper { .. } => {
                self.words(frame)
            }
            Frame::Close { .. }
            | Frame::Reopen { .. }
            | Frame::Pause { .. }
            | Frame::Resume { .. }
            | Frame::Transfer { .. }
            | Frame::FinishWrapUp { .. }
            | Frame::ExtendWrapUp { .. } => self.handling(frame),
            Frame::Accept { .. } | Frame::Decline { .. } | Frame::Pull { .. } => self.taking(frame),
            Frame::Invite { .. }
            | Frame::Remove { .. }
            | Frame::CompleteTransfer { .. }
            | Frame::AnswerInvitation { .. }
            | Frame::Join { .. }
            | Frame::Leave { .. } => self.taking_part(frame),
            Frame::Schedule { .. } | Frame::CancelSchedule { .. } | Frame::Callback { .. } | Frame::Rate { .. } => {
                self.later(frame)
            }
            _ => Err(no_command()),
        }
    }

    fn agent(&self) -> Result<AgentId, Failure> {
        let agent = self.identity.agent();
        agent.ok_or_else(|| Failure::new("forbidden", "this is for agents"))
    }

    fn author(&self) -> Result<Author, Failure> {
        Ok(self.identity.author(self.epoch)?)
    }

    fn named_epoch(&self) -> Result<Epoch, Failure> {
        self.epoch.ok_or_else(|| Denied::EpochMissing.into())
    }

    /// What is said, and read.
    fn words(&self, frame: ClientFrame) -> Result<Command, Failure> {
        let conversation = self.conversation;
        Ok(match frame {
            ClientFrame::Message { body, .. } => Command::PostMessage {
                conversation,
                author: match self.identity.speaker(self.given, self.view.as_deref()) {
                    Ok(participant @ Author::Participant { .. }) => participant,
                    _ => self.author()?,
                },
                body: body.into(),
            },
            ClientFrame::Note { body, .. } => Command::PostNote {
                conversation,
                agent: self.agent()?,
                body: body.into(),
            },
            ClientFrame::Whisper { body, .. } => Command::PostWhisper {
                conversation,
                agent: self.agent()?,
                body: body.into(),
            },
            ClientFrame::Read { seq, .. } => {
                let reader = self.identity.reader();
                Command::MarkRead {
                    conversation,
                    reader: reader.ok_or_else(|| Failure::new("forbidden", "an API key reads nothing"))?,
                    seq,
                }
            }
            _ => return Err(no_command()),
        })
    }

    /// What its owner, its customer and supervisors do with it.
    fn handling(&self, frame: ClientFrame) -> Result<Command, Failure> {
        let conversation = self.conversation;
        Ok(match frame {
            ClientFrame::Close {
                disposition, resolved, ..
            } => Command::Close {
                conversation,
                by: self.author()?,
                disposition,
                resolved,
            },
            ClientFrame::Reopen { .. } => Command::Reopen {
                conversation,
                by: self.author()?,
            },
            ClientFrame::Resume { .. } => Command::Resume {
                conversation,
                by: self.author()?,
            },
            ClientFrame::Pause { .. } => Command::Pause {
                conversation,
                agent: self.agent()?,
                epoch: self.named_epoch()?,
            },
            ClientFrame::Transfer { to, .. } => Command::Transfer {
                conversation,
                by: self.agent()?,
                epoch: self.named_epoch()?,
                target: to.into(),
            },
            ClientFrame::FinishWrapUp { epoch, disposition, .. } => Command::FinishWrapUp {
                conversation,
                agent: self.agent()?,
                epoch,
                disposition,
            },
            ClientFrame::ExtendWrapUp { epoch, by_ms, .. } => Command::ExtendWrapUp {
                conversation,
                agent: self.agent()?,
                epoch,
                by_ms,
            },
            _ => return Err(no_command()),
        })
    }

    /// How it comes to an agent.
    fn taking(&self, frame: ClientFrame) -> Result<Command, Failure> {
        let (conversation, agent) = (self.conversation, self.agent()?);
        Ok(match frame {
            ClientFrame::Accept { epoch, .. } => Command::AcceptOffer {
                conversation,
                agent,
                epoch,
            },
            ClientFrame::Decline { epoch, reason, .. } => Command::DeclineOffer {
                conversation,
                agent,
                epoch,
                reason,
            },
            ClientFrame::Pull { .. } => Command::Pull { conversation, agent },
            _ => return Err(no_command()),
        })
    }

    /// R31: who takes part beside the owner.
    fn taking_part(&self, frame: ClientFrame) -> Result<Command, Failure> {
        let (conversation, own) = (self.conversation, self.agent()?);
        Ok(match frame {
            ClientFrame::Invite { agent, role, .. } => Command::Invite {
                conversation,
                by: own,
                epoch: self.named_epoch()?,
                agent,
                role,
            },
            ClientFrame::Remove { agent, .. } => Command::RemoveParticipant {
                conversation,
                by: own,
                epoch: self.named_epoch()?,
                agent,
            },
            ClientFrame::CompleteTransfer { to, .. } => Command::CompleteTransfer {
                conversation,
                by: own,
                epoch: self.named_epoch()?,
                to,
            },
            ClientFrame::AnswerInvitation { accept, .. } => Command::AnswerInvitation {
                conversation,
                agent: own,
                accept,
            },
            ClientFrame::Join { role, .. } => Command::JoinAs {
                conversation,
                agent: own,
                role,
            },
            ClientFrame::Leave { .. } => Command::LeaveConversation {
                conversation,
                agent: own,
            },
            _ => return Err(no_command()),
        })
    }

    /// R33, and what the customer says of it at the end.
    fn later(&self, frame: ClientFrame) -> Result<Command, Failure> {
        let conversation = self.conversation;
        Ok(match frame {
            ClientFrame::Schedule { schedule, .. } => {
                permit_keep_age(self.identity, schedule.keep_age)?;
                Command::Schedule {
                    conversation,
                    by: self.author()?,
                    schedule: schedule.into(),
                }
            }
            ClientFrame::CancelSchedule { .. } => Command::CancelSchedule {
                conversation,
                by: self.identity.speaker(None, None)?,
            },
            ClientFrame::Callback { contact, .. } => Command::RequestCallback {
                conversation,
                by: self.author()?,
                contact,
            },
            ClientFrame::Rate { rating, comment, .. } => Command::Rate {
                conversation,
                rating,
                comment,
            },
            _ => return Err(no_command()),
        })
    }
}
