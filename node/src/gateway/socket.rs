//! One WebSocket: greeting, reading, writing, deadlines, and the end with its reason. One tokio task each.

use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures::stream::{SplitSink, SplitStream};
use futures::{FutureExt, SinkExt, StreamExt};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use super::Gateway;
use super::admission::{Bucket, Place};
use super::backend::{Caller, Failure};
use super::connection::{Connection, fail, role_of};
use super::hub::Push;
use super::outbound::Outbound;
use super::protocol::{BadFrame, ClientFrame, ErrorFrame, FromClient, Resume, ServerFrame, Welcome, close};
use crate::limits::PUSHES_PENDING_MAX;
use crate::metrics;

/// Label of metrics.
const TRANSPORT: &str = "websocket";
/// Clients are told to leave a draining node within so long.
const DRAIN_SPREAD_MS: u64 = 2_000;
/// A client that is still there so long after it should have left is disconnected.
const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Frames past the rate in a row before the connection ends.
const RATE_OFFENCES_MAX: u32 = 256;

/// Why a connection ends: label, close code, and whether what waits is still written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    reason: &'static str,
    code: Option<u16>,
    write_rest: bool,
}

impl Ending {
    /// With what waits, and a goodbye.
    const fn told(reason: &'static str, code: u16) -> Self {
        Self {
            reason,
            code: Some(code),
            write_rest: true,
        }
    }

    /// With a goodbye only.
    const fn cut(reason: &'static str, code: u16) -> Self {
        Self {
            reason,
            code: Some(code),
            write_rest: false,
        }
    }

    /// The other side is gone.
    const fn gone(reason: &'static str) -> Self {
        Self {
            reason,
            code: None,
            write_rest: false,
        }
    }
}

struct Socket {
    gateway: Arc<Gateway>,
    sink: SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    out: Outbound,
    /// Written, but not yet flushed.
    unflushed: bool,
    /// When something could last be written, or nothing waited.
    wrote_at: Instant,
    heard_at: Instant,
    ping_at: Instant,
    reported_bytes: usize,
}

/// Serves one socket until it ends.
pub(super) async fn serve(gateway: Arc<Gateway>, socket: WebSocket, token: Option<String>, mut place: Place) {
    let (sink, stream) = socket.split();
    let now = Instant::now();
    let mut socket = Socket {
        out: Outbound::new(gateway.settings.outbound_bytes),
        gateway,
        sink,
        stream,
        unflushed: false,
        wrote_at: now,
        heard_at: now,
        ping_at: now,
        reported_bytes: 0,
    };
    let (role, ending) = match socket.greeting(token, &mut place).await {
        Ok((caller, instance, resume)) => {
            let role = role_of(&caller);
            metrics::connection_opened(role, TRANSPORT);
            (role, socket.converse(caller, instance, resume).await)
        }
        Err(ending) => {
            metrics::connection_opened("none", TRANSPORT);
            ("none", ending)
        }
    };
    metrics::connection_closed(role, TRANSPORT, ending.reason);
    tracing::debug!(role, reason = ending.reason, "connection ends");
    drop(place);
    socket.goodbye(ending).await;
}

impl Socket {
    async fn greeting(&mut self, token: Option<String>, place: &mut Place) -> Result<(Caller, u64, Resume), Ending> {
        let deadline = Instant::now() + self.gateway.settings.handshake;
        let late = |_| Ending::told("handshake_timeout", close::POLICY);
        let message = tokio::time::timeout_at(deadline, self.stream.next())
            .await
            .map_err(late)?;
        let text = match self.read(message)? {
            Some(text) => text,
            None => return Err(Ending::told("handshake", close::POLICY)),
        };
        let refuse = |socket: &mut Self, id, failure: Failure, ending| {
            fail(id, failure, &mut socket.out);
            Err(ending)
        };
        let (id, hello_token, instance, resume) = match FromClient::parse(&text) {
            Ok(FromClient {
                id,
                frame:
                    ClientFrame::Hello {
                        token,
                        instance,
                        resume,
                    },
            }) => (id, token, instance, resume),
            Ok(FromClient { id, .. }) => {
                let failure = Failure::new("hello_expected", "the first frame is hello");
                return refuse(self, id, failure, Ending::told("handshake", close::POLICY));
            }
            Err(bad) => {
                metrics::frame_rejected(bad.code);
                let failure = Failure::new(bad.code, bad.detail);
                return refuse(
                    self,
                    bad.id.unwrap_or(0),
                    failure,
                    Ending::told("handshake", close::POLICY),
                );
            }
        };
        let Some(token) = hello_token.or(token) else {
            metrics::auth_failure("missing");
            let failure = Failure::new("unauthenticated", "there is no token");
            return refuse(self, id, failure, Ending::told("unauthenticated", close::POLICY));
        };
        let backend = Arc::clone(&self.gateway.backend);
        let identified = tokio::time::timeout_at(deadline, backend.identify(&token))
            .await
            .map_err(late)?;
        let caller = match identified {
            Ok(caller) => caller,
            Err(failure) if failure.retry_after_ms.is_some() => {
                return refuse(self, id, failure, Ending::told("unavailable", close::TRY_AGAIN));
            }
            Err(failure) => return refuse(self, id, failure, Ending::told("unauthenticated", close::POLICY)),
        };
        let principals = self.gateway.settings.connections_per_principal;
        if let Err(limit) = place.greeted(caller.identity.tenant, caller.identity.principal(), principals) {
            metrics::rate_limited(limit);
            let detail = "there are too many connections of this principal".to_owned();
            let failure = Failure {
                code: "too_many_connections".into(),
                detail,
                retry_after_ms: Some(1_000),
            };
            return refuse(self, id, failure, Ending::told("limit", close::TRY_AGAIN));
        }
        self.out.push(&ServerFrame::Welcome(self.welcome(&caller)));
        Ok((caller, instance, resume))
    }

    fn welcome(&self, caller: &Caller) -> Welcome {
        let identity = &caller.identity;
        let subject = match (identity.customer(), identity.agent()) {
            (Some(customer), _) => customer.0.clone(),
            (None, Some(agent)) => agent.to_string(),
            (None, None) => caller.name.clone(),
        };
        Welcome {
            node: self.gateway.backend.node(),
            nodes: self.gateway.backend.nodes(),
            role: role_of(caller).to_owned(),
            subject,
            name: caller.name.clone(),
            at_ms: self.gateway.backend.now_ms(),
            expires_at_ms: caller.expires_at_ms,
        }
    }

    async fn converse(&mut self, caller: Caller, instance: u64, resume: Resume) -> Ending {
        let settings = self.gateway.settings.clone();
        let now = Instant::now();
        let left_ms = caller.expires_at_ms.saturating_sub(self.gateway.backend.now_ms());
        let token_ends = now + Duration::from_millis(left_ms.min(365 * 86_400_000));
        let (to, mut pushes) = mpsc::channel(PUSHES_PENDING_MAX);
        let backend = Arc::clone(&self.gateway.backend);
        let mut connection = Connection::new(backend, Arc::new(caller), instance, resume, to);
        let mut bucket = Bucket::new(settings.rate_per_second, settings.rate_burst);
        let mut offences = 0;
        let mut leave_at: Option<Instant> = None;
        let mut batch = Vec::new();
        (self.heard_at, self.wrote_at, self.ping_at) = (now, now, now + settings.idle / 3);
        let mut sweep_at = now + Duration::from_secs(1);
        let timer = sleep_until(sweep_at);
        tokio::pin!(timer);
        loop {
            connection.start_reads(&self.out);
            if let Some(reason) = self.out.given_up() {
                return Ending::told(reason, close::TRY_AGAIN);
            }
            self.report_pending();
            // At once, whatever has gathered; only what the socket does not take is waited for below.
            if self.writing() && self.write().now_or_never().is_some_and(|written| written.is_err()) {
                return Ending::gone("broken");
            }
            let (writing, reading) = (self.writing(), connection.takes_more());
            let wake_at = sweep_at.min(token_ends).min(leave_at.unwrap_or(token_ends));
            if timer.deadline() != wake_at {
                timer.as_mut().reset(wake_at);
            }
            tokio::select! {
                message = self.stream.next(), if reading => {
                    // With it what else has come, as far as it is taken.
                    let mut next = Some(message);
                    while let Some(message) = next {
                        if let Some(text) = match self.read(message) {
                            Err(ending) => return ending,
                            Ok(text) => text,
                        } {
                            match bucket.take(self.heard_at) {
                                Ok(()) => {
                                    offences = 0;
                                    self.frame(&mut connection, &text);
                                }
                                Err(retry_after_ms) => {
                                    offences += 1;
                                    metrics::rate_limited("frames");
                                    if offences > RATE_OFFENCES_MAX {
                                        return Ending::told("rate_limited", close::TRY_AGAIN);
                                    }
                                    self.too_fast(&text, retry_after_ms);
                                }
                            }
                        }
                        let more = connection.takes_more() && self.out.has_room();
                        next = more.then(|| self.stream.next().now_or_never()).flatten();
                    }
                },
                came = pushes.recv_many(&mut batch, PUSHES_PENDING_MAX) => {
                    // A full channel may have lost pushes, the last of them without a later one that shows it.
                    let lost = came + pushes.len() >= PUSHES_PENDING_MAX;
                    for push in batch.drain(..) {
                        match push {
                            Push::Drain(url) => leave_at = Some(self.drain(url)),
                            push => connection.pushed(push, &mut self.out),
                        }
                    }
                    if lost {
                        connection.resync_all();
                    }
                    if self.out.is_over() {
                        metrics::slow_consumer_disconnect("client");
                        return Ending::cut("slow_consumer", close::TRY_AGAIN);
                    }
                }
                Some(done) = connection.jobs.next(), if !connection.jobs.is_empty() => {
                    let mut next = Some(done);
                    while let Some(done) = next {
                        connection.done(done, &mut self.out);
                        next = connection.jobs.next().now_or_never().flatten();
                    }
                }
                result = write(&mut self.sink, &mut self.out, &mut self.unflushed, &mut self.wrote_at), if writing => {
                    if result.is_err() {
                        return Ending::gone("broken");
                    }
                }
                () = &mut timer => {
                    let now = Instant::now();
                    if now >= token_ends {
                        return Ending::told("token_expired", close::POLICY);
                    }
                    if leave_at.is_some_and(|at| now >= at) {
                        return Ending::told("draining", close::GOING_AWAY);
                    }
                    sweep_at = now + Duration::from_secs(1);
                    connection.forget_ended(false);
                    connection.ask_waiting();
                    if let Err(ending) = self.check_deadlines(reading, now) {
                        return ending;
                    }
                }
            }
        }
    }

    /// Something waits to be written, or is written and not flushed.
    fn writing(&self) -> bool {
        !self.out.is_empty() || self.unflushed
    }

    async fn write(&mut self) -> Result<(), axum::Error> {
        write(&mut self.sink, &mut self.out, &mut self.unflushed, &mut self.wrote_at).await
    }

    /// Once a second.
    fn check_deadlines(&mut self, reading: bool, now: Instant) -> Result<(), Ending> {
        let settings = &self.gateway.settings;
        if !self.writing() {
            self.wrote_at = now; // nothing waits: what comes next has the whole time
        }
        if now.duration_since(self.wrote_at) >= settings.write {
            metrics::slow_consumer_disconnect("client");
            return Err(Ending::cut("slow_consumer", close::TRY_AGAIN));
        }
        if !reading {
            self.heard_at = now; // it is not heard because it is not listened to
        }
        if now.duration_since(self.heard_at) >= settings.idle {
            return Err(Ending::cut("idle", close::POLICY));
        }
        if now >= self.ping_at {
            self.ping_at = now + settings.idle / 3;
            self.out.ping();
        }
        Ok(())
    }

    fn frame(&mut self, connection: &mut Connection, text: &str) {
        match FromClient::parse(text) {
            Ok(frame) => connection.frame(frame, &mut self.out),
            Err(BadFrame { id, code, detail }) => {
                metrics::frame_rejected(code);
                self.out.push(&ServerFrame::Error(ErrorFrame {
                    id,
                    code: code.to_owned(),
                    detail,
                    retry_after_ms: None,
                }));
            }
        }
    }

    fn too_fast(&mut self, text: &str, retry_after_ms: u64) {
        let id = FromClient::parse(text).map_or_else(|bad| bad.id, |frame| Some(frame.id));
        self.out.push(&ServerFrame::Error(ErrorFrame {
            id,
            code: "rate_limited".to_owned(),
            detail: "too many frames at once".to_owned(),
            retry_after_ms: Some(retry_after_ms),
        }));
    }

    /// Tells the client to go; gives when it is made to.
    fn drain(&mut self, url: Option<String>) -> Instant {
        let after_ms = rand::rng().random_range(0..DRAIN_SPREAD_MS);
        self.out.push(&ServerFrame::Drain { url, after_ms });
        Instant::now() + Duration::from_millis(after_ms) + DRAIN_GRACE
    }

    /// What came: text, nothing of interest, or the end.
    fn read(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Option<Utf8Bytes>, Ending> {
        self.heard_at = Instant::now();
        self.ping_at = self.heard_at + self.gateway.settings.idle / 3;
        match message {
            None => Err(Ending::gone("client_gone")),
            Some(Ok(Message::Text(text))) => Ok(Some(text)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Ok(Message::Close(_))) => Err(Ending::gone("client_closed")),
            Some(Ok(Message::Binary(_))) => {
                metrics::frame_rejected("binary");
                Err(Ending::told("binary", close::UNSUPPORTED))
            }
            Some(Err(error)) => {
                if !is_too_large(error) {
                    return Err(Ending::gone("broken"));
                }
                metrics::frame_rejected("too_large");
                Err(Ending::told("frame_too_large", close::TOO_LARGE))
            }
        }
    }

    fn report_pending(&mut self) {
        let bytes = self.out.bytes();
        if bytes != self.reported_bytes {
            metrics::outbound_pending_bytes(bytes as i64 - self.reported_bytes as i64);
            self.reported_bytes = bytes;
        }
    }

    async fn goodbye(mut self, ending: Ending) {
        if let Some(code) = ending.code {
            let rest = async {
                while ending.write_rest && !self.out.is_empty() {
                    self.write().await?;
                }
                self.sink
                    .send(Message::Close(Some(CloseFrame {
                        code,
                        reason: ending.reason.into(),
                    })))
                    .await
            };
            let told = matches!(timeout(GOODBYE, rest).await, Ok(Ok(())));
            // A socket that is dropped with unread bytes resets the connection, and the client may never see why.
            if told && ending.reason == "frame_too_large" {
                sleep(Duration::from_millis(200)).await;
            } else if told {
                let _ = timeout(GOODBYE, async { while let Some(Ok(_)) = self.stream.next().await {} }).await;
            }
        }
        metrics::outbound_pending_bytes(-(self.reported_bytes as i64));
    }
}

fn is_too_large(error: axum::Error) -> bool {
    error
        .into_inner()
        .downcast::<tungstenite::Error>()
        .is_ok_and(|error| matches!(*error, tungstenite::Error::Capacity(_)))
}

/// Writes what waits, and flushes. May be dropped at any point and begun anew.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    out: &mut Outbound,
    unflushed: &mut bool,
    wrote_at: &mut Instant,
) -> Result<(), axum::Error> {
    std::future::poll_fn(|context| {
        loop {
            ready!(sink.poll_ready_unpin(context))?;
            let Some(message) = out.pop() else { break };
            sink.start_send_unpin(message)?;
            *unflushed = true;
            *wrote_at = Instant::now();
        }
        ready!(sink.poll_flush_unpin(context))?;
        *unflushed = false;
        *wrote_at = Instant::now();
        Poll::Ready(Ok(()))
    })
    .await
}
