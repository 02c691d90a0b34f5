//! Tenants.

use axum::extract::State;
use axum::http::StatusCode;
use routing::ids::TenantId;
use routing::limits::NAME_MAX_BYTES;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Administrator;
use crate::api::input::{At, Given};
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};
use crate::directory::TenantPlace;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put))
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenant {
    /// Which.
    #[schema(value_type = String, example = "ten_0192e4a5b6c77d8e9f00112233445566")]
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// The shard that holds it.
    pub shard: u32,
}

impl From<&TenantPlace> for Tenant {
    fn from(place: &TenantPlace) -> Self {
        Self {
            id: place.tenant,
            name: place.name.clone(),
            shard: place.shard,
        }
    }
}

/// All tenants.
#[derive(Debug, Serialize, ToSchema)]
pub struct TenantList {
    /// By id.
    pub tenants: Vec<Tenant>,
}

/// Every tenant, as this node's copy of the directory has it.
#[utoipa::path(get, path = "/v1/admin/tenants", tag = "tenants", responses((status = 200, body = TenantList)))]
pub async fn list(State(state): State<ApiState>, _: Administrator) -> Reply<TenantList> {
    let directory = state.backend.directory();
    let tenants = directory.tenants.values().map(Tenant::from).collect();
    Ok(axum::Json(TenantList { tenants }))
}

/// A tenant, as this node's copy of the directory has it.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = Tenant))
)]
pub async fn get(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<Tenant> {
    let directory = state.backend.directory();
    let place = directory.tenants.get(&tenant).ok_or_else(unknown)?;
    Ok(axum::Json(place.into()))
}

/// The answer for a tenant that the directory does not have.
pub fn unknown() -> Problem {
    Problem::not_found("unknown_tenant", "there is no such tenant")
}

/// A tenant to be made or renamed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantBody {
    /// Its name, at most 64 bytes.
    pub name: String,
}

/// Makes a tenant, in the shard with the fewest, or renames it. Repeating it changes nothing.
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}", tag = "tenants", request_body = TenantBody,
    params(("tenant" = String, Path, description = "`ten_…` and 32 hexadecimal digits of the caller's choice")),
    responses((status = 204))
)]
pub async fn put(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
    Given(TenantBody { name }): Given<TenantBody>,
) -> Result<StatusCode, Problem> {
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        return Err(Problem::invalid(
            "invalid",
            "/name",
            format!("a name has 1 to {NAME_MAX_BYTES} bytes"),
        ));
    }
    state.backend.put_tenant(tenant, name).await?;
    Ok(StatusCode::NO_CONTENT)
}
