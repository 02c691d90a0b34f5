//! One node, from its configuration to its end.
//!
//! Start: storage and links, then the engine, then the listeners. Stop: drain (readiness fails, leadership is handed over,
//! sockets are sent elsewhere), then the listeners, then the links with a goodbye, then storage. When storage fails in a way
//! that room does not mend, the node stops at once, without all that: a start reads again what is on its disk.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::ListenerExt;
use cluster::shards::Shards;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::api::health;
use crate::api::seams::{Authority, Gatekeeper};
use crate::api::{self, ApiState};
use crate::auth::{AdminKeys, Verifier};
use crate::config::NodeConfig;
use crate::directory::{DirectoryCommand, SharedDirectory};
use crate::engine::{Engine, NodeService};
use crate::gateway::hub::Hub;
use crate::gateway::node::NodeBackend;
use crate::gateway::{self, GatewaySettings};
use crate::limits::ACCEPT_QUEUE;
use crate::metrics;
use crate::replicas::Replicas;
use crate::rules::Classifier;
use crate::web;

/// Between two reports of the gauges that nobody else refreshes.
const GAUGES_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether the directory knows where this node is reached.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// How long an address that is taken is tried again: the process before this one may still be ending.
const BIND_PATIENCE: Duration = Duration::from_secs(5);

/// Storage has failed: what is on the disk is known only when it is read again.
#[derive(Debug, thiserror::Error)]
#[error(
    "storage has failed ({0}): the node has stopped. Start it again when the disk is sound; it says if it must be replaced"
)]
pub struct StorageFailed(String);

/// When a node stops by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// As well as on SIGINT and SIGTERM: when standard input closes (the process that started it has ended).
    pub stdin_closes: bool,
}

/// Runs a node until it is told to stop.
pub async fn run(config: NodeConfig, until: Until) -> Result<()> {
    metrics::install().context("metrics cannot be recorded")?;
    metrics::build_info();
    let api_listener = bind(config.node.api_listen).await.context("node.api_listen")?;
    let admin_listener = bind(config.node.admin_listen).await.context("node.admin_listen")?;
    let engine = start_engine(&config).await?;
    let stop = CancellationToken::new();
    let (public, admin) = routers(&config, &engine);
    let servers = [
        tokio::spawn(serve(api_listener, public, stop.clone())),
        tokio::spawn(serve(admin_listener, admin, stop.clone())),
    ];
    let chores = [
        tokio::spawn(announce(engine.clone(), config.node.api_advertise.clone())),
        tokio::spawn(report_gauges(engine.clone())),
    ];
    tracing::info!(
        node = %config.node.id, api = %config.node.api_listen, admin = %config.node.admin_listen,
        cluster = %config.node.cluster_listen, "the node is up"
    );
    tokio::select! {
        () = wait_for_the_end(until) => {}
        // The log has told it as well.
        why = engine.shards().broken() => return Err(StorageFailed(why).into()),
    }

    tracing::info!("stopping: draining first");
    let drain_limit = Duration::from_secs(config.node.drain_s);
    if tokio::time::timeout(drain_limit, drain(&engine)).await.is_err() {
        tracing::warn!(
            seconds = config.node.drain_s,
            "the drain took too long and was cut short"
        );
    }
    stop.cancel();
    for server in servers {
        // Open WebSockets hold a listener's task: they had their time to go.
        if tokio::time::timeout(Duration::from_secs(1), server).await.is_err() {
            tracing::debug!("a listener was ended with connections open");
        }
    }
    chores.iter().for_each(tokio::task::JoinHandle::abort);
    engine.shards().stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Opens storage and links, and puts the engine over them.
async fn start_engine(config: &NodeConfig) -> Result<Engine> {
    let directory = SharedDirectory::default();
    let (replicas, opened) = Replicas::new(directory.clone());
    let hub = Hub::new(rand::random(), directory);
    let cell = Arc::new(OnceLock::new());
    let service = NodeService {
        replicas: replicas.clone(),
        hub: hub.clone(),
        engine: cell.clone(),
    };
    let shards = Shards::start(config.to_cluster_config(), replicas.factory(), Arc::new(service))
        .await
        .context("the node cannot start")?;
    hub.connect(shards.clone());
    let engine = Engine::new(shards.clone(), replicas.clone(), hub);
    // Set once: this is the only place that makes an engine.
    let _ = cell.set(engine.clone());
    tokio::spawn(replicas.supervise(shards, opened));
    Ok(engine)
}

/// The routes of the public and of the admin listener.
fn routers(config: &NodeConfig, engine: &Engine) -> (Router, Router) {
    let authority: Arc<dyn Authority> = Arc::new(Gatekeeper {
        verifier: Verifier::new(&config.auth),
        admin_keys: AdminKeys::new(&config.auth.admin_keys),
        engine: engine.clone(),
    });
    let classifier = Arc::new(Classifier::default());
    let sockets = NodeBackend {
        engine: engine.clone(),
        authority: Arc::clone(&authority),
        classifier: Arc::clone(&classifier),
        node: config.node.id.0,
    };
    let sockets = gateway::router(Arc::new(sockets), GatewaySettings::from(config));
    let to_drain = engine.clone();
    let state = ApiState {
        backend: Arc::new(engine.clone()),
        authority,
        classifier,
        readiness: health::readiness_of(engine.clone()),
        metrics: Arc::new(metrics::render),
        drain: Arc::new(move || {
            let engine = to_drain.clone();
            tokio::spawn(async move { drain(&engine).await });
        }),
    };
    let public = api::public_router(state.clone()).merge(sockets).merge(web::router());
    (public, api::admin_router(state))
}

/// Clients that come back all at once wait here; one that finds no room asks again after a second.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let until = tokio::time::Instant::now() + BIND_PATIENCE;
    loop {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error).with_context(|| format!("{address} cannot be listened on")),
        }
    }
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    // Small frames go out at once.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "a listener ended");
    }
}

/// SIGINT, SIGTERM, or what `until` adds.
async fn wait_for_the_end(until: Until) {
    use tokio::signal::unix::{SignalKind, signal};
    let named = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "a signal cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
    };
    let stdin = async {
        if until.stdin_closes {
            let mut buffer = [0; 64];
            while matches!(tokio::io::stdin().read(&mut buffer).await, Ok(n) if n > 0) {}
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = named(SignalKind::interrupt()) => {}
        () = named(SignalKind::terminate()) => {}
        () = stdin => {}
    }
}

/// Drains, and waits until the sockets have gone.
async fn drain(engine: &Engine) {
    metrics::draining(true);
    engine.drain().await;
    while engine.hub().sockets() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Keeps the directory told of where clients reach this node.
async fn announce(engine: Engine, url: String) {
    let node = engine.shards().node().0;
    loop {
        tokio::time::sleep(ANNOUNCE_EVERY).await;
        let directory = engine.directory();
        let known =
            directory.nodes.get(&node) == Some(&url) && (engine.draining() || !directory.draining.contains(&node));
        if engine.shards().cluster_id().is_none() || known {
            continue;
        }
        if let Err(error) = engine
            .direct(DirectoryCommand::PutNode { node, url: url.clone() })
            .await
        {
            tracing::debug!(%error, "the directory does not know yet where this node is reached");
        }
    }
}

async fn report_gauges(engine: Engine) {
    loop {
        engine.shards().report_metrics();
        crate::wall_clock::agreed(engine.shards().agreed_time());
        tokio::time::sleep(GAUGES_EVERY).await;
    }
}
