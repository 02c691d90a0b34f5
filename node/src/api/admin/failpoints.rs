//! Faults that tests put in while a node runs. Only builds with the feature `failpoints` have this route.

use axum::extract::Path;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::Administrator;
use crate::api::input::Given;
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};

/// The routes.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(put))
}

/// What happens at a fail point.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FailpointBody {
    /// In the language of the crate `fail`: `1*panic`, `50%sleep(100)`, `off`, …
    #[schema(example = "1*panic")]
    pub actions: String,
}

/// Sets what happens at a fail point of this node, until it is set again.
#[utoipa::path(
    put, path = "/v1/admin/failpoints/{name}", tag = "cluster", request_body = FailpointBody,
    params(("name" = String, Path, description = "for example `actors::queue_manager`")),
    responses((status = 200, body = FailpointBody))
)]
pub async fn put(
    Path(name): Path<String>,
    _: Administrator,
    Given(body): Given<FailpointBody>,
) -> Reply<FailpointBody> {
    fail::cfg(name.as_str(), &body.actions).map_err(|why| Problem::invalid("invalid_failpoint", "/actions", why))?;
    tracing::warn!(name, actions = body.actions, "a fail point is set");
    Ok(axum::Json(body))
}
