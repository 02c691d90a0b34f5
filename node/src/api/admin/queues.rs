//! A tenant's queues.

use axum::extract::State;
use routing::command::Command;
use routing::ids::{QueueId, TenantId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::part::{self, Part, PartSaved, PartSaving};
use crate::api::caller::{Administrator, RequestKey};
use crate::api::input::{Asked, At, Given};
use crate::api::model::conversation::ReceiptBody;
use crate::api::model::settings::QueueBody;
use crate::api::problem::Problem;
use crate::api::{ApiState, Reply};
use crate::query::{Answer, Query, QueueRecord};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, remove))
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct Queue {
    /// Which.
    #[schema(value_type = String, example = "que_0192e4a5b6c77d8e9f00112233445566")]
    pub id: QueueId,
    /// As set.
    pub settings: QueueBody,
    /// Conversations that wait.
    pub waiting: u64,
    /// Since when the oldest waits.
    pub oldest_since_ms: Option<u64>,
}

impl From<&QueueRecord> for Queue {
    fn from(record: &QueueRecord) -> Self {
        Self {
            id: record.queue,
            settings: QueueBody::from(&*record.settings),
            waiting: record.waiting,
            oldest_since_ms: record.oldest_since_ms,
        }
    }
}

/// All queues of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueList {
    /// By id.
    pub queues: Vec<Queue>,
}

async fn records(state: &ApiState, tenant: TenantId) -> Result<Vec<QueueRecord>, Problem> {
    match state.ask(tenant, Query::Queues).await? {
        Answer::Queues(records) => Ok(records),
        _ => Err(Problem::internal()),
    }
}

/// All queues of a tenant.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/queues", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`")),
    responses((status = 200, body = QueueList))
)]
pub async fn list(State(state): State<ApiState>, _: Administrator, At(tenant): At<TenantId>) -> Reply<QueueList> {
    let queues = records(&state, tenant).await?.iter().map(Queue::from).collect();
    Ok(axum::Json(QueueList { queues }))
}

/// One queue.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}/queues/{queue}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("queue" = String, Path, description = "`que_…`")),
    responses((status = 200, body = Queue))
)]
pub async fn get(
    State(state): State<ApiState>,
    _: Administrator,
    At((tenant, queue)): At<(TenantId, QueueId)>,
) -> Reply<Queue> {
    let records = records(&state, tenant).await?;
    let record = records.iter().find(|record| record.queue == queue);
    let record = record.ok_or_else(|| Problem::not_found("unknown_queue", format!("there is no queue {queue}")))?;
    Ok(axum::Json(record.into()))
}

/// Makes or replaces a queue. What is left out has its default. Refused when the linter finds an error in it (`policy_refused`).
#[utoipa::path(
    put, path = "/v1/admin/tenants/{tenant}/queues/{queue}", tag = "settings", request_body = QueueBody,
    params(
        ("tenant" = String, Path, description = "`ten_…`"), ("queue" = String, Path, description = "`que_…`"), PartSaving
    ),
    responses((status = 200, body = PartSaved))
)]
pub async fn put(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, queue)): At<(TenantId, QueueId)>,
    Asked(saving): Asked<PartSaving>,
    key: RequestKey,
    Given(settings): Given<QueueBody>,
) -> Reply<PartSaved> {
    super::named(&settings.name)?;
    let part = Part::Queue(queue, Box::new(settings.into()));
    part::save(&state, &admin.within(tenant), key, saving, part).await
}

/// Removes a queue that nothing waits in and nobody serves.
#[utoipa::path(
    delete, path = "/v1/admin/tenants/{tenant}/queues/{queue}", tag = "settings",
    params(("tenant" = String, Path, description = "`ten_…`"), ("queue" = String, Path, description = "`que_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn remove(
    State(state): State<ApiState>,
    admin: Administrator,
    At((tenant, queue)): At<(TenantId, QueueId)>,
    key: RequestKey,
) -> Reply<ReceiptBody> {
    state
        .act(&admin.within(tenant), key, Command::RemoveQueue { queue })
        .await
}
