//! What a replay needs of a period (R40): conversations as they went, who was there, and what was set.

use axum::extract::State;
use routing::ids::{AgentId, ConversationId, Millis, TenantId};
use routing::view::Presence;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Administrator;
use crate::api::conversations::page_limit;
use crate::api::input::{Asked, At};
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};
use crate::limits::PAGE_MAX;
use crate::query::{Answer, Query};
use crate::replay::trace::{Setting, TracedConversation};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(conversations))
        .routes(routes!(presences))
        .routes(routes!(setting))
}

/// Which period and page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// First millisecond since the Unix epoch.
    pub from_ms: Millis,
    /// First millisecond after it.
    pub until_ms: Millis,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<ConversationId>,
    /// Rows, 1–500; 100 unless given.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
}

/// A page of a trace.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TracePage {
    /// Those that began in the period and have ended, in the order of their ids.
    pub conversations: Vec<TracedConversation>,
    /// Give this as `cursor` to get more; absent: there are no more.
    pub next_cursor: Option<String>,
}

/// Conversations of a period that have ended: arrivals, waits, service, and how they ended. Without what was said.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/trace/conversations", tag = "reports",
    params(("tenant" = String, Path, description = "`ten_…`"), Period),
    responses((status = 200, body = TracePage))
)]
pub async fn conversations(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
    Asked(period): Asked<Period>,
) -> Reply<TracePage> {
    let limit = page_limit(period.limit, PAGE_MAX)?;
    let question = Query::Closed {
        from_ms: period.from_ms,
        until_ms: period.until_ms,
        after: period.cursor,
        limit,
    };
    let Answer::Conversations(views) = state.ask(tenant, question).await? else {
        return Err(Problem::internal());
    };
    let next = views.last().filter(|_| views.len() >= limit);
    let of_period = |started_at_ms: Millis| (period.from_ms..period.until_ms).contains(&started_at_ms);
    Ok(axum::Json(TracePage {
        next_cursor: next.map(|view| view.conversation.to_string()),
        conversations: views
            .iter()
            .filter(|view| of_period(view.started_at_ms))
            .map(TracedConversation::from)
            .collect(),
    }))
}

/// Which period of presences.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// First millisecond since the Unix epoch.
    pub from_ms: Millis,
    /// First millisecond after it.
    pub until_ms: Millis,
    /// Rows, 1–500; 100 unless given.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
}

/// A change of an agent's presence.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PresenceChanged {
    /// Who.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// When.
    pub at_ms: Millis,
    /// What they became.
    #[schema(value_type = Object)]
    pub presence: Presence,
}

/// Changes of presence, in order of time. A full page may end within a millisecond: go on from the last `at_ms`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PresencePage {
    /// In order of time.
    pub presences: Vec<PresenceChanged>,
    /// There may be more.
    pub more: bool,
}

/// Who became what, when.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/trace/presences", tag = "reports",
    params(("tenant" = String, Path, description = "`ten_…`"), Moments),
    responses((status = 200, body = PresencePage))
)]
pub async fn presences(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
    Asked(moments): Asked<Moments>,
) -> Reply<PresencePage> {
    let limit = page_limit(moments.limit, PAGE_MAX)?;
    let question = Query::Presences {
        from_ms: moments.from_ms,
        until_ms: moments.until_ms,
        limit,
    };
    let Answer::Presences(found) = state.ask(tenant, question).await? else {
        return Err(Problem::internal());
    };
    let changed = |(agent, at_ms, presence)| PresenceChanged { agent, at_ms, presence };
    Ok(axum::Json(PresencePage {
        more: found.len() >= limit,
        presences: found.into_iter().map(changed).collect(),
    }))
}

/// What is set now: the policy, and the agents.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/trace/setting", tag = "reports",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = Setting))
)]
pub async fn setting(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<Setting> {
    match state.ask(tenant, Query::Setting).await? {
        Answer::Setting { policy, agents } => Ok(axum::Json(Setting { policy, agents })),
        _ => Err(Problem::internal()),
    }
}
