//! The OpenAPI document: made from the routes themselves.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Info, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    ResponseBuilder, Type,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{FieldProblem, MEDIA_TYPE, Problem};
use super::{ApiState, admin, conversations, handling, health, later, me, messages, participants, reports};

const ABOUT: &str = "Routing cluster for live chat. Names are snake_case; times are Unix milliseconds (`_ms`); ids are \
texts (`conv_…`, `agt_…`, `que_…`, `ten_…`). Unknown fields are refused. Every error is a problem document (RFC 9457) with a \
stable `code`; after any of them but `outcome_unknown` nothing has changed. A command with an `Idempotency-Key` may be \
repeated on any node: the repeat gets the first answer.";

/// The routes of the public listener.
pub fn public_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(conversations::routes())
        .merge(messages::routes())
        .merge(handling::routes())
        .merge(participants::routes())
        .merge(later::routes())
        .merge(me::routes())
        .merge(reports::routes())
        .merge(served_on_both())
}

/// The routes of the admin listener.
pub fn admin_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(admin::routes())
        .merge(served_on_both())
        .routes(routes!(health::metrics))
}

fn served_on_both() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(document_json))
}

static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(build);
static DOCUMENT_JSON: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_json().unwrap_or_default());

/// The document of all routes.
pub fn document() -> &'static OpenApi {
    &DOCUMENT
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub async fn document_json(State(_state): State<ApiState>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT_JSON.as_str()).into_response()
}

fn build() -> OpenApi {
    let problem = ResponseBuilder::new()
        .description("A problem; `code` says which.")
        .content(
            MEDIA_TYPE,
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build(),
        )
        .build();
    let components = ComponentsBuilder::new()
        .schema_from::<Problem>()
        .schema_from::<FieldProblem>()
        .response("Problem", problem)
        .security_scheme(
            "token",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .bearer_format("JWT")
                    .build(),
            ),
        )
        .security_scheme(
            "api_key",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        )
        .security_scheme(
            "api_key_header",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key"))),
        )
        .build();
    let mut info = Info::new("kaiwa", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let mut document = OpenApiBuilder::new().info(info).components(Some(components)).build();
    document.merge(public_routes().into_openapi());
    document.merge(admin_routes().into_openapi());
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, method, operation);
        }
    }
    document
}

/// The operations of a path, by method.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", item.get.as_mut()),
        ("PUT", item.put.as_mut()),
        ("POST", item.post.as_mut()),
        ("DELETE", item.delete.as_mut()),
        ("PATCH", item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// What is the same for all: the problem response, who may call, the idempotency key of commands.
fn complete(path: &str, method: &str, operation: &mut Operation) {
    operation.operation_id = Some(operation_id(path, method));
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::Ref(Ref::from_response_name("Problem")));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            let words = match status.as_str() {
                "201" => "Made.",
                "202" => "Begun.",
                "204" => "Done; there is nothing to say.",
                _ => "Done.",
            };
            response.description = words.to_owned();
        }
    }
    let admin = path.starts_with("/v1/admin/");
    let none: [&str; 0] = [];
    operation.security = if admin {
        Some(vec![
            SecurityRequirement::new("api_key", none),
            SecurityRequirement::new("api_key_header", none),
        ])
    } else if path.starts_with("/v1/") {
        Some(vec![SecurityRequirement::new("token", none)])
    } else {
        None
    };
    let commands = path.starts_with("/v1/") && method != "GET" && (!admin || path.starts_with("/v1/admin/tenants/"));
    if commands {
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "`<instance>-<number>`: a random number of the client's, and one that grows with each of its commands",
            ))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some("^[0-9]+-[0-9]+$")),
            ))
            .build();
        operation.parameters.get_or_insert_default().push(key.into());
    }
}

/// `GET /v1/me` → `get_me`: unique, because paths are.
fn operation_id(path: &str, method: &str) -> String {
    let words = path
        .trim_start_matches("/v1")
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut id = method.to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

/// Methods of the routes that a path matches, as the header `Allow` lists them.
pub fn methods_of(path: &str) -> String {
    let mut document = DOCUMENT.paths.paths.iter();
    let found = document.find(|(pattern, _)| matches(pattern, path));
    let Some((_, item)) = found else {
        return String::new();
    };
    let mut item = item.clone();
    operations(&mut item)
        .map(|(method, _)| method)
        .collect::<Vec<_>>()
        .join(", ")
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || wanted.starts_with('{') => {}
            _ => return false,
        }
    }
}
