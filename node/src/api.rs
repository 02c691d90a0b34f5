//! REST: what customers, agents and administrators do by HTTP, and the OpenAPI document of it.
//!
//! Two routers for two listeners: [`public_router`] (tokens; the tenant comes from the token alone) and
//! [`admin_router`] (API keys). Every route is added with its documentation, so none can be missing from
//! `/openapi.json`, which describes both.
//!
//! A request runs through: who calls ([`caller`]) → may they ([`crate::access`]) → one command or a few queries to the
//! engine → [`model`]. All that goes wrong is a [`problem::Problem`].
//!
//! Absent on purpose: any state. What a request needs to know it asks the engine, linearizably.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use routing::command::Command;
use routing::event::ConversationView;
use routing::ids::{ConversationId, Epoch, TenantId};

use crate::access::{self, Action, Identity};
use crate::limits::REQUEST_MAX_BYTES;
use crate::query::{Answer, Query};
use crate::rules::Classifier;

pub mod act;
pub mod admin;
pub mod caller;
pub mod conversations;
pub mod handling;
pub mod health;
pub mod input;
pub mod later;
pub mod me;
pub mod messages;
pub mod model;
pub mod openapi;
pub mod participants;
pub mod problem;
pub mod reports;
pub mod seams;
#[cfg(test)]
mod tests;

use caller::RequestKey;
use model::conversation::ReceiptBody;
use problem::Problem;
use seams::{Authority, Backend, DrainSwitch, MetricsText, ReadinessProbe};

/// What the routes need of the rest of the node. A cheap clone.
#[derive(Clone)]
pub struct ApiState {
    /// Commands and queries; an [`crate::engine::Engine`].
    pub backend: Arc<dyn Backend>,
    /// Tokens and API keys.
    pub authority: Arc<dyn Authority>,
    /// R1; the node's only one, for its cache.
    pub classifier: Arc<Classifier>,
    /// For `/readyz`.
    pub readiness: ReadinessProbe,
    /// For `/metrics`.
    pub metrics: MetricsText,
    /// For `/v1/admin/node/drain`.
    pub drain: DrainSwitch,
}

/// What a handler gives back.
pub type Reply<T> = Result<axum::Json<T>, Problem>;

/// The router of the public listener.
pub fn public_router(state: ApiState) -> Router {
    finish(openapi::public_routes().split_for_parts().0, state)
}

/// The router of the admin listener.
pub fn admin_router(state: ApiState) -> Router {
    finish(openapi::admin_routes().split_for_parts().0, state)
}

fn finish(routes: Router<ApiState>, state: ApiState) -> Router {
    routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(REQUEST_MAX_BYTES))
        .with_state(state)
}

/// The answer to a path that is not in the document.
pub async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(
        "unknown_route",
        format!("there is nothing at {path}; see /openapi.json"),
    )
}

async fn no_such_method(method: axum::http::Method, uri: Uri) -> Response {
    let allowed = openapi::methods_of(uri.path());
    let detail = format!("{method} is not possible here; possible: {allowed}");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response();
    if let Ok(allowed) = allowed.parse() {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

impl ApiState {
    /// Asks the engine.
    pub(crate) async fn ask(&self, tenant: TenantId, query: Query) -> Result<Answer, Problem> {
        Ok(self.backend.query(tenant, query).await?)
    }

    /// The conversation as it is, whoever asks.
    async fn view(&self, tenant: TenantId, conversation: ConversationId) -> Result<ConversationView, Problem> {
        match self.ask(tenant, Query::Conversation(conversation)).await? {
            Answer::Conversation(Some(view)) => Ok(view),
            Answer::Conversation(None) => Err(Problem::no_such_conversation()),
            _ => Err(Problem::internal()),
        }
    }

    /// The conversation, if the caller may do this to it.
    pub(crate) async fn permitted(
        &self,
        identity: &Identity,
        action: Action,
        conversation: ConversationId,
    ) -> Result<ConversationView, Problem> {
        access::permit(identity, action)?;
        let view = self.view(identity.tenant, conversation).await?;
        access::permit_on(identity, action, &view)?;
        Ok(view)
    }

    /// Whether the caller may do this: by role, and by object unless the state itself fences the act.
    pub(crate) async fn gate(
        &self,
        identity: &Identity,
        action: Action,
        conversation: ConversationId,
        epoch: Option<Epoch>,
    ) -> Result<(), Problem> {
        access::permit(identity, action)?;
        if !identity.is_fenced(epoch) {
            self.permitted(identity, action, conversation).await?;
        }
        Ok(())
    }

    /// Has the command carried out; the receipt is the acknowledgement.
    pub(crate) async fn act(&self, identity: &Identity, key: RequestKey, command: Command) -> Reply<ReceiptBody> {
        let key = identity.key(key.instance, key.number);
        let receipt = self.backend.command(identity.tenant, Some(key), command).await?;
        Ok(axum::Json(receipt.into()))
    }
}
