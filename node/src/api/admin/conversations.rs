//! Conversations of a tenant, from above: to look, and to set right.

use axum::extract::State;
use routing::command::{Author, Command};
use routing::ids::{ConversationId, TenantId};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::{Administrator, RequestKey};
use crate::api::conversations::{Wanted, WhyNot, answer_why, page, shown_whole};
use crate::api::handling::{AssignBody, ChangeBody};
use crate::api::input::{Asked, At, Given};
use crate::api::model::conversation::{Conversation, ConversationPage, ReceiptBody};
use crate::api::model::why::WhyBody;
use crate::api::{ApiState, Reply};
use crate::query::ConversationFilter;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(why))
        .routes(routes!(change))
        .routes(routes!(assign))
        .routes(routes!(close))
}

/// Conversations of a tenant.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/conversations", tag = "oversight",
    params(("tenant" = String, Path, description = "`ten_…`"), Wanted),
    responses((status = 200, body = ConversationPage))
)]
pub async fn list(
    State(state): State<ApiState>,
    admin: Administrator,
    At(tenant): At<TenantId>,
    Asked(wanted): Asked<Wanted>,
) -> Reply<ConversationPage> {
    let filter = wanted.filter()?.unwrap_or(ConversationFilter::All);
    page(&state, &admin.within(tenant), filter, &wanted).await
}

/// One conversation.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/conversations/{conversation}", tag = "oversight",
    params(
        ("tenant" = String, Path, description = "`ten_…`"),
        ("conversation" = String, Path, description = "`conv_…`"),
    ),
    responses((status = 200, body = Conversation))
)]
pub async fn get(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, conversation)): At<(TenantId, ConversationId)>,
) -> Reply<Conversation> {
    shown_whole(&state, &admin.within(tenant), conversation).await
}

/// Why it went to whom it went, or why it still waits (R39).
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/conversations/{conversation}/why", tag = "oversight",
    params(
        ("tenant" = String, Path, description = "`ten_…`"),
        ("conversation" = String, Path, description = "`conv_…`"),
        WhyNot,
    ),
    responses((status = 200, body = WhyBody))
)]
pub async fn why(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, conversation)): At<(TenantId, ConversationId)>,
    Asked(WhyNot { agent }): Asked<WhyNot>,
) -> Reply<WhyBody> {
    answer_why(&state, &admin.within(tenant), conversation, agent).await
}

/// Changes its priority or queue at once, or puts it in front (R16).
#[utoipa::path(
    post, path = "/v1/admin/tenants/{tenant}/conversations/{conversation}/override", tag = "oversight",
    request_body = ChangeBody,
    params(
        ("tenant" = String, Path, description = "`ten_…`"),
        ("conversation" = String, Path, description = "`conv_…`"),
    ),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn change(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, conversation)): At<(TenantId, ConversationId)>,
    key: RequestKey,
    Given(ChangeBody { change }): Given<ChangeBody>,
) -> Reply<ReceiptBody> {
    let identity = admin.within(tenant);
    let command = Command::OverrideConversation {
        conversation,
        by: identity.principal(),
        change: change.into(),
    };
    state.act(&identity, key, command).await
}

/// Gives it to an agent by hand (R10).
#[utoipa::path(
    post, path = "/v1/admin/tenants/{tenant}/conversations/{conversation}/assign", tag = "oversight",
    request_body = AssignBody,
    params(
        ("tenant" = String, Path, description = "`ten_…`"),
        ("conversation" = String, Path, description = "`conv_…`"),
    ),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn assign(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, conversation)): At<(TenantId, ConversationId)>,
    key: RequestKey,
    Given(AssignBody { agent }): Given<AssignBody>,
) -> Reply<ReceiptBody> {
    let identity = admin.within(tenant);
    let command = Command::AssignByHand {
        conversation,
        agent,
        by: identity.principal(),
    };
    state.act(&identity, key, command).await
}

/// How it ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndBody {
    /// What came of it.
    pub disposition: Option<String>,
    /// Whether the customer was helped; unless given, whether an agent has answered.
    pub resolved: Option<bool>,
}

/// Ends it.
#[utoipa::path(
    post, path = "/v1/admin/tenants/{tenant}/conversations/{conversation}/close", tag = "oversight",
    request_body = EndBody,
    params(
        ("tenant" = String, Path, description = "`ten_…`"),
        ("conversation" = String, Path, description = "`conv_…`"),
    ),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn close(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, conversation)): At<(TenantId, ConversationId)>,
    key: RequestKey,
    Given(EndBody { disposition, resolved }): Given<EndBody>,
) -> Reply<ReceiptBody> {
    let identity = admin.within(tenant);
    let command = Command::Close {
        conversation,
        by: Author::Supervisor(identity.principal()),
        disposition,
        resolved,
    };
    state.act(&identity, key, command).await
}
