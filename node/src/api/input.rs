//! Reading requests: bodies, path and query parameters, each mistake with a code and a place.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::limits::REQUEST_MAX_BYTES;

/// The JSON body of a request, of at most `MOST` bytes. An empty one is read as `{}`.
pub struct Given<T, const MOST: usize = REQUEST_MAX_BYTES>(pub T);

/// The parameters in the path.
pub struct At<T>(pub T);

/// The parameters in the query.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for Given<T, MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let declared = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|bytes| bytes > MOST as u64) {
            return Err(too_large(MOST));
        }
        let typed = is_json(request.headers());
        let bytes = axum::body::to_bytes(request.into_body(), MOST).await.map_err(|error| {
            let source = std::error::Error::source(&error);
            if source.is_some_and(|source| source.to_string().contains("length limit")) {
                too_large(MOST)
            } else {
                Problem::bad_request("body_unreadable", "the body ended early")
            }
        })?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !typed {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send JSON, with `Content-Type: application/json`",
            ));
        }
        parse(&bytes).map(Self)
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("a request's body is at most {most} bytes"),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads JSON strictly; what is wrong is told with its place.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take a list for an object whose fields come in order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::invalid(
            "wrong_type",
            "",
            "invalid type: sequence, expected an object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| explain(&pointer(error.path()), &error.into_inner()))?;
    json.end().map_err(|error| explain("", &error))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                let short: String = key.chars().take(64).collect();
                pointer.push('/');
                pointer.push_str(&short.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { variant } => {
                pointer.push('/');
                pointer.push_str(variant);
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

fn explain(pointer: &str, error: &serde_json::Error) -> Problem {
    let whole = error.to_string();
    let text = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(text, _)| text);
    let text: String = text.chars().take(600).collect();
    if !error.is_data() {
        let place = format!("{text}, at line {}, column {}", error.line(), error.column());
        return Problem::bad_request("malformed_json", format!("this is no JSON: {place}"));
    }
    let code = code_of(&text);
    let field = backticked(&text);
    let pointer = match (code, field) {
        // serde names the object that lacks the field, or has it twice; the pointer names the field.
        ("missing_field" | "duplicate_field", Some(field)) => format!("{pointer}/{field}"),
        ("unknown_field", Some(field)) if !pointer.ends_with(&format!("/{field}")) => format!("{pointer}/{field}"),
        _ => pointer.to_owned(),
    };
    Problem::invalid(code, pointer, text)
}

/// serde's errors are texts; their beginnings are fixed by `serde::de::Error`. A test holds each of them.
fn code_of(text: &str) -> &'static str {
    const BEGINNINGS: [(&str, &str); 7] = [
        ("unknown field", "unknown_field"),
        ("missing field", "missing_field"),
        ("duplicate field", "duplicate_field"),
        ("invalid type", "wrong_type"),
        ("invalid length", "wrong_type"),
        ("unknown variant", "unknown_value"),
        ("invalid value", "invalid_value"),
    ];
    for (beginning, code) in BEGINNINGS {
        if text.starts_with(beginning) {
            return code;
        }
    }
    if text.contains(" id: it is written `") {
        "bad_id"
    } else {
        "invalid_value"
    }
}

fn backticked(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                let text = error.body_text();
                let text = text.strip_prefix("Invalid URL: ").unwrap_or(&text);
                Err(Problem::bad_request(
                    "bad_id",
                    text.chars().take(300).collect::<String>(),
                ))
            }
            Err(_) => Err(Problem::internal()),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => {
                let text = error.body_text();
                let text = text
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&text);
                let fault = text
                    .rsplit(": ")
                    .find(|part| code_of(part) != "invalid_value")
                    .unwrap_or(text);
                let code = match code_of(if code_of(text) == "invalid_value" { fault } else { text }) {
                    "unknown_field" => "unknown_parameter",
                    "bad_id" => "bad_id",
                    _ if text.contains(" id: it is written `") => "bad_id",
                    _ => "bad_parameter",
                };
                Err(Problem::bad_request(code, text.chars().take(300).collect::<String>()))
            }
        }
    }
}
