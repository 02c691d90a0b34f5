//! Who takes part beside customer and owner (R31): invitations, roles, whispers, the warm transfer.
//!
//! Agents act under the epoch of their assignment or under their own part in the conversation; the state checks both.

use routing::command::Command;
use routing::ids::{AgentId, Epoch};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::act::{Act, Acting};
use super::handling::Nothing;
use super::model::conversation::{ReceiptBody, TextBody};
use super::model::entry::ParticipantRole;
use super::{ApiState, Reply};
use crate::access::Action;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(invite))
        .routes(routes!(accept))
        .routes(routes!(decline))
        .routes(routes!(join))
        .routes(routes!(leave))
        .routes(routes!(remove))
        .routes(routes!(complete))
        .routes(routes!(whisper))
}

/// Whom to ask in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteBody {
    /// The epoch of the assignment.
    pub epoch: u64,
    /// Whom.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// `consult` or `conference`.
    pub role: ParticipantRole,
}

/// As what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinBody {
    /// `monitor`, `whisper` or `barge`.
    pub role: ParticipantRole,
}

/// Who goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveBody {
    /// The epoch of the assignment.
    pub epoch: u64,
    /// Who takes part, or is asked in.
    #[schema(value_type = String)]
    pub agent: AgentId,
}

/// Who gets it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteBody {
    /// The epoch of the assignment.
    pub epoch: u64,
    /// Who gets it: a consulted or conferring agent.
    #[schema(value_type = String)]
    pub to: AgentId,
}

/// A whisper.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhisperBody {
    /// What it says.
    pub body: TextBody,
}

/// Asks another agent in, to consult (unseen by the customer) or to confer; for as long as an offer of the queue. For the owner.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/invitations", tag = "participants", request_body = InviteBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn invite(Act(on, body): Act<InviteBody>) -> Reply<ReceiptBody> {
    let by = on.agent(Action::Invite)?;
    let command = Command::Invite {
        conversation: on.conversation,
        by,
        epoch: Epoch(body.epoch),
        agent: body.agent,
        role: body.role.into(),
    };
    on.submit(command).await
}

/// Takes an invitation.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/invitation/accept", tag = "participants", request_body = Nothing,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn accept(Act(on, Nothing {}): Act<Nothing>) -> Reply<ReceiptBody> {
    answer(on, true).await
}

/// Turns an invitation down.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/invitation/decline", tag = "participants", request_body = Nothing,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn decline(Act(on, Nothing {}): Act<Nothing>) -> Reply<ReceiptBody> {
    answer(on, false).await
}

async fn answer(on: Acting, accept: bool) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::AnswerInvitation)?;
    let command = Command::AnswerInvitation {
        conversation: on.conversation,
        agent,
        accept,
    };
    on.submit(command).await
}

/// Comes in to monitor, whisper or barge, or changes from one to the other. For supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/join", tag = "participants", request_body = JoinBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn join(Act(on, JoinBody { role }): Act<JoinBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::JoinAs)?;
    on.permitted(Action::JoinAs).await?;
    let command = Command::JoinAs {
        conversation: on.conversation,
        agent,
        role: role.into(),
    };
    on.submit(command).await
}

/// A participant goes.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/leave", tag = "participants", request_body = Nothing,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn leave(Act(on, Nothing {}): Act<Nothing>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::Leave)?;
    let command = Command::LeaveConversation {
        conversation: on.conversation,
        agent,
    };
    on.submit(command).await
}

/// Lets a consulted or conferring agent go, or takes an invitation back. For the owner.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/participants/remove", tag = "participants", request_body = RemoveBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn remove(Act(on, RemoveBody { epoch, agent }): Act<RemoveBody>) -> Reply<ReceiptBody> {
    let by = on.agent(Action::RemoveParticipant)?;
    let command = Command::RemoveParticipant {
        conversation: on.conversation,
        by,
        epoch: Epoch(epoch),
        agent,
    };
    on.submit(command).await
}

/// Warm transfer: a consulted or conferring agent becomes the owner, under a new epoch. For the owner.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/transfer/complete", tag = "participants", request_body = CompleteBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn complete(Act(on, CompleteBody { epoch, to }): Act<CompleteBody>) -> Reply<ReceiptBody> {
    let by = on.agent(Action::CompleteTransfer)?;
    let command = Command::CompleteTransfer {
        conversation: on.conversation,
        by,
        epoch: Epoch(epoch),
        to,
    };
    on.submit(command).await
}

/// Says something to the agents in the conversation; the customer never sees it. For all of them but who monitors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/whispers", tag = "participants", request_body = WhisperBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn whisper(Act(on, WhisperBody { body }): Act<WhisperBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::Whisper)?;
    let command = Command::PostWhisper {
        conversation: on.conversation,
        agent,
        body: body.into(),
    };
    on.submit(command).await
}
