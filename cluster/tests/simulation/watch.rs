//! Looks at a running node every few milliseconds: who leads, what only grows, how time goes, and whether it stopped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::invariants::{fail_stop, raft, time};
use super::world::{Life, SHARD, World};
use cluster::status::{Role, ShardStatus};
use cluster::transport::NodeId;

const INTERVAL: Duration = Duration::from_millis(5);

/// A look at a leader's clock.
struct Stamp {
    term: u64,
    at: Instant,
    now_ms: u64,
}

struct Watch {
    world: World,
    node: u64,
    life: Life,
    before: Option<ShardStatus>,
    stamp: Option<Stamp>,
    failures_before: u64,
    failed_at: Option<Instant>,
    has_stopped: bool,
}

/// Watches one life of a node until it ends.
pub(super) async fn watch(world: World, node: u64, life: Life) {
    let failures_before = world.with_node(node, |node| node.disk.failures());
    let mut watch = Watch {
        world,
        node,
        life,
        before: None,
        stamp: None,
        failures_before,
        failed_at: None,
        has_stopped: false,
    };
    while watch.life.lives.load(Ordering::Relaxed) && !watch.has_stopped {
        watch.look();
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Watch {
    fn look(&mut self) {
        let status = self.life.shards.status();
        for status in status.shards.into_iter().filter(|status| status.shard == SHARD) {
            if status.role == Role::Leader {
                self.world.oracle.leads(self.node, status.term);
            }
            self.what_grows(&status);
            self.time_goes_on(&status);
            self.stops_when_it_must(&status);
            self.before = Some(status);
        }
    }

    fn what_grows(&self, now: &ShardStatus) {
        let Some(before) = &self.before else {
            return;
        };
        let oracle = &self.world.oracle;
        oracle.check(raft::grows("term", self.node, before.term, now.term));
        oracle.check(raft::grows(
            "commit index",
            self.node,
            before.commit_index,
            now.commit_index,
        ));
        oracle.check(raft::grows(
            "purged index",
            self.node,
            before.purged_index,
            now.purged_index,
        ));
    }

    fn time_goes_on(&mut self, status: &ShardStatus) {
        let leadership = self
            .life
            .shards
            .leadership(SHARD)
            .map(|leadership| *leadership.borrow());
        let Some(term) = leadership
            .filter(|now| now.ready && now.leader == Some(NodeId(self.node)) && now.term == status.term)
            .map(|now| now.term)
        else {
            self.stamp = None;
            return;
        };
        let (at, now_ms) = (Instant::now(), self.life.shards.now_ms(SHARD));
        match &self.stamp {
            Some(before) if before.term == term => {
                let elapsed = at.duration_since(before.at);
                let verdict = time::a_leaders_time_is_steady(self.node, before.now_ms, now_ms, elapsed);
                self.world.oracle.check(verdict);
            }
            _ => self.stamp = Some(Stamp { term, at, now_ms }),
        }
    }

    fn stops_when_it_must(&mut self, status: &ShardStatus) {
        self.has_stopped = status.role == Role::Stopped;
        let failures = self.world.with_node(self.node, |node| node.disk.failures());
        if failures > self.failures_before {
            self.failed_at.get_or_insert_with(Instant::now);
        }
        let oracle = &self.world.oracle;
        let troubled = self.life.troubled.load(Ordering::Relaxed);
        oracle.check(fail_stop::no_replica_stops_by_itself(
            self.node,
            self.has_stopped,
            troubled,
        ));
        if self.has_stopped {
            oracle.fired("replica stopped");
        }
        if let Some(failed_at) = self.failed_at {
            let verdict = fail_stop::a_failed_replica_stops(self.node, failed_at.elapsed(), self.has_stopped);
            oracle.check(verdict);
        }
    }
}
