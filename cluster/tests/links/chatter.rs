//! What a node does: it calls the others, answers them, and listens to what its links say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::limits::LINK_QUEUE;
use cluster::transport::tcp::TcpTransport;
use cluster::transport::{Caller, Handler, LinkEvent, NodeId, PeerAddress, Purpose, Reply, Transport};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::broadcast;

use super::sockets::SimulatedSockets;
use super::truth::{PORT, Truth};
use super::{NODES, host};

const CALL: u16 = 1_000;
const FLOOD: u16 = 1_001;

/// Answers after a while, or lets the call fall.
struct Answers {
    node: u64,
    random: Mutex<SmallRng>,
    truth: Truth,
}

impl Handler for Answers {
    fn on_call(&self, from: Caller, purpose: Purpose, _kind: u16, body: Bytes, reply: Reply) {
        let number = u64::from_le_bytes(body[..8].try_into().expect("a call is numbered"));
        self.truth.came(self.node, from, purpose, number);
        let (falls, wait_ms) = {
            let mut random = self.random.lock();
            (random.random_bool(0.02), random.random_range(0..80))
        };
        if !falls {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                reply.send(body);
            });
        }
    }

    fn on_send(&self, _from: Caller, _purpose: Purpose, _kind: u16, _body: Bytes) {}
}

/// One life of a node.
pub(super) async fn run(node: u64, seed: u64, truth: Truth) -> turmoil::Result {
    let incarnation = truth.begins(node);
    let seed = seed.wrapping_mul(1_000_003) ^ incarnation;
    let answers = Answers {
        node,
        random: Mutex::new(SmallRng::seed_from_u64(seed)),
        truth: truth.clone(),
    };
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let sockets = Arc::new(SimulatedSockets(truth.clone()));
    let transport = TcpTransport::start_over(sockets, NodeId(node), listen, incarnation, Arc::new(answers))?;
    tokio::spawn(listen_to_links(node, transport.watch(), truth.clone()));
    let peers = NODES.into_iter().filter(|&peer| peer != node).map(|peer| {
        let address = SocketAddr::from((turmoil::lookup(host(peer)), PORT));
        (NodeId(peer), PeerAddress { address })
    });
    transport.set_peers(peers.collect::<BTreeMap<_, _>>());
    let mut random = SmallRng::seed_from_u64(seed + 1);
    // Unique over all lives.
    let mut number = incarnation << 32;
    while !truth.is_to_stop(node) {
        tokio::time::sleep(Duration::from_millis(random.random_range(1..20))).await;
        number += 1;
        chat(node, &transport, &mut random, number, &truth);
    }
    transport.stop().await;
    std::future::pending().await
}

/// One call; rarely, many frames at once.
fn chat(node: u64, transport: &Arc<TcpTransport>, random: &mut SmallRng, number: u64, truth: &Truth) {
    let peer = 1 + (node + random.random_range(0..2)) % NODES.len() as u64;
    let purpose = Purpose::ALL[random.random_range(0..Purpose::ALL.len())];
    if random.random_bool(0.002) {
        flood(node, transport, NodeId(peer), purpose, truth);
        return;
    }
    let mut body = number.to_le_bytes().to_vec();
    body.resize(8 + random.random_range(0..3_000), node as u8);
    let (body, deadline) = (Bytes::from(body), Duration::from_millis(random.random_range(20..900)));
    let started = tokio::time::Instant::now();
    let call = transport.call(NodeId(peer), purpose, CALL, body.clone(), deadline);
    let truth = truth.clone();
    tokio::spawn(async move {
        let result = call.await;
        let result = result.as_ref().map(|reply| &reply[..]);
        truth.ended(node, peer, &body, result, started.elapsed(), deadline);
    });
}

fn flood(node: u64, transport: &TcpTransport, peer: NodeId, purpose: Purpose, truth: &Truth) {
    let sent = (0..LINK_QUEUE + 100).map(|_| transport.send(peer, purpose, FLOOD, Bytes::from_static(&[7; 16])));
    let results: Vec<_> = sent.collect();
    let taken = results.iter().filter(|result| result.is_ok()).count();
    truth.flooded(node, taken, LINK_QUEUE);
    if taken > 0 && taken < results.len() {
        truth.busy();
    }
}

async fn listen_to_links(node: u64, mut events: broadcast::Receiver<LinkEvent>, truth: Truth) {
    while let Ok(event) = events.recv().await {
        match event {
            LinkEvent::Up { peer, incarnation, .. } => truth.link_up(node, peer.0, incarnation),
            LinkEvent::Down { peer, goodbye, .. } => truth.link_down(node, peer.0, goodbye),
            LinkEvent::Refused { peer } => truth.refused(node, peer.0),
        }
    }
}
