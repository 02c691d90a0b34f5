//! What is done with a conversation: closing, pausing, transfers, offers, wrap-up, and what supervisors change.

use routing::command::Command;
use routing::ids::{AgentId, Epoch};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::act::Act;
use super::model::conversation::{Change, ReceiptBody, Target};
use super::{ApiState, Reply};
use crate::access::Action;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(close))
        .routes(routes!(reopen))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(transfer))
        .routes(routes!(change))
        .routes(routes!(pull))
        .routes(routes!(assign))
        .routes(routes!(accept))
        .routes(routes!(decline))
        .routes(routes!(finish_wrap_up))
        .routes(routes!(extend_wrap_up))
}

/// Nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// As whom the caller acts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActBody {
    /// Needed from agents: the epoch of their assignment.
    pub epoch: Option<u64>,
}

/// An agent's act.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EpochBody {
    /// The epoch of the offer or assignment.
    pub epoch: u64,
}

/// How it ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseBody {
    /// Needed from agents: the epoch of their assignment.
    pub epoch: Option<u64>,
    /// What came of it.
    pub disposition: Option<String>,
    /// Whether the customer was helped; unless given, whether an agent has answered.
    pub resolved: Option<bool>,
}

/// Where to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferBody {
    /// The epoch of the assignment.
    pub epoch: u64,
    /// Where to.
    pub to: Target,
}

/// What changes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeBody {
    /// What.
    pub change: Change,
}

/// To whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignBody {
    /// To whom.
    #[schema(value_type = String)]
    pub agent: AgentId,
}

/// Why not.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclineBody {
    /// The epoch of the offer.
    pub epoch: u64,
    /// Why not.
    #[serde(default)]
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishBody {
    /// The epoch of the assignment.
    pub epoch: u64,
    /// What came of it.
    pub disposition: Option<String>,
}

/// How much longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// The epoch of the assignment.
    pub epoch: u64,
    /// How much longer.
    pub by_ms: u64,
}

/// Ends the conversation: its customer, its agent, a supervisor.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/close", tag = "handling", request_body = CloseBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn close(Act(on, body): Act<CloseBody>) -> Reply<ReceiptBody> {
    let by = on.author(Action::Close, body.epoch).await?;
    let command = Command::Close {
        conversation: on.conversation,
        by,
        disposition: body.disposition,
        resolved: body.resolved,
    };
    on.submit(command).await
}

/// Opens a closed conversation again, within its queue's window: it waits again, with its last agent preferred.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/reopen", tag = "handling", request_body = ActBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn reopen(Act(on, body): Act<ActBody>) -> Reply<ReceiptBody> {
    let by = on.author(Action::Reopen, body.epoch).await?;
    let command = Command::Reopen {
        conversation: on.conversation,
        by,
    };
    on.submit(command).await
}

/// Pauses it: the agent keeps it, and has room for another.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/pause", tag = "handling", request_body = EpochBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn pause(Act(on, EpochBody { epoch }): Act<EpochBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::Pause)?;
    let command = Command::Pause {
        conversation: on.conversation,
        agent,
        epoch: Epoch(epoch),
    };
    on.submit(command).await
}

/// Resumes a paused conversation with its owner; without room it waits for them first.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/resume", tag = "handling", request_body = ActBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn resume(Act(on, body): Act<ActBody>) -> Reply<ReceiptBody> {
    let by = on.author(Action::Resume, body.epoch).await?;
    let command = Command::Resume {
        conversation: on.conversation,
        by,
    };
    on.submit(command).await
}

/// Hands it to an agent or a queue; its age is kept (R31).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/transfer", tag = "handling", request_body = TransferBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn transfer(Act(on, body): Act<TransferBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::Transfer)?;
    let command = Command::Transfer {
        conversation: on.conversation,
        by: agent,
        epoch: Epoch(body.epoch),
        target: body.to.into(),
    };
    on.submit(command).await
}

/// Changes its priority or queue at once, or puts it in front (R16). For supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/override", tag = "handling", request_body = ChangeBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn change(Act(on, ChangeBody { change }): Act<ChangeBody>) -> Reply<ReceiptBody> {
    on.permitted(Action::Override).await?;
    let command = Command::OverrideConversation {
        conversation: on.conversation,
        by: on.identity.principal(),
        change: change.into(),
    };
    on.submit(command).await
}

/// Takes a waiting conversation (R10). For agents who may.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/pull", tag = "handling", request_body = Nothing,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn pull(Act(on, Nothing {}): Act<Nothing>) -> Reply<ReceiptBody> {
    on.permitted(Action::Pull).await?;
    let agent = on.agent(Action::Pull)?;
    let command = Command::Pull {
        conversation: on.conversation,
        agent,
    };
    on.submit(command).await
}

/// Gives it to an agent by hand (R10). For supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/assign", tag = "handling", request_body = AssignBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn assign(Act(on, AssignBody { agent }): Act<AssignBody>) -> Reply<ReceiptBody> {
    on.permitted(Action::AssignByHand).await?;
    let command = Command::AssignByHand {
        conversation: on.conversation,
        agent,
        by: on.identity.principal(),
    };
    on.submit(command).await
}

/// Takes an offer (R24).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/offer/accept", tag = "offers", request_body = EpochBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn accept(Act(on, EpochBody { epoch }): Act<EpochBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::AcceptOffer)?;
    let command = Command::AcceptOffer {
        conversation: on.conversation,
        agent,
        epoch: Epoch(epoch),
    };
    on.submit(command).await
}

/// Turns an offer down (R24).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/offer/decline", tag = "offers", request_body = DeclineBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn decline(Act(on, DeclineBody { epoch, reason }): Act<DeclineBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::DeclineOffer)?;
    let command = Command::DeclineOffer {
        conversation: on.conversation,
        agent,
        epoch: Epoch(epoch),
        reason,
    };
    on.submit(command).await
}

/// Ends wrap-up by hand (R28).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/wrap-up/finish", tag = "handling", request_body = FinishBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn finish_wrap_up(Act(on, FinishBody { epoch, disposition }): Act<FinishBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::FinishWrapUp)?;
    let command = Command::FinishWrapUp {
        conversation: on.conversation,
        agent,
        epoch: Epoch(epoch),
        disposition,
    };
    on.submit(command).await
}

/// Makes wrap-up longer (R28).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/wrap-up/extend", tag = "handling", request_body = ExtendBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn extend_wrap_up(Act(on, ExtendBody { epoch, by_ms }): Act<ExtendBody>) -> Reply<ReceiptBody> {
    let agent = on.agent(Action::ExtendWrapUp)?;
    let command = Command::ExtendWrapUp {
        conversation: on.conversation,
        agent,
        epoch: Epoch(epoch),
        by_ms,
    };
    on.submit(command).await
}
