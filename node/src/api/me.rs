//! The caller: who they are, and an agent's presence.

use axum::extract::State;
use routing::command::Command;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, RequestKey};
use super::conversations::shown;
use super::input::Given;
use super::model::conversation::ReceiptBody;
use super::model::person::{Agent, Me, PresenceWish, RoleName};
use super::problem::Problem;
use super::{ApiState, Reply};
use crate::access::{Identity, Who};
use crate::query::{Answer, ConversationFilter, Query};

/// Conversations of a customer that `/v1/me` shows; `/v1/conversations` gives all, by pages.
const CUSTOMERS_FIRST: usize = 100;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(sign_in))
        .routes(routes!(sign_out))
        .routes(routes!(set_presence))
}

/// Who the caller is: an agent with record and desk, a customer with conversations.
#[utoipa::path(get, path = "/v1/me", tag = "me", responses((status = 200, body = Me)))]
pub async fn me(State(state): State<ApiState>, Caller(identity): Caller) -> Reply<Me> {
    let role = match &identity.who {
        Who::Customer(_) => RoleName::Customer,
        Who::Supervisor { .. } => RoleName::Supervisor,
        Who::Agent { .. } | Who::Admin(_) => RoleName::Agent,
    };
    let (record, views) = match (identity.agent(), identity.customer()) {
        (Some(agent), _) => {
            let Answer::Agent(Some(record)) = state.ask(identity.tenant, Query::Agent(agent)).await? else {
                return Err(Problem::not_found("unknown_agent", "the agent is no more"));
            };
            // A cursor from the future: no items, only the desk.
            let after = u64::MAX;
            match state.ask(identity.tenant, Query::AgentStream { agent, after }).await? {
                Answer::AgentStream(stream) => (Some(record), stream.desk),
                _ => return Err(Problem::internal()),
            }
        }
        (None, Some(customer)) => {
            let question = Query::Conversations {
                filter: ConversationFilter::Customer(customer.clone()),
                after: None,
                limit: CUSTOMERS_FIRST,
            };
            match state.ask(identity.tenant, question).await? {
                Answer::Conversations(views) => (None, views),
                _ => return Err(Problem::internal()),
            }
        }
        (None, None) => return Err(Problem::internal()),
    };
    Ok(axum::Json(Me {
        role,
        tenant: identity.tenant.to_string(),
        customer: identity.customer().map(|customer| customer.0.clone()),
        agent: record.as_ref().map(Agent::from),
        conversations: shown(&views, &identity),
    }))
}

/// How an agent begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    /// Available unless given.
    #[serde(default)]
    pub presence: PresenceWish,
}

/// A presence.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PresenceGiven {
    /// Which.
    pub presence: PresenceWish,
}

/// Nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignOutBody {}

fn agent(identity: &Identity) -> Result<routing::ids::AgentId, Problem> {
    identity
        .agent()
        .ok_or_else(|| Problem::forbidden("only agents have a presence"))
}

/// Signs the agent in. A connection does it too; by REST alone no lease is kept alive by connections.
#[utoipa::path(
    post, path = "/v1/me/sign-in", tag = "me", request_body = SignInBody,
    responses((status = 200, body = ReceiptBody))
)]
pub async fn sign_in(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    key: RequestKey,
    Given(SignInBody { presence }): Given<SignInBody>,
) -> Reply<ReceiptBody> {
    let command = Command::SignIn {
        agent: agent(&identity)?,
        presence: presence.into(),
    };
    state.act(&identity, key, command).await
}

/// Signs the agent out: what is assigned goes back to its queue with its age and top priority.
#[utoipa::path(
    post, path = "/v1/me/sign-out", tag = "me", request_body = SignOutBody,
    responses((status = 200, body = ReceiptBody))
)]
pub async fn sign_out(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    key: RequestKey,
    Given(SignOutBody {}): Given<SignOutBody>,
) -> Reply<ReceiptBody> {
    let command = Command::SignOut {
        agent: agent(&identity)?,
    };
    state.act(&identity, key, command).await
}

/// Sets the agent's presence (R29).
#[utoipa::path(
    put, path = "/v1/me/presence", tag = "me", request_body = PresenceGiven,
    responses((status = 200, body = ReceiptBody))
)]
pub async fn set_presence(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    key: RequestKey,
    Given(PresenceGiven { presence }): Given<PresenceGiven>,
) -> Reply<ReceiptBody> {
    let command = Command::SetPresence {
        agent: agent(&identity)?,
        presence: presence.into(),
    };
    state.act(&identity, key, command).await
}
