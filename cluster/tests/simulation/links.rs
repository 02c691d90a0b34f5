//! Links between the simulated nodes: ordered per connection, with seeded delays and losses, cut, held and broken as wanted.
//!
//! A frame over a cut link, or one that is lost, is never heard of again: its call ends with its deadline, or when the
//! connection is given up, because its pings are not answered either. A frame over a held link waits until the link is let go. A node whose process died refuses connections, and its peers' links end at
//! once; one that lost power does neither. When a connection breaks, what was on it may still arrive, late, beside what the
//! next one carries. Raft's own frames may arrive a second time, as after a retry; nothing else may, nor does over TCP.

mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use self::transport::SimulatedLinks;
use super::oracle::Oracle;
use cluster::transport::{Caller, LinkEvent, NodeId, Purpose, Reply, SharedHandler};

const EVENTS_KEPT: usize = 1_024;
/// Kinds up to this are openraft's calls, which it repeats by itself: append, votes, hand-over, heartbeat.
const REPEATED_KINDS: std::ops::RangeInclusive<u16> = 1..=5;
const USUAL_DELAY_MAX_US: u64 = 3_000;
/// A connection that lost something is given up after this.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(3_500);

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
    kind: u16,
    body: Bytes,
    /// `None` for frames without a reply.
    reply: Option<oneshot::Sender<Bytes>>,
}

/// One connection.
#[derive(Clone)]
struct Connection {
    number: u64,
    frames: mpsc::UnboundedSender<Frame>,
    /// Its caller knows that it is broken.
    broken: CancellationToken,
    /// Something on it was lost.
    is_doomed: bool,
}

/// Which connection.
#[derive(Clone, Copy)]
struct Way {
    from: Caller,
    to: NodeId,
    purpose: Purpose,
}

/// How links behave now.
#[derive(Clone, Copy)]
pub(super) struct Weather {
    pub(super) delay_max_us: u64,
    pub(super) loss: f64,
    /// Of Raft's own calls, so many arrive a second time.
    pub(super) copies: f64,
}

const FAIR: Weather = Weather {
    delay_max_us: USUAL_DELAY_MAX_US,
    loss: 0.0,
    copies: 0.0,
};

/// A piece of a snapshot that arrives: how many have, and the last one's way.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    pub(super) count: u64,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

struct State {
    random: SmallRng,
    endpoints: BTreeMap<NodeId, Endpoint>,
    /// How many faults cut, or hold, what goes from one node to another.
    cut: BTreeMap<(NodeId, NodeId), u32>,
    held: BTreeMap<(NodeId, NodeId), u32>,
    connections: BTreeMap<(NodeId, NodeId, Purpose), Connection>,
    numbers: u64,
    weather: Weather,
}

/// All links; clones are the same net.
#[derive(Clone)]
pub(super) struct Net {
    state: Arc<Mutex<State>>,
    /// Something was let go.
    let_go: Arc<watch::Sender<()>>,
    pub(super) pieces: Arc<watch::Sender<Pieces>>,
    oracle: Oracle,
}

impl Net {
    pub(super) fn new(seed: u64, oracle: Oracle) -> Self {
        let state = State {
            random: SmallRng::seed_from_u64(seed),
            endpoints: BTreeMap::new(),
            cut: BTreeMap::new(),
            held: BTreeMap::new(),
            connections: BTreeMap::new(),
            numbers: 0,
            weather: FAIR,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            let_go: Arc::new(watch::channel(()).0),
            pieces: Arc::new(watch::channel(Pieces::default()).0),
            oracle,
        }
    }

    /// Lets a node in, in a new incarnation.
    pub(super) fn join(&self, node: NodeId, handler: SharedHandler) -> SimulatedLinks {
        let mut state = self.state.lock();
        let incarnation = state.next_number();
        let events = broadcast::channel(EVENTS_KEPT).0;
        let endpoint = Endpoint {
            handler,
            incarnation,
            events,
            door: Door::Open,
        };
        state.endpoints.insert(node, endpoint);
        state.forget_connections(|from, to| from == node || to == node);
        SimulatedLinks::new(self.clone(), node, incarnation)
    }

    /// Tells the others that a node is back; they notice when their links reconnect.
    pub(super) fn announce(&self, node: NodeId) {
        let state = self.state.lock();
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
        let mut state = self.state.lock();
        if let Some(endpoint) = state.endpoints.get_mut(&node) {
            endpoint.door = if seen { Door::Refuses } else { Door::Silent };
        }
        if !seen {
            return;
        }
        for (&peer, endpoint) in &state.endpoints {
            if peer != node && !state.cut.contains_key(&(node, peer)) {
                let _ = endpoint.events.send(down(node));
            }
        }
        state.forget_connections(|from, to| from == node || to == node);
    }

    /// The connections between two nodes break, and can be made again at once. `lingers`: what was on them still arrives.
    pub(super) fn reset(&self, one: NodeId, other: NodeId, lingers: bool) {
        let mut told = Vec::new();
        {
            let mut state = self.state.lock();
            for (here, peer) in [(one, other), (other, one)] {
                if let Some(endpoint) = state.endpoints.get(&here) {
                    let _ = endpoint.events.send(down(peer));
                }
            }
            let broken = state.forget_connections(|from, to| (from, to) == (one, other) || (from, to) == (other, one));
            for (from, to, connection) in broken {
                let caller = Caller { node: from, connection };
                told.extend(
                    state
                        .endpoints
                        .get(&to)
                        .map(|endpoint| (endpoint.handler.clone(), caller)),
                );
            }
        }
        if !lingers {
            told.into_iter()
                .for_each(|(handler, caller)| handler.on_disconnect(caller));
        }
    }

    /// Nothing goes from `from` to `to` until it is mended, as often as it was cut.
    pub(super) fn cut(&self, from: NodeId, to: NodeId) {
        *self.state.lock().cut.entry((from, to)).or_default() += 1;
    }

    pub(super) fn mend(&self, from: NodeId, to: NodeId) {
        take_one(&mut self.state.lock().cut, (from, to));
    }

    /// What goes from `from` to `to` waits until it is let go, as often as it was held; then it arrives at once.
    pub(super) fn hold(&self, from: NodeId, to: NodeId) {
        *self.state.lock().held.entry((from, to)).or_default() += 1;
    }

    pub(super) fn let_go(&self, from: NodeId, to: NodeId) {
        take_one(&mut self.state.lock().held, (from, to));
        self.let_go.send_replace(());
    }

    /// From now on links behave so.
    pub(super) fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    pub(super) fn clear_up(&self) {
        self.set_weather(FAIR);
    }

    fn delay(&self) -> Duration {
        let mut state = self.state.lock();
        let most = state.weather.delay_max_us;
        Duration::from_micros(state.random.random_range(200..=most.max(201)))
    }

    async fn while_held(&self, from: NodeId, to: NodeId) {
        let mut let_go = self.let_go.subscribe();
        while self.state.lock().held.contains_key(&(from, to)) {
            // The sender lives as long as this net.
            let _ = let_go.changed().await;
        }
    }

    /// Whether a frame gets through now.
    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        let mut state = self.state.lock();
        let loss = state.weather.loss;
        let lost = loss > 0.0 && state.random.random_bool(loss);
        !lost && !state.cut.contains_key(&(from, to))
    }

    fn handler(&self, to: NodeId) -> Option<SharedHandler> {
        let state = self.state.lock();
        let endpoint = state.endpoints.get(&to).filter(|endpoint| endpoint.door == Door::Open);
        endpoint.map(|endpoint| endpoint.handler.clone())
    }

    /// The connection that frames go out on now.
    fn connection(&self, from: NodeId, to: NodeId, purpose: Purpose) -> Connection {
        let mut state = self.state.lock();
        if let Some(connection) = state.connections.get(&(from, to, purpose)) {
            return connection.clone();
        }
        let number = state.next_number();
        let (frames, queue) = mpsc::unbounded_channel();
        let connection = Connection {
            number,
            frames,
            broken: CancellationToken::new(),
            is_doomed: false,
        };
        state.connections.insert((from, to, purpose), connection.clone());
        let caller = Caller {
            node: from,
            connection: number,
        };
        let way = Way {
            from: caller,
            to,
            purpose,
        };
        tokio::spawn(self.clone().carry(way, queue));
        connection
    }

    /// Something on a connection was lost: it ends a while later, if nothing ends it before.
    fn doom(&self, way: Way) {
        let Way { from, to, purpose } = way;
        let key = (from.node, to, purpose);
        let is_new = {
            let mut state = self.state.lock();
            let connection = state.connections.get_mut(&key);
            let connection = connection.filter(|connection| connection.number == from.connection);
            connection.is_some_and(|connection| !std::mem::replace(&mut connection.is_doomed, true))
        };
        if !is_new {
            return;
        }
        let net = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GIVEN_UP_AFTER).await;
            let mut state = net.state.lock();
            let is_current = |connection: &Connection| connection.number == from.connection;
            if state.connections.get(&key).is_some_and(is_current)
                && let Some(connection) = state.connections.remove(&key)
            {
                connection.broken.cancel();
                if let Some(endpoint) = state.endpoints.get(&from.node).filter(|_| purpose == Purpose::Raft) {
                    let _ = endpoint.events.send(down(to));
                }
            }
        });
    }

    /// One connection: frames arrive in the order in which they were sent.
    async fn carry(self, way: Way, mut frames: mpsc::UnboundedReceiver<Frame>) {
        let Way { from, to, purpose } = way;
        while let Some(frame) = frames.recv().await {
            tokio::time::sleep_until(frame.arrives).await;
            self.while_held(from.node, to).await;
            if !self.passes(from.node, to) {
                self.doom(way);
                if let Some(back) = frame.reply {
                    tokio::spawn(never(back));
                }
                continue;
            }
            if purpose == Purpose::Snapshots {
                self.pieces.send_modify(|pieces| {
                    *pieces = Pieces {
                        count: pieces.count + 1,
                        from: from.node,
                        to,
                    }
                });
            }
            let Some(handler) = self.handler(to) else {
                continue;
            };
            self.copy_now_and_then(from, to, purpose, &frame);
            match frame.reply {
                None => handler.on_send(from, purpose, frame.kind, frame.body),
                Some(back) => {
                    let (reply, answered) = oneshot::channel();
                    handler.on_call(from, purpose, frame.kind, frame.body, Reply(reply));
                    tokio::spawn(self.clone().carry_back(way, answered, back));
                }
            }
        }
    }

    /// A copy comes later, on another connection, and nobody hears its answer.
    fn copy_now_and_then(&self, from: Caller, to: NodeId, purpose: Purpose, frame: &Frame) {
        if purpose != Purpose::Raft || !REPEATED_KINDS.contains(&frame.kind) {
            return;
        }
        let (connection, late_ms) = {
            let mut state = self.state.lock();
            let copies = state.weather.copies;
            if copies == 0.0 || !state.random.random_bool(copies) {
                return;
            }
            (state.next_number(), state.random.random_range(1..400))
        };
        let caller = Caller { connection, ..from };
        let (net, kind, body) = (self.clone(), frame.kind, frame.body.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
            net.while_held(caller.node, to).await;
            if let Some(handler) = net.handler(to).filter(|_| net.passes(caller.node, to)) {
                net.oracle.fired("frame repeated");
                handler.on_call(caller, purpose, kind, body, Reply(oneshot::channel().0));
                handler.on_disconnect(caller);
            }
        });
    }

    async fn carry_back(self, way: Way, answered: oneshot::Receiver<Bytes>, back: oneshot::Sender<Bytes>) {
        let (from, to) = (way.to, way.from.node);
        let answered = answered.await;
        tokio::time::sleep(self.delay()).await;
        self.while_held(from, to).await;
        let lives = self.handler(from).is_some();
        match answered {
            Ok(body) if lives && self.passes(from, to) => drop(back.send(body)),
            // The other side let the call fall: the caller hears that at once.
            Err(_) if lives => drop(back),
            _ => {
                self.doom(way);
                never(back).await;
            }
        }
    }
}

fn down(peer: NodeId) -> LinkEvent {
    LinkEvent::Down {
        peer,
        purpose: Purpose::Raft,
        goodbye: false,
    }
}

fn take_one(counts: &mut BTreeMap<(NodeId, NodeId), u32>, way: (NodeId, NodeId)) {
    if let Some(count) = counts.get_mut(&way) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&way);
        }
    }
}

/// Keeps a call waiting until its deadline.
async fn never(back: oneshot::Sender<Bytes>) {
    let mut back = back;
    back.closed().await;
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether a connection from one node to another can be made.
    fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        let stopped = |way| self.cut.contains_key(&way) || self.held.contains_key(&way);
        !stopped((from, to)) && !stopped((to, from))
    }

    fn is_current(&self, node: NodeId, incarnation: u64) -> bool {
        self.endpoints
            .get(&node)
            .is_some_and(|endpoint| endpoint.incarnation == incarnation && endpoint.door == Door::Open)
    }

    /// Breaks connections: their calls fail, and new frames go out on new ones.
    fn forget_connections(&mut self, which: impl Fn(NodeId, NodeId) -> bool) -> Vec<(NodeId, NodeId, u64)> {
        let broken = self.connections.extract_if(.., |(from, to, _), _| which(*from, *to));
        broken
            .map(|((from, to, _), connection)| {
                connection.broken.cancel();
                (from, to, connection.number)
            })
            .collect()
    }
}
