//! A tenant's agents.

use axum::extract::State;
use routing::command::Command;
use routing::ids::{AgentId, TenantId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::{Administrator, RequestKey};
use crate::api::conversations::page_limit;
use crate::api::input::{Asked, At, Given};
use crate::api::model::conversation::ReceiptBody;
use crate::api::model::person::{Agent, AgentPage};
use crate::api::model::settings::AgentBody;
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};
use crate::limits::PAGE_MAX;
use crate::query::{Answer, Query};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, remove))
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<AgentId>,
    /// Rows, 1–500; 100 unless given.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
}

/// Agents of a tenant, by id.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/agents", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), Page),
    responses((status = 200, body = AgentPage))
)]
pub async fn list(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
    Asked(page): Asked<Page>,
) -> Reply<AgentPage> {
    let limit = page_limit(page.limit, PAGE_MAX)?;
    let question = Query::Agents {
        after: page.cursor,
        limit,
    };
    let Answer::Agents(records) = state.ask(tenant, question).await? else {
        return Err(Problem::internal());
    };
    let next = records.last().filter(|_| records.len() >= limit);
    Ok(axum::Json(AgentPage {
        next_cursor: next.map(|record| record.agent.to_string()),
        agents: records.iter().map(Agent::from).collect(),
    }))
}

/// One agent.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/agents/{agent}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("agent" = String, Path, description = "`agt_…`")),
    responses((status = 200, body = Agent))
)]
pub async fn get(
    State(state): State<ApiState>,
    _: Administrator,
    At((tenant, agent)): At<(TenantId, AgentId)>,
) -> Reply<Agent> {
    match state.ask(tenant, Query::Agent(agent)).await? {
        Answer::Agent(Some(record)) => Ok(axum::Json(Agent::from(&record))),
        Answer::Agent(None) => Err(Problem::not_found(
            "unknown_agent",
            format!("there is no agent {agent}"),
        )),
        _ => Err(Problem::internal()),
    }
}

/// Makes or replaces an agent; what is assigned stays.
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/agents/{agent}", tag = "settings", request_body = AgentBody,
    params(("tenant" = String, Path, description = "`ten_…`"), ("agent" = String, Path, description = "`agt_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn put(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, agent)): At<(TenantId, AgentId)>,
    key: RequestKey,
    Given(settings): Given<AgentBody>,
) -> Reply<ReceiptBody> {
    super::named(&settings.name)?;
    let settings = settings.into();
    state
        .act(&admin.within(tenant), key, Command::PutAgent { agent, settings })
        .await
}

/// Removes an agent who is offline and owns nothing.
#[utoipa::path(
    delete, path = "/v1/admin/tenants/{tenant}/agents/{agent}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("agent" = String, Path, description = "`agt_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn remove(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, agent)): At<(TenantId, AgentId)>,
    key: RequestKey,
) -> Reply<ReceiptBody> {
    state
        .act(&admin.within(tenant), key, Command::RemoveAgent { agent })
        .await
}
