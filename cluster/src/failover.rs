//! Failing over before the election timeout, when the leader's process is gone.
//!
//! The end of a leader's link is only a reason to look: this node connects anew at once. When its **own** connect is
//! refused, or meets a new incarnation of the process, the old leader cannot be leading any more (a restarted leader
//! does not resume its term), and this node drops that leader's lease. Then it stands for election, with pre-vote, after
//! a delay by rank, so that the first survivor in the order of nodes usually wins without a split vote.
//!
//! Only this node's own lease is dropped: a follower that still hears the leader refuses its vote, so a single bad link
//! deposes nobody. Silent deaths (power, partition) refuse no connection and wait for the timeout.
//!
//! openraft has no call for dropping a lease as such. `handle_transfer_leader`, which a leader sends to all when it hands
//! over, does it as its first half on every node that is not the one to take over; it is what is used here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::shard::Replica;
use crate::shards::Inner;
use crate::transport::{CallError, LinkEvent, NodeId, Purpose};

/// Between the ranks of two survivors: a bit more than two votes over the links and a flush take.
const RANK_DELAY: Duration = Duration::from_millis(25);
/// A survivor whose disk is nearly full lets the others stand first for so long.
const LOW_DELAY: Duration = Duration::from_secs(1);
/// How often a survivor stands before it leaves the rest to the election timeout.
const ATTEMPTS: u32 = 8;

/// What is known of the peers' processes.
#[derive(Default)]
struct Peers {
    incarnations: Mutex<BTreeMap<NodeId, u64>>,
}

impl Peers {
    /// Notes an incarnation; true when there was another one before.
    fn is_new(&self, peer: NodeId, incarnation: u64) -> bool {
        let before = self.incarnations.lock().insert(peer, incarnation);
        before.is_some_and(|before| before != incarnation)
    }
}

/// Watches the links, until `stop`.
pub(crate) async fn watch(inner: Arc<Inner>, mut events: broadcast::Receiver<LinkEvent>, stop: CancellationToken) {
    let peers = Arc::new(Peers::default());
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(LinkEvent::Down {
                peer,
                purpose: Purpose::Raft,
                ..
            }) if leads_something(&inner, peer) => {
                let (inner, peers) = (inner.clone(), peers.clone());
                inner.tasks.clone().spawn(async move {
                    let gone = match inner.transport.probe(peer).await {
                        Err(CallError::Refused(_)) => true,
                        Ok(incarnation) => peers.is_new(peer, incarnation),
                        Err(_) => false,
                    };
                    if gone {
                        leader_is_gone(&inner, peer);
                    }
                });
            }
            Ok(LinkEvent::Refused { peer }) => leader_is_gone(&inner, peer),
            Ok(LinkEvent::Up { peer, incarnation, .. }) => {
                if peers.is_new(peer, incarnation) {
                    leader_is_gone(&inner, peer);
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn leads_something(inner: &Inner, peer: NodeId) -> bool {
    inner.replicas().iter().any(|replica| replica.leader() == Some(peer))
}

fn leader_is_gone(inner: &Arc<Inner>, dead: NodeId) {
    for replica in inner.replicas() {
        if replica.leader() == Some(dead) {
            let low = inner.disk_low.load(Ordering::Relaxed);
            inner.tasks.spawn(stand(replica, inner.node, dead, low));
        }
    }
}

/// Drops the lease of a dead leader and stands for election until somebody else leads.
async fn stand(replica: Arc<Replica>, node: NodeId, dead: NodeId, low: bool) {
    let (vote, rank) = {
        let metrics = replica.raft.metrics();
        let metrics = metrics.borrow_watched();
        if !metrics.vote.committed || metrics.vote.leader_id.voted_for != dead.0 {
            return;
        }
        let voters = metrics
            .membership_config
            .voter_ids()
            .filter(|&voter| voter != dead.0 && voter < node.0);
        (metrics.vote, voters.count() as u32)
    };
    // Several events tell of one death; one of them is enough.
    if replica.stood_against.swap(vote.leader_id.term, Ordering::Relaxed) == vote.leader_id.term {
        return;
    }
    // Not to this node: only the lease is dropped, and the votes of the others are asked for in the usual way.
    let drop_lease = TransferLeaderRequest::new(vote, dead.0, None);
    if replica.raft.handle_transfer_leader(drop_lease).await.is_err() {
        return;
    }
    tracing::info!(shard = %replica.shard, %dead, rank, "the leader's process is gone, standing for election");
    let mut leadership = replica.leadership.subscribe();
    let mut wait = RANK_DELAY * rank + if low { LOW_DELAY } else { Duration::ZERO };
    for _ in 0..ATTEMPTS {
        let changed = leadership.wait_for(|now| now.term != vote.leader_id.term && now.leader.is_some());
        if tokio::time::timeout(wait, changed).await.is_ok() {
            return;
        }
        // A heartbeat of the old leader since then would have renewed the lease; then this round asks nobody.
        if replica.raft.trigger().elect(true).await.is_err() {
            return;
        }
        wait = RANK_DELAY * (2 + rank);
    }
}
