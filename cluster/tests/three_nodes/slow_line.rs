//! A line between one node and all others, on which answers can be kept under way, and which can be cut without a sign.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::environment::{Environment, Links};
use cluster::status::ClusterId;
use cluster::transport::{
    CallError, Caller, Handler, LinkEvent, NodeId, PeerAddress, Purpose, Reply, SharedHandler, Transport,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use super::harness::DEADLINE;

#[derive(Default)]
struct State {
    /// Answers to what is called from now on stay under way.
    keeps: bool,
    /// Nothing new passes, either way.
    is_cut: bool,
    /// From whom answers arrive all the same.
    let_through: BTreeSet<NodeId>,
    /// Calls that came while it was cut.
    inbound: Vec<Reply>,
    /// How many answers of each kind lie on the line, or lay there.
    kept: BTreeMap<(NodeId, u16), usize>,
}

/// Clones are the same line.
#[derive(Clone)]
pub struct Line(Arc<watch::Sender<State>>);

impl Line {
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(State::default()).0))
    }

    /// Puts the line between a node and the others.
    pub fn under(&self, environment: &mut Environment) {
        let line = self.clone();
        let connect = std::mem::replace(&mut environment.connect, Box::new(|_| unreachable!("replaced below")));
        environment.connect = Box::new(move |handler| {
            let inbound = Inbound(line.clone(), handler);
            let links = connect(Arc::new(inbound))?;
            Ok(Box::new(Under(line, links)) as Box<dyn Links>)
        });
    }

    /// Answers to what is called from now on stay under way.
    pub fn keep_answers(&self) {
        self.0.send_modify(|state| state.keeps = true);
    }

    /// How many answers to this kind of call have come as far as the line.
    pub fn kept(&self, from: u64, kind: u16) -> usize {
        let state = self.0.borrow();
        state.kept.get(&(NodeId(from), kind)).copied().unwrap_or_default()
    }

    /// Nothing new passes, either way.
    pub fn cut(&self) {
        self.0.send_modify(|state| state.is_cut = true);
    }

    /// The answers of one node that lie on the line arrive.
    pub fn let_through(&self, from: u64) {
        self.0.send_modify(|state| state.let_through.extend([NodeId(from)]));
    }

    pub fn heal(&self) {
        self.0.send_replace(State::default());
    }

    async fn until(&self, passes: impl FnMut(&State) -> bool) {
        self.0.subscribe().wait_for(passes).await.expect("the line is here");
    }
}

struct Under(Line, Box<dyn Links>);

impl Links for Under {
    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(Outbound(self.0.clone(), self.1.transport()))
    }

    fn joined(&self, cluster: ClusterId) {
        self.1.joined(cluster);
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.heal();
        self.1.stop()
    }
}

struct Inbound(Line, SharedHandler);

impl Handler for Inbound {
    fn on_call(&self, from: Caller, purpose: Purpose, kind: u16, body: Bytes, reply: Reply) {
        if self.0.0.borrow().is_cut {
            self.0.0.send_modify(|state| state.inbound.push(reply));
        } else {
            self.1.on_call(from, purpose, kind, body, reply);
        }
    }

    fn on_send(&self, from: Caller, purpose: Purpose, kind: u16, body: Bytes) {
        self.1.on_send(from, purpose, kind, body);
    }

    fn on_disconnect(&self, from: Caller) {
        self.1.on_disconnect(from);
    }
}

struct Outbound(Line, Arc<dyn Transport>);

impl Transport for Outbound {
    fn node(&self) -> NodeId {
        self.1.node()
    }

    fn call(
        &self,
        to: NodeId,
        purpose: Purpose,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let line = self.0.clone();
        let (keeps, is_cut) = {
            let state = line.0.borrow();
            (state.keeps, state.is_cut)
        };
        if is_cut {
            return async move {
                let _ = tokio::time::timeout(deadline, line.until(|state| !state.is_cut)).await;
                Err(CallError::OutcomeUnknown(to, "the line was cut".into()))
            }
            .boxed();
        }
        if !keeps {
            return self.1.call(to, purpose, kind, body, deadline);
        }
        // Whoever stands still does not notice their deadlines.
        let answer = self.1.call(to, purpose, kind, body, DEADLINE);
        async move {
            let answer = answer.await;
            line.0
                .send_modify(|state| *state.kept.entry((to, kind)).or_default() += 1);
            line.until(|state| !state.keeps || state.let_through.contains(&to))
                .await;
            answer
        }
        .boxed()
    }

    fn send(&self, to: NodeId, purpose: Purpose, kind: u16, body: Bytes) -> Result<(), CallError> {
        self.1.send(to, purpose, kind, body)
    }

    fn set_peers(&self, peers: BTreeMap<NodeId, PeerAddress>) {
        self.1.set_peers(peers);
    }

    fn probe(&self, peer: NodeId) -> BoxFuture<'static, Result<u64, CallError>> {
        self.1.probe(peer)
    }

    fn watch(&self) -> broadcast::Receiver<LinkEvent> {
        self.1.watch()
    }
}
