//! [`Transport`] over TCP, with or without TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{ConnectError, Identity, LinkTimes, dial};
use super::frame::PURPOSE_PROBE;
use super::inbound::Inbound;
use super::link::Link;
use super::sockets::{Sockets, SystemSockets};
use super::tls::{TlsContext, TlsError};
use crate::config::TlsFiles;
use crate::transport::{
    CallError, Caller, Handler, LinkEvent, NodeId, PeerAddress, Purpose, Reply, SharedHandler, Transport,
};

/// Events that a slow watcher may lag behind before it misses some (and is told so).
const EVENTS_KEPT: usize = 1_024;

/// Why a transport does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The certificates cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
}

/// A handler that is bound later: for a user whose handler needs the transport that it is given to. Until then calls are
/// let fall (their caller is told), and frames without reply are dropped.
#[derive(Default)]
pub struct LateHandler(OnceLock<SharedHandler>);

impl LateHandler {
    /// An unbound one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Binds it; the first binding stays.
    pub fn bind(&self, handler: SharedHandler) {
        let _ = self.0.set(handler);
    }
}

impl Handler for LateHandler {
    fn on_call(&self, from: Caller, purpose: Purpose, kind: u16, body: Bytes, reply: Reply) {
        if let Some(handler) = self.0.get() {
            handler.on_call(from, purpose, kind, body, reply);
        }
    }

    fn on_send(&self, from: Caller, purpose: Purpose, kind: u16, body: Bytes) {
        if let Some(handler) = self.0.get() {
            handler.on_send(from, purpose, kind, body);
        }
    }

    fn on_disconnect(&self, from: Caller) {
        if let Some(handler) = self.0.get() {
            handler.on_disconnect(from);
        }
    }
}

/// Links over TCP. Ends with [`TcpTransport::stop`]; when dropped, its tasks end the same way in the background. A handler that
/// holds its transport keeps both alive: it should hold it weakly, or let go after the stop.
pub struct TcpTransport {
    identity: Arc<Identity>,
    inbound: Arc<Inbound>,
    times: LinkTimes,
    local_addr: SocketAddr,
    events: broadcast::Sender<LinkEvent>,
    links: RwLock<BTreeMap<(NodeId, Purpose), Arc<Link>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Handle,
}

impl TcpTransport {
    /// Listens, and is ready to connect. Must be called on a tokio runtime. `incarnation` is a random number, new for
    /// every start of the process. Without `tls` anyone who reaches the port is believed.
    pub fn start(
        node: NodeId,
        listen: SocketAddr,
        tls: Option<&TlsFiles>,
        incarnation: u64,
        handler: SharedHandler,
    ) -> Result<Arc<Self>, StartError> {
        Self::start_with(node, listen, tls, incarnation, handler, LinkTimes::default())
    }

    /// Like [`Self::start`], without TLS, over other streams than the system's: for a simulation.
    pub fn start_over(
        sockets: Arc<dyn Sockets>,
        node: NodeId,
        listen: SocketAddr,
        incarnation: u64,
        handler: SharedHandler,
    ) -> Result<Arc<Self>, StartError> {
        let identity = Identity::new(node, incarnation, None, sockets);
        Self::start_as(identity, listen, handler, LinkTimes::default())
    }

    pub(super) fn start_with(
        node: NodeId,
        listen: SocketAddr,
        tls: Option<&TlsFiles>,
        incarnation: u64,
        handler: SharedHandler,
        times: LinkTimes,
    ) -> Result<Arc<Self>, StartError> {
        let tls = tls.map(|files| TlsContext::load(node, files)).transpose()?;
        let identity = Identity::new(node, incarnation, tls, Arc::new(SystemSockets));
        Self::start_as(identity, listen, handler, times)
    }

    fn start_as(
        identity: Identity,
        listen: SocketAddr,
        handler: SharedHandler,
        times: LinkTimes,
    ) -> Result<Arc<Self>, StartError> {
        let failed = |error| StartError::Listen(listen, error);
        let listener = identity.sockets.listen(listen).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let identity = Arc::new(identity);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let inbound = Arc::new(Inbound::new(
            Arc::clone(&identity),
            times,
            handler,
            stop.clone(),
            tasks.clone(),
        ));
        tasks.spawn(Arc::clone(&inbound).listen(listener));
        Ok(Arc::new(Self {
            identity,
            inbound,
            times,
            local_addr,
            events: broadcast::channel(EVENTS_KEPT).0,
            links: RwLock::default(),
            stop,
            tasks,
            runtime: Handle::current(),
        }))
    }

    /// Where it listens; tells the port when port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Tells peers from now on which cluster this node belongs to; those of another are cut off and refused. A node or peer
    /// that has none yet is not refused for it, so call this before [`Transport::set_peers`] wherever the id is known.
    pub fn set_cluster_id(&self, cluster: Option<[u8; 16]>) {
        *self.identity.cluster.write() = cluster;
        self.inbound.cut_strangers();
        for link in self.links.read().values() {
            link.cut_stranger(&self.identity);
        }
    }

    /// Which nodes may connect from now on; others are cut off and refused. `None`, as at the start: everybody (with TLS,
    /// everybody with a certificate of the authority). A node that was removed still has its certificate.
    pub fn set_admitted(&self, nodes: Option<BTreeSet<NodeId>>) {
        *self.identity.admitted.write() = nodes;
        self.inbound.cut_strangers();
    }

    /// Reads the certificate files again, for new handshakes. On an error the old ones stay in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.identity.tls.as_ref().map_or(Ok(()), TlsContext::reload)
    }

    /// When this node's certificate ends, seconds since 1970; `None` without TLS.
    pub fn not_after_unix(&self) -> Option<i64> {
        self.identity.tls.as_ref().map(TlsContext::not_after_unix)
    }

    /// Says goodbye on every connection, closes them, and frees the port. Open calls fail.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.links.write().clear();
        self.tasks.close();
        // Every task bounds its own farewell.
        let _ = timeout(self.times.farewell * 4, self.tasks.wait()).await;
    }

    fn link(&self, to: NodeId, purpose: Purpose) -> Result<Arc<Link>, CallError> {
        let link = self.links.read().get(&(to, purpose)).cloned();
        link.ok_or_else(|| CallError::Unreachable(to, "not a peer".into()))
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Transport for TcpTransport {
    fn node(&self) -> NodeId {
        self.identity.node
    }

    fn call(
        &self,
        to: NodeId,
        purpose: Purpose,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        match self.link(to, purpose) {
            Ok(link) => link.call(kind, body, deadline),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn send(&self, to: NodeId, purpose: Purpose, kind: u16, body: Bytes) -> Result<(), CallError> {
        self.link(to, purpose)?.send(kind, body)
    }

    fn set_peers(&self, peers: BTreeMap<NodeId, PeerAddress>) {
        let mut links = self.links.write();
        links.retain(|(peer, _), link| {
            let stays = peers.get(peer).is_some_and(|at| at.address == link.address());
            if !stays {
                link.let_go.cancel();
            }
            stays
        });
        if self.stop.is_cancelled() {
            return;
        }
        for (&peer, at) in peers.iter().filter(|(peer, _)| **peer != self.identity.node) {
            for purpose in Purpose::ALL {
                links.entry((peer, purpose)).or_insert_with(|| {
                    let link = Link::new(peer, purpose, at.address, self.stop.child_token());
                    let run = Arc::clone(&link).run(Arc::clone(&self.identity), self.times, self.events.clone());
                    self.tasks.spawn_on(run, &self.runtime);
                    link
                });
            }
        }
    }

    fn probe(&self, peer: NodeId) -> BoxFuture<'static, Result<u64, CallError>> {
        let address = match self.link(peer, Purpose::Raft) {
            Ok(link) => link.address(),
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        let (identity, times, events) = (Arc::clone(&self.identity), self.times, self.events.clone());
        async move {
            match dial(&identity, &times, peer, address, PURPOSE_PROBE).await {
                Ok(connection) => {
                    let incarnation = connection.peer.incarnation;
                    let _ = events.send(LinkEvent::Up {
                        peer,
                        purpose: Purpose::Raft,
                        incarnation,
                    });
                    Ok(incarnation)
                }
                Err(ConnectError::NobodyListens) => {
                    let _ = events.send(LinkEvent::Refused { peer });
                    Err(CallError::Refused(peer))
                }
                Err(error) => Err(CallError::Unreachable(peer, error.to_string())),
            }
        }
        .boxed()
    }

    fn watch(&self) -> broadcast::Receiver<LinkEvent> {
        self.events.subscribe()
    }
}
