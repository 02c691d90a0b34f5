//! Keys that verify a tenant's tokens. Their material goes in and never comes out.

use axum::extract::State;
use axum::http::StatusCode;
use routing::ids::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tenants::unknown;
use crate::api::caller::Administrator;
use crate::api::input::{At, Given};
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};
use crate::auth::{KeyError, check_key};
use crate::directory::{KeyAlgorithm, TenantKey};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, remove))
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret of at least 32 bytes.
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519; the public key in PEM.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A key, without its material.
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    /// Key id, unique in the cluster.
    pub kid: String,
    /// Its only algorithm.
    pub algorithm: Algorithm,
}

/// A tenant's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// By kid.
    pub keys: Vec<Key>,
}

/// A tenant's keys, as this node's copy of the directory has them.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/keys", tag = "tenants",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = KeyList))
)]
pub async fn list(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<KeyList> {
    let directory = state.backend.directory();
    if !directory.tenants.contains_key(&tenant) {
        return Err(unknown());
    }
    let keys = directory
        .keys
        .values()
        .filter(|(owner, _)| *owner == tenant)
        .map(|(_, key)| Key {
            kid: key.kid.clone(),
            algorithm: match key.algorithm {
                KeyAlgorithm::Hs256 => Algorithm::Hs256,
                KeyAlgorithm::EdDsa => Algorithm::EdDsa,
            },
        });
    Ok(axum::Json(KeyList { keys: keys.collect() }))
}

/// A key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// Its only algorithm.
    pub algorithm: Algorithm,
    /// The secret (HS256), or the public key in PEM (EdDSA).
    pub material: String,
}

/// Makes or replaces a key of a tenant.
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/keys/{kid}", tag = "tenants", request_body = KeyBody,
    params(("tenant" = String, Path, description = "`ten_…`"), ("kid" = String, Path, description = "Key id")),
    responses((status = 204))
)]
pub async fn put(
    State(state): State<ApiState>,
    _: Administrator,
    At((tenant, kid)): At<(TenantId, String)>,
    Given(KeyBody { algorithm, material }): Given<KeyBody>,
) -> Result<StatusCode, Problem> {
    let directory = state.backend.directory();
    if !directory.tenants.contains_key(&tenant) {
        return Err(unknown());
    }
    if directory.keys.get(&kid).is_some_and(|(owner, _)| *owner != tenant) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "already_exists",
            "this kid is taken; choose another",
        ));
    }
    let algorithm = match algorithm {
        Algorithm::Hs256 => KeyAlgorithm::Hs256,
        Algorithm::EdDsa => KeyAlgorithm::EdDsa,
    };
    let key = TenantKey {
        kid,
        algorithm,
        material,
    };
    check_key(&key).map_err(|error| match error {
        KeyError::KidInvalid => Problem::bad_request("bad_id", error.to_string()),
        _ => Problem::invalid("invalid", "/material", error.to_string()),
    })?;
    state.backend.put_key(tenant, key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a key: tokens that it signed are refused from now on.
#[utoipa::path(
    delete, path = "/v1/admin/tenants/{tenant}/keys/{kid}", tag = "tenants",
    params(("tenant" = String, Path, description = "`ten_…`"), ("kid" = String, Path, description = "Key id")),
    responses((status = 204))
)]
pub async fn remove(
    State(state): State<ApiState>,
    _: Administrator,
    At((tenant, kid)): At<(TenantId, String)>,
) -> Result<StatusCode, Problem> {
    let directory = state.backend.directory();
    if directory.keys.get(&kid).is_none_or(|(owner, _)| *owner != tenant) {
        return Err(Problem::not_found("unknown_key", "the tenant has no such key"));
    }
    state.backend.remove_key(tenant, kid).await?;
    Ok(StatusCode::NO_CONTENT)
}
