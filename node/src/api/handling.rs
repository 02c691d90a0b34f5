//! What is done with a conversation: closing, pausing, transfers, offers, wrap-up, and what supervisors change.

use axum::extract::State;
use routing::command::Command;
use routing::ids::{AgentId, ConversationId, Epoch};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, RequestKey};
use super::input::{At, Given};
use super::model::conversation::{Change, ReceiptBody, Target};
use super::problem::Problem;
use super::{ApiState, Reply};
use crate::access::{self, Action, Identity};

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

/// The agent who acts under an epoch; the state checks both.
pub(super) fn fenced(identity: &Identity, action: Action) -> Result<AgentId, Problem> {
    access::permit(identity, action)?;
    identity
        .agent()
        .ok_or_else(|| Problem::forbidden("this needs an agent"))
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
pub async fn close(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(body): Given<CloseBody>,
) -> Reply<ReceiptBody> {
    let epoch = body.epoch.map(Epoch);
    state.gate(&identity, Action::Close, conversation, epoch).await?;
    let command = Command::Close {
        conversation,
        by: identity.author(epoch)?,
        disposition: body.disposition,
        resolved: body.resolved,
    };
    state.act(&identity, key, command).await
}

/// Opens a closed conversation again, within its queue's window: it waits again, with its last agent preferred.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/reopen", tag = "handling", request_body = ActBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn reopen(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(body): Given<ActBody>,
) -> Reply<ReceiptBody> {
    let epoch = body.epoch.map(Epoch);
    state.gate(&identity, Action::Reopen, conversation, epoch).await?;
    let command = Command::Reopen {
        conversation,
        by: identity.author(epoch)?,
    };
    state.act(&identity, key, command).await
}

/// Pauses it: the agent keeps it, and has room for another.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/pause", tag = "handling", request_body = EpochBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn pause(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(EpochBody { epoch }): Given<EpochBody>,
) -> Reply<ReceiptBody> {
    let agent = fenced(&identity, Action::Pause)?;
    let command = Command::Pause {
        conversation,
        agent,
        epoch: Epoch(epoch),
    };
    state.act(&identity, key, command).await
}

/// Resumes a paused conversation with its owner; without room it waits for them first.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/resume", tag = "handling", request_body = ActBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn resume(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(body): Given<ActBody>,
) -> Reply<ReceiptBody> {
    let epoch = body.epoch.map(Epoch);
    state.gate(&identity, Action::Resume, conversation, epoch).await?;
    let command = Command::Resume {
        conversation,
        by: identity.author(epoch)?,
    };
    state.act(&identity, key, command).await
}

/// Hands it to an agent or a queue; its age is kept (R31).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/transfer", tag = "handling", request_body = TransferBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn transfer(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(body): Given<TransferBody>,
) -> Reply<ReceiptBody> {
    let agent = fenced(&identity, Action::Transfer)?;
    let command = Command::Transfer {
        conversation,
        by: agent,
        epoch: Epoch(body.epoch),
        target: body.to.into(),
    };
    state.act(&identity, key, command).await
}

/// Changes its priority or queue at once, or puts it in front (R16). For supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/override", tag = "handling", request_body = ChangeBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn change(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(ChangeBody { change }): Given<ChangeBody>,
) -> Reply<ReceiptBody> {
    state.permitted(&identity, Action::Override, conversation).await?;
    let command = Command::OverrideConversation {
        conversation,
        by: identity.principal(),
        change: change.into(),
    };
    state.act(&identity, key, command).await
}

/// Takes a waiting conversation (R10). For agents who may.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/pull", tag = "handling", request_body = Nothing,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn pull(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(Nothing {}): Given<Nothing>,
) -> Reply<ReceiptBody> {
    state.permitted(&identity, Action::Pull, conversation).await?;
    let agent = fenced(&identity, Action::Pull)?;
    let command = Command::Pull { conversation, agent };
    state.act(&identity, key, command).await
}

/// Gives it to an agent by hand (R10). For supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/assign", tag = "handling", request_body = AssignBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn assign(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(AssignBody { agent }): Given<AssignBody>,
) -> Reply<ReceiptBody> {
    state.permitted(&identity, Action::AssignByHand, conversation).await?;
    let command = Command::AssignByHand {
        conversation,
        agent,
        by: identity.principal(),
    };
    state.act(&identity, key, command).await
}

/// Takes an offer (R24).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/offer/accept", tag = "offers", request_body = EpochBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn accept(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(EpochBody { epoch }): Given<EpochBody>,
) -> Reply<ReceiptBody> {
    let agent = fenced(&identity, Action::AcceptOffer)?;
    let command = Command::AcceptOffer {
        conversation,
        agent,
        epoch: Epoch(epoch),
    };
    state.act(&identity, key, command).await
}

/// Turns an offer down (R24).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/offer/decline", tag = "offers", request_body = DeclineBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn decline(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(DeclineBody { epoch, reason }): Given<DeclineBody>,
) -> Reply<ReceiptBody> {
    let agent = fenced(&identity, Action::DeclineOffer)?;
    let command = Command::DeclineOffer {
        conversation,
        agent,
        epoch: Epoch(epoch),
        reason,
    };
    state.act(&identity, key, command).await
}

/// Ends wrap-up by hand (R28).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/wrap-up/finish", tag = "handling", request_body = FinishBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn finish_wrap_up(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(FinishBody { epoch, disposition }): Given<FinishBody>,
) -> Reply<ReceiptBody> {
    let agent = fenced(&identity, Action::FinishWrapUp)?;
    let command = Command::FinishWrapUp {
        conversation,
        agent,
        epoch: Epoch(epoch),
        disposition,
    };
    state.act(&identity, key, command).await
}

/// Makes wrap-up longer (R28).
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/wrap-up/extend", tag = "handling", request_body = ExtendBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn extend_wrap_up(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(ExtendBody { epoch, by_ms }): Given<ExtendBody>,
) -> Reply<ReceiptBody> {
    let agent = fenced(&identity, Action::ExtendWrapUp)?;
    let command = Command::ExtendWrapUp {
        conversation,
        agent,
        epoch: Epoch(epoch),
        by_ms,
    };
    state.act(&identity, key, command).await
}
