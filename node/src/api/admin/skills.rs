//! A tenant's skills.

use std::collections::BTreeMap;

use axum::extract::State;
use routing::command::Command;
use routing::ids::{SkillName, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::part::{self, Part, PartSaved, PartSaving};
use crate::api::caller::{Administrator, RequestKey};
use crate::api::input::{At, Given};
use crate::api::model::conversation::ReceiptBody;
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};
use crate::query::{Answer, Query};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, remove))
}

/// All skills of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct SkillList {
    /// Descriptions by name.
    pub skills: BTreeMap<String, String>,
}

/// A skill.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SkillBody {
    /// In words.
    #[serde(default)]
    pub description: String,
}

async fn skills(state: &ApiState, tenant: TenantId) -> Result<BTreeMap<SkillName, String>, Problem> {
    match state.ask(tenant, Query::Skills).await? {
        Answer::Skills(skills) => Ok(skills),
        _ => Err(Problem::internal()),
    }
}

/// All skills of a tenant.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/skills", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = SkillList))
)]
pub async fn list(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<SkillList> {
    let skills = skills(&state, tenant)
        .await?
        .into_iter()
        .map(|(SkillName(name), text)| (name, text))
        .collect();
    Ok(axum::Json(SkillList { skills }))
}

/// One skill.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/skills/{skill}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("skill" = String, Path, description = "Its name")),
    responses((status = 200, body = SkillBody))
)]
pub async fn get(
    State(state): State<ApiState>,
    _: Administrator,
    At((tenant, skill)): At<(TenantId, SkillName)>,
) -> Reply<SkillBody> {
    let description = skills(&state, tenant).await?.remove(&skill);
    let description = description.ok_or_else(|| Problem::not_found("unknown_skill", "there is no such skill"))?;
    Ok(axum::Json(SkillBody { description }))
}

/// Makes a skill known, or describes it anew.
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/skills/{skill}", tag = "settings", request_body = SkillBody,
    params(("tenant" = String, Path, description = "`ten_…`"), ("skill" = String, Path, description = "Its name")),
    responses((status = 200, body = PartSaved))
)]
pub async fn put(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, skill)): At<(TenantId, SkillName)>,
    key: RequestKey,
    Given(SkillBody { description }): Given<SkillBody>,
) -> Reply<PartSaved> {
    let part = Part::Skill(skill, description);
    part::save(&state, &admin.within(tenant), key, PartSaving::default(), part).await
}

/// Forgets a skill that nobody has or asks for.
#[utoipa::path(
    delete, path = "/v1/admin/tenants/{tenant}/skills/{skill}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("skill" = String, Path, description = "Its name")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn remove(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, skill)): At<(TenantId, SkillName)>,
    key: RequestKey,
) -> Reply<ReceiptBody> {
    state
        .act(&admin.within(tenant), key, Command::RemoveSkill { skill })
        .await
}
