//! A tenant's rules (R1).

use axum::extract::State;
use axum::http::StatusCode;
use routing::ids::TenantId;
use routing::settings::Rule;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::part::{self, Part, PartSaved, PartSaving};
use crate::api::caller::{Administrator, RequestKey};
use crate::api::input::{At, Given};
use crate::api::model::settings::{RuleBody, RulesBody};
use crate::api::problem::{FieldProblem, Problem};
use crate::api::{ApiState, Reply};
use crate::query::{Answer, Query};
use crate::rules::{RuleError, check_all};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get, put))
}

/// The rules of a tenant, in order.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/rules", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = RulesBody))
)]
pub async fn get(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<RulesBody> {
    match state.ask(tenant, Query::Rules).await? {
        Answer::Rules { rules, fallback } => Ok(axum::Json(RulesBody {
            rules: rules.iter().map(RuleBody::from).collect(),
            fallback: fallback.as_ref().map(Into::into),
        })),
        _ => Err(Problem::internal()),
    }
}

/// Replaces all rules. Every expression is checked first; all that are wrong are named (`bad_rule`). What the linter says of them
/// comes back: rules may be saved before the agents who satisfy them.
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/rules", tag = "settings", request_body = RulesBody,
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = PartSaved))
)]
pub async fn put(
    State(state): State<ApiState>,
    admin: Administrator,
    At(tenant): At<TenantId>,
    key: RequestKey,
    Given(RulesBody { rules, fallback }): Given<RulesBody>,
) -> Reply<PartSaved> {
    let rules: Vec<Rule> = rules.into_iter().map(Into::into).collect();
    let fallback = fallback.map(Into::into);
    let wrong = check_all(&rules, fallback.as_ref());
    if let Some((_, first)) = wrong.first() {
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_rule", first.to_string());
        problem.errors = wrong.iter().map(|(at, error)| field(*at, error)).collect();
        return Err(problem);
    }
    let part = Part::Rules(rules, fallback);
    part::save(&state, &admin.within(tenant), key, PartSaving::default(), part).await
}

fn field(rule: Option<usize>, error: &RuleError) -> FieldProblem {
    let pointer = match (rule, error) {
        (Some(at), RuleError::DuplicateName(_)) => format!("/rules/{at}/name"),
        (Some(at), RuleError::NoParts | RuleError::NoQueue(_)) => format!("/rules/{at}/parts"),
        (Some(at), _) => format!("/rules/{at}/when"),
        (None, RuleError::TooMany(_)) => "/rules".to_owned(),
        (None, _) => "/fallback/queues".to_owned(),
    };
    FieldProblem {
        pointer,
        detail: error.to_string(),
    }
}
