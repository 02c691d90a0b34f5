//! Links between the simulated nodes: ordered per pair and purpose, with seeded delays and losses, and cut as wanted.
//!
//! A frame over a cut link, or one that is lost, is never heard of again: its call ends with its deadline. A node whose
//! process died refuses connections, and its peers' links end at once; one that lost power does neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use cluster::environment::Links;
use cluster::status::ClusterId;
use cluster::transport::{CallError, Caller, LinkEvent, NodeId, PeerAddress, Purpose, Reply, SharedHandler, Transport};

const EVENTS_KEPT: usize = 1_024;

/// How a node is to be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Somebody listens.
    Open,
    /// The process is gone: connections are refused.
    Refuses,
    /// The machine is gone: nothing answers.
    Silent,
}

struct Endpoint {
    handler: SharedHandler,
    incarnation: u64,
    events: broadcast::Sender<LinkEvent>,
    door: Door,
}

struct Frame {
    arrives: Instant,
    sender_incarnation: u64,
    kind: u16,
    body: Bytes,
    /// `None` for frames without a reply.
    reply: Option<oneshot::Sender<Bytes>>,
}

struct State {
    random: SmallRng,
    endpoints: BTreeMap<NodeId, Endpoint>,
    cut: BTreeSet<(NodeId, NodeId)>,
    queues: BTreeMap<(NodeId, NodeId, Purpose), mpsc::UnboundedSender<Frame>>,
    incarnations: u64,
    delay_max_us: u64,
    loss: f64,
}

/// All links; clones are the same net.
#[derive(Clone)]
pub(super) struct Net(Arc<Mutex<State>>);

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: SmallRng::seed_from_u64(seed),
            endpoints: BTreeMap::new(),
            cut: BTreeSet::new(),
            queues: BTreeMap::new(),
            incarnations: 0,
            delay_max_us: 3_000,
            loss: 0.0,
        })))
    }

    /// Lets a node in, in a new incarnation.
    pub(super) fn join(&self, node: NodeId, handler: SharedHandler) -> SimulatedLinks {
        let mut state = self.0.lock();
        state.incarnations += 1;
        let incarnation = state.incarnations;
        let events = broadcast::channel(EVENTS_KEPT).0;
        let endpoint = Endpoint {
            handler,
            incarnation,
            events,
            door: Door::Open,
        };
        state.endpoints.insert(node, endpoint);
        SimulatedLinks(Arc::new(SimulatedTransport {
            net: self.clone(),
            node,
            incarnation,
        }))
    }

    /// Tells the others that a node is back; they notice when their links reconnect.
    pub(super) fn announce(&self, node: NodeId) {
        let state = self.0.lock();
        let Some(incarnation) = state.endpoints.get(&node).map(|endpoint| endpoint.incarnation) else {
            return;
        };
        for (&peer, endpoint) in &state.endpoints {
            if peer != node && state.reaches(peer, node) {
                let _ = endpoint.events.send(LinkEvent::Up {
                    peer: node,
                    purpose: Purpose::Raft,
                    incarnation,
                });
            }
        }
    }

    /// Takes a node out: its process died (`seen`), or its machine did.
    pub(super) fn leave(&self, node: NodeId, seen: bool) {
        let mut state = self.0.lock();
        if let Some(endpoint) = state.endpoints.get_mut(&node) {
            endpoint.door = if seen { Door::Refuses } else { Door::Silent };
        }
        if !seen {
            return;
        }
        for (&peer, endpoint) in &state.endpoints {
            if peer != node && !state.cut.contains(&(node, peer)) {
                let down = LinkEvent::Down {
                    peer: node,
                    purpose: Purpose::Raft,
                    goodbye: false,
                };
                let _ = endpoint.events.send(down);
            }
        }
    }

    /// The links between two nodes break, and can be made again at once.
    pub(super) fn reset(&self, one: NodeId, other: NodeId) {
        let state = self.0.lock();
        for (here, peer) in [(one, other), (other, one)] {
            if let Some(endpoint) = state.endpoints.get(&here) {
                let down = LinkEvent::Down {
                    peer,
                    purpose: Purpose::Raft,
                    goodbye: false,
                };
                let _ = endpoint.events.send(down);
            }
        }
    }

    /// Nothing goes from `from` to `to` until it is healed.
    pub(super) fn cut(&self, from: NodeId, to: NodeId) {
        self.0.lock().cut.insert((from, to));
    }

    /// All links work again.
    pub(super) fn heal(&self) {
        let mut state = self.0.lock();
        state.cut.clear();
        state.loss = 0.0;
        state.delay_max_us = 3_000;
    }

    /// From now on links are so slow, and lose so many frames.
    pub(super) fn disturb(&self, delay_max_us: u64, loss: f64) {
        let mut state = self.0.lock();
        state.delay_max_us = delay_max_us;
        state.loss = loss;
    }

    fn delay(&self) -> Duration {
        let mut state = self.0.lock();
        let most = state.delay_max_us;
        Duration::from_micros(state.random.random_range(200..=most.max(201)))
    }

    /// Whether a frame gets through now.
    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        let mut state = self.0.lock();
        let loss = state.loss;
        let lost = loss > 0.0 && state.random.random_bool(loss);
        !lost && !state.cut.contains(&(from, to))
    }

    fn push(&self, from: NodeId, to: NodeId, purpose: Purpose, frame: Frame) {
        let mut state = self.0.lock();
        let queue = state.queues.entry((from, to, purpose)).or_insert_with(|| {
            let (queue, frames) = mpsc::unbounded_channel();
            tokio::spawn(self.clone().carry(from, to, purpose, frames));
            queue
        });
        let _ = queue.send(frame);
    }

    /// One link: frames arrive in the order in which they were sent.
    async fn carry(self, from: NodeId, to: NodeId, purpose: Purpose, mut frames: mpsc::UnboundedReceiver<Frame>) {
        while let Some(frame) = frames.recv().await {
            tokio::time::sleep_until(frame.arrives).await;
            if !self.passes(from, to) {
                continue;
            }
            let handler = {
                let state = self.0.lock();
                let endpoint = state.endpoints.get(&to).filter(|endpoint| endpoint.door == Door::Open);
                endpoint.map(|endpoint| endpoint.handler.clone())
            };
            let Some(handler) = handler else {
                continue;
            };
            let caller = Caller {
                node: from,
                connection: frame.sender_incarnation,
            };
            match frame.reply {
                None => handler.on_send(caller, purpose, frame.kind, frame.body),
                Some(back) => {
                    let (reply, answered) = oneshot::channel();
                    handler.on_call(caller, purpose, frame.kind, frame.body, Reply(reply));
                    tokio::spawn(self.clone().carry_back(to, from, answered, back));
                }
            }
        }
    }

    async fn carry_back(
        self,
        from: NodeId,
        to: NodeId,
        answered: oneshot::Receiver<Bytes>,
        back: oneshot::Sender<Bytes>,
    ) {
        let answered = answered.await;
        tokio::time::sleep(self.delay()).await;
        let lives = self
            .0
            .lock()
            .endpoints
            .get(&from)
            .is_some_and(|endpoint| endpoint.door == Door::Open);
        match answered {
            Ok(body) if lives && self.passes(from, to) => drop(back.send(body)),
            // The other side let the call fall: the caller hears that at once.
            Err(_) if lives => drop(back),
            _ => never(back).await,
        }
    }
}

/// Keeps a call waiting until its deadline.
async fn never(back: oneshot::Sender<Bytes>) {
    let mut back = back;
    back.closed().await;
}

impl State {
    /// Whether a connection from one node to another can be made.
    fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to)) && !self.cut.contains(&(to, from))
    }

    fn is_current(&self, node: NodeId, incarnation: u64) -> bool {
        self.endpoints
            .get(&node)
            .is_some_and(|endpoint| endpoint.incarnation == incarnation && endpoint.door == Door::Open)
    }
}

struct SimulatedTransport {
    net: Net,
    node: NodeId,
    incarnation: u64,
}

impl SimulatedTransport {
    /// Queues a frame, unless its sender is dead or nobody listens.
    fn queue(
        &self,
        to: NodeId,
        purpose: Purpose,
        kind: u16,
        body: Bytes,
        reply: Option<oneshot::Sender<Bytes>>,
    ) -> Result<(), CallError> {
        {
            let state = self.net.0.lock();
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
            sender_incarnation: self.incarnation,
            kind,
            body,
            reply,
        };
        self.net.push(self.node, to, purpose, frame);
        Ok(())
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
            queued?;
            let unknown = |why: &str| CallError::OutcomeUnknown(to, why.into());
            match tokio::time::timeout(deadline, answered).await {
                Ok(Ok(body)) => Ok(body),
                Ok(Err(_)) => Err(unknown("let fall")),
                Err(_) => Err(unknown("deadline")),
            }
        }
        .boxed()
    }

    fn send(&self, to: NodeId, purpose: Purpose, kind: u16, body: Bytes) -> Result<(), CallError> {
        self.queue(to, purpose, kind, body, None)
    }

    fn set_peers(&self, _peers: BTreeMap<NodeId, PeerAddress>) {}

    fn probe(&self, peer: NodeId) -> BoxFuture<'static, Result<u64, CallError>> {
        let net = self.net.clone();
        let node = self.node;
        async move {
            tokio::time::sleep(net.delay()).await;
            let (door, incarnation) = {
                let state = net.0.lock();
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
        let state = self.net.0.lock();
        match state.endpoints.get(&self.node) {
            Some(endpoint) => endpoint.events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }
}

pub(super) struct SimulatedLinks(Arc<SimulatedTransport>);

impl Links for SimulatedLinks {
    fn transport(&self) -> Arc<dyn Transport> {
        self.0.clone()
    }

    fn joined(&self, _cluster: ClusterId) {}

    fn stop(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}
