//! A simulated cluster: its nodes, and how they start and end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
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

use super::clock::NodeClock;
use super::disk::NodeFiles;
use super::faults;
use super::ledger::Ledger;
use super::links::Net;
use super::members::Members;
use super::oracle::Oracle;
use super::run::{Report, Settings};
use super::watch;
use super::watched_log::WatchedLog;
use cluster::config::{Config, RaftTimes};
use cluster::environment::{Blocking, Environment, Gate, Links};
use cluster::error::StartError;
use cluster::shards::{Service, Shards};
use cluster::state_machine::{ShardId, StateMachine};
use cluster::storage::LogEngine;
use cluster::storage::simulated::{DiskBehaviour, SimulatedDisk};
use cluster::transport::{NodeId, PeerAddress};

pub(super) const SHARD: ShardId = ShardId(0);

/// One life of a node's process.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) shards: Shards,
    pub(super) lives: Arc<AtomicBool>,
    pub(super) gate: Gate,
    /// Its disk was full, or failed: the replica may stop.
    pub(super) troubled: Arc<AtomicBool>,
}

pub(super) struct Node {
    pub(super) disk: SimulatedDisk,
    pub(super) files: NodeFiles,
    pub(super) clock: NodeClock,
    pub(super) life: Option<Life>,
    starting: bool,
    crashes: u64,
    /// Its disk is about to rot: nobody else starts it.
    pub(super) rots: bool,
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
    pub(super) members: Members,
    random: Arc<Mutex<SmallRng>>,
    started: Instant,
    pub(super) next_command: Arc<AtomicU64>,
    pub(super) clients_run: Arc<AtomicBool>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let mut random = SmallRng::seed_from_u64(settings.seed);
        let oracle = Oracle::new();
        let world = Self {
            net: Net::new(random.random(), oracle.clone()),
            oracle,
            nodes: Arc::default(),
            members: Members::new(settings.nodes()),
            random: Arc::new(Mutex::new(random)),
            started: Instant::now(),
            next_command: Arc::default(),
            clients_run: Arc::new(AtomicBool::new(true)),
            settings,
        };
        for node in world.members.all() {
            world.make_node(node);
        }
        world
    }

    /// A new machine with an empty disk.
    pub(super) fn make_node(&self, node: u64) {
        let mut random = self.random.lock();
        let ahead_ms = if self.settings.fast_clock == Some(node) {
            10_000
        } else {
            0
        };
        let made = Node {
            disk: SimulatedDisk::new(random.random(), disk_behaviour(2_000)),
            files: NodeFiles::default(),
            clock: NodeClock::new(self.started, ahead_ms + random.random_range(0..300)),
            life: None,
            starting: false,
            crashes: 0,
            rots: false,
        };
        self.nodes.lock().insert(node, made);
    }

    /// The whole run.
    pub(super) async fn run(self) -> Report {
        for node in self.members.all() {
            self.start_or_blame(node).await;
        }
        let founder = self.shards(1).expect("node 1 was started");
        if let Err(error) = founder.init(addresses(self.members.all()), 0).await {
            self.oracle.violated(format!("I: the cluster is not made: {error}"));
            return self.oracle.report();
        }
        self.run_clients();
        let changes = faults::run(&self).await;
        tokio::time::sleep(self.settings.quiet_for).await;
        self.heal(changes).await;
        Report {
            last_leader: self.leader(),
            ..self.oracle.report()
        }
    }

    /// Starts a node's process on what its disk holds; does nothing when it runs.
    pub(super) async fn start(&self, node: u64) -> Result<(), StartError> {
        let crashes = self.with_node(node, |node| {
            let may_start = node.life.is_none() && !node.rots && !node.starting;
            node.starting |= may_start;
            may_start.then_some(node.crashes)
        });
        let Some(crashes) = crashes else {
            return Ok(());
        };
        let lives = Arc::new(AtomicBool::new(true));
        let gate = Gate::default();
        let started = self.start_life(node, lives.clone(), gate.clone()).await;
        let crashed_meanwhile = self.with_node(node, |node| {
            node.starting &= node.crashes == crashes;
            !node.starting
        });
        if crashed_meanwhile {
            lives.store(false, Ordering::Relaxed);
            if let Ok(shards) = started {
                tokio::spawn(async move { shards.stop().await });
            }
            return Ok(());
        }
        let life = self.with_node(node, |node| {
            node.starting = false;
            node.life = started.as_ref().ok().map(|shards| Life {
                shards: shards.clone(),
                lives,
                gate,
                troubled: Arc::default(),
            });
            node.life.clone()
        });
        if let Some(life) = life {
            tokio::spawn(watch::watch(self.clone(), node, life));
        }
        started.map(drop)
    }

    async fn start_life(&self, node: u64, lives: Arc<AtomicBool>, gate: Gate) -> Result<Shards, StartError> {
        let environment = self.environment(node, lives.clone())?;
        let (oracle, is_large) = (self.oracle.clone(), self.settings.large_states());
        let factory = Arc::new(move |_| {
            Box::new(Ledger::new(node, oracle.clone(), lives.clone(), is_large)) as Box<dyn StateMachine>
        });
        let starting = Shards::start_in(config(node), factory, Arc::new(NoService), environment);
        let started = gate.within(starting).await;
        if started.is_err() {
            self.net.leave(NodeId(node), true);
        }
        started
    }

    /// Starts a node that has no reason not to start.
    pub(super) async fn start_or_blame(&self, node: u64) {
        if let Err(error) = self.start(node).await {
            self.oracle.violated(format!("I: node {node} does not start: {error}"));
        }
    }

    fn environment(&self, node: u64, lives: Arc<AtomicBool>) -> Result<Environment, StartError> {
        let (disk, files, clock) =
            self.with_node(node, |node| (node.disk.clone(), node.files.clone(), node.clock.clone()));
        open_rows(&disk, &files)?;
        let in_life = files.in_life(lives.clone(), disk.clone(), self.oracle.clone());
        let (logs, snapshots, net, oracle) = (disk.clone(), in_life.clone(), self.net.clone(), self.oracle.clone());
        Ok(Environment {
            open_log: Arc::new(move |shard| {
                let log = WatchedLog::new(logs.open_log(shard)?, logs.clone(), node, oracle.clone(), lives.clone())?;
                Ok(Arc::new(log) as Arc<dyn LogEngine>)
            }),
            open_snapshots: Arc::new(move |shard| {
                files.set_damaged_aside(shard);
                Ok(Arc::new(snapshots.of_shard(shard)))
            }),
            rows: Arc::new(disk.open_rows()),
            identity: Arc::new(in_life),
            connect: Box::new(move |handler| {
                let links: Box<dyn Links> = Box::new(net.join(NodeId(node), handler));
                Ok::<_, StartError>(links)
            }),
            wall_clock: Arc::new(move || clock.now_ms()),
            blocking: Blocking::Inline,
            leader_restore: self.settings.leader_restore,
        })
    }

    /// Ends a node's process at once. `seen`: its peers notice; `torn`: a part of what was not flushed reached the disk.
    pub(super) fn crash(&self, node: u64, seen: bool, torn: bool) {
        let life = self.with_node(node, |node| {
            match torn {
                true => node.disk.crash_torn(),
                false => node.disk.crash(),
            }
            node.crashes += 1;
            node.life.take()
        });
        let Some(life) = life else {
            return;
        };
        self.oracle.fired(match (seen, torn) {
            (true, false) => "crash",
            (false, false) => "power lost",
            (_, true) => "torn write",
        });
        life.lives.store(false, Ordering::Relaxed);
        life.gate.open();
        self.net.leave(NodeId(node), seen);
        // What is left of the process ends in the background; disk, links and oracle do not listen to it any more.
        tokio::spawn(async move { life.shards.stop().await });
    }

    pub(super) fn with_node<T>(&self, node: u64, f: impl FnOnce(&mut Node) -> T) -> T {
        f(self.nodes.lock().get_mut(&node).expect("one of the nodes"))
    }

    pub(super) fn life(&self, node: u64) -> Option<Life> {
        self.with_node(node, |node| node.life.clone())
    }

    pub(super) fn shards(&self, node: u64) -> Option<Shards> {
        self.life(node).map(|life| life.shards)
    }

    pub(super) fn leader(&self) -> Option<u64> {
        self.members.all().into_iter().find(|&node| {
            let leadership = self.shards(node).and_then(|shards| shards.leadership(SHARD));
            leadership.is_some_and(|leadership| leadership.borrow().leader == Some(NodeId(node)))
        })
    }

    /// One of the members, the leader with this probability if there is one.
    pub(super) fn any_node(&self, random: &mut SmallRng, leader: f64) -> u64 {
        let all: Vec<u64> = self.members.all().into_iter().collect();
        let any = all[random.random_range(0..all.len())];
        self.leader().filter(|_| random.random_bool(leader)).unwrap_or(any)
    }
}

/// What opening the data folder does with rows (`environment/disk.rs`): damaged ones are set aside with the snapshots that
/// stand on them, and then the log must still hold everything.
fn open_rows(disk: &SimulatedDisk, files: &NodeFiles) -> Result<(), StartError> {
    let lost = disk.set_damaged_rows_aside();
    let newest = files.set_damaged_aside(SHARD).map_or(0, |newest| newest.index);
    let durable = cluster::storage::RowStore::durable_index(&disk.open_rows(), SHARD)?;
    if !lost && durable >= newest {
        return Ok(());
    }
    files.set_all_aside(SHARD);
    let log = disk.open_log(SHARD).map_err(io::Error::from)?;
    if log.state()?.purged.is_some() {
        let reason = "rows are missing, and the log no longer holds everything";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason).into());
    }
    Ok(())
}

pub(super) fn disk_behaviour(fsync_max_us: u64) -> DiskBehaviour {
    DiskBehaviour {
        fsync_max_us,
        ..DiskBehaviour::default()
    }
}

fn socket_address(node: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, node as u16))
}

pub(super) fn address(node: u64) -> PeerAddress {
    PeerAddress {
        address: socket_address(node),
    }
}

fn addresses(nodes: BTreeSet<u64>) -> BTreeMap<NodeId, PeerAddress> {
    nodes.into_iter().map(|node| (NodeId(node), address(node))).collect()
}

fn config(node: u64) -> Config {
    Config {
        node: NodeId(node),
        data_dir: "unused".into(),
        listen: socket_address(node),
        advertise: socket_address(node),
        tls: None,
        raft: RaftTimes::default(),
        snapshot_entries: 25,
        keep_entries: 10,
    }
}

/// A pause of so many milliseconds.
pub(super) async fn pause(random: &mut SmallRng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(ms))).await;
}
