//! Our own link to one peer for one purpose: calls go out on it, their replies come back on it.
//!
//! ```text
//!   down(reason) ──connect──► up ──broken, silent, goodbye──► down ──back-off──► …
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use metrics::{counter, histogram};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{ConnectError, Connection, Identity, LinkTimes, byte_counter, dial, reason};
use super::frame::{Frame, FrameReader, FrameType};
use super::outbox::{NotQueued, Outbox};
use crate::limits::{FRAME_MAX_BYTES, LINK_CALLS_MAX, LINK_QUEUE, LINK_QUEUE_BYTES};
use crate::raft::runtime::next_seed;
use crate::transport::{CallError, LinkEvent, NodeId, Purpose};

/// A longer deadline is taken for this one: no reply takes a day.
const DEADLINE_MAX: Duration = Duration::from_secs(86_400);

type Answer = oneshot::Sender<Result<Bytes, CallError>>;

enum State {
    Down(CallError),
    Up(Up),
}

struct Up {
    outbox: Arc<Outbox>,
    open: HashMap<u64, Answer>,
    /// What the peer said its cluster is.
    cluster: Option<[u8; 16]>,
    /// Ends this connection, not the link.
    cut: CancellationToken,
}

/// How a connection ended.
enum End {
    Goodbye,
    Broken(String),
    /// By our own will.
    LetGo,
}

/// One link.
pub(super) struct Link {
    peer: NodeId,
    purpose: Purpose,
    address: SocketAddr,
    next_call: std::sync::atomic::AtomicU64,
    state: Mutex<State>,
    /// Ends the link.
    pub(super) let_go: CancellationToken,
}

/// Takes a call out of the table when nobody waits for it any more.
struct Forget {
    link: Arc<Link>,
    call: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        if let State::Up(up) = &mut *self.link.state.lock() {
            up.open.remove(&self.call);
        }
    }
}

impl Link {
    pub fn new(peer: NodeId, purpose: Purpose, address: SocketAddr, let_go: CancellationToken) -> Arc<Self> {
        let state = Mutex::new(State::Down(CallError::Unreachable(peer, "connecting".into())));
        Arc::new(Self {
            peer,
            purpose,
            address,
            next_call: 1.into(),
            state,
            let_go,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues a call now; the future only waits.
    pub fn call(
        self: &Arc<Self>,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let peer = self.peer;
        let deadline = Instant::now() + deadline.min(DEADLINE_MAX);
        let call = self.next_call.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        if let Err(error) = self.queue(
            Frame {
                frame_type: FrameType::Call,
                kind,
                call,
                body,
            },
            Some(answer),
        ) {
            return std::future::ready(Err(error)).boxed();
        }
        let forget = Forget {
            link: Arc::clone(self),
            call,
        };
        async move {
            let _forget = forget;
            match timeout_at(deadline, answered).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(CallError::OutcomeUnknown(peer, "link ended".into())),
                Err(_) => Err(CallError::OutcomeUnknown(peer, "deadline passed".into())),
            }
        }
        .boxed()
    }

    /// Queues a frame without reply.
    pub fn send(&self, kind: u16, body: Bytes) -> Result<(), CallError> {
        self.queue(
            Frame {
                frame_type: FrameType::Send,
                kind,
                call: 0,
                body,
            },
            None,
        )
    }

    fn queue(&self, frame: Frame, answer: Option<Answer>) -> Result<(), CallError> {
        let peer = self.peer;
        if frame.body.len() > FRAME_MAX_BYTES {
            let reason = format!(
                "a frame of {} bytes is too large (limit {FRAME_MAX_BYTES})",
                frame.body.len()
            );
            return Err(CallError::Unreachable(peer, reason));
        }
        // One lock for queue and table: the order of calls is the order of frames, and a break finds every call.
        let mut state = self.state.lock();
        let up = match &mut *state {
            State::Down(error) => return Err(error.clone()),
            State::Up(up) => up,
        };
        if answer.is_some() && up.open.len() >= LINK_CALLS_MAX {
            return Err(CallError::Busy(peer));
        }
        let call = frame.call;
        up.outbox.push(frame).map_err(|error| match error {
            NotQueued::Full => CallError::Busy(peer),
            NotQueued::Closed => CallError::Unreachable(peer, "link is closing".into()),
        })?;
        if let Some(answer) = answer {
            up.open.insert(call, answer);
        }
        Ok(())
    }

    fn go_up(&self, connection: &Connection, cut: CancellationToken) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(LINK_QUEUE, LINK_QUEUE_BYTES));
        let cluster = connection.peer.cluster;
        *self.state.lock() = State::Up(Up {
            outbox: Arc::clone(&outbox),
            open: HashMap::new(),
            cluster,
            cut,
        });
        outbox
    }

    fn go_down(&self, error: CallError, why: &str) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Down(error));
        if let State::Up(up) = before {
            up.outbox.discard();
            // In the order of the calls, so that a run of the simulation follows from its seed.
            let mut open: Vec<_> = up.open.into_iter().collect();
            open.sort_unstable_by_key(|(call, _)| *call);
            for (_, answer) in open {
                let _ = answer.send(Err(CallError::OutcomeUnknown(self.peer, why.to_owned())));
            }
        }
    }

    fn settle(&self, call: u64, result: Result<Bytes, CallError>) {
        let answer = match &mut *self.state.lock() {
            State::Up(up) => up.open.remove(&call),
            State::Down(_) => None,
        };
        // None: the caller's deadline has passed.
        if let Some(answer) = answer {
            let _ = answer.send(result);
        }
    }

    /// Cuts the connection when the peer belongs to another cluster than the one this node now knows to be its own.
    pub fn cut_stranger(&self, identity: &Identity) {
        if let State::Up(up) = &*self.state.lock()
            && !identity.same_cluster(up.cluster)
        {
            up.cut.cancel();
        }
    }

    /// Keeps the link up until it is let go.
    pub async fn run(self: Arc<Self>, identity: Arc<Identity>, times: LinkTimes, events: broadcast::Sender<LinkEvent>) {
        let let_go = self.let_go.clone();
        let mut backoff = times.backoff_min;
        let mut random = SmallRng::seed_from_u64(next_seed());
        loop {
            let dialled = tokio::select! {
                dialled = dial(&identity, &times, self.peer, self.address, self.purpose as u8) => dialled,
                () = let_go.cancelled() => break,
            };
            match dialled {
                Ok(connection) => {
                    let since = Instant::now();
                    if !self.live(connection, &times, &events).await {
                        break;
                    }
                    if since.elapsed() >= times.backoff_max {
                        backoff = times.backoff_min;
                        continue;
                    }
                }
                Err(error) => self.not_connected(&error, &events),
            }
            let pause = backoff.mul_f64(random.random_range(0.75..1.0));
            backoff = (backoff * 2).min(times.backoff_max);
            tokio::select! {
                () = sleep(pause) => {}
                () = let_go.cancelled() => break,
            }
        }
        self.go_down(CallError::Unreachable(self.peer, "not a peer".into()), "link let go");
    }

    /// One connection, from Up to Down; false when the link was let go.
    async fn live(
        self: &Arc<Self>,
        connection: Connection,
        times: &LinkTimes,
        events: &broadcast::Sender<LinkEvent>,
    ) -> bool {
        let (peer, purpose) = (self.peer, self.purpose);
        let incarnation = connection.peer.incarnation;
        let cut = CancellationToken::new();
        let outbox = self.go_up(&connection, cut.clone());
        tracing::info!(%peer, purpose = purpose.name(), "link up");
        let _ = events.send(LinkEvent::Up {
            peer,
            purpose,
            incarnation,
        });
        let (goodbye, why) = match self.drive(connection, &outbox, &cut, times).await {
            End::LetGo => return false,
            End::Goodbye => (true, "the peer stops".to_owned()),
            End::Broken(why) => (false, why),
        };
        self.go_down(CallError::Unreachable(peer, why.clone()), &why);
        tracing::info!(%peer, purpose = purpose.name(), goodbye, why, "link down");
        let _ = events.send(LinkEvent::Down { peer, purpose, goodbye });
        true
    }

    fn not_connected(&self, error: &ConnectError, events: &broadcast::Sender<LinkEvent>) {
        let peer = self.peer;
        let refused = matches!(error, ConnectError::NobodyListens);
        let why = error.to_string();
        let now = if refused {
            CallError::Refused(peer)
        } else {
            CallError::Unreachable(peer, why.clone())
        };
        let before = std::mem::replace(&mut *self.state.lock(), State::Down(now.clone()));
        counter!("kaiwa_link_connect_failures_total", "peer" => peer.to_string(), "purpose" => self.purpose.name())
            .increment(1);
        // Once per change, not per attempt.
        if matches!(&before, State::Down(before) if *before == now) {
            return;
        }
        tracing::info!(%peer, purpose = self.purpose.name(), why, "no link");
        if refused {
            let _ = events.send(LinkEvent::Refused { peer });
        }
    }

    async fn drive(
        &self,
        connection: Connection,
        outbox: &Arc<Outbox>,
        cut: &CancellationToken,
        times: &LinkTimes,
    ) -> End {
        let Connection { mut reader, writer, .. } = connection;
        let (received, written) = (byte_counter(self.purpose, "in"), byte_counter(self.purpose, "out"));
        let queue = Arc::clone(outbox);
        let mut write = AbortOnDropHandle::new(tokio::spawn(async move { queue.write_to(writer, written).await }));
        let mut writing = true;
        let mut pings = Pings::new(self.peer);
        let mut tick = interval(times.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_ticks = 0;
        loop {
            tokio::select! {
                read = reader.fill() => match read {
                    Ok(0) => return End::Broken("closed by the peer".into()),
                    Err(error) => return End::Broken(error.to_string()),
                    Ok(bytes) => {
                        silent_ticks = 0;
                        received.increment(bytes as u64);
                        if let Some(end) = self.take_frames(&mut reader, &mut pings) {
                            return end;
                        }
                    }
                },
                _ = tick.tick() => {
                    silent_ticks += 1;
                    if silent_ticks > times.silent_ticks || !writing {
                        return End::Broken("the peer is silent".into());
                    }
                    pings.tick(outbox);
                }
                // A goodbye may still be on its way to us: read on, for a tick at most.
                _ = &mut write, if writing => writing = false,
                () = cut.cancelled() => return End::Broken("another cluster".into()),
                () = self.let_go.cancelled() => {
                    outbox.close_with(Frame::control(FrameType::Goodbye, 0, Bytes::new()));
                    let until_closed = async { while !matches!(reader.read_frame().await, Ok(None) | Err(_)) {} };
                    let _ = timeout(times.farewell, until_closed).await;
                    return End::LetGo;
                }
            }
        }
    }

    /// Takes the frames that have arrived whole.
    fn take_frames<R: tokio::io::AsyncRead + Unpin>(
        &self,
        reader: &mut FrameReader<R>,
        pings: &mut Pings,
    ) -> Option<End> {
        let peer = self.peer;
        loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => return Some(End::Broken(error.to_string())),
            };
            match frame.frame_type {
                FrameType::Reply => self.settle(frame.call, Ok(frame.body)),
                FrameType::Failed => self.settle(frame.call, Err(CallError::OutcomeUnknown(peer, reason(&frame)))),
                FrameType::Busy => self.settle(frame.call, Err(CallError::Busy(peer))),
                FrameType::Pong => pings.pong(frame.call),
                FrameType::Goodbye => return Some(End::Goodbye),
                FrameType::Refused => {
                    return Some(End::Broken(format!("the peer refuses: {}", reason(&frame))));
                }
                FrameType::Hello | FrameType::Call | FrameType::Send | FrameType::Ping => {
                    return Some(End::Broken(format!("a {:?} frame has no place here", frame.frame_type)));
                }
            }
        }
    }
}

/// Pings at every second tick; measures the way there and back.
struct Pings {
    sent: u64,
    sent_at: Instant,
    skip: bool,
    seconds: metrics::Histogram,
}

impl Pings {
    fn new(peer: NodeId) -> Self {
        let seconds = histogram!("kaiwa_raft_peer_rtt_seconds", "peer" => peer.to_string());
        Self {
            sent: 0,
            sent_at: Instant::now(),
            skip: false,
            seconds,
        }
    }

    fn tick(&mut self, outbox: &Outbox) {
        self.skip = !self.skip;
        if self.skip {
            self.sent += 1;
            self.sent_at = Instant::now();
            outbox.push_urgent(Frame::control(FrameType::Ping, self.sent, Bytes::new()));
        }
    }

    fn pong(&self, number: u64) {
        if number == self.sent {
            self.seconds.record(self.sent_at.elapsed().as_secs_f64());
        }
    }
}
