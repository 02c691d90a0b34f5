//! Two or more transports on loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::connection::LinkTimes;
use super::tcp::{LateHandler, TcpTransport};
use crate::config::TlsFiles;
use crate::transport::{
    CallError, Caller, Handler, LinkEvent, NodeId, PeerAddress, Purpose, Reply, SharedHandler,
    Transport,
};

/// What no test may wait longer for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const ECHO: u16 = 1000;
const HOLD: u16 = 1001;
const LET_FALL: u16 = 1002;

pub(super) const ONE: NodeId = NodeId(1);
pub(super) const TWO: NodeId = NodeId(2);

/// Echoes, holds or lets fall, by kind, and records what came.
#[derive(Default)]
pub(super) struct Recorder {
    pub came: Mutex<Vec<(Caller, u16, Bytes)>>,
    held: Mutex<Vec<(Bytes, Reply)>>,
    gone: Mutex<Vec<Caller>>,
}

impl Handler for Recorder {
    fn on_call(&self, from: Caller, _purpose: Purpose, kind: u16, body: Bytes, reply: Reply) {
        self.came.lock().push((from, kind, body.clone()));
        match kind {
            ECHO => reply.send(body),
            HOLD => self.held.lock().push((body, reply)),
            _ => drop(reply),
        }
    }

    fn on_send(&self, from: Caller, _purpose: Purpose, kind: u16, body: Bytes) {
        self.came.lock().push((from, kind, body));
    }

    fn on_disconnect(&self, from: Caller) {
        self.gone.lock().push(from);
    }
}

/// Times that make tests quick, with room for a busy machine.
pub(super) fn quick() -> LinkTimes {
    LinkTimes {
        backoff_max: Duration::from_millis(100),
        ..LinkTimes::default()
    }
}

pub(super) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(super) fn start(node: NodeId, tls: Option<&TlsFiles>) -> (Arc<TcpTransport>, Arc<Recorder>) {
    start_at(node, loopback(), tls, node.0 * 100, quick())
}

pub(super) fn start_at(
    node: NodeId,
    listen: SocketAddr,
    tls: Option<&TlsFiles>,
    incarnation: u64,
    times: LinkTimes,
) -> (Arc<TcpTransport>, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let handler: SharedHandler = recorder.clone();
    let transport =
        TcpTransport::start_with(node, listen, tls, incarnation, handler, times).unwrap();
    (transport, recorder)
}

pub(super) fn peer(node: NodeId, address: SocketAddr) -> BTreeMap<NodeId, PeerAddress> {
    BTreeMap::from([(node, PeerAddress { address })])
}

/// The next event that the test asks for; others pass.
pub(super) async fn event(
    events: &mut broadcast::Receiver<LinkEvent>,
    wanted: impl Fn(&LinkEvent) -> bool,
) -> LinkEvent {
    timeout(PATIENCE, async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
    .expect("the event comes")
}

pub(super) fn up(event: &LinkEvent) -> bool {
    matches!(
        event,
        LinkEvent::Up {
            purpose: Purpose::Commands,
            ..
        }
    )
}

fn down(event: &LinkEvent) -> bool {
    matches!(
        event,
        LinkEvent::Down {
            purpose: Purpose::Commands,
            ..
        }
    )
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

pub(super) async fn connected(
    from: &TcpTransport,
    to: &TcpTransport,
) -> broadcast::Receiver<LinkEvent> {
    let mut events = from.watch();
    from.set_peers(peer(to.node(), to.local_addr()));
    event(&mut events, up).await;
    events
}

fn body(number: u32) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

#[tokio::test]
async fn frames_arrive_in_the_order_of_their_queueing_and_are_answered() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let mut calls = Vec::new();
    for number in 0..2000 {
        if number % 3 == 0 {
            one.send(TWO, Purpose::Commands, 7, body(number)).unwrap();
        } else {
            // Not polled before all are queued.
            calls.push((
                number,
                one.call(TWO, Purpose::Commands, ECHO, body(number), PATIENCE),
            ));
        }
    }
    for (number, call) in calls.into_iter().rev() {
        assert_eq!(call.await.unwrap(), body(number));
    }
    until("all frames come", || handler.came.lock().len() == 2000).await;
    let came = handler.came.lock();
    assert!(came.iter().enumerate().all(|(at, (from, kind, bytes))| {
        from.node == ONE && *bytes == body(at as u32) && (*kind == 7) == (at % 3 == 0)
    }));
}
