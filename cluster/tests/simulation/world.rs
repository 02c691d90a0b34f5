//! A simulated cluster, its clients, and the course of a run.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::disk::NodeFiles;
use super::faults;
use super::ledger::Ledger;
use super::links::Net;
use super::oracle::Oracle;
use super::run::{Report, Settings};
use cluster::config::{Config, RaftTimes};
use cluster::environment::{Blocking, Environment, Links};
use cluster::error::{ProposeError, StartError};
use cluster::shards::{Lane, Service, Shards};
use cluster::state_machine::{ShardId, StateMachine};
use cluster::status::Role;
use cluster::storage::LogEngine;
use cluster::storage::simulated::{DiskBehaviour, SimulatedDisk};
use cluster::transport::{NodeId, PeerAddress};

pub(super) const NODES: [u64; 3] = [1, 2, 3];
const SHARD: ShardId = ShardId(0);
const CLIENTS: u64 = 3;
/// After the faults, the cluster must serve and agree within this.
const HEAL: Duration = Duration::from_secs(20);
const DAY_MS: u64 = 1_700_000_000_000;

/// One life of a node's process.
pub(super) struct Life {
    pub(super) shards: Shards,
    lives: Arc<AtomicBool>,
}

pub(super) struct Node {
    pub(super) disk: SimulatedDisk,
    files: NodeFiles,
    clock_offset_ms: u64,
    pub(super) life: Option<Life>,
}

struct NoService;

#[async_trait]
impl Service for NoService {
    async fn call(&self, _from: NodeId, _kind: u16, _body: Bytes) -> Bytes {
        Bytes::new()
    }

    fn deliver(&self, _from: NodeId, _kind: u16, _body: Bytes) {}
}

/// A simulated cluster; clones are the same.
#[derive(Clone)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) oracle: Oracle,
    pub(super) net: Net,
    pub(super) nodes: Arc<Mutex<BTreeMap<u64, Node>>>,
    started: Instant,
    next_command: Arc<AtomicU64>,
    clients_run: Arc<AtomicBool>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let mut random = SmallRng::seed_from_u64(settings.seed);
        let net = Net::new(random.random());
        let nodes = NODES.map(|node| {
            let disk = SimulatedDisk::new(random.random(), disk_behaviour(&settings, 2_000));
            let ahead_ms = if settings.fast_clock == Some(node) { 10_000 } else { 0 };
            let clock_offset_ms = ahead_ms + random.random_range(0..300);
            (
                node,
                Node {
                    disk,
                    files: NodeFiles::default(),
                    clock_offset_ms,
                    life: None,
                },
            )
        });
        Self {
            settings,
            oracle: Oracle::new(),
            net,
            nodes: Arc::new(Mutex::new(nodes.into())),
            started: Instant::now(),
            next_command: Arc::default(),
            clients_run: Arc::new(AtomicBool::new(true)),
        }
    }

    /// The whole run.
    pub(super) async fn run(self) -> Report {
        for node in NODES {
            self.start(node).await;
        }
        if let Err(error) = self.shards(1).expect("node 1 was started").init(addresses(), 0).await {
            self.oracle.violated(format!("I: the cluster is not made: {error}"));
            return self.oracle.finish(&[]);
        }
        for client in 0..CLIENTS {
            tokio::spawn(self.clone().client(client));
        }
        let random = SmallRng::seed_from_u64(self.settings.seed ^ 0xfa_17);
        faults::run(&self, random).await;
        tokio::time::sleep(self.settings.quiet_for).await;
        self.heal().await;
        Report {
            last_leader: self.leader(),
            ..self.oracle.finish(&NODES)
        }
    }

    /// Starts a node's process on what its disk holds.
    pub(super) async fn start(&self, node: u64) {
        let lives = Arc::new(AtomicBool::new(true));
        let environment = self.environment(node, lives.clone());
        let (oracle, alive) = (self.oracle.clone(), lives.clone());
        let factory =
            Arc::new(move |_| Box::new(Ledger::new(node, oracle.clone(), alive.clone())) as Box<dyn StateMachine>);
        match Shards::start_in(config(node), factory, Arc::new(NoService), environment).await {
            Ok(shards) => {
                tokio::spawn(watch_leadership(
                    self.oracle.clone(),
                    node,
                    shards.clone(),
                    lives.clone(),
                ));
                self.with_node(node, |node| node.life = Some(Life { shards, lives }));
            }
            Err(error) => self.oracle.violated(format!("node {node} does not start: {error}")),
        }
    }

    fn environment(&self, node: u64, lives: Arc<AtomicBool>) -> Environment {
        let (disk, files, offset_ms) = self.with_node(node, |node| {
            (node.disk.clone(), node.files.clone(), node.clock_offset_ms)
        });
        let files = files.in_life(lives, self.oracle.clone());
        let (logs, snapshots, net, started) = (disk.clone(), files.clone(), self.net.clone(), self.started);
        Environment {
            open_log: Arc::new(move |shard| Ok(Arc::new(logs.open_log(shard)?) as Arc<dyn LogEngine>)),
            open_snapshots: Arc::new(move |shard| Ok(Arc::new(snapshots.of_shard(shard)))),
            rows: Arc::new(disk.open_rows()),
            identity: Arc::new(files),
            connect: Box::new(move |handler| {
                let links: Box<dyn Links> = Box::new(net.join(NodeId(node), handler));
                Ok::<_, StartError>(links)
            }),
            wall_clock: Arc::new(move || DAY_MS + offset_ms + started.elapsed().as_millis() as u64),
            blocking: Blocking::Inline,
            leader_restore: self.settings.leader_restore,
        }
    }

    /// Ends a node's process at once. `seen`: its peers notice; `torn`: a part of what was not flushed reached the disk.
    pub(super) fn crash(&self, node: u64, seen: bool, torn: bool) {
        let life = self.with_node(node, |node| {
            match torn {
                true => node.disk.crash_torn(),
                false => node.disk.crash(),
            }
            node.life.take()
        });
        let Some(life) = life else {
            return;
        };
        self.oracle.crashed(node);
        life.lives.store(false, Ordering::Relaxed);
        self.net.leave(NodeId(node), seen);
        // What is left of the process ends in the background; disk, links and oracle do not listen to it any more.
        tokio::spawn(async move { life.shards.stop().await });
    }

    pub(super) fn with_node<T>(&self, node: u64, f: impl FnOnce(&mut Node) -> T) -> T {
        f(self.nodes.lock().get_mut(&node).expect("one of the nodes"))
    }

    pub(super) fn shards(&self, node: u64) -> Option<Shards> {
        self.with_node(node, |node| node.life.as_ref().map(|life| life.shards.clone()))
    }

    pub(super) fn leader(&self) -> Option<u64> {
        NODES.into_iter().find(|&node| {
            let leadership = self.shards(node).and_then(|shards| shards.leadership(SHARD));
            leadership.is_some_and(|leadership| leadership.borrow().leader == Some(NodeId(node)))
        })
    }

    /// Proposes through any node that runs, and reads through another.
    async fn client(self, client: u64) {
        let mut random = SmallRng::seed_from_u64(self.settings.seed.wrapping_mul(31) + client);
        while self.clients_run.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(random.random_range(1..30))).await;
            let node = NODES[random.random_range(0..NODES.len())];
            let Some(shards) = self.shards(node) else {
                continue;
            };
            self.propose(&shards, client).await;
            if random.random_bool(0.3) {
                self.read(NODES[random.random_range(0..NODES.len())]).await;
            }
        }
    }

    async fn propose(&self, shards: &Shards, client: u64) -> bool {
        let command = self.next_command.fetch_add(1, Ordering::Relaxed) << 8 | client;
        self.oracle.proposes(command);
        let body = Bytes::copy_from_slice(&command.to_le_bytes());
        match shards
            .propose(SHARD, client, Lane::Client, body, Duration::from_secs(2))
            .await
        {
            Ok(proposed) => {
                self.oracle.acknowledged(command, proposed.index);
                true
            }
            Err(ProposeError::OutcomeUnknown) => {
                self.oracle.outcome_unknown(command);
                false
            }
            Err(_) => false,
        }
    }

    async fn read(&self, node: u64) {
        let before = self.oracle.acknowledged_so_far();
        let Some((shards, lives)) = self.with_node(node, |node| {
            node.life.as_ref().map(|life| (life.shards.clone(), life.lives.clone()))
        }) else {
            return;
        };
        let read = shards.read_barrier(SHARD, Duration::from_secs(2)).await;
        if read.is_ok() && lives.load(Ordering::Relaxed) {
            self.oracle.reads(node, &before);
        }
    }

    /// Takes all faults away and demands service and agreement.
    async fn heal(&self) {
        self.net.heal();
        for node in NODES {
            self.with_node(node, |node| {
                node.disk.set_behaviour(disk_behaviour(&self.settings, 2_000))
            });
            if self.shards(node).is_none() {
                self.start(node).await;
            }
            self.net.announce(NodeId(node));
        }
        self.clients_run.store(false, Ordering::Relaxed);
        let deadline = Instant::now() + HEAL;
        for node in NODES {
            let Some(shards) = self.shards(node) else {
                return;
            };
            while !self.propose(&shards, 200 + node).await {
                if self.oracle.is_violated() {
                    return;
                }
                if Instant::now() > deadline {
                    self.oracle
                        .violated(format!("I: no service through node {node}: {:?}", self.states()));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while !self.all_equal() {
            if Instant::now() > deadline {
                self.oracle
                    .violated(format!("I: the replicas do not agree in time: {:?}", self.states()));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn states(&self) -> Vec<(u64, Role, u64, u64, u64)> {
        let running = NODES
            .into_iter()
            .filter_map(|node| Some((node, self.shards(node)?.status())));
        running
            .flat_map(|(node, status)| {
                let shards = status.shards.into_iter();
                shards.map(move |shard| (node, shard.role, shard.term, shard.applied_index, shard.digest))
            })
            .collect()
    }

    fn all_equal(&self) -> bool {
        let states = self.states();
        let first = states.first().map(|state| (state.3, state.4));
        states.len() == NODES.len() && states.iter().all(|state| Some((state.3, state.4)) == first)
    }
}

/// Tells the oracle who leads; and that no raft core stops by itself.
async fn watch_leadership(oracle: Oracle, node: u64, shards: Shards, lives: Arc<AtomicBool>) {
    while lives.load(Ordering::Relaxed) {
        for status in shards.status().shards {
            match status.role {
                Role::Leader => oracle.leads(node, status.term),
                Role::Stopped => {
                    oracle.violated(format!("K: the raft core of node {node} stopped by itself"));
                    return;
                }
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn disk_behaviour(settings: &Settings, fsync_max_us: u64) -> DiskBehaviour {
    DiskBehaviour {
        fsync_min_us: 100,
        fsync_max_us,
        acknowledge_before_flush: settings.acknowledge_before_flush,
    }
}

fn address(node: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, node as u16))
}

fn addresses() -> BTreeMap<NodeId, PeerAddress> {
    NODES
        .into_iter()
        .map(|node| (NodeId(node), PeerAddress { address: address(node) }))
        .collect()
}

fn config(node: u64) -> Config {
    Config {
        node: NodeId(node),
        data_dir: "unused".into(),
        listen: address(node),
        advertise: address(node),
        tls: None,
        raft: RaftTimes::default(),
        snapshot_entries: 60,
        keep_entries: 10,
    }
}
