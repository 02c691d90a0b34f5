//! Administration, on a listener of its own, by API key: the cluster, and what tenants are set to.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::caller::Administrator;
use super::input::Given;
use super::problem::Problem;

pub mod agents;
pub mod calendars;
pub mod cluster;
pub mod conversations;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod keys;
pub mod part;
pub mod policy;
pub mod queues;
pub mod reports;
pub mod rules;
pub mod skills;
pub mod tenants;
pub mod trace;

/// The routes of administration.
pub fn routes() -> OpenApiRouter<ApiState> {
    let routes = OpenApiRouter::new()
        .merge(cluster::routes())
        .merge(tenants::routes())
        .merge(keys::routes())
        .merge(queues::routes())
        .merge(skills::routes())
        .merge(agents::routes())
        .merge(rules::routes())
        .merge(calendars::routes())
        .merge(policy::routes())
        .merge(conversations::routes())
        .merge(trace::routes())
        .merge(reports::routes())
        .routes(routes!(drain));
    #[cfg(feature = "failpoints")]
    let routes = routes.merge(failpoints::routes());
    routes
}

/// Nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainBody {}

/// A drain that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub struct Draining {
    /// `true`.
    pub draining: bool,
}

/// Drains this node: not ready any more, leaderships handed over, clients told to go elsewhere. Returns at once.
#[utoipa::path(
    post, path = "/v1/admin/node/drain", tag = "cluster", request_body = DrainBody,
    responses((status = 202, body = Draining))
)]
pub async fn drain(
    State(state): State<ApiState>,
    _: Administrator,
    Given(DrainBody {}): Given<DrainBody>,
) -> Result<(StatusCode, axum::Json<Draining>), Problem> {
    (state.drain)();
    Ok((StatusCode::ACCEPTED, axum::Json(Draining { draining: true })))
}

/// A name that must be there.
fn named(name: &str) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(Problem::invalid("missing_field", "/name", "missing field `name`"));
    }
    Ok(())
}
