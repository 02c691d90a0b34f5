//! What a frame is about: its number, its conversation, the epoch of its sender.

use routing::ids::{ConversationId, Epoch};

use super::ClientFrame;

impl ClientFrame {
    /// The number of a command; `None` for frames that are not commands.
    pub fn number_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Start { number, .. }
            | Self::Message { number, .. }
            | Self::Note { number, .. }
            | Self::Close { number, .. }
            | Self::Reopen { number, .. }
            | Self::Pause { number, .. }
            | Self::Resume { number, .. }
            | Self::Transfer { number, .. }
            | Self::Accept { number, .. }
            | Self::Decline { number, .. }
            | Self::SignIn { number, .. }
            | Self::SignOut { number }
            | Self::Presence { number, .. }
            | Self::FinishWrapUp { number, .. }
            | Self::ExtendWrapUp { number, .. }
            | Self::Pull { number, .. }
            | Self::Invite { number, .. }
            | Self::AnswerInvitation { number, .. }
            | Self::Join { number, .. }
            | Self::Leave { number, .. }
            | Self::Remove { number, .. }
            | Self::CompleteTransfer { number, .. }
            | Self::Whisper { number, .. }
            | Self::Schedule { number, .. }
            | Self::CancelSchedule { number, .. }
            | Self::Callback { number, .. }
            | Self::Rate { number, .. } => Some(number),
            Self::Hello { .. }
            | Self::Follow { .. }
            | Self::Unfollow { .. }
            | Self::Read { .. }
            | Self::Typing { .. }
            | Self::Targets {}
            | Self::Ping {} => None,
        }
    }

    /// An owner's act: the conversation, and the epoch under which they act, to be filled in where they name none.
    pub fn owners_epoch_mut(&mut self) -> Option<(ConversationId, &mut Option<Epoch>)> {
        match self {
            Self::Message {
                conversation, epoch, ..
            }
            | Self::Close {
                conversation, epoch, ..
            }
            | Self::Pause {
                conversation, epoch, ..
            }
            | Self::Transfer {
                conversation, epoch, ..
            }
            | Self::Invite {
                conversation, epoch, ..
            }
            | Self::Remove {
                conversation, epoch, ..
            }
            | Self::CompleteTransfer {
                conversation, epoch, ..
            }
            | Self::Schedule {
                conversation, epoch, ..
            } => Some((*conversation, epoch)),
            _ => None,
        }
    }

    /// The conversation that it is about.
    pub fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Follow { conversation, .. }
            | Self::Unfollow { conversation }
            | Self::Message { conversation, .. }
            | Self::Note { conversation, .. }
            | Self::Read { conversation, .. }
            | Self::Typing { conversation, .. }
            | Self::Close { conversation, .. }
            | Self::Reopen { conversation, .. }
            | Self::Pause { conversation, .. }
            | Self::Resume { conversation, .. }
            | Self::Transfer { conversation, .. }
            | Self::Accept { conversation, .. }
            | Self::Decline { conversation, .. }
            | Self::FinishWrapUp { conversation, .. }
            | Self::ExtendWrapUp { conversation, .. }
            | Self::Pull { conversation, .. }
            | Self::Invite { conversation, .. }
            | Self::AnswerInvitation { conversation, .. }
            | Self::Join { conversation, .. }
            | Self::Leave { conversation, .. }
            | Self::Remove { conversation, .. }
            | Self::CompleteTransfer { conversation, .. }
            | Self::Whisper { conversation, .. }
            | Self::Schedule { conversation, .. }
            | Self::CancelSchedule { conversation, .. }
            | Self::Callback { conversation, .. }
            | Self::Rate { conversation, .. } => Some(*conversation),
            Self::Hello { .. }
            | Self::Start { .. }
            | Self::SignIn { .. }
            | Self::SignOut { .. }
            | Self::Presence { .. }
            | Self::Targets {}
            | Self::Ping {} => None,
        }
    }
}
