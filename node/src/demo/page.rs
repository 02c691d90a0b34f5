//! The demo's page: one file, what was seen as JSON, and two buttons per node. For this machine only.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::stage::Stage;
use super::ticker::Kind;
use super::watch::{Nodes, Sight};
use crate::wall_clock::now_ms;

const PAGE: &str = include_str!("page.html");
/// Lines of the ticker in one answer.
const LINES_MAX: usize = 120;
/// Other sites cannot send it without being asked first, and nobody here answers that.
const OURS: &str = "x-kaiwa-demo";

/// What the page needs.
#[derive(Clone)]
pub struct Page {
    /// The book and the ticker.
    pub stage: Arc<Stage>,
    /// What is killed and started.
    pub nodes: Nodes,
    /// What was seen.
    pub sight: Sight,
    /// Tokens for the links: customer, agent.
    pub tokens: Arc<(String, String)>,
    /// When this demo began: a page that was opened before loads itself again.
    pub began_ms: u64,
}

/// The page's routes.
pub fn router(page: Page) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/state", get(state))
        .route("/nodes/{id}/kill", post(kill))
        .route("/nodes/{id}/start", post(start))
        .layer(from_fn(for_this_machine))
        .with_state(page)
}

/// A name that somebody else's DNS points to this machine is not ours: the page holds tokens.
async fn for_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let name = host.and_then(|host| host.rsplit_once(':').map_or(Some(host), |(name, _)| Some(name)));
    if matches!(name, Some("127.0.0.1" | "localhost")) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "open http://127.0.0.1 instead\n").into_response()
}

async fn index() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(PAGE))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn state(State(page): State<Page>, Query(After { after }): Query<After>) -> impl IntoResponse {
    let seen = page.sight.lock().clone();
    let up: Vec<&str> = seen
        .nodes
        .iter()
        .filter(|node| node.answers)
        .map(|node| node.api.as_str())
        .collect();
    let (customer, agent) = page.tokens.as_ref();
    let body = json!({
        "began_ms": page.began_ms,
        "now_ms": now_ms(),
        "seen": seen,
        "totals": page.stage.ledger.totals(),
        "faults": page.stage.ledger.faults(),
        "history": page.stage.ledger.history(),
        "outage": page.stage.ledger.outage(),
        "lines": page.stage.ticker.after(after, LINES_MAX),
        "links": {
            "chat": link(&page.stage.urls, up.first().copied(), "chat", customer),
            "desk": link(&page.stage.urls, up.last().copied(), "desk", agent),
        },
    });
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(body))
}

/// A page of a node, with what it needs in the fragment, which no server is told.
pub fn link(urls: &[String], at: Option<&str>, page: &str, token: &str) -> Value {
    let at = at.or(urls.first().map(String::as_str)).unwrap_or_default();
    Value::String(format!("{at}/{page}#token={token}&nodes={}", urls.join(",")))
}

/// Nothing, if it comes from our page.
fn refusal(headers: &HeaderMap) -> Option<Response> {
    let ours = headers.contains_key(OURS);
    (!ours).then(|| (StatusCode::FORBIDDEN, format!("send the header {OURS}\n")).into_response())
}

async fn kill(State(page): State<Page>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let mut cluster = page.nodes.lock().await;
    if !cluster.running().contains(&id) {
        return (StatusCode::CONFLICT, format!("node {id} does not run\n")).into_response();
    }
    // Whoever speaks in the next seconds shows the pause; somebody shall.
    page.stage.nudge.send_modify(|count| *count += 1);
    page.stage.ledger.outage_begins(id, now_ms());
    let killed = cluster.kill(id);
    drop(cluster);
    page.stage.ticker.tell(Kind::Node, format!("kill -9 to node {id}"));
    answer(killed)
}

async fn start(State(page): State<Page>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let mut cluster = page.nodes.lock().await;
    if cluster.running().contains(&id) {
        return (StatusCode::CONFLICT, format!("node {id} runs\n")).into_response();
    }
    answer(cluster.start_node(id))
}

fn answer(done: Result<()>) -> Response {
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}
