//! A tenant's calendars (R34), and what holds for all its queues.

use axum::extract::State;
use routing::command::Command;
use routing::ids::{CalendarId, TenantId};
use routing::settings::Calendar;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::part::{self, Part, PartSaved, PartSaving};
use super::policy::setting;
use crate::api::caller::{Administrator, RequestKey};
use crate::api::input::{Asked, At, Given};
use crate::api::model::conversation::ReceiptBody;
use crate::api::model::settings::{CalendarBody, RoutingBody};
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, remove))
        .routes(routes!(get_routing, put_routing))
}

/// A calendar.
#[derive(Debug, Serialize, ToSchema)]
pub struct CalendarView {
    /// Which.
    #[schema(value_type = String, example = "cal_0192e4a5b6c77d8e9f00112233445566")]
    pub id: CalendarId,
    /// As set.
    pub settings: CalendarBody,
    /// Its hours are made until then; more are made in time.
    pub covered_until_ms: u64,
}

impl From<(CalendarId, &Calendar)> for CalendarView {
    fn from((id, calendar): (CalendarId, &Calendar)) -> Self {
        Self {
            id,
            settings: (&calendar.settings).into(),
            covered_until_ms: calendar.covered_until_ms,
        }
    }
}

/// All calendars of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct CalendarList {
    /// By id.
    pub calendars: Vec<CalendarView>,
}

/// All calendars of a tenant.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/calendars", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = CalendarList))
)]
pub async fn list(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<CalendarList> {
    let (policy, _) = setting(&state, tenant).await?;
    let calendars = policy.calendars.iter().map(|(id, calendar)| (*id, calendar).into());
    Ok(axum::Json(CalendarList {
        calendars: calendars.collect(),
    }))
}

/// One calendar.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/calendars/{calendar}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("calendar" = String, Path, description = "`cal_…`")),
    responses((status = 200, body = CalendarView))
)]
pub async fn get(
    State(state): State<ApiState>,
    _: Administrator,
    At((tenant, calendar)): At<(TenantId, CalendarId)>,
) -> Reply<CalendarView> {
    let (policy, _) = setting(&state, tenant).await?;
    let found = policy.calendars.get(&calendar);
    let unknown = || Problem::not_found("unknown_calendar", format!("there is no calendar {calendar}"));
    Ok(axum::Json((calendar, found.ok_or_else(unknown)?).into()))
}

/// Makes or replaces a calendar; its hours are made for more than a year, and kept ahead. Refused when the linter finds an error
/// in it (`policy_refused`).
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/calendars/{calendar}", tag = "settings", request_body = CalendarBody,
    params(
        ("tenant" = String, Path, description = "`ten_…`"), ("calendar" = String, Path, description = "`cal_…`"), PartSaving
    ),
    responses((status = 200, body = PartSaved))
)]
pub async fn put(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, calendar)): At<(TenantId, CalendarId)>,
    Asked(saving): Asked<PartSaving>,
    key: RequestKey,
    Given(settings): Given<CalendarBody>,
) -> Reply<PartSaved> {
    let part = Part::Calendar(calendar, settings.into());
    part::save(&state, &admin.within(tenant), key, saving, part).await
}

/// Removes a calendar that no queue has.
#[utoipa::path(
    delete, path = "/v1/admin/tenants/{tenant}/calendars/{calendar}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("calendar" = String, Path, description = "`cal_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn remove(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, calendar)): At<(TenantId, CalendarId)>,
    key: RequestKey,
) -> Reply<ReceiptBody> {
    state
        .act(&admin.within(tenant), key, Command::RemoveCalendar { calendar })
        .await
}

/// What holds for the whole tenant.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/routing", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = RoutingBody))
)]
pub async fn get_routing(
    State(state): State<ApiState>,
    _: Administrator,
    At(tenant): At<TenantId>,
) -> Reply<RoutingBody> {
    let (policy, _) = setting(&state, tenant).await?;
    Ok(axum::Json((&policy.routing).into()))
}

/// Replaces what holds for the whole tenant; what is left out has its default. Refused when the linter finds an error in it
/// (`policy_refused`).
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/routing", tag = "settings", request_body = RoutingBody,
    params(("tenant" = String, Path, description = "`ten_…`"), PartSaving),
    responses((status = 200, body = PartSaved))
)]
pub async fn put_routing(
    State(state): State<ApiState>,
    admin: Administrator,
    At(tenant): At<TenantId>,
    Asked(saving): Asked<PartSaving>,
    key: RequestKey,
    Given(settings): Given<RoutingBody>,
) -> Reply<PartSaved> {
    let part = Part::Routing(settings.into());
    part::save(&state, &admin.within(tenant), key, saving, part).await
}
