//! Links between nodes. One link per pair and purpose, so that bulk never delays votes.
//!
//! Frames of one link arrive in the order in which they were given to [`Transport::call`] and [`Transport::send`], and
//! [`Handler`] is called in that order; replies come in any order. Nothing is retried here: a link that breaks fails
//! its outstanding calls, and says so to the watchers.

pub mod certificates;
mod connection;
mod frame;
#[cfg(test)]
mod hostile_tests;
mod inbound;
mod link;
#[cfg(test)]
mod metrics_tests;
mod outbox;
pub mod sockets;
pub mod tcp;
#[cfg(test)]
mod tcp_tests;
pub mod tls;
#[cfg(test)]
mod tls_tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, oneshot};

/// A node's number, unique for ever within its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Votes, appends, heartbeats.
    Raft = 0,
    /// Commands and queries forwarded to a leader.
    Commands = 1,
    /// Frames for listeners.
    FanOut = 2,
    /// Snapshots and rows.
    Snapshots = 3,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Raft, Self::Commands, Self::FanOut, Self::Snapshots];

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Commands => "commands",
            Self::FanOut => "fan_out",
            Self::Snapshots => "snapshots",
        }
    }
}

/// Why a call gave no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No link, and the peer refused a new one: its process is gone.
    #[error("node {0} refused the connection")]
    Refused(NodeId),
    /// No link; the frame was certainly not delivered.
    #[error("node {0} is unreachable: {1}")]
    Unreachable(NodeId, String),
    /// The link broke, or the deadline passed, after the frame was queued: the outcome is unknown.
    #[error("no reply from node {0}: {1}")]
    OutcomeUnknown(NodeId, String),
    /// The link's queue is full; the frame was not queued.
    #[error("the link to node {0} is full")]
    Busy(NodeId),
}

/// What happens to links; the raft module fails over by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Our link to the peer came up, or a probe met it (then with [`Purpose::Raft`], and no `Down` follows).
    Up {
        /// Who answers.
        peer: NodeId,
        /// What the link is for.
        purpose: Purpose,
        /// New for every start of the peer's process.
        incarnation: u64,
    },
    /// Our link to the peer ended. Not said of links that this node itself lets go.
    Down {
        /// Who was connected.
        peer: NodeId,
        /// What the link was for.
        purpose: Purpose,
        /// The peer said that it stops.
        goodbye: bool,
    },
    /// Our own connect was refused: nobody listens there. Said once per link until something changes, and by every probe.
    Refused {
        /// Who should listen.
        peer: NodeId,
    },
}

/// Where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PeerAddress {
    /// Cluster address.
    pub address: SocketAddr,
}

/// Sends frames. `kind` is the user's; ranges: 1–99 this crate's raft module, 100–199 this crate's commands, 1000+ the user of the crate.
pub trait Transport: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;
    /// Queues the frame at once (before the future is polled), in order; resolves with the reply, or by `deadline`.
    fn call(
        &self,
        to: NodeId,
        purpose: Purpose,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;
    /// Queues a frame that has no reply.
    fn send(&self, to: NodeId, purpose: Purpose, kind: u16, body: Bytes) -> Result<(), CallError>;
    /// Replaces the set of peers: new ones are connected, those missing are let go.
    fn set_peers(&self, peers: BTreeMap<NodeId, PeerAddress>);
    /// Tries a fresh connect to the peer now; `Refused` when nobody listens there. Its result also goes to the watchers.
    fn probe(&self, peer: NodeId) -> BoxFuture<'static, Result<u64, CallError>>;
    /// Events of links from now on.
    fn watch(&self) -> broadcast::Receiver<LinkEvent>;
}

/// Answers a call, once; dropping it fails the caller's call.
pub struct Reply(pub oneshot::Sender<Bytes>);

impl Reply {
    /// Sends the answer.
    pub fn send(self, body: Bytes) {
        // A caller that stopped waiting is no error.
        let _ = self.0.send(body);
    }
}

/// Who a frame came from: `connection` is unique in this process, so that ordered lanes can be kept per connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    /// The peer's node id; with TLS, the one that its certificate names.
    pub node: NodeId,
    /// Number of the connection.
    pub connection: u64,
}

/// Takes frames, in the order of their link. Must return at once: queue or spawn.
pub trait Handler: Send + Sync + 'static {
    /// A frame that wants a reply. How many may be unanswered is bounded per connection; the caller of more is told `busy`.
    fn on_call(&self, from: Caller, purpose: Purpose, kind: u16, body: Bytes, reply: Reply);
    /// A frame that wants none. Nothing bounds them but the handler: drop them, or queue them within a limit.
    fn on_send(&self, from: Caller, purpose: Purpose, kind: u16, body: Bytes);
    /// A connection ended.
    fn on_disconnect(&self, _from: Caller) {}
}

/// Shared handler.
pub type SharedHandler = Arc<dyn Handler>;
