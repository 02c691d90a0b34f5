//! Where faults happen: nodes in namespaces and on disks of their own, people, and a watch over all of it.
//!
//! ```text
//!   lab (namespaces of its own: network, mounts, processes)
//!   ├─ clients 10.77.0.254 ── people, watch, probes
//!   ├─ n1 10.77.0.1 ── kaiwa, data on a loop device with ext4
//!   ├─ n2 10.77.0.2 ── kaiwa, data on a loop device with xfs
//!   └─ n3 10.77.0.3 ── kaiwa, data behind a file system that can fail
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use node::local::{LocalOptions, Place};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::lab::clock::{Clock, Hands};
use crate::lab::disk::faulty_fs::{FaultyFs, Options as FaultyOptions};
use crate::lab::disk::loop_disk::{FileSystem, LoopDisk};
use crate::lab::net::{Host, Net, Router};
use crate::oracle::Distrust;
use crate::people::{Pace, People};
use crate::watch::{Target, Watch};
use crate::world::{self, World};

/// The tenant's shard: with one tenant and one shard beside the directory, all conversations are there.
pub const SHARD: u32 = 1;
/// Size of a loop device.
const DISK_BYTES: u64 = 384 << 20;
/// Hosts without a node, for those that join. Clients know of them from the beginning, as they would of a name that stands for
/// all nodes; nobody listens there yet.
const SPARES: u8 = 8;
/// How long anything about a node may take that has nothing against it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a node's data folder is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// A folder like any other.
    Plain,
    /// A small file system of its own on a loop device.
    Loop(FileSystem),
    /// A layer that fails on demand.
    Faulty,
}

/// A disk, ready.
pub enum Disk {
    /// A folder like any other.
    Plain,
    /// On a loop device.
    Loop(LoopDisk),
    /// Behind a layer that fails on demand.
    Faulty(FaultyFs),
}

impl Disk {
    /// The data folder of a node that has it on a disk of its own.
    fn data(&self) -> Option<PathBuf> {
        let folder = match self {
            Self::Plain => return None,
            Self::Loop(disk) => disk.folder(),
            Self::Faulty(layer) => layer.folder(),
        };
        Some(folder.join("data"))
    }
}

/// How to make an arena.
#[derive(Clone, Debug)]
pub struct ArenaOptions {
    /// Where everything is kept: logs, data, history.
    pub folder: PathBuf,
    /// What each of the first nodes has its data on.
    pub disks: Vec<DiskKind>,
    /// Which nodes live by a clock that can be set.
    pub clocks: BTreeSet<u64>,
    /// Customers.
    pub customers: usize,
    /// Agents.
    pub agents: usize,
    /// Conversations that an agent has room for.
    pub concurrent: u16,
    /// Names the choices of the lines.
    pub seed: u64,
    /// What `FAILPOINTS` says to every node.
    pub failpoints: Option<String>,
    /// An older build, which the nodes start with.
    pub old_binary: Option<PathBuf>,
}

/// Nodes, people, and everything that can be broken.
pub struct Arena {
    /// Processes and tenant.
    pub world: World,
    /// The network.
    pub net: Net,
    /// Lines that lose, delay, reorder and repeat.
    pub router: Router,
    /// Customers and agents.
    pub people: People,
    /// What is seen of the nodes.
    pub watch: Watch,
    /// What it was made with.
    pub options: ArenaOptions,
    disks: BTreeMap<u64, Disk>,
    clocks: BTreeMap<u64, Clock>,
    lives: BTreeMap<u64, u32>,
    /// What faults saw of disks that failed.
    pub distrust: Distrust,
    paused: BTreeSet<u64>,
    /// Nodes that left, or whose disk is lost: their numbers are never used again.
    gone: BTreeSet<u64>,
}

/// A node as a host of the network.
pub fn host(node: u64) -> Host {
    Host::Node(u8::try_from(node).expect("nodes have small numbers"))
}

impl Arena {
    /// Makes the network, the disks and the cluster, and lets the people come. Inside a lab only.
    pub async fn start(options: ArenaOptions) -> Result<Self> {
        let nodes = u8::try_from(options.disks.len())?;
        let net = Net::make(nodes + SPARES)?;
        let router = Router::start(&net, options.seed)?;
        let (mut disks, mut clocks, mut places) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (id, kind) in (1..).zip(&options.disks) {
            let disk = make_disk(&options, id, *kind)?;
            let mut place = place(&net, &options, id, &disk);
            if options.clocks.contains(&id) {
                let folder = options.folder.join(format!("clock-{id}"));
                std::fs::create_dir_all(&folder)?;
                let mut clock = Clock::make(&folder, Hands::Wall)?;
                place.environment.extend(dressed(&mut clock)?);
                clocks.insert(id, clock);
            }
            disks.insert(id, disk);
            places.insert(id, place);
        }
        let local = LocalOptions {
            binary: world::kaiwa().clone(),
            dir: options.folder.clone(),
            nodes: nodes.into(),
            port_base: None,
            shards: 1,
            log: "info,openraft=warn,chunked_wal=warn,raft_log=warn".to_owned(),
            more: String::new(),
            places,
        };
        let mut world = World::start_as(local, options.agents, options.concurrent).await?;
        world.urls = (1..=u64::from(nodes + SPARES))
            .map(|id| format!("http://{}:8000", host(id).address()))
            .collect();
        let watch = Watch::start(world.cluster.admin_key());
        let people = People::start_at(&world, options.customers, Pace::default());
        let lives = (1..=u64::from(nodes)).map(|id| (id, 1)).collect();
        let mut arena = Self {
            world,
            net,
            router,
            people,
            watch,
            options,
            disks,
            clocks,
            lives,
            distrust: Distrust::default(),
            paused: BTreeSet::new(),
            gone: BTreeSet::new(),
        };
        arena.look_around();
        Ok(arena)
    }

    /// Members of the cluster, whether their processes run or not.
    pub fn members(&self) -> Vec<u64> {
        let mut ids = self.world.cluster.ids();
        ids.retain(|id| !self.gone.contains(id));
        ids
    }

    /// Members whose process runs and is not stopped by a signal.
    pub fn awake(&mut self) -> Vec<u64> {
        let mut running = self.world.cluster.running();
        running.retain(|id| !self.paused.contains(id) && !self.gone.contains(id));
        running
    }

    /// Those of these nodes that are awake.
    pub fn awake_among(&mut self, mut nodes: Vec<u64>) -> Vec<u64> {
        let awake = self.awake();
        nodes.retain(|node| awake.contains(node));
        nodes
    }

    /// The leader of the tenant's shard, as a node says that is awake.
    pub async fn leader(&mut self) -> Option<u64> {
        for id in self.awake() {
            let status = tokio::time::timeout(Duration::from_secs(1), self.world.cluster.status(id)).await;
            let Ok(Ok(status)) = status else { continue };
            if let Some(leader) = status.leader(SHARD).filter(|leader| !self.gone.contains(leader)) {
                return Some(leader);
            }
        }
        None
    }

    /// A node's disk.
    pub fn disk(&mut self, node: u64) -> &mut Disk {
        self.disks.entry(node).or_insert(Disk::Plain)
    }

    /// Nodes with a disk that this is true of.
    pub fn with_disk(&self, wanted: impl Fn(&Disk) -> bool) -> Vec<u64> {
        let disks = self.disks.iter().filter(|(id, _)| !self.gone.contains(id));
        disks.filter(|(_, disk)| wanted(disk)).map(|(id, _)| *id).collect()
    }

    /// Members whose data folder is one like any other.
    pub fn with_plain_disk(&self) -> Vec<u64> {
        let mut members = self.members();
        members.retain(|id| matches!(self.disks.get(id), None | Some(Disk::Plain)));
        members
    }

    /// A node's clock, if it can be set.
    pub fn clock(&mut self, node: u64) -> Option<&mut Clock> {
        self.clocks.get_mut(&node).filter(|_| !self.gone.contains(&node))
    }

    /// A metric of all nodes that are awake and answer, together.
    pub async fn metric(&mut self, name: &str) -> f64 {
        let mut sum = 0.0;
        for node in self.awake() {
            if let Ok(scrape) = self.world.cluster.metrics(node).await {
                sum += scrape.sum(name, "");
            }
        }
        sum
    }

    /// Nodes whose clock can be set.
    pub fn with_clock(&self) -> Vec<u64> {
        self.clocks
            .keys()
            .copied()
            .filter(|id| !self.gone.contains(id))
            .collect()
    }

    /// Where a node keeps its data.
    pub fn data(&self, node: u64) -> PathBuf {
        let own = self.disks.get(&node).and_then(Disk::data);
        own.unwrap_or_else(|| self.options.folder.join(format!("node-{node}")))
    }

    /// kill -9.
    pub fn kill(&mut self, node: u64) -> Result<()> {
        self.world.cluster.kill(node)?;
        self.paused.remove(&node);
        self.look_around();
        Ok(())
    }

    /// Starts a node's process.
    pub fn start_node(&mut self, node: u64) -> Result<()> {
        if self.world.cluster.running().contains(&node) {
            return Ok(());
        }
        if let Some(clock) = self.clocks.get_mut(&node) {
            let environment = dressed(clock)?;
            self.world.cluster.place_mut(node)?.environment.extend(environment);
        }
        self.world.cluster.start_node(node)?;
        *self.lives.entry(node).or_default() += 1;
        self.look_around();
        Ok(())
    }

    /// An orderly stop.
    pub async fn stop(&mut self, node: u64) -> Result<()> {
        self.world.cluster.stop(node).await?;
        self.look_around();
        Ok(())
    }

    /// SIGSTOP.
    pub fn pause(&mut self, node: u64) -> Result<()> {
        self.signal(node, Signal::STOP)?;
        self.paused.insert(node);
        self.look_around();
        Ok(())
    }

    /// SIGCONT.
    pub fn resume(&mut self, node: u64) -> Result<()> {
        if self.paused.remove(&node) {
            self.signal(node, Signal::CONT)?;
            self.look_around();
        }
        Ok(())
    }

    fn signal(&self, node: u64, signal: Signal) -> Result<()> {
        let pid = self.world.cluster.pid(node).context("the node does not run")?;
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// The watch looks at who can be seen.
    pub fn look_around(&mut self) {
        let targets = self.awake().into_iter().filter_map(|node| {
            Some(Target {
                node,
                life: self.lives.get(&node).copied().unwrap_or(1),
                url: self.world.cluster.admin_url(node).ok()?,
            })
        });
        self.watch.set_targets(targets.collect());
    }

    /// A new node with an empty disk joins; its number.
    pub async fn add_node(&mut self) -> Result<u64> {
        let id = self.world.cluster.ids().last().map_or(1, |last| last + 1);
        if !self.net.nodes().contains(&host(id)) {
            let added = self.net.add()?;
            ensure!(added == host(id), "the network gave {added}, not {}", host(id));
            self.router.add(&self.net, added)?;
        }
        let place = place(&self.net, &self.options, id, &Disk::Plain);
        self.world.cluster.set_place(id, place);
        self.world.cluster.prepare(id)?;
        self.start_node(id)?;
        self.until("the new node lives", PATIENCE, async |arena| {
            arena.answers(id, "/livez").await
        })
        .await?;
        let body = json!({"id": id, "address": self.world.cluster.cluster_address(id)?.to_string()});
        self.operate(reqwest::Method::POST, "/v1/admin/cluster/nodes", Some(body), &[id])
            .await
            .with_context(|| format!("node {id} was not added"))?;
        Ok(id)
    }

    /// A node leaves for good: out of the membership, and its process ends.
    pub async fn remove_node(&mut self, node: u64) -> Result<()> {
        let path = format!("/v1/admin/cluster/nodes/{node}");
        self.operate(reqwest::Method::DELETE, &path, None, &[node])
            .await
            .with_context(|| format!("node {node} was not removed"))?;
        self.kill(node)?;
        self.gone.insert(node);
        self.watch.forget(node);
        self.look_around();
        Ok(())
    }

    /// Does something of an operator's by a node that is awake and none of `but`, again until it is done, as one would.
    pub async fn operate(
        &mut self,
        method: reqwest::Method,
        path: &str,
        body: Option<serde_json::Value>,
        but: &[u64],
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut last = None;
            for id in self.awake().into_iter().filter(|id| !but.contains(id)) {
                match self.world.cluster.admin(id, method.clone(), path, body.as_ref()).await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = Some(error),
                }
            }
            let last = last.unwrap_or_else(|| anyhow::anyhow!("no node is awake"));
            ensure!(Instant::now() < until, "not within {PATIENCE:?}: {last:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether a node's admin API gives this path.
    pub async fn answers(&self, node: u64, path: &str) -> bool {
        let call = self.world.cluster.admin(node, reqwest::Method::GET, path, None);
        matches!(tokio::time::timeout(Duration::from_secs(1), call).await, Ok(Ok(_)))
    }

    /// Whether a node says that it is ready.
    pub async fn is_ready(&self, node: u64) -> bool {
        self.answers(node, "/readyz").await
    }

    /// Waits for something, with a deadline.
    pub async fn until(
        &mut self,
        what: &str,
        within: Duration,
        is_so: impl AsyncFn(&mut Self) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        while !is_so(self).await {
            ensure!(began.elapsed() < within, "{what}: not within {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(began.elapsed())
    }

    /// Every fault ends: all members run, awake, ready, with whole lines; whatever a fault forgot is noticed here.
    pub async fn make_whole(&mut self) -> Result<()> {
        self.net.heal()?;
        self.router.heal_all()?;
        for node in self.paused.clone() {
            self.resume(node)?;
        }
        for node in self.members() {
            self.start_node(node)?;
        }
        for node in self.members() {
            let ready =
                async |arena: &mut Self| arena.is_ready(node).await || !arena.world.cluster.running().contains(&node);
            self.until(&format!("node {node} is ready"), PATIENCE, ready).await?;
            ensure!(
                self.world.cluster.running().contains(&node),
                "node {node} ended by itself; its log ends:\n{}",
                self.world.cluster.log_tail(node)
            );
        }
        Ok(())
    }
}

/// What a process must have in its environment to live by this clock.
fn dressed(clock: &mut Clock) -> Result<BTreeMap<String, OsString>> {
    let mut command = std::process::Command::new("env");
    clock.dress(&mut command)?;
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_owned())));
    Ok(set.collect())
}

fn make_disk(options: &ArenaOptions, id: u64, kind: DiskKind) -> Result<Disk> {
    let point = options.folder.join(format!("disk-{id}"));
    Ok(match kind {
        DiskKind::Plain => Disk::Plain,
        DiskKind::Loop(file_system) => {
            std::fs::create_dir_all(&point)?;
            Disk::Loop(LoopDisk::create(file_system, DISK_BYTES, &point)?)
        }
        DiskKind::Faulty => {
            let underneath = options.folder.join(format!("underneath-{id}"));
            Disk::Faulty(FaultyFs::mount(&underneath, &point, FaultyOptions::default())?)
        }
    })
}

fn place(net: &Net, options: &ArenaOptions, id: u64, disk: &Disk) -> Place {
    let mut launcher = net.command_in(host(id), "env");
    launcher.arg("--");
    let words = std::iter::once(launcher.get_program()).chain(launcher.get_args());
    let mut environment: BTreeMap<String, OsString> = BTreeMap::new();
    // So that snapshots are taken, purged up to and sent within minutes.
    for (setting, value) in [("SNAPSHOT_ENTRIES", "300"), ("KEEP_ENTRIES", "100")] {
        environment.insert(format!("KAIWA_CLUSTER__{setting}"), value.into());
    }
    if let Some(failpoints) = &options.failpoints {
        environment.insert("FAILPOINTS".into(), failpoints.into());
    }
    Place {
        address: host(id).address().into(),
        data: disk.data(),
        launcher: words.map(OsString::from).collect(),
        environment,
        binary: options.old_binary.clone(),
    }
}
