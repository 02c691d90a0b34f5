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
use crate::limits::{FRAME_MAX_BYTES, LINK_QUEUE};
use crate::transport::{
    CallError, Caller, Handler, LinkEvent, NodeId, PeerAddress, Purpose, Reply, SharedHandler, Transport,
};

/// What no test may wait longer for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const ECHO: u16 = 1000;
pub(super) const HOLD: u16 = 1001;
const LET_FALL: u16 = 1002;

pub(super) const ONE: NodeId = NodeId(1);
pub(super) const TWO: NodeId = NodeId(2);

/// Echoes, holds or lets fall, by kind, and records what came.
#[derive(Default)]
pub(super) struct Recorder {
    pub came: Mutex<Vec<(Caller, u16, Bytes)>>,
    pub held: Mutex<Vec<(Bytes, Reply)>>,
    pub gone: Mutex<Vec<Caller>>,
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
    let transport = TcpTransport::start_with(node, listen, tls, incarnation, handler, times).unwrap();
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
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

pub(super) async fn connected(from: &TcpTransport, to: &TcpTransport) -> broadcast::Receiver<LinkEvent> {
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
            calls.push((number, one.call(TWO, Purpose::Commands, ECHO, body(number), PATIENCE)));
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

#[tokio::test]
async fn a_deadline_ends_a_call_whose_late_reply_disturbs_nobody() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let late = one
        .call(TWO, Purpose::Commands, HOLD, body(1), Duration::from_millis(50))
        .await;
    assert_eq!(late, Err(CallError::OutcomeUnknown(TWO, "deadline passed".into())));
    let next = one.call(TWO, Purpose::Commands, HOLD, body(2), PATIENCE);
    until("both are held", || handler.held.lock().len() == 2).await;
    for (body, reply) in handler.held.lock().drain(..) {
        reply.send(body);
    }
    assert_eq!(next.await.unwrap(), body(2));
}

#[tokio::test]
async fn replies_out_of_order_find_their_calls() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let calls: Vec<_> = (0..50)
        .map(|n| one.call(TWO, Purpose::Commands, HOLD, body(n), PATIENCE))
        .collect();
    until("all are held", || handler.held.lock().len() == 50).await;
    let held: Vec<_> = handler.held.lock().drain(..).collect();
    for (body, reply) in held.into_iter().rev() {
        reply.send(body);
    }
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap(), body(number));
    }
}

#[tokio::test]
async fn a_call_that_the_handler_lets_fall_fails_at_once_as_unknown() {
    let ((one, _), (two, _)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let call = one.call(TWO, Purpose::Commands, LET_FALL, body(1), PATIENCE).await;
    assert_eq!(
        call,
        Err(CallError::OutcomeUnknown(TWO, "the call was let fall".into()))
    );
}

#[tokio::test]
async fn a_late_handler_lets_calls_fall_until_it_is_bound() {
    let late = LateHandler::new();
    let two = TcpTransport::start(TWO, loopback(), None, 2, late.clone()).unwrap();
    let (one, _) = start(ONE, None);
    connected(&one, &two).await;
    let call = || one.call(TWO, Purpose::Commands, ECHO, body(1), PATIENCE);
    assert!(matches!(call().await, Err(CallError::OutcomeUnknown(..))));
    late.bind(Arc::new(Recorder::default()));
    assert_eq!(call().await.unwrap(), body(1));
}

#[tokio::test]
async fn large_frames_pass_and_too_large_ones_are_refused_both_ways() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let largest = Bytes::from(vec![7; FRAME_MAX_BYTES]);
    let call = |kind, body| one.call(TWO, Purpose::Commands, kind, body, PATIENCE);
    assert_eq!(call(ECHO, largest.clone()).await.unwrap(), largest);
    let larger = Bytes::from(vec![7; FRAME_MAX_BYTES + 1]);
    assert!(matches!(
        call(ECHO, larger.clone()).await,
        Err(CallError::Unreachable(..))
    ));
    let answered = call(HOLD, body(1));
    until("it is held", || handler.held.lock().len() == 1).await;
    let (_, reply) = handler.held.lock().pop().unwrap();
    reply.send(larger);
    assert!(matches!(answered.await, Err(CallError::OutcomeUnknown(_, why)) if why.contains("too large")));
    assert_eq!(call(ECHO, body(2)).await.unwrap(), body(2));
}

/// A transport on a runtime of its own, whose end is like the end of a process: no goodbye, sockets closed by the kernel.
fn start_mortal(node: NodeId, listen: SocketAddr, incarnation: u64) -> (tokio::runtime::Runtime, Arc<TcpTransport>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let (transport, _) = start_at(node, listen, None, incarnation, quick());
    drop(entered);
    (runtime, transport)
}

#[tokio::test]
async fn death_of_the_peer_fails_open_calls_and_its_restart_has_a_new_incarnation() {
    let (one, _) = start(ONE, None);
    let (process, two) = start_mortal(TWO, loopback(), 41);
    let address = two.local_addr();
    let mut events = connected(&one, &two).await;
    let calls: Vec<_> = (0..5)
        .map(|n| one.call(TWO, Purpose::Commands, HOLD, body(n), PATIENCE))
        .collect();
    process.shutdown_background();
    for call in calls {
        assert!(matches!(call.await, Err(CallError::OutcomeUnknown(TWO, _))));
    }
    let ended = event(&mut events, down).await;
    assert_eq!(
        ended,
        LinkEvent::Down {
            peer: TWO,
            purpose: Purpose::Commands,
            goodbye: false
        }
    );
    event(&mut events, |event| matches!(event, LinkEvent::Refused { peer: TWO })).await;
    let refused = || one.send(TWO, Purpose::Commands, 7, body(1)) == Err(CallError::Refused(TWO));
    until("the link knows that nobody listens", refused).await;
    let call = one.call(TWO, Purpose::Commands, ECHO, body(1), PATIENCE).await;
    assert_eq!(call, Err(CallError::Refused(TWO)));
    assert_eq!(one.probe(TWO).await, Err(CallError::Refused(TWO)));

    // Another test may be connecting from this very port.
    until("the port is free", || std::net::TcpListener::bind(address).is_ok()).await;
    let (process, _two) = start_mortal(TWO, address, 42);
    let again = event(&mut events, up).await;
    assert_eq!(
        again,
        LinkEvent::Up {
            peer: TWO,
            purpose: Purpose::Commands,
            incarnation: 42
        }
    );
    assert_eq!(one.probe(TWO).await, Ok(42));
    assert_eq!(
        one.call(TWO, Purpose::Commands, ECHO, body(9), PATIENCE).await.unwrap(),
        body(9)
    );
    process.shutdown_background();
}

#[tokio::test]
async fn a_clean_stop_says_goodbye_and_the_other_side_hears_of_the_disconnect() {
    let ((one, handler_of_one), (two, handler_of_two)) = (start(ONE, None), start(TWO, None));
    let mut events = connected(&one, &two).await;
    connected(&two, &one).await;
    let all_up = || {
        Purpose::ALL
            .into_iter()
            .all(|purpose| two.send(ONE, purpose, 7, body(0)).is_ok())
    };
    until("all links are up", all_up).await;
    let call = one.call(TWO, Purpose::Commands, HOLD, body(1), PATIENCE);
    until("it is held", || handler_of_two.held.lock().len() == 1).await;
    two.stop().await;
    assert!(matches!(call.await, Err(CallError::OutcomeUnknown(TWO, _))));
    let ended = event(&mut events, down).await;
    assert_eq!(
        ended,
        LinkEvent::Down {
            peer: TWO,
            purpose: Purpose::Commands,
            goodbye: true
        }
    );
    until("all four connections are gone", || {
        handler_of_one.gone.lock().len() == 4
    })
    .await;
    assert!(handler_of_one.gone.lock().iter().all(|caller| caller.node == TWO));
    // Not at once: another test may connect from this very port.
    until("the port is free", || {
        std::net::TcpListener::bind(two.local_addr()).is_ok()
    })
    .await;
    assert!(matches!(
        two.send(ONE, Purpose::Commands, 7, body(1)),
        Err(CallError::Unreachable(..))
    ));
}

#[tokio::test]
async fn a_peer_that_is_let_go_is_disconnected_without_an_event_and_unknown_afterwards() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    let mut events = connected(&one, &two).await;
    let all_up = || {
        Purpose::ALL
            .into_iter()
            .all(|purpose| one.send(TWO, purpose, 7, body(0)).is_ok())
    };
    until("all links are up", all_up).await;
    let call = one.call(TWO, Purpose::Commands, HOLD, body(1), PATIENCE);
    until("it is held", || handler.held.lock().len() == 1).await;
    one.set_peers(BTreeMap::new());
    assert!(matches!(call.await, Err(CallError::OutcomeUnknown(TWO, _))));
    until("all connections are gone", || handler.gone.lock().len() == 4).await;
    assert!(matches!(
        one.send(TWO, Purpose::Commands, 7, body(1)),
        Err(CallError::Unreachable(..))
    ));
    assert!(matches!(one.probe(TWO).await, Err(CallError::Unreachable(..))));
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, LinkEvent::Down { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn another_node_at_the_address_is_not_taken_for_the_peer() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    one.set_peers(peer(NodeId(3), two.local_addr()));
    let probed = one.probe(NodeId(3)).await;
    assert!(
        matches!(&probed, Err(CallError::Unreachable(_, why)) if why.contains("node 2 answers")),
        "{probed:?}"
    );
    assert!(matches!(
        one.send(NodeId(3), Purpose::Raft, 7, body(1)),
        Err(CallError::Unreachable(..))
    ));
    assert!(handler.came.lock().is_empty());
}

#[tokio::test]
async fn clusters_do_not_mix_once_both_know_theirs() {
    let ((one, _), (two, _)) = (start(ONE, None), start(TWO, None));
    let mut events = connected(&one, &two).await;
    one.set_cluster_id(Some([1; 16]));
    // A node without a cluster is still met: that is how it joins.
    assert_eq!(one.probe(TWO).await, Ok(200));
    two.set_cluster_id(Some([1; 16]));
    assert_eq!(one.probe(TWO).await, Ok(200));
    // A link made while both know their cluster, so that the change is seen on it.
    one.set_peers(BTreeMap::new());
    one.set_peers(peer(TWO, two.local_addr()));
    event(&mut events, up).await;
    two.set_cluster_id(Some([2; 16]));
    event(&mut events, down).await;
    let probed = one.probe(TWO).await;
    assert!(
        matches!(&probed, Err(CallError::Unreachable(_, why)) if why.contains("another cluster")),
        "{probed:?}"
    );
}

#[tokio::test]
async fn a_link_at_its_bound_is_busy_and_recovers() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let mut calls: Vec<_> = (0..100)
        .map(|n| one.call(TWO, Purpose::Commands, ECHO, body(n), PATIENCE))
        .collect();
    // Nothing is written while this test does not yield: the queue fills to its bound (a ping may have a place).
    let mut queued = calls.len();
    let busy = loop {
        match one.send(TWO, Purpose::Commands, 7, body(0)) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(busy, CallError::Busy(TWO));
    assert!((LINK_QUEUE - 1..=LINK_QUEUE).contains(&queued), "{queued}");
    assert_eq!(
        one.call(TWO, Purpose::Commands, ECHO, body(1), PATIENCE).await,
        Err(CallError::Busy(TWO))
    );
    for (number, call) in (0..).zip(calls.drain(..)) {
        assert_eq!(call.await.unwrap(), body(number));
    }
    until("what was queued comes", || handler.came.lock().len() == queued).await;
    assert_eq!(
        one.call(TWO, Purpose::Commands, ECHO, body(1), PATIENCE).await.unwrap(),
        body(1)
    );
}

#[tokio::test]
async fn a_node_that_is_not_admitted_is_cut_and_refused() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    let mut events = connected(&one, &two).await;
    two.set_admitted(Some([NodeId(3)].into()));
    event(&mut events, down).await;
    let probed = one.probe(TWO).await;
    assert!(
        matches!(&probed, Err(CallError::Unreachable(_, why)) if why.contains("not a member")),
        "{probed:?}"
    );
    until("all connections are gone", || !handler.gone.lock().is_empty()).await;
    two.set_admitted(Some([ONE].into()));
    event(&mut events, up).await;
    assert_eq!(one.probe(TWO).await, Ok(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_a_link() {
    let ((one, _), (two, _)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let callers: Vec<_> = (0..64u32)
        .map(|caller| {
            let one = Arc::clone(&one);
            tokio::spawn(async move {
                for number in 0..200 {
                    let body = body(caller << 16 | number);
                    let reply = one
                        .call(TWO, Purpose::Commands, ECHO, body.clone(), Duration::MAX)
                        .await;
                    assert_eq!(reply.unwrap(), body);
                }
            })
        })
        .collect();
    for caller in callers {
        timeout(PATIENCE, caller).await.unwrap().unwrap();
    }
}
