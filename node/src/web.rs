//! The pages: an index, the customer's chat, the agent's desk. Static files inside the binary; no build step, and nothing
//! fetched from elsewhere.

use axum::Router;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Only what this node serves itself, and sockets to any node (their addresses come with the welcome). No inline script, no
/// inline style, no frames, no forms to elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("web/index.html")),
    ("/chat", "text/html; charset=utf-8", include_str!("web/chat.html")),
    ("/desk", "text/html; charset=utf-8", include_str!("web/desk.html")),
    (
        "/web/kaiwa.css",
        "text/css; charset=utf-8",
        include_str!("web/kaiwa.css"),
    ),
    (
        "/web/connection.js",
        "text/javascript; charset=utf-8",
        include_str!("web/connection.js"),
    ),
    (
        "/web/page.js",
        "text/javascript; charset=utf-8",
        include_str!("web/page.js"),
    ),
    (
        "/web/chat.js",
        "text/javascript; charset=utf-8",
        include_str!("web/chat.js"),
    ),
    (
        "/web/desk.js",
        "text/javascript; charset=utf-8",
        include_str!("web/desk.js"),
    ),
];

/// The pages, for the public listener.
pub fn router() -> Router {
    FILES.iter().fold(Router::new(), |router, &(path, media_type, text)| {
        router.route(path, get(move || async move { page(media_type, text) }))
    })
}

fn page(media_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_to_their_own_policy() {
        for (path, _, text) in FILES {
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "http://",
                "https://",
            ] {
                assert!(!text.contains(banned), "{path} has {banned}");
            }
            if path.starts_with("/web/") {
                continue;
            }
            assert!(
                !text.contains("<style") && !text.contains(" style=") && !text.contains(" onclick="),
                "{path}"
            );
            for (at, _) in text.match_indices("<script") {
                assert!(
                    text[at..].starts_with("<script type=\"module\" src=\"/web/"),
                    "{path} has a script of its own"
                );
            }
        }
    }

    #[test]
    fn what_pages_ask_for_is_there() {
        for (path, _, text) in FILES {
            for (at, _) in text.match_indices("/web/") {
                let asked: String = text[at..].chars().take_while(|c| !"\"'".contains(*c)).collect();
                assert!(
                    FILES.iter().any(|(known, _, _)| *known == asked),
                    "{path} asks for {asked}"
                );
            }
        }
    }
}
