//! The simulated net as a node sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Door, Frame, Net};
use cluster::environment::Links;
use cluster::status::ClusterId;
use cluster::transport::{CallError, LinkEvent, NodeId, PeerAddress, Purpose, Transport};

struct SimulatedTransport {
    net: Net,
    node: NodeId,
    incarnation: u64,
}

impl SimulatedTransport {
    /// Queues a frame, unless its sender is dead or nobody listens. Tells when its connection breaks.
    fn queue(
        &self,
        to: NodeId,
        purpose: Purpose,
        kind: u16,
        body: Bytes,
        reply: Option<oneshot::Sender<Bytes>>,
    ) -> Result<CancellationToken, CallError> {
        {
            let state = self.net.state.lock();
            if !state.is_current(self.node, self.incarnation) {
                return Err(CallError::Unreachable(to, "this node has crashed".into()));
            }
            match state.endpoints.get(&to).map(|endpoint| endpoint.door) {
                None => return Err(CallError::Refused(to)),
                Some(Door::Refuses) if state.reaches(self.node, to) => return Err(CallError::Refused(to)),
                Some(_) => {}
            }
        }
        let arrives = Instant::now() + self.net.delay();
        let frame = Frame {
            arrives,
            kind,
            body,
            reply,
        };
        let connection = self.net.connection(self.node, to, purpose);
        let _ = connection.frames.send(frame);
        Ok(connection.broken)
    }
}

impl Transport for SimulatedTransport {
    fn node(&self) -> NodeId {
        self.node
    }

    fn call(
        &self,
        to: NodeId,
        purpose: Purpose,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (reply, answered) = oneshot::channel();
        let queued = self.queue(to, purpose, kind, body, Some(reply));
        async move {
            let broken = queued?;
            let unknown = |why: &str| CallError::OutcomeUnknown(to, why.into());
            tokio::select! {
                biased;
                answered = answered => answered.map_err(|_| unknown("let fall")),
                () = broken.cancelled() => Err(unknown("link broke")),
                () = tokio::time::sleep(deadline) => Err(unknown("deadline")),
            }
        }
        .boxed()
    }

    fn send(&self, to: NodeId, purpose: Purpose, kind: u16, body: Bytes) -> Result<(), CallError> {
        self.queue(to, purpose, kind, body, None).map(drop)
    }

    fn set_peers(&self, _peers: BTreeMap<NodeId, PeerAddress>) {}

    fn probe(&self, peer: NodeId) -> BoxFuture<'static, Result<u64, CallError>> {
        let net = self.net.clone();
        let node = self.node;
        async move {
            tokio::time::sleep(net.delay()).await;
            let (door, incarnation) = {
                let state = net.state.lock();
                let there = state.endpoints.get(&peer).filter(|_| state.reaches(node, peer));
                there.map_or((Door::Silent, 0), |there| (there.door, there.incarnation))
            };
            match door {
                Door::Open => Ok(incarnation),
                Door::Refuses => Err(CallError::Refused(peer)),
                Door::Silent => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Err(CallError::Unreachable(peer, "no answer".into()))
                }
            }
        }
        .boxed()
    }

    fn watch(&self) -> broadcast::Receiver<LinkEvent> {
        let state = self.net.state.lock();
        match state.endpoints.get(&self.node) {
            Some(endpoint) => endpoint.events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }
}

pub(in super::super) struct SimulatedLinks(Arc<SimulatedTransport>);

impl SimulatedLinks {
    pub(super) fn new(net: Net, node: NodeId, incarnation: u64) -> Self {
        Self(Arc::new(SimulatedTransport { net, node, incarnation }))
    }
}

impl Links for SimulatedLinks {
    fn transport(&self) -> Arc<dyn Transport> {
        self.0.clone()
    }

    fn joined(&self, _cluster: ClusterId) {}

    fn stop(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}
