//! `/livez`, `/readyz`, `/metrics`: for those who run the node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::problem::Problem;
use super::seams::{Readiness, ReadinessProbe};
use crate::engine::Engine;

/// How long a shard may take to confirm that its quorum is there.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);
/// How long an answer is good, so that many who ask cost no more than one.
const PROBE_KEPT: Duration = Duration::from_millis(500);

/// A node that is well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    pub status: String,
}

fn ok() -> axum::Json<Health> {
    axum::Json(Health {
        status: "ok".to_owned(),
    })
}

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Health)))]
pub async fn livez() -> axum::Json<Health> {
    ok()
}

/// Whether this node should be sent traffic: every shard with a replica here has a leader that its quorum confirms, this
/// replica is caught up with it, there is room on the disk, and the node does not drain. 503 otherwise.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Health)))]
pub async fn readyz(State(state): State<ApiState>) -> Result<axum::Json<Health>, Problem> {
    let Readiness { reasons } = (state.readiness)().await;
    if reasons.is_empty() {
        return Ok(ok());
    }
    let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reasons.join("; "));
    problem.retry_after_ms = Some(1_000);
    Err(problem)
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub async fn metrics(State(state): State<ApiState>) -> Response {
    let text = (state.metrics)();
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

/// Is this node ready? A read barrier on each local shard tells more than a known leader: it fails on a node that is
/// cut off from the quorum, and on a replica that lags.
pub async fn probe(engine: &Engine) -> Readiness {
    let mut reasons = Vec::new();
    if engine.draining() {
        reasons.push("the node drains".to_owned());
    }
    let shards = engine.shards();
    if shards.disk_low() {
        reasons.push("the disk is nearly full".to_owned());
    }
    let closed = shards.closed_shards();
    reasons.extend(
        closed
            .iter()
            .map(|shard| format!("shard {shard}: closed until there is room on the disk")),
    );
    let local = shards.local_shards();
    if local.is_empty() && closed.is_empty() {
        reasons.push("the node has no shard; is the cluster initialised?".to_owned());
    }
    let asked = local.into_iter().map(|shard| async move {
        shards
            .read_barrier(shard, PROBE_DEADLINE)
            .await
            .err()
            .map(|why| format!("shard {shard}: {why}"))
    });
    reasons.extend(futures::future::join_all(asked).await.into_iter().flatten());
    Readiness { reasons }
}

/// [`probe`] for [`ApiState::readiness`], asked at most every half second.
pub fn readiness_of(engine: Engine) -> ReadinessProbe {
    let last: Arc<tokio::sync::Mutex<Option<(Instant, Readiness)>>> = Arc::default();
    Arc::new(move || {
        let (engine, last) = (engine.clone(), Arc::clone(&last));
        Box::pin(async move {
            let mut last = last.lock().await;
            match &*last {
                Some((at, readiness)) if at.elapsed() < PROBE_KEPT => readiness.clone(),
                _ => {
                    let readiness = probe(&engine).await;
                    *last = Some((Instant::now(), readiness.clone()));
                    readiness
                }
            }
        })
    })
}
