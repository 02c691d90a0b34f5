//! Gauges of the shards, and the watch over this node's clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{HAND_OVER_DEADLINE, Inner};
use crate::clock::skew_ms;
use crate::limits::CLOCK_SKEW_MAX_MS;
use crate::raft::frames::kind;
use crate::shard::HandOver;
use crate::state_machine::ShardId;
use crate::status::Role;

/// Between two looks at the peers' clocks.
const SKEW_INTERVAL: Duration = Duration::from_secs(2);
/// The same as long as too few of them answer.
const SKEW_UNKNOWN_INTERVAL: Duration = Duration::from_millis(500);
/// A node leads no more when it was off so many times in a row.
const SKEW_STRIKES: u32 = 3;

pub(super) fn report(inner: &Inner) {
    for replica in inner.replicas() {
        let status = replica.status();
        let shard = status.shard.to_string();
        let set = |name: &'static str, value: u64| gauge!(name, "shard" => shard.clone()).set(value as f64);
        set("kaiwa_raft_is_leader", (status.role == Role::Leader).into());
        set("kaiwa_raft_has_leader", status.leader.is_some().into());
        set("kaiwa_raft_term", status.term);
        set("kaiwa_raft_last_log_index", status.last_index);
        set("kaiwa_raft_commit_index", status.commit_index);
        set("kaiwa_raft_applied_index", status.applied_index);
        set("kaiwa_raft_snapshot_index", status.snapshot_index);
        set("kaiwa_raft_purged_index", status.purged_index);
        set("kaiwa_raft_proposals_pending", status.pending);
        set("kaiwa_raft_voters", status.voters.len() as u64);
        set("kaiwa_raft_learners", status.learners.len() as u64);
        for (peer, progress) in status.peers {
            gauge!("kaiwa_raft_replication_lag_entries", "shard" => shard.clone(), "peer" => peer.to_string())
                .set(progress.lag as f64);
        }
    }
}

/// Compares this node's clock with the cluster's, until `stop`. One that is off from the median is corrected by as much for
/// all that this node does, and when it stays off, leadership is handed over.
pub(super) async fn watch_skew(inner: Arc<Inner>, stop: CancellationToken) {
    let mut strikes = 0;
    loop {
        // The wall clocks are compared, not the stamps: a log that was stamped ahead must not depose every new leader.
        let others = peer_clocks(&inner).await;
        // Read when they have answered: a peer that is silent is waited for.
        let (wall, at) = ((inner.wall_clock)(), Instant::now());
        let skew = skew_ms(wall, &others);
        gauge!("kaiwa_raft_clock_skew_seconds").set(skew.unwrap_or(0) as f64 / 1000.0);
        let off = skew.filter(|skew| skew.unsigned_abs() > CLOCK_SKEW_MAX_MS);
        // Known no longer, it stays as it was: a clock does not mend because peers are away.
        if let Some(skew) = skew {
            inner.clock_off_ms.store(off.unwrap_or(0), Ordering::Relaxed);
            let agreed = wall.saturating_add_signed(-off.unwrap_or(0));
            *inner.agreed_time.lock() = Some((agreed, at));
            strikes = if off.is_some() { strikes + 1 } else { 0 };
            if strikes >= SKEW_STRIKES {
                leave_leaderships(&inner, skew).await;
            }
        }
        inner.keep_clocks(skew.is_some());
        let pause = if skew.is_some() {
            SKEW_INTERVAL
        } else {
            SKEW_UNKNOWN_INTERVAL
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Inner {
    /// Who follows takes over the time that the cluster agrees on, if it is known; everybody else goes towards it.
    fn keep_clocks(&self, is_agreed: bool) {
        for replica in self.replicas() {
            if is_agreed && replica.leader() != Some(self.node) {
                replica.clock.adopt_wall();
            } else {
                // Kept up to date: the rate is bounded over the time since the last look.
                replica.clock.now_ms();
            }
        }
    }
}

async fn leave_leaderships(inner: &Inner, skew: i64) {
    for replica in inner.replicas() {
        if replica.leader() != Some(inner.node) {
            continue;
        }
        tracing::error!(shard = %replica.shard, skew_ms = skew, "this node's clock is off: leadership is handed over");
        let deadline = Instant::now() + HAND_OVER_DEADLINE;
        replica.hand_over_to_any(HandOver::Clock, deadline).await;
    }
}

/// The wall clocks of the peers, each as of now.
async fn peer_clocks(inner: &Inner) -> Vec<u64> {
    let peers = inner.identity.get().map(|known| known.nodes).unwrap_or_default();
    let asked = peers
        .into_keys()
        .filter(|&peer| peer != inner.node)
        .map(|peer| async move {
            let started = Instant::now();
            let there = inner
                .ask_peer::<u64>(peer, ShardId(0), kind::TIME, Duration::from_secs(1))
                .await?;
            let round_trip = started.elapsed();
            metrics::histogram!("kaiwa_raft_peer_rtt_seconds", "peer" => peer.to_string())
                .record(round_trip.as_secs_f64());
            Some((there, started + round_trip / 2))
        });
    let answers: Vec<_> = futures::future::join_all(asked).await.into_iter().flatten().collect();
    let now = Instant::now();
    answers
        .into_iter()
        .map(|(there, at)| there + now.duration_since(at).as_millis() as u64)
        .collect()
}
