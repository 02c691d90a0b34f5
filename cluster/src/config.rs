//! Settings of the cluster layer, with the defaults that the measurements in the design recommend.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::transport::NodeId;

/// Times of the Raft protocol, milliseconds. All nodes should share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftTimes {
    /// Between heartbeats.
    pub heartbeat_ms: u64,
    /// Election timeout, lower end.
    pub election_min_ms: u64,
    /// Election timeout, upper end.
    pub election_max_ms: u64,
}

impl Default for RaftTimes {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_min_ms: 300,
            election_max_ms: 400,
        }
    }
}

/// Files of a node's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The cluster's authority, PEM.
    pub authority: PathBuf,
    /// This node's certificate, PEM; its name is `node-<id>`.
    pub certificate: PathBuf,
    /// This node's key, PEM.
    pub key: PathBuf,
}

/// One node of a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Folder for logs, snapshots and rows.
    pub data_dir: PathBuf,
    /// Where the cluster's links are accepted.
    pub listen: SocketAddr,
    /// What the other nodes are told to connect to.
    pub advertise: SocketAddr,
    /// Mutual TLS; `None` only where the operator said so in as many words.
    pub tls: Option<TlsFiles>,
    /// Times of the Raft protocol.
    pub raft: RaftTimes,
    /// Take a snapshot after so many entries since the last.
    pub snapshot_entries: u64,
    /// Entries kept behind the snapshot before the newest, for followers that lag a little.
    pub keep_entries: u64,
}
