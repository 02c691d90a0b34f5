//! Later (R33): put off until a time or an agent's return, called back; and what the customer says of it at the end.

use routing::command::Command;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::act::Act;
use super::handling::Nothing;
use super::model::conversation::ReceiptBody;
use super::model::entry::ScheduleBody;
use super::{ApiState, Reply};
use crate::access::{self, Action};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(schedule))
        .routes(routes!(cancel))
        .routes(routes!(call_back))
        .routes(routes!(rate))
}

/// Until when.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutOffBody {
    /// Needed from agents: the epoch of their assignment.
    pub epoch: Option<u64>,
    /// Until when.
    pub schedule: ScheduleBody,
}

/// Where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackBody {
    /// A telephone number, an address: at most 512 bytes.
    #[schema(example = "+81 3 1234 5678")]
    pub contact: String,
}

/// How it was.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RatingBody {
    /// 1–5, 5 is best.
    #[schema(minimum = 1, maximum = 5)]
    pub rating: u8,
    /// In the customer's words: at most 512 bytes.
    pub comment: Option<String>,
}

/// Puts an open conversation off until a time, or until an agent is available again.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/schedule", tag = "later", request_body = PutOffBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn schedule(Act(on, body): Act<PutOffBody>) -> Reply<ReceiptBody> {
    let by = on.author(Action::Schedule, body.epoch).await?;
    access::permit_keep_age(&on.identity, body.schedule.keep_age)?;
    let command = Command::Schedule {
        conversation: on.conversation,
        by,
        schedule: body.schedule.into(),
    };
    on.submit(command).await
}

/// What was put off waits now. For its customer, the agent who had it last or is waited for, and supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/schedule/cancel", tag = "later", request_body = Nothing,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn cancel(Act(on, Nothing {}): Act<Nothing>) -> Reply<ReceiptBody> {
    on.gate(Action::CancelSchedule, None).await?;
    let command = Command::CancelSchedule {
        conversation: on.conversation,
        // An agent who has no part in it any more: the state knows whether they had it last.
        by: on.identity.speaker(None, None)?,
    };
    on.submit(command).await
}

/// A waiting customer wants to be called back: keeps the place, and need not stay. For customers and supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/callback", tag = "later", request_body = CallbackBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn call_back(Act(on, CallbackBody { contact }): Act<CallbackBody>) -> Reply<ReceiptBody> {
    on.permitted(Action::RequestCallback).await?;
    let command = Command::RequestCallback {
        conversation: on.conversation,
        by: on.identity.author(None)?,
        contact,
    };
    on.submit(command).await
}

/// The customer says how it was: once, after an agent has answered.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/rating", tag = "later", request_body = RatingBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn rate(Act(on, RatingBody { rating, comment }): Act<RatingBody>) -> Reply<ReceiptBody> {
    on.permitted(Action::Rate).await?;
    let command = Command::Rate {
        conversation: on.conversation,
        rating,
        comment,
    };
    on.submit(command).await
}
