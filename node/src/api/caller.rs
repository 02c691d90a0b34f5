//! Who calls, from the headers: tokens, API keys, idempotency keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, HeaderName};
use axum::http::request::Parts;
use routing::ids::{CustomerId, TenantId};

use super::ApiState;
use super::problem::Problem;
use super::seams::{Authority, Backend};
use crate::access::{Identity, Who};
use crate::auth::{AuthError, Role, Verified};
use crate::error::EngineError;
use crate::query::{Answer, Query};

/// A customer, agent or supervisor, by their token.
pub struct Caller(pub Identity);

/// An administrator, by the name of their API key.
pub struct Administrator(pub String);

impl Administrator {
    /// As one who acts in a tenant.
    pub fn within(self, tenant: TenantId) -> Identity {
        Identity {
            tenant,
            who: Who::Admin(self.0),
        }
    }
}

/// The header `Idempotency-Key: <instance>-<number>`; without it, a key of this node's, so that the engine may still try
/// the command again when a leader dies, and do it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Which instance of the client.
    pub instance: u64,
    /// Which of its commands.
    pub number: u64,
}

/// Instances that stand for callers without a key. A few, because numbers of one instance may overtake each other only as
/// far as the state remembers; not one per command, because each takes a place among its caller's own.
const OWN_INSTANCES: u64 = 4;
static OWN_INSTANCE: LazyLock<u64> = LazyLock::new(rand::random);
static OWN_NUMBER: AtomicU64 = AtomicU64::new(OWN_INSTANCES);

/// The header's name.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an API key, beside `Authorization: Bearer`.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

impl RequestKey {
    /// Reads `<instance>-<number>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (instance, number) = text.split_once('-')?;
        let digits = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        Some(Self {
            instance: digits(instance)?,
            number: digits(number)?,
        })
    }

    fn own() -> Self {
        let next = OWN_NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            instance: OWN_INSTANCE.wrapping_add(next % OWN_INSTANCES),
            number: next / OWN_INSTANCES,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(Self::own());
        };
        value.to_str().ok().and_then(Self::parse).ok_or_else(|| {
            Problem::bad_request(
                "bad_idempotency_key",
                "Idempotency-Key is written <instance>-<number>: two unsigned 64-bit integers",
            )
        })
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = match &error {
            AuthError::Missing => "unauthenticated",
            AuthError::Expired => "token_expired",
            AuthError::UnknownAdminKey => "api_key_invalid",
            AuthError::UnknownAgent => return Self::forbidden(error.to_string()),
            _ => "token_invalid",
        };
        Self::unauthenticated(code, error.to_string())
    }
}

/// What a token proves. A key that is not known here is looked for once more when the local directory is up to date: a client
/// that comes back as soon as a node has started is not sent away for good.
pub async fn verify(
    authority: &dyn Authority,
    backend: &dyn Backend,
    bearer: &str,
) -> Result<Result<Verified, AuthError>, EngineError> {
    match authority.token(bearer) {
        Err(AuthError::UnknownKey) => {
            backend.refresh_directory().await?;
            Ok(authority.token(bearer))
        }
        known => Ok(known),
    }
}

/// Finds the agent whom a token names; a customer is who the token says. For the gateway too.
pub async fn identify(backend: &dyn Backend, verified: Verified) -> Result<Identity, Problem> {
    let Verified {
        tenant,
        role,
        subject,
        agent,
        ..
    } = verified;
    if role == Role::Customer {
        let who = Who::Customer(CustomerId(subject));
        return Ok(Identity { tenant, who });
    }
    let question = agent.map_or(Query::AgentNamed(subject), Query::Agent);
    let record = match backend.query(tenant, question).await? {
        Answer::Agent(Some(record)) => record,
        Answer::Agent(None) => return Err(AuthError::UnknownAgent.into()),
        _ => return Err(Problem::internal()),
    };
    let (agent, settings) = (record.agent, Arc::clone(&record.settings));
    let who = match role {
        Role::Supervisor if !settings.supervisor => {
            return Err(Problem::forbidden("the token says supervisor, but the agent is none"));
        }
        Role::Supervisor => Who::Supervisor { agent, settings },
        _ => Who::Agent { agent, settings },
    };
    Ok(Identity { tenant, who })
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let token = bearer(parts).ok_or(AuthError::Missing)?;
        let verified = verify(&*state.authority, &*state.backend, token).await??;
        identify(&*state.backend, verified).await.map(Self)
    }
}

impl FromRequestParts<ApiState> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let given = parts.headers.get(API_KEY).and_then(|value| value.to_str().ok());
        let Some(key) = given.or_else(|| bearer(parts)) else {
            let detail = "an API key is needed: `Authorization: Bearer <key>` or `X-Api-Key: <key>`";
            return Err(Problem::unauthenticated("unauthenticated", detail));
        };
        Ok(Self(state.authority.api_key(key)?))
    }
}
