//! Connections: WebSocket, resume cursors, fan-out, limits.
//!
//! ```text
//!   socket ── connection ──┬── commands ── engine          one task per connection; nothing of it is shared
//!     │           │        └── delivery (cursors) ── engine: queries
//!   outbound ─────┘                 ▲
//!                                  hub: pushes, at most once
//! ```
//!
//! The hub may lose things, a connection may not: it passes on each entry once and in order, and reads what a push did not
//! bring. A reader who does not keep up is cut off, and comes back with its cursors. Absent on purpose: any decision, any
//! state that would be missed when the node dies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::admission::Admission;
use self::backend::Backend;
use self::protocol::{SUBPROTOCOL, TOKEN_PROTOCOL_PREFIX};
use crate::config::NodeConfig;
use crate::limits::FRAME_MAX_BYTES;
use crate::metrics;

mod admission;
pub mod backend;
mod commands;
mod connection;
pub mod delivery;
pub mod hub;
pub mod node;
mod outbound;
pub mod protocol;
mod socket;

/// What of the configuration the gateway needs.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Origins of pages that may connect, beside the node's own; `*` for any.
    pub allowed_origins: Vec<String>,
    /// Connections in all.
    pub connections: u64,
    /// Connections from one address.
    pub connections_per_address: u64,
    /// Connections of one principal.
    pub connections_per_principal: u64,
    /// Frames of one connection, per second.
    pub rate_per_second: u64,
    /// Frames of one connection at once.
    pub rate_burst: u64,
    /// Until the hello is there and good.
    pub handshake: Duration,
    /// Silence of the other side (pings go out in between).
    pub idle: Duration,
    /// Nothing could be written for so long.
    pub write: Duration,
    /// Bytes that may wait for one socket.
    pub outbound_bytes: usize,
}

impl From<&NodeConfig> for GatewaySettings {
    fn from(config: &NodeConfig) -> Self {
        let limits = &config.limits;
        Self {
            allowed_origins: config.auth.allowed_origins.clone(),
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            connections_per_principal: limits.connections_per_principal,
            rate_per_second: limits.rate_per_principal,
            rate_burst: limits.burst_per_principal,
            handshake: Duration::from_millis(limits.handshake_ms),
            idle: Duration::from_millis(limits.idle_ms),
            write: Duration::from_millis(limits.write_ms),
            outbound_bytes: usize::try_from(limits.outbound_bytes).unwrap_or(usize::MAX),
        }
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            connections: 100_000,
            connections_per_address: 100_000,
            connections_per_principal: 64,
            rate_per_second: 100,
            rate_burst: 200,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(10),
            outbound_bytes: 4 << 20,
        }
    }
}

/// What all connections of a node share.
pub(crate) struct Gateway {
    backend: Arc<dyn Backend>,
    settings: GatewaySettings,
    admission: Admission,
}

/// `GET /v1/ws`.
pub fn router(backend: Arc<dyn Backend>, settings: GatewaySettings) -> Router {
    let gateway = Arc::new(Gateway {
        backend,
        settings,
        admission: Admission::default(),
    });
    Router::new().route("/v1/ws", get(upgrade)).with_state(gateway)
}

async fn upgrade(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if gateway.backend.draining() {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "this node drains; connect to another",
        );
    }
    let nodes = gateway.backend.all_nodes();
    if !origin_allowed(&parts.headers, &gateway.settings.allowed_origins, &nodes) {
        metrics::auth_failure("origin");
        return refusal(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "pages of this origin may not connect",
        );
    }
    let address = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip());
    let settings = &gateway.settings;
    let place = match gateway
        .admission
        .connect(address, settings.connections, settings.connections_per_address)
    {
        Ok(place) => place,
        Err(limit) => {
            metrics::rate_limited(limit);
            return refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_connections",
                "there are too many connections",
            );
        }
    };
    let token = token_of(&parts.headers);
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade
            .protocols([SUBPROTOCOL])
            .read_buffer_size(4 << 10)
            .write_buffer_size(8 << 10)
            .max_write_buffer_size(1 << 20)
            .max_message_size(FRAME_MAX_BYTES)
            .max_frame_size(FRAME_MAX_BYTES)
            .on_upgrade(move |socket| socket::serve(gateway, socket, token, place)),
        Err(rejection) => refusal(rejection.status(), "websocket_expected", &rejection.body_text()),
    }
}

/// `Sec-WebSocket-Protocol: kaiwa.v1, token.<jwt>`: the one header that a page can set.
fn token_of(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(TOKEN_PROTOCOL_PREFIX).map(str::to_owned))
}

/// No `Origin`: not a page. The node's own pages always may, and those of the other `nodes`: a page whose node has died
/// must reach another one.
fn origin_allowed(headers: &HeaderMap, allowed: &[String], nodes: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else { return false };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_own = own.is_some_and(|host| {
        origin
            .split_once("://")
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host))
    });
    is_own
        || nodes.iter().any(|node| node.eq_ignore_ascii_case(origin))
        || allowed
            .iter()
            .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

fn refusal(status: StatusCode, code: &str, detail: &str) -> Response {
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        problem.to_string(),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
