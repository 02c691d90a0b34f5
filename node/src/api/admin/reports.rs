//! KPIs of any tenant; see [`crate::api::reports`].

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use routing::ids::TenantId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Administrator;
use crate::api::input::{Asked, At};
use crate::api::model::report::{LiveBody, Report};
use crate::api::problem::Problem;
use crate::api::reports::{Wanted, answer, now};
use crate::api::{ApiState, Reply};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(tenant_report))
        .routes(routes!(tenant_live))
}

/// KPIs of a tenant's period, as `/v1/reports` gives them to its supervisors.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/reports", tag = "reports",
    params(("tenant" = String, Path, description = "`ten_…`"), Wanted),
    responses((status = 200, description = "JSON, or CSV with the same names as headings", body = Report))
)]
pub async fn tenant_report(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
    headers: HeaderMap,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    answer(&state, tenant, &wanted, &headers).await
}

/// KPIs of a tenant now, as `/v1/reports/live` gives them to its supervisors.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/reports/live", tag = "reports",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = LiveBody))
)]
pub async fn tenant_live(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<LiveBody> {
    now(&state, tenant).await
}
