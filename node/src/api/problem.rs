//! What a caller is told when something is wrong: RFC 9457 problem details with a stable `code`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Denied;
use crate::error::EngineError;
use crate::limits::DISK_FULL_RETRY_MS;

/// Media type of problems.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem, as the caller sees it. Nothing has changed, except after `outcome_unknown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:kaiwa:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(rename = "type", value_type = String, example = "urn:kaiwa:problem:unknown_field")]
    pub kind: Box<str>,
    /// The status, in words.
    #[schema(example = "Unprocessable Entity")]
    pub title: &'static str,
    /// HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What is wrong here.
    pub detail: String,
    /// Stable, snake_case; for programs.
    #[schema(example = "unknown_field")]
    pub code: &'static str,
    /// Where in the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// When to try again.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_ms: Option<u64>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// JSON pointer into the body.
    #[schema(example = "/message/text")]
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

impl Problem {
    /// A problem with this status, code and text.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:kaiwa:problem:{code}").into(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
            retry_after_ms: None,
        }
    }

    /// With the place in the body that is wrong.
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.errors.push(FieldProblem {
            pointer: pointer.into(),
            detail: self.detail.clone(),
        });
        self
    }

    /// 400: the request itself cannot be read.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 422: readable, but a field is wrong.
    pub fn invalid(code: &'static str, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).at(pointer)
    }

    /// 401, with a code that tells why.
    pub fn unauthenticated(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404, with a code that tells what there is none of.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// The same answer for what does not exist and for what is not the caller's.
    pub fn no_such_conversation() -> Self {
        Self::not_found("unknown_conversation", "there is no such conversation")
    }

    /// An answer of the engine that does not go with the question.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        if let EngineError::Internal(why) = &error {
            tracing::error!(why = %why, "internal error");
            return Self::internal();
        }
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if error.code() == "unknown_conversation" {
            return Self::no_such_conversation();
        }
        let mut problem = Self::new(status, error.code(), error.to_string());
        problem.retry_after_ms = match error {
            EngineError::Overloaded { retry_after_ms } => Some(retry_after_ms),
            EngineError::NoLeader | EngineError::Stopping => Some(1_000),
            EngineError::DiskFull => Some(DISK_FULL_RETRY_MS),
            _ => None,
        };
        problem
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Hidden => Self::no_such_conversation(),
            Denied::Forbidden(why) => Self::forbidden(why),
            Denied::EpochMissing => Self::invalid("missing_field", "/epoch", denied.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait_ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000).max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = match self.code {
                "unauthenticated" => "Bearer realm=\"kaiwa\"",
                _ => "Bearer realm=\"kaiwa\", error=\"invalid_token\"",
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
