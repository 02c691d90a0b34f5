//! All shards of one node: opening them, proposing to them, reading from them, moving them.

mod forward;
mod founding;
mod gauges;
mod mending;
mod reading;
mod room;
mod router;
mod slow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::reading::Rounds;
use self::router::Router;
use crate::clock::WallClock;
use crate::config::Config;
use crate::environment::{Blocking, Environment, Links, OpenLog, OpenSnapshots};
use crate::error::{InitError, MembershipError, ProposeError, ReadError, StartError};
use crate::identity::Identity;
use crate::known_bugs::put_in;
use crate::raft::frames::{ChangeAnswer, ChangeFrame, ProposeAnswer, ProposeFrame, ReadAnswer};
use crate::raft::settings;
use crate::shard::{HandOver, Parts, Replica};
use crate::state_machine::{ShardId, StateMachineFactory};
use crate::status::{ClusterId, ClusterStatus, Leadership, ShardStatus};
use crate::storage::RowStore;
use crate::transport::{CallError, NodeId, PeerAddress, Purpose, Transport};

/// Between two attempts while a shard has no leader.
const RETRY: Duration = Duration::from_millis(20);
/// For all steps of one shard's membership change, the learner's catching up included.
const CHANGE_DEADLINE: Duration = Duration::from_secs(120);
/// For handing over one leadership.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(3);

/// Takes the user's own frames from other nodes (and from this one). Kinds are 1000 and above.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers a call; runs on a task of its own, so it may wait.
    async fn call(&self, from: NodeId, kind: u16, body: Bytes) -> Bytes;
    /// Takes a frame that wants no answer. Called in the order of the link; must return at once.
    fn deliver(&self, from: NodeId, kind: u16, body: Bytes);
}

/// Which share of a proposer's queue a command may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Lane {
    /// Commands of clients: bounded, fair between groups.
    Client,
    /// Decisions and timers: they have a share of their own and go first.
    Decision,
}

/// A command that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proposed {
    /// Index of the entry that holds it.
    pub index: u64,
    /// What the state machine answered.
    pub reply: Bytes,
}

/// All shards of one node. A cheap clone.
#[derive(Clone)]
pub struct Shards {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) tasks: TaskTracker,
    settings: Arc<openraft::Config>,
    factory: StateMachineFactory,
    service: Arc<dyn Service>,
    links: Box<dyn Links>,
    identity: Identity,
    open_log: OpenLog,
    open_snapshots: OpenSnapshots,
    rows: Arc<dyn RowStore>,
    wall_clock: WallClock,
    /// How far the wall clock is known to be ahead of the cluster's; 0 within the limit.
    clock_off_ms: Arc<AtomicI64>,
    /// The time of day that the nodes agreed on last, and when.
    agreed_time: Mutex<Option<(u64, Instant)>>,
    blocking: Blocking,
    replicas: RwLock<BTreeMap<ShardId, Arc<Replica>>>,
    /// Leaders as they are known here; they outlive a replica that is opened again.
    leaderships: Mutex<BTreeMap<ShardId, watch::Sender<Leadership>>>,
    /// Told when a raft core ends by itself.
    ended: Arc<Notify>,
    /// Replicas that wait for room on the disk, as they stood last.
    closed: Mutex<BTreeMap<ShardId, ShardStatus>>,
    /// Why this node must stop.
    broken: watch::Sender<Option<String>>,
    /// The disk is nearly full.
    pub(crate) disk_low: AtomicBool,
    /// When this node handed a leadership over because its disk was slow.
    slow_left: Mutex<BTreeMap<ShardId, Instant>>,
    /// One replica is opened at a time.
    opening: tokio::sync::Mutex<()>,
    /// Nodes that are being added and are in no membership yet.
    joining: Mutex<BTreeMap<NodeId, PeerAddress>>,
    members_changed: Arc<Notify>,
    streams: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Inner {
    pub(crate) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    fn replica(&self, shard: ShardId) -> Option<Arc<Replica>> {
        self.replicas.read().get(&shard).cloned()
    }

    /// Opens a replica of `shard` on this node, unless it is open.
    async fn open(&self, shard: ShardId) -> Result<(), StartError> {
        let _one_at_a_time = self.opening.lock().await;
        if self.stop.is_cancelled() || self.replicas.read().contains_key(&shard) {
            return Ok(());
        }
        let (open_log, open_snapshots) = (self.open_log.clone(), self.open_snapshots.clone());
        let opened = self
            .blocking
            .run(move || Ok::<_, std::io::Error>((open_log(shard)?, open_snapshots(shard)?)))
            .await?;
        let (engine, snapshots) = opened?;
        let leadership = self.leaderships.lock().entry(shard).or_default().clone();
        let replica = Replica::open(Parts {
            shard,
            settings: self.settings.clone(),
            engine,
            snapshots,
            rows: self.rows.clone(),
            transport: self.transport.clone(),
            user: (self.factory)(shard),
            wall_clock: self.corrected_clock(),
            blocking: self.blocking,
            streams: self.streams.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.child_token(),
            members_changed: self.members_changed.clone(),
            leadership,
            ended: self.ended.clone(),
        })
        .await?;
        self.replicas.write().insert(shard, replica);
        Ok(())
    }

    /// The wall clock, less what it is known to be off.
    fn corrected_clock(&self) -> WallClock {
        let (wall, off) = (self.wall_clock.clone(), self.clock_off_ms.clone());
        Arc::new(move || wall().saturating_add_signed(-off.load(Ordering::Relaxed)))
    }

    /// Of the replicas here, those that wait for room included.
    fn statuses(&self) -> Vec<ShardStatus> {
        let mut statuses: BTreeMap<ShardId, ShardStatus> = self.closed.lock().clone();
        statuses.extend(self.replicas().iter().map(|replica| (replica.shard, replica.status())));
        statuses.into_values().collect()
    }

    /// A membership step, if this node leads the shard.
    async fn change_here(&self, shard: ShardId, step: ChangeFrame) -> ChangeAnswer {
        let Some(replica) = self.replica(shard) else {
            return ChangeAnswer::NotLeader(None);
        };
        if let ChangeFrame::AddLearner(new, address) = &step {
            // The link must be there before openraft replicates over it.
            self.joining.lock().insert(*new, address.clone());
            self.refresh_peers();
        }
        replica.change(self.node, step).await
    }
}

impl Shards {
    /// Opens storage, links and every local replica.
    pub async fn start(
        config: Config,
        factory: StateMachineFactory,
        service: Arc<dyn Service>,
    ) -> Result<Self, StartError> {
        let (environment, data) = (Environment::open(&config)?, config.data_dir.clone());
        // A leader that resumes its term after a restart loses acknowledged commands (see the simulation).
        assert_eq!(
            environment.leader_restore,
            Some(false),
            "enable_leader_restore must be off"
        );
        let shards = Self::start_in(config, factory, service, environment).await?;
        let inner = &shards.inner;
        inner
            .tasks
            .spawn(room::watch(inner.clone(), data, inner.stop.child_token()));
        Ok(shards)
    }

    /// Like [`Self::start`], on the disk, links and clocks of `environment`.
    pub async fn start_in(
        config: Config,
        factory: StateMachineFactory,
        service: Arc<dyn Service>,
        environment: Environment,
    ) -> Result<Self, StartError> {
        let settings = settings(&config, environment.leader_restore)?;
        let identity = Identity::load(environment.identity)?;
        let known = identity.get();
        if let Some(known) = known.as_ref().filter(|known| known.node != config.node) {
            let (node, disk) = (config.node, known.node);
            return Err(StartError::Config(format!(
                "this is node {node}, but the data folder belongs to node {disk}"
            )));
        }
        let router = Arc::new(Router::default());
        let links = (environment.connect)(router.clone())?;
        let inner = Arc::new(Inner {
            node: config.node,
            transport: links.transport(),
            tasks: TaskTracker::new(),
            settings,
            factory,
            service,
            links,
            identity,
            open_log: environment.open_log,
            open_snapshots: environment.open_snapshots,
            rows: environment.rows,
            wall_clock: environment.wall_clock,
            clock_off_ms: Arc::default(),
            agreed_time: Mutex::default(),
            blocking: environment.blocking,
            replicas: RwLock::default(),
            leaderships: Mutex::default(),
            ended: Arc::default(),
            closed: Mutex::default(),
            broken: watch::channel(None).0,
            disk_low: AtomicBool::new(false),
            slow_left: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            joining: Mutex::default(),
            members_changed: Arc::default(),
            streams: Arc::default(),
            stop: CancellationToken::new(),
        });
        router.bind(&inner);
        // Before the first link comes up, so that every peer's first incarnation is seen.
        let link_events = inner.transport.watch();
        let shards = Self { inner };
        if let Some(known) = known
            && let Err(error) = shards.inner.join(known).await
        {
            shards.stop().await;
            return Err(error);
        }
        let inner = &shards.inner;
        inner.tasks.spawn(crate::failover::watch(
            inner.clone(),
            link_events,
            inner.stop.child_token(),
        ));
        inner
            .tasks
            .spawn(router::keep_peers(inner.clone(), inner.stop.child_token()));
        inner
            .tasks
            .spawn(gauges::watch_skew(inner.clone(), inner.stop.child_token()));
        inner
            .tasks
            .spawn(mending::mend(inner.clone(), inner.stop.child_token()));
        inner.tasks.spawn(slow::watch(inner.clone(), inner.stop.child_token()));
        Ok(shards)
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// The cluster that this node belongs to; `None` before `init` or joining.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.inner.identity.get().map(|known| known.cluster)
    }

    /// The node's rows.
    pub fn rows(&self) -> Arc<dyn RowStore> {
        self.inner.rows.clone()
    }

    /// Makes a cluster of `nodes` (this one included) with shards `0..=shard_count`, and waits until each has a
    /// leader. Idempotent: a call that was cut short may be repeated, with the same nodes.
    pub async fn init(&self, nodes: BTreeMap<NodeId, PeerAddress>, shard_count: u32) -> Result<ClusterId, InitError> {
        self.inner.found(nodes, shard_count).await
    }

    /// Shards with a replica on this node.
    pub fn local_shards(&self) -> Vec<ShardId> {
        self.inner.replicas.read().keys().copied().collect()
    }

    /// Proposes a command and waits until it is applied. Any node takes it and forwards it to the leader, one hop.
    /// `group` is what the proposer is fair between (a tenant's number).
    pub async fn propose(
        &self,
        shard: ShardId,
        group: u64,
        lane: Lane,
        command: Bytes,
        deadline: Duration,
    ) -> Result<Proposed, ProposeError> {
        let deadline = Instant::now() + deadline;
        let mut hint = None;
        for attempt in 0.. {
            if self.inner.stop.is_cancelled() {
                return Err(ProposeError::Stopped);
            }
            if Instant::now() >= deadline {
                break;
            }
            let answer = match self.inner.ask(shard, hint, attempt) {
                Some(to) => {
                    let frame = ProposeFrame {
                        group,
                        lane,
                        command: command.clone(),
                        deadline_ms: 0,
                    };
                    self.inner.propose_once(to, shard, frame, deadline).await
                }
                None => ProposeAnswer::NotLeader(None),
            };
            match answer {
                ProposeAnswer::Done(proposed) => return Ok(proposed),
                ProposeAnswer::Overloaded { retry_after_ms } => {
                    return Err(ProposeError::Overloaded { retry_after_ms });
                }
                ProposeAnswer::Unknown if put_in("cluster::unknown_called_failed") => break,
                ProposeAnswer::Unknown => return Err(ProposeError::OutcomeUnknown),
                ProposeAnswer::TooLarge => return Err(ProposeError::TooLarge),
                ProposeAnswer::DiskFull => return Err(ProposeError::DiskFull),
                // Certainly not proposed: try again where the leader is, or when there is one.
                ProposeAnswer::NotLeader(leader) => hint = leader,
            }
            self.inner.wait_for_leader(shard, deadline).await;
        }
        Err(ProposeError::NoLeader(shard))
    }

    /// Waits until the local replica has applied everything acknowledged before this call, by the leader's
    /// ReadIndex (see `shards/reading.rs`); returns that index. What is then read from the local state is linearizable.
    pub async fn read_barrier(&self, shard: ShardId, deadline: Duration) -> Result<u64, ReadError> {
        let deadline = Instant::now() + deadline;
        let replica = self.inner.replica(shard).ok_or(ReadError::NoReplica(shard))?;
        let mut hint = None;
        for attempt in 0.. {
            if self.inner.stop.is_cancelled() {
                return Err(ReadError::Stopped);
            }
            if Instant::now() >= deadline {
                break;
            }
            let answer = match self.inner.ask(shard, hint, attempt) {
                Some(to) => self.inner.read_once(to, shard, deadline).await,
                None => ReadAnswer::NotLeader(None),
            };
            match answer {
                ReadAnswer::Index(index) if replica.wait_applied(index, deadline).await => return Ok(index),
                ReadAnswer::Index(_) => return Err(ReadError::Lagging(shard)),
                ReadAnswer::NotLeader(leader) => hint = leader,
            }
            self.inner.wait_for_leader(shard, deadline).await;
        }
        Err(ReadError::NoLeader(shard))
    }

    /// Changes with every leader or term; `None` when this node has no replica of the shard. Goes on while a replica is
    /// closed for want of room: who leads is then learned from the others.
    pub fn leadership(&self, shard: ShardId) -> Option<watch::Receiver<Leadership>> {
        let leaderships = self.inner.leaderships.lock();
        leaderships.get(&shard).map(watch::Sender::subscribe)
    }

    /// The stamp that the shard would give now, Unix milliseconds; meaningful on its leader.
    pub fn now_ms(&self, shard: ShardId) -> u64 {
        self.inner
            .replica(shard)
            .map_or_else(|| self.inner.corrected_clock()(), |replica| replica.clock.now_ms())
    }

    /// The time of day that the nodes agreed on last, Unix milliseconds, and when that was; `None` as long as too few nodes
    /// were there to say whose clock is wrong. Who goes on from it does not follow a clock that jumps between two looks.
    pub fn agreed_time(&self) -> Option<(u64, std::time::Instant)> {
        let agreed = *self.inner.agreed_time.lock();
        agreed.map(|(ms, at)| (ms, at.into_std()))
    }

    /// Calls the [`Service`] of a node (kinds from 1000). A call to this node does not leave it.
    pub fn call(
        &self,
        to: NodeId,
        kind: u16,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        if to != self.inner.node {
            return self.inner.transport.call(to, Purpose::Commands, kind, body, deadline);
        }
        let service = self.inner.service.clone();
        async move {
            let answer = tokio::time::timeout(deadline, service.call(to, kind, body)).await;
            answer.map_err(|_| CallError::OutcomeUnknown(to, "deadline passed".into()))
        }
        .boxed()
    }

    /// Sends a frame to the [`Service`] of a node, on the link for fan-out.
    pub fn send(&self, to: NodeId, kind: u16, body: Bytes) -> Result<(), CallError> {
        if to == self.inner.node {
            self.inner.service.deliver(to, kind, body);
            return Ok(());
        }
        self.inner.transport.send(to, Purpose::FanOut, kind, body)
    }

    /// What this node knows about itself and its replicas.
    pub fn status(&self) -> ClusterStatus {
        let known = self.inner.identity.get();
        ClusterStatus {
            node: self.node(),
            cluster: known.as_ref().map(|known| known.cluster),
            nodes: known.map(|known| known.nodes).unwrap_or_default(),
            shards: self.inner.statuses(),
        }
    }

    /// Replicas that were closed for want of room and wait for it.
    pub fn closed_shards(&self) -> Vec<ShardId> {
        self.inner.closed.lock().keys().copied().collect()
    }

    /// Whether the replica of this shard waits for room.
    pub fn is_closed(&self, shard: ShardId) -> bool {
        self.inner.closed.lock().contains_key(&shard)
    }

    /// The disk of the data folder is nearly full: this node leads only when nobody else can.
    pub fn disk_low(&self) -> bool {
        self.inner.disk_low.load(Ordering::Relaxed)
    }

    /// Waits until storage has failed in a way that room does not mend, and says how. The node must stop then: it does not
    /// know what is on its disk before everything is read again.
    pub async fn broken(&self) -> String {
        let mut broken = self.inner.broken.subscribe();
        match broken.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // Not while `self` is there.
            Err(_) => std::future::pending().await,
        }
    }

    /// Refreshes the gauges of the shards; call it now and then, and before a scrape.
    pub fn report_metrics(&self) {
        gauges::report(&self.inner);
    }

    /// Makes `node` a voter of every shard: learner, caught up, voter, one shard and one step at a time. Any node may
    /// be asked. The new node must run with an empty disk (or with this cluster's id).
    pub async fn add_node(&self, node: NodeId, address: PeerAddress) -> Result<(), MembershipError> {
        self.inner.add_node(node, address).await
    }

    /// Takes `node` out of every shard, after handing over its leaderships. Refuses what puts a quorum at risk.
    pub async fn remove_node(&self, node: NodeId) -> Result<(), MembershipError> {
        let known = self.inner.identity.get().ok_or(MembershipError::Stopped)?;
        for shard in known.shards {
            self.inner.change(shard, ChangeFrame::Remove(node)).await?;
        }
        Ok(())
    }

    /// Hands a shard's leadership to another voter.
    pub async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), MembershipError> {
        self.inner.change(shard, ChangeFrame::Transfer(to)).await
    }

    /// Hands over every leadership that this node has, for a drain. Tries every shard; the last failure is told.
    pub async fn hand_over_all(&self) -> Result<(), MembershipError> {
        let mut result = Ok(());
        for replica in self.inner.replicas() {
            if replica.leader() != Some(self.inner.node) {
                continue;
            }
            let deadline = Instant::now() + HAND_OVER_DEADLINE;
            let done = replica.hand_over_to_any(HandOver::Drain, deadline).await;
            if !done {
                result = Err(MembershipError::Timeout(replica.shard, "nobody took over".into()));
            }
        }
        result
    }

    /// Stops: says goodbye on the links, stops the shards, flushes, closes. Everything can be opened again once the
    /// last clone of this value is dropped.
    pub async fn stop(&self) {
        let inner = &self.inner;
        inner.stop.cancel();
        inner.links.stop().await;
        let _nothing_opens = inner.opening.lock().await;
        let replicas = std::mem::take(&mut *inner.replicas.write());
        for replica in replicas.values() {
            replica.stop().await;
            let (rows, shard, index) = (inner.rows.clone(), replica.shard, replica.mark.borrow().index);
            let flushed = inner
                .blocking
                .run(move || rows.barrier(shard, index))
                .await
                .and_then(|flushed| flushed);
            if let Err(error) = flushed {
                tracing::warn!(%shard, %error, "rows were not flushed; they will be made again from the log");
            }
        }
        drop(replicas);
        // Who watches them ends.
        inner.leaderships.lock().clear();
        inner.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
    }
}
