//! Connections that other nodes made to us: their calls come in, our replies go out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use metrics::counter;
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::connection::{ConnectError, Connection, Identity, LinkTimes, accept, byte_counter, refusal};
use super::frame::{Frame, FrameReader, FrameType, HelloError, PURPOSE_PROBE, purpose_from_u8};
use super::outbox::Outbox;
use super::sockets::{Listener, Socket};
use crate::limits::{
    FRAME_MAX_BYTES, HANDSHAKES_MAX, INBOUND_MAX, LINK_CALLS_MAX, LINK_CALLS_MAX_BYTES, LINK_QUEUE_BYTES,
};
use crate::transport::{Caller, NodeId, Purpose, Reply, SharedHandler};

/// Pause after the process ran out of descriptors, or the like.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

struct Open {
    connection: u64,
    cluster: Option<[u8; 16]>,
    cut: CancellationToken,
}

/// Everything about incoming connections.
pub(super) struct Inbound {
    pub identity: Arc<Identity>,
    pub times: LinkTimes,
    pub handler: SharedHandler,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    next_connection: AtomicU64,
    open: Mutex<BTreeMap<(NodeId, Purpose), Open>>,
    connections: AtomicUsize,
}

/// How a connection ended.
enum End {
    Closed,
    Broken(String),
    Stopped,
}

impl Inbound {
    pub fn new(
        identity: Arc<Identity>,
        times: LinkTimes,
        handler: SharedHandler,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            identity,
            times,
            handler,
            stop,
            tasks,
            next_connection: 1.into(),
            open: Mutex::default(),
            connections: 0.into(),
        }
    }

    /// Accepts until stopped; then the port is free.
    pub async fn listen(self: Arc<Self>, listener: Box<dyn Listener>) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let (tcp, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
                refused("handshakes");
                continue;
            };
            let inbound = Arc::clone(&self);
            self.tasks.spawn(async move {
                let connection = tokio::select! {
                    connection = inbound.greet(tcp, from) => connection,
                    () = inbound.stop.cancelled() => None,
                };
                drop(permit);
                if let Some((connection, purpose)) = connection {
                    inbound.serve(connection, purpose).await;
                }
            });
        }
    }

    async fn greet(&self, tcp: Box<dyn Socket>, from: SocketAddr) -> Option<(Connection, Purpose)> {
        match accept(&self.identity, &self.times, tcp).await {
            Ok(connection) if connection.peer.purpose == PURPOSE_PROBE => None,
            Ok(connection) => purpose_from_u8(connection.peer.purpose).map(|purpose| (connection, purpose)),
            Err(error) => {
                match &error {
                    // A wrong certificate or cluster is the operator's to mend; garbage from a stranger is not worth a line.
                    ConnectError::OtherCluster
                    | ConnectError::Certificate(_)
                    | ConnectError::NotAdmitted(_)
                    | ConnectError::Hello(HelloError::Protocol(..)) => {
                        tracing::warn!(%from, %error, "connection refused");
                    }
                    _ => tracing::debug!(%from, %error, "connection refused"),
                }
                refused(match error {
                    ConnectError::OtherCluster => "cluster",
                    ConnectError::NotAdmitted(_) => "member",
                    ConnectError::Certificate(_) | ConnectError::Tls(_) => "tls",
                    ConnectError::Deadline => "deadline",
                    _ => "hello",
                });
                None
            }
        }
    }

    async fn serve(&self, connection: Connection, purpose: Purpose) {
        let Connection {
            mut reader,
            writer,
            peer,
        } = connection;
        let cut = CancellationToken::new();
        let Some(registered) = self.register(NodeId(peer.node), purpose, peer.cluster, cut.clone()) else {
            refused("connections");
            return;
        };
        let mut serving = Serving::new(self, registered.caller, purpose);
        let (queue, written) = (Arc::clone(&serving.outbox), byte_counter(purpose, "out"));
        let mut write = AbortOnDropHandle::new(tokio::spawn(async move { queue.write_to(writer, written).await }));
        let end = serving.run(&mut reader, &mut write, &cut).await;
        if let End::Broken(why) = end {
            tracing::info!(peer = %peer.node, purpose = purpose.name(), why, "incoming connection ended");
            serving.outbox.close_with(refusal(&why));
            // Joined already when it was the writing that failed.
            if !write.is_finished() {
                let _ = timeout(self.times.farewell, &mut write).await;
            }
        }
    }

    /// The newest connection of a node and purpose is the one that counts: an older one is a remainder of its past.
    fn register(
        &self,
        node: NodeId,
        purpose: Purpose,
        cluster: Option<[u8; 16]>,
        cut: CancellationToken,
    ) -> Option<Registered<'_>> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= INBOUND_MAX {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let connection = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let older = self.open.lock().insert(
            (node, purpose),
            Open {
                connection,
                cluster,
                cut,
            },
        );
        if let Some(older) = older {
            older.cut.cancel();
        }
        Some(Registered {
            inbound: self,
            caller: Caller { node, connection },
            purpose,
        })
    }

    /// Cuts connections that would not be accepted now.
    pub fn cut_strangers(&self) {
        for ((node, _), open) in &*self.open.lock() {
            if !self.identity.same_cluster(open.cluster) || !self.identity.admits(*node) {
                open.cut.cancel();
            }
        }
    }
}

/// A served connection's place in the books; whatever ends it, the books are right and the handler knows.
struct Registered<'a> {
    inbound: &'a Inbound,
    caller: Caller,
    purpose: Purpose,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let key = (self.caller.node, self.purpose);
        let mut open = self.inbound.open.lock();
        if open
            .get(&key)
            .is_some_and(|open| open.connection == self.caller.connection)
        {
            open.remove(&key);
        }
        drop(open);
        self.inbound.connections.fetch_sub(1, Ordering::Relaxed);
        self.inbound.handler.on_disconnect(self.caller);
    }
}

/// A call that its handler has not answered. Resolves when it has, or let the reply fall.
struct Unanswered {
    call: u64,
    bytes: usize,
    answer: oneshot::Receiver<Bytes>,
}

impl Future for Unanswered {
    type Output = (u64, usize, Option<Bytes>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready((self.call, self.bytes, answer.ok()))
    }
}

/// One connection at work.
struct Serving<'a> {
    inbound: &'a Inbound,
    caller: Caller,
    purpose: Purpose,
    outbox: Arc<Outbox>,
    unanswered: FuturesUnordered<Unanswered>,
    unanswered_bytes: usize,
}

impl<'a> Serving<'a> {
    fn new(inbound: &'a Inbound, caller: Caller, purpose: Purpose) -> Self {
        // Replies to all open calls, and as many refusals. A peer that reads none of them is cut off.
        let outbox = Arc::new(Outbox::new(2 * LINK_CALLS_MAX, LINK_QUEUE_BYTES));
        Self {
            inbound,
            caller,
            purpose,
            outbox,
            unanswered: FuturesUnordered::new(),
            unanswered_bytes: 0,
        }
    }

    async fn run<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut FrameReader<R>,
        write: &mut AbortOnDropHandle<std::io::Result<()>>,
        cut: &CancellationToken,
    ) -> End {
        let times = self.inbound.times;
        let received = byte_counter(self.purpose, "in");
        let mut tick = interval(times.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_ticks = 0;
        loop {
            let ended = tokio::select! {
                read = reader.fill() => match read {
                    Ok(0) => Err(End::Closed),
                    Err(error) => Err(End::Broken(error.to_string())),
                    Ok(bytes) => {
                        silent_ticks = 0;
                        received.increment(bytes as u64);
                        self.take_frames(reader)
                    }
                },
                Some(answered) = self.unanswered.next() => self.pass_on(answered),
                _ = tick.tick() => {
                    // The dialler pings, so it is never silent for long.
                    silent_ticks += 1;
                    if silent_ticks > times.silent_ticks { Err(End::Broken("the peer is silent".into())) } else { Ok(()) }
                }
                _ = &mut *write => Err(End::Closed),
                () = cut.cancelled() => Err(End::Broken("replaced by a newer connection, or not admitted any more".into())),
                () = self.inbound.stop.cancelled() => {
                    self.outbox.close_with(Frame::control(FrameType::Goodbye, 0, Bytes::new()));
                    let until_closed = async { while !matches!(reader.read_frame().await, Ok(None) | Err(_)) {} };
                    let _ = timeout(times.farewell, until_closed).await;
                    Err(End::Stopped)
                }
            };
            if let Err(end) = ended {
                return end;
            }
        }
    }

    /// Takes the frames that have arrived whole.
    fn take_frames<R: AsyncRead + Unpin>(&mut self, reader: &mut FrameReader<R>) -> Result<(), End> {
        while let Some(frame) = reader.next_frame().map_err(|error| End::Broken(error.to_string()))? {
            match frame.frame_type {
                FrameType::Call => self.take_call(frame)?,
                FrameType::Send => self
                    .inbound
                    .handler
                    .on_send(self.caller, self.purpose, frame.kind, frame.body),
                FrameType::Ping => self
                    .outbox
                    .push_urgent(Frame::control(FrameType::Pong, frame.call, Bytes::new())),
                FrameType::Goodbye => return Err(End::Closed),
                other => return Err(End::Broken(format!("a {other:?} frame has no place here"))),
            }
        }
        Ok(())
    }

    fn take_call(&mut self, frame: Frame) -> Result<(), End> {
        let bytes = frame.body.len();
        let full = self.unanswered.len() >= LINK_CALLS_MAX
            || (self.unanswered_bytes + bytes > LINK_CALLS_MAX_BYTES && !self.unanswered.is_empty());
        if full {
            return self.reply(Frame::control(FrameType::Busy, frame.call, Bytes::new()));
        }
        let (reply, answer) = oneshot::channel();
        self.unanswered_bytes += bytes;
        self.unanswered.push(Unanswered {
            call: frame.call,
            bytes,
            answer,
        });
        self.inbound
            .handler
            .on_call(self.caller, self.purpose, frame.kind, frame.body, Reply(reply));
        Ok(())
    }

    fn pass_on(&mut self, (call, bytes, answer): (u64, usize, Option<Bytes>)) -> Result<(), End> {
        self.unanswered_bytes -= bytes;
        self.reply(match answer {
            Some(body) if body.len() <= FRAME_MAX_BYTES => Frame::control(FrameType::Reply, call, body),
            Some(body) => Frame::control(
                FrameType::Failed,
                call,
                format!("a reply of {} bytes is too large", body.len()),
            ),
            None => Frame::control(FrameType::Failed, call, "the call was let fall"),
        })
    }

    fn reply(&self, frame: Frame) -> Result<(), End> {
        // `Closed` cannot be here: only the end of this connection closes its queue.
        self.outbox
            .push(frame)
            .map_err(|_| End::Broken("the peer does not read its replies".into()))
    }
}

fn refused(reason: &'static str) {
    counter!("kaiwa_link_refused_total", "reason" => reason).increment(1);
}
