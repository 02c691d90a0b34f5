//! Nodes on loopback, with real logs, rows and links, and a state machine that is easy to check.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cluster::config::{Config, RaftTimes};
use cluster::environment::Environment;
use cluster::error::ProposeError;
use cluster::shards::{Lane, Proposed, Service, Shards};
use cluster::state_machine::{Applied, Batch, Row, ShardId, SnapshotWriter, StateMachine};
use cluster::status::ShardStatus;
use cluster::transport::{NodeId, PeerAddress, certificates};

pub const DEADLINE: Duration = Duration::from_secs(30);

/// Keeps the set of commands that it was given, and a digest over their order; writes one row per command.
#[derive(Default)]
pub struct Ledger {
    seen: BTreeSet<Vec<u8>>,
    digest: u64,
    at_ms: u64,
}

impl StateMachine for Ledger {
    fn apply(&mut self, batch: Batch<'_>) -> Applied {
        assert!(batch.at_ms >= self.at_ms, "the log's time went back");
        self.at_ms = batch.at_ms;
        let mut applied = Applied::default();
        for command in batch.commands {
            self.seen.insert(command.to_vec());
            for &byte in command.iter().chain(&batch.index.to_le_bytes()) {
                self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            applied.replies.push(Bytes::from(self.seen.len().to_string()));
            let value = Some(Bytes::from(batch.index.to_string()));
            applied.rows.push(Row {
                table: 1,
                key: command.to_vec(),
                value,
            });
        }
        applied
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let (seen, digest, at_ms) = (self.seen.clone(), self.digest, self.at_ms);
        Box::new(move |out| {
            out.write_all(&digest.to_le_bytes())?;
            out.write_all(&at_ms.to_le_bytes())?;
            for command in &seen {
                out.write_all(&(command.len() as u32).to_le_bytes())?;
                out.write_all(command)?;
            }
            Ok(())
        })
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut rest = &bytes[16..];
        self.digest = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        self.at_ms = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        self.seen.clear();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            self.seen.insert(rest[4..4 + length].to_vec());
            rest = &rest[4 + length..];
        }
        Ok(())
    }
}

/// Answers every call with the caller's number and the body.
pub struct Echo;

#[async_trait]
impl Service for Echo {
    async fn call(&self, from: NodeId, kind: u16, body: Bytes) -> Bytes {
        Bytes::from(format!("{from}:{kind}:{}", String::from_utf8_lossy(&body)))
    }

    fn deliver(&self, _from: NodeId, _kind: u16, _body: Bytes) {}
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub struct Node {
    pub config: Config,
    pub shards: Option<Shards>,
}

pub struct Cluster {
    pub nodes: BTreeMap<u64, Node>,
    _data: tempfile::TempDir,
    root: std::path::PathBuf,
    snapshot_entries: u64,
    with_tls: bool,
}

impl Cluster {
    /// Three nodes with `shard_count` shards beside the directory.
    pub async fn start(shard_count: u32, snapshot_entries: u64) -> Self {
        Self::start_with(shard_count, snapshot_entries, false).await
    }

    /// The same, with certificates of an authority of its own.
    pub async fn start_with_tls(shard_count: u32) -> Self {
        Self::start_with(shard_count, 1_000, true).await
    }

    async fn start_with(shard_count: u32, snapshot_entries: u64, with_tls: bool) -> Self {
        init_tracing();
        let data = tempfile::tempdir().unwrap();
        let root = data.path().to_owned();
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            _data: data,
            root,
            snapshot_entries,
            with_tls,
        };
        if with_tls {
            certificates::make_authority(&cluster.root.join("certs")).unwrap();
        }
        for node in 1..=3 {
            cluster.add_config(node);
            cluster.open(node).await;
        }
        let addresses = cluster.addresses();
        cluster.shards(1).init(addresses, shard_count).await.unwrap();
        cluster
    }

    pub fn add_config(&mut self, node: u64) {
        let address = free_address();
        let config = Config {
            node: NodeId(node),
            data_dir: self.root.join(node.to_string()),
            listen: address,
            advertise: address,
            tls: self.with_tls.then(|| {
                let addresses = [address.ip().to_string()];
                certificates::issue_node(&self.root.join("certs"), NodeId(node), &addresses).unwrap()
            }),
            raft: RaftTimes::default(),
            snapshot_entries: self.snapshot_entries,
            keep_entries: 10,
        };
        self.nodes.insert(node, Node { config, shards: None });
    }

    pub fn addresses(&self) -> BTreeMap<NodeId, PeerAddress> {
        let address = |node: &Node| PeerAddress {
            address: node.config.advertise,
        };
        self.nodes
            .iter()
            .map(|(&id, node)| (NodeId(id), address(node)))
            .collect()
    }

    pub async fn open(&mut self, node: u64) {
        let node = self.nodes.get_mut(&node).unwrap();
        let factory = Arc::new(|_| Box::<Ledger>::default() as Box<dyn StateMachine>);
        let started = Shards::start(node.config.clone(), factory, Arc::new(Echo)).await;
        node.shards = Some(started.unwrap());
    }

    /// Opens a node with something else under it.
    pub async fn open_with(&mut self, node: u64, change: impl FnOnce(&mut Environment)) {
        let node = self.nodes.get_mut(&node).unwrap();
        let factory = Arc::new(|_| Box::<Ledger>::default() as Box<dyn StateMachine>);
        let mut environment = Environment::open(&node.config).unwrap();
        change(&mut environment);
        let started = Shards::start_in(node.config.clone(), factory, Arc::new(Echo), environment).await;
        node.shards = Some(started.unwrap());
    }

    /// Closes node 3, opens it with something else under it, and lets it lead `shard`.
    pub async fn lead_with(&mut self, shard: ShardId, change: impl FnOnce(&mut Environment)) {
        self.close(3).await;
        self.open_with(3, change).await;
        self.wait("node 3 to follow", || self.status(3, shard).leader).await;
        self.leader(shard).await;
        self.shards(1).transfer_leader(shard, NodeId(3)).await.unwrap();
        assert_eq!(self.leader(shard).await, 3);
    }

    pub async fn close(&mut self, node: u64) {
        let shards = self.nodes.get_mut(&node).unwrap().shards.take().unwrap();
        shards.stop().await;
    }

    pub fn shards(&self, node: u64) -> Shards {
        self.nodes[&node].shards.clone().unwrap()
    }

    pub fn running(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.shards.is_some())
            .map(|(&id, _)| id)
            .collect()
    }

    pub fn status(&self, node: u64, shard: ShardId) -> ShardStatus {
        let status = self.shards(node).status();
        status.shards.into_iter().find(|status| status.shard == shard).unwrap()
    }

    /// Waits until all running nodes agree on a leader of `shard`, which is ready.
    pub async fn leader(&self, shard: ShardId) -> u64 {
        self.wait("a leader", || {
            let seen: BTreeSet<_> = self
                .running()
                .iter()
                .map(|&node| self.status(node, shard).leader)
                .collect();
            let leader = seen.first().copied().flatten().filter(|_| seen.len() == 1)?;
            let leadership = *self.nodes.get(&leader.0)?.shards.as_ref()?.leadership(shard)?.borrow();
            leadership.ready.then_some(leader.0)
        })
        .await
    }

    pub async fn wait<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = probe() {
                return found;
            }
            if started.elapsed() > DEADLINE {
                let all: Vec<_> = self.running().iter().map(|&node| self.shards(node).status()).collect();
                panic!("{what}: not within {DEADLINE:?}: {all:#?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until every member on `nodes` has applied the same index with the same digest and holds the rows of `acked`.
    pub async fn assert_equal(&self, shard: ShardId, nodes: &[u64], acked: &[String]) {
        self.wait("equal replicas", || {
            let marks: BTreeSet<_> = nodes
                .iter()
                .map(|&node| self.status(node, shard))
                .map(|status| (status.digest_index, status.digest))
                .collect();
            let indexes: BTreeSet<_> = marks.iter().map(|mark| mark.0).collect();
            assert!(
                indexes.len() == marks.len(),
                "different digests at one index: {marks:?}"
            );
            (marks.len() == 1).then_some(())
        })
        .await;
        for &node in nodes {
            let rows = self.shards(node).rows();
            for command in acked {
                let row = rows.get(shard, 1, command.as_bytes()).unwrap();
                assert!(row.is_some(), "node {node} lacks the row of {command}");
            }
        }
    }
}

pub async fn propose(shards: &Shards, shard: ShardId, command: &str) -> Result<Proposed, ProposeError> {
    let command = Bytes::from(command.to_owned());
    shards
        .propose(shard, 1, Lane::Client, command, Duration::from_secs(10))
        .await
}

/// Proposes and asks again as long as the outcome is unknown: commands of the ledger are idempotent.
pub async fn propose_surely(shards: &Shards, shard: ShardId, command: &str) -> Proposed {
    let started = Instant::now();
    loop {
        match propose(shards, shard, command).await {
            Ok(proposed) => return proposed,
            Err(error) => assert!(started.elapsed() < DEADLINE, "{command}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn init_tracing() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| "warn,openraft=error".into());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init();
}
