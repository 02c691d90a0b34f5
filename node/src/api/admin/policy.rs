//! A tenant's policy as a whole: all that decides routing but the agents; its versions, what differs, what the linter says (R43).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use routing::command::{Command, Principal};
use routing::ids::TenantId;
use routing::limits::REMARK_MAX_BYTES;
use routing::rejection::Rejection;
use routing::settings::{AgentSettings, Policy};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::caller::{Administrator, RequestKey};
use crate::api::input::{Asked, At, Given};
use crate::api::model::settings::PolicyBody;
use crate::api::problem::{FieldProblem, Problem};
use crate::api::{ApiState, Reply};
use crate::calendars::prepare;
use crate::engine::encoded;
use crate::error::EngineError;
use crate::limits::POLICY_MAX_BYTES;
use crate::policy_diff::{Change, changes, with_names};
use crate::policy_lint::{Agents, Finding, Severity, Shown, Thing, lint};
use crate::query::{Answer, PolicyVersionRecord, Query};
use crate::wall_clock::now_ms;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(get, put))
        .routes(routes!(lint_in_force, lint_given))
        .routes(routes!(versions))
        .routes(routes!(version))
}

/// A policy and its version.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyView {
    /// Give this as `expected_version` or in `If-Match` when it is changed. 0: none was ever given.
    pub version: u64,
    /// What it says.
    pub policy: PolicyBody,
}

/// How a policy is saved.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct Saving {
    /// Says what the linter finds and what would differ, and changes nothing.
    pub dry_run: bool,
    /// Refused (`stale_version`) when another version is in force. `If-Match` says the same.
    pub expected_version: Option<u64>,
    /// Saved although the linter finds errors.
    pub force: bool,
    /// What the change is for, at most 512 bytes.
    pub note: String,
}

/// A policy that was saved, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicySaved {
    /// The version in force now.
    pub version: u64,
    /// Nothing was changed: it was asked only.
    pub dry_run: bool,
    /// What differs from the version before.
    pub changes: Vec<Change>,
    /// What the linter says.
    pub findings: Vec<Shown>,
}

/// What the linter says.
#[derive(Debug, Serialize, ToSchema)]
pub struct Findings {
    /// A policy with errors is refused when it is saved.
    pub errors: usize,
    /// What may be meant.
    pub warnings: usize,
    /// Errors first.
    pub findings: Vec<Shown>,
}

/// A version of the policy.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// From 1; each change of the policy, whole or in part, is one.
    pub version: u64,
    /// Index of the log at which it came into force.
    pub index: u64,
    /// When.
    pub at_ms: u64,
    /// Who changed it, if that is known: `admin NAME`, or an agent's id.
    pub by: Option<String>,
    /// What for.
    pub note: String,
    /// Which parts.
    pub changed: Vec<String>,
}

/// The last versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionList {
    /// Newest first.
    pub versions: Vec<Version>,
}

/// One version, whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionView {
    /// Of the version.
    #[serde(flatten)]
    pub header: Version,
    /// What it says.
    pub policy: PolicyBody,
    /// What differs from `since`, if that is kept.
    pub changes: Vec<Change>,
}

/// Since which version.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct Since {
    /// Changes are told from this one; the one before, unless given.
    pub since: Option<u64>,
}

impl From<PolicyVersionRecord> for Version {
    fn from(from: PolicyVersionRecord) -> Self {
        let by = from.by.map(|by| match by {
            Principal::Admin(name) => format!("admin {name}"),
            Principal::Agent(agent) => agent.to_string(),
            Principal::Customer(customer) => format!("customer {}", customer.0),
        });
        Self {
            version: from.version,
            index: from.index,
            at_ms: from.at_ms,
            by,
            note: from.note,
            changed: from.changed,
        }
    }
}

async fn records(state: &ApiState, tenant: TenantId) -> Result<Vec<PolicyVersionRecord>, Problem> {
    match state.ask(tenant, Query::PolicyVersions).await? {
        Answer::PolicyVersions(records) => Ok(records),
        _ => Err(Problem::internal()),
    }
}

async fn policy(state: &ApiState, tenant: TenantId, version: Option<u64>) -> Result<(u64, Option<Policy>), Problem> {
    match state.ask(tenant, Query::Policy { version }).await? {
        Answer::Policy { version, policy } => Ok((version, policy.map(|policy| *policy))),
        _ => Err(Problem::internal()),
    }
}

pub(super) async fn setting(state: &ApiState, tenant: TenantId) -> Result<(Policy, Agents), Problem> {
    match state.ask(tenant, Query::Setting).await? {
        Answer::Setting { policy, agents } => {
            let agents = agents.into_iter().map(|(id, agent)| (id, AgentSettings::clone(&agent)));
            Ok((*policy, agents.collect()))
        }
        _ => Err(Problem::internal()),
    }
}

/// What differs, by names.
pub fn difference(before: &Policy, after: &Policy) -> Vec<Change> {
    let tree = |policy: &Policy| serde_json::to_value(PolicyBody::from(policy)).unwrap_or(Value::Null);
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for policy in [before, after] {
        names.extend(
            policy
                .queues
                .iter()
                .map(|(id, queue)| (id.to_string(), queue.name.clone())),
        );
        let calendars = policy.calendars.iter();
        names.extend(calendars.map(|(id, calendar)| (id.to_string(), calendar.settings.name.clone())));
    }
    // Two things may have had one name in turn: then ids tell them apart.
    let mut holders: BTreeMap<&String, usize> = BTreeMap::new();
    names.values().for_each(|name| *holders.entry(name).or_default() += 1);
    let alone: BTreeMap<String, String> = names
        .iter()
        .filter(|(_, name)| holders.get(name) == Some(&1))
        .map(|(id, name)| (id.clone(), name.clone()))
        .collect();
    changes(&with_names(&tree(before), &alone), &with_names(&tree(after), &alone))
}

pub(super) fn shown(findings: &[Finding]) -> Vec<Shown> {
    findings.iter().map(Finding::shown).collect()
}

fn counted(findings: &[Finding]) -> Findings {
    let errors = findings.iter().filter(|one| one.severity == Severity::Error).count();
    Findings {
        errors,
        warnings: findings.len() - errors,
        findings: shown(findings),
    }
}

/// Errors of the policy itself: an agent's capacity is none of it.
fn refusal(findings: &[Finding]) -> Option<Problem> {
    let of_policy = |one: &&Finding| one.severity == Severity::Error && !matches!(one.spot.thing, Thing::Agent(_));
    let errors: Vec<&Finding> = findings.iter().filter(of_policy).collect();
    let first = errors.first()?;
    let detail = format!("{}: {}", first.of, first.message);
    let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "policy_refused", detail);
    let field = |one: &&Finding| FieldProblem {
        pointer: one.spot.pointer(),
        detail: format!("{}: {}: {}", one.code, one.of, one.message),
    };
    problem.errors = errors.iter().map(field).collect();
    Some(problem)
}

fn expected(saving: &Saving, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(given) = headers.get(header::IF_MATCH) else {
        return Ok(saving.expected_version);
    };
    let text = given.to_str().unwrap_or_default().trim().trim_matches('"');
    let version = text.parse();
    let version = version.map_err(|_| Problem::bad_request("bad_if_match", "`If-Match` is a version, like \"3\""))?;
    Ok(Some(version))
}

/// The policy in force.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/policy", tag = "policy",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = PolicyView))
)]
pub async fn get(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<PolicyView> {
    let (version, policy) = policy(&state, tenant, None).await?;
    let policy = policy.ok_or_else(Problem::internal)?;
    Ok(axum::Json(PolicyView {
        version,
        policy: (&policy).into(),
    }))
}

/// Replaces the whole policy at one index of the log. What is out meanwhile (offers) ends under the version it was made with.
/// Refused when the linter finds an error (`policy_refused`), when something that vanishes is in use, when another version
/// is in force than was expected (`stale_version`), or when it is too large for one command of the log (`too_large`).
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/policy", tag = "policy", request_body = PolicyBody,
    params(("tenant" = String, Path, description = "`ten_…`"), Saving),
    responses((status = 200, body = PolicySaved))
)]
pub async fn put(
    State(state): State<ApiState>,
    admin: Administrator,
    At(tenant): At<TenantId>,
    Asked(saving): Asked<Saving>,
    headers: HeaderMap,
    key: RequestKey,
    Given(body): Given<PolicyBody, POLICY_MAX_BYTES>,
) -> Reply<PolicySaved> {
    if saving.note.len() > REMARK_MAX_BYTES {
        return Err(Problem::bad_request(
            "invalid",
            format!("a note has at most {REMARK_MAX_BYTES} bytes"),
        ));
    }
    let expected = expected(&saving, &headers)?;
    let (current, _) = policy(&state, tenant, None).await?;
    let (before, agents) = setting(&state, tenant).await?;
    let mut policy: Policy = body.into();
    let findings = lint(&policy, &agents, now_ms());
    if let Some(problem) = refusal(&findings).filter(|_| !saving.force && !saving.dry_run) {
        return Err(problem);
    }
    let changes = difference(&before, &policy);
    let made = prepare(&mut policy, Some(&before), now_ms());
    let identity = admin.within(tenant);
    let command = Command::ActivatePolicy {
        policy: Box::new(policy),
        expected,
        by: identity.principal(),
        note: saving.note,
    };
    if saving.dry_run {
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            return Err(EngineError::Rejected(Rejection::StaleVersion { expected, current }).into());
        }
        if made.is_ok() {
            encoded(tenant, Some(identity.key(key.instance, key.number)), command)?;
        }
        return Ok(axum::Json(PolicySaved {
            version: current,
            dry_run: true,
            changes,
            findings: shown(&findings),
        }));
    }
    made.map_err(|(calendar, error)| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "policy_refused",
            format!("calendar `{calendar}`: {error}"),
        )
    })?;
    let axum::Json(_) = state.act(&identity, key, command).await?;
    let last = records(&state, tenant).await?.pop();
    Ok(axum::Json(PolicySaved {
        version: last.map_or(0, |last| last.version),
        dry_run: false,
        changes,
        findings: shown(&findings),
    }))
}

/// What the linter says of the policy in force.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/policy/lint", tag = "policy",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = Findings))
)]
pub async fn lint_in_force(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
) -> Reply<Findings> {
    let (policy, agents) = setting(&state, tenant).await?;
    Ok(axum::Json(counted(&lint(&policy, &agents, now_ms()))))
}

/// What the linter says of a policy that is given, with the tenant's agents. Changes nothing.
#[utoipa::path(
    post, path = "/v1/admin/tenants/{tenant}/policy/lint", tag = "policy", request_body = PolicyBody,
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = Findings))
)]
pub async fn lint_given(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
    Given(body): Given<PolicyBody, POLICY_MAX_BYTES>,
) -> Reply<Findings> {
    let (_, agents) = setting(&state, tenant).await?;
    Ok(axum::Json(counted(&lint(&body.into(), &agents, now_ms()))))
}

/// The last versions of the policy, newest first.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/policy/versions", tag = "policy",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = VersionList))
)]
pub async fn versions(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<VersionList> {
    let records = records(&state, tenant).await?;
    let versions = records.into_iter().rev().map(Version::from).collect();
    Ok(axum::Json(VersionList { versions }))
}

/// One of the last versions, whole, and what it changed. To go back to it, put it again.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/policy/versions/{version}", tag = "policy",
    params(
        ("tenant" = String, Path, description = "`ten_…`"), ("version" = u64, Path, description = "From 1"), Since
    ),
    responses((status = 200, body = VersionView))
)]
pub async fn version(
    State(state): State<ApiState>,
    _: Administrator,
    At((tenant, version)): At<(TenantId, u64)>,
    Asked(Since { since }): Asked<Since>,
) -> Reply<VersionView> {
    let unknown = |version| Problem::not_found("unknown_version", format!("version {version} is not kept"));
    let records = records(&state, tenant).await?;
    let record = records.into_iter().find(|record| record.version == version);
    let header = record.ok_or_else(|| unknown(version))?.into();
    let (_, found) = policy(&state, tenant, Some(version)).await?;
    let found = found.ok_or_else(|| unknown(version))?;
    let before = match since {
        Some(since) => Some(
            policy(&state, tenant, Some(since))
                .await?
                .1
                .ok_or_else(|| unknown(since))?,
        ),
        None if version == 1 => Some(Policy::default()),
        None => policy(&state, tenant, Some(version - 1)).await?.1,
    };
    Ok(axum::Json(VersionView {
        header,
        changes: before.map(|before| difference(&before, &found)).unwrap_or_default(),
        policy: (&found).into(),
    }))
}
