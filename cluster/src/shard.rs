//! One replica of one shard: its raft core, its proposer, its clock, and who leads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{ShardClock, WallClock};
use crate::environment::{Blocking, SnapshotFiles};
use crate::error::StartError;
use crate::proposer::{Answer, Proposer};
use crate::raft::Raft;
use crate::raft::frames::ProposeAnswer;
use crate::raft::inbound::Inbound;
use crate::raft::log::{LogStore, Promised};
use crate::raft::machine::{AppliedMark, Machine, Stores};
use crate::raft::network::Links;
use crate::raft::transfer::Receiver;
use crate::raft::trouble::Trouble;
use crate::shards::{Lane, Rounds};
use crate::state_machine::{ShardId, StateMachine};
use crate::status::{Leadership, PeerProgress, Role, ShardStatus};
use crate::storage::flush_times::FlushTimes;
use crate::storage::{LogEngine, RowStore};
use crate::transport::{NodeId, PeerAddress, Transport};

/// Why leadership is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// An operator, a membership change or an actor that fails asked for it.
    Asked,
    /// The node drains.
    Drain,
    /// Its disk is nearly full.
    NoRoom,
    /// Its disk is slow.
    SlowDisk,
    /// Its clock is off.
    Clock,
}

impl HandOver {
    /// As metrics call it.
    fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Drain => "drain",
            Self::NoRoom => "no_room",
            Self::SlowDisk => "slow_disk",
            Self::Clock => "clock",
        }
    }
}

/// What a replica is made of.
pub(crate) struct Parts {
    pub(crate) shard: ShardId,
    pub(crate) settings: Arc<openraft::Config>,
    pub(crate) engine: Arc<dyn LogEngine>,
    pub(crate) snapshots: Arc<dyn SnapshotFiles>,
    pub(crate) rows: Arc<dyn RowStore>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) user: Box<dyn StateMachine>,
    pub(crate) wall_clock: WallClock,
    pub(crate) blocking: Blocking,
    pub(crate) streams: Arc<AtomicU64>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Outlives the replica, for those who watch it.
    pub(crate) leadership: watch::Sender<Leadership>,
    /// Told when a raft core ends by itself.
    pub(crate) ended: Arc<tokio::sync::Notify>,
    /// Told whenever the shard's members change.
    pub(crate) members_changed: Arc<tokio::sync::Notify>,
}

pub(crate) struct Replica {
    pub(crate) shard: ShardId,
    pub(crate) raft: Raft,
    pub(crate) inbound: Inbound,
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) clock: Arc<ShardClock>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) mark: watch::Sender<AppliedMark>,
    /// Term of the last leader whose process was found gone.
    pub(crate) stood_against: AtomicU64,
    /// What the storage told openraft.
    pub(crate) trouble: Trouble,
    /// How long the log takes for its flushes.
    pub(crate) flush_times: FlushTimes,
    pub(crate) promised: Promised,
    /// Reads that wait until this node is known to lead.
    pub(crate) rounds: Rounds,
    /// The raft core ended by itself.
    ended: AtomicBool,
    /// There is no room for what clients want to add, here or with another that could lead.
    pub(crate) refuses_clients: AtomicBool,
    stop: CancellationToken,
    node: NodeId,
}

impl Replica {
    /// Opens a replica: restores the newest snapshot, replays the log, and takes part from then on.
    pub(crate) async fn open(parts: Parts) -> Result<Arc<Self>, StartError> {
        let shard = parts.shard;
        let node = parts.transport.node();
        let (mark, _) = watch::channel(AppliedMark::default());
        let stores = Stores {
            shard,
            rows: parts.rows.clone(),
            snapshots: parts.snapshots.clone(),
            blocking: parts.blocking,
            trouble: Trouble::default(),
        };
        let trouble = stores.trouble.clone();
        let flush_times = FlushTimes::default();
        let links = Links {
            shard,
            transport: parts.transport,
            rows: parts.rows,
            snapshots: parts.snapshots,
            blocking: parts.blocking,
            streams: parts.streams,
        };
        let log = LogStore::new(parts.engine, trouble.clone(), flush_times.clone())?;
        let promised = log.promised();
        let machine = Machine::new(stores, parts.user, mark.clone());
        let raft = Raft::new(node.0, parts.settings, links.clone(), log, machine)
            .await
            .map_err(|fatal| StartError::Raft {
                shard,
                reason: fatal.to_string(),
            })?;
        let inbound = Inbound::new(shard, raft.clone(), Receiver::new(links), parts.tasks.clone());
        let replica = Arc::new(Self {
            shard,
            raft: raft.clone(),
            inbound,
            proposer: Arc::new(Proposer::new(shard)),
            clock: Arc::new(ShardClock::new(parts.wall_clock)),
            leadership: parts.leadership,
            mark,
            stood_against: AtomicU64::new(0),
            trouble,
            flush_times,
            promised,
            rounds: Rounds::default(),
            ended: AtomicBool::new(false),
            refuses_clients: AtomicBool::new(false),
            stop: parts.stop.clone(),
            node,
        });
        let proposing = replica
            .proposer
            .clone()
            .run(raft, replica.clock.clone(), parts.stop.clone());
        parts.tasks.spawn(proposing);
        parts
            .tasks
            .spawn(replica.clone().follow(parts.members_changed, parts.ended, parts.stop));
        Ok(replica)
    }

    /// Keeps [`Leadership`] up to date, until `stop`.
    async fn follow(
        self: Arc<Self>,
        members_changed: Arc<tokio::sync::Notify>,
        ended: Arc<tokio::sync::Notify>,
        stop: CancellationToken,
    ) {
        let mut server = self.raft.server_metrics();
        let mut mark = self.mark.subscribe();
        let mut members = None;
        loop {
            let now = {
                let server = server.borrow_and_update();
                let known = server.membership_config.log_id();
                if members.as_ref() != Some(known) {
                    members = Some(*known);
                    members_changed.notify_one();
                }
                let leads = server.state == ServerState::Leader;
                let term = server.vote.leader_id.term;
                Leadership {
                    leader: server
                        .current_leader
                        .map(NodeId)
                        .filter(|&leader| leads || leader != self.node),
                    term,
                    ready: leads && mark.borrow_and_update().term == term,
                }
            };
            self.lead_or_follow(now);
            let waits_for_first_entry = now.leader == Some(self.node) && !now.ready;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = server.changed() => if changed.is_err() { break },
                changed = mark.changed(), if waits_for_first_entry => if changed.is_err() { break },
            }
        }
        let by_itself = !stop.is_cancelled();
        if by_itself {
            // Fail-stop: a storage error or a bug ended it. What comes of it is decided in `shards/mending.rs`.
            tracing::error!(shard = %self.shard, cause = ?self.trouble.cause(), "the raft core ended by itself");
            self.ended.store(true, Ordering::Relaxed);
        }
        let last = *self.leadership.borrow();
        self.lead_or_follow(Leadership {
            leader: None,
            ready: false,
            ..last
        });
        if by_itself {
            ended.notify_one();
        }
    }

    /// The raft core ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn lead_or_follow(&self, now: Leadership) {
        let before = *self.leadership.borrow();
        if before == now {
            return;
        }
        let leads = now.leader == Some(self.node);
        if leads {
            let last_stamp_ms = self.mark.borrow().at_ms;
            match (before.leader, before.term) == (now.leader, now.term) {
                true => self.clock.raise(last_stamp_ms),
                false => self.clock.restart(last_stamp_ms),
            }
        }
        if (before.leader, before.term) != (now.leader, now.term) {
            tracing::info!(shard = %self.shard, leader = ?now.leader, term = now.term, "leadership");
            metrics::counter!("kaiwa_raft_leader_changes_total", "shard" => self.shard.to_string()).increment(1);
        }
        self.leadership.send_replace(now);
        if !leads {
            self.proposer.refuse_all(now.leader);
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leadership.borrow().leader
    }

    /// Proposes on this node, which must lead.
    pub(crate) async fn propose(
        &self,
        group: u64,
        lane: Lane,
        command: bytes::Bytes,
        deadline: Instant,
    ) -> ProposeAnswer {
        let (answer, answered) = oneshot::channel();
        self.offer(group, lane, command, deadline, Answer::Here(answer));
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => ProposeAnswer::Unknown,
        }
    }

    /// The same for who waits elsewhere.
    pub(crate) fn offer(&self, group: u64, lane: Lane, command: bytes::Bytes, deadline: Instant, answer: Answer) {
        let leader = self.leader();
        if leader == Some(self.node) && lane == Lane::Client && self.refuses_clients.load(Ordering::Relaxed) {
            answer.send(ProposeAnswer::DiskFull);
        } else if leader == Some(self.node) {
            self.proposer.offer(group, lane, command, deadline, answer);
        } else {
            answer.send(ProposeAnswer::NotLeader(leader));
        }
    }

    /// Waits until `index` is applied here.
    pub(crate) async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut mark = self.mark.subscribe();
        let applied = mark.wait_for(|mark| mark.index >= index);
        matches!(tokio::time::timeout_at(deadline, applied).await, Ok(Ok(_)))
    }

    /// Every member's address, as the shard's effective membership has it; empty before the first.
    pub(crate) fn members(&self) -> BTreeMap<NodeId, PeerAddress> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes
            .filter_map(|(&node, at)| {
                Some((
                    NodeId(node),
                    PeerAddress {
                        address: at.addr.parse().ok()?,
                    },
                ))
            })
            .collect()
    }

    /// The voters of the effective membership; two sets while it is a joint one.
    pub(crate) fn voter_sets(&self) -> Vec<BTreeSet<NodeId>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let sets = metrics.membership_config.membership().get_joint_config();
        sets.iter()
            .map(|set| set.iter().copied().map(NodeId).collect())
            .collect()
    }

    /// Voters other than this node, those that have most of the log first.
    pub(crate) fn successors(&self) -> Vec<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else {
            return Vec::new();
        };
        let voters = metrics
            .membership_config
            .voter_ids()
            .filter(|&voter| voter != self.node.0);
        let mut voters: Vec<_> = voters
            .map(|voter| {
                (
                    replication.get(&voter).cloned().flatten().map_or(0, |id| id.index),
                    voter,
                )
            })
            .collect();
        voters.sort_by_key(|&(matched, voter)| (std::cmp::Reverse(matched), voter));
        voters.into_iter().map(|(_, voter)| NodeId(voter)).collect()
    }

    /// Hands leadership to `to` and waits until this node does not lead any more.
    pub(crate) async fn hand_over(&self, to: NodeId, why: HandOver, deadline: Instant) -> bool {
        let mut leadership = self.leadership.subscribe();
        while leadership.borrow_and_update().leader == Some(self.node) {
            if Instant::now() >= deadline || self.raft.trigger().transfer_leader(to.0).await.is_err() {
                return false;
            }
            let again = deadline.min(Instant::now() + Duration::from_secs(1));
            let _ = tokio::time::timeout_at(again, leadership.wait_for(|now| now.leader != Some(self.node))).await;
        }
        metrics::counter!(
            "kaiwa_raft_hand_overs_total",
            "shard" => self.shard.to_string(),
            "reason" => why.label()
        )
        .increment(1);
        true
    }

    /// Hands leadership to the first of [`Self::successors`] that takes it.
    pub(crate) async fn hand_over_to_any(&self, why: HandOver, deadline: Instant) -> bool {
        for to in self.successors() {
            if self.hand_over(to, why, deadline).await {
                return true;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        false
    }

    pub(crate) fn status(&self) -> ShardStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let mark = *self.mark.borrow();
        let leadership = *self.leadership.borrow();
        let last = metrics.last_log_index.unwrap_or(0);
        let index = |id: &Option<crate::raft::LogId>| id.map_or(0, |id| id.index);
        let peers = metrics
            .replication
            .iter()
            .flatten()
            .filter(|(peer, _)| **peer != self.node.0);
        let peers = peers.map(|(&peer, matched)| {
            let matched = index(matched);
            (
                NodeId(peer),
                PeerProgress {
                    matched,
                    lag: last.saturating_sub(matched),
                },
            )
        });
        let voters: Vec<NodeId> = metrics.membership_config.voter_ids().map(NodeId).collect();
        let members = metrics.membership_config.nodes().map(|(&node, _)| NodeId(node));
        ShardStatus {
            shard: self.shard,
            term: metrics.current_term,
            leader: leadership.leader,
            role: match (&metrics.running_state, metrics.state) {
                _ if self.has_ended() => Role::Stopped,
                (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
                (_, ServerState::Leader) => Role::Leader,
                (_, ServerState::Candidate) => Role::Candidate,
                (_, ServerState::Follower) => Role::Follower,
                (_, ServerState::Learner) => Role::Learner,
            },
            learners: members.filter(|member| !voters.contains(member)).collect(),
            voters,
            last_index: last,
            commit_index: index(&metrics.local_committed),
            applied_index: mark.index,
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            digest_index: mark.index,
            digest: mark.digest,
            pending: self.proposer.pending() as u64,
            peers: peers.collect(),
        }
    }

    /// Stops the tasks and the raft core.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(shard = %self.shard, %error, "raft core did not stop well");
        }
    }
}
